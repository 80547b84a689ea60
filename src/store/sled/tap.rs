//! Taps: they note which keys of a table change, for who reads all of it meanwhile.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::error::Result;
use crate::store::KeyBytes;
use crate::store::sled::fault;

/// Notes which keys change.
#[derive(Default)]
pub(crate) struct Tap(Mutex<Noted>);

#[derive(Default)]
struct Noted {
    keys: BTreeSet<KeyBytes>,
    ran_over: bool,
}

/// The taps of a table.
#[derive(Default)]
pub(crate) struct Taps(Vec<Weak<Tap>>);

/// Keys that a tap notes at most, some 100 MB.
const MOST_NOTED: usize = 1_000_000;

// === impl Tap ===

impl Tap {
    fn note(&self, key: &KeyBytes) {
        // Nothing panics while it is held.
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.ran_over {
            return;
        }
        noted.keys.insert(key.clone());
        if noted.keys.len() > MOST_NOTED {
            // Whoever reads may be gone, or slow to find out.
            *noted = Noted { keys: BTreeSet::new(), ran_over: true };
        }
    }

    /// All that was noted since the last time.
    pub(crate) fn take(&self) -> Result<BTreeSet<KeyBytes>> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.ran_over { Err(fault::too_slow()) } else { Ok(std::mem::take(&mut noted.keys)) }
    }
}

// === impl Taps ===

impl Taps {
    pub(crate) fn add(&mut self) -> Arc<Tap> {
        let tap = Arc::default();
        self.0.push(Arc::downgrade(&tap));
        tap
    }

    /// Tells those who still listen that a key changes.
    pub(crate) fn note(&mut self, key: &KeyBytes) {
        if self.0.is_empty() {
            return;
        }
        self.0.retain(|tap| {
            tap.upgrade().is_some_and(|tap| {
                tap.note(key);
                true
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Reason;

    #[test]
    fn a_tap_that_runs_over_ends_the_reading_and_holds_nothing() {
        let mut taps = Taps::default();
        let tap = taps.add();
        let key = |number: usize| KeyBytes::from_slice(&number.to_be_bytes());
        (0..MOST_NOTED).for_each(|number| taps.note(&key(number)));
        taps.note(&key(0));
        assert_eq!(tap.take().unwrap().len(), MOST_NOTED, "a key that is known takes no more room");
        (0..=MOST_NOTED).for_each(|number| taps.note(&key(number)));
        assert_eq!(tap.take().unwrap_err().reason(), Reason::BackupTooSlow);
        taps.note(&key(0));
        assert!(tap.0.lock().unwrap().keys.is_empty());
        drop(tap);
        taps.note(&key(0));
        assert!(taps.0.is_empty());
    }
}
