//! The vendor port: one text to one recipient, and what the vendor made of it.
//!
//! An adapter holds one vendor's wire format, declares what the vendor can do, and classifies its errors once, at the
//! bottom. Callers ask for capabilities, never for a name.

pub mod esms;
pub mod http;
pub mod inbox;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::TenantName;
use crate::recipient::Recipient;

/// A service that carries messages.
#[async_trait]
pub trait Vendor: Send + Sync + fmt::Debug {
    fn capabilities(&self) -> &Capabilities;

    /// Hands one message over. Never retries by itself. The caller bounds the time; when that runs out the future is
    /// dropped and the outcome counts as [`Failure::Unknown`].
    async fn send(&self, outgoing: &Outgoing) -> Result<Accepted, Failure>;
}

/// Takes what vendors say later about a message.
#[async_trait]
pub trait ReceiptSink: Send + Sync {
    /// Stores the receipt; durable when this returns. Late, repeated and unknown receipts are not errors.
    async fn receive(&self, receipt: Receipt) -> Result<()>;
}

/// What a vendor can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    pub channels: Vec<Channel>,
    /// Sending twice with one [`Outgoing::reference`] delivers once, so an unknown outcome may be tried again, and is,
    /// under the reference of the attempt that it repeats.
    pub idempotent: bool,
    /// Reports what became of a message after it took it.
    pub receipts: bool,
}

/// The medium of a message.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Deserialize,
    serde::Serialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[serde(rename_all = "lowercase")]
#[cbor(index_only)]
pub enum Channel {
    #[n(1)]
    Sms,
    #[n(2)]
    WhatsApp,
    #[n(3)]
    Voice,
    #[n(4)]
    Email,
}

/// One message on its way out. Its text may hold a code, so it can be read only by name, and never shows in `Debug`.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// Ours; safe in URLs, at most 64 characters. Every attempt has its own, but for one that repeats an attempt of
    /// unknown outcome at a vendor that drops copies: to that vendor both are one message, which has one name.
    pub reference: Arc<str>,
    pub tenant: TenantName,
    pub channel: Channel,
    pub recipient: Recipient,
    /// Who the message says it is from, where channel and vendor allow it.
    pub sender: Option<String>,
    pub text: SecretString,
    /// The vendor should not deliver later than this.
    pub expires_at: Timestamp,
}

/// The vendor took the message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The vendor's own name for the message, when it gives one. At most 128 characters.
    pub vendor_reference: Option<String>,
    /// What became of the message, when the vendor knows that already.
    pub receipt: Option<ReceiptStatus>,
}

/// Why a message was not surely taken. Says nothing that a vendor wrote, for that may repeat the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// Surely not sent, and sending it again the same way is no use.
    Rejected(Rejection),
    /// Surely not sent: too fast. Come back after this long, when the vendor says so.
    Throttled { after: Option<Duration> },
    /// Surely not sent: the vendor could not be reached, or says it is down.
    Unavailable,
    /// Perhaps sent: no answer, or one that makes no sense, after the request was written.
    Unknown,
}

/// Why a vendor refused a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Rejection {
    /// The number or address does not exist or cannot be reached by this vendor.
    #[n(1)]
    InvalidRecipient,
    /// Text, sender or another part of the request was refused.
    #[n(2)]
    InvalidContent,
    /// Our account: wrong credentials or not allowed.
    #[n(3)]
    Unauthorized,
    /// Our account is out of money.
    #[n(4)]
    InsufficientCredit,
    /// The recipient asked not to be sent to, or the vendor blocks it.
    #[n(5)]
    Blocked,
}

/// A vendor's later word on a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The configured name of the vendor that speaks.
    pub vendor: String,
    /// The message by [`Outgoing::reference`].
    pub reference: Arc<str>,
    pub status: ReceiptStatus,
    /// When it happened, by the vendor's clock when it tells, else by ours.
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReceiptStatus {
    Delivered,
    Undelivered,
    Expired,
}

// === impl Channel ===

impl Channel {
    pub const ALL: [Self; 4] = [Self::Sms, Self::WhatsApp, Self::Voice, Self::Email];

    /// The name in configuration, metrics and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sms => "sms",
            Self::WhatsApp => "whatsapp",
            Self::Voice => "voice",
            Self::Email => "email",
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Rejection ===

impl Rejection {
    /// The name on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidRecipient => "INVALID_RECIPIENT",
            Self::InvalidContent => "INVALID_CONTENT",
            Self::Unauthorized => "VENDOR_UNAUTHORIZED",
            Self::InsufficientCredit => "INSUFFICIENT_CREDIT",
            Self::Blocked => "RECIPIENT_BLOCKED",
        }
    }
}
