//! What is out of range, over the wire: every field of every request that is served, told by its name with the range,
//! and nothing sent or changed.

use std::collections::{BTreeSet, HashMap};

use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};
use tonic::metadata::{Ascii, MetadataKey};
use tonic::transport::Channel as Transport;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use verigate::proto::FILE_DESCRIPTOR_SET;
use verigate::proto::messaging::v1::{
    Channel, GetMessageRequest, Recipient, SendMessageRequest, Template, send_message_request,
};
use verigate::proto::verification::v1::{
    AlphabetClass, CancelVerificationRequest, CheckVerificationRequest, CodePolicy, GetVerificationRequest, OnExisting,
    ResendVerificationRequest, ScopedRecipient, StartVerificationRequest, check_verification_request,
};

use crate::support::gateway::{
    Gateway, Messages, PHONE, START, Verifications, check, email, eventually, phone, reason, seconds, start, text_to,
    violations, wrong,
};

/// A request of any rpc that is served.
#[derive(Debug, Clone)]
enum Call {
    Start(Box<StartVerificationRequest>),
    Check(CheckVerificationRequest),
    Resend(ResendVerificationRequest),
    Cancel(CancelVerificationRequest),
    Get(GetVerificationRequest),
    Send(SendMessageRequest),
    GetMessage(GetMessageRequest),
}

/// The full name of each of their request types.
const REQUESTS: [&str; 7] = [
    "verigate.verification.v1.StartVerificationRequest",
    "verigate.verification.v1.CheckVerificationRequest",
    "verigate.verification.v1.ResendVerificationRequest",
    "verigate.verification.v1.CancelVerificationRequest",
    "verigate.verification.v1.GetVerificationRequest",
    "verigate.messaging.v1.SendMessageRequest",
    "verigate.messaging.v1.GetMessageRequest",
];

/// A request with one wrong field, the field's path, and words of the description.
type Row = (Call, &'static str, &'static str);

const AN_ID: &str = "0199f0e1-a1b2-8003-9abc-0123456789ab";
const EMAIL: &str = "ann@example.com";

/// Both services, as tenant `acme`.
struct Clients {
    verifications: Verifications,
    messages: Messages,
}

// === impl Call ===

impl Call {
    fn request(&self) -> &'static str {
        match self {
            Self::Start(_) => REQUESTS[0],
            Self::Check(_) => REQUESTS[1],
            Self::Resend(_) => REQUESTS[2],
            Self::Cancel(_) => REQUESTS[3],
            Self::Get(_) => REQUESTS[4],
            Self::Send(_) => REQUESTS[5],
            Self::GetMessage(_) => REQUESTS[6],
        }
    }
}

// === impl Clients ===

impl Clients {
    async fn of(gateway: &Gateway) -> Self {
        Self { verifications: gateway.verifications().await, messages: gateway.messages().await }
    }

    async fn call(&mut self, call: Call) -> Result<(), Status> {
        match call {
            Call::Start(request) => self.verifications.start_verification(*request).await.map(drop),
            Call::Check(request) => self.verifications.check_verification(request).await.map(drop),
            Call::Resend(request) => self.verifications.resend_verification(request).await.map(drop),
            Call::Cancel(request) => self.verifications.cancel_verification(request).await.map(drop),
            Call::Get(request) => self.verifications.get_verification(request).await.map(drop),
            Call::Send(request) => self.messages.send_message(request).await.map(drop),
            Call::GetMessage(request) => self.messages.get_message(request).await.map(drop),
        }
    }
}

// === requests ===

/// Changes a start request that is right in everything.
fn starting(change: impl FnOnce(&mut StartVerificationRequest)) -> Call {
    let mut request = start(PHONE);
    change(&mut request);
    Call::Start(Box::new(request))
}

fn with_policy(change: impl FnOnce(&mut CodePolicy)) -> Call {
    let mut policy = CodePolicy::default();
    change(&mut policy);
    starting(|request| request.policy = Some(policy))
}

fn sending(change: impl FnOnce(&mut SendMessageRequest)) -> Call {
    let mut request = text_to(PHONE, "Hello");
    change(&mut request);
    Call::Send(request)
}

fn with_text(text: &str) -> Call {
    Call::Send(text_to(PHONE, text))
}

fn checking(target: Option<check_verification_request::Target>, code: &str, client_ip: &str) -> Call {
    Call::Check(CheckVerificationRequest {
        target,
        code: code.to_owned(),
        client_ip: client_ip.to_owned(),
        ..CheckVerificationRequest::default()
    })
}

fn by_id(id: &str) -> Option<check_verification_request::Target> {
    Some(check_verification_request::Target::Id(id.to_owned()))
}

fn by_recipient(scope: &str, recipient: Option<Recipient>) -> Option<check_verification_request::Target> {
    let scoped = ScopedRecipient { scope: scope.to_owned(), recipient };
    Some(check_verification_request::Target::ScopedRecipient(scoped))
}

fn checking_recipient(scope: &str, recipient: Option<Recipient>) -> Call {
    checking(by_recipient(scope, recipient), "123456", "")
}

/// A call of each rpc that takes an id.
fn with_id(id: &str) -> [Call; 5] {
    [
        checking(by_id(id), "123456", ""),
        Call::Resend(ResendVerificationRequest { id: id.to_owned(), channel: 0 }),
        Call::Cancel(CancelVerificationRequest { id: id.to_owned() }),
        Call::Get(GetVerificationRequest { id: id.to_owned() }),
        Call::GetMessage(GetMessageRequest { id: id.to_owned() }),
    ]
}

fn duration(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

fn entry(key: &str, value: &str) -> HashMap<String, String> {
    HashMap::from([(key.to_owned(), value.to_owned())])
}

fn entries(count: usize, key_characters: usize, value_characters: usize) -> HashMap<String, String> {
    let key = |number: usize| format!("{number:02}{}", "ü".repeat(key_characters - 2));
    (0..count).map(|number| (key(number), "ü".repeat(value_characters))).collect()
}

/// An address of so many bytes, the longest domain that names allow in it.
fn email_of(bytes: usize) -> String {
    let domain = ["a".repeat(63), "b".repeat(63), "c".repeat(58), "com".to_owned()].join(".");
    format!("{}@{domain}", "l".repeat(bytes - domain.len() - 1))
}

// === the table ===

fn wrong_recipients() -> Vec<(Option<Recipient>, &'static str, &'static str)> {
    let mut rows = vec![
        (None, "recipient", "phone or email"),
        (Some(Recipient { address: None }), "recipient", "phone or email"),
        (Some(phone(&"1".repeat(64 * 1024))), "recipient.phone", "at most 64 bytes"),
        (Some(phone(&format!("{PHONE}{}", " ".repeat(53)))), "recipient.phone", "at most 64 bytes"),
        (Some(email(&email_of(255))), "recipient.email", "at most 254 bytes"),
        (Some(email(&"a".repeat(64 * 1024))), "recipient.email", "at most 254 bytes"),
    ];
    for number in [
        "",
        " ",
        "+",
        "hello",
        "+1",
        "+60123",
        "+601234567890123456",
        "+60123456789\0",
        "+60123456789\n",
        "\u{200f}+60123456789",
        "+60123456789 ext 5",
        "+60123456789;ext=5",
        "+６０１２３４５６７８９",
        "15999",
        "sip:ann@example.com",
    ] {
        rows.push((Some(phone(number)), "recipient.phone", ""));
    }
    for address in [
        "",
        "ann",
        "ann@",
        "@example.com",
        "ann@example",
        "Ann <ann@example.com>",
        "ann@exa\0mple.com",
        "ann\n@example.com",
        "ann@[127.0.0.1]",
        "ann@例え.jp",
        "\"ann\"@example.com",
    ] {
        rows.push((Some(email(address)), "recipient.email", ""));
    }
    rows
}

fn wrong_durations(ends: [(i64, i32); 2]) -> Vec<Option<prost_types::Duration>> {
    let nonsense = [
        (-1, 0),
        (0, -1),
        (i64::MIN, 0),
        (i64::MIN, i32::MIN),
        (i64::MIN, i32::MAX),
        (i64::MAX, 0),
        (i64::MAX, i32::MAX),
        // Inside every range when carried over, but no duration as the format defines it.
        (61, -1),
        (60, 1_000_000_000),
        (60, i32::MAX),
        (10, i32::MIN),
    ];
    ends.into_iter().chain(nonsense).map(|(seconds, nanos)| duration(seconds, nanos)).collect()
}

fn wrong_metadata() -> Vec<HashMap<String, String>> {
    vec![
        entries(17, 2, 0),
        entry("", "x"),
        entries(1, 41, 1),
        entries(1, 2, 257),
        entry(&"k".repeat(64 * 1024), ""),
        entry("k", &"v".repeat(64 * 1024)),
    ]
}

fn wrong_senders() -> Vec<String> {
    ["ü".repeat(21), "s".repeat(64 * 1024), "a\0b".to_owned(), "a\nb".to_owned(), "a\u{85}b".to_owned()].to_vec()
}

fn start_table() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for key in ["k".repeat(129), "a b".into(), "ü".into()] {
        rows.push((starting(|r| r.idempotency_key = key), "idempotency_key", "1 to 128"));
    }
    for hash in ["FA+9qCX9VS", "FA+9qCX9VSuu", "FA+9qCX9VS!"] {
        rows.push((starting(|r| r.android_app_hash = hash.to_owned()), "android_app_hash", "11"));
    }
    for name in ["unknown".to_owned(), "a b".to_owned(), "w".repeat(64 * 1024)] {
        rows.push((starting(|r| r.workflow = name), "workflow", "must name a workflow"));
    }
    for domain in ["example", "Example.com", "example.com/x", "exa mple.com"] {
        rows.push((starting(|r| r.web_otp_domain = domain.to_owned()), "web_otp_domain", ""));
    }
    rows.push((starting(|r| r.variables = entry("name", "Ann")), "variables.name", ""));
    for (recipient, field, words) in wrong_recipients() {
        rows.push((starting(|r| r.recipient = recipient), field, words));
    }
    for channel in [5, -1, i32::MAX, i32::MIN] {
        rows.push((starting(|r| r.channel = channel), "channel", "SMS, WHATSAPP, VOICE or EMAIL"));
    }
    rows.push((starting(|r| r.set_channel(Channel::Email)), "channel", "SMS, WHATSAPP or VOICE"));
    for channel in [Channel::Sms, Channel::Whatsapp, Channel::Voice] {
        let call = starting(|r| {
            r.recipient = Some(email(EMAIL));
            r.set_channel(channel);
        });
        rows.push((call, "channel", "EMAIL"));
    }
    for scope in
        ["s".repeat(65), "s".repeat(64 * 1024), "a b".into(), "ü".into(), "a\0".into(), "a/b".into(), " ".into()]
    {
        rows.push((starting(|r| r.scope = scope), "scope", "1 to 64"));
    }
    for length in [3, 33, 1, -1, i32::MAX, i32::MIN] {
        rows.push((with_policy(|p| p.length = length), "policy.length", "4 to 32"));
    }
    for class in [0, 5, -1, i32::MIN] {
        rows.push((with_policy(|p| p.alphabet = vec![1, class]), "policy.alphabet", "DIGITS, UPPER, LOWER or SPECIAL"));
    }
    for lifetime in wrong_durations([(2, 999_999_999), (86_400, 1)]) {
        rows.push((with_policy(|p| p.lifetime = lifetime), "policy.lifetime", "3 to 86400 seconds"));
    }
    rows.push((with_policy(|p| p.lifetime = duration(0, 0)), "policy.lifetime", "3 to 86400 seconds"));
    for checks in [11, -1, i32::MAX, i32::MIN] {
        rows.push((with_policy(|p| p.max_checks = checks), "policy.max_checks", "1 to 10"));
    }
    for code in ["123", "1 2345", " 12345", "12345\0", "１２３４５", "é1234", &"1".repeat(33), &"1".repeat(64 * 1024)]
    {
        rows.push((starting(|r| r.custom_code = code.to_owned()), "custom_code", "4 to 32 printable ASCII"));
    }
    for locale in
        ["e", "en_US", "en-", "-en", "en us", "en\0", "12", "../en", "日本", "en-aaaaaaaa-aaaaaaaa-aaaaaaaa-aaaaaa"]
    {
        rows.push((starting(|r| r.locale = locale.to_owned()), "locale", "BCP 47"));
    }
    rows.push((starting(|r| r.locale = "en-".to_owned() + &"a-".repeat(32 * 1024)), "locale", "BCP 47"));
    for template in ["welcome", "Default", "default/en", "default\0", &"t".repeat(64 * 1024)] {
        rows.push((starting(|r| r.template = template.to_owned()), "template", "default"));
    }
    for sender in wrong_senders() {
        rows.push((starting(|r| r.sender = sender), "sender", "1 to 20 characters"));
    }
    for client_ip in
        ["localhost", "1.2.3", "1.2.3.4:80", "1.2.3.4 ", "1.2.3.4\0", "::1%eth0", "[::1]", "10.0.0.0/8", "256.1.1.1"]
    {
        rows.push((starting(|r| r.client_ip = client_ip.to_owned()), "client_ip", "IPv4 or IPv6"));
    }
    for device_id in ["ü".repeat(129), "d".repeat(64 * 1024)] {
        rows.push((starting(|r| r.device_id = device_id), "device_id", "at most 128"));
    }
    for metadata in wrong_metadata() {
        rows.push((starting(|r| r.metadata = metadata), "metadata", "at most 16 entries"));
    }
    for on_existing in [4, -1, i32::MAX] {
        rows.push((starting(|r| r.on_existing = on_existing), "on_existing", "RESEND, REPLACE or PARALLEL"));
    }
    for wait in wrong_durations([(-1, -1), (30, 1)]) {
        rows.push((starting(|r| r.delivery_wait = wait), "delivery_wait", "0 to 30 seconds"));
    }
    rows
}

fn other_verification_table() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let malformed = [
        "",
        "x",
        "123",
        "00000000-0000-0000-0000-00000000000g",
        "0199F0E1-A1B2-8003-9ABC-0123456789AB",
        "{0199f0e1-a1b2-8003-9abc-0123456789ab}",
        "0199f0e1a1b280039abc0123456789ab",
        "0199f0e1-a1b2-8003-9abc-0123456789ab ",
        "urn:uuid:0199f0e1-a1b2-8003-9abc-0123456789ab",
        "0199f0e1-a1b2-8003-9abc-0123456789a\0",
        "../../../../etc/passwd",
        &"1".repeat(64 * 1024),
    ];
    for id in malformed {
        rows.extend(with_id(id).map(|call| (call, "id", "36 characters")));
    }
    for channel in [5, -1, i32::MAX] {
        let call = Call::Resend(ResendVerificationRequest { id: AN_ID.to_owned(), channel });
        rows.push((call, "channel", "SMS, WHATSAPP, VOICE or EMAIL"));
    }
    rows.push((checking(None, "123456", ""), "target", "id or scoped_recipient"));
    for (recipient, field, words) in wrong_recipients() {
        let field = match field {
            "recipient" => "scoped_recipient.recipient",
            "recipient.phone" => "scoped_recipient.recipient.phone",
            _ => "scoped_recipient.recipient.email",
        };
        rows.push((checking_recipient("", recipient), field, words));
    }
    for scope in ["s".repeat(65), "a b".to_owned(), "ü".to_owned()] {
        rows.push((checking_recipient(&scope, Some(phone(PHONE))), "scoped_recipient.scope", "1 to 64"));
    }
    for code in ["", " ", "\r\n\t", "12 3456", "１２３４５６", "١٢٣٤٥٦", "123456\0", "123\u{200b}456", "\u{a0}123456"]
    {
        rows.push((checking(by_id(AN_ID), code, ""), "code", ""));
    }
    for code in ["1".repeat(65), " ".repeat(59) + "123456", "1".repeat(64 * 1024)] {
        rows.push((checking(by_id(AN_ID), &code, ""), "code", "at most 64"));
    }
    for client_ip in ["localhost", "1.2.3", "::1%eth0", "10.0.0.0/8"] {
        rows.push((checking(by_id(AN_ID), "123456", client_ip), "client_ip", "IPv4 or IPv6"));
    }
    for key in ["k".repeat(129), "a b".to_owned(), "ü".to_owned()] {
        let mut call = checking(by_id(AN_ID), "123456", "");
        if let Call::Check(request) = &mut call {
            request.idempotency_key = key;
        }
        rows.push((call, "idempotency_key", "1 to 128"));
    }
    rows
}

fn send_table() -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    rows.push((sending(|r| r.idempotency_key = "a b".to_owned()), "idempotency_key", "1 to 128"));
    for seconds in [-1, i64::MAX] {
        let time = prost_types::Timestamp { seconds, nanos: 0 };
        rows.push((sending(|r| r.send_at = Some(time)), "send_at", "1970 to 9999"));
    }
    let ahead = i64::try_from(START.as_millis() / 1000).unwrap() + 35 * 24 * 3600 + 1;
    let ahead = prost_types::Timestamp { seconds: ahead, nanos: 0 };
    rows.push((sending(|r| r.send_at = Some(ahead)), "send_at", "35 days"));
    let unknown = Template { name: "unknown".to_owned(), ..Template::default() };
    rows.push((sending(|r| r.content = Some(send_message_request::Content::Template(unknown))), "template.name", ""));
    for (recipient, field, words) in wrong_recipients() {
        rows.push((sending(|r| r.recipient = recipient), field, words));
    }
    for channel in [5, -1, i32::MAX] {
        rows.push((sending(|r| r.channel = channel), "channel", "SMS, WHATSAPP, VOICE or EMAIL"));
    }
    rows.push((sending(|r| r.set_channel(Channel::Email)), "channel", "SMS, WHATSAPP or VOICE"));
    let mail = |text: String| {
        sending(|r| {
            r.recipient = Some(email(EMAIL));
            r.content = Some(send_message_request::Content::Text(text));
        })
    };
    rows.push((sending(|r| r.content = None), "content", "must be set"));
    rows.push((with_text(""), "text", "1 to 1600 characters"));
    rows.push((with_text("a\0b"), "text", "NUL"));
    // Eleven segments: in GSM-7, with characters that count twice, in UCS-2, and with pairs of it.
    for text in ["a".repeat(1_531), "€".repeat(761), "码".repeat(671), "😀".repeat(331)] {
        rows.push((with_text(&text), "text", "10 SMS segments"));
    }
    for text in ["ü".repeat(1_601), "a".repeat(64 * 1024)] {
        rows.push((with_text(&text), "text", "1 to 1600 characters"));
        rows.push((mail(text), "text", "1 to 1600 characters"));
    }
    for sender in wrong_senders() {
        rows.push((sending(|r| r.sender = sender), "sender", "1 to 20 characters"));
    }
    for validity in wrong_durations([(59, 999_999_999), (72 * 3600, 1)]) {
        rows.push((sending(|r| r.validity = validity), "validity", "1 minute to 72 hours"));
    }
    for metadata in wrong_metadata() {
        rows.push((sending(|r| r.metadata = metadata), "metadata", "at most 16 entries"));
    }
    rows
}

/// Requests at both ends of every range.
fn accepted() -> Vec<Call> {
    let mut calls = vec![
        starting(|_| {}),
        starting(|r| r.recipient = Some(phone(&format!("{PHONE}{}", " ".repeat(52))))),
        starting(|r| r.recipient = Some(email(&email_of(254)))),
        starting(|r| r.set_channel(Channel::Sms)),
        starting(|r| {
            r.recipient = Some(email(EMAIL));
            r.set_channel(Channel::Email);
        }),
        with_policy(|p| p.exclude_confusing = Some(true)),
        with_policy(|p| p.alphabet = vec![1; 64 * 1024]),
        with_policy(|p| p.alphabet = vec![AlphabetClass::Special.into(), AlphabetClass::Upper.into()]),
        starting(|r| r.template = "default".to_owned()),
        starting(|r| r.device_id = "ü".repeat(128)),
        sending(|r| r.set_channel(Channel::Sms)),
        with_text("a"),
        with_text(&"a".repeat(1_530)),
        sending(|r| {
            r.recipient = Some(email(EMAIL));
            r.content = Some(send_message_request::Content::Text("码".repeat(1_600)));
        }),
    ];
    calls.extend(["s", "A.b_c:d-9", &"s".repeat(64)].map(|scope| starting(|r| r.scope = scope.to_owned())));
    calls.extend([4, 32].map(|length| with_policy(|p| p.length = length)));
    calls.extend([3, 86_400].map(|lifetime| with_policy(|p| p.lifetime = seconds(lifetime))));
    calls.extend([1, 10].map(|checks| with_policy(|p| p.max_checks = checks)));
    calls.extend(["0000", &"!".repeat(32)].map(|code| starting(|r| r.custom_code = code.to_owned())));
    // An unknown language is answered in English.
    let locales = ["en", "tlh", "zh-Hant-TW", "en-aaaaaaaa-aaaaaaaa-aaaaaaaa-aaaaa"];
    calls.extend(locales.map(|locale| starting(|r| r.locale = locale.to_owned())));
    calls.extend(["1.2.3.4", "::1", "::ffff:1.2.3.4"].map(|ip| starting(|r| r.client_ip = ip.to_owned())));
    calls.extend([0, 30].map(|wait| starting(|r| r.delivery_wait = seconds(wait))));
    let policies = [OnExisting::Resend, OnExisting::Replace];
    calls.extend(policies.map(|on_existing| starting(|r| r.set_on_existing(on_existing))));
    calls.extend([60, 72 * 3600].map(|validity| sending(|r| r.validity = seconds(validity))));
    calls.extend(["s".to_owned(), "ü".repeat(20)].map(|sender| starting(|r| r.sender = sender)));
    calls.extend(["s".to_owned(), "ü".repeat(20)].map(|sender| sending(|r| r.sender = sender)));
    calls.push(starting(|r| r.metadata = entries(16, 40, 256)));
    calls.push(sending(|r| r.metadata = entries(16, 40, 256)));
    calls.push(starting(|r| r.metadata = entry("k", "")));
    calls
}

// === tests ===

#[tokio::test]
async fn a_field_out_of_range_is_named_with_its_range_and_changes_nothing() {
    let gateway = Gateway::start().await;
    let mut clients = Clients::of(&gateway).await;
    let rows = [start_table(), other_verification_table(), send_table()].concat();
    for (call, field, words) in rows {
        let shown: String = format!("{call:?}").chars().take(400).collect();
        let status = clients.call(call).await.expect_err(&shown);
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_FIELD"), "{shown}");
        let told = violations(&status);
        assert_eq!(told.iter().map(|(field, _)| field.as_str()).collect::<Vec<_>>(), [field], "{shown}: {told:?}");
        let description = &told[0].1;
        assert!(!description.is_empty() && description.contains(words), "{shown}: {description}");
        assert!(status.message().contains(field) && status.message().contains(description.as_str()), "{shown}");
        // What the caller wrote is not repeated, for it may be a code or a recipient.
        assert!(status.message().len() < 400, "{shown}: {}", status.message());
    }
    assert!(gateway.whole_inbox().await.is_empty());
    // No record either: a recipient that had one would have to wait before its next code.
    clients.call(starting(|_| {})).await.unwrap();
}

#[tokio::test]
async fn both_ends_of_every_range_are_accepted() {
    let gateway = Gateway::start().await;
    let mut clients = Clients::of(&gateway).await;
    for mut call in accepted() {
        // The pause after a send would be in the way of the next one.
        gateway.clock.advance(std::time::Duration::from_secs(24 * 3600));
        if let Call::Start(request) = &mut call
            && request.on_existing == 0
        {
            request.set_on_existing(OnExisting::Replace);
        }
        let shown: String = format!("{call:?}").chars().take(400).collect();
        clients.call(call).await.expect(&shown);
    }
    // Well-formed, so that only the verification or message is missing.
    for call in with_id(AN_ID) {
        assert_eq!(clients.call(call).await.unwrap_err().code(), Code::NotFound);
    }
    for (scope, recipient) in [("", phone("+60123456700")), (&"s".repeat(64), email(&email_of(254)))] {
        let status = clients.call(checking_recipient(scope, Some(recipient))).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    }
    for (code, client_ip) in [("1", "1.2.3.4"), (&"~".repeat(64), "::1"), (" 123456\r\n", "")] {
        let status = clients.call(checking(by_id(AN_ID), code, client_ip)).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
    }
}

#[tokio::test]
async fn a_check_that_is_refused_is_not_counted_and_a_refused_resend_sends_nothing() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    let full_width: String = code.chars().map(|c| char::from_u32(u32::from(c) - 0x30 + 0xff10).unwrap()).collect();
    check(&mut client, &id, &wrong(&code, 0)).await.unwrap();
    gateway.clock.advance(std::time::Duration::from_secs(60));
    let before = client.get_verification(GetVerificationRequest { id: id.clone() }).await.unwrap().into_inner();
    assert_eq!(before.verification.as_ref().unwrap().checks_used, 1);
    for bad in ["", "12 34", &full_width, &"1".repeat(65)] {
        assert_eq!(check(&mut client, &id, bad).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let mail = ResendVerificationRequest { id: id.clone(), channel: Channel::Email.into() };
    let status = client.resend_verification(mail).await.unwrap_err();
    assert_eq!(violations(&status)[0].0, "channel");
    let after = client.get_verification(GetVerificationRequest { id: id.clone() }).await.unwrap().into_inner();
    assert_eq!(after, before);
    assert_eq!(gateway.inbox(PHONE).await.len(), 1);
}

#[tokio::test]
async fn every_wrong_field_of_a_request_is_told_at_once() {
    let gateway = Gateway::start().await;
    let mut clients = Clients::of(&gateway).await;
    let everything = StartVerificationRequest {
        recipient: Some(phone("hello")),
        channel: 9,
        scope: "a b".to_owned(),
        policy: Some(CodePolicy {
            length: 3,
            alphabet: vec![9],
            exclude_confusing: None,
            lifetime: seconds(-1),
            max_checks: 11,
        }),
        custom_code: "123".to_owned(),
        locale: "english".to_owned(),
        template: "welcome".to_owned(),
        sender: "s".repeat(21),
        client_ip: "localhost".to_owned(),
        device_id: "d".repeat(129),
        metadata: entry("", ""),
        on_existing: 9,
        delivery_wait: seconds(31),
        ..StartVerificationRequest::default()
    };
    let start_fields = [
        "recipient.phone",
        "channel",
        "scope",
        "policy.length",
        "policy.alphabet",
        "policy.lifetime",
        "policy.max_checks",
        "custom_code",
        "locale",
        "template",
        "sender",
        "client_ip",
        "device_id",
        "metadata",
        "on_existing",
        "delivery_wait",
    ];
    let message = SendMessageRequest {
        channel: 9,
        sender: "s".repeat(21),
        validity: seconds(59),
        metadata: entry("", ""),
        ..SendMessageRequest::default()
    };
    let both = checking(by_recipient("a b", Some(email("ann"))), "", "localhost");
    for (call, fields) in [
        (Call::Start(Box::new(everything)), start_fields.as_slice()),
        (Call::Send(message), &["recipient", "channel", "content", "sender", "validity", "metadata"]),
        (both, &["scoped_recipient.scope", "scoped_recipient.recipient.email", "code", "client_ip"]),
        (checking(by_id("x"), "", "x"), &["id", "code", "client_ip"]),
        (Call::Resend(ResendVerificationRequest { id: "x".to_owned(), channel: 9 }), &["id", "channel"]),
    ] {
        let status = clients.call(call).await.unwrap_err();
        let told = violations(&status);
        let names: Vec<_> = told.iter().map(|(field, _)| field.as_str()).collect();
        assert_eq!(names.len(), fields.len(), "{names:?}");
        assert_eq!(BTreeSet::from_iter(names), BTreeSet::from_iter(fields.iter().copied()));
    }
}

/// The paths of a request's fields, as a caller would write them.
fn paths(message: &MessageDescriptor, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for field in message.fields() {
        let path = format!("{prefix}{}", field.name());
        match field.kind() {
            Kind::Message(inner) if !field.is_map() && inner.full_name().starts_with("verigate.") => {
                found.extend(paths(&inner, &format!("{path}.")));
            }
            _ => found.push(path),
        }
    }
    found
}

#[test]
fn the_tables_leave_out_no_field_of_the_contract() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut covered: BTreeSet<(&str, &str)> = BTreeSet::new();
    covered.extend(
        [start_table(), other_verification_table(), send_table()].concat().iter().map(|r| (r.0.request(), r.1)),
    );
    for request in REQUESTS {
        for path in paths(&pool.get_message_by_name(request).unwrap(), "") {
            // Both values of a flag are in range; what a template takes depends on the template.
            let flags = ["policy.exclude_confusing", "return_code", "trusted"];
            let exempt = flags.contains(&path.as_str()) || path.starts_with("template.") || path == "variables";
            assert!(exempt || covered.contains(&(request, path.as_str())), "no row for {path} of {request}");
        }
    }
}

// === below the messages: bytes, sizes, credentials ===

/// Sends bytes as they are, and reads none of the answer.
#[derive(Clone, Default)]
struct Raw;

impl tonic::codec::Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl tonic::codec::Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut tonic::codec::EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl tonic::codec::Decoder for Raw {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut tonic::codec::DecodeBuf<'_>) -> Result<Option<()>, Status> {
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}

const START_PATH: &str = "/verigate.verification.v1.VerificationService/StartVerification";

/// Calls `method` with the bytes of a request and the metadata given.
async fn call_raw(
    channel: &Transport,
    method: &'static str,
    body: &[u8],
    metadata: &[(&str, &str)],
) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let mut request = tonic::Request::new(body.to_vec());
    for (key, value) in metadata {
        let key: MetadataKey<Ascii> = key.parse().unwrap();
        request.metadata_mut().insert(key, value.parse().unwrap());
    }
    let path = http::uri::PathAndQuery::from_static(method);
    client.unary(request, path, Raw).await.map(drop)
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused_and_the_gateway_goes_on() {
    let gateway = Gateway::start().await;
    let channel = gateway.channel().await;
    let whole = start(PHONE).encode_to_vec();
    let credentials = [("authorization", "Bearer acme.acme-secret-of-some-length")];
    let mut bodies: Vec<Vec<u8>> = (1..whole.len()).map(|length| whole[..length].to_vec()).collect();
    bodies.extend([
        // A number where the recipient belongs; a group that nobody ends; the end of a group that nobody began.
        vec![0x08, 0x01],
        vec![0x0b],
        vec![0x0c],
        // Field number 0; wire types 6 and 7.
        vec![0x00, 0x00],
        vec![0x0e],
        vec![0x0f],
        // A number of more than ten bytes; a length that is not there; one that goes around.
        [[0xff; 11].as_slice(), &[0x01]].concat(),
        vec![0x1a, 0x7f],
        [[0x1a].as_slice(), &[0xff; 9], &[0x01]].concat(),
        // A scope that is not UTF-8.
        [whole.as_slice(), &[0x1a, 0x02, 0xff, 0xfe]].concat(),
        // Unknown groups within groups, deeper than anybody means.
        vec![0xa3; 100_000],
    ]);
    for body in bodies {
        let status = call_raw(&channel, START_PATH, &body, &credentials).await.unwrap_err();
        assert!(matches!(status.code(), Code::Internal | Code::InvalidArgument), "{body:02x?}: {status:?}");
    }
    // An empty request is one that sets nothing.
    let status = call_raw(&channel, START_PATH, &[], &credentials).await.unwrap_err();
    assert_eq!(violations(&status)[0].0, "recipient");
    assert!(gateway.whole_inbox().await.is_empty());
    // What a later version of the contract adds is passed over.
    let with_more = [whole.as_slice(), &[0xfa, 0x7f, 0x01, 0x2a]].concat();
    call_raw(&channel, START_PATH, &with_more, &credentials).await.unwrap();
}

#[tokio::test]
async fn a_request_too_large_is_refused_before_it_is_read() {
    let gateway = Gateway::start().await;
    let mut clients = Clients::of(&gateway).await;
    let large = "s".repeat(4 * 1024 * 1024);
    let calls = [
        starting(|r| r.scope.clone_from(&large)),
        starting(|r| r.recipient = Some(email(&large))),
        starting(|r| r.metadata = entry("k", &large)),
        checking(by_id(AN_ID), &large, ""),
        with_text(&large),
    ];
    for call in calls.into_iter().chain(with_id(&large)) {
        let status = clients.call(call).await.unwrap_err();
        assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
        assert!(status.message().contains("limit"), "{}", status.message());
    }
    assert!(gateway.whole_inbox().await.is_empty());
    clients.call(starting(|_| {})).await.unwrap();
}

#[tokio::test]
async fn a_call_without_good_credentials_is_refused_and_learns_nothing() {
    let gateway = Gateway::start().await;
    let channel = gateway.channel().await;
    let body = start(PHONE).encode_to_vec();
    let good = "acme.acme-secret-of-some-length";
    for metadata in [
        vec![],
        vec![("x-api-key", good)],
        vec![("api-key", good)],
        vec![("proxy-authorization", "Bearer acme.acme-secret-of-some-length")],
    ] {
        let status = call_raw(&channel, START_PATH, &body, &metadata).await.unwrap_err();
        let refusal = (status.code(), reason(&status));
        assert_eq!(refusal, (Code::Unauthenticated, "CREDENTIALS_MISSING".to_owned()), "{metadata:?}");
    }
    let mut messages = BTreeSet::new();
    let long = format!("Bearer acme.{}", "s".repeat(8_000));
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer acme",
        "Bearer acme.",
        "Bearer .",
        "Bearer .acme-secret-of-some-length",
        "acme.acme-secret-of-some-length",
        "Basic YWNtZTphY21lLXNlY3JldC1vZi1zb21lLWxlbmd0aA==",
        "Bearer acme:acme-secret-of-some-length",
        "Bearer nobody.acme-secret-of-some-length",
        "Bearer acme.wrong",
        "Bearer acme.other-secret-of-some-length",
        "Bearer other.acme-secret-of-some-length",
        "Bearer ACME.acme-secret-of-some-length",
        "Bearer acme.ACME-SECRET-OF-SOME-LENGTH",
        "Bearer acme.acme-secret-of-some-lengt",
        "Bearer acme.acme-secret-of-some-length, Bearer x.y",
        &long,
    ] {
        let status = call_raw(&channel, START_PATH, &body, &[("authorization", header)]).await.unwrap_err();
        let refusal = (status.code(), reason(&status));
        assert_eq!(refusal, (Code::Unauthenticated, "CREDENTIALS_INVALID".to_owned()), "{header}");
        assert!(!status.message().contains("secret-of"), "{header}");
        messages.insert((status.message().to_owned(), status.details().to_vec()));
    }
    // Nobody can tell an unknown id from a wrong secret.
    assert_eq!(messages.len(), 1, "{messages:?}");
    assert!(gateway.whole_inbox().await.is_empty());
    // The scheme may be written in any case (RFC 9110 §11.1), and only the first call of a recipient is free.
    for (number, header) in ["bearer", "BEARER", "Bearer", "Bearer "].into_iter().enumerate() {
        let header = format!("{header} {good}");
        let body = start(&format!("+6012345670{number}")).encode_to_vec();
        call_raw(&channel, START_PATH, &body, &[("authorization", &header)]).await.expect(&header);
    }
}

#[tokio::test]
async fn credentials_come_before_anything_else_of_a_call() {
    let gateway = Gateway::start().await;
    let channel = gateway.channel().await;
    for method in [
        START_PATH,
        "/verigate.verification.v1.VerificationService/GetVerification",
        "/verigate.verification.v1.VerificationService/ListVerifications",
        "/verigate.verification.v1.VerificationService/WatchVerification",
        "/verigate.messaging.v1.MessagingService/SendMessage",
        "/verigate.messaging.v1.MessagingService/PreviewMessage",
        "/verigate.admin.v1.AdminService/ListVendors",
        "/verigate.admin.v1.AdminService/GetVendorBalance",
    ] {
        for body in [&[][..], &[0x0b], &[0x0a, 0x7f]] {
            let status = call_raw(&channel, method, body, &[]).await.unwrap_err();
            assert_eq!(status.code(), Code::Unauthenticated, "{method}");
        }
    }
}

#[tokio::test]
async fn health_and_reflection_need_no_credentials() {
    let gateway = Gateway::start().await;
    let channel = gateway.channel().await;
    let mut health = HealthClient::new(channel.clone());
    for service in [
        "",
        "verigate.verification.v1.VerificationService",
        "verigate.messaging.v1.MessagingService",
        "verigate.admin.v1.AdminService",
    ] {
        eventually(async || {
            let request = HealthCheckRequest { service: service.to_owned() };
            let answer = health.check(request).await.ok()?.into_inner();
            (answer.status() == ServingStatus::Serving).then_some(())
        })
        .await;
    }
    let unknown = HealthCheckRequest { service: "verigate.nothing".to_owned() };
    assert_eq!(health.check(unknown).await.unwrap_err().code(), Code::NotFound);

    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(channel);
    let asked = reflection.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    let answer = asked.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(services)) = answer.message_response else {
        panic!("{answer:?}");
    };
    let names: Vec<_> = services.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"verigate.verification.v1.VerificationService"), "{names:?}");
}
