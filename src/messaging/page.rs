//! Pages of records, newest first (AIP-158): where a page begins, where it ends, and the token that leads to the next.
//!
//! A page goes on where the last one ended, by id, so what is added meanwhile neither repeats nor hides a record.

use std::ops::RangeInclusive;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;
use crate::error::{Error, Result, Violation};
use crate::id::Id;
use crate::messaging::holder::Ground;
use crate::store::keys::Fingerprint;
use crate::store::{Key, Prefix};

/// Records on a page, when the caller does not say.
pub const DEFAULT_SIZE: usize = 50;
/// Records that a caller may ask for.
pub const SIZES: RangeInclusive<usize> = 1..=500;

/// Records looked at for one page. A page may be shorter than asked for, even empty, with more to come.
const MAX_LOOKED_AT: usize = 2_000;
/// Keys read at a time.
const SLICE: usize = 256;

/// Which page of which list.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// One of [`SIZES`], or [`DEFAULT_SIZE`].
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
}

// === impl PageRequest ===

impl PageRequest {
    /// What is wrong with it, if anything.
    pub fn check(&self) -> Vec<Violation> {
        let violation = |field: &str, description: String| Violation { field: field.to_owned(), description };
        let size = self.size.filter(|size| !SIZES.contains(size));
        let size = size.map(|_| violation("page_size", format!("must be {} to {}", SIZES.start(), SIZES.end())));
        let backwards = self.from.zip(self.before).filter(|(from, before)| from >= before);
        let backwards =
            backwards.map(|_| violation("create_time_before", "must be later than create_time_from".to_owned()));
        size.into_iter().chain(backwards).collect()
    }

    /// Begins the page of a list. `list` condenses what is asked for beside the page itself.
    ///
    /// Errors: `Invalid`, field `page_token`, for a token of another list.
    pub fn begin(&self, source: Source, list: Fingerprint) -> Result<Pager> {
        if self.token.is_some_and(|token| token.list != list) {
            let wanted = "must come from a call with the same filters; leave it out for the first page";
            return Err(Error::invalid("page_token", wanted));
        }
        let before = self.token.map(|token| token.last).or(self.before.map(Id::first_at));
        let size = self.size.unwrap_or(DEFAULT_SIZE);
        Ok(Pager { source, list, from: self.from, before, size, looked_at: 0 })
    }
}

// === impl Pager ===

impl Pager {
    /// Fills the page: `load` reads a record and says whether it belongs to the list.
    pub async fn fill<T>(mut self, ground: &Ground, load: impl AsyncFn(Id) -> Result<Option<T>>) -> Result<Page<T>> {
        let mut items = Vec::new();
        loop {
            let ids = self.slice(ground).await?;
            if ids.is_empty() {
                return Ok(Page { items, next: None });
            }
            for id in ids {
                if items.len() == self.size || self.looked_at == MAX_LOOKED_AT {
                    let next = self.before.map(|last| PageToken { last, list: self.list });
                    return Ok(Page { items, next });
                }
                self.before = Some(id);
                self.looked_at += 1;
                items.extend(load(id).await?);
            }
        }
    }

    /// The next ids, newest first.
    async fn slice(&self, ground: &Ground) -> Result<Vec<Id>> {
        let old_enough = |id: &Id| self.from.is_none_or(|from| id.created_at() >= from);
        match &self.source {
            Source::Keys(prefix) => {
                let after = self.before.map(|id| Key::new(id.partition(), [&*prefix.bytes, id.as_bytes()].concat()));
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
