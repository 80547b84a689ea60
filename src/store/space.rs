//! The spaces that records lie in: the first byte of a key says what it is the key of.

use crate::store::Key;

pub(crate) const META: u8 = b'_';
pub(crate) const API_KEY: u8 = b'a';
pub(crate) const MESSAGE_BATCH: u8 = b'b';
pub(crate) const CODE_PLACE: u8 = b'k';
pub(crate) const CONTACT_ROW: u8 = b'c';
pub(crate) const DUE: u8 = b'd';
pub(crate) const FEED: u8 = b'f';
pub(crate) const GUARD: u8 = b'g';
pub(crate) const FEED_HEAD: u8 = b'h';
pub(crate) const ACCOUNT: u8 = b'e';
pub(crate) const IDEMPOTENCY: u8 = b'i';
pub(crate) const READ_TO: u8 = b'j';
pub(crate) const DELIVERY: u8 = b'l';
pub(crate) const MESSAGE: u8 = b'm';
pub(crate) const MESSAGE_OF_RECIPIENT: u8 = b'n';
pub(crate) const NEWS: u8 = b'o';
pub(crate) const CONTACT_PUSH: u8 = b'p';
pub(crate) const DELIVERY_DUE: u8 = b'q';
pub(crate) const RECIPIENT: u8 = b'r';
pub(crate) const CONTACT_TABLE: u8 = b't';
pub(crate) const ENDPOINT: u8 = b'u';
pub(crate) const VERIFICATION: u8 = b'v';
pub(crate) const VENDOR_NAME: u8 = b'w';

/// Further parts of long records, which the embedded store keeps for itself. It sorts after every key of a record.
pub(crate) const PART_SPACE: u8 = 0xFF;

/// Whether scans find this key. Those of spaces that nothing ever goes through have no entry in an index where that
/// costs memory.
pub(crate) fn is_scanned(key: &Key) -> bool {
    !matches!(key.bytes().first(), Some(&(RECIPIENT | CODE_PLACE | VENDOR_NAME)))
}

/// What a record is, as its key says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    Verification,
    RecipientState,
    Message,
    MessageOfRecipient,
    MessageBatch,
    Due,
    Idempotency,
    VendorName,
    CodePlace,
    ContactTable,
    ContactRow,
    ContactPush,
    Account,
    ApiKey,
    Guard,
    News,
    FeedHead,
    FeedEntry,
    Endpoint,
    ReadTo,
    Delivery,
    DeliveryDue,
    Meta,
    /// Of a kind that this build does not know.
    Unknown,
}

// === impl Space ===

impl Space {
    pub fn of(key: &Key) -> Self {
        match key.bytes().first().copied().unwrap_or_default() {
            VERIFICATION => Self::Verification,
            RECIPIENT => Self::RecipientState,
            MESSAGE => Self::Message,
            MESSAGE_OF_RECIPIENT => Self::MessageOfRecipient,
            MESSAGE_BATCH => Self::MessageBatch,
            DUE => Self::Due,
            IDEMPOTENCY => Self::Idempotency,
            VENDOR_NAME => Self::VendorName,
            CODE_PLACE => Self::CodePlace,
            CONTACT_TABLE => Self::ContactTable,
            CONTACT_ROW => Self::ContactRow,
            CONTACT_PUSH => Self::ContactPush,
            ACCOUNT => Self::Account,
            API_KEY => Self::ApiKey,
            GUARD => Self::Guard,
            NEWS => Self::News,
            FEED_HEAD => Self::FeedHead,
            FEED => Self::FeedEntry,
            ENDPOINT => Self::Endpoint,
            READ_TO => Self::ReadTo,
            DELIVERY => Self::Delivery,
            DELIVERY_DUE => Self::DeliveryDue,
            META => Self::Meta,
            _ => Self::Unknown,
        }
    }

    /// What people call records of this kind.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verification => "verifications",
            Self::RecipientState => "recipients' counters",
            Self::Message => "messages",
            Self::MessageOfRecipient => "messages by recipient",
            Self::MessageBatch => "batches of messages",
            Self::Due => "due marks",
            Self::Idempotency => "idempotency keys",
            Self::VendorName => "vendors' names",
            Self::CodePlace => "vendors' codes",
            Self::ContactTable => "contact lists",
            Self::ContactRow => "contacts",
            Self::ContactPush => "contacts to hand on",
            Self::Account => "tenants",
            Self::ApiKey => "API keys",
            Self::Guard => "limits and budgets",
            Self::News => "news of records",
            Self::FeedHead => "feeds",
            Self::FeedEntry => "events",
            Self::Endpoint => "endpoints",
            Self::ReadTo => "places of endpoints",
            Self::Delivery => "deliveries",
            Self::DeliveryDue => "due marks of deliveries",
            Self::Meta => "store's own",
            Self::Unknown => "of kinds unknown here",
        }
    }
}
