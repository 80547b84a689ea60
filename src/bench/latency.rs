//! How long calls took, counted in slots that grow with what they hold: 0.8 % wide, whatever the length, so that the
//! slowest call in a thousand is told as truly as the median, in a few kilobytes.

use std::time::Duration;

/// Slots for each doubling, as a power of two.
const PRECISION_BITS: u32 = 7;
const SLOTS_A_DOUBLING: usize = 1 << PRECISION_BITS;
/// The longest that is told apart, about 68 s; longer ones share the last slot.
const MAX_NANOS: u64 = (1 << 36) - 1;
const SLOTS: usize = slot(MAX_NANOS) + 1;

/// Counts of durations.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    counts: Box<[u64]>,
    total: u64,
    longest: Duration,
}

/// How long a call took, or the two of a pair.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Took {
    Call(Duration),
    Pair { start: Duration, check: Duration },
}

// === impl Latencies ===

impl Latencies {
    pub(crate) fn add(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(MAX_NANOS).min(MAX_NANOS);
        self.counts[slot(nanos)] += 1;
        self.total += 1;
        self.longest = self.longest.max(took);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn longest(&self) -> Duration {
        self.longest
    }

    /// The time within which this many of a thousand calls were answered; zero when there were none.
    pub(crate) fn within(&self, per_mille: u64) -> Duration {
        let rank = (self.total * per_mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let reached = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        reached.map_or(Duration::ZERO, |slot| Duration::from_nanos(longest_in(slot)).min(self.longest))
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self { counts: vec![0; SLOTS].into(), total: 0, longest: Duration::ZERO }
    }
}

/// Exact below two doublings of slots; above, only the leading bits count.
const fn slot(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(PRECISION_BITS + 1);
    shift as usize * SLOTS_A_DOUBLING + (nanos >> shift) as usize
}

fn longest_in(slot: usize) -> u64 {
    let shift = (slot / SLOTS_A_DOUBLING).saturating_sub(1);
    let leading = slot - shift * SLOTS_A_DOUBLING;
    ((leading as u64 + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    proptest! {
        #[test]
        fn a_slot_is_as_narrow_as_promised(nanos in 0..=MAX_NANOS) {
            let told = longest_in(slot(nanos));
            prop_assert!(told >= nanos && told - nanos <= nanos >> PRECISION_BITS, "{nanos} {told}");
        }
    }

    #[test]
    fn shares_of_calls_are_found() {
        let mut latencies = Latencies::default();
        (1..=999).for_each(|micros| latencies.add(Duration::from_micros(micros)));
        let mut slow = Latencies::default();
        slow.add(Duration::from_secs(100));
        latencies.merge(&slow);
        let micros = |per_mille| latencies.within(per_mille).as_micros();
        assert!((500..504).contains(&micros(500)), "{}", micros(500));
        assert!((990..998).contains(&micros(990)), "{}", micros(990));
        assert!((999..1007).contains(&micros(999)), "{}", micros(999));
        assert_eq!((latencies.longest(), latencies.total()), (Duration::from_secs(100), 1000));
        assert!(latencies.within(1000) > Duration::from_secs(60));
        assert_eq!(Latencies::default().within(999), Duration::ZERO);
    }
}
