//! The sends that wait for room at their vendors, in lines. Lines are in memory only: the due marks of those who wait
//! stay where they are in the store, so waiting costs it nothing, and after a restart the worker finds them again.
//!
//! There is one line for each tenant, kind of record, choice of vendors and kind of try, and a vendor serves the lines before it in
//! turn: nobody's backlog is in the way of another tenant's messages, and no batch of messages in the way of a code.
//! Lines are bounded. Who finds no place is told when to come again, and comes that much later the more were told so
//! before, so that a backlog of any length is looked at about so many times a second.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::messaging::budget::Try;
use crate::messaging::vendors::{Permit, Vendors};
use crate::store::keys::{Holder, SendRef, TenantTag};

/// All lines of this process.
pub struct Lines {
    vendors: Vendors,
    longest: usize,
    state: Mutex<State>,
    sooner: Notify,
}

/// What all in a line have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct LineName {
    pub tenant: TenantTag,
    pub holder: Holder,
    /// They take any of these, best first.
    pub vendors: Vec<String>,
    /// Whether these vendors had them before.
    pub of: Try,
    /// Whether they can go elsewhere when all of these are down.
    pub may_move_on: bool,
}

/// A send in a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    pub send: SendRef,
    /// Where its due mark stands.
    pub due_at: Timestamp,
    /// When it waits no more.
    pub expires_at: Timestamp,
}

/// What a send is told that wants to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    InLine,
    /// There is none; come again then.
    Later(Timestamp),
}

/// A send whose turn it is, and leave to call that vendor.
#[derive(Debug)]
pub struct Turn {
    pub waiting: Waiting,
    pub vendor: String,
    pub permit: Permit,
}

#[derive(Default)]
struct State {
    /// None of them is empty, but for those that turned somebody away.
    lines: HashMap<Arc<LineName>, Line>,
    /// Everybody, by the end of their time and their arrival.
    ends: BTreeMap<(Timestamp, u64), Arc<LineName>>,
    arrivals: u64,
    turns: u64,
}

struct Line {
    queue: BTreeMap<u64, Waiting>,
    /// When it was served last, in turns of all lines.
    turn: u64,
    /// When the next one comes again who finds no place.
    next_look: Timestamp,
}

/// Sends that wait in all lines together, in full lines.
const MOST_FULL_LINES: usize = 3;

/// Who was turned away comes again after this at the soonest and at the latest, two of the same line so far apart.
const SOONEST_LOOK: Duration = Duration::from_secs(1);
const LATEST_LOOK: Duration = Duration::from_secs(600);
const LOOK_APART: Duration = Duration::from_millis(2);

// === impl Lines ===

impl Lines {
    /// `longest`: how many may wait in one line.
    pub fn new(vendors: Vendors, longest: usize) -> Self {
        Self { vendors, longest, state: Mutex::default(), sooner: Notify::new() }
    }

    /// Puts a send at the end of its line.
    pub fn join(&self, name: LineName, waiting: Waiting, now: Timestamp) -> Place {
        let mut state = self.lock();
        let has_place = state.ends.len() < self.longest.saturating_mul(MOST_FULL_LINES);
        let (arrival, turn) = (state.arrivals, state.turns);
        let name = Arc::new(name);
        let line = state.lines.entry(Arc::clone(&name)).or_insert_with(|| Line::new(turn));
        if !has_place || line.queue.len() >= self.longest {
            return Place::Later(line.turn_away(now));
        }
        line.queue.insert(arrival, waiting);
        state.arrivals += 1;
        // Within the lock: nobody may leave a line before it is known that they wait.
        self.vendors.begin_waiting(&name.vendors, name.of);
        state.ends.insert((waiting.expires_at, arrival), name);
        let is_soonest = state.ends.first_key_value().is_some_and(|(first, _)| *first == (waiting.expires_at, arrival));
        drop(state);
        if is_soonest {
            self.sooner.notify_one();
        }
        Place::InLine
    }

    /// Takes out whose turn it is, if any of their vendors has room.
    pub fn next(&self, now: Timestamp) -> Option<Turn> {
        let mut state = self.lock();
        let lines = state.lines.iter().filter_map(|(name, line)| {
            let (arrival, _) = line.queue.first_key_value()?;
            Some((line.turn, *arrival, Arc::clone(name)))
        });
        let mut lines: Vec<_> = lines.collect();
        lines.sort_unstable_by_key(|(turn, arrival, _)| (*turn, *arrival));
        for (_, arrival, name) in lines {
            let Some((vendor, permit)) = self.vendors.permit_in_turn(&name.vendors, name.of, now) else { continue };
            state.turns += 1;
            let turn = state.turns;
            if let Some(line) = state.lines.get_mut(&name) {
                line.turn = turn;
            }
            return self.take(&mut state, &name, arrival).map(|waiting| Turn { waiting, vendor, permit });
        }
        None
    }

    /// Takes out somebody who waits for vendors that are all down, and can go elsewhere.
    pub fn next_stranded(&self, now: Timestamp) -> Option<Waiting> {
        let mut state = self.lock();
        let (name, arrival) = state.lines.iter().find_map(|(name, line)| {
            let (arrival, _) = line.queue.first_key_value()?;
            let stranded = name.may_move_on && self.vendors.are_broken(name.vendors.iter().map(String::as_str), now);
            stranded.then(|| (Arc::clone(name), *arrival))
        })?;
        self.take(&mut state, &name, arrival)
    }

    /// Takes out somebody whose time is over.
    pub fn next_ended(&self, now: Timestamp) -> Option<Waiting> {
        let mut state = self.lock();
        let ((end, arrival), name) = state.ends.first_key_value()?;
        if *end > now {
            return None;
        }
        let (arrival, name) = (*arrival, Arc::clone(name));
        self.take(&mut state, &name, arrival)
    }

    /// When somebody's time will be over.
    pub fn next_end(&self) -> Option<Timestamp> {
        self.lock().ends.first_key_value().map(|((end, _), _)| *end)
    }

    /// How many wait, and when the first of those that are next in their lines was due.
    pub fn waiting(&self) -> (usize, Option<Timestamp>) {
        let state = self.lock();
        let next = state.lines.values().filter_map(|line| line.queue.first_key_value());
        (state.ends.len(), next.map(|(_, waiting)| waiting.due_at).min())
    }

    /// Completes when somebody came whose time will be over sooner than that of all others.
    pub async fn sooner(&self) {
        self.sooner.notified().await;
    }

    fn take(&self, state: &mut State, name: &Arc<LineName>, arrival: u64) -> Option<Waiting> {
        let line = state.lines.get_mut(name)?;
        let waiting = line.queue.remove(&arrival)?;
        if line.queue.is_empty() {
            // With it goes what it told others: they may come at once.
            state.lines.remove(name);
        }
        state.ends.remove(&(waiting.expires_at, arrival));
        self.vendors.end_waiting(&name.vendors, name.of);
        Some(waiting)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Line ===

impl Line {
    fn new(turn: u64) -> Self {
        Self { queue: BTreeMap::new(), turn, next_look: Timestamp::default() }
    }

    fn turn_away(&mut self, now: Timestamp) -> Timestamp {
        let look = self.next_look.clamp(now + SOONEST_LOOK, now + LATEST_LOOK);
        self.next_look = look + LOOK_APART;
        look
    }
}
