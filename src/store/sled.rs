//! The embedded store: sled 0.34.7, with the durability that it lacks by itself.
//!
//! How a commit is made durable: one thread (`committer`) owns all writing. It takes what has queued, judges the
//! preconditions, writes the group to the `journal` with one fdatasync, and answers. The newest commits lie in memory above
//! sled (`table`), and settle into it when a file of the journal is full (`settler`). Any error on that way ends writing.
//!
//! Why not into sled at once: an atomic batch of sled costs several times a write to a file, and most of what a
//! verification writes is written again, or deleted, within seconds. What settles is the last of it.
//!
//! What a reader sees: only what is durable. One `get` sees the state between two groups; two of them, or a `scan` of more
//! than 128 records, may fall on both sides of a group. That breaks no rule: whoever decides by what it read commits
//! under a precondition.
//!
//! What is known of sled 0.34.7, from its source and from tests here:
//!
//! - `flush` hands buffers to the kernel and calls `sync_file_range`, which neither writes the file's size nor empties
//!   the disk's cache. It does so in a thread of its own pool, whose errors come back through the next call.
//! - Recovery believes that everything before the "stable" mark of the newest segment header is on the disk, and a
//!   segment is used again one segment later, though neither was synced. After a power cut both are true only if what
//!   was written since the last sync lies in at most two segments. Hence segments of 2 MiB (the default is 512 KiB) and
//!   a sync after each 256 KiB of keys and values that settle; the log takes 4 to 5 times that.
//! - A node (up to two dozen neighbouring entries) above a quarter of a segment goes to a file under `blobs/`, which is
//!   never synced and is skipped in silence when missing. No entry here is longer than 16 KiB, so that never happens.
//! - `get` and iteration split and merge nodes that they pass, and an iterator keeps a copy of its node, so readers and
//!   writers in several threads meet in places where a just-inserted key was once seen to be missing. Here one thread
//!   at a time is in the tree (`table`).
//! - Space is given back by moving one page for each node rewritten, when a segment is less than half alive, or by
//!   sled's flusher, which is off. So the file holds several times what lives: with 100 thousand life cycles alive
//!   (58 MiB of values) it levels off near 270 MiB. Larger segments make it larger: 8 MiB doubled it.
//! - The cache counts bytes as on disk; resident memory grows to about twice that. Pages that are not in it are read
//!   inline from the file, as a rule from the kernel's cache.
//! - `conf` and the directories are never synced (`files` does it), the lock is released a moment after a drop, and
//!   opening reads every segment since the last opening.

use std::fs::File;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use serde::Deserialize;
use sled::IVec;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Reason, Result};
use crate::store::sled::answers::Homes;
use crate::store::sled::committer::{Committer, Tally};
use crate::store::sled::files::{Disk, Files};
use crate::store::sled::journal::Found;
use crate::store::sled::pace::Pace;
use crate::store::sled::queue::{Job, Queue};
use crate::store::sled::rewrite::{Ground, Rewriting};
use crate::store::sled::settler::Settler;
use crate::store::sled::snapshot::TableSnapshot;
use crate::store::sled::sweep::Sweeper;
use crate::store::sled::table::{Durable, Entry, Table};
use crate::store::space::PART_SPACE;
use crate::store::{
    Batch, Commit, Key, KeyBytes, MAX_SCAN_ROWS, MAX_VALUE_BYTES, Order, Prefix, Record, Rewrite, SEAL_BYTES, Snapshot,
    Store, WholeStore, Write,
};

pub use crate::store::sled::files::{is_in_use, look};

mod answers;
mod committer;
mod fault;
mod files;
mod journal;
mod pace;
mod presence;
mod queue;
mod record;
mod rewrite;
mod settler;
mod snapshot;
mod sweep;
mod table;
mod tap;

/// Settings of the embedded store.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The directory that holds the database; made when missing. One process at a time can use it.
    pub path: PathBuf,
    /// Bytes of records to keep in memory. Takes about twice that of real memory once full.
    /// Default 64 MiB.
    pub cache_bytes: u64,
    /// Bytes of the newest commits that stay in memory, and in a journal of two files of this length each, before they
    /// settle into the database. Takes up to about three times that of real memory under load, and on opening as long
    /// as it takes to settle them. Default 16 MiB.
    pub journal_bytes: u64,
    /// Commits that may wait to be written before more are refused as overload. Default 1024: some tens of
    /// milliseconds of work on a fast disk.
    pub max_waiting_commits: usize,
}

/// Keeps records in a directory of this machine. Closes itself when dropped.
pub struct SledStore {
    /// What every part of it stands on.
    ground: Ground,
    clock: Arc<dyn Clock>,
    table: Arc<Table>,
    queue: Arc<Queue>,
    homes: Arc<Homes>,
    /// Held until it is closed.
    lock: Mutex<Option<File>>,
    tally: Arc<Tally>,
    committer: Mutex<Option<JoinHandle<()>>>,
    sweeper: AbortHandle,
}

/// How much one store has committed since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Commits answered; conflicts and slices of the sweeper included.
    pub commits: u64,
    /// Groups that they were answered in.
    pub groups: u64,
}

/// A key, and what lies under it from then on; `None` for nothing.
pub type JournalEntry = (Vec<u8>, Option<Vec<u8>>);

/// Records that a scan looks at in one turn at the table, so that nobody waits long for a scan.
const SCAN_TURN_RECORDS: usize = 128;

/// What the two files of a journal hold, in the order in which it was written; `None` when they are damaged. For who
/// looks at a journal without opening the store.
pub fn read_journal(files: &[Vec<u8>; 2]) -> Option<Vec<JournalEntry>> {
    let found = Found::read(files, false).ok()?;
    let entry = |(key, stored): (KeyBytes, Option<IVec>)| (key.to_vec(), stored.map(|stored| stored.to_vec()));
    Some(found.changes.into_iter().map(entry).collect())
}

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathBuf::from("verigate-data"),
            cache_bytes: 64 * 1024 * 1024,
            journal_bytes: 16 * 1024 * 1024,
            max_waiting_commits: 1024,
        }
    }
}

// === impl SledStore ===

impl SledStore {
    /// Opens or creates the database; after a crash, recovers it first. Blocks for as long as that takes, and must be
    /// called within a Tokio runtime, which then runs the sweeper.
    ///
    /// Error: `Unavailable`, with a message for the operator, when the directory cannot be used or another process is
    /// using it.
    pub fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Self> {
        let runtime = Handle::try_current().map_err(Error::internal)?;
        let Files { db, disk, recovered, lock } = files::open(&config.path, config.cache_bytes, config.journal_bytes)?;
        let table = Arc::new(Table::new(sled::Tree::clone(&db)));
        let disk = Arc::new(Mutex::new(Some(disk)));
        let settler = Settler {
            disk: Arc::clone(&disk),
            table: Arc::clone(&table),
            cache_bytes: config.cache_bytes,
            clock: Arc::clone(&clock),
            pace: Arc::new(Pace::new(config.journal_bytes)),
        };
        let mut journal = recovered.journal;
        let known = |(key, stored)| (key, Entry { stored, covers: true });
        table.apply(recovered.changes.into_iter().map(known))?;
        settler.settle(&*table.freeze()?)?;
        journal.begin().map_err(fault::unwritten)?;
        files::end_making(&config.path).map_err(fault::unwritten)?;
        let queue = Arc::new(Queue::new(config.max_waiting_commits));
        let homes = Arc::<Homes>::default();
        let (shared, path) = ((Arc::clone(&table), Arc::clone(&queue), Arc::clone(&homes)), config.path.clone());
        let committer = Committer::new(journal, settler, shared, path, Arc::clone(&clock));
        let tally = Arc::clone(&committer.tally);
        let committer = std::thread::Builder::new()
            .name("store-committer".to_owned())
            .spawn(move || committer.run())
            .map_err(fault::broken)?;
        let sweeper = Sweeper { table: Arc::clone(&table), queue: Arc::clone(&queue), clock: Arc::clone(&clock) };
        let sweeper = runtime.spawn(sweeper.run()).abort_handle();
        let committer = Mutex::new(Some(committer));
        let ground = Ground {
            path: config.path.clone(),
            cache_bytes: config.cache_bytes,
            disk,
            table: Arc::clone(&table),
            queue: Arc::clone(&queue),
            clock: Arc::clone(&clock),
        };
        let lock = Mutex::new(Some(lock));
        Ok(Self { ground, clock, table, queue, homes, lock, tally, committer, sweeper })
    }

    /// Writes what has been queued, then lets go of the files; every later call is refused. Blocks for as long as that
    /// takes.
    pub fn close(&self) {
        self.queue.close();
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(committer) = committer else { return };
        // A panic of the committer has already been reported to every caller.
        drop(committer.join());
        self.sweeper.abort();
        self.table.close();
        let disk = self.ground.disk.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Disk { db, data, folder }) = disk {
            drop((db, data));
            files::wait_until_unlocked(&folder);
        }
        if let Some(lock) = self.lock.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // A process that is being started by this one holds the file, too, until it has become another program. Where
            // it cannot be unlocked, that is left for the drop.
            drop(lock.unlock());
        }
    }

    /// Deletes every expired record now; returns how many. For tests and tools: the store sweeps by itself.
    pub async fn sweep_now(&self) -> Result<usize> {
        let sweeper =
            Sweeper { table: Arc::clone(&self.table), queue: Arc::clone(&self.queue), clock: Arc::clone(&self.clock) };
        sweeper.walk().await
    }

    pub fn figures(&self) -> Figures {
        Figures {
            commits: self.tally.commits.load(Ordering::Relaxed),
            groups: self.tally.groups.load(Ordering::Relaxed),
        }
    }
}

#[async_trait]
impl Store for SledStore {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        let now = self.clock.now();
        self.table.read(|durable| {
            let Some(stored) = durable.get(key.bytes())? else { return Ok(None) };
            Ok(record::read(durable, key.bytes(), &stored, now)?.map(|(_, record)| record))
        })
    }

    async fn scan(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        let now = self.clock.now();
        let mut after = after.map(|after| KeyBytes::from(after.bytes()));
        let limit = limit.min(MAX_SCAN_ROWS);
        let mut rows = Vec::new();
        while rows.len() < limit {
            after = self.table.read(|durable| scan_turn(durable, after.take(), prefix, now, limit, &mut rows))?;
            if after.is_none() {
                break;
            }
        }
        Ok(rows)
    }

    async fn commit(&self, batch: Batch) -> Result<Commit> {
        check(&batch)?;
        let (caller, answered) = self.homes.caller();
        self.queue.push(Job::Commit { batch, caller })?;
        answered.await.unwrap_or_else(|_| Err(self.queue.why_unanswered()))
    }

    fn ready(&self) -> Result<()> {
        self.queue.refusal().map_or(Ok(()), Err)
    }

    fn is_shared(&self) -> bool {
        false
    }
}

#[async_trait]
impl WholeStore for SledStore {
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        let snapshot = TableSnapshot::begin(Arc::clone(&self.table), Arc::clone(&self.clock))?;
        Ok(Box::new(snapshot))
    }

    async fn rewrite(&self) -> Result<Box<dyn Rewrite>> {
        Ok(Box::new(Rewriting::begin(self.ground.clone()).await?))
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.close();
    }
}

/// Looks at the next records of a scan, live or not, and returns the key to go on after, if there may be more.
fn scan_turn(
    durable: &Durable,
    after: Option<KeyBytes>,
    prefix: &Prefix,
    now: Timestamp,
    limit: usize,
    rows: &mut Vec<(Key, Record)>,
) -> Result<Option<KeyBytes>> {
    let (first, beyond) = (Bound::Included(KeyBytes::from(&*prefix.bytes)), after_all_with(&prefix.bytes));
    let is_before = |key: &KeyBytes| **key < *prefix.bytes;
    let (first, beyond) = match (prefix.order, after) {
        (Order::Ascending, Some(after)) if after.starts_with(&prefix.bytes) => (Bound::Excluded(after), beyond),
        (Order::Descending, Some(after)) if after.starts_with(&prefix.bytes) => (first, Bound::Excluded(after)),
        // Beyond the end that the scan goes to.
        (Order::Ascending, Some(after)) if !is_before(&after) => return Ok(None),
        (Order::Descending, Some(after)) if is_before(&after) => return Ok(None),
        _ => (first, beyond),
    };
    // Expired ones do not count, hence some more than are asked for.
    let turn = (limit - rows.len()).clamp(SCAN_TURN_RECORDS / 8, SCAN_TURN_RECORDS);
    let entries = durable.range(&first, &beyond, prefix.order == Order::Descending, turn)?;
    let mut last = None;
    let more = entries.len() == turn;
    for (key, stored) in entries {
        if !key.starts_with(&prefix.bytes) || rows.len() == limit {
            return Ok(None);
        }
        if let Some((header, record)) = record::read(durable, &key, &stored, now)? {
            rows.push((Key::new(header.partition, &*key), record));
        }
        last = Some(key);
    }
    Ok(last.filter(|_| more))
}

/// The first place after all keys with a prefix, and before the store's own.
fn after_all_with(prefix: &[u8]) -> Bound<KeyBytes> {
    let significant = prefix.iter().rposition(|byte| *byte != u8::MAX).map_or(0, |last| last + 1);
    let mut beyond = prefix[..significant].to_vec();
    match beyond.last_mut() {
        Some(last) => *last += 1,
        None => beyond.push(PART_SPACE),
    }
    Bound::Excluded(KeyBytes::from(beyond))
}

/// What cannot be stored at all is told before it queues.
fn check(batch: &Batch) -> Result<()> {
    for (key, write) in batch.writes() {
        if key.bytes().first() == Some(&PART_SPACE) {
            return Err(Error::internal("a key begins with the byte that the store keeps for itself"));
        }
        if let Write::Put { value, .. } = write
            && value.len() > MAX_VALUE_BYTES + SEAL_BYTES
        {
            let message = format!("a record of {} bytes is larger than the {MAX_VALUE_BYTES} that fit", value.len());
            return Err(Error::new(Kind::Invalid, Reason::InvalidField, message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::id::Partition;
    use crate::store::Condition;

    #[tokio::test]
    async fn the_sweeper_spares_what_was_put_again_since_it_looked() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config { path: directory.path().to_owned(), ..Config::default() };
        let clock = ManualClock::new(Timestamp::from_millis(1_000));
        let store = SledStore::open(&config, Arc::new(clock.clone())).unwrap();
        let key = Key::new(Partition::new(0), *b"key");
        let put = async |value: &[u8]| {
            let batch = Batch::new(Partition::new(0)).put(key.clone(), value.to_vec(), None);
            match store.commit(batch).await.unwrap() {
                Commit::Committed(version) => version,
                Commit::Conflict => panic!("there was no condition"),
            }
        };
        let forget = async |version| {
            let (answer, answered) = tokio::sync::oneshot::channel();
            store.queue.push(Job::Forget { records: vec![(KeyBytes::from(key.bytes()), version)], answer }).unwrap();
            answered.await.unwrap()
        };
        let seen = put(b"old").await;
        let again = put(b"new").await;
        assert_eq!(forget(seen).await, 0);
        assert_eq!(store.get(&key).await.unwrap().unwrap().value, b"new");
        assert_eq!(forget(again).await, 1);
        assert!(store.get(&key).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_closed_store_can_be_opened_whoever_still_holds_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config { path: directory.path().to_owned(), ..Config::default() };
        let open = || SledStore::open(&config, Arc::new(ManualClock::new(Timestamp::from_millis(1_000))));
        let store = open().unwrap();
        // As a child has it between its fork and its exec.
        let inherited = store.lock.lock().unwrap().as_ref().unwrap().try_clone().unwrap();
        assert!(open().is_err(), "one that is open is in use");
        store.close();
        assert!(open().is_ok());
        drop(inherited);
    }

    #[test]
    fn a_store_needs_a_runtime_and_known_settings() {
        let clock = Arc::new(ManualClock::new(Timestamp::default()));
        assert!(SledStore::open(&Config::default(), clock).is_err());
        let read = |text| serde_json::from_str::<Config>(text);
        assert_eq!(read(r#"{"cache_bytes": 1}"#).unwrap(), Config { cache_bytes: 1, ..Config::default() });
        assert!(read(r#"{"cache": 1}"#).is_err());
    }

    /// What one caller does to keys of its own, some of which expire, and what must be there then.
    async fn change_and_look(store: &SledStore, clock: &ManualClock, caller: u64) {
        const KEYS: u64 = 30;
        let partition = Partition::new(0);
        let key = |number: u64| Key::new(partition, [caller.to_be_bytes(), number.to_be_bytes()].concat());
        let mut there = std::collections::BTreeMap::new();
        for turn in 0..300 {
            let number = turn * 7 % KEYS;
            let key_of_turn = key(number);
            let batch = Batch::new(partition);
            let batch = match there.get(&number) {
                Some(version) => batch.require_that(&key_of_turn, Condition::At(*version)),
                None => batch.require_that(&key_of_turn, Condition::Absent),
            };
            let deletes = there.contains_key(&number) && turn % 3 > 0;
            let expires_at = (turn % 5 == 0).then(|| clock.now());
            let batch = match deletes {
                true => batch.delete(key_of_turn),
                false => batch.put(key_of_turn, vec![1; 200], expires_at),
            };
            let Commit::Committed(version) = store.commit(batch).await.unwrap() else { panic!("{caller}: {number}") };
            match deletes || expires_at.is_some() {
                true => there.remove(&number),
                false => there.insert(number, version),
            };
            for number in 0..KEYS {
                let found = store.get(&key(number)).await.unwrap().map(|record| record.version);
                assert_eq!(found.as_ref(), there.get(&number), "{caller}: {number} after {turn}");
            }
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn callers_see_what_they_did_while_it_settles_and_the_keys_are_found_out_anew() {
        let directory = tempfile::tempdir().unwrap();
        let config = Config { path: directory.path().to_owned(), journal_bytes: 16 * 1024, ..Config::default() };
        let clock = ManualClock::new(Timestamp::from_millis(1_000));
        for round in 0..2 {
            let store = Arc::new(SledStore::open(&config, Arc::new(clock.clone())).unwrap());
            assert_eq!(store.table.is_known().unwrap(), round == 0, "only an empty tree is known when it is opened");
            let callers = (0..4).map(|caller| {
                let (store, clock) = (Arc::clone(&store), clock.clone());
                tokio::spawn(async move { change_and_look(&store, &clock, round * 4 + caller).await })
            });
            let callers = callers.collect::<Vec<_>>();
            while callers.iter().any(|caller| !caller.is_finished()) {
                store.sweep_now().await.unwrap();
                assert!(store.table.is_known().unwrap());
            }
            for caller in callers {
                caller.await.unwrap();
            }
            let is_ruled_out =
                |number: &u64| store.table.read(|durable| Ok(durable.rules_out(&number.to_be_bytes()))).unwrap();
            assert!((0..1_000).filter(is_ruled_out).count() > 990);
        }
    }
}
