//! Too many calls and too many connections, calls that go on and on, and calls that panic: who is turned away, how, and
//! that others go on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use verigate::clock::ManualClock;
use verigate::config;
use verigate::proto::verification::v1::{ListVerificationsRequest, StartVerificationRequest, WatchVerificationRequest};
use verigate::random::{OsRandom, Random};
use verigate::server::{Server, Surroundings};
use verigate::telemetry;

use crate::support::gateway::{
    CONFIG, Credentials, Gateway, PHONE, START, Verifications, check, eventually, reason, retry_after, seconds, start,
};
use crate::support::http::{self, Answer};

const KEY: &str = "acme.acme-secret-of-some-length";

async fn with_limits(limits: &str) -> Gateway {
    Gateway::start_with(&format!("{CONFIG}\n[server.limits]\n{limits}\n")).await
}

// === calls ===

/// A start whose vendor never answers, and which waits for that.
fn waiting(client: &Verifications, number: u32) -> JoinHandle<Result<(), Status>> {
    let mut client = client.clone();
    let phone = format!("+601234{number:02}006");
    let request = StartVerificationRequest { delivery_wait: seconds(30), ..start(&phone) };
    tokio::spawn(async move { client.start_verification(request).await.map(drop) })
}

async fn post(gateway: &Gateway, target: &str, fields: &[&str], body: &str) -> Answer {
    let all = [&["Host: localhost", "Content-Type: application/json"], fields].concat();
    http::call(gateway.addresses.http, "POST", target, &all, body).await
}

#[tokio::test]
async fn checks_are_turned_away_last_on_every_surface() {
    // Three calls of any kind, and one more that has to be a check.
    let gateway = with_limits("calls = 4").await;
    let mut client = gateway.verifications().await;
    let verification = gateway.begin(&mut client, PHONE).await;
    let code = gateway.code(PHONE).await;
    let watching = WatchVerificationRequest { id: verification.id.clone() };
    let mut watch = client.watch_verification(watching).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    let calls: Vec<_> = (0..3).map(|number| waiting(&client, number)).collect();

    let refused = eventually(async || {
        let answer = client.list_verifications(ListVerificationsRequest::default()).await;
        answer.err()
    })
    .await;
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "OVERLOADED"));
    let wait = retry_after(&refused).unwrap();
    assert!((500..1_500).contains(&wait.as_millis()), "{wait:?}");
    assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), wait.as_millis().to_string().as_str());
    let refused = client.start_verification(start("+60123456780")).await.unwrap_err();
    assert_eq!(reason(&refused), "OVERLOADED");
    let bearer = format!("Authorization: Bearer {KEY}");
    let native = post(&gateway, "/v1/verifications", &[&bearer], r#"{"recipient": {"phone": "+60123456780"}}"#).await;
    assert_eq!(native.status, 503, "{}", native.body);
    assert!(["1", "2"].contains(&native.header("retry-after").unwrap()), "{}", native.head);
    let problem: Value = serde_json::from_str(&native.body).unwrap();
    assert_eq!(problem["reason"], "OVERLOADED");
    assert!(problem["request_id"].is_string(), "{}", native.body);
    for (target, fields) in [
        ("/esms/sms/otp/generate", "api-key: acme\r\napi-secret: acme-secret-of-some-length"),
        ("/octopush/service/otp/generate", "api-login: acme\r\napi-key: acme-secret-of-some-length"),
        ("/simpu/otp/request_token", "Authorization: acme.acme-secret-of-some-length"),
        ("/hasun/acme/verification/otp/sms/send", "Authorization: Bearer acme-secret-of-some-length"),
    ] {
        let answer = post(&gateway, target, &[fields], "{}").await;
        if target.starts_with("/esms") {
            // Says everything in the body.
            assert!(answer.status == 200 && answer.body.contains("\"status\":6"), "{}", answer.body);
            continue;
        }
        assert!(answer.status == 503 || answer.status == 429, "{target} {} {}", answer.status, answer.body);
        assert!(["1", "2"].contains(&answer.header("retry-after").unwrap()), "{target} {}", answer.head);
    }

    // Who holds a code gets through, wherever.
    check(&mut client, &verification.id, "000000").await.unwrap();
    let target = format!("/v1/verifications/{}/check", verification.id);
    assert_eq!(post(&gateway, &target, &[&bearer], r#"{"code": "000001"}"#).await.status, 200);
    for target in [
        "/esms/sms/otp/verify",
        "/octopush/service/otp/validate",
        "/simpu/otp/verify",
        "/hasun/acme/verification/otp/sms/validate",
    ] {
        let answer = post(&gateway, target, &[], "{}").await;
        let shed = answer.status == 503 || answer.status == 429 || answer.body.contains("\"status\":6");
        assert!(!shed, "{target} {} {}", answer.status, answer.body);
    }
    let right = check(&mut client, &verification.id, &code).await.unwrap();
    assert_eq!(right.outcome(), verigate::proto::verification::v1::CheckOutcome::Approved);
    // The watch is none of them, and health is always told.
    while watch.message().await.unwrap().is_some() {}
    let mut health = HealthClient::new(gateway.channel().await);
    health.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(http::get(gateway.addresses.admin, "/readyz", &["Host: localhost"]).await.status, 200);

    // Once there is room, there is room.
    calls.iter().for_each(JoinHandle::abort);
    eventually(async || client.list_verifications(ListVerificationsRequest::default()).await.ok()).await;
}

#[tokio::test]
async fn no_answer_is_waited_for_without_end() {
    let config = format!("{CONFIG}\n[messaging]\nattempt_timeout = \"2m\"\n[server.limits]\ncall_timeout = \"20s\"\n");
    let gateway = Gateway::start_with(&config).await;
    let client = gateway.verifications().await;
    // One sets no deadline, the other a far one.
    let mut far = client.clone();
    let far = tokio::spawn(async move {
        let mut request =
            Request::new(StartVerificationRequest { delivery_wait: seconds(30), ..start("+60123457006") });
        request.set_timeout(Duration::from_secs(3600));
        far.start_verification(request).await.map(drop)
    });
    for call in [waiting(&client, 1), far] {
        while !call.is_finished() {
            gateway.clock.advance(Duration::from_millis(100));
            tokio::task::yield_now().await;
        }
        let status = call.await.unwrap().unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    }
}

// === connections ===

/// Completes when the other end hangs up.
async fn hung_up(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await;
    drop(read.expect("it was never hung up on"));
}

async fn connect(address: SocketAddr, from: Ipv4Addr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((IpAddr::V4(from), 0))).unwrap();
    socket.connect(address).await.unwrap()
}

#[tokio::test]
async fn connections_above_the_cap_are_closed_and_make_room_when_they_leave() {
    let gateway = with_limits("connections = 3").await;
    for (address, hello) in [
        (gateway.grpc(), &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..]),
        (gateway.addresses.http, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    ] {
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(TcpStream::connect(address).await.unwrap());
        }
        let mut above = TcpStream::connect(address).await.unwrap();
        hung_up(&mut above).await;
        drop(held);
        let answered = eventually(async || {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(hello).await.ok()?;
            stream.read_exact(&mut [0; 9]).await.ok()
        });
        assert_eq!(answered.await, 9);
    }
    // Each listener counts its own.
    assert_eq!(http::get(gateway.addresses.admin, "/healthz", &["Host: localhost"]).await.status, 200);
}

#[tokio::test]
async fn one_address_does_not_take_the_connections_of_others() {
    let gateway = with_limits("connections_per_address = 2").await;
    let greedy = Ipv4Addr::new(127, 0, 0, 7);
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(connect(gateway.grpc(), greedy).await);
    }
    hung_up(&mut connect(gateway.grpc(), greedy).await).await;
    let mut client = gateway.verifications().await;
    client.list_verifications(ListVerificationsRequest::default()).await.unwrap();
}

#[tokio::test]
async fn who_says_nothing_is_hung_up_on() {
    let gateway = with_limits("handshake_timeout = \"50ms\"").await;
    for (address, said) in [
        (gateway.grpc(), &b""[..]),
        (gateway.grpc(), b"PRI * HTTP/2"),
        (gateway.grpc(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        // All that a connection needs, and no call.
        (gateway.grpc(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
        (gateway.addresses.http, b""),
        (gateway.addresses.http, b"GET / HTTP/1.1\r\nHost:"),
        (gateway.addresses.admin, b"GET "),
    ] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(said).await.unwrap();
        hung_up(&mut stream).await;
    }
    let mut client = gateway.verifications().await;
    client.list_verifications(ListVerificationsRequest::default()).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_with_a_call_is_not() {
    let gateway = with_limits("idle_timeout = \"50ms\"\nhandshake_timeout = \"50ms\"").await;
    let mut client = gateway.verifications().await;
    let verification = gateway.begin(&mut client, PHONE).await;
    let watching = WatchVerificationRequest { id: verification.id.clone() };
    let mut watch = client.watch_verification(watching).await.unwrap().into_inner();
    assert!(watch.message().await.unwrap().is_some());
    // Longer than the watch would last, were it idle, for each of these is given as long.
    for _ in 0..4 {
        let mut idle = TcpStream::connect(gateway.addresses.http).await.unwrap();
        idle.write_all(b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        hung_up(&mut idle).await;
    }
    let mut other = gateway.verifications().await;
    let code = gateway.code(PHONE).await;
    check(&mut other, &verification.id, &code).await.unwrap();
    let mut last = None;
    while let Some(change) = watch.message().await.unwrap() {
        last = change.verification;
    }
    assert_eq!(last.unwrap().status(), verigate::proto::verification::v1::VerificationStatus::Approved);
}

#[tokio::test]
async fn a_message_that_never_comes_is_not_waited_for() {
    let gateway = with_limits("read_timeout = \"50ms\"").await;
    let stream = TcpStream::connect(gateway.grpc()).await.unwrap();
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let path = "/verigate.verification.v1.VerificationService/ListVerifications";
    let request = ::http::Request::post(format!("http://localhost{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {KEY}"));
    let (answer, mut body) = client.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(vec![0, 0, 0].into(), false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4", "{answer:?}");

    let mut stream = TcpStream::connect(gateway.addresses.http).await.unwrap();
    let head = "POST /simpu/otp/request_token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
}

// === panics ===

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Random bytes from a source that may be told to fail.
#[derive(Debug, Default)]
struct Moody(AtomicBool);

impl Random for Moody {
    fn fill(&self, bytes: &mut [u8]) {
        assert!(!self.0.load(Ordering::SeqCst), "no randomness today");
        OsRandom.fill(bytes);
    }
}

#[tokio::test]
async fn a_call_that_panics_is_answered_and_takes_nothing_with_it() {
    let place = TempDir::new().unwrap();
    let key = place.path().join("key");
    verigate::server::create_store_key(&key, &OsRandom).unwrap();
    let file = place.path().join("verigate.toml");
    std::fs::write(&file, CONFIG.replace("PLACE", place.path().to_str().unwrap())).unwrap();
    let moody = Arc::new(Moody::default());
    let surroundings = Surroundings {
        clock: Arc::new(ManualClock::new(START)),
        random: Arc::clone(&moody) as Arc<dyn Random>,
        metrics: telemetry::start_metrics().unwrap(),
    };
    let loaded = config::load(Some(&file), std::iter::empty()).unwrap();
    let server = Server::build(&loaded, surroundings).await.unwrap();
    let addresses = server.addresses().clone();
    let running = tokio::spawn(server.run(std::future::pending()));
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{}", addresses.grpc)).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut client =
        verigate::proto::verification::v1::verification_service_client::VerificationServiceClient::with_interceptor(
            channel,
            Credentials::new(KEY),
        );
    let named = |phone: &str| {
        let mut request = Request::new(start(phone));
        // With a name and a trace of the caller's none has to be made up.
        request.metadata_mut().insert("x-request-id", "panicking".parse().unwrap());
        request.metadata_mut().insert("traceparent", TRACEPARENT.parse().unwrap());
        request
    };
    client.start_verification(named(PHONE)).await.unwrap();
    moody.0.store(true, Ordering::SeqCst);
    let status = client.start_verification(named("+60123456781")).await.unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str(), status.message()),
        (Code::Internal, "INTERNAL", "internal error")
    );
    assert_eq!(status.metadata().get("x-request-id").unwrap(), "panicking");
    let (traceparent, key) = (format!("traceparent: {TRACEPARENT}"), format!("Authorization: Bearer {KEY}"));
    let fields = ["Host: x", "Content-Type: application/json", "x-request-id: p", &traceparent, &key];
    let body = r#"{"recipient": {"phone": "+60123456782"}}"#;
    let native = http::call(addresses.http, "POST", "/v1/verifications", &fields, body).await;
    assert!(native.status == 500 && native.body.contains("\"INTERNAL\""), "{} {}", native.status, native.body);
    let fields = [
        "Host: x",
        "Content-Type: application/json",
        "x-request-id: p",
        &*traceparent,
        "Authorization: acme.acme-secret-of-some-length",
    ];
    let dialect =
        http::call(addresses.http, "POST", "/simpu/otp/request_token", &fields, r#"{"recipient": "+60123456783"}"#)
            .await;
    assert_eq!(dialect.status, 500, "{}", dialect.body);
    assert!(!dialect.body.contains("randomness") && dialect.header("x-request-id") == Some("p"), "{}", dialect.head);
    // On the same connection, and everywhere else.
    moody.0.store(false, Ordering::SeqCst);
    client.start_verification(named("+60123456784")).await.unwrap();
    running.abort();
}
