//! JSON as strangers send it, read strictly: one value and nothing after it, each key of an object once.
//!
//! A key that comes twice is read in two ways by two readers, so a code or a number that one of them checked is not the
//! one that the other uses (RFC 8259 §4).

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

struct Strict;

/// Reads a body. At most 128 levels deep.
///
/// Errors: what is wrong and where, without anything of the body in it.
pub fn parse(body: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body must be UTF-8".to_owned())?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = Strict.deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        let place = format!("line {}, column {}", error.line(), error.column());
        match error.classify() {
            serde_json::error::Category::Data => format!("a key comes twice in one object, {place}"),
            _ => format!("the body must be JSON, but is not from {place} on"),
        }
    })
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(Self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = entries.next_value_seed(Self)?;
            if object.insert(key, value).is_some() {
                return Err(A::Error::custom("a key comes twice"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_value_with_each_key_once_is_json() {
        for good in ["{}", " [1, -2, 3.5, true, null, \"\\u00e9\"] ", r#"{"a": {"a": 1}, "b": [{"a": 2}]}"#, "12"] {
            assert_eq!(parse(good.as_bytes()).unwrap(), serde_json::from_str::<Value>(good).unwrap(), "{good}");
        }
        let deep = "[".repeat(10_000);
        for bad in ["", "{", "{} {}", "{}x", "{'a': 1}", "[1,]", "NaN", r#"{"a": 1, "a": 1}"#, &deep] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(
            parse(br#"{"a": [{"k": 1, "k": 2}]}"#),
            Err("a key comes twice in one object, line 1, column 23".into())
        );
        assert!(parse(b"\"\xff\"").unwrap_err().contains("UTF-8"));
        assert!(!parse(br#"{"code": "123456", "code": "1"}"#).unwrap_err().contains("123456"));
    }
}
