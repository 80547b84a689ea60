//! The outbox: calls vendors for sends whose attempt is already committed, and commits what came of it.
//!
//! A send is durable before the first byte leaves, and its attempt carries a lease: whoever dies in the middle leaves a
//! due mark behind, and the worker takes the send up again as one in doubt. Vendor calls run in tasks of their own, so a
//! caller that hangs up cancels nothing.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::field::display;
use tracing::{Instrument, error, info_span, warn};

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::event::history::History;
use crate::guard::service::Guard;
use crate::id::{Partition, TenantName};
use crate::messaging::backoff;
use crate::messaging::code_places::CodePlaces;
use crate::messaging::conversion::Tally;
use crate::messaging::due::DueIndex;
use crate::messaging::echo::without_echo;
use crate::messaging::errand::Errand;
use crate::messaging::holder::{About, Changed, Ground, SendHolder};
use crate::messaging::measuring::Measuring;
use crate::messaging::patience::before;
use crate::messaging::receipt_urls::ReceiptUrls;
use crate::messaging::retention::Wishes;
use crate::messaging::rounds::next_try;
use crate::messaging::route::{Route, Routes};
use crate::messaging::sending::{Persistence, Sending, Step};
use crate::messaging::to_end::ToEnd;
use crate::messaging::vendor_names::{MOST_PARKED, VendorNames};
use crate::messaging::vendors::{Permit, Vendors};
use crate::messaging::watches::Watches;
use crate::nodes::Nodes;
use crate::recipient::{Country, Recipient};
use crate::store::keys::{Holder, SendRef};
use crate::telemetry::context::TraceContext;
use crate::telemetry::trace::{Span, Tracer};
use crate::tenant;
use crate::vendor::{Accepted, Channel, Failure, Vendor};

/// About 9 MB, when it is full.
pub const LONGEST_LINE: usize = 50_000;

/// How much longer than an attempt its lease lasts: room to commit the outcome.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// How sends are tried.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How long one vendor call may take.
    pub attempt_timeout: Duration,
    pub persistence: Persistence,
    /// How many sends may wait for room at the same vendors in memory. [`LONGEST_LINE`] outside tests.
    pub longest_line: usize,
}

/// An attempt whose beginning is committed.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    pub send: SendRef,
    /// From 1.
    pub attempt: u8,
    /// The end of its lease: from then on it is somebody else's to decide about, and its call is not begun any more.
    pub until: Timestamp,
}

/// Calls vendors. One per process.
pub struct Outbox {
    pub(crate) ground: Ground,
    pub(crate) due: DueIndex,
    pub(crate) vendors: Vendors,
    pub(crate) watches: Watches,
    pub(crate) names: VendorNames,
    pub(crate) code_places: CodePlaces,
    pub(crate) receipt_urls: ReceiptUrls,
    pub(crate) measuring: Arc<Measuring>,
    /// Who refuses sends, where there is somebody.
    pub(crate) guard: Option<Arc<Guard>>,
    /// How long tenants have their records kept.
    pub(crate) wishes: Wishes,
    /// Begins the spans of what is done for calls that have been answered.
    pub(crate) tracer: Tracer,
    /// Who else works on the store.
    pub(crate) nodes: Nodes,
    settings: Settings,
    routes: Routes,
    holders: OnceLock<Holders>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The kinds of records that hold sends.
struct Holders {
    messages: Arc<dyn SendHolder>,
    verifications: Arc<dyn SendHolder>,
}

// === impl Begun ===

impl Begun {
    /// The attempt that a send has just begun.
    pub fn of(send: SendRef, sending: &Sending) -> Self {
        Self { send, attempt: sending.attempts, until: sending.due_at.unwrap_or_default() }
    }
}

// === impl Outbox ===

impl Outbox {
    pub fn new(ground: Ground, vendors: Vendors, routes: Routes, settings: Settings) -> Self {
        let measuring = Arc::new(Measuring::new(ground.clone()));
        Self {
            names: VendorNames::new(ground.clone(), MOST_PARKED),
            code_places: CodePlaces::new(ground.clone()),
            receipt_urls: ReceiptUrls::new(None, ground.keys.receipt_tokens()),
            due: DueIndex::new(ground.store.is_shared()),
            watches: Watches::new(ground.store.is_shared()),
            ground,
            measuring,
            guard: None,
            wishes: Arc::new(|_| tenant::Retention::default()),
            vendors,
            tracer: Tracer::default(),
            nodes: Nodes::default(),
            settings,
            routes,
            holders: OnceLock::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Tells vendors that they may report to these URLs. Without it, they are told none.
    pub fn reachable_at(self, receipt_urls: ReceiptUrls) -> Self {
        Self { receipt_urls, ..self }
    }

    /// Asks the guard before each send. Without it, nothing is refused.
    pub fn guarded_by(self, guard: Arc<Guard>) -> Self {
        Self { guard: Some(guard), ..self }
    }

    /// Has records kept for as long as their tenants wish. Without it, everybody's for equally long.
    pub fn keeping(self, wishes: Wishes) -> Self {
        Self { wishes, ..self }
    }

    /// Traces its calls of vendors. Without it, they only tell which trace they belong to.
    pub fn traced_by(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }

    /// Takes up what other nodes leave behind. Without it, this one is the only one.
    pub fn among(self, nodes: Nodes) -> Self {
        Self { nodes, ..self }
    }

    /// Names the records that hold sends; to be called once, before anything is sent.
    pub fn hold(&self, messages: Arc<dyn SendHolder>, verifications: Arc<dyn SendHolder>) {
        if self.holders.set(Holders { messages, verifications }).is_err() {
            warn!("the outbox was given its records twice; the first stay");
        }
    }

    /// The route for a message.
    ///
    /// Errors: `Precondition`/`NoRoute` when none is configured.
    pub fn route(&self, tenant: &TenantName, channel: Channel, country: Option<Country>) -> Result<&Route> {
        self.routes.find(tenant, channel, country).ok_or_else(|| {
            let place = country.map_or_else(|| "this recipient".to_owned(), |country| format!("country {country}"));
            let message = format!("no route carries {channel} to {place}; add a [[routes]] entry for it");
            Error::new(Kind::Precondition, Reason::NoRoute, message)
        })
    }

    /// The vendors of a route in the order in which a send goes to them.
    pub fn order<'a>(&self, route: &'a Route, send: &SendRef, to: (Channel, Option<Country>)) -> Cow<'a, [String]> {
        route.order(send, &self.tallies(route, to))
    }

    /// How the vendors of a route have done, where it goes by that.
    pub(crate) fn tallies(&self, route: &Route, (channel, country): (Channel, Option<Country>)) -> Vec<Tally> {
        if route.is_measured() { self.measuring.tallies(route.vendors(), channel, country) } else { Vec::new() }
    }

    /// How vendors have done, for who looks after them.
    pub fn measuring(&self) -> &Arc<Measuring> {
        &self.measuring
    }

    /// Takes up how vendors did before this process began. To be called before anything is sent.
    pub async fn load_measures(&self) -> Result<()> {
        self.measuring.load().await
    }

    /// Writes down how vendors have done, if that has changed.
    pub async fn save_measures(&self) -> Result<()> {
        self.measuring.save().await
    }

    /// Begins the first attempt of a send that is about to be committed, if a vendor has room; else the send stays queued
    /// and the worker takes it up. Hand the permit to [`Outbox::launch`] once the commit is done.
    pub fn begin_inline(
        &self,
        sending: &mut Sending,
        route: &[String],
        now: Timestamp,
        history: &mut History,
    ) -> Option<Permit> {
        let (vendor, permit) =
            self.vendors.try_permit(&sending.candidates(route, now), next_try(sending, route), now)?;
        let vendor = vendor.to_owned();
        let step = sending.begin(&vendor, now, self.lease(), history);
        matches!(step, Step::Attempt(_)).then_some(permit)
    }

    /// Calls the vendor for an attempt that is committed. The answer completes when its outcome is committed too; it may
    /// be dropped. `origin`: the call that asked for the send.
    pub fn launch(
        self: &Arc<Self>,
        permit: Permit,
        begun: Begun,
        mut errand: Errand,
        origin: Option<TraceContext>,
    ) -> tokio::task::JoinHandle<()> {
        if let (Some(reader), Errand::Text(outgoing)) = (permit.vendor().receipts(), &mut errand) {
            outgoing.receipt_url = self.receipt_urls.of(permit.name(), reader.is_signed(), &outgoing.reference);
        }
        let outbox = Arc::clone(self);
        let trace_id = origin.map(|origin| display(origin.trace_id()));
        let (tenant, channel) = (errand.tenant(), errand.channel());
        let Begun { send, attempt, .. } = begun;
        let span = info_span!("attempt", ?send, attempt, %tenant, %channel, trace_id);
        // In a box before it is handed on and on: it is large.
        self.tasks.spawn(Box::pin(async move { outbox.attempt(permit, begun, errand, origin).await }).instrument(span))
    }

    /// Runs work to its end even when nobody waits for it any more, and lets a drain wait for it.
    pub(crate) fn run_to_end<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> ToEnd<T> {
        ToEnd::new(&self.tasks, work)
    }

    /// To be called once a send's record is committed, so that the worker knows of its due mark.
    pub fn note(&self, partition: Partition, sending: &Sending) {
        if let Some(at) = sending.due_at {
            self.due.note(partition, at);
        }
    }

    /// Whom and what the events of a record are about; `None` when it is gone.
    pub async fn about(&self, record: &SendRef) -> Result<Option<About>> {
        self.holder(record)?.about(record).await
    }

    /// Ends the worker and all watches.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits for the vendor calls under way.
    pub async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    pub(crate) fn stopped(&self) -> &CancellationToken {
        &self.stop
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    pub(crate) fn attempt_timeout(&self) -> Duration {
        self.settings.attempt_timeout
    }

    pub(crate) fn lease(&self) -> Duration {
        self.settings.attempt_timeout + LEASE_MARGIN
    }

    pub(crate) fn longest_line(&self) -> usize {
        self.settings.longest_line
    }

    /// With a first wait drawn anew, for each send that asks.
    pub(crate) fn persistence(&self) -> Persistence {
        let mut chance = [0; 4];
        self.ground.random.fill(&mut chance);
        let backoff = backoff::jittered(self.settings.persistence.backoff, u32::from_be_bytes(chance));
        Persistence { backoff, ..self.settings.persistence }
    }

    /// The vendors for a send, best first; empty when no route fits any more.
    pub(crate) fn route_of(
        &self,
        tenant: &TenantName,
        channel: Channel,
        recipient: &Recipient,
        send: &SendRef,
    ) -> Cow<'_, [String]> {
        let to = (channel, recipient.country());
        let route = self.routes.find(tenant, channel, to.1);
        route.map_or(Cow::Borrowed(&[]), |route| self.order(route, send, to))
    }

    pub(crate) fn holder(&self, send: &SendRef) -> Result<&dyn SendHolder> {
        let holders = self.holders.get().ok_or_else(|| Error::internal("the outbox has no records yet"))?;
        Ok(match send.holder {
            Holder::Message => &*holders.messages,
            Holder::Verification => &*holders.verifications,
        })
    }

    async fn attempt(&self, mut permit: Permit, begun: Begun, errand: Errand, origin: Option<TraceContext>) {
        let Begun { send, attempt, .. } = begun;
        let span = self.tracer.client("vendor.send", origin);
        let outcome = span.run(self.hand_over(&mut permit, &begun, &errand)).await;
        end_of_attempt(span, permit.name(), &send, attempt, &errand, &outcome);
        // Of a code that a vendor makes, neither holds: it makes another one, and has no name for its message.
        let is_text = matches!(errand, Errand::Text(_));
        let idempotent = is_text && permit.vendor().capabilities().idempotent;
        let is_asked = is_text && permit.vendor().statuses().is_some();
        let vendor = permit.name().to_owned();
        // The next attempt, here or elsewhere, need not wait for our commit.
        drop(permit);
        // Before the outcome, so that no receipt can come between them and be lost.
        if let (Ok(accepted), Errand::Text(outgoing)) = (&outcome, &errand) {
            self.learn_name(&vendor, accepted, outgoing).await;
        }
        let route = self.route_of(errand.tenant(), errand.channel(), errand.recipient(), &send);
        let rules = self.persistence();
        let settle = |sending: &mut Sending, history: &mut History, now: Timestamp| {
            let step = sending.settle(attempt, &outcome, &route, rules, idempotent, now, history);
            if step == Step::Done && is_asked { sending.ask_later(now) } else { step }
        };
        match self.move_send(&send, &settle).await {
            Ok(changed) => self.measure(&send, attempt, &outcome, &errand, changed),
            // The lease runs out and the worker takes it up as a send in doubt.
            Err(error) => error!(?error, "the outcome of a vendor call could not be stored"),
        }
    }

    async fn hand_over(&self, permit: &mut Permit, begun: &Begun, errand: &Errand) -> Result<Accepted, Failure> {
        let outgoing = match errand {
            Errand::Code(code) => return Box::pin(self.start_code(permit, begun, code)).await,
            Errand::Text(outgoing) => outgoing,
        };
        let outcome = self.call(permit, errand, begun.until).await;
        match begun.send.holder {
            Holder::Verification => outcome.map(|accepted| without_echo(accepted, outgoing.text.expose_secret())),
            Holder::Message => outcome,
        }
    }

    /// Counts a code that is, or may be, on its way.
    fn measure(
        &self,
        send: &SendRef,
        attempt: u8,
        outcome: &Result<Accepted, Failure>,
        errand: &Errand,
        changed: Option<Changed>,
    ) {
        let is_out = matches!(outcome, Ok(_) | Err(Failure::Unknown));
        let Some(Sending { attempts, vendor: Some(vendor), .. }) = changed.map(|changed| changed.sending) else {
            return;
        };
        if is_out && send.holder == Holder::Verification && attempts == attempt {
            self.measuring.sent(&vendor, errand.channel(), errand.recipient().country());
            // However often it is sent, it can come back but once.
            if let Some(guard) = self.guard.as_ref().filter(|_| send.number == 0) {
                guard.sent(errand.tenant(), errand.recipient());
            }
        }
    }

    /// Calls a vendor, unless the time of the errand or of the lease is over: its process may have stood still since the
    /// lease was committed, and somebody else have taken the send up.
    pub(crate) async fn call(
        &self,
        permit: &mut Permit,
        errand: &Errand,
        leased_until: Timestamp,
    ) -> Result<Accepted, Failure> {
        let clock = &self.ground.clock;
        let (now, ends_at) = (clock.now(), errand.expires_at().min(leased_until));
        if now >= ends_at {
            return Err(Failure::Unavailable);
        }
        // What has not been written by the end of the message's time is not written at all.
        let patience = now + self.settings.attempt_timeout;
        let began = clock.nanos();
        let call = before(&**clock, (patience, ends_at), carry(permit.vendor(), errand, now));
        let outcome = call.await.unwrap_or(Err(Failure::Unknown));
        let ended = clock.now();
        let took = ended.since(now);
        // A call that we cut short says nothing of the vendor.
        if outcome != Err(Failure::Unknown) || ended < ends_at {
            permit.note(&outcome, took, ended);
        }
        let took = Duration::from_nanos(clock.nanos().saturating_sub(began));
        count_call(permit.shared_name(), errand.channel(), word_of(&outcome), took);
        if let Err(failure) = &outcome {
            warn!(?failure, "a vendor did not take a message");
        }
        outcome
    }

    /// Moves a send, commits, and tells the due index.
    pub(crate) async fn move_send(
        &self,
        send: &SendRef,
        change: &crate::messaging::holder::Move<'_>,
    ) -> Result<Option<Changed>> {
        let changed = self.holder(send)?.change(send, change).await?;
        if let Some(changed) = &changed {
            self.note(send.id.partition(), &changed.sending);
            if let Some(at) = changed.record_due_at {
                self.due.note(send.id.partition(), at);
            }
        }
        Ok(changed)
    }
}

fn count_call(vendor: Arc<str>, channel: Channel, outcome: &'static str, took: Duration) {
    let (same, channel) = (Arc::clone(&vendor), channel.as_str());
    metrics::counter!("verigate_vendor_calls_total", "vendor" => vendor, "channel" => channel, "outcome" => outcome)
        .increment(1);
    metrics::histogram!("verigate_vendor_call_seconds", "vendor" => same, "channel" => channel)
        .record(took.as_secs_f64());
}

/// What came of a vendor call, for metrics and spans.
fn word_of(outcome: &Result<Accepted, Failure>) -> &'static str {
    match outcome {
        Ok(_) => "accepted",
        Err(Failure::Rejected(_)) => "rejected",
        Err(Failure::Throttled { .. }) => "throttled",
        Err(Failure::Unavailable) => "unavailable",
        Err(Failure::Unknown) => "unknown",
    }
}

/// Says of a span what it was of, without whom it was for.
fn end_of_attempt(
    mut span: Span,
    vendor: &str,
    send: &SendRef,
    attempt: u8,
    errand: &Errand,
    outcome: &Result<Accepted, Failure>,
) {
    if !span.is_taken() {
        return;
    }
    span.set("verigate.tenant", errand.tenant().as_str().to_owned());
    span.set("verigate.vendor", vendor.to_owned());
    span.set("verigate.channel", errand.channel().as_str());
    if let Some(country) = errand.recipient().country() {
        span.set("verigate.country", country.to_string());
    }
    span.set("verigate.id", send.id.to_string());
    span.set("verigate.attempt", i64::from(attempt));
    span.set("verigate.outcome", word_of(outcome));
    if outcome.is_err() {
        span.fail();
    }
}

async fn carry(vendor: &dyn Vendor, errand: &Errand, now: Timestamp) -> Result<Accepted, Failure> {
    match errand {
        Errand::Text(outgoing) => vendor.send(outgoing).await,
        Errand::Code(code) => Outbox::make_code(vendor, code, now).await,
    }
}
