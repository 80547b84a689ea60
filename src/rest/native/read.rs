//! From the JSON of a body to the message of a call. Stricter than most readers of JSON: what is given twice or under a
//! name that the call does not know is refused, and whatever is refused is told by its place.
//!
//! It reads along the contract, so what the contract has no place for is skipped and never kept in memory.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::fmt;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;

use crate::error::{Error, Result, Violation};
use crate::rest::native::scalars::{Given, is_well_known, parse_key, parse_value};

/// The name of the body as a whole, where a field is to be named.
pub(crate) const BODY: &str = "body";

/// So many faults are told at most; who has more has other trouble.
const MAX_FAULTS: usize = 20;

/// Longest part of a name that is none of ours, in characters.
const MAX_NAME: usize = 64;

/// So many objects may lie in each other: half of what is read further on.
const MAX_DEPTH: usize = 50;

/// Where we are, and what was found wrong so far.
struct Place<'a> {
    /// Dotted, as in `recipient.phone`.
    path: String,
    /// The fields that stand elsewhere, and so have no place in the body.
    elsewhere: &'a [&'static str],
    /// How many objects it lies in.
    depth: usize,
    faults: Vec<Violation>,
}

/// One value that is to come.
struct Reader<'p, 'a> {
    wanted: Wanted,
    place: &'p mut Place<'a>,
}

enum Wanted {
    /// Starts out as what other parts of the request have set in it.
    Message(DynamicMessage),
    One(Kind),
    List(Kind),
    Map {
        key: Kind,
        value: Kind,
    },
}

/// Reads `text` into `message`, in which the fields `elsewhere` are set already. No text at all is an empty object.
///
/// Errors: `Invalid` that names each place; nothing that was given is in it but names of fields.
pub(crate) fn parse_json(text: &[u8], message: DynamicMessage, elsewhere: &[&'static str]) -> Result<DynamicMessage> {
    if text.is_empty() {
        return Ok(message);
    }
    let text = std::str::from_utf8(text).map_err(|error| {
        Error::invalid(BODY, format!("must be UTF-8, but is not from byte {}", error.valid_up_to()))
    })?;
    let mut place = Place { path: String::new(), elsewhere, depth: 0, faults: Vec::new() };
    let mut json = serde_json::Deserializer::from_str(text);
    let reader = Reader { wanted: Wanted::Message(message), place: &mut place };
    let read = reader.deserialize(&mut json).and_then(|read| json.end().map(|()| read));
    match read {
        Err(error) if error.classify() != Category::Data => {
            Err(Error::invalid(BODY, format!("must be one JSON object: {error}")))
        }
        Ok(Some(Value::Message(message))) if place.faults.is_empty() => Ok(message),
        _ => Err(Error::invalid_fields(place.faults)),
    }
}

// === impl Place ===

impl Place<'_> {
    /// Does something with the value at `step` (`.name` or `[index]`) of this place.
    fn within<T>(&mut self, step: &str, read: impl FnOnce(&mut Self) -> T) -> T {
        let length = self.path.len();
        self.path.push_str(if length == 0 { step.trim_start_matches('.') } else { step });
        let value = read(self);
        self.path.truncate(length);
        value
    }

    /// Errors: when enough was found.
    fn refuse<E: serde::de::Error>(&mut self, what: impl Into<String>) -> Result<(), E> {
        let field = if self.path.is_empty() { BODY.to_owned() } else { self.path.clone() };
        self.faults.push(Violation { field, description: what.into() });
        if self.faults.len() < MAX_FAULTS { Ok(()) } else { Err(E::custom("enough")) }
    }
}

// === impl Reader ===

impl<'de> DeserializeSeed<'de> for Reader<'_, '_> {
    /// `None` where nothing was set, or the value was refused.
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_, '_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        self.take(Given::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Self::Value, E> {
        self.take(Given::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
        self.take(Given::Integer(value.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
        self.take(Given::Integer(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
        self.take(Given::Float(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Self::Value, E> {
        self.take(Given::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let Wanted::List(kind) = self.wanted else {
            while items.next_element::<IgnoredAny>()?.is_some() {}
            return self.take(Given::Array);
        };
        let mut list = Vec::new();
        for index in 0.. {
            let read = self.place.within(&format!("[{index}]"), |place| {
                items.next_element_seed(Reader { wanted: Wanted::of(&kind, None), place })
            })?;
            match read {
                None => break,
                Some(item) => list.extend(item),
            }
        }
        Ok(Some(Value::List(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Self::Value, A::Error> {
        match self.wanted {
            Wanted::Message(_) if self.place.depth == MAX_DEPTH => {
                skip(entries)?;
                self.place.refuse("lies in too many objects").map(|()| None)
            }
            Wanted::Message(message) => {
                self.place.depth += 1;
                let read = read_fields(message, entries, &mut *self.place);
                self.place.depth -= 1;
                read
            }
            Wanted::Map { key, value } => read_entries(&key, &value, entries, self.place),
            Wanted::One(_) | Wanted::List(_) => {
                skip(entries)?;
                self.take(Given::Object)
            }
        }
    }
}

impl Reader<'_, '_> {
    fn take<E: serde::de::Error>(self, given: Given<'_>) -> Result<Option<Value>, E> {
        let read = match &self.wanted {
            Wanted::One(kind) => parse_value(kind, given),
            Wanted::Message(message) => parse_value(&Kind::Message(message.descriptor()), given),
            Wanted::List(_) => Err("must be an array".to_owned()),
            Wanted::Map { .. } => Err("must be an object".to_owned()),
        };
        match read {
            Ok(value) => Ok(Some(value)),
            Err(what) => self.place.refuse(what).map(|()| None),
        }
    }
}

// === impl Wanted ===

impl Wanted {
    /// `begun`: what is set of it already.
    fn of(kind: &Kind, begun: Option<&Value>) -> Self {
        match kind {
            Kind::Message(message) if !is_well_known(message) => Self::Message(match begun {
                Some(Value::Message(begun)) => begun.clone(),
                _ => DynamicMessage::new(message.clone()),
            }),
            other => Self::One(other.clone()),
        }
    }

    fn at(field: &FieldDescriptor, message: &DynamicMessage) -> Self {
        match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                Self::Map { key: entry.map_entry_key_field().kind(), value: entry.map_entry_value_field().kind() }
            }
            kind if field.is_list() => Self::List(kind),
            kind => Self::of(&kind, message.has_field(field).then(|| message.get_field(field)).as_deref()),
        }
    }
}

/// What may be null, which stands for nothing there.
struct Nullable<'p, 'a>(Reader<'p, 'a>);

impl<'de> DeserializeSeed<'de> for Nullable<'_, '_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Nullable<'_, '_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.deserialize(deserializer)
    }
}

fn read_fields<'de, A: MapAccess<'de>>(
    mut message: DynamicMessage,
    mut entries: A,
    place: &mut Place<'_>,
) -> Result<Option<Value>, A::Error> {
    let descriptor = message.descriptor();
    let mut seen = BTreeSet::new();
    while let Some(name) = entries.next_key::<Cow<'_, str>>()? {
        let field = descriptor.get_field_by_name(&name).or_else(|| descriptor.get_field_by_json_name(&name));
        let Some(field) = field else {
            place.within(&step(&name), |place| place.refuse("is no field that is known here"))?;
            entries.next_value::<IgnoredAny>()?;
            continue;
        };
        place.within(&step(field.name()), |place| {
            if place.elsewhere.contains(&place.path.as_str()) {
                place.refuse("stands in the path, and cannot be given once more")?;
            }
            if !seen.insert(field.number()) {
                place.refuse("is given more than once")?;
            }
            let wanted = Wanted::at(&field, &message);
            let Some(value) = entries.next_value_seed(Nullable(Reader { wanted, place }))? else { return Ok(()) };
            if let Some(other) = rival(&message, &field) {
                place.refuse(format!("cannot be given beside {other}"))?;
            }
            message.set_field(&field, value);
            Ok(())
        })?;
    }
    Ok(Some(Value::Message(message)))
}

fn read_entries<'de, A: MapAccess<'de>>(
    key_kind: &Kind,
    value_kind: &Kind,
    mut entries: A,
    place: &mut Place<'_>,
) -> Result<Option<Value>, A::Error> {
    let mut map = HashMap::<MapKey, Value>::new();
    while let Some(name) = entries.next_key::<Cow<'_, str>>()? {
        place.within(&step(&name), |place| {
            let wanted = Wanted::of(value_kind, None);
            let value = entries.next_value_seed(Reader { wanted, place: &mut *place })?;
            match (parse_key(key_kind, &name), value) {
                (Err(what), _) => place.refuse(what),
                (Ok(key), Some(value)) => match map.insert(key, value) {
                    Some(_) => place.refuse("is given more than once"),
                    None => Ok(()),
                },
                (Ok(_), None) => Ok(()),
            }
        })?;
    }
    Ok(Some(Value::Map(map)))
}

fn skip<'de, A: MapAccess<'de>>(mut entries: A) -> Result<(), A::Error> {
    while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    Ok(())
}

/// The field that is set already of those of which only one can be.
pub(crate) fn rival(message: &DynamicMessage, field: &FieldDescriptor) -> Option<String> {
    let oneof = field.containing_oneof()?;
    let set = oneof.fields().find(|other| other != field && message.has_field(other));
    set.map(|other| other.name().to_owned())
}

fn step(name: &str) -> String {
    format!(".{}", name.chars().take(MAX_NAME).collect::<String>())
}
