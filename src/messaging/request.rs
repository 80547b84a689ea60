//! What callers ask of messages, checked field by field before anything happens.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::ExposeSecret;

use crate::clock::Timestamp;
use crate::error::{Error, Result, Violation};
use crate::guard::ask::Origin;
use crate::messaging::callback::NewCallback;
use crate::messaging::idempotency::MAX_KEY;
use crate::messaging::locale;
use crate::messaging::message::Text;
use crate::messaging::template::{Templates, Wording};
use crate::recipient::{Address, Country, Recipient};
use crate::segment;
use crate::tenant::Tenant;
use crate::vendor::Channel;
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

/// How far ahead a message may be scheduled.
pub const MAX_AHEAD: Duration = Duration::from_secs(35 * 24 * 3600);

pub(crate) const DEFAULT_VALIDITY: Duration = Duration::from_secs(24 * 3600);

/// What a caller asks to have sent.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Required.
    pub recipient: Option<Address>,
    /// By default SMS for phone numbers and e-mail for addresses.
    pub channel: Option<Channel>,
    /// Required.
    pub content: Option<Content>,
    pub sender: Option<String>,
    /// When to send it, if not at once; at most [`MAX_AHEAD`] ahead.
    pub send_at: Option<Timestamp>,
    /// How long it may take to reach the vendor, counted from `send_at`; see [`VALIDITY`].
    pub validity: Option<Duration>,
    pub metadata: BTreeMap<String, String>,
    /// Whom to tell how it ends.
    pub callback: Option<NewCallback>,
    /// Makes a repeated request harmless for 24 hours. At most [`MAX_KEY`] bytes.
    pub idempotency_key: Option<String>,
    /// Whether it is one of many with one key, in which case the key counts for each recipient by itself.
    pub batched: bool,
    /// Who wants it.
    pub origin: Origin,
    /// Fields that could not be read and are left out above: told together with those that are out of range.
    pub unread: Vec<Violation>,
}

/// What a message says.
#[derive(Debug, Clone)]
pub enum Content {
    Text(Text),
    Template {
        name: String,
        /// When not given, the language of the recipient's country.
        locale: Option<String>,
        variables: BTreeMap<String, String>,
    },
}

// === impl NewMessage ===

impl NewMessage {
    /// One to be sent at once, with the usual channel and sender.
    pub fn to(recipient: Address, text: Text) -> Self {
        Self {
            recipient: Some(recipient),
            channel: None,
            content: Some(Content::Text(text)),
            sender: None,
            send_at: None,
            validity: None,
            metadata: BTreeMap::new(),
            callback: None,
            idempotency_key: None,
            batched: false,
            origin: Origin::default(),
            unread: Vec::new(),
        }
    }

    /// Errors: `Invalid` that names every field that is wrong.
    pub(crate) fn check(
        &self,
        tenant: &Tenant,
        templates: &Templates,
        now: Timestamp,
    ) -> Result<(Recipient, Channel, Text)> {
        let mut found = Violations(self.unread.clone());
        let recipient = found.note(parse_recipient(self.recipient.as_ref(), tenant.default_country))?;
        let channel = recipient.as_ref().map(|recipient| channel_for(recipient, self.channel)).transpose();
        let channel = found.note(channel)?.flatten();
        let country = recipient.as_ref().and_then(Recipient::country);
        let text = found.note(self.words(tenant, templates, country))?.flatten();
        let validity = self.validity.filter(|validity| !VALIDITY.contains(validity));
        let send_at = self.send_at.filter(|at| *at > now + MAX_AHEAD);
        let content = self.content.is_none().then(|| violation("content", "must be set".to_owned()));
        let checks = [
            content,
            check_text(text.as_ref().map(Text::expose), channel),
            check_sender(self.sender.as_deref()),
            validity.map(|_| violation("validity", "must be 1 minute to 72 hours".to_owned())),
            send_at.map(|_| violation("send_at", "must be at most 35 days ahead".to_owned())),
            check_metadata(&self.metadata),
            self.callback.as_ref().and_then(NewCallback::violation),
            self.idempotency_key.as_deref().and_then(check_idempotency_key),
        ];
        found.0.extend(checks.into_iter().flatten());
        match (recipient, channel, text) {
            (Some(recipient), Some(channel), Some(text)) if found.0.is_empty() => Ok((recipient, channel, text)),
            _ => Err(Error::invalid_fields(found.0)),
        }
    }

    /// The text as it will be sent.
    fn words(&self, tenant: &Tenant, templates: &Templates, country: Option<Country>) -> Result<Option<Text>> {
        let (name, locale, variables) = match &self.content {
            None => return Ok(None),
            Some(Content::Text(text)) => return Ok(Some(text.clone())),
            Some(Content::Template { name, locale, variables }) => (name, locale, variables),
        };
        let wording = Wording {
            tenant: &tenant.name,
            template: name,
            locale: locale.as_deref().or_else(|| country.and_then(locale::of_country)),
            variables,
            brand: tenant.brand.as_deref(),
        };
        let text = templates.render_text(&wording).map_err(within_template)?;
        Ok(Some(Text::new(text.expose_secret().to_owned())))
    }
}

/// The fields of a template as callers wrote them.
fn within_template(error: Error) -> Error {
    if error.violations().is_empty() {
        return error;
    }
    let path = |field: &str| match field {
        "template" => "template.name".to_owned(),
        field => format!("template.{field}"),
    };
    let within = error.violations().iter().map(|it| Violation { field: path(&it.field), ..it.clone() });
    Error::invalid_fields(within.collect())
}

/// The recipient that a caller names.
///
/// Errors: `Invalid`, field `recipient` when there is none, else `recipient.phone` or `recipient.email`.
pub fn parse_recipient(address: Option<&Address>, default: Option<Country>) -> Result<Recipient> {
    let address = address.ok_or_else(|| Error::invalid("recipient", "must be set, with either phone or email"))?;
    address.parse(default)
}

/// What is wrong with a text, if anything. Of one whose channel is not known only what is wrong on each.
fn check_text(text: Option<&str>, channel: Option<Channel>) -> Option<Violation> {
    let text = text?;
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

/// What is wrong with an idempotency key, if anything.
pub fn check_idempotency_key(key: &str) -> Option<Violation> {
    let fits = (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    (!fits).then(|| {
        violation("idempotency_key", format!("must be 1 to {MAX_KEY} printable ASCII characters without blanks"))
    })
}

fn violation(field: &str, description: String) -> Violation {
    Violation { field: field.to_owned(), description }
}
