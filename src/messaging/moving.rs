//! Records that a commit of this process is about to change, so that who wants to change one of them next can wait for
//! that, in place of losing the race to it and doing everything again.
//!
//! Nothing depends on it for being right: the condition of each commit finds out who was first, here and on other nodes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::id::Id;

/// The records that are changing.
#[derive(Debug, Default)]
pub(crate) struct Moving(Mutex<HashMap<Id, Changes>>);

/// The changes of one record.
#[derive(Debug, Default)]
struct Changes {
    count: usize,
    /// Dropped with the last of them, which tells those who wait.
    waiting: Vec<oneshot::Sender<()>>,
}

/// A change, until this is dropped.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    moving: &'a Moving,
    id: Id,
}

// === impl Moving ===

impl Moving {
    /// To be called before the record is read.
    pub(crate) fn begin(&self, id: Id) -> Change<'_> {
        self.all().entry(id).or_default().count += 1;
        Change { moving: self, id }
    }

    /// Completes once the changes that have begun are over; at once where there are none.
    pub(crate) async fn over(&self, id: Id) {
        let over = self.all().get_mut(&id).map(|changes| {
            let (tell, over) = oneshot::channel();
            changes.waiting.push(tell);
            over
        });
        if let Some(over) = over {
            // Nobody says anything: it is dropped.
            drop(over.await);
        }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<Id, Changes>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Change ===

impl Drop for Change<'_> {
    fn drop(&mut self) {
        let mut all = self.moving.all();
        let Some(changes) = all.get_mut(&self.id) else { return };
        changes.count -= 1;
        if changes.count == 0 {
            let over = all.remove(&self.id);
            // Those who wait are woken without the lock that they may want.
            drop(all);
            drop(over);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt, poll};

    use super::*;
    use crate::clock::Timestamp;
    use crate::id::Partition;
    use crate::random::OsRandom;

    fn an_id() -> Id {
        Id::new(Timestamp::from_millis(1), Partition::new(0), &OsRandom)
    }

    #[tokio::test]
    async fn who_comes_next_waits_for_all_that_has_begun_and_for_nothing_else() {
        let (moving, id) = (Moving::default(), an_id());
        assert!(moving.over(id).now_or_never().is_some());
        let first = moving.begin(id);
        let second = moving.begin(id);
        assert!(moving.over(an_id()).now_or_never().is_some());
        let mut waits = std::pin::pin!(moving.over(id));
        let mut also_waits = std::pin::pin!(moving.over(id));
        assert!(poll!(&mut waits).is_pending() && poll!(&mut also_waits).is_pending());
        drop(first);
        assert!(poll!(&mut waits).is_pending());
        drop(second);
        assert!(poll!(&mut waits).is_ready() && poll!(&mut also_waits).is_ready());
        assert!(moving.all().is_empty());
        assert!(moving.over(id).now_or_never().is_some());
    }
}
