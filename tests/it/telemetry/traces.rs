//! A call's place in its caller's trace, and that of what is done for it: at a collector, and in what vendors and
//! callbacks are told.

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::Request;
use tonic::metadata::MetadataValue;
use verigate::proto::messaging::v1::SendMessageRequest;

use crate::support::collector::{Collector, said};
use crate::support::gateway::{CONFIG, Gateway, PHONE, eventually, start, text_to};
use crate::support::http::call;
use crate::support::log::Log;
use crate::support::vendor_server::{Answer, Fault, VendorServer};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

const START: &str = "verification.v1.VerificationService/StartVerification";
const SEND: &str = "messaging.v1.MessagingService/SendMessage";
const BATCH: &str = "messaging.v1.MessagingService/SendMessages";

/// A vendor that takes everything, and a configuration that sends SMS through it.
async fn vendor() -> (VendorServer, String) {
    let vendor = VendorServer::start(|_| Answer::json(200, r#"{"id": "theirs"}"#)).await;
    let (head, _) = CONFIG.split_once("[vendors.inbox]").unwrap();
    let (_, guard) = CONFIG.split_once("# The people of a test").unwrap();
    let config = format!(
        "{head}[vendors.wire]\nkind = \"http\"\nchannels = [\"sms\"]\nurl = \"{}/send\"\n\
         json = {{ to = \"{{recipient}}\", text = \"{{text}}\" }}\nanswer = {{ id = \"/id\" }}\n\n\
         [[routes]]\nchannel = \"sms\"\nvendors = [\"wire\"]\n\n#{guard}",
        vendor.url()
    );
    (vendor, config)
}

fn traced<T>(message: T, traceparent: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("traceparent", traceparent.parse::<MetadataValue<_>>().unwrap());
    request
}

fn given(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn is_named(name: &'static str) -> impl Fn(&Span) -> bool {
    move |span| span.name == name && hex(&span.trace_id) == TRACE
}

/// What the vendor was told, oldest first.
fn told(vendor: &VendorServer) -> Vec<String> {
    vendor.requests().iter().map(|request| request.header("traceparent").unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_call_its_vendor_call_and_what_the_vendor_is_told_belong_to_the_callers_trace() {
    let (vendor, config) = vendor().await;
    let collector = Collector::start().await;
    let gateway = Gateway::start_with(&collector.beside(&config, "ratio = 0.0")).await;
    let mut client = gateway.verifications().await;
    let mut request = traced(start(PHONE), &given("01"));
    request.metadata_mut().insert("tracestate", "congo=t61rcWkgMzE".parse().unwrap());
    request.metadata_mut().insert("x-request-id", "the-callers-own".parse().unwrap());
    client.start_verification(request).await.unwrap();

    let server = collector.span(&gateway, is_named(START)).await;
    assert_eq!((hex(&server.parent_span_id), server.kind), (PARENT.to_owned(), 2));
    assert_eq!(server.trace_state, "congo=t61rcWkgMzE");
    for (name, value) in [
        ("verigate.surface", "grpc"),
        ("verigate.tenant", "acme"),
        ("verigate.request_id", "the-callers-own"),
        ("verigate.outcome", "ok"),
        ("rpc.method", "StartVerification"),
        ("rpc.grpc.status_code", "0"),
    ] {
        assert_eq!(said(&server, name), value, "{name}: {server:?}");
    }
    let send = collector.span(&gateway, is_named("vendor.send")).await;
    assert_eq!((&send.parent_span_id, send.kind), (&server.span_id, 3));
    for (name, value) in [
        ("verigate.vendor", "wire"),
        ("verigate.channel", "sms"),
        ("verigate.country", "MY"),
        ("verigate.attempt", "1"),
        ("verigate.outcome", "accepted"),
    ] {
        assert_eq!(said(&send, name), value, "{name}: {send:?}");
    }
    assert!(send.start_time_unix_nano >= server.start_time_unix_nano && send.status.is_none());
    // The vendor may go on with the trace, under our span of the call.
    assert_eq!(told(&vendor), [format!("00-{TRACE}-{}-01", hex(&send.span_id))]);
    assert_eq!(vendor.requests()[0].header("tracestate"), None);
}

#[tokio::test]
async fn a_send_that_the_worker_takes_up_later_belongs_to_the_trace_of_its_call() {
    let (vendor, config) = vendor().await;
    let collector = Collector::start().await;
    let gateway = Gateway::start_with(&collector.beside(&config, "")).await;
    vendor.set_fault(Fault::TooMany).await;
    let scheduled = gateway.clock_start() + 60_000;
    let send_at = prost_types::Timestamp { seconds: scheduled as i64 / 1000, nanos: 0 };
    let request = SendMessageRequest { send_at: Some(send_at), ..text_to(PHONE, "Hello") };
    gateway.messages().await.send_message(traced(request, &given("01"))).await.unwrap();
    let server = collector.span(&gateway, is_named(SEND)).await;
    assert_eq!(vendor.requests().len(), 0, "not yet");

    // Whoever takes it up is another process than the one that was called.
    let gateway = gateway.restart().await;
    gateway.clock.advance(Duration::from_secs(60));
    let refused = collector.span(&gateway, is_named("vendor.send")).await;
    assert_eq!((&refused.parent_span_id, &*said(&refused, "verigate.outcome")), (&server.span_id, "throttled"));
    assert_eq!(refused.status.as_ref().map(|status| status.code), Some(2));
    vendor.set_fault(None).await;
    let taken = collector.span(&gateway, |span| is_named("vendor.send")(span) && said(span, "verigate.attempt") != "1");
    let taken = taken.await;
    assert_eq!(taken.parent_span_id, server.span_id);
    let told = told(&vendor);
    assert_eq!(told.first(), Some(&format!("00-{TRACE}-{}-01", hex(&refused.span_id))));
    assert!(told.contains(&format!("00-{TRACE}-{}-01", hex(&taken.span_id))), "{told:?}");
}

#[tokio::test]
async fn without_a_collector_and_unsampled_vendors_are_told_the_callers_own_span() {
    let (vendor, config) = vendor().await;
    let gateway = Gateway::start_with(&config).await;
    let mut messages = gateway.messages().await;
    for flags in ["01", "00"] {
        messages.send_message(traced(text_to(PHONE, "Hello"), &given(flags))).await.unwrap();
    }
    let told = eventually(async || Some(told(&vendor)).filter(|told| told.len() == 2)).await;
    assert!(told.contains(&given("01")) && told.contains(&given("00")), "{told:?}");

    let collector = Collector::start().await;
    let gateway = Gateway::start_with(&collector.beside(&config, "")).await;
    let mut messages = gateway.messages().await;
    messages.send_message(traced(text_to(PHONE, "Hello"), &given("00"))).await.unwrap();
    // A trace that begins with the next call is exported, and the one before it is not.
    messages.send_message(text_to(PHONE, "Hello")).await.unwrap();
    let server = collector.span(&gateway, |span| span.name == SEND).await;
    assert!(hex(&server.trace_id) != TRACE && server.parent_span_id.is_empty(), "{server:?}");

    // The ratio is for those that begin here alone.
    let collector = Collector::start().await;
    let gateway = Gateway::start_with(&collector.beside(&config, "ratio = 0.0")).await;
    let mut messages = gateway.messages().await;
    messages.send_message(text_to(PHONE, "Hello")).await.unwrap();
    messages.send_message(traced(text_to(PHONE, "Hello"), &given("01"))).await.unwrap();
    collector.span(&gateway, is_named(SEND)).await;
    assert!(collector.spans().iter().all(|span| hex(&span.trace_id) == TRACE));
}

#[tokio::test]
async fn what_is_no_traceparent_begins_a_trace_of_its_own() {
    let (vendor, config) = vendor().await;
    let gateway = Gateway::start_with(&config).await;
    let mut messages = gateway.messages().await;
    let wrong = [
        format!("00-{TRACE}-{PARENT}"),
        format!("ff-{TRACE}-{PARENT}-01"),
        format!("00-{}-{PARENT}-01", TRACE.to_uppercase()),
        format!("00-{}-{PARENT}-01", "0".repeat(32)),
        "x".repeat(200),
        String::new(),
    ];
    for wrong in &wrong {
        messages.send_message(traced(text_to(PHONE, "Hello"), wrong)).await.unwrap();
    }
    let told = eventually(async || Some(told(&vendor)).filter(|told| told.len() == wrong.len())).await;
    for told in told {
        assert!(told.len() == 55 && told.starts_with("00-") && told.ends_with("-00"), "{told}");
        assert!(!told.contains(TRACE) && !told.contains(PARENT), "{told}");
    }
}

/// `method target` with a key of `acme`, in the trace.
async fn call_http(gateway: &Gateway, target: &str, body: &str, more: &[&str]) -> u16 {
    let host = format!("Host: {}", gateway.addresses.http);
    let traceparent = format!("traceparent: {}", given("01"));
    let fields = [&[&*host, &*traceparent, "Content-Type: application/json"], more].concat();
    call(gateway.addresses.http, "POST", target, &fields, body).await.status
}

#[tokio::test]
async fn every_surface_over_http_takes_its_place_in_the_trace() {
    let (vendor, config) = vendor().await;
    let collector = Collector::start().await;
    let gateway = Gateway::start_with(&collector.beside(&config, "")).await;
    let key = "Authorization: Bearer acme.acme-secret-of-some-length";
    let native = r#"{"recipient": {"phone": "+60123456781"}, "text": "Hello"}"#;
    assert_eq!(call_http(&gateway, "/v1/messages", native, &[key]).await, 200);
    let octopush = r#"{"recipients": [{"phone_number": "+60123456782"}], "text": "Hello", "sender": "Acme"}"#;
    let login = ["api-login: acme", "api-key: acme-secret-of-some-length"];
    assert_eq!(call_http(&gateway, "/octopush/sms-campaign/send", octopush, &login).await, 201);
    assert_eq!(call_http(&gateway, "/simpu/nowhere/+60123456783", "{}", &[]).await, 404);
    assert_eq!(call_http(&gateway, "/receipts/wire/a-token", "{}", &[]).await, 404);
    assert_eq!(call_http(&gateway, "/v1/messages", native, &[]).await, 401);

    for (surface, method, outcome) in [
        ("json", SEND, "ok"),
        ("octopush", BATCH, "ok"),
        ("simpu", "unknown", "refused"),
        ("receipts", "receipt", "refused"),
        ("json", SEND, "refused"),
    ] {
        let is = |span: &Span| {
            span.name == method
                && said(span, "verigate.surface") == surface
                && said(span, "verigate.outcome") == outcome
        };
        let span = collector.span(&gateway, is).await;
        assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
        assert_eq!(said(&span, "verigate.tenant"), if outcome == "ok" { "acme" } else { "" }, "{surface}");
    }
    let told = eventually(async || Some(told(&vendor)).filter(|told| told.len() == 2)).await;
    assert!(told.iter().all(|told| told.starts_with(&format!("00-{TRACE}-")) && !told.contains(PARENT)), "{told:?}");
    assert!(!String::from_utf8_lossy(&collector.look(|kept| kept.bytes.clone())).contains("60123456783"));
}

#[tokio::test]
async fn each_call_has_a_line_in_the_log_when_it_is_asked_for() {
    let log = Log::start("warn,verigate::calls=debug,verigate::guard=debug");
    let gateway = Gateway::start_with(&format!("{CONFIG}\n[guard.countries]\ndeny = [\"LK\"]\n")).await;
    let mut client = gateway.verifications().await;
    let mut request = traced(start(PHONE), &given("01"));
    request.metadata_mut().insert("x-request-id", "mine-1".parse().unwrap());
    client.start_verification(request).await.unwrap();
    let mut stranger = gateway.verifications_as("acme.wrong").await;
    stranger.start_verification(traced(start(PHONE), &given("01"))).await.unwrap_err();
    let mut request = traced(start("+94771234567"), &given("01"));
    request.metadata_mut().insert("x-request-id", "mine-2".parse().unwrap());
    client.start_verification(request).await.unwrap_err();
    // What is said meanwhile can be put together with it.
    let said = format!("call{{request_id=\"mine-2\" trace_id={TRACE} path=\"/verigate.");
    let of_rule = String::from_utf8(log.bytes()).unwrap();
    let of_rule = of_rule.lines().find(|line| line.contains("a rule of the guard does not hold")).unwrap();
    assert!(of_rule.contains(&said), "{of_rule}");
    let lines = eventually(async || {
        let log = String::from_utf8(log.bytes()).unwrap();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("a call has ended")).map(str::to_owned).collect();
        (lines.len() == 3).then_some(lines)
    })
    .await;
    for part in ["request_id=\"mine-1\"", TRACE, START, "tenant=acme", "outcome=\"ok\"", "surface=\"grpc\""] {
        assert!(lines[0].contains(part), "{part}: {}", lines[0]);
    }
    for part in ["outcome=\"refused\"", "reason=\"CREDENTIALS_INVALID\"", TRACE] {
        assert!(lines[1].contains(part) && !lines[1].contains("tenant="), "{part}: {}", lines[1]);
    }
}

#[tokio::test]
async fn the_authorisation_service_and_receivers_of_callbacks_are_told_the_trace() {
    let others = VendorServer::start(|_| Answer::json(200, r#"{"allow": true}"#)).await;
    let collector = Collector::start().await;
    let rules = format!(
        "[callbacks]\nallow = [\"127.0.0.0/8\"]\n\n[guard.authorization]\nmode = \"enforce\"\nurl = \"{}/may\"\n\
         secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\"\n",
        others.url()
    );
    let gateway = Gateway::start_with(&collector.beside(&format!("{CONFIG}\n{rules}"), "")).await;
    let body = format!(
        r#"{{"recipients": "60123456789", "sender_id": "Acme", "content": "Hello", "callback": "{}/hook"}}"#,
        others.url()
    );
    let key = "Authorization: acme.acme-secret-of-some-length";
    assert_eq!(call_http(&gateway, "/simpu/sms/send", &body, &[key]).await, 200);
    let server = collector.span(&gateway, |span| said(span, "verigate.surface") == "simpu").await;
    for (path, name, outcome) in [("/may", "authorization", "allowed"), ("/hook", "callback", "taken")] {
        let span = collector.span(&gateway, is_named(name)).await;
        assert_eq!((&span.parent_span_id, said(&span, "verigate.outcome")), (&server.span_id, outcome.to_owned()));
        let requests = others.requests();
        let told = requests.iter().find(|request| request.path() == path).unwrap().header("traceparent");
        assert_eq!(told, Some(&*format!("00-{TRACE}-{}-01", hex(&span.span_id))), "{path}");
    }
}
