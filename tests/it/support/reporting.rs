//! A gateway's rules with a receipt listener, and vendors that the test plays: what they answer, when, and how they
//! report afterwards.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::ExposeSecret;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use verigate::clock::{Clock, ManualClock, Timestamp};
use verigate::error::{Error, Kind, Reason, Result};
use verigate::event::fed::Fed;
use verigate::messaging::holder::Ground;
use verigate::messaging::message::Message;
use verigate::messaging::outbox::{LONGEST_LINE, Outbox, Settings};
use verigate::messaging::receipt_urls::ReceiptUrls;
use verigate::messaging::route::Routes;
use verigate::messaging::sending::{Persistence, SendStatus, Sending};
use verigate::messaging::service::Messaging;
use verigate::messaging::template::Templates;
use verigate::messaging::vendors::Vendors;
use verigate::messaging::worker::{Steps, Worker};
use verigate::random::OsRandom;
use verigate::receipts;
use verigate::store::keys::Keys;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::{Config as StoreConfig, SledStore};
use verigate::store::{Prefix, Store};
use verigate::tenant::Tenant;
use verigate::vendor::{
    Accepted, Capabilities, Channel, Failure, Outgoing, ReceiptCall, ReceiptReader, ReceiptStatus, Reported,
    ReportedMessage, Statuses, Vendor,
};
use verigate::verification::service::Verifications;
use verigate::verification::workflow::Workflows;

use crate::support::counting_store::{CountingStore, Work};
use crate::support::floor::{number, text_to};
use crate::support::gateway::{START, eventually};
use crate::support::http::serve;

/// The base of the URLs that vendors are told.
pub(crate) const BASE: &str = "http://gateway.test";

/// What [`Played`] vendors that sign sign with.
pub(crate) const SIGNATURE: &str = "signed-with-the-vendors-own-key";

/// How a played vendor tells what became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tells {
    /// In calls that end with our reference.
    Ours,
    /// In calls that name the message as the vendor does.
    Theirs,
    /// As [`Tells::Theirs`], and signs its calls.
    Signed,
    /// When it is asked.
    Asked,
    Never,
}

/// A vendor whose part the test plays.
#[derive(Debug)]
pub(crate) struct Played {
    name: String,
    tells: Tells,
    capabilities: Capabilities,
    /// What it answers, in order; then it takes everything.
    answers: Mutex<VecDeque<Result<Accepted, Failure>>>,
    /// Answers leave only as many as there are permits.
    gate: Semaphore,
    taken: Mutex<Vec<Outgoing>>,
    fates: Mutex<BTreeMap<String, ReceiptStatus>>,
    asked: Mutex<Vec<(String, Timestamp)>>,
    clock: ManualClock,
}

/// Rules, a listener and vendors, until dropped.
pub(crate) struct House {
    pub(crate) clock: ManualClock,
    pub(crate) address: SocketAddr,
    pub(crate) vendors: BTreeMap<&'static str, Arc<Played>>,
    pub(crate) ground: Ground,
    messaging: Arc<Messaging>,
    store: Arc<CountingStore>,
    urls: ReceiptUrls,
    tenant: Tenant,
    running: Vec<JoinHandle<()>>,
    plan: Vec<(&'static str, Tells, usize)>,
    place: Arc<TempDir>,
}

// === impl Played ===

impl Played {
    fn new(name: &str, tells: Tells, clock: ManualClock) -> Self {
        let receipts = matches!(tells, Tells::Ours | Tells::Theirs | Tells::Signed);
        Self {
            name: name.to_owned(),
            tells,
            capabilities: Capabilities { channels: vec![Channel::Sms], idempotent: false, receipts },
            answers: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            taken: Mutex::default(),
            fates: Mutex::default(),
            asked: Mutex::default(),
            clock,
        }
    }

    pub(crate) fn will_answer(&self, answer: Result<Accepted, Failure>) {
        self.answers.lock().unwrap().push_back(answer);
    }

    /// Keeps all answers back until [`Played::let_go`].
    pub(crate) fn hold_back(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn let_go(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS);
    }

    pub(crate) fn taken(&self) -> Vec<Outgoing> {
        self.taken.lock().unwrap().clone()
    }

    /// What it calls the message that it took as number `index`.
    pub(crate) fn name_of(&self, index: usize) -> String {
        format!("{}-{index}", self.name)
    }

    /// What it says of a message from now on, when asked.
    pub(crate) fn decide(&self, name: &str, status: ReceiptStatus) {
        self.fates.lock().unwrap().insert(name.to_owned(), status);
    }

    /// When it was asked, counted from the start of the test, and about which message.
    pub(crate) fn asked(&self) -> Vec<(String, Duration)> {
        let asked = self.asked.lock().unwrap();
        asked.iter().map(|(name, at)| (name.clone(), at.since(START))).collect()
    }
}

#[async_trait]
impl Vendor for Played {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<Accepted, Failure> {
        let index = {
            let mut taken = self.taken.lock().unwrap();
            taken.push(outgoing.clone());
            taken.len() - 1
        };
        drop(self.gate.acquire().await.unwrap());
        let planned = self.answers.lock().unwrap().pop_front();
        planned.unwrap_or_else(|| Ok(Accepted { vendor_reference: Some(self.name_of(index)), receipt: None }))
    }

    fn statuses(&self) -> Option<&dyn Statuses> {
        (self.tells == Tells::Asked).then_some(self)
    }

    fn receipts(&self) -> Option<&dyn ReceiptReader> {
        self.capabilities.receipts.then_some(self)
    }
}

#[async_trait]
impl Statuses for Played {
    async fn status(&self, vendor_reference: &str) -> Result<Option<ReceiptStatus>, Failure> {
        self.asked.lock().unwrap().push((vendor_reference.to_owned(), self.clock.now()));
        Ok(self.fates.lock().unwrap().get(vendor_reference).copied())
    }
}

/// Reports are the query: `s=delivered`, with the vendor's names in `id`, several at will.
impl ReceiptReader for Played {
    fn is_signed(&self) -> bool {
        self.tells == Tells::Signed
    }

    fn names_ours(&self) -> bool {
        self.tells == Tells::Ours
    }

    fn read(&self, call: &ReceiptCall, now: Timestamp) -> Result<Vec<Reported>> {
        let signature = call.headers.iter().find(|(name, _)| name == "x-signature").map(|(_, value)| value.as_str());
        if self.is_signed() && signature != Some(SIGNATURE) {
            return Err(Error::new(Kind::Unauthenticated, Reason::CredentialsInvalid, "the signature is wrong"));
        }
        let values = |wanted: &str| {
            let found = call.query.iter().filter(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone()).collect::<Vec<_>>()
        };
        let status = match values("s").first().map(String::as_str) {
            Some("delivered") => ReceiptStatus::Delivered,
            Some("undelivered") => ReceiptStatus::Undelivered,
            Some("expired") => ReceiptStatus::Expired,
            Some("buffered") => return Ok(Vec::new()),
            _ => return Err(Error::invalid("s", "must be a status")),
        };
        let named: Vec<_> = match self.tells {
            Tells::Ours => vec![ReportedMessage::Ours(call.rest.clone())],
            _ => values("id").into_iter().map(ReportedMessage::Theirs).collect(),
        };
        Ok(named.into_iter().map(|of| Reported { of, status, at: now }).collect())
    }
}

// === impl House ===

impl House {
    /// Messages go to the vendors in this order. Each has room for so many calls.
    pub(crate) async fn new(plan: &[(&'static str, Tells, usize)]) -> Self {
        let place = Arc::new(TempDir::new().unwrap());
        let clock = ManualClock::new(START);
        let config = StoreConfig { path: place.path().join("data"), ..StoreConfig::default() };
        let sled = SledStore::open(&config, Arc::new(clock.clone())).unwrap();
        let ring = KeyRing::parse(&format!("1:{}\n", "A".repeat(43) + "=")).unwrap();
        let store = Arc::new(SealedStore::new(Arc::new(sled), ring, Arc::new(OsRandom)));
        let vendors = plan.iter().map(|(name, tells, _)| (*name, Arc::new(Played::new(name, *tells, clock.clone()))));
        let vendors = vendors.collect();
        Self::build(plan.to_vec(), store, clock, vendors, place).await
    }

    /// A new process on the same store, which remembers nothing; the vendors are the same.
    pub(crate) async fn restart(mut self) -> Self {
        for task in self.running.drain(..) {
            task.abort();
            drop(task.await);
        }
        let (store, clock, place) = (Arc::clone(&self.store), self.clock.clone(), Arc::clone(&self.place));
        let (plan, vendors) = (self.plan.clone(), self.vendors.clone());
        drop(self);
        Self::build(plan, store, clock, vendors, place).await
    }

    async fn build(
        plan: Vec<(&'static str, Tells, usize)>,
        store: Arc<dyn Store>,
        clock: ManualClock,
        played: BTreeMap<&'static str, Arc<Played>>,
        place: Arc<TempDir>,
    ) -> Self {
        let keys = Keys::open(&*store, &OsRandom).await.unwrap();
        let store = Arc::new(CountingStore::new(store));
        let shared = Arc::clone(&store) as Arc<dyn Store>;
        let urls = ReceiptUrls::new(Some(BASE), keys.receipt_tokens());
        let ground = Ground {
            store: shared,
            keys,
            clock: Arc::new(clock.clone()),
            random: Arc::new(OsRandom),
            fed: Fed::default(),
        };
        let mut vendors = Vendors::default();
        for (name, _, room) in &plan {
            vendors.add(*name, Arc::clone(&played[name]) as Arc<dyn Vendor>, *room);
        }
        let names: Vec<_> = plan.iter().map(|(name, ..)| *name).collect();
        let route = toml::from_str(&format!("channel = \"sms\"\nvendors = {names:?}")).unwrap();
        let settings = Settings {
            attempt_timeout: Duration::from_secs(10),
            persistence: Persistence { max_attempts: 3, backoff: Duration::from_secs(2) },
            longest_line: LONGEST_LINE,
        };
        let outbox = Outbox::new(ground.clone(), vendors, Routes::new(vec![route]), settings);
        let outbox = Arc::new(outbox.reachable_at(urls.clone()));
        let templates = Arc::new(Templates::builtin().unwrap());
        let retention = Duration::from_secs(24 * 3600);
        let messaging = Arc::new(Messaging::new(Arc::clone(&outbox), Arc::clone(&templates), retention));
        let config = verigate::config::load(None, std::iter::empty()).unwrap().config;
        let workflows = Workflows::default();
        let verifications =
            Verifications::new(Arc::clone(&outbox), config.verification, templates, Box::new(|_| None), workflows);
        outbox.hold(messaging.holder(), verifications.holder());
        let running = vec![tokio::spawn(Worker::new(Arc::clone(&outbox), Steps::default(), 4).run())];
        let listener = receipts::router(Arc::clone(&outbox)).fallback(async || receipts::not_found());
        let address = serve(listener).await;
        let tenant = Tenant {
            name: "acme".parse().unwrap(),
            default_country: None,
            brand: None,
            sender: None,
            may_return_code: false,
            balance_of: None,
            may_administer: false,
            retention: Default::default(),
        };
        Self { clock, address, vendors: played, ground, messaging, store, urls, tenant, running, plan, place }
    }

    /// Accepts a message for a recipient of its own.
    pub(crate) async fn send(&self, recipient: usize) -> Message {
        self.messaging.send(&self.tenant, text_to(number(recipient))).await.unwrap()
    }

    pub(crate) async fn sending(&self, message: &Message) -> Sending {
        self.messaging.get(&self.tenant.name, message.id).await.unwrap().sending
    }

    /// Waits for a message to come so far, and for all that is being written.
    pub(crate) async fn until(&self, message: &Message, status: SendStatus) -> Sending {
        eventually(async || {
            let sending = self.sending(message).await;
            (sending.status == status && self.store.is_idle()).then_some(sending)
        })
        .await
    }

    /// Accepts a message and waits until its vendor has taken it.
    pub(crate) async fn sent(&self, recipient: usize) -> Message {
        let message = self.send(recipient).await;
        self.until(&message, SendStatus::Sent).await;
        message
    }

    /// The path, with the token, at which a vendor reports.
    pub(crate) fn path(&self, vendor: &str) -> String {
        let url = self.urls.of_vendor(vendor, false).unwrap();
        url.expose_secret().strip_prefix(BASE).unwrap().to_owned()
    }

    pub(crate) fn work(&self) -> Work {
        self.store.work()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.store.is_idle()
    }

    /// How many names of vendors' are noted, receipts that wait for one among them.
    pub(crate) async fn names(&self) -> usize {
        self.store.scan(&Prefix::new([b'w'], None), None, 1_000).await.unwrap().len()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.running.iter().for_each(JoinHandle::abort);
    }
}
