//! An entry of a feed: one event of one record. And the id by which an event is known outside, however often it is told.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::error::Error;
use crate::event::news::News;
use crate::feed::kinds::{Type, type_of};
use crate::id::Id;
use crate::store::keys::{Holder, SendRef, TenantTag};

/// One event in its place in a feed. Names no person.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    /// Of a message, else of a verification.
    #[n(0)]
    of_message: bool,
    /// Of the record.
    #[n(1)]
    pub id: Id,
    #[n(2)]
    pub news: News,
}

/// The record and the place in its history. Printed `evt_RECORD_PLACE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct EventId {
    #[n(0)]
    pub record: Id,
    #[n(1)]
    pub place: u16,
}

// === impl Entry ===

impl Entry {
    pub fn new(record: &SendRef, news: News) -> Self {
        Self { of_message: record.holder == Holder::Message, id: record.id, news }
    }

    pub fn event_id(&self) -> EventId {
        EventId { record: self.id, place: self.news.place }
    }

    pub fn kind(&self) -> &'static Type {
        type_of(self.holder(), self.news.event.kind)
    }

    pub fn holder(&self) -> Holder {
        if self.of_message { Holder::Message } else { Holder::Verification }
    }

    /// The record as a whole.
    pub fn record(&self, tenant: TenantTag) -> SendRef {
        SendRef { holder: self.holder(), tenant, id: self.id, number: SendRef::RECORD }
    }
}

// === impl EventId ===

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "evt_{}_{}", self.record, self.place)
    }
}

/// Accepts only the form that [`Display`](fmt::Display) prints.
impl FromStr for EventId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::invalid("event_id", "must be the id of an event as it was told, such as evt_…_0");
        let (record, place) = text.strip_prefix("evt_").and_then(|rest| rest.split_once('_')).ok_or_else(wrong)?;
        let id = Self { record: record.parse().map_err(|_| wrong())?, place: place.parse().map_err(|_| wrong())? };
        if id.to_string() == text { Ok(id) } else { Err(wrong()) }
    }
}
