//! Contacts as a service: what every use case stands on, and the table itself.
//!
//! Everything of a tenant lies in one partition, so a row and the count of rows change in one commit. In one process
//! changes of a tenant's contacts take turns; against other processes the preconditions of the commit hold, and a change
//! that lost a race reads and decides again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{Mutex as Turn, OwnedMutexGuard};

use crate::clock::Timestamp;
use crate::contacts::push::Queue;
use crate::contacts::table::{MAX_TABLE_BYTES, Table};
use crate::error::{Error, Kind, Reason, Result, Violation};
use crate::id::{Id, TenantName};
use crate::messaging::holder::{Ground, MAX_ROUNDS, count_conflict};
use crate::messaging::idempotency::Idempotency;
use crate::store::keys::TenantTag;
use crate::store::{Batch, Commit, Record, record};
use crate::violations::Violations;

/// `[contacts]`: how many there may be, and who else is given them.
#[derive(Debug, Clone, Deserialize)]
pub struct ContactsConfig {
    /// Rows of one tenant.
    pub max_rows: u32,
    /// Vendors whose contact lists are given each row that is created or changed.
    pub push: Vec<String>,
}

/// Keeps contacts.
pub struct Contacts {
    pub(crate) ground: Ground,
    pub(crate) idempotency: Idempotency,
    pub(crate) max_rows: u64,
    pub(crate) pushes: Arc<Queue>,
    turns: Turns,
}

/// Lets changes of a tenant's contacts take turns.
#[derive(Default)]
struct Turns(Mutex<HashMap<TenantTag, Arc<Turn<()>>>>);

// === impl ContactsConfig ===

impl ContactsConfig {
    /// What is wrong with it, by key. Whether the vendors are there, and keep contacts, is known elsewhere.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        found.range("max_rows", &self.max_rows, 1..=10_000_000);
        for (at, name) in self.push.iter().enumerate() {
            if self.push[..at].contains(name) {
                found.add(&format!("push[{at}]"), format!("must be listed once, but {name:?} was before"));
            }
        }
        found.0
    }
}

// === impl Contacts ===

impl Contacts {
    /// Rows that are created or changed go to `pushes`, too.
    pub fn new(ground: Ground, config: &ContactsConfig, pushes: Arc<Queue>) -> Self {
        let idempotency = Idempotency::new(ground.clone());
        Self { ground, idempotency, max_rows: config.max_rows.into(), pushes, turns: Turns::default() }
    }

    /// A tenant's table, which comes into being with its first use.
    pub async fn table(&self, tenant: &TenantName) -> Result<Table> {
        match self.load_table(self.ground.keys.tenant(tenant)).await? {
            (Some(_), table) => Ok(table),
            (None, _) => self.change_table(tenant, |_, _| Ok(())).await.map(|((), table)| table),
        }
    }

    /// Changes the table and commits; `change` may run several times. The table is as it is after the change.
    pub(crate) async fn change_table<T>(
        &self,
        tenant: &TenantName,
        change: impl Fn(&mut Table, Timestamp) -> Result<T>,
    ) -> Result<(T, Table)> {
        let tag = self.ground.keys.tenant(tenant);
        let _turn = self.turn(tag).await;
        for _ in 0..MAX_ROUNDS {
            let (read, mut table) = self.load_table(tag).await?;
            let before = table.clone();
            let result = change(&mut table, self.ground.clock.now())?;
            if read.is_some() && table == before {
                return Ok((result, table));
            }
            let batch = self.put_table(Batch::new(self.ground.keys.contacts(tag)), tag, read.as_ref(), &table)?;
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                return Ok((result, table));
            }
            count_conflict("contacts");
        }
        Err(contention())
    }

    /// The table as it lies in the store, or as it would be made.
    pub(crate) async fn load_table(&self, tenant: TenantTag) -> Result<(Option<Record>, Table)> {
        let read = self.ground.store.get(&self.ground.keys.contact_table(tenant)).await?;
        let table = match &read {
            Some(read) => record::decode(&read.value)?,
            None => {
                let now = self.ground.clock.now();
                Table::new(self.new_id(tenant), now, &*self.ground.random)
            }
        };
        Ok((read, table))
    }

    /// Adds the table to a batch, on the condition that it is as it was read.
    ///
    /// Errors: `Invalid` when it has grown too large.
    pub(crate) fn put_table(
        &self,
        batch: Batch,
        tenant: TenantTag,
        read: Option<&Record>,
        table: &Table,
    ) -> Result<Batch> {
        let key = self.ground.keys.contact_table(tenant);
        let value = record::encode(table)?;
        if value.len() > MAX_TABLE_BYTES {
            return Err(Error::invalid(
                "options",
                "must be fewer or shorter: the names in the table take too much room",
            ));
        }
        Ok(batch.require(&key, read).put(key, value, None))
    }

    /// An id for something of this tenant's.
    pub(crate) fn new_id(&self, tenant: TenantTag) -> Id {
        Id::new(self.ground.clock.now(), self.ground.keys.contacts(tenant), &*self.ground.random)
    }

    /// Waits until it is our turn to change a tenant's contacts; it is until the guard is dropped.
    pub(crate) async fn turn(&self, tenant: TenantTag) -> OwnedMutexGuard<()> {
        self.turns.of(tenant).lock_owned().await
    }
}

/// The error of a change that lost every race.
pub(crate) fn contention() -> Error {
    Error::new(Kind::Conflict, Reason::Contention, "too many changes of the same contact list at once; try again")
        .with_retry_after(Duration::from_millis(100))
}

// === impl Turns ===

impl Turns {
    fn of(&self, tenant: TenantTag) -> Arc<Turn<()>> {
        // Nothing panics while it is held. There are no more of them than tenants.
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(tenant).or_default())
    }
}
