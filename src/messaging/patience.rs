//! Waiting for an answer until a time, with the clock looked at each time before anything more is done for it.
//!
//! A timer alone would not do. A process that stood still for a while, and goes on, may come to the work before it comes
//! to the timer, and do what it has no right to any more.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use crate::clock::{Clock, Timestamp};

/// The answer, unless the time is over first. From `deadline` on `work` is not carried on by a single step.
pub(crate) async fn before<T>(clock: &dyn Clock, deadline: Timestamp, work: impl Future<Output = T>) -> Option<T> {
    let (mut work, mut timer) = (pin!(work), clock.sleep_until(deadline));
    poll_fn(move |context| {
        if clock.now() >= deadline || timer.as_mut().poll(context).is_ready() {
            return Poll::Ready(None);
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    #[tokio::test]
    async fn work_is_not_begun_when_its_time_is_over_and_not_carried_on_when_it_ends() {
        let clock = ManualClock::new(Timestamp::from_millis(1_000));
        let deadline = Timestamp::from_millis(2_000);
        assert_eq!(before(&clock, deadline, async { 1 }).await, Some(1));
        // Ready at once, but a step was made before: time passed in the middle of it.
        let stands_still = async {
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
            1
        };
        assert_eq!(before(&clock, deadline, stands_still).await, None);
        assert_eq!(before(&clock, deadline, async { unreachable!("its time is over") }).await, None::<u8>);
    }
}
