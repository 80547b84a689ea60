//! What is told of a call when it has ended: counters, a span, and a line of the log.
//!
//! A call has ended when all of its answer was sent, or when nobody waits for it any more.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tracing::debug;

use crate::clock::Clock;
use crate::error::Reason;
use crate::telemetry::call::{Call, Notes};
use crate::telemetry::calls::{Calls, Outcome};
use crate::telemetry::trace::{Span, count_refusal};

/// Where gRPC says how a call ended: in the head of an answer that has nothing else to say, or behind its body.
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

pin_project! {
    /// A body at whose end it is told how its call went.
    #[derive(Debug, Default)]
    pub struct Told<B> {
        #[pin]
        body: B,
        ending: Option<Ending>,
    }
}

/// The end of a call; told when it is dropped.
pub struct Ending {
    call: Arc<Call>,
    span: Span,
    name: HeaderValue,
    calls: Calls,
    clock: Arc<dyn Clock>,
    began: u64,
    /// Until the answer began.
    took: Option<Duration>,
    status: Option<Status>,
}

/// How a call ended, in the words of its wire.
#[derive(Debug, Clone, Copy)]
enum Status {
    Grpc(u8),
    Http(StatusCode),
}

// === impl Told ===

impl<B> Told<B> {
    pub fn new(body: B, ending: Ending) -> Self {
        Self { body, ending: Some(ending) }
    }
}

impl<B: Body> Body for Told<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = this.body.poll_frame(context);
        if let (Poll::Ready(Some(Ok(frame))), Some(ending)) = (&polled, this.ending.as_mut()) {
            ending.note(frame.trailers_ref());
        }
        if matches!(polled, Poll::Ready(None)) {
            drop(this.ending.take());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Ending ===

impl Ending {
    pub fn new(call: Arc<Call>, span: Span, name: HeaderValue, calls: Calls, clock: Arc<dyn Clock>) -> Self {
        let began = clock.nanos();
        Self { call, span, name, calls, clock, began, took: None, status: None }
    }

    pub fn span(&self) -> &Span {
        &self.span
    }

    pub fn call(&self) -> &Arc<Call> {
        &self.call
    }

    /// The name of the call.
    pub fn name(&self) -> &HeaderValue {
        &self.name
    }

    /// Notes the head of the answer.
    pub fn begun(&mut self, status: StatusCode, head: &HeaderMap) {
        self.took = Some(self.took());
        let is_grpc =
            head.get(http::header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        self.note(Some(head));
        if !is_grpc && self.status.is_none() {
            self.status = Some(Status::Http(status));
        }
    }

    fn note(&mut self, fields: Option<&HeaderMap>) {
        let status = fields.and_then(|fields| fields.get(GRPC_STATUS)?.to_str().ok()?.parse().ok());
        self.status = status.map(Status::Grpc).or(self.status);
    }

    fn took(&self) -> Duration {
        Duration::from_nanos(self.clock.nanos().saturating_sub(self.began))
    }

    /// Dialects have ways of their own to say that something is wrong, and some of them look like a yes.
    fn outcome(&self, notes: &Notes) -> Outcome {
        match (self.status, notes.refusal) {
            (Some(Status::Grpc(code)), _) => Outcome::of_grpc(code),
            (Some(Status::Http(status)), Some((kind, _))) if status.is_success() => Outcome::of_error(kind),
            (Some(Status::Http(status)), _) => Outcome::of_http(status.as_u16()),
            (None, _) => Outcome::Canceled,
        }
    }

    fn finish_span(&mut self, notes: &Notes, outcome: Outcome) {
        if !self.span.is_taken() {
            return;
        }
        let span = &mut self.span;
        span.rename(notes.method);
        span.set("verigate.surface", notes.surface);
        span.set("verigate.outcome", outcome.as_str());
        span.set("verigate.request_id", self.name.to_str().unwrap_or_default().to_owned());
        if let Some((service, method)) = notes.method.split_once('/') {
            span.set("rpc.service", service);
            span.set("rpc.method", method);
        }
        if let Some(tenant) = &notes.tenant {
            span.set("verigate.tenant", tenant.as_str().to_owned());
        }
        if let Some((_, reason)) = notes.refusal.filter(|_| outcome != Outcome::Ok) {
            span.set("verigate.reason", reason.as_str());
        }
        match self.status {
            Some(Status::Grpc(code)) => span.set("rpc.grpc.status_code", i64::from(code)),
            Some(Status::Http(status)) => span.set("http.response.status_code", i64::from(status.as_u16())),
            None => {}
        }
        // What a caller did wrong is no fault of what it called.
        if matches!(outcome, Outcome::Failed | Outcome::Unavailable) {
            span.fail();
        }
    }
}

/// Why calls are refused that nothing else is told of: those that a dialect cannot read, or does not have.
fn reason_of(status: StatusCode) -> Option<Reason> {
    match status {
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY | StatusCode::PAYLOAD_TOO_LARGE => {
            Some(Reason::InvalidField)
        }
        StatusCode::UNAUTHORIZED => Some(Reason::CredentialsMissing),
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Some(Reason::NotServed),
        _ => None,
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let notes = self.call.notes();
        let outcome = self.outcome(&notes);
        if let (None, Some(Status::Http(status))) = (notes.refusal, self.status) {
            reason_of(status).into_iter().for_each(count_refusal);
        }
        let took = self.took.unwrap_or_else(|| self.took());
        self.calls.count(notes.surface, notes.method, outcome, took);
        self.finish_span(&notes, outcome);
        let trace_id = self.span.context().map(|context| context.trace_id());
        debug!(
            target: "verigate::calls",
            request_id = self.name.to_str().unwrap_or_default(),
            trace_id = trace_id.map(tracing::field::display),
            surface = notes.surface,
            method = notes.method,
            tenant = notes.tenant.as_ref().map(tracing::field::display),
            outcome = outcome.as_str(),
            reason = notes.refusal.map(|(_, reason)| reason.as_str()),
            milliseconds = took.as_secs_f64() * 1000.0,
            "a call has ended"
        );
    }
}

impl std::fmt::Debug for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ending")
    }
}
