//! Tests the example against a running gateway, whose addresses come from VERIGATE_ADDRESS and VERIGATE_ADMIN.
//!
//! One test needs an inbox that is slow to some. By hand:
//!
//! ```sh
//! VERIGATE__VENDORS__INBOX__OUTCOMES='[{pattern = "slow-*", outcome = "slow", delay = "25s"}]' verigate serve
//! cargo test
//! ```

use std::cell::Cell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use tonic::Code;

use crate::gateway::retry;
use crate::*;

fn connect(key: &str) -> Gateway {
    Gateway::new(&variable("VERIGATE_ADDRESS", "127.0.0.1:50051"), key).unwrap()
}

fn gateway() -> Gateway {
    connect(&variable("VERIGATE_KEY", "dev.dev-secret"))
}

/// A recipient whom nobody else uses.
fn somebody(name: &str) -> String {
    format!("{name}-{}@example.com", Uuid::new_v4())
}

/// What a call that must fail says of itself.
async fn refusal(gateway: &Gateway, request: pb::StartVerificationRequest, within: Duration) -> Refusal {
    Refusal::of(&gateway.start(request, within).await.unwrap_err())
}

#[tokio::test]
async fn a_watch_sees_another_call_approve() {
    let (gateway, recipient) = (gateway(), somebody("ann"));
    let metadata = [("order".to_owned(), "17".to_owned())].into();
    let request = pb::StartVerificationRequest { metadata, ..to_request(&recipient) };
    let started = gateway.start(request, DEADLINE).await.unwrap();
    assert_eq!(started.status(), pb::VerificationStatus::Pending);
    assert_eq!(started.metadata["order"], "17");

    let seen = Arc::new(Mutex::new(Vec::new()));
    let watching = tokio::spawn({
        let (gateway, id, seen) = (gateway.clone(), started.id.clone(), Arc::clone(&seen));
        async move { gateway.watch(&id, Duration::from_secs(60), |status| seen.lock().unwrap().push(status)).await }
    });
    while seen.lock().unwrap().is_empty() && !watching.is_finished() {
        tokio::task::yield_now().await;
    }
    let code = read_code(&recipient).await.unwrap();
    assert_eq!(check(&gateway, &started.id, &wrong(&code)).await.unwrap(), pb::CheckOutcome::WrongCode);
    assert_eq!(check(&gateway, &started.id, &code).await.unwrap(), pb::CheckOutcome::Approved);
    // The stream ends by itself after the terminal status.
    watching.await.unwrap().unwrap();
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen.first(), Some(&pb::VerificationStatus::Pending));
    assert_eq!(seen.last(), Some(&pb::VerificationStatus::Approved));
    assert_eq!(check(&gateway, &started.id, &code).await.unwrap(), pb::CheckOutcome::AlreadyApproved);
}

#[tokio::test]
async fn a_limit_names_itself_and_the_wait() {
    let (gateway, recipient) = (gateway(), somebody("ann"));
    gateway.start(to_request(&recipient), DEADLINE).await.unwrap();
    let refusal = refusal(&gateway, to_request(&recipient), DEADLINE).await;
    assert_eq!(refusal.code, Code::ResourceExhausted);
    assert_eq!((refusal.reason.as_str(), refusal.domain.as_str()), ("COOL_DOWN", "verigate"));
    assert_eq!(refusal.quotas, ["COOL_DOWN"]);
    let wait = refusal.retry_after.unwrap();
    assert!(!wait.is_zero() && wait <= Duration::from_secs(30), "{wait:?}");
}

#[tokio::test]
async fn a_bad_request_names_every_field() {
    let request = pb::StartVerificationRequest { scope: "not a scope".to_owned(), ..to_request("nobody") };
    let refusal = refusal(&gateway(), request, DEADLINE).await;
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    assert_eq!(refusal.fields.keys().collect::<Vec<_>>(), ["recipient.phone", "scope"]);
    assert_eq!(refusal.retry_after, None);
}

#[tokio::test]
async fn a_wrong_key_is_refused() {
    let refusal = refusal(&connect("dev.wrong"), to_request(&somebody("ann")), DEADLINE).await;
    assert_eq!((refusal.code, refusal.reason.as_str()), (Code::Unauthenticated, "CREDENTIALS_INVALID"));
}

#[tokio::test]
async fn a_deadline_ends_a_call_that_waits_and_a_watch() {
    let wait = Some(prost_types::Duration { seconds: 20, nanos: 0 });
    let request = pb::StartVerificationRequest { delivery_wait: wait, ..to_request(&somebody("slow")) };
    let began = Instant::now();
    let refusal = refusal(&gateway(), request, Duration::from_secs(1)).await;
    assert_eq!(refusal.code, Code::DeadlineExceeded, "{refusal:?}");
    assert!((0.9..15.0).contains(&began.elapsed().as_secs_f64()));

    let id = gateway().start(to_request(&somebody("ann")), DEADLINE).await.unwrap().id;
    let watched = gateway().watch(&id, Duration::from_secs(1), |_| ()).await;
    assert_eq!(watched.unwrap_err().code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn only_unavailable_is_tried_again() {
    for (code, tries) in [(Code::Unavailable, 4), (Code::ResourceExhausted, 1), (Code::Unknown, 1)] {
        let tried = Cell::new(0);
        let outcome = retry(DEADLINE, async |_| {
            tried.set(tried.get() + 1);
            Err::<(), _>(Status::new(code, "as asked"))
        });
        assert_eq!(outcome.await.unwrap_err().code(), code);
        assert_eq!(tried.get(), tries, "{code:?}");
    }
}

/// Behind VERIGATE_FLAKY the gateway is away at first, and then its answer is lost: the code goes out once all the same.
#[tokio::test]
async fn a_start_whose_answer_is_lost_sends_once() {
    let address = variable("VERIGATE_FLAKY", &variable("VERIGATE_ADDRESS", "127.0.0.1:50051"));
    let flaky = Gateway::new(&address, &variable("VERIGATE_KEY", "dev.dev-secret")).unwrap();
    let recipient = somebody("ann");
    let started = flaky.start(to_request(&recipient), DEADLINE).await.unwrap();
    assert_eq!(started.sends.len(), 1);
    assert_eq!(read_inbox(&recipient).await.unwrap().len(), 1);
}

#[test]
fn the_program_verifies() {
    let output =
        Command::new(env!("CARGO")).args(["run", "--quiet", "--locked", "--", &somebody("ann")]).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    for part in [
        "DeadlineExceeded",
        "CHECK_OUTCOME_WRONG_CODE, 4 checks left",
        "CHECK_OUTCOME_APPROVED",
        "watch: VERIFICATION_STATUS_APPROVED",
        "ResourceExhausted COOL_DOWN, wait ",
        "InvalidArgument INVALID_FIELD",
    ] {
        assert!(printed.contains(part), "{part} is not in\n{printed}");
    }
}

#[tokio::test]
async fn the_program_asks_for_the_code() {
    let recipient = somebody("ann");
    let mut program = Command::new(env!("CARGO"));
    let program = program.args(["run", "--quiet", "--locked", "--", &recipient, "--ask"]);
    let mut program = program.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.next().unwrap().starts_with("started ") && lines.next().unwrap() == "which code came?");
    let code = read_code(&recipient).await.unwrap();
    let mut stdin = program.stdin.take().unwrap();
    writeln!(stdin, "{}\n{code}", wrong(&code)).unwrap();
    let rest: Vec<_> = lines.collect();
    assert!(rest[0].starts_with("checked: CHECK_OUTCOME_WRONG_CODE") && rest[2].contains("APPROVED"), "{rest:?}");
    assert!(program.wait().unwrap().success());
}
