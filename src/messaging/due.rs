//! When somebody must look at a send again: the marks in the store, and an index of them in memory.
//!
//! The store is the truth. The index holds one look for each partition, so it stays small whatever the backlog, and a
//! restart fills it with one look at each partition; where other nodes leave marks too, the worker goes through them all now
//! and then. A look begins where the ones before it left off: marks that were
//! handed on and stay where they are, as those of sends that wait for a vendor, are not read again and again.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::id::Partition;
use crate::store::Batch;
use crate::store::keys::{Keys, SendRef};

/// When to look at every partition, as far as this process knows.
#[derive(Debug)]
pub struct DueIndex {
    looks: Mutex<[Option<Look>; Partition::COUNT]>,
    changed: Notify,
}

/// A look to be taken at a partition.
#[derive(Debug, Clone, Copy)]
struct Look {
    at: Timestamp,
    /// Marks before this have been handed on.
    from: Timestamp,
}

/// Moves a due mark from where it stood to where it now belongs, in the batch that writes what it marks.
pub fn move_mark(batch: Batch, keys: &Keys, send: &SendRef, from: Option<Timestamp>, to: Option<Timestamp>) -> Batch {
    if from == to {
        return batch;
    }
    let batch = match from {
        Some(at) => batch.delete(keys.due(at, send)),
        None => batch,
    };
    match to {
        // A mark outlives every record that it could point to, so it needs no expiry of its own.
        Some(at) => batch.put(keys.due(at, send), Vec::new(), None),
        None => batch,
    }
}

// === impl DueIndex ===

impl DueIndex {
    /// Everything counts as due until it was looked at. Of a store that is shared nothing does: what a process before left
    /// behind is taken up with what other nodes leave.
    pub fn new(is_shared: bool) -> Self {
        let whole = Look { at: Timestamp::default(), from: Timestamp::default() };
        let look = Some(whole).filter(|_| !is_shared);
        Self { looks: Mutex::new([look; Partition::COUNT]), changed: Notify::new() }
    }

    /// To be called once a mark is committed.
    pub fn note(&self, partition: Partition, at: Timestamp) {
        self.note_from(partition, at, at);
    }

    /// To be called for marks from `from` on that are to be handed on again, at `at`.
    pub fn note_from(&self, partition: Partition, at: Timestamp, from: Timestamp) {
        let mut looks = self.lock();
        let look = &mut looks[usize::from(partition.index())];
        let is_sooner = look.is_none_or(|known| at < known.at);
        *look = Some(look.map_or(Look { at, from }, |known| Look { at: at.min(known.at), from: from.min(known.from) }));
        drop(looks);
        if is_sooner {
            self.changed.notify_one();
        }
    }

    /// Partitions with something due, and the time of the first mark that the caller now must read there and hand on.
    /// What is noted from here on is kept apart from it.
    pub fn take_due(&self, now: Timestamp) -> Vec<(Partition, Timestamp)> {
        let mut looks = self.lock();
        let take = |partition: Partition| {
            let look = looks[usize::from(partition.index())].take_if(|look| look.at <= now)?;
            Some((partition, look.from))
        };
        Partition::all().filter_map(take).collect()
    }

    /// When the next one is due.
    pub fn next(&self) -> Option<Timestamp> {
        self.lock().iter().flatten().map(|look| look.at).min()
    }

    /// Completes when something was noted that is sooner than all before.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [Option<Look>; Partition::COUNT]> {
        // Nothing panics while it is held, and a time too early only costs a scan.
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_noted_while_its_partition_is_scanned_is_not_lost() {
        let index = DueIndex::new(false);
        let at = Timestamp::from_millis;
        assert_eq!(index.take_due(at(1)).len(), Partition::COUNT);
        assert_eq!(index.next(), None);
        let partition = Partition::new(9);
        index.note(partition, at(50));
        index.note(partition, at(70));
        assert_eq!((index.next(), index.take_due(at(49)).len()), (Some(at(50)), 0));
        assert_eq!(index.take_due(at(50)), [(partition, at(50))]);
        index.note(partition, at(60));
        index.note(partition, at(70));
        assert_eq!(index.next(), Some(at(60)));
    }

    #[test]
    fn what_must_be_handed_on_again_is_read_again_from_its_beginning() {
        let index = DueIndex::new(false);
        let (at, partition) = (Timestamp::from_millis, Partition::new(9));
        index.take_due(at(1));
        // Marks at 40 could not be handed on, and are to be tried again at 1,000; meanwhile others come.
        index.note_from(partition, at(1_000), at(40));
        assert_eq!((index.next(), index.take_due(at(999)).len()), (Some(at(1_000)), 0));
        index.note(partition, at(80));
        assert_eq!(index.take_due(at(80)), [(partition, at(40))]);
        index.note(partition, at(90));
        index.note_from(partition, at(1_000), at(40));
        assert_eq!(index.take_due(at(90)), [(partition, at(40))]);
    }
}
