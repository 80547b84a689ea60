//! What becomes of messages and codes once they are accepted: every path of a send as callers see it, on a clock that
//! stands still unless it is moved.

use std::time::Duration;

use verigate::clock::{Clock, Timestamp};
use verigate::messaging::message::Message as Kept;
use verigate::messaging::sending::SendStatus;
use verigate::proto::messaging::v1::{
    Channel, Encoding, FailureReason, GetMessageRequest, Message, MessageStatus, SendMessageRequest,
    send_message_request,
};
use verigate::proto::verification::v1::{
    CancelVerificationRequest, CheckOutcome, CheckVerificationRequest, CheckVerificationResponse, CodePolicy,
    GetVerificationRequest, ResendVerificationRequest, ScopedRecipient, StartVerificationRequest, Verification,
    VerificationSend, VerificationStatus, check_verification_request,
};
use verigate::recipient::Address;
use verigate::vendor::ReceiptStatus;

use crate::support::floor::{Floor, number};
use crate::support::gateway::{
    CONFIG, Gateway, Messages, PHONE, START, Verifications, check, email, eventually, seconds, start, text_to,
};

/// A gateway with a client for each service, as tenant `acme`.
struct House {
    gateway: Gateway,
    messages: Messages,
    verifications: Verifications,
}

// === configurations ===

/// The usual configuration, but for the outcomes of its inbox.
fn outcomes(rules: &str) -> String {
    let (head, rest) = CONFIG.split_once("outcomes = [").unwrap();
    let (_, tail) = rest.split_once("\n]").unwrap();
    format!("{head}outcomes = [{rules}]{tail}")
}

/// With a second vendor, to which whatever the first does not take goes.
fn with_backup(config: &str, rules: &str) -> String {
    let routed = config.replace(r#"vendors = ["inbox"]"#, r#"vendors = ["inbox", "backup"]"#);
    format!("{routed}\n[vendors.backup]\nkind = \"inbox\"\noutcomes = [{rules}]\n")
}

/// With a WhatsApp route of its own.
fn with_whatsapp(config: &str, rules: &str) -> String {
    format!(
        "{config}\n[[routes]]\nchannel = \"whatsapp\"\nvendors = [\"whatsapp\"]\n\
         [vendors.whatsapp]\nkind = \"inbox\"\noutcomes = [{rules}]\n"
    )
}

/// One that does not wait for calls under way when it stops.
fn impatient(config: &str) -> String {
    config.replace("reflection = true", "reflection = true\ndrain_deadline = \"1ms\"")
}

fn all(outcome: &str) -> String {
    format!(r#"{{ pattern = "*", outcome = "{outcome}" }}"#)
}

fn all_after(outcome: &str, delay: &str) -> String {
    format!(r#"{{ pattern = "*", outcome = "{outcome}", delay = "{delay}" }}"#)
}

// === impl House ===

impl House {
    async fn new() -> Self {
        Self::with(CONFIG).await
    }

    async fn with(config: &str) -> Self {
        Self::of(Gateway::start_with(config).await).await
    }

    async fn of(gateway: Gateway) -> Self {
        let (messages, verifications) = (gateway.messages().await, gateway.verifications().await);
        Self { gateway, messages, verifications }
    }

    async fn restart_with(self, config: &str) -> Self {
        let Self { gateway, .. } = self;
        Self::of(gateway.restart_with(config).await).await
    }

    fn advance(&self, by: Duration) {
        self.gateway.clock.advance(by);
    }

    async fn send(&mut self, request: SendMessageRequest) -> Message {
        self.messages.send_message(request).await.unwrap().into_inner().message.unwrap()
    }

    async fn message(&mut self, id: &str) -> Message {
        let request = GetMessageRequest { id: id.to_owned() };
        self.messages.get_message(request).await.unwrap().into_inner().message.unwrap()
    }

    /// Waits for a message to come so far, by no time that passes.
    async fn until(&mut self, id: &str, status: MessageStatus) -> Message {
        self.until_after(id, Duration::ZERO, status).await
    }

    /// The same while time passes: for what a vendor call under way decides, which began at a time that is known only
    /// roughly.
    async fn until_after(&mut self, id: &str, step: Duration, status: MessageStatus) -> Message {
        eventually(async || {
            self.gateway.clock.advance(step);
            let message = self.message(id).await;
            let reached = message.status() == status;
            assert!(reached || !is_terminal(message.status()), "wanted {status:?}, but it is {message:?}");
            reached.then_some(message)
        })
        .await
    }

    /// Gives a message every chance to change, and finds that it does not.
    async fn stays(&mut self, before: &Message) {
        for _ in 0..50 {
            assert_eq!(self.message(&before.id).await, *before);
        }
    }

    async fn start(&mut self, request: StartVerificationRequest) -> Verification {
        self.verifications.start_verification(request).await.unwrap().into_inner().verification.unwrap()
    }

    async fn resend(&mut self, id: &str, channel: Channel) -> Verification {
        let request = ResendVerificationRequest { id: id.to_owned(), channel: channel.into() };
        self.verifications.resend_verification(request).await.unwrap().into_inner().verification.unwrap()
    }

    async fn verification(&mut self, id: &str) -> Verification {
        let request = GetVerificationRequest { id: id.to_owned() };
        self.verifications.get_verification(request).await.unwrap().into_inner().verification.unwrap()
    }

    /// Waits for the newest send of a verification to come so far, while time passes in steps.
    async fn code_until(
        &mut self,
        id: &str,
        step: Duration,
        status: MessageStatus,
    ) -> (Verification, VerificationSend) {
        eventually(async || {
            self.gateway.clock.advance(step);
            let verification = self.verification(id).await;
            let send = verification.sends.last().unwrap().clone();
            let reached = send.status() == status;
            assert!(reached || !is_terminal(send.status()), "wanted {status:?}, but it is {send:?}");
            reached.then_some((verification, send))
        })
        .await
    }

    async fn check(&mut self, id: &str, code: &str) -> CheckVerificationResponse {
        check(&mut self.verifications, id, code).await.unwrap()
    }

    async fn texts(&self, recipient: &str) -> Vec<String> {
        let inbox = self.gateway.inbox(recipient).await;
        inbox.iter().map(|message| message["text"].as_str().unwrap().to_owned()).collect()
    }
}

fn is_terminal(status: MessageStatus) -> bool {
    !matches!(status, MessageStatus::Queued | MessageStatus::Sending | MessageStatus::Sent | MessageStatus::Unknown)
}

fn millis(time: Option<prost_types::Timestamp>) -> u64 {
    let time = time.unwrap();
    u64::try_from(time.seconds * 1000 + i64::from(time.nanos) / 1_000_000).unwrap()
}

/// How long after the start of the test.
fn since_start(time: Option<prost_types::Timestamp>) -> Duration {
    Timestamp::from_millis(millis(time)).since(START)
}

const SECOND: Duration = Duration::from_secs(1);
const STILL: Duration = Duration::ZERO;

// === one vendor ===

#[tokio::test]
async fn a_message_is_delivered() {
    let mut house = House::new().await;
    let accepted = house.send(text_to(PHONE, "Hello")).await;
    let message = house.until(&accepted.id, MessageStatus::Delivered).await;
    assert_eq!((message.attempts, message.vendor.as_str(), message.reason()), (1, "inbox", FailureReason::Unspecified));
    assert_eq!((message.text.as_str(), message.channel()), ("Hello", Channel::Sms));
    assert_eq!(house.gateway.inbox(PHONE).await[0]["id"], message.vendor_reference.as_str());
    assert_eq!(since_start(message.expire_time), Duration::from_secs(24 * 3600));
    assert_eq!(house.texts(PHONE).await, ["Hello"]);
}

#[tokio::test]
async fn a_late_receipt_moves_a_message_when_it_comes() {
    let mut house = House::new().await;
    let id = house.send(text_to("+60123450001", "x")).await.id;
    let sent = house.until(&id, MessageStatus::Sent).await;
    house.advance(Duration::from_millis(29_999));
    house.stays(&sent).await;
    house.advance(Duration::from_millis(1));
    let delivered = house.until(&id, MessageStatus::Delivered).await;
    assert_eq!(since_start(delivered.update_time), 30 * SECOND);
}

#[tokio::test]
async fn what_a_vendor_cannot_deliver_is_undelivered_and_ends_its_verification() {
    let mut house = House::new().await;
    let id = house.send(text_to("+60123450002", "x")).await.id;
    let message = house.until(&id, MessageStatus::Undelivered).await;
    assert_eq!((message.attempts, message.reason()), (1, FailureReason::Unspecified));

    let id = house.start(start("+60123460002")).await.id;
    let (verification, _) = house.code_until(&id, STILL, MessageStatus::Undelivered).await;
    assert_eq!(verification.status(), VerificationStatus::Undeliverable);
    assert_eq!((verification.checks_left, verification.next_resend_time), (0, None));
    let code = house.gateway.code("+60123460002").await;
    assert_eq!(house.check(&id, &code).await.outcome(), CheckOutcome::Undeliverable);
}

#[tokio::test]
async fn a_recipient_that_does_not_exist_is_rejected_and_tried_nowhere_else() {
    let mut house = House::with(&with_backup(CONFIG, "")).await;
    let id = house.send(text_to("+60123450003", "x")).await.id;
    let message = house.until(&id, MessageStatus::Rejected).await;
    assert_eq!((message.attempts, message.vendor.as_str()), (1, "inbox"));
    assert_eq!(message.reason(), FailureReason::InvalidRecipient);
    let id = house.start(start("+60123460003")).await.id;
    let (verification, send) = house.code_until(&id, STILL, MessageStatus::Rejected).await;
    assert_eq!(verification.status(), VerificationStatus::Undeliverable);
    assert_eq!((send.attempts, send.reason()), (1, FailureReason::InvalidRecipient));
    assert!(house.gateway.whole_inbox().await.is_empty());
}

#[tokio::test]
async fn a_vendor_that_asks_for_a_pause_gets_it_and_is_given_up_in_the_end() {
    let mut house = House::new().await;
    let id = house.send(text_to("+60123450004", "x")).await.id;
    for attempts in 1..3 {
        let queued = eventually(async || {
            let message = house.message(&id).await;
            (message.status() == MessageStatus::Queued && message.attempts == attempts).then_some(message)
        })
        .await;
        assert_eq!(since_start(queued.update_time), 7 * SECOND * u32::try_from(attempts - 1).unwrap());
        assert_eq!(queued.reason(), FailureReason::Unspecified);
        house.advance(Duration::from_millis(6_999));
        house.stays(&queued).await;
        house.advance(Duration::from_millis(1));
    }
    let rejected = house.until(&id, MessageStatus::Rejected).await;
    assert_eq!((rejected.attempts, rejected.reason()), (3, FailureReason::VendorThrottled));
    assert_eq!(since_start(rejected.update_time), 14 * SECOND);
    assert!(house.gateway.whole_inbox().await.is_empty());
}

#[tokio::test]
async fn a_slow_vendor_is_waited_for() {
    let mut house = House::new().await;
    let accepted = house.send(text_to("+60123450005", "x")).await;
    assert_eq!(accepted.status(), MessageStatus::Sending);
    let delivered = house.until_after(&accepted.id, SECOND / 10, MessageStatus::Delivered).await;
    assert!(since_start(delivered.update_time) >= 3 * SECOND);
    assert_eq!((delivered.attempts, house.texts("+60123450005").await.len()), (1, 1));
}

#[tokio::test]
async fn a_message_that_was_perhaps_sent_is_not_sent_again() {
    // The first vendor hangs, or delivers and loses the answer; the second would take it.
    let mut house = House::with(&with_backup(CONFIG, "")).await;
    for (recipient, copies) in [("+60123450006", 0), ("+60123450008", 1)] {
        let begun = house.gateway.clock.now();
        let id = house.send(text_to(recipient, "x")).await.id;
        let unknown = house.until_after(&id, SECOND, MessageStatus::Unknown).await;
        assert_eq!((unknown.attempts, unknown.vendor.as_str()), (1, "inbox"));
        assert_eq!(unknown.reason(), FailureReason::VendorNoClearAnswer);
        house.advance(23 * 3600 * SECOND);
        house.stays(&unknown).await;
        // Without any word from the vendor, doubt ends with the message's time.
        house.advance(3600 * SECOND);
        let expired = house.until(&id, MessageStatus::Expired).await;
        assert_eq!((expired.attempts, expired.reason()), (1, FailureReason::Unspecified));
        assert!(millis(expired.update_time) >= begun.as_millis() + 24 * 3600 * 1000);
        assert_eq!(house.texts(recipient).await.len(), copies);
    }
}

#[tokio::test]
async fn a_receipt_ends_doubt() {
    let mut house = House::with(&outcomes(&all_after("unknown", "1m"))).await;
    let id = house.send(text_to(PHONE, "x")).await.id;
    let unknown = house.until(&id, MessageStatus::Unknown).await;
    house.stays(&unknown).await;
    house.advance(60 * SECOND);
    let delivered = house.until(&id, MessageStatus::Delivered).await;
    assert_eq!((delivered.attempts, delivered.reason()), (1, FailureReason::Unspecified));
    assert_eq!(house.texts(PHONE).await.len(), 1);
}

#[tokio::test]
async fn a_code_that_was_perhaps_sent_is_sent_once_more_and_no_oftener() {
    let mut house = House::new().await;
    let id = house.start(start("+60123450008")).await.id;
    let (verification, send) = house.code_until(&id, STILL, MessageStatus::Unknown).await;
    assert_eq!((send.attempts, send.reason()), (2, FailureReason::VendorNoClearAnswer));
    assert_eq!(verification.status(), VerificationStatus::Pending);
    let texts = house.texts("+60123450008").await;
    assert_eq!(texts.len(), 2);
    // The same code, so whichever arrives is good.
    assert_eq!(texts[0], texts[1]);
    let code = house.gateway.code("+60123450008").await;
    assert_eq!(house.check(&id, &code).await.outcome(), CheckOutcome::Approved);
}

#[tokio::test]
async fn a_code_whose_doubt_nobody_resolves_expires_with_its_verification() {
    let mut house = House::new().await;
    let id = house.start(start("+60123450006")).await.id;
    let (verification, send) = house.code_until(&id, SECOND, MessageStatus::Unknown).await;
    assert_eq!((send.attempts, verification.status()), (2, VerificationStatus::Pending));
    assert!(since_start(send.update_time) >= 20 * SECOND, "{send:?}");
    house.advance(600 * SECOND);
    let (verification, _) = house.code_until(&id, STILL, MessageStatus::Expired).await;
    assert_eq!(verification.status(), VerificationStatus::Expired);
}

// === two vendors ===

#[tokio::test]
async fn what_one_vendor_cannot_take_goes_to_the_next_at_once() {
    let mut house = House::with(&with_backup(CONFIG, "")).await;
    for recipient in ["+60123450007", "+60123450004"] {
        let id = house.send(text_to(recipient, "x")).await.id;
        let message = house.until(&id, MessageStatus::Delivered).await;
        assert_eq!(
            (message.attempts, message.vendor.as_str(), message.reason()),
            (2, "backup", FailureReason::Unspecified)
        );
        assert_eq!(house.texts(recipient).await.len(), 1);
    }
    let id = house.start(start("+60123460007")).await.id;
    let (_, send) = house.code_until(&id, STILL, MessageStatus::Delivered).await;
    assert_eq!((send.number, send.attempts, send.vendor.as_str()), (1, 2, "backup"));
    assert_eq!(house.gateway.clock.now(), START);
}

#[tokio::test]
async fn a_code_in_doubt_goes_to_the_next_vendor() {
    let mut house = House::with(&with_backup(CONFIG, "")).await;
    let id = house.start(start("+60123450006")).await.id;
    let (_, send) = house.code_until(&id, SECOND, MessageStatus::Delivered).await;
    assert_eq!((send.attempts, send.vendor.as_str()), (2, "backup"));
    assert!(since_start(send.update_time) >= 10 * SECOND, "{send:?}");
    let code = house.gateway.code("+60123450006").await;
    assert_eq!(house.check(&id, &code).await.outcome(), CheckOutcome::Approved);
}

#[tokio::test]
async fn a_code_that_perhaps_arrived_stays_good_when_every_other_vendor_refuses_it() {
    for refusal in ["rejected", "unavailable"] {
        let mut house = House::with(&with_backup(&outcomes(&all("unknown")), &all(refusal))).await;
        let id = house.start(start(PHONE)).await.id;
        let (verification, send) = house.code_until(&id, SECOND, MessageStatus::Unknown).await;
        assert_eq!(verification.status(), VerificationStatus::Pending, "{refusal}");
        assert_eq!(send.reason(), FailureReason::VendorNoClearAnswer, "{refusal}");
        let code = house.gateway.code(PHONE).await;
        assert_eq!(house.check(&id, &code).await.outcome(), CheckOutcome::Approved, "{refusal}");
    }
}

#[tokio::test]
async fn when_no_vendor_can_be_reached_the_round_begins_again_after_a_wait() {
    let mut house = House::with(&with_backup(&outcomes(&all("unavailable")), &all("unavailable"))).await;
    let id = house.send(text_to(PHONE, "x")).await.id;
    let round_is_over = async || {
        let message = house.message(&id).await;
        let waits = message.attempts == 2 && message.status() == MessageStatus::Queued;
        (waits || message.attempts == 3).then_some(message)
    };
    let first_round = eventually(round_is_over).await;
    assert!(first_round.attempts == 3 || first_round.vendor == "backup", "{first_round:?}");
    assert_eq!(since_start(first_round.update_time), Duration::ZERO);
    // A wait by chance, but no longer than this.
    house.advance(2 * SECOND);
    let rejected = house.until(&id, MessageStatus::Rejected).await;
    assert_eq!((rejected.attempts, rejected.vendor.as_str()), (3, "inbox"));
    assert_eq!(rejected.reason(), FailureReason::VendorUnavailable);
}

#[tokio::test]
async fn a_pause_holds_although_another_vendor_was_tried_meanwhile() {
    let mut house = House::with(&with_backup(&outcomes(&all_after("throttled", "7s")), &all("unavailable"))).await;
    let id = house.send(text_to(PHONE, "x")).await.id;
    let queued = eventually(async || {
        let message = house.message(&id).await;
        (message.attempts == 2 && message.status() == MessageStatus::Queued).then_some(message)
    })
    .await;
    house.advance(Duration::from_millis(6_999));
    house.stays(&queued).await;
    house.advance(Duration::from_millis(1));
    let rejected = house.until(&id, MessageStatus::Rejected).await;
    assert_eq!((rejected.attempts, since_start(rejected.update_time)), (3, 7 * SECOND));
}

// === time ===

#[tokio::test]
async fn the_shortest_and_the_longest_validity_are_kept_to_the_millisecond() {
    // A wait beyond the end, one that ends with it, and one that takes the last chance before it.
    for (pause, attempts) in [("73h", 1), ("60s", 1), ("59999ms", 2)] {
        let mut house = House::with(&outcomes(&all_after("throttled", pause))).await;
        let request = SendMessageRequest { validity: seconds(60), ..text_to(PHONE, "x") };
        let id = house.send(request).await.id;
        let queued = house.until(&id, MessageStatus::Queued).await;
        assert_eq!(since_start(queued.expire_time), 60 * SECOND);
        house.advance(Duration::from_millis(59_999));
        let waiting = eventually(async || {
            let message = house.message(&id).await;
            (message.attempts == attempts && message.status() == MessageStatus::Queued).then_some(message)
        })
        .await;
        house.stays(&waiting).await;
        house.advance(Duration::from_millis(1));
        let expired = house.until(&id, MessageStatus::Expired).await;
        assert_eq!((expired.attempts, since_start(expired.update_time)), (attempts, 60 * SECOND), "{pause}");
    }
    let mut house = House::with(&outcomes(&all_after("throttled", "73h"))).await;
    let request = SendMessageRequest { validity: seconds(72 * 3600), ..text_to(PHONE, "x") };
    let id = house.send(request).await.id;
    house.until(&id, MessageStatus::Queued).await;
    house.advance(72 * 3600 * SECOND);
    house.until(&id, MessageStatus::Expired).await;
}

#[tokio::test]
async fn no_code_is_sent_at_or_after_its_end() {
    let throttled = outcomes(&all_after("throttled", "3s"));
    let mut house = House::with(&throttled).await;
    let policy = CodePolicy { lifetime: seconds(3), ..CodePolicy::default() };
    let id = house.start(StartVerificationRequest { policy: Some(policy), ..start(PHONE) }).await.id;
    house.code_until(&id, STILL, MessageStatus::Queued).await;
    // From here on every vendor would take it, and the next attempt is due at the very end.
    let mut house = house.restart_with(&outcomes("")).await;
    house.advance(3 * SECOND);
    let (verification, send) = house.code_until(&id, STILL, MessageStatus::Expired).await;
    assert_eq!((verification.status(), send.attempts), (VerificationStatus::Expired, 1));
    assert_eq!(verification.next_resend_time, None);
    assert!(house.gateway.whole_inbox().await.is_empty());
}

#[tokio::test]
async fn a_verification_that_ends_takes_its_queued_sends_along() {
    for approve in [true, false] {
        let mut house = House::with(&with_whatsapp(CONFIG, &all_after("throttled", "7s"))).await;
        let id = house.start(start(PHONE)).await.id;
        house.code_until(&id, STILL, MessageStatus::Delivered).await;
        house.advance(30 * SECOND);
        let verification = house.resend(&id, Channel::Whatsapp).await;
        assert_eq!(verification.channel(), Channel::Whatsapp);
        house.code_until(&id, STILL, MessageStatus::Queued).await;
        if approve {
            let code = house.gateway.code(PHONE).await;
            assert_eq!(house.check(&id, &code).await.outcome(), CheckOutcome::Approved);
        } else {
            house.verifications.cancel_verification(CancelVerificationRequest { id: id.clone() }).await.unwrap();
        }
        let ended = house.verification(&id).await;
        let statuses: Vec<_> = ended.sends.iter().map(|send| (send.number, send.status(), send.attempts)).collect();
        assert_eq!(statuses, [(1, MessageStatus::Delivered, 1), (2, MessageStatus::Canceled, 1)]);
        house.advance(7 * SECOND);
        for _ in 0..50 {
            assert_eq!(house.verification(&id).await, ended);
        }
        assert_eq!(house.gateway.whole_inbox().await.len(), 1);
    }
}

#[tokio::test]
async fn a_resend_goes_where_the_send_before_it_went() {
    let mut house = House::with(&with_whatsapp(CONFIG, "")).await;
    let id = house.start(start(PHONE)).await.id;
    for (wait, asked, expected) in [
        (30, Channel::Whatsapp, Channel::Whatsapp),
        (60, Channel::Unspecified, Channel::Whatsapp),
        (120, Channel::Sms, Channel::Sms),
        (300, Channel::Unspecified, Channel::Sms),
    ] {
        house.advance(wait * SECOND);
        let verification = house.resend(&id, asked).await;
        assert_eq!((verification.channel(), verification.sends.last().unwrap().channel()), (expected, expected));
    }
    let verification = house.verification(&id).await;
    assert_eq!(verification.sends.iter().map(|send| send.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    // No send is left.
    assert_eq!(verification.next_resend_time, None);
}

// === restarts ===

#[tokio::test]
async fn what_was_accepted_before_a_restart_is_sent_after_it() {
    let mut house = House::with(&outcomes(&all_after("throttled", "7s"))).await;
    let message = house.send(text_to(PHONE, "Hello")).await.id;
    let verification = house.start(start("+60123456788")).await.id;
    let queued = house.until(&message, MessageStatus::Queued).await;
    house.code_until(&verification, STILL, MessageStatus::Queued).await;

    let mut house = house.restart_with(&outcomes("")).await;
    house.stays(&queued).await;
    assert!(house.gateway.whole_inbox().await.is_empty());
    house.advance(7 * SECOND);
    assert_eq!(house.until(&message, MessageStatus::Delivered).await.attempts, 2);
    let (_, send) = house.code_until(&verification, STILL, MessageStatus::Delivered).await;
    assert_eq!(send.attempts, 2);
    assert_eq!(house.texts(PHONE).await, ["Hello"]);
    let code = house.gateway.code("+60123456788").await;
    assert_eq!(house.check(&verification, &code).await.outcome(), CheckOutcome::Approved);
}

#[tokio::test]
async fn an_attempt_under_way_at_a_restart_is_in_doubt_after_its_lease() {
    let mut house = House::with(&impatient(&outcomes(&all("hang")))).await;
    let message = house.send(text_to(PHONE, "Hello")).await;
    let verification = house.start(start("+60123456788")).await.id;
    assert_eq!(message.status(), MessageStatus::Sending);

    let mut house = house.restart_with(&outcomes("")).await;
    // Ten seconds for the call and five to write down what came of it.
    house.advance(Duration::from_millis(14_999));
    house.stays(&message).await;
    house.advance(Duration::from_millis(1));
    let unknown = house.until(&message.id, MessageStatus::Unknown).await;
    assert_eq!((unknown.attempts, unknown.reason()), (1, FailureReason::VendorNoClearAnswer));
    assert!(house.texts(PHONE).await.is_empty());
    let (_, send) = house.code_until(&verification, STILL, MessageStatus::Delivered).await;
    assert_eq!((send.attempts, since_start(send.update_time)), (2, 15 * SECOND));
    let code = house.gateway.code("+60123456788").await;
    assert_eq!(house.check(&verification, &code).await.outcome(), CheckOutcome::Approved);
}

// === callers ===

#[tokio::test]
async fn a_caller_that_hangs_up_cancels_nothing() {
    let mut house = House::new().await;
    let recipient = "+60123450005";
    let target = || {
        let scoped = ScopedRecipient { scope: String::new(), recipient: start(recipient).recipient };
        Some(check_verification_request::Target::ScopedRecipient(scoped))
    };
    let mut other = house.gateway.verifications().await;
    let call = tokio::spawn(async move {
        let request = StartVerificationRequest { delivery_wait: seconds(30), ..start(recipient) };
        other.start_verification(request).await.map(drop)
    });
    // The slow vendor holds the answer; that a check finds something to compare with shows that the call has begun.
    let request = |code: &str| CheckVerificationRequest {
        target: target(),
        code: code.to_owned(),
        ..CheckVerificationRequest::default()
    };
    eventually(async || house.verifications.check_verification(request("not-it")).await.ok()).await;
    assert!(!call.is_finished());
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    eventually(async || {
        house.advance(SECOND / 10);
        (!house.texts(recipient).await.is_empty()).then_some(())
    })
    .await;
    let code = house.gateway.code(recipient).await;
    let checked = house.verifications.check_verification(request(&code)).await.unwrap().into_inner();
    assert_eq!(checked.outcome(), CheckOutcome::Approved);
}

#[tokio::test]
async fn calls_that_are_dropped_at_any_moment_leave_each_recipient_with_one_whole_code_or_none() {
    let mut house = House::new().await;
    let recipient = |number: usize| format!("+60123470{number:03}");
    for number in 100..160 {
        let mut client = house.gateway.verifications().await;
        let request = start(&recipient(number));
        let call = tokio::spawn(async move { client.start_verification(request).await.map(drop) });
        for _ in 0..number - 100 {
            tokio::task::yield_now().await;
        }
        call.abort();
    }
    for number in 100..160 {
        let recipient = recipient(number);
        // Where the call got far enough to leave a pause, its message comes; where it did not, this one does.
        drop(house.verifications.start_verification(start(&recipient)).await);
        eventually(async || (!house.texts(&recipient).await.is_empty()).then_some(())).await;
        let code = house.gateway.code(&recipient).await;
        let scoped = ScopedRecipient { scope: String::new(), recipient: start(&recipient).recipient };
        let request = CheckVerificationRequest {
            target: Some(check_verification_request::Target::ScopedRecipient(scoped)),
            code,
            ..CheckVerificationRequest::default()
        };
        let checked = house.verifications.check_verification(request).await.unwrap().into_inner();
        assert_eq!(checked.outcome(), CheckOutcome::Approved, "{recipient}");
        assert_eq!(house.texts(&recipient).await.len(), 1, "{recipient}");
    }
}

// === what a text takes ===

#[tokio::test]
async fn the_answer_tells_encoding_and_segments() {
    let mut house = House::new().await;
    for (text, encoding, segments) in [
        ("a".repeat(160), Encoding::Gsm7, 1),
        ("a".repeat(161), Encoding::Gsm7, 2),
        ("a".repeat(1_530), Encoding::Gsm7, 10),
        ("€".repeat(80), Encoding::Gsm7, 1),
        ("€".repeat(81), Encoding::Gsm7, 2),
        // 76 pairs fill 152 of 153 septets.
        ("[".repeat(760), Encoding::Gsm7, 10),
        ("码".repeat(70), Encoding::Ucs2, 1),
        ("码".repeat(71), Encoding::Ucs2, 2),
        ("a".repeat(70) + "ç", Encoding::Ucs2, 2),
        ("码".repeat(670), Encoding::Ucs2, 10),
        ("😀".repeat(330), Encoding::Ucs2, 10),
    ] {
        let accepted = house.send(text_to(PHONE, &text)).await;
        assert_eq!((accepted.encoding(), accepted.segments), (encoding, segments), "{text}");
        let message = house.until(&accepted.id, MessageStatus::Delivered).await;
        assert_eq!((message.encoding(), message.segments, &message.text), (encoding, segments, &text));
    }
    let mail = SendMessageRequest {
        recipient: Some(email("ann@example.com")),
        content: Some(send_message_request::Content::Text("码".repeat(1_600))),
        ..SendMessageRequest::default()
    };
    let accepted = house.send(mail).await;
    assert_eq!(
        (accepted.channel(), accepted.encoding(), accepted.segments),
        (Channel::Email, Encoding::Unspecified, 0)
    );
}

// === without a surface: vendors with little room, and receipts of any kind ===

#[tokio::test]
async fn a_vendor_that_hangs_holds_up_its_own_messages_only() {
    let floor = Floor::new(&[("stuck", 2, &all("hang")), ("free", 2, "")]).await;
    let mut stuck = Vec::new();
    for last in 100..120 {
        stuck.push(floor.send(number(last)).await);
    }
    // Two calls are all that the vendor has room for. The others wait, and so does the clock.
    let under_way = |messages: &[Kept]| messages.iter().filter(|m| m.sending.status == SendStatus::Sending).count();
    assert_eq!(under_way(&stuck), 2);
    for turn in 0..10 {
        let mail = floor.send(Address::Email(format!("ann{turn}@example.com"))).await;
        let delivered = floor.until(&mail, SendStatus::Delivered).await;
        assert_eq!((delivered.sending.attempts, delivered.sending.updated_at), (1, floor.clock.now()));
        // What waits is looked at again and again, and finds no room.
        floor.clock.advance(SECOND / 2);
    }
    // The first two run into their time by and by, and make room for the next ones.
    let ended = eventually(async || {
        floor.clock.advance(SECOND / 2);
        let mut ended = Vec::new();
        for message in &stuck {
            let message = floor.get(message).await;
            if message.sending.status == SendStatus::Unknown {
                ended.push(message);
            }
        }
        (ended.len() > 2).then_some(ended)
    })
    .await;
    assert!(ended.iter().all(|message| message.sending.attempts == 1));
}

#[tokio::test]
async fn receipts_move_a_message_forward_once() {
    use ReceiptStatus::{Delivered, Expired, Undelivered};
    let statuses =
        [(Delivered, SendStatus::Delivered), (Undelivered, SendStatus::Undelivered), (Expired, SendStatus::Expired)];
    let floor = Floor::new(&[("first", 4, &all_after("late", "1h")), ("other", 4, "")]).await;
    for (last, (first, expected)) in (100..).zip(statuses) {
        let message = floor.send(number(last)).await;
        let sent = floor.until(&message, SendStatus::Sent).await;
        let reference = sent.sending.vendor_reference.clone().unwrap();
        // Bad news from a vendor that never had it says nothing.
        floor.receive("other", &reference, Undelivered).await;
        floor.receive("nobody", &reference, Expired).await;
        assert_eq!(floor.get(&message).await, sent);
        floor.receive("first", &reference, first).await;
        let moved = floor.get(&message).await;
        assert_eq!((moved.sending.status, moved.sending.due_at), (expected, None));
        for (again, _) in statuses {
            floor.clock.advance(SECOND);
            floor.receive("first", &reference, again).await;
            assert_eq!(floor.get(&message).await, moved, "{first:?}, then {again:?}");
        }
    }
}

#[tokio::test]
async fn a_receipt_that_names_nothing_of_ours_is_taken_and_changes_nothing() {
    let floor = Floor::new(&[("first", 4, &all_after("late", "1h"))]).await;
    let sent = floor.until(&floor.send(number(100)).await, SendStatus::Sent).await;
    let reference = sent.sending.vendor_reference.clone().unwrap();
    // The last characters name the attempt and the send within its record; the first ones the kind of record and the
    // tenant.
    let (all_but_last, _) = reference.split_at(reference.len() - 1);
    let mut references =
        vec![String::new(), "x".to_owned(), "A".repeat(36), "A".repeat(10_000), "../../etc".to_owned()];
    references.extend(["\0", "é", "/", "A", "C", "_"].map(|end| format!("{all_but_last}{end}")));
    references.extend([format!("{reference}A"), reference[1..].to_owned()]);
    references.extend([5, 20, 34].map(|at| {
        let other = if &reference[at..=at] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &reference[..at], &reference[at + 1..])
    }));
    for reference in references {
        for status in [ReceiptStatus::Delivered, ReceiptStatus::Undelivered, ReceiptStatus::Expired] {
            floor.receive("first", &reference, status).await;
        }
        assert_eq!(floor.get(&sent).await, sent, "{reference}");
    }
    floor.receive("first", &reference, ReceiptStatus::Delivered).await;
    assert_eq!(floor.get(&sent).await.sending.status, SendStatus::Delivered);
}
