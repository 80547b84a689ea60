//! How long a send waits before it goes around its route again. Pure; chance is passed in.

use std::time::Duration;

/// Waits double with each round, up to so many times the first.
const MOST: u32 = 60;

/// A first wait between nothing and `first`, by chance (full jitter), so that sends which failed together do not come
/// back together. All later waits are multiples of it.
pub fn jittered(first: Duration, chance: u32) -> Duration {
    first.mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

/// The wait after so many attempts on a route of so many vendors.
pub fn wait(first: Duration, attempts: u8, vendors: usize) -> Duration {
    let round = u32::from(attempts).div_ceil(u32::try_from(vendors).unwrap_or(1).max(1));
    first.saturating_mul((1 << round.saturating_sub(1).min(16)).min(MOST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_spreads_waits_over_all_of_their_time_and_never_beyond() {
        let (first, second) = (Duration::from_secs(2), Duration::from_secs(1));
        assert_eq!(jittered(first, 0), Duration::ZERO);
        assert_eq!(jittered(first, u32::MAX), first);
        let half = jittered(first, u32::MAX / 2);
        assert!(half <= second && half > second.mul_f64(0.999), "{half:?}");
        let longest = [wait(first, 3, 1), wait(first, 4, 2), wait(first, 200, 1)];
        assert_eq!(longest, [4 * first, 2 * first, 60 * first]);
    }
}
