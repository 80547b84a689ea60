//! Two processes on one store: what one has changed, the other knows soon after, and neither undoes what the other did.

use std::sync::Arc;

use tempfile::TempDir;
use verigate::auth::changes::{AccountChange, NewKey};
use verigate::auth::registry::{Configured, REFRESH, Registry};
use verigate::auth::scope::Scopes;
use verigate::auth::secret::SecretHash;
use verigate::clock::ManualClock;
use verigate::error::Reason;
use verigate::random::OsRandom;
use verigate::store::Store;
use verigate::store::keys::Keys;
use verigate::store::sled::{Config, SledStore};
use verigate::tenant::Tenant;

use crate::support::gateway::{START, eventually};

struct Nodes {
    clock: ManualClock,
    one: Arc<Registry>,
    other: Arc<Registry>,
    _place: TempDir,
}

impl Nodes {
    async fn start() -> Self {
        let place = TempDir::new().unwrap();
        let clock = ManualClock::new(START);
        let config = Config { path: place.path().join("data"), ..Config::default() };
        let store: Arc<dyn Store> = Arc::new(SledStore::open(&config, Arc::new(clock.clone())).unwrap());
        let keys = Keys::open(&*store, &OsRandom).await.unwrap();
        let node = || Registry::open(Arc::clone(&store), keys.clone(), Arc::new(clock.clone()), Configured::default());
        Self { one: node().await.unwrap(), other: node().await.unwrap(), clock, _place: place }
    }
}

fn tenant(name: &str) -> Tenant {
    Tenant {
        name: name.parse().unwrap(),
        default_country: None,
        brand: None,
        sender: None,
        may_return_code: false,
        balance_of: None,
        may_administer: false,
        retention: Default::default(),
    }
}

fn key(id: &str) -> NewKey {
    NewKey {
        id: id.to_owned(),
        tenant: "globex".parse().unwrap(),
        hash: SecretHash::of("secret"),
        scopes: Scopes::ALL,
        expires_at: None,
        from: Vec::new(),
        alone: false,
    }
}

fn opens(registry: &Registry, id: &str) -> bool {
    registry.directory().check(id, "secret").is_ok()
}

#[tokio::test]
async fn a_change_is_known_to_the_other_process_within_half_a_minute() {
    let nodes = Nodes::start().await;
    let refreshing = tokio::spawn(Arc::clone(&nodes.other).keep_fresh());
    nodes.one.create_account(tenant("globex")).await.unwrap();
    nodes.one.create_key(key("one")).await.unwrap();
    assert!(opens(&nodes.one, "one") && !opens(&nodes.other, "one"));
    eventually(async || {
        nodes.clock.advance(REFRESH);
        opens(&nodes.other, "one").then_some(())
    })
    .await;
    nodes.one.revoke_key("one".to_owned()).await.unwrap();
    assert!(!opens(&nodes.one, "one") && opens(&nodes.other, "one"));
    eventually(async || {
        nodes.clock.advance(REFRESH);
        (!opens(&nodes.other, "one")).then_some(())
    })
    .await;
    refreshing.abort();
}

#[tokio::test]
async fn a_change_builds_upon_what_the_other_process_has_changed() {
    let nodes = Nodes::start().await;
    nodes.one.create_account(tenant("globex")).await.unwrap();
    let refused = nodes.other.create_account(tenant("globex")).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::AlreadyExists);
    let brand = AccountChange { brand: Some(Some("Globex".to_owned())), ..AccountChange::default() };
    let sender = AccountChange { sender: Some(Some("GLOBEX".to_owned())), ..AccountChange::default() };
    nodes.one.update_account("globex".parse().unwrap(), brand).await.unwrap();
    let both = nodes.other.update_account("globex".parse().unwrap(), sender).await.unwrap();
    let (brand, sender) = (both.tenant.brand.as_deref(), both.tenant.sender.as_deref());
    assert_eq!((brand, sender), (Some("Globex"), Some("GLOBEX")));
    nodes.one.create_key(key("one")).await.unwrap();
    assert_eq!(nodes.other.create_key(key("one")).await.unwrap_err().reason(), Reason::AlreadyExists);
    nodes.other.revoke_key("one".to_owned()).await.unwrap();
    assert_eq!(nodes.one.revoke_key("one".to_owned()).await.unwrap_err().reason(), Reason::ApiKeyNotFound);
    assert!(!opens(&nodes.one, "one"));
}

/// What a caller has given up waiting for is done all the same, and known.
#[tokio::test]
async fn a_caller_that_hangs_up_leaves_no_key_open_that_is_revoked() {
    let nodes = Nodes::start().await;
    nodes.one.create_account(tenant("globex")).await.unwrap();
    for round in 0..20 {
        let id = format!("key-{round}");
        nodes.one.create_key(key(&id)).await.unwrap();
        let mut revoking = Box::pin(nodes.one.revoke_key(id.clone()));
        assert!(futures_util::poll!(revoking.as_mut()).is_pending());
        drop(revoking);
        eventually(async || (!opens(&nodes.one, &id)).then_some(())).await;
    }
}
