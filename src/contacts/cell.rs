//! Cells: what callers write into one, what is kept of it, and what they read back.

use std::collections::BTreeMap;
use std::fmt;

use minicbor::{Decode, Encode};

use crate::contacts::column::{Column, ColumnId, Kind};
use crate::contacts::date;
use crate::error::Error;
use crate::recipient::{Country, Email, Phone};

/// Longest text in a cell, in characters.
pub const MAX_TEXT: usize = 2_000;

/// A value as callers write it and read it. `Debug` shows nothing of it: it may be anybody's number.
#[derive(Clone, PartialEq, Encode, Decode)]
pub enum Value {
    #[n(0)]
    Text(#[n(0)] String),
    #[n(1)]
    Number(#[n(0)] f64),
    #[n(2)]
    List(#[n(0)] Vec<String>),
}

/// Values by the ids or names of their columns; `None` empties a cell.
pub type Values = BTreeMap<String, Option<Value>>;

/// Cells to write; `None` empties one.
pub type Changes = Vec<(ColumnId, Option<Cell>)>;

/// What a cell holds, in its one canonical form. `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Encode, Decode)]
pub enum Cell {
    /// TEXT, DATE, PHONE NUMBER in E.164, EMAIL and URL.
    #[n(0)]
    Text(#[n(0)] String),
    /// NUMBER. Finite.
    #[n(1)]
    Number(#[n(0)] f64),
    /// SELECT, one number of a [`Choice`](crate::contacts::column::Choice); MULTI SELECT, any, ascending.
    #[n(2)]
    Options(#[n(0)] Vec<u32>),
}

// === impl Value ===

impl Value {
    /// Whether it stands for an empty cell, of whatever type.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Number(_) => false,
            Self::List(list) => list.is_empty(),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

// === impl Cell ===

impl Cell {
    /// What a value is in this column; `None` when it empties the cell.
    ///
    /// Errors: what is wrong and what would be right, without the value.
    pub(crate) fn read(column: &Column, value: &Value, country: Option<Country>) -> Result<Option<Self>, String> {
        if value.is_empty() {
            return Ok(None);
        }
        let cell = match (column.kind, value) {
            (Kind::Number, Value::Number(number)) if number.is_finite() => {
                // There is one zero.
                Self::Number(number + 0.0)
            }
            (Kind::Number, _) => return Err("must be a finite number".to_owned()),
            (Kind::MultiSelect, Value::List(options)) => {
                let numbers = options.iter().map(|option| number_of(column, option));
                let mut numbers = numbers.collect::<Result<Vec<_>, _>>()?;
                numbers.sort_unstable();
                numbers.dedup();
                Self::Options(numbers)
            }
            (Kind::MultiSelect, _) => return Err("must be a list of the column's options".to_owned()),
            (Kind::Select, Value::Text(option)) => Self::Options(vec![number_of(column, option)?]),
            (Kind::Select, _) => return Err("must be a text: one of the column's options".to_owned()),
            (kind, Value::Text(text)) => Self::Text(read_text(kind, text, country)?),
            (_, Value::Number(_) | Value::List(_)) => return Err("must be a text".to_owned()),
        };
        Ok(Some(cell))
    }

    /// Whether callers see nothing of it, for all of its options were removed.
    pub(crate) fn is_empty(&self, column: &Column) -> bool {
        matches!(self, Self::Options(numbers) if numbers.iter().all(|number| column.option(*number).is_none()))
    }

    /// What callers see of it; `None` when all of its options were removed.
    pub(crate) fn show(&self, column: &Column) -> Option<Value> {
        match self {
            Self::Text(text) => Some(Value::Text(text.clone())),
            Self::Number(number) => Some(Value::Number(*number)),
            Self::Options(numbers) => {
                let mut options = numbers.iter().filter_map(|number| column.option(*number)).map(str::to_owned);
                match column.kind {
                    Kind::MultiSelect => Some(Value::List(options.collect())).filter(|list| !list.is_empty()),
                    _ => options.next().map(Value::Text),
                }
            }
        }
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The number of an option of the column.
pub(crate) fn number_of(column: &Column, option: &str) -> Result<u32, String> {
    column.number_of(option).ok_or_else(|| "must be one of the column's options; add it to them first".to_owned())
}

fn read_text(kind: Kind, text: &str, country: Option<Country>) -> Result<String, String> {
    match kind {
        Kind::PhoneNumber => Phone::parse(text, country).map(|phone| phone.e164().to_owned()).map_err(described),
        Kind::Email => Email::parse(text).map(|email| email.as_str().to_owned()).map_err(described),
        Kind::Date => date::canonical(text).ok_or_else(|| {
            "must be a date, or a time with its offset, such as 2026-11-27 or 2026-11-27T10:00:00+02:00".to_owned()
        }),
        Kind::Url if !is_url(text) => {
            Err(format!("must be an http or https URL of at most {MAX_TEXT} characters, such as https://example.com/a"))
        }
        _ if text.contains('\0') => Err("must not contain NUL".to_owned()),
        _ if text.chars().count() > MAX_TEXT => Err(format!("must be at most {MAX_TEXT} characters")),
        _ => Ok(text.to_owned()),
    }
}

fn is_url(text: &str) -> bool {
    let short = text.len() <= MAX_TEXT && text.is_ascii();
    let Some(uri) = text.parse::<http::Uri>().ok().filter(|_| short) else { return false };
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
}

/// What an error says of the one field that it is about.
fn described(error: Error) -> String {
    error.violations().first().map_or_else(|| error.message().to_owned(), |violation| violation.description.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contacts::column::Choice;

    fn column(kind: Kind) -> Column {
        let choice = |(number, name): (u32, &str)| Choice { number, name: name.to_owned() };
        let choices = [(3, "red"), (1, "blue"), (7, "green")].map(choice).into();
        let id = ColumnId::parse("00000000000000ff").unwrap();
        Column { id, name: "c".to_owned(), kind, choices }
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn list(options: &[&str]) -> Value {
        Value::List(options.iter().map(ToString::to_string).collect())
    }

    /// What is read back of what was written.
    fn back(kind: Kind, value: &Value) -> Result<Option<Value>, String> {
        let column = column(kind);
        let cell = Cell::read(&column, value, "MY".parse().ok())?;
        Ok(cell.and_then(|cell| cell.show(&column)))
    }

    #[test]
    fn each_type_keeps_what_fits_in_its_canonical_form() {
        let long = "é".repeat(MAX_TEXT);
        for (kind, written, kept) in [
            (Kind::Text, text(" Ann\n"), text(" Ann\n")),
            (Kind::Text, text(&long), text(&long)),
            (Kind::Number, Value::Number(12.5), Value::Number(12.5)),
            (Kind::Number, Value::Number(0.0), Value::Number(0.0)),
            (Kind::Number, Value::Number(f64::MAX), Value::Number(f64::MAX)),
            (Kind::Date, text("1990-02-28"), text("1990-02-28")),
            (Kind::Date, text("2026-11-27T01:00:00+02:00"), text("2026-11-26T23:00:00Z")),
            (Kind::PhoneNumber, text("012-345 6789"), text("+60123456789")),
            (Kind::PhoneNumber, text("+65 9876 5432"), text("+6598765432")),
            (Kind::Email, text("Ann@EXAMPLE.com"), text("Ann@example.com")),
            (Kind::Url, text("https://example.com/a?b=c#d"), text("https://example.com/a?b=c#d")),
            (Kind::Url, text("HTTP://[::1]:8080"), text("HTTP://[::1]:8080")),
            (Kind::Select, text("red"), text("red")),
            (Kind::MultiSelect, list(&["red", "blue", "red"]), list(&["blue", "red"])),
        ] {
            assert_eq!(back(kind, &written), Ok(Some(kept)), "{}", kind.as_str());
        }
        let zero = Cell::read(&column(Kind::Number), &Value::Number(-0.0), None).unwrap().unwrap();
        assert!(matches!(zero, Cell::Number(number) if number.is_sign_positive()));
    }

    #[test]
    fn nothing_is_coerced_to_a_type() {
        let long = "é".repeat(MAX_TEXT + 1);
        for (kind, written, wanted) in [
            (Kind::Text, Value::Number(1.0), "must be a text"),
            (Kind::Text, list(&["a"]), "must be a text"),
            (Kind::Text, text("a\0"), "NUL"),
            (Kind::Text, text(&long), "at most 2000 characters"),
            (Kind::Number, text("1"), "finite number"),
            (Kind::Number, Value::Number(f64::NAN), "finite number"),
            (Kind::Number, Value::Number(f64::INFINITY), "finite number"),
            (Kind::Date, text("27.11.2026"), "2026-11-27"),
            (Kind::Date, Value::Number(2026.0), "must be a text"),
            (Kind::PhoneNumber, text("12"), "too short"),
            (Kind::PhoneNumber, Value::Number(60_123_456_789.0), "must be a text"),
            (Kind::Email, text("ann"), "plain address"),
            (Kind::Url, text("example.com"), "http or https"),
            (Kind::Url, text("ftp://example.com"), "http or https"),
            (Kind::Url, text("javascript:alert(1)"), "http or https"),
            (Kind::Url, text("https://"), "http or https"),
            (Kind::Url, text("https://exa mple.com"), "http or https"),
            (Kind::Url, text("/a"), "http or https"),
            (Kind::Url, text(&format!("https://example.com/{}", "a".repeat(MAX_TEXT))), "http or https"),
            (Kind::Select, text("pink"), "one of the column's options"),
            (Kind::Select, list(&["red"]), "must be a text"),
            (Kind::MultiSelect, text("red"), "must be a list"),
            (Kind::MultiSelect, list(&["red", "pink"]), "one of the column's options"),
        ] {
            let refused = back(kind, &written).unwrap_err();
            assert!(refused.contains(wanted), "{}: {refused}", kind.as_str());
        }
    }

    #[test]
    fn nothing_at_all_empties_a_cell_of_any_type() {
        for kind in Kind::ALL {
            assert_eq!(back(kind, &text("")), Ok(None), "{}", kind.as_str());
            assert_eq!(back(kind, &list(&[])), Ok(None), "{}", kind.as_str());
        }
    }

    #[test]
    fn removed_options_are_gone_from_cells() {
        let mut column = column(Kind::MultiSelect);
        let cell = Cell::read(&column, &list(&["red", "blue"]), None).unwrap().unwrap();
        column.choices.retain(|choice| choice.name != "red");
        assert_eq!(cell.show(&column), Some(list(&["blue"])));
        assert!(!cell.is_empty(&column));
        column.choices.push(Choice { number: 8, name: "red".to_owned() });
        assert_eq!(cell.show(&column), Some(list(&["blue"])), "another of the same name is another");
        column.choices.clear();
        assert!(cell.is_empty(&column) && cell.show(&column).is_none());
    }

    #[test]
    fn debug_shows_no_cell() {
        let shown = format!("{:?}{:?}", text("canary"), Cell::Text("canary".to_owned()));
        assert!(!shown.contains("canary"), "{shown}");
    }
}
