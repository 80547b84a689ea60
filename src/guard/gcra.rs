//! A rate limit as a pure function: the generic cell rate algorithm (ITU-T I.371 §A.1, virtual scheduling).
//!
//! All that is kept of a bucket is one time: when it would be empty again, its theoretical arrival time. A bucket that
//! was never used, or is empty by now, need not be kept at all. Times are microseconds here, so that a limit of a
//! million an hour loses nothing to rounding.

use std::time::Duration;

use crate::clock::Timestamp;

/// So many at once, and as many again, evenly, over each window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// At least 1.
    pub sends: u32,
    /// At least a millisecond.
    pub window: Duration,
}

/// What a bucket says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// One more passes.
    Pass {
        /// What to keep of the bucket, once it has.
        bucket: Bucket,
        /// How many more would pass right after it.
        left: u32,
    },
    Wait(Duration),
}

/// When a bucket is empty again, in microseconds since the Unix epoch. The default was never used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct Bucket(u64);

// === impl Limit ===

impl Limit {
    /// Whether one more passes now.
    pub fn decide(self, bucket: Bucket, now: Timestamp) -> Decision {
        let (Bucket(full_until), now, each) = (self.bounded(bucket, now), micros(now), self.interval());
        let capacity = each.saturating_mul(u64::from(self.sends));
        let full_until = full_until.max(now).saturating_add(each);
        let over = full_until.saturating_sub(now).saturating_sub(capacity);
        if over > 0 {
            return Decision::Wait(Duration::from_micros(over));
        }
        let left = (capacity - (full_until - now)) / each;
        Decision::Pass { bucket: Bucket(full_until), left: u32::try_from(left).unwrap_or(u32::MAX) }
    }

    /// The bucket, twice full at most: so much, and no more, is waited for of what several nodes let pass before they heard
    /// of each other, and by those whose clock was set far back.
    pub fn bounded(self, bucket: Bucket, now: Timestamp) -> Bucket {
        let capacity = self.interval().saturating_mul(u64::from(self.sends));
        bucket.min(Bucket(micros(now).saturating_add(capacity.saturating_mul(2))))
    }

    /// Takes back one that passed.
    pub fn refund(self, bucket: Bucket) -> Bucket {
        Bucket(bucket.0.saturating_sub(self.interval()))
    }

    /// By how much, in microseconds, one that passes fills a bucket.
    pub(crate) fn interval(self) -> u64 {
        let window = u64::try_from(self.window.as_micros()).unwrap_or(u64::MAX);
        (window / u64::from(self.sends.max(1))).max(1)
    }
}

// === impl Bucket ===

impl Bucket {
    /// When nothing is in it any more.
    pub fn empty_at(self) -> Timestamp {
        Timestamp::from_millis(self.0.div_ceil(1000))
    }

    /// By how much, in microseconds, a refund emptied what this has become. What has drained by now cannot be given back.
    pub(crate) fn emptied_by(self, refunded: Self, now: Timestamp) -> u64 {
        self.0.max(micros(now)) - refunded.0.max(micros(now)).min(self.0.max(micros(now)))
    }

    /// What another node filled, or emptied, since a moment of late.
    pub(crate) fn filled(self, by: i64, since: Timestamp) -> Self {
        match u64::try_from(by) {
            Ok(by) => Self(self.0.max(micros(since)).saturating_add(by)),
            Err(_) => Self(self.0.saturating_sub(by.unsigned_abs())),
        }
    }
}

fn micros(at: Timestamp) -> u64 {
    at.as_millis().saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    const LIMIT: Limit = Limit { sends: 3, window: Duration::from_secs(30) };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis((1_000_000 + seconds) * 1000)
    }

    fn pass(bucket: &mut Bucket, limit: Limit, now: Timestamp) -> Option<u32> {
        match limit.decide(*bucket, now) {
            Decision::Pass { bucket: next, left } => {
                *bucket = next;
                Some(left)
            }
            Decision::Wait(_) => None,
        }
    }

    #[test]
    fn a_burst_passes_and_then_one_an_interval() {
        let mut bucket = Bucket::default();
        let first: Vec<_> = (0..4).map(|_| pass(&mut bucket, LIMIT, at(0))).collect();
        assert_eq!(first, [Some(2), Some(1), Some(0), None]);
        assert_eq!(LIMIT.decide(bucket, at(0)), Decision::Wait(Duration::from_secs(10)));
        assert_eq!(LIMIT.decide(bucket, at(9)), Decision::Wait(Duration::from_secs(1)));
        assert_eq!(pass(&mut bucket, LIMIT, at(10)), Some(0));
        assert_eq!(pass(&mut bucket, LIMIT, at(10)), None);
        assert_eq!(pass(&mut bucket, LIMIT, at(100)), Some(2), "empty again");
    }

    #[test]
    fn what_is_taken_back_passes_again() {
        let mut bucket = Bucket::default();
        (0..3).for_each(|_| assert!(pass(&mut bucket, LIMIT, at(0)).is_some()));
        bucket = LIMIT.refund(bucket);
        assert_eq!(pass(&mut bucket, LIMIT, at(0)), Some(0));
        assert_eq!(pass(&mut bucket, LIMIT, at(0)), None);
    }

    #[test]
    fn a_clock_set_back_locks_out_for_two_windows_at_most() {
        let mut bucket = Bucket::default();
        (0..3).for_each(|_| assert!(pass(&mut bucket, LIMIT, at(1_000_000)).is_some()));
        assert_eq!(LIMIT.decide(bucket, at(0)), Decision::Wait(Duration::from_secs(40)));
        bucket = LIMIT.bounded(bucket, at(0));
        assert_eq!(pass(&mut bucket, LIMIT, at(40)), Some(0));
    }

    #[test]
    fn what_several_nodes_let_pass_before_they_heard_of_each_other_is_waited_for() {
        let (mut here, mut there) = (Bucket::default(), Bucket::default());
        (0..3).for_each(|_| assert!(pass(&mut here, LIMIT, at(0)).is_some()));
        (0..2).for_each(|_| assert!(pass(&mut there, LIMIT, at(0)).is_some()));
        let heard = here.filled(20_000_000, at(0));
        assert_eq!(heard, there.filled(30_000_000, at(0)), "in whatever order");
        assert_eq!(LIMIT.decide(heard, at(0)), Decision::Wait(Duration::from_secs(30)));
        // What one gives back, and what has drained.
        let refunded = LIMIT.refund(heard);
        assert_eq!(heard.emptied_by(refunded, at(0)), 10_000_000);
        assert_eq!(there.filled(30_000_000, at(0)).filled(-10_000_000, at(0)), refunded);
        assert_eq!(heard.emptied_by(refunded, at(45)), 5_000_000);
        assert_eq!(Bucket::default().emptied_by(LIMIT.refund(Bucket::default()), at(0)), 0);
    }

    #[test]
    fn an_unused_bucket_is_empty_before_anything_happened() {
        assert_eq!(Bucket::default().empty_at(), Timestamp::default());
        let mut bucket = Bucket::default();
        pass(&mut bucket, LIMIT, at(0));
        assert_eq!(bucket.empty_at(), at(10));
    }

    proptest! {
        /// However calls come, no window sees more than a full bucket and what drains meanwhile.
        #[test]
        fn no_window_sees_more_than_twice_the_limit(
            sends in 1_u32..50,
            seconds in 1_u64..1000,
            gaps in proptest::collection::vec(0_u64..5000, 1..300),
        ) {
            let limit = Limit { sends, window: Duration::from_secs(seconds) };
            let (mut bucket, mut now, mut passed) = (Bucket::default(), at(0), Vec::new());
            for gap in gaps {
                now = now + Duration::from_millis(gap);
                if pass(&mut bucket, limit, now).is_some() {
                    passed.push(now);
                }
            }
            for (index, start) in passed.iter().enumerate() {
                let within = passed[index..].iter().take_while(|at| at.since(*start) < limit.window).count();
                prop_assert!(within <= 2 * sends as usize);
            }
        }

        #[test]
        fn waiting_as_long_as_told_is_enough(sends in 1_u32..20, seconds in 1_u64..100, calls in 1_usize..60) {
            let limit = Limit { sends, window: Duration::from_secs(seconds) };
            let (mut bucket, now) = (Bucket::default(), at(0));
            for _ in 0..calls {
                pass(&mut bucket, limit, now);
            }
            if let Decision::Wait(wait) = limit.decide(bucket, now) {
                let later = Timestamp::from_millis(now.as_millis() + u64::try_from(wait.as_micros().div_ceil(1000)).unwrap());
                prop_assert!(pass(&mut bucket, limit, later).is_some());
            }
        }
    }
}
