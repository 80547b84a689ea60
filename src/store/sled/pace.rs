//! How fast a layer settles: as fast as the journal's other file fills, and not faster, so that those who call meanwhile
//! share the processor and the disk with it evenly; at once where somebody waits for the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Between the committer and the thread that settles.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Of the journal's file in use, the bytes that are written and that fit.
    filled: AtomicU64,
    capacity: u64,
    hurried: Mutex<bool>,
    hurry: Condvar,
}

/// How full the file may be when the layer has settled, in hundredths: there is time left for a layer that takes longer.
const DONE_AT: u64 = 60;

/// How much longer than it works who is ahead rests.
const REST: u32 = 2;
const LONGEST_REST: Duration = Duration::from_millis(20);

// === impl Pace ===

impl Pace {
    /// At first, whatever settles does so at once.
    pub(crate) fn new(capacity: u64) -> Self {
        Self { filled: AtomicU64::new(0), capacity, hurried: Mutex::new(true), hurry: Condvar::new() }
    }

    /// Another file has begun to fill.
    pub(crate) fn begin(&self) {
        self.note(0);
        *self.hurried() = false;
    }

    pub(crate) fn note(&self, filled: u64) {
        self.filled.store(filled, Ordering::Relaxed);
    }

    /// Somebody waits for the layer to settle.
    pub(crate) fn hurry(&self) {
        *self.hurried() = true;
        self.hurry.notify_all();
    }

    /// Rests after work that took this long, if what is `done` of a layer is enough by now.
    pub(crate) fn rest(&self, (done, whole): (usize, usize), worked: Duration) {
        if self.is_ahead(done as u64, whole as u64) {
            self.wait((worked * REST).min(LONGEST_REST));
        }
    }

    fn wait(&self, longest: Duration) {
        let waited = self.hurry.wait_timeout_while(self.hurried(), longest, |hurried| !*hurried);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Whether the layer is settled before the file is as full as it may be then, when both go on as they did.
    fn is_ahead(&self, done: u64, whole: u64) -> bool {
        let filled = self.filled.load(Ordering::Relaxed);
        done.saturating_mul(self.capacity).saturating_mul(DONE_AT) >= filled.saturating_mul(whole).saturating_mul(100)
    }

    fn hurried(&self) -> MutexGuard<'_, bool> {
        // Nothing panics while it is held.
        self.hurried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_has_settled_before_the_file_is_full() {
        let pace = Pace::new(1000);
        let is_ahead = |filled, done| {
            pace.note(filled);
            pace.is_ahead(done, 50)
        };
        assert!(is_ahead(0, 0) && is_ahead(0, 25));
        assert!(is_ahead(300, 25) && !is_ahead(301, 25));
        assert!(is_ahead(600, 50) && !is_ahead(600, 49));
    }

    #[test]
    fn nobody_rests_while_somebody_waits() {
        let pace = Pace { hurried: Mutex::new(false), ..Pace::new(1000) };
        std::thread::scope(|scope| {
            // Nobody would see the end of it.
            let resting = scope.spawn(|| pace.wait(Duration::from_secs(24 * 3600)));
            pace.hurry();
            resting.join().unwrap();
        });
        // And the next layer is not hurried for it.
        pace.begin();
        assert!(!*pace.hurried());
    }
}
