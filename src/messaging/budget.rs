//! How much of a vendor's traffic may be tries of what it had before: a share of the first tries of the last seconds, so
//! that a vendor in trouble is not pressed harder for it. Pure and takes `now`.
//!
//! A try is a first one when the send comes to this vendor for the first time, be it after another vendor failed: what
//! fails over is not held back by this.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::messaging::recent::Recent;

/// Whether a send comes to a vendor for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Try {
    First,
    Again,
}

/// What is left of a budget.
#[derive(Debug, Clone)]
pub struct Budget {
    /// Repeated tries for each hundred first ones.
    percent: u32,
    tries: Recent<Tries>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tries {
    first: u32,
    again: u32,
}

/// The window over which the share is measured, in slices.
const SLICE: Duration = Duration::from_secs(1);
const SLICES: usize = 10;

/// Repeated tries in a window that are allowed whatever the traffic, or a quiet vendor would get none.
const ALWAYS: u32 = 10;

// === impl Budget ===

impl Budget {
    pub fn new(percent: u32) -> Self {
        Self { percent, tries: Recent::new(SLICE, SLICES) }
    }

    /// When such a try may begin: `now`, or as soon as that may change.
    pub fn free_at(&mut self, of: Try, now: Timestamp) -> Timestamp {
        let (first, again) = self
            .tries
            .all(now)
            .fold((0_u64, 0_u64), |sum, slice| (sum.0 + u64::from(slice.first), sum.1 + u64::from(slice.again)));
        let allowed = (first * u64::from(self.percent) / 100).max(u64::from(ALWAYS));
        if of == Try::First || again < allowed { now } else { self.tries.next_slice(now) }
    }

    /// Counts a try that begins now.
    pub fn take(&mut self, of: Try, now: Timestamp) {
        let slice = self.tries.now(now);
        match of {
            Try::First => slice.first = slice.first.saturating_add(1),
            Try::Again => slice.again = slice.again.saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(budget: &mut Budget, of: Try, wanted: u32, now: Timestamp) -> u32 {
        let takes = |_: &u32| {
            let free = budget.free_at(of, now) == now;
            if free {
                budget.take(of, now);
            }
            free
        };
        u32::try_from((0..wanted).take_while(takes).count()).unwrap()
    }

    #[test]
    fn repeated_tries_are_a_share_of_first_ones_and_a_few_are_always_allowed() {
        let now = Timestamp::from_millis(1_000_000);
        for (percent, first, again) in
            [(20, 0, 10), (20, 50, 10), (20, 1_000, 200), (100, 1_000, 1_000), (1, 1_000, 10)]
        {
            let mut budget = Budget::new(percent);
            assert_eq!(taken(&mut budget, Try::First, first, now), first);
            assert_eq!(taken(&mut budget, Try::Again, 5_000, now), again, "{percent} % of {first}");
            // First ones are never held back.
            assert_eq!(taken(&mut budget, Try::First, 100, now), 100);
        }
    }

    #[test]
    fn what_was_spent_comes_back_when_the_window_has_moved_on() {
        let start = Timestamp::from_millis(1_000_000);
        let mut budget = Budget::new(20);
        assert_eq!(taken(&mut budget, Try::Again, 100, start), 10);
        let mut looks = 0;
        let mut now = start;
        while budget.free_at(Try::Again, now) > now {
            now = budget.free_at(Try::Again, now);
            looks += 1;
        }
        assert_eq!((looks, now), (10, start + Duration::from_secs(10)));
    }
}
