//! What is refused before it costs money, and what callers are told.

mod authorization;
mod fraud;
mod limits;
mod money;
mod replay;
mod settings;
mod shared;

use tonic::Status;
use tonic_types::StatusExt;
use verigate::proto::verification::v1::{StartVerificationRequest, StartVerificationResponse};

use crate::support::gateway::{CONFIG, Gateway, Verifications, seconds, start};

/// All that stands in the way of many sends is off, but for what the test turns on.
const OPEN: &str = r#"
[guard.recipient]
mode = "off"
[guard.number_block]
mode = "off"
[guard.sequence]
mode = "off"
[guard.conversion]
mode = "off"
"#;

/// A gateway with these rules of the guard, which stand in for those of [`OPEN`] that have the same name.
async fn guarded(rules: &str) -> Gateway {
    Gateway::start_with(&with(rules)).await
}

/// The whole configuration.
fn with(rules: &str) -> String {
    let heads: Vec<_> = rules.lines().map(str::trim).filter(|line| line.starts_with('[')).collect();
    let open: String = OPEN
        .split("\n[")
        .filter(|section| !section.trim().is_empty())
        .map(|section| format!("[{}\n", section.trim().trim_start_matches('[')))
        .filter(|section| !heads.contains(&section.lines().next().unwrap_or_default()))
        .collect();
    let config = CONFIG.replace("[[tenants]]\nname = \"acme\"", "[[tenants]]\nname = \"acme\"\nadmin = true");
    format!("{}\n{open}\n{rules}\n", without_outcomes(&config))
}

/// The configuration of other tests without what it turns off of the guard, and so that no number of a whole block waits
/// for a clock that stands still: all is delivered, or refused to 003.
fn without_outcomes(config: &str) -> String {
    let (config, _) = config.split_once("# The people of a test").expect("other tests need a lenient guard");
    let plain = |line: &&str| !line.contains("{ pattern") || line.contains("*003");
    config.lines().filter(plain).flat_map(|line| [line, "\n"]).collect()
}

/// A Malaysian mobile number that is like no other one in its last digits: the inbox delivers to it.
fn number(place: u32) -> String {
    format!("+6012{:07}", 3_000_100 + place * 31_400)
}

async fn try_start(
    client: &mut Verifications,
    request: StartVerificationRequest,
) -> Result<StartVerificationResponse, Status> {
    let request = StartVerificationRequest { delivery_wait: seconds(5), ..request };
    client.start_verification(request).await.map(tonic::Response::into_inner)
}

async fn try_number(client: &mut Verifications, number: &str) -> Result<StartVerificationResponse, Status> {
    try_start(client, start(number)).await
}

/// How many starts pass until one is refused, and that refusal.
async fn until_refused(
    client: &mut Verifications,
    requests: impl Iterator<Item = StartVerificationRequest>,
) -> (usize, Status) {
    let mut passed = 0;
    for request in requests {
        match try_start(client, request).await {
            Ok(_) => passed += 1,
            Err(status) => return (passed, status),
        }
    }
    panic!("none of {passed} starts was refused");
}

/// What the metadata of a refusal says.
fn detail(status: &Status, name: &str) -> Option<String> {
    status.get_details_error_info()?.metadata.get(name).cloned()
}
