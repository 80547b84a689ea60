//! What a vendor is spared: calls while it is down, more a second than it takes, tries without end. On a clock that
//! stands still unless it is moved.

use std::sync::Arc;
use std::time::Duration;

use verigate::clock::{Clock, SystemClock};
use verigate::messaging::breaker::BreakerState;
use verigate::messaging::health::Calls;
use verigate::messaging::sending::SendStatus;
use verigate::proto::messaging::v1::{FailureReason, GetMessageRequest, Message, MessageStatus, SendMessageRequest};
use verigate::{config, server};

use crate::support::floor::{Floor, number};
use crate::support::gateway::{CONFIG, Gateway, Messages, eventually, seconds, text_to};
use crate::support::http::get;

const SECOND: Duration = Duration::from_secs(1);

/// Numbers that nobody can be reached at, and that somebody can.
const DOWN: &str = "+60123450007";
const WELL: &str = "+60123450000";

/// A gateway whose only vendor, or the first of two, has these limits.
struct House {
    gateway: Gateway,
    messages: Messages,
}

/// The usual configuration with more keys for its inbox.
fn limited(keys: &str) -> String {
    CONFIG.replace("[vendors.inbox]\n", &format!("[vendors.inbox]\n{keys}\n"))
}

fn one_attempt(config: &str) -> String {
    format!("{config}\n[messaging]\nmax_attempts = 1\n")
}

fn with_backup(config: &str, keys: &str) -> String {
    let routed = config.replace(r#"vendors = ["inbox"]"#, r#"vendors = ["inbox", "backup"]"#);
    format!("{routed}\n[vendors.backup]\nkind = \"inbox\"\n{keys}\n")
}

// === impl House ===

impl House {
    async fn with(config: &str) -> Self {
        let gateway = Gateway::start_with(config).await;
        let messages = gateway.messages().await;
        Self { gateway, messages }
    }

    async fn send(&mut self, phone: &str) -> String {
        self.send_for(phone, 3600).await
    }

    async fn send_for(&mut self, phone: &str, validity: i64) -> String {
        let request = SendMessageRequest { validity: seconds(validity), ..text_to(phone, "x") };
        self.messages.send_message(request).await.unwrap().into_inner().message.unwrap().id
    }

    async fn message(&mut self, id: &str) -> Message {
        let request = GetMessageRequest { id: id.to_owned() };
        self.messages.get_message(request).await.unwrap().into_inner().message.unwrap()
    }

    async fn until(&mut self, id: &str, status: MessageStatus) -> Message {
        self.until_after(id, Duration::ZERO, status).await
    }

    /// The same while time passes in steps.
    async fn until_after(&mut self, id: &str, step: Duration, status: MessageStatus) -> Message {
        eventually(async || {
            self.gateway.clock.advance(step);
            let message = self.message(id).await;
            (message.status() == status).then_some(message)
        })
        .await
    }

    /// Gives a message that waits every chance to be sent, and finds that it is not.
    async fn waits(&mut self, id: &str) {
        for _ in 0..50 {
            let message = self.message(id).await;
            assert_eq!((message.status(), message.attempts), (MessageStatus::Queued, 0));
        }
    }

    async fn metrics(&self) -> String {
        let admin = self.gateway.addresses.admin;
        get(admin, "/metrics", &[&format!("Host: {admin}")]).await.body
    }
}

// === breakers ===

#[tokio::test]
async fn a_vendor_that_is_down_is_left_alone_and_its_messages_go_to_the_next() {
    let config = limited("breaker = { in_a_row = 3, pause = \"10s\", probes = 1 }");
    let mut house = House::with(&with_backup(&config, "")).await;
    for _ in 0..3 {
        let id = house.send(DOWN).await;
        let message = house.until(&id, MessageStatus::Delivered).await;
        assert_eq!((message.attempts, message.vendor.as_str()), (2, "backup"));
    }
    for phone in [DOWN, WELL] {
        let id = house.send(phone).await;
        let message = house.until(&id, MessageStatus::Delivered).await;
        assert_eq!((message.attempts, message.vendor.as_str()), (1, "backup"));
    }
    // After its pause one call finds out that it is still down, and another one that it is well again.
    for (wait, phone, vendor) in [(10, DOWN, "backup"), (10, WELL, "backup"), (10, WELL, "inbox"), (0, WELL, "inbox")] {
        house.gateway.clock.advance(wait * SECOND);
        let id = house.send(phone).await;
        assert_eq!(house.until(&id, MessageStatus::Delivered).await.vendor, vendor);
    }
}

#[tokio::test]
async fn without_another_vendor_messages_wait_for_the_end_of_the_pause() {
    let config = limited("breaker = { in_a_row = 2, pause = \"10s\", probes = 1 }");
    // A name of its own, for all gateways of this process have their metrics on one page.
    let config = config.replace("[vendors.inbox]", "[vendors.measured]").replace("[\"inbox\"]", "[\"measured\"]");
    let mut house = House::with(&one_attempt(&config)).await;
    for _ in 0..2 {
        let id = house.send(DOWN).await;
        let rejected = house.until(&id, MessageStatus::Rejected).await;
        assert_eq!(rejected.reason(), FailureReason::VendorUnavailable);
    }
    let shows = |state: &str| format!("verigate_vendor_breaker{{vendor=\"measured\",state=\"{state}\"}} 1\n");
    let page = house.metrics().await;
    assert!(page.contains(&shows("open")) && !page.contains(&shows("closed")), "{page}");
    assert!(page.contains("verigate_vendor_breaker_openings_total{vendor=\"measured\"} 1\n"), "{page}");
    let waiting = [house.send(WELL).await, house.send(WELL).await];
    house.gateway.clock.advance(10 * SECOND - Duration::from_millis(1));
    for id in &waiting {
        house.waits(id).await;
    }
    // The first is the probe, and after it the second goes, without a moment passing.
    house.gateway.clock.advance(Duration::from_millis(1));
    for id in &waiting {
        assert_eq!(house.until(id, MessageStatus::Delivered).await.attempts, 1);
    }
    let page = house.metrics().await;
    assert!(page.contains(&shows("closed")) && !page.contains(&shows("open")), "{page}");
}

#[tokio::test]
async fn a_call_that_is_under_way_at_the_end_of_its_message_is_cut_off() {
    let config = limited("breaker = { in_a_row = 1, pause = \"58s\", probes = 1 }");
    let mut house = House::with(&one_attempt(&config)).await;
    let id = house.send(DOWN).await;
    house.until(&id, MessageStatus::Rejected).await;
    // Its vendor would take it three seconds after it is called, and so a second too late.
    let id = house.send_for("+60123450005", 60).await;
    house.waits(&id).await;
    house.gateway.clock.advance(58 * SECOND);
    house.until(&id, MessageStatus::Sending).await;
    house.gateway.clock.advance(2 * SECOND);
    house.until(&id, MessageStatus::Expired).await;
    house.gateway.clock.advance(5 * SECOND);
    // The vendor is not to blame, so the next one is a probe that goes well.
    let id = house.send(WELL).await;
    house.until(&id, MessageStatus::Delivered).await;
    assert!(house.gateway.inbox("+60123450005").await.is_empty());
}

#[tokio::test]
async fn who_waits_for_a_vendor_that_is_down_is_not_sent_after_its_time() {
    let config = limited("breaker = { in_a_row = 1, pause = \"60s\", probes = 1 }");
    let mut house = House::with(&one_attempt(&config)).await;
    let id = house.send(DOWN).await;
    house.until(&id, MessageStatus::Rejected).await;
    // One whose time ends just as the pause does, and one that has a moment more.
    let (late, in_time) = (house.send_for(WELL, 60).await, house.send_for(WELL, 61).await);
    house.waits(&late).await;
    house.gateway.clock.advance(60 * SECOND);
    assert_eq!(house.until(&late, MessageStatus::Expired).await.attempts, 0);
    house.until(&in_time, MessageStatus::Delivered).await;
}

#[tokio::test]
async fn a_message_does_not_wait_for_a_vendor_that_is_down_when_its_round_can_begin_again() {
    let down = "outcomes = [{ pattern = \"*7\", outcome = \"unavailable\" }]";
    let config = with_backup(CONFIG, &format!("breaker = {{ in_a_row = 1, pause = \"1h\" }}\n{down}"));
    let mut house = House::with(&config).await;
    let opens = house.send(DOWN).await;
    house.until_after(&opens, SECOND / 10, MessageStatus::Rejected).await;
    let begun = house.gateway.clock.now();
    // All three attempts are at the one vendor that is let be called.
    let id = house.send(DOWN).await;
    let rejected = house.until_after(&id, SECOND / 10, MessageStatus::Rejected).await;
    assert_eq!((rejected.attempts, rejected.vendor.as_str()), (3, "inbox"));
    assert!(house.gateway.clock.now().since(begun) < 3_000 * SECOND);
}

// === rates and budgets ===

#[tokio::test]
async fn a_vendor_gets_so_many_calls_a_second_and_the_others_wait_their_time() {
    let mut house = House::with(&limited("rate = 2")).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(house.send(WELL).await);
    }
    house.until(&ids[0], MessageStatus::Delivered).await;
    for delivered in 1..4 {
        for id in &ids[delivered..] {
            house.waits(id).await;
        }
        house.gateway.clock.advance(SECOND / 2 - Duration::from_millis(1));
        house.waits(&ids[delivered]).await;
        house.gateway.clock.advance(Duration::from_millis(1));
        house.until(&ids[delivered], MessageStatus::Delivered).await;
    }
}

#[tokio::test]
async fn messages_that_were_tried_wait_for_the_budget_and_new_ones_do_not() {
    let config = format!("{}\n[messaging]\nmax_attempts = 2\n", limited("retry_budget = 20"));
    let mut house = House::with(&config).await;
    let mut ids = Vec::new();
    for _ in 0..15 {
        ids.push(house.send(DOWN).await);
    }
    for id in &ids {
        eventually(async || {
            let message = house.message(id).await;
            (message.attempts == 1 && message.status() == MessageStatus::Queued || message.attempts == 2).then_some(())
        })
        .await;
    }
    // Longer than any first wait, and shorter than the window of the budget.
    house.gateway.clock.advance(3 * SECOND);
    let rejected = async |house: &mut House| {
        let mut rejected = 0;
        for id in &ids {
            rejected += usize::from(house.message(id).await.status() == MessageStatus::Rejected);
        }
        rejected
    };
    eventually(async || (rejected(&mut house).await == 10).then_some(())).await;
    // It is begun as it is accepted.
    let new = house.messages.send_message(text_to(WELL, "x")).await.unwrap().into_inner().message.unwrap();
    assert_eq!(new.status(), MessageStatus::Sending);
    house.until(&new.id, MessageStatus::Delivered).await;
    assert_eq!(rejected(&mut house).await, 10);
    house.gateway.clock.advance(11 * SECOND);
    eventually(async || (rejected(&mut house).await == 15).then_some(())).await;
}

// === what is told ===

#[tokio::test]
async fn the_health_of_a_vendor_tells_calls_and_who_waits() {
    let rules = r#"{ pattern = "*1", outcome = "rejected" }, { pattern = "*2", outcome = "hang" }"#;
    let floor = Floor::new(&[("only", 1, rules)]).await;
    for (last, status) in [(100, SendStatus::Delivered), (101, SendStatus::Rejected), (110, SendStatus::Delivered)] {
        let message = floor.send(number(last)).await;
        floor.until(&message, status).await;
    }
    floor.send(number(102)).await;
    floor.send(number(103)).await;
    floor.until_waiting("only", 1).await;
    let health = floor.vendors.health(floor.clock.now()).remove(0);
    assert_eq!((health.vendor.as_str(), health.breaker, health.free_at), ("only", BreakerState::Closed, None));
    assert_eq!((health.under_way, health.waiting), (1, 1));
    assert_eq!(health.calls, Calls { accepted: 2, rejected: 1, ..Calls::default() });
    assert_eq!((health.latency_p50, health.latency_p99), (Some(Duration::ZERO), Some(Duration::ZERO)));
}

#[test]
fn limits_that_make_no_sense_are_told_by_key_and_line() {
    let place = tempfile::TempDir::new().unwrap();
    let file = place.path().join("verigate.toml");
    for (keys, told) in [
        ("rate = 0", "vendors.inbox.rate"),
        ("retry_budget = 101", "vendors.inbox.retry_budget"),
        ("breaker = { share = 101 }", "vendors.inbox.breaker.share"),
        ("breaker = { open = 1 }", "vendors.inbox.breaker.open"),
        ("concurrency = \"many\"", "vendors.inbox.concurrency"),
    ] {
        let config = limited(keys).replace("PLACE", &place.path().display().to_string());
        std::fs::write(&file, config.replace("key_file", "#key_file")).unwrap();
        let key = place.path().join("key").display().to_string();
        std::fs::write(&key, "1:AAAA").unwrap();
        let environment = [("VERIGATE__STORE__KEY_FILE".to_owned(), key)].into_iter();
        let loaded = config::load(Some(&file), environment).unwrap();
        let error = server::check(&loaded, Arc::new(SystemClock)).unwrap_err();
        assert!(error.message().contains(told) && error.message().contains("verigate.toml:"), "{}", error.message());
    }
}
