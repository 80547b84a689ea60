//! What makes the rules testable and the vendors replaceable: which names may stand in which files.

use crate::architecture::Finding;
use crate::architecture::source::{Kind, Source, Token, reads};

/// Crates of the wires and stores, which the rules of the house do not name.
const OUTSIDE: &[&str] = &["tonic", "prost", "axum", "reqwest", "sled", "redis"];
const RULE_FOLDERS: &[&str] = &["src/verification", "src/contacts", "src/messaging", "src/guard", "src/event"];

/// Synchronous files that take `now`: their rules can be tested without a runtime or a clock.
const PURE: &[&str] = &[
    "src/verification/verification.rs",
    "src/verification/judging.rs",
    "src/verification/vendor_code.rs",
    "src/verification/fitting.rs",
    "src/verification/policy.rs",
    "src/verification/code.rs",
    "src/contacts/cell.rs",
    "src/contacts/column.rs",
    "src/contacts/date.rs",
    "src/contacts/filter.rs",
    "src/contacts/row.rs",
    "src/contacts/table.rs",
    "src/messaging/message.rs",
    "src/messaging/sending.rs",
    "src/messaging/fate.rs",
    "src/messaging/made.rs",
    "src/messaging/errand.rs",
    "src/segment.rs",
    "src/messaging/route.rs",
    "src/messaging/rounds.rs",
    "src/messaging/backoff.rs",
    "src/messaging/callback.rs",
    "src/messaging/breaker.rs",
    "src/messaging/budget.rs",
    "src/messaging/rate.rs",
    "src/messaging/recent.rs",
    "src/messaging/health.rs",
    "src/guard/area.rs",
    "src/guard/conversion.rs",
    "src/guard/gcra.rs",
    "src/guard/price.rs",
    "src/guard/sequence.rs",
    "src/guard/table.rs",
    "src/auth/act.rs",
    "src/auth/changes.rs",
    "src/auth/key.rs",
    "src/auth/roster.rs",
    "src/auth/scope.rs",
];
const IMPURE: &[&str] = &["async", "await", "tokio", "Clock", "SystemClock", "ManualClock", "OsRandom"];

const VENDORS: &[&str] = &["esms", "hasun", "simpu", "octopush", "inbox"];

/// Where a vendor's name may stand beside its own adapter and dialect, and why.
const VENDORS_NAMED: &[(&str, &[&str], &str)] = &[
    ("src/config", VENDORS, "one variant for each kind of vendor"),
    ("src/server", VENDORS, "one match arm for each kind of vendor"),
    ("src/rest/mod.rs", VENDORS, "mounts each dialect under its name"),
    ("src/console", &["inbox"], "the page of the dev inbox"),
    ("src/cli/serve.rs", &["inbox"], "the banner of the dev profile says where that page is"),
];

/// Ways to wait that no clock of ours can wind forward.
const WAITS: &[&[&str]] = &[
    &["std", "thread", "sleep"],
    &["tokio", "time", "sleep"],
    &["tokio", "time", "sleep_until"],
    &["tokio", "time", "interval"],
    &["tokio", "time", "interval_at"],
];

/// Files that wait all the same, and why.
const WAITERS: &[(&str, &str)] = &[
    ("src/clock.rs", "the clock of the machine waits by the machine's timer"),
    (
        "src/cli/supervisor.rs",
        "signs of life come by the machine's timer: a clock that is set must not look like a hang",
    ),
    (
        "src/store/redis/pace.rs",
        "servers are watched by the machine's timer: a clock that is set must not end the watch",
    ),
    ("examples/rust/src/gateway.rs", "a program of its own, which knows nothing of ours"),
    ("tests/it/store.rs", "a process is killed at a moment that depends on nothing it does"),
];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = waits(source);
    if source.is_under(&["src"]) {
        findings.extend(outside_crates(source));
        findings.extend(impurities(source));
        findings.extend(vendor_names(source));
        findings.extend(keys(source));
        findings.extend(conversions(source));
    }
    findings
}

/// Time is passed in: nothing waits but through `Clock`, in tests least of all.
fn waits(source: &Source) -> Vec<Finding> {
    if WAITERS.iter().any(|(path, _)| *path == source.path) {
        return Vec::new();
    }
    let waits = source.paths_with_tests().into_iter().filter(|path| WAITS.iter().any(|wait| path.starts_with(wait)));
    waits
        .map(|path| Finding::new(source, path.line, format!("{}: wait through `Clock`", path.segments.join("::"))))
        .collect()
}

fn outside_crates(source: &Source) -> Vec<Finding> {
    if !source.is_under(RULE_FOLDERS) {
        return Vec::new();
    }
    let named = source.code.iter().filter(|token| OUTSIDE.iter().any(|name| token.is(name)));
    named.map(|token| Finding::new(source, token.line, format!("rules do not know {}", token.text))).collect()
}

fn impurities(source: &Source) -> Vec<Finding> {
    if !PURE.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let code = &source.code;
    let named = code.iter().filter(|token| IMPURE.iter().any(|name| token.is(name))).map(|token| {
        Finding::new(source, token.line, format!("{}: this file is synchronous and takes `now`", token.text))
    });
    // A source of randomness may be passed in and handed on, not kept.
    let kept = (0..code.len()).filter(|at| code[*at].is("Random")).filter(|at| {
        let passed = *at > 1 && reads(code, at - 2, &["&", "dyn"]);
        let imported = *at > 0 && (code[at - 1].is("::") || code[at - 1].is("{") || code[at - 1].is(","));
        !passed && !imported
    });
    let kept =
        kept.map(|at| Finding::new(source, code[at].line, "randomness is passed in as `&dyn Random`".to_owned()));
    named.chain(kept).collect()
}

/// Callers ask for capabilities. Comments may explain by example; strings and names may not.
fn vendor_names(source: &Source) -> Vec<Finding> {
    let code = &source.code;
    let mut findings = Vec::new();
    for (at, token) in code.iter().enumerate() {
        let declared = at > 0 && code[at - 1].is("mod") && reads(code, at + 1, &[";"]);
        for vendor in VENDORS.iter().filter(|vendor| names(token, vendor)) {
            let own = [format!("src/vendor/{vendor}"), format!("src/rest/{vendor}")];
            let excepted = VENDORS_NAMED.iter().any(|(path, who, _)| source.is_under(&[path]) && who.contains(vendor));
            if !declared && !excepted && !own.iter().any(|path| source.is_under(&[path])) {
                let rule = format!("{}: only its own files spell the name of vendor `{vendor}`", token.text);
                findings.push(Finding::new(source, token.line, rule));
            }
        }
    }
    findings
}

/// Whether a word of an identifier (`EsmsConfig`, `send_esms`) or of a string is this name.
fn names(token: &Token, name: &str) -> bool {
    let mut words = vec![String::new()];
    let mut after_lower = false;
    for letter in token.text.chars().filter(|_| token.kind != Kind::Mark) {
        if !letter.is_alphanumeric() || (after_lower && letter.is_uppercase()) {
            words.push(String::new());
        }
        after_lower = letter.is_lowercase();
        if let Some(word) = words.last_mut().filter(|_| letter.is_alphanumeric()) {
            word.extend(letter.to_lowercase());
        }
    }
    words.iter().any(|word| word == name)
}

/// A key's layout is known in `store/` alone: others get keys from `store::keys` and never look inside.
fn keys(source: &Source) -> Vec<Finding> {
    if source.is_under(&["src/store"]) {
        return Vec::new();
    }
    let paths = source.paths();
    let made = paths.iter().filter(|path| path.segments == ["crate", "store", "Key", "new"]).map(|path| path.line);
    let knows_keys = paths.iter().any(|path| path.starts_with(&["crate", "store"]));
    let code = &source.code;
    let read = (1..code.len()).filter(|at| {
        let key = code[at - 1].kind == Kind::Word && (code[at - 1].is("key") || code[at - 1].text.ends_with("_key"));
        knows_keys && key && reads(code, *at, &[".", "bytes", "("])
    });
    made.chain(read.map(|at| code[at].line))
        .map(|line| Finding::new(source, line, "keys are made and read in `store` only".to_owned()))
        .collect()
}

/// Wire types are turned into words by a `parse_*` that can refuse, and back by a `to_*`: both can be found by name.
fn conversions(source: &Source) -> Vec<Finding> {
    if !source.is_under(&["src/grpc", "src/rest", "src/proto"]) {
        return Vec::new();
    }
    let code = &source.code;
    let implements = (0..code.len()).filter(|at| {
        let head = code[*at..].iter().take_while(|token| !token.is("for") && !token.is("{"));
        code[*at].is("impl") && head.into_iter().any(|token| token.is("From") || token.is("TryFrom"))
    });
    implements
        .map(|at| Finding::new(source, code[at].line, "wire conversions are `parse_*` in and `to_*` out".to_owned()))
        .collect()
}
