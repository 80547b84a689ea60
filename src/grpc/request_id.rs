//! A name for every call, so that a caller's trouble and our log lines can be put together: the caller's own
//! `x-request-id`, or one that we make. It stands on each log line of the call and on the answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request, Response};
use tower::{Layer, Service};
use tracing::Instrument;

use crate::random::Random;

/// Header of the call and of the answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest name of a caller's that we take, in characters.
const MAX_LENGTH: usize = 64;

/// Names calls.
#[derive(Debug, Clone)]
pub struct RequestIds {
    random: Arc<dyn Random>,
}

/// A service whose calls are named.
#[derive(Debug, Clone)]
pub struct Named<S> {
    inner: S,
    ids: RequestIds,
}

// === impl RequestIds ===

impl RequestIds {
    pub fn new(random: Arc<dyn Random>) -> Self {
        Self { random }
    }

    /// The caller's name for a call, if it is one that can be logged, else one of ours: 16 hexadecimal digits.
    fn name(&self, given: Option<&HeaderValue>) -> HeaderValue {
        let plain = |name: &&HeaderValue| {
            (1..=MAX_LENGTH).contains(&name.len()) && name.as_bytes().iter().all(u8::is_ascii_graphic)
        };
        if let Some(given) = given.filter(plain) {
            return given.clone();
        }
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        let made = HeaderValue::from_str(&format!("{:016x}", u64::from_be_bytes(bytes)));
        made.unwrap_or_else(|_| HeaderValue::from_static("unnamed"))
    }
}

impl<S> Layer<S> for RequestIds {
    type Service = Named<S>;

    fn layer(&self, inner: S) -> Named<S> {
        Named { inner, ids: self.clone() }
    }
}

// === impl Named ===

impl<S, B, A> Service<Request<B>> for Named<S>
where
    S: Service<Request<B>, Response = Response<A>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let name = self.ids.name(request.headers().get(REQUEST_ID));
        // At the level of the gravest line in it: a filter that hides the span hides the name on every line.
        let span =
            tracing::error_span!("call", request_id = name.to_str().unwrap_or_default(), path = request.uri().path());
        let answer = self.inner.call(request).instrument(span);
        Box::pin(async move {
            let mut answer = answer.await?;
            answer.headers_mut().insert(REQUEST_ID, name);
            Ok(answer)
        })
    }
}
