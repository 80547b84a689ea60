//! The e-mail adapter against a mail server on this machine, with and without TLS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use verigate::error::Result;
use verigate::recipient::{Email, Recipient};
use verigate::vendor::smtp::Config;
use verigate::vendor::{Accepted, Channel, Failure, Outgoing, Rejection, Vendor};

use crate::support::log::Log;
use crate::vendors::suite::{CODE, TEXT, phone, read};

const USER: &str = "smtp-user";
const PASSWORD: &str = "smtp-test-password-3d7e";
/// `\0smtp-user\0smtp-test-password-3d7e`, as AUTH PLAIN carries it.
const PLAIN: &str = "AHNtdHAtdXNlcgBzbXRwLXRlc3QtcGFzc3dvcmQtM2Q3ZQ==";
const CERTIFICATE: &str = include_str!("smtp/certificate.pem");
const KEY: &str = include_str!("smtp/key.pem");

/// Running until the test's runtime ends.
struct MailServer {
    address: SocketAddr,
    stage: Arc<Stage>,
}

struct Stage {
    tls: Tls,
    acceptor: TlsAcceptor,
    fault: Mutex<Option<(&'static str, Fault)>>,
    /// Each line that came, the text of a mail as one; of all connections.
    lines: Mutex<Vec<String>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    Implicit,
    Starttls,
    None,
}

/// What happens at a line, or after a text, instead of a yes.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Reply(&'static str),
    Hang,
    Close,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

// === impl MailServer ===

impl MailServer {
    async fn start(tls: Tls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stage = Arc::new(Stage { tls, acceptor: acceptor(), fault: Mutex::default(), lines: Mutex::default() });
        let shared = stage.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let stage = shared.clone();
                tokio::spawn(async move { drop(stage.serve(stream).await) });
            }
        });
        Self { address, stage }
    }

    /// At this verb, or `GREETING`, or `TEXT`.
    fn set_fault(&self, at: &'static str, fault: Fault) {
        *self.stage.fault.lock().unwrap() = Some((at, fault));
    }

    fn lines(&self) -> Vec<String> {
        self.stage.lines.lock().unwrap().clone()
    }

    /// The text of the only mail.
    fn text(&self) -> String {
        let lines = self.lines();
        let mut texts = lines.iter().filter(|line| line.contains("Subject:"));
        let text = texts.next().unwrap().clone();
        assert_eq!(texts.next(), None);
        text
    }

    fn config(&self) -> Value {
        let tls = match self.stage.tls {
            Tls::Implicit => "implicit",
            Tls::Starttls => "starttls",
            Tls::None => "none",
        };
        let mut config = json!({
            "host": "localhost", "port": self.address.port(), "tls": tls, "from": "Acme <codes@acme.example>",
            "subject": "Your code", "connect_timeout": "10s", "timeout": "20s",
        });
        if self.stage.tls != Tls::None {
            config["ca"] = json!(CERTIFICATE);
        }
        config
    }

    fn vendor(&self) -> Arc<dyn Vendor> {
        build(self.config()).unwrap()
    }
}

fn acceptor() -> TlsAcceptor {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()).into()
}

// === impl Stage ===

impl Stage {
    async fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        if self.tls == Tls::Implicit {
            let stream = self.acceptor.accept(stream).await?;
            self.talk(&mut BufReader::new(stream), true).await?;
            return Ok(());
        }
        let mut stream = BufReader::new(stream);
        if self.talk(&mut stream, true).await? {
            let stream = self.acceptor.accept(stream.into_inner()).await?;
            self.talk(&mut BufReader::new(stream), false).await?;
        }
        Ok(())
    }

    /// Until the other side hangs up, or wants TLS: then yes.
    async fn talk<S: Stream>(&self, stream: &mut BufReader<S>, greet: bool) -> std::io::Result<bool> {
        if greet && !self.answer(stream, "GREETING", "220 mail.example ready").await? {
            return Ok(false);
        }
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(false);
            }
            let line = line.trim_end().to_owned();
            self.lines.lock().unwrap().push(line.clone());
            let verb = line.split(' ').next().unwrap();
            let yes = match verb {
                "EHLO" if self.tls == Tls::Starttls => "250-mail.example\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN",
                "EHLO" => "250-mail.example\r\n250 AUTH PLAIN LOGIN",
                "AUTH" => "235 welcome",
                "DATA" => "354 go on",
                "STARTTLS" => "220 go on",
                "QUIT" => "221 bye",
                _ => "250 fine",
            };
            if !self.answer(stream, verb, yes).await? {
                return Ok(false);
            }
            if verb == "STARTTLS" {
                return Ok(true);
            }
            if verb == "DATA" && self.is_well("DATA") {
                let mut text = String::new();
                while !text.ends_with("\r\n.\r\n") {
                    if stream.read_line(&mut text).await? == 0 {
                        return Ok(false);
                    }
                }
                self.lines.lock().unwrap().push(text);
                if !self.answer(stream, "TEXT", "250 taken as 4711").await? {
                    return Ok(false);
                }
            }
        }
    }

    fn fault(&self, at: &str) -> Option<Fault> {
        let fault = *self.fault.lock().unwrap();
        fault.filter(|(known, _)| *known == at).map(|(_, fault)| fault)
    }

    fn is_well(&self, at: &str) -> bool {
        self.fault(at).is_none()
    }

    /// Whether the talk goes on.
    async fn answer<S: Stream>(&self, stream: &mut BufReader<S>, at: &str, yes: &str) -> std::io::Result<bool> {
        let reply = match self.fault(at) {
            None => yes,
            Some(Fault::Reply(reply)) => reply,
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Close) => return Ok(false),
        };
        stream.get_mut().write_all(format!("{reply}\r\n").as_bytes()).await?;
        stream.get_mut().flush().await?;
        Ok(true)
    }
}

fn build(config: Value) -> Result<Arc<dyn Vendor>> {
    Ok(Arc::new(read::<Config>(config)?.build("mail")?) as Arc<dyn Vendor>)
}

fn with(mut config: Value, patch: &Value) -> Value {
    for (key, value) in patch.as_object().unwrap() {
        config.as_object_mut().unwrap().insert(key.clone(), value.clone());
        if value.is_null() {
            config.as_object_mut().unwrap().remove(key);
        }
    }
    config
}

fn mail() -> Outgoing {
    Outgoing {
        channel: Channel::Email,
        recipient: Recipient::Email(Email::parse("ann@example.com").unwrap()),
        sender: None,
        ..crate::vendors::suite::outgoing()
    }
}

fn credentials() -> Value {
    json!({"username": USER, "password": PASSWORD})
}

#[tokio::test]
async fn a_mail_is_these_lines() {
    let server = MailServer::start(Tls::None).await;
    let vendor = build(with(server.config(), &credentials())).unwrap();
    assert_eq!(vendor.send(&mail()).await, Ok(Accepted::default()));
    let lines = server.lines();
    let plain = format!("AUTH PLAIN {PLAIN}");
    let talk = ["EHLO acme.example", &plain, "MAIL FROM:<codes@acme.example>", "RCPT TO:<ann@example.com>", "DATA"];
    assert_eq!(lines[..5], talk);
    let (head, body) = server.text().split_once("\r\n\r\n").map(|(h, b)| (h.to_owned(), b.to_owned())).unwrap();
    let mut head: Vec<_> = head.lines().filter(|line| !line.starts_with("Date: ")).map(str::to_owned).collect();
    head.sort();
    let wanted = [
        "Auto-Submitted: auto-generated",
        "Content-Transfer-Encoding: 7bit",
        "Content-Type: text/plain; charset=utf-8",
        "From: Acme <codes@acme.example>",
        "MIME-Version: 1.0",
        "Message-ID: <m-1@acme.example>",
        "Subject: Your code",
        "To: ann@example.com",
    ];
    assert_eq!(head, wanted);
    assert_eq!(body, format!("{TEXT}\r\n.\r\n"));
}

#[tokio::test]
async fn any_text_arrives_whole_and_no_value_becomes_a_header_or_a_command() {
    let bound = "您的验证码是480913。\n.\n.leading\n\n@example.com #480913";
    let server = MailServer::start(Tls::None).await;
    let config = with(server.config(), &json!({"subject": "Votre code à usage unique", "hello": "gw.acme.example"}));
    let message =
        Outgoing { text: SecretString::from(bound), sender: Some("Société, \"Größe\" <x@y>".to_owned()), ..mail() };
    build(config).unwrap().send(&message).await.unwrap();
    assert_eq!(server.lines()[0], "EHLO gw.acme.example");
    assert_eq!(server.lines()[1], "MAIL FROM:<codes@acme.example>");
    let text = server.text();
    assert!(text.is_ascii(), "{text}");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("From: =?utf-8?"), "{head}");
    assert!(head.contains("Subject: Votre code =?utf-8?") || head.contains("Subject: =?utf-8?"), "{head}");
    assert!(head.contains("Content-Transfer-Encoding: base64"), "{head}");
    use base64::Engine;
    let base64: String = body.trim_end_matches("\r\n.\r\n").split_whitespace().collect();
    let decoded = base64::engine::general_purpose::STANDARD.decode(base64).unwrap();
    assert_eq!(String::from_utf8(decoded).unwrap().replace("\r\n", "\n"), bound);

    let refused = Err(Failure::Rejected(Rejection::InvalidContent));
    let forged = Outgoing { sender: Some("Acme\r\nBcc: eve@example.com".to_owned()), ..mail() };
    assert_eq!(server.vendor().send(&forged).await, refused);
    let nul = Outgoing { text: SecretString::from("a\0b"), ..mail() };
    assert_eq!(server.vendor().send(&nul).await, refused);
}

#[tokio::test]
async fn tls_is_implicit_or_started_and_its_certificate_is_checked() {
    for tls in [Tls::Implicit, Tls::Starttls] {
        let server = MailServer::start(tls).await;
        let config = with(server.config(), &credentials());
        assert_eq!(build(config.clone()).unwrap().send(&mail()).await, Ok(Accepted::default()));
        let lines = server.lines();
        let started = lines.iter().position(|line| line == "STARTTLS");
        assert_eq!(started, if tls == Tls::Starttls { Some(1) } else { None });
        assert!(lines.iter().position(|line| line.starts_with("AUTH")) > started, "credentials only after TLS");

        // The web's roots do not know this server.
        let before = server.lines().len();
        let strict = with(config, &json!({"ca": null}));
        assert_eq!(build(strict).unwrap().send(&mail()).await, Err(Failure::Unavailable));
        let after = server.lines();
        assert!(!after[before..].iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")), "{after:?}");
    }
}

#[tokio::test]
async fn a_server_without_starttls_gets_nothing() {
    let server = MailServer::start(Tls::None).await;
    let config = with(server.config(), &json!({"tls": "starttls", "username": USER, "password": PASSWORD}));
    assert_eq!(build(config).unwrap().send(&mail()).await, Err(Failure::Unavailable));
    assert_eq!(server.lines(), ["EHLO acme.example"]);
}

#[tokio::test]
async fn each_answer_has_one_meaning_at_each_step() {
    let rejected = |rejection| Err(Failure::Rejected(rejection));
    let throttled = || Err(Failure::Throttled { after: None });
    let unavailable = || Err(Failure::Unavailable);
    for (at, reply, outcome) in [
        ("GREETING", "554 no service", unavailable()),
        ("GREETING", "421 later", unavailable()),
        ("GREETING", "SSH-2.0-OpenSSH", unavailable()),
        ("EHLO", "550 go away", unavailable()),
        ("AUTH", "535 5.7.8 wrong", rejected(Rejection::Unauthorized)),
        ("AUTH", "534 too weak", rejected(Rejection::Unauthorized)),
        ("AUTH", "454 later", unavailable()),
        ("AUTH", "nonsense", unavailable()),
        ("MAIL", "530 log in first", rejected(Rejection::Unauthorized)),
        ("MAIL", "550 not this sender", rejected(Rejection::InvalidContent)),
        ("MAIL", "452 full", throttled()),
        ("MAIL", "421 closing", unavailable()),
        ("RCPT", "550 no such user", rejected(Rejection::InvalidRecipient)),
        ("RCPT", "553 no such name", rejected(Rejection::InvalidRecipient)),
        ("RCPT", "450 greylisted", throttled()),
        ("RCPT", "451 greylisted", throttled()),
        ("RCPT", "530 log in first", rejected(Rejection::Unauthorized)),
        ("RCPT", "nonsense", unavailable()),
        ("DATA", "554 no valid recipients", rejected(Rejection::InvalidContent)),
        ("DATA", "451 later", unavailable()),
        ("TEXT", "552 too big", rejected(Rejection::InvalidContent)),
        ("TEXT", "554 spam", rejected(Rejection::InvalidContent)),
        ("TEXT", "451 later", unavailable()),
        ("TEXT", "nonsense", Err(Failure::Unknown)),
        ("QUIT", "500 what", Ok(Accepted::default())),
    ] {
        let server = MailServer::start(Tls::None).await;
        server.set_fault(at, Fault::Reply(reply));
        let vendor = build(with(server.config(), &credentials())).unwrap();
        assert_eq!(vendor.send(&mail()).await, outcome, "{reply} at {at}");
    }
}

#[tokio::test]
async fn what_breaks_before_the_text_is_surely_not_sent_and_after_it_unknown() {
    let hasty = json!({"connect_timeout": "300ms", "timeout": "400ms"});
    for at in ["GREETING", "EHLO", "MAIL", "RCPT", "DATA", "TEXT", "QUIT"] {
        for fault in [Fault::Close, Fault::Hang] {
            let server = MailServer::start(Tls::None).await;
            server.set_fault(at, fault);
            let config = match fault {
                Fault::Hang => with(server.config(), &hasty),
                _ => server.config(),
            };
            let outcome = match at {
                "TEXT" => Err(Failure::Unknown),
                "QUIT" => Ok(Accepted::default()),
                _ => Err(Failure::Unavailable),
            };
            assert_eq!(build(config).unwrap().send(&mail()).await, outcome, "{fault:?} at {at}");
        }
    }
    // Nobody listens.
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = MailServer::start(Tls::None).await;
    let config = with(server.config(), &json!({"port": closed.port()}));
    assert_eq!(build(config).unwrap().send(&mail()).await, Err(Failure::Unavailable));
}

#[tokio::test]
async fn only_mail_is_carried() {
    let server = MailServer::start(Tls::None).await;
    let vendor = server.vendor();
    assert_eq!(vendor.capabilities().channels, [Channel::Email]);
    let refused = Err(Failure::Rejected(Rejection::InvalidRecipient));
    let to_phone = Outgoing { recipient: phone("+60123456789"), ..mail() };
    for message in [to_phone, Outgoing { channel: Channel::Sms, ..mail() }] {
        assert_eq!(vendor.send(&message).await, refused);
    }
    assert_eq!(server.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn neither_credentials_nor_text_nor_address_show_in_debug_or_logs() {
    let log = Log::start("trace");
    let server = MailServer::start(Tls::None).await;
    let config = with(server.config(), &credentials());
    let vendor = build(config.clone()).unwrap();
    let mut shown = format!("{:?} {vendor:?} {:?}", read::<Config>(config).unwrap(), mail());
    vendor.send(&mail()).await.unwrap();
    let echo =
        "550 Your verification code is 480913, ann@example.com, AHNtdHAtdXNlcgBzbXRwLXRlc3QtcGFzc3dvcmQtM2Q3ZQ==";
    let nonsense = "480913 ann@example.com smtp-test-password-3d7e";
    for (at, fault) in [
        ("AUTH", Fault::Reply(echo)),
        ("RCPT", Fault::Reply(echo)),
        ("RCPT", Fault::Reply(nonsense)),
        ("TEXT", Fault::Reply(echo)),
        ("TEXT", Fault::Close),
    ] {
        server.set_fault(at, fault);
        shown += &format!("{:?}", vendor.send(&mail()).await.unwrap_err());
    }
    let logged = String::from_utf8(log.bytes()).unwrap();
    assert!(logged.contains("did not take a message"), "{logged}");
    for secret in [PASSWORD, PLAIN, CODE, "ann@example"] {
        assert!(!logged.contains(secret), "{secret} in {logged}");
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

#[test]
fn a_wrong_configuration_names_its_key() {
    let least = json!({"host": "smtp.example.com", "from": "codes@acme.example", "subject": "Your code"});
    build(least.clone()).unwrap();
    build(with(least.clone(), &json!({"tls": "none", "host": "::1"}))).unwrap();
    build(with(least.clone(), &json!({"tls": "starttls", "username": "u", "password": "p", "ca": CERTIFICATE})))
        .unwrap();
    for (patch, field) in [
        (json!({"tls": "none"}), "tls"),
        (json!({"tls": "none", "host": "127.0.0.1.example.com"}), "tls"),
        (json!({"host": ""}), "host"),
        (json!({"host": "smtp.example.com:465"}), "host"),
        (json!({"host": "smtp example"}), "host"),
        (json!({"from": "acme"}), "from"),
        (json!({"from": "ä@acme.example"}), "from"),
        (json!({"subject": " "}), "subject"),
        (json!({"subject": "a\nBcc: b"}), "subject"),
        (json!({"subject": "x".repeat(151)}), "subject"),
        (json!({"username": "u"}), "password"),
        (json!({"username": "u", "password": ""}), "password"),
        (json!({"username": " ", "password": "p"}), "username"),
        (json!({"password": "p"}), "username"),
        (json!({"ca": "nonsense"}), "ca"),
        (json!({"ca": CERTIFICATE, "tls": "none", "host": "localhost"}), "ca"),
        (json!({"hello": "a b"}), "hello"),
        (json!({"connect_timeout": "0s"}), "connect_timeout"),
        (json!({"timeout": "4s"}), "timeout"),
    ] {
        let error = build(with(least.clone(), &patch)).expect_err(&patch.to_string());
        assert_eq!(error.violations()[0].field, field, "{patch}");
    }
    for (patch, word) in [
        (json!({"host": null}), "host"),
        (json!({"from": null}), "from"),
        (json!({"subject": null}), "subject"),
        (json!({"tls": "maybe"}), "maybe"),
        (json!({"port": 70000}), "70000"),
        (json!({"no_such_key": 1}), "no_such_key"),
    ] {
        let error = build(with(least.clone(), &patch)).expect_err(word);
        assert!(error.to_string().contains(word), "{error}");
    }
}
