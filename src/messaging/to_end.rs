//! Work that goes on when nobody waits for it any more.
//!
//! Whoever waits for it does it. Only what is left behind gets a task of its own: a task for each would cost every call
//! another turn of the scheduler and another wake-up.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::Instrument;

use crate::telemetry::trace;

type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Work that a drain waits for; dropped, it goes on in a task.
pub(crate) struct ToEnd<T: Send + 'static> {
    work: Option<Work<T>>,
    tasks: TaskTracker,
    runtime: Handle,
    /// What a drain waits for.
    _token: TaskTrackerToken,
}

// === impl ToEnd ===

impl<T: Send + 'static> ToEnd<T> {
    /// To be called within a Tokio runtime, whose tasks it then may become one of.
    pub(crate) fn new(tasks: &TaskTracker, work: impl Future<Output = T> + Send + 'static) -> Self {
        Self { work: Some(Box::pin(work)), tasks: tasks.clone(), runtime: Handle::current(), _token: tasks.token() }
    }
}

impl<T: Send + 'static> Future for ToEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Taken out meanwhile: what panics has come to its end.
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for ToEnd<T> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else { return };
        // Who drops it does so within what it was for.
        let rest = trace::carrier().carry(work).in_current_span();
        drop(self.tasks.spawn_on(rest, &self.runtime));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::sync::oneshot;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn what_is_left_behind_comes_to_its_end_and_a_drain_waits_for_it() {
        let tasks = TaskTracker::new();
        let ((go_on, waited), (done, mut ended)) = (oneshot::channel::<()>(), oneshot::channel());
        let mut work = ToEnd::new(&tasks, async move {
            waited.await.unwrap();
            done.send(()).unwrap();
        });
        assert!(futures_util::poll!(&mut work).is_pending());
        tasks.close();
        drop(work);
        assert!(timeout(Duration::ZERO, tasks.wait()).await.is_err() && ended.try_recv().is_err());
        go_on.send(()).unwrap();
        tasks.wait().await;
        ended.try_recv().unwrap();
    }

    #[tokio::test]
    async fn a_drain_waits_for_what_somebody_else_does() {
        let tasks = TaskTracker::new();
        let work = ToEnd::new(&tasks, async { 7 });
        tasks.close();
        assert!(!tasks.is_empty());
        assert_eq!(work.await, 7);
        assert!(tasks.is_empty());
    }
}
