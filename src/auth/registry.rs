//! Keeps tenants and keys: those of the configuration as they are, those of the store with every change of them.
//!
//! Changes take turns in one process. Against other processes the preconditions of each commit hold; what those have
//! changed is seen within [`REFRESH`], or, where the store is shared, within [`REFRESH_SHARED`]. The configuration wins: a stored tenant or key of the same name is passed over,
//! with a warning, and comes back when the configuration no longer names it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tracing::warn;

use crate::auth::account::Account;
use crate::auth::changes::{AccountChange, Change, NewKey, Rotated, Rotation, View, Write, tenant_not_found};
use crate::auth::directory::Directory;
use crate::auth::key::Key;
use crate::auth::record::{decode_account, decode_key, encode_account, encode_key};
use crate::auth::roster::Roster;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Reason, Result};
use crate::id::TenantName;
use crate::store::keys::Keys;
use crate::store::{Batch, Commit, Condition, Record, Store, Version};
use crate::tenant::Tenant;

/// How often the store is looked at for what other processes have changed.
pub const REFRESH: Duration = Duration::from_secs(30);

/// The same where other nodes work on the store all the time.
pub const REFRESH_SHARED: Duration = Duration::from_secs(5);

/// A key that expires sooner is warned of at start.
const EXPIRES_SOON: Duration = Duration::from_secs(30 * 24 * 3600);

/// How often a change is tried that loses races.
const MAX_ROUNDS: usize = 8;

/// The tenants and keys of the configuration.
#[derive(Debug, Default)]
pub struct Configured {
    pub accounts: Vec<Arc<Account>>,
    pub keys: Vec<Arc<Key>>,
}

/// Keeps who may call.
pub struct Registry {
    store: Arc<dyn Store>,
    keys: Keys,
    clock: Arc<dyn Clock>,
    configured: Configured,
    stored: Mutex<Stored>,
    directory: Arc<Directory>,
}

/// What the store holds, as last seen.
#[derive(Default)]
struct Stored {
    accounts: BTreeMap<TenantName, (Arc<Account>, Version)>,
    keys: BTreeMap<Arc<str>, (Arc<Key>, Version)>,
}

// === impl Registry ===

impl Registry {
    /// Reads what is stored. `store` must be the sealed one.
    ///
    /// Errors: `Invalid` for a configuration that names a thing twice; those of a store that cannot be read.
    pub async fn open(
        store: Arc<dyn Store>,
        keys: Keys,
        clock: Arc<dyn Clock>,
        configured: Configured,
    ) -> Result<Arc<Self>> {
        let stored = Stored::read(&*store, &keys, &Stored::default()).await?;
        let (roster, clashes) = roster(&configured, &stored)?;
        clashes.iter().for_each(|clash| warn!("{clash}"));
        warn_of_expiry(&roster, clock.now());
        let directory = Arc::new(Directory::new(roster, Arc::clone(&clock)));
        Ok(Arc::new(Self { store, keys, clock, configured, stored: Mutex::new(stored), directory }))
    }

    /// Where surfaces look callers up.
    pub fn directory(&self) -> &Arc<Directory> {
        &self.directory
    }

    pub(crate) fn names(&self) -> &Keys {
        &self.keys
    }

    /// Errors: `NotFound`.
    pub fn account(&self, name: &TenantName) -> Result<Arc<Account>> {
        self.directory.roster().account(name).cloned().ok_or_else(tenant_not_found)
    }

    /// Adds a tenant, which has no keys yet.
    ///
    /// Errors: `Exists`; `Conflict`; `Unavailable`.
    pub async fn create_account(self: &Arc<Self>, tenant: Tenant) -> Result<Arc<Account>> {
        self.change(move |view| view.create_account(tenant.clone())).await
    }

    /// Changes what is given.
    ///
    /// Errors: `NotFound`; `Precondition`/`Configured`; `Conflict`; `Unavailable`.
    pub async fn update_account(self: &Arc<Self>, name: TenantName, change: AccountChange) -> Result<Arc<Account>> {
        self.change(move |view| view.update_account(&name, change.clone())).await
    }

    /// Adds a key to a tenant, which may be one of the configuration.
    ///
    /// Errors: `Invalid`; `NotFound`; `Exists`; `Conflict`; `Unavailable`.
    pub async fn create_key(self: &Arc<Self>, new: NewKey) -> Result<Arc<Key>> {
        self.change(move |view| view.create_key(new.clone())).await
    }

    /// Puts a new key in the place of an old one, which may go on for a while: in one step, so that there is never none.
    ///
    /// Errors: as those of [`Registry::create_key`], and `Precondition`/`Configured`.
    pub async fn rotate_key(self: &Arc<Self>, rotation: Rotation) -> Result<Rotated> {
        self.change(move |view| view.rotate_key(rotation.clone())).await
    }

    /// Makes a key useless, for good.
    ///
    /// Errors: `NotFound`; `Precondition`/`Configured`; `Conflict`; `Unavailable`.
    pub async fn revoke_key(self: &Arc<Self>, id: String) -> Result<()> {
        self.change(move |view| view.revoke_key(&id)).await
    }

    /// Looks for what other processes have changed, for as long as it is let.
    pub async fn keep_fresh(self: Arc<Self>) {
        loop {
            show_expiry(&self.directory.roster(), self.clock.now());
            let pause = if self.store.is_shared() { REFRESH_SHARED } else { REFRESH };
            self.clock.sleep_until(self.clock.now() + pause).await;
            let mut stored = self.stored.lock().await;
            if let Err(error) = self.refresh(&mut stored).await {
                warn!(?error, "tenants and API keys could not be read again; those known stay");
            }
        }
    }

    /// Decides and commits. In a task of its own: a caller that hangs up must not leave the directory behind the store.
    async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        decide: impl Fn(&View<'_>) -> Result<Change<T>> + Send + Sync + 'static,
    ) -> Result<T> {
        let registry = Arc::clone(self);
        let changed = tokio::spawn(async move { registry.change_in_turn(&decide).await });
        changed.await.map_err(Error::internal)?
    }

    async fn change_in_turn<T>(&self, decide: &(impl Fn(&View<'_>) -> Result<Change<T>> + Sync)) -> Result<T> {
        let mut stored = self.stored.lock().await;
        for _ in 0..MAX_ROUNDS {
            let Change { writes, answer } = {
                let stored_key = |id: &str| stored.keys.get(id).map(|(key, _)| Arc::clone(key));
                let roster = self.directory.roster();
                decide(&View { roster: &roster, stored_key: &stored_key, now: self.clock.now() })?
            };
            match self.store.commit(self.batch(&stored, &writes)?).await {
                Ok(Commit::Committed(version)) => {
                    writes.into_iter().for_each(|write| stored.apply(write, version));
                    self.publish(&stored)?;
                    return Ok(answer);
                }
                Ok(Commit::Conflict) => self.refresh(&mut stored).await?,
                Err(error) => {
                    // It may have been applied.
                    drop(self.refresh(&mut stored).await);
                    return Err(error);
                }
            }
        }
        let message = "other calls kept getting in between; repeat the call";
        Err(Error::new(Kind::Conflict, Reason::Contention, message))
    }

    fn batch(&self, stored: &Stored, writes: &[Write]) -> Result<Batch> {
        let condition = |version: Option<Version>| version.map_or(Condition::Absent, Condition::At);
        writes.iter().try_fold(Batch::new(self.keys.accounts_partition()), |batch, write| {
            Ok(match write {
                Write::Account(account) => {
                    let name = &account.tenant.name;
                    let (key, version) = (self.keys.account(name), stored.accounts.get(name).map(|(_, at)| *at));
                    batch.require_that(&key, condition(version)).put(key, encode_account(account)?, None)
                }
                Write::Key(api_key) => {
                    let version = stored.keys.get(&api_key.id).map(|(_, at)| *at);
                    let key = self.keys.api_key(&api_key.id);
                    batch.require_that(&key, condition(version)).put(key, encode_key(api_key)?, None)
                }
                Write::NoKey(id) => {
                    let (key, version) = (self.keys.api_key(id), stored.keys.get(id).map(|(_, at)| *at));
                    batch.require_that(&key, condition(version)).delete(key)
                }
            })
        })
    }

    async fn refresh(&self, stored: &mut Stored) -> Result<()> {
        let read = Stored::read(&*self.store, &self.keys, stored).await?;
        if !read.is_same_as(stored) {
            *stored = read;
            self.publish(stored)?;
        }
        Ok(())
    }

    fn publish(&self, stored: &Stored) -> Result<()> {
        let (roster, _) = roster(&self.configured, stored)?;
        self.directory.replace(roster);
        Ok(())
    }
}

/// Everybody, and what is passed over.
fn roster(configured: &Configured, stored: &Stored) -> Result<(Roster, Vec<String>)> {
    let (mut roster, mut clashes) = (Roster::default(), Vec::new());
    for account in &configured.accounts {
        roster.add_account(Arc::clone(account))?;
    }
    for (account, _) in stored.accounts.values() {
        if roster.add_account(Arc::clone(account)).is_err() {
            let name = account.tenant.name.as_str();
            clashes.push(format!("the tenant {name:?} is stored and configured; the configuration counts"));
        }
    }
    for key in &configured.keys {
        roster.add_key(Arc::clone(key))?;
    }
    for (key, _) in stored.keys.values() {
        if let Err(error) = roster.add_key(Arc::clone(key)) {
            clashes.push(format!("the stored API key {:?} of tenant {:?} opens nothing: {error}", key.id, key.tenant));
        }
    }
    Ok((roster, clashes))
}

/// Shows when the key ends that ends next.
fn show_expiry(roster: &Roster, now: Timestamp) {
    let ends = roster.keys().filter_map(|key| key.expires_at.filter(|at| *at > now));
    let next = ends.min().map_or(0.0, |at| at.as_millis() as f64 / 1000.0);
    metrics::gauge!("verigate_api_key_expiry_timestamp_seconds").set(next);
}

fn warn_of_expiry(roster: &Roster, now: Timestamp) {
    for key in roster.keys() {
        let Some(at) = key.expires_at.filter(|at| *at <= now + EXPIRES_SOON) else { continue };
        let (id, tenant) = (&*key.id, key.tenant.as_str());
        match key.has_expired(now) {
            true => warn!(key = id, tenant, expired = %at, "an API key has expired; remove it"),
            false => warn!(key = id, tenant, expires = %at, "an API key expires soon; make another"),
        }
    }
}

// === impl Stored ===

impl Stored {
    /// What has not changed stays the same thing, with its last use.
    async fn read(store: &dyn Store, keys: &Keys, known: &Self) -> Result<Self> {
        let mut read = Self::default();
        for (_, Record { value, version }) in store.all(&keys.all_accounts()).await? {
            let account = decode_account(&value)?;
            read.accounts.insert(account.tenant.name.clone(), (Arc::new(account), version));
        }
        for (_, Record { value, version }) in store.all(&keys.all_api_keys()).await? {
            let mut key = decode_key(&value)?;
            if let Some((known, _)) = known.keys.get(&key.id) {
                key.last_use = known.last_use.clone();
            }
            read.keys.insert(Arc::clone(&key.id), (Arc::new(key), version));
        }
        Ok(read)
    }

    /// The same names at the same versions. Versions alone would not do, for two names may have one.
    fn is_same_as(&self, other: &Self) -> bool {
        fn versions<N, T>(records: &BTreeMap<N, (T, Version)>) -> impl Iterator<Item = (&N, Version)> {
            records.iter().map(|(name, (_, version))| (name, *version))
        }
        versions(&self.accounts).eq(versions(&other.accounts)) && versions(&self.keys).eq(versions(&other.keys))
    }

    fn apply(&mut self, write: Write, version: Version) {
        match write {
            Write::Account(account) => {
                drop(self.accounts.insert(account.tenant.name.clone(), (account, version)));
            }
            Write::Key(key) => drop(self.keys.insert(Arc::clone(&key.id), (key, version))),
            Write::NoKey(id) => drop(self.keys.remove(&id)),
        }
    }
}
