//! Writing the files of a store anew, with nothing in them but what lives, while it is in use.
//!
//! sled gives space back without clearing it, and so does the journal: what was deleted or replaced lies on in both, for
//! nobody can say how long. So everything is taken over into a new database beside the old one, key by key in short
//! turns, while whatever settles goes into both; then the new one takes the place of the old one, whose files are
//! deleted. Before that, what had expired is deleted, and both files of the journal are cleared of what was committed
//! until then.
//!
//! A crash at any moment leaves one of the two in use, and the other is deleted on the next opening.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use sled::{Db, IVec};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::store::Rewrite;
use crate::store::sled::files::Disk;
use crate::store::sled::queue::{Job, Queue};
use crate::store::sled::sweep::Sweeper;
use crate::store::sled::table::Table;
use crate::store::sled::{fault, files};

/// What it takes to write the files anew.
#[derive(Clone)]
pub(crate) struct Ground {
    pub(crate) path: PathBuf,
    pub(crate) cache_bytes: u64,
    pub(crate) disk: Arc<Mutex<Option<Disk>>>,
    pub(crate) table: Arc<Table>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// New files that are being written.
pub(crate) struct Rewriting {
    ground: Ground,
    folder: PathBuf,
    /// `None` once they are in use.
    next: Option<Next>,
    after: Option<IVec>,
    taken: u64,
    stage: Stage,
}

enum Stage {
    Clearing,
    TakingOver,
    Done,
}

/// A database that is not in use yet. Forgotten when it is dropped before it may be.
struct Next {
    ground: Ground,
    db: Db,
    folder: PathBuf,
    is_in_use: bool,
}

/// Entries taken over in one turn at the table, some hundreds of microseconds.
const TURN_ENTRIES: usize = 32;

/// Turns between two times that somebody is told how far it is.
const TURNS: usize = 64;

/// How often the journal is cleared: once each of its files.
const SCRUBS: usize = 2;

// === impl Rewriting ===

impl Rewriting {
    /// Makes the new database, and has all that settles from now on go into both.
    pub(crate) async fn begin(ground: Ground) -> Result<Self> {
        let making = ground.clone();
        let next = tokio::task::spawn_blocking(move || making.make_next()).await.map_err(Error::internal)??;
        let folder = next.folder.clone();
        Ok(Self { ground, folder, next: Some(next), after: None, taken: 0, stage: Stage::Clearing })
    }

    async fn take_over(&mut self) -> Result<()> {
        let next = self.next.as_ref().ok_or_else(fault::closed)?;
        let (table, db, mut after) = (Arc::clone(&self.ground.table), next.db.clone(), self.after.take());
        let work = move || {
            let mut taken = 0;
            for _ in 0..TURNS {
                let (some, last) = table.take_over(after.as_ref(), TURN_ENTRIES)?;
                (taken, after) = (taken + some, last);
                if after.is_none() {
                    break;
                }
                std::thread::yield_now();
            }
            db.flush().map_err(fault::of_sled)?;
            Ok::<_, Error>((taken, after))
        };
        let (taken, after) = tokio::task::spawn_blocking(work).await.map_err(Error::internal)??;
        self.taken += taken as u64;
        if after.is_none() {
            self.change_over().await?;
            self.stage = Stage::Done;
        }
        self.after = after;
        Ok(())
    }

    async fn change_over(&mut self) -> Result<()> {
        let next = self.next.take().ok_or_else(fault::closed)?;
        let ground = self.ground.clone();
        tokio::task::spawn_blocking(move || ground.change_over(next)).await.map_err(Error::internal)?
    }
}

#[async_trait]
impl Rewrite for Rewriting {
    async fn next(&mut self) -> Result<Option<u64>> {
        match self.stage {
            Stage::Clearing => {
                self.ground.clear().await?;
                self.stage = Stage::TakingOver;
            }
            Stage::TakingOver => self.take_over().await?,
            Stage::Done => return Ok(None),
        }
        Ok(Some(self.taken))
    }

    fn bytes(&self) -> u64 {
        files::bytes_of(&self.folder)
    }
}

// === impl Ground ===

impl Ground {
    fn make_next(&self) -> Result<Next> {
        let disk = self.disk.lock().map_err(|_| panicked())?;
        let disk = disk.as_ref().ok_or_else(fault::closed)?;
        // Before there is anything to be taken away again.
        if self.table.is_filling()? {
            return Err(fault::under_way());
        }
        let (db, folder) = files::create_beside(&self.path, disk, self.cache_bytes)?;
        self.table.fill(sled::Tree::clone(&db))?;
        Ok(Next { ground: self.clone(), db, folder, is_in_use: false })
    }

    /// Deletes what has expired, and has the journal hold nothing of what was committed until now.
    async fn clear(&self) -> Result<()> {
        let (table, queue, clock) = (Arc::clone(&self.table), Arc::clone(&self.queue), Arc::clone(&self.clock));
        Sweeper { table, queue, clock }.walk().await?;
        let mut scrubs = 0;
        while scrubs < SCRUBS {
            let (answer, answered) = oneshot::channel();
            self.queue.push(Job::Scrub { answer })?;
            match answered.await {
                Ok(()) => scrubs += 1,
                Err(_) => self.queue.refusal().map_or(Ok(()), Err)?,
            }
        }
        Ok(())
    }

    /// Puts the new database into the place of the old one. Nothing settles meanwhile, so both hold the same.
    fn change_over(&self, mut next: Next) -> Result<()> {
        let mut disk = self.disk.lock().map_err(|_| panicked())?;
        let in_use = disk.as_mut().ok_or_else(fault::closed)?;
        if !self.table.is_filling()? {
            return Err(fault::broken("the new files could not be written"));
        }
        let data = files::make_ready(&self.path, &next.db, &next.folder).map_err(fault::unwritten)?;
        // Which of the two is in use from here on, after a failure, a crash or while the store closes, only the next
        // opening can say. So nobody deletes either before both are known to have changed places.
        next.is_in_use = true;
        files::make_current(&self.path).map_err(|error| {
            self.queue.fail(format!("{error:?}"));
            fault::broken(error)
        })?;
        let new = Disk { db: Some(next.db.clone()), data, folder: next.folder.clone() };
        let Disk { db, data, folder } = std::mem::replace(in_use, new);
        self.table.filled(true)?;
        drop(disk);
        drop((db, data));
        files::wait_until_unlocked(&folder);
        files::clear_others(&self.path, &next.folder).map_err(fault::broken)
    }
}

// === impl Next ===

impl Drop for Next {
    fn drop(&mut self) {
        if self.is_in_use {
            return;
        }
        // What cannot be deleted is on the next opening; so is that of a closed table, for the folder may be another's by now.
        if self.ground.table.filled(false).is_ok() {
            drop(std::fs::remove_dir_all(&self.folder));
        }
    }
}

fn panicked() -> Error {
    fault::broken("a thread panicked while it used the database")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::error::Reason;
    use crate::id::Partition;
    use crate::store::sled::{Config, SledStore};
    use crate::store::{Batch, Key, Store};

    fn open(place: &tempfile::TempDir) -> SledStore {
        let config = Config { path: place.path().to_owned(), ..Config::default() };
        SledStore::open(&config, Arc::new(ManualClock::new(Timestamp::from_millis(1)))).unwrap()
    }

    fn key(number: u8) -> Key {
        Key::new(Partition::new(0), [b'k', number])
    }

    async fn put(store: &SledStore, number: u8, value: &[u8]) {
        store.commit(Batch::new(Partition::new(0)).put(key(number), value.to_vec(), None)).await.unwrap();
    }

    #[tokio::test]
    async fn what_settles_while_files_are_taken_over_is_in_the_new_ones() {
        let place = tempfile::tempdir().unwrap();
        let store = open(&place);
        for number in 1..100 {
            put(&store, number, b"old").await;
        }
        let mut rewriting = Rewriting::begin(store.ground.clone()).await.unwrap();
        rewriting.next().await.unwrap();
        let (taken, after) = store.table.take_over(None, 50).unwrap();
        assert_eq!(taken, 50);
        // Among those that were taken over and among those that were not, and on both sides of all.
        for number in (0..=100).step_by(4) {
            put(&store, number, b"new").await;
        }
        for number in (1..100).step_by(4) {
            store.commit(Batch::new(Partition::new(0)).delete(key(number))).await.unwrap();
        }
        store.ground.clear().await.unwrap();
        assert_eq!(store.table.take_over(after.as_ref(), 100).unwrap().1, None);
        store.ground.change_over(rewriting.next.take().unwrap()).unwrap();
        for again in [false, true] {
            let store = if again { &open(&place) } else { &store };
            for number in 0..=100 {
                let found = store.get(&key(number)).await.unwrap().map(|record| record.value);
                let expected = [Some(&b"new"[..]), None, Some(b"old"), Some(b"old")][usize::from(number % 4)];
                assert_eq!(found.as_deref(), expected, "{number}");
            }
            store.close();
        }
    }

    #[tokio::test]
    async fn a_store_that_closes_while_its_files_change_places_loses_nothing() {
        let place = tempfile::tempdir().unwrap();
        let store = open(&place);
        put(&store, 1, b"value").await;
        let mut rewriting = Rewriting::begin(store.ground.clone()).await.unwrap();
        rewriting.next().await.unwrap();
        assert_eq!(store.table.take_over(None, TURN_ENTRIES).unwrap(), (1, None));
        let next = rewriting.next.take().unwrap();
        // As close does, between the name of the new files and their use.
        store.table.close();
        assert_eq!(store.ground.change_over(next).unwrap_err().reason(), Reason::ShuttingDown);
        drop((rewriting, store));
        assert_eq!(open(&place).get(&key(1)).await.unwrap().unwrap().value, b"value");
    }
}
