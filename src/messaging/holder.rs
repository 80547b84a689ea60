//! Where sends live: inside records of several kinds, which the outbox moves all in one way.
//!
//! The outbox knows sends, not the records around them. [`SendHolder`] is what it asks of a kind of record, and
//! [`Records`] answers it for anything that is a [`SendRecord`]: load, move one send, move its due mark, commit, and on a
//! conflict do it again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use minicbor::{Decode, Encode};

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Reason, Result};
use crate::event::History;
use crate::id::TenantName;
use crate::messaging::due::move_mark;
use crate::messaging::sending::{Sending, Step};
use crate::messaging::watches::Watches;
use crate::random::Random;
use crate::recipient::Recipient;
use crate::store::keys::{Keys, SendRef};
use crate::store::{Batch, Commit, Key, Store, record};
use crate::vendor::Outgoing;

/// How often a use case reloads and repeats after a lost race before it gives up.
pub const MAX_ROUNDS: usize = 32;

/// What services stand on.
#[derive(Clone)]
pub struct Ground {
    pub store: Arc<dyn Store>,
    pub keys: Keys,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
}

/// Moves one send; pure.
pub type Move<'a> = dyn Fn(&mut Sending, &mut History, Timestamp) -> Step + Send + Sync + 'a;

/// A kind of record that holds sends.
#[async_trait]
pub trait SendHolder: Send + Sync {
    /// The send as it stands; `None` when its record is gone.
    async fn load(&self, send: &SendRef) -> Result<Option<Held>>;

    /// Moves the send by `change` and commits, unless the step is `Ignored`. `change` may run several times. `None` when
    /// the record is gone.
    async fn change(&self, send: &SendRef, change: &Move<'_>) -> Result<Option<Changed>>;
}

/// A send and what its route depends on.
#[derive(Debug, Clone)]
pub struct Held {
    pub sending: Sending,
    pub tenant: TenantName,
    pub recipient: Recipient,
}

/// A send after a committed step.
#[derive(Debug, Clone)]
pub struct Changed {
    pub step: Step,
    pub sending: Sending,
    /// What to hand to the vendor, when the step is an attempt.
    pub outgoing: Option<Outgoing>,
}

/// A record with sends in it.
pub trait SendRecord: Encode<()> + for<'b> Decode<'b, ()> + Clone + Send + Sync + 'static {
    fn key(keys: &Keys, send: &SendRef) -> Key;
    fn tenant(&self) -> &TenantName;
    fn recipient(&self) -> &Recipient;
    fn sends(&self) -> &[Sending];
    fn send_mut(&mut self, number: u8) -> Option<(&mut Sending, &mut History)>;
    /// Draws the record's own conclusions from a moved send; may move others.
    fn send_moved(&mut self, now: Timestamp);
    /// When the record has nothing left to do; it is kept for a while longer.
    fn ends_at(&self) -> Timestamp;
}

/// Writes a send's record into what a vendor gets.
pub type Render<R> = dyn Fn(&R, &Sending, &SendRef) -> Result<Outgoing> + Send + Sync;

/// All records of one kind.
pub struct Records<R> {
    ground: Ground,
    watches: Watches,
    retention: Duration,
    render: Box<Render<R>>,
}

/// The error of a use case that lost every race.
pub fn contention() -> Error {
    Error::new(Kind::Conflict, Reason::Contention, "too many calls for the same recipient at once; try again")
        .with_retry_after(Duration::from_millis(100))
}

/// Counts a lost race.
pub fn count_conflict(use_case: &'static str) {
    metrics::counter!("verigate_commit_conflicts_total", "use_case" => use_case).increment(1);
}

/// Adds `after` to the batch, with the due marks of all sends that moved since `before`.
pub fn put_record<R: SendRecord>(
    batch: Batch,
    ground: &Ground,
    send: &SendRef,
    before: Option<&R>,
    after: &R,
    retention: Duration,
) -> Result<Batch> {
    let key = R::key(&ground.keys, send);
    let mut batch = batch.put(key, record::encode(after)?, Some(after.ends_at() + retention));
    for sending in after.sends() {
        let send = SendRef { number: sending.number, ..*send };
        let old = before.and_then(|record| record.sends().iter().find(|old| old.number == sending.number));
        batch = move_mark(batch, &ground.keys, &send, old.and_then(|old| old.due_at), sending);
    }
    Ok(batch)
}

// === impl Records ===

impl<R: SendRecord> Records<R> {
    pub fn new(ground: Ground, watches: Watches, retention: Duration, render: Box<Render<R>>) -> Self {
        Self { ground, watches, retention, render }
    }

    /// Renders a send of a record that is about to be committed with an attempt under way.
    pub fn outgoing(&self, record: &R, send: &SendRef) -> Result<Outgoing> {
        let sending = record.sends().iter().find(|sending| sending.number == send.number);
        let sending = sending.ok_or_else(|| Error::internal("a reference names a send that its record lacks"))?;
        (self.render)(record, sending, send)
    }
}

#[async_trait]
impl<R: SendRecord> SendHolder for Records<R> {
    async fn load(&self, send: &SendRef) -> Result<Option<Held>> {
        let key = R::key(&self.ground.keys, send);
        let Some(read) = self.ground.store.get(&key).await? else { return Ok(None) };
        let record: R = record::decode(&read.value)?;
        let sending = record.sends().iter().find(|sending| sending.number == send.number).cloned();
        Ok(sending.map(|sending| Held {
            sending,
            tenant: record.tenant().clone(),
            recipient: record.recipient().clone(),
        }))
    }

    async fn change(&self, send: &SendRef, change: &Move<'_>) -> Result<Option<Changed>> {
        let key = R::key(&self.ground.keys, send);
        for _ in 0..MAX_ROUNDS {
            let Some(read) = self.ground.store.get(&key).await? else { return Ok(None) };
            let before: R = record::decode(&read.value)?;
            let mut after = before.clone();
            let now = self.ground.clock.now();
            let Some((sending, history)) = after.send_mut(send.number) else { return Ok(None) };
            let step = change(sending, history, now);
            let sending = sending.clone();
            if step == Step::Ignored {
                return Ok(Some(Changed { step, sending, outgoing: None }));
            }
            after.send_moved(now);
            let outgoing = match step {
                Step::Attempt(_) => Some((self.render)(&after, &sending, send)?),
                _ => None,
            };
            let batch = Batch::new(send.id.partition()).require(&key, Some(&read));
            let batch = put_record(batch, &self.ground, send, Some(&before), &after, self.retention)?;
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                self.watches.tell(send.id);
                let sending = after.send_mut(send.number).map_or(sending, |(moved, _)| moved.clone());
                return Ok(Some(Changed { step, sending, outgoing }));
            }
            count_conflict("send");
        }
        Err(contention())
    }
}
