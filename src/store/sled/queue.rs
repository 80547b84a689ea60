//! What waits for the committer: a bounded queue that refuses when it is full, when the store has failed, when it waits for
//! room on its disk and when it is closed.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::error::{Error, Kind, Reason, Result};
use crate::store::sled::answers::Caller;
use crate::store::sled::fault;
use crate::store::{Batch, KeyBytes, Version, Write};

/// Most jobs in one group. More would make the first of them wait for the last.
const MAX_GROUP_JOBS: usize = 256;

/// Most bytes of keys and values in one group, unless a single job is larger.
const MAX_GROUP_BYTES: usize = 256 * 1024;

/// How often it is asked whether more are likely, while a group grows, and how many times at most: for a millisecond.
const LOOK_INTERVAL: Duration = Duration::from_micros(200);
const MAX_LOOKS: u32 = 5;

/// How long a refused caller should stay away: a full queue is written in a few groups.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// One thing for the committer to do. Whoever drops an answer unsent says that the store has failed, for good or not.
pub(crate) enum Job {
    Commit {
        batch: Batch,
        caller: Caller,
    },
    /// Deletes each key that is still at its version; answers how many were.
    Forget {
        records: Vec<(KeyBytes, Version)>,
        answer: oneshot::Sender<usize>,
    },
    /// Has all that was committed before settle, and clears it from the journal; answers then.
    Scrub {
        answer: oneshot::Sender<()>,
    },
}

/// Jobs in the order in which they came.
pub(crate) struct Queue {
    capacity: usize,
    state: Mutex<State>,
    arrived: Condvar,
}

struct State {
    jobs: VecDeque<Job>,
    phase: Phase,
    /// Whether the committer waits for a job: waking it costs a call of the kernel, whether it waits or not.
    is_awaited: bool,
}

enum Phase {
    Open,
    /// Until there is room on the disk.
    Held(String),
    Closed,
    Failed(String),
}

// === impl Queue ===

impl Queue {
    pub(crate) fn new(capacity: usize) -> Self {
        let state = State { jobs: VecDeque::new(), phase: Phase::Open, is_awaited: false };
        Self { capacity, state: Mutex::new(state), arrived: Condvar::new() }
    }

    /// Errors: `Unavailable` when the queue is full, closed or failed.
    pub(crate) fn push(&self, job: Job) -> Result<()> {
        let mut state = self.lock();
        state.refusal().map_or(Ok(()), Err)?;
        if state.jobs.len() >= self.capacity {
            return Err(Error::new(Kind::Unavailable, Reason::Overloaded, "too many commits are waiting")
                .with_retry_after(RETRY_AFTER));
        }
        state.jobs.push_back(job);
        let is_awaited = std::mem::take(&mut state.is_awaited);
        drop(state);
        if is_awaited {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// The next group, waiting for one; `None` once the queue is closed and empty, is held, or has failed. It grows while
    /// `more` are likely, but not for long.
    pub(crate) fn take(&self, more: impl Fn() -> bool) -> Option<Vec<Job>> {
        let nothing_to_do = |state: &mut State| {
            state.is_awaited = state.jobs.is_empty() && matches!(state.phase, Phase::Open);
            state.is_awaited
        };
        let waiting = self.arrived.wait_while(self.lock(), nothing_to_do);
        let mut state = waiting.unwrap_or_else(PoisonError::into_inner);
        for _ in 0..MAX_LOOKS {
            let is_full = state.jobs.len() >= MAX_GROUP_JOBS || !matches!(state.phase, Phase::Open);
            if is_full || !more() {
                break;
            }
            let waited = self.arrived.wait_timeout(state, LOOK_INTERVAL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut bytes = 0;
        let mut group = Vec::new();
        while let Some(job) = state.jobs.front() {
            bytes += job.bytes();
            if !group.is_empty() && (group.len() >= MAX_GROUP_JOBS || bytes > MAX_GROUP_BYTES) {
                break;
            }
            group.extend(state.jobs.pop_front());
        }
        (!group.is_empty()).then_some(group)
    }

    /// Refuses what comes from now on; what already waits is still done.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Open | Phase::Held(_)) {
            state.phase = Phase::Closed;
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Ends writing: refuses what comes, drops what waits. The first cause stays.
    pub(crate) fn fail(&self, cause: impl Into<String>) {
        self.refuse(|phase| match phase {
            Phase::Failed(_) => {}
            _ => *phase = Phase::Failed(cause.into()),
        });
    }

    /// Stops writing for an error: until [`Queue::resume`] where that may pass, else for good.
    pub(crate) fn stop(&self, error: &Error) {
        let cause = format!("{error:?}");
        if !fault::passes(error) {
            return self.fail(cause);
        }
        self.refuse(|phase| {
            if matches!(phase, Phase::Open) {
                *phase = Phase::Held(cause);
            }
        });
    }

    /// Waits for a while, if the queue is held; returns whether it still is.
    pub(crate) fn wait_while_held(&self, longest: Duration) -> bool {
        let is_held = |state: &mut State| matches!(state.phase, Phase::Held(_));
        let waited = self.arrived.wait_timeout_while(self.lock(), longest, is_held);
        is_held(&mut waited.unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Takes jobs again, if the queue was held.
    pub(crate) fn resume(&self) {
        let mut state = self.lock();
        if matches!(state.phase, Phase::Held(_)) {
            state.phase = Phase::Open;
        }
    }

    /// What to tell those whose answer was dropped. A queue that takes jobs now was held meanwhile.
    pub(crate) fn why_unanswered(&self) -> Error {
        self.refusal().unwrap_or_else(|| fault::full("writing stopped for a while"))
    }

    fn refuse(&self, change: impl FnOnce(&mut Phase)) {
        let mut state = self.lock();
        change(&mut state.phase);
        let dropped = std::mem::take(&mut state.jobs);
        drop(state);
        // The committer, which may wait for a job, holds answers that it was to give later.
        self.arrived.notify_one();
        drop(dropped);
    }

    /// Why nothing is taken, if nothing is.
    pub(crate) fn refusal(&self) -> Option<Error> {
        self.lock().refusal()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing that can panic happens under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn refusal(&self) -> Option<Error> {
        match &self.phase {
            Phase::Open => None,
            Phase::Held(cause) => Some(fault::full(cause.clone())),
            Phase::Closed => Some(fault::closed()),
            Phase::Failed(cause) => Some(fault::broken(cause.clone())),
        }
    }
}

// === impl Job ===

impl Job {
    fn bytes(&self) -> usize {
        match self {
            Self::Commit { batch, .. } => batch
                .writes()
                .iter()
                .map(|(key, write)| match write {
                    Write::Put { value, .. } => key.bytes().len() + value.len(),
                    Write::Delete => key.bytes().len(),
                })
                .sum(),
            Self::Forget { records, .. } => records.iter().map(|(key, _)| key.len()).sum(),
            Self::Scrub { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use super::*;
    use crate::id::Partition;
    use crate::store::sled::answers::Homes;
    use crate::store::{Commit, Key};

    fn job(value_bytes: usize) -> (Job, oneshot::Receiver<Result<Commit>>) {
        let (caller, answered) = Homes::default().caller();
        let key = Key::new(Partition::new(0), *b"k");
        let batch = Batch::new(Partition::new(0)).put(key, vec![0; value_bytes], None);
        (Job::Commit { batch, caller }, answered)
    }

    #[test]
    fn a_full_queue_refuses_at_once_and_says_when_to_come_back() {
        let queue = Queue::new(2);
        queue.push(job(1).0).unwrap();
        queue.push(job(1).0).unwrap();
        let error = queue.push(job(1).0).unwrap_err();
        assert_eq!((error.kind(), error.reason()), (Kind::Unavailable, Reason::Overloaded));
        assert!(error.retry_after().is_some());
        assert_eq!(queue.take(|| false).unwrap().len(), 2);
        queue.push(job(1).0).unwrap();
    }

    #[test]
    fn a_group_ends_where_it_grows_too_large() {
        let queue = Queue::new(10_000);
        queue.push(job(MAX_GROUP_BYTES * 2).0).unwrap();
        for _ in 0..MAX_GROUP_JOBS + 1 {
            queue.push(job(1).0).unwrap();
        }
        assert_eq!(queue.take(|| false).unwrap().len(), 1, "one job larger than a group goes alone");
        assert_eq!(queue.take(|| false).unwrap().len(), MAX_GROUP_JOBS);
        assert_eq!(queue.take(|| false).unwrap().len(), 1);
    }

    #[test]
    fn a_group_grows_while_more_are_likely_but_not_for_long() {
        let asked = Cell::new(0);
        let likely = || {
            asked.set(asked.get() + 1);
            true
        };
        let queue = Queue::new(10_000);
        queue.push(job(1).0).unwrap();
        assert_eq!((queue.take(likely).unwrap().len(), asked.take()), (1, MAX_LOOKS));
        for _ in 0..MAX_GROUP_JOBS {
            queue.push(job(1).0).unwrap();
        }
        assert_eq!((queue.take(likely).unwrap().len(), asked.take()), (MAX_GROUP_JOBS, 0), "it is full");
        queue.push(job(1).0).unwrap();
        queue.close();
        assert_eq!((queue.take(likely).unwrap().len(), asked.take()), (1, 0), "nothing more is taken");
    }

    #[test]
    fn closing_drains_and_failing_drops() {
        let queue = Queue::new(10);
        queue.push(job(1).0).unwrap();
        queue.close();
        assert_eq!(queue.push(job(1).0).unwrap_err().reason(), Reason::ShuttingDown);
        assert_eq!(queue.take(|| false).unwrap().len(), 1);
        assert!(queue.take(|| false).is_none());

        let queue = Queue::new(10);
        let (waiting, mut answered) = job(1);
        queue.push(waiting).unwrap();
        queue.fail("the disk is gone");
        assert!(matches!(answered.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        let refusal = queue.push(job(1).0).unwrap_err();
        assert_eq!(refusal.reason(), Reason::StoreUnavailable);
        assert!(format!("{refusal:?}").contains("the disk is gone"));
        assert!(queue.take(|| false).is_none());
    }

    #[test]
    fn a_held_queue_refuses_until_it_resumes() {
        let queue = Queue::new(10);
        let (waiting, mut answered) = job(1);
        queue.push(waiting).unwrap();
        queue.stop(&fault::full("no space left"));
        assert!(answered.try_recv().is_err() && queue.take(|| false).is_none());
        let refusal = queue.push(job(1).0).unwrap_err();
        assert_eq!((refusal.reason(), refusal.retry_after()), (Reason::StoreUnavailable, Some(fault::ROOM_INTERVAL)));
        assert!(queue.wait_while_held(Duration::ZERO));
        queue.resume();
        assert!(!queue.wait_while_held(Duration::ZERO) && queue.why_unanswered().retry_after().is_some());
        queue.push(job(1).0).unwrap();
        // What has failed does not come back, and what is closed is not held.
        queue.stop(&fault::full("no space left"));
        queue.stop(&fault::broken("the disk is gone"));
        queue.resume();
        assert_eq!(queue.push(job(1).0).unwrap_err().retry_after(), None);
        let queue = Queue::new(10);
        queue.stop(&fault::full("no space left"));
        queue.close();
        assert!(!queue.wait_while_held(Duration::from_secs(60)) && queue.take(|| false).is_none());
    }

    #[test]
    fn failing_wakes_whoever_waits_for_a_job() {
        for _ in 0..100 {
            let queue = Arc::new(Queue::new(1));
            let (waiting, (begun, begins)) = (Arc::clone(&queue), std::sync::mpsc::channel());
            let waiter = std::thread::spawn(move || {
                begun.send(()).unwrap();
                waiting.take(|| false).is_none()
            });
            begins.recv().unwrap();
            std::thread::yield_now();
            queue.fail("the disk is gone");
            assert!(waiter.join().unwrap());
        }
    }
}
