//! The worker: takes up sends whose due mark has come, be it a later attempt, a lost lease, the end of their time, or the
//! time to ask what became of them.
//!
//! It never waits for a vendor. What finds none of its vendors with room waits in a line, and its mark stays where it is
//! until its turn or its end has come, so one stuck send holds nobody, and costs nothing while it is stuck.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::error;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::event::history::History;
use crate::id::Partition;
use crate::messaging::holder::{Changed, Held, StepTaker, Taken};
use crate::messaging::lines::{LineName, Lines, Place, Turn, Waiting};
use crate::messaging::outbox::{Begun, Outbox};
use crate::messaging::rounds::{next_round, next_try, pass_over};
use crate::messaging::sending::{SendStatus, Sending, Step};
use crate::messaging::vendors::Permit;
use crate::store::Batch;
use crate::store::keys::{Holder, SendRef};

/// Marks read at first, for most looks find one or none; and then at a time.
const FIRST_SLICE: usize = 8;
const SLICE: usize = 256;

/// How often the partitions that this node looks after are looked through for marks that others have left.
pub const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long a mark of others must have been due for that: they are to take it up themselves, if they live.
pub const GRACE: Duration = Duration::from_secs(5);

/// To a mark that may be another node's this one comes later than it is due, by once to three times this: so that nodes
/// seldom reach for the same.
const LAG: Duration = Duration::from_millis(250);

/// How long the worker leaves a partition alone after the store failed on it.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// How often it is shown how many wait.
const SHOWN_EVERY: Duration = Duration::from_secs(5);

/// Takes up due sends until the outbox is drained.
pub struct Worker {
    desk: Arc<Desk>,
    room: Arc<Semaphore>,
}

/// Who takes the steps of records, where there are records with steps.
#[derive(Clone, Default)]
pub struct Steps {
    pub messages: Option<Arc<dyn StepTaker>>,
    pub verifications: Option<Arc<dyn StepTaker>>,
}

/// What all tasks share.
struct Desk {
    outbox: Arc<Outbox>,
    steps: Steps,
    lines: Lines,
    /// Sends that are in somebody's hands, so that another look passes over them.
    held: Mutex<HashMap<SendRef, Hold>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// By a task; with the mark of it, if a look passed over one meanwhile.
    Task { passed: Option<Timestamp> },
    /// By a line.
    Line,
}

/// One send under way; frees its place when dropped.
struct Task {
    desk: Arc<Desk>,
    send: SendRef,
    /// Where its mark stands.
    due_at: Timestamp,
    waits_in_line: bool,
    /// A place among those who take up sends.
    room: Option<OwnedSemaphorePermit>,
}

// === impl Worker ===

impl Worker {
    /// `concurrency`: sends looked at at once.
    pub fn new(outbox: Arc<Outbox>, steps: Steps, concurrency: usize) -> Self {
        let lines = Lines::new(outbox.vendors.clone(), outbox.longest_line());
        let desk = Arc::new(Desk { outbox, steps, lines, held: Mutex::default() });
        Self { desk, room: Arc::new(Semaphore::new(concurrency)) }
    }

    pub async fn run(self) {
        let stopped = self.desk.outbox.stopped().clone();
        let work = async {
            tokio::join!(self.take_up_due(), self.take_over(), self.serve_lines(), self.end_waiting(), self.show())
        };
        tokio::select! {
            () = stopped.cancelled() => {}
            _ = work => {}
        }
    }

    async fn take_up_due(&self) {
        let Outbox { due, ground, .. } = &*self.desk.outbox;
        loop {
            let now = ground.clock.now();
            for (partition, from) in due.take_due(now) {
                match self.scan(partition, from, now).await {
                    Ok(next) => self.expect(partition, next),
                    Err(error) => {
                        error!(?error, partition = partition.index(), "due sends could not be read");
                        due.note_from(partition, now + AFTER_ERROR, from);
                    }
                }
            }
            tokio::select! {
                () = due.changed() => {}
                () = self.sleep_until(due.next()) => {}
            }
        }
    }

    /// Takes up what other nodes have left, of those partitions that this one looks after.
    async fn take_over(&self) {
        let Outbox { ground, nodes, .. } = &*self.desk.outbox;
        let mut looks = nodes.looks();
        while nodes.is_shared() {
            let ours: Vec<_> = Partition::all().filter(|partition| nodes.looks_after(*partition)).collect();
            if ours.is_empty() {
                // It has not joined yet.
                drop(looks.changed().await);
                continue;
            }
            for partition in ours {
                let now = ground.clock.now();
                match self.scan(partition, Timestamp::default(), now.saturating_sub(GRACE)).await {
                    Ok(next) => self.expect(partition, next.filter(|at| *at > now)),
                    Err(error) => error!(?error, partition = partition.index(), "others' due sends could not be read"),
                }
            }
            self.sleep_until(Some(ground.clock.now() + LOOK_AGAIN)).await;
        }
    }

    /// Notes a mark that is due next, and may be another node's.
    fn expect(&self, partition: Partition, next: Option<Timestamp>) {
        let Outbox { due, ground, nodes, .. } = &*self.desk.outbox;
        let Some(at) = next else { return };
        let mut chance = [0; 1];
        if nodes.is_shared() {
            ground.random.fill(&mut chance);
        }
        let lag = if nodes.is_shared() { LAG + LAG * 2 * u32::from(chance[0]) / 255 } else { Duration::ZERO };
        due.note_from(partition, at + lag, at);
    }

    /// Starts a task for everything in a partition that is due by `until`, and whose mark is not before `from`. When the
    /// next is due.
    async fn scan(&self, partition: Partition, from: Timestamp, until: Timestamp) -> Result<Option<Timestamp>> {
        let Outbox { ground, .. } = &*self.desk.outbox;
        let prefix = ground.keys.due_prefix(partition);
        let mut after = ground.keys.due_from(partition, from);
        let mut limit = FIRST_SLICE;
        loop {
            let rows = ground.store.scan(&prefix, Some(&after), limit).await?;
            let full = rows.len() == limit;
            for (mark, _) in rows {
                let (at, send) = ground.keys.parse_due(&mark)?;
                if at > until {
                    return Ok(Some(at));
                }
                after = mark;
                let room = self.room().await?;
                if self.desk.pick_up(send, at) {
                    self.start(send, at, room, None);
                }
            }
            if !full {
                return Ok(None);
            }
            limit = SLICE;
        }
    }

    /// Hands room at vendors to those who wait for it.
    async fn serve_lines(&self) {
        while let Ok(room) = self.room().await {
            let Desk { outbox, lines, .. } = &*self.desk;
            let now = outbox.ground.clock.now();
            let (waiting, leave) = match lines.next(now) {
                Some(Turn { waiting, vendor, permit }) => (waiting, Some((vendor, permit))),
                None => match lines.next_stranded(now) {
                    Some(waiting) => (waiting, None),
                    None => {
                        drop(room);
                        tokio::select! {
                            () = outbox.vendors.freed() => {}
                            () = self.sleep_until(outbox.vendors.next_room(now)) => {}
                        }
                        continue;
                    }
                },
            };
            self.desk.hold(waiting.send, Hold::Task { passed: None });
            self.start(waiting.send, waiting.due_at, room, leave);
        }
    }

    /// Takes those out of the lines whose time is over.
    async fn end_waiting(&self) {
        let Desk { outbox, lines, .. } = &*self.desk;
        while let Ok(room) = self.room().await {
            let Some(waiting) = lines.next_ended(outbox.ground.clock.now()) else {
                drop(room);
                tokio::select! {
                    () = lines.sooner() => {}
                    () = self.sleep_until(lines.next_end()) => {}
                }
                continue;
            };
            self.desk.hold(waiting.send, Hold::Task { passed: None });
            self.start(waiting.send, waiting.due_at, room, None);
        }
    }

    /// Shows now and then how many wait, and for how long the first of them.
    async fn show(&self) {
        let (sends, age) = (metrics::gauge!("verigate_queue_sends"), metrics::gauge!("verigate_queue_age_seconds"));
        let Desk { outbox, lines, .. } = &*self.desk;
        loop {
            let now = outbox.ground.clock.now();
            let (waiting, due_at) = lines.waiting();
            // What the index knows to be due has not been looked at.
            let first = due_at.into_iter().chain(outbox.due.next()).min().unwrap_or(now);
            sends.set(waiting as f64);
            age.set(now.since(first).as_secs_f64());
            self.sleep_until(Some(now + SHOWN_EVERY)).await;
        }
    }

    fn start(&self, send: SendRef, due_at: Timestamp, room: OwnedSemaphorePermit, leave: Option<(String, Permit)>) {
        let mut task = Task { desk: Arc::clone(&self.desk), send, due_at, waits_in_line: false, room: Some(room) };
        self.desk.outbox.spawn(async move {
            if let Err(error) = task.run(leave).await {
                error!(?error, send = ?task.send, "a due send could not be taken up");
                let Outbox { due, ground, .. } = &*task.desk.outbox;
                due.note_from(send.id.partition(), ground.clock.now() + AFTER_ERROR, due_at);
            }
        });
    }

    async fn room(&self) -> Result<OwnedSemaphorePermit> {
        Arc::clone(&self.room).acquire_owned().await.map_err(Error::internal)
    }

    async fn sleep_until(&self, at: Option<Timestamp>) {
        match at {
            Some(at) => self.desk.outbox.ground.clock.sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

// === impl Steps ===

impl Steps {
    fn of(&self, holder: Holder) -> Result<Arc<dyn StepTaker>> {
        let steps = match holder {
            Holder::Message => &self.messages,
            Holder::Verification => &self.verifications,
        };
        steps.clone().ok_or_else(|| Error::internal("nobody takes the steps of records of this kind"))
    }
}

// === impl Desk ===

impl Desk {
    /// Takes a send into a task's hands, unless it is in somebody's. A task is told that its send's mark was seen.
    fn pick_up(&self, send: SendRef, due_at: Timestamp) -> bool {
        match self.lock().entry(send) {
            Entry::Vacant(free) => {
                free.insert(Hold::Task { passed: None });
                true
            }
            Entry::Occupied(mut held) => {
                if let Hold::Task { passed } = held.get_mut() {
                    *passed = Some(passed.map_or(due_at, |known| known.min(due_at)));
                }
                false
            }
        }
    }

    fn hold(&self, send: SendRef, hold: Hold) {
        self.lock().insert(send, hold);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SendRef, Hold>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Task ===

impl Task {
    /// `leave`: to call that vendor, when it is the send's turn there.
    async fn run(&mut self, leave: Option<(String, Permit)>) -> Result<()> {
        let desk = Arc::clone(&self.desk);
        if self.send.number == SendRef::RECORD {
            return self.take_step().await;
        }
        let Some(held) = desk.outbox.holder(&self.send)?.load(&self.send).await? else {
            return self.forget().await;
        };
        // It was moved since its mark was read, and has another one.
        if held.sending.due_at != Some(self.due_at) {
            desk.outbox.note(self.send.id.partition(), &held.sending);
            return Ok(());
        }
        if held.sending.status == SendStatus::Sent {
            return self.ask(&held).await;
        }
        let route = &*desk.outbox.route_of(&held.tenant, held.sending.channel, &held.recipient, &self.send);
        let now = desk.outbox.ground.clock.now();
        let candidates = held.sending.candidates(route, now);
        if held.sending.status != SendStatus::Queued || now >= held.sending.expires_at || candidates.is_empty() {
            return self.wake(route).await;
        }
        let in_turn = leave.filter(|(vendor, _)| candidates.contains(&vendor.as_str()));
        let leave = in_turn.or_else(|| {
            let of = next_try(&held.sending, route);
            let (vendor, permit) = desk.outbox.vendors.try_permit(&candidates, of, now)?;
            Some((vendor.to_owned(), permit))
        });
        match leave {
            Some((vendor, permit)) => self.attempt(&held, &vendor, permit, route).await,
            None => self.wait(&held, &candidates, route, now).await,
        }
    }

    async fn attempt(&self, held: &Held, vendor: &str, permit: Permit, route: &[String]) -> Result<()> {
        let outbox = &self.desk.outbox;
        let lease = outbox.lease();
        let due_at = held.sending.due_at;
        let begin = |sending: &mut Sending, history: &mut History, now: Timestamp| {
            // Whoever was quicker than we has changed it.
            if sending.due_at != due_at || !sending.candidates(route, now).contains(&vendor) {
                return Step::Ignored;
            }
            sending.begin(vendor, now, lease, history)
        };
        if let Some(Changed { step: Step::Attempt(_), errand: Some(errand), sending, .. }) =
            outbox.move_send(&self.send, &begin).await?
        {
            outbox.launch(permit, Begun::of(self.send, &sending), errand, sending.trace);
        }
        Ok(())
    }

    /// Waits in line, or, when that is full, comes again later. Does neither for vendors that are down, when it can go
    /// elsewhere.
    async fn wait(&mut self, held: &Held, candidates: &[&str], route: &[String], now: Timestamp) -> Result<()> {
        let Outbox { vendors, .. } = &*self.desk.outbox;
        let may_move_on = next_round(&held.sending, route).is_some();
        if may_move_on && vendors.are_broken(candidates.iter().copied(), now) {
            let rules = self.desk.outbox.persistence();
            let due_at = held.sending.due_at;
            let move_on = |sending: &mut Sending, _: &mut History, now: Timestamp| {
                if sending.due_at == due_at { pass_over(sending, route, rules, now) } else { Step::Ignored }
            };
            return self.desk.outbox.move_send(&self.send, &move_on).await.map(drop);
        }
        let vendors = candidates.iter().map(|&vendor| vendor.to_owned()).collect();
        let of = next_try(&held.sending, route);
        let name = LineName { tenant: self.send.tenant, holder: self.send.holder, vendors, of, may_move_on };
        let waiting = Waiting { send: self.send, due_at: self.due_at, expires_at: held.sending.expires_at };
        // First, for its turn may come before the next line of this function.
        self.waits_in_line = true;
        self.desk.hold(self.send, Hold::Line);
        let Place::Later(until) = self.desk.lines.join(name, waiting, now) else { return Ok(()) };
        self.waits_in_line = false;
        self.desk.hold(self.send, Hold::Task { passed: None });
        let put_off = |sending: &mut Sending, _: &mut History, _: Timestamp| sending.put_off(until);
        self.desk.outbox.move_send(&self.send, &put_off).await.map(drop)
    }

    /// Asks the vendor what became of a send that it took. When to ask next is committed first, so that nobody else asks
    /// meanwhile, and an answer that gets lost is asked for again.
    async fn ask(&self, held: &Held) -> Result<()> {
        let outbox = &self.desk.outbox;
        let Sending { due_at, vendor, .. } = &held.sending;
        // Where there is no room now, there may be some the next time.
        let now = outbox.ground.clock.now();
        let permit = outbox.vendors.try_aside(vendor.as_deref().unwrap_or_default(), now);
        let ask = |sending: &mut Sending, _: &mut History, now: Timestamp| {
            if sending.due_at == *due_at { sending.ask_later(now) } else { Step::Ignored }
        };
        let changed = outbox.move_send(&self.send, &ask).await?;
        if let (Some(permit), Some(Changed { step: Step::Later | Step::Done, sending, .. })) = (permit, changed) {
            outbox.ask(permit, self.send, &sending);
        }
        Ok(())
    }

    async fn take_step(&mut self) -> Result<()> {
        let steps = self.desk.steps.of(self.send.holder)?;
        match steps.take_step(&self.send, self.due_at).await? {
            Taken::Done => Ok(()),
            Taken::Gone => self.forget().await,
            Taken::Outside(work) => {
                drop(self.room.take());
                work.await
            }
        }
    }

    async fn wake(&self, route: &[String]) -> Result<()> {
        let outbox = &self.desk.outbox;
        let rules = outbox.persistence();
        let wake =
            |sending: &mut Sending, history: &mut History, now: Timestamp| sending.wake(route, rules, now, history);
        outbox.move_send(&self.send, &wake).await.map(drop)
    }

    /// Removes the mark of a send whose record has expired: we were away for longer than it was kept.
    async fn forget(&self) -> Result<()> {
        let Outbox { ground, .. } = &*self.desk.outbox;
        let mark = ground.keys.due(self.due_at, &self.send);
        ground.store.commit(Batch::new(mark.partition()).delete(mark)).await.map(drop)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.waits_in_line {
            return;
        }
        let hold = self.desk.lock().remove(&self.send);
        if let Some(Hold::Task { passed: Some(mark) }) = hold {
            let Outbox { due, ground, .. } = &*self.desk.outbox;
            due.note_from(self.send.id.partition(), ground.clock.now(), mark);
        }
    }
}
