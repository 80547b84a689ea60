//! How a vendor has fared in the last minutes: its calls by outcome, and how long they took. Pure and takes `now`; in
//! memory only.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::messaging::breaker::BreakerState;
use crate::messaging::recent::Recent;
use crate::vendor::{Accepted, Failure, Rejection};

/// A vendor as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Its configured name.
    pub vendor: String,
    pub breaker: BreakerState,
    /// When it may be called again, while its breaker or its rate says that it may not.
    pub free_at: Option<Timestamp>,
    /// The calls that ended in the last five minutes.
    pub calls: Calls,
    /// Within so long half of these calls ended, and 99 of 100. `None` when there were none.
    pub latency_p50: Option<Duration>,
    pub latency_p99: Option<Duration>,
    /// Calls under way.
    pub under_way: usize,
    /// Sends that wait for room, here or at another vendor that could take them as well.
    pub waiting: usize,
}

/// Calls by outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Calls {
    pub accepted: u64,
    /// Refused for the recipient or the text.
    pub rejected: u64,
    /// Refused for our account: credentials or credit.
    pub account_refused: u64,
    pub throttled: u64,
    pub unavailable: u64,
    pub unknown: u64,
}

/// The calls of one vendor.
#[derive(Debug, Clone)]
pub struct CallLog {
    slices: Recent<Slice>,
}

#[derive(Debug, Clone)]
struct Slice {
    calls: Calls,
    /// How many calls took how long, by [`slot`].
    latencies: [u32; SLOTS],
}

const SLICE: Duration = Duration::from_secs(30);
const SLICES: usize = 10;

/// Slots for each doubling of milliseconds, as a power of two: an eighth of what they hold.
const PRECISION_BITS: u32 = 3;
/// About four minutes; longer calls share the last slot.
const LONGEST: u64 = (1 << 18) - 1;
const SLOTS: usize = slot(LONGEST) + 1;

// === impl Calls ===

impl Calls {
    pub fn total(&self) -> u64 {
        self.accepted + self.rejected + self.account_refused + self.throttled + self.unavailable + self.unknown
    }

    fn counter(&mut self, outcome: &Result<Accepted, Failure>) -> &mut u64 {
        match outcome {
            Ok(_) => &mut self.accepted,
            Err(Failure::Rejected(Rejection::Unauthorized | Rejection::InsufficientCredit)) => {
                &mut self.account_refused
            }
            Err(Failure::Rejected(_)) => &mut self.rejected,
            Err(Failure::Throttled { .. }) => &mut self.throttled,
            Err(Failure::Unavailable) => &mut self.unavailable,
            Err(Failure::Unknown) => &mut self.unknown,
        }
    }

    fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.account_refused += other.account_refused;
        self.throttled += other.throttled;
        self.unavailable += other.unavailable;
        self.unknown += other.unknown;
    }
}

// === impl CallLog ===

impl CallLog {
    pub fn add(&mut self, outcome: &Result<Accepted, Failure>, took: Duration, now: Timestamp) {
        let slice = self.slices.now(now);
        *slice.calls.counter(outcome) += 1;
        let millis = u64::try_from(took.as_millis()).unwrap_or(LONGEST).min(LONGEST);
        slice.latencies[slot(millis)] += 1;
    }

    pub fn calls(&mut self, now: Timestamp) -> Calls {
        let mut sum = Calls::default();
        self.slices.all(now).for_each(|slice| sum.add(&slice.calls));
        sum
    }

    /// Within how long so many of a hundred calls ended, an eighth too long at most.
    pub fn latency(&mut self, percent: u64, now: Timestamp) -> Option<Duration> {
        let mut counts = [0_u64; SLOTS];
        for slice in self.slices.all(now) {
            counts.iter_mut().zip(&slice.latencies).for_each(|(sum, count)| *sum += u64::from(*count));
        }
        let rank = (counts.iter().sum::<u64>() * percent).div_ceil(100);
        let mut seen = 0;
        let reached = counts.iter().position(|count| {
            seen += count;
            rank > 0 && seen >= rank
        });
        reached.map(|slot| Duration::from_millis(longest_in(slot)))
    }
}

impl Default for CallLog {
    fn default() -> Self {
        Self { slices: Recent::new(SLICE, SLICES) }
    }
}

impl Default for Slice {
    fn default() -> Self {
        Self { calls: Calls::default(), latencies: [0; SLOTS] }
    }
}

/// Exact below two doublings of slots; above, only the leading bits count.
const fn slot(millis: u64) -> usize {
    let shift = (u64::BITS - millis.leading_zeros()).saturating_sub(PRECISION_BITS + 1);
    ((shift as usize) << PRECISION_BITS) + (millis >> shift) as usize
}

fn longest_in(slot: usize) -> u64 {
    let shift = (slot >> PRECISION_BITS).saturating_sub(1);
    let leading = slot - (shift << PRECISION_BITS);
    ((leading as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_as_narrow_as_promised() {
        for millis in (0..2_000).chain((2_000..=LONGEST).step_by(37)) {
            let told = longest_in(slot(millis));
            assert!(told >= millis && told - millis <= millis / 8, "{millis} {told}");
        }
    }

    #[test]
    fn calls_are_counted_by_outcome_and_forgotten_after_five_minutes() {
        let mut log = CallLog::default();
        let start = Timestamp::from_millis(3_000_000);
        assert_eq!((log.latency(50, start), log.calls(start).total()), (None, 0));
        for millis in 1..=1_000 {
            log.add(&Ok(Accepted::default()), Duration::from_millis(millis), start);
        }
        for failure in [
            Failure::Rejected(Rejection::Blocked),
            Failure::Rejected(Rejection::InsufficientCredit),
            Failure::Throttled { after: None },
            Failure::Unavailable,
            Failure::Unknown,
        ] {
            log.add(&Err(failure), Duration::from_secs(3_600), start + Duration::from_secs(60));
        }
        let now = start + Duration::from_secs(299);
        let expected =
            Calls { accepted: 1_000, rejected: 1, account_refused: 1, throttled: 1, unavailable: 1, unknown: 1 };
        assert_eq!((log.calls(now), log.calls(now).total()), (expected, 1_005));
        let millis = |log: &mut CallLog, percent, now| log.latency(percent, now).unwrap().as_millis();
        assert!((500..=565).contains(&millis(&mut log, 50, now)));
        assert!((990..=1_130).contains(&millis(&mut log, 99, now)));
        assert_eq!(millis(&mut log, 100, now), u128::from(LONGEST));
        let now = start + Duration::from_secs(300);
        assert_eq!((log.calls(now).total(), millis(&mut log, 1, now)), (5, u128::from(LONGEST)));
    }
}
