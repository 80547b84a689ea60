//! A name for every call, so that a caller's trouble and our log lines can be put together: the caller's own
//! `x-request-id`, or one that we make. It stands on each log line of the call, on the answer, and on the request as the
//! services within see it.
//!
//! With it each call gets its place in a trace (W3C Trace Context), the caller's if it says one, and when a call has
//! ended, it is counted, its span is handed on, and a line of the log at the level DEBUG, under `verigate::calls`, says how
//! it went.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{HeaderName, HeaderValue, Request, Response};
use tower::{Layer, Service};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::clock::Clock;
use crate::grpc::acts::ACTS;
use crate::grpc::told::{Ending, Told};
use crate::random::Random;
use crate::telemetry::call::{Call, UNKNOWN};
use crate::telemetry::calls::Calls;
use crate::telemetry::context::{TraceContext, tracestate};
use crate::telemetry::trace::{self, Tracer};

/// Header of the call and of the answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest name of a caller's that we take, in characters.
const MAX_LENGTH: usize = 64;

/// Of every rpc of ours, before the path that others know it by.
const PREFIX: &str = "/verigate.";

/// Rpcs of others that are served, too.
const OTHERS: [&str; 4] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Names calls.
#[derive(Debug, Clone)]
pub struct RequestIds {
    random: Arc<dyn Random>,
    clock: Arc<dyn Clock>,
    tracer: Tracer,
    calls: Calls,
    /// What is called by gRPC; on other listeners it is found out within.
    rpcs: Option<Arc<HashSet<&'static str>>>,
}

/// A service whose calls are named.
#[derive(Debug, Clone)]
pub struct Named<S> {
    inner: S,
    ids: RequestIds,
}

// === impl RequestIds ===

impl RequestIds {
    /// For the gRPC listener.
    pub fn new(random: Arc<dyn Random>, clock: Arc<dyn Clock>, tracer: Tracer) -> Self {
        let rpcs = ACTS.iter().map(|(path, _)| *path).chain(OTHERS).collect();
        Self { random, clock, tracer, calls: Calls::default(), rpcs: Some(Arc::new(rpcs)) }
    }

    /// For a listener on whose paths there may be tokens or names of people: the span of a call has the field `path`, but
    /// empty, until somebody within records one that can be logged.
    pub fn without_paths(self) -> Self {
        Self { rpcs: None, ..self }
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
    fn log_span(&self, name: &HeaderValue, span: &trace::Span, path: &str) -> Span {
        let request_id = name.to_str().unwrap_or_default();
        // Fields that are recorded later cost more: those that are there are read again.
        let trace_id = span.context().map(|context| tracing::field::display(context.trace_id()));
        if self.rpcs.is_some() {
            tracing::error_span!("call", request_id, trace_id, path)
        } else {
            tracing::error_span!("call", request_id, trace_id, path = Empty)
        }
    }

    fn notes(&self, path: &str) -> Call {
        match &self.rpcs {
            Some(rpcs) => {
                let known = rpcs.get(path).map(|path| path.strip_prefix(PREFIX).unwrap_or(&path[1..]));
                Call::new("grpc", known.unwrap_or(UNKNOWN))
            }
            None => Call::new("http", UNKNOWN),
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
    type Response = Response<Told<A>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let ids = &self.ids;
        let name = ids.name(request.headers().get(REQUEST_ID));
        let path = request.uri().path();
        let call = Arc::new(ids.notes(path));
        let parent = TraceContext::of_headers(request.headers());
        let state = parent.and_then(|_| tracestate(request.headers()));
        let span = ids.tracer.server("call", parent, state);
        let log_span = ids.log_span(&name, &span, path);
        request.headers_mut().insert(REQUEST_ID, name.clone());
        let answer = span.begin_answer(&call, || self.inner.call(request));
        let mut ending = Ending::new(call, span, name, ids.calls.clone(), Arc::clone(&ids.clock));
        let answered = async move {
            let mut answer = ending.span().answer(ending.call(), answer).await?;
            answer.headers_mut().insert(REQUEST_ID, ending.name().clone());
            ending.begun(answer.status(), answer.headers());
            Ok(answer.map(|body| Told::new(body, ending)))
        };
        Box::pin(answered.instrument(log_span))
    }
}
