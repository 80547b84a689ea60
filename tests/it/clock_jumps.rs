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
    CONFIG, Gateway, PHONE, START, Verifications, eventually, get_verification, judge, phone, reason, resend,
    retry_after, start, start_now, text_to, wrong,
};
use crate::support::load::{Client, Dice, Met, Progress, SETTINGS};
use crate::support::process::Process;

const JUMPS: [Duration; 2] = [Duration::from_secs(3600), Duration::from_secs(24 * 3600)];
const SECOND: Duration = Duration::from_secs(1);
const OTHER: &str = "+60123459876";
const CODE: &str = "101010";
/// The vendor asks for a later try with these.
const THROTTLED: &str = "+60123451004";

/// Without the rules that span recipients: a few people of a test fail more than all of a tenant's do.
async fn gateway() -> Gateway {
    Gateway::start_with(&format!("{CONFIG}\n[guard.tenant_failures]\nmode = \"off\"\n")).await
}

fn refusal<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    reason(&answer.unwrap_err())
}

async fn fails(client: &mut Verifications, id: &str, code: &str, times: u32) {
    for turn in 0..times {
        judge(client, id, &wrong(code, turn)).await;
    }
}

/// Begins with a code of one's own: which message is the newest is told by the clock.
async fn begin(client: &mut Verifications, phone: &str, code: &str) -> Result<String, Status> {
    let request = StartVerificationRequest { custom_code: code.to_owned(), ..start(phone) };
    Ok(start_now(client, request).await?.id)
}

#[tokio::test]
async fn a_clock_set_back_brings_no_code_back_to_life() {
    for jump in JUMPS {
        let gateway = gateway().await;
        let mut client = gateway.verifications().await;
        let tried = begin(&mut client, PHONE, CODE).await.unwrap();
        let old = begin(&mut client, OTHER, CODE).await.unwrap();

        // Who was told that it had run out hears nothing else later.
        gateway.clock.set(START + jump);
        assert_eq!(judge(&mut client, &tried, CODE).await, CheckOutcome::Expired);
        gateway.clock.set(START + SECOND);
        assert_eq!(judge(&mut client, &tried, CODE).await, CheckOutcome::Expired);
        // A little is forgiven, for clocks are set by a little all the time.
        gateway.clock.set(START.saturating_sub(Duration::from_secs(60)));
        assert_eq!(judge(&mut client, &old, &wrong(CODE, 0)).await, CheckOutcome::WrongCode);
        // Else it would live for as long again as the clock was set back.
        gateway.clock.set(START.saturating_sub(jump));
        assert_eq!(get_verification(&mut client, &old).await.status(), VerificationStatus::Expired);
        assert_eq!(judge(&mut client, &old, CODE).await, CheckOutcome::Expired);
        gateway.clock.set(START + SECOND);
        assert_eq!(judge(&mut client, &old, CODE).await, CheckOutcome::Expired);
        assert_eq!(refusal(resend(&mut client, &old).await), "VERIFICATION_NOT_PENDING");
    }
}

#[tokio::test]
async fn a_clock_set_forth_and_back_lifts_no_lock_and_no_wait() {
    for jump in JUMPS {
        let gateway = gateway().await;
        let mut client = gateway.verifications().await;
        let mut now = START;
        let refused = loop {
            match begin(&mut client, PHONE, CODE).await {
                Ok(id) => fails(&mut client, &id, CODE, 5).await,
                Err(refused) if reason(&refused) == "COOL_DOWN" => {
                    now = now + retry_after(&refused).unwrap();
                    gateway.clock.set(now);
                }
                Err(refused) => break reason(&refused),
            }
        };
        assert_eq!(refused, "RECIPIENT_LOCKED");
        begin(&mut client, OTHER, CODE).await.unwrap();
        gateway.clock.set(now + jump);
        gateway.clock.set(now + SECOND);
        assert_eq!(refusal(begin(&mut client, PHONE, CODE).await), refused);
        assert_eq!(refusal(begin(&mut client, OTHER, CODE).await), "COOL_DOWN");
        gateway.clock.set(now.saturating_sub(jump));
        assert_eq!(refusal(begin(&mut client, PHONE, CODE).await), refused);
    }
}

#[tokio::test]
async fn a_clock_set_back_keeps_nobody_waiting() {
    for jump in JUMPS {
        let gateway = gateway().await;
        let mut client = gateway.verifications().await;
        let mut ids = BTreeSet::from([begin(&mut client, PHONE, CODE).await.unwrap()]);
        for now in [START.saturating_sub(jump), START + jump, START] {
            gateway.clock.set(now);
            let id = begin(&mut client, PHONE, "202020").await.unwrap();
            assert_eq!(judge(&mut client, &id, "202020").await, CheckOutcome::Approved, "at {now}");
            assert!(ids.insert(id));
            gateway.clock.advance(Duration::from_secs(120));
        }
        let request = ListVerificationsRequest { recipient: Some(phone(PHONE)), ..ListVerificationsRequest::default() };
        let listed = client.list_verifications(request).await.unwrap().into_inner().verifications;
        let listed: BTreeSet<_> = listed.into_iter().map(|verification| verification.id).collect();
        // One that is more than a day old is kept no longer.
        assert!(listed.is_subset(&ids) && listed.len() >= ids.len() - usize::from(jump == JUMPS[1]), "{listed:?}");
    }
}

#[tokio::test]
async fn an_idempotency_key_holds_whatever_the_clock_does() {
    for jump in JUMPS {
        let gateway = gateway().await;
        let mut client = gateway.verifications().await;
        let request = || StartVerificationRequest { idempotency_key: "once".to_owned(), ..start(PHONE) };
        let id = start_now(&mut client, request()).await.unwrap().id;
        // Not a whole day: after that it is forgotten, by rule.
        for now in [START.saturating_sub(jump), START + (jump - SECOND), START, START + SECOND] {
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
        let gateway = gateway().await;
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
