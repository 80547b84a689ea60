//! A request that comes twice is done once: repeated, in parallel, with other contents, by another tenant, after a
//! restart.

use std::time::Duration;

use tonic::Code;
use tonic::transport::Endpoint;
use verigate::proto::messaging::v1::{Channel, Message, SendMessageRequest, send_message_request};
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;
use verigate::proto::verification::v1::{
    CheckOutcome, CheckVerificationRequest, CodePolicy, OnExisting, StartVerificationRequest,
};

use crate::support::gateway::{
    CONFIG, Credentials, Gateway, Messages, PHONE, Verifications, by_id, phone, reason, seconds, start,
};
use crate::support::process::{KEY, Process};

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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_starts_at_once_send_one_code() {
    let gateway = Gateway::start().await;
    for round in 0..10 {
        let (key, to) = (format!("round-{round}"), format!("+6012345{:04}", 1100 + round));
        let client = gateway.verifications().await;
        let calls = (0..50).map(|_| {
            let (mut client, request) = (client.clone(), keyed(&to, &key));
            tokio::spawn(async move { client.start_verification(request).await })
        });
        let mut ids = Vec::new();
        for call in calls.collect::<Vec<_>>() {
            match call.await.unwrap() {
                Ok(answer) => ids.push(answer.into_inner().verification.unwrap().id),
                Err(status) => {
                    assert_eq!((status.code(), reason(&status).as_str()), (Code::Aborted, "IDEMPOTENCY_IN_FLIGHT"));
                }
            }
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "round {round}");
        let mut client = client;
        let request = StartVerificationRequest { delivery_wait: seconds(5), ..keyed(&to, &key) };
        let last = client.start_verification(request).await.unwrap().into_inner().verification.unwrap();
        assert_eq!((&last.id, last.sends.len()), (&ids[0], 1), "round {round}");
    }
}

#[tokio::test]
async fn a_key_is_for_one_start_in_all_that_it_asks() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    client.start_verification(keyed(PHONE, "k")).await.unwrap();
    let others: [fn(&mut StartVerificationRequest); 9] = [
        |r| r.scope = "login".to_owned(),
        |r| r.channel = Channel::Voice.into(),
        |r| r.policy = Some(CodePolicy { length: 8, ..CodePolicy::default() }),
        |r| r.custom_code = "012345".to_owned(),
        |r| r.locale = "ms".to_owned(),
        |r| r.sender = "Other".to_owned(),
        |r| r.metadata = [("a".to_owned(), "b".to_owned())].into(),
        |r| r.on_existing = OnExisting::Replace.into(),
        |r| r.web_otp_domain = "acme.example".to_owned(),
    ];
    for (turn, other) in others.into_iter().enumerate() {
        let mut request = keyed(PHONE, "k");
        other(&mut request);
        let refused = client.start_verification(request).await.unwrap_err();
        let expected = if turn == 1 { "NO_ROUTE" } else { "IDEMPOTENCY_MISMATCH" };
        assert_eq!((refused.code(), &*reason(&refused)), (Code::FailedPrecondition, expected), "{turn}");
    }
    // How long to wait for the answer, and whether it holds the code, is no part of what is done.
    let request = StartVerificationRequest { delivery_wait: seconds(1), ..keyed(PHONE, "k") };
    let again = client.start_verification(request).await.unwrap().into_inner().verification.unwrap();
    assert_eq!(again.sends.len(), 1);
}

/// The real program is killed while it works: whoever was answered is answered alike by the next one, and whoever was
/// not may repeat the call, and is approved once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_makes_nothing_twice() {
    const PEOPLE: usize = 40;
    let place = tempfile::TempDir::new().unwrap();
    let process = Process::start(place.path(), &[]).await;
    let mut client = connect(&process).await;
    let starting = |person: usize| StartVerificationRequest {
        custom_code: "012345".to_owned(),
        ..keyed(&format!("+6012345{:04}", 1100 + person), &format!("start-{person}"))
    };
    let checking = |id: &str| CheckVerificationRequest { idempotency_key: "check".to_owned(), ..by_id(id, "012345") };
    let mut ids = Vec::new();
    for person in 0..PEOPLE {
        let started = client.start_verification(starting(person)).await.unwrap().into_inner();
        ids.push(started.verification.unwrap().id);
    }
    let (answered, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for (person, id) in ids.iter().enumerate() {
        let (mut client, request, answered) = (client.clone(), checking(id), answered.clone());
        tokio::spawn(async move {
            if let Ok(answer) = client.check_verification(request).await {
                assert_eq!(answer.into_inner().outcome(), CheckOutcome::Approved);
                answered.send(person).unwrap();
            }
        });
    }
    drop(answered);
    for _ in 0..PEOPLE / 4 {
        answers.recv().await.unwrap();
    }
    process.kill();
    drop(client);

    let process = Process::start(place.path(), &[]).await;
    let mut client = connect(&process).await;
    for (person, id) in ids.iter().enumerate() {
        let again = client.start_verification(starting(person)).await.unwrap().into_inner().verification.unwrap();
        assert_eq!((&again.id, again.sends.len()), (id, 1));
        for _ in 0..2 {
            let checked = client.check_verification(checking(id)).await.unwrap().into_inner();
            assert_eq!(checked.outcome(), CheckOutcome::Approved, "{person}");
        }
        let other = client.check_verification(by_id(id, "012345")).await.unwrap().into_inner();
        assert_eq!(other.outcome(), CheckOutcome::AlreadyApproved, "{person}");
    }
}

async fn connect(process: &Process) -> Verifications {
    let channel = Endpoint::from_shared(process.grpc.clone()).unwrap().connect().await.unwrap();
    VerificationServiceClient::with_interceptor(channel, Credentials::new(KEY))
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
    let wait = seconds(5);
    let told = client.start_verification(StartVerificationRequest { delivery_wait: wait, ..asked }).await.unwrap();
    assert_eq!(told.into_inner().code, gateway.code(PHONE).await);
}
