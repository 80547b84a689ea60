//! From one JSON value, or one text of a path or a query, to one value of the contract, by the rules of proto3 JSON and
//! no more generous than these: a string never comes of a number.
//!
//! What is wrong is told by kinds of values, never by the value, which may be a secret.

use base64::Engine;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use prost_reflect::{DynamicMessage, EnumDescriptor, Kind, MapKey, MessageDescriptor, Value};

/// Where the types lie that have a form of their own in JSON.
const WELL_KNOWN: &str = "google.protobuf.";

/// What was given where one value is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Given<'a> {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(&'a str),
    Array,
    Object,
}

// === impl Given ===

impl Given<'_> {
    fn kind(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        }
    }
}

/// Whether a message has a form of its own in JSON instead of that of an object with its fields.
pub(crate) fn is_well_known(message: &MessageDescriptor) -> bool {
    message.full_name().starts_with(WELL_KNOWN)
}

/// Errors: what would be right.
pub(crate) fn parse_value(kind: &Kind, given: Given<'_>) -> Result<Value, String> {
    let read = match kind {
        Kind::String => parse_text(given).map(|text| Value::String(text.to_owned())),
        Kind::Bool => parse_bool(given).map(Value::Bool),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => parse_integer(given).map(Value::I32),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => parse_integer(given).map(Value::I64),
        Kind::Uint32 | Kind::Fixed32 => parse_integer(given).map(Value::U32),
        Kind::Uint64 | Kind::Fixed64 => parse_integer(given).map(Value::U64),
        Kind::Double => parse_number(given).map(Value::F64),
        Kind::Float => parse_number(given).and_then(to_single).map(Value::F32),
        Kind::Bytes => parse_bytes(given).map(|bytes| Value::Bytes(bytes.into())),
        Kind::Enum(names) => parse_enum(names, given).map(Value::EnumNumber),
        Kind::Message(message) => parse_message(message, given).map(Value::Message),
    };
    read.ok_or_else(|| format!("must be {}{}", wanted(kind), found(kind, given)))
}

/// The key of a map. Keys of JSON objects are text, whatever they stand for.
pub(crate) fn parse_key(kind: &Kind, text: &str) -> Result<MapKey, String> {
    let key = match kind {
        Kind::Bool => text.parse().ok().map(MapKey::Bool),
        _ => match parse_value(kind, Given::Text(text))? {
            Value::String(text) => Some(MapKey::String(text)),
            Value::I32(number) => Some(MapKey::I32(number)),
            Value::I64(number) => Some(MapKey::I64(number)),
            Value::U32(number) => Some(MapKey::U32(number)),
            Value::U64(number) => Some(MapKey::U64(number)),
            _ => None,
        },
    };
    key.ok_or_else(|| "has a key that is none".to_owned())
}

/// A text of a path or a query, where nothing but text can be written.
pub(crate) fn parse_plain(kind: &Kind, text: &str) -> Result<Value, String> {
    let given = match (kind, text) {
        (Kind::Bool, "true") => Given::Bool(true),
        (Kind::Bool, "false") => Given::Bool(false),
        _ => Given::Text(text),
    };
    parse_value(kind, given)
}

fn parse_text(given: Given<'_>) -> Option<&str> {
    match given {
        Given::Text(text) => Some(text),
        _ => None,
    }
}

fn parse_bool(given: Given<'_>) -> Option<bool> {
    match given {
        Given::Bool(value) => Some(value),
        _ => None,
    }
}

/// Whole numbers may be written as text, and with a fraction or an exponent that comes to nothing.
fn parse_integer<T: TryFrom<i128>>(given: Given<'_>) -> Option<T> {
    let number = match given {
        Given::Integer(number) => number,
        Given::Text(text) if is_whole(text) => text.parse().ok()?,
        // Beyond this a float no longer names one whole number.
        Given::Float(number) if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 => {
            format!("{number:.0}").parse().ok()?
        }
        _ => return None,
    };
    T::try_from(number).ok()
}

fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_number(given: Given<'_>) -> Option<f64> {
    match given {
        #[expect(clippy::cast_precision_loss, reason = "what a double cannot hold, JSON readers round")]
        Given::Integer(number) => Some(number as f64),
        Given::Float(number) => Some(number),
        Given::Text("NaN") => Some(f64::NAN),
        Given::Text("Infinity") => Some(f64::INFINITY),
        Given::Text("-Infinity") => Some(f64::NEG_INFINITY),
        Given::Text(text) if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => {
            text.parse().ok().filter(|number: &f64| number.is_finite())
        }
        _ => None,
    }
}

/// `None` for what no single-precision number is near.
fn to_single(number: f64) -> Option<f32> {
    #[expect(clippy::cast_possible_truncation, reason = "it is looked at next")]
    let single = number as f32;
    (single.is_finite() == number.is_finite()).then_some(single)
}

fn parse_bytes(given: Given<'_>) -> Option<Vec<u8>> {
    let text = parse_text(given)?;
    let alphabet = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet, config).decode(text).ok()
}

fn parse_enum(names: &EnumDescriptor, given: Given<'_>) -> Option<i32> {
    match given {
        Given::Text(text) => names.get_value_by_name(text).map(|value| value.number()),
        // One that no name is known for is for the call to refuse.
        Given::Integer(number) => number.try_into().ok(),
        _ => None,
    }
}

/// Those with a form of their own; the others are read field by field.
fn parse_message(message: &MessageDescriptor, given: Given<'_>) -> Option<DynamicMessage> {
    let json = match given {
        Given::Null => serde_json::Value::Null,
        Given::Bool(value) => value.into(),
        Given::Integer(number) => serde_json::Number::from_i128(number)?.into(),
        Given::Float(number) => serde_json::Number::from_f64(number)?.into(),
        Given::Text(text) => text.into(),
        Given::Array | Given::Object => return None,
    };
    read_form(message, json)
}

/// A value whose form in JSON is an array or an object of any shape.
pub(crate) fn parse_json_form(kind: &Kind, json: serde_json::Value) -> Option<Value> {
    read_form(kind.as_message()?, json).map(Value::Message)
}

fn read_form(message: &MessageDescriptor, json: serde_json::Value) -> Option<DynamicMessage> {
    let is_formed = is_well_known(message);
    is_formed.then(|| DynamicMessage::deserialize(message.clone(), json).ok()).flatten()
}

fn wanted(kind: &Kind) -> String {
    match kind {
        Kind::String => "a string".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => format!("a whole number from {} to {}", i32::MIN, i32::MAX),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => format!("a whole number from {} to {}", i64::MIN, i64::MAX),
        Kind::Uint32 | Kind::Fixed32 => format!("a whole number from 0 to {}", u32::MAX),
        Kind::Uint64 | Kind::Fixed64 => format!("a whole number from 0 to {}", u64::MAX),
        Kind::Double | Kind::Float => "a number".to_owned(),
        Kind::Bytes => "a string in base64".to_owned(),
        Kind::Enum(names) => {
            let named = names.values().filter(|value| value.number() != 0);
            format!("one of {}", named.map(|value| value.name().to_owned()).collect::<Vec<_>>().join(", "))
        }
        Kind::Message(message) => match message.full_name().strip_prefix(WELL_KNOWN) {
            Some("Timestamp") => "a time such as \"2026-11-22T05:16:00Z\"".to_owned(),
            Some("Duration") => "a number of seconds such as \"90s\" or \"1.5s\", as a string".to_owned(),
            Some("FieldMask") => "names of fields with commas between them, as a string".to_owned(),
            Some("Struct") => "an object".to_owned(),
            Some("ListValue") => "an array".to_owned(),
            Some(name) => format!("a google.protobuf.{name}"),
            None => "an object".to_owned(),
        },
    }
}

/// What was given instead, where that by itself tells the fault.
fn found(kind: &Kind, given: Given<'_>) -> String {
    let fits = match kind {
        Kind::String | Kind::Bytes | Kind::Enum(_) => matches!(given, Given::Text(_)),
        Kind::Message(message) => matches!(given, Given::Text(_)) && is_well_known(message),
        Kind::Bool => false,
        _ => matches!(given, Given::Integer(_) | Given::Float(_)),
    };
    if fits { String::new() } else { format!(", but is {}", given.kind()) }
}
