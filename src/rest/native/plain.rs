//! JSON of any shape, for the fields that take it, read as strictly as the rest.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::rest::native::place::Place;

/// How many messages an array and an object of `google.protobuf.Value` are.
const LEVELS_OF_ARRAY: usize = 2;
const LEVELS_OF_OBJECT: usize = 3;

pub(crate) const TOO_DEEP: &str = "lies too deep";

/// One value that is to come.
pub(crate) struct Plain<'p, 'a>(pub(crate) &'p mut Place<'a>);

// === impl Plain ===

impl<'de> DeserializeSeed<'de> for Plain<'_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.0.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Plain<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Value, A::Error> {
        read_items(items, self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<Value, A::Error> {
        read_entries(entries, self.0)
    }
}

/// The rest of an array that has begun.
pub(crate) fn read_items<'de, A: SeqAccess<'de>>(mut items: A, place: &mut Place<'_>) -> Result<Value, A::Error> {
    let mut list = Vec::new();
    let read = place.deeper(LEVELS_OF_ARRAY, |place| {
        while let Some(item) = place.at(list.len(), |place| items.next_element_seed(Plain(place)))? {
            list.push(item);
        }
        Ok(())
    });
    if let Some(read) = read {
        return read.map(|()| Value::Array(list));
    }
    while items.next_element::<IgnoredAny>()?.is_some() {}
    place.refuse(TOO_DEEP).map(|()| Value::Null)
}

/// The rest of an object that has begun.
pub(crate) fn read_entries<'de, A: MapAccess<'de>>(mut entries: A, place: &mut Place<'_>) -> Result<Value, A::Error> {
    let mut map = Map::new();
    let read = place.deeper(LEVELS_OF_OBJECT, |place| {
        while let Some(name) = entries.next_key::<Cow<'_, str>>()? {
            place.named(&name, |place| {
                let value = entries.next_value_seed(Plain(&mut *place))?;
                match map.insert(name.clone().into_owned(), value) {
                    Some(_) => place.refuse("is given more than once"),
                    None => Ok(()),
                }
            })?;
        }
        Ok(())
    });
    if let Some(read) = read {
        return read.map(|()| Value::Object(map));
    }
    while entries.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
    place.refuse(TOO_DEEP).map(|()| Value::Null)
}
