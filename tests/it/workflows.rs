//! Verifications that go from channel to channel by themselves, as clients see them: what makes them go on, and what
//! stops them.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use verigate::proto::messaging::v1::{Channel, MessageStatus, SendMessageRequest};
use verigate::proto::verification::v1::{
    CheckOutcome, OnExisting, StartVerificationRequest, Verification, VerificationStatus, WatchVerificationRequest,
};

use crate::support::gateway::{
    CONFIG, Gateway, PHONE, Verifications, cancel, email, eventually, get_verification, judge, phone, resend, seconds,
    start, start_now, text_to, violations,
};

const SECOND: Duration = Duration::from_secs(1);

/// Text messages meet the outcomes of the first inbox; the second delivers, but for two endings of its own.
const WORKFLOWS: &str = r#"
[vendors.second]
kind = "inbox"
outcomes = [{ pattern = "*1002", outcome = "rejected" }, { pattern = "*1003", outcome = "failed" }]

[[routes]]
channel = "whatsapp"
vendors = ["second"]

[[routes]]
channel = "voice"
vendors = ["second"]

[[workflows]]
name = "ladder"
steps = [{ channel = "sms", wait = "30s" }, { channel = "whatsapp", wait = "40s" }, { channel = "voice" }]

[[workflows]]
name = "others"
tenants = ["other"]
steps = [{ channel = "voice" }]

[[workflows]]
name = "usual"
countries = ["SG"]
default = true
steps = [{ channel = "whatsapp", wait = "10s" }, { channel = "sms" }]
"#;

async fn gateway() -> Gateway {
    Gateway::start_with(&format!("{CONFIG}{WORKFLOWS}")).await
}

fn ladder(phone: &str) -> StartVerificationRequest {
    StartVerificationRequest { workflow: "ladder".to_owned(), ..start(phone) }
}

fn channels(verification: &Verification) -> Vec<Channel> {
    verification.sends.iter().map(|send| send.channel()).collect()
}

/// When the next step is due, counted from when the clock began.
fn next_step(verification: &Verification, gateway: &Gateway) -> Option<Duration> {
    let at = verification.next_step_time?;
    let millis = at.seconds * 1000 + i64::from(at.nanos / 1_000_000);
    Some(Duration::from_millis(u64::try_from(millis).unwrap() - gateway.clock_start()))
}

async fn until_sent(client: &mut Verifications, id: &str, sends: usize) -> Verification {
    eventually(async || {
        let verification = get_verification(client, id).await;
        let told = verification.sends.iter().filter(|send| send.status() != MessageStatus::Queued).count();
        (told >= sends).then_some(verification)
    })
    .await
}

fn code_in(message: &Value) -> String {
    let text = message["text"].as_str().unwrap();
    text.split(|c: char| !c.is_ascii_digit()).max_by_key(|run| run.len()).unwrap().to_owned()
}

// === what makes it go on ===

#[tokio::test]
async fn when_a_wait_is_over_the_same_code_goes_out_on_the_next_channel() {
    let gateway = gateway().await;
    let client = &mut gateway.verifications().await;
    let started = start_now(client, ladder(PHONE)).await.unwrap();
    assert_eq!((started.workflow.as_str(), channels(&started)), ("ladder", vec![Channel::Sms]));
    assert_eq!(next_step(&started, &gateway), Some(30 * SECOND));
    gateway.clock.advance(30 * SECOND - SECOND / 1000);
    assert_eq!(channels(&get_verification(client, &started.id).await), [Channel::Sms]);
    gateway.clock.advance(SECOND / 1000);
    let second = until_sent(client, &started.id, 2).await;
    assert_eq!((channels(&second), second.channel()), (vec![Channel::Sms, Channel::Whatsapp], Channel::Whatsapp));
    assert_eq!((next_step(&second, &gateway), second.expire_time), (Some(70 * SECOND), started.expire_time));
    gateway.clock.advance(40 * SECOND);
    let third = until_sent(client, &started.id, 3).await;
    assert_eq!(channels(&third), [Channel::Sms, Channel::Whatsapp, Channel::Voice]);
    assert_eq!((next_step(&third, &gateway), third.status()), (None, VerificationStatus::Pending));

    let messages = eventually(async || Some(gateway.inbox(PHONE).await).filter(|messages| messages.len() == 3)).await;
    let codes: BTreeSet<_> = messages.iter().map(code_in).collect();
    assert_eq!(codes.len(), 1);
    assert_eq!(judge(client, &started.id, codes.first().unwrap()).await, CheckOutcome::Approved);
}

#[tokio::test]
async fn what_cannot_have_arrived_is_not_waited_for() {
    let gateway = gateway().await;
    let client = &mut gateway.verifications().await;
    // The receipt says undelivered; the vendor refuses the number.
    for number in ["+60123450002", "+60123450003"] {
        let started = start_now(client, ladder(number)).await.unwrap();
        let second = until_sent(client, &started.id, 2).await;
        assert_eq!(channels(&second), [Channel::Sms, Channel::Whatsapp]);
        assert!(matches!(second.sends[0].status(), MessageStatus::Undelivered | MessageStatus::Rejected));
        assert_eq!((second.status(), next_step(&second, &gateway)), (VerificationStatus::Pending, Some(40 * SECOND)));
    }
    // At once, and once: the clock stands still, and nobody sends more.
    eventually(async || (gateway.inbox("+60123450002").await.len() == 2).then_some(())).await;
}

#[tokio::test]
async fn it_is_undeliverable_only_when_every_step_has_failed() {
    let gateway = gateway().await;
    let client = &mut gateway.verifications().await;
    for number in ["+60123451002", "+60123451003"] {
        let id = start_now(client, ladder(number)).await.unwrap().id;
        let ended = eventually(async || {
            let verification = get_verification(client, &id).await;
            (verification.status() != VerificationStatus::Pending).then_some(verification)
        })
        .await;
        assert_eq!((ended.status(), ended.sends.len()), (VerificationStatus::Undeliverable, 3));
        assert_eq!(ended.next_step_time, None);
    }
}

#[tokio::test]
async fn a_resend_is_waited_for_like_the_step_that_it_belongs_to() {
    let gateway = gateway().await;
    let client = &mut gateway.verifications().await;
    let id = start_now(client, ladder(PHONE)).await.unwrap().id;
    gateway.clock.advance(30 * SECOND);
    until_sent(client, &id, 2).await;
    // Steps count as sends, so the pause is the second one.
    let too_soon = resend(client, &id).await.unwrap_err();
    assert_eq!(crate::support::gateway::retry_after(&too_soon), Some(60 * SECOND));
    // A delayed start of the same is a resend, too, where the workflow has come to.
    let earlier = 39 * SECOND;
    gateway.clock.advance(earlier);
    assert!(start_now(client, ladder(PHONE)).await.is_err());
    gateway.clock.advance(SECOND);
    until_sent(client, &id, 3).await;
    gateway.clock.advance(120 * SECOND);
    let again = start_now(client, ladder(PHONE)).await.unwrap();
    assert_eq!((again.id.as_str(), again.channel()), (id.as_str(), Channel::Voice));
    assert_eq!(again.sends.len(), 4);
}

#[tokio::test]
async fn a_resend_puts_the_next_step_off() {
    let config = CONFIG.replace("[vendors.inbox]", "[verification.limits]\ncool_downs = [\"1s\"]\n\n[vendors.inbox]");
    let gateway = Gateway::start_with(&format!("{config}{WORKFLOWS}")).await;
    let client = &mut gateway.verifications().await;
    let id = start_now(client, ladder(PHONE)).await.unwrap().id;
    gateway.clock.advance(20 * SECOND);
    let resent = resend(client, &id).await.unwrap();
    assert_eq!((channels(&resent), next_step(&resent, &gateway)), (vec![Channel::Sms; 2], Some(50 * SECOND)));
    gateway.clock.advance(30 * SECOND);
    let third = until_sent(client, &id, 3).await;
    assert_eq!(third.channel(), Channel::Whatsapp);
    // Replaced, it goes nowhere any more.
    gateway.clock.advance(SECOND);
    let replace = StartVerificationRequest { on_existing: OnExisting::Replace.into(), ..ladder(PHONE) };
    let replacing = start_now(client, replace).await.unwrap();
    assert_ne!(replacing.id, id);
    let replaced = get_verification(client, &id).await;
    assert_eq!((replaced.status(), replaced.next_step_time), (VerificationStatus::Canceled, None));
}

// === what stops it ===

/// Starts one more, which shows that the worker has taken every step that was due before.
async fn until_steps_are_taken(gateway: &Gateway, client: &mut Verifications, sentinel: &str) {
    let id = start_now(client, ladder(sentinel)).await.unwrap().id;
    gateway.clock.advance(30 * SECOND);
    until_sent(client, &id, 2).await;
}

#[tokio::test]
async fn approval_and_cancel_stop_it() {
    let gateway = gateway().await;
    let client = &mut gateway.verifications().await;
    let approved = start_now(client, ladder(PHONE)).await.unwrap().id;
    let canceled = start_now(client, ladder("+60123456788")).await.unwrap().id;
    assert_eq!(judge(client, &approved, &gateway.code(PHONE).await).await, CheckOutcome::Approved);
    assert_eq!(cancel(client, &canceled).await.unwrap().next_step_time, None);
    assert_eq!(get_verification(client, &approved).await.next_step_time, None);
    until_steps_are_taken(&gateway, client, "+60123456787").await;
    let gateway = gateway.restart().await;
    let client = &mut gateway.verifications().await;
    until_steps_are_taken(&gateway, client, "+60123456786").await;
    for id in [approved, canceled] {
        let ended = get_verification(client, &id).await;
        assert_eq!((ended.sends.len(), ended.next_step_time), (1, None));
    }
}

#[tokio::test]
async fn nothing_is_sent_once_the_code_has_expired() {
    let gateway = gateway().await;
    let client = &mut gateway.verifications().await;
    let policy = Some(verigate::proto::verification::v1::CodePolicy { lifetime: seconds(70), ..Default::default() });
    let id = start_now(client, StartVerificationRequest { policy, ..ladder(PHONE) }).await.unwrap().id;
    gateway.clock.advance(30 * SECOND);
    // The third step would be due at the very end.
    assert_eq!(until_sent(client, &id, 2).await.next_step_time, None);
    gateway.clock.advance(40 * SECOND);
    until_steps_are_taken(&gateway, client, "+60123456787").await;
    let expired = get_verification(client, &id).await;
    assert_eq!((expired.status(), expired.sends.len()), (VerificationStatus::Expired, 2));
}

// === what a step leaves behind ===

/// Text messages go to a vendor with room for one, which somebody else's message takes for an hour.
async fn without_room() -> Gateway {
    let config = CONFIG.replace("[vendors.inbox]\n", "[vendors.inbox]\nconcurrency = 1\n");
    // Far longer than a call, so that no wait ends because of it.
    let messaging = "\n[messaging]\nattempt_timeout = \"120s\"\n";
    let gateway = Gateway::start_with(&format!("{config}{WORKFLOWS}{messaging}")).await;
    gateway.messages().await.send_message(text_to("+60123450006", "This takes all of the room.")).await.unwrap();
    gateway
}

/// Ends the call that takes the room, and shows that the room goes to somebody else then.
async fn until_there_is_room(gateway: &Gateway) {
    gateway.clock.advance(120 * SECOND);
    gateway.messages().await.send_message(text_to("+60123456700", "Hello")).await.unwrap();
    eventually(async || (gateway.inbox("+60123456700").await.len() == 1).then_some(())).await;
}

#[tokio::test]
async fn what_waits_for_room_is_withdrawn_when_the_next_step_is_taken() {
    let gateway = without_room().await;
    let client = &mut gateway.verifications().await;
    let id = client.start_verification(ladder(PHONE)).await.unwrap().into_inner().verification.unwrap().id;
    let waiting = get_verification(client, &id).await;
    assert_eq!((waiting.sends[0].status(), waiting.sends[0].attempts), (MessageStatus::Queued, 0));
    gateway.clock.advance(30 * SECOND);
    let second = until_sent(client, &id, 2).await;
    assert_eq!(
        (channels(&second), second.status()),
        (vec![Channel::Sms, Channel::Whatsapp], VerificationStatus::Pending)
    );
    assert_eq!((second.sends[0].status(), second.sends[0].attempts), (MessageStatus::Canceled, 0));
    until_there_is_room(&gateway).await;
    // The second step's wait is over by now as well, and that is all.
    let third = until_sent(client, &id, 3).await;
    assert_eq!(third.sends[0].status(), MessageStatus::Canceled);
    let messages = eventually(async || Some(gateway.inbox(PHONE).await).filter(|all| all.len() == 2)).await;
    assert!(messages.iter().all(|message| message["vendor"] == "second"), "{messages:?}");
    assert_eq!(judge(client, &id, &code_in(&messages[0])).await, CheckOutcome::Approved);
    // Neither it nor anybody else has left a mark behind, but for the message of which nobody knows what became.
    let (gateway, marks) = gateway.due_marks().await;
    assert_eq!(marks, 1);
    until_steps_are_taken(&gateway, &mut gateway.verifications().await, "+60123456787").await;
    assert_eq!(gateway.inbox(PHONE).await.len(), 0, "the inbox forgot, and got nothing more");
}

#[tokio::test]
async fn what_is_under_way_or_perhaps_arrived_is_not_taken_back() {
    // The first vendor delivers and does not say so; the one after it has no room. The workflow's other vendor refuses.
    let config = CONFIG.replacen("vendors = [\"inbox\"]", "vendors = [\"inbox\", \"full\"]", 1).replacen(
        "channel = \"email\"\nvendors = [\"inbox\"]",
        "channel = \"email\"\nvendors = [\"full\"]",
        1,
    );
    let full = "\n[vendors.full]\nkind = \"inbox\"\nconcurrency = 1\n\
                outcomes = [{ pattern = \"*@example.com\", outcome = \"hang\" }]\n";
    let refuses = WORKFLOWS.replace("\"*1002\"", "\"*0008\"");
    let messaging = "\n[messaging]\nattempt_timeout = \"120s\"\n";
    let gateway = Gateway::start_with(&format!("{config}{refuses}{full}{messaging}")).await;
    let recipient = Some(email("ann@example.com"));
    let fills = SendMessageRequest { recipient, ..text_to(PHONE, "This takes all of the room.") };
    gateway.messages().await.send_message(fills).await.unwrap();
    let client = &mut gateway.verifications().await;
    let (in_doubt, under_way) = ("+60123450008", "+60123450006");
    let mut ids = Vec::new();
    for number in [in_doubt, under_way] {
        ids.push(client.start_verification(ladder(number)).await.unwrap().into_inner().verification.unwrap().id);
    }
    eventually(async || {
        let send = get_verification(client, &ids[0]).await.sends.remove(0);
        ((send.status(), send.attempts) == (MessageStatus::Queued, 1)).then_some(())
    })
    .await;
    gateway.clock.advance(30 * SECOND);
    // Every other step is refused, but what perhaps arrived must still be good.
    let refused = eventually(async || {
        let verification = get_verification(client, &ids[0]).await;
        let last = verification.sends.get(2).is_some_and(|send| send.status() == MessageStatus::Rejected);
        last.then_some(verification)
    })
    .await;
    let statuses: Vec<_> = refused.sends.iter().map(|send| (send.status(), send.attempts)).collect();
    let rejected = (MessageStatus::Rejected, 1);
    assert_eq!(statuses, [(MessageStatus::Unknown, 1), rejected, rejected]);
    assert_eq!((refused.status(), refused.next_step_time), (VerificationStatus::Pending, None));
    let going = until_sent(client, &ids[1], 2).await;
    assert_eq!((going.sends[0].status(), going.sends[0].attempts), (MessageStatus::Sending, 1));
    let code = gateway.code(in_doubt).await;
    assert_eq!(judge(client, &ids[0], &code).await, CheckOutcome::Approved);
    assert_eq!(gateway.inbox(in_doubt).await.len(), 1);
}

// === restarts and crowds ===

#[tokio::test]
async fn a_restart_in_the_middle_changes_nothing() {
    let gateway = gateway().await;
    let id = start_now(&mut gateway.verifications().await, ladder(PHONE)).await.unwrap().id;
    let gateway = gateway.restart().await;
    gateway.clock.advance(30 * SECOND);
    assert_eq!(until_sent(&mut gateway.verifications().await, &id, 2).await.channel(), Channel::Whatsapp);
    // The configuration of the start holds, also when it is gone.
    let without = CONFIG.to_owned() + WORKFLOWS.split("[[workflows]]").next().unwrap();
    let gateway = gateway.restart_with(&without).await;
    gateway.clock.advance(40 * SECOND);
    let third = until_sent(&mut gateway.verifications().await, &id, 3).await;
    assert_eq!((third.workflow.as_str(), third.channel(), third.next_step_time), ("ladder", Channel::Voice, None));
    // The inbox forgets; what it holds came after the last restart.
    eventually(async || (gateway.inbox(PHONE).await.len() == 1).then_some(())).await;
}

#[tokio::test]
async fn a_step_whose_channel_has_lost_its_route_is_passed_over() {
    let gateway = gateway().await;
    let id = start_now(&mut gateway.verifications().await, ladder(PHONE)).await.unwrap().id;
    let without = CONFIG.to_owned() + WORKFLOWS.split("[[workflows]]").next().unwrap();
    let gateway = gateway.restart_with(&without.replace("\"whatsapp\"", "\"email\"")).await;
    gateway.clock.advance(30 * SECOND);
    let second = until_sent(&mut gateway.verifications().await, &id, 2).await;
    assert_eq!((channels(&second), second.next_step_time), (vec![Channel::Sms, Channel::Voice], None));
}

#[tokio::test]
async fn of_fifty_at_once_each_takes_each_step_once() {
    let gateway = gateway().await;
    let client = gateway.verifications().await;
    let starts = (100..150).map(|number| {
        let mut client = client.clone();
        async move { start_now(&mut client, ladder(&format!("+60123456{number}"))).await.unwrap().id }
    });
    let ids = futures_util::future::join_all(starts).await;
    gateway.clock.advance(30 * SECOND);
    let client = &mut gateway.verifications().await;
    for id in &ids {
        until_sent(client, id, 2).await;
    }
    gateway.clock.advance(40 * SECOND);
    for id in &ids {
        until_sent(client, id, 3).await;
    }
    let gateway = gateway.restart().await;
    let client = &mut gateway.verifications().await;
    until_steps_are_taken(&gateway, client, "+60123456787").await;
    for id in &ids {
        let verification = get_verification(client, id).await;
        assert_eq!(channels(&verification), [Channel::Sms, Channel::Whatsapp, Channel::Voice]);
        assert!(verification.sends.iter().all(|send| send.attempts == 1));
    }
}

// === as callers ask for it ===

#[tokio::test]
async fn a_watch_shows_each_step() {
    let gateway = gateway().await;
    let client = &mut gateway.verifications().await;
    let id = start_now(client, ladder(PHONE)).await.unwrap().id;
    let request = WatchVerificationRequest { id: id.clone() };
    let mut watch = client.watch_verification(request).await.unwrap().into_inner();
    let mut next = async || watch.message().await.unwrap().unwrap().verification.unwrap();
    assert_eq!(next().await.sends.len(), 1);
    gateway.clock.advance(30 * SECOND);
    loop {
        let told = next().await;
        if told.sends.len() == 2 {
            assert_eq!(next_step(&told, &gateway), Some(70 * SECOND));
            break;
        }
    }
}

#[tokio::test]
async fn the_default_workflow_is_for_who_names_neither_workflow_nor_channel() {
    let gateway = gateway().await;
    let client = &mut gateway.verifications().await;
    let usual = start_now(client, start("+6581234567")).await.unwrap();
    assert_eq!((usual.workflow.as_str(), usual.channel()), ("usual", Channel::Whatsapp));
    let plain = StartVerificationRequest { channel: Channel::Sms.into(), ..start("+6581234568") };
    assert_eq!(start_now(client, plain).await.unwrap().workflow, "");
    let elsewhere = start_now(client, start(PHONE)).await.unwrap();
    assert_eq!((elsewhere.workflow.as_str(), elsewhere.next_step_time), ("", None));
}

#[tokio::test]
async fn a_workflow_that_is_not_for_the_caller_or_the_recipient_is_refused() {
    let gateway = gateway().await;
    let client = &mut gateway.verifications().await;
    let named = |name: &str| StartVerificationRequest { workflow: name.to_owned(), ..start(PHONE) };
    let mail = StartVerificationRequest { recipient: Some(email("ann@example.com")), ..ladder(PHONE) };
    for request in [named("unknown"), named("others"), named("usual"), mail] {
        let found = violations(&client.start_verification(request).await.unwrap_err());
        let wanted = "must name a workflow for this tenant and recipient";
        assert_eq!(found, [("workflow".to_owned(), wanted.to_owned())]);
    }
    let both = StartVerificationRequest { channel: Channel::Voice.into(), ..ladder(PHONE) };
    let found = violations(&client.start_verification(both).await.unwrap_err());
    assert_eq!(found[0].0, "channel");
    let fits = StartVerificationRequest { recipient: Some(phone("+6581234567")), ..named("usual") };
    assert_eq!(start_now(client, fits).await.unwrap().workflow, "usual");
}
