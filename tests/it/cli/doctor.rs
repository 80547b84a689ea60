//! `verigate doctor`, on machines that are well and on machines that are not.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::cli::program::{Ended, FREE_PORTS, Place};
use crate::cli::{CONFIG, configured};
use crate::support::authority::Authority;
use crate::support::vendor_server::{Answer, Fault, VendorServer};

/// What was found, as `(check, about, state)` by what stands in `found`.
struct Report(Vec<Value>);

impl Report {
    fn of(ended: &Ended) -> Self {
        assert!(!ended.stderr.contains("panicked"), "{ended:?}");
        Self(ended.json()["findings"].as_array().unwrap().clone())
    }

    /// The one finding of this check about this, with these words in it.
    fn assert_that(&self, check: &str, about: &str, state: &str, words: &str) {
        let found = self.0.iter().find(|finding| {
            let says = finding["found"].as_str().unwrap().contains(words);
            finding["check"] == check && finding["about"].as_str().unwrap().ends_with(about) && says
        });
        let found = found.unwrap_or_else(|| panic!("{check} {about} {words:?} is not in {:#?}", self.0));
        assert_eq!(found["state"], state, "{found}");
        // A way out is told of wherever something is to do.
        assert_eq!(found["advice"].is_string(), ["failed", "warning"].contains(&state), "{found}");
    }
}

fn doctor(place: &Place, variables: &[(&str, &str)]) -> Ended {
    let variables = [&FREE_PORTS, variables].concat();
    place.run_with(&["doctor", "--config", "verigate.toml", "--json"], &variables)
}

#[test]
fn a_machine_that_is_well_is_told_so_and_left_as_it_was() {
    let place = configured("");
    let config = CONFIG.replace("secret-of-some-length", "canary-secret-of-some-length");
    place.write("verigate.toml", &config);
    std::fs::set_permissions(place.path("verigate.toml"), std::fs::Permissions::from_mode(0o640)).unwrap();
    let ended = place.run_with(&["doctor", "-c", "verigate.toml"], &FREE_PORTS);
    let lines: Vec<_> = ended.succeeded().lines().collect();
    assert!(lines[0].starts_with("ok       configuration: "), "{ended:?}");
    assert!(lines.last().unwrap().starts_with("0 failed, 0 to look at, "), "{ended:?}");
    for check in ["file", "listener", "api key", "open files", "store", "disk space", "disk sync", "vendor", "clock"] {
        let told = lines.iter().find(|line| line[9.min(line.len())..].starts_with(check));
        assert!(told.is_some_and(|line| line.starts_with("ok ") || line.starts_with("skipped ")), "{check}: {ended:?}");
    }
    assert!(!ended.stdout.contains("canary"), "{ended:?}");
    assert_eq!(place.names(), ["key", "verigate.toml"]);

    // Also after a run, when there is a store to open.
    drop(place.serve(&["-c", "verigate.toml"], &[]).program);
    let report = std::iter::repeat_with(|| doctor(&place, &[]));
    // A process that was killed holds the store for a moment more.
    let report = report.map(|ended| Report::of(&ended)).find(|report| {
        !report.0.iter().any(|finding| finding["found"].as_str().unwrap().contains("a running server holds it"))
    });
    report.unwrap().assert_that("store", "data", "ok", "opens, and its key fits");
    place.serve(&["-c", "verigate.toml"], &[]);
}

#[test]
fn a_running_server_is_left_alone() {
    let place = configured("");
    place.write("verigate.toml", &CONFIG.replace("name = \"acme\"", "name = \"acme\"\nadmin = true"));
    let served = place.serve(&["-c", "verigate.toml"], &[]);
    let (http, admin) = (served.http.to_string(), served.admin.to_string());
    let variables = [
        ("VERIGATE__SERVER__GRPC", served.grpc.as_str()),
        ("VERIGATE__SERVER__HTTP", &http),
        ("VERIGATE__SERVER__ADMIN", &admin),
    ];
    // Also when the files of its database lie elsewhere than at first.
    for _ in 0..2 {
        let ended = doctor(&place, &variables);
        assert_eq!(ended.code, 0, "{ended:?}");
        let report = Report::of(&ended);
        for listener in ["grpc", "http", "admin"] {
            report.assert_that("listener", listener, "ok", "as it seems by the server that holds the store");
        }
        report.assert_that("store", "data", "ok", "a running server holds it");
        let key = "acme.secret-of-some-length";
        place.run(&["rewrite-store", "--address", &served.grpc, "--key", key]).succeeded();
    }
    let report = Report::of(&doctor(&place, &[]));
    report.assert_that("listener", "grpc", "warning", "is free, while a server holds the store");
    served.program.signal(rustix::process::Signal::TERM);
    assert_eq!(served.program.end().code, 0);
    Report::of(&doctor(&place, &[])).assert_that("store", "data", "ok", "opens, and its key fits");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_hangs_at_an_address_is_not_waited_for() {
    let place = configured("");
    let path = place.path("grpc.sock");
    let socket = tokio::net::UnixSocket::new_stream().unwrap();
    socket.bind(&path).unwrap();
    let _listener = socket.listen(1).unwrap();
    let mut queue = Vec::new();
    while let Ok(waiting) = tokio::net::UnixStream::connect(&path).await {
        queue.push(waiting);
    }
    let ended = doctor(&place, &[("VERIGATE__SERVER__GRPC", &format!("unix:{}", path.display()))]);
    Report::of(&ended).assert_that("listener", "grpc", "failed", "in use by another program");
}

#[test]
fn what_is_wrong_here_is_found() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = configured("");
    let authority = Authority::new();
    let certified = authority.certify_until(2020);
    let (certificate, key) = certified.write(&place.path("."));
    place.write("secret", "canary-in-a-file-of-its-own");
    std::fs::set_permissions(place.path("secret"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let keys = r#"keys = [{ id = "acme", secret = "canary-of-some-length" },
        { id = "old", secret_file = "secret", expires_at = "2020-01-31T00:00:00Z" }]"#;
    let config = CONFIG.replace("keys = [{ id = \"acme\", secret = \"secret-of-some-length\" }]", keys);
    place.write("verigate.toml", &config);
    std::fs::set_permissions(place.path("verigate.toml"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::set_permissions(place.path("key"), std::fs::Permissions::from_mode(0o644)).unwrap();

    let ended = doctor(
        &place,
        &[
            ("VERIGATE__SERVER__HTTP", &address),
            ("VERIGATE__SERVER__GRPC", "unix:/nowhere/grpc.sock"),
            ("VERIGATE__SERVER__TLS__ADMIN__CERTIFICATE_FILE", certificate.to_str().unwrap()),
            ("VERIGATE__SERVER__TLS__ADMIN__KEY_FILE", key.to_str().unwrap()),
        ],
    );
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(!ended.stdout.contains("canary"), "{ended:?}");
    assert_eq!(ended.json()["ok"], false);
    let report = Report::of(&ended);
    report.assert_that("listener", "http", "failed", "in use by another program");
    report.assert_that("listener", "grpc", "failed", "its folder is not there");
    report.assert_that("certificate", "server.tls.admin.certificate_file", "failed", "has ended at 2020-");
    report.assert_that("file", "secret", "warning", "everybody on this machine may open it");
    report.assert_that("file", "verigate.toml", "warning", "holds tenants[0].keys[0].secret");
    report.assert_that("file", "key", "warning", "holds store.key_file");
    report.assert_that("store", "data", "failed", "chmod 600");
    report.assert_that("api key", "old of acme", "warning", "opens no more since 2020-01-31");
}

#[test]
fn a_store_of_another_key_does_not_open() {
    let place = configured("");
    let served = place.serve(&["-c", "verigate.toml"], &[]);
    served.program.signal(rustix::process::Signal::TERM);
    assert_eq!(served.program.end().code, 0);
    place.run(&["store-key", "new", "other"]).succeeded();
    let ended = doctor(&place, &[("VERIGATE__STORE__KEY_FILE", "other")]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let report = Report::of(&ended);
    assert!(report.0.iter().any(|finding| finding["check"] == "store" && finding["state"] == "failed"), "{ended:?}");
    assert_eq!(doctor(&place, &[]).code, 0, "nothing was done to it");
}

#[test]
fn a_wrong_configuration_ends_it() {
    let place = Place::new();
    place.write("verigate.toml", "[server]\ngrcp = \"127.0.0.1:1\"\n");
    let ended = place.run(&["doctor", "-c", "verigate.toml"]);
    assert_eq!(ended.failed_with(64).len(), 0);
    assert!(ended.stdout.starts_with("failed   configuration: verigate.toml:2: server.grcp: is not a known key"));
    let ended = doctor(&place, &[]);
    assert_eq!((ended.code, ended.json()["ok"].clone()), (64, json!(false)));
}

/// `Date` as servers write it, this many seconds from now.
fn date(seconds: i64) -> (&'static str, String) {
    let now = i64::try_from(verigate::clock::Clock::now(&verigate::clock::SystemClock).as_millis()).unwrap();
    let time = jiff::Timestamp::from_millisecond(now + seconds * 1_000).unwrap();
    ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn vendors_are_tried_and_nothing_is_sent() {
    let balance = json!({"status": 0, "balance": 279_974, "message": "ok", "id": "1"});
    let right = VendorServer::start(move |request| match request.target.as_str() {
        "/sms/balance" => Answer::json(200, balance.clone()),
        _ => Answer { headers: vec![date(0)], ..Answer::json(404, json!({})) },
    });
    let wrong = VendorServer::start(|_| Answer { headers: vec![date(-3_600)], ..Answer::json(401, json!({})) });
    let plain = VendorServer::start(|_| Answer::json(404, json!({})));
    let (right, wrong, plain) = (right.await, wrong.await, plain.await);
    let (hangs, away) = (VendorServer::start(|_| unreachable!()).await, VendorServer::start(|_| unreachable!()).await);
    hangs.set_fault(Fault::Silence).await;
    away.set_fault(Fault::Refuse).await;

    let place = configured("");
    let esms = |name: &str, url: &str| {
        let more = "user = \"canary-user\"\npass = \"canary-pass\"\nconnect_timeout = \"500ms\"\ntimeout = \"1s\"";
        format!("\n[vendors.{name}]\nkind = \"esms\"\nbase_url = \"{url}\"\n{more}\n")
    };
    let octopush = format!(
        "\n[vendors.wrong]\nkind = \"octopush\"\nbase_url = \"{}\"\napi_login = \"canary-l\"\napi_key = \"canary-k\"\n",
        wrong.url()
    );
    let http = format!(
        "\n[vendors.plain]\nkind = \"http\"\nchannels = [\"sms\"]\nurl = \"{}/send?key={{secret}}\"\nsecret = \"canary\"\n\
         json = {{ to = \"{{recipient}}\", text = \"{{text}}\" }}\n",
        plain.url()
    );
    let vendors = [
        esms("right", &right.url()),
        esms("hangs", &hangs.url()),
        esms("away", &away.url()),
        esms("unknown", "https://no-such-host.invalid"),
        octopush,
        http,
    ];
    place.write("verigate.toml", &format!("{CONFIG}{}", vendors.concat()));
    let ended = doctor(&place, &[]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(!ended.stdout.contains("canary") && !ended.stderr.contains("canary"), "{ended:?}");
    let report = Report::of(&ended);
    report.assert_that("vendor", "inbox", "ok", "part of this program");
    report.assert_that("vendor", "right", "ok", "answers (127.0.0.1)");
    report.assert_that("vendor", "right", "ok", "credentials taken; balance 279974 credits");
    report.assert_that("vendor", "wrong", "ok", "answers");
    report.assert_that("vendor", "wrong", "failed", "credentials are refused");
    report.assert_that("vendor", "plain", "skipped", "credentials were not tried");
    report.assert_that("vendor", "hangs", "failed", "does not answer in time");
    report.assert_that("vendor", "away", "failed", "Connection refused");
    report.assert_that("vendor", "unknown", "failed", "no-such-host.invalid cannot be looked up");
    // One of two clocks is right, and ours agrees with it.
    report.assert_that("clock", "", "ok", "of that of 127.0.0.1");

    let asked: Vec<_> = [&right, &wrong, &plain, &hangs].iter().flat_map(|vendor| vendor.requests()).collect();
    let asked: Vec<_> = asked.iter().map(|request| format!("{} {}", request.method, request.target)).collect();
    let wanted = ["HEAD /", "POST /sms/balance", "HEAD /", "GET /wallet/check-balance", "HEAD /", "HEAD /"];
    assert_eq!(asked, wanted);
    let knocks = plain.requests();
    assert!(knocks[0].headers.iter().all(|(_, value)| !value.contains("canary")), "{knocks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_off_is_told_of() {
    let vendor = VendorServer::start(|_| Answer { headers: vec![date(3_600)], ..Answer::json(404, json!({})) }).await;
    let place = configured("");
    let section = format!(
        "\n[vendors.late]\nkind = \"http\"\nchannels = [\"sms\"]\nurl = \"{}/send\"\njson = {{ text = \"{{text}}\" }}\n",
        vendor.url()
    );
    place.write("verigate.toml", &format!("{CONFIG}{section}"));
    let ended = doctor(&place, &[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    Report::of(&ended).assert_that("clock", "", "warning", "at 127.0.0.1");
}
