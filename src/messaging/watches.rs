//! Who waits for a record to change. A change is told after its commit; whoever is told reads the record again.
//!
//! Only this process's commits are told. A watcher also looks from time to time; where other nodes work on the store, so
//! often that it sees their changes within a second. Of very many each looks less often, so that all together cost the store
//! about so many reads a second and no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::error::{Error, Kind, Reason};
use crate::id::Id;

/// How often a record is looked at where only this process changes records: for what time does to it.
const SELDOM: Duration = Duration::from_secs(15);

/// And where others do.
const OFTEN: Duration = Duration::from_millis(700);

/// Looks in that time, over all watched records.
const MOST_LOOKS: usize = 4_000;

/// The watched records of this process.
#[derive(Debug, Clone, Default)]
pub struct Watches {
    watched: Arc<Mutex<HashMap<Id, watch::Sender<()>>>>,
    is_shared: bool,
}

/// Waits for one record. Counts from the moment it was made.
#[derive(Debug)]
pub struct Watch {
    id: Id,
    told: watch::Receiver<()>,
    watches: Watches,
}

/// The error that ends a watch when the server stops.
pub fn stopping() -> Error {
    Error::new(Kind::Unavailable, Reason::ShuttingDown, "the server is stopping; watch again")
}

// === impl Watches ===

impl Watches {
    /// `is_shared`: whether other nodes change records, too.
    pub fn new(is_shared: bool) -> Self {
        Self { watched: Arc::default(), is_shared }
    }

    pub fn watch(&self, id: Id) -> Watch {
        let told = self.lock().entry(id).or_default().subscribe();
        Watch { id, told, watches: self.clone() }
    }

    /// To be called once a change is committed. Cheap when nobody waits.
    pub fn tell(&self, id: Id) {
        if let Some(sender) = self.lock().get(&id) {
            sender.send_replace(());
        }
    }

    /// How many records are watched.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, watch::Sender<()>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Watch ===

impl Watch {
    /// Completes when the record has changed since the last time.
    pub async fn changed(&mut self) {
        // The sender stays in the table while this watch lives.
        if self.told.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// How long to wait for that before the record is looked at all the same.
    pub fn patience(&self) -> Duration {
        if !self.watches.is_shared {
            return SELDOM;
        }
        let times = self.watches.len().div_ceil(MOST_LOOKS).max(1);
        OFTEN.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)).min(SELDOM)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watches = self.watches.lock();
        // This watch's own receiver is still counted.
        if watches.get(&self.id).is_some_and(|sender| sender.receiver_count() <= 1) {
            watches.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::id::Partition;
    use crate::random::OsRandom;

    #[tokio::test]
    async fn every_watcher_is_told_and_none_is_left_behind() {
        let watches = Watches::default();
        let id = Id::new(Timestamp::default(), Partition::new(0), &OsRandom);
        let (mut one, mut two) = (watches.watch(id), watches.watch(id));
        watches.tell(id);
        one.changed().await;
        drop(one);
        two.changed().await;
        watches.tell(id);
        two.changed().await;
        drop(two);
        assert!(watches.is_empty());
        watches.tell(id);
    }
}
