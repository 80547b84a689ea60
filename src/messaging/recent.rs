//! What happened lately: values for each slice of time, of which the oldest is forgotten as a new one begins. Pure; it
//! knows no clock and not what it counts.

use std::time::Duration;

use crate::clock::Timestamp;

/// The newest slices of time.
#[derive(Debug, Clone)]
pub struct Recent<T> {
    /// Milliseconds of one slice.
    span: u64,
    /// The slice that is being written, counted from the beginning of time.
    newest: u64,
    slices: Box<[T]>,
}

// === impl Recent ===

impl<T: Default> Recent<T> {
    /// Remembers `count` slices of `span` each. Neither is zero.
    pub fn new(span: Duration, count: usize) -> Self {
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        Self { span, newest: 0, slices: std::iter::repeat_with(T::default).take(count.max(1)).collect() }
    }

    /// The slice of now.
    pub fn now(&mut self, now: Timestamp) -> &mut T {
        self.forget_old(now);
        let place = self.place(self.newest);
        &mut self.slices[place]
    }

    /// All slices that are not forgotten, in no order.
    pub fn all(&mut self, now: Timestamp) -> impl Iterator<Item = &T> {
        self.forget_old(now);
        self.slices.iter()
    }

    /// When the next slice begins, and with it the oldest is forgotten.
    pub fn next_slice(&self, now: Timestamp) -> Timestamp {
        let slice = (now.as_millis() / self.span).max(self.newest);
        Timestamp::from_millis((slice + 1).saturating_mul(self.span))
    }

    pub fn clear(&mut self) {
        self.slices.fill_with(T::default);
    }

    fn forget_old(&mut self, now: Timestamp) {
        let (slice, count) = (now.as_millis() / self.span, self.slices.len() as u64);
        // A clock that was set back far: what is remembered lies in a future that may never come.
        let set_back = slice.saturating_add(count) < self.newest;
        if set_back || slice >= self.newest.saturating_add(count) {
            self.clear();
        } else {
            for passed in self.newest + 1..=slice {
                let place = self.place(passed);
                self.slices[place] = T::default();
            }
        }
        self.newest = if set_back { slice } else { slice.max(self.newest) };
    }

    fn place(&self, slice: u64) -> usize {
        usize::try_from(slice % self.slices.len() as u64).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sum(recent: &mut Recent<u32>, now: u64) -> u32 {
        recent.all(Timestamp::from_millis(now)).sum()
    }

    #[test]
    fn a_slice_is_forgotten_when_its_time_is_over_and_no_sooner() {
        let mut recent = Recent::new(SECOND, 3);
        for (now, add) in [(100_000, 1), (100_999, 10), (101_000, 100), (102_500, 1_000)] {
            *recent.now(Timestamp::from_millis(now)) += add;
        }
        assert_eq!(sum(&mut recent, 102_999), 1_111);
        assert_eq!(recent.next_slice(Timestamp::from_millis(102_999)), Timestamp::from_millis(103_000));
        assert_eq!(sum(&mut recent, 103_000), 1_100);
        assert_eq!(sum(&mut recent, 104_000), 1_000);
        assert_eq!(sum(&mut recent, 105_000), 0);
    }

    #[test]
    fn long_silence_and_a_clock_that_was_set_back_leave_nothing_behind() {
        let mut recent = Recent::new(SECOND, 3);
        *recent.now(Timestamp::from_millis(100_000)) += 1;
        // A little back is the same slice still.
        *recent.now(Timestamp::from_millis(98_000)) += 1;
        assert_eq!(sum(&mut recent, 100_000), 2);
        assert_eq!(sum(&mut recent, 900_000), 0);
        *recent.now(Timestamp::from_millis(900_000)) += 1;
        assert_eq!(sum(&mut recent, 100_000), 0);
        *recent.now(Timestamp::from_millis(100_000)) += 1;
        assert_eq!(sum(&mut recent, 100_000), 1);
    }
}
