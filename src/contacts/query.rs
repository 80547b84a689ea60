//! Looking for rows: pages of those that pass filters, newest first.
//!
//! Nothing is indexed: a query reads the tenant's rows, of which there are so many at most, and a page ends where it has
//! read enough of them.

use crate::contacts::filter::{Condition, Filter};
use crate::contacts::row::{Row, RowView};
use crate::contacts::service::Contacts;
use crate::error::{Error, Result};
use crate::id::{Id, TenantName};
use crate::messaging::page::{DEFAULT_SIZE, MAX_SIZE, Page, PageRequest, PageToken};
use crate::store::keys::{Fingerprint, TenantTag};
use crate::store::record;
use crate::tenant::Tenant;

/// Rows looked at for one page. A page may be shorter than asked for, even empty, with more to come.
const MAX_LOOKED_AT: usize = 10_000;

/// Rows read at a time.
const SLICE: usize = 500;

/// Bytes of rows on one page: well below the 4 MiB that clients read by default.
const MAX_PAGE_BYTES: usize = 1024 * 1024;

/// Rows by their number in the list of all that pass.
#[derive(Debug, Clone)]
pub struct NumberedPage {
    pub rows: Vec<RowView>,
    /// How many pass the filters in all.
    pub total: usize,
}

/// A row that was read, and how many bytes it has.
struct Read {
    row: Row,
    bytes: usize,
}

// === impl Contacts ===

impl Contacts {
    /// A page of the rows that pass all filters, newest first.
    ///
    /// Errors: `Invalid` with each field that is wrong, such as `filters[0].value`.
    pub async fn query(&self, tenant: &Tenant, filters: &[Filter], page: &PageRequest) -> Result<Page<RowView>> {
        let table = self.table(&tenant.name).await?;
        let conditions = Condition::read_all(filters, &table, tenant.default_country)?;
        let list = self.list_of(&tenant.name, filters)?;
        let mut before = page.token.map(|token| token.last_of(list)).transpose()?;
        let size = page.size.unwrap_or(DEFAULT_SIZE).min(MAX_SIZE);
        let tag = self.ground.keys.tenant(&tenant.name);
        let (mut items, mut bytes, mut looked_at) = (Vec::new(), 0, 0);
        loop {
            let slice = self.slice(tag, before).await?;
            if slice.is_empty() {
                return Ok(Page { items, next: None });
            }
            for read in slice {
                if items.len() == size || looked_at == MAX_LOOKED_AT || bytes > MAX_PAGE_BYTES {
                    return Ok(Page { items, next: before.map(|last| PageToken::after(last, list)) });
                }
                looked_at += 1;
                before = Some(read.row.id);
                if conditions.iter().all(|condition| condition.holds(&read.row, &table)) {
                    bytes += read.bytes;
                    items.push(read.row.view(&table));
                }
            }
        }
    }

    /// The rows from number `from` on, counted from 0 over all that pass, newest first, and how many pass. Reads all of
    /// the tenant's rows, so where pages need no numbers, [`Contacts::query`] is better. At most [`MAX_SIZE`] rows.
    ///
    /// Errors: as for [`Contacts::query`].
    pub async fn numbered(
        &self,
        tenant: &Tenant,
        filters: &[Filter],
        from: usize,
        size: usize,
    ) -> Result<NumberedPage> {
        let table = self.table(&tenant.name).await?;
        let conditions = Condition::read_all(filters, &table, tenant.default_country)?;
        let mut page = NumberedPage { rows: Vec::new(), total: 0 };
        let size = size.min(MAX_SIZE);
        self.walk(&tenant.name, |row| {
            if conditions.iter().all(|condition| condition.holds(&row, &table)) {
                if page.total >= from && page.rows.len() < size {
                    page.rows.push(row.view(&table));
                }
                page.total += 1;
            }
        })
        .await?;
        Ok(page)
    }

    /// Shows every row of a tenant, newest first.
    pub(crate) async fn walk(&self, tenant: &TenantName, mut visit: impl FnMut(Row)) -> Result<()> {
        let tag = self.ground.keys.tenant(tenant);
        let mut before = None;
        loop {
            let slice = self.slice(tag, before).await?;
            let Some(last) = slice.last() else { return Ok(()) };
            before = Some(last.row.id);
            slice.into_iter().for_each(|read| visit(read.row));
        }
    }

    async fn slice(&self, tenant: TenantTag, before: Option<Id>) -> Result<Vec<Read>> {
        // There may be many slices, and the store answers without a wait.
        tokio::task::yield_now().await;
        let rows = self.ground.keys.contact_rows(tenant).descending();
        let after = before.map(|id| self.ground.keys.contact_row(tenant, id));
        let records = self.ground.store.scan(&rows, after.as_ref(), SLICE).await?;
        let read = |value: &[u8]| Ok(Read { row: record::decode(value)?, bytes: value.len() });
        records.iter().map(|(_, record)| read(&record.value)).collect()
    }

    /// Condenses what a query asks for beside the page itself.
    fn list_of(&self, tenant: &TenantName, filters: &[Filter]) -> Result<Fingerprint> {
        let mut asked = Vec::new();
        minicbor::encode(filters, &mut asked).map_err(Error::internal)?;
        Ok(self.ground.keys.fingerprint(&[&b"contacts"[..], tenant.as_str().as_bytes(), &asked]))
    }
}
