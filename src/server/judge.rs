//! Whether records are good: each opens with the key ring and is what its key says it is. Counts them by what they are.

use std::collections::BTreeMap;

use crate::contacts::row::Row;
use crate::contacts::table::Table;
use crate::error::{Error, Result};
use crate::event::news::Bundle;
use crate::feed::delivery::Delivery;
use crate::feed::endpoint::Endpoint;
use crate::feed::entry::Entry;
use crate::messaging::message::Message;
use crate::store::seal::KeyRing;
use crate::store::space::Space;
use crate::store::{Key, record};
use crate::verification::recipient_state::RecipientState;
use crate::verification::verification::Verification;

/// Judges records, and keeps count.
pub(crate) struct Judge {
    ring: KeyRing,
    census: Census,
}

/// How many records there are of each kind, and how many are bad.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Good ones, by what people call their kind.
    pub kinds: BTreeMap<&'static str, u64>,
    pub bad: u64,
    /// What is wrong with the first bad one.
    pub first_fault: Option<String>,
}

// === impl Judge ===

impl Judge {
    pub(crate) fn new(ring: KeyRing) -> Self {
        Self { ring, census: Census::default() }
    }

    /// Judges a sealed value under its key, and counts it.
    pub(crate) fn judge(&mut self, key: &Key, sealed: &[u8]) {
        let space = Space::of(key);
        match self.open(space, key, sealed) {
            Ok(()) => *self.census.kinds.entry(space.as_str()).or_default() += 1,
            Err(error) => {
                self.census.bad += 1;
                let fault = || format!("one of the {}: {}", space.as_str(), cause_of(&error));
                self.census.first_fault.get_or_insert_with(fault);
            }
        }
    }

    pub(crate) fn census(self) -> Census {
        self.census
    }

    fn open(&self, space: Space, key: &Key, sealed: &[u8]) -> Result<()> {
        let value = self.ring.open_record(key, sealed)?;
        match space {
            Space::Verification => record::decode::<Verification>(&value).map(drop),
            Space::RecipientState => record::decode::<RecipientState>(&value).map(drop),
            Space::Message => record::decode::<Message>(&value).map(drop),
            Space::ContactTable => record::decode::<Table>(&value).map(drop),
            Space::ContactRow => record::decode::<Row>(&value).map(drop),
            Space::News => record::decode::<Bundle>(&value).map(drop),
            Space::FeedEntry => record::decode::<Entry>(&value).map(drop),
            Space::Endpoint => record::decode::<Endpoint>(&value).map(drop),
            Space::Delivery => record::decode::<Delivery>(&value).map(drop),
            // Of the others it is enough that nobody has touched them.
            _ => Ok(()),
        }
    }
}

// === impl Census ===

impl Census {
    pub fn good(&self) -> u64 {
        self.kinds.values().sum()
    }
}

/// What an operator is told: the cause, where the error itself is kept from callers.
fn cause_of(error: &Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.message().to_owned(), ToString::to_string)
}
