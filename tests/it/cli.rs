//! The program as people and scripts meet it: its words, its exit codes, how it starts and how it stops.

mod doctor;
mod health;
mod pages;
pub(crate) mod program;
mod supervised;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use verigate::config::DEFAULTS;
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;
use verigate::proto::verification::v1::{CheckVerificationRequest, ScopedRecipient, check_verification_request};

use crate::cli::program::{FREE_PORTS, Place, Served};
use crate::support::gateway::{Credentials, PHONE, phone};
use crate::support::http::get;

const COMMANDS: [&str; 16] = [
    "serve",
    "check-config",
    "receipt-urls",
    "key",
    "store-key",
    "verify",
    "send",
    "backup",
    "restore",
    "verify-store",
    "rewrite-store",
    "bench",
    "doctor",
    "health",
    "completions",
    "man",
];

/// A configuration with one tenant; `key` makes the key file that it names.
pub(crate) const CONFIG: &str = r#"
[store]
path = "data"
key_file = "key"

[[tenants]]
name = "acme"
keys = [{ id = "acme", secret = "secret-of-some-length" }]

[vendors.inbox]
kind = "inbox"
outcomes = [
  { pattern = "*005", outcome = "slow", delay = "1s" },
  { pattern = "*006", outcome = "hang" },
]

[[routes]]
channel = "sms"
vendors = ["inbox"]
"#;
const KEY: &str = "acme.secret-of-some-length";

/// What a line of the manual shows as an example: a comment whose words begin at once.
pub(crate) fn example(line: &str) -> Option<&str> {
    line.strip_prefix('#').filter(|rest| !rest.starts_with(' '))
}

// === words ===

#[test]
fn help_names_every_command_and_gives_examples() {
    let place = Place::new();
    let (short, long) = (place.run(&["-h"]), place.run(&["--help"]));
    for command in COMMANDS {
        let named = format!("\n  {command} ");
        assert!(short.succeeded().contains(&named) && long.succeeded().contains(&named), "{command}");
        let own = place.run(&[command, "--help"]);
        assert!(own.succeeded().starts_with(|first: char| first.is_uppercase()), "{own:?}");
    }
    for leaf in [
        &["serve"][..],
        &["check-config"],
        &["key", "new"],
        &["store-key", "new"],
        &["verify"],
        &["send"],
        &["backup"],
        &["restore"],
        &["verify-store"],
        &["rewrite-store"],
        &["bench"],
        &["doctor"],
        &["health"],
        &["man"],
    ] {
        let own = place.run(&[leaf, &["--help"]].concat());
        assert!(own.succeeded().contains("Example"), "{own:?}");
    }
    assert!(long.stdout.contains("Exit codes:") && short.stdout.len() < long.stdout.len());
    assert_eq!(place.run(&["--version"]).succeeded(), concat!("verigate ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_wrong_command_line_exits_with_2_and_never_repeats_a_key() {
    let place = Place::new();
    let get = ["verify", "get", "some-id"];
    for arguments in [
        &["serve", "--colour"][..],
        &["dance"],
        &[],
        &["key"],
        &["key", "new", "--tenant", "A B"],
        &["verify", "start", PHONE, "--channel", "pigeon"],
        &["verify", "start", PHONE, "--wait=soon"],
        &[&get[..], &["--address", "ftp://127.0.0.1:1"]].concat(),
        &[&get[..], &["--address", "nowhere"]].concat(),
        &[&get[..], &["--key", "canary\u{e9}"]].concat(),
    ] {
        let ended = place.run(arguments);
        assert!(!ended.failed_with(2).is_empty(), "{ended:?}");
        assert!(!ended.stderr.contains("canary"), "{ended:?}");
    }
    assert!(place.names().is_empty());
}

// === configuration ===

#[test]
fn each_fault_of_a_configuration_is_a_line_and_nothing_is_touched() {
    let place = Place::new();
    place.write("bad.toml", "[server]\ngrcp = \"127.0.0.1:1\"\n[messaging]\nworkrs = 1\n");
    let lines = [
        "bad.toml:2: server.grcp: is not a known key; did you mean grpc?",
        "bad.toml:4: messaging.workrs: is not a known key; did you mean workers?",
    ];
    for command in ["serve", "check-config"] {
        assert_eq!(place.run(&[command, "--config", "bad.toml"]).failed_with(64), lines);
    }
    let absent = place.run(&["serve", "--config", "absent.toml"]);
    assert!(absent.failed_with(64)[0].starts_with("absent.toml: the file cannot be read"), "{absent:?}");
    assert_eq!(place.names(), ["bad.toml"]);
}

#[test]
fn the_vendors_own_keys_are_checked_before_anything_is_opened() {
    let place = Place::new();
    place.write("key", "");
    let vendors = "\n[vendors.one]\nkind = \"inbox\"\nkeeps = 4\n\n[vendors.two]\nkind = \"pigeon\"\n";
    place.write("bad.toml", &format!("{CONFIG}{vendors}"));
    for command in ["serve", "check-config"] {
        let ended = place.run(&[command, "-c", "bad.toml"]);
        let lines = ended.failed_with(64);
        assert_eq!(lines.len(), 2, "{ended:?}");
        assert!(lines[0].starts_with("bad.toml:23: vendors.one.keeps: is not a known key"), "{ended:?}");
        assert!(lines[1].starts_with("bad.toml:25: vendors.two.kind: must be"), "{ended:?}");
    }
    assert_eq!(place.names(), ["bad.toml", "key"]);
}

#[test]
fn the_vendors_of_the_manual_are_built_as_they_stand_there() {
    let place = Place::new();
    place.write("key", "");
    let examples: Vec<_> = DEFAULTS
        .lines()
        .skip_while(|line| !line.starts_with("#[vendors."))
        .take_while(|line| !line.starts_with("#[["))
        .filter_map(example)
        .collect();
    let (before, after) = CONFIG.split_once("[vendors.inbox]").unwrap();
    let (_, after) = after.split_once("\n\n").unwrap();
    place.write("manual.toml", &format!("{before}{}\n{after}", examples.join("\n")));
    let shown = place.run(&["check-config", "-c", "manual.toml"]);
    for name in examples.iter().filter(|line| line.starts_with('[')) {
        assert!(shown.succeeded().contains(name), "{shown:?}");
    }
}

#[test]
fn check_config_shows_what_holds_and_no_secret() {
    let place = Place::new();
    place.write("key", "1:canary-key-file");
    place.write("secret", "canary-secret-file\n");
    let more = r#"
[[tenants]]
name = "beta"
keys = [{ id = "b1", secret = "canary-short" }, { id = "b2", secret_file = "secret" }]
[vendors.outside]
kind = "esms"
user = "canary-user"
pass = "canary-pass"
"#;
    place.write("good.toml", &format!("{CONFIG}{more}"));
    let variables =
        [("VERIGATE__VERIFICATION__POLICY__LENGTH", "8"), ("VERIGATE__VENDORS__OUTSIDE__PASS", "canary-env")];
    let ended = place.run_with(&["check-config", "-c", "good.toml"], &variables);
    let warnings = ended.failed_with(0);
    assert_eq!(warnings.len(), 1, "{ended:?}");
    assert!(warnings[0].starts_with("warning: tenants[1].keys[0].secret: is shorter than"), "{ended:?}");
    assert!(ended.stdout.contains("length = 8  # VERIGATE__VERIFICATION__POLICY__LENGTH\n"), "{ended:?}");
    assert!(ended.stdout.contains("path = \"data\"  # good.toml:3\n"), "{ended:?}");
    assert!(!ended.stdout.contains("canary") && !ended.stderr.contains("canary"), "{ended:?}");
    assert!(place.run(&["check-config"]).succeeded().contains("# dev profile"));
}

#[test]
fn receipt_urls_are_printed_for_vendors_that_call() {
    let place = Place::new();
    place.run(&["store-key", "new", "key"]).succeeded();
    let vendor = "\n[vendors.octo]\nkind = \"octopush\"\napi_login = \"l\"\napi_key = \"k\"\n";
    place.write("none.toml", &format!("{CONFIG}{vendor}"));
    let told = place.run(&["receipt-urls", "-c", "none.toml"]);
    assert!(told.failed_with(64)[0].starts_with("receipts.public_url: is missing"), "{told:?}");

    let receipts = "\n[receipts]\npublic_url = \"https://sms.test/\"\n";
    place.write("own.toml", &format!("{CONFIG}{vendor}{receipts}"));
    place.write(
        "secret.toml",
        &format!("{CONFIG}{vendor}{receipts}secret = \"canary-secret-of-receipts-0123456789\"\n"),
    );
    let print = |file| place.run(&["receipt-urls", "-c", file]).succeeded().to_owned();
    let (own, configured) = (print("own.toml"), print("secret.toml"));
    for printed in [&own, &configured] {
        let token = printed.strip_prefix("octo  https://sms.test/receipts/octo/").unwrap().trim_end();
        assert_eq!((token.len(), printed.lines().count()), (32, 1), "{printed}");
    }
    assert_ne!(own, configured);
    assert_eq!((print("own.toml"), print("secret.toml")), (own, configured));
    let shown = place.run(&["check-config", "-c", "secret.toml"]);
    assert!(!shown.succeeded().contains("canary"), "{shown:?}");
}

#[test]
fn the_dev_profile_stays_on_this_machine() {
    let place = Place::new();
    let ended = place.run_with(&["serve"], &[("VERIGATE__SERVER__GRPC", "0.0.0.0:0")]);
    let lines = ended.failed_with(64);
    assert_eq!(lines.len(), 1, "{ended:?}");
    assert!(lines[0].starts_with("VERIGATE__SERVER__GRPC: server.grpc: the dev profile has a published secret"));
    assert!(place.names().is_empty());
}

// === keys ===

#[test]
fn a_new_key_opens_a_gateway_that_was_given_its_hash() {
    let place = Place::new();
    let made = place.run(&["key", "new", "--tenant", "acme"]);
    let lines: Vec<_> = made.succeeded().lines().map(str::trim).collect();
    let key = lines.iter().find(|line| line.starts_with("vk_")).unwrap();
    let tenant: Vec<_> = lines.iter().skip_while(|line| **line != "[[tenants]]").copied().collect();
    let (before, after) = CONFIG.split_once("[[tenants]]").unwrap();
    let (_, after) = after.split_once("\n\n").unwrap();
    place.write("verigate.toml", &format!("{before}\n{}\n{after}", tenant.join("\n")));
    assert!(!tenant.join("").contains(key.split_once('.').unwrap().1), "the configuration gets the hash alone");
    place.run(&["store-key", "new", "key"]).succeeded();

    let served = place.serve(&["--config", "verigate.toml"], &[]);
    let start = ["verify", "start", PHONE, "--address", &served.grpc, "--key"];
    assert!(place.run(&[&start[..], &[key]].concat()).succeeded().contains("pending"));
    let other = place.run(&["key", "new", "--json"]).json()["key"].as_str().unwrap().to_owned();
    let refused = place.run(&[&start[..], &[&other]].concat());
    assert!(refused.failed_with(77)[0].starts_with("verigate: CREDENTIALS_INVALID: "), "{refused:?}");
    assert_ne!(*key, other);
}

#[test]
fn a_new_key_may_be_good_for_less_and_not_for_ever() {
    let place = Place::new();
    let made = place.run(&["key", "new", "--scopes", "verify,read", "--expires", "2099-01-31T08:00:00+08:00"]);
    let expected = ", scopes = [\"verify\", \"read\"], expires_at = \"2099-01-31T00:00:00.000Z\" }]";
    assert!(made.succeeded().contains(expected), "{made:?}");
    let json = place.run(&["key", "new", "--scopes", "return-code", "--valid-for", "12w", "--json"]).json();
    assert_eq!(json["scopes"], serde_json::json!(["return-code"]));
    let ends: jiff::Timestamp = json["expires_at"].as_str().unwrap().parse().unwrap();
    let days = verigate::clock::Timestamp::from_millis(ends.as_millisecond().try_into().unwrap())
        .since(verigate::clock::Clock::now(&verigate::clock::SystemClock));
    assert!((83..=84).contains(&(days.as_secs() / 86_400)), "{days:?}");
    let json = place.run(&["key", "new", "--json"]).json();
    assert!(json.get("scopes").is_none() && json.get("expires_at").is_none());
    for wrong in [
        &["--scopes", "all"][..],
        &["--scopes", ""],
        &["--expires", "soon"],
        &["--expires", "2020-01-31T00:00:00Z"],
        &["--valid-for", "0d"],
        &["--valid-for", "-1d"],
        &["--valid-for", "1month"],
        &["--expires", "2099-01-31T00:00:00Z", "--valid-for", "1d"],
    ] {
        let refused = place.run(&[&["key", "new"], wrong].concat());
        assert!(!refused.failed_with(2).is_empty() && refused.stdout.is_empty(), "{refused:?}");
    }
}

#[test]
fn a_store_key_is_made_once_for_its_owner_alone() {
    let place = Place::new();
    place.write("verigate.toml", CONFIG);
    let told = place.run(&["serve", "-c", "verigate.toml"]);
    assert!(told.failed_with(64)[0].contains("`verigate store-key new FILE`"), "{told:?}");

    let made = place.run(&["store-key", "new", "key"]);
    let text = std::fs::read_to_string(place.path("key")).unwrap();
    let secret = text.lines().last().unwrap().split_once(':').unwrap().1;
    assert_eq!(std::fs::metadata(place.path("key")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(made.succeeded().contains("key_file = \"/") && !made.stdout.contains(secret), "{made:?}");
    place.run(&["check-config", "-c", "verigate.toml"]).succeeded();

    let again = place.run(&["store-key", "new", "key"]);
    assert!(again.failed_with(73)[0].contains("is there already"), "{again:?}");
    assert_eq!(std::fs::read_to_string(place.path("key")).unwrap(), text);
    let nowhere = place.run(&["store-key", "new", "/proc/key"]);
    assert_eq!(nowhere.failed_with(73).len(), 1, "{nowhere:?}");
}

// === starting ===

#[test]
fn a_start_that_fails_says_why_in_one_line() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for listener in ["GRPC", "HTTP", "ADMIN"] {
        let name = format!("VERIGATE__SERVER__{listener}");
        let ended = place.run_with(&["serve"], &[&FREE_PORTS[..], &[(name.as_str(), address.as_str())]].concat());
        let wanted = format!("verigate: server.{}: cannot listen on {address}", listener.to_lowercase());
        assert!(matches!(ended.failed_with(69)[..], [line] if line.starts_with(&wanted)), "{ended:?}");
    }

    let served = place.serve(&[], &[]);
    let ended = place.run_with(&["serve"], &FREE_PORTS);
    let wanted = ["verigate: another verigate is using ./verigate-data"];
    assert_eq!(ended.failed_with(74), wanted);
    drop(served);

    let key = place.path("verigate-data/key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let elsewhere = [&FREE_PORTS[..], &[("VERIGATE__STORE__PATH", "elsewhere")]].concat();
    let ended = place.run_with(&["serve"], &elsewhere);
    assert!(matches!(ended.failed_with(66)[..], [line] if line.contains("chmod 600")), "{ended:?}");
}

#[tokio::test]
async fn the_dev_profile_can_be_tried_from_start_to_check() {
    let place = Place::new();
    let Served { program, grpc, admin, .. } = place.serve(&[], &[]);
    let verigate = |arguments: &[&str]| place.run(&[arguments, &["--address", &grpc]].concat());

    let started = verigate(&["verify", "start", PHONE, "--scope", "login", "--locale", "ms", "--wait", "--json"]);
    let verification = started.json()["verification"].clone();
    let id = verification["id"].as_str().unwrap();
    assert_eq!(verification["scope"], "login");
    let answer = get(admin, "/inbox/messages?recipient=%2B60123456789", &[&format!("Host: {admin}")]).await;
    let messages: Value = serde_json::from_str(&answer.body).unwrap();
    let text = messages[0]["text"].as_str().unwrap();
    let code = text.split(|letter: char| !letter.is_ascii_digit()).find(|run| run.len() == 6).unwrap();

    let shown = verigate(&["verify", "get", id]);
    assert!(shown.succeeded().contains("pending") && shown.stdout.contains(&format!("check {id} CODE")), "{shown:?}");
    let wrong = verigate(&["verify", "check", id, "wrong"]);
    assert!(wrong.failed_with(1).is_empty(), "a wrong code is an answer");
    assert_eq!(wrong.stdout, "wrong code, checks left: 4\n");
    let early = verigate(&["verify", "resend", id]);
    assert!(early.failed_with(1)[0].starts_with("verigate: COOL_DOWN: "), "{early:?}");
    let early = verigate(&["verify", "start", PHONE, "--scope", "login", "--json"]);
    assert_eq!(early.failed_with(1).len(), 1, "{early:?}");
    assert_eq!(early.json()["error"]["reason"], "COOL_DOWN");
    assert!(early.json()["error"]["retryAfterSeconds"].as_f64().unwrap() > 1.0);
    assert_eq!(verigate(&["verify", "check", id, code]).succeeded(), "approved\n");
    let again = verigate(&["verify", "check", id, code, "--json"]);
    assert_eq!(again.failed_with(1).len(), 0);
    assert_eq!(again.json()["outcome"], "CHECK_OUTCOME_ALREADY_APPROVED");
    assert_eq!(again.json()["checksLeft"], 0, "also what is zero is told");

    let other = verigate(&["verify", "start", "ann@example.com"]);
    let other = other.succeeded().split_whitespace().nth(1).unwrap();
    assert!(verigate(&["verify", "cancel", other]).succeeded().contains("canceled"));
    verigate(&["send", PHONE, "Your parcel is here."]).succeeded();
    assert_eq!(verigate(&["send", "someone", "Your parcel is here."]).failed_with(2).len(), 1);

    let page = get(admin, "/inbox", &[&format!("Host: {admin}")]).await;
    assert!(page.body.contains("dev.dev-secret") && page.body.contains(&grpc), "the page's command works as it is");

    program.signal(Signal::INT);
    let ended = program.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    for said in
        [grpc.as_str(), &format!("http://{admin}/inbox"), "dev profile", "Nothing leaves this machine", "grpcurl"]
    {
        assert!(ended.stdout.contains(said), "{said}: {ended:?}");
    }
    assert!(ended.stderr.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{ended:?}");
    assert!(!ended.stderr.contains(code) && !ended.stderr.contains(PHONE) && !ended.stdout.contains(code), "{ended:?}");
}

#[test]
fn a_gateway_can_be_called_over_a_socket_file() {
    let place = Place::new();
    let socket = format!("unix:{}", place.path("grpc.sock").display());
    let served = place.serve(&[], &[("VERIGATE__SERVER__GRPC", &socket)]);
    assert_eq!(served.grpc, socket);
    let variables = [("VERIGATE_ADDRESS", socket.as_str()), ("VERIGATE_KEY", "")];
    assert!(place.run_with(&["verify", "start", PHONE], &variables).succeeded().contains("pending"));
    served.program.signal(Signal::TERM);
    let ended = served.program.end();
    assert!(ended.stdout.contains(&format!("verigate verify start +60123456789 --address {socket}")), "{ended:?}");
    assert!(!place.names().contains(&"grpc.sock".to_owned()));
}

#[test]
fn a_gateway_that_is_not_there_exits_with_69() {
    let place = Place::new();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let ended = place.run(&["send", PHONE, "hello", "--address", &gone]);
    assert!(matches!(ended.failed_with(69)[..], [line] if line.contains("Connection refused")), "{ended:?}");
}

#[test]
fn nobody_needs_to_listen_to_it() {
    let place = Place::new();
    assert_eq!(place.start_unheard(&["check-config"], &[]).end().code, 0);
    assert_eq!(place.start_unheard(&["key", "new"], &[]).end().code, 0);
    assert_eq!(place.start_unheard(&["--help"], &[]).end().code, 0);
    assert_eq!(place.start_unheard(&["serve", "-c", "absent.toml"], &[]).end().code, 64);

    let socket = format!("unix:{}", place.path("grpc.sock").display());
    let variables = [&FREE_PORTS[..], &[("VERIGATE__SERVER__GRPC", socket.as_str())]].concat();
    let program = place.start_unheard(&["serve"], &variables);
    let client = ["verify", "start", PHONE, "--address", &socket];
    let answered = (0..1_000).map(|_| place.run(&client).code).find(|code| *code != 69);
    assert_eq!(answered, Some(0));
    program.signal(Signal::TERM);
    assert_eq!(program.end().code, 0);
}

// === stopping ===

/// Starts a verification that waits for its vendor, and returns once the gateway has taken it.
async fn wait_in(place: &Place, served: &Served, number: &str) -> program::Running {
    let waiting = ["verify", "start", number, "--wait=20s", "--json", "--address", &served.grpc, "--key", KEY];
    let call = place.start(&waiting, &[]);
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", served.grpc)).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut client = VerificationServiceClient::with_interceptor(channel, Credentials::new(KEY));
    let target = ScopedRecipient { scope: String::new(), recipient: Some(phone(number)) };
    let target = check_verification_request::Target::ScopedRecipient(target);
    let check = CheckVerificationRequest {
        target: Some(target),
        code: "wrong".to_owned(),
        ..CheckVerificationRequest::default()
    };
    let taken = async { while client.check_verification(check.clone()).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(30), taken).await.unwrap();
    call
}

fn configured(more: &str) -> Place {
    let place = Place::new();
    place.run(&["store-key", "new", "key"]).succeeded();
    place.write("verigate.toml", &format!("{more}{CONFIG}"));
    place
}

#[tokio::test]
async fn a_signal_lets_the_calls_under_way_finish() {
    let place = configured("");
    let served = place.serve(&["-c", "verigate.toml"], &[]);
    let call = wait_in(&place, &served, "+60123450005").await;
    served.program.signal(Signal::TERM);
    let (call, ended) = (call.end(), served.program.end());
    assert_eq!((call.code, ended.code), (0, 0), "{call:?} {ended:?}");
    let verification = &call.json()["verification"];
    assert_eq!(verification["sends"][0]["status"], "MESSAGE_STATUS_DELIVERED", "{call:?}");
    assert!(ended.stderr.lines().last().unwrap().contains("\"stopped\""), "{ended:?}");

    let served = place.serve(&["-c", "verigate.toml"], &[]);
    let id = verification["id"].as_str().unwrap();
    let shown = place.run(&["verify", "get", id, "--address", &served.grpc, "--key", KEY]);
    assert!(shown.succeeded().contains("pending"), "what was acknowledged is still there");
}

#[tokio::test]
async fn the_drain_ends_at_its_deadline() {
    let place = configured("server.drain_deadline = \"300ms\"\n");
    let served = place.serve(&["-c", "verigate.toml"], &[]);
    let call = wait_in(&place, &served, "+60123450006").await;
    served.program.signal(Signal::TERM);
    let ended = served.program.end();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("still under way at the drain deadline"), "{ended:?}");
    assert_eq!(call.end().failed_with(69).len(), 1);
    place.serve(&["-c", "verigate.toml"], &[]);
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let place = configured("server.drain_deadline = \"10m\"\n");
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let mut served = place.serve(&["-c", "verigate.toml"], &[("VERIGATE__STORE__PATH", &format!("data-{code}"))]);
        let call = wait_in(&place, &served, "+60123450006").await;
        served.program.signal(Signal::TERM);
        served.program.wait_for("draining");
        served.program.signal(signal);
        assert_eq!(served.program.end().code, code);
        assert_eq!(call.end().failed_with(69).len(), 1);
    }
}
