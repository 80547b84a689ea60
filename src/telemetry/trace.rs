//! Spans: what was done, for how long, and for which call, and how that follows the work through tasks.
//!
//! A span has a name and attributes from this house alone, each put in by hand, so that nothing that a library or a caller
//! says can get into one. When nobody takes spans, one is no more than the ids that are passed on.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use http::HeaderMap;

use crate::clock::Clock;
use crate::error::{Error, Kind, Reason};
use crate::random::Random;
use crate::telemetry::call::Call;
use crate::telemetry::context::{TRACEPARENT, TraceContext};

tokio::task_local! {
    static CURRENT: Current;
}

/// Begins spans. Cheap to clone; the default one begins none.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Shared>>);

struct Shared {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    taker: Option<Taker>,
}

/// Who takes spans that have ended, and which.
pub struct Taker {
    /// Of the traces that begin here, the part that is taken: 0 to 1. Of others, their beginner decides.
    pub ratio: f64,
    /// Must not wait.
    pub take: Box<dyn Fn(Finished) + Send + Sync>,
}

/// What a span is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Somebody called us.
    Server,
    /// We call somebody.
    Client,
}

/// A span that has ended.
#[derive(Debug)]
pub struct Finished {
    pub context: TraceContext,
    /// The span that it is a part of.
    pub parent: Option<[u8; 8]>,
    pub state: Option<String>,
    pub name: &'static str,
    pub role: Role,
    /// Nanoseconds since the Unix epoch.
    pub began: u64,
    pub ended: u64,
    pub attributes: Vec<(&'static str, Value)>,
    pub failed: bool,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Text(Cow<'static, str>),
    Number(i64),
}

/// Something that is being done; ends when it is dropped.
#[derive(Default)]
pub struct Span {
    context: Option<TraceContext>,
    tracer: Tracer,
    /// `None` for one that nobody takes.
    record: Option<Box<Finished>>,
}

/// What work is done for.
#[derive(Clone)]
struct Current {
    context: TraceContext,
    tracer: Tracer,
    call: Option<Arc<Call>>,
}

/// The trace that the work of this task belongs to.
pub fn current() -> Option<TraceContext> {
    CURRENT.try_with(|current| current.context).ok()
}

/// A call of somebody, as a part of what the current task does; nothing, where that belongs to no trace.
pub fn client(name: &'static str) -> Span {
    let began = CURRENT.try_with(|current| current.tracer.client(name, Some(current.context)));
    began.unwrap_or_default()
}

/// What the current task works for, to be taken to another one.
pub struct Carrier(Option<Current>);

/// What the current task works for.
pub fn carrier() -> Carrier {
    Carrier(CURRENT.try_with(Clone::clone).ok())
}

/// Tells whom we call which trace it is for, where it is for one. `tracestate` stays here: what tracers of our callers
/// say is nothing for others.
pub fn write_headers(headers: &mut HeaderMap) {
    if let Some(context) = current() {
        headers.insert(TRACEPARENT, context.to_header());
    }
}

/// Notes something of the call that the current task answers, if it answers one.
pub fn of_call(note: impl FnOnce(&Call)) {
    // There is no call where a worker works, or a test calls a service by hand.
    let _noted = CURRENT.try_with(|current| current.call.as_deref().map(note));
}

/// Counts an error that somebody is told of, and notes it of the call that the current task answers.
pub fn refused(error: &Error) {
    count_refusal(error.reason());
    of_call(|call| call.refused(error.kind(), error.reason()));
}

/// Counts that the call of the current task makes no sense, unless an error says why it was refused.
pub fn misread() {
    of_call(|call| {
        if call.notes().refusal.is_none() {
            count_refusal(Reason::InvalidField);
            call.refused(Kind::Invalid, Reason::InvalidField);
        }
    });
}

/// Counts that somebody was refused something.
pub fn count_refusal(reason: Reason) {
    metrics::counter!("verigate_refusals_total", "reason" => reason.as_str()).increment(1);
}

// === impl Tracer ===

impl Tracer {
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>, taker: Option<Taker>) -> Self {
        Self(Some(Arc::new(Shared { clock, random, taker })))
    }

    /// A span of a call of ours, as a part of `parent`.
    pub fn client(&self, name: &'static str, parent: Option<TraceContext>) -> Span {
        match parent {
            Some(parent) => self.begin(name, Role::Client, Some(parent), None),
            None => Span::default(),
        }
    }

    /// A span of a call of somebody's, as a part of `parent`, else of a trace that begins here.
    pub fn server(&self, name: &'static str, parent: Option<TraceContext>, state: Option<String>) -> Span {
        self.begin(name, Role::Server, parent, state)
    }

    fn begin(&self, name: &'static str, role: Role, parent: Option<TraceContext>, state: Option<String>) -> Span {
        let Some(shared) = &self.0 else {
            return Span { context: parent, tracer: Self::default(), record: None };
        };
        let context = match parent {
            // Whom we call should find the span of our caller, when there will be none of ours.
            Some(parent) if shared.taker.is_none() || !parent.is_sampled() => Some(parent),
            Some(parent) => parent.at(shared.number()),
            None => shared.new_trace(),
        };
        let taken = context.filter(|context| shared.taker.is_some() && context.is_sampled());
        let record = taken.map(|context| {
            let parent = parent.map(TraceContext::span_bytes);
            let (began, attributes) = (shared.clock.nanos(), Vec::new());
            Box::new(Finished { context, parent, state, name, role, began, ended: 0, attributes, failed: false })
        });
        Span { context, tracer: self.clone(), record }
    }
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tracer")
    }
}

// === impl Shared ===

impl Shared {
    fn new_trace(&self) -> Option<TraceContext> {
        let [high, low, span] = [self.number(), self.number(), self.number()];
        // As the samplers of OpenTelemetry decide, so that others who look at the same trace decide the same.
        let sampled = self.taker.as_ref().is_some_and(|taker| {
            let place = (low >> 1) as f64 / (1_u64 << 63) as f64;
            place < taker.ratio
        });
        TraceContext::new(u128::from(high) << 64 | u128::from(low), span, sampled)
    }

    fn number(&self) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }
}

// === impl Span ===

impl Span {
    pub fn context(&self) -> Option<TraceContext> {
        self.context
    }

    /// Whether anybody will see what is said of it.
    pub fn is_taken(&self) -> bool {
        self.record.is_some()
    }

    /// Never a recipient, a text, a code or a credential.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(record) = &mut self.record {
            record.attributes.push((name, value.into()));
        }
    }

    pub fn rename(&mut self, name: &'static str) {
        if let Some(record) = &mut self.record {
            record.name = name;
        }
    }

    pub fn fail(&mut self) {
        if let Some(record) = &mut self.record {
            record.failed = true;
        }
    }

    /// Does work that is a part of it.
    pub async fn run<F: Future>(&self, work: F) -> F::Output {
        let Some(current) = self.current(None) else { return work.await };
        CURRENT.scope(current, work).await
    }

    /// Begins to answer a call, of which can be noted what is found out on the way, and goes on as [`Span::answer`].
    pub fn begin_answer<T>(&self, call: &Arc<Call>, begin: impl FnOnce() -> T) -> T {
        match self.current(Some(Arc::clone(call))) {
            Some(current) => CURRENT.sync_scope(current, begin),
            None => begin(),
        }
    }

    /// Answers a call.
    pub async fn answer<F: Future>(&self, call: &Arc<Call>, work: F) -> F::Output {
        let Some(current) = self.current(Some(Arc::clone(call))) else { return work.await };
        CURRENT.scope(current, work).await
    }

    fn current(&self, call: Option<Arc<Call>>) -> Option<Current> {
        let call = call.or_else(|| CURRENT.try_with(|current| current.call.clone()).ok().flatten());
        self.context.map(|context| Current { context, tracer: self.tracer.clone(), call })
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let (Some(mut record), Some(shared)) = (self.record.take(), &self.tracer.0) else { return };
        // The clock may have been set back meanwhile.
        record.ended = shared.clock.nanos().max(record.began);
        if let Some(taker) = &shared.taker {
            (taker.take)(*record);
        }
    }
}

// === impl Carrier ===

impl Carrier {
    /// Does work for it.
    pub async fn carry<F: Future>(self, work: F) -> F::Output {
        match self.0 {
            Some(current) => CURRENT.scope(current, work).await,
            None => work.await,
        }
    }
}

// === impl Value ===

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}
