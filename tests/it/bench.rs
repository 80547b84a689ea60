//! `verigate bench` against a real gateway: what it reports, that it tells what fails, and that it leaves nothing behind.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde_json::Value;
use verigate::bench::calls::Operation;
use verigate::bench::report::Report;
use verigate::bench::{self, OpenStore, Options, Output, Surroundings};
use verigate::clock::SystemClock;
use verigate::error::{Kind, Result};
use verigate::random::OsRandom;
use verigate::server;

use crate::support::gateway::{CONFIG, Gateway};

const CALLS: [&str; 4] = ["empty", "start", "check", "pair"];
const ROWS: [&str; 5] = ["empty", "start", "check", "pair", "store"];
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
        calls: Operation::ALL.to_vec(),
        connections: 2,
        threads: 2,
        live: 0,
        overload: Vec::new(),
        json: true,
        directory: None,
        address: Some(format!("http://{}", gateway.grpc())),
        key: Some(KEY.to_owned()),
        sends_nothing: true,
    }
}

/// The report, what was printed of it, and the progress.
async fn run(options: &Options, open_store: Option<OpenStore>) -> (Result<Report>, String, String) {
    let (mut printed, mut progress) = (Vec::new(), Vec::new());
    let surroundings = Surroundings {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        program: "/nowhere/verigate".into(),
        open_store,
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
    if point["call"] == "pair" {
        let single = number(point, "single_p99_us");
        assert!(single > 0.0 && single < number(point, "max_us"), "{point}");
    } else {
        assert!(point["single_p99_us"].is_null(), "{point}");
    }
    // A given server may be anywhere; what we use ourselves is known.
    assert!(point["server_cpu_us"].is_null() && number(point, "own_cpu_us") >= 0.0, "{point}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_run_reports_every_point_and_nothing_fails() {
    let gateway = gateway_that_delivers().await;
    let place = tempfile::tempdir().unwrap();
    let options = Options { live: 50, directory: Some(place.path().to_owned()), ..options(&gateway) };
    let open_store: OpenStore =
        Box::new(|folder| server::open_store(folder, Arc::new(SystemClock), Arc::new(OsRandom)));

    let (report, printed, progress) = run(&options, Some(open_store)).await;

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
    assert_eq!(store.iter().map(|point| point["callers"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 16]);
    store.iter().for_each(check_point);
    let ratios = json["ratios"].as_array().unwrap();
    assert_eq!(ratios.iter().map(|ratio| ratio["callers"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 16]);
    for ((ratio, points), store) in ratios.iter().zip(points.chunks(4)).zip(store) {
        for (name, other) in [("pair_to_empty", &points[0]), ("pair_to_store", store)] {
            let wanted = number(&points[3], "per_second") / number(other, "per_second");
            assert!((number(ratio, name) - wanted).abs() < 1e-9, "{name} of {ratio}");
        }
    }
    // Nothing is known of a server that is not ours.
    assert!(json["server_memory"].is_null() && json["server_disk"].is_null(), "{printed}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "the store is still there");

    // For people: a row for each point, in the report and while it runs.
    let table = report.to_string();
    let rows = |text: &str| ROWS.map(|call| text.lines().filter(|line| line.contains(&format!("  {call} "))).count());
    assert_eq!((rows(&table), rows(&progress)), ([2; 5], [2; 5]), "{table}{progress}");
    let share = format!("{:>16.3}", number(&ratios[1], "pair_to_store"));
    assert!(table.lines().any(|line| line.starts_with("     16") && line.ends_with(&share)), "{table}");
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
        open_store: None,
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

/// The program itself, with a server of its own.
fn program(place: &Path, arguments: &[&str]) -> Command {
    program_for(place, "0.05", arguments)
}

fn program_for(place: &Path, seconds: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_verigate"));
    command.args(["bench", "--seconds", seconds]).args(arguments).arg("--directory").arg(place).env_clear();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn the_command_starts_a_server_and_tells_what_it_used() {
    let place = tempfile::tempdir().unwrap();
    let output = program(place.path(), &["--callers", "1,4", "--live", "20", "--json"]).output().unwrap();
    let (printed, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{progress}");
    let json: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&json["failures"], &json["live"]["count"]), (&serde_json::json!([]), &20.into()), "{printed}");
    assert!(json["address"].is_null(), "{printed}");
    let points = json["points"].as_array().unwrap();
    assert!(points.iter().all(|point| number(point, "server_cpu_us") >= 0.0), "{printed}");
    assert!(points.iter().any(|point| number(point, "server_cpu_us") > 0.0), "{printed}");
    let ratios = json["ratios"].as_array().unwrap();
    assert_eq!((points.len(), json["store"].as_array().unwrap().len(), ratios.len()), (8, 2, 2), "{printed}");
    assert!(ratios.iter().all(|ratio| number(ratio, "pair_to_store") > 0.0), "{printed}");
    assert!(number(&json, "server_memory") > 1e6 && number(&json, "server_disk") > 1e3, "{printed}");
    assert!(progress.lines().count() >= 11, "a line for the live ones and for each row:\n{progress}");
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "both stores go with the run");
}

#[test]
fn those_who_are_turned_away_come_again_and_nothing_fails() {
    let place = tempfile::tempdir().unwrap();
    // Long enough for all who are turned away at first to come again.
    let arguments = ["--callers", "4", "--calls", "pair", "--overload", "1", "--json"];
    let mut program = program_for(place.path(), "2", &arguments);
    // The server that is measured has the settings of the environment, as any other.
    let output = program.env("VERIGATE__SERVER__LIMITS__CALLS", "64").output().unwrap();
    let (printed, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{progress}");
    let json: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!(json["points"].as_array().unwrap().len(), 2, "what is usual is measured again right before:\n{printed}");
    let [row] = &json["overload"].as_array().unwrap()[..] else { panic!("{printed}") };
    assert_eq!((&row["callers"], &row["failed"], &json["failures"]), (&176.into(), &0.into(), &serde_json::json!([])));
    assert!(number(row, "starts_turned_away_per_second") > 0.0 && number(row, "turned_away_p99_us") > 0.0, "{row}");
    assert!(number(row, "per_second") > 0.0 && number(row, "server_memory") > 1e6, "{row}");
    assert!(progress.lines().any(|line| line.starts_with("      1x      176")), "{progress}");
}

#[test]
fn a_bench_that_is_killed_leaves_no_server_running() {
    let place = tempfile::tempdir().unwrap();
    // Far more points than there is time for.
    let mut bench = program(place.path(), &["--callers", &["1"; 5000].join(",")]).spawn().unwrap();
    let mut progress = BufReader::new(bench.stderr.take().unwrap());
    let mut line = String::new();
    progress.read_line(&mut line).unwrap();
    assert!(line.contains("  empty "), "{line}");
    let servers = children(bench.id());
    assert_eq!(servers.len(), 1, "{servers:?}");
    let server = Pid::from_raw(servers[0]).unwrap();
    let end = pidfd_open(server, PidfdFlags::empty()).unwrap();

    bench.kill().unwrap();
    bench.wait().unwrap();

    // There is something to read once the process has ended, whoever its parent is by then.
    let limit = Timespec { tv_sec: 60, tv_nsec: 0 };
    let ended = poll(&mut [PollFd::new(&end, PollFlags::IN)], Some(&limit)).unwrap();
    let killed = (ended == 0).then(|| kill_process(server, Signal::KILL));
    assert!(killed.is_none(), "the server outlived who started it");
}

/// The processes that a process has started and that still run (proc_pid_stat(5): the parent is the second field after
/// the name).
fn children(parent: u32) -> Vec<i32> {
    let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let is_child = |id: &i32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_ascii_whitespace();
        fields.nth(1) == Some(parent.to_string().as_str())
    };
    ids.filter(is_child).collect()
}
