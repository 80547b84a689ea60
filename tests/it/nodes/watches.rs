//! Who watches at one node what is done at another sees it within a second.

use std::time::Duration;

use tokio::time::timeout;
use tonic::Streaming;
use verigate::proto::event::v1::WatchEventsRequest;
use verigate::proto::messaging::v1::{CancelMessageRequest, MessageStatus, WatchMessageRequest};
use verigate::proto::verification::v1::{VerificationStatus, WatchVerificationRequest};

use crate::nodes::house::{House, SECOND, code, vendor};
use crate::support::gateway::{PHONE, check, text_to};

/// What a stream tells next; `None` at its end.
async fn next<T>(stream: &mut Streaming<T>) -> Option<T> {
    let told = timeout(Duration::from_secs(30), stream.message()).await;
    told.expect("nothing is told, whatever time passes").unwrap()
}

const ACME: &str = "acme.acme-secret-of-some-length";

#[tokio::test]
async fn a_verification_is_seen_approved_within_a_second() {
    let vendor = vendor().await;
    let house = House::calling(&vendor, "");
    let (here, there) = (house.node().await, house.node().await);
    let mut client = there.gateway.verifications().await;
    let id = there.gateway.begin(&mut client, PHONE).await.id;
    let request = WatchVerificationRequest { id: id.clone() };
    let mut stream = here.gateway.verifications().await.watch_verification(request).await.unwrap().into_inner();
    let first = next(&mut stream).await.unwrap().verification.unwrap();
    assert_eq!(first.status(), VerificationStatus::Pending);
    check(&mut client, &id, &code(&vendor)).await.unwrap();
    house.pass(SECOND).await;
    let last = next(&mut stream).await.unwrap().verification.unwrap();
    assert_eq!(last.status(), VerificationStatus::Approved);
    assert!(next(&mut stream).await.is_none());
}

#[tokio::test]
async fn a_message_is_seen_canceled_within_a_second() {
    let vendor = vendor().await;
    let house = House::calling(&vendor, "");
    let (here, there) = (house.node().await, house.node().await);
    let mut client = there.gateway.messages().await;
    let now = i64::try_from(verigate::clock::Clock::now(&house.clock).as_millis() / 1000).unwrap();
    let send_at = Some(prost_types::Timestamp { seconds: now + 3600, nanos: 0 });
    let request = verigate::proto::messaging::v1::SendMessageRequest { send_at, ..text_to(PHONE, "Hi") };
    let id = client.send_message(request).await.unwrap().into_inner().message.unwrap().id;
    let request = WatchMessageRequest { id: id.clone() };
    let mut stream = here.gateway.messages().await.watch_message(request).await.unwrap().into_inner();
    next(&mut stream).await.unwrap();
    client.cancel_message(CancelMessageRequest { id }).await.unwrap();
    house.pass(SECOND).await;
    let last = next(&mut stream).await.unwrap().message.unwrap();
    assert_eq!(last.status(), MessageStatus::Canceled);
}

/// A watch answers once all nodes know of it, so what happens from then on is told, wherever it happens.
#[tokio::test]
async fn events_of_all_nodes_are_seen() {
    let vendor = vendor().await;
    let house = House::calling(&vendor, "");
    let nodes = [house.node().await, house.node().await, house.node().await];
    house.joined(3).await;
    let types = vec!["message.queued".to_owned()];
    let request = WatchEventsRequest { types, ..WatchEventsRequest::default() };
    let mut client = nodes[0].gateway.events_as(ACME).await;
    let begun = tokio::spawn(async move {
        let mut stream = client.watch_events(request).await.unwrap().into_inner();
        let first = next(&mut stream).await.unwrap();
        assert_eq!(first.event, None);
        stream
    });
    house.pass_until(async || begun.is_finished().then_some(())).await;
    let mut stream = begun.await.unwrap();
    let mut sent = Vec::new();
    for node in &nodes {
        let mut client = node.gateway.messages().await;
        let message = client.send_message(text_to(PHONE, "Hi")).await.unwrap().into_inner().message.unwrap();
        sent.push(format!("evt_{}_0", message.id));
        house.pass(Duration::from_millis(250)).await;
    }
    house.pass(SECOND).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(next(&mut stream).await.unwrap().event.map(|event| event.id));
    }
    seen.sort();
    sent.sort();
    assert_eq!(seen, sent);
}
