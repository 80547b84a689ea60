//! The one thread that writes: takes what has queued, judges each batch, writes what passed as one sled batch, makes
//! the whole group durable with one flush and one fdatasync, and only then answers.
//!
//! The first error of a write or a sync is the last thing that this thread does. After a failed sync nobody can say
//! which pages the kernel has dropped, so going on would answer for writes that are not there.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sled::{Db, IVec};
use tokio::sync::oneshot;

use crate::clock::{Clock, Timestamp};
use crate::error::Result;
use crate::store::sled::queue::{Job, Queue};
use crate::store::sled::record::{self, Header};
use crate::store::sled::table::{self, Table};
use crate::store::{Batch, Commit, Condition, Version, Write};

/// Owns all writing.
pub(crate) struct Committer {
    pub(crate) db: Db,
    pub(crate) table: Arc<Table>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) clock: Arc<dyn Clock>,
    /// sled's data file, opened apart so that it can be synced.
    pub(crate) data: File,
    pub(crate) tally: Arc<Tally>,
}

/// What the committer has done since it started.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) groups: AtomicU64,
    pub(crate) commits: AtomicU64,
}

/// What a group has decided and not yet written.
#[derive(Default)]
struct Group {
    /// What will lie under each key touched so far; `None` for nothing.
    headers: HashMap<IVec, Option<Header>>,
    writes: Option<sled::Batch>,
    /// The keys of all writes, those of further parts among them.
    keys: BTreeSet<IVec>,
    answers: Vec<Answer>,
}

/// A caller and what it will hear.
enum Answer {
    Commit(oneshot::Sender<Result<Commit>>, Result<Commit>),
    Forget(oneshot::Sender<usize>, usize),
}

/// Has the queue refuse everything if the thread panics.
struct FailOnPanic(Arc<Queue>);

// === impl Committer ===

impl Committer {
    /// Works until the queue is closed and empty, or something fails.
    pub(crate) fn run(self) {
        let _fail_on_panic = FailOnPanic(Arc::clone(&self.queue));
        while let Some(jobs) = self.queue.take() {
            let now = self.clock.now();
            let mut group = Group::default();
            for job in jobs {
                let answer = self.judge(job, &mut group, now);
                group.answers.push(answer);
            }
            if let Err(error) = self.make_durable(&mut group) {
                // Before the answers are dropped, so that whoever waits for one finds the cause.
                self.queue.fail(format!("{error:?}"));
                return;
            }
            self.tally.groups.fetch_add(1, Ordering::Relaxed);
            self.tally.commits.fetch_add(group.answers.len() as u64, Ordering::Relaxed);
            group.answers.into_iter().for_each(Answer::send);
        }
    }

    fn judge(&self, job: Job, group: &mut Group, now: Timestamp) -> Answer {
        match job {
            Job::Commit { batch, answer } => {
                let outcome = self.judge_batch(&batch, group, now);
                Answer::Commit(answer, outcome)
            }
            Job::Forget { records, answer } => {
                let forgotten = records.into_iter().filter(|(key, version)| self.forget(key, *version, group));
                Answer::Forget(answer, forgotten.count())
            }
        }
    }

    fn judge_batch(&self, batch: &Batch, group: &mut Group, now: Timestamp) -> Result<Commit> {
        for (key, condition) in batch.conditions() {
            let found = self.header(key.bytes(), group)?.filter(|header| header.is_live(now));
            let holds = match condition {
                Condition::Absent => found.is_none(),
                Condition::At(version) => found.is_some_and(|header| header.version == *version),
            };
            if !holds {
                return Ok(Commit::Conflict);
            }
        }
        let version = Version(self.db.generate_id().map_err(table::broken)?);
        // All that can fail comes before the first change, so that a batch never gets into its group in part.
        let mut changes = Vec::with_capacity(batch.writes().len());
        for (key, write) in batch.writes() {
            let old = self.header(key.bytes(), group)?;
            let new = match write {
                Write::Delete => None,
                Write::Put { value, expires_at } => {
                    let header = Header::new(version, *expires_at, key.partition());
                    Some(record::encode(key.bytes(), header, value)?)
                }
            };
            changes.push((key.bytes(), old, new));
        }
        for (key, old, new) in changes {
            group.change(key, old, new);
        }
        Ok(Commit::Committed(version))
    }

    /// Deletes a record if it is still the one that was meant. One that cannot be read is left for the next walk.
    fn forget(&self, key: &[u8], version: Version, group: &mut Group) -> bool {
        let Ok(Some(header)) = self.header(key, group) else { return false };
        if header.version != version {
            return false;
        }
        group.change(key, Some(header), None);
        true
    }

    /// What lies under `key`, live or not, as this group will leave it.
    fn header(&self, key: &[u8], group: &Group) -> Result<Option<Header>> {
        if let Some(header) = group.headers.get(key) {
            return Ok(*header);
        }
        let stored = self.table.read(|durable| durable.get(key))?;
        stored.map(|stored| record::decode(&stored).map(|(header, _)| header)).transpose()
    }

    fn make_durable(&self, group: &mut Group) -> Result<()> {
        let Some(writes) = group.writes.take() else {
            return Ok(());
        };
        self.table.apply(writes, std::mem::take(&mut group.keys))?;
        // `flush` hands sled's buffers to the kernel, and only the sync brings them to the disk.
        self.db.flush().map_err(table::broken)?;
        self.data.sync_data().map_err(table::broken)?;
        self.table.settle()
    }
}

// === impl Group ===

impl Group {
    fn change(&mut self, key: &[u8], old: Option<Header>, new: Option<(Header, Vec<(IVec, IVec)>)>) {
        let writes = self.writes.get_or_insert_default();
        // Later writes of a sled batch replace earlier ones of the same key.
        for part_key in old.iter().flat_map(|old| old.part_keys(key)) {
            self.keys.insert(part_key.clone());
            writes.remove(part_key);
        }
        match new {
            Some((header, entries)) => {
                for (entry_key, stored) in entries {
                    self.keys.insert(entry_key.clone());
                    writes.insert(entry_key, stored);
                }
                self.headers.insert(IVec::from(key), Some(header));
            }
            None => {
                self.keys.insert(IVec::from(key));
                writes.remove(key);
                self.headers.insert(IVec::from(key), None);
            }
        }
    }
}

// === impl Answer ===

impl Answer {
    /// A caller who has gone away is no fault.
    fn send(self) {
        match self {
            Self::Commit(caller, outcome) => drop(caller.send(outcome)),
            Self::Forget(caller, forgotten) => drop(caller.send(forgotten)),
        }
    }
}

// === impl FailOnPanic ===

impl Drop for FailOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the committer panicked");
        }
    }
}
