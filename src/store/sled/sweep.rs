//! The sweeper: walks all records in small slices and has the committer delete those that have expired.
//!
//! Nothing depends on it for being right, because expired records count as absent at once; it only gives space back.
//! It deletes a record only at the version that it saw, so one that was put again meanwhile survives.
//!
//! Spaces in order of time expire at their low end and hashed ones anywhere, and no index says where, so it walks
//! everything: fast through a stretch where much has expired, slower where nothing has. At one million live records and
//! nothing to find, a walk is 7,800 slices, takes 80 seconds and about one second of a core.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use sled::IVec;
use tokio::sync::oneshot;

use crate::clock::{Clock, Timestamp};
use crate::error::Result;
use crate::store::Version;
use crate::store::sled::fault;
use crate::store::sled::queue::{Job, Queue};
use crate::store::sled::record::{self, PART_SPACE};
use crate::store::sled::table::Table;

/// Walks a table for as long as its queue is open.
pub(crate) struct Sweeper {
    pub(crate) table: Arc<Table>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What one slice came to.
struct Slice {
    /// Where the next slice begins, exclusively; `None` at the end of the walk.
    last: Option<IVec>,
    found: usize,
    forgotten: usize,
}

/// Records that the sweeper looks at in one turn at the table, about 0.1 ms; and most turns in one slice.
const LOOK_RECORDS: usize = 128;
const MAX_LOOKS: usize = 16;

/// After a slice where much has expired.
const SHORT_PAUSE: Duration = Duration::from_millis(1);
/// At most, after slices where nothing has.
const LONG_PAUSE: Duration = Duration::from_millis(10);
/// After a walk, so that a small store is not walked without end; and when the store has more to do than it can.
const REST: Duration = Duration::from_secs(1);

// === impl Sweeper ===

impl Sweeper {
    /// Walks round and round; ends when the store is closed or has failed.
    pub(crate) async fn run(self) {
        let mut after = None;
        let mut pace = LONG_PAUSE;
        let mut pause = REST;
        loop {
            self.clock.sleep_until(self.clock.now() + pause).await;
            match self.slice(after.as_ref()).await {
                Ok(slice) => {
                    let much = slice.found >= LOOK_RECORDS / 8;
                    pace = if much { SHORT_PAUSE } else { (pace * 2).min(LONG_PAUSE) };
                    pause = if slice.last.is_some() { pace } else { REST };
                    after = slice.last;
                }
                Err(error) if fault::passes(&error) => pause = REST,
                Err(_) => return,
            }
        }
    }

    /// One whole walk without pauses; returns how many records it deleted.
    pub(crate) async fn walk(&self) -> Result<usize> {
        let mut forgotten = 0;
        let mut after = None;
        loop {
            let slice = self.slice(after.as_ref()).await?;
            forgotten += slice.forgotten;
            match slice.last {
                Some(last) => after = Some(last),
                None => return Ok(forgotten),
            }
        }
    }

    async fn slice(&self, after: Option<&IVec>) -> Result<Slice> {
        let now = self.clock.now();
        let mut expired = Vec::new();
        let mut last = after.cloned();
        for _ in 0..MAX_LOOKS {
            last = self.look(last.as_ref(), now, &mut expired)?;
            // Where some have expired more are likely, and a commit is worth more than a few.
            if last.is_none() || expired.is_empty() || expired.len() >= LOOK_RECORDS {
                break;
            }
            tokio::task::yield_now().await;
        }
        let found = expired.len();
        let forgotten = if found == 0 { 0 } else { self.forget(expired).await? };
        Ok(Slice { last, found, forgotten })
    }

    /// Looks at the next records and returns the last of them, if there may be more.
    fn look(&self, after: Option<&IVec>, now: Timestamp, expired: &mut Vec<(IVec, Version)>) -> Result<Option<IVec>> {
        let begin = after.cloned().map_or(Bound::Unbounded, Bound::Excluded);
        let end = Bound::Excluded(IVec::from(&[PART_SPACE]));
        let mut entries = self.table.read(|durable| durable.range(&begin, &end, false, LOOK_RECORDS))?;
        for (key, stored) in &entries {
            // What is no record of ours is not ours to delete.
            if let Ok((header, _)) = record::decode(stored)
                && !header.is_live(now)
            {
                expired.push((key.clone(), header.version));
            }
        }
        let last = entries.pop().map(|(key, _)| key);
        Ok(last.filter(|_| entries.len() + 1 == LOOK_RECORDS))
    }

    async fn forget(&self, records: Vec<(IVec, Version)>) -> Result<usize> {
        let (answer, answered) = oneshot::channel();
        self.queue.push(Job::Forget { records, answer })?;
        answered.await.map_err(|_| self.queue.why_unanswered())
    }
}
