//! Numbers that come one after the other: nobody's customers, but somebody who counts. Pure.
//!
//! Remembers the last numbers of a prefix, and finds how many of them lie right beside another one. A million honest
//! numbers that come by chance hardly ever do, in whatever order they come.

use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::guard::table::State;

/// How many numbers of a prefix are remembered.
const REMEMBERED: usize = 64;

/// How far from a number its neighbours are.
const BESIDE: u32 = 16;

/// The longest window within which numbers are beside each other.
const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// What is remembered of a prefix, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
pub struct Sequence {
    #[n(0)]
    seen: Vec<(u32, Timestamp)>,
}

// === impl Sequence ===

impl Sequence {
    /// How many different numbers beside this one were seen within the window; then it is among them. `number`: the
    /// digits that tell it apart in its prefix.
    pub fn neighbours(&mut self, number: u32, window: Duration, now: Timestamp) -> usize {
        let is_beside = |(seen, at): &&(u32, Timestamp)| {
            *seen != number && seen.abs_diff(number) <= BESIDE && now.since(*at) < window
        };
        let count = self.seen.iter().filter(is_beside).count();
        self.add(number, now);
        count
    }

    /// Remembers a number.
    pub fn add(&mut self, number: u32, at: Timestamp) {
        self.seen.retain(|(seen, _)| *seen != number);
        if self.seen.len() == REMEMBERED {
            self.seen.remove(0);
        }
        let place = self.seen.partition_point(|(_, seen_at)| *seen_at <= at);
        self.seen.insert(place, (number, at));
    }
}

impl State for Sequence {
    type Change = Self;

    const MOST_ON_PAGE: usize = 48;

    fn matters_until(&self) -> Timestamp {
        self.seen.last().map_or_else(Timestamp::default, |(_, at)| *at + LONGEST_WINDOW)
    }

    fn join(&mut self, told: &Self, _since: Timestamp) {
        told.seen.iter().for_each(|(number, at)| self.add(*number, *at));
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
    fn what_another_node_saw_is_beside_it_too_and_counts_once() {
        let (mut here, mut there) = (Sequence::default(), Sequence::default());
        (0..8).step_by(2).for_each(|n| assert_eq!(here.neighbours(n, HOUR, at(n.into())), n as usize / 2));
        (1..8).step_by(2).for_each(|n| assert_eq!(there.neighbours(n, HOUR, at(n.into())), n as usize / 2));
        let told = there.clone();
        (0..2).for_each(|_| here.join(&told, at(8)));
        assert_eq!(here.neighbours(8, HOUR, at(8)), 8);
        assert!(here.seen.is_sorted_by_key(|(_, at)| *at));
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
