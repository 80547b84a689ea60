//! What is wrong with a configuration, one line for each fault: where it was written, which key, what is wanted and
//! what was found.
//!
//! A fault shows what was found only where that cannot be a secret; who makes one decides.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error as SerdeError, Expected, Unexpected};

/// The process exits with this when its configuration is bad: `EX_USAGE` of BSD's `sysexits.h`.
pub const EXIT_CODE: u8 = 64;

/// Why a configuration cannot be used. Never empty.
pub struct ConfigError {
    faults: Vec<Fault>,
}

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Defaults,
    DevProfile,
    /// A file under the name by which it was asked for. Lines count from 1.
    File {
        name: Arc<str>,
        line: Option<usize>,
    },
    /// An environment variable.
    Variable(Arc<str>),
}

/// One thing that is wrong.
#[derive(Debug)]
pub(crate) struct Fault {
    /// `None` until whoever knows the place has added it.
    origin: Option<Origin>,
    /// The key, such as `tenants[0].name`; relative until the place is added; empty for a whole document.
    path: String,
    message: String,
    found: Option<String>,
    /// In words of a type's own, which may repeat the value.
    foreign: bool,
}

// === impl ConfigError ===

impl ConfigError {
    /// `faults` is not empty.
    pub(crate) fn new(faults: Vec<Fault>) -> Self {
        Self { faults }
    }
}

impl From<Fault> for ConfigError {
    fn from(fault: Fault) -> Self {
        Self::new(vec![fault])
    }
}

/// One line for each fault, such as `verigate.toml:12: verification.policy.length: must be 4 to 32, but is 3`.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigError {}

// === impl Origin ===

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("defaults"),
            Self::DevProfile => f.write_str("dev profile"),
            Self::File { name, line: Some(line) } => write!(f, "{name}:{line}"),
            Self::File { name, line: None } => f.write_str(name),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

// === impl Fault ===

impl Fault {
    pub(crate) fn new(origin: &Origin, path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { origin: Some(origin.clone()), path: path.into(), message: message.into(), found: None, foreign: false }
    }

    /// Shows what was found instead of what is wanted.
    pub(crate) fn with_found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// Adds the place, unless a place further inside is already known.
    pub(crate) fn at(mut self, origin: &Origin, path: &str) -> Self {
        if self.origin.is_none() {
            self.origin = Some(origin.clone());
            self.path = if self.path.is_empty() { path.to_owned() } else { join(path, &self.path) };
        }
        self
    }

    /// Says nothing of the value, for it is a secret.
    pub(crate) fn hide_found(mut self) -> Self {
        if self.foreign {
            self.message = "is not valid".to_owned();
        }
        self.found = None;
        self
    }

    /// Adds the text that a type refused in words of its own.
    pub(crate) fn show_refused(self, text: &str) -> Self {
        if self.foreign && self.origin.is_none() { self.with_found(quote(text)) } else { self }
    }

    fn unplaced(message: String, found: Option<String>) -> Self {
        Self { origin: None, path: String::new(), message, found, foreign: false }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(origin) = &self.origin {
            write!(f, "{origin}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.found {
            Some(found) if self.message.starts_with("must ") => write!(f, ", but is {found}"),
            Some(found) => write!(f, " (found {found})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Fault {}

impl SerdeError for Fault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { foreign: true, ..Self::unplaced(message.to_string(), None) }
    }

    /// Names the type that was found, not the value: where a text is wanted, a number may be a secret.
    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::unplaced(format!("must be {}", describe_wanted(wanted)), Some(describe_type(found)))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::unplaced(format!("must be {}", describe_wanted(wanted)), Some(describe_value(found)))
    }

    fn invalid_length(length: usize, wanted: &dyn Expected) -> Self {
        Self::unplaced(format!("must be {wanted}"), Some(format!("{length} long")))
    }

    fn unknown_variant(found: &str, known: &'static [&'static str]) -> Self {
        Self::unplaced(format!("must be one of {}", known.join(", ")), Some(quote(found)))
    }

    fn missing_field(field: &'static str) -> Self {
        Self { path: field.to_owned(), ..Self::unplaced("is missing".to_owned(), None) }
    }
}

/// `parent.key`, or `key` at the root.
pub(crate) fn join(parent: &str, key: &str) -> String {
    if parent.is_empty() { key.to_owned() } else { format!("{parent}.{key}") }
}

/// A text in quotes, on one line and not too long to read.
pub(crate) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?} and more", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// Serde's words for what a Rust type takes, in the words of a configuration file.
fn describe_wanted(wanted: &dyn Expected) -> String {
    let whole = |max: u64| format!("a whole number from 0 to {max}");
    match wanted.to_string().as_str() {
        "u8" => whole(u8::MAX.into()),
        "u16" => whole(u16::MAX.into()),
        "u32" => whole(u32::MAX.into()),
        "u64" | "usize" => whole(i64::MAX.unsigned_abs()),
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a string" | "string" | "str" => "a text in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.to_owned(),
    }
}

fn describe_type(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(_) => "true or false".to_owned(),
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number".to_owned(),
        Unexpected::Float(_) => "a number".to_owned(),
        Unexpected::Str(_) => "a text".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a table".to_owned(),
        _ => "something else".to_owned(),
    }
}

fn describe_value(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(value) => value.to_string(),
        Unexpected::Unsigned(value) => value.to_string(),
        Unexpected::Signed(value) => value.to_string(),
        Unexpected::Float(value) => value.to_string(),
        Unexpected::Str(text) => quote(text),
        other => describe_type(other),
    }
}
