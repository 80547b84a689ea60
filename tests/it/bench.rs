//! `verigate bench` against a real gateway: what it reports, and that it tells what fails.

use std::sync::Arc;

use serde_json::Value;
use verigate::bench::report::Report;
use verigate::bench::{self, Options, Output, Surroundings};
use verigate::clock::{Clock, SystemClock};
use verigate::error::{Kind, Result};
use verigate::random::OsRandom;
use verigate::store::Store;
use verigate::store::sled::{Config, SledStore};

use crate::support::gateway::{CONFIG, Gateway};

const CALLS: [&str; 4] = ["empty", "start", "check", "pair"];
const KEY: &str = "acme.acme-secret-of-some-length";

/// A gateway whose inbox delivers to everybody: the numbers that are called must not meet a scripted failure.
async fn gateway_that_delivers() -> Gateway {
    let (before, outcomes) = CONFIG.split_once("outcomes = [").unwrap();
    let (_, after) = outcomes.split_once("\n]\n").unwrap();
    Gateway::start_with(&format!("{before}\n{after}")).await
}

/// A short run against a gateway.
fn options(gateway: &Gateway) -> Options {
    Options {
        seconds: 0.2,
        callers: vec![1, 16],
        connections: 2,
        threads: 2,
        live: 0,
        json: true,
        directory: None,
        address: Some(format!("http://{}", gateway.grpc())),
        key: Some(KEY.to_owned()),
        sends_nothing: true,
    }
}

/// The report, what was printed of it, and the progress.
async fn run(options: &Options, store: Option<Arc<dyn Store>>) -> (Result<Report>, String, String) {
    let (mut printed, mut progress) = (Vec::new(), Vec::new());
    let surroundings = Surroundings {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        program: "/nowhere/verigate".into(),
        store,
    };
    let output = Output { report: &mut printed, progress: &mut progress, terminal: false };
    let report = bench::run(options, surroundings, output, std::future::pending()).await;
    (report, String::from_utf8(printed).unwrap(), String::from_utf8(progress).unwrap())
}

fn number(of: &Value, name: &str) -> f64 {
    of[name].as_f64().unwrap_or_else(|| panic!("{name} of {of}"))
}

fn check_point(point: &Value) {
    assert!(number(point, "calls") > 0.0 && number(point, "seconds") > 0.0, "{point}");
    assert_eq!(number(point, "failed"), 0.0, "{point}");
    let rate = number(point, "calls") / number(point, "seconds");
    assert!((number(point, "per_second") - rate).abs() < 0.01 * rate, "{point}");
    let times = ["p50_us", "p99_us", "p999_us", "max_us"].map(|name| number(point, name));
    assert!(times[0] > 0.0 && times.is_sorted(), "{point}");
    // A given server may be anywhere; what we use ourselves is known.
    assert!(point["server_cpu_us"].is_null() && number(point, "own_cpu_us") >= 0.0, "{point}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_run_reports_every_point_and_nothing_fails() {
    let gateway = gateway_that_delivers().await;
    let place = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let config = Config { path: place.path().join("data"), ..Config::default() };
    let store: Arc<dyn Store> = Arc::new(SledStore::open(&config, clock).unwrap());
    let options = Options { live: 50, ..options(&gateway) };

    let (report, printed, progress) = run(&options, Some(store)).await;

    let report = report.unwrap();
    let json: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(json["failures"], serde_json::json!([]), "{printed}");
    assert_eq!(json["live"]["count"], 50);
    assert_eq!((&json["interrupted"], &json["connections"], &json["threads"]), (&false.into(), &2.into(), &2.into()));
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(json["address"], options.address.clone().unwrap());
    let points = json["points"].as_array().unwrap();
    let measured: Vec<_> = points.iter().map(|point| (point["callers"].as_u64().unwrap(), &point["call"])).collect();
    let wanted: Vec<_> =
        [1, 16].into_iter().flat_map(|callers| CALLS.map(|call| (callers, Value::from(call)))).collect();
    assert_eq!(measured, wanted.iter().map(|(callers, call)| (*callers, call)).collect::<Vec<_>>());
    points.iter().for_each(check_point);
    let store = json["store"].as_array().unwrap();
    assert_eq!(store.len(), 2);
    store.iter().for_each(check_point);
    let ratios = json["ratios"].as_array().unwrap();
    assert_eq!(ratios.iter().map(|ratio| ratio["callers"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 16]);
    for (ratio, points) in ratios.iter().zip(points.chunks(4)) {
        let wanted = number(&points[3], "per_second") / number(&points[0], "per_second");
        assert!((number(ratio, "pair_to_empty") - wanted).abs() < 1e-9, "{ratio}");
    }

    // For people: a row for each point, in the report and while it runs.
    let table = report.to_string();
    let rows = |text: &str| CALLS.map(|call| text.lines().filter(|line| line.contains(&format!("  {call} "))).count());
    assert_eq!((rows(&table), rows(&progress)), ([2; 4], [2; 4]), "{table}{progress}");
    assert!(!table.contains("FAILED") && !progress.contains('\u{1b}'), "{table}{progress}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_calls_are_counted_and_shown() {
    // The vendor is not in the way of a start, but the route is.
    let gateway = Gateway::start_with(&CONFIG.replace("channel = \"sms\"", "channel = \"voice\"")).await;
    let (report, printed, _) = run(&Options { callers: vec![4], ..options(&gateway) }, None).await;
    let report = report.unwrap();
    let failed: Vec<_> = report.failures.iter().map(|failure| (failure.call, failure.what.as_str())).collect();
    assert_eq!(failed, [("start", "FailedPrecondition NO_ROUTE"), ("pair", "FailedPrecondition NO_ROUTE")]);
    assert!(report.points.iter().all(|point| (point.call == "empty") == (point.calls > 0)), "{printed}");
    assert!(report.to_string().contains("FAILED"), "{report}");
    assert!(!printed.contains("+60"), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_stopped_reports_what_it_has() {
    let gateway = gateway_that_delivers().await;
    let mut printed = Vec::new();
    let surroundings = Surroundings {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        program: "/nowhere/verigate".into(),
        store: None,
    };
    let output = Output { report: &mut printed, progress: &mut Vec::new(), terminal: false };
    let options = Options { seconds: 3600.0, json: false, ..options(&gateway) };
    let report = bench::run(&options, surroundings, output, std::future::ready(())).await.unwrap();
    assert!(report.interrupted && report.points.is_empty(), "{report}");
    assert!(String::from_utf8(printed).unwrap().contains("stopped before everything was measured"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_measured_is_an_error() {
    let gateway = gateway_that_delivers().await;
    let nobody = Options { address: Some("http://127.0.0.1:1".to_owned()), ..options(&gateway) };
    assert_eq!(run(&nobody, None).await.0.unwrap_err().kind(), Kind::Unavailable);
    let missing = Options { address: None, key: None, ..options(&gateway) };
    assert_eq!(run(&missing, None).await.0.unwrap_err().kind(), Kind::Unavailable);
    let wrong = Options { address: Some("not a url".to_owned()), ..options(&gateway) };
    assert_eq!(run(&wrong, None).await.0.unwrap_err().kind(), Kind::Invalid);
    let keyless = Options { key: Some("unknown.key".to_owned()), callers: vec![1], ..options(&gateway) };
    let report = run(&keyless, None).await.0.unwrap();
    assert!(report.failures.iter().all(|failure| failure.what == "Unauthenticated CREDENTIALS_INVALID"), "{report}");
    assert_eq!(report.failures.len(), 2, "{report}");
}
