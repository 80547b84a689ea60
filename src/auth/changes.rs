//! What may be changed of tenants and keys, and what a change comes to. Pure: decides from who there is, and writes
//! nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::account::{Account, Origin};
use crate::auth::key::{Key, LastUse};
use crate::auth::roster::Roster;
use crate::auth::scope::Scopes;
use crate::auth::secret::{MAX_ID_BYTES, SecretHash, is_key_id};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::id::TenantName;
use crate::network::Network;
use crate::recipient::Country;
use crate::tenant::Tenant;
use crate::violations::Violations;

/// Longest time for which an old key may open beside the one that takes its place.
pub const MAX_OVERLAP: Duration = Duration::from_secs(90 * 24 * 3600);

/// Networks that one key may open from.
pub const MAX_NETWORKS: usize = 64;

/// What is to change about a tenant; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct AccountChange {
    pub default_country: Option<Option<Country>>,
    pub brand: Option<Option<String>>,
    pub sender: Option<Option<String>>,
    pub return_code: Option<bool>,
    pub admin: Option<bool>,
    pub balance_of: Option<Option<String>>,
    pub verification_retention: Option<Option<Duration>>,
    pub message_retention: Option<Option<Duration>>,
    pub disabled: Option<bool>,
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    pub id: String,
    pub tenant: TenantName,
    pub hash: SecretHash,
    pub scopes: Scopes,
    pub expires_at: Option<Timestamp>,
    pub from: Vec<Network>,
    pub alone: bool,
}

/// A key to be replaced by another that is good for the same.
#[derive(Debug, Clone)]
pub struct Rotation {
    pub id: String,
    pub new_id: String,
    pub new_hash: SecretHash,
    /// For how long the old one opens still; zero for no longer.
    pub overlap: Duration,
    /// When the new one expires.
    pub expires_at: Option<Timestamp>,
}

/// What came of a rotation.
pub struct Rotated {
    pub new: Arc<Key>,
    /// The old one as it is then, if it still opens.
    pub old: Option<Arc<Key>>,
}

/// Who there is.
pub struct View<'a> {
    pub roster: &'a Roster,
    /// Finds stored keys, also those whose tenant is gone.
    pub stored_key: &'a dyn Fn(&str) -> Option<Arc<Key>>,
    pub now: Timestamp,
}

/// What is to be written, and what it came to.
pub struct Change<T> {
    pub writes: Vec<Write>,
    pub answer: T,
}

/// One record.
pub enum Write {
    Account(Arc<Account>),
    Key(Arc<Key>),
    NoKey(Arc<str>),
}

// === impl View ===

impl View<'_> {
    /// Errors: `Exists`.
    pub fn create_account(&self, tenant: Tenant) -> Result<Change<Arc<Account>>> {
        if self.roster.account(&tenant.name).is_some() {
            return Err(exists(format!("there is a tenant {:?} already", tenant.name.as_str())));
        }
        let now = Some(self.now);
        let account = Account { origin: Origin::Stored, ..Account::configured(tenant) };
        let account = Arc::new(Account { created_at: now, updated_at: now, ..account });
        Ok(Change { writes: vec![Write::Account(Arc::clone(&account))], answer: account })
    }

    /// Errors: `NotFound`; `Precondition`/`Configured`.
    pub fn update_account(&self, name: &TenantName, change: AccountChange) -> Result<Change<Arc<Account>>> {
        let account = self.roster.account(name).ok_or_else(tenant_not_found)?;
        if account.origin == Origin::Configured {
            return Err(configured(format!("the tenant {:?}", name.as_str())));
        }
        let mut tenant = Tenant::clone(&account.tenant);
        let AccountChange { default_country, brand, sender, return_code, admin, balance_of, disabled, .. } = change;
        let (verifications, messages) = (change.verification_retention, change.message_retention);
        tenant.default_country = default_country.unwrap_or(tenant.default_country);
        tenant.brand = brand.unwrap_or(tenant.brand);
        tenant.sender = sender.unwrap_or(tenant.sender);
        tenant.may_return_code = return_code.unwrap_or(tenant.may_return_code);
        tenant.may_administer = admin.unwrap_or(tenant.may_administer);
        tenant.balance_of = balance_of.unwrap_or(tenant.balance_of);
        tenant.retention.verifications = verifications.unwrap_or(tenant.retention.verifications);
        tenant.retention.messages = messages.unwrap_or(tenant.retention.messages);
        let account = Arc::new(Account {
            tenant: Arc::new(tenant),
            disabled: disabled.unwrap_or(account.disabled),
            updated_at: Some(self.now),
            ..Account::clone(account)
        });
        Ok(Change { writes: vec![Write::Account(Arc::clone(&account))], answer: account })
    }

    /// Errors: `Invalid`; `NotFound` for its tenant; `Exists`.
    pub fn create_key(&self, new: NewKey) -> Result<Change<Arc<Key>>> {
        self.check_new_key(&new)?;
        let key = Arc::new(Key {
            id: new.id.into(),
            tenant: new.tenant,
            hash: new.hash,
            scopes: new.scopes,
            expires_at: new.expires_at,
            from: new.from.into(),
            alone: new.alone,
            origin: Origin::Stored,
            created_at: Some(self.now),
            last_use: LastUse::default(),
        });
        Ok(Change { writes: vec![Write::Key(Arc::clone(&key))], answer: key })
    }

    fn check_new_key(&self, new: &NewKey) -> Result<()> {
        let mut found = Violations::default();
        if !is_key_id(&new.id) {
            found.add("key_id", format!("must be 1 to {MAX_ID_BYTES} visible ASCII characters"));
        }
        if bool::from(new.hash.is_of("")) {
            found.add("secret_hash", "must not be the hash of an empty secret".to_owned());
        }
        if new.from.len() > MAX_NETWORKS {
            found.add("from", format!("must be at most {MAX_NETWORKS} networks"));
        }
        self.check_expiry(new.expires_at, &mut found);
        if !found.0.is_empty() {
            return Err(Error::invalid_fields(found.0));
        }
        self.roster.account(&new.tenant).ok_or_else(tenant_not_found)?;
        if self.roster.key(&new.id).is_some() || (self.stored_key)(&new.id).is_some() {
            return Err(exists(format!("there is an API key {:?} already", new.id)));
        }
        if new.alone && self.roster.opens_alone(&new.hash) {
            return Err(Error::invalid("alone", "must not be set for two keys with one secret"));
        }
        Ok(())
    }

    /// Errors: `Invalid`; `NotFound`; `Precondition`/`Configured`; `Exists`.
    pub fn rotate_key(&self, rotation: Rotation) -> Result<Change<Rotated>> {
        let Rotation { id, new_id, new_hash, overlap, expires_at } = rotation;
        let old = self.stored(&id)?;
        let mut found = Violations::default();
        if overlap > MAX_OVERLAP {
            found.add("overlap", format!("must be at most {} days", MAX_OVERLAP.as_secs() / 86_400));
        }
        self.check_expiry(expires_at, &mut found);
        if !found.0.is_empty() {
            return Err(Error::invalid_fields(found.0));
        }
        let new = NewKey {
            id: new_id,
            tenant: old.tenant.clone(),
            hash: new_hash,
            scopes: old.scopes,
            expires_at,
            from: old.from.to_vec(),
            alone: old.alone,
        };
        let Change { mut writes, answer: new } = self.create_key(new)?;
        if overlap.is_zero() {
            writes.push(Write::NoKey(Arc::clone(&old.id)));
            return Ok(Change { writes, answer: Rotated { new, old: None } });
        }
        let ends_at = self.now + overlap;
        let ends_at = old.expires_at.map_or(ends_at, |at| at.min(ends_at));
        let old = Arc::new(Key { expires_at: Some(ends_at), ..Key::clone(&old) });
        writes.push(Write::Key(Arc::clone(&old)));
        Ok(Change { writes, answer: Rotated { new, old: Some(old) } })
    }

    /// Errors: `NotFound`; `Precondition`/`Configured`.
    pub fn revoke_key(&self, id: &str) -> Result<Change<()>> {
        let key = self.stored(id)?;
        Ok(Change { writes: vec![Write::NoKey(Arc::clone(&key.id))], answer: () })
    }

    fn stored(&self, id: &str) -> Result<Arc<Key>> {
        // One of the same id in the configuration is the one that opens.
        match self.roster.key(id) {
            Some(key) if key.origin == Origin::Configured => Err(configured(format!("the API key {id:?}"))),
            _ => (self.stored_key)(id).ok_or_else(key_not_found),
        }
    }

    fn check_expiry(&self, expires_at: Option<Timestamp>, found: &mut Violations) {
        if expires_at.is_some_and(|at| at <= self.now) {
            found.add("expire_time", "must be in the future".to_owned());
        }
    }
}

pub(crate) fn tenant_not_found() -> Error {
    Error::new(Kind::NotFound, Reason::TenantNotFound, "there is no tenant of this name; ListTenants names them all")
}

fn key_not_found() -> Error {
    let message = "there is no API key of this id; ListApiKeys names those of a tenant";
    Error::new(Kind::NotFound, Reason::ApiKeyNotFound, message)
}

fn exists(message: String) -> Error {
    Error::new(Kind::Exists, Reason::AlreadyExists, message)
}

fn configured(what: String) -> Error {
    let message = format!("{what} comes from the configuration, and no call changes it; change it there and restart");
    Error::new(Kind::Precondition, Reason::Configured, message)
}
