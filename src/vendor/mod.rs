//! The vendor port: one text to one recipient, what the vendor made of it, and what else it offers.
//!
//! An adapter holds one vendor's wire format, declares what the vendor can do, and classifies its errors once, at the
//! bottom. Callers ask for capabilities, never for a name. Whatever not every vendor offers is a trait of its own, which
//! [`Vendor`] hands out where it is there.

pub mod declarative;
pub mod esms;
pub mod hasun;
pub mod http;
pub mod inbox;
pub mod octopush;
pub mod simpu;
pub mod smtp;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
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

    /// Codes that the vendor makes and checks by itself.
    fn codes(&self) -> Option<&dyn Codes> {
        None
    }

    /// Its word on messages, to be asked for.
    fn statuses(&self) -> Option<&dyn Statuses> {
        None
    }

    /// Its word on messages, sent to us over HTTP.
    fn receipts(&self) -> Option<&dyn ReceiptReader> {
        None
    }

    /// Our word on messages, which it wants to hear.
    fn feedback(&self) -> Option<&dyn Feedback> {
        None
    }

    /// Our account with it.
    fn account(&self) -> Option<&dyn Account> {
        None
    }

    /// The way to it; `None` for one inside this process.
    fn door(&self) -> Option<&dyn Door> {
        None
    }

    /// The contact list that it keeps for us.
    fn contacts(&self) -> Option<&dyn ContactBook> {
        None
    }
}

/// One-time codes that a vendor makes, sends and checks. Our own counters, limits and events stay in front of them.
#[async_trait]
pub trait Codes: Send + Sync {
    fn limits(&self) -> &CodeLimits;

    /// Whether it makes codes for this tenant, as it is configured.
    fn serves(&self, _tenant: &TenantName) -> bool {
        true
    }

    /// Whether the vendor makes just this code, in just these words.
    fn takes(&self, request: &CodeRequest) -> bool {
        self.limits().allow(request)
    }

    /// Where a code is kept by a vendor that keeps one there and no more, and gives it no name: the next start there
    /// ends it, and a check is about whichever is there. `None` where each code has a name of its own.
    fn place(&self, _whom: &CodeFor<'_>) -> Option<CodePlace> {
        None
    }

    /// Has the vendor make a code and send it. The request is one that it [`takes`](Codes::takes). Started twice with
    /// one reference, it may make two codes.
    async fn start(&self, request: &CodeRequest) -> Result<CodeHandle, Failure>;

    /// [`Failure::Throttled`] and [`Failure::Unavailable`] say that the vendor surely did not look at the candidate, so
    /// nothing that it answered in words which we do not know is one of them: it may be its way to say "wrong".
    async fn check(&self, handle: &CodeHandle, candidate: &SecretString) -> Result<CodeVerdict, Failure>;

    /// Ends a code before its time. Does nothing where [`CodeLimits::cancel`] is false.
    async fn cancel(&self, handle: &CodeHandle) -> Result<(), Failure>;
}

/// Asks a vendor what became of messages, where it does not tell by itself.
#[async_trait]
pub trait Statuses: Send + Sync {
    /// `None` while nothing final is known. `vendor_reference` is what [`Accepted`] named.
    async fn status(&self, vendor_reference: &str) -> Result<Option<ReceiptStatus>, Failure>;
}

/// Takes our word on whether messages reached people: they gave back the code, or did what the message was for.
#[async_trait]
pub trait Feedback: Send + Sync {
    /// Whether it wants to hear this of messages at all. What it does not is not to be told.
    fn takes(&self, outcome: FeedbackOutcome) -> bool;

    /// Tells what came of a message. `vendor_reference` is what [`Accepted`] named.
    async fn tell(&self, vendor_reference: &str, outcome: FeedbackOutcome) -> Result<(), Failure>;
}

/// Reads what a vendor calls our receipt listener with. Whoever calls has shown the token that belongs to the vendor, or
/// is about to be asked for the signature here.
pub trait ReceiptReader: Send + Sync {
    /// Whether [`ReceiptReader::read`] checks a signature by itself, so that the URL needs no token.
    fn is_signed(&self) -> bool;

    /// Whether every report names its message by [`Outgoing::reference`], so that nobody needs to remember what the
    /// vendor calls it.
    fn names_ours(&self) -> bool {
        false
    }

    /// All receipts of one call; none for a call that means nothing to us. Errors: `Unauthenticated` for a missing or
    /// wrong signature, `Invalid` for a call that makes no sense.
    fn read(&self, call: &ReceiptCall, now: Timestamp) -> Result<Vec<Reported>>;
}

/// Our account with a vendor.
#[async_trait]
pub trait Account: Send + Sync {
    async fn balance(&self) -> Result<Balance, Failure>;
}

/// The way to a vendor, to be tried without sending anything.
#[async_trait]
pub trait Door: Send + Sync {
    /// The name or address, and the port.
    fn host(&self) -> (&str, u16);

    /// Connects and speaks TLS where the vendor does, within its own time limits.
    ///
    /// Errors: what is in the way, in our words; it repeats no secret and nothing that the vendor wrote.
    async fn knock(&self) -> Result<Welcome, String>;
}

/// A contact list at a vendor, which we can only add to.
#[async_trait]
pub trait ContactBook: Send + Sync {
    /// Whether it has a place for a column of this name. Rows are given to it without the others.
    fn takes(&self, _column: &str) -> bool {
        true
    }

    /// Whether its rows lie in lists by name. Else there is one list.
    fn keeps_lists(&self) -> bool {
        false
    }

    /// Adds or replaces one row.
    async fn push(&self, row: &ContactRow) -> Result<(), Failure>;
}

/// Takes what vendors say later about a message.
#[async_trait]
pub trait ReceiptSink: Send + Sync {
    /// Stores the receipt; durable when this returns. Late, repeated and unknown receipts are not errors.
    async fn receive(&self, receipt: Receipt) -> Result<()>;
}

/// What a vendor can do with a message.
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

/// How a vendor answers a knock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Welcome {
    /// Its clock, to the second, where it tells.
    pub time: Option<Timestamp>,
    /// Whether it took our credentials, where knocking shows them.
    pub credentials: Option<Result<(), Failure>>,
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
    /// Where the vendor may report what becomes of this message, when we listen for receipts; secret in parts.
    pub receipt_url: Option<SecretString>,
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
    /// The vendor keeps one code for a recipient, and another tenant's is there. No adapter says so.
    #[n(6)]
    Occupied,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum ReceiptStatus {
    #[n(1)]
    Delivered,
    #[n(2)]
    Undelivered,
    #[n(3)]
    Expired,
}

/// Whether a message reached its person, as somebody says who knows better than the vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum FeedbackOutcome {
    #[n(1)]
    Received,
    #[n(2)]
    NotReceived,
}

/// A call to our receipt listener, behind the vendor's name and token.
#[derive(Debug, Clone, Default)]
pub struct ReceiptCall {
    /// What follows in the path, without slashes at its ends; [`Outgoing::receipt_url`] ends with our reference.
    pub rest: String,
    /// Decoded, in the order in which they came.
    pub query: Vec<(String, String)>,
    /// Names in lower case; those whose value is not text are left out.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// One message's status as a vendor reports it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    pub of: ReportedMessage,
    pub status: ReceiptStatus,
    pub at: Timestamp,
}

/// How a report names the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReportedMessage {
    /// By [`Outgoing::reference`].
    Ours(String),
    /// By [`Accepted::vendor_reference`].
    Theirs(String),
}

/// What a vendor's own codes may be asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeLimits {
    pub channels: Vec<Channel>,
    /// Characters of a code.
    pub lengths: RangeInclusive<u32>,
    pub lifetimes: RangeInclusive<Duration>,
    /// Lifetimes are whole multiples of this.
    pub lifetime_step: Duration,
    /// Codes of letters can be asked for besides digits.
    pub letters: bool,
    /// A text of our own can go around the code.
    pub template: bool,
    /// A code can be ended before its time.
    pub cancel: bool,
}

/// A code that a vendor is to make.
#[derive(Debug, Clone)]
pub struct CodeRequest {
    /// Ours, unique to this attempt; safe in URLs, at most 64 characters.
    pub reference: Arc<str>,
    pub tenant: TenantName,
    pub channel: Channel,
    pub recipient: Recipient,
    pub sender: Option<String>,
    pub length: u32,
    pub lifetime: Duration,
    /// A language tag (BCP 47).
    pub locale: Option<String>,
    /// What the code is for, in a word or two.
    pub brand: Option<String>,
    /// The text with `{code}` where the code belongs; only where [`CodeLimits::template`].
    pub template: Option<String>,
}

/// Whom a code is for, as far as vendors tell codes apart by it.
#[derive(Debug, Clone, Copy)]
pub struct CodeFor<'a> {
    pub tenant: &'a TenantName,
    pub channel: Channel,
    pub recipient: &'a Recipient,
    pub sender: Option<&'a str>,
}

/// Where a vendor keeps one code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodePlace {
    /// The same for all that would share the code, under whatever name and by whichever tenant the vendor's account is
    /// used, and for nobody else. Holds no credentials.
    pub name: String,
    /// That of every code that is ever kept there.
    pub handle: CodeHandle,
}

/// What a check of a vendor's own code needs, as the vendor named it.
#[derive(Debug, Clone, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
pub struct CodeHandle {
    /// At most 128 characters.
    #[n(0)]
    pub vendor_reference: Option<String>,
    #[n(1)]
    pub channel: Channel,
    #[n(2)]
    pub recipient: Recipient,
}

/// A vendor's answer to a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeVerdict {
    Right,
    /// With the checks that the vendor still allows, when it tells.
    Wrong {
        checks_left: Option<u32>,
    },
    Expired,
    Exhausted,
    /// It knows of no such code, or of one that was used.
    Unknown,
}

/// Money or credits left in an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// A decimal number as the vendor wrote it.
    pub amount: String,
    /// `EUR`, `credits`, as the vendor names it.
    pub unit: String,
}

/// One contact.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContactRow {
    pub list: String,
    /// Cells by the name of their column.
    pub cells: BTreeMap<String, String>,
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

// === impl CodeLimits ===

impl CodeLimits {
    /// Whether a code can be asked for like this. What lies outside, a vendor may refuse, or change without a word.
    pub fn allow(&self, request: &CodeRequest) -> bool {
        let step = self.lifetime_step.as_nanos();
        self.channels.contains(&request.channel)
            && self.lengths.contains(&request.length)
            && self.lifetimes.contains(&request.lifetime)
            && request.lifetime.as_nanos().checked_rem(step).unwrap_or(0) == 0
            && (self.template || request.template.is_none())
    }

    /// The nearest length that can be asked for.
    pub fn length_for(&self, wanted: u32) -> u32 {
        wanted.clamp(*self.lengths.start(), *self.lengths.end())
    }

    /// The shortest lifetime that can be asked for and is not shorter than this; the longest when all are.
    pub fn lifetime_for(&self, wanted: Duration) -> Duration {
        let step = self.lifetime_step.as_nanos().max(1);
        let steps = u32::try_from(wanted.as_nanos().div_ceil(step)).unwrap_or(u32::MAX);
        self.lifetime_step.saturating_mul(steps).clamp(*self.lifetimes.start(), *self.lifetimes.end())
    }
}

// === impl CodeRequest ===

impl CodeRequest {
    pub fn whom(&self) -> CodeFor<'_> {
        let Self { tenant, channel, recipient, sender, .. } = self;
        CodeFor { tenant, channel: *channel, recipient, sender: sender.as_deref() }
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
            Self::Occupied => "OTHER_CODE_PENDING",
        }
    }
}
