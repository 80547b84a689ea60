//! A column: what its cells may hold, and what it is called.

use std::fmt;

use minicbor::{Decode, Encode};

use crate::random::Random;

/// Longest name of a column or an option, in characters.
pub const MAX_NAME: usize = 64;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    #[n(1)]
    Text,
    #[n(2)]
    Number,
    #[n(3)]
    Date,
    #[n(4)]
    PhoneNumber,
    #[n(5)]
    Email,
    #[n(6)]
    Url,
    #[n(7)]
    Select,
    #[n(8)]
    MultiSelect,
}

/// Names a column for good. On the wire 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct ColumnId(#[n(0)] u64);

/// A column of the table.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Column {
    #[n(0)]
    pub id: ColumnId,
    #[n(1)]
    pub name: String,
    #[n(2)]
    pub kind: Kind,
    /// What may be selected, in the order in which it was added.
    #[n(3)]
    pub choices: Vec<Choice>,
}

/// Something that may be selected. Cells hold its number, so it can be renamed, and once removed it is gone from all of
/// them: numbers are never used again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Choice {
    #[n(0)]
    pub number: u32,
    #[n(1)]
    pub name: String,
}

// === impl Kind ===

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Text,
        Self::Number,
        Self::Date,
        Self::PhoneNumber,
        Self::Email,
        Self::Url,
        Self::Select,
        Self::MultiSelect,
    ];

    /// The name for people, and where types are words, such as `PHONE NUMBER`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "TEXT",
            Self::Number => "NUMBER",
            Self::Date => "DATE",
            Self::PhoneNumber => "PHONE NUMBER",
            Self::Email => "EMAIL",
            Self::Url => "URL",
            Self::Select => "SELECT",
            Self::MultiSelect => "MULTI SELECT",
        }
    }

    /// Whether its columns have options.
    pub fn selects(self) -> bool {
        matches!(self, Self::Select | Self::MultiSelect)
    }
}

// === impl ColumnId ===

impl ColumnId {
    pub(crate) fn draw(random: &dyn Random) -> Self {
        let mut bytes = [0; 8];
        random.fill(&mut bytes);
        Self(u64::from_be_bytes(bytes))
    }

    /// `None` for what is not 16 small hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 16 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if plain { u64::from_str_radix(text, 16).ok().map(Self) } else { None }
    }
}

impl fmt::Display for ColumnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ColumnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

// === impl Column ===

impl Column {
    /// What may be selected, by name.
    pub fn options(&self) -> impl Iterator<Item = &str> {
        self.choices.iter().map(|choice| choice.name.as_str())
    }

    /// The number of an option.
    pub(crate) fn number_of(&self, option: &str) -> Option<u32> {
        self.choices.iter().find(|choice| choice.name == option).map(|choice| choice.number)
    }

    /// The option with this number, unless it was removed.
    pub(crate) fn option(&self, number: u32) -> Option<&str> {
        self.choices.iter().find(|choice| choice.number == number).map(|choice| choice.name.as_str())
    }
}

/// What is wrong with the name of a column, if anything.
pub(crate) fn check_name(name: &str) -> Option<String> {
    if ColumnId::parse(name).is_some() {
        return Some("must not be 16 hexadecimal digits, for those are the id of a column".to_owned());
    }
    check_option(name)
}

/// What is wrong with the name of an option, if anything.
pub(crate) fn check_option(name: &str) -> Option<String> {
    let length = name.chars().count();
    let fits = (1..=MAX_NAME).contains(&length) && name.trim() == name && !name.chars().any(char::is_control);
    let wanted = "without control characters, and no blank at either end";
    (!fits).then(|| format!("must be 1 to {MAX_NAME} characters {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    #[test]
    fn ids_are_read_as_they_are_printed() {
        let id = ColumnId::draw(&OsRandom);
        assert_eq!(ColumnId::parse(&id.to_string()), Some(id));
        assert_eq!(ColumnId::parse("00000000000000ff"), Some(ColumnId(255)));
        for other in ["", "ff", "00000000000000FF", "00000000000000fg", "+0000000000000ff", "00000000000000ff0"] {
            assert_eq!(ColumnId::parse(other), None, "{other}");
        }
    }

    #[test]
    fn names_are_plain() {
        for good in ["a", "Phone number", "é", &"x".repeat(64), "00000000000000FF"] {
            assert_eq!(check_name(good), None, "{good}");
        }
        for bad in ["", " a", "a ", "a\nb", "a\0", "\u{a0}a", &"é".repeat(65), "00000000000000ff"] {
            assert!(check_name(bad).is_some(), "{bad}");
        }
        assert_eq!(check_option("00000000000000ff"), None);
    }
}
