//! Where a number lies: its country, and the numbers that begin as it does. Pure.
//!
//! Whoever earns from being sent to holds numbers in blocks, so the smaller the area, the clearer the sign and the fewer
//! the honest people who live there.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::recipient::{Country, Phone};

/// How many digits at the end tell the numbers of a block apart: ten thousand.
const BLOCK_DIGITS: usize = 4;

/// And those of a prefix: a million.
const PREFIX_DIGITS: usize = 6;

/// The fewest digits of a prefix that says anything: a shorter number has none.
const LEAST_DIGITS: usize = 3;

/// A set of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Encode, Decode)]
pub enum Area {
    #[n(0)]
    Country(#[n(0)] Country),
    /// The digits with which its numbers begin, calling code first, without a `+`.
    #[n(1)]
    Prefix(#[n(0)] Box<str>),
}

/// How wide an area is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Ten thousand numbers.
    Block = 1,
    /// A million.
    Prefix = 2,
    Country = 3,
}

/// The same, without anything of its own: to be looked up at each send.
#[derive(Debug, Clone, Copy)]
pub enum AreaRef<'a> {
    Country(Country),
    Prefix(&'a str),
}

/// The areas that a number lies in, the widest first.
pub fn areas(phone: &Phone) -> impl Iterator<Item = (AreaRef<'_>, Width)> {
    let country = phone.country().map(|country| (AreaRef::Country(country), Width::Country));
    let prefix = prefix(phone).map(|digits| (AreaRef::Prefix(digits), Width::Prefix));
    let block = block(phone).map(|digits| (AreaRef::Prefix(digits), Width::Block));
    [country, prefix, block].into_iter().flatten()
}

/// The first digits of a number that all numbers of its block have, which are ten thousand.
pub fn block(phone: &Phone) -> Option<&str> {
    without_last(phone, BLOCK_DIGITS)
}

/// The first digits of a number that a million have.
pub fn prefix(phone: &Phone) -> Option<&str> {
    without_last(phone, PREFIX_DIGITS)
}

fn without_last(phone: &Phone, digits: usize) -> Option<&str> {
    let all = phone.digits();
    all.len().checked_sub(digits).filter(|left| *left >= LEAST_DIGITS).map(|left| &all[..left])
}

// === impl Area ===

impl Area {
    /// A `+` and the first digits of numbers, or all of one.
    pub fn of_digits(text: &str) -> Option<Self> {
        text.parse().ok().filter(|area| matches!(area, Self::Prefix(_)))
    }

    pub fn holds(&self, phone: &Phone) -> bool {
        match self {
            Self::Country(country) => phone.country() == Some(*country),
            Self::Prefix(digits) => phone.digits().starts_with(&**digits),
        }
    }
}

impl From<AreaRef<'_>> for Area {
    fn from(area: AreaRef<'_>) -> Self {
        match area {
            AreaRef::Country(country) => Self::Country(country),
            AreaRef::Prefix(digits) => Self::Prefix(digits.into()),
        }
    }
}

/// `MY`, or `+6012345`.
impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Country(country) => country.fmt(f),
            Self::Prefix(digits) => write!(f, "+{digits}"),
        }
    }
}

impl FromStr for Area {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "must be a country by two capital letters, or a + and the first digits of numbers";
        match text.strip_prefix('+') {
            Some(digits) if (1..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Self::Prefix(digits.into()))
            }
            Some(_) => Err(wanted),
            None => text.parse().map(Self::Country).map_err(|_| wanted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_of_a_number() {
        let phone = Phone::parse("+60123456789", None).unwrap();
        assert_eq!((block(&phone), prefix(&phone)), (Some("6012345"), Some("60123")));
        let short = Phone::parse("+4723456789", None).unwrap();
        assert_eq!((block(&short), prefix(&short)), (Some("472345"), Some("4723")));
    }

    #[test]
    fn areas_are_read_as_they_are_written() {
        for text in ["MY", "+6012345", "+1"] {
            assert_eq!(text.parse::<Area>().unwrap().to_string(), text);
        }
        for text in ["", "+", "Malaysia", "6012345", "+60x", "+1234567890123456"] {
            assert!(text.parse::<Area>().is_err(), "{text}");
        }
    }
}
