//! Brings the committer's answers to their callers, and tells whether these may soon ask for more.
//!
//! To wake a task of a runtime that has one thread, from another thread, takes a call of the kernel for each. So the
//! callers of a group that wait in the same such runtime are woken together, by a task there.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Handle, Id, RuntimeFlavor};
use tokio::sync::{mpsc, oneshot};

use crate::error::Result;
use crate::store::Commit;

/// Runtimes of one thread from which commits came.
#[derive(Default)]
pub(crate) struct Homes {
    known: Mutex<HashMap<Id, Home>>,
}

struct Home {
    runtime: Handle,
    letters: Letters,
}

/// Who waits for the outcome of a commit. Dropped without an answer, says that the store has failed.
pub(crate) struct Caller {
    answer: oneshot::Sender<Result<Commit>>,
    home: Option<Letters>,
}

/// The way to the task that wakes the callers of one runtime.
type Letters = mpsc::UnboundedSender<Vec<Letter>>;

type Letter = (oneshot::Sender<Result<Commit>>, Result<Commit>);

/// Outcomes of one group, on their way.
#[derive(Default)]
pub(crate) struct Answers {
    homes: Vec<(Letters, Vec<Letter>)>,
}

// === impl Homes ===

impl Homes {
    /// A caller in this runtime, and where it hears the outcome.
    pub(crate) fn caller(&self) -> (Caller, oneshot::Receiver<Result<Commit>>) {
        let (answer, answered) = oneshot::channel();
        (Caller { answer, home: self.here() }, answered)
    }

    /// Whether all have something to do that may end in a commit.
    pub(crate) fn are_busy(&self) -> bool {
        let known = self.lock();
        let mut open = known.values().filter(|home| !home.letters.is_closed()).peekable();
        open.peek().is_some() && open.all(Home::is_busy)
    }

    fn here(&self) -> Option<Letters> {
        let runtime = Handle::try_current().ok()?;
        if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread {
            return None;
        }
        let mut known = self.lock();
        // The name of a runtime that has ended goes to another one.
        let home = known.get(&runtime.id()).filter(|home| !home.letters.is_closed());
        Some(match home {
            Some(home) => home.letters.clone(),
            None => known.entry(runtime.id()).insert_entry(Home::open(runtime)).get().letters.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, Home>> {
        // Nothing that can panic happens under this lock.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Home ===

impl Home {
    /// Its task ends with the last who knows the way to it.
    fn open(runtime: Handle) -> Self {
        let (letters, mut coming) = mpsc::unbounded_channel::<Vec<Letter>>();
        runtime.spawn(async move {
            while let Some(letters) = coming.recv().await {
                letters.into_iter().for_each(hand_over);
            }
        });
        Self { runtime, letters }
    }

    fn is_busy(&self) -> bool {
        // Counts each time that its thread goes to sleep, and each time that it wakes.
        self.runtime.metrics().worker_park_unpark_count(0).is_multiple_of(2)
    }
}

/// A caller who has gone away is no fault.
fn hand_over((answer, outcome): Letter) {
    drop(answer.send(outcome));
}

// === impl Answers ===

impl Answers {
    pub(crate) fn add(&mut self, Caller { answer, home }: Caller, outcome: Result<Commit>) {
        let letter = (answer, outcome);
        let Some(home) = home else { return hand_over(letter) };
        match self.homes.iter_mut().find(|(known, _)| known.same_channel(&home)) {
            Some((_, letters)) => letters.push(letter),
            None => self.homes.push((home, vec![letter])),
        }
    }

    pub(crate) fn send(self) {
        for (home, mut letters) in self.homes {
            // One by itself is woken as quickly without help.
            if letters.len() == 1 {
                letters.pop().into_iter().for_each(hand_over);
            } else if let Err(mpsc::error::SendError(letters)) = home.send(letters) {
                letters.into_iter().for_each(hand_over);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::runtime::{Builder, Runtime};

    use super::*;
    use crate::store::Version;

    fn one_thread() -> Runtime {
        Builder::new_current_thread().build().unwrap()
    }

    /// Answers each with a version of its own, all as one group; returns for how many each wake-up is.
    fn answer(callers: impl IntoIterator<Item = Caller>) -> Vec<usize> {
        let mut answers = Answers::default();
        for (number, caller) in (0..).zip(callers) {
            answers.add(caller, Ok(Commit::Committed(Version(number))));
        }
        let together = answers.homes.iter().map(|(_, letters)| letters.len()).collect();
        answers.send();
        together
    }

    #[test]
    fn each_hears_its_own_outcome_wherever_it_waits() {
        let (homes, threads) = (Homes::default(), [one_thread(), one_thread(), Runtime::new().unwrap()]);
        let (callers, waiting): (Vec<_>, Vec<_>) = threads
            .iter()
            .cycle()
            .take(20)
            .map(|runtime| {
                let (caller, answered) = runtime.block_on(async { homes.caller() });
                (caller, (runtime, answered))
            })
            .unzip();
        assert_eq!(answer(callers), [7, 7], "those of one thread together; a runtime of many threads needs no help");
        for (number, (runtime, answered)) in (0..).zip(waiting) {
            assert_eq!(runtime.block_on(answered).unwrap().unwrap(), Commit::Committed(Version(number)));
        }
    }

    #[test]
    fn an_ended_runtime_costs_nobody_an_answer() {
        let homes = Homes::default();
        let ended = one_thread();
        let (gone, away) = ended.block_on(async { homes.caller() });
        let (callers, waiting): (Vec<_>, Vec<_>) = (0..2).map(|_| ended.block_on(async { homes.caller() })).unzip();
        drop((away, ended));
        answer([gone].into_iter().chain(callers));
        for (number, mut answered) in (1..).zip(waiting) {
            assert_eq!(answered.try_recv().unwrap().unwrap(), Commit::Committed(Version(number)));
        }
        assert!(!homes.are_busy(), "nothing comes from one that has ended");
        // As if it had the name of the one that has ended.
        let again = one_thread();
        let closed = homes.lock().drain().next().unwrap().1;
        homes.lock().insert(again.handle().id(), closed);
        let (callers, waiting): (Vec<_>, Vec<_>) = (0..2).map(|_| again.block_on(async { homes.caller() })).unzip();
        answer(callers);
        for answered in waiting {
            assert!(again.block_on(answered).unwrap().is_ok());
        }
        assert!(!homes.lock().values().next().unwrap().letters.is_closed());
    }

    #[test]
    fn a_runtime_is_busy_while_its_thread_is_awake() {
        let (homes, runtime) = (Arc::new(Homes::default()), one_thread());
        assert!(!homes.are_busy(), "nobody has asked yet");
        let (asked, asks) = std::sync::mpsc::channel();
        let (go, gone) = oneshot::channel::<()>();
        let asking = Arc::clone(&homes);
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                drop(asking.caller());
                asked.send(asking.are_busy()).unwrap();
                gone.await.unwrap();
            });
        });
        assert!(asks.recv().unwrap());
        while homes.are_busy() {
            // It is about to wait.
            std::thread::yield_now();
        }
        go.send(()).unwrap();
        thread.join().unwrap();
    }
}
