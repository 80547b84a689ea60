//! The pure state machines under random histories: whatever happens in whichever order, the rules hold.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};
use proptest::test_runner::TestCaseError;
use verigate::clock::Timestamp;
use verigate::event::history::EventKind;
use verigate::id::{Id, Partition};
use verigate::messaging::errand::CodeWish;
use verigate::messaging::holder::SendRecord;
use verigate::messaging::last_line::LastLine;
use verigate::messaging::sending::{Persistence, SendStatus, Sending};
use verigate::random::OsRandom;
use verigate::recipient::{Phone, Recipient};
use verigate::store::keys::Fingerprint;
use verigate::store::record;
use verigate::vendor::{Accepted, Channel, Failure, FeedbackOutcome, Receipt, ReceiptStatus, Rejection};
use verigate::verification::answers::{Answer, CheckKey, Judgement, Known};
use verigate::verification::beginning::{Beginning, Secret};
use verigate::verification::code::{Candidate, Code};
use verigate::verification::judging::Settled;
use verigate::verification::vendor_code::Heard as HeardOfVendor;
use verigate::verification::verification::{Heard, Status, Verdict, Verification};
use verigate::verification::workflow::{Progress, Step, WorkflowConfig};

const START: u64 = 1_800_000_000_000;
const LIFETIME: Duration = Duration::from_secs(600);
const LEASE: Duration = Duration::from_secs(15);
const MAX_CHECKS: u32 = 5;
const MAX_SENDS: u32 = 4;
const RULES: Persistence = Persistence { max_attempts: 4, backoff: Duration::from_secs(2) };

/// What checks with an idempotency key are known by, made of a number each.
fn check_key(key: u8, right: bool) -> CheckKey {
    // Both are sixteen bytes, and only the store's own file makes the tag of a key.
    let tag = record::encode(&Fingerprint::from_bytes([key; 16])).unwrap();
    CheckKey {
        request: record::decode(&tag).unwrap(),
        fingerprint: Fingerprint::from_bytes([key, u8::from(right)].repeat(8).try_into().unwrap()),
    }
}

/// Something that can happen to a verification.
#[derive(Debug, Clone)]
enum Happening {
    Wait(u64),
    Check {
        right: bool,
        key: Option<u8>,
    },
    Resend,
    Cancel,
    /// The worker looks at the workflow, whether or not a step is due.
    Step {
        locked: bool,
    },
    /// The worker looks at a send, whether or not it is due.
    Worker {
        send: u8,
    },
    /// A vendor call ends, perhaps one that nobody waits for any more.
    Outcome {
        send: u8,
        attempt: u8,
        outcome: Result<Accepted, Failure>,
    },
    Receipt {
        send: u8,
        attempt: u8,
        vendor: u8,
        status: ReceiptStatus,
    },
    /// Somebody says whether the code arrived.
    Feedback(FeedbackOutcome),
}

fn happening() -> impl Strategy<Value = Happening> {
    let send = 0..3_u8;
    prop_oneof![
        (0..200_u64).prop_map(Happening::Wait),
        (any::<bool>(), key()).prop_map(|(right, key)| Happening::Check { right, key }),
        key().prop_map(|key| Happening::Check { right: false, key }),
        proptest::strategy::Just(Happening::Resend),
        proptest::strategy::Just(Happening::Cancel),
        proptest::sample::select(vec![false, false, true]).prop_map(|locked| Happening::Step { locked }),
        send.clone().prop_map(|send| Happening::Worker { send }),
        (send.clone(), 0..5_u8, outcome()).prop_map(|(send, attempt, outcome)| Happening::Outcome {
            send,
            attempt,
            outcome
        }),
        proptest::sample::select(vec![FeedbackOutcome::Received, FeedbackOutcome::NotReceived])
            .prop_map(Happening::Feedback),
        (send, 0..5_u8, 0..2_u8, receipt_status()).prop_map(|(send, attempt, vendor, status)| Happening::Receipt {
            send,
            attempt,
            vendor,
            status
        }),
    ]
}

fn key() -> impl Strategy<Value = Option<u8>> {
    proptest::sample::select(vec![None, Some(1), Some(2), Some(3)])
}

fn outcome() -> impl Strategy<Value = Result<Accepted, Failure>> {
    use proptest::strategy::Just;
    let receipt = proptest::option::of(receipt_status());
    prop_oneof![
        receipt.prop_map(|receipt| Ok(Accepted { vendor_reference: Some("theirs".to_owned()), receipt })),
        Just(Err(Failure::Rejected(Rejection::InvalidRecipient))),
        Just(Err(Failure::Rejected(Rejection::InsufficientCredit))),
        Just(Err(Failure::Throttled { after: Some(Duration::from_secs(7)) })),
        Just(Err(Failure::Unavailable)),
        Just(Err(Failure::Unknown)),
    ]
}

fn receipt_status() -> impl Strategy<Value = ReceiptStatus> {
    use proptest::strategy::Just;
    prop_oneof![Just(ReceiptStatus::Delivered), Just(ReceiptStatus::Undelivered), Just(ReceiptStatus::Expired)]
}

fn route() -> Vec<String> {
    vec!["a".to_owned(), "b".to_owned()]
}

fn verification(now: Timestamp) -> Verification {
    verification_in(None, now)
}

fn workflow() -> Progress {
    let step = |channel, wait: Option<u64>| Step { channel, wait: wait.map(Duration::from_secs) };
    let steps = vec![step(Channel::Sms, Some(30)), step(Channel::WhatsApp, Some(60)), step(Channel::Voice, None)];
    let (name, countries, tenants) = ("ladder".to_owned(), Vec::new(), Vec::new());
    Progress::new(&WorkflowConfig { name, steps, countries, tenants, default: false }).unwrap().1
}

fn verification_in(workflow: Option<Progress>, now: Timestamp) -> Verification {
    verification_with(Secret::Ours(Code::custom("012345").unwrap()), workflow, now)
}

fn verification_with(secret: Secret, workflow: Option<Progress>, now: Timestamp) -> Verification {
    let recipient = Recipient::Phone(Phone::parse("+60123456789", None).unwrap());
    let beginning = Beginning {
        id: Id::new(now, Partition::new(1), &OsRandom),
        tenant: "dev".parse().unwrap(),
        recipient,
        scope: "login".to_owned(),
        secret,
        expires_at: now + LIFETIME,
        max_checks: MAX_CHECKS,
        locale: None,
        sender: None,
        metadata: BTreeMap::new(),
        template: "default".to_owned(),
        variables: BTreeMap::new(),
        text: None,
        last_line: LastLine::default(),
        workflow,
        trusted: false,
        ends_aloud: false,
    };
    let mut verification = Verification::new(beginning, now);
    let (sending, history) = verification.add_send(Channel::Sms, MAX_SENDS, now).unwrap();
    sending.begin("a", now, LEASE, history);
    verification
}

/// Applies what happened; returns the verdict, when it was a check.
fn apply(verification: &mut Verification, happening: &Happening, now: &mut Timestamp) -> Option<Verdict> {
    let route = route();
    match happening {
        Happening::Wait(seconds) => *now = *now + Duration::from_secs(*seconds),
        Happening::Check { right, key } => {
            let candidate = Candidate::parse(if *right { "012345" } else { "012346" }).unwrap();
            let key = key.map(|key| check_key(key, *right));
            if key.is_some_and(|key| verification.known(&key) != Known::Nothing) {
                return None;
            }
            let verdict = verification.check(&candidate, *now);
            if let (Some(key), Verdict::Judged(judgement)) = (key, verdict) {
                let (checks_left, next_check_at) = (verification.checks_left(), None);
                verification.remember(Answer { key, judgement, checks_left, next_check_at });
            }
            return Some(verdict);
        }
        Happening::Resend => {
            verification.add_send(Channel::Sms, MAX_SENDS, *now);
        }
        Happening::Cancel => {
            verification.cancel(*now);
        }
        Happening::Step { locked } => {
            if verification.due_at().is_some_and(|due_at| due_at <= *now) {
                let until = locked.then_some(*now + Duration::from_secs(100));
                if let Some(channel) = verification.begin_step(until, MAX_SENDS, |_| true, *now) {
                    let waits = |sending: &Sending| sending.status == SendStatus::Queued;
                    assert!(!verification.sends().iter().any(waits), "a step that was passed still sends");
                    assert!(verification.add_send(channel, MAX_SENDS, *now).is_some(), "a step without a send");
                }
            }
        }
        Happening::Worker { send } => {
            let pending = verification.status(*now) == Status::Pending;
            if let Some((sending, history)) = verification.send_mut(*send) {
                let due = sending.due_at.is_some_and(|due| due <= *now);
                match sending.next_vendor(&route).map(str::to_owned) {
                    Some(vendor) if due && pending && sending.status == SendStatus::Queued => {
                        sending.begin(&vendor, *now, LEASE, history);
                    }
                    _ => drop(sending.wake(&route, RULES, *now, history)),
                }
                verification.send_moved(*now);
            }
        }
        Happening::Outcome { send, attempt, outcome } => {
            if let Some((sending, history)) = verification.send_mut(*send) {
                sending.settle(*attempt, outcome, &route, RULES, false, *now, history);
                verification.send_moved(*now);
            }
        }
        Happening::Receipt { send, attempt, vendor, status } => {
            let vendor = route[usize::from(*vendor)].clone();
            let receipt = Receipt { vendor, reference: "ours".into(), status: *status, at: *now };
            if let Some((sending, history)) = verification.send_mut(*send) {
                sending.receipt(*attempt, &receipt, *now, history);
                verification.send_moved(*now);
            }
        }
        Happening::Feedback(outcome) => hear(verification, *outcome, *now),
    }
    None
}

/// Takes in somebody's word, which must change nothing else and be no news twice.
fn hear(verification: &mut Verification, outcome: FeedbackOutcome, now: Timestamp) {
    let known = verification.status(now) == Status::Approved || verification.is_told_received();
    let carrier = verification.carrier().map(|sending| sending.number);
    let plain = |verification: &Verification| {
        let sends = verification.sends().iter().map(|sending| Sending { feedback: None, ..sending.clone() });
        (verification.status(now), verification.due_at(), sends.collect::<Vec<_>>())
    };
    let before = plain(verification);
    let heard = verification.hear(outcome, now);
    assert_eq!(plain(verification), before);
    let received = outcome == FeedbackOutcome::Received;
    match &heard {
        Heard::NothingSent => assert_eq!(carrier, None),
        Heard::Known => assert!(known == received, "{heard:?}"),
        Heard::Contradicts => assert!(known || received, "{heard:?}"),
        Heard::New(sends) => {
            assert!(!known && sends.iter().all(|sending| sending.feedback == Some(outcome)), "{heard:?}");
            assert!(!received || sends.iter().map(|sending| Some(sending.number)).eq([carrier]), "{heard:?}");
        }
    }
    // The same again is no news, and the other word then none either.
    if matches!(heard, Heard::New(_) | Heard::Known) {
        assert_eq!(verification.hear(outcome, now), Heard::Known);
    }
}

fn check_send(sending: &Sending) -> Result<(), TestCaseError> {
    let waits = matches!(sending.status, SendStatus::Queued | SendStatus::Sending | SendStatus::Unknown);
    prop_assert_eq!(sending.due_at.is_some(), waits, "a send is watched exactly while it can move: {:?}", sending);
    prop_assert!(sending.attempts <= RULES.max_attempts, "{:?}", sending);
    // A second doubt is not answered by a third message.
    prop_assert!(sending.unknowns <= 2, "{:?}", sending);
    Ok(())
}

proptest! {
    #[test]
    fn a_verification_keeps_its_rules(happenings in vec(happening(), 0..60), steps in any::<bool>()) {
        let mut now = Timestamp::from_millis(START);
        let mut verification = verification_in(steps.then(workflow), now);
        let expires_at = verification.expires_at;
        let mut ended = None;
        let mut wrong = 0;
        let mut terminal_sends = Vec::new();
        for happening in &happenings {
            let before = verification.status(now);
            let verdict = apply(&mut verification, happening, &mut now);
            let after = verification.status(now);

            match verdict {
                Some(Verdict::Judged(Judgement::Approved)) => prop_assert_eq!((before, after), (Status::Pending, Status::Approved)),
                Some(Verdict::Judged(judgement)) => {
                    wrong += 1;
                    prop_assert_eq!(before, Status::Pending);
                    prop_assert_eq!(judgement == Judgement::LastWrong, after == Status::ChecksExhausted);
                }
                Some(Verdict::Ended(status)) => prop_assert_eq!(status, before),
                None => prop_assert!(after != Status::Approved || before == Status::Approved),
            }
            if let Some(ended) = ended {
                prop_assert_eq!(after, ended, "an ended verification changed by {:?}", happening);
            }
            if after != Status::Pending {
                ended.get_or_insert(after);
            }
            prop_assert!(after == Status::Pending || after == Status::Expired || verification.code().is_none());
            prop_assert!(wrong <= MAX_CHECKS && verification.checks_used == wrong);
            prop_assert!(verification.answers().len() <= MAX_CHECKS as usize, "{:?}", verification.answers());
            prop_assert!(verification.sends().len() <= MAX_SENDS as usize);
            let next_step_at = verification.due_at();
            // Nobody writes down that the code has expired, but no step is due then.
            let may_step = matches!(after, Status::Pending | Status::Expired);
            prop_assert!(next_step_at.is_none_or(|at| at < expires_at && may_step), "{next_step_at:?} {after:?}");
            let hopeless = verification.sends().iter().all(Sending::failed);
            prop_assert!(after != Status::Pending || !hopeless || steps, "nothing is left to happen");
            let of = |channel| verification.sends().iter().filter(|sending| sending.channel == channel).count();
            let resent = happenings.iter().filter(|it| matches!(it, Happening::Resend)).count();
            prop_assert!(of(Channel::WhatsApp) <= 1 && of(Channel::Voice) <= 1 && of(Channel::Sms) <= 1 + resent);
            for sending in verification.sends() {
                check_send(sending)?;
            }
            for (number, status) in &terminal_sends {
                let sending = verification.sends().iter().find(|sending| sending.number == *number).unwrap();
                prop_assert_eq!(sending.status, *status, "an ended send changed by {:?}", happening);
            }
            let ended_sends = verification.sends().iter().filter(|sending| sending.status.is_terminal());
            terminal_sends = ended_sends.map(|sending| (sending.number, sending.status)).collect();
        }
        let events = verification.history().events();
        prop_assert!(events.iter().filter(|event| event.kind == EventKind::Approved).count() <= 1);
        prop_assert!(events.iter().filter(|event| matches!(event.kind, EventKind::Confirmed(_))).count() <= 1);
        for event in events {
            if let EventKind::Attempted(..) = event.kind {
                prop_assert!(event.at < expires_at, "an attempt began after the code had expired");
            }
        }
        let stored = record::encode(&verification).unwrap();
        let read: Verification = record::decode(&stored).unwrap();
        prop_assert_eq!(record::encode(&read).unwrap(), stored);
    }

    #[test]
    fn every_send_left_alone_with_the_worker_ends(outcomes in vec(outcome(), 0..10)) {
        let mut now = Timestamp::from_millis(START);
        let mut verification = verification(now);
        let mut outcomes = outcomes.into_iter();
        for _ in 0..40 {
            let sending = &verification.sends()[0];
            let Some(due_at) = sending.due_at else { break };
            let attempt = sending.attempts;
            match outcomes.next().filter(|_| sending.status == SendStatus::Sending) {
                Some(outcome) => drop(apply(&mut verification, &Happening::Outcome { send: 0, attempt, outcome }, &mut now)),
                None => {
                    now = now.max(due_at);
                    apply(&mut verification, &Happening::Worker { send: 0 }, &mut now);
                }
            }
        }
        prop_assert_eq!(verification.sends()[0].due_at, None, "{:?}", verification.sends()[0]);
    }
}

// === checks that vendors judge ===

/// Something that can happen to a verification whose code vendors make.
#[derive(Debug, Clone)]
enum Asked {
    Wait(u64),
    /// Somebody wants a check; it begins unless one is under way.
    Begin,
    /// What was heard of one of those begun, perhaps of one that is lost.
    Heard {
        check: u8,
        heard: HeardOfVendor,
    },
    Cancel,
    Resend,
    Outcome {
        send: u8,
        attempt: u8,
        outcome: Result<Accepted, Failure>,
    },
}

fn asked() -> impl Strategy<Value = Asked> {
    use proptest::strategy::Just;
    prop_oneof![
        2 => (0..40_u64).prop_map(Asked::Wait),
        6 => Just(Asked::Begin),
        6 => (0..10_u8, heard()).prop_map(|(check, heard)| Asked::Heard { check, heard }),
        1 => Just(Asked::Cancel),
        2 => Just(Asked::Resend),
        3 => (0..3_u8, 0..4_u8, outcome()).prop_map(|(send, attempt, outcome)| Asked::Outcome { send, attempt, outcome }),
    ]
}

fn heard() -> impl Strategy<Value = HeardOfVendor> {
    use HeardOfVendor::{Exhausted, Expired, NotJudged, Right, Unclear, Wrong};
    proptest::sample::select(vec![Right, Wrong, Wrong, Exhausted, Expired, NotJudged, Unclear])
}

/// What is counted of each check that was begun: it stays so unless something was heard that takes it back.
#[derive(Debug, Default)]
struct Begun {
    numbers: Vec<u32>,
    counted: u32,
    approved: u32,
}

fn ask(verification: &mut Verification, asked: &Asked, begun: &mut Begun, now: &mut Timestamp) -> Option<Settled> {
    match asked {
        Asked::Wait(seconds) => *now = *now + Duration::from_secs(*seconds),
        Asked::Begin => {
            let free = verification.status(*now) == Status::Pending && verification.check_under_way(*now).is_none();
            let number = verification.begin_check(*now + 2 * LEASE, *now);
            assert_eq!(number.is_some(), free, "one at a time, as long as it is pending");
            begun.numbers.extend(number);
            begun.counted += u32::from(number.is_some());
        }
        Asked::Heard { check, heard } => {
            let number = *begun.numbers.get(usize::from(*check))?;
            let settled = verification.settle_check(number, *heard, *now);
            begun.counted -= u32::from(!settled.is_counted);
            begun.approved += u32::from(settled.verdict == Some(Verdict::Judged(Judgement::Approved)));
            return Some(settled);
        }
        Asked::Cancel => drop(verification.cancel(*now)),
        Asked::Resend => drop(verification.add_send(Channel::Sms, MAX_SENDS, *now)),
        Asked::Outcome { send, attempt, outcome } => {
            let (send, attempt, outcome) = (*send, *attempt, outcome.clone());
            apply(verification, &Happening::Outcome { send, attempt, outcome }, now);
            apply(verification, &Happening::Worker { send }, now);
        }
    }
    None
}

proptest! {
    #[test]
    fn a_verification_of_a_vendors_code_keeps_the_same_rules(happenings in vec(asked(), 0..80)) {
        let wish = CodeWish { length: 6, just_this_length: false, all_of_its_time: false, in_our_words: false };
        let mut now = Timestamp::from_millis(START);
        let mut verification = verification_with(Secret::Vendors(wish), None, now);
        let mut begun = Begun::default();
        let mut ended = None;
        for happening in &happenings {
            let before = verification.status(now);
            let settled = ask(&mut verification, happening, &mut begun, &mut now);
            let after = verification.status(now);
            match settled.and_then(|settled| settled.verdict) {
                Some(Verdict::Judged(Judgement::Approved)) => {
                    prop_assert_eq!((before, after), (Status::Pending, Status::Approved));
                    prop_assert!(matches!(happening, Asked::Heard { heard: HeardOfVendor::Right, .. }), "{happening:?}");
                }
                Some(Verdict::Judged(judgement)) => {
                    prop_assert_eq!(before, Status::Pending);
                    prop_assert_eq!(judgement == Judgement::LastWrong, after == Status::ChecksExhausted);
                }
                Some(Verdict::Ended(status)) => prop_assert_eq!(status, after),
                None => prop_assert!(after != Status::Approved || before == Status::Approved),
            }
            if let Some(ended) = ended {
                prop_assert_eq!(after, ended, "an ended verification changed by {:?}", happening);
            }
            if after != Status::Pending {
                ended.get_or_insert(after);
                prop_assert_eq!(verification.begin_check(now + LEASE, now), None);
            }
            prop_assert_eq!(verification.checks_used, begun.counted, "{:?}", happening);
            prop_assert!(begun.counted <= MAX_CHECKS && begun.approved <= 1, "{begun:?}");
            prop_assert!(verification.code().is_none() && verification.is_of_vendors_code());
            // Used up is ended, but while the last one may still be right.
            let used_up = verification.checks_left() == 0 && verification.check_under_way(now).is_none();
            prop_assert!(after != Status::Pending || !used_up, "{verification:?}");
            let codes = verification.codes_of_vendors().codes;
            prop_assert!(codes.len() <= usize::from(RULES.max_attempts) * MAX_SENDS as usize);
            prop_assert!(verification.sends().iter().all(|sending| sending.vendor_reference.is_none()));
        }
        // Once nothing is under way, every check that is counted has its event, and no other.
        now = now + 3 * LEASE + LIFETIME;
        verification.begin_check(now + LEASE, now);
        verification.end_by_time(now);
        let failed = verification.history().events().iter().filter(|event| event.kind == EventKind::CheckFailed);
        if !matches!(ended, Some(Status::Canceled | Status::Undeliverable | Status::Approved)) {
            prop_assert_eq!(failed.count(), begun.counted as usize);
        }
        let stored = record::encode(&verification).unwrap();
        let read: Verification = record::decode(&stored).unwrap();
        prop_assert_eq!(record::encode(&read).unwrap(), stored);
    }
}

/// A store is kept over an update, and records of before say nothing of what came later.
#[test]
fn a_record_that_was_written_before_answers_were_kept_is_read() {
    let mut old = record::encode(&verification(Timestamp::from_millis(START))).unwrap();
    // A version, then an array of twenty fields, of which the last is an empty array: take that one off.
    assert_eq!((old[1], old.pop()), (0x94, Some(0x80)));
    old[1] = 0x93;
    let read: Verification = record::decode(&old).unwrap();
    assert!(read.answers().is_empty() && read.status(Timestamp::from_millis(START)) == Status::Pending);
    assert!(!read.is_of_vendors_code() && read.code().is_some() && !read.sends()[0].is_of_vendors_code());
}
