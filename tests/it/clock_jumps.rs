//! The machine's clock is set, an hour or a day, forth or back or both: nothing is forgiven for it, nothing comes back to
//! life, and nobody waits for as long as the jump was.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use tempfile::TempDir;
use tonic::Status;
use verigate::proto::messaging::v1::{GetMessageRequest, MessageStatus};
use verigate::proto::verification::v1::{
    CheckOutcome, ListVerificationsRequest, StartVerificationRequest, VerificationStatus,
};

use crate::power::record::recorder;
use crate::support::gateway::{
    Gateway, PHONE, START, Verifications, eventually, get_verification, judge, phone, reason, resend, start, start_now,
    text_to, wrong,
};
use crate::support::load::{Client, Dice, Met, Progress, SETTINGS};
use crate::support::process::Process;

const JUMPS: [Duration; 2] = [Duration::from_secs(3600), Duration::from_secs(24 * 3600)];
const SECOND: Duration = Duration::from_secs(1);
/// Another send is allowed after that much.
const COOL_DOWN: Duration = Duration::from_secs(30);
/// The vendor asks for a later try with these.
const THROTTLED: &str = "+60123451004";

fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    reason(&answer.unwrap_err())
}

async fn fails(client: &mut Verifications, id: &str, code: &str, times: u32) {
    for turn in 0..times {
        judge(client, id, &wrong(code, turn)).await;
    }
}

#[tokio::test]
async fn a_clock_set_back_brings_no_code_back_to_life() {
    for jump in JUMPS {
        let gateway = Gateway::start().await;
        let mut client = gateway.verifications().await;
        let tried = gateway.begin(&mut client, PHONE).await.id;
        let code = gateway.code(PHONE).await;
        let other = "+60123459876";
        let old = gateway.begin(&mut client, other).await.id;
        let old_code = gateway.code(other).await;

        // Who was told that it had run out hears nothing else later.
        gateway.clock.set(START + jump);
        assert_eq!(judge(&mut client, &tried, &code).await, CheckOutcome::Expired);
        gateway.clock.set(START + SECOND);
        assert_eq!(judge(&mut client, &tried, &code).await, CheckOutcome::Expired);
        // A little is forgiven, for clocks are set by a little all the time.
        gateway.clock.set(START.saturating_sub(Duration::from_secs(60)));
        assert_eq!(judge(&mut client, &old, &wrong(&old_code, 0)).await, CheckOutcome::WrongCode);
        // Else it would live for as long again as the clock was set back.
        gateway.clock.set(START.saturating_sub(jump));
        assert_eq!(get_verification(&mut client, &old).await.status(), VerificationStatus::Expired);
        assert_eq!(judge(&mut client, &old, &old_code).await, CheckOutcome::Expired);
        gateway.clock.set(START + SECOND);
        assert_eq!(judge(&mut client, &old, &old_code).await, CheckOutcome::Expired);
        assert_eq!(refusal(resend(&mut client, &old).await), "VERIFICATION_NOT_PENDING");
    }
}

#[tokio::test]
async fn a_clock_set_forth_and_back_lifts_no_lock_and_no_wait() {
    for jump in JUMPS {
        let gateway = Gateway::start().await;
        let mut client = gateway.verifications().await;
        let id = gateway.begin(&mut client, PHONE).await.id;
        let code = gateway.code(PHONE).await;
        fails(&mut client, &id, &code, 5).await;
        gateway.clock.advance(COOL_DOWN);
        let second = start_now(&mut client, start(PHONE)).await.unwrap().id;
        let code = gateway.code(PHONE).await;
        fails(&mut client, &second, &code, 5).await;
        let locked = refusal(start_now(&mut client, start(PHONE)).await);
        assert_eq!(locked, "RECIPIENT_LOCKED");
        for now in [START + jump, START + COOL_DOWN + SECOND, START.saturating_sub(jump), START + COOL_DOWN] {
            gateway.clock.set(now);
            let ahead = now == START + JUMPS[1];
            let refused = start_now(&mut client, start(PHONE)).await.map_err(|refused| reason(&refused));
            // A day later the window is over, by the only clock there is; that is a way out for nobody but who sets it.
            assert!(ahead || refused == Err(locked.clone()), "at {now}: {refused:?}");
            if ahead {
                break;
            }
        }
        // And the wait for the next send.
        let other = "+60123459876";
        gateway.clock.set(START + COOL_DOWN * 2);
        gateway.begin(&mut client, other).await;
        gateway.clock.set(START + COOL_DOWN * 2 + jump);
        gateway.clock.set(START + COOL_DOWN * 2 + SECOND);
        assert_eq!(refusal(start_now(&mut client, start(other)).await), "COOL_DOWN");
    }
}

#[tokio::test]
async fn a_clock_set_back_keeps_nobody_waiting() {
    for jump in JUMPS {
        let gateway = Gateway::start().await;
        let mut client = gateway.verifications().await;
        let mut ids = BTreeSet::from([gateway.begin(&mut client, PHONE).await.id]);
        for now in [START.saturating_sub(jump), START + jump, START] {
            gateway.clock.set(now);
            let begun = gateway.begin(&mut client, PHONE).await;
            let code = gateway.code(PHONE).await;
            assert_eq!(judge(&mut client, &begun.id, &code).await, CheckOutcome::Approved, "at {now}");
            assert!(ids.insert(begun.id));
            gateway.clock.advance(COOL_DOWN * 4);
        }
        let request = ListVerificationsRequest { recipient: Some(phone(PHONE)), ..ListVerificationsRequest::default() };
        let listed = client.list_verifications(request).await.unwrap().into_inner().verifications;
        assert_eq!(listed.into_iter().map(|verification| verification.id).collect::<BTreeSet<_>>(), ids);
    }
}

#[tokio::test]
async fn an_idempotency_key_holds_whatever_the_clock_does() {
    for jump in JUMPS {
        let gateway = Gateway::start().await;
        let mut client = gateway.verifications().await;
        let request = || StartVerificationRequest { idempotency_key: "once".to_owned(), ..start(PHONE) };
        let id = start_now(&mut client, request()).await.unwrap().id;
        // Not a whole day: after that it is forgotten, by rule.
        for now in [START.saturating_sub(jump), START + (jump - SECOND), START, START + COOL_DOWN] {
            gateway.clock.set(now);
            assert_eq!(start_now(&mut client, request()).await.unwrap().id, id, "at {now}");
        }
        assert_eq!(gateway.inbox(PHONE).await.len(), 1);
    }
}

/// What was to be done before the jump does not hold up what is to be done after it.
#[tokio::test]
async fn due_work_goes_on_after_a_clock_set_back() {
    for jump in JUMPS {
        let gateway = Gateway::start().await;
        let mut client = gateway.messages().await;
        client.send_message(text_to(THROTTLED, "before")).await.unwrap();
        for now in [START + jump, START, START.saturating_sub(jump)] {
            gateway.clock.set(now);
            let sent = client.send_message(text_to(THROTTLED, "after")).await.unwrap();
            let id = sent.into_inner().message.unwrap().id;
            let mut attempts = async |least: i32| {
                eventually(async || {
                    let request = GetMessageRequest { id: id.clone() };
                    let message = client.get_message(request).await.unwrap().into_inner().message.unwrap();
                    let is_there = message.attempts >= least && message.status() == MessageStatus::Queued;
                    is_there.then_some(())
                })
                .await;
            };
            attempts(1).await;
            gateway.clock.advance(Duration::from_secs(7));
            attempts(2).await;
        }
    }
}

/// The real program, whose clock of the day is set while its other clock goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_goes_on_when_the_clock_of_its_machine_is_set() {
    let place = TempDir::new().unwrap();
    let offset = place.path().join("offset");
    fs::write(&offset, "0").unwrap();
    let preload = [("LD_PRELOAD", recorder().to_str().unwrap()), ("RECORDER_CLOCK", offset.to_str().unwrap())];
    let process = Process::start(place.path(), &[SETTINGS, &preload].concat()).await;
    let mut client = Client::connect(&process, 1, &Progress::until(0)).await.remove(0);
    let mut dice = Dice::new(1);
    for (number, seconds) in [0, 3_600, 86_400, 0, -3_600, -86_400, 0].into_iter().enumerate() {
        fs::write(&offset, seconds.to_string()).unwrap();
        assert!(client.meet_once(&mut Met::new(&format!("+601220000{number}0")), false, &mut dice).await);
    }
    process.kill();
}
