//! The server: every concrete type is chosen and wired here, top to bottom.
//!
//! `build` opens the store and binds the listeners, so that whatever can fail does so before anyone is answered; `run`
//! serves until told to stop, then drains within a deadline.

mod admin;
mod admin_access;
mod around;
mod barrier;
pub mod callbacks;
pub mod checkup;
mod exporting;
mod http;
pub mod judge;
pub mod listen;
mod memory;
pub mod opening;
pub mod restore;
mod services;
mod settings;
mod vendors;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::SecretString;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::{error, info, warn};

use crate::auth::registry::Registry;
use crate::clock::Clock;
use crate::config::Loaded;
use crate::console;
use crate::console::pulse::Pulse;
use crate::contacts::push::Pusher;
use crate::error::{Error, Kind, Reason, Result};
use crate::event::fed::Fed;
use crate::event::handing::Handing;
use crate::feed::feeds::Crew;
use crate::grpc;
use crate::grpc::switchboard::Switchboard;
use crate::guard::service::Guard;
use crate::keeping::service::Keeping;
use crate::messaging::holder::Ground;
use crate::messaging::outbox::Outbox;
use crate::messaging::receipt_urls::ReceiptUrls;
use crate::messaging::worker::{Steps, Worker};
use crate::nodes::Nodes;
use crate::random::Random;
use crate::server::around::Around;
use crate::server::exporting::Exporting;
use crate::server::listen::cores::Cores;
use crate::server::listen::tls::{Certificates, Reload, keep_fresh};
use crate::server::listen::{Addresses, Listeners};
use crate::server::opening::Opened;
use crate::server::services::Wired;
use crate::server::vendors::Built;
use crate::store::Store;
use crate::store::keys::ReceiptTokens;
use crate::store::seal::{KeyRing, SealedStore};
use crate::store::sled::{self, SledStore};
use crate::telemetry::Metrics;
use crate::telemetry::otlp::export::{self, Exporter};
use crate::telemetry::trace::Tracer;
use crate::vendor::ReceiptSink;
use crate::vendor::inbox::Receipts;

/// How often the store is asked whether it still takes writes.
const HEALTH_INTERVAL: Duration = Duration::from_secs(1);

const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// How often it is written down how vendors have done.
const MEASURES_INTERVAL: Duration = Duration::from_secs(120);

/// The services whose health is told, beside that of the whole.
const SERVICES: [&str; 6] = [
    "",
    "verigate.verification.v1.VerificationService",
    "verigate.messaging.v1.MessagingService",
    "verigate.contacts.v1.ContactsService",
    "verigate.event.v1.EventService",
    "verigate.admin.v1.AdminService",
];

/// What a server is given from outside.
pub struct Surroundings {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    pub metrics: Metrics,
}

/// A server that is bound, but does not answer yet.
pub struct Server {
    addresses: Addresses,
    listeners: Listeners,
    grpc: Switchboard,
    around: Around,
    http: axum::Router,
    admin: axum::Router,
    health: HealthReporter,
    clock: Arc<dyn Clock>,
    opened: Opened,
    guard: Arc<Guard>,
    outbox: Arc<Outbox>,
    steps: Steps,
    pushers: Vec<Pusher>,
    registry: Arc<Registry>,
    keeping: Arc<Keeping>,
    nodes: Nodes,
    rewrite_interval: Duration,
    crew: Crew,
    metrics: Metrics,
    pulse: Arc<Pulse>,
    exporter: Option<Exporter>,
    workers: usize,
    receipts: Vec<Receipts>,
    ready: Arc<AtomicBool>,
    drain_deadline: Duration,
    cores: Arc<Cores>,
}

/// Checks what only the server can read of a configuration: the vendors' own keys, what that makes them able to do, and
/// the files of the listeners. Opens no store and binds nothing. Gives what works but should not stay so, a line each.
///
/// Errors: `Invalid`, a line for each fault with its file, line and key.
pub fn check(loaded: &Loaded, clock: Arc<dyn Clock>) -> Result<Vec<String>> {
    let certificates = certificates(loaded)?;
    let built = vendors::build(&loaded.config, &clock)?;
    vendors::check_codes(loaded, &built.vendors)?;
    vendors::books(loaded, &built.vendors, &clock)?;
    Ok(certificates.iter().filter_map(|(_, certificates)| certificates.warning()).collect())
}

fn certificates(loaded: &Loaded) -> Result<Vec<(&'static str, Arc<Certificates>)>> {
    let refuse = |violations| Error::new(Kind::Invalid, Reason::InvalidField, loaded.refuse(violations).to_string());
    listen::check(&loaded.config.server).map_err(refuse)
}

/// Makes a file with a new key to seal the store with. One that is there already is read, and never replaced.
///
/// Errors: `Invalid` that names the file, when it cannot be made, or is there and is no key file.
pub fn create_store_key(path: &Path, random: &dyn Random) -> Result<()> {
    KeyRing::load_or_create(path, random).map(drop)
}

/// Opens an empty store in `folder` as a server with the default settings does, sealed with a key that is made there.
/// For who measures a store without a server; must be called within a Tokio runtime.
///
/// Errors: those of a server whose store cannot be opened.
pub fn open_store(folder: &Path, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Arc<dyn Store>> {
    let ring = KeyRing::load_or_create(&folder.join("key"), &*random)?;
    let memory::Shares { cache: cache_bytes, journal: journal_bytes } = memory::shares();
    let config = sled::Config { path: folder.join("data"), cache_bytes, journal_bytes, ..sled::Config::default() };
    let sled = SledStore::open(&config, clock)?;
    Ok(Arc::new(SealedStore::new(Arc::new(sled), ring, random)))
}

/// Where each vendor that calls us reports, by name. Opens the store only where the configuration has no secret of its own
/// for the tokens. Must be called within a Tokio runtime.
///
/// Errors: `Precondition` without a public URL; those of a store that cannot be opened.
pub async fn receipt_urls(
    loaded: &Loaded,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Result<Vec<(String, SecretString)>> {
    let config = &loaded.config;
    let Some(base) = config.receipts.public_url.as_deref() else {
        let message = "receipts.public_url: is missing: set the URL under which vendors reach the http listener";
        return Err(Error::new(Kind::Precondition, Reason::InvalidField, message));
    };
    let Built { vendors, .. } = vendors::build(config, &clock)?;
    let tokens = match settings::receipt_tokens(&config.receipts)? {
        Some(tokens) => tokens,
        None => own_receipt_tokens(loaded, clock, random).await?,
    };
    let urls = ReceiptUrls::new(Some(base), tokens);
    let url = |name: &String| {
        let is_signed = vendors.get(name)?.receipts()?.is_signed();
        Some((name.clone(), urls.of_vendor(name, is_signed)?))
    };
    Ok(config.vendors.keys().filter_map(url).collect())
}

async fn own_receipt_tokens(loaded: &Loaded, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<ReceiptTokens> {
    let opened = Opened::of(loaded, &clock, &random).await?;
    let keys = opened.keys(&*random).await;
    opened.close().await?;
    Ok(keys?.receipt_tokens())
}

// === impl Server ===

impl Server {
    /// Opens the store and binds the listeners.
    ///
    /// Errors: a listener that cannot be bound, a store that cannot be opened, a vendor that is configured wrongly; each
    /// says what to do.
    pub async fn build(loaded: &Loaded, surroundings: Surroundings) -> Result<Self> {
        let opened = Opened::of(loaded, &surroundings.clock, &surroundings.random).await?;
        Self::build_on(opened, loaded, surroundings).await
    }

    /// The same on a store that is open.
    ///
    /// Errors: as [`Server::build`].
    pub async fn build_on(opened: Opened, loaded: &Loaded, surroundings: Surroundings) -> Result<Self> {
        let config = &loaded.config;
        let Surroundings { clock, random, metrics } = surroundings;
        let clock = opened.clock.clone().unwrap_or(clock);
        let store = Arc::clone(&opened.store);
        let keys = opened.keys(&*random).await?;
        let (exporter, taker) = export::build(&config.otlp, Arc::clone(&clock), &*random)?;
        let tracer = Tracer::new(Arc::clone(&clock), Arc::clone(&random), taker);
        let around = Around::new(&config.server, Arc::clone(&clock), Arc::clone(&random), tracer.clone());
        let fed = Fed::default();
        let handing = Arc::new(Handing::new(Arc::clone(&store), fed.clone()));
        let ground = Ground { store: handing, keys, clock: Arc::clone(&clock), random, fed };

        let Built { vendors, inboxes, receipts: later, .. } = vendors::build(config, &clock)?;
        vendors::check_codes(loaded, &vendors)?;
        let wired = Wired::build(loaded, &ground, vendors, (opened.whole(), tracer)).await?;
        let (grpc, health) = grpc::routes(wired.for_grpc(config.server.reflection))?;
        let certificates = certificates(loaded)?;
        let (listeners, addresses) = Listeners::bind(&config.server, certificates, Arc::clone(&clock)).await?;
        let (page, ready) = (metrics.clone(), Arc::new(AtomicBool::new(false)));
        let first_send = console::first_send_command(&addresses.grpc.to_string(), loaded.example_key());
        let http = http::router(http::Parts {
            config: &config.rest,
            grpc: grpc.clone(),
            around: &around,
            desk: wired.for_dialects(config),
            outbox: Arc::clone(&wired.outbox),
            clock: Arc::clone(&clock),
        })?;
        let pulse = Arc::new(Pulse::new(metrics.clone(), Arc::clone(&clock)));
        let desk = wired.for_console(&pulse, inboxes.iter().map(|inbox| inbox.vendor().to_owned()).collect());
        let admin = admin::router(&config.server, &first_send, (desk, inboxes), page, store, Arc::clone(&ready));
        Ok(Self {
            addresses,
            listeners,
            grpc,
            around,
            http,
            admin,
            health,
            clock,
            opened,
            guard: wired.guard,
            outbox: wired.outbox,
            steps: wired.steps,
            pushers: wired.pushers,
            registry: wired.registry,
            keeping: wired.keeping,
            nodes: wired.nodes,
            rewrite_interval: config.store.rewrite_interval,
            crew: wired.crew,
            metrics,
            pulse,
            exporter,
            workers: config.messaging.workers as usize,
            receipts: later,
            ready,
            drain_deadline: config.server.drain_deadline,
            cores: Arc::default(),
        })
    }

    /// Answers calls on threads of their own. Without it, they are answered where [`Server::run`] is.
    pub fn on(self, cores: Cores) -> Self {
        Self { cores: Arc::new(cores), ..self }
    }

    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// What the http listener serves, for who calls it without a connection.
    pub fn http(&self) -> axum::Router {
        self.http.clone()
    }

    /// What can be read again while it runs, to be used when somebody says that it should be at once.
    pub fn reload(&self) -> Reload {
        Reload::new(self.listeners.certificates())
    }

    /// Serves until `stop` completes, then finishes what is under way, within the drain deadline.
    ///
    /// Errors: a listener that failed, or a store that could not be closed cleanly.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<()> {
        let closing = CancellationToken::new();
        let mut background = JoinSet::new();
        background.spawn(Worker::new(Arc::clone(&self.outbox), self.steps, self.workers).run());
        for receipts in self.receipts {
            background.spawn(receipts.run(Arc::clone(&self.outbox) as Arc<dyn ReceiptSink>));
        }
        for pusher in self.pushers {
            background.spawn(pusher.run());
        }
        background.spawn(self.registry.keep_fresh());
        background.spawn(self.keeping.keep_renewing(self.rewrite_interval));
        background.spawn(self.crew.scribe.run());
        background.spawn(self.crew.couriers.run());
        background.spawn(self.crew.endpoints.keep_fresh());
        background.spawn(async move { self.crew.shelf.hear_others().await });
        background.spawn(self.nodes.clone().keep_up());
        background.spawn(tell_health(self.health.clone(), Arc::clone(&self.opened.store), Arc::clone(&self.clock)));
        background.spawn(keep_measures(Arc::clone(&self.outbox), Arc::clone(&self.clock)));
        background.spawn(keep_limits(Arc::clone(&self.guard), Arc::clone(&self.clock)));
        background.spawn(keep_fresh(Reload::new(self.listeners.certificates()), Arc::clone(&self.clock)));
        background.spawn(keep_metrics(self.metrics.clone(), self.clock));
        background.spawn(self.pulse.run());
        let exporting = Exporting::start(self.exporter, self.metrics);

        let mut serving = self.listeners.serve(self.grpc, &self.around, self.http, self.admin, &self.cores, &closing);
        self.ready.store(true, Ordering::Release);
        let outcome = tokio::select! {
            () = stop => Ok(()),
            Some(ended) = serving.join_next() => ended.map_err(Error::internal),
        };
        info!(deadline = ?self.drain_deadline, "draining");
        self.ready.store(false, Ordering::Release);
        background.abort_all();
        set_health(&self.health, ServingStatus::NotServing).await;
        closing.cancel();
        self.outbox.stop();
        let drained = async {
            while serving.join_next().await.is_some() {}
            self.outbox.drain().await;
        };
        if tokio::time::timeout(self.drain_deadline, drained).await.is_err() {
            warn!("some calls were still under way at the drain deadline and were cut off");
        }
        serving.shutdown().await;
        exporting.finish().await;
        // Others need not wait until it is sure that we are gone.
        if let Err(error) = self.nodes.leave().await {
            warn!(?error, "the other nodes could not be told that this one stops; they notice by themselves");
        }
        if let Err(error) = self.outbox.save_measures().await {
            warn!(?error, "how vendors have done could not be written down");
        }
        if let Err(error) = self.guard.close().await {
            warn!(?error, "what the guard has counted could not be written down");
        }
        let closed = self.opened.close().await;
        // Not before: a connection to the store may live on one of them.
        self.cores.stop();
        closed.and(outcome)
    }
}

/// Tells clients that watch our health when the store stops or resumes taking writes.
async fn tell_health(health: HealthReporter, store: Arc<dyn Store>, clock: Arc<dyn Clock>) {
    let mut told = None;
    loop {
        let state = store.ready();
        if told != Some(state.is_ok()) {
            told = Some(state.is_ok());
            metrics::gauge!("verigate_store_writable").set(if state.is_ok() { 1.0 } else { 0.0 });
            if let Err(error) = &state {
                let until = match error.retry_after() {
                    Some(_) => "it does so again by itself",
                    None => "this process is started again",
                };
                error!(?error, "the store takes no writes until {until}");
            }
            let status = if state.is_ok() { ServingStatus::Serving } else { ServingStatus::NotServing };
            set_health(&health, status).await;
        }
        clock.sleep_until(clock.now() + HEALTH_INTERVAL).await;
    }
}

/// Writes down now and then how vendors have done.
async fn keep_measures(outbox: Arc<Outbox>, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep_until(clock.now() + MEASURES_INTERVAL).await;
        if let Err(error) = outbox.save_measures().await {
            warn!(?error, "how vendors have done could not be written down");
        }
    }
}

/// Writes down now and then what the guard has counted, or exchanges it with the other nodes.
async fn keep_limits(guard: Arc<Guard>, clock: Arc<dyn Clock>) {
    for turn in 0.. {
        clock.sleep_until(clock.now() + guard.interval()).await;
        if let Err(error) = guard.keep(turn).await {
            warn!(?error, "what the guard has counted could not be written down");
        }
    }
}

/// Folds what histograms have gathered, so that they stay small when nobody reads the page.
async fn keep_metrics(metrics: Metrics, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep_until(clock.now() + UPKEEP_INTERVAL).await;
        metrics.run_upkeep();
    }
}

async fn set_health(health: &HealthReporter, status: ServingStatus) {
    for service in SERVICES {
        health.set_service_status(service, status).await;
    }
}
