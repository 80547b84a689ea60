//! Filters: conditions on the cells of a row, read against the table first and then asked of each row.

use minicbor::{Decode, Encode};

use crate::contacts::cell::{Cell, MAX_TEXT, Value, number_of};
use crate::contacts::column::{Column, ColumnId, Kind};
use crate::contacts::date;
use crate::contacts::row::Row;
use crate::contacts::table::{Table, refuse};
use crate::error::{Error, Result};
use crate::recipient::Country;
use crate::violations::Violations;

/// Most filters of one query.
pub const MAX_FILTERS: usize = 20;

/// How a cell is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Operator {
    #[n(1)]
    Equals,
    #[n(2)]
    NotEquals,
    #[n(3)]
    Contains,
    #[n(4)]
    StartsWith,
    #[n(5)]
    GreaterThan,
    #[n(6)]
    LessThan,
    #[n(7)]
    IsEmpty,
    #[n(8)]
    IsNotEmpty,
}

/// A condition as a caller wrote it.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Filter {
    /// A column's id or name.
    #[n(0)]
    pub column: String,
    #[n(1)]
    pub operator: Operator,
    /// Required but for [`Operator::IsEmpty`] and [`Operator::IsNotEmpty`].
    #[n(2)]
    pub value: Option<Value>,
}

/// A condition that can be asked of rows.
pub(crate) struct Condition {
    column: ColumnId,
    test: Test,
    /// Whether the test is to fail.
    negated: bool,
}

enum Test {
    IsEmpty,
    /// In small letters.
    Is(String),
    IsNumber(f64),
    IsDate(jiff::civil::DateTime),
    HasExactly(Vec<u32>),
    HasAll(Vec<u32>),
    /// Any part, or only the beginning. In small letters; of a phone number the digits.
    Contains(String),
    StartsWith(String),
    IsAbove(f64),
    IsBelow(f64),
    IsAfter(jiff::civil::DateTime),
    IsBefore(jiff::civil::DateTime),
}

// === impl Operator ===

impl Operator {
    /// The name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equals => "EQUALS",
            Self::NotEquals => "NOT_EQUALS",
            Self::Contains => "CONTAINS",
            Self::StartsWith => "STARTS_WITH",
            Self::GreaterThan => "GREATER_THAN",
            Self::LessThan => "LESS_THAN",
            Self::IsEmpty => "IS_EMPTY",
            Self::IsNotEmpty => "IS_NOT_EMPTY",
        }
    }

    /// Whether columns of this type can be asked so.
    pub fn fits(self, kind: Kind) -> bool {
        match self {
            Self::Equals | Self::NotEquals | Self::IsEmpty | Self::IsNotEmpty => true,
            Self::Contains => !matches!(kind, Kind::Number | Kind::Date | Kind::Select),
            Self::StartsWith => matches!(kind, Kind::Text | Kind::PhoneNumber | Kind::Email | Kind::Url),
            Self::GreaterThan | Self::LessThan => matches!(kind, Kind::Number | Kind::Date),
        }
    }

    fn takes_value(self) -> bool {
        !matches!(self, Self::IsEmpty | Self::IsNotEmpty)
    }
}

// === impl Condition ===

impl Condition {
    /// Reads filters against a table.
    ///
    /// Errors: `Invalid` with each field that is wrong, such as `filters[0].value`.
    pub(crate) fn read_all(filters: &[Filter], table: &Table, country: Option<Country>) -> Result<Vec<Self>> {
        if filters.len() > MAX_FILTERS {
            return Err(Error::invalid("filters", format!("must be at most {MAX_FILTERS}")));
        }
        let mut found = Violations::default();
        let mut conditions = Vec::new();
        for (at, filter) in filters.iter().enumerate() {
            match Self::read(filter, table, country) {
                Ok(condition) => conditions.push(condition),
                Err((field, wrong)) => found.add(&format!("filters[{at}].{field}"), wrong),
            }
        }
        refuse(found)?;
        Ok(conditions)
    }

    pub(crate) fn holds(&self, row: &Row, table: &Table) -> bool {
        let passes = match (row.cell(self.column), table.with_id(self.column)) {
            (Some(cell), Some(column)) if !cell.is_empty(column) => self.test.passes(cell, column),
            _ => matches!(self.test, Test::IsEmpty),
        };
        passes != self.negated
    }

    fn read(filter: &Filter, table: &Table, country: Option<Country>) -> Result<Self, (&'static str, String)> {
        let wrong = |field, wrong: &str| (field, wrong.to_owned());
        let column = table
            .column(&filter.column)
            .ok_or_else(|| wrong("column_id", "must be a column of the table, by id or by name"))?;
        let operator = filter.operator;
        if !operator.fits(column.kind) {
            let told = format!("cannot be {} for a column of type {}", operator.as_str(), column.kind.as_str());
            return Err(("operator", told));
        }
        let value = filter.value.as_ref().filter(|value| !value.is_empty());
        let test = match value {
            Some(_) if !operator.takes_value() => {
                return Err(wrong("value", "must be left out for IS_EMPTY and IS_NOT_EMPTY"));
            }
            None if operator.takes_value() => {
                return Err(wrong("value", "must be set and not empty; to look for empty cells use IS_EMPTY"));
            }
            None => Test::IsEmpty,
            Some(value) => Test::read(operator, column, value, country).map_err(|wrong| ("value", wrong))?,
        };
        let negated = matches!(operator, Operator::NotEquals | Operator::IsNotEmpty);
        Ok(Self { column: column.id, test, negated })
    }
}

// === impl Test ===

impl Test {
    /// `operator` fits the column and takes a value.
    fn read(operator: Operator, column: &Column, value: &Value, country: Option<Country>) -> Result<Self, String> {
        if operator == Operator::Contains && column.kind == Kind::MultiSelect {
            return match value {
                Value::List(options) => numbers_of(column, options),
                Value::Text(option) => numbers_of(column, std::slice::from_ref(option)),
                Value::Number(_) => Err("must be a list of the column's options, or one of them".to_owned()),
            }
            .map(Self::HasAll);
        }
        if matches!(operator, Operator::Contains | Operator::StartsWith) {
            let Value::Text(part) = value else { return Err("must be a text".to_owned()) };
            let part = read_part(column.kind, part)?;
            return Ok(if operator == Operator::Contains { Self::Contains(part) } else { Self::StartsWith(part) });
        }
        let cell = Cell::read(column, value, country)?.ok_or_else(|| "must not be empty".to_owned())?;
        let date = |text: &str| date::order(text).ok_or_else(|| "must be a date".to_owned());
        Ok(match (operator, cell) {
            (Operator::GreaterThan, Cell::Number(bound)) => Self::IsAbove(bound),
            (Operator::LessThan, Cell::Number(bound)) => Self::IsBelow(bound),
            (Operator::GreaterThan, Cell::Text(bound)) => Self::IsAfter(date(&bound)?),
            (Operator::LessThan, Cell::Text(bound)) => Self::IsBefore(date(&bound)?),
            (_, Cell::Number(number)) => Self::IsNumber(number),
            (_, Cell::Options(numbers)) => Self::HasExactly(numbers),
            (_, Cell::Text(text)) if column.kind == Kind::Date => Self::IsDate(date(&text)?),
            (_, Cell::Text(text)) => Self::Is(text.to_lowercase()),
        })
    }

    /// `cell` is not empty.
    fn passes(&self, cell: &Cell, column: &Column) -> bool {
        match (self, cell) {
            (Self::Is(wanted), Cell::Text(text)) => text.to_lowercase() == *wanted,
            (Self::Contains(part), Cell::Text(text)) => searchable(column.kind, text).contains(part),
            (Self::StartsWith(part), Cell::Text(text)) => searchable(column.kind, text).starts_with(part),
            (Self::IsDate(wanted), Cell::Text(text)) => date::order(text) == Some(*wanted),
            (Self::IsAfter(bound), Cell::Text(text)) => date::order(text).is_some_and(|at| at > *bound),
            (Self::IsBefore(bound), Cell::Text(text)) => date::order(text).is_some_and(|at| at < *bound),
            (Self::IsNumber(wanted), Cell::Number(number)) => number == wanted,
            (Self::IsAbove(bound), Cell::Number(number)) => number > bound,
            (Self::IsBelow(bound), Cell::Number(number)) => number < bound,
            (Self::HasAll(wanted), Cell::Options(numbers)) => wanted.iter().all(|number| numbers.contains(number)),
            (Self::HasExactly(wanted), Cell::Options(numbers)) => {
                let there = numbers.iter().filter(|number| column.option(**number).is_some());
                there.eq(wanted.iter())
            }
            _ => false,
        }
    }
}

fn numbers_of(column: &Column, options: &[String]) -> Result<Vec<u32>, String> {
    options.iter().map(|option| number_of(column, option)).collect()
}

/// A part of a text to look for.
fn read_part(kind: Kind, part: &str) -> Result<String, String> {
    if part.chars().count() > MAX_TEXT {
        return Err(format!("must be at most {MAX_TEXT} characters"));
    }
    if kind != Kind::PhoneNumber {
        return Ok(part.to_lowercase());
    }
    let digits: String = part.chars().filter(|letter| !matches!(letter, '+' | ' ' | '-' | '(' | ')' | '.')).collect();
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { Ok(digits) } else { Err("must be digits of a number with its country code".to_owned()) }
}

/// A text as parts of it are looked for.
fn searchable(kind: Kind, text: &str) -> String {
    match kind {
        Kind::PhoneNumber => text.trim_start_matches('+').to_owned(),
        _ => text.to_lowercase(),
    }
}
