//! Numbers that come one after the other: nobody's customers, but somebody who counts. Pure.
//!
//! Remembers the last numbers of a prefix, and finds how many of them lie right beside another one. A million honest
//! numbers that come by chance hardly ever do, in whatever order they come.

use std::time::Duration;

use crate::clock::Timestamp;

/// How many numbers of a prefix are remembered.
const REMEMBERED: usize = 64;

/// How far from a number its neighbours are.
const BESIDE: u32 = 16;

/// What is remembered of a prefix, oldest first.
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    seen: Vec<(u32, Timestamp)>,
}

// === impl Sequence ===

impl Sequence {
    /// How many different numbers beside this one were seen within the window; then it is among them. `number`: the
    /// digits that tell it apart in its prefix.
    pub fn neighbours(&mut self, number: u32, window: Duration, now: Timestamp) -> usize {
        self.seen.retain(|(seen, at)| now.since(*at) < window && *seen != number);
        let count = self.seen.iter().filter(|(seen, _)| seen.abs_diff(number) <= BESIDE).count();
        if self.seen.len() == REMEMBERED {
            self.seen.remove(0);
        }
        self.seen.push((number, now));
        count
    }

    /// Whether anything was seen within the window.
    pub fn is_of_late(&self, window: Duration, now: Timestamp) -> bool {
        self.seen.last().is_some_and(|(_, at)| now.since(*at) < window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{OsRandom, Random};

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn who_counts_is_noticed_whatever_the_order() {
        for order in [[0, 1, 2, 3, 4, 5, 6, 7, 8], [8, 0, 7, 1, 6, 2, 5, 3, 4]] {
            let mut sequence = Sequence::default();
            let counts: Vec<_> = order.iter().map(|n| sequence.neighbours(40_000 + n, HOUR, at(0))).collect();
            assert_eq!(counts, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        }
    }

    #[test]
    fn one_number_again_and_numbers_of_long_ago_are_no_neighbours() {
        let mut sequence = Sequence::default();
        (0..20).for_each(|_| assert_eq!(sequence.neighbours(5, HOUR, at(0)), 0));
        assert_eq!(sequence.neighbours(6, HOUR, at(10)), 1);
        assert_eq!(sequence.neighbours(7, HOUR, at(3605)), 1, "5 was seen too long ago");
    }

    #[test]
    fn honest_numbers_hardly_ever_lie_beside_another() {
        let (mut sequence, mut most) = (Sequence::default(), 0);
        for second in 0..20_000 {
            let mut bytes = [0; 4];
            OsRandom.fill(&mut bytes);
            most = most.max(sequence.neighbours(u32::from_be_bytes(bytes) % 1_000_000, HOUR, at(second)));
        }
        assert!(most <= 3, "{most}");
    }
}
