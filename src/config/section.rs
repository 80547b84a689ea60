//! The part of a configuration whose keys only its own module knows: one vendor's table.
//!
//! Configuration keeps such a table with its lines until the server, which knows every concrete type, reads it.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;

use crate::config::fault::{ConfigError, Fault, join};
use crate::config::layers::{Node, Value, visit};
use crate::config::read::{Quoting, read};
use crate::error::Violation;

/// A table with a name and a `kind`. Shows no value in `Debug`.
#[derive(Clone)]
pub struct Section {
    name: String,
    kind: String,
    path: String,
    node: Node,
}

/// Every table in the table `key`, by its name.
pub(crate) fn sections(root: &Node, key: &str) -> Result<BTreeMap<String, Section>, ConfigError> {
    let Value::Table(root) = &root.value else {
        return Ok(BTreeMap::new());
    };
    let table = match root.get(key) {
        Some(Node { value: Value::Table(table), .. }) => table,
        Some(other) => return Err(Fault::new(&other.origin, key, "must be a table").into()),
        None => return Ok(BTreeMap::new()),
    };
    let mut sections = BTreeMap::new();
    let mut faults = Vec::new();
    for (name, node) in table.iter() {
        match Section::new(key, name, node) {
            Ok(section) => drop(sections.insert(name.to_owned(), section)),
            Err(found) => faults.extend(found),
        }
    }
    if faults.is_empty() { Ok(sections) } else { Err(ConfigError::new(faults)) }
}

// === impl Section ===

impl Section {
    /// Checks what every section has: a name that a variable can spell, a kind, and no empty text, for that would be
    /// an empty secret.
    pub(crate) fn new(parent: &str, name: &str, node: &Node) -> Result<Self, Vec<Fault>> {
        let path = join(parent, name);
        let fault = |path: &str, message: &str| vec![Fault::new(&node.origin, path, message)];
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        if !(1..=63).contains(&name.len()) || !name.bytes().all(plain) {
            return Err(fault(&path, "must have a name of 1 to 63 of a-z, 0-9, '-' and '_'"));
        }
        let Value::Table(table) = &node.value else {
            return Err(fault(&path, "must be a table"));
        };
        let kind = match table.get("kind").map(|kind| &kind.value) {
            Some(Value::Text(kind)) => kind.clone(),
            Some(_) => return Err(fault(&join(&path, "kind"), "must be a text in quotes")),
            None => return Err(fault(&join(&path, "kind"), "is missing")),
        };
        let mut faults = Vec::new();
        visit(node, &path, &mut |path, node| {
            if matches!(&node.value, Value::Text(text) if text.is_empty()) {
                faults.push(Fault::new(&node.origin, path, "must not be empty; leave the key out instead"));
            }
        });
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut own = table.clone();
        own.remove("kind");
        Ok(Self { name: name.to_owned(), kind, path, node: Node { value: Value::Table(own), ..node.clone() } })
    }

    /// The name that routes use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which module reads the rest.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// Reads every key but `kind`, with the same care as the rest of the configuration: unknown keys, `key_file`,
    /// durations. Errors name file, line and key.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ConfigError> {
        read(&self.node, &self.path, Quoting::Never)
    }

    /// A section of these keys alone, and one of all others.
    pub fn split(&self, keys: &[&str]) -> (Self, Self) {
        let (mut these, mut others) = (self.clone(), self.clone());
        if let Value::Table(all) = &self.node.value {
            for (key, _) in all.iter() {
                let part = if keys.contains(&key) { &mut others } else { &mut these };
                if let Value::Table(table) = &mut part.node.value {
                    table.remove(key);
                }
            }
        }
        (these, others)
    }

    /// The error for violations found in what was parsed, or for an unknown `kind`; their fields are keys of this
    /// section. `violations` is not empty.
    pub fn refuse(&self, violations: &[Violation]) -> ConfigError {
        let faults = violations.iter().map(|violation| {
            let origin = self.node.origin_of(&violation.field);
            Fault::new(origin, join(&self.path, &violation.field), violation.description.as_str())
        });
        ConfigError::new(faults.collect())
    }
}

impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of kind {}", self.path, self.kind)
    }
}
