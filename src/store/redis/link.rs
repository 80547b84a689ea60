//! The connections to one server: opened when they are needed, one attempt at a time, and given up when they fail.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;

use crate::store::redis::dial::{Connection, Dialler};
use crate::store::redis::fault::Trouble;
use crate::store::redis::pace::uptime;
use crate::store::redis::settings::Address;

/// Those who waited for an attempt that failed share its end, and so do those who come this soon after it.
const REST: Duration = Duration::from_millis(100);

/// A server that we talk to.
pub(crate) struct Link {
    pub(crate) address: Address,
    reads: Lane,
    /// Several, for a server does nothing else on a connection while that waits for replicas.
    commits: Vec<Lane>,
    next: AtomicUsize,
    /// For what is asked beside the work.
    upkeep: Lane,
    state: RwLock<State>,
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    Read,
    Commit,
    Upkeep,
}

/// One connection, or the place of one.
pub(crate) struct Lane {
    slot: Mutex<Slot>,
}

#[derive(Default)]
struct Slot {
    connection: Option<Connection>,
    /// When the last attempt failed, and why.
    failed: Option<(Duration, Trouble)>,
}

/// What is known to be wrong with a server: then it is not asked, and nobody waits for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct State {
    /// It does not answer.
    pub(crate) away: Option<Trouble>,
    /// It takes no commits, or they do not get as far as they should.
    pub(crate) closed: Option<Trouble>,
}

// === impl Link ===

impl Link {
    pub(crate) fn new(address: Address, commits: u32) -> Self {
        Self {
            address,
            reads: Lane::default(),
            commits: (0..commits).map(|_| Lane::default()).collect(),
            next: AtomicUsize::new(0),
            upkeep: Lane::default(),
            state: RwLock::default(),
        }
    }

    pub(crate) fn lane(&self, errand: Errand) -> &Lane {
        match errand {
            Errand::Read => &self.reads,
            Errand::Upkeep => &self.upkeep,
            Errand::Commit => {
                let turn = self.next.fetch_add(1, Ordering::Relaxed);
                self.commits.get(turn % self.commits.len().max(1)).unwrap_or(&self.reads)
            }
        }
    }

    /// Why it should not be asked now.
    pub(crate) fn objection(&self, errand: Errand) -> Option<Trouble> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        match errand {
            Errand::Read => state.away.clone(),
            Errand::Commit => state.away.clone().or_else(|| state.closed.clone()),
            Errand::Upkeep => None,
        }
    }

    pub(crate) fn is_well(&self) -> bool {
        *self.state.read().unwrap_or_else(PoisonError::into_inner) == State::default()
    }

    /// Notes how it stands with the server, and tells how it stood.
    pub(crate) fn note(&self, state: State) -> State {
        std::mem::replace(&mut *self.state.write().unwrap_or_else(PoisonError::into_inner), state)
    }

    /// Forgets attempts that have failed: it is well now.
    pub(crate) async fn forgive(&self) {
        for lane in self.commits.iter().chain([&self.reads, &self.upkeep]) {
            lane.slot.lock().await.failed = None;
        }
    }

    /// Gives up every connection: to a server that hangs they are worth nothing.
    pub(crate) fn hang_up(&self) {
        for lane in self.commits.iter().chain([&self.reads, &self.upkeep]) {
            // Who holds it is opening a new one.
            if let Ok(mut slot) = lane.slot.try_lock() {
                slot.connection = None;
            }
        }
    }
}

// === impl Lane ===

impl Default for Lane {
    fn default() -> Self {
        Self { slot: Mutex::new(Slot::default()) }
    }
}

impl Lane {
    /// The connection, opened when there is none.
    pub(crate) async fn connection(&self, dialler: &Dialler, address: &Address) -> Result<Connection, Trouble> {
        let mut slot = self.slot.lock().await;
        if let Some(connection) = slot.connection.as_ref().filter(|connection| connection.is_open()) {
            return Ok(connection.clone());
        }
        slot.connection = None;
        if let Some((at, trouble)) = &slot.failed
            && uptime().saturating_sub(*at) < REST
        {
            return Err(trouble.clone());
        }
        let opened = dialler.dial(address).await;
        match opened {
            Ok(connection) => {
                *slot = Slot { connection: Some(connection.clone()), failed: None };
                Ok(connection)
            }
            Err(trouble) => {
                slot.failed = Some((uptime(), trouble.clone()));
                Err(trouble)
            }
        }
    }

    /// Gives a connection up, so that the next call opens another.
    pub(crate) fn give_up(&self, connection: &Connection) {
        if let Ok(mut slot) = self.slot.try_lock()
            && slot.connection.as_ref().is_some_and(|held| held.is_same(connection))
        {
            slot.connection = None;
        }
    }
}
