//! The connections to one server: opened when they are needed, one attempt at a time, and given up when they fail.
//!
//! Each runtime has its own: what is answered there wakes no other thread.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::runtime::{Handle, Id};

use crate::store::redis::dial::{Connection, Dialler};
use crate::store::redis::fault::Trouble;
use crate::store::redis::pace::uptime;
use crate::store::redis::settings::Address;

/// Those who waited for an attempt that failed share its end, and so do those who come this soon after it.
const REST: Duration = Duration::from_millis(100);

/// A server that we talk to.
pub(crate) struct Link {
    pub(crate) address: Address,
    /// How many connections for commits each runtime has.
    commits: u32,
    homes: Mutex<HashMap<Option<Id>, Home>>,
    /// For what is asked beside the work.
    upkeep: Lane,
    state: RwLock<State>,
}

/// The connections of one runtime.
struct Home {
    reads: Lane,
    /// Several, for a server does nothing else on a connection while that waits for replicas.
    commits: Vec<Lane>,
    next: AtomicUsize,
}

/// What a call is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    Read,
    Commit,
    Upkeep,
}

/// One connection, or the place of one. Copies are of the same.
#[derive(Clone, Default)]
pub(crate) struct Lane {
    slot: Arc<tokio::sync::Mutex<Slot>>,
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
        Self { address, commits, homes: Mutex::default(), upkeep: Lane::default(), state: RwLock::default() }
    }

    pub(crate) fn lane(&self, errand: Errand) -> Lane {
        if errand == Errand::Upkeep {
            return self.upkeep.clone();
        }
        let here = Handle::try_current().ok().map(|runtime| runtime.id());
        self.homes().entry(here).or_insert_with(|| Home::new(self.commits)).lane(errand).clone()
    }

    fn lanes(&self) -> Vec<Lane> {
        let mut lanes = vec![self.upkeep.clone()];
        for home in self.homes().values() {
            lanes.push(home.reads.clone());
            lanes.extend_from_slice(&home.commits);
        }
        lanes
    }

    fn homes(&self) -> MutexGuard<'_, HashMap<Option<Id>, Home>> {
        // Nothing that can panic happens under this lock.
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
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
        for lane in self.lanes() {
            lane.slot.lock().await.failed = None;
        }
    }

    /// Gives up every connection: to a server that hangs they are worth nothing.
    pub(crate) fn hang_up(&self) {
        for lane in self.lanes() {
            // Who holds it is opening a new one.
            if let Ok(mut slot) = lane.slot.try_lock() {
                slot.connection = None;
            }
        }
    }
}

// === impl Home ===

impl Home {
    fn new(commits: u32) -> Self {
        let commits = (0..commits).map(|_| Lane::default()).collect();
        Self { reads: Lane::default(), commits, next: AtomicUsize::new(0) }
    }

    fn lane(&self, errand: Errand) -> &Lane {
        if errand != Errand::Commit {
            return &self.reads;
        }
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        self.commits.get(turn % self.commits.len().max(1)).unwrap_or(&self.reads)
    }
}

// === impl Lane ===

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runtime_has_connections_of_its_own_and_all_are_looked_after() {
        let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (here, there) = (runtime(), runtime());
        let address = Address { host: "127.0.0.1".to_owned(), port: 1 };
        let link = Link::new(address, 2);
        let lane = |on: &tokio::runtime::Runtime, errand| on.block_on(async { link.lane(errand) });
        let is_same = |one: &Lane, other: &Lane| Arc::ptr_eq(&one.slot, &other.slot);

        let (reads, commits) = (lane(&here, Errand::Read), lane(&here, Errand::Commit));
        assert!(is_same(&reads, &lane(&here, Errand::Read)) && !is_same(&reads, &lane(&there, Errand::Read)));
        let next = lane(&here, Errand::Commit);
        assert!(!is_same(&commits, &next), "commits take turns");
        assert!(is_same(&commits, &lane(&here, Errand::Commit)));
        assert!(!is_same(&commits, &lane(&there, Errand::Commit)) && !is_same(&next, &lane(&there, Errand::Commit)));
        assert!(is_same(&lane(&here, Errand::Upkeep), &lane(&there, Errand::Upkeep)));

        assert_eq!(link.lanes().len(), 7);
        let forgive = async {
            reads.slot.lock().await.failed = Some((Duration::ZERO, Trouble::lost("away")));
            link.forgive().await;
            reads.slot.lock().await.failed.is_none()
        };
        assert!(here.block_on(forgive));
    }
}
