//! Messages and verifications without a surface, on a real store whose work is counted, with vendors whose room the test
//! chooses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use verigate::clock::{Clock, ManualClock};
use verigate::event::fed::Fed;
use verigate::guard::ask::Origin;
use verigate::messaging::holder::Ground;
use verigate::messaging::message::{Message, Text};
use verigate::messaging::outbox::{LONGEST_LINE, Outbox, Settings};
use verigate::messaging::request::{Content, NewMessage};
use verigate::messaging::route::Routes;
use verigate::messaging::sending::{Persistence, SendStatus};
use verigate::messaging::service::Messaging;
use verigate::messaging::template::Templates;
use verigate::messaging::vendors::Vendors;
use verigate::messaging::worker::{Steps, Worker};
use verigate::random::OsRandom;
use verigate::recipient::Address;
use verigate::store::Store;
use verigate::store::keys::Keys;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::{Config as StoreConfig, SledStore};
use verigate::tenant::Tenant;
use verigate::vendor::inbox::{Config as InboxConfig, Inbox};
use verigate::vendor::{Channel, Receipt, ReceiptSink, ReceiptStatus};
use verigate::verification::request::NewVerification;
use verigate::verification::service::Verifications;
use verigate::verification::workflow::Workflows;

use crate::support::counting_store::{CountingStore, Work};
use crate::support::gateway::{START, eventually};

/// The rules of a gateway that runs until it is dropped.
pub(crate) struct Floor {
    pub(crate) messaging: Arc<Messaging>,
    pub(crate) verifications: Arc<Verifications>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) vendors: Vendors,
    pub(crate) clock: ManualClock,
    pub(crate) tenant: Tenant,
    pub(crate) store: Arc<CountingStore>,
    pub(crate) keys: Keys,
    inboxes: BTreeMap<String, Arc<Inbox>>,
    running: Vec<JoinHandle<()>>,
    place: Arc<TempDir>,
}

/// What a floor is made of.
pub(crate) struct Plan<'a> {
    /// Name, room and rules.
    pub(crate) vendors: &'a [(&'a str, usize, &'a str)],
    /// Channel and vendors, best first.
    pub(crate) routes: &'a [(&'a str, &'a [&'a str])],
    pub(crate) longest_line: usize,
}

const SECOND: Duration = Duration::from_secs(1);

// === impl Floor ===

impl Floor {
    /// `vendors`: name, room and rules; text messages go to the first of them, mail to the last.
    pub(crate) async fn new(vendors: &[(&str, usize, &str)]) -> Self {
        let routes: [(&str, &[&str]); 2] = [("sms", &[vendors[0].0]), ("email", &[vendors[vendors.len() - 1].0])];
        Self::with(&Plan { vendors, routes: &routes, longest_line: LONGEST_LINE }).await
    }

    pub(crate) async fn with(plan: &Plan<'_>) -> Self {
        let place = Arc::new(TempDir::new().unwrap());
        let clock = ManualClock::new(START);
        let config = StoreConfig { path: place.path().join("data"), ..StoreConfig::default() };
        let sled = SledStore::open(&config, Arc::new(clock.clone())).unwrap();
        let ring = KeyRing::parse(&format!("1:{}\n", "A".repeat(43) + "=")).unwrap();
        let store = Arc::new(SealedStore::new(Arc::new(sled), ring, Arc::new(OsRandom)));
        Self::build(plan, store, clock, place).await
    }

    /// A new process on the same store, which remembers nothing. Vendor calls of the old one are not cut off.
    pub(crate) async fn restart_with(mut self, plan: &Plan<'_>) -> Self {
        for task in self.running.drain(..) {
            task.abort();
            drop(task.await);
        }
        let (store, clock, place) = (Arc::clone(&self.store), self.clock.clone(), Arc::clone(&self.place));
        drop(self);
        Self::build(plan, store, clock, place).await
    }

    async fn build(plan: &Plan<'_>, store: Arc<dyn Store>, clock: ManualClock, place: Arc<TempDir>) -> Self {
        let keys = Keys::open(&*store, &OsRandom).await.unwrap();
        let store = Arc::new(CountingStore::new(store));
        let shared = Arc::clone(&store) as Arc<dyn Store>;
        let ground = Ground {
            store: shared,
            keys: keys.clone(),
            clock: Arc::new(clock.clone()),
            random: Arc::new(OsRandom),
            fed: Fed::default(),
        };

        let (mut vendors, mut receipts, mut inboxes) = (Vendors::default(), Vec::new(), BTreeMap::new());
        for (name, room, rules) in plan.vendors {
            let config: InboxConfig = toml::from_str(&format!("keep = 100000\noutcomes = [{rules}]")).unwrap();
            let (vendor, later) = config.build(name, Arc::new(clock.clone())).unwrap();
            inboxes.insert((*name).to_owned(), vendor.inbox());
            vendors.add(*name, Arc::new(vendor), *room);
            receipts.push(later);
        }
        let route = |(channel, vendors): &(&str, &[&str])| {
            toml::from_str(&format!("channel = \"{channel}\"\nvendors = {vendors:?}")).unwrap()
        };
        let routes = Routes::new(plan.routes.iter().map(route).collect());
        let persistence = Persistence { max_attempts: 3, backoff: 2 * SECOND };
        let settings = Settings { attempt_timeout: 10 * SECOND, persistence, longest_line: plan.longest_line };
        let outbox = Arc::new(Outbox::new(ground, vendors.clone(), routes, settings));
        let templates = Arc::new(Templates::builtin().unwrap());
        let messaging = Arc::new(Messaging::new(Arc::clone(&outbox), Arc::clone(&templates), 3600 * SECOND));
        let config = verigate::config::load(None, std::iter::empty()).unwrap().config;
        let verifications = Arc::new(Verifications::new(
            Arc::clone(&outbox),
            config.verification,
            templates,
            Box::new(|_| None),
            Workflows::default(),
        ));
        outbox.hold(messaging.holder(), verifications.holder());
        let mut running = vec![tokio::spawn(Worker::new(Arc::clone(&outbox), Steps::default(), 4).run())];
        running.extend(
            receipts.into_iter().map(|later| tokio::spawn(later.run(Arc::clone(&outbox) as Arc<dyn ReceiptSink>))),
        );
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
        Self { messaging, verifications, outbox, vendors, clock, tenant, store, keys, inboxes, running, place }
    }

    pub(crate) async fn send(&self, recipient: Address) -> Message {
        self.send_new(text_to(recipient)).await
    }

    pub(crate) async fn send_new(&self, new: NewMessage) -> Message {
        self.messaging.send(&self.tenant, new).await.unwrap()
    }

    pub(crate) async fn get(&self, message: &Message) -> Message {
        self.messaging.get(&self.tenant.name, message.id).await.unwrap()
    }

    pub(crate) async fn until(&self, message: &Message, status: SendStatus) -> Message {
        eventually(async || {
            let message = self.get(message).await;
            (message.sending.status == status).then_some(message)
        })
        .await
    }

    /// Asks until there is an answer, while time passes in steps; but it stands still while something is being written,
    /// for that takes as long as it takes.
    pub(crate) async fn pass_until<T>(&self, step: Duration, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        eventually(async || {
            if self.store.is_idle() {
                self.clock.advance(step);
            }
            ask().await
        })
        .await
    }

    /// Waits until so many sends wait for room at a vendor.
    pub(crate) async fn until_waiting(&self, vendor: &str, count: usize) {
        eventually(async || (self.vendors.waiting(vendor) == count).then_some(())).await;
    }

    pub(crate) async fn receive(&self, vendor: &str, reference: &str, status: ReceiptStatus) {
        let receipt = Receipt { vendor: vendor.to_owned(), reference: reference.into(), status, at: self.clock.now() };
        self.outbox.receive(receipt).await.unwrap();
    }

    /// What a vendor took: to whom and under which reference, oldest first.
    pub(crate) fn taken(&self, vendor: &str) -> Vec<(String, String)> {
        let entries = self.inboxes[vendor].messages(None);
        entries.iter().rev().map(|entry| (entry.recipient.clone(), entry.id.to_string())).collect()
    }

    pub(crate) fn work(&self) -> Work {
        self.store.work()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.running.iter().for_each(JoinHandle::abort);
    }
}

/// A recipient of its own for every number below a thousand.
pub(crate) fn number(last: usize) -> Address {
    Address::Phone(format!("+60123456{last:03}"))
}

pub(crate) fn text_to(recipient: Address) -> NewMessage {
    NewMessage {
        recipient: Some(recipient),
        channel: None,
        content: Some(Content::Text(Text::new("Hello".to_owned()))),
        sender: None,
        send_at: None,
        validity: None,
        metadata: BTreeMap::new(),
        callback: None,
        idempotency_key: None,
        batched: false,
        origin: Origin::default(),
        unread: Vec::new(),
    }
}

pub(crate) fn code_to(recipient: Address, delivery_wait: Option<Duration>) -> NewVerification {
    NewVerification { channel: Some(Channel::Sms), delivery_wait, ..NewVerification::to(recipient) }
}
