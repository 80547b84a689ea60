//! Where in a body a reader is, and what it has found wrong there.

use crate::error::Violation;

/// The name of the body as a whole, where a field is to be named.
pub(crate) const BODY: &str = "body";

/// So many faults are told at most; who has more has other trouble.
const MAX_FAULTS: usize = 20;

/// Longest part of a name that is none of ours, in characters.
const MAX_NAME: usize = 64;

/// So many messages may lie in each other, which is half of what whoever reads them further on allows.
const MAX_DEPTH: usize = 50;

/// So many values may be in a body. Each takes more memory than it has bytes; no honest call comes near.
const MAX_VALUES: usize = 20_000;

pub(crate) struct Place<'a> {
    /// Dotted, as in `recipient.phone`.
    path: String,
    /// The fields that stand elsewhere, and so have no place in the body.
    elsewhere: &'a [&'static str],
    /// How many messages it lies in.
    depth: usize,
    values: usize,
    faults: Vec<Violation>,
}

// === impl Place ===

impl<'a> Place<'a> {
    pub(crate) fn new(elsewhere: &'a [&'static str]) -> Self {
        Self { path: String::new(), elsewhere, depth: 0, values: 0, faults: Vec::new() }
    }

    /// Does something with the value of this name in this place.
    pub(crate) fn named<T>(&mut self, name: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let dot = if self.path.is_empty() { "" } else { "." };
        let step = format!("{dot}{}", name.chars().take(MAX_NAME).collect::<String>());
        self.within(&step, read)
    }

    /// Does something with the value at this index of this place.
    pub(crate) fn at<T>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> T) -> T {
        self.within(&format!("[{index}]"), read)
    }

    fn within<T>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(step);
        let value = read(self);
        self.path.truncate(length);
        value
    }

    /// Goes down into so many messages, and up again; `None` when that is too deep.
    pub(crate) fn deeper<T>(&mut self, levels: usize, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.depth + levels > MAX_DEPTH {
            return None;
        }
        self.depth += levels;
        let value = read(self);
        self.depth -= levels;
        Some(value)
    }

    /// Counts a value.
    ///
    /// Errors: when there are too many, which ends the reading.
    pub(crate) fn count<E: serde::de::Error>(&mut self) -> Result<(), E> {
        self.values += 1;
        if self.values <= MAX_VALUES {
            return Ok(());
        }
        let description = format!("must have at most {MAX_VALUES} values");
        self.faults.push(Violation { field: BODY.to_owned(), description });
        Err(enough())
    }

    /// Notes what is wrong with the value in this place.
    ///
    /// Errors: when enough was found, which ends the reading.
    pub(crate) fn refuse<E: serde::de::Error>(&mut self, what: impl Into<String>) -> Result<(), E> {
        let field = if self.path.is_empty() { BODY.to_owned() } else { self.path.clone() };
        self.faults.push(Violation { field, description: what.into() });
        if self.faults.len() < MAX_FAULTS { Ok(()) } else { Err(enough()) }
    }

    pub(crate) fn stands_elsewhere(&self) -> bool {
        self.elsewhere.contains(&self.path.as_str())
    }

    pub(crate) fn into_faults(self) -> Vec<Violation> {
        self.faults
    }
}

fn enough<E: serde::de::Error>() -> E {
    E::custom("enough was found")
}
