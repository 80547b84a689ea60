//! Contacts without a surface, on a real store.

use std::sync::Arc;

use tempfile::TempDir;
use verigate::clock::ManualClock;
use verigate::contacts::push::Queue;
use verigate::contacts::service::{Contacts, ContactsConfig};
use verigate::event::fed::Fed;
use verigate::messaging::holder::Ground;
use verigate::random::OsRandom;
use verigate::store::Store;
use verigate::store::keys::Keys;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::{Config, SledStore};
use verigate::tenant::Tenant;

use crate::support::gateway::START;

pub(crate) struct House {
    pub(crate) contacts: Arc<Contacts>,
    pub(crate) tenant: Tenant,
    pub(crate) queue: Arc<Queue>,
    pub(crate) ground: Ground,
    _place: TempDir,
}

// === impl House ===

impl House {
    /// `push`: the vendors that are to be given contacts.
    pub(crate) async fn new(max_rows: u32, push: &[&str]) -> Self {
        let place = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let config = Config { path: place.path().join("data"), ..Config::default() };
        let ring = KeyRing::parse(&format!("1:{}\n", "A".repeat(43) + "=")).unwrap();
        let sled = Arc::new(SledStore::open(&config, clock.clone()).unwrap());
        let store: Arc<dyn Store> = Arc::new(SealedStore::new(sled, ring, Arc::new(OsRandom)));
        let keys = Keys::open(&*store, &OsRandom).await.unwrap();
        let ground = Ground { store, keys, clock, random: Arc::new(OsRandom), fed: Fed::default() };
        let push: Vec<_> = push.iter().map(ToString::to_string).collect();
        let queue = Arc::new(Queue::new(push.clone()));
        let config = ContactsConfig { max_rows, push };
        let contacts = Arc::new(Contacts::new(ground.clone(), &config, Arc::clone(&queue)));
        let tenant = Tenant {
            name: "acme".parse().unwrap(),
            default_country: "MY".parse().ok(),
            brand: None,
            sender: None,
            may_return_code: false,
            balance_of: None,
            may_administer: false,
            retention: Default::default(),
        };
        Self { contacts, tenant, queue, ground, _place: place }
    }

    /// The same contacts as another process would have them, which knows nothing of this one but the store.
    pub(crate) fn another_process(&self, max_rows: u32) -> Arc<Contacts> {
        let config = ContactsConfig { max_rows, push: Vec::new() };
        Arc::new(Contacts::new(self.ground.clone(), &config, Arc::new(Queue::new(Vec::new()))))
    }
}
