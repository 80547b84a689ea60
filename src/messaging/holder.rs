//! Where sends live: inside records of several kinds, which the outbox moves all in one way.
//!
//! The outbox knows sends, not the records around them. [`SendHolder`] is what it asks of a kind of record, and
//! [`Records`] answers it for anything that is a [`SendRecord`]: load, move one send, move its due mark, commit, and on a
//! conflict do it again.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use minicbor::{Decode, Encode};

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Reason, Result};
use crate::event::fed::Fed;
use crate::event::history::{Event, EventKind, History};
use crate::event::news::{Bundle, News};
use crate::id::{Id, TenantName};
use crate::messaging::due::move_mark;
use crate::messaging::errand::Errand;
use crate::messaging::moving::Moving;
use crate::messaging::progress::count_events;
use crate::messaging::retention::Retention;
use crate::messaging::sending::{Sending, Step};
use crate::messaging::watches::Watches;
use crate::random::Random;
use crate::recipient::Recipient;
use crate::store::keys::{Keys, SendRef};
use crate::store::{Batch, Commit, Condition, Key, Store, Version, record};

/// How often a use case reloads and repeats after a lost race before it gives up.
pub const MAX_ROUNDS: usize = 32;

/// What services stand on.
#[derive(Clone)]
pub struct Ground {
    pub store: Arc<dyn Store>,
    pub keys: Keys,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    /// Whose events are handed on.
    pub fed: Fed,
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

    /// What those are told of a record who hear of its events; `None` when it is gone. Its sends do not matter.
    async fn about(&self, record: &SendRef) -> Result<Option<About>>;
}

/// Whom and what the events of a record are about: what never changes of it.
#[derive(Debug, Clone)]
pub struct About {
    pub recipient: Recipient,
    /// Empty where there is none.
    pub scope: String,
    pub metadata: BTreeMap<String, String>,
    /// When each event of its history was.
    pub events: Vec<Event>,
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
    pub errand: Option<Errand>,
    /// When the record as a whole wants attention.
    pub record_due_at: Option<Timestamp>,
}

/// A record with sends in it.
pub trait SendRecord: Encode<()> + for<'b> Decode<'b, ()> + Clone + Send + Sync + 'static {
    fn key(keys: &Keys, send: &SendRef) -> Key;
    fn tenant(&self) -> &TenantName;
    fn recipient(&self) -> &Recipient;
    fn sends(&self) -> &[Sending];
    fn send_mut(&mut self, number: u8) -> Option<(&mut Sending, &mut History)>;
    fn history(&self) -> &History;
    fn about(&self) -> About;
    /// How many more checks may fail, where there is something to check.
    fn checks_left(&self) -> Option<u32> {
        None
    }
    /// Draws the record's own conclusions from a moved send; may move others.
    fn send_moved(&mut self, now: Timestamp);
    /// When the record has nothing left to do; it is kept for a while longer.
    fn ends_at(&self) -> Timestamp;
    /// When the record as a whole wants attention, beside its sends: see [`StepTaker`].
    fn due_at(&self) -> Option<Timestamp> {
        None
    }
}

/// Does what records as a whole want done when their time has come.
#[async_trait]
pub trait StepTaker: Send + Sync {
    /// Takes the step of a record, named with [`SendRef::RECORD`], that was due at `due_at`; does nothing when that was
    /// done before.
    async fn take_step(&self, record: &SendRef, due_at: Timestamp) -> Result<Taken>;
}

/// How far the step of a record was taken.
pub enum Taken {
    Done,
    /// The record is gone.
    Gone,
    /// What is left waits for others, so it must not keep a place among those who take up sends. When it fails, the step
    /// is taken again.
    Outside(Pin<Box<dyn Future<Output = Result<()>> + Send>>),
}

/// Where the due marks of a record and its sends stand, by the numbers of the sends, and how long its history is. A new
/// record has none of them.
#[derive(Debug, Default)]
pub struct Marks {
    due: Vec<(u8, Timestamp)>,
    events: usize,
}

/// Writes a send's record into what a vendor gets.
pub type Render<R> = dyn Fn(&R, &Sending, &SendRef) -> Result<Errand> + Send + Sync;

/// All records of one kind.
pub struct Records<R> {
    ground: Ground,
    watches: Watches,
    retention: Retention,
    render: Box<Render<R>>,
    /// Records just committed with an attempt under way, so that its outcome need not read them again. Whether they
    /// still stand, the commit of the outcome finds out.
    fresh: Mutex<HashMap<Id, (Version, R)>>,
    moving: Moving,
}

/// Most records kept at a time; beyond them an outcome reads its record.
const MAX_FRESH: usize = 4096;

/// The error of a use case that lost every race.
pub fn contention() -> Error {
    Error::new(Kind::Conflict, Reason::Contention, "too many calls for the same recipient at once; try again")
        .with_retry_after(Duration::from_millis(100))
}

/// Counts a lost race.
pub fn count_conflict(use_case: &'static str) {
    metrics::counter!("verigate_commit_conflicts_total", "use_case" => use_case).increment(1);
}

/// Adds `after` to the batch, with the due marks of all sends that moved since those of `before` were noted, and with the
/// news of what happened since, where somebody wants to hear of it.
pub fn put_record<R: SendRecord>(
    batch: Batch,
    ground: &Ground,
    send: &SendRef,
    before: &Marks,
    after: &R,
    retention: &Retention,
) -> Result<Batch> {
    let key = R::key(&ground.keys, send);
    let mut batch = batch.put(key, record::encode(after)?, Some(after.ends_at() + retention.of(after.tenant())));
    for sending in after.sends() {
        let send = SendRef { number: sending.number, ..*send };
        batch = move_mark(batch, &ground.keys, &send, before.of(sending.number), sending.due_at);
    }
    let whole = SendRef { number: SendRef::RECORD, ..*send };
    let batch = move_mark(batch, &ground.keys, &whole, before.of(SendRef::RECORD), after.due_at());
    if ground.fed.wants(send.tenant) { put_news(batch, ground, &whole, before, after) } else { Ok(batch) }
}

/// One key for all news of a commit. It stays until they are in the feed.
fn put_news<R: SendRecord>(
    batch: Batch,
    ground: &Ground,
    record: &SendRef,
    before: &Marks,
    after: &R,
) -> Result<Batch> {
    let events = after.history().events();
    let Some(last) = events.get(before.events..).and_then(<[Event]>::last) else { return Ok(batch) };
    let news = events.iter().enumerate().skip(before.events).map(|(place, event)| news_of(after, place, event));
    let place = u16::try_from(before.events).unwrap_or(u16::MAX);
    let key = ground.keys.news(last.at, record, place);
    Ok(batch.put(key, record::encode(&Bundle(news.collect()))?, None))
}

fn news_of<R: SendRecord>(record: &R, place: usize, event: &Event) -> News {
    let number = event.kind.send();
    let has_reason = matches!(event.kind, EventKind::Rejected(_) | EventKind::Unknown(_));
    let sending = record.sends().iter().find(|sending| Some(sending.number) == number);
    News {
        place: u16::try_from(place).unwrap_or(u16::MAX),
        event: event.clone(),
        channel: sending.map(|sending| sending.channel.as_str().to_owned()),
        vendor: sending.and_then(|sending| sending.vendor.clone()),
        reason: sending
            .and_then(|sending| sending.reason)
            .filter(|_| has_reason)
            .map(|reason| reason.as_str().to_owned()),
        checks_left: record.checks_left().filter(|_| number.is_none()),
    }
}

// === impl About ===

impl About {
    pub fn of(recipient: &Recipient, scope: &str, metadata: &BTreeMap<String, String>, history: &History) -> Self {
        let (recipient, scope, metadata) = (recipient.clone(), scope.to_owned(), metadata.clone());
        Self { recipient, scope, metadata, events: history.events().to_vec() }
    }
}

// === impl Marks ===

impl Marks {
    /// To be noted before the record changes.
    pub fn of_record<R: SendRecord>(record: &R) -> Self {
        let of_sends = record.sends().iter().filter_map(|sending| Some((sending.number, sending.due_at?)));
        let due = of_sends.chain(record.due_at().map(|at| (SendRef::RECORD, at))).collect();
        Self { due, events: record.history().events().len() }
    }

    /// Takes them away, with the record that they point to.
    pub(crate) fn delete(&self, batch: Batch, keys: &Keys, send: &SendRef) -> Batch {
        self.due
            .iter()
            .fold(batch, |batch, (number, at)| batch.delete(keys.due(*at, &SendRef { number: *number, ..*send })))
    }

    fn of(&self, send: u8) -> Option<Timestamp> {
        self.due.iter().find(|(number, _)| *number == send).map(|(_, at)| *at)
    }
}

// === impl Records ===

impl<R: SendRecord> Records<R> {
    pub fn new(ground: Ground, watches: Watches, retention: Retention, render: Box<Render<R>>) -> Self {
        Self { ground, watches, retention, render, fresh: Mutex::default(), moving: Moving::default() }
    }

    /// Keeps a record that was just committed at this version for the outcome of the attempt that it holds.
    pub fn remember(&self, id: Id, version: Version, record: R) {
        let mut fresh = self.fresh();
        if fresh.len() < MAX_FRESH {
            fresh.insert(id, (version, record));
        }
    }

    /// Completes once no send of the record is being moved that was when this was called. Who changes a record right after
    /// it was committed with an attempt under way would lose the race to its outcome as a rule.
    pub(crate) async fn settled(&self, id: Id) {
        self.moving.over(id).await;
    }

    fn fresh(&self) -> MutexGuard<'_, HashMap<Id, (Version, R)>> {
        // Nothing panics while it is held.
        self.fresh.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, key: &Key) -> Result<Option<(Version, R)>> {
        let Some(read) = self.ground.store.get(key).await? else { return Ok(None) };
        Ok(Some((read.version, record::decode(&read.value)?)))
    }

    /// Renders a send of a record that is about to be committed with an attempt under way.
    pub fn errand(&self, record: &R, send: &SendRef) -> Result<Errand> {
        let sending = record.sends().iter().find(|sending| sending.number == send.number);
        let sending = sending.ok_or_else(|| Error::internal("a reference names a send that its record lacks"))?;
        self.errand_of(record, sending, send)
    }

    /// Renders a send that the record may get.
    pub fn errand_of(&self, record: &R, sending: &Sending, send: &SendRef) -> Result<Errand> {
        (self.render)(record, sending, send)
    }
}

#[async_trait]
impl<R: SendRecord> SendHolder for Records<R> {
    async fn load(&self, send: &SendRef) -> Result<Option<Held>> {
        let key = R::key(&self.ground.keys, send);
        let Some((_, record)) = self.read(&key).await? else { return Ok(None) };
        let sending = record.sends().iter().find(|sending| sending.number == send.number).cloned();
        Ok(sending.map(|sending| Held {
            sending,
            tenant: record.tenant().clone(),
            recipient: record.recipient().clone(),
        }))
    }

    async fn about(&self, record: &SendRef) -> Result<Option<About>> {
        let found = self.read(&R::key(&self.ground.keys, record)).await?;
        Ok(found.map(|(_, record)| record.about()))
    }

    async fn change(&self, send: &SendRef, change: &Move<'_>) -> Result<Option<Changed>> {
        let key = R::key(&self.ground.keys, send);
        let _moving = self.moving.begin(send.id);
        let mut fresh = self.fresh().remove(&send.id);
        for _ in 0..MAX_ROUNDS {
            let (remembered, found) = match fresh.take() {
                Some(known) => (true, Some(known)),
                None => (false, self.read(&key).await?),
            };
            let Some((version, mut after)) = found else { return Ok(None) };
            let before = Marks::of_record(&after);
            let now = self.ground.clock.now();
            let Some((sending, history)) = after.send_mut(send.number) else { return Ok(None) };
            let step = change(sending, history, now);
            let sending = sending.clone();
            let added = history.events().get(before.events..).unwrap_or_default().to_vec();
            if step == Step::Ignored && remembered {
                // It may have moved on since.
                continue;
            }
            if step == Step::Ignored {
                return Ok(Some(Changed { step, sending, errand: None, record_due_at: None }));
            }
            after.send_moved(now);
            let errand = match step {
                Step::Attempt(_) => Some((self.render)(&after, &sending, send)?),
                _ => None,
            };
            let batch = Batch::new(send.id.partition()).require_that(&key, Condition::At(version));
            let batch = put_record(batch, &self.ground, send, &before, &after, &self.retention)?;
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                self.watches.tell(send.id);
                count_events(send.holder, (after.tenant(), after.recipient()), &sending, &added);
                let sending = after.send_mut(send.number).map_or(sending, |(moved, _)| moved.clone());
                return Ok(Some(Changed { step, sending, errand, record_due_at: after.due_at() }));
            }
            count_conflict("send");
        }
        Err(contention())
    }
}
