//! The vendor for development: messages stay on this machine, in memory, where a page and a test can read them.
//!
//! It plays whatever a vendor can do to us (refuse, stall, deliver late, lose an answer), chosen by the recipient, so
//! that every path of a client can be tried without a phone. It is no record: only the newest messages are kept, and a
//! restart forgets them all.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::clock::{Clock, Timestamp, deserialize_duration};
use crate::error::{Error, Result};
use crate::id::TenantName;
use crate::vendor::{
    Accepted, Capabilities, Channel, Failure, Outgoing, Receipt, ReceiptSink, ReceiptStatus, Rejection, Vendor,
};

/// Most messages that can be asked to be kept.
pub const MAX_KEEP: usize = 100_000;

/// Receipts that may wait for their time; more are lost, as vendors lose them.
const MAX_WAITING_RECEIPTS: usize = 100_000;

/// Receipts handed to the sink at once, so that it can group its writes.
const MAX_RECEIPTS_IN_FLIGHT: usize = 64;

/// How often a receipt that the sink cannot take is offered, and how long between.
const RECEIPT_TRIES: u32 = 5;
const RECEIPT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// How an inbox behaves.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Newest messages kept: 1 to [`MAX_KEEP`]. Default 1,000.
    pub keep: usize,
    /// What happens to which recipient: the first rule that matches counts. Without one, messages are delivered.
    pub outcomes: Vec<Rule>,
}

/// What happens to recipients of one pattern.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A canonical recipient; `*` stands for any characters or none: `+6012*01`, `*@example.com`.
    pub pattern: String,
    pub outcome: Outcome,
    /// What it means depends on the outcome; some know none.
    #[serde(default, deserialize_with = "deserialize_some_duration")]
    pub delay: Option<Duration>,
}

/// What happens to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Taken, and the answer says that it is delivered.
    Delivered,
    /// Taken, and a receipt says delivered after `delay` (default 30 s).
    Late,
    /// Taken, and a receipt says undelivered after `delay` (default at once).
    Failed,
    /// Refused: invalid recipient.
    Rejected,
    /// Refused: our account has no money left.
    NoCredit,
    /// Refused: too fast, come back after `delay` (default: the vendor does not say).
    Throttled,
    /// Taken only after `delay` (default 5 s), then delivered.
    Slow,
    /// Never answered, and not delivered.
    Hang,
    /// The vendor is down.
    Unavailable,
    /// Delivered, but the answer is lost. A receipt says delivered after `delay`, if one is given.
    Unknown,
}

/// The adapter.
pub struct InboxVendor {
    name: String,
    capabilities: Capabilities,
    rules: Vec<Rule>,
    inbox: Arc<Inbox>,
    receipts: mpsc::Sender<(Timestamp, Receipt)>,
    clock: Arc<dyn Clock>,
}

/// The receipts of one [`InboxVendor`], on their way to whoever stores them.
///
/// Apart from the vendor, because the sink knows its vendors and so is built after them.
pub struct Receipts {
    queue: mpsc::Receiver<(Timestamp, Receipt)>,
    clock: Arc<dyn Clock>,
}

/// The newest messages of one [`InboxVendor`], to be read.
pub struct Inbox {
    /// The vendor's configured name.
    vendor: String,
    entries: Mutex<VecDeque<Arc<Entry>>>,
    keep: usize,
}

/// A message that was taken.
#[derive(Clone)]
pub struct Entry {
    /// [`Outgoing::reference`] of the message.
    pub id: Arc<str>,
    pub tenant: TenantName,
    pub channel: Channel,
    /// The configured name of the vendor that took it.
    pub vendor: String,
    pub sender: Option<String>,
    /// The canonical recipient, whole.
    pub recipient: String,
    pub text: SecretString,
    pub sent_at: Timestamp,
}

// === impl Config ===

impl Config {
    /// The adapter under its configured name, and its receipts, which reach nobody until [`Receipts::run`] is polled.
    ///
    /// Errors: `Invalid`, naming the field.
    pub fn build(self, name: &str, clock: Arc<dyn Clock>) -> Result<(InboxVendor, Receipts)> {
        if !(1..=MAX_KEEP).contains(&self.keep) {
            return Err(Error::invalid("keep", format!("must be 1 to {MAX_KEEP}, but is {}", self.keep)));
        }
        for (index, rule) in self.outcomes.iter().enumerate() {
            rule.check().map_err(|(field, wanted)| Error::invalid(format!("outcomes[{index}].{field}"), wanted))?;
        }
        let (sender, queue) = mpsc::channel(MAX_WAITING_RECEIPTS);
        let vendor = InboxVendor {
            name: name.to_owned(),
            capabilities: Capabilities { channels: Channel::ALL.to_vec(), idempotent: false, receipts: true },
            rules: self.outcomes,
            inbox: Arc::new(Inbox { vendor: name.to_owned(), entries: Mutex::default(), keep: self.keep }),
            receipts: sender,
            clock: clock.clone(),
        };
        Ok((vendor, Receipts { queue, clock }))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { keep: 1_000, outcomes: Vec::new() }
    }
}

// === impl Rule ===

impl Rule {
    /// The field that is wrong, and what it wants.
    fn check(&self) -> std::result::Result<(), (&'static str, &'static str)> {
        let takes_delay = match self.outcome {
            Outcome::Late | Outcome::Failed | Outcome::Throttled | Outcome::Slow | Outcome::Unknown => true,
            Outcome::Delivered | Outcome::Rejected | Outcome::NoCredit | Outcome::Hang | Outcome::Unavailable => false,
        };
        if self.pattern.is_empty() {
            return Err(("pattern", "must not be empty; \"*\" matches everyone"));
        }
        if self.delay.is_some() && !takes_delay {
            return Err(("delay", "means nothing for this outcome; late, failed, throttled, slow and unknown know it"));
        }
        Ok(())
    }
}

fn deserialize_some_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize_duration(deserializer).map(Some)
}

/// Whether `pattern`, in which `*` stands for any characters or none, covers the whole of `text`.
fn pattern_matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut left) = text.strip_prefix(head) else {
        return false;
    };
    let (middle, tail) = rest.rsplit_once('*').unwrap_or(("", rest));
    // Taking each middle part where it first occurs leaves the most for those that follow.
    for part in middle.split('*') {
        match left.find(part) {
            Some(at) => left = &left[at + part.len()..],
            None => return false,
        }
    }
    left.ends_with(tail)
}

// === impl InboxVendor ===

impl InboxVendor {
    /// What it has taken, for those who read it.
    pub fn inbox(&self) -> Arc<Inbox> {
        self.inbox.clone()
    }

    fn outcome_for(&self, recipient: &str) -> (Outcome, Option<Duration>) {
        let rule = self.rules.iter().find(|rule| pattern_matches(&rule.pattern, recipient));
        rule.map_or((Outcome::Delivered, None), |rule| (rule.outcome, rule.delay))
    }

    fn take(&self, outgoing: &Outgoing) -> Accepted {
        self.inbox.push(Entry {
            id: outgoing.reference.clone(),
            tenant: outgoing.tenant.clone(),
            channel: outgoing.channel,
            vendor: self.name.clone(),
            sender: outgoing.sender.clone(),
            recipient: outgoing.recipient.as_str().to_owned(),
            text: outgoing.text.clone(),
            sent_at: self.clock.now(),
        });
        Accepted { vendor_reference: Some(outgoing.reference.to_string()), receipt: None }
    }

    fn promise(&self, outgoing: &Outgoing, status: ReceiptStatus, delay: Duration) {
        let at = self.clock.now() + delay;
        let receipt = Receipt { vendor: self.name.clone(), reference: outgoing.reference.clone(), status, at };
        // Closed only while the process stops.
        if let Err(mpsc::error::TrySendError::Full(_)) = self.receipts.try_send((at, receipt)) {
            tracing::warn!(vendor = %self.name, "too many receipts wait; one is lost");
        }
    }
}

#[async_trait]
impl Vendor for InboxVendor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<Accepted, Failure> {
        let (outcome, delay) = self.outcome_for(outgoing.recipient.as_str());
        match outcome {
            Outcome::Rejected => return Err(Failure::Rejected(Rejection::InvalidRecipient)),
            Outcome::NoCredit => return Err(Failure::Rejected(Rejection::InsufficientCredit)),
            Outcome::Throttled => return Err(Failure::Throttled { after: delay }),
            Outcome::Unavailable => return Err(Failure::Unavailable),
            Outcome::Hang => return std::future::pending().await,
            Outcome::Slow => {
                let at = self.clock.now() + delay.unwrap_or(Duration::from_secs(5));
                self.clock.sleep_until(at).await;
            }
            Outcome::Delivered | Outcome::Late | Outcome::Failed | Outcome::Unknown => {}
        }
        let accepted = self.take(outgoing);
        match outcome {
            Outcome::Unknown => {
                if let Some(delay) = delay {
                    self.promise(outgoing, ReceiptStatus::Delivered, delay);
                }
                return Err(Failure::Unknown);
            }
            Outcome::Late => {
                self.promise(outgoing, ReceiptStatus::Delivered, delay.unwrap_or(Duration::from_secs(30)));
            }
            Outcome::Failed => self.promise(outgoing, ReceiptStatus::Undelivered, delay.unwrap_or_default()),
            _ => return Ok(Accepted { receipt: Some(ReceiptStatus::Delivered), ..accepted }),
        }
        Ok(accepted)
    }
}

impl fmt::Debug for InboxVendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxVendor").field("name", &self.name).finish_non_exhaustive()
    }
}

// === impl Receipts ===

impl Receipts {
    /// Hands each receipt to `sink` when its time has come. Ends once the vendor is gone; what then still waits or is
    /// being handed over is dropped with it.
    pub async fn run(mut self, sink: Arc<dyn ReceiptSink>) {
        // Ordered by time, then by arrival.
        let mut waiting: BTreeMap<(Timestamp, u64), (Receipt, u32)> = BTreeMap::new();
        let mut arrivals = 0;
        let mut handing_over = JoinSet::new();
        loop {
            let now = self.clock.now();
            while handing_over.len() < MAX_RECEIPTS_IN_FLIGHT
                && let Some(next) = waiting.first_entry().filter(|next| next.key().0 <= now)
            {
                let (receipt, tries) = next.remove();
                handing_over.spawn(hand_over(sink.clone(), receipt, tries));
            }
            let has_hands = handing_over.len() < MAX_RECEIPTS_IN_FLIGHT;
            let next_at = waiting.first_key_value().map(|((at, _), _)| *at).filter(|_| has_hands);
            let (at, receipt, tries) = tokio::select! {
                arrived = self.queue.recv(), if waiting.len() < MAX_WAITING_RECEIPTS => match arrived {
                    Some((at, receipt)) => (at, receipt, 0),
                    None => return,
                },
                Some(done) = handing_over.join_next() => match done {
                    Ok(Some((receipt, tries))) => (self.clock.now() + RECEIPT_RETRY_DELAY, receipt, tries),
                    Ok(None) | Err(_) => continue,
                },
                () = sleep_until(&*self.clock, next_at) => continue,
            };
            waiting.insert((at, arrivals), (receipt, tries));
            arrivals += 1;
        }
    }
}

/// Gives the receipt back when it should be offered again.
async fn hand_over(sink: Arc<dyn ReceiptSink>, receipt: Receipt, tries: u32) -> Option<(Receipt, u32)> {
    let error = sink.receive(receipt.clone()).await.err()?;
    let again = tries + 1 < RECEIPT_TRIES;
    tracing::warn!(vendor = %receipt.vendor, ?error, again, "a receipt could not be stored");
    again.then_some((receipt, tries + 1))
}

async fn sleep_until(clock: &dyn Clock, at: Option<Timestamp>) {
    match at {
        Some(at) => clock.sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipts").finish_non_exhaustive()
    }
}

// === impl Inbox ===

impl Inbox {
    /// The configured name of its vendor.
    pub fn vendor(&self) -> &str {
        &self.vendor
    }

    /// What it holds, newest first: all, or what went to `recipient` however that is written: `+60123456789`,
    /// ` 60 12-345 6789`, `0060123456789`, `Ann@Example.com`. A number must have its country code.
    pub fn messages(&self, recipient: Option<&str>) -> Vec<Arc<Entry>> {
        let wanted = recipient.map(spelled_alike);
        let entries = self.entries();
        let newest_first = entries.iter().rev();
        newest_first
            .filter(|entry| wanted.as_ref().is_none_or(|w| spelled_alike(&entry.recipient) == *w))
            .cloned()
            .collect()
    }

    fn push(&self, entry: Entry) {
        let mut entries = self.entries();
        if entries.len() == self.keep {
            entries.pop_front();
        }
        entries.push_back(Arc::new(entry));
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<Arc<Entry>>> {
        // No code that can panic runs under the lock, so a poisoned one is whole.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("keep", &self.keep).finish_non_exhaustive()
    }
}

/// One text for all ways to write a recipient: digits with country code, or the address in lower case.
fn spelled_alike(recipient: &str) -> String {
    let recipient = recipient.trim();
    if recipient.contains('@') {
        return recipient.to_ascii_lowercase();
    }
    let digits: String = recipient.chars().filter(|c| !matches!(c, '+' | '-' | '.' | '(' | ')' | ' ')).collect();
    digits.strip_prefix("00").map(str::to_owned).unwrap_or(digits)
}

// === impl Entry ===

/// Shows neither recipient nor text.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("id", &self.id)
            .field("vendor", &self.vendor)
            .field("sent_at", &self.sent_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_or_none() {
        for (pattern, text) in [
            ("*", ""),
            ("*", "+15550001"),
            ("+1555*", "+1555"),
            ("+1555*01", "+1555000101"),
            ("+1555*01", "+155501"),
            ("*@example.com", "ann@example.com"),
            ("*1*2*", "+0102"),
            ("a*b*b", "abb"),
            ("**", "x"),
            ("+15550001", "+15550001"),
        ] {
            assert!(pattern_matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("+1555*01", "+15550"),
            ("+1555*55", "+1555"),
            ("+1555*01", "+15550102"),
            ("a*b*b", "ab"),
            ("*1*2*", "+0201"),
            ("+15550001", "+155500011"),
            ("", "x"),
        ] {
            assert!(!pattern_matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn a_recipient_is_found_however_it_is_written() {
        for text in ["+60123456789", " 60123456789", "60 12-345 6789", "0060123456789", "+60 (12) 345.6789"] {
            assert_eq!(spelled_alike(text), "60123456789", "{text}");
        }
        assert_eq!(spelled_alike(" Ann@Example.com"), "ann@example.com");
        assert_ne!(spelled_alike("0123456789"), spelled_alike("+60123456789"));
    }
}
