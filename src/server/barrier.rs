//! Keeps a call that panics from taking anything else with it: its caller is told that it was our fault, and the log
//! which call it was.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::{Layer, Service};
use tracing::error;

/// Puts the barrier around a service.
#[derive(Debug)]
pub(crate) struct Barrier<A> {
    /// What the caller is told.
    answer: fn() -> Response<A>,
}

/// A service behind the barrier.
#[derive(Debug)]
pub(crate) struct Contained<S, A> {
    inner: S,
    answer: fn() -> Response<A>,
}

pin_project! {
    /// A call under way.
    pub(crate) struct Containing<F, A> {
        // None for one that panicked before there was anything to wait for.
        #[pin]
        inner: Option<F>,
        answer: fn() -> Response<A>,
    }
}

/// What was left behind by a panic is not looked at again: each call has its own, and what calls share survives any of
/// them being dropped half way, which happens whenever a caller hangs up.
fn contain<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work))
        .map_err(|_| error!("a call panicked, and was answered as a fault of ours"))
        .ok()
}

// === impl Barrier ===

impl<A> Barrier<A> {
    pub(crate) fn new(answer: fn() -> Response<A>) -> Self {
        Self { answer }
    }
}

impl<A> Clone for Barrier<A> {
    fn clone(&self) -> Self {
        Self { answer: self.answer }
    }
}

impl<S, A> Layer<S> for Barrier<A> {
    type Service = Contained<S, A>;

    fn layer(&self, inner: S) -> Contained<S, A> {
        Contained { inner, answer: self.answer }
    }
}

// === impl Contained ===

impl<S: Clone, A> Clone for Contained<S, A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), answer: self.answer }
    }
}

impl<S, B, A> Service<Request<B>> for Contained<S, A>
where
    S: Service<Request<B>, Response = Response<A>>,
{
    type Response = Response<A>;
    type Error = S::Error;
    type Future = Containing<S::Future, A>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        Containing { inner: contain(|| self.inner.call(request)), answer: self.answer }
    }
}

// === impl Containing ===

impl<F, A, E> Future for Containing<F, A>
where
    F: Future<Output = Result<Response<A>, E>>,
{
    type Output = Result<Response<A>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = this.inner.as_pin_mut().and_then(|inner| contain(|| inner.poll(context)));
        polled.unwrap_or_else(|| Poll::Ready(Ok((this.answer)())))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::StatusCode;
    use tower::{ServiceExt, service_fn};

    use super::*;

    fn fault() -> Response<&'static str> {
        let mut answer = Response::new("our fault");
        *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        answer
    }

    async fn answered<F>(handler: impl FnMut(Request<()>) -> F) -> (u16, &'static str)
    where
        F: Future<Output = Result<Response<&'static str>, Infallible>>,
    {
        let service = Barrier::new(fault).layer(service_fn(handler));
        let Ok(answer) = service.oneshot(Request::new(())).await;
        (answer.status().as_u16(), *answer.body())
    }

    #[tokio::test]
    async fn whoever_panics_is_answered() {
        assert_eq!(answered(async |_| Ok(Response::new("fine"))).await, (200, "fine"));
        assert_eq!(answered(async |_| panic!("at once")).await, (500, "our fault"));
        let later = async |_| {
            tokio::task::yield_now().await;
            panic!("later")
        };
        assert_eq!(answered(later).await, (500, "our fault"));
        let before = |_| -> std::future::Ready<_> { panic!("before") };
        assert_eq!(answered(before).await, (500, "our fault"));
    }
}
