//! The configured vendors by name, each with limits of its own, so that a slow or broken one costs only itself.
//!
//! A vendor has room for a call when it has few enough under way, its rate and its retry budget are not spent, and its
//! breaker lets calls through. Room that becomes free goes to those who wait for it: while somebody does, nobody else gets
//! any, so a send that has just come does not overtake those before it. A question that a person waits for, whether a code
//! is right, goes before all sends.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{info, warn};

use crate::clock::{Clock, Timestamp};
use crate::messaging::breaker::{Breaker, BreakerState, Purpose, Ticket, Verdict};
use crate::messaging::budget::{Budget, Try};
use crate::messaging::health::{CallLog, Health};
use crate::messaging::limits::Limits;
use crate::messaging::rate::Rate;
use crate::vendor::{Accepted, Failure, Vendor};

/// All configured vendors.
#[derive(Debug, Clone, Default)]
pub struct Vendors {
    slots: BTreeMap<String, Slot>,
    freed: Arc<Notify>,
}

/// Leave to call one vendor once. Dropping it makes room for the next call.
pub struct Permit {
    name: Arc<str>,
    vendor: Arc<dyn Vendor>,
    room: Arc<Room>,
    purpose: Purpose,
    /// Gone once it is noted how the call ended.
    ticket: Option<Ticket>,
}

#[derive(Debug, Clone)]
struct Slot {
    name: Arc<str>,
    vendor: Arc<dyn Vendor>,
    room: Arc<Room>,
}

#[derive(Debug)]
struct Room {
    name: String,
    limits: Limits,
    state: Mutex<State>,
    freed: Arc<Notify>,
    freed_for_urgent: Notify,
}

/// How long those wait who come while a vendor is probed.
const PROBED: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct State {
    /// Calls that may begin now, as far as their number goes, and those of them that hand over no message.
    free: usize,
    free_aside: usize,
    /// Sends that wait for room, and those of them that wait to be tried again.
    waiting: usize,
    waiting_again: usize,
    /// Questions that wait for room, for each of which some is kept free.
    urgent: usize,
    rate: Option<Rate>,
    budget: Option<Budget>,
    breaker: Breaker,
    log: CallLog,
}

/// Of a vendor's room, calls that hand over no message may take the part of one in so many, and one call always: questions
/// that are not answered must not be in the way of messages.
const ASIDE_PART: usize = 2;
/// A question that waits for room.
struct Urgent<'a>(&'a Room);

// === impl Vendors ===

impl Vendors {
    /// Adds a vendor that takes at most `concurrency` calls at once, without any other limit.
    pub fn add(&mut self, name: impl Into<String>, vendor: Arc<dyn Vendor>, concurrency: usize) {
        let name = name.into();
        let room = Arc::new(Room::new(&name, Limits::room(concurrency), Arc::clone(&self.freed)));
        self.slots.insert(name.clone(), Slot { name: name.into(), vendor, room });
    }

    /// Gives a vendor other limits, made of those that it has. To be called before anything is sent.
    pub fn limit(&mut self, name: &str, limits: impl FnOnce(Limits) -> Limits) {
        if let Some(slot) = self.slots.get_mut(name) {
            slot.room = Arc::new(Room::new(name, limits(slot.room.limits), Arc::clone(&self.freed)));
        }
    }

    pub fn get(&self, name: &str) -> Option<&Arc<dyn Vendor>> {
        self.slots.get(name).map(|slot| &slot.vendor)
    }

    /// How every vendor fares.
    pub fn health(&self, now: Timestamp) -> Vec<Health> {
        self.slots.values().map(|slot| slot.room.health(now)).collect()
    }

    /// How many sends wait for room at `name`.
    pub fn waiting(&self, name: &str) -> usize {
        self.slots.get(name).map_or(0, |slot| slot.room.lock().waiting)
    }

    /// Leave to call the first of these that has room, and for whose room nobody waits.
    pub fn try_permit<'a>(&self, names: &[&'a str], of: Try, now: Timestamp) -> Option<(&'a str, Permit)> {
        names.iter().find_map(|name| {
            let slot = self.slots.get(*name)?;
            Some((*name, slot.permit(of, now, |state| state.is_free_for_newcomers(of, now))?))
        })
    }

    /// The same for a send that waits and whose turn it is.
    pub(crate) fn permit_in_turn(&self, names: &[String], of: Try, now: Timestamp) -> Option<(String, Permit)> {
        names.iter().find_map(|name| Some((name.clone(), self.slots.get(name)?.permit(of, now, |_| true)?)))
    }

    /// Leave to ask a vendor about a message, or to tell it of one, if it has room for which nobody waits, and is called as
    /// usual. There is no send, so no budget for tries of one holds it back or grows by it.
    pub fn try_aside(&self, name: &str, now: Timestamp) -> Option<Permit> {
        self.slots.get(name)?.permit_aside(now)
    }

    /// Leave to ask `name` something that a person waits for. Goes before all sends, and waits for room until then at most.
    /// `None` when there was none by then, or the vendor is not called for now.
    pub(crate) async fn permit_soon(&self, name: &str, clock: &dyn Clock, until: Timestamp) -> Option<Permit> {
        let slot = self.slots.get(name)?;
        let _urgent = Urgent::new(&slot.room);
        loop {
            let now = clock.now();
            let permit = slot.permit_urgent(now);
            if permit.is_some() || now >= until || self.closed_until(name, now).is_some() {
                return permit;
            }
            let free_at = slot.room.lock().urgent_free_at(now);
            tokio::select! {
                () = slot.room.freed_for_urgent.notified() => {}
                () = clock.sleep_until(free_at.filter(|free_at| *free_at > now).unwrap_or(until).min(until)) => {}
            }
        }
    }

    /// When a vendor that is not called for now, for it fails, may be called again; `None` when it may be now.
    pub(crate) fn closed_until(&self, name: &str, now: Timestamp) -> Option<Timestamp> {
        let free_at = self.slots.get(name)?.room.lock().breaker.free_at(Purpose::Send, now);
        // While it is probed, the probes under way decide.
        Some(free_at.unwrap_or(now + PROBED)).filter(|free_at| *free_at > now)
    }

    /// Whether the breakers of all of these let no call through.
    pub(crate) fn are_broken<'a>(&self, mut names: impl Iterator<Item = &'a str>, now: Timestamp) -> bool {
        names.all(|name| {
            self.slots.get(name).is_some_and(|slot| slot.room.lock().breaker.free_at(Purpose::Send, now) != Some(now))
        })
    }

    /// Notes that one more send waits for room at any of these.
    pub(crate) fn begin_waiting(&self, names: &[String], of: Try) {
        self.each_state(names, |state| {
            state.waiting += 1;
            state.waiting_again += usize::from(of == Try::Again);
        });
        // Room may have become free since it was asked for.
        self.freed.notify_one();
    }

    /// Notes that a send waits no more.
    pub(crate) fn end_waiting(&self, names: &[String], of: Try) {
        self.each_state(names, |state| {
            state.waiting = state.waiting.saturating_sub(1);
            state.waiting_again = state.waiting_again.saturating_sub(usize::from(of == Try::Again));
        });
    }

    /// Completes when there may be room that somebody waits for, or a new one waits.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    /// When time alone makes room that somebody waits for; `None` when only the end of a call can.
    pub(crate) fn next_room(&self, now: Timestamp) -> Option<Timestamp> {
        self.slots.values().filter_map(|slot| slot.room.lock().next_room(now)).min()
    }

    fn each_state(&self, names: &[String], change: impl Fn(&mut State)) {
        for slot in names.iter().filter_map(|name| self.slots.get(name)) {
            change(&mut slot.room.lock());
        }
    }
}

// === impl Slot ===

impl Slot {
    fn permit(&self, of: Try, now: Timestamp, fits: impl Fn(&mut State) -> bool) -> Option<Permit> {
        let mut state = self.room.lock();
        if state.free_at(of, now) != Some(now) || !fits(&mut state) {
            return None;
        }
        if let Some(budget) = &mut state.budget {
            budget.take(of, now);
        }
        Some(self.begin(&mut state, Purpose::Send, now))
    }

    /// For a question that a person waits for: it may probe a vendor as a send may.
    fn permit_urgent(&self, now: Timestamp) -> Option<Permit> {
        let mut state = self.room.lock();
        (state.urgent_free_at(now) == Some(now)).then(|| self.begin(&mut state, Purpose::Send, now))
    }

    fn permit_aside(&self, now: Timestamp) -> Option<Permit> {
        let mut state = self.room.lock();
        let has_room = state.free_aside > 0
            && state.room_at(Purpose::Aside, now) == Some(now)
            && state.is_free_for_newcomers(Try::First, now);
        if !has_room {
            return None;
        }
        state.free_aside -= 1;
        Some(self.begin(&mut state, Purpose::Aside, now))
    }

    fn begin(&self, state: &mut State, purpose: Purpose, now: Timestamp) -> Permit {
        state.free -= 1;
        if let Some(rate) = &mut state.rate {
            rate.take(now);
        }
        let ticket = self.room.tell_change(state, |breaker| breaker.enter(purpose));
        let (name, vendor) = (Arc::clone(&self.name), Arc::clone(&self.vendor));
        Permit { name, vendor, room: Arc::clone(&self.room), purpose, ticket: Some(ticket) }
    }
}

// === impl Room ===

impl Room {
    fn new(name: &str, limits: Limits, freed: Arc<Notify>) -> Self {
        let state = State {
            free: limits.concurrency,
            free_aside: limits.concurrency.div_ceil(ASIDE_PART),
            waiting: 0,
            waiting_again: 0,
            urgent: 0,
            rate: limits.rate.map(Rate::per_second),
            budget: limits.retry_budget.map(Budget::new),
            breaker: Breaker::new(limits.breaker),
            log: CallLog::default(),
        };
        let freed_for_urgent = Notify::new();
        let room = Self { name: name.to_owned(), limits, state: Mutex::new(state), freed, freed_for_urgent };
        room.show(BreakerState::Closed);
        room.openings().increment(0);
        room
    }

    fn health(&self, now: Timestamp) -> Health {
        let mut state = self.lock();
        let rate = state.rate.as_ref().map_or(now, |rate| rate.free_at(now));
        let free_at = state.breaker.free_at(Purpose::Send, now).map(|free_at| free_at.max(rate));
        Health {
            vendor: self.name.clone(),
            breaker: state.breaker.state(),
            free_at: free_at.filter(|free_at| *free_at > now),
            calls: state.log.calls(now),
            latency_p50: state.log.latency(50, now),
            latency_p99: state.log.latency(99, now),
            under_way: self.limits.concurrency.saturating_sub(state.free),
            waiting: state.waiting,
        }
    }

    /// Does something with the breaker, and tells whoever watches us when that changes its state.
    fn tell_change<T>(&self, state: &mut State, change: impl FnOnce(&mut Breaker) -> T) -> T {
        let before = state.breaker.state();
        let result = change(&mut state.breaker);
        let after = state.breaker.state();
        if before == after {
            return result;
        }
        self.show(after);
        match after {
            BreakerState::Closed => info!(vendor = self.name, "a vendor is called again"),
            BreakerState::HalfOpen => info!(vendor = self.name, "a vendor is probed"),
            BreakerState::Open => {
                self.openings().increment(1);
                warn!(vendor = self.name, "a vendor fails and is not called for a while");
            }
        }
        result
    }

    /// There from the start, so that the first shows as one more.
    fn openings(&self) -> metrics::Counter {
        metrics::counter!("verigate_vendor_breaker_openings_total", "vendor" => self.name.clone())
    }

    fn show(&self, breaker: BreakerState) {
        for state in [BreakerState::Closed, BreakerState::HalfOpen, BreakerState::Open] {
            let value = if state == breaker { 1.0 } else { 0.0 };
            let labels = [("vendor", self.name.clone()), ("state", state.as_str().to_owned())];
            metrics::gauge!("verigate_vendor_breaker", &labels).set(value);
        }
    }

    /// Tells those who wait that there may be room.
    fn tell_free(&self, state: &State) {
        if state.urgent > 0 {
            self.freed_for_urgent.notify_one();
        }
        if state.waiting > 0 {
            self.freed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Urgent ===

impl<'a> Urgent<'a> {
    fn new(room: &'a Room) -> Self {
        room.lock().urgent += 1;
        Self(room)
    }
}

/// Also when whoever asks has hung up.
impl Drop for Urgent<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.urgent -= 1;
        // What was kept free for it, or told to it, is for the next.
        self.0.tell_free(&state);
    }
}

// === impl State ===

impl State {
    /// When such a try may begin; `None` when that depends on the end of another call.
    fn free_at(&mut self, of: Try, now: Timestamp) -> Option<Timestamp> {
        let room = self.room_at(Purpose::Send, now)?;
        let budget = self.budget.as_mut().map_or(now, |budget| budget.free_at(of, now));
        Some(room.max(budget))
    }

    /// The same for any call, as far as budgets do not matter.
    fn room_at(&self, purpose: Purpose, now: Timestamp) -> Option<Timestamp> {
        if self.free <= self.urgent {
            return None;
        }
        let breaker = self.breaker.free_at(purpose, now)?;
        let rate = self.rate.as_ref().map_or(now, |rate| rate.free_at(now));
        Some(breaker.max(rate))
    }

    /// When a question may be asked; `None` when that depends on the end of another call.
    fn urgent_free_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.free == 0 {
            return None;
        }
        let rate = self.rate.as_ref().map_or(now, |rate| rate.free_at(now));
        self.breaker.free_at(Purpose::Send, now).map(|breaker| breaker.max(rate))
    }

    /// Whether nobody waits who could go instead. Those whose budget is spent hold up nobody who needs none.
    fn is_free_for_newcomers(&mut self, of: Try, now: Timestamp) -> bool {
        match of {
            Try::Again => self.waiting == 0,
            Try::First => {
                let firsts = self.waiting - self.waiting_again;
                firsts == 0 && (self.waiting_again == 0 || self.free_at(Try::Again, now) != Some(now))
            }
        }
    }

    fn next_room(&mut self, now: Timestamp) -> Option<Timestamp> {
        let first = if self.waiting > self.waiting_again { self.free_at(Try::First, now) } else { None };
        let again = if self.waiting_again > 0 { self.free_at(Try::Again, now) } else { None };
        first.into_iter().chain(again).min()
    }
}

// === impl Permit ===

impl Permit {
    /// The vendor's configured name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The same, without a copy.
    pub(crate) fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    pub fn vendor(&self) -> &dyn Vendor {
        &*self.vendor
    }

    /// Notes how the call ended, and how long it took. Not to be called for an end that is not the vendor's doing.
    pub fn note(&mut self, outcome: &Result<Accepted, Failure>, took: Duration, now: Timestamp) {
        let Some(ticket) = self.ticket.take() else { return };
        let mut state = self.room.lock();
        state.log.add(outcome, took, now);
        self.room.tell_change(&mut state, |breaker| breaker.leave(ticket, Verdict::of(outcome), now));
    }

    /// Notes how a call ended that was there to ask or to tell. How the vendor fares with messages is another matter, and
    /// shows neither its outcome nor how long it took.
    pub fn note_aside<T>(&mut self, outcome: &Result<T, Failure>, now: Timestamp) {
        let Some(ticket) = self.ticket.take() else { return };
        let mut state = self.room.lock();
        self.room.tell_change(&mut state, |breaker| breaker.leave(ticket, Verdict::of(outcome), now));
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.room.lock();
        if let Some(ticket) = self.ticket.take() {
            state.breaker.give_back(ticket);
        }
        state.free += 1;
        state.free_aside += usize::from(self.purpose == Purpose::Aside);
        self.room.tell_free(&state);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({:?})", self.vendor)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use async_trait::async_trait;

    use super::*;
    use crate::clock::ManualClock;
    use crate::messaging::breaker::BreakerRules;
    use crate::vendor::{Capabilities, Outgoing};

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const UNTIL: Timestamp = Timestamp::from_millis(1_010_000);

    #[derive(Debug)]
    struct Nobody(Capabilities);

    #[async_trait]
    impl Vendor for Nobody {
        fn capabilities(&self) -> &Capabilities {
            &self.0
        }

        async fn send(&self, _: &Outgoing) -> Result<Accepted, Failure> {
            Err(Failure::Unavailable)
        }
    }

    /// One vendor, `a`, with room for one call.
    fn vendors() -> Vendors {
        let capabilities = Capabilities { channels: Vec::new(), idempotent: false, receipts: false };
        let mut vendors = Vendors::default();
        vendors.add("a", Arc::new(Nobody(capabilities)), 1);
        vendors
    }

    fn send(vendors: &Vendors) -> Option<Permit> {
        vendors.try_permit(&["a"], Try::First, NOW).map(|(_, permit)| permit)
    }

    fn waiting_send(vendors: &Vendors) -> Option<Permit> {
        vendors.permit_in_turn(&["a".to_owned()], Try::First, NOW).map(|(_, permit)| permit)
    }

    /// What a future has come to, if it has.
    async fn poll<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => Poll::Ready(None),
        })
        .await
    }

    #[tokio::test]
    async fn a_question_goes_before_every_send_that_waits() {
        let (vendors, clock) = (vendors(), ManualClock::new(NOW));
        let busy = send(&vendors).unwrap();
        vendors.begin_waiting(&["a".to_owned()], Try::First);
        let mut first = pin!(vendors.permit_soon("a", &clock, UNTIL));
        assert!(poll(first.as_mut()).await.is_none());
        let mut second = pin!(vendors.permit_soon("a", &clock, UNTIL));
        assert!(poll(second.as_mut()).await.is_none());
        drop(busy);
        assert!(waiting_send(&vendors).is_none() && send(&vendors).is_none());
        let permit = poll(first.as_mut()).await.flatten().unwrap();
        assert!(poll(second.as_mut()).await.is_none());
        drop(permit);
        drop(poll(second.as_mut()).await.flatten().unwrap());
        assert!(waiting_send(&vendors).is_some());
    }

    #[tokio::test]
    async fn who_asks_no_more_keeps_nothing_free() {
        let (vendors, clock) = (vendors(), ManualClock::new(NOW));
        let busy = send(&vendors).unwrap();
        vendors.begin_waiting(&["a".to_owned()], Try::First);
        {
            let mut question = Box::pin(vendors.permit_soon("a", &clock, UNTIL));
            assert!(poll(question.as_mut()).await.is_none());
            drop(busy);
        }
        let mut freed = pin!(vendors.freed());
        assert!(poll(freed.as_mut()).await.is_some());
        assert!(waiting_send(&vendors).is_some());
        let _busy = send(&vendors);
        clock.set(UNTIL);
        assert!(vendors.permit_soon("b", &clock, UNTIL).await.is_none(), "there is no such vendor");
    }

    #[tokio::test]
    async fn a_question_waits_so_long_and_not_for_a_vendor_that_is_down() {
        let (mut vendors, clock) = (vendors(), ManualClock::new(NOW));
        vendors
            .limit("a", |limits| Limits { breaker: BreakerRules { in_a_row: 1, ..BreakerRules::default() }, ..limits });
        let busy = send(&vendors).unwrap();
        let mut question = Box::pin(vendors.permit_soon("a", &clock, UNTIL));
        assert!(poll(question.as_mut()).await.is_none());
        clock.set(UNTIL);
        assert!(question.await.is_none());
        drop(busy);
        let mut failing = send(&vendors).unwrap();
        failing.note(&Err(Failure::Unavailable), Duration::ZERO, clock.now());
        drop(failing);
        assert!(vendors.closed_until("a", clock.now()).is_some());
        assert!(vendors.permit_soon("a", &clock, UNTIL + Duration::from_secs(60)).await.is_none());
    }

    #[tokio::test]
    async fn a_question_keeps_to_the_vendors_rate() {
        let (mut vendors, clock) = (vendors(), ManualClock::new(NOW));
        vendors.limit("a", |limits| Limits { rate: Some(1), ..limits });
        drop(send(&vendors).unwrap());
        let mut question = Box::pin(vendors.permit_soon("a", &clock, UNTIL));
        assert!(poll(question.as_mut()).await.is_none());
        clock.advance(Duration::from_secs(1));
        assert!(question.await.is_some());
    }
}
