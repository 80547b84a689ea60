//! Room for calls: so many at a time, of which one receiver and one account get only a part, so that neither a slow
//! receiver nor an account with many of them keeps the others waiting.
//!
//! Who finds no room waits its turn, in the order of arrival at its receiver. So many may wait and no more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most that wait or call, of one receiver, of one account, and altogether.
const MOST_OF_RECEIVER: usize = 500;
const MOST_OF_ACCOUNT: usize = 2_000;
const MOST: usize = 10_000;

/// The room of a client. Cheap to clone.
#[derive(Clone)]
pub struct Rooms(Arc<House>);

struct House {
    all: Arc<Semaphore>,
    per_receiver: usize,
    per_account: usize,
    lines: Mutex<HashMap<Name, Line>>,
}

/// Whose part of the room it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name {
    Receiver(String),
    Account(String),
    Everybody,
}

struct Line {
    room: Arc<Semaphore>,
    /// How many wait there or have room.
    present: usize,
}

/// Room for one call; free again when dropped.
pub struct Room {
    receiver: Presence,
    _of: [OwnedSemaphorePermit; 3],
    _present: [Presence; 2],
}

/// Somebody who waits in a line or has room; the line is gone with the last of them.
struct Presence {
    rooms: Rooms,
    name: Name,
    room: Arc<Semaphore>,
}

// === impl Rooms ===

impl Rooms {
    /// An account gets at most a quarter of the room.
    pub fn new(all: usize, per_receiver: usize) -> Self {
        let per_account = (all / 4).max(1);
        Self(Arc::new(House { all: Arc::new(Semaphore::new(all)), per_receiver, per_account, lines: Mutex::default() }))
    }

    /// Waits for room to call a receiver for an account. `None` when too many wait already.
    pub async fn enter(&self, account: &str, receiver: &str) -> Option<Room> {
        let everybody = self.join(Name::Everybody, MOST)?;
        let account = self.join(Name::Account(account.to_owned()), MOST_OF_ACCOUNT)?;
        let receiver = self.join(Name::Receiver(receiver.to_owned()), MOST_OF_RECEIVER)?;
        // First where it is narrowest, so that those who wait for a slow receiver keep nothing that others could use.
        let of_receiver = receiver.wait().await?;
        let of_account = account.wait().await?;
        let of_all = everybody.wait().await?;
        Some(Room { receiver, _of: [of_receiver, of_account, of_all], _present: [account, everybody] })
    }

    /// How many wait for a receiver or call it.
    pub fn present(&self, receiver: &str) -> usize {
        self.lock().get(&Name::Receiver(receiver.to_owned())).map_or(0, |line| line.present)
    }

    fn join(&self, name: Name, most: usize) -> Option<Presence> {
        let House { all, per_receiver, per_account, .. } = &*self.0;
        let mut lines = self.lock();
        let line = lines.entry(name.clone()).or_insert_with(|| {
            let room = match &name {
                Name::Receiver(_) => Arc::new(Semaphore::new(*per_receiver)),
                Name::Account(_) => Arc::new(Semaphore::new(*per_account)),
                Name::Everybody => Arc::clone(all),
            };
            Line { room, present: 0 }
        });
        if line.present >= most {
            return None;
        }
        line.present += 1;
        Some(Presence { rooms: self.clone(), name, room: Arc::clone(&line.room) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Line>> {
        // Nothing panics while it is held.
        self.0.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Room ===

impl Room {
    /// Whether somebody else calls the same receiver, or waits to.
    pub fn is_shared(&self) -> bool {
        let Name::Receiver(receiver) = &self.receiver.name else { return false };
        self.receiver.rooms.present(receiver) > 1
    }
}

// === impl Presence ===

impl Presence {
    /// `None` when it is closed, which it never is.
    async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).acquire_owned().await.ok()
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut lines = self.rooms.lock();
        if let Some(line) = lines.get_mut(&self.name) {
            line.present = line.present.saturating_sub(1);
            if line.present == 0 {
                lines.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// Room, if there is some at once.
    fn enter(rooms: &Rooms, account: &str, receiver: &str) -> Option<Room> {
        rooms.enter(account, receiver).now_or_never().flatten()
    }

    #[test]
    fn neither_a_receiver_nor_an_account_takes_all_room() {
        let rooms = Rooms::new(16, 2);
        let of_one: Vec<_> = (0..3).map_while(|_| enter(&rooms, "a", "slow")).collect();
        assert_eq!((of_one.len(), rooms.present("slow")), (2, 2));
        assert!(of_one[0].is_shared());
        // A quarter of the room is for one account, however many receivers it has.
        let others: Vec<_> = (0..9).map_while(|at| enter(&rooms, "a", &format!("other-{at}"))).collect();
        assert_eq!(others.len(), 2);
        assert!(!others[0].is_shared());
        // Who waits for a slow receiver keeps nothing that others could use.
        let waiting = rooms.enter("b", "slow");
        tokio::pin!(waiting);
        assert!(waiting.as_mut().now_or_never().is_none());
        let of_b: Vec<_> = (0..9).map_while(|at| enter(&rooms, "b", &format!("of-b-{at}"))).collect();
        assert_eq!(of_b.len(), 4);
        drop((of_one, of_b));
        assert!(waiting.now_or_never().flatten().is_some());
    }

    #[test]
    fn room_is_free_again_and_nothing_is_remembered() {
        let rooms = Rooms::new(4, 1);
        for _ in 0..5 {
            let room = enter(&rooms, "a", "r").unwrap();
            assert!(enter(&rooms, "a", "r").is_none(), "taken");
            drop(room);
        }
        assert!(rooms.lock().is_empty());
        let all: Vec<_> = (0..9).map_while(|at| enter(&rooms, &format!("a{at}"), &format!("r{at}"))).collect();
        assert_eq!(all.len(), 4);
        drop(all);
        assert!(rooms.lock().is_empty());
    }

    #[test]
    fn only_so_many_wait() {
        /// How many wait, each for an account and a receiver of this, before one is turned away.
        fn waiting(name: impl Fn(usize) -> (usize, usize)) -> usize {
            let rooms = Rooms::new(1, 1);
            let room = enter(&rooms, "first", "first").unwrap();
            let wait = |at| {
                let (rooms, (account, receiver)) = (rooms.clone(), name(at));
                let entering = async move { rooms.enter(&account.to_string(), &receiver.to_string()).await.is_none() };
                let mut waiting = Box::pin(entering);
                let turned_away = waiting.as_mut().now_or_never();
                turned_away.is_none().then_some(waiting)
            };
            let waiting: Vec<_> = (0..).map_while(wait).collect();
            let count = waiting.len();
            drop((waiting, room));
            assert!(rooms.lock().is_empty());
            count
        }
        assert_eq!(waiting(|at| (at, 0)), MOST_OF_RECEIVER);
        assert_eq!(waiting(|at| (0, at)), MOST_OF_ACCOUNT);
        assert_eq!(waiting(|at| (at, at)), MOST - 1);
    }
}
