//! A contact as campaigns and contact lists give it: a number, and words that belong to it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::recipient::Phone;
use crate::rest::octopush::coerce::{clean, cut, parse_phone, text, within_line};
use crate::rest::octopush::refusal::Refusal;
use crate::tenant::Tenant;

/// The words, each also the name of its place in a text.
pub(super) const WORDS: [&str; 7] = ["first_name", "last_name", "param1", "param2", "param3", "param4", "param5"];

/// Most characters of each.
const MAX_WORD: usize = 50;

/// Most contacts of one call.
const MAX_CONTACTS: usize = 500;

pub(super) struct Contact {
    pub(super) phone: Phone,
    /// By name, those that it has.
    pub(super) words: BTreeMap<&'static str, String>,
}

/// The contacts of a call, without those whose number is none.
///
/// Errors: when there is no list, or nothing in it, or too much; when no number is left, what is wrong with the first.
pub(super) fn parse_contacts(list: Option<&Value>, tenant: &Tenant) -> Result<Vec<Contact>, Refusal> {
    let list = match list {
        Some(Value::Array(list)) => list.as_slice(),
        Some(one @ (Value::Object(_) | Value::String(_))) => std::slice::from_ref(one),
        _ => return Err(Refusal::bad(110, "The list of recipients is missing.")),
    };
    if list.is_empty() {
        return Err(Refusal::bad(103, "There is no recipient."));
    }
    if list.len() > MAX_CONTACTS {
        return Err(Refusal::bad(305, format!("There are too many recipients, at most {MAX_CONTACTS} are taken.")));
    }
    let mut first = None;
    let mut contacts = Vec::with_capacity(list.len());
    for one in list {
        match Contact::parse(one, tenant) {
            Ok(contact) => contacts.push(contact),
            Err(refusal) => drop(first.get_or_insert(refusal)),
        }
    }
    match first {
        Some(refusal) if contacts.is_empty() => Err(refusal),
        _ => Ok(contacts),
    }
}

// === impl Contact ===

impl Contact {
    /// A number alone is a contact, too.
    fn parse(value: &Value, tenant: &Tenant) -> Result<Self, Refusal> {
        let nothing = Map::new();
        let (phone, fields) = match value {
            Value::Object(fields) => (fields.get("phone_number"), fields),
            other => (Some(other), &nothing),
        };
        let phone = parse_phone(phone, tenant)?;
        let word = |name: &'static str| Some((name, cut(&clean(&text(fields.get(name)?)?), MAX_WORD)));
        let words = WORDS.iter().filter_map(|name| word(name)).filter(|(_, word)| !word.is_empty());
        Ok(Self { phone, words: words.collect() })
    }

    /// A text with the contact's words in their places, each on the line that it stands on. What a word holds is not looked
    /// at again. A place whose word the contact lacks is left out.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('{') {
            filled.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let place = WORDS.iter().find(|name| rest.strip_prefix(**name).is_some_and(|rest| rest.starts_with('}')));
            match place {
                Some(name) => {
                    filled.push_str(&self.words.get(name).map(|word| within_line(word)).unwrap_or_default());
                    rest = &rest[name.len() + 1..];
                }
                None => filled.push('{'),
            }
        }
        filled.push_str(rest);
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_once() {
        let words = [("first_name", "{param1}"), ("param1", "{last_name}")];
        let words = words.into_iter().map(|(name, word)| (name, word.to_owned())).collect();
        let contact = Contact { phone: Phone::parse("+33611223344", None).unwrap(), words };
        for (text, wanted) in [
            ("Hi {first_name}: {param1}{param2}.", "Hi {param1}: {last_name}."),
            ("{", "{"),
            ("{{first_name}}", "{{param1}}"),
            ("{first_name", "{first_name"),
            ("{param6} {First_name} }{", "{param6} {First_name} }{"),
            ("é{param1}é", "é{last_name}é"),
        ] {
            assert_eq!(contact.fill(text), wanted, "{text}");
        }
    }
}
