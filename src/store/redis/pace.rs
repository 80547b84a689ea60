//! Waiting and measuring that must go on whatever is done to the clock: the servers are real, and so are their delays.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Completes after `span`.
pub(crate) async fn pause(span: Duration) {
    tokio::time::sleep(span).await;
}

/// Time since some moment in the past. It runs while the machine sleeps, and nobody can set it.
pub(crate) fn uptime() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}
