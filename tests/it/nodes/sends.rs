//! What becomes of sends when the node that had them dies or stands still: others take them up, and nothing is sent twice
//! but for doubt.

use std::collections::BTreeSet;

use serde_json::json;
use verigate::proto::messaging::v1::{
    GetMessageRequest, ListMessagesRequest, Message, MessageStatus, SendMessageRequest,
};
use verigate::proto::verification::v1::{CheckOutcome, ListVerificationsRequest, StartVerificationRequest};
use verigate::store::Prefix;

use crate::nodes::house::{House, Node, SECOND, State, code, recipients, vendor};
use crate::support::gateway::{CONFIG, Messages, PHONE, check, eventually, reason, start, text_to};
use crate::support::http::call;
use crate::support::vendor_server::{Answer, Fault, VendorServer};

fn number(last: usize) -> String {
    format!("+601234567{last:02}")
}

/// To be sent so many seconds from now.
fn later(house: &House, phone: &str, seconds: i64) -> SendMessageRequest {
    let now = i64::try_from(verigate::clock::Clock::now(&house.clock).as_millis() / 1000).unwrap();
    let send_at = prost_types::Timestamp { seconds: now + seconds, nanos: 0 };
    SendMessageRequest { send_at: Some(send_at), ..text_to(phone, "See you.") }
}

async fn messages(client: &mut Messages) -> Vec<Message> {
    let request = ListMessagesRequest { page_size: 100, ..ListMessagesRequest::default() };
    client.list_messages(request).await.unwrap().into_inner().messages
}

async fn status(client: &mut Messages, id: &str) -> MessageStatus {
    let request = GetMessageRequest { id: id.to_owned() };
    client.get_message(request).await.unwrap().into_inner().message.unwrap().status()
}

async fn two(house: &House) -> (Node, Node) {
    let nodes = (house.node().await, house.node().await);
    house.joined(2).await;
    nodes
}

/// A node commits the beginning of an attempt and stands still before its first byte. Another takes the send up as one in
/// doubt, and the first, when it goes on, calls nobody.
#[tokio::test]
async fn an_attempt_of_a_node_that_stood_still_is_taken_over_and_not_made_by_both() {
    let vendor = vendor().await;
    let house = House::calling(&vendor, "");
    let (still, other) = two(&house).await;
    let (mut codes, mut texts) = (still.gateway.verifications().await, still.gateway.messages().await);
    let (mut seen_codes, mut seen_texts) = (other.gateway.verifications().await, other.gateway.messages().await);
    still.set(State::HeldOnRecords);
    let started = tokio::spawn(async move { codes.start_verification(start(PHONE)).await });
    let sent = tokio::spawn(async move { texts.send_message(text_to(&number(1), "Hi")).await });
    let (id, text) = eventually(async || {
        let listed = seen_codes.list_verifications(ListVerificationsRequest::default()).await.unwrap();
        let id = listed.into_inner().verifications.first()?.id.clone();
        Some((id, messages(&mut seen_texts).await.first()?.id.clone()))
    })
    .await;
    still.set(State::Held);
    // One more call of the code, for doubt; of a message nobody knows whether it was sent.
    house.pass_until(async || (vendor.requests().len() == 1).then_some(())).await;
    house.pass_until(async || (status(&mut seen_texts, &text).await == MessageStatus::Unknown).then_some(())).await;
    still.set(State::Open);
    assert_eq!(started.await.unwrap().unwrap().into_inner().verification.unwrap().id, id);
    sent.await.unwrap().unwrap();
    house.pass(40 * SECOND).await;
    assert_eq!(recipients(&vendor.requests()), [PHONE]);
    assert_eq!(status(&mut seen_texts, &text).await, MessageStatus::Unknown);
    // And it is one code, good once.
    let mut codes = still.gateway.verifications().await;
    let code = code(&vendor);
    assert_eq!(check(&mut codes, &id, &code).await.unwrap().outcome(), CheckOutcome::Approved);
    assert_ne!(check(&mut seen_codes, &id, &code).await.unwrap().outcome(), CheckOutcome::Approved);
}

#[tokio::test]
async fn what_is_planned_is_sent_once_whether_its_node_lives_or_not() {
    for dies in [false, true] {
        let vendor = vendor().await;
        let house = House::calling(&vendor, "");
        let (one, other) = two(&house).await;
        let mut client = one.gateway.messages().await;
        for last in 0..30 {
            client.send_message(later(&house, &number(last), 40)).await.unwrap();
        }
        if dies {
            one.die();
        }
        house.pass(39 * SECOND).await;
        assert!(vendor.requests().is_empty());
        // A second when it lives; else the grace, a look, and what is left of the node's sign of life.
        house.pass(if dies { 12 * SECOND } else { 2 * SECOND }).await;
        eventually(async || (vendor.requests().len() >= 30).then_some(())).await;
        let mut client = other.gateway.messages().await;
        let all = |status| move |message: &Message| message.status() == status;
        house.pass_until(async || messages(&mut client).await.iter().all(all(MessageStatus::Sent)).then_some(())).await;
        house.pass(30 * SECOND).await;
        let sent = recipients(&vendor.requests());
        assert_eq!((sent.len(), sent.iter().collect::<BTreeSet<_>>().len()), (30, 30), "dies: {dies}");
    }
}

/// Lines are in memory, marks are in the store.
#[tokio::test]
async fn who_waited_in_the_line_of_a_dead_node_is_sent_by_another() {
    let vendor = vendor().await;
    let house = House::calling(&vendor, "concurrency = 1\ntimeout = \"60s\"\n");
    let (one, other) = two(&house).await;
    vendor.set_fault(Fault::Silence).await;
    let mut client = one.gateway.messages().await;
    for last in 0..20 {
        client.send_message(text_to(&number(last), "Hi")).await.unwrap();
    }
    eventually(async || (vendor.requests().len() == 1).then_some(())).await;
    one.die();
    vendor.set_fault(None).await;
    let mut client = other.gateway.messages().await;
    house
        .pass_until(async || {
            let open = [MessageStatus::Queued, MessageStatus::Sending];
            messages(&mut client).await.iter().all(|message| !open.contains(&message.status())).then_some(())
        })
        .await;
    house.pass(30 * SECOND).await;
    let sent = recipients(&vendor.requests());
    assert_eq!((sent.len(), sent.iter().collect::<BTreeSet<_>>().len()), (20, 20));
    let messages = messages(&mut client).await;
    let count = |status| messages.iter().filter(|message| message.status() == status).count();
    assert_eq!((count(MessageStatus::Sent), count(MessageStatus::Unknown)), (19, 1));
}

/// The tokens in the URLs come from the store, so they are good at every node; and a receipt finds its message, or waits
/// for it, wherever it comes in.
#[tokio::test]
async fn receipts_come_in_at_any_node_also_before_the_answer() {
    let vendor = VendorServer::start(|request| {
        let id = request.json()["to"].as_str().unwrap_or_default().to_owned();
        Answer::json(200, json!({"status": 0, "id": format!("x-{id}")}))
    })
    .await;
    let (before, _) = CONFIG.split_once("[vendors.inbox]").unwrap();
    let house = House::with(&format!(
        "{before}\n[receipts]\npublic_url = \"http://public.test/\"\n\n[vendors.one]\nkind = \"esms\"\n\
         base_url = \"{}\"\nuser = \"u\"\npass = \"p\"\ntimeout = \"60s\"\n\n[[routes]]\nchannel = \"sms\"\n\
         vendors = [\"one\"]\n",
        vendor.url()
    ));
    let (one, other) = two(&house).await;
    let (mut client, mut seen) = (one.gateway.messages().await, other.gateway.messages().await);
    let report = async |last: usize, name: &str| {
        let requests = vendor.requests();
        let url = requests[last].json()["dlr-url"].as_str().unwrap().to_owned();
        let path = url.strip_prefix("http://public.test").unwrap();
        let target = format!("{path}?msgId={name}&s=DELIVRD&t=20261122051600");
        let host = format!("Host: {}", other.gateway.addresses.http);
        assert_eq!(call(other.gateway.addresses.http, "GET", &target, &[&host], "").await.status, 200);
    };
    let id = client.send_message(text_to(&number(1), "Hi")).await.unwrap().into_inner().message.unwrap().id;
    house.pass_until(async || (status(&mut seen, &id).await == MessageStatus::Sent).then_some(())).await;
    let name = |request: usize| format!("x-{}", vendor.requests()[request].json()["to"].as_str().unwrap());
    report(0, &name(0)).await;
    assert_eq!(status(&mut client, &id).await, MessageStatus::Delivered);

    // The answer to this one is stored late.
    one.set(State::HeldOnRecords);
    let mut slow = one.gateway.messages().await;
    let sent = tokio::spawn(async move { slow.send_message(text_to(&number(2), "Hi")).await });
    eventually(async || (messages(&mut seen).await.len() == 2).then_some(())).await;
    one.set(State::Open);
    let id = sent.await.unwrap().unwrap().into_inner().message.unwrap().id;
    eventually(async || (vendor.requests().len() == 2).then_some(())).await;
    report(1, &name(1)).await;
    house.pass_until(async || (status(&mut seen, &id).await == MessageStatus::Delivered).then_some(())).await;
}

/// A node dies between the reservation of an idempotency key and the work. Whoever repeats the call hears that it is under
/// way until that cannot be, and then it is done, under the id that was reserved.
#[tokio::test]
async fn a_call_of_a_dead_node_can_be_repeated_at_another() {
    let vendor = vendor().await;
    let house = House::calling(&vendor, "");
    let (dying, other) = two(&house).await;
    let request = StartVerificationRequest { idempotency_key: "order-7".to_owned(), ..start(PHONE) };
    dying.set(State::CutOnRecords);
    let mut client = dying.gateway.verifications().await;
    client.start_verification(request.clone()).await.unwrap_err();
    dying.die();
    let mut client = other.gateway.verifications().await;
    let under_way = client.start_verification(request.clone()).await.unwrap_err();
    assert_eq!(reason(&under_way), "IDEMPOTENCY_IN_FLIGHT");
    house.pass(30 * SECOND).await;
    let begun = client.start_verification(request.clone()).await.unwrap().into_inner().verification.unwrap();
    let again = client.start_verification(request).await.unwrap().into_inner().verification.unwrap();
    assert_eq!(begun.id, again.id);
    house.pass(30 * SECOND).await;
    assert_eq!(recipients(&vendor.requests()), [PHONE]);
}

/// The same, but the node only stood still: when it goes on it finds the work done, and leaves the key to who did it.
#[tokio::test]
async fn a_call_of_a_node_that_stood_still_is_done_once() {
    let vendor = vendor().await;
    let house = House::calling(&vendor, "");
    let (still, other) = two(&house).await;
    let request = SendMessageRequest { idempotency_key: "order-7".to_owned(), ..text_to(PHONE, "Hi") };
    still.set(State::StoppedBeforeRecords);
    let (mut client, repeated) = (still.gateway.messages().await, request.clone());
    let first = tokio::spawn(async move { client.send_message(repeated).await });
    let mut client = other.gateway.messages().await;
    let keys = Prefix::new([b'i'], None);
    eventually(async || (house.store.scan(&keys, None, 1).await.unwrap().len() == 1).then_some(())).await;
    assert_eq!(reason(&client.send_message(request.clone()).await.unwrap_err()), "IDEMPOTENCY_IN_FLIGHT");
    house.pass(30 * SECOND).await;
    let done = client.send_message(request.clone()).await.unwrap().into_inner().message.unwrap();
    still.set(State::Open);
    // What it says does not matter; what it leaves behind does.
    drop(first.await.unwrap());
    let again = client.send_message(request).await.unwrap().into_inner().message.unwrap();
    assert_eq!(done.id, again.id);
    house.pass(30 * SECOND).await;
    assert_eq!(recipients(&vendor.requests()), [PHONE]);
}

/// Checks at two nodes at once are counted as if there were one.
#[tokio::test]
async fn codes_are_good_once_and_wrong_ones_counted_over_all_nodes() {
    let vendor = vendor().await;
    let house = House::calling(&vendor, "");
    let (one, other) = two(&house).await;
    let (mut here, mut there) = (one.gateway.verifications().await, other.gateway.verifications().await);
    let id = one.gateway.begin(&mut here, PHONE).await.id;
    eventually(async || (vendor.requests().len() == 1).then_some(())).await;
    let code = code(&vendor);
    let (first, second) = tokio::join!(check(&mut here, &id, &code), check(&mut there, &id, &code));
    let approved = [&first, &second]
        .into_iter()
        .filter(|checked| checked.as_ref().is_ok_and(|checked| checked.outcome() == CheckOutcome::Approved));
    assert_eq!(approved.count(), 1, "{first:?} {second:?}");
}
