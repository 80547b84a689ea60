//! Rows: create, show, change, delete.

use crate::contacts::cell::Values;
use crate::contacts::row::{MAX_ROW_BYTES, Row, RowView};
use crate::contacts::service::{Contacts, contention};
use crate::contacts::table::refuse;
use crate::error::{Error, Kind, Reason, Result, Violation};
use crate::id::{Id, TenantName};
use crate::messaging::holder::{MAX_ROUNDS, count_conflict};
use crate::messaging::idempotency::{self, Claim, Request, Ticket};
use crate::messaging::request::check_idempotency_key;
use crate::store::keys::TenantTag;
use crate::store::{Batch, Commit, Condition, Record, record};
use crate::tenant::Tenant;
use crate::violations::Violations;

/// A row that is to be.
#[derive(Debug, Clone, Default)]
pub struct NewRow {
    /// By the ids or names of their columns; all other cells are empty.
    pub values: Values,
    /// Makes a repeated request harmless for 24 hours.
    pub idempotency_key: Option<String>,
    /// Fields that could not be read and are left out above: told together with those that are wrong.
    pub unread: Vec<Violation>,
}

// === impl Contacts ===

impl Contacts {
    /// Adds a row. With an idempotency key, a request that comes again is answered with the row of the first one.
    ///
    /// Errors: `Invalid` with each field that is wrong, such as `columns.email`; `Precondition` with `ContactTableFull` or
    /// `IdempotencyMismatch`; `Conflict`; `Unavailable`; `NotFound` when the row of the first request was deleted.
    pub async fn create_row(&self, tenant: &Tenant, new: NewRow) -> Result<RowView> {
        let tag = self.ground.keys.tenant(&tenant.name);
        let (_, table) = self.load_table(tag).await?;
        let mut found = Violations(new.unread);
        found.note(table.read(&new.values, tenant.default_country))?;
        found.0.extend(new.idempotency_key.as_deref().and_then(check_idempotency_key));
        refuse(found)?;
        let id = self.new_id(tag);
        let Some(key) = &new.idempotency_key else { return self.insert(tenant, &new.values, id).await };
        let mut asked = Vec::new();
        minicbor::encode(&new.values, &mut asked).map_err(Error::internal)?;
        let fingerprint = self.ground.keys.fingerprint(&[&asked]);
        let request = Request { tenant: &tenant.name, call: "contact", key, fingerprint };
        match self.idempotency.claim(request, id).await? {
            Claim::Done(id) => self.get_row(&tenant.name, id).await,
            Claim::Open(ticket) => self.find_row(&tenant.name, ticket.id).await?.ok_or_else(idempotency::in_flight),
            Claim::Ours(ticket) => self.insert_once(tenant, &new.values, ticket).await,
        }
    }

    /// Errors: `NotFound` for an unknown id, another tenant's among them.
    pub async fn get_row(&self, tenant: &TenantName, id: Id) -> Result<RowView> {
        self.find_row(tenant, id).await?.ok_or_else(not_found)
    }

    /// Changes the cells that are named; all others stay.
    ///
    /// Errors: `NotFound`; `Invalid` with each field that is wrong, such as `columns.email`; `Conflict`; `Unavailable`.
    pub async fn update_row(&self, tenant: &Tenant, id: Id, values: &Values) -> Result<RowView> {
        let tag = self.ground.keys.tenant(&tenant.name);
        let _turn = self.turn(tag).await;
        for _ in 0..MAX_ROUNDS {
            let (read, mut row) = self.load_row(tag, id).await?.ok_or_else(not_found)?;
            let (_, table) = self.load_table(tag).await?;
            row.change(&table, table.read(values, tenant.default_country)?, self.ground.clock.now());
            let batch = self.put_row(Batch::new(self.ground.keys.contacts(tag)), tag, Some(&read), &row)?;
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                self.pushes.wake();
                return Ok(row.view(&table));
            }
            count_conflict("contacts");
        }
        Err(contention())
    }

    /// Errors: `NotFound`, for one that was deleted before, too; `Conflict`; `Unavailable`.
    pub async fn delete_row(&self, tenant: &TenantName, id: Id) -> Result<()> {
        let tag = self.ground.keys.tenant(tenant);
        let _turn = self.turn(tag).await;
        for _ in 0..MAX_ROUNDS {
            let (row, _) = self.load_row(tag, id).await?.ok_or_else(not_found)?;
            let (read, mut table) = self.load_table(tag).await?;
            table.uncount_row();
            let key = self.ground.keys.contact_row(tag, id);
            let batch = Batch::new(key.partition()).require(&key, Some(&row)).delete(key);
            let batch = self.put_table(batch, tag, read.as_ref(), &table)?;
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                return Ok(());
            }
            count_conflict("contacts");
        }
        Err(contention())
    }

    async fn find_row(&self, tenant: &TenantName, id: Id) -> Result<Option<RowView>> {
        let tag = self.ground.keys.tenant(tenant);
        let Some((_, row)) = self.load_row(tag, id).await? else { return Ok(None) };
        let (_, table) = self.load_table(tag).await?;
        Ok(Some(row.view(&table)))
    }

    pub(crate) async fn load_row(&self, tenant: TenantTag, id: Id) -> Result<Option<(Record, Row)>> {
        let Some(read) = self.ground.store.get(&self.ground.keys.contact_row(tenant, id)).await? else {
            return Ok(None);
        };
        let row = record::decode(&read.value)?;
        Ok(Some((read, row)))
    }

    async fn insert_once(&self, tenant: &Tenant, values: &Values, ticket: Ticket) -> Result<RowView> {
        // Whoever held the key before us may have died after the row was there.
        let inserted = match self.find_row(&tenant.name, ticket.id).await? {
            Some(row) => Ok(row),
            None => self.insert(tenant, values, ticket.id).await,
        };
        match &inserted {
            Ok(row) => self.idempotency.settle(&ticket, row.id).await?,
            // Of a store that did not answer nobody knows what it did.
            Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Internal) => {}
            Err(_) => self.idempotency.release(&ticket).await?,
        }
        inserted
    }

    async fn insert(&self, tenant: &Tenant, values: &Values, id: Id) -> Result<RowView> {
        let _turn = self.turn(self.ground.keys.tenant(&tenant.name)).await;
        self.insert_in_turn(tenant, values, id).await
    }

    /// Adds a row; our turn it is already.
    pub(crate) async fn insert_in_turn(&self, tenant: &Tenant, values: &Values, id: Id) -> Result<RowView> {
        let tag = self.ground.keys.tenant(&tenant.name);
        for _ in 0..MAX_ROUNDS {
            let (read, mut table) = self.load_table(tag).await?;
            let now = self.ground.clock.now();
            let mut row = Row::new(id, now);
            row.change(&table, table.read(values, tenant.default_country)?, now);
            table.count_row(self.max_rows)?;
            let batch = self.put_table(Batch::new(self.ground.keys.contacts(tag)), tag, read.as_ref(), &table)?;
            let batch = self.put_row(batch, tag, None, &row)?;
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                self.pushes.wake();
                return Ok(row.view(&table));
            }
            count_conflict("contacts");
        }
        Err(contention())
    }

    /// Adds a row to a batch, on the condition that it is as it was read, with the marks of whom it is to be given to.
    ///
    /// Errors: `Invalid` when it has grown too large.
    pub(crate) fn put_row(&self, batch: Batch, tenant: TenantTag, read: Option<&Record>, row: &Row) -> Result<Batch> {
        let key = self.ground.keys.contact_row(tenant, row.id);
        let value = record::encode(row)?;
        if value.len() > MAX_ROW_BYTES {
            let wanted = format!("must take at most {MAX_ROW_BYTES} bytes in all");
            return Err(Error::invalid("columns", wanted));
        }
        let condition = read.map_or(Condition::Absent, |read| Condition::At(read.version));
        let batch = batch.require_that(&key, condition).put(key, value, None);
        let marks = self.pushes.vendors().map(|vendor| self.ground.keys.contact_push(vendor, tenant, row.id));
        Ok(marks.fold(batch, |batch, mark| batch.put(mark, Vec::new(), None)))
    }
}

fn not_found() -> Error {
    Error::new(Kind::NotFound, Reason::ContactRowNotFound, "the contact list has no row with this id")
}
