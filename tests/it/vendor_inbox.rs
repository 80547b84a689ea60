//! The inbox vendor: what it keeps, and each outcome that it can play.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use verigate::clock::{Clock, ManualClock, Timestamp};
use verigate::error::{Error, Kind, Reason, Result};
use verigate::recipient::{Phone, Recipient};
use verigate::vendor::inbox::{Config, Entry, InboxVendor};
use verigate::vendor::{Accepted, Channel, Failure, Outgoing, Receipt, ReceiptSink, ReceiptStatus, Rejection, Vendor};

const START: Timestamp = Timestamp::from_millis(1_795_324_560_125);
const RULES: &str = r#"
    outcomes = [
        { pattern = "+60123450001", outcome = "late" },
        { pattern = "+60123450002", outcome = "late", delay = "2s" },
        { pattern = "+60123450003", outcome = "failed" },
        { pattern = "+60123450004", outcome = "rejected" },
        { pattern = "+60123450005", outcome = "throttled", delay = "7s" },
        { pattern = "+60123450006", outcome = "slow" },
        { pattern = "+60123450007", outcome = "hang" },
        { pattern = "+60123450008", outcome = "unavailable" },
        { pattern = "+60123450009", outcome = "unknown" },
        { pattern = "+60123450020", outcome = "nocredit" },
        { pattern = "+6012345001*", outcome = "unknown", delay = "1s" },
        { pattern = "+6012345*", outcome = "rejected" },
        { pattern = "+6012345*99", outcome = "delivered" },
    ]
"#;

/// A sink that shows what it is given.
struct Sink {
    received: mpsc::UnboundedSender<Receipt>,
    refuses: bool,
}

#[async_trait]
impl ReceiptSink for Sink {
    async fn receive(&self, receipt: Receipt) -> Result<()> {
        self.received.send(receipt).unwrap();
        if self.refuses { Err(Error::new(Kind::Unavailable, Reason::StoreUnavailable, "away")) } else { Ok(()) }
    }
}

/// An inbox vendor with its receipts on the way.
struct Fixture {
    vendor: Arc<InboxVendor>,
    clock: ManualClock,
    receipts: mpsc::UnboundedReceiver<Receipt>,
    running: JoinHandle<()>,
}

impl Fixture {
    fn new(config: &str) -> Self {
        Self::with_sink(config, false)
    }

    fn with_sink(config: &str, refuses: bool) -> Self {
        let clock = ManualClock::new(START);
        let config: Config = toml::from_str(config).unwrap();
        let (vendor, receipts) = config.build("dev-inbox", Arc::new(clock.clone())).unwrap();
        let (received, queue) = mpsc::unbounded_channel();
        let running = tokio::spawn(receipts.run(Arc::new(Sink { received, refuses })));
        Self { vendor: Arc::new(vendor), clock, receipts: queue, running }
    }

    async fn send(&self, phone: &str) -> Result<Accepted, Failure> {
        self.vendor.send(&outgoing(phone, "m-1", "code 480913")).await
    }

    fn kept(&self) -> Vec<Arc<Entry>> {
        self.vendor.inbox().messages(None)
    }

    /// Lets everything that can run do so, and returns what has arrived.
    async fn receipts_so_far(&mut self) -> Vec<(ReceiptStatus, Duration)> {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let mut so_far = Vec::new();
        while let Ok(receipt) = self.receipts.try_recv() {
            assert_eq!((receipt.vendor.as_str(), &*receipt.reference), ("dev-inbox", "m-1"));
            so_far.push((receipt.status, receipt.at.since(START)));
        }
        so_far
    }
}

fn outgoing(phone: &str, reference: &str, text: &str) -> Outgoing {
    Outgoing {
        reference: Arc::from(reference),
        tenant: "acme".parse().unwrap(),
        channel: Channel::WhatsApp,
        recipient: Recipient::Phone(Phone::parse(phone, None).unwrap()),
        sender: Some("Acme".to_owned()),
        text: SecretString::from(text),
        receipt_url: None,
        expires_at: START + Duration::from_secs(600),
    }
}

#[tokio::test]
async fn a_message_is_kept_as_it_was_sent() {
    let fixture = Fixture::new("");
    let accepted = fixture.send("+60123456789").await.unwrap();
    assert_eq!(accepted.vendor_reference.as_deref(), Some("m-1"));
    let kept = fixture.kept();
    assert_eq!(kept.len(), 1);
    let entry = &kept[0];
    assert_eq!((&*entry.id, entry.tenant.as_str(), entry.channel), ("m-1", "acme", Channel::WhatsApp));
    assert_eq!((entry.vendor.as_str(), entry.sender.as_deref()), ("dev-inbox", Some("Acme")));
    assert_eq!((entry.recipient.as_str(), entry.sent_at), ("+60123456789", START));
    assert_eq!(entry.text.expose_secret(), "code 480913");
    let shown = format!("{entry:?} {:?} {:?}", fixture.vendor, fixture.vendor.inbox());
    assert!(!shown.contains("480913") && !shown.contains("6012"), "{shown}");
}

#[tokio::test]
async fn the_newest_are_kept_and_come_first_and_a_recipient_is_found_however_it_is_written() {
    let fixture = Fixture::new("keep = 3");
    for (reference, phone) in
        [("a", "+60123456789"), ("b", "+60123456789"), ("c", "+6598765432"), ("d", "+60123456789")]
    {
        fixture.vendor.send(&outgoing(phone, reference, "x")).await.unwrap();
    }
    let ids = |recipient| -> String {
        fixture.vendor.inbox().messages(recipient).iter().map(|entry| entry.id.to_string()).collect()
    };
    assert_eq!(ids(None), "dcb");
    for text in ["+60123456789", " 60123456789", "+60 12-345 6789", "0060123456789"] {
        assert_eq!(ids(Some(text)), "db", "{text}");
    }
    for text in ["", "+6012345678", "123456789", "*"] {
        assert_eq!(ids(Some(text)), "", "{text}");
    }
}

#[tokio::test]
async fn without_a_rule_a_message_is_delivered_at_once() {
    let mut fixture = Fixture::new(RULES);
    let accepted = fixture.send("+6598765432").await.unwrap();
    assert_eq!(accepted.receipt, Some(ReceiptStatus::Delivered));
    assert_eq!(fixture.receipts_so_far().await, []);
}

#[tokio::test]
async fn late_receipts_come_when_their_time_has_come_and_not_before() {
    let mut fixture = Fixture::new(RULES);
    for phone in ["+60123450001", "+60123450002"] {
        assert_eq!(fixture.send(phone).await.unwrap().receipt, None);
    }
    assert_eq!(fixture.kept().len(), 2);
    fixture.clock.advance(Duration::from_millis(1_999));
    assert_eq!(fixture.receipts_so_far().await, []);
    fixture.clock.advance(Duration::from_millis(1));
    assert_eq!(fixture.receipts_so_far().await, [(ReceiptStatus::Delivered, Duration::from_secs(2))]);
    fixture.clock.advance(Duration::from_millis(27_999));
    assert_eq!(fixture.receipts_so_far().await, []);
    fixture.clock.advance(Duration::from_millis(1));
    assert_eq!(fixture.receipts_so_far().await, [(ReceiptStatus::Delivered, Duration::from_secs(30))]);
}

#[tokio::test]
async fn failed_is_taken_and_then_undelivered() {
    let mut fixture = Fixture::new(RULES);
    fixture.send("+60123450003").await.unwrap();
    assert_eq!(fixture.kept().len(), 1);
    assert_eq!(fixture.receipts_so_far().await, [(ReceiptStatus::Undelivered, Duration::ZERO)]);
}

#[tokio::test]
async fn refusals_leave_nothing_behind() {
    let mut fixture = Fixture::new(RULES);
    let rejected = Failure::Rejected(Rejection::InvalidRecipient);
    for (phone, failure) in [
        ("+60123450004", rejected.clone()),
        ("+60123450005", Failure::Throttled { after: Some(Duration::from_secs(7)) }),
        ("+60123450008", Failure::Unavailable),
        ("+60123450020", Failure::Rejected(Rejection::InsufficientCredit)),
        // The first rule that matches counts.
        ("+60123450099", rejected),
    ] {
        assert_eq!(fixture.send(phone).await, Err(failure), "{phone}");
    }
    assert!(fixture.kept().is_empty());
    assert_eq!(fixture.receipts_so_far().await, []);
}

#[tokio::test]
async fn unknown_is_kept_and_its_receipt_comes_only_when_a_delay_is_given() {
    let mut fixture = Fixture::new(RULES);
    assert_eq!(fixture.send("+60123450009").await, Err(Failure::Unknown));
    assert_eq!(fixture.send("+60123450010").await, Err(Failure::Unknown));
    assert_eq!(fixture.kept().len(), 2);
    fixture.clock.advance(Duration::from_secs(3600));
    assert_eq!(fixture.receipts_so_far().await, [(ReceiptStatus::Delivered, Duration::from_secs(1))]);
}

#[tokio::test]
async fn slow_answers_after_its_delay_and_hang_never() {
    let fixture = Fixture::new(RULES);
    let send = |phone: &'static str| {
        let vendor = fixture.vendor.clone();
        tokio::spawn(async move { vendor.send(&outgoing(phone, "m-1", "x")).await })
    };
    let (slow, hang) = (send("+60123450006"), send("+60123450007"));
    // The sends must have read the clock before it moves.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    fixture.clock.advance(Duration::from_millis(4_999));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!slow.is_finished() && fixture.kept().is_empty());
    fixture.clock.advance(Duration::from_millis(1));
    slow.await.unwrap().unwrap();
    fixture.clock.advance(Duration::from_secs(86_400));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!hang.is_finished());
    assert_eq!(fixture.kept().len(), 1);
}

#[tokio::test]
async fn a_receipt_that_cannot_be_stored_is_offered_again_five_times_in_all() {
    let mut fixture = Fixture::with_sink(RULES, true);
    fixture.send("+60123450003").await.unwrap();
    for _ in 0..5 {
        assert_eq!(fixture.receipts_so_far().await, [(ReceiptStatus::Undelivered, Duration::ZERO)]);
        assert_eq!(fixture.receipts_so_far().await, []);
        fixture.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(fixture.receipts_so_far().await, []);
}

#[tokio::test]
async fn receipts_end_with_the_vendor() {
    let Fixture { vendor, running, mut receipts, .. } = Fixture::new(RULES);
    vendor.send(&outgoing("+60123450001", "m-1", "x")).await.unwrap();
    drop(vendor);
    running.await.unwrap();
    // The sink is gone, too, and so is the receipt that waited.
    assert!(receipts.recv().await.is_none());
}

#[tokio::test]
async fn a_vendor_whose_receipts_nobody_takes_still_sends() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(START));
    let (vendor, receipts) = Config::default().build("dev-inbox", clock).unwrap();
    drop(receipts);
    assert!(vendor.send(&outgoing("+60123456789", "m-1", "x")).await.is_ok());
}

#[test]
fn configuration_names_the_field_that_is_wrong() {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(START));
    for (config, field) in [
        ("keep = 0", "keep"),
        ("keep = 100001", "keep"),
        (r#"outcomes = [{ pattern = "", outcome = "late" }]"#, "outcomes[0].pattern"),
        (
            r#"outcomes = [{ pattern = "*", outcome = "late" }, { pattern = "*", outcome = "hang", delay = "1s" }]"#,
            "outcomes[1].delay",
        ),
        (r#"outcomes = [{ pattern = "*", outcome = "nocredit", delay = "1s" }]"#, "outcomes[0].delay"),
    ] {
        let error = toml::from_str::<Config>(config).unwrap().build("x", clock.clone()).unwrap_err();
        assert_eq!(error.violations()[0].field, field);
    }
    for (config, word) in [
        (r#"outcomes = [{ pattern = "*", outcome = "lost" }]"#, "unavailable"),
        (r#"outcomes = [{ pattern = "*", outcome = "late", delay = "-1s" }]"#, "such as"),
        (r#"outcomes = [{ pattern = "*", outcome = "no_credit" }]"#, "nocredit"),
        (r#"outcomes = [{ outcome = "late" }]"#, "pattern"),
        ("keeps = 1", "keeps"),
    ] {
        let error = toml::from_str::<Config>(config).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert_eq!(Config::default().keep, 1_000);
}
