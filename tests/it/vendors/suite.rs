//! What every adapter that speaks HTTP has to do, whatever its vendor.
//!
//! A vendor joins with a [`Subject`] and one line, `suite!(subject)`, in a file of its own.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use verigate::clock::Timestamp;
use verigate::error::{Error, Kind, Result};
use verigate::recipient::{Phone, Recipient};
use verigate::vendor::{
    Accepted, Balance, Channel, CodeHandle, CodeRequest, CodeVerdict, ContactRow, Failure, FeedbackOutcome, Outgoing,
    ReceiptCall, ReceiptStatus, Rejection, Reported, Vendor,
};

use crate::support::log::Log;
use crate::support::vendor_server::{Answer, Fault, RETRY_AFTER, Recorded, VendorServer};

pub(crate) const PHONE: &str = "+60123456789";
pub(crate) const TEXT: &str = "Your verification code is 480913.";
pub(crate) const CODE: &str = "480913";
/// The last part is the reference of the message.
pub(crate) const RECEIPT_URL: &str = "https://hooks.example/receipts/main/token-5c1d/m-1";
/// When receipts without a time of their own came in.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_795_324_560_125);

/// What no log line, `Debug` or error may show, whoever the vendor is.
const SECRETS: [&str; 3] = [CODE, "123456789", "token-5c1d"];

/// An adapter under test, and what its vendor documents.
pub(crate) struct Subject {
    /// The least configuration for a vendor at this base URL, as JSON. The suite adds `connect_timeout` and `timeout`.
    pub(crate) config: fn(url: &str) -> Value,
    /// Reads and builds; see [`read`].
    pub(crate) build: fn(config: Value) -> Result<Arc<dyn Vendor>>,
    /// The vendor when all is well; it answers every call of `exchanges` with a yes.
    pub(crate) script: fn(&Recorded) -> Answer,
    /// Credentials in the configuration and on the wire, to be looked for in logs.
    pub(crate) secrets: &'static [&'static str],
    /// One at least for each thing that the adapter can do and each channel.
    pub(crate) exchanges: Vec<Exchange>,
    /// Each documented answer, and some that nobody documents.
    pub(crate) answers: Vec<Answered>,
    /// Where this vendor's documentation lets a fault mean something else than [`expected`] says. Give the reason there.
    pub(crate) departure: fn(&Fault, &Call) -> Option<Result<Outcome, Failure>>,
    /// Calls of our receipt listener: valid, forged, senseless.
    pub(crate) receipts: Vec<(ReceiptCall, Result<Vec<Reported>, Kind>)>,
    /// Keys set over `config` (null takes one out), and the key that the refusal names.
    pub(crate) misconfigured: Vec<(Value, &'static str)>,
}

/// One call, the request that it becomes, and what the script's answer means.
pub(crate) struct Exchange {
    pub(crate) call: Call,
    /// As [`Recorded::to_text`] shows it, one for each request; none for a call that needs no request.
    pub(crate) requests: Vec<String>,
    pub(crate) outcome: Outcome,
}

/// One call, an answer of the vendor, and what it means.
#[derive(Clone)]
pub(crate) struct Answered {
    pub(crate) call: Call,
    pub(crate) answer: Answer,
    pub(crate) outcome: Result<Outcome, Failure>,
}

/// A call of any method of the port that goes over the wire.
#[derive(Debug, Clone)]
pub(crate) enum Call {
    Send(Outgoing),
    StartCode(CodeRequest),
    CheckCode(CodeHandle, &'static str),
    CancelCode(CodeHandle),
    Status(&'static str),
    Feedback(&'static str, FeedbackOutcome),
    Balance,
    Push(ContactRow),
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Sent(Accepted),
    Started(CodeHandle),
    Checked(CodeVerdict),
    Canceled,
    Status(Option<ReceiptStatus>),
    Told,
    Balance(Balance),
    Pushed,
}

/// Makes a test of each part of the suite in the module of a vendor.
macro_rules! suite {
    ($subject:ident) => {
        #[tokio::test]
        async fn each_call_is_exactly_these_bytes() {
            $crate::vendors::suite::exchanges(&$subject()).await;
        }

        #[tokio::test]
        async fn each_documented_answer_has_one_meaning() {
            $crate::vendors::suite::answers(&$subject()).await;
        }

        #[tokio::test]
        async fn each_fault_on_the_way_means_what_it_means_for_every_vendor() {
            $crate::vendors::suite::faults(&$subject()).await;
        }

        #[tokio::test]
        async fn no_secret_and_no_text_shows_in_logs_or_debug() {
            $crate::vendors::suite::secrecy(&$subject()).await;
        }

        #[tokio::test]
        async fn capabilities_are_true() {
            $crate::vendors::suite::capabilities(&$subject()).await;
        }

        #[tokio::test]
        async fn receipts_are_read_and_nonsense_is_not() {
            $crate::vendors::suite::receipts(&$subject()).await;
        }

        #[test]
        fn a_wrong_configuration_names_its_key() {
            $crate::vendors::suite::misconfigured(&$subject());
        }
    };
}
pub(crate) use suite;

// === what vendors' files are written with ===

pub(crate) fn outgoing() -> Outgoing {
    Outgoing {
        reference: Arc::from("m-1"),
        tenant: "dev".parse().unwrap(),
        channel: Channel::Sms,
        recipient: phone(PHONE),
        sender: Some("Acme".to_owned()),
        text: SecretString::from(TEXT),
        receipt_url: Some(SecretString::from(RECEIPT_URL)),
        expires_at: Timestamp::from_millis(1_795_324_860_125),
    }
}

pub(crate) fn code_request() -> CodeRequest {
    CodeRequest {
        reference: Arc::from("v-1"),
        tenant: "dev".parse().unwrap(),
        channel: Channel::Sms,
        recipient: phone(PHONE),
        sender: Some("Acme".to_owned()),
        length: 6,
        lifetime: Duration::from_secs(300),
        locale: Some("en".to_owned()),
        brand: Some("Acme".to_owned()),
        template: None,
    }
}

pub(crate) fn handle(vendor_reference: Option<&str>) -> CodeHandle {
    CodeHandle { vendor_reference: vendor_reference.map(str::to_owned), channel: Channel::Sms, recipient: phone(PHONE) }
}

pub(crate) fn phone(phone: &str) -> Recipient {
    Recipient::Phone(Phone::parse(phone, None).unwrap())
}

pub(crate) fn sent(vendor_reference: Option<&str>) -> Outcome {
    Outcome::Sent(Accepted { vendor_reference: vendor_reference.map(str::to_owned), receipt: None })
}

pub(crate) fn rejected(rejection: Rejection) -> Result<Outcome, Failure> {
    Err(Failure::Rejected(rejection))
}

/// An adapter's `Config` from JSON. What serde refuses is told in the words of an invalid configuration.
pub(crate) fn read<C: DeserializeOwned>(config: Value) -> Result<C> {
    serde_json::from_value(config).map_err(|error| Error::invalid("configuration", error.to_string()))
}

/// What it means that an answer is a page which is not there: of a check, that perhaps it was judged. Who is refused so
/// for a wrong code must not be able to guess uncounted.
pub(crate) fn not_there(call: &Call) -> Result<Outcome, Failure> {
    Err(if matches!(call, Call::CheckCode(..)) { Failure::Unknown } else { Failure::Unavailable })
}

/// For vendors without a departure.
pub(crate) fn no_departure(_: &Fault, _: &Call) -> Option<Result<Outcome, Failure>> {
    None
}

/// What a fault means for every vendor that documents nothing else.
pub(crate) fn expected(fault: &Fault) -> Failure {
    match fault {
        // No byte of ours left.
        Fault::Refuse | Fault::BlackHole => Failure::Unavailable,
        Fault::TooMany => Failure::Throttled { after: Some(RETRY_AFTER) },
        // The vendor had the request; what it made of it nobody can tell.
        _ => Failure::Unknown,
    }
}

// === the parts of the suite ===

pub(crate) async fn exchanges(subject: &Subject) {
    assert!(!subject.exchanges.is_empty());
    let server = VendorServer::start(subject.script).await;
    let vendor = subject.vendor(&server.url());
    let mut seen = 0;
    for Exchange { call, requests, outcome } in &subject.exchanges {
        let came = perform(&*vendor, call).await;
        assert_eq!(came.as_ref(), Ok(outcome), "{call:?}");
        let texts: Vec<_> = server.requests()[seen..].iter().map(Recorded::to_text).collect();
        assert_eq!(&texts, requests, "{call:?}");
        seen += texts.len();
    }
    for request in server.requests() {
        assert_eq!(request.header("user-agent"), Some(concat!("verigate/", env!("CARGO_PKG_VERSION"))));
    }
}

pub(crate) async fn answers(subject: &Subject) {
    assert!(!subject.answers.is_empty());
    let server = VendorServer::start(subject.script).await;
    let vendor = subject.vendor(&server.url());
    for (i, Answered { call, answer, outcome }) in subject.answers.iter().enumerate() {
        server.set_fault(Fault::Answer(answer.clone())).await;
        let came = perform(&*vendor, call).await;
        let body: String = String::from_utf8_lossy(&answer.body).chars().take(300).collect();
        assert_eq!(&came, outcome, "{call:?} answered with HTTP {} {body}", answer.status);
        assert_eq!(server.requests().len(), i + 1, "no answer makes a second request: {call:?} {body}");
    }
}

pub(crate) async fn faults(subject: &Subject) {
    let elsewhere = VendorServer::start(subject.script).await;
    let to = format!("{}/elsewhere", elsewhere.url());
    let mut cases = Vec::new();
    for fault in all_faults(to) {
        for Exchange { call, .. } in subject.exchanges.iter().filter(|exchange| !exchange.requests.is_empty()) {
            let server = VendorServer::start(subject.script).await;
            let vendor = subject.vendor_for(&server.url(), &fault);
            server.set_fault(fault.clone()).await;
            cases.push((fault.clone(), call, server, vendor));
        }
    }
    // At the same time, for some take as long as our patience.
    join_all(cases.iter().map(async |(fault, call, server, vendor)| {
        let outcome = perform(&**vendor, call).await;
        let documented = (subject.departure)(fault, call).unwrap_or_else(|| Err(expected(fault)));
        assert_eq!(outcome, documented, "{fault:?} at {call:?}");
        assert!(server.requests().len() <= 1, "{fault:?} at {call:?} was tried again");
    }))
    .await;
    assert_eq!(elsewhere.requests(), [], "credentials and texts go nowhere else");
    handshake(subject).await;
    recovery(subject).await;
}

/// Where no TLS comes about, nothing of ours was written.
async fn handshake(subject: &Subject) {
    let server = VendorServer::start(subject.script).await;
    let vendor = subject.vendor_for(&server.url().replace("http://", "https://"), &Fault::BlackHole);
    for Exchange { call, .. } in subject.exchanges.iter().filter(|exchange| !exchange.requests.is_empty()) {
        assert_eq!(perform(&*vendor, call).await, Err(Failure::Unavailable), "{call:?}");
    }
    assert_eq!(server.requests(), []);
}

/// No fault harms the call after it, on the same adapter.
async fn recovery(subject: &Subject) {
    let server = VendorServer::start(subject.script).await;
    let vendor = subject.vendor(&server.url());
    let Exchange { call, outcome, .. } = &subject.exchanges[0];
    for fault in [Fault::Refuse, Fault::Reset, Fault::BreakOff, Fault::Huge, Fault::TooMany] {
        server.set_fault(fault.clone()).await;
        assert!(perform(&*vendor, call).await.is_err(), "{fault:?}");
        server.set_fault(None).await;
        assert_eq!(perform(&*vendor, call).await.as_ref(), Ok(outcome), "after {fault:?}");
    }
}

pub(crate) async fn secrecy(subject: &Subject) {
    let log = Log::start("trace");
    let server = VendorServer::start(subject.script).await;
    let vendor = subject.vendor(&server.url());
    let mut shown = format!("{vendor:?}");
    let answers = subject.answers.iter().map(|answered| (Some(Fault::Answer(answered.answer.clone())), &answered.call));
    let echoes = [200, 302, 400, 401, 422, 429, 500].map(Fault::Echo);
    let faults = echoes.into_iter().chain([Fault::Reset, Fault::BreakOff, Fault::NotUtf8, Fault::Refuse]).map(Some);
    let calls = faults
        .chain([None])
        .flat_map(|fault| subject.exchanges.iter().map(move |exchange| (fault.clone(), &exchange.call)));
    for (fault, call) in answers.chain(calls) {
        server.set_fault(fault).await;
        // What it names on purpose, a handle or a balance, is the vendor's.
        shown += &format!("\n{:?}", perform(&*vendor, call).await.err());
        shown += &format!("\n{:?}", messages_of(call));
    }
    if let Some(reader) = vendor.receipts() {
        for (call, _) in &subject.receipts {
            shown += &format!("\n{:?}", reader.read(call, NOW).err());
        }
    }
    let logged = String::from_utf8(log.bytes()).unwrap();
    assert!(logged.contains("vendor"), "what goes wrong is logged");
    for secret in subject.secrets.iter().chain(&SECRETS) {
        for (place, text) in [("log", &logged), ("debug", &shown)] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} in the {place}");
        }
    }
}

pub(crate) async fn capabilities(subject: &Subject) {
    let server = VendorServer::start(subject.script).await;
    let vendor = subject.vendor(&server.url());
    let offered = vendor.capabilities();
    let told = vendor.receipts().is_some() || vendor.statuses().is_some();
    assert_eq!(offered.receipts, told, "receipts are claimed just when they can come");
    let has = |wanted: fn(&Call) -> bool| subject.exchanges.iter().any(|exchange| wanted(&exchange.call));
    for (name, there, shown) in [
        ("codes", vendor.codes().is_some(), has(|call| matches!(call, Call::StartCode(_)))),
        ("checks", vendor.codes().is_some(), has(|call| matches!(call, Call::CheckCode(..)))),
        ("cancel", vendor.codes().is_some_and(|c| c.limits().cancel), has(|call| matches!(call, Call::CancelCode(_)))),
        ("statuses", vendor.statuses().is_some(), has(|call| matches!(call, Call::Status(_)))),
        ("feedback", vendor.feedback().is_some(), has(|call| matches!(call, Call::Feedback(..)))),
        ("account", vendor.account().is_some(), has(|call| matches!(call, Call::Balance))),
        ("contacts", vendor.contacts().is_some(), has(|call| matches!(call, Call::Push(_)))),
        ("receipts", vendor.receipts().is_some(), !subject.receipts.is_empty()),
    ] {
        assert_eq!(there, shown, "{name}: what is offered is shown, and nothing else");
    }
    for channel in Channel::ALL {
        let sends = subject.exchanges.iter().filter_map(|exchange| match &exchange.call {
            Call::Send(outgoing) => Some(outgoing.channel),
            _ => None,
        });
        assert_eq!(offered.channels.contains(&channel), sends.into_iter().any(|c| c == channel), "{channel}");
        if !offered.channels.contains(&channel) {
            let outcome = vendor.send(&Outgoing { channel, ..outgoing() }).await;
            assert!(matches!(outcome, Err(Failure::Rejected(_))), "{channel}: {outcome:?}");
        }
    }
    assert_eq!(server.requests(), [], "another channel is refused without a call");
}

pub(crate) async fn receipts(subject: &Subject) {
    let server = VendorServer::start(subject.script).await;
    let vendor = subject.vendor(&server.url());
    let Some(reader) = vendor.receipts() else {
        assert!(subject.receipts.is_empty());
        return;
    };
    let read = |call: &ReceiptCall| reader.read(call, NOW).map_err(|error| error.kind());
    for (call, outcome) in &subject.receipts {
        assert_eq!(&read(call), outcome, "{call:?}");
        if let (true, Ok(_)) = (reader.is_signed(), outcome) {
            let bare = ReceiptCall { headers: Default::default(), ..call.clone() };
            assert_eq!(read(&bare), Err(Kind::Unauthenticated), "without its signature: {call:?}");
            let mut forged = call.clone();
            forged.body.push(b' ');
            assert_eq!(read(&forged), Err(Kind::Unauthenticated), "with one byte more: {call:?}");
        }
    }
    for body in [&b""[..], b"{}", b"[]", b"null", b"\xff\xfe", b"a=b&c", &[b'['; 20_000]] {
        for rest in ["", "m-1", "a/b/c", "\u{202e}"] {
            let call = ReceiptCall { rest: rest.to_owned(), body: body.to_vec(), ..ReceiptCall::default() };
            let outcome = read(&call);
            let quiet = matches!(&outcome, Ok(reported) if reported.is_empty());
            assert!(quiet || matches!(outcome, Err(Kind::Invalid | Kind::Unauthenticated)), "{call:?}: {outcome:?}");
        }
    }
}

pub(crate) fn misconfigured(subject: &Subject) {
    let url = "https://vendor.example";
    (subject.build)((subject.config)(url)).unwrap();
    let common = [
        (json!({"connect_timeout": "0s"}), "connect_timeout"),
        (json!({"connect_timeout": "2s", "timeout": "1s"}), "timeout"),
        (json!({"no_such_key": 1}), "no_such_key"),
    ];
    for (patch, key) in common.iter().chain(&subject.misconfigured) {
        let error = (subject.build)(patched((subject.config)(url), patch)).expect_err(&patch.to_string());
        assert_eq!(error.kind(), Kind::Invalid, "{patch}");
        let said = error.violations().iter().any(|violation| {
            violation.field == *key || violation.field == "configuration" && violation.description.contains(key)
        });
        assert!(said, "{patch} → {error:?}");
        for secret in subject.secrets {
            assert!(!format!("{error:?}").contains(secret), "{patch}");
        }
    }
}

// === how they work ===

impl Subject {
    /// Patient, so that only a fault of ours could run into a time limit.
    fn vendor(&self, url: &str) -> Arc<dyn Vendor> {
        self.vendor_within(url, "10s", "20s")
    }

    fn vendor_for(&self, url: &str, fault: &Fault) -> Arc<dyn Vendor> {
        match fault {
            Fault::BlackHole => self.vendor_within(url, "200ms", "20s"),
            // On this machine a connection comes about at once, so the total is what runs out.
            Fault::Silence | Fault::Drip => self.vendor_within(url, "1s", "1s200ms"),
            _ => self.vendor(url),
        }
    }

    fn vendor_within(&self, url: &str, connect: &str, total: &str) -> Arc<dyn Vendor> {
        let timeouts = json!({"connect_timeout": connect, "timeout": total});
        (self.build)(patched((self.config)(url), &timeouts)).unwrap()
    }
}

async fn perform(vendor: &dyn Vendor, call: &Call) -> Result<Outcome, Failure> {
    match call {
        Call::Send(outgoing) => vendor.send(outgoing).await.map(Outcome::Sent),
        Call::StartCode(request) => vendor.codes().unwrap().start(request).await.map(Outcome::Started),
        Call::CheckCode(handle, candidate) => {
            let candidate = SecretString::from(*candidate);
            vendor.codes().unwrap().check(handle, &candidate).await.map(Outcome::Checked)
        }
        Call::CancelCode(handle) => vendor.codes().unwrap().cancel(handle).await.map(|()| Outcome::Canceled),
        Call::Status(reference) => vendor.statuses().unwrap().status(reference).await.map(Outcome::Status),
        Call::Feedback(reference, outcome) => {
            vendor.feedback().unwrap().tell(reference, *outcome).await.map(|()| Outcome::Told)
        }
        Call::Balance => vendor.account().unwrap().balance().await.map(Outcome::Balance),
        Call::Push(row) => vendor.contacts().unwrap().push(row).await.map(|()| Outcome::Pushed),
    }
}

/// What of a call may show itself in `Debug`.
fn messages_of(call: &Call) -> Option<&Outgoing> {
    match call {
        Call::Send(outgoing) => Some(outgoing),
        _ => None,
    }
}

fn all_faults(elsewhere: String) -> Vec<Fault> {
    vec![
        Fault::Refuse,
        Fault::BlackHole,
        Fault::Silence,
        Fault::Drip,
        Fault::Reset,
        Fault::BreakOff,
        Fault::ServerError,
        Fault::TooMany,
        Fault::Html,
        Fault::Huge,
        Fault::Redirect(elsewhere),
        Fault::NotUtf8,
    ]
}

fn patched(mut config: Value, patch: &Value) -> Value {
    for (key, value) in patch.as_object().unwrap() {
        let config = config.as_object_mut().unwrap();
        config.remove(key);
        if !value.is_null() {
            config.insert(key.clone(), value.clone());
        }
    }
    config
}
