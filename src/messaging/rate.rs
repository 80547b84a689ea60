//! How many calls a second a vendor gets: the generic cell rate algorithm. Pure and takes `now`.
//!
//! Calls are spread evenly. After a pause a tenth of a second's worth may begin at once, and never more, because vendors
//! count by windows of their own, whose edges we do not know.

use crate::clock::Timestamp;

/// What is left of a rate.
#[derive(Debug, Clone)]
pub struct Rate {
    /// Between two calls, in microseconds.
    interval: u64,
    /// How far ahead of an even spread a call may be, in microseconds.
    tolerance: u64,
    /// When the next call is expected in an even spread, in microseconds since the epoch.
    expected: u64,
}

const SECOND: u64 = 1_000_000;
/// The share of a second whose calls may begin at once.
const BURST: u64 = 10;

// === impl Rate ===

impl Rate {
    /// `per_second` is at least 1; more than a million is as good as no limit.
    pub fn per_second(per_second: u32) -> Self {
        let interval = SECOND / u64::from(per_second).clamp(1, SECOND);
        let burst = (u64::from(per_second) / BURST).max(1);
        Self { interval, tolerance: (burst - 1) * interval, expected: 0 }
    }

    /// When a call may begin: `now` or later.
    pub fn free_at(&self, now: Timestamp) -> Timestamp {
        // A clock that was set back does not stop calls for longer than a full burst does.
        let expected = self.expected.min(micros(now) + self.tolerance + self.interval);
        now.max(Timestamp::from_millis((expected.saturating_sub(self.tolerance)).div_ceil(1000)))
    }

    /// Counts a call that begins now. To be asked for first by [`Rate::free_at`].
    pub fn take(&mut self, now: Timestamp) {
        let now = micros(now);
        self.expected = self.expected.clamp(now, now + self.tolerance + self.interval) + self.interval;
    }
}

fn micros(at: Timestamp) -> u64 {
    at.as_millis().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How many calls begin within `time` when somebody always wants one more.
    fn begun(rate: &mut Rate, from: Timestamp, time: Duration) -> u32 {
        let (mut now, mut begun) = (from, 0);
        loop {
            now = rate.free_at(now);
            if now >= from + time {
                return begun;
            }
            rate.take(now);
            begun += 1;
        }
    }

    #[test]
    fn as_many_begin_as_the_rate_says() {
        let start = Timestamp::from_millis(1_000_000);
        for (per_second, in_first, in_ten) in [(1, 1, 10), (3, 3, 30), (50, 54, 504), (1_000, 1_099, 10_099)] {
            let mut rate = Rate::per_second(per_second);
            assert_eq!(begun(&mut rate.clone(), start, Duration::from_secs(1)), in_first, "{per_second}");
            assert_eq!(begun(&mut rate, start, Duration::from_secs(10)), in_ten, "{per_second}");
        }
    }

    #[test]
    fn a_pause_saves_up_no_more_than_a_burst() {
        let mut rate = Rate::per_second(50);
        let start = Timestamp::from_millis(1_000_000);
        begun(&mut rate, start, Duration::from_secs(1));
        let later = start + Duration::from_secs(3_600);
        assert_eq!(begun(&mut rate, later, Duration::from_millis(1)), 5);
        assert_eq!(rate.free_at(later), later + Duration::from_millis(20));
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nobody_for_long() {
        let mut rate = Rate::per_second(2);
        rate.take(Timestamp::from_millis(9_000_000));
        let now = Timestamp::from_millis(1_000);
        assert_eq!(rate.free_at(now), now + Duration::from_millis(500));
    }
}
