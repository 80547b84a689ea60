//! The time of the servers, so that nodes whose own clocks are wrong agree with each other.
//!
//! A server is asked from time to time; between, this machine only counts how much time goes by, so it does not matter
//! what its clock is set to. Between two questions the time never runs backwards, and at one of them only when a server
//! has gone back by more than [`STEP`].

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tracing::warn;

use crate::clock::{Clock, Timestamp};
use crate::store::redis::pace::{pause, uptime};

/// What a server's clock may go back by and we stand still for; more is taken at once.
const STEP: Duration = Duration::from_secs(1);

/// Longest sleep without a look at the time, which may have been corrected.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// One look at a server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    /// What the server's clock is ahead of our uptime, in microseconds.
    pub(crate) ahead: i64,
    /// How far this may be off: half of the time that the question took, in microseconds.
    pub(crate) error: i64,
}

/// Tells the servers' time. Copies tell the same.
#[derive(Debug, Clone)]
pub(crate) struct ServerClock(Arc<Hand>);

#[derive(Debug)]
struct Hand {
    ahead: AtomicI64,
    /// The latest that was told, in milliseconds.
    told: AtomicU64,
}

// === impl Reading ===

impl Reading {
    /// `asked` and `answered` by our uptime, `time` by the server's clock in microseconds since the epoch.
    pub(crate) fn new(asked: Duration, time: u64, answered: Duration) -> Self {
        let (asked, answered) = (micros(asked), micros(answered));
        let time = i64::try_from(time).unwrap_or(i64::MAX);
        let error = (answered - asked) / 2;
        Self { ahead: time.saturating_sub(asked + error), error }
    }

    /// The one in the middle: a minority of servers with wrong clocks changes nothing.
    pub(crate) fn median(mut readings: Vec<Self>) -> Option<Self> {
        readings.sort_by_key(|reading| reading.ahead);
        readings.get(readings.len().saturating_sub(1) / 2).copied()
    }
}

// === impl ServerClock ===

impl ServerClock {
    pub(crate) fn new(first: Reading) -> Self {
        Self(Arc::new(Hand { ahead: AtomicI64::new(first.ahead), told: AtomicU64::new(0) }))
    }

    /// Takes a new reading over, unless it says no more than the last one.
    pub(crate) fn correct(&self, reading: Reading) {
        let before = self.0.ahead.load(Ordering::Acquire);
        let change = reading.ahead.saturating_sub(before);
        if change.abs() <= reading.error {
            return;
        }
        self.0.ahead.store(reading.ahead, Ordering::Release);
        let step = Duration::from_micros(change.unsigned_abs());
        if step > STEP {
            let direction = if change < 0 { "back" } else { "forward" };
            warn!(?step, direction, "the clock of the store's servers was set");
            if change < 0 {
                self.0.told.store(0, Ordering::Release);
            }
        }
    }

    fn micros(&self) -> u64 {
        let ahead = self.0.ahead.load(Ordering::Acquire);
        u64::try_from(ahead.saturating_add(micros(uptime()))).unwrap_or_default()
    }
}

impl Clock for ServerClock {
    fn now(&self) -> Timestamp {
        let now = self.micros() / 1_000;
        Timestamp::from_millis(self.0.told.fetch_max(now, Ordering::AcqRel).max(now))
    }

    fn nanos(&self) -> u64 {
        self.micros().saturating_mul(1_000)
    }

    fn sleep_until(&self, at: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = self.clone();
        Box::pin(async move {
            loop {
                let left = at.since(clock.now());
                if left.is_zero() {
                    return;
                }
                pause(left.min(LONGEST_SLEEP)).await;
            }
        })
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn reading(ahead: i64) -> Reading {
        Reading { ahead, error: 100 }
    }

    #[test]
    fn half_of_the_way_is_taken_off() {
        let (asked, answered) = (Duration::from_millis(1_000), Duration::from_millis(1_010));
        let reading = Reading::new(asked, 5_000_000, answered);
        assert_eq!(reading, Reading { ahead: 3_995_000, error: 5_000 });
    }

    #[test]
    fn the_middle_of_the_servers_counts() {
        assert_eq!(Reading::median(vec![]), None);
        let readings = [9, 1, 5].map(|seconds| reading(seconds * SECOND)).to_vec();
        assert_eq!(Reading::median(readings), Some(reading(5 * SECOND)));
    }

    #[test]
    fn the_time_stands_still_for_a_small_step_back_and_goes_back_with_a_large_one() {
        let start = 1_795_324_560 * SECOND;
        let clock = ServerClock::new(reading(start));
        let first = clock.now();
        clock.correct(reading(start - SECOND / 2));
        assert!(clock.now() >= first, "no step back is seen");
        clock.correct(reading(start - 3_600 * SECOND));
        let back = first.since(clock.now());
        assert!(back > Duration::from_secs(3_590) && back <= Duration::from_secs(3_600), "{back:?}");
        clock.correct(reading(start + 3_600 * SECOND));
        assert!(clock.now().since(first) >= Duration::from_secs(3_600));
    }

    #[test]
    fn a_reading_that_says_nothing_new_changes_nothing() {
        let clock = ServerClock::new(reading(0));
        clock.correct(Reading { ahead: 90, error: 100 });
        assert_eq!(clock.0.ahead.load(Ordering::Acquire), 0);
        clock.correct(Reading { ahead: 110, error: 100 });
        assert_eq!(clock.0.ahead.load(Ordering::Acquire), 110);
    }
}
