//! The endpoints of all tenants, and with them which feeds are written.
//!
//! All are kept in the store; those of the configuration are written there at start, so that where they have come to, and
//! that they are disabled, outlives a restart.
//!
//! Whoever changes something says so in the store, and other nodes look for that every second. Whose feed is not written
//! yet waits for them before it is told that it is: what happens from then on is written, whichever node does it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Mutex, watch};
use tracing::warn;

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::feed::endpoint::{Disabled, Endpoint, NewEndpoint, Why};
use crate::feed::kinds::Wanted;
use crate::feed::numbers::Head;
use crate::feed::settings::{Bounds, Config, MAX_ENDPOINTS};
use crate::feed::shelf::Shelf;
use crate::id::{Id, TenantName};
use crate::messaging::holder::{Ground, MAX_ROUNDS, contention, count_conflict};
use crate::store::keys::TenantTag;
use crate::store::{Batch, Commit, Version, record};

/// How often everything is read again, whoever says that something has changed: time changes who is fed.
const REFRESH: Duration = Duration::from_secs(10);

/// How often it is looked for whether another node has changed something.
const LOOK: Duration = Duration::from_secs(1);

/// After this long all nodes know of a change that live and reach the store.
const KNOWN_TO_ALL: Duration = Duration::from_secs(2);

/// How long the secret before signs beside a new one, where nobody says.
pub const OVERLAP: Duration = Duration::from_secs(24 * 3600);

/// All endpoints.
pub struct Endpoints {
    ground: Ground,
    shelf: Arc<Shelf>,
    bounds: Bounds,
    known: RwLock<Known>,
    /// Changes take turns.
    turn: Mutex<()>,
    changed: watch::Sender<()>,
}

/// What the store holds, as last seen.
#[derive(Default)]
struct Known {
    endpoints: BTreeMap<Id, Arc<Endpoint>>,
    /// Until when feeds are written because they are watched.
    watched: HashMap<TenantTag, Timestamp>,
}

/// What to change of an endpoint; what is not given stays.
#[derive(Clone, Default)]
pub struct EndpointChange {
    pub url: Option<String>,
    pub wanted: Option<Wanted>,
    pub description: Option<String>,
    pub enabled: Option<bool>,
    /// A new secret, and for how long the one before still signs.
    pub rotation: Option<(SecretString, Duration)>,
}

// === impl Endpoints ===

impl Endpoints {
    /// Reads what is stored, and brings it in line with the configuration.
    ///
    /// Errors: those of a store that cannot be read or written.
    pub async fn open(shelf: Arc<Shelf>, config: &Config, bounds: Bounds) -> Result<Arc<Self>> {
        let ground = shelf.ground.clone();
        let (known, turn) = (RwLock::default(), Mutex::default());
        let endpoints = Self { ground, shelf, bounds, known, turn, changed: watch::Sender::new(()) };
        endpoints.refresh().await?;
        endpoints.configure(config).await?;
        Ok(Arc::new(endpoints))
    }

    /// Those of a tenant, oldest first.
    pub fn of(&self, tenant: &TenantName) -> Vec<Arc<Endpoint>> {
        self.known().endpoints.values().filter(|endpoint| endpoint.tenant == *tenant).cloned().collect()
    }

    /// Those that are called.
    pub fn enabled(&self) -> Vec<Arc<Endpoint>> {
        self.known().endpoints.values().filter(|endpoint| endpoint.is_enabled()).cloned().collect()
    }

    /// Errors: `NotFound` for an unknown id, another tenant's among them.
    pub fn get(&self, tenant: &TenantName, id: Id) -> Result<Arc<Endpoint>> {
        self.find(id).filter(|endpoint| endpoint.tenant == *tenant).ok_or_else(not_found)
    }

    /// As [`Endpoints::get`], of one that another node may have added a moment ago, too.
    pub(crate) async fn look_up(&self, tenant: &TenantName, id: Id) -> Result<Arc<Endpoint>> {
        if self.shelf.nodes.is_shared() && self.find(id).is_none() {
            self.refresh().await?;
        }
        self.get(tenant, id)
    }

    pub fn find(&self, id: Id) -> Option<Arc<Endpoint>> {
        self.known().endpoints.get(&id).cloned()
    }

    /// Told whenever there are others, or they are called no more, or again.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Adds an endpoint, which is called for what happens from now on.
    ///
    /// Errors: `Invalid`, field `url`; `Precondition`/`TooManyEndpoints`; `Unavailable`.
    pub async fn create(&self, new: NewEndpoint) -> Result<Arc<Endpoint>> {
        self.bounds.check(&new.url)?;
        let turn = self.turn.lock().await;
        let (endpoint, begins) = self.add(new).await?;
        drop(turn);
        self.let_others_know(begins).await?;
        Ok(endpoint)
    }

    /// Adds an endpoint in the commit that moves the head of its feed, so that of several nodes that do so at once each
    /// knows what the others did. Whether its feed begins to be written.
    async fn add(&self, new: NewEndpoint) -> Result<(Arc<Endpoint>, bool)> {
        let tag = self.ground.keys.tenant(&new.tenant);
        for _ in 0..MAX_ROUNDS {
            let (read, mut head) = self.shelf.head(tag).await?;
            self.refresh().await?;
            let others = self.of(&new.tenant);
            // Another node has the same configuration.
            let twin = others.iter().find(|other| other.name.is_some() && other.name == new.name);
            if let Some(twin) = twin {
                return Ok((Arc::clone(twin), false));
            }
            if others.len() >= MAX_ENDPOINTS {
                let message = format!("the tenant has {MAX_ENDPOINTS} endpoints; delete one of them");
                return Err(Error::new(Kind::Precondition, Reason::TooManyEndpoints, message));
            }
            let begins = !self.ground.fed.wants(tag);
            if begins {
                head.skip();
            }
            let (now, head_key) = (self.ground.clock.now(), self.ground.keys.feed_head(tag));
            let id = Id::new(now, head_key.partition(), &*self.ground.random);
            let endpoint = Endpoint::new(id, new.clone(), now);
            let batch = Batch::new(head_key.partition()).require(&head_key, read.as_ref());
            let batch = batch.put(self.ground.keys.endpoint(tag, id), record::encode(&endpoint)?, None);
            let batch = batch.put(self.ground.keys.read_to(tag, id), record::encode(&head.last())?, None);
            let batch = batch.put(head_key, record::encode(&head)?, None);
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                self.refresh().await?;
                return Ok((self.get(&new.tenant, id)?, begins));
            }
            count_conflict("endpoint");
        }
        Err(contention())
    }

    /// Changes what is given. One that is enabled again is called for what happens from then on, and for what waited.
    ///
    /// Errors: `NotFound`; `Invalid`, field `url`; `Precondition`/`Configured`; `Conflict`; `Unavailable`.
    pub async fn update(&self, tenant: &TenantName, id: Id, change: EndpointChange) -> Result<Arc<Endpoint>> {
        let turn = self.turn.lock().await;
        let endpoint = self.look_up(tenant, id).await?;
        change.url.as_deref().map(|url| self.bounds.check(url)).transpose()?;
        let EndpointChange { url, wanted, description, enabled, rotation } = &change;
        let is_fixed = url.is_some() || wanted.is_some() || description.is_some() || rotation.is_some();
        if endpoint.name.is_some() && is_fixed {
            return Err(configured());
        }
        let comes_back = *enabled == Some(true) && !endpoint.is_enabled();
        let tag = self.ground.keys.tenant(tenant);
        let begins = comes_back && !self.ground.fed.wants(tag);
        let from = if comes_back { Some(self.begin_feed(tag).await?) } else { None };
        let apply = |endpoint: &mut Endpoint, now: Timestamp| {
            url.iter().for_each(|url| endpoint.url.clone_from(url));
            wanted.iter().for_each(|wanted| endpoint.want(wanted));
            description.iter().for_each(|text| endpoint.description.clone_from(text));
            if let Some((secret, overlap)) = rotation {
                endpoint.rotate(secret.expose_secret(), *overlap, now);
            }
            match enabled {
                Some(true) => endpoint.disabled = None,
                Some(false) => drop(endpoint.disable(Why::Asked, now)),
                None => {}
            }
            endpoint.updated_at = now;
            true
        };
        self.change(&endpoint, from, &apply).await?;
        drop(turn);
        self.let_others_know(begins).await?;
        self.get(tenant, id)
    }

    /// Calls it no more, and forgets it. What became of events there can still be looked up.
    ///
    /// Errors: `NotFound`; `Precondition`/`Configured`; `Unavailable`.
    pub async fn delete(&self, tenant: &TenantName, id: Id) -> Result<()> {
        let _turn = self.turn.lock().await;
        let endpoint = self.look_up(tenant, id).await?;
        if endpoint.name.is_some() {
            return Err(configured());
        }
        self.remove(&endpoint).await?;
        self.refresh().await?;
        self.let_others_know(false).await
    }

    /// Calls an endpoint no more, for a reason of its own.
    pub async fn disable(&self, id: Id, why: Why) -> Result<()> {
        let Some(endpoint) = self.find(id) else { return Ok(()) };
        let _turn = self.turn.lock().await;
        if self.change(&endpoint, None, &|endpoint, now| endpoint.disable(why, now)).await? {
            let (tenant, why) = (endpoint.tenant.as_str(), why.as_str());
            warn!(tenant, endpoint = %id, why, "an event endpoint was disabled; its tenant hears of nothing there");
            metrics::counter!("verigate_event_endpoints_disabled_total", "why" => why).increment(1);
            self.let_others_know(false).await?;
        }
        Ok(())
    }

    /// Writes down that an endpoint took something, now and then.
    pub async fn succeeded(&self, id: Id) -> Result<()> {
        let now = self.ground.clock.now();
        let Some(endpoint) = self.find(id).filter(|endpoint| endpoint.is_news_of_success(now)) else { return Ok(()) };
        let _turn = self.turn.lock().await;
        let note = |endpoint: &mut Endpoint, now: Timestamp| {
            let is_news = endpoint.is_news_of_success(now);
            endpoint.succeeded_at = Some(now);
            is_news
        };
        self.change(&endpoint, None, &note).await.map(drop)
    }

    /// Has a feed written for as long as its entries are kept, and longer with each time it is asked for. The number of
    /// its last entry.
    pub async fn watch(&self, tenant: TenantTag) -> Result<u64> {
        let (now, retention) = (self.ground.clock.now(), self.shelf.retention);
        let is_known = self.known().watched.get(&tenant).is_some_and(|until| *until > now + retention / 2);
        if is_known {
            return self.shelf.head(tenant).await.map(|(_, head)| head.last());
        }
        let turn = self.turn.lock().await;
        let begins = !self.ground.fed.wants(tenant);
        self.begin_feed(tenant).await?;
        let until = now + retention;
        let head = self.shelf.change_head(tenant, |head| {
            head.watched_until = head.watched_until.max(until);
            true
        });
        let head = head.await?;
        self.refresh().await?;
        drop(turn);
        self.let_others_know(begins).await?;
        Ok(head.last())
    }

    /// Looks for what other nodes have changed, and time, for as long as it is let.
    pub async fn keep_fresh(self: Arc<Self>) {
        let (mut seen, mut refreshed_at) = (None, self.ground.clock.now());
        loop {
            let pause = if self.shelf.nodes.is_shared() { LOOK } else { REFRESH };
            self.ground.clock.sleep_until(self.ground.clock.now() + pause).await;
            let fresh = self.look(&mut seen, refreshed_at).await;
            match fresh {
                Ok(true) => refreshed_at = self.ground.clock.now(),
                Ok(false) => {}
                Err(error) => warn!(?error, "event endpoints could not be read again; those known stay"),
            }
        }
    }

    /// Reads everything again if somebody says that something has changed, or it was not read for long. Whether it was.
    async fn look(&self, seen: &mut Option<Version>, refreshed_at: Timestamp) -> Result<bool> {
        let is_old = self.ground.clock.now() >= refreshed_at + REFRESH;
        let mut newest = None;
        if self.shelf.nodes.is_shared() {
            // Before everything is read, so that nothing is missed.
            newest = self.ground.store.get(&self.ground.keys.feeds_changed()).await?.map(|read| read.version);
            if !is_old && newest == *seen {
                return Ok(false);
            }
        } else if !is_old {
            return Ok(false);
        }
        let _turn = self.turn.lock().await;
        self.refresh().await?;
        *seen = newest;
        Ok(true)
    }

    /// Says to other nodes that something has changed. `begins`: a feed; then it waits until they know.
    async fn let_others_know(&self, begins: bool) -> Result<()> {
        if !self.shelf.nodes.is_shared() {
            return Ok(());
        }
        let key = self.ground.keys.feeds_changed();
        self.ground.store.commit(Batch::new(key.partition()).put(key, Vec::new(), None)).await?;
        if begins && self.shelf.nodes.count() > 1 {
            self.ground.clock.sleep_until(self.ground.clock.now() + KNOWN_TO_ALL).await;
        }
        Ok(())
    }

    /// The number of the last entry of a feed. One that is not written now leaves a number out, for what happened
    /// meanwhile is missing there.
    async fn begin_feed(&self, tenant: TenantTag) -> Result<u64> {
        let is_written = self.ground.fed.wants(tenant);
        let skip = |head: &mut Head| {
            if !is_written {
                head.skip();
            }
            !is_written
        };
        self.shelf.change_head(tenant, skip).await.map(|head| head.last())
    }

    /// Changes an endpoint and commits, unless it is gone or `apply` says that there is nothing to change. `from`: the
    /// number of the last entry that it is not called for.
    async fn change(
        &self,
        endpoint: &Endpoint,
        from: Option<u64>,
        apply: &(dyn Fn(&mut Endpoint, Timestamp) -> bool + Sync),
    ) -> Result<bool> {
        let tag = self.ground.keys.tenant(&endpoint.tenant);
        let key = self.ground.keys.endpoint(tag, endpoint.id);
        for _ in 0..MAX_ROUNDS {
            let Some(read) = self.ground.store.get(&key).await? else { return Ok(false) };
            let mut changed: Endpoint = record::decode(&read.value)?;
            if !apply(&mut changed, self.ground.clock.now()) {
                return Ok(false);
            }
            let batch = Batch::new(key.partition()).require(&key, Some(&read));
            let mut batch = batch.put(key.clone(), record::encode(&changed)?, None);
            if let Some(last) = from {
                batch = batch.put(self.ground.keys.read_to(tag, endpoint.id), record::encode(&last)?, None);
            }
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                self.refresh().await?;
                return Ok(true);
            }
            count_conflict("endpoint");
        }
        Err(contention())
    }

    async fn remove(&self, endpoint: &Endpoint) -> Result<()> {
        let tag = self.ground.keys.tenant(&endpoint.tenant);
        let key = self.ground.keys.endpoint(tag, endpoint.id);
        let batch = Batch::new(key.partition()).delete(key).delete(self.ground.keys.read_to(tag, endpoint.id));
        self.ground.store.commit(batch).await.map(drop)
    }

    /// Writes down the endpoints of the configuration, and forgets those that it had before. Where the secret is another
    /// one than before, both sign for [`OVERLAP`].
    async fn configure(&self, config: &Config) -> Result<()> {
        let wanted: HashSet<_> = config.endpoints.iter().map(|it| (it.tenant.clone(), it.name.clone())).collect();
        let stored: Vec<_> = self.known().endpoints.values().cloned().collect();
        for endpoint in &stored {
            let name = endpoint.name.clone().map(|name| (endpoint.tenant.clone(), name));
            if name.is_some_and(|name| !wanted.contains(&name)) {
                self.remove(endpoint).await?;
            }
        }
        for it in &config.endpoints {
            let known = stored.iter().find(|known| known.tenant == it.tenant && known.name.as_ref() == Some(&it.name));
            let wanted = Wanted::new(it.types.clone());
            let new = NewEndpoint {
                tenant: it.tenant.clone(),
                name: Some(it.name.clone()),
                url: it.url.clone(),
                wanted: wanted.clone(),
                description: it.description.clone(),
                secret: it.secret.clone(),
            };
            let Some(known) = known else {
                self.create(new).await?;
                continue;
            };
            let apply = |endpoint: &mut Endpoint, now: Timestamp| {
                let before = endpoint.clone();
                endpoint.url.clone_from(&it.url);
                endpoint.want(&wanted);
                endpoint.description.clone_from(&it.description);
                endpoint.rotate(it.secret.expose_secret(), OVERLAP, now);
                *endpoint != before
            };
            self.change(known, None, &apply).await?;
        }
        self.refresh().await?;
        self.let_others_know(false).await
    }

    /// Reads everything again.
    async fn refresh(&self) -> Result<()> {
        let mut known = Known::default();
        for (_, row) in self.ground.store.all(&self.ground.keys.endpoints()).await? {
            let endpoint: Endpoint = record::decode(&row.value)?;
            known.endpoints.insert(endpoint.id, Arc::new(endpoint));
        }
        let now = self.ground.clock.now();
        let mut fed = HashSet::new();
        for (key, row) in self.ground.store.all(&self.ground.keys.feed_heads()).await? {
            let head: Head = record::decode(&row.value)?;
            if head.watched_until > now {
                let tenant = self.ground.keys.parse_feed_tenant(&key)?;
                known.watched.insert(tenant, head.watched_until);
                fed.insert(tenant);
            }
        }
        // What happens while one is disabled can be replayed for as long as entries are kept.
        let wants = |disabled: Disabled| now < disabled.since + self.shelf.retention;
        let wanting = known.endpoints.values().filter(|endpoint| endpoint.disabled.is_none_or(wants));
        fed.extend(wanting.map(|endpoint| self.ground.keys.tenant(&endpoint.tenant)));
        let disabled = known.endpoints.values().filter(|endpoint| !endpoint.is_enabled()).count();
        metrics::gauge!("verigate_event_endpoints_disabled")
            .set(f64::from(u32::try_from(disabled).unwrap_or(u32::MAX)));
        self.ground.fed.set(fed);
        let mut before = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = before.endpoints != known.endpoints;
        *before = known;
        drop(before);
        if is_other {
            self.changed.send_replace(());
        }
        Ok(())
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        // Nothing panics while it is held.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(crate) fn not_found() -> Error {
    Error::new(Kind::NotFound, Reason::EndpointNotFound, "the tenant has no event endpoint of this id")
}

fn configured() -> Error {
    let message =
        "the endpoint stands in the configuration; change it there. It can only be enabled and disabled by calls";
    Error::new(Kind::Precondition, Reason::Configured, message)
}
