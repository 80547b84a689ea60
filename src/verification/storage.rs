//! Where verifications and what we remember of recipients lie: read them, and write them under the condition that nobody
//! else did.

use crate::error::{Error, Kind, Reason, Result};
use crate::id::{Id, TenantName};
use crate::messaging::holder::{Ground, Marks, put_record};
use crate::messaging::retention::Retention;
use crate::recipient::Recipient;
use crate::store::keys::{Holder, RecipientTag, SendRef, TenantTag};
use crate::store::{Batch, Key, Record, record};
use crate::verification::policy::Limits;
use crate::verification::recipient_state::RecipientState;
use crate::verification::verification::Verification;

/// The records of verifications.
pub struct Storage {
    ground: Ground,
    limits: Limits,
    pub(crate) retention: Retention,
}

/// A record as read, to be required unchanged by the commit. A verification is large, and handed on in a box, so that the
/// calls that wait with it in hand stay small.
pub struct Loaded<T> {
    pub key: Key,
    pub read: Option<Record>,
    pub value: T,
    /// Of the sends as they were read, where the record has sends.
    pub marks: Marks,
}

// === impl Storage ===

impl Storage {
    pub fn new(ground: Ground, limits: Limits, retention: Retention) -> Self {
        Self { ground, limits, retention }
    }

    /// Errors: `NotFound` for an unknown id, another tenant's among them.
    pub async fn load(&self, tenant: &TenantName, id: Id) -> Result<Box<Loaded<Verification>>> {
        self.find(tenant, id).await?.ok_or_else(not_found)
    }

    pub async fn find(&self, tenant: &TenantName, id: Id) -> Result<Option<Box<Loaded<Verification>>>> {
        self.find_tagged(self.ground.keys.tenant(tenant), id).await
    }

    pub async fn find_tagged(&self, tenant: TenantTag, id: Id) -> Result<Option<Box<Loaded<Verification>>>> {
        let key = self.ground.keys.verification(tenant, id);
        let Some(read) = self.ground.store.get(&key).await? else { return Ok(None) };
        let value: Verification = record::decode(&read.value)?;
        let marks = Marks::of_record(&value);
        Ok(Some(Box::new(Loaded { key, read: Some(read), value, marks })))
    }

    /// An unknown recipient has an empty state.
    pub async fn load_state(&self, (tenant, recipient): (TenantTag, RecipientTag)) -> Result<Loaded<RecipientState>> {
        let key = self.ground.keys.recipient_state(tenant, recipient);
        let read = self.ground.store.get(&key).await?;
        let value = read.as_ref().map(|read| record::decode(&read.value)).transpose()?.unwrap_or_default();
        Ok(Loaded { key, read, value, marks: Marks::default() })
    }

    /// Adds a verification, with the due marks of its sends, to the batch.
    pub fn put(&self, batch: Batch, send: &SendRef, loaded: &Loaded<Verification>) -> Result<Batch> {
        let batch = batch.require(&loaded.key, loaded.read.as_ref());
        put_record(batch, &self.ground, send, &loaded.marks, &loaded.value, &self.retention)
    }

    /// Adds a recipient's state to the batch.
    pub fn put_state(&self, batch: Batch, state: &Loaded<RecipientState>) -> Result<Batch> {
        let expires_at = state.value.ends_at(&self.limits);
        let batch = batch.require(&state.key, state.read.as_ref());
        Ok(batch.put(state.key.clone(), record::encode(&state.value)?, Some(expires_at)))
    }

    pub fn tags(&self, tenant: &TenantName, recipient: &Recipient) -> (TenantTag, RecipientTag) {
        (self.ground.keys.tenant(tenant), self.ground.keys.recipient(tenant, recipient))
    }

    pub fn send_ref(&self, tenant: &TenantName, id: Id, number: u8) -> SendRef {
        SendRef { holder: Holder::Verification, tenant: self.ground.keys.tenant(tenant), id, number }
    }
}

pub fn not_found() -> Error {
    let message = "no such verification; it may have passed its retention";
    Error::new(Kind::NotFound, Reason::VerificationNotFound, message)
}
