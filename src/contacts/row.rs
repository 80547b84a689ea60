//! A row: one contact's cells, by column.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::contacts::cell::{Cell, Changes, Value};
use crate::contacts::column::ColumnId;
use crate::contacts::table::Table;
use crate::id::Id;

/// Most bytes that a row takes in the store. Keeps pages of rows within what clients read by default.
pub const MAX_ROW_BYTES: usize = 32 * 1024;

/// A contact.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Row {
    #[n(0)]
    pub id: Id,
    /// Those of columns that were deleted since may still be there.
    #[n(1)]
    cells: BTreeMap<ColumnId, Cell>,
    #[n(2)]
    pub created_at: Timestamp,
    #[n(3)]
    pub updated_at: Timestamp,
}

/// A contact as callers see it.
#[derive(Debug, Clone, PartialEq)]
pub struct RowView {
    pub id: Id,
    /// Empty cells are left out.
    pub columns: BTreeMap<ColumnId, Value>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

// === impl Row ===

impl Row {
    pub(crate) fn new(id: Id, now: Timestamp) -> Self {
        Self { id, cells: BTreeMap::new(), created_at: now, updated_at: now }
    }

    pub(crate) fn cell(&self, column: ColumnId) -> Option<&Cell> {
        self.cells.get(&column)
    }

    /// All of its cells, those of columns that were deleted among them.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &Cell> {
        self.cells.values()
    }

    /// Writes cells, and forgets those whose column is gone.
    pub(crate) fn change(&mut self, table: &Table, changes: Changes, now: Timestamp) {
        for (column, cell) in changes {
            match cell {
                Some(cell) => drop(self.cells.insert(column, cell)),
                None => drop(self.cells.remove(&column)),
            }
        }
        self.cells.retain(|column, _| table.with_id(*column).is_some());
        self.updated_at = now;
    }

    pub(crate) fn view(&self, table: &Table) -> RowView {
        let shown = |(id, cell): (&ColumnId, &Cell)| Some((*id, cell.show(table.with_id(*id)?)?));
        let columns = self.cells.iter().filter_map(shown).collect();
        RowView { id: self.id, columns, created_at: self.created_at, updated_at: self.updated_at }
    }
}
