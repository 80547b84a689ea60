//! A name for every call, so that a caller's trouble and our log lines can be put together: the caller's own
//! `x-request-id`, or one that we make. It stands on each log line of the call, on the answer, and on the request as the
//! services within see it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request, Response};
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::random::Random;

/// Header of the call and of the answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest name of a caller's that we take, in characters.
const MAX_LENGTH: usize = 64;

/// Names calls.
#[derive(Debug, Clone)]
pub struct RequestIds {
    random: Arc<dyn Random>,
    paths: bool,
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
        Self { random, paths: true }
    }

    /// For a listener on whose paths there may be tokens or names of people: the span of a call has the field `path`, but
    /// empty, until somebody within records one that can be logged.
    pub fn without_paths(self) -> Self {
        Self { paths: false, ..self }
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

    /// At the level of the gravest line in it: a filter that hides the span hides the name on every line.
    fn span(&self, name: &HeaderValue, path: &str) -> Span {
        let request_id = name.to_str().unwrap_or_default();
        if self.paths {
            tracing::error_span!("call", request_id, path)
        } else {
            tracing::error_span!("call", request_id, path = Empty)
        }
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

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let name = self.ids.name(request.headers().get(REQUEST_ID));
        let span = self.ids.span(&name, request.uri().path());
        request.headers_mut().insert(REQUEST_ID, name.clone());
        let answer = self.inner.call(request).instrument(span);
        Box::pin(async move {
            let mut answer = answer.await?;
            answer.headers_mut().insert(REQUEST_ID, name);
            Ok(answer)
        })
    }
}
