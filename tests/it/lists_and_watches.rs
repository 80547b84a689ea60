//! Looking at what was started and sent: pages that stay stable while things are added, and streams that end.

use std::time::Duration;

use tonic::Code;
use verigate::proto::messaging::v1::{
    CancelMessageRequest, Encoding, ListMessagesRequest, Message, MessageStatus, PreviewMessageRequest,
    SendMessageRequest, SendMessagesRequest, WatchMessageRequest, preview_message_request, send_message_request,
    send_messages_request, send_messages_result,
};
use verigate::proto::verification::v1::{
    ListVerificationsRequest, OnExisting, StartVerificationRequest, VerificationStatus, WatchVerificationRequest,
};

use crate::support::gateway::{Gateway, Messages, PHONE, Verifications, check, email, phone, reason, start};

async fn ids(client: &mut Verifications, request: ListVerificationsRequest) -> (Vec<String>, String) {
    let page = client.list_verifications(request).await.unwrap().into_inner();
    (page.verifications.into_iter().map(|it| it.id).collect(), page.next_page_token)
}

async fn send(client: &mut Messages, to: &str, text: &str, ahead: Option<prost_types::Timestamp>) -> Message {
    let request = SendMessageRequest {
        recipient: Some(phone(to)),
        content: Some(send_message_request::Content::Text(text.to_owned())),
        send_at: ahead,
        ..SendMessageRequest::default()
    };
    client.send_message(request).await.unwrap().into_inner().message.unwrap()
}

#[tokio::test]
async fn verifications_are_listed_newest_first_in_pages_that_stay_stable() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let mut started = Vec::new();
    for number in 0..7 {
        let verification = gateway.begin(&mut client, &format!("+6012345678{number}")).await;
        started.push(verification.id);
        gateway.clock.advance(Duration::from_secs(1));
    }
    started.reverse();
    let first = ListVerificationsRequest { page_size: 3, ..ListVerificationsRequest::default() };
    let (page, token) = ids(&mut client, first.clone()).await;
    assert_eq!(page, started[..3]);
    gateway.begin(&mut client, "+60123456779").await;
    let next = ListVerificationsRequest { page_token: token, ..first.clone() };
    let (page, token) = ids(&mut client, next.clone()).await;
    assert_eq!(page, started[3..6]);
    let (page, end) = ids(&mut client, ListVerificationsRequest { page_token: token.clone(), ..first.clone() }).await;
    assert_eq!((page.as_slice(), end.as_str()), (&started[6..], ""));

    let mut other = gateway.verifications_as("other.other-secret-of-some-length").await;
    assert_eq!(ids(&mut other, ListVerificationsRequest::default()).await, (Vec::new(), String::new()));
    let stolen = other.list_verifications(next).await.unwrap_err();
    assert_eq!((stolen.code(), reason(&stolen).as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
    let filtered = ListVerificationsRequest { page_token: token, scope: "login".to_owned(), ..first };
    assert_eq!(client.list_verifications(filtered).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn verifications_are_found_by_recipient_scope_status_and_time() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let approved = gateway.begin(&mut client, PHONE).await;
    let code = gateway.code(PHONE).await;
    check(&mut client, &approved.id, &code).await.unwrap();
    gateway.clock.advance(Duration::from_secs(60));
    let login = StartVerificationRequest { scope: "login".to_owned(), ..start(PHONE) };
    let login = client.start_verification(login).await.unwrap().into_inner().verification.unwrap();
    gateway.clock.advance(Duration::from_millis(1));
    let elsewhere = gateway.begin(&mut client, "+60123456788").await;

    let all = ListVerificationsRequest::default;
    let of = ListVerificationsRequest { recipient: Some(phone("012-345 6789")), ..all() };
    assert_eq!(ids(&mut client, of.clone()).await.0, [login.id.clone(), approved.id.clone()]);
    let pending = ListVerificationsRequest { statuses: vec![VerificationStatus::Pending.into()], ..all() };
    assert_eq!(ids(&mut client, pending.clone()).await.0, [elsewhere.id, login.id.clone()]);
    let scoped = ListVerificationsRequest { scope: "login".to_owned(), ..of };
    assert_eq!(ids(&mut client, scoped).await.0, [login.id]);
    let early = ListVerificationsRequest { create_time_before: login.create_time, ..all() };
    assert_eq!(ids(&mut client, early).await.0, [approved.id]);
    let late = ListVerificationsRequest { create_time_from: login.create_time, ..all() };
    assert_eq!(ids(&mut client, late).await.0.len(), 2);
    gateway.clock.advance(Duration::from_secs(600));
    assert_eq!(ids(&mut client, pending).await.0.len(), 0, "what has expired is not pending");
}

#[tokio::test]
async fn a_watch_shows_each_change_and_ends_with_the_verification() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let verification = gateway.begin(&mut client, PHONE).await;
    let request = WatchVerificationRequest { id: verification.id.clone() };
    let mut changes = client.watch_verification(request).await.unwrap().into_inner();
    let mut seen = changes.message().await.unwrap().unwrap().verification.unwrap();
    assert_eq!(seen.status(), VerificationStatus::Pending);
    let code = gateway.code(PHONE).await;
    check(&mut client, &verification.id, "000000x").await.unwrap();
    while seen.checks_left == 5 {
        seen = changes.message().await.unwrap().unwrap().verification.unwrap();
    }
    assert_eq!(seen.checks_left, 4);
    check(&mut client, &verification.id, &code).await.unwrap();
    while seen.status() == VerificationStatus::Pending {
        seen = changes.message().await.unwrap().unwrap().verification.unwrap();
    }
    assert_eq!(seen.status(), VerificationStatus::Approved);
    assert!(changes.message().await.unwrap().is_none());

    let unknown = WatchVerificationRequest { id: "00000000-0000-8000-8000-000000000000".to_owned() };
    assert_eq!(client.watch_verification(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_watch_ends_when_the_code_expires_and_when_the_server_stops() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let expiring = gateway.begin(&mut client, PHONE).await;
    let lasting = client
        .start_verification(StartVerificationRequest {
            on_existing: OnExisting::Parallel.into(),
            ..start("+60123456788")
        })
        .await
        .unwrap()
        .into_inner()
        .verification
        .unwrap();
    let request = WatchVerificationRequest { id: expiring.id };
    let mut changes = client.watch_verification(request).await.unwrap().into_inner();
    gateway.clock.advance(Duration::from_secs(600));
    let mut last = None;
    while let Some(change) = changes.message().await.unwrap() {
        last = change.verification;
    }
    assert_eq!(last.unwrap().status(), VerificationStatus::Expired);

    gateway.clock.set(verigate::clock::Timestamp::from_millis(gateway.clock_start()));
    let mut open = client.watch_verification(WatchVerificationRequest { id: lasting.id }).await.unwrap().into_inner();
    open.message().await.unwrap().unwrap();
    gateway.restart().await;
    let ended = loop {
        match open.message().await {
            Ok(Some(_)) => {}
            Ok(None) => break Code::Ok,
            Err(status) => break status.code(),
        }
    };
    assert_eq!(ended, Code::Unavailable);
}

#[tokio::test]
async fn verifications_may_stand_beside_each_other() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let first = gateway.begin(&mut client, PHONE).await;
    let first_code = gateway.code(PHONE).await;
    gateway.clock.advance(Duration::from_secs(31));
    let beside = StartVerificationRequest {
        on_existing: OnExisting::Parallel.into(),
        delivery_wait: crate::support::gateway::seconds(5),
        ..start(PHONE)
    };
    let second = client.start_verification(beside).await.unwrap().into_inner().verification.unwrap();
    assert_ne!(first.id, second.id);
    let second_code = gateway.code(PHONE).await;
    for (verification, code) in [(first, first_code), (second, second_code)] {
        assert_eq!(
            check(&mut client, &verification.id, &code).await.unwrap().outcome().as_str_name(),
            "CHECK_OUTCOME_APPROVED"
        );
    }
}

#[tokio::test]
async fn scheduled_messages_wait_and_can_be_canceled() {
    let gateway = Gateway::start().await;
    let mut client = gateway.messages().await;
    let now = gateway.clock_start() / 1000;
    let at = prost_types::Timestamp { seconds: i64::try_from(now).unwrap() + 3600, nanos: 0 };
    let kept = send(&mut client, PHONE, "kept", Some(at)).await;
    let dropped = send(&mut client, PHONE, "dropped", Some(at)).await;
    assert_eq!((kept.status(), kept.send_at), (MessageStatus::Queued, Some(at)));
    let canceled = client.cancel_message(CancelMessageRequest { id: dropped.id.clone() }).await.unwrap().into_inner();
    assert_eq!(canceled.message.unwrap().status(), MessageStatus::Canceled);
    client.cancel_message(CancelMessageRequest { id: dropped.id }).await.unwrap();

    let mut changes = client.watch_message(WatchMessageRequest { id: kept.id.clone() }).await.unwrap().into_inner();
    changes.message().await.unwrap().unwrap();
    assert!(gateway.inbox(PHONE).await.is_empty());
    let gateway_clock = gateway.clock.clone();
    gateway_clock.advance(Duration::from_secs(3601));
    let mut last = None;
    while let Some(change) = changes.message().await.unwrap() {
        last = change.message;
    }
    let last = last.unwrap();
    assert_eq!((last.status(), last.send_at), (MessageStatus::Delivered, Some(at)), "it is still told when it was for");
    assert_eq!(gateway.inbox(PHONE).await.len(), 1);
    assert_eq!(send(&mut client, PHONE, "at once", None).await.send_at, None);
    let late = client.cancel_message(CancelMessageRequest { id: kept.id }).await.unwrap_err();
    assert_eq!((late.code(), reason(&late).as_str()), (Code::FailedPrecondition, "MESSAGE_NOT_QUEUED"));
}

#[tokio::test]
async fn a_batch_answers_for_each_recipient_and_messages_are_listed() {
    let gateway = Gateway::start().await;
    let mut client = gateway.messages().await;
    let batch = SendMessagesRequest {
        recipients: vec![phone(PHONE), phone("12"), phone("+60123456788")],
        content: Some(send_messages_request::Content::Text("hello".to_owned())),
        idempotency_key: "batch".to_owned(),
        ..SendMessagesRequest::default()
    };
    let results = client.send_messages(batch.clone()).await.unwrap().into_inner().results;
    let told = |result: &verigate::proto::messaging::v1::SendMessagesResult| match result.outcome.as_ref().unwrap() {
        send_messages_result::Outcome::Message(message) => message.id.clone(),
        send_messages_result::Outcome::Error(error) => error.message.clone(),
    };
    let first: Vec<_> = results.iter().map(told).collect();
    assert!(first[1].starts_with("recipient.phone: "), "{first:?}");
    let again = client.send_messages(batch).await.unwrap().into_inner().results;
    assert_eq!(again.iter().map(told).collect::<Vec<_>>(), first, "a repeated batch sends nothing");

    let of = ListMessagesRequest { recipient: Some(phone(PHONE)), ..ListMessagesRequest::default() };
    let listed = client.list_messages(of).await.unwrap().into_inner().messages;
    assert_eq!(listed.iter().map(|it| it.id.clone()).collect::<Vec<_>>(), [first[0].clone()]);
    let all = client.list_messages(ListMessagesRequest::default()).await.unwrap().into_inner().messages;
    assert_eq!(all.len(), 2);
    let none = SendMessagesRequest::default();
    assert_eq!(client.send_messages(none).await.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_preview_tells_the_cost_and_sends_nothing() {
    let gateway = Gateway::start().await;
    let mut client = gateway.messages().await;
    let request = PreviewMessageRequest {
        recipient: Some(phone(PHONE)),
        content: Some(preview_message_request::Content::Text("ü€".repeat(70))),
        ..PreviewMessageRequest::default()
    };
    let preview = client.preview_message(request.clone()).await.unwrap().into_inner();
    assert_eq!((preview.characters, preview.segments, preview.encoding()), (140, 2, Encoding::Gsm7));
    let by_mail = PreviewMessageRequest { recipient: Some(email("ann@example.com")), ..request };
    let by_mail = client.preview_message(by_mail).await.unwrap().into_inner();
    assert_eq!((by_mail.segments, by_mail.encoding()), (0, Encoding::Unspecified), "segments belong to SMS");
    assert_eq!(preview.candidates.len(), 1);
    assert!(preview.candidates[0].usable && preview.candidates[0].vendor == "inbox");
    assert!(gateway.inbox(PHONE).await.is_empty());
}
