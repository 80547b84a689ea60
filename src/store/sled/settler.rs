//! Settling: what the journal holds goes into sled, key by key, and stays readable above it meanwhile.
//!
//! By then a verification that came, was sent and was approved is one record and not five, and a due mark that came and
//! went is nothing at all. Should a crash come in the middle, the journal is replayed from its beginning.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::store::sled::files::Disk;
use crate::store::sled::pace::Pace;
use crate::store::sled::table::{Layer, Table};
use crate::store::sled::{fault, files};

/// Writes layers into sled and makes them durable there.
#[derive(Clone)]
pub(crate) struct Settler {
    pub(crate) disk: Arc<Mutex<Option<Disk>>>,
    pub(crate) table: Arc<Table>,
    pub(crate) cache_bytes: u64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pace: Arc<Pace>,
}

/// Entries written in one turn at the table, some tens of microseconds.
const TURN_ENTRIES: usize = 8;

/// How long it works at least before it may rest.
const SPELL: Duration = Duration::from_millis(1);

/// Most bytes of keys and values between two syncs. See the head of `store::sled`: what is not yet synced has to stay
/// below one segment.
const MAX_UNSYNCED_BYTES: usize = 256 * 1024;

// === impl Settler ===

impl Settler {
    /// Returns when the layer is durable in sled and has left the table. Error: `Unavailable`; where that passes, the
    /// layer must be settled again, else the store must end.
    pub(crate) fn settle(&self, layer: &Layer) -> Result<()> {
        let disk = self.disk.lock().map_err(|_| panicked())?;
        let disk = disk.as_ref().ok_or_else(fault::closed)?;
        let mut entries = layer.iter();
        let (mut unsynced, mut began) = (0, self.clock.nanos());
        while entries.len() > 0 {
            let turn: Vec<_> = entries.by_ref().take(TURN_ENTRIES).collect();
            unsynced += turn
                .iter()
                .map(|(key, entry)| key.len() + entry.stored.as_ref().map_or(0, |it| it.len()))
                .sum::<usize>();
            self.table.settle(turn)?;
            if unsynced >= MAX_UNSYNCED_BYTES {
                disk.sync()?;
                unsynced = 0;
            }
            let worked = Duration::from_nanos(self.clock.nanos().saturating_sub(began));
            if worked >= SPELL {
                self.pace.rest((layer.len() - entries.len(), layer.len()), worked);
                began = self.clock.nanos();
            }
        }
        disk.sync()?;
        self.table.settled()
    }

    /// Whether sled can still write. Error: `Unavailable`.
    pub(crate) fn is_well(&self) -> Result<bool> {
        let disk = self.disk.lock().map_err(|_| panicked())?;
        let in_use = disk.as_ref().ok_or_else(fault::closed)?;
        Ok(in_use.db.as_ref().is_some_and(|db| db.flush().is_ok()))
    }

    /// Opens sled again, as after a crash. After an error it writes nothing any more, and even of its readers some have to.
    /// It has what was durable then, and a layer that could not settle has the rest. Error: `Unavailable`.
    pub(crate) fn open_again(&self) -> Result<()> {
        let mut disk = self.disk.lock().map_err(|_| panicked())?;
        let in_use = disk.as_mut().ok_or_else(fault::closed)?;
        self.table.replace(|| {
            drop(in_use.db.take());
            files::wait_until_unlocked(&in_use.folder);
            let (db, data) = files::open_again(&in_use.folder, self.cache_bytes)?;
            in_use.data = data;
            Ok(sled::Tree::clone(in_use.db.insert(db)))
        })
    }
}

fn panicked() -> Error {
    fault::broken("a thread panicked while it used the database")
}
