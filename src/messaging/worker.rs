//! The worker: takes up sends whose due mark has come, be it a later attempt, a lost lease or the end of their time.
//!
//! It never waits for a vendor. What finds its vendor without room is put off, so one stuck send holds nobody.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::error;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::event::History;
use crate::id::Partition;
use crate::messaging::holder::{Changed, Held};
use crate::messaging::outbox::Outbox;
use crate::messaging::sending::{SendStatus, Sending, Step};
use crate::store::keys::SendRef;
use crate::store::{Batch, Key};

/// Marks read at a time.
const SLICE: usize = 256;

/// How long a send waits for room at its vendor before it is looked at again.
const PUT_OFF: Duration = Duration::from_millis(500);

/// How long the worker leaves a partition alone after the store failed on it.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Takes up due sends until the outbox is drained.
pub struct Worker {
    outbox: Arc<Outbox>,
    busy: Busy,
    room: Arc<Semaphore>,
}

/// Sends looked at this moment, so that a second scan passes over them; true for those that it did pass over.
type Busy = Arc<Mutex<HashMap<SendRef, bool>>>;

/// One send under way; frees its place when dropped.
struct Task {
    outbox: Arc<Outbox>,
    busy: Busy,
    send: SendRef,
    mark: Key,
    _room: OwnedSemaphorePermit,
}

// === impl Worker ===

impl Worker {
    /// `concurrency`: sends looked at at once.
    pub fn new(outbox: Arc<Outbox>, concurrency: usize) -> Self {
        Self { outbox, busy: Arc::default(), room: Arc::new(Semaphore::new(concurrency)) }
    }

    pub async fn run(self) {
        let stopped = self.outbox.stopped().clone();
        loop {
            let now = self.outbox.ground.clock.now();
            for partition in self.outbox.due.take_due(now) {
                if let Err(error) = self.scan(partition, now).await {
                    error!(?error, partition = partition.index(), "due sends could not be read");
                    self.outbox.due.note(partition, now + AFTER_ERROR);
                }
            }
            let wait = async {
                match self.outbox.due.next() {
                    Some(at) => self.outbox.ground.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = stopped.cancelled() => return,
                () = self.outbox.due.changed() => {}
                () = wait => {}
            }
        }
    }

    /// Starts a task for everything due in a partition, and notes what is due next.
    async fn scan(&self, partition: Partition, now: Timestamp) -> Result<()> {
        let prefix = self.outbox.ground.keys.due_prefix(partition);
        let mut after: Option<Key> = None;
        loop {
            let rows = self.outbox.ground.store.scan(&prefix, after.as_ref(), SLICE).await?;
            let full = rows.len() == SLICE;
            for (mark, _) in rows {
                let (at, send) = self.outbox.ground.keys.parse_due(&mark)?;
                if at > now {
                    self.outbox.due.note(partition, at);
                    return Ok(());
                }
                after = Some(mark.clone());
                self.start(send, mark).await?;
            }
            if !full {
                return Ok(());
            }
        }
    }

    async fn start(&self, send: SendRef, mark: Key) -> Result<()> {
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(Error::internal)?;
        match lock(&self.busy).entry(send) {
            Entry::Occupied(mut busy) => {
                busy.insert(true);
                return Ok(());
            }
            Entry::Vacant(free) => free.insert(false),
        };
        let task = Task { outbox: Arc::clone(&self.outbox), busy: Arc::clone(&self.busy), send, mark, _room: room };
        self.outbox.spawn(async move {
            if let Err(error) = task.run().await {
                error!(?error, send = ?task.send, "a due send could not be taken up");
                task.outbox.due.note(send.id.partition(), task.outbox.ground.clock.now() + AFTER_ERROR);
            }
        });
        Ok(())
    }
}

// === impl Task ===

impl Task {
    async fn run(&self) -> Result<()> {
        let Some(held) = self.outbox.holder(&self.send)?.load(&self.send).await? else {
            return self.forget().await;
        };
        let route = self.outbox.route_of(&held.tenant, held.sending.channel, &held.recipient);
        let now = self.outbox.ground.clock.now();
        let attempt = held.sending.status == SendStatus::Queued && now < held.sending.expires_at;
        match held.sending.next_vendor(route) {
            Some(vendor) if attempt => self.attempt(&held, vendor, route).await,
            _ => self.wake(route).await,
        }
    }

    async fn attempt(&self, held: &Held, vendor: &str, route: &[String]) -> Result<()> {
        let Some(permit) = self.outbox.vendors.try_permit(vendor) else {
            let put_off = |sending: &mut Sending, _: &mut History, now: Timestamp| sending.put_off(now + PUT_OFF);
            return self.outbox.move_send(&self.send, &put_off).await.map(drop);
        };
        let lease = self.outbox.lease();
        let due_at = held.sending.due_at;
        let begin = |sending: &mut Sending, history: &mut History, now: Timestamp| {
            // Whoever was quicker than we has changed it.
            if sending.due_at != due_at || sending.next_vendor(route) != Some(vendor) {
                return Step::Ignored;
            }
            sending.begin(vendor, now, lease, history)
        };
        if let Some(Changed { step: Step::Attempt(attempt), outgoing: Some(outgoing), .. }) =
            self.outbox.move_send(&self.send, &begin).await?
        {
            self.outbox.launch(permit, self.send, attempt, outgoing);
        }
        Ok(())
    }

    async fn wake(&self, route: &[String]) -> Result<()> {
        let rules = self.outbox.persistence();
        let wake =
            |sending: &mut Sending, history: &mut History, now: Timestamp| sending.wake(route, rules, now, history);
        self.outbox.move_send(&self.send, &wake).await.map(drop)
    }

    /// Removes the mark of a send whose record has expired: we were away for longer than it was kept.
    async fn forget(&self) -> Result<()> {
        let batch = Batch::new(self.mark.partition()).delete(self.mark.clone());
        self.outbox.ground.store.commit(batch).await.map(drop)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if lock(&self.busy).remove(&self.send) == Some(true) {
            self.outbox.due.note(self.send.id.partition(), self.outbox.ground.clock.now());
        }
    }
}

fn lock(busy: &Mutex<HashMap<SendRef, bool>>) -> MutexGuard<'_, HashMap<SendRef, bool>> {
    busy.lock().unwrap_or_else(PoisonError::into_inner)
}
