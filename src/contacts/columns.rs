//! Changing the columns of the table.

use crate::contacts::column::Column;
use crate::contacts::service::Contacts;
use crate::contacts::table::{ColumnChange, NewColumn, Table, column_not_found};
use crate::error::Result;
use crate::id::TenantName;

// === impl Contacts ===

impl Contacts {
    /// Adds a column.
    ///
    /// Errors: `Invalid` with each field that is wrong; `Conflict`; `Unavailable`.
    pub async fn add_column(&self, tenant: &TenantName, new: &NewColumn) -> Result<Column> {
        let add = |table: &mut Table, now| {
            let id = table.add_column(new, now, &*self.ground.random)?;
            table.with_id(id).cloned().ok_or_else(column_not_found)
        };
        self.change_table(tenant, add).await.map(|(column, _)| column)
    }

    /// Changes the column with this id or name.
    ///
    /// Errors: `NotFound`; `Invalid` with each field that is wrong; `Conflict`; `Unavailable`.
    pub async fn update_column(&self, tenant: &TenantName, column: &str, change: &ColumnChange) -> Result<Column> {
        let update = |table: &mut Table, now| {
            let id = table.change_column(column, change, now)?;
            table.with_id(id).cloned().ok_or_else(column_not_found)
        };
        self.change_table(tenant, update).await.map(|(column, _)| column)
    }

    /// Deletes the column with this id or name, with its cells in all rows.
    ///
    /// Errors: `NotFound`; `Conflict`; `Unavailable`.
    pub async fn delete_column(&self, tenant: &TenantName, column: &str) -> Result<()> {
        self.change_table(tenant, |table, now| table.delete_column(column, now)).await.map(|((), _)| ())
    }

    /// Adds what is missing of these columns and their options. A column that is there keeps its type, whatever is wanted.
    ///
    /// Errors: `Invalid` when a name is none, or there is no room; `Conflict`; `Unavailable`.
    pub async fn prepare(&self, tenant: &TenantName, wanted: &[NewColumn]) -> Result<Table> {
        let prepare = |table: &mut Table, now| table.prepare(wanted, now, &*self.ground.random);
        self.change_table(tenant, prepare).await.map(|(_, table)| table)
    }
}
