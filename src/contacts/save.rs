//! Saving many contacts at once by what they have in one column, such as their number: those that are there are changed,
//! the others added. For clients that know a contact by its number and not by our id.

use std::collections::BTreeMap;

use crate::contacts::cell::{Cell, Value, Values};
use crate::contacts::column::{Column, ColumnId};
use crate::contacts::row::{Row, RowView};
use crate::contacts::service::{Contacts, contention};
use crate::contacts::table::{Table, column_not_found, path_of};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::messaging::holder::{MAX_ROUNDS, count_conflict};
use crate::store::{Batch, Commit};
use crate::tenant::Tenant;

/// Most contacts that are saved at once.
pub const MAX_SAVED: usize = 500;

/// A contact to save.
#[derive(Debug, Clone, Default)]
pub struct Save {
    /// By the ids or names of their columns, that of the key among them.
    pub values: Values,
    /// Options to add to cells of type MULTI SELECT that have others, and to take from them, by column.
    pub add: BTreeMap<String, Vec<String>>,
    pub remove: BTreeMap<String, Vec<String>>,
}

/// What became of a contact.
#[derive(Debug, Clone)]
pub struct Saved {
    pub row: RowView,
    /// It was not there before.
    pub created: bool,
}

// === impl Contacts ===

impl Contacts {
    /// Saves contacts, each by itself, in order. Of rows with the same key the newest one is taken. `overwrite`: whether
    /// the values of one that is there are changed; options are added and removed all the same. Reads all of the tenant's
    /// rows once.
    ///
    /// Errors: `NotFound` when there is no column `key`; `Invalid` when there are more than [`MAX_SAVED`]; `Unavailable`.
    /// Those of a contact are as for [`Contacts::create_row`]; without a value in the column `key` it is `Invalid`.
    pub async fn save_rows(
        &self,
        tenant: &Tenant,
        key: &str,
        saves: &[Save],
        overwrite: bool,
    ) -> Result<Vec<Result<Saved>>> {
        if saves.len() > MAX_SAVED {
            return Err(Error::invalid("contacts", format!("must be at most {MAX_SAVED}")));
        }
        let tag = self.ground.keys.tenant(&tenant.name);
        let _turn = self.turn(tag).await;
        let (_, table) = self.load_table(tag).await?;
        let column = table.column(key).ok_or_else(column_not_found)?.clone();
        let keys: Vec<_> = saves.iter().map(|save| read_key(tenant, &table, &column, key, save)).collect();
        let mut known = self.ids_by_key(tenant, column.id, &keys).await?;
        let mut saved = Vec::with_capacity(saves.len());
        for (save, key) in saves.iter().zip(keys) {
            saved.push(match key {
                Err(error) => Err(error),
                Ok(key) => match known.get(&key) {
                    Some(id) => self.change_in_turn(tenant, *id, save, overwrite).await,
                    None => {
                        let created = self.add_in_turn(tenant, save).await;
                        known.extend(created.as_ref().ok().map(|saved| (key, saved.row.id)));
                        created
                    }
                },
            });
        }
        Ok(saved)
    }

    /// The newest row of each key.
    async fn ids_by_key(
        &self,
        tenant: &Tenant,
        column: ColumnId,
        keys: &[Result<String>],
    ) -> Result<BTreeMap<String, Id>> {
        let mut wanted: BTreeMap<&str, Option<Id>> =
            keys.iter().filter_map(|key| Some((key.as_deref().ok()?, None))).collect();
        self.walk(&tenant.name, |row: Row| {
            if let Some(Cell::Text(text)) = row.cell(column)
                && let Some(id) = wanted.get_mut(text.as_str())
            {
                id.get_or_insert(row.id);
            }
        })
        .await?;
        Ok(wanted.into_iter().filter_map(|(key, id)| Some((key.to_owned(), id?))).collect())
    }

    async fn add_in_turn(&self, tenant: &Tenant, save: &Save) -> Result<Saved> {
        let mut values = save.values.clone();
        for (column, options) in &save.add {
            values.insert(column.clone(), Some(Value::List(options.clone())));
        }
        let id = self.new_id(self.ground.keys.tenant(&tenant.name));
        let row = self.insert_in_turn(tenant, &values, id).await?;
        Ok(Saved { row, created: true })
    }

    async fn change_in_turn(&self, tenant: &Tenant, id: Id, save: &Save, overwrite: bool) -> Result<Saved> {
        let tag = self.ground.keys.tenant(&tenant.name);
        for _ in 0..MAX_ROUNDS {
            let Some((read, mut row)) = self.load_row(tag, id).await? else {
                // Another process deleted it since.
                return self.add_in_turn(tenant, save).await;
            };
            let (_, table) = self.load_table(tag).await?;
            let before = row.view(&table);
            let mut values = if overwrite { save.values.clone() } else { Values::new() };
            for column in save.add.keys().chain(save.remove.keys()) {
                values.insert(column.clone(), Some(with_options(&table, &before, column, save)));
            }
            row.change(&table, table.read(&values, tenant.default_country)?, self.ground.clock.now());
            if row.view(&table).columns == before.columns {
                return Ok(Saved { row: before, created: false });
            }
            let batch = self.put_row(Batch::new(self.ground.keys.contacts(tag)), tag, Some(&read), &row)?;
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                self.pushes.wake();
                return Ok(Saved { row: row.view(&table), created: false });
            }
            count_conflict("contacts");
        }
        Err(contention())
    }
}

/// The canonical text of a contact's key.
fn read_key(tenant: &Tenant, table: &Table, column: &Column, key: &str, save: &Save) -> Result<String> {
    let by_either = |name: &&String| table.column(name).is_some_and(|found| found.id == column.id);
    let value = save.values.keys().find(by_either).and_then(|name| save.values[name].as_ref());
    let cell = value.map(|value| Cell::read(column, value, tenant.default_country)).transpose();
    match cell.map(Option::flatten) {
        Ok(Some(Cell::Text(text))) => Ok(text),
        Ok(_) => Err(Error::invalid(path_of(key), "must be set to a text, for contacts are known by it")),
        Err(wrong) => Err(Error::invalid(path_of(key), wrong)),
    }
}

/// The options that a cell has after some are added and others removed.
fn with_options(table: &Table, row: &RowView, column: &str, save: &Save) -> Value {
    let there = table.column(column).and_then(|column| row.columns.get(&column.id));
    let mut options = match there {
        Some(Value::List(options)) => options.clone(),
        _ => Vec::new(),
    };
    options.extend(save.add.get(column).into_iter().flatten().cloned());
    let removed = save.remove.get(column).map_or(&[][..], Vec::as_slice);
    options.retain(|option| !removed.contains(option));
    Value::List(options)
}
