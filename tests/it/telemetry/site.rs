//! The program by itself with traffic on it, and its page of metrics. A process of its own, for gateways within a test
//! share one page.

use std::collections::BTreeMap;

use tempfile::TempDir;
use tonic::transport::Endpoint;
use verigate::proto::messaging::v1::messaging_service_client::MessagingServiceClient;
use verigate::proto::verification::v1::CheckOutcome;
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;

use crate::support::gateway::{
    Credentials, Messages, Verifications, by_id, check, eventually, start, start_now, text_to,
};
use crate::support::http::{call, get};
use crate::support::process::{KEY, Process};

/// What the inbox does to a recipient, by the last digit.
const OUTCOMES: &str = r#"[
    { pattern = "*6", outcome = "failed" },
    { pattern = "*7", outcome = "rejected" },
    { pattern = "*8", outcome = "throttled", delay = "1h" },
    { pattern = "*9", outcome = "unavailable" },
]"#;

/// Nobody listens there.
const ENDPOINT: &str = r#"[{
    name = "main", tenant = "dev", url = "http://127.0.0.1:65535/", secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
}]"#;

const SETTINGS: &[(&str, &str)] = &[
    ("VERIGATE__VENDORS__INBOX__OUTCOMES", OUTCOMES),
    ("VERIGATE__GUARD__RECIPIENT__MODE", "off"),
    ("VERIGATE__GUARD__CONVERSION__MODE", "off"),
    ("VERIGATE__GUARD__COUNTRIES__DENY", r#"["LK"]"#),
    ("VERIGATE__EVENTS__LOCAL", "true"),
    ("VERIGATE__EVENTS__ENDPOINTS", ENDPOINT),
    ("VERIGATE__CALLBACKS__ALLOW", r#"["127.0.0.0/8"]"#),
    // Nobody listens there.
    ("VERIGATE__OTLP__ENDPOINT", "http://127.0.0.1:1"),
    ("VERIGATE__OTLP__INTERVAL", "1s"),
];

/// The program, and where its files are.
pub(crate) struct Site {
    pub(crate) process: Process,
    _place: TempDir,
}

/// A page of metrics.
pub(crate) struct Page {
    pub(crate) text: String,
}

/// A line of it.
#[derive(Debug)]
pub(crate) struct Sample {
    name: String,
    pub(crate) labels: BTreeMap<String, String>,
}

// === impl Site ===

impl Site {
    pub(crate) async fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let process = Process::start(place.path(), SETTINGS).await;
        Self { process, _place: place }
    }

    pub(crate) async fn verifications(&self, key: &str) -> Verifications {
        VerificationServiceClient::with_interceptor(self.channel().await, Credentials::new(key))
    }

    pub(crate) async fn messages(&self, key: &str) -> Messages {
        MessagingServiceClient::with_interceptor(self.channel().await, Credentials::new(key))
    }

    pub(crate) async fn channel(&self) -> tonic::transport::Channel {
        Endpoint::from_shared(self.process.grpc.clone()).unwrap().connect().await.unwrap()
    }

    pub(crate) async fn page(&self) -> Page {
        let admin = self.process.admin;
        Page { text: get(admin, "/metrics", &[&format!("Host: {admin}")]).await.body }
    }

    /// What a day brings: codes that are given back, wrong ones, sends that fail in every way, and refusals.
    pub(crate) async fn traffic(&self) {
        let mut client = self.verifications(KEY).await;
        for phone in ["+60123456700", "+6598765401", "+447911123402"] {
            let begun = start_now(&mut client, start(phone)).await.unwrap();
            let code = self.code(phone).await;
            let wrong = format!("{:06}", (code.parse::<u32>().unwrap() + 1) % 1_000_000);
            check(&mut client, &begun.id, &wrong).await.unwrap();
            assert_eq!(check(&mut client, &begun.id, &code).await.unwrap().outcome(), CheckOutcome::Approved);
        }
        let mut messages = self.messages(KEY).await;
        for ending in 3..10 {
            messages.send_message(text_to(&format!("+6012345671{ending}"), "Hello")).await.unwrap();
        }
        start_now(&mut client, start("+94771234567")).await.unwrap_err();
        start_now(&mut client, start("nobody")).await.unwrap_err();
        client.check_verification(by_id("nothing", "000000")).await.unwrap_err();
        let http = self.process.http;
        let key = format!("Authorization: Bearer {KEY}");
        let body = r#"{"recipient": {"phone": "+60123456720"}, "text": "Hello"}"#;
        let fields = [&*format!("Host: {http}"), &*key, "Content-Type: application/json"];
        assert_eq!(call(http, "POST", "/v1/messages", &fields, body).await.status, 200);
        let key = format!("Authorization: {KEY}");
        let body = r#"{"recipients": "+60123456730", "sender_id": "Acme", "content": "Hello", "callback": "http://127.0.0.1:65535/"}"#;
        let fields = [&*format!("Host: {http}"), &*key, "Content-Type: application/json"];
        assert_eq!(call(http, "POST", "/simpu/sms/send", &fields, body).await.status, 200);
        let settled = [
            "stage=\"sent\"",
            "stage=\"delivered\"",
            "stage=\"undelivered\"",
            "stage=\"rejected\"",
            "verigate_event_deliveries_total",
            "verigate_callback_calls_total",
        ];
        eventually(async || {
            let text = self.page().await.text;
            let exported = text.contains("verigate_otlp_dropped_total{signal=\"metrics\"}");
            (exported && settled.iter().all(|stage| text.contains(stage))).then_some(())
        })
        .await;
    }

    async fn code(&self, phone: &str) -> String {
        let admin = self.process.admin;
        let target = format!("/inbox/messages?recipient={}", phone.replace('+', "%2B"));
        let answer = get(admin, &target, &[&format!("Host: {admin}")]).await;
        let messages: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        let text = messages[0]["text"].as_str().unwrap().to_owned();
        text.split(|letter: char| !letter.is_ascii_digit()).max_by_key(|run| run.len()).unwrap().to_owned()
    }
}

// === impl Page ===

impl Page {
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).map(Sample::parse).collect()
    }
}

// === impl Sample ===

impl Sample {
    fn parse(line: &str) -> Self {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        // No label of ours has a comma or a quotation mark in it.
        let labels = labels.trim_end_matches('}').split(',').filter_map(|label| label.split_once('='));
        let labels = labels.map(|(name, value)| (name.to_owned(), value.trim_matches('"').to_owned()));
        Self { name: name.to_owned(), labels: labels.collect() }
    }

    /// The metric that it is of.
    pub(crate) fn metric(&self) -> &str {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|part| self.name.strip_suffix(part));
        of_histogram.unwrap_or(&self.name)
    }
}
