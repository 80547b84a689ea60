//! From texts, in paths and queries, to fields of a call.

use std::collections::BTreeMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value};

use crate::rest::native::read::rival;
use crate::rest::native::scalars::{is_well_known, parse_plain};
use crate::violations::Violations;

/// What `String::from_utf8_lossy` and its kin write for bytes that are no text.
const NO_TEXT: char = '\u{fffd}';

/// Longest name that is repeated in an answer, in characters.
const MAX_NAME: usize = 64;

/// Sets the fields that a query names: `a=1&b.c=2&list=x&list=y`, in the form of HTML forms.
pub(crate) fn parse_query(query: &str, message: &mut DynamicMessage, elsewhere: &[&str], faults: &mut Violations) {
    for (name, texts) in pairs(query, &message.descriptor(), faults) {
        if elsewhere.contains(&name.as_str()) {
            faults.add(&name, "stands in the path, and cannot be given once more".to_owned());
        } else {
            parse_field(&name, &texts, message, faults);
        }
    }
}

/// Sets the field at a dotted path.
pub(crate) fn parse_field(path: &str, texts: &[String], message: &mut DynamicMessage, faults: &mut Violations) {
    if let Err(what) = set(path, texts, message) {
        faults.add(path, what);
    }
}

/// The names of all fields as the contract has them, each with all texts given for it.
fn pairs(query: &str, message: &MessageDescriptor, faults: &mut Violations) -> BTreeMap<String, Vec<String>> {
    let mut pairs = BTreeMap::<_, Vec<String>>::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let Some((name, text)) = form_urlencoded::parse(part.as_bytes()).next() else { continue };
        let shown: String = name.chars().take(MAX_NAME).collect();
        let Some(path) = canonical(&name, message) else {
            faults.add(&shown, "is no field that is known here".to_owned());
            continue;
        };
        if text.contains(NO_TEXT) {
            faults.add(&path, "must be UTF-8, with % before each byte".to_owned());
            continue;
        }
        // In this form a plus sign stands for a blank, with which no value of ours begins. Phone numbers begin with a plus
        // sign, and people write them as they are.
        let text = match part.split_once('=') {
            Some((_, raw)) if raw.starts_with('+') => text.replacen(' ', "+", 1),
            _ => text.into_owned(),
        };
        pairs.entry(path).or_default().push(text);
    }
    pairs
}

/// A dotted path with the names of the contract, for one with these or those of JSON.
fn canonical(path: &str, message: &MessageDescriptor) -> Option<String> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = message.get_field_by_name(first).or_else(|| message.get_field_by_json_name(first))?;
    match rest {
        None => Some(field.name().to_owned()),
        Some(rest) => {
            let inner = inner(&field)?;
            Some(format!("{}.{}", field.name(), canonical(rest, &inner)?))
        }
    }
}

/// The message whose fields can be named one by one.
fn inner(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(message) if !field.is_list() && !field.is_map() && !is_well_known(&message) => Some(message),
        _ => None,
    }
}

/// Errors: what would be right.
fn set(path: &str, texts: &[String], message: &mut DynamicMessage) -> Result<(), String> {
    let unknown = || "is no field that is known here".to_owned();
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let field = message.descriptor().get_field_by_name(first).ok_or_else(unknown)?;
    if let Some(other) = rival(message, &field) {
        return Err(format!("cannot be given beside {other}"));
    }
    match rest {
        Some(rest) => match message.get_field_mut(&field) {
            Value::Message(inner) => set(rest, texts, inner),
            _ => Err(unknown()),
        },
        None => {
            message.set_field(&field, value(&field, texts)?);
            Ok(())
        }
    }
}

fn value(field: &FieldDescriptor, texts: &[String]) -> Result<Value, String> {
    if field.is_map() || inner(field).is_some() {
        return Err("cannot be given as a whole; name its fields".to_owned());
    }
    let kind = field.kind();
    match texts {
        _ if field.is_list() => {
            texts.iter().map(|text| parse_plain(&kind, text)).collect::<Result<_, _>>().map(Value::List)
        }
        [text] => parse_plain(&kind, text),
        _ => Err("is given more than once".to_owned()),
    }
}
