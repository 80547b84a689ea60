//! When somebody must look at a send again: the marks in the store, and an index of them in memory.
//!
//! The store is the truth. The index holds one time for each partition, so it stays small whatever the backlog, and a
//! restart fills it with one look at each partition.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::id::Partition;
use crate::messaging::sending::Sending;
use crate::store::Batch;
use crate::store::keys::{Keys, SendRef};

/// The soonest due mark of every partition, as far as this process knows.
#[derive(Debug)]
pub struct DueIndex {
    soonest: Mutex<[Option<Timestamp>; Partition::COUNT]>,
    changed: Notify,
}

/// Moves the due mark of a send from where it stood to where it now belongs, in the batch that writes the send.
pub fn move_mark(batch: Batch, keys: &Keys, send: &SendRef, from: Option<Timestamp>, to: &Sending) -> Batch {
    if from == to.due_at {
        return batch;
    }
    let batch = match from {
        Some(at) => batch.delete(keys.due(at, send)),
        None => batch,
    };
    match to.due_at {
        // A mark outlives every record that it could point to, so it needs no expiry of its own.
        Some(at) => batch.put(keys.due(at, send), Vec::new(), None),
        None => batch,
    }
}

// === impl DueIndex ===

/// Everything counts as due until it was looked at.
impl Default for DueIndex {
    fn default() -> Self {
        Self { soonest: Mutex::new([Some(Timestamp::default()); Partition::COUNT]), changed: Notify::new() }
    }
}

impl DueIndex {
    /// To be called once a mark is committed.
    pub fn note(&self, partition: Partition, at: Timestamp) {
        let mut soonest = self.lock();
        let known = &mut soonest[usize::from(partition.index())];
        if known.is_none_or(|known| at < known) {
            *known = Some(at);
            drop(soonest);
            self.changed.notify_one();
        }
    }

    /// Partitions with something due, which the caller now must scan. What is noted from here on is kept apart from it.
    pub fn take_due(&self, now: Timestamp) -> Vec<Partition> {
        let mut soonest = self.lock();
        Partition::all()
            .filter(|partition| soonest[usize::from(partition.index())].take_if(|at| *at <= now).is_some())
            .collect()
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.lock().iter().flatten().min().copied()
    }

    /// Completes when something was noted that is sooner than all before.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [Option<Timestamp>; Partition::COUNT]> {
        // Nothing panics while it is held, and a time too early only costs a scan.
        self.soonest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_noted_while_its_partition_is_scanned_is_not_lost() {
        let index = DueIndex::default();
        let at = Timestamp::from_millis;
        assert_eq!(index.take_due(at(1)).len(), Partition::COUNT);
        assert_eq!(index.next(), None);
        let partition = Partition::new(9);
        index.note(partition, at(50));
        index.note(partition, at(70));
        assert_eq!((index.next(), index.take_due(at(49)).len()), (Some(at(50)), 0));
        assert_eq!(index.take_due(at(50)), [partition]);
        index.note(partition, at(60));
        index.note(partition, at(70));
        assert_eq!(index.next(), Some(at(60)));
    }
}
