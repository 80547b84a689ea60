//! Messages: accepted means committed, and from then on the outbox sees each to its end.

pub mod due;
pub mod holder;
pub mod message;
pub mod outbox;
pub mod route;
pub mod segment;
pub mod sending;
pub mod template;
pub mod vendors;
pub mod worker;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::error::{Error, Kind, Reason, Result, Violation};
use crate::event::History;
use crate::id::{Id, TenantName};
use crate::messaging::holder::{Ground, Records, SendHolder, SendRecord, contention, put_record};
use crate::messaging::message::{Message, Text};
use crate::messaging::outbox::Outbox;
use crate::messaging::sending::Sending;
use crate::recipient::{Address, Country, Recipient};
use crate::store::keys::{Holder, Keys, SendRef};
use crate::store::{Batch, Commit, Condition, Key, record};
use crate::tenant::Tenant;
use crate::vendor::{Channel, Outgoing};
use crate::violations::Violations;

/// Most segments of one message.
pub const MAX_SEGMENTS: usize = 10;
/// Most characters of one message.
pub const MAX_CHARACTERS: usize = 1_600;
/// Longest sender, in characters.
pub const MAX_SENDER: usize = 20;
/// Most entries of metadata.
pub const MAX_METADATA: usize = 16;
/// Shortest and longest time that a message may wait for delivery.
pub const VALIDITY: std::ops::RangeInclusive<Duration> = Duration::from_secs(60)..=Duration::from_secs(72 * 3600);

const DEFAULT_VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// `[messaging]`: how messages leave, and how long they are kept.
#[derive(Debug, Clone, Deserialize)]
pub struct MessagingConfig {
    /// How long a message is kept after its validity ends.
    pub retention: Duration,
    /// How long one vendor call may take.
    pub attempt_timeout: Duration,
    /// Due sends that are looked at at once.
    pub workers: u32,
    /// Vendor calls for one send, over all vendors.
    pub max_attempts: u32,
}

/// What a caller asks to have sent.
#[derive(Debug)]
pub struct NewMessage {
    /// Required.
    pub recipient: Option<Address>,
    /// By default SMS for phone numbers and e-mail for addresses.
    pub channel: Option<Channel>,
    /// Required.
    pub text: Option<Text>,
    pub sender: Option<String>,
    /// How long it may take to reach the vendor; see [`VALIDITY`].
    pub validity: Option<Duration>,
    pub metadata: BTreeMap<String, String>,
    /// Fields that could not be read and are left out above: told together with those that are out of range.
    pub unread: Vec<Violation>,
}

/// Accepts and shows messages.
pub struct Messaging {
    ground: Ground,
    outbox: Arc<Outbox>,
    records: Arc<Records<Message>>,
    retention: Duration,
}

// === impl MessagingConfig ===

impl MessagingConfig {
    /// What is wrong with it, by key.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        found.range("retention", &self.retention, Duration::from_secs(60 * 60)..=Duration::from_secs(90 * 24 * 3600));
        found.range("attempt_timeout", &self.attempt_timeout, Duration::from_millis(100)..=Duration::from_secs(120));
        found.range("workers", &self.workers, 1..=4_096);
        found.range("max_attempts", &self.max_attempts, 1..=20);
        found.0
    }
}

// === impl Messaging ===

impl Messaging {
    /// `retention`: how long a message is kept after its validity ends.
    pub fn new(outbox: Arc<Outbox>, retention: Duration) -> Self {
        let ground = outbox.ground.clone();
        let records = Arc::new(Records::new(ground.clone(), retention, Box::new(render)));
        Self { ground, outbox, records, retention }
    }

    /// The records that the outbox moves.
    pub fn holder(&self) -> Arc<dyn SendHolder> {
        Arc::clone(&self.records) as Arc<dyn SendHolder>
    }

    /// Accepts a message: it is durable when this returns, and reaches one terminal state afterwards.
    ///
    /// Errors: `Invalid` with each field out of range, `Precondition`/`NoRoute`, `Unavailable`.
    pub async fn send(&self, tenant: &Tenant, new: NewMessage) -> Result<Message> {
        let (recipient, channel, text) = new.check(tenant.default_country)?;
        let vendors = self.outbox.route(&tenant.name, channel, recipient.country())?.to_vec();

        let now = self.ground.clock.now();
        let partition = self.ground.keys.recipient(&tenant.name, &recipient).partition();
        let id = Id::new(now, partition, &*self.ground.random);
        let send = SendRef { holder: Holder::Message, tenant: self.ground.keys.tenant(&tenant.name), id, number: 0 };
        let expires_at = now + new.validity.unwrap_or(DEFAULT_VALIDITY);
        let sending = Sending::new(0, channel, now, expires_at, false);
        let sender = new.sender.or_else(|| tenant.sender.clone());
        let mut message = Message::new(id, tenant.name.clone(), recipient, text, sender, sending, new.metadata);
        let permit = self.outbox.begin_inline(&mut message.sending, &vendors, now, &mut message.history);

        let key = Message::key(&self.ground.keys, &send);
        let batch = Batch::new(partition).require_that(&key, Condition::Absent);
        let batch = put_record(batch, &self.ground, &send, None, &message, self.retention)?;
        let outgoing = self.records.outgoing(&message, &send)?;
        let (outbox, store) = (Arc::clone(&self.outbox), Arc::clone(&self.ground.store));
        self.outbox
            .run_to_end(async move {
                if store.commit(batch).await? == Commit::Conflict {
                    return Err(contention());
                }
                // With an attempt under way too: should its outcome get lost, the lease must be known to run out.
                outbox.note(partition, &message.sending);
                if let Some(permit) = permit {
                    drop(outbox.launch(permit, send, message.sending.attempts, outgoing));
                }
                Ok(message)
            })
            .await
    }

    /// Errors: `NotFound` for an unknown id, another tenant's among them.
    pub async fn get(&self, tenant: &TenantName, id: Id) -> Result<Message> {
        let key = self.ground.keys.message(self.ground.keys.tenant(tenant), id);
        match self.ground.store.get(&key).await? {
            Some(read) => record::decode(&read.value),
            None => Err(Error::new(
                Kind::NotFound,
                Reason::MessageNotFound,
                "no message has this id; it may have passed its retention",
            )),
        }
    }
}

/// The recipient that a caller names.
///
/// Errors: `Invalid`, field `recipient` when there is none, else `recipient.phone` or `recipient.email`.
pub fn parse_recipient(address: Option<&Address>, default: Option<Country>) -> Result<Recipient> {
    let address = address.ok_or_else(|| Error::invalid("recipient", "must be set, with either phone or email"))?;
    address.parse(default)
}

/// The channel asked for, or the usual one for this kind of recipient.
///
/// Errors: `Invalid` when the two do not go together.
pub fn channel_for(recipient: &Recipient, asked: Option<Channel>) -> Result<Channel> {
    let channel = match (recipient, asked) {
        (Recipient::Phone(_), None) => Channel::Sms,
        (Recipient::Email(_), None) => Channel::Email,
        (_, Some(channel)) => channel,
    };
    match (recipient, channel) {
        (Recipient::Phone(_), Channel::Email) => {
            Err(Error::invalid("channel", "EMAIL needs recipient.email; a phone number takes SMS, WHATSAPP or VOICE"))
        }
        (Recipient::Email(_), Channel::Sms | Channel::WhatsApp | Channel::Voice) => {
            Err(Error::invalid("channel", "needs recipient.phone; an e-mail address takes EMAIL"))
        }
        _ => Ok(channel),
    }
}

/// What is wrong with a sender, if anything.
pub fn check_sender(sender: Option<&str>) -> Option<Violation> {
    let fits = sender.is_none_or(|sender| {
        (1..=MAX_SENDER).contains(&sender.chars().count()) && !sender.chars().any(char::is_control)
    });
    (!fits).then(|| violation("sender", format!("must be 1 to {MAX_SENDER} characters without control characters")))
}

/// What is wrong with metadata, if anything.
pub fn check_metadata(metadata: &BTreeMap<String, String>) -> Option<Violation> {
    let fits = metadata.len() <= MAX_METADATA
        && metadata.iter().all(|(key, value)| (1..=40).contains(&key.chars().count()) && value.chars().count() <= 256);
    (!fits).then(|| {
        violation(
            "metadata",
            format!("must have at most {MAX_METADATA} entries, keys of 1 to 40 characters, values of at most 256"),
        )
    })
}

fn violation(field: &str, description: String) -> Violation {
    Violation { field: field.to_owned(), description }
}

/// A message goes out as it was written.
fn render(message: &Message, sending: &Sending, send: &SendRef) -> Result<Outgoing> {
    Ok(Outgoing {
        reference: send.to_string().into(),
        tenant: message.tenant.clone(),
        channel: sending.channel,
        recipient: message.recipient.clone(),
        sender: message.sender.clone(),
        text: SecretString::from(message.text.expose()),
        expires_at: sending.expires_at,
    })
}

// === impl NewMessage ===

impl NewMessage {
    /// Errors: `Invalid` that names every field that is wrong.
    fn check(&self, default: Option<Country>) -> Result<(Recipient, Channel, Text)> {
        let mut found = Violations(self.unread.clone());
        let recipient = found.note(parse_recipient(self.recipient.as_ref(), default))?;
        let channel = recipient.as_ref().map(|recipient| channel_for(recipient, self.channel)).transpose();
        let channel = found.note(channel)?.flatten();
        let validity = self.validity.filter(|validity| !VALIDITY.contains(validity));
        let validity = validity.map(|_| violation("validity", "must be 1 minute to 72 hours".to_owned()));
        let text = check_text(self.text.as_ref().map(Text::expose), channel);
        let checks = [text, check_sender(self.sender.as_deref()), validity, check_metadata(&self.metadata)];
        found.0.extend(checks.into_iter().flatten());
        match (recipient, channel, self.text.clone()) {
            (Some(recipient), Some(channel), Some(text)) if found.0.is_empty() => Ok((recipient, channel, text)),
            _ => Err(Error::invalid_fields(found.0)),
        }
    }
}

/// What is wrong with a text, if anything. Of one whose channel is not known only what is wrong on each.
fn check_text(text: Option<&str>, channel: Option<Channel>) -> Option<Violation> {
    let Some(text) = text else { return Some(violation("content", "must be set".to_owned())) };
    let characters = text.chars().count();
    let wrong = if text.is_empty() || characters > MAX_CHARACTERS {
        format!("must be 1 to {MAX_CHARACTERS} characters, but has {characters}")
    } else if channel == Some(Channel::Sms) && segment::measure(text).segments > MAX_SEGMENTS {
        format!("must fit {MAX_SEGMENTS} SMS segments, but takes {}", segment::measure(text).segments)
    } else if text.contains('\0') {
        "must not contain NUL".to_owned()
    } else {
        return None;
    };
    Some(violation("text", wrong))
}

// === impl SendRecord for Message ===

impl SendRecord for Message {
    fn key(keys: &Keys, send: &SendRef) -> Key {
        keys.message(send.tenant, send.id)
    }

    fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    fn sends(&self) -> &[Sending] {
        std::slice::from_ref(&self.sending)
    }

    fn send_mut(&mut self, number: u8) -> Option<(&mut Sending, &mut History)> {
        (number == self.sending.number).then_some((&mut self.sending, &mut self.history))
    }

    fn send_moved(&mut self, _now: crate::clock::Timestamp) {}

    fn ends_at(&self) -> crate::clock::Timestamp {
        self.sending.expires_at
    }
}
