//! A request that comes twice is done once: repeated, in parallel, with other contents, by another tenant, after a
//! restart.

use std::time::Duration;

use tonic::Code;
use verigate::proto::messaging::v1::{Message, SendMessageRequest, send_message_request};
use verigate::proto::verification::v1::StartVerificationRequest;

use crate::support::gateway::{CONFIG, Gateway, Messages, PHONE, phone, reason, start};

fn keyed(to: &str, key: &str) -> StartVerificationRequest {
    StartVerificationRequest { idempotency_key: key.to_owned(), ..start(to) }
}

fn message(to: &str, text: &str, key: &str) -> SendMessageRequest {
    SendMessageRequest {
        recipient: Some(phone(to)),
        content: Some(send_message_request::Content::Text(text.to_owned())),
        idempotency_key: key.to_owned(),
        ..SendMessageRequest::default()
    }
}

async fn send(client: &mut Messages, request: SendMessageRequest) -> Result<Message, tonic::Status> {
    client.send_message(request).await.map(|answer| answer.into_inner().message.unwrap())
}

#[tokio::test]
async fn a_start_that_is_repeated_sends_once_and_answers_alike() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let first = client.start_verification(keyed(PHONE, "k1")).await.unwrap().into_inner().verification.unwrap();
    gateway.clock.advance(Duration::from_secs(5));
    let again = client.start_verification(keyed(PHONE, "k1")).await.unwrap().into_inner().verification.unwrap();
    assert_eq!((again.id, again.sends.len()), (first.id.clone(), 1));

    let gateway = gateway.restart().await;
    let mut client = gateway.verifications().await;
    let later = client.start_verification(keyed(PHONE, "k1")).await.unwrap().into_inner().verification.unwrap();
    assert_eq!((later.id, later.sends.len()), (first.id, 1));

    let other = client.start_verification(keyed("+60123456788", "k1")).await.unwrap_err();
    assert_eq!((other.code(), reason(&other).as_str()), (Code::FailedPrecondition, "IDEMPOTENCY_MISMATCH"));
    assert!(gateway.inbox("+60123456788").await.is_empty());
}

#[tokio::test]
async fn a_key_that_sent_a_pending_code_again_does_so_once() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let first = gateway.begin(&mut client, PHONE).await;
    gateway.clock.advance(Duration::from_secs(31));
    for _ in 0..3 {
        let again = client.start_verification(keyed(PHONE, "again")).await.unwrap().into_inner().verification.unwrap();
        assert_eq!((again.id.as_str(), again.sends.len()), (first.id.as_str(), 2));
    }
}

#[tokio::test]
async fn a_refused_start_frees_its_key() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    gateway.begin(&mut client, PHONE).await;
    let refused = client.start_verification(keyed(PHONE, "k")).await.unwrap_err();
    assert_eq!(reason(&refused), "COOL_DOWN");
    gateway.clock.advance(Duration::from_secs(31));
    let sent = client.start_verification(keyed(PHONE, "k")).await.unwrap().into_inner().verification.unwrap();
    assert_eq!(sent.sends.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_at_once_send_one_message() {
    let gateway = Gateway::start().await;
    for round in 0..10 {
        let key = format!("round-{round}");
        let to = format!("+6012345{round:04}");
        let client = gateway.messages().await;
        let calls = (0..50).map(|_| {
            let (mut client, request) = (client.clone(), message(&to, "hello", &key));
            tokio::spawn(async move { send(&mut client, request).await })
        });
        let mut ids = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            match call.await.unwrap() {
                Ok(message) => ids.push(message.id),
                Err(status) => {
                    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "IDEMPOTENCY_IN_FLIGHT"));
                }
            }
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "round {round}");
        let mut client = gateway.messages().await;
        assert_eq!(send(&mut client, message(&to, "hello", &key)).await.unwrap().id, ids[0]);
        assert!(gateway.inbox(&to).await.len() <= 1, "round {round}");
    }
}

#[tokio::test]
async fn keys_belong_to_one_tenant_and_one_kind_of_call_for_a_day() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let mut other = gateway.verifications_as("other.other-secret-of-some-length").await;
    let ours = client.start_verification(keyed(PHONE, "k")).await.unwrap().into_inner().verification.unwrap();
    let theirs = other.start_verification(keyed(PHONE, "k")).await.unwrap().into_inner().verification.unwrap();
    assert_ne!(ours.id, theirs.id);

    let mut messages = gateway.messages().await;
    let sent = send(&mut messages, message(PHONE, "hello", "k")).await.unwrap();
    assert_eq!(send(&mut messages, message(PHONE, "hello", "k")).await.unwrap().id, sent.id);
    let mismatch = send(&mut messages, message(PHONE, "bye", "k")).await.unwrap_err();
    assert_eq!(reason(&mismatch), "IDEMPOTENCY_MISMATCH");
    gateway.clock.advance(Duration::from_secs(24 * 3600));
    assert_ne!(send(&mut messages, message(PHONE, "bye", "k")).await.unwrap().id, sent.id);
}

#[tokio::test]
async fn a_code_is_returned_only_where_it_is_allowed() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let asked = StartVerificationRequest { return_code: true, ..start(PHONE) };
    let refused = client.start_verification(asked.clone()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_PERMITTED"));

    let gateway =
        Gateway::start_with(&CONFIG.replace("brand = \"Acme\"", "brand = \"Acme\"\nreturn_code = true")).await;
    let mut client = gateway.verifications().await;
    let silent = client.start_verification(start("+60123456788")).await.unwrap().into_inner();
    assert_eq!(silent.code, "");
    let wait = crate::support::gateway::seconds(5);
    let told = client.start_verification(StartVerificationRequest { delivery_wait: wait, ..asked }).await.unwrap();
    assert_eq!(told.into_inner().code, gateway.code(PHONE).await);
}
