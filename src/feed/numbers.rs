//! How far a feed has come, and what was put into it last. Pure; time is passed in.
//!
//! News move into a feed in two commits, for they lie in other partitions: one writes them there, the next takes them away
//! from here. Whoever dies in between leaves news behind that are in the feed already. The head names those that were put
//! there last, and only those can be left, for whoever writes on top of it has seen to it that they are gone.

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::feed::entry::EventId;

/// The head of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Head {
    /// The number of the next entry, from 1.
    #[n(0)]
    pub next: u64,
    /// The first events of the news that were written last.
    #[n(1)]
    moved: Vec<EventId>,
    /// Until when it is written though no endpoint wants it.
    #[n(2)]
    pub watched_until: Timestamp,
}

// === impl Head ===

impl Default for Head {
    fn default() -> Self {
        Self { next: 1, moved: Vec::new(), watched_until: Timestamp::default() }
    }
}

impl Head {
    /// The first events of the news that were put into the feed last: if they are still where they came from, they only
    /// have to be taken away there.
    pub fn moved(&self) -> &[EventId] {
        &self.moved
    }

    /// Gives numbers to so many entries of these news, and returns the first.
    pub fn put(&mut self, news: Vec<EventId>, entries: u64) -> u64 {
        let first = self.next;
        self.next += entries;
        self.moved = news;
        first
    }

    /// Leaves a number out, so that everybody sees that something may be missing there.
    pub fn skip(&mut self) {
        self.next += 1;
    }

    /// The number of the last entry; 0 before the first.
    pub fn last(&self) -> u64 {
        self.next - 1
    }
}
