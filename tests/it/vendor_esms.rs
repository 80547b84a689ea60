//! The eSMS adapter against a real HTTP server that behaves as the vendor's page says, and worse.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use secrecy::SecretString;
use tokio::net::TcpListener;
use verigate::clock::Timestamp;
use verigate::recipient::{Phone, Recipient};
use verigate::vendor::esms::{Config, EsmsVendor};
use verigate::vendor::{Accepted, Channel, Failure, Outgoing, Rejection, Vendor};

use crate::support::esms_server::{EsmsServer, Fault, PASS, USER};

const TEXT: &str = "Your verification code is 480913.";

fn config(base_url: &str) -> Config {
    Config {
        base_url: base_url.to_owned(),
        user: USER.into(),
        pass: PASS.into(),
        connect_timeout: Duration::from_millis(200),
        timeout: Duration::from_millis(400),
    }
}

/// Patient, for tests in which only a fault of ours could run into a time limit.
fn vendor(base_url: &str) -> EsmsVendor {
    let config =
        Config { timeout: Duration::from_secs(20), connect_timeout: Duration::from_secs(10), ..config(base_url) };
    config.build("main").unwrap()
}

fn hasty_vendor(base_url: &str) -> EsmsVendor {
    config(base_url).build("main").unwrap()
}

fn outgoing(phone: &str, text: &str) -> Outgoing {
    Outgoing {
        reference: Arc::from("m-1"),
        tenant: "dev".parse().unwrap(),
        channel: Channel::Sms,
        recipient: Recipient::Phone(Phone::parse(phone, None).unwrap()),
        sender: Some("Acme".to_owned()),
        text: SecretString::from(text),
        receipt_url: None,
        expires_at: Timestamp::from_millis(1_795_324_560_125),
    }
}

async fn send_with(fault: Fault) -> Result<Accepted, Failure> {
    let server = EsmsServer::start().await;
    server.set_fault(fault);
    let outcome = vendor(&server.url()).send(&outgoing("+60123456789", TEXT)).await;
    assert_eq!(server.requests().len(), 1, "a send is one request, whatever comes back");
    outcome
}

fn answer(status: u16, body: impl Into<Vec<u8>>) -> Fault {
    Fault::Answer { status, headers: Vec::new(), body: body.into() }
}

#[tokio::test]
async fn a_send_is_one_post_with_exactly_these_bytes() {
    let server = EsmsServer::start().await;
    let accepted = vendor(&server.url()).send(&outgoing("+60123456789", TEXT)).await.unwrap();
    assert_eq!(accepted.vendor_reference.as_deref(), Some("88ce9c6e-1707-41b8-95a2-91d228001fc7"));

    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    assert_eq!((requests[0].method.as_str(), requests[0].target.as_str()), ("POST", "/sms/send"));
    let header = |name: &str| requests[0].headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(header("user-agent"), Some(concat!("verigate/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(header("cookie"), None);
    assert_eq!(header("authorization"), None);
    let body = format!(r#"{{"user":"{USER}","pass":"{PASS}","to":"60123456789","msg":"RM0.00 {TEXT}"}}"#);
    assert_eq!(String::from_utf8(requests[0].body.clone()).unwrap(), body);
}

#[tokio::test]
async fn the_prefix_goes_to_malaysia_only_and_once_and_the_last_line_stays_last() {
    let server = EsmsServer::start().await;
    let vendor = vendor(&server.url());
    let bound = "您的验证码是480913。\n\n@example.com #480913";
    for (phone, text, sent) in [
        ("+60123456789", TEXT, format!("RM0.00 {TEXT}")),
        ("+60123456789", "RM0.00 Kod: 480913", "RM0.00 Kod: 480913".to_owned()),
        ("+60123456789", "RM0.00Kod: 480913", "RM0.00 RM0.00Kod: 480913".to_owned()),
        ("+60123456789", bound, format!("RM0.00 {bound}")),
        ("+6598765432", TEXT, TEXT.to_owned()),
        ("+16042345678", "quote \" backslash \\ tab \t", "quote \" backslash \\ tab \t".to_owned()),
    ] {
        vendor.send(&outgoing(phone, text)).await.unwrap();
        let last = server.requests().pop().unwrap();
        let body: serde_json::Value = serde_json::from_slice(&last.body).unwrap();
        assert_eq!(body["msg"], sent);
    }
}

#[tokio::test]
async fn a_base_url_may_have_a_path() {
    let server = EsmsServer::start().await;
    server.set_fault(answer(200, r#"{"status":0,"id":"x"}"#));
    vendor(&format!("{}/proxy", server.url())).send(&outgoing("+60123456789", TEXT)).await.unwrap();
    assert_eq!(server.requests()[0].target, "/proxy/sms/send");
}

#[tokio::test]
async fn each_status_of_the_page_has_one_meaning() {
    let rejected = Failure::Rejected;
    for (status, failure) in [
        (1, rejected(Rejection::InvalidContent)),
        (2, rejected(Rejection::Unauthorized)),
        (3, rejected(Rejection::Unauthorized)),
        (4, rejected(Rejection::InvalidRecipient)),
        (5, rejected(Rejection::InsufficientCredit)),
        (6, Failure::Unknown),
        (7, Failure::Unknown),
        (8, rejected(Rejection::InvalidContent)),
        (9, rejected(Rejection::InvalidRecipient)),
        (10, rejected(Rejection::InvalidContent)),
        (11, rejected(Rejection::InvalidContent)),
        (12, rejected(Rejection::InvalidContent)),
        (13, rejected(Rejection::InvalidContent)),
        (14, rejected(Rejection::InvalidContent)),
        (15, rejected(Rejection::InvalidContent)),
        (16, Failure::Unknown),
        (17, Failure::Unknown),
        (-1, Failure::Unknown),
        (i64::MAX, Failure::Unknown),
    ] {
        assert_eq!(send_with(Fault::Status(status)).await, Err(failure), "status {status}");
    }
}

#[tokio::test]
async fn wrong_credentials_are_the_accounts_fault() {
    let server = EsmsServer::start().await;
    let config = Config { pass: "wrong".into(), ..config(&server.url()) };
    let outcome = config.build("main").unwrap().send(&outgoing("+60123456789", TEXT)).await;
    assert_eq!(outcome, Err(Failure::Rejected(Rejection::Unauthorized)));
}

#[tokio::test]
async fn a_yes_needs_a_status_of_zero_and_its_id_is_kept_only_when_it_is_one() {
    let long = format!(r#"{{"status":0,"id":"{}"}}"#, "a".repeat(129));
    for (body, reference) in [
        (r#"{"status":0,"id":"abc-1"}"#, Some("abc-1")),
        (r#"{"status":0}"#, None),
        (r#"{"status":0,"id":null}"#, None),
        (r#"{"status":0,"id":7}"#, None),
        (r#"{"status":0,"id":""}"#, None),
        (r#"{"status":0,"id":"a b"}"#, None),
        (r#"{"status":0,"id":"a\nb"}"#, None),
        (&long, None),
        (r#"{"status":0,"id":"x","extra":{"a":[1,2]}}"#, Some("x")),
    ] {
        let accepted = send_with(answer(200, body)).await.unwrap();
        assert_eq!(accepted.vendor_reference.as_deref(), reference, "{body}");
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_leaves_the_outcome_unknown() {
    let nested = format!(r#"{{"status":0,"x":{}"#, "[".repeat(10_000));
    for body in [
        "",
        "null",
        "0",
        "[]",
        r#"[0,"x"]"#,
        "{}",
        r#"{"status":"0","id":"x"}"#,
        r#"{"status":0.0}"#,
        r#"{"status":null}"#,
        r#"{"status":true}"#,
        r#"{"status":99999999999999999999}"#,
        r#"{"message":"ok","id":"x"}"#,
        r#"{"status":0,"id":"x"} and more"#,
        r#"{"status":0,"id":"x""#,
        "<html><body>ok</body></html>",
        &nested,
    ] {
        let start: String = body.chars().take(40).collect();
        assert_eq!(send_with(answer(200, body)).await, Err(Failure::Unknown), "{start}");
    }
    // Even where the part that we read is whole.
    assert_eq!(
        send_with(answer(200, b"{\"status\":0,\"message\":\"\xff\xfe\",\"id\":\"x\"}".to_vec())).await,
        Err(Failure::Unknown)
    );
}

#[tokio::test]
async fn a_huge_answer_is_not_read_to_its_end() {
    let fits = format!(r#"{{"status":0,"id":"x","pad":"{}"}}"#, " ".repeat(64 * 1024 - 100));
    assert!(send_with(answer(200, fits)).await.is_ok());
    let huge = format!(r#"{{"status":0,"id":"x","pad":"{}"}}"#, " ".repeat(8 * 1024 * 1024));
    assert_eq!(send_with(answer(200, huge)).await, Err(Failure::Unknown));
}

#[tokio::test]
async fn http_statuses_say_whether_the_message_may_have_gone() {
    let yes = r#"{"status":0,"id":"x"}"#;
    for (status, failure) in [
        (400, Failure::Rejected(Rejection::InvalidContent)),
        (401, Failure::Rejected(Rejection::Unauthorized)),
        (403, Failure::Rejected(Rejection::Unauthorized)),
        (402, Failure::Rejected(Rejection::InsufficientCredit)),
        (404, Failure::Unavailable),
        (429, Failure::Throttled { after: None }),
        (500, Failure::Unknown),
        (502, Failure::Unknown),
        (503, Failure::Unknown),
        (504, Failure::Unknown),
    ] {
        assert_eq!(send_with(answer(status, yes)).await, Err(failure), "HTTP {status}");
    }
    let retry_after =
        |value: &str| Fault::Answer { status: 429, headers: vec![("retry-after", value.to_owned())], body: Vec::new() };
    let after = Some(Duration::from_secs(7));
    assert_eq!(send_with(retry_after("7")).await, Err(Failure::Throttled { after }));
    for odd in ["-7", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999999999999"] {
        assert_eq!(send_with(retry_after(odd)).await, Err(Failure::Throttled { after: None }), "{odd}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_credentials_go_nowhere_else() {
    let elsewhere = EsmsServer::start().await;
    for status in [301, 302, 303, 307, 308] {
        let location = ("location", format!("{}/sms/send", elsewhere.url()));
        let fault = Fault::Answer { status, headers: vec![location], body: Vec::new() };
        assert_eq!(send_with(fault).await, Err(Failure::Unknown), "HTTP {status}");
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn what_could_not_be_reached_is_surely_not_sent() {
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let message = outgoing("+60123456789", TEXT);
    assert_eq!(vendor(&format!("http://{closed}")).send(&message).await, Err(Failure::Unavailable));

    // A server that does not speak TLS: the handshake fails before anything of ours is written.
    let plain = EsmsServer::start().await;
    let url = plain.url().replace("http://", "https://");
    assert_eq!(vendor(&url).send(&message).await, Err(Failure::Unavailable));
    assert!(plain.requests().is_empty());

    // A server that takes the connection and leaves the handshake hanging, until the time to connect is over.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", silent.local_addr().unwrap());
    assert_eq!(hasty_vendor(&url).send(&message).await, Err(Failure::Unavailable));
}

#[tokio::test]
async fn a_connection_reset_after_the_request_leaves_the_outcome_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut first = [0; 16];
        tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first).await.unwrap();
        stream.set_zero_linger().unwrap();
        first
    });
    let outcome = vendor(&format!("http://{address}")).send(&outgoing("+60123456789", TEXT)).await;
    assert_eq!(outcome, Err(Failure::Unknown));
    assert_eq!(&server.await.unwrap(), b"POST /sms/send H");
}

#[tokio::test]
async fn an_answer_that_does_not_come_or_does_not_end_leaves_the_outcome_unknown() {
    let server = EsmsServer::start().await;
    let vendor = hasty_vendor(&server.url());
    for fault in [Fault::Silence, Fault::Drip, Fault::BreakOff] {
        server.set_fault(fault.clone());
        let outcome = vendor.send(&outgoing("+60123456789", TEXT)).await;
        assert_eq!(outcome, Err(Failure::Unknown), "{fault:?}");
    }
    // And none of it harms the next.
    server.set_fault(None);
    assert!(vendor.send(&outgoing("+60123456789", TEXT)).await.is_ok());
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn other_channels_are_refused_without_a_call() {
    let server = EsmsServer::start().await;
    let vendor = vendor(&server.url());
    assert_eq!(vendor.capabilities().channels, [Channel::Sms]);
    for channel in [Channel::WhatsApp, Channel::Voice, Channel::Email] {
        let message = Outgoing { channel, ..outgoing("+60123456789", TEXT) };
        assert_eq!(vendor.send(&message).await, Err(Failure::Rejected(Rejection::InvalidRecipient)));
    }
    assert!(server.requests().is_empty());
}

#[tokio::test]
async fn neither_credentials_nor_text_nor_recipient_show_in_debug_or_logs() {
    let logs = Logs::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(logs.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = EsmsServer::start().await;
    let (config, vendor, message) = (config(&server.url()), vendor(&server.url()), outgoing("+60123456789", TEXT));
    let mut shown = format!("{config:?} {vendor:?} {message:?}");
    for fault in [
        answer(500, format!("{PASS} {TEXT}")),
        answer(200, format!("{PASS} {TEXT}")),
        answer(200, format!(r#"{{"status":9,"message":"{USER} {PASS} {TEXT} 60123456789"}}"#)),
        Fault::BreakOff,
    ] {
        server.set_fault(fault);
        shown += &format!("{:?}", vendor.send(&message).await);
    }
    server.set_fault(None);
    shown += &format!("{:?}", vendor.send(&message).await);
    let logs = String::from_utf8(logs.0.lock().unwrap().clone()).unwrap();
    for line in ["unexpected HTTP status", "makes no sense", "vendor refused a message", "vendor call failed"] {
        assert!(logs.contains(line), "{line} is missing in: {logs}");
    }
    for secret in [USER, PASS, "480913", "123456789"] {
        assert!(!shown.contains(secret), "{shown}");
        assert!(!logs.contains(secret), "{logs}");
    }
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct Logs(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Logs {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Logs {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[test]
fn configuration_has_defaults_and_names_the_field_that_is_wrong() {
    let read = |json: serde_json::Value| serde_json::from_value::<Config>(json);
    let least = read(serde_json::json!({"user": "u", "pass": "p"})).unwrap();
    assert_eq!(least.base_url, "https://api.esms.com.my");
    assert_eq!((least.connect_timeout, least.timeout), (Duration::from_secs(3), Duration::from_secs(8)));
    least.build("main").unwrap();

    let full = serde_json::json!({
        "base_url": "https://sms.example/", "user": "u", "pass": "p", "connect_timeout": "1s", "timeout": "2s500ms",
    });
    assert_eq!(read(full).unwrap().timeout, Duration::from_millis(2_500));
    for (json, word) in [
        (serde_json::json!({"user": "u"}), "pass"),
        (serde_json::json!({"user": "u", "pass": "p", "passs": "p"}), "passs"),
        (serde_json::json!({"user": "u", "pass": "p", "timeout": "soon"}), "such as"),
    ] {
        assert!(read(json).unwrap_err().to_string().contains(word), "{word}");
    }
    for (json, field) in [
        (serde_json::json!({"user": " ", "pass": "p"}), "user"),
        (serde_json::json!({"user": "u", "pass": ""}), "pass"),
        (serde_json::json!({"user": "u", "pass": "p", "base_url": "http://sms.example"}), "base_url"),
        (serde_json::json!({"user": "u", "pass": "p", "connect_timeout": "0s"}), "connect_timeout"),
        (serde_json::json!({"user": "u", "pass": "p", "timeout": "1s"}), "timeout"),
    ] {
        let error = read(json).unwrap().build("main").unwrap_err();
        assert_eq!(error.violations()[0].field, field);
    }
}
