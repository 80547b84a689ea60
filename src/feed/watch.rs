//! One reader of a tenant's feed: goes on after a cursor, and notices when something is missing there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::feed::cursor::Cursor;
use crate::feed::entry::Entry;
use crate::feed::feeds::Feeds;
use crate::feed::kinds::Wanted;
use crate::feed::telling::Told;
use crate::id::TenantName;
use crate::messaging::watches::stopping;
use crate::store::keys::TenantTag;

/// Entries read at a time: all that a reader keeps in memory, however slow it is.
const SLICE: usize = 64;

/// How often the feed is looked at though nobody told of news.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// Who wants few of many events is told from time to time where it has come to, so that it can come back there.
const MOST_PASSED: u32 = 100;
const LONGEST_SILENCE: Duration = Duration::from_secs(3600);

/// How often a feed is asked to be written on, while it is watched.
const RENEWAL: Duration = Duration::from_secs(3600);

/// One tenant's events as they happen.
pub struct FeedWatch {
    feeds: Arc<Feeds>,
    tenant: TenantName,
    tag: TenantTag,
    wanted: Wanted,
    told: watch::Receiver<()>,
    /// The last entry that was looked at.
    last: u64,
    read: VecDeque<(u64, Entry)>,
    /// Entries passed over since something was told.
    passed: u32,
    told_at: Timestamp,
    renewed_at: Timestamp,
}

/// What a watch tells: an event, or only where it has come to.
#[derive(Debug, Clone)]
pub struct Seen {
    pub cursor: Cursor,
    pub event: Option<Told>,
}

// === impl Feeds ===

impl Feeds {
    /// Watches a tenant's events: those after `after`, else those from now on. What is told first is where that begins.
    ///
    /// Errors: `Invalid`, field `types` or `after`; `Precondition`/`CursorTooOld` when events after the cursor are gone.
    pub async fn watch(
        self: &Arc<Self>,
        tenant: &TenantName,
        after: Option<Cursor>,
        wanted: Wanted,
    ) -> Result<(Seen, FeedWatch)> {
        let violations = wanted.violations("types");
        if !violations.is_empty() {
            return Err(Error::invalid_fields(violations));
        }
        let tag = self.outbox.ground.keys.tenant(tenant);
        let told = self.shelf.listen(tag);
        let newest = self.endpoints.watch(tag).await?;
        let last = after.map_or(newest, |Cursor(after)| after);
        if last > newest {
            return Err(Error::invalid("after", "must be a cursor as it was told to this tenant"));
        }
        let now = self.outbox.ground.clock.now();
        let mut watch = FeedWatch {
            feeds: Arc::clone(self),
            tenant: tenant.clone(),
            tag,
            wanted,
            told,
            last,
            read: VecDeque::new(),
            passed: 0,
            told_at: now,
            renewed_at: now,
        };
        // A gap is the answer to the call, not something in the middle of a stream.
        watch.read_on().await?;
        Ok((Seen { cursor: Cursor(last), event: None }, watch))
    }
}

// === impl FeedWatch ===

impl FeedWatch {
    /// The next event that is wanted, once there is one.
    ///
    /// Errors: `Precondition`/`CursorTooOld` when the reader was so slow that events are gone; `Unavailable` when the
    /// server stops.
    pub async fn next(&mut self) -> Result<Seen> {
        loop {
            let now = self.feeds.outbox.ground.clock.now();
            while let Some((number, entry)) = self.read.pop_front() {
                self.last = number;
                if self.wanted.has(entry.kind().name) {
                    let event = self.feeds.teller.tell(&self.tenant, &entry).await?;
                    return Ok(self.seen(Some(event), now));
                }
                self.passed += 1;
            }
            if self.passed >= MOST_PASSED || (self.passed > 0 && now.since(self.told_at) >= LONGEST_SILENCE) {
                return Ok(self.seen(None, now));
            }
            if now.since(self.renewed_at) >= RENEWAL {
                self.feeds.endpoints.watch(self.tag).await?;
                self.renewed_at = now;
            }
            self.told.mark_unchanged();
            if self.read_on().await? {
                continue;
            }
            tokio::select! {
                _ = self.told.changed() => {}
                () = self.feeds.outbox.ground.clock.sleep_until(now + LOOK_AGAIN) => {}
                () = self.feeds.outbox.stopped().cancelled() => return Err(stopping()),
            }
        }
    }

    /// Reads what comes next. False when there is nothing yet.
    async fn read_on(&mut self) -> Result<bool> {
        // First, so that what is in it by then can be read.
        let (_, head) = self.feeds.shelf.head(self.tag).await?;
        let entries = self.feeds.shelf.read(self.tag, self.last, SLICE).await?;
        let mut expected = self.last;
        for (number, _) in &entries {
            expected += 1;
            if *number != expected {
                return Err(too_old());
            }
        }
        if entries.is_empty() && self.last < head.last() {
            return Err(too_old());
        }
        self.read = entries.into();
        Ok(!self.read.is_empty())
    }

    fn seen(&mut self, event: Option<Told>, now: Timestamp) -> Seen {
        self.passed = 0;
        self.told_at = now;
        Seen { cursor: Cursor(self.last), event }
    }
}

fn too_old() -> Error {
    let message = "events after this cursor are gone: read what matters from the records, then watch without a cursor";
    Error::new(Kind::Precondition, Reason::CursorTooOld, message)
}
