//! The table of a tenant: its columns, how they may change, and what a row may say in them.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::contacts::cell::{Cell, Changes, Values};
use crate::contacts::column::{Choice, Column, ColumnId, Kind, check_name, check_option};
use crate::error::{Error, Kind as ErrorKind, Reason, Result};
use crate::id::Id;
use crate::random::Random;
use crate::recipient::Country;
use crate::violations::Violations;

/// The name of the one table that a tenant has.
pub const TABLE: &str = "contact";

/// Most columns of a table.
pub const MAX_COLUMNS: usize = 64;

/// Most options over all columns of a table.
pub const MAX_OPTIONS: usize = 500;

/// Most bytes that a table takes in the store, whose records have at most 64 KiB.
pub const MAX_TABLE_BYTES: usize = 60_000;

/// Most faults of one request that are told at once: answers have little room for them.
const MAX_TOLD: usize = 16;

/// Most of a column's id or name, as a caller wrote it, that a fault repeats.
const MAX_PATH: usize = 64;

/// The column whose options are the lists that contacts are in.
pub const LISTS: &str = "lists";

const FIRST_COLUMNS: [(&str, Kind); 6] = [
    ("phone_number", Kind::PhoneNumber),
    ("first_name", Kind::Text),
    ("last_name", Kind::Text),
    ("email", Kind::Email),
    (LISTS, Kind::MultiSelect),
    ("tags", Kind::MultiSelect),
];

/// A tenant's table.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Table {
    #[n(0)]
    pub id: Id,
    #[n(1)]
    columns: Vec<Column>,
    /// How many rows there are.
    #[n(2)]
    rows: u64,
    #[n(3)]
    pub created_at: Timestamp,
    /// When its columns last changed.
    #[n(4)]
    pub updated_at: Timestamp,
    #[n(5)]
    next_choice: u32,
}

/// A column that is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewColumn {
    pub name: String,
    pub kind: Kind,
    /// Only where [`Kind::selects`].
    pub options: Vec<String>,
}

/// What is to change of a column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ColumnChange {
    pub name: Option<String>,
    pub add_options: Vec<String>,
    pub remove_options: Vec<String>,
    /// From the old name to the new one; done first.
    pub rename_options: BTreeMap<String, String>,
}

// === impl Table ===

impl Table {
    /// As it is before anybody changes it.
    pub(crate) fn new(id: Id, now: Timestamp, random: &dyn Random) -> Self {
        let mut table = Self { id, columns: Vec::new(), rows: 0, created_at: now, updated_at: now, next_choice: 1 };
        for (name, kind) in FIRST_COLUMNS {
            table.push_column(name, kind, random);
        }
        table
    }

    /// In the order in which they were added.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// How many rows there are.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The column with this id, or else of this name.
    pub fn column(&self, key: &str) -> Option<&Column> {
        match ColumnId::parse(key) {
            Some(id) => self.with_id(id),
            None => self.columns.iter().find(|column| column.name == key),
        }
    }

    pub fn with_id(&self, id: ColumnId) -> Option<&Column> {
        self.columns.iter().find(|column| column.id == id)
    }

    /// Adds a column.
    ///
    /// Errors: `Invalid` with each field that is wrong.
    pub(crate) fn add_column(&mut self, new: &NewColumn, now: Timestamp, random: &dyn Random) -> Result<ColumnId> {
        bound("options", new.options.len())?;
        let mut found = Violations::default();
        if self.columns.len() >= MAX_COLUMNS {
            found.add("name", format!("cannot be added: the table has its {MAX_COLUMNS} columns; delete one first"));
        }
        self.check_column_name(&new.name, None, &mut found);
        check_options("options", &new.options, new.kind, &mut found);
        let repeated = new.options.iter().enumerate().any(|(at, option)| new.options[..at].contains(option));
        if repeated {
            found.add("options", "must be no two alike".to_owned());
        }
        self.check_room("options", new.options.len(), &mut found);
        refuse(found)?;
        let id = self.push_column(&new.name, new.kind, random);
        let choices = new.options.iter().map(|option| self.new_choice(option)).collect();
        if let Some(column) = self.columns.last_mut() {
            column.choices = choices;
        }
        self.updated_at = now;
        Ok(id)
    }

    /// Renames a column, and renames, removes and adds options, in this order.
    ///
    /// Errors: `NotFound`; `Invalid` with each field that is wrong.
    pub(crate) fn change_column(&mut self, key: &str, change: &ColumnChange, now: Timestamp) -> Result<ColumnId> {
        let column = self.column(key).ok_or_else(column_not_found)?.clone();
        bound("add_options", change.add_options.len())?;
        bound("rename_options", change.rename_options.len())?;
        let mut found = Violations::default();
        if let Some(name) = &change.name {
            self.check_column_name(name, Some(column.id), &mut found);
        }
        let renamed = change.rename_options.values().cloned().collect::<Vec<_>>();
        check_options("add_options", &change.add_options, column.kind, &mut found);
        check_options("rename_options", &renamed, column.kind, &mut found);
        if change.rename_options.keys().any(|old| column.number_of(old).is_none()) {
            found.add("rename_options", "must rename options that the column has".to_owned());
        }
        let mut changed = column;
        changed.name = change.name.clone().unwrap_or(changed.name);
        for choice in &mut changed.choices {
            if let Some(new) = change.rename_options.get(&choice.name) {
                choice.name.clone_from(new);
            }
        }
        let names: Vec<_> = changed.options().collect();
        if names.iter().enumerate().any(|(at, name)| names[..at].contains(name)) {
            found.add("rename_options", "must leave no two options alike".to_owned());
        }
        changed.choices.retain(|choice| !change.remove_options.contains(&choice.name));
        let mut added = Vec::new();
        for option in &change.add_options {
            if changed.number_of(option).is_none() && !added.contains(option) {
                added.push(option.clone());
            }
        }
        let others = self.options_beside(changed.id);
        if others + changed.choices.len() + added.len() > MAX_OPTIONS {
            found.add("add_options", too_many_options());
        }
        refuse(found)?;
        for option in &added {
            let choice = self.new_choice(option);
            changed.choices.push(choice);
        }
        let id = changed.id;
        if let Some(place) = self.columns.iter_mut().find(|column| column.id == id) {
            *place = changed;
        }
        self.updated_at = now;
        Ok(id)
    }

    /// Errors: `NotFound`.
    pub(crate) fn delete_column(&mut self, key: &str, now: Timestamp) -> Result<()> {
        let id = self.column(key).ok_or_else(column_not_found)?.id;
        self.columns.retain(|column| column.id != id);
        self.updated_at = now;
        Ok(())
    }

    /// Sees to it that columns with these names and options are there, whatever else there is. A column that is there
    /// keeps its type; options are added to those that select. Whether anything was missing.
    ///
    /// Errors: `Invalid` when there is no room.
    pub(crate) fn prepare(&mut self, wanted: &[NewColumn], now: Timestamp, random: &dyn Random) -> Result<bool> {
        let before = self.clone();
        for new in wanted {
            let id = match self.column(&new.name) {
                Some(column) if column.kind.selects() => column.id,
                Some(_) => continue,
                None => self.add_column(&NewColumn { options: Vec::new(), ..new.clone() }, now, random)?,
            };
            let change = ColumnChange { add_options: new.options.clone(), ..ColumnChange::default() };
            self.change_column(&id.to_string(), &change, now)?;
        }
        let changed = self.columns != before.columns;
        self.updated_at = if changed { now } else { before.updated_at };
        Ok(changed)
    }

    /// Makes room for one more row.
    ///
    /// Errors: `Precondition`/`ContactTableFull`.
    pub(crate) fn count_row(&mut self, most: u64) -> Result<()> {
        if self.rows >= most {
            let message = format!("the table has the {most} rows that the server allows; delete some first");
            return Err(Error::new(ErrorKind::Precondition, Reason::ContactTableFull, message));
        }
        self.rows += 1;
        Ok(())
    }

    pub(crate) fn uncount_row(&mut self) {
        self.rows = self.rows.saturating_sub(1);
    }

    /// What values by column are to a row. `country`: that of phone numbers without one.
    ///
    /// Errors: `Invalid` with a field for each value that is wrong, such as `columns.email`; not with more than a few.
    pub(crate) fn read(&self, values: &Values, country: Option<Country>) -> Result<Changes> {
        if values.len() > MAX_COLUMNS {
            return Err(Error::invalid("columns", format!("must name at most {MAX_COLUMNS} columns")));
        }
        let mut found = Violations::default();
        let mut changes = Changes::new();
        for (key, value) in values {
            let path = path_of(key);
            let Some(column) = self.column(key) else {
                found.add(&path, "is no column of the table, neither by id nor by name".to_owned());
                continue;
            };
            if changes.iter().any(|(id, _)| *id == column.id) {
                found.add(&path, "is given twice, by id and by name".to_owned());
                continue;
            }
            let cell = value.as_ref().map(|value| Cell::read(column, value, country)).transpose();
            match cell {
                Ok(cell) => changes.push((column.id, cell.flatten())),
                Err(wrong) => found.add(&path, wrong),
            }
        }
        refuse(found)?;
        Ok(changes)
    }

    fn push_column(&mut self, name: &str, kind: Kind, random: &dyn Random) -> ColumnId {
        let id = loop {
            let id = ColumnId::draw(random);
            if self.with_id(id).is_none() {
                break id;
            }
        };
        self.columns.push(Column { id, name: name.to_owned(), kind, choices: Vec::new() });
        id
    }

    fn new_choice(&mut self, option: &str) -> Choice {
        let number = self.next_choice;
        // Four thousand million options are more than anybody adds, one durable commit at a time.
        self.next_choice = number.saturating_add(1);
        Choice { number, name: option.to_owned() }
    }

    fn check_column_name(&self, name: &str, own: Option<ColumnId>, found: &mut Violations) {
        if let Some(wrong) = check_name(name) {
            found.add("name", wrong);
        } else if self.columns.iter().any(|column| column.name == name && Some(column.id) != own) {
            found.add("name", "must be that of no other column".to_owned());
        }
    }

    fn options_beside(&self, id: ColumnId) -> usize {
        self.columns.iter().filter(|column| column.id != id).map(|column| column.choices.len()).sum()
    }

    fn check_room(&self, field: &str, more: usize, found: &mut Violations) {
        let options: usize = self.columns.iter().map(|column| column.choices.len()).sum();
        if options + more > MAX_OPTIONS {
            found.add(field, too_many_options());
        }
    }
}

/// The path of a column's value in a request, as the caller wrote it, but short.
pub(crate) fn path_of(key: &str) -> String {
    match key.char_indices().nth(MAX_PATH) {
        Some((end, _)) => format!("columns.{}…", &key[..end]),
        None => format!("columns.{key}"),
    }
}

/// Errors: `Invalid` when anything was found, with the first of it.
pub(crate) fn refuse(mut found: Violations) -> Result<()> {
    found.0.truncate(MAX_TOLD);
    if found.0.is_empty() { Ok(()) } else { Err(Error::invalid_fields(found.0)) }
}

pub(crate) fn column_not_found() -> Error {
    Error::new(ErrorKind::NotFound, Reason::ContactColumnNotFound, "the table has no such column")
}

/// Before anything is compared with everything.
fn bound(field: &str, options: usize) -> Result<()> {
    if options > MAX_OPTIONS { Err(Error::invalid(field, too_many_options())) } else { Ok(()) }
}

fn check_options(field: &str, options: &[String], kind: Kind, found: &mut Violations) {
    if !options.is_empty() && !kind.selects() {
        found.add(field, format!("must be left out, for a column of type {} has no options", kind.as_str()));
    }
    if let Some(wrong) = options.iter().find_map(|option| check_option(option)) {
        found.add(field, wrong);
    }
}

fn too_many_options() -> String {
    format!("must leave at most {MAX_OPTIONS} options in all columns")
}
