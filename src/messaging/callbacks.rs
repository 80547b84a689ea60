//! Tells those who asked for it what became of their messages: takes up callbacks whose due mark has come, and makes their
//! calls.
//!
//! That a call begins is committed before it is made, and how it ended afterwards, so a receiver is told at least once
//! whenever we die. Nothing is held meanwhile but a place at its receiver: not the record, and not a place among those who
//! take up sends, so a receiver that is slow holds up no message.
//!
//! Only messages have callbacks: who asks for a code learns what came of it when the code is checked, and no request for
//! one names a URL. [`Callback`] knows no message, so that another record could hold one, too.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tracing::field::display;
use tracing::{Instrument, info_span, warn};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::TenantName;
use crate::messaging::callback::{Begun, Callback, Called, Rules, Stage};
use crate::messaging::callback_writer::{CallbackCall, CallbackWriters};
use crate::messaging::holder::{
    Ground, MAX_ROUNDS, Marks, SendRecord, StepTaker, Taken, contention, count_conflict, put_record,
};
use crate::messaging::message::Message;
use crate::messaging::outbox::Outbox;
use crate::messaging::retention::Retention;
use crate::store::keys::SendRef;
use crate::store::{Batch, Commit, record};
use crate::telemetry::context::TraceContext;

/// How much longer than a call its lease lasts: room to commit what came of it.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// Whoever listens at the URLs that callers name.
#[async_trait]
pub trait Receivers: Send + Sync {
    /// Errors: `Invalid`, field `url`, for a URL that we would never call.
    fn check(&self, url: &str) -> Result<()>;

    /// Waits until one more call may go there for this tenant. `None` when too many wait for that already.
    async fn turn(&self, tenant: &TenantName, url: &str) -> Option<Box<dyn Turn>>;
}

/// Leave to make one call.
#[async_trait]
pub trait Turn: Send + Sync {
    /// Makes the call; it ends within a time limit of its own.
    async fn call(self: Box<Self>, call: CallbackCall) -> Called;
}

/// How calls are tried.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long one call may take.
    pub timeout: Duration,
    /// Calls at most for one callback.
    pub attempts: u8,
    /// How long a message is kept after its end, its callback included.
    pub retention: Duration,
}

/// Takes the steps of messages. Cheap to clone.
#[derive(Clone)]
pub struct Callbacks(Arc<Desk>);

struct Desk {
    ground: Ground,
    outbox: Arc<Outbox>,
    receivers: Arc<dyn Receivers>,
    writers: CallbackWriters,
    /// For everybody; how patient they are depends on the tenant.
    rules: Rules,
    retention: Retention,
}

/// What is to be done once the beginning of a call is committed.
enum Next {
    Call(u8, CallbackCall),
    Ended(Stage),
    /// Nothing now; somebody looks again when it is due.
    Later,
}

// === impl Callbacks ===

impl Callbacks {
    pub fn new(
        outbox: Arc<Outbox>,
        receivers: Arc<dyn Receivers>,
        writers: CallbackWriters,
        settings: Settings,
    ) -> Self {
        let Settings { timeout, attempts, retention } = settings;
        let rules = Rules { attempts, lease: timeout + LEASE_MARGIN, patience: retention };
        let retention = Retention::of_messages(retention, Arc::clone(&outbox.wishes));
        Self(Arc::new(Desk { ground: outbox.ground.clone(), outbox, receivers, writers, rules, retention }))
    }
}

#[async_trait]
impl StepTaker for Callbacks {
    async fn take_step(&self, record: &SendRef, due_at: Timestamp) -> Result<Taken> {
        let desk = &self.0;
        let Some(message) = desk.find(record).await? else { return Ok(Taken::Gone) };
        let Some(callback) = message.callback.filter(|callback| callback.next_at == Some(due_at)) else {
            // It was moved since its mark was read.
            return Ok(Taken::Done);
        };
        if desk.ground.clock.now() < due_at {
            // The clock was set back.
            desk.outbox.due.note(record.id.partition(), due_at);
            return Ok(Taken::Done);
        }
        let (desk, record, tenant, origin) = (Arc::clone(desk), *record, message.tenant, message.sending.trace);
        let trace_id = origin.map(|origin| display(origin.trace_id()));
        let span = info_span!("callback", message = %record.id, %tenant, kind = callback.kind, trace_id);
        let work = async move { desk.tell(&record, due_at, &tenant, &callback, origin).await };
        Ok(Taken::Outside(Box::pin(work.instrument(span))))
    }
}

// === impl Desk ===

impl Desk {
    async fn tell(
        &self,
        record: &SendRef,
        due_at: Timestamp,
        tenant: &TenantName,
        callback: &Callback,
        origin: Option<TraceContext>,
    ) -> Result<()> {
        let turn = tokio::select! {
            turn = self.receivers.turn(tenant, callback.url.expose()) => turn,
            // Its mark stays where it is.
            () = self.outbox.stopped().cancelled() => return Ok(()),
        };
        let Some(turn) = turn else { return self.put_off(record, due_at).await };
        let leased_until = self.ground.clock.now() + self.rules.lease;
        let Some(Next::Call(attempt, call)) = self.begin(record, due_at).await? else { return Ok(()) };
        if self.ground.clock.now() >= leased_until {
            // Somebody else may have taken it up while this process stood still.
            return Ok(());
        }
        let began = self.ground.clock.nanos();
        let mut span = self.outbox.tracer.client("callback", origin);
        let called = span.run(turn.call(call)).await;
        let took = Duration::from_nanos(self.ground.clock.nanos().saturating_sub(began));
        span.set("verigate.tenant", tenant.as_str().to_owned());
        span.set("verigate.id", record.id.to_string());
        span.set("verigate.outcome", called.as_str());
        drop(span);
        metrics::counter!("verigate_callback_calls_total", "outcome" => called.as_str()).increment(1);
        metrics::histogram!("verigate_callback_call_seconds").record(took.as_secs_f64());
        self.settle(record, attempt, called).await
    }

    /// Counts the call and writes it, or ends a callback that is not to be called.
    async fn begin(&self, record: &SendRef, due_at: Timestamp) -> Result<Option<Next>> {
        self.change(record, |message, now| {
            let rules = self.rules_of(message);
            let begun = message.callback.as_mut().map(|callback| callback.begin(due_at, rules, now));
            match begun {
                None | Some(Begun::NotDue) => None,
                Some(Begun::Over) => Some(Next::Ended(Stage::GivenUp)),
                Some(Begun::Call(attempt)) => Some(self.write(message, attempt, now)),
            }
        })
        .await
    }

    /// Nobody is told of a message for longer than it is kept.
    fn rules_of(&self, message: &Message) -> Rules {
        Rules { patience: self.retention.of(&message.tenant), ..self.rules }
    }

    fn write(&self, message: &mut Message, attempt: u8, now: Timestamp) -> Next {
        let Some(callback) = &message.callback else { return Next::Later };
        let written = match self.writers.get(&callback.kind) {
            Some(writer) => writer.write(message, callback),
            None => {
                warn!("nobody writes callbacks of this kind any more");
                return end(message, Stage::GivenUp);
            }
        };
        match written {
            Ok(Some(call)) => Next::Call(attempt, call),
            Ok(None) => end(message, Stage::Told),
            Err(error) => {
                warn!(?error, "a callback could not be written");
                let (chance, rules) = (self.chance(), self.rules_of(message));
                let callback = message.callback.as_mut();
                callback.map(|callback| callback.settle(attempt, Called::Unanswered, rules, chance, now));
                after(message)
            }
        }
    }

    async fn settle(&self, record: &SendRef, attempt: u8, called: Called) -> Result<()> {
        let chance = self.chance();
        let settle = |message: &mut Message, now: Timestamp| {
            let rules = self.rules_of(message);
            let callback = message.callback.as_mut()?;
            callback.settle(attempt, called, rules, chance, now).then(|| after(message))
        };
        self.change(record, settle).await.map(drop)
    }

    async fn put_off(&self, record: &SendRef, due_at: Timestamp) -> Result<()> {
        let chance = self.chance();
        let put_off = |message: &mut Message, now: Timestamp| {
            message.callback.as_mut()?.put_off(due_at, chance, now).then_some(Next::Later)
        };
        self.change(record, put_off).await.map(drop)
    }

    /// Changes a message and commits, unless there is nothing to change or the message is gone. `change` may run several
    /// times.
    async fn change(
        &self,
        record: &SendRef,
        change: impl Fn(&mut Message, Timestamp) -> Option<Next>,
    ) -> Result<Option<Next>> {
        let key = Message::key(&self.ground.keys, record);
        for _ in 0..MAX_ROUNDS {
            let Some(read) = self.ground.store.get(&key).await? else { return Ok(None) };
            let mut message: Message = record::decode(&read.value)?;
            let before = Marks::of_record(&message);
            let Some(next) = change(&mut message, self.ground.clock.now()) else { return Ok(None) };
            let batch = Batch::new(record.id.partition()).require(&key, Some(&read));
            let batch = put_record(batch, &self.ground, record, &before, &message, &self.retention)?;
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                self.committed(record, &message, &next);
                return Ok(Some(next));
            }
            count_conflict("callback");
        }
        Err(contention())
    }

    fn committed(&self, record: &SendRef, message: &Message, next: &Next) {
        if let Some(at) = message.due_at() {
            self.outbox.due.note(record.id.partition(), at);
        }
        let Next::Ended(stage) = next else { return };
        metrics::counter!("verigate_callbacks_total", "outcome" => stage.as_str()).increment(1);
        if *stage == Stage::GivenUp {
            let attempts = message.callback.as_ref().map_or(0, |callback| callback.attempts);
            warn!(attempts, "a callback was given up; its receiver does not know how the message ended");
        }
    }

    async fn find(&self, record: &SendRef) -> Result<Option<Message>> {
        let read = self.ground.store.get(&Message::key(&self.ground.keys, record)).await?;
        read.map(|read| record::decode(&read.value)).transpose()
    }

    fn chance(&self) -> u32 {
        let mut chance = [0; 4];
        self.ground.random.fill(&mut chance);
        u32::from_be_bytes(chance)
    }
}

fn end(message: &mut Message, stage: Stage) -> Next {
    if let Some(callback) = &mut message.callback {
        callback.end(stage);
    }
    Next::Ended(stage)
}

/// What a callback is to be told as once a call of it is settled.
fn after(message: &Message) -> Next {
    match &message.callback {
        Some(callback) if callback.next_at.is_none() => Next::Ended(callback.stage),
        _ => Next::Later,
    }
}
