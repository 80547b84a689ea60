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

use crate::error::{Error, Result};
use crate::rest::native::place::{BODY, Place};
use crate::rest::native::plain::{self, TOO_DEEP};
use crate::rest::native::scalars::{Given, is_well_known, parse_json_form, parse_key, parse_value};

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
    let mut place = Place::new(elsewhere);
    let mut json = serde_json::Deserializer::from_str(text);
    let reader = Reader { wanted: Wanted::Message(message), place: &mut place };
    let read = reader.deserialize(&mut json).and_then(|read| json.end().map(|()| read));
    let faults = place.into_faults();
    match read {
        Err(error) if error.classify() != Category::Data => {
            Err(Error::invalid(BODY, format!("must be one JSON object: {error}")))
        }
        Ok(Some(Value::Message(message))) if faults.is_empty() => Ok(message),
        _ => Err(Error::invalid_fields(faults)),
    }
}

// === impl Reader ===

impl<'de> DeserializeSeed<'de> for Reader<'_, '_> {
    /// `None` where nothing was set, or the value was refused.
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.place.count()?;
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
        match &self.wanted {
            Wanted::List(kind) => {
                let mut list = Vec::new();
                for index in 0.. {
                    let read = self
                        .place
                        .at(index, |place| items.next_element_seed(Reader { wanted: Wanted::of(kind, None), place }))?;
                    match read {
                        None => break,
                        Some(item) => list.extend(item),
                    }
                }
                Ok(Some(Value::List(list)))
            }
            Wanted::One(Kind::Message(_)) => {
                let json = plain::read_items(items, self.place)?;
                self.take_form(json, Given::Array)
            }
            _ => {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                self.take(Given::Array)
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        match self.wanted {
            Wanted::Message(message) => {
                let mut message = message;
                let read = self.place.deeper(1, |place| read_fields(&mut message, &mut entries, place));
                if let Some(read) = read {
                    return read.map(|()| Some(Value::Message(message)));
                }
                skip(entries)?;
                self.place.refuse(TOO_DEEP).map(|()| None)
            }
            Wanted::Map { key, value } => read_entries(&key, &value, entries, self.place),
            Wanted::One(Kind::Message(_)) => {
                let json = plain::read_entries(entries, self.place)?;
                self.take_form(json, Given::Object)
            }
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

    /// An array or an object where the message that is wanted may have that form.
    fn take_form<E: serde::de::Error>(self, json: serde_json::Value, given: Given<'_>) -> Result<Option<Value>, E> {
        match &self.wanted {
            Wanted::One(kind) => match parse_json_form(kind, json) {
                Some(value) => Ok(Some(value)),
                None => self.take(given),
            },
            _ => self.take(given),
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
    message: &mut DynamicMessage,
    entries: &mut A,
    place: &mut Place<'_>,
) -> Result<(), A::Error> {
    let descriptor = message.descriptor();
    let mut seen = BTreeSet::new();
    while let Some(name) = entries.next_key::<Cow<'_, str>>()? {
        let field = descriptor.get_field_by_name(&name).or_else(|| descriptor.get_field_by_json_name(&name));
        let Some(field) = field else {
            place.named(&name, |place| place.refuse("is no field that is known here"))?;
            entries.next_value::<IgnoredAny>()?;
            continue;
        };
        place.named(field.name(), |place| {
            if place.stands_elsewhere() {
                place.refuse("stands in the path, and cannot be given once more")?;
            }
            if !seen.insert(field.number()) {
                place.refuse("is given more than once")?;
            }
            let reader = Reader { wanted: Wanted::at(&field, message), place: &mut *place };
            let read = if takes_null(&field) {
                entries.next_value_seed(reader)?
            } else {
                entries.next_value_seed(Nullable(reader))?
            };
            let Some(value) = read else { return Ok(()) };
            if let Some(other) = rival(message, &field) {
                place.refuse(format!("cannot be given beside {other}"))?;
            }
            message.set_field(&field, value);
            Ok(())
        })?;
    }
    Ok(())
}

/// Whether null is a value of a field, as any other.
fn takes_null(field: &FieldDescriptor) -> bool {
    let kind = field.kind();
    let is_value = kind.as_message().is_some_and(|message| message.full_name() == "google.protobuf.Value");
    is_value && !field.is_list() && !field.is_map()
}

fn read_entries<'de, A: MapAccess<'de>>(
    key_kind: &Kind,
    value_kind: &Kind,
    mut entries: A,
    place: &mut Place<'_>,
) -> Result<Option<Value>, A::Error> {
    let mut map = HashMap::<MapKey, Value>::new();
    while let Some(name) = entries.next_key::<Cow<'_, str>>()? {
        place.named(&name, |place| {
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

#[cfg(test)]
mod tests {
    use prost_reflect::{DescriptorPool, MessageDescriptor, SerializeOptions};
    use prost_types::field_descriptor_proto::{Label, Type};
    use prost_types::{
        DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
        MessageOptions,
    };

    use super::*;

    fn field(number: i32, name: &str, kind: Type, named: &str) -> FieldDescriptorProto {
        FieldDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            label: Some(Label::Optional.into()),
            r#type: Some(kind.into()),
            type_name: (!named.is_empty()).then(|| named.to_owned()),
            ..FieldDescriptorProto::default()
        }
    }

    fn many(field: FieldDescriptorProto) -> FieldDescriptorProto {
        FieldDescriptorProto { label: Some(Label::Repeated.into()), ..field }
    }

    fn entry(name: &str, key: Type, value: FieldDescriptorProto) -> DescriptorProto {
        DescriptorProto {
            name: Some(name.to_owned()),
            field: vec![field(1, "key", key, ""), value],
            options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
            ..DescriptorProto::default()
        }
    }

    /// A message with a field of every kind, and one of its own kind.
    fn sample() -> MessageDescriptor {
        let well_known =
            |number, name, kind: &str| field(number, name, Type::Message, &format!(".google.protobuf.{kind}"));
        let message = DescriptorProto {
            name: Some("Sample".to_owned()),
            field: vec![
                field(1, "text", Type::String, ""),
                field(2, "flag", Type::Bool, ""),
                field(3, "small", Type::Int32, ""),
                field(4, "large", Type::Int64, ""),
                field(5, "count", Type::Uint32, ""),
                field(6, "total", Type::Uint64, ""),
                field(7, "share", Type::Double, ""),
                field(8, "ratio", Type::Float, ""),
                field(9, "raw", Type::Bytes, ""),
                field(10, "colour", Type::Enum, ".sample.Colour"),
                well_known(11, "time", "Timestamp"),
                well_known(12, "wait", "Duration"),
                well_known(13, "any", "Value"),
                well_known(14, "object", "Struct"),
                well_known(15, "list", "ListValue"),
                well_known(16, "name", "StringValue"),
                many(field(17, "numbers", Type::Int32, "")),
                many(field(18, "cells", Type::Message, ".sample.Sample.CellsEntry")),
                many(field(19, "by_number", Type::Message, ".sample.Sample.ByNumberEntry")),
                many(field(20, "by_flag", Type::Message, ".sample.Sample.ByFlagEntry")),
                field(21, "inner", Type::Message, ".sample.Sample"),
                many(field(22, "others", Type::Message, ".sample.Sample")),
            ],
            nested_type: vec![
                entry("CellsEntry", Type::String, well_known(2, "value", "Value")),
                entry("ByNumberEntry", Type::Int32, field(2, "value", Type::String, "")),
                entry("ByFlagEntry", Type::Bool, field(2, "value", Type::String, "")),
            ],
            ..DescriptorProto::default()
        };
        let value = |(number, name): (i32, &str)| EnumValueDescriptorProto {
            name: Some(name.to_owned()),
            number: Some(number),
            options: None,
        };
        let file = FileDescriptorProto {
            name: Some("sample.proto".to_owned()),
            package: Some("sample".to_owned()),
            syntax: Some("proto3".to_owned()),
            dependency: ["timestamp", "duration", "struct", "wrappers"]
                .map(|name| format!("google/protobuf/{name}.proto"))
                .into(),
            message_type: vec![message],
            enum_type: vec![EnumDescriptorProto {
                name: Some("Colour".to_owned()),
                value: [(0, "COLOUR_UNSPECIFIED"), (1, "COLOUR_RED")].map(value).into(),
                ..EnumDescriptorProto::default()
            }],
            ..FileDescriptorProto::default()
        };
        let mut pool = DescriptorPool::global();
        pool.add_file_descriptor_proto(file).unwrap();
        pool.get_message_by_name("sample.Sample").unwrap()
    }

    fn read(text: &str) -> Result<DynamicMessage> {
        parse_json(text.as_bytes(), DynamicMessage::new(sample()), &[])
    }

    /// What was understood, in the canonical form.
    fn understood(text: &str) -> String {
        let message = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut json = Vec::new();
        let options = SerializeOptions::new().use_proto_field_name(true);
        message.serialize_with_options(&mut serde_json::Serializer::new(&mut json), &options).unwrap();
        String::from_utf8(json).unwrap()
    }

    fn refused(text: &str) -> String {
        read(text).expect_err(text).message().to_owned()
    }

    #[test]
    fn every_kind_of_value_is_read_as_it_is_written() {
        for same in [
            r#"{"text":"a","flag":true,"small":-7,"large":"-9007199254740993","count":7,"total":"18446744073709551615"}"#,
            r#"{"share":1.5,"ratio":0.25,"raw":"AP8=","colour":"COLOUR_RED"}"#,
            r#"{"time":"2026-11-22T05:16:00.125Z","wait":"1.500s","name":"x"}"#,
            r#"{"any":null}"#,
            r#"{"any":{"a":[1.0,"x",null,true,{"b":[]}]}}"#,
            r#"{"any":[]}"#,
            r#"{"any":"x"}"#,
            r#"{"object":{"a":{"b":null}},"list":[1.0,[2.0]]}"#,
            r#"{"numbers":[1,2,3]}"#,
            r#"{"cells":{"a":null}}"#,
            r#"{"by_number":{"-7":"x"}}"#,
            r#"{"by_flag":{"true":"x"}}"#,
            r#"{"inner":{"inner":{"text":"deep"}},"others":[{"text":"a"},{}]}"#,
        ] {
            assert_eq!(understood(same), same);
        }
    }

    #[test]
    fn numbers_have_the_spellings_of_proto3_json() {
        for (written, read) in [
            (r#"{"small":"7"}"#, r#"{"small":7}"#),
            (r#"{"small":7.0}"#, r#"{"small":7}"#),
            (r#"{"small":7e0}"#, r#"{"small":7}"#),
            (r#"{"large":7}"#, r#"{"large":"7"}"#),
            (r#"{"total":18446744073709551615}"#, r#"{"total":"18446744073709551615"}"#),
            (r#"{"share":"1.5"}"#, r#"{"share":1.5}"#),
            (r#"{"share":7}"#, r#"{"share":7.0}"#),
            (r#"{"share":"-Infinity"}"#, r#"{"share":"-Infinity"}"#),
            (r#"{"ratio":"NaN"}"#, r#"{"ratio":"NaN"}"#),
            (r#"{"raw":"_-8"}"#, r#"{"raw":"/+8="}"#),
            (r#"{"colour":1}"#, r#"{"colour":"COLOUR_RED"}"#),
            (r#"{"colour":7}"#, r#"{"colour":7}"#),
            (r#"{"time":"2026-11-22T13:16:00+08:00"}"#, r#"{"time":"2026-11-22T05:16:00Z"}"#),
            (r#"{"byNumber":{}, "text": null, "inner": null, "numbers": null}"#, "{}"),
        ] {
            assert_eq!(understood(written), read, "{written}");
        }
    }

    #[test]
    fn what_is_of_another_kind_is_refused_by_its_place() {
        for (text, what) in [
            (r#"{"small":2147483648}"#, "small: must be a whole number from -2147483648 to 2147483647"),
            (r#"{"small":1.5}"#, "small: must be a whole number from -2147483648 to 2147483647"),
            (r#"{"small":"1.0"}"#, "small: must be a whole number from -2147483648 to 2147483647, but is a string"),
            (r#"{"small":" 1"}"#, "small: must be a whole number from -2147483648 to 2147483647, but is a string"),
            (r#"{"large":1e300}"#, "large: must be a whole number from -9223372036854775808 to 9223372036854775807"),
            (
                r#"{"large":9007199254740993.0}"#,
                "large: must be a whole number from -9223372036854775808 to 9223372036854775807",
            ),
            (r#"{"count":-1}"#, "count: must be a whole number from 0 to 4294967295"),
            (r#"{"total":"-1"}"#, "total: must be a whole number from 0 to 18446744073709551615, but is a string"),
            (r#"{"share":"x"}"#, "share: must be a number, but is a string"),
            (r#"{"share":"inf"}"#, "share: must be a number, but is a string"),
            (r#"{"share":"1e999"}"#, "share: must be a number, but is a string"),
            (r#"{"ratio":1e300}"#, "ratio: must be a number"),
            (r#"{"flag":"true"}"#, "flag: must be true or false, but is a string"),
            (r#"{"raw":"*"}"#, "raw: must be a string in base64"),
            (r#"{"colour":"RED"}"#, "colour: must be one of COLOUR_RED"),
            (r#"{"time":"yesterday"}"#, "time: must be a time such as \"2026-11-22T05:16:00Z\""),
            (r#"{"time":{"seconds":1}}"#, "time: must be a time such as \"2026-11-22T05:16:00Z\", but is an object"),
            (
                r#"{"wait":["1s"]}"#,
                "wait: must be a number of seconds such as \"90s\" or \"1.5s\", as a string, but is an array",
            ),
            (r#"{"object":[1]}"#, "object: must be an object, but is an array"),
            (r#"{"list":{"a":1}}"#, "list: must be an array, but is an object"),
            (r#"{"name":7}"#, "name: must be a google.protobuf.StringValue, but is a number"),
            (r#"{"numbers":7}"#, "numbers: must be an array"),
            (
                r#"{"numbers":[1,[2]]}"#,
                "numbers[1]: must be a whole number from -2147483648 to 2147483647, but is an array",
            ),
            (
                r#"{"by_number":{"x":"y"}}"#,
                "by_number.x: must be a whole number from -2147483648 to 2147483647, but is a string",
            ),
            (r#"{"by_flag":{"yes":"y"}}"#, "by_flag.yes: has a key that is none"),
            (r#"{"by_number":{"1":"y","01":"z"}}"#, "by_number.01: is given more than once"),
            (
                r#"{"inner":{"others":[{},{"inner":{"text":7}}]}}"#,
                "inner.others[1].inner.text: must be a string, but is a number",
            ),
            (r#"{"any":{"a":{"b":1,"b":2}}}"#, "any.a.b: is given more than once"),
            (r#"{"cells":{"a":[{"b":1},{"b":1,"b":1}]}}"#, "cells.a[1].b: is given more than once"),
        ] {
            assert_eq!(refused(text), what, "{text}");
        }
    }

    #[test]
    fn what_lies_too_deep_is_refused_before_anybody_fails_on_it() {
        let nest = |times: usize| format!("{}{{}}{}", r#"{"inner":"#.repeat(times), "}".repeat(times));
        let message = read(&nest(49)).unwrap();
        let encoded = prost::Message::encode_to_vec(&message);
        assert!(DynamicMessage::decode(sample(), encoded.as_slice()).is_ok());
        let path = ["inner"; 50].join(".");
        assert_eq!(refused(&nest(50)), format!("{path}: lies too deep"));
        let list = |times: usize| format!(r#"{{"any":{}{}}}"#, "[".repeat(times), "]".repeat(times));
        let message = read(&list(24)).unwrap();
        let encoded = prost::Message::encode_to_vec(&message);
        assert!(DynamicMessage::decode(sample(), encoded.as_slice()).is_ok());
        assert!(refused(&list(25)).ends_with("[0]: lies too deep"));
    }

    #[test]
    fn there_are_only_so_many_values() {
        let numbers = |count: usize| format!(r#"{{"numbers":[{}1]}}"#, "1,".repeat(count - 1));
        // The object and the array are values, too.
        read(&numbers(19_997)).unwrap();
        assert_eq!(refused(&numbers(30_000)), "body: must have at most 20000 values");
        let any = numbers(30_000).replace("numbers", "any");
        assert_eq!(refused(&any), "body: must have at most 20000 values");
    }

    #[test]
    fn fields_that_were_set_before_stay_and_cannot_be_set_again() {
        let mut message = DynamicMessage::new(sample());
        message.set_field_by_name("text", Value::String("before".to_owned()));
        let read = parse_json(br#"{"small":1}"#, message.clone(), &["text"]).unwrap();
        assert_eq!(read.get_field_by_name("text").unwrap().as_str(), Some("before"));
        let error = parse_json(br#"{"text":"before"}"#, message, &["text"]).unwrap_err();
        assert_eq!(error.message(), "text: stands in the path, and cannot be given once more");
    }
}
