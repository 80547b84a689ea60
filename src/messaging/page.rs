//! Pages of records, newest first (AIP-158): where a page begins, where it ends, and the token that leads to the next.
//!
//! A page goes on where the last one ended, by id, so what is added meanwhile neither repeats nor hides a record.

use std::collections::VecDeque;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;
use crate::error::{Error, Result, Violation};
use crate::id::Id;
use crate::messaging::holder::Ground;
use crate::store::Prefix;
use crate::store::keys::Fingerprint;

/// Records on a page, when the caller does not say.
pub const DEFAULT_SIZE: usize = 50;
/// Most records on a page.
pub const MAX_SIZE: usize = 500;

/// Records looked at for one page. A page may be shorter than asked for, even empty, with more to come.
const MAX_LOOKED_AT: usize = 2_000;
/// Keys read at a time.
const SLICE: usize = 256;

/// Which page of which list.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// [`DEFAULT_SIZE`] when not given; more than [`MAX_SIZE`] counts as that.
    pub size: Option<usize>,
    pub token: Option<PageToken>,
    /// Only what was created at or after this.
    pub from: Option<Timestamp>,
    /// Only what was created before this.
    pub before: Option<Timestamp>,
}

/// Leads from a page to the next one of the same list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageToken {
    last: Id,
    list: Fingerprint,
}

/// A page and, if there may be more, the token of the next.
#[derive(Debug, Clone)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<PageToken>,
}

/// Where the ids of a list come from.
#[derive(Debug)]
pub enum Source {
    /// From keys that end with an id, in its order.
    Keys(Prefix),
    /// From a list, oldest first.
    Listed(Vec<Id>),
}

/// One page in the making: says which ids to look at, and when it is full.
#[derive(Debug)]
pub struct Pager {
    source: Source,
    list: Fingerprint,
    from: Option<Timestamp>,
    /// Only ids before this.
    before: Option<Id>,
    size: usize,
    looked_at: usize,
    /// Read and not looked at yet.
    slice: VecDeque<Id>,
    /// Whether the list goes on.
    more: bool,
}

// === impl PageRequest ===

impl PageRequest {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Option<Violation> {
        let backwards = self.from.zip(self.before).is_some_and(|(from, before)| from >= before);
        backwards.then(|| Violation {
            field: "create_time_before".to_owned(),
            description: "must be later than create_time_from".to_owned(),
        })
    }

    /// Begins the page of a list. `list` condenses what is asked for beside the page itself.
    ///
    /// Errors: `Invalid`, field `page_token`, for a token of another list.
    pub fn begin(&self, source: Source, list: Fingerprint) -> Result<Pager> {
        let last = self.token.map(|token| token.last_of(list)).transpose()?;
        let before = last.or(self.before.map(Id::first_at));
        let size = self.size.unwrap_or(DEFAULT_SIZE).min(MAX_SIZE);
        Ok(Pager { source, list, from: self.from, before, size, looked_at: 0, slice: VecDeque::new(), more: true })
    }
}

// === impl Pager ===

impl Pager {
    /// The next id to look at, when `found` records of this page are found; `None` when the page is full, long enough in
    /// the making, or the list at its end.
    pub async fn next(&mut self, ground: &Ground, found: usize) -> Result<Option<Id>> {
        if self.slice.is_empty() {
            self.slice = self.read(ground).await?;
            self.more = !self.slice.is_empty();
        }
        if !self.more || found == self.size || self.looked_at == MAX_LOOKED_AT {
            return Ok(None);
        }
        self.looked_at += 1;
        self.before = self.slice.pop_front().or(self.before);
        Ok(self.before)
    }

    /// The page, with what was found.
    pub fn page<T>(self, items: Vec<T>) -> Page<T> {
        let last = self.before.filter(|_| self.more);
        Page { items, next: last.map(|last| PageToken { last, list: self.list }) }
    }

    /// The next ids, newest first.
    async fn read(&self, ground: &Ground) -> Result<VecDeque<Id>> {
        let old_enough = |id: &Id| self.from.is_none_or(|from| id.created_at() >= from);
        match &self.source {
            Source::Keys(prefix) => {
                let after = self.before.map(|id| ground.keys.with_id(prefix, id));
                let rows = ground.store.scan(&prefix.clone().descending(), after.as_ref(), SLICE).await?;
                let ids = rows.iter().map(|(key, _)| ground.keys.parse_id(key));
                ids.filter(|id| id.as_ref().map_or(true, old_enough)).collect()
            }
            Source::Listed(ids) => {
                let ids = ids.iter().rev().filter(|id| self.before.is_none_or(|before| **id < before));
                Ok(ids.filter(|id| old_enough(id)).copied().collect())
            }
        }
    }
}

// === impl PageToken ===

impl PageToken {
    /// Leads to what comes after this record in this list.
    pub fn after(last: Id, list: Fingerprint) -> Self {
        Self { last, list }
    }

    /// The record that the page before ended with.
    ///
    /// Errors: `Invalid`, field `page_token`, for a token of another list.
    pub fn last_of(self, list: Fingerprint) -> Result<Id> {
        if self.list != list {
            let wanted = "must come from a call with the same filters; leave it out for the first page";
            return Err(Error::invalid("page_token", wanted));
        }
        Ok(self.last)
    }
}

/// Opaque to callers: 43 characters of base64url.
impl std::fmt::Display for PageToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode([*self.last.as_bytes(), *self.list.as_bytes()].concat()))
    }
}

impl FromStr for PageToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::invalid("page_token", "must be a next_page_token as it was returned");
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong())?;
        let (last, list) = bytes.split_first_chunk::<16>().ok_or_else(wrong)?;
        let list = Fingerprint::from_bytes(list.try_into().map_err(|_| wrong())?);
        Ok(Self { last: Id::from_bytes(*last), list })
    }
}
