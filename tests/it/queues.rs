//! What waits: sends whose vendors have no room, and messages whose time has not come, however many they are. Work is
//! counted, and the clock stands still unless it is moved.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use verigate::clock::{Clock, Timestamp};
use verigate::id::{Id, Partition};
use verigate::messaging::holder::SendRecord;
use verigate::messaging::message::Message;
use verigate::messaging::outbox::LONGEST_LINE;
use verigate::messaging::request::NewMessage;
use verigate::messaging::sending::{SendReason, SendStatus, Sending};
use verigate::random::OsRandom;
use verigate::store::keys::{Holder, SendRef};
use verigate::store::{Batch, Commit, Store};
use verigate::vendor::{Channel, ReceiptStatus};
use verigate::verification::request::NewVerification;

use crate::support::counting_store::Work;
use crate::support::floor::{Floor, Plan, code_to, number, text_to};
use crate::support::gateway::{START, eventually};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3600);

const HANGS: &str = r#"{ pattern = "*", outcome = "hang" }"#;
const DOWN: &str = r#"{ pattern = "*", outcome = "unavailable" }"#;
const UNCLEAR: &str = r#"{ pattern = "*", outcome = "unknown" }"#;
const TAKES_A_SECOND: &str = r#"{ pattern = "*", outcome = "slow", delay = "1s" }"#;

/// Text messages to one vendor, with this much room.
fn one_vendor<'a>(vendor: &'a [(&'a str, usize, &'a str)], longest_line: usize) -> Plan<'a> {
    Plan { vendors: vendor, routes: &[("sms", &["only"])], longest_line }
}

async fn start(floor: &Floor, new: NewVerification) -> Sending {
    let started = floor.verifications.start(&floor.tenant, new).await.unwrap();
    started.view.verification.sends()[0].clone()
}

fn waits(sending: &Sending) -> bool {
    (sending.status, sending.attempts) == (SendStatus::Queued, 0)
}

// === room ===

#[tokio::test]
async fn a_vendor_without_room_is_passed_over_for_the_next_of_the_route() {
    let plan = Plan {
        vendors: &[("first", 1, TAKES_A_SECOND), ("second", 1, TAKES_A_SECOND), ("third", 100, "")],
        routes: &[("sms", &["first", "second", "third"])],
        longest_line: LONGEST_LINE,
    };
    let floor = Floor::with(&plan).await;
    for vendor in ["first", "second"] {
        let sending = floor.send(number(100)).await.sending;
        assert_eq!((sending.status, sending.vendor.as_deref()), (SendStatus::Sending, Some(vendor)));
    }
    let message = floor.send(number(101)).await;
    let delivered = floor.until(&message, SendStatus::Delivered).await.sending;
    assert_eq!((delivered.vendor.as_deref(), delivered.attempts), (Some("third"), 1));
    let code = start(&floor, code_to(number(102), Some(30 * SECOND))).await;
    assert_eq!((code.status, code.vendor.as_deref()), (SendStatus::Delivered, Some("third")));
    assert_eq!(floor.clock.now(), START);
}

#[tokio::test]
async fn room_elsewhere_does_not_use_up_the_attempts_of_a_send() {
    // The first is down, and the second, where the send is to go next, has no room.
    let plan = Plan {
        vendors: &[("down", 9, DOWN), ("full", 1, TAKES_A_SECOND)],
        routes: &[("sms", &["down", "full"]), ("voice", &["full"])],
        longest_line: LONGEST_LINE,
    };
    let floor = Floor::with(&plan).await;
    floor.send_new(NewMessage { channel: Some(Channel::Voice), ..text_to(number(100)) }).await;
    let message = floor.send(number(101)).await;
    floor.until_waiting("full", 1).await;
    assert_eq!(floor.get(&message).await.sending.attempts, 1);
    let delivered = floor
        .pass_until(SECOND / 100, async || {
            Some(floor.get(&message).await.sending).filter(|sending| sending.status == SendStatus::Delivered)
        })
        .await;
    assert_eq!((delivered.vendor.as_deref(), delivered.attempts), (Some("full"), 2));
}

#[tokio::test]
async fn who_waits_costs_the_store_nothing_and_is_served_in_order() {
    let floor = Floor::with(&one_vendor(&[("only", 1, TAKES_A_SECOND)], LONGEST_LINE)).await;
    for waiting in 0..20 {
        floor.send(number(100 + waiting)).await;
        // Before the next one comes, so that they stand in this order.
        floor.until_waiting("only", waiting).await;
    }
    // Of the one under way and of the others only that they were accepted.
    assert_eq!(floor.work().commits, 20);
    let before = floor.work();
    for _ in 0..50 {
        floor.clock.advance(SECOND / 100);
        tokio::task::yield_now().await;
    }
    assert_eq!(floor.work().since(before), Work { gets: 0, scans: 0, rows: 0, commits: 0 });
    // Those who come now do not overtake.
    floor.send(number(120)).await;
    floor.until_waiting("only", 20).await;
    floor.pass_until(SECOND / 100, async || (floor.taken("only").len() == 21).then_some(())).await;
    let served: Vec<_> = floor.taken("only").into_iter().map(|(recipient, _)| recipient).collect();
    let sent: Vec<_> = (100..=120).map(|last| format!("+60123456{last}")).collect();
    assert_eq!(served, sent);
    // Accepted, begun and settled; the first was begun as it was accepted. Its receipt came with the answer.
    eventually(async || (floor.work().commits == 3 * 21 - 1).then_some(())).await;
    assert_eq!(floor.vendors.waiting("only"), 0);
}

#[tokio::test]
async fn codes_do_not_wait_behind_messages_nor_one_choice_of_vendors_behind_another() {
    let plan = Plan {
        vendors: &[("stuck", 1, HANGS), ("only", 1, TAKES_A_SECOND)],
        routes: &[("sms", &["only"]), ("voice", &["stuck", "only"])],
        longest_line: LONGEST_LINE,
    };
    let floor = Floor::with(&plan).await;
    for last in 100..130 {
        floor.send(number(last)).await;
        floor.send_new(NewMessage { channel: Some(Channel::Voice), ..text_to(number(last)) }).await;
    }
    floor.until_waiting("only", 58).await;
    start(&floor, code_to(number(200), None)).await;
    floor.until_waiting("only", 59).await;
    let reached = floor
        .pass_until(SECOND / 100, async || {
            let taken = floor.taken("only");
            taken.iter().position(|(recipient, _)| recipient == "+60123456200")
        })
        .await;
    // Three lines in turn, after the one that had begun.
    assert!(reached <= 3, "{reached}");
}

#[tokio::test]
async fn who_waits_when_its_time_is_over_expires_then_and_is_not_sent() {
    let floor = Floor::with(&one_vendor(&[("only", 1, HANGS)], LONGEST_LINE)).await;
    floor.send(number(100)).await;
    let mut waiting = Vec::new();
    for (last, seconds) in [(101, 70), (102, 60), (103, 60)] {
        let validity = Some(Duration::from_secs(seconds));
        let message = floor.send_new(NewMessage { validity, ..text_to(number(last)) }).await;
        // Before the next one comes, so that all find this order.
        floor.until_waiting("only", waiting.len() + 1).await;
        waiting.push(message);
    }
    let code = start(&floor, code_to(number(104), None)).await;
    assert!(waits(&code));
    floor.until_waiting("only", 4).await;
    // The call under way runs into its time as well, and room is free at the very end of the second and the third.
    floor.clock.advance(60 * SECOND);
    for message in &waiting[1..] {
        let expired = floor.until(message, SendStatus::Expired).await.sending;
        assert_eq!((expired.attempts, expired.updated_at), (0, START + 60 * SECOND));
    }
    // The one before them, for which there was time, had its turn; or the code, whose line is another one.
    let begun = eventually(async || {
        let first = floor.get(&waiting[0]).await.sending;
        (!waits(&first) || floor.vendors.waiting("only") == 1).then_some(first)
    })
    .await;
    assert!(begun.attempts <= 1);
    assert!(floor.taken("only").is_empty());
}

#[tokio::test]
async fn who_waited_before_a_restart_is_found_after_it() {
    let floor = Floor::with(&one_vendor(&[("only", 1, HANGS)], LONGEST_LINE)).await;
    let mut messages = Vec::new();
    for last in 100..120 {
        messages.push(floor.send(number(last)).await);
    }
    floor.until_waiting("only", 19).await;
    let floor = floor.restart_with(&one_vendor(&[("only", 1, "")], LONGEST_LINE)).await;
    for message in &messages[1..] {
        floor.until(message, SendStatus::Delivered).await;
    }
    assert_eq!(floor.taken("only").len(), 19);
    assert_eq!(floor.get(&messages[0]).await.sending.status, SendStatus::Sending);
}

#[tokio::test]
async fn who_finds_no_place_in_line_comes_again_later_the_more_there_are() {
    let floor = Floor::with(&one_vendor(&[("only", 1, TAKES_A_SECOND)], 5)).await;
    let mut messages = Vec::new();
    for last in 100..140 {
        messages.push(floor.send(number(last)).await);
    }
    floor.until_waiting("only", 5).await;
    // One is under way, five wait, and each of the others was put off once.
    let mut put_off = eventually(async || {
        let mut due = Vec::new();
        for message in &messages {
            due.extend(floor.get(message).await.sending.due_at.filter(|at| *at > START && *at < START + 10 * SECOND));
        }
        (due.len() == 34).then_some(due)
    })
    .await;
    put_off.sort_unstable();
    let expected: Vec<Timestamp> = (0..34).map(|place| START + SECOND + Duration::from_millis(2 * place)).collect();
    assert_eq!(put_off, expected);
    eventually(async || (floor.work().commits == 40 + 34).then_some(())).await;
    let before = floor.work();
    for _ in 0..9 {
        floor.clock.advance(SECOND / 10);
        tokio::task::yield_now().await;
    }
    assert_eq!(floor.work().since(before).commits, 0);
    // Each is sent in the end, and once.
    floor.pass_until(SECOND / 100, async || (floor.taken("only").len() == 40).then_some(())).await;
    for message in &messages {
        assert_eq!(floor.until(message, SendStatus::Delivered).await.sending.attempts, 1);
    }
    assert_eq!(floor.taken("only").len(), 40);
}

#[tokio::test]
async fn a_message_that_is_canceled_while_it_waits_is_passed_over() {
    let floor = Floor::with(&one_vendor(&[("only", 1, TAKES_A_SECOND)], LONGEST_LINE)).await;
    let mut messages = Vec::new();
    for last in 100..104 {
        messages.push(floor.send(number(last)).await);
    }
    floor.until_waiting("only", 3).await;
    floor.messaging.cancel(&floor.tenant.name, messages[1].id).await.unwrap();
    floor.pass_until(SECOND / 100, async || (floor.taken("only").len() == 3).then_some(())).await;
    assert_eq!(floor.get(&messages[1]).await.sending.status, SendStatus::Canceled);
    assert_eq!(floor.vendors.waiting("only"), 0);
}

#[tokio::test]
async fn sends_that_wait_are_not_read_again_for_a_new_one() {
    // The same recipient on both channels, so that all marks lie in the same place.
    let plan = Plan {
        vendors: &[("stuck", 1, HANGS), ("free", 100, "")],
        routes: &[("sms", &["stuck"]), ("voice", &["free"])],
        longest_line: LONGEST_LINE,
    };
    let floor = Floor::with(&plan).await;
    let alone = work_of_later_messages(&floor).await;
    accept_many(&floor, 301, |_| text_to(number(100))).await;
    floor.until_waiting("stuck", 300).await;
    let beside_others = work_of_later_messages(&floor).await;
    assert_eq!(alone.commits, beside_others.commits);
    // How often the worker looks, and what it finds then, depends on who runs when. To read those that wait again for each of
    // the ten would take 3,000 rows.
    assert!(beside_others.scans <= 100 && beside_others.rows <= 1_000, "{alone:?} {beside_others:?}");
    assert!(beside_others.gets <= 50, "{alone:?} {beside_others:?}");
}

/// What ten messages cost that the worker takes up, one after the other.
async fn work_of_later_messages(floor: &Floor) -> Work {
    let before = floor.work();
    for _ in 0..10 {
        let send_at = Some(floor.clock.now() + SECOND / 10);
        floor.send_new(NewMessage { channel: Some(Channel::Voice), send_at, ..text_to(number(100)) }).await;
        let taken = floor.taken("free").len();
        floor.clock.advance(SECOND / 10);
        eventually(async || (floor.taken("free").len() > taken).then_some(())).await;
    }
    // Accepted, begun and settled.
    eventually(async || (floor.work().commits == before.commits + 30).then_some(())).await;
    floor.work().since(before)
}

/// Has so many messages accepted, many at once.
async fn accept_many(floor: &Floor, count: usize, new: impl Fn(usize) -> NewMessage) {
    let mut sending = JoinSet::new();
    for place in 0..count {
        if sending.len() == 64 {
            sending.join_next().await.unwrap().unwrap();
        }
        let (messaging, tenant, new) = (Arc::clone(&floor.messaging), floor.tenant.clone(), new(place));
        sending.spawn(async move { drop(messaging.send(&tenant, new).await.unwrap()) });
        floor.clock.advance(Duration::from_millis(1));
    }
    sending.join_all().await;
}

// === messages whose time has not come ===

#[tokio::test]
async fn a_backlog_of_scheduled_messages_slows_neither_new_ones_nor_a_start() {
    let plan = one_vendor(&[("only", 4_096, "")], LONGEST_LINE);
    let floor = Floor::with(&plan).await;
    let alone = work_of_messages(&floor).await;
    lay_marks(&floor, 40, START + 2 * DAY).await;
    let send_at = Some(START + DAY);
    accept_many(&floor, 50, |place| NewMessage { send_at, ..text_to(number(200 + place)) }).await;
    let beside_backlog = work_of_messages(&floor).await;
    assert_eq!((alone.gets, alone.commits), (beside_backlog.gets, beside_backlog.commits));
    assert!(beside_backlog.rows <= 8 * beside_backlog.scans, "{alone:?} {beside_backlog:?}");
    assert!(beside_backlog.scans <= alone.scans.max(256), "{alone:?} {beside_backlog:?}");

    let floor = floor.restart_with(&plan).await;
    let message = floor.send(number(100)).await;
    floor.until(&message, SendStatus::Delivered).await;
    let start = eventually(async || Some(floor.work()).filter(|work| work.scans >= 256 && work.commits == 2)).await;
    assert!(start.scans <= 256 + 10 && start.rows <= 8 * start.scans, "{start:?}");
    // When their time has come they are sent all the same.
    floor.clock.advance(DAY);
    eventually(async || (floor.taken("only").len() == 51).then_some(())).await;
}

/// Puts so many due marks into every partition, as messages would that are to be sent then.
async fn lay_marks(floor: &Floor, count: usize, at: Timestamp) {
    let tenant = floor.keys.tenant(&floor.tenant.name);
    for partition in Partition::all() {
        let mut batch = Batch::new(partition);
        for _ in 0..count {
            let id = Id::new(floor.clock.now(), partition, &OsRandom);
            let send = SendRef { holder: Holder::Message, tenant, id, number: 0 };
            batch = batch.put(floor.keys.due(at, &send), Vec::new(), None);
        }
        assert!(matches!(floor.store.commit(batch).await.unwrap(), Commit::Committed(_)));
        floor.outbox.note(partition, &Sending { due_at: Some(at), ..a_sending(floor) });
    }
}

fn a_sending(floor: &Floor) -> Sending {
    Sending::new(0, Channel::Sms, floor.clock.now(), floor.clock.now() + DAY, false)
}

/// What fifty messages cost that are begun as they are accepted, and the looks when their leases would end.
async fn work_of_messages(floor: &Floor) -> Work {
    let before = floor.work();
    let mut messages: Vec<Message> = Vec::new();
    for last in 100..150 {
        messages.push(floor.send(number(last)).await);
    }
    eventually(async || (floor.work().commits == before.commits + 100).then_some(())).await;
    for message in &messages {
        assert_eq!(floor.get(message).await.sending.status, SendStatus::Delivered);
    }
    let scans = floor.work().scans;
    floor.clock.advance(15 * SECOND);
    eventually(async || (floor.work().scans > scans).then_some(())).await;
    floor.work().since(before)
}

// === callers who wait for the outcome ===

#[tokio::test]
async fn a_caller_who_waits_is_answered_when_a_vendor_has_the_code_although_it_waited_for_room() {
    let floor = Floor::with(&one_vendor(&[("only", 1, TAKES_A_SECOND)], LONGEST_LINE)).await;
    floor.send(number(100)).await;
    let (verifications, tenant) = (Arc::clone(&floor.verifications), floor.tenant.clone());
    let call = tokio::spawn(async move {
        let started = verifications.start(&tenant, code_to(number(101), Some(30 * SECOND))).await.unwrap();
        started.view.verification.sends()[0].clone()
    });
    floor.until_waiting("only", 1).await;
    assert!(!call.is_finished());
    floor.pass_until(SECOND / 100, async || call.is_finished().then_some(())).await;
    let answer = call.await.unwrap();
    assert_eq!((answer.status, answer.attempts), (SendStatus::Delivered, 1));
    assert!(floor.clock.now() < START + 30 * SECOND);
}

#[tokio::test]
async fn a_caller_who_waits_is_answered_by_the_vendor_that_took_it_at_last() {
    let plan = Plan {
        vendors: &[("down", 9, DOWN), ("unclear", 9, UNCLEAR), ("slow", 9, TAKES_A_SECOND)],
        routes: &[("sms", &["down", "unclear", "slow"])],
        longest_line: LONGEST_LINE,
    };
    let floor = Floor::with(&plan).await;
    let (verifications, tenant) = (Arc::clone(&floor.verifications), floor.tenant.clone());
    let call = tokio::spawn(async move {
        let started = verifications.start(&tenant, code_to(number(101), Some(30 * SECOND))).await.unwrap();
        started.view.verification.sends()[0].clone()
    });
    floor.pass_until(SECOND / 100, async || call.is_finished().then_some(())).await;
    let answer = call.await.unwrap();
    assert_eq!((answer.status, answer.attempts, answer.vendor.as_deref()), (SendStatus::Delivered, 3, Some("slow")));
}

#[tokio::test]
async fn a_caller_waits_no_longer_than_it_asked() {
    let floor = Floor::with(&one_vendor(&[("only", 1, HANGS)], LONGEST_LINE)).await;
    floor.send(number(100)).await;
    let (verifications, tenant) = (Arc::clone(&floor.verifications), floor.tenant.clone());
    let call = tokio::spawn(async move {
        let started = verifications.start(&tenant, code_to(number(101), Some(2 * SECOND))).await.unwrap();
        started.view.verification.sends()[0].clone()
    });
    floor.until_waiting("only", 1).await;
    floor.pass_until(SECOND / 100, async || call.is_finished().then_some(())).await;
    assert!(waits(&call.await.unwrap()));
    assert!(floor.clock.now() >= START + 2 * SECOND);
}

// === receipts and their attempts ===

#[tokio::test]
async fn a_receipt_counts_for_the_attempt_that_it_names() {
    use ReceiptStatus::{Delivered, Undelivered};
    for (named, receipt, expected) in [
        (0, Undelivered, SendStatus::Unknown),
        (1, Undelivered, SendStatus::Undelivered),
        (0, Delivered, SendStatus::Delivered),
        (1, Delivered, SendStatus::Delivered),
    ] {
        // The code goes to the same vendor twice, and each time the answer is lost.
        let floor = Floor::with(&one_vendor(&[("only", 9, UNCLEAR)], LONGEST_LINE)).await;
        let new = code_to(number(100), None);
        let id = floor.verifications.start(&floor.tenant, new).await.unwrap().view.verification.id;
        let read = async || {
            let view = floor.verifications.get(&floor.tenant.name, id).await.unwrap();
            view.verification.sends()[0].clone()
        };
        let unknown = eventually(async || Some(read().await).filter(|it| it.status == SendStatus::Unknown)).await;
        assert_eq!((unknown.attempts, unknown.reason), (2, Some(SendReason::NoClearAnswer)));
        let references: Vec<_> = floor.taken("only").into_iter().map(|(_, reference)| reference).collect();
        assert_ne!(references[0], references[1]);
        floor.receive("only", &references[named], receipt).await;
        assert_eq!(read().await.status, expected, "{named} {receipt:?}");
    }
}

#[tokio::test]
async fn a_delivery_that_the_answer_tells_takes_no_commit_of_its_own() {
    let floor = Floor::with(&one_vendor(&[("only", 9, "")], LONGEST_LINE)).await;
    let message = floor.send(number(100)).await;
    floor.until(&message, SendStatus::Delivered).await;
    eventually(async || floor.store.is_idle().then_some(())).await;
    assert_eq!(floor.work().commits, 2);
}
