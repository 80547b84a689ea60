//! Waiting for an answer until a time, with the clock looked at each time before anything more is done for it.
//!
//! A timer alone would not do. A process that stood still for a while, and goes on, may come to the work before it comes
//! to the timer, and do what it has no right to any more.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use crate::clock::{Clock, Timestamp};

/// The answer, unless `patience` is over first; one that is there by then is taken. From `end` on, which may come later,
/// `work` is not carried on by a single step.
pub(crate) async fn before<T>(
    clock: &dyn Clock,
    (patience, end): (Timestamp, Timestamp),
    work: impl Future<Output = T>,
) -> Option<T> {
    let (mut work, mut timer) = (pin!(work), clock.sleep_until(patience.min(end)));
    poll_fn(move |context| {
        if clock.now() >= end {
            return Poll::Ready(None);
        }
        match work.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => timer.as_mut().poll(context).map(|()| None),
        }
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
        let until = (deadline, deadline);
        assert_eq!(before(&clock, until, async { 1 }).await, Some(1));
        // Ready at once, but a step was made before: time passed in the middle of it.
        let stands_still = async {
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
            1
        };
        assert_eq!(before(&clock, until, stands_still).await, None);
        assert_eq!(before(&clock, until, async { unreachable!("its time is over") }).await, None::<u8>);
        // An answer that is there is taken, though nobody would wait for it any more.
        let end = deadline + Duration::from_secs(1);
        assert_eq!(before(&clock, (deadline, end), async { 1 }).await, Some(1));
        assert_eq!(before(&clock, (deadline, end), std::future::pending::<u8>()).await, None);
    }
}
