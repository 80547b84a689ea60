//! Each rule against a file that breaks it, and against neighbours that do not.

use crate::architecture::check;
use crate::architecture::source::Source;

/// A house that keeps the rules, in which each example replaces or adds one file.
const HOUSE: &[(&str, &str)] = &[
    ("src/lib.rs", "pub mod clock;"),
    ("src/main.rs", "mod cli;\nfn main() { crate::cli::run() }"),
    ("src/cli/mod.rs", "mod exit;\nmod serve;\nuse crate::cli::serve::run;"),
    ("src/cli/exit.rs", ""),
    ("src/cli/serve.rs", "use crate::cli::exit::Failure;\nuse verigate::server::Server;"),
    ("src/clock.rs", ""),
    ("src/error.rs", ""),
    ("src/random.rs", "use crate::error::Error;"),
    ("src/recipient.rs", "use crate::id::Id;"),
    ("src/store/mod.rs", "pub mod keys;\npub mod sled;"),
    ("src/store/keys.rs", "use crate::store::Key;"),
    ("src/store/sled.rs", "use crate::store::Store;\nuse sled::Db;"),
    ("src/vendor/mod.rs", "pub mod esms;\npub mod http;\npub mod inbox;"),
    ("src/vendor/esms.rs", "use crate::vendor::http;\nconst NAME: &str = \"esms\";"),
    ("src/vendor/http.rs", "use crate::vendor::Failure;"),
    ("src/vendor/inbox.rs", "use crate::vendor::Vendor;"),
    ("src/vendor/smtp.rs", "use crate::vendor::Vendor;"),
    ("src/event.rs", "use crate::store::keys;"),
    ("src/messaging/mod.rs", "mod route;\nmod segment;\nuse crate::messaging::route::Route;"),
    ("src/messaging/route.rs", ""),
    ("src/messaging/segment.rs", "use crate::messaging::route::Route;"),
    ("src/verification/mod.rs", "mod code;\nuse crate::verification::code::Code;"),
    ("src/verification/code.rs", "use crate::random::Random;\nfn draw(random: &dyn Random) {}"),
    ("src/config.rs", "use crate::vendor::{esms, inbox};\nuse crate::grpc::Config;\nstruct A(esms::Config);"),
    ("src/grpc/mod.rs", "use crate::verification::Service;"),
    ("src/console/inbox.rs", "use crate::vendor::inbox::Inbox;"),
    ("src/server.rs", "use crate::store::sled::SledStore;\nuse crate::vendor::esms;"),
];

/// Path, text and the beginning of the one finding after `path:`.
const BAD: &[(&str, &str, &str)] = &[
    // Floors.
    ("src/random.rs", "use crate::store::Store;", "2: crate::store::Store: `random` (floor 1) imports from lower"),
    ("src/clock.rs", "use crate::error::Error;", "2: crate::error::Error: `clock` imports nothing of ours"),
    ("src/vendor/mod.rs", "\nfn f() { crate::event::append() }", "3: crate::event::append: `vendor` (floor 4)"),
    ("src/store/keys.rs", "use crate::{error::Error, config as c};", "2: crate::config: `store` (floor 3)"),
    ("src/grpc/mod.rs", "use crate::rest::Problem;", "2: crate::rest::Problem: `grpc` (floor 7) imports from lower"),
    ("src/grpc/mod.rs", "use crate::event::Event;", "2: crate::event::Event: `event` is not for floor 7"),
    ("src/verification/mod.rs", "use crate::proto::Code;", "2: crate::proto::Code: `proto` is not for floor 6"),
    ("src/grpc/mod.rs", "use crate::vendor;\nfn f() { vendor::http::get() }", "3: crate::vendor::http::get: `http` is"),
    ("src/webhook.rs", "use crate::store::sled::SledStore;", "2: crate::store::sled::SledStore: `sled` is conc"),
    ("src/config.rs", "use crate::vendor::esms;\nfn f() { esms::send() }", "3: crate::vendor::esms::send: `esms` is"),
    ("src/main.rs", "use verigate::store::Store;", "2: verigate::store::Store: the program knows only"),
    ("src/cli/serve.rs", "use verigate::store::Store;", "2: verigate::store::Store: the program knows only"),
    ("src/cli/serve.rs", "use crate::cli::run;", "2: crate::cli::run: no child imports"),
    ("src/cli/exit.rs", "use crate::cli::serve::run;", "2: imports go in a circle"),
    ("src/server.rs", "use crate::cli::exit::Failure;", "2: crate::cli::exit::Failure: `server` (floor 8) imports"),
    ("src/helpers.rs", "", "1: `helpers` has no place"),
    ("src/event.rs", "use crate::helpers::help;", "2: crate::helpers::help: `helpers` has no place"),
    // Folders and circles.
    ("src/store/mod.rs", "pub mod sled;\nuse self::sled::SledStore;", "3: crate::store::sled::SledStore: a port imp"),
    ("src/vendor/inbox.rs", "use crate::vendor::smtp::Smtp;", "2: crate::vendor::smtp::Smtp: the children of a port"),
    ("src/messaging/segment.rs", "use crate::messaging::Service;", "2: crate::messaging::Service: no child imports"),
    ("src/messaging/route.rs", "use crate::messaging::segment::Segments;", "2: imports go in a circle"),
    (
        "src/id.rs",
        "use crate::recipient::Phone;",
        "2: imports go in a circle: src/id.rs → src/recipient.rs → src/id.rs",
    ),
    // Names.
    ("src/event.rs", "use prost::Message;", "2: rules do not know prost"),
    ("src/verification/mod.rs", "fn f() -> Result<(), tonic::Status> {}", "2: rules do not know tonic"),
    ("src/verification/code.rs", "async fn f() {}", "2: async: this file is synchronous"),
    ("src/messaging/route.rs", "fn f(clock: &dyn Clock) {}", "2: Clock: this file is synchronous"),
    ("src/verification/code.rs", "struct Maker { random: Arc<dyn Random> }", "2: randomness is passed in"),
    ("src/messaging/mod.rs", "fn f(v: &str) -> bool { v == \"esms\" }", "2: \"esms\": only its own files"),
    ("src/bench.rs", "struct HasunCaller;", "2: HasunCaller: only its own files"),
    ("src/vendor/esms.rs", "fn like_simpu() {}", "2: like_simpu: only its own files"),
    ("src/event.rs", "use crate::store::Key;\nfn f(p: P) { Key::new(p, b\"x\"); }", "3: keys are made and read"),
    ("src/event.rs", "fn f(last_key: &crate::store::Key) { last_key.bytes(); }", "2: keys are made and read"),
    ("src/grpc/mod.rs", "impl From<Verification> for wire::Verification {}", "2: wire conversions are"),
    ("src/event.rs", "use tokio::time;\nasync fn f() { time::sleep(D).await }", "3: tokio::time::sleep: wait through"),
    ("tests/it/x.rs", "fn f() { std::thread::sleep(D) }", "2: std::thread::sleep: wait through"),
    ("src/event.rs", "#[cfg(test)]\nmod tests { use tokio::time::sleep; }", "3: tokio::time::sleep: wait through"),
    // Manners.
    ("src/event.rs", concat!("// TO", "DO: later"), "2: no notes to self"),
    ("src/event.rs", "fn f() { todo!() }", "2: nothing unfinished"),
    ("tests/it/x.rs", "fn f() { dbg!(1); }", "2: nothing unfinished"),
    ("src/event.rs", "#[allow(dead_code)]\nfn f() {}", "2: an `allow` or `expect` gives its reason"),
    ("src/event.rs", "#![expect(dead_code)]", "2: an `allow` or `expect` gives its reason"),
    ("src/event.rs", "#[cfg_attr(unix, allow(dead_code))]\nfn f() {}", "2: an `allow` or `expect` gives its reason"),
    ("tests/it/x.rs", "#[test]\n#[ignore = \"slow\"]\nfn f() {}", "3: no test is ignored"),
    ("src/lib.rs", "#[cfg(unix)]\npub mod a;\npub use a::B;", "4: `lib.rs` declares modules"),
    ("src/event.rs", "use super::Thing;", "2: no `super::` outside tests"),
    ("src/event.rs", "use std::fmt::*;", "2: no glob imports outside tests"),
];

#[test]
fn a_house_that_keeps_the_rules_is_left_in_peace() {
    let good = [
        (
            "src/event.rs",
            "fn f(v: V) { v.expect(\"set\"); } // esms, as an example\n#[expect(dead_code, reason = \"r\")] fn g() {}",
        ),
        (
            "src/event.rs",
            "#[cfg(test)]\nmod tests { use super::*; use crate::config::Config; const A: &str = \"esms\"; }",
        ),
        (
            "src/event.rs",
            "//! Says sled.\n/// As tonic does.\nfn f(callback: fn(u8) -> u8, next: impl Iterator<Item = u8>) {}",
        ),
        ("src/store/mod.rs", "pub mod sled;\nmacro_rules! m { ($($t:tt)*) => {} }\nfn f() -> impl Sized + use<> {}"),
        (
            "tests/it/x.rs",
            "use super::y::*;\nasync fn f() { tokio::time::timeout(D, x()).await; clock.sleep_until(at).await }",
        ),
    ];
    for (path, text) in good {
        assert_eq!(findings_with(path, &format!("//! Head.\n{text}")), [""; 0], "{text}");
    }
}

#[test]
fn every_rule_bites() {
    let bad = BAD.iter().map(|(path, text, expected)| (*path, format!("//! Head.\n{text}"), *expected));
    let headless = ("src/event.rs", "fn f() {}".to_owned(), "1: a file begins with `//!`");
    let complaints: Vec<_> =
        bad.chain([headless]).filter_map(|(path, text, expected)| differs(path, &text, expected)).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn sizes_count_code_and_nothing_else() {
    let quiet = "\n// A comment.\n/// Another.\n".repeat(300);
    let function =
        |lines: usize| format!("//! Head.\n{quiet}fn f() {{\n{}}}\n", "    g();\n\n    // h\n".repeat(lines - 2));
    assert_eq!(findings_with("src/event.rs", &function(60)), [""; 0]);
    assert_eq!(differs("src/event.rs", &function(61), "902: `f` has 61 lines of code"), None);

    let file =
        |lines| format!("//! Head.\n{quiet}{}#[cfg(test)]\nmod tests {{\n fn f() {{}}\n}}\n", "mod a;\n".repeat(lines));
    assert_eq!(findings_with("src/event.rs", &file(400)), [""; 0]);
    assert_eq!(differs("src/event.rs", &file(401), "1: 401 lines of code"), None);
}

/// What is wrong when the file is not found to have exactly the expected fault.
fn differs(path: &str, text: &str, expected: &str) -> Option<String> {
    let findings = findings_with(path, text);
    let as_expected = matches!(&*findings, [only] if only.starts_with(&format!("{path}:{expected}")));
    (!as_expected).then(|| format!("expected {path}:{expected}\n  found {findings:#?}\n  in {text}\n"))
}

/// The findings in the good house once this file is in it.
fn findings_with(path: &str, text: &str) -> Vec<String> {
    let mut sources: Vec<_> = HOUSE
        .iter()
        .filter(|(other, _)| *other != path)
        .map(|(other, text)| Source::new(other, &format!("//! Head.\n{text}")))
        .collect();
    sources.push(Source::new(path, text));
    check(&sources)
}
