//! From the tree to the structs: a deserializer whose faults name place, key, what is wanted and what was found.
//!
//! Five rules of ours, which structs get without an attribute, and lose with serde's `flatten` and `tag`:
//! - A key that a struct does not know is a fault. All of them are told at once.
//! - Any text `key` may be given as `key_file`, the path of a file that holds it: so secrets stay out of configuration.
//! - A [`std::time::Duration`] is written `"10m"`, `"1h30m"` or `"250ms"`, and is longer than zero.
//! - An optional text that is empty counts as not given. A secret is never empty.
//! - What was found is not shown when the key's name says that it is a secret.

use std::borrow::Cow;
use std::cell::RefCell;

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as SerdeError, IntoDeserializer, MapAccess, SeqAccess,
    Visitor,
};
use serde::forward_to_deserialize_any;

use crate::config::fault::{ConfigError, Fault, join, quote};
use crate::config::layers::{Node, Table, Value};

/// Whether faults may quote a text that a type refused in words of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Quoting {
    /// Every key is known, and the secret ones by their names.
    Allowed,
    /// Any text may be a secret.
    Never,
}

/// Reads the tree as a `T`. `path` is where the tree lies in the whole configuration.
pub(crate) fn read<T: DeserializeOwned>(node: &Node, path: &str, quoting: Quoting) -> Result<T, ConfigError> {
    let faults = RefCell::new(Vec::new());
    let reader = Reader { node, path: path.to_owned(), secret: false, quoting, faults: &faults };
    let result = T::deserialize(reader);
    let mut faults = faults.into_inner();
    match result {
        Ok(value) if faults.is_empty() => Ok(value),
        Ok(_) => Err(ConfigError::new(faults)),
        Err(fault) => {
            faults.push(fault);
            Err(ConfigError::new(faults))
        }
    }
}

/// Whether a key of this name holds a secret: for what is shown, never for what is done.
pub(crate) fn is_secret(key: &str) -> bool {
    const WORDS: [&str; 6] = ["secret", "password", "token", "credential", "authorization", "api_key"];
    !key.ends_with("_file") && WORDS.iter().any(|word| key.to_ascii_lowercase().contains(word))
}

/// One value on its way into a struct.
#[derive(Clone)]
struct Reader<'t> {
    node: &'t Node,
    path: String,
    secret: bool,
    quoting: Quoting,
    /// Faults that do not stop the reading.
    faults: &'t RefCell<Vec<Fault>>,
}

impl<'t> Reader<'t> {
    fn place(&self, fault: Fault) -> Fault {
        let fault = match self.text() {
            _ if self.secret => fault.hide_found(),
            Some(text) if self.quoting == Quoting::Allowed => fault.show_refused(text),
            _ => fault,
        };
        fault.at(&self.node.origin, &self.path)
    }

    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault::new(&self.node.origin, self.path.as_str(), message)
    }

    fn inside(&self, node: &'t Node, path: String, secret: bool) -> Self {
        Self { node, path, secret, ..self.clone() }
    }

    fn text(&self) -> Option<&'t str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => self.node.raw.as_deref(),
        }
    }

    fn entries(&self, table: &'t Table) -> Entries<'t> {
        Entries {
            parent: self.clone(),
            entries: table.iter().map(|(key, node)| (key, Cow::Borrowed(node))).collect::<Vec<_>>().into_iter(),
            value: None,
        }
    }

    /// The entries that the struct knows. Reports the others, and reads `key_file` where the struct knows only `key`.
    fn known_entries(&self, table: &'t Table, fields: &'static [&'static str]) -> Result<Entries<'t>, Fault> {
        let mut entries = Vec::new();
        for (key, node) in table.iter() {
            let path = join(&self.path, key);
            let stem = key.strip_suffix("_file").filter(|stem| fields.contains(stem));
            if fields.contains(&key) {
                entries.push((key, Cow::Borrowed(node)));
            } else if let Some(stem) = stem {
                if table.get(stem).is_some() {
                    let message = format!("must not be given together with {stem}");
                    return Err(Fault::new(&node.origin, path, message));
                }
                entries.push((stem, Cow::Owned(read_file(node, &path)?)));
            } else {
                let message = format!("is not a known key; {}", suggest(key, fields));
                self.faults.borrow_mut().push(Fault::new(&node.origin, path, message));
            }
        }
        let parent = self.clone();
        Ok(Entries { parent, entries: entries.into_iter(), value: None })
    }

    fn duration<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Fault> {
        let wanted = "must be a time longer than zero, such as \"90s\", \"10m\" or \"1h30m\"";
        let text = self.text().ok_or_else(|| self.fault(wanted))?;
        let parsed = jiff::fmt::friendly::SpanParser::new().parse_unsigned_duration(text);
        let duration = parsed.ok().filter(|duration| !duration.is_zero());
        let duration = duration.ok_or_else(|| self.place(self.fault(wanted).with_found(quote(text))))?;
        // The shape in which `std::time::Duration` is written to formats that have no words for it.
        let parts = [duration.as_secs(), u64::from(duration.subsec_nanos())];
        let parts = serde::de::value::SeqDeserializer::new(parts.into_iter());
        visitor.visit_seq(parts).map_err(|fault: Fault| self.place(fault))
    }
}

fn read_file(node: &Node, path: &str) -> Result<Node, Fault> {
    let Value::Text(file) = &node.value else {
        return Err(Fault::new(&node.origin, path, "must be the path of a file"));
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| Fault::new(&node.origin, path, format!("the file {} cannot be read: {error}", quote(file))))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() {
        return Err(Fault::new(&node.origin, path, format!("the file {} is empty", quote(file))));
    }
    Ok(Node::new(Value::Text(text.to_owned()), &node.origin))
}

/// The nearest known key, or all of them.
fn suggest(key: &str, known: &[&str]) -> String {
    let near = known.iter().map(|other| (distance(key, other), other)).min();
    match near {
        Some((distance, other)) if distance <= 1 + other.len() / 4 => format!("did you mean {other}?"),
        Some(_) => format!("known here: {}", known.join(", ")),
        None => "none is known here".to_owned(),
    }
}

/// How many letters must be added, taken away or changed to make one word of the other.
fn distance(from: &str, to: &str) -> usize {
    let mut row: Vec<usize> = (0..=to.chars().count()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in to.chars().enumerate() {
            let change = diagonal + usize::from(!a.eq_ignore_ascii_case(&b));
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

// === impl Deserializer ===

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let result = match &self.node.value {
            Value::Text(text) => visitor.visit_str(text),
            Value::Integer(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Datetime(value) => visitor.visit_string(value.to_string()),
            Value::List(list) => {
                let parent = self.clone();
                visitor.visit_seq(Items { parent, items: list.iter().enumerate() })
            }
            Value::Table(table) => visitor.visit_map(self.entries(table)),
        };
        result.map_err(|fault| self.place(fault))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.text() {
            Some("") if self.secret => Err(self.fault("must not be empty")),
            Some(text) => visitor.visit_str(text).map_err(|fault| self.place(fault)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if self.text() == Some("") && !self.secret { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if name == "Duration" && fields == ["secs", "nanos"] {
            return self.duration(visitor);
        }
        let Value::Table(table) = &self.node.value else {
            return self.deserialize_any(visitor);
        };
        let entries = self.known_entries(table, fields)?;
        visitor.visit_map(entries).map_err(|fault| self.place(fault))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let result = match (&self.node.value, self.text()) {
            (_, Some(text)) => visitor.visit_enum(IntoDeserializer::<Fault>::into_deserializer(text)),
            (Value::Table(table), None) => visitor.visit_enum(MapAccessDeserializer::new(self.entries(table))),
            _ => Err(Fault::custom(format!("must be one of {}", variants.join(", ")))),
        };
        result.map_err(|fault| self.place(fault))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier
    }
}

/// The items of a list.
struct Items<'t> {
    parent: Reader<'t>,
    items: std::iter::Enumerate<std::slice::Iter<'t, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Fault> {
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        let path = format!("{}[{index}]", self.parent.path);
        deserialize_in_place(seed, self.parent.inside(node, path, self.parent.secret)).map(Some)
    }
}

/// The entries of a table.
struct Entries<'t> {
    parent: Reader<'t>,
    entries: std::vec::IntoIter<(&'t str, Cow<'t, Node>)>,
    value: Option<(&'t str, Cow<'t, Node>)>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Fault> {
        self.value = self.entries.next();
        match &self.value {
            Some((key, _)) => seed.deserialize(StrDeserializer::new(key)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let (key, node) = self.value.take().ok_or_else(|| Fault::custom("a value without its key"))?;
        // A value that came from a file is treated as a secret: why else would it be in a file?
        let secret = self.parent.secret || is_secret(key) || matches!(node, Cow::Owned(_));
        let path = join(&self.parent.path, key);
        deserialize_in_place(seed, Reader { node: &node, path, secret, ..self.parent.clone() })
    }
}

/// Adds the place also to what a type says after it has read its text, such as that it is no address.
fn deserialize_in_place<'de, T: DeserializeSeed<'de>>(seed: T, reader: Reader<'_>) -> Result<T::Value, Fault> {
    seed.deserialize(reader.clone()).map_err(|fault| reader.place(fault))
}
