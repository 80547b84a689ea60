//! The fields of a body, read one after the other; all that is wrong is told at once. Types are those of the vendor's
//! page and nothing is coerced; what may be left out may also be null.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::recipient::Phone;
use crate::rest::input::Call;
use crate::rest::simpu::problem::{Fault, Problem, Wrong};
use crate::rest::simpu::version::Version;
use crate::vendor::Channel;

const CHANNELS: &[&str] = &["sms", "whatsapp"];

/// What is there, and what was found wrong so far.
pub(super) struct Fields {
    object: Map<String, Value>,
    wrong: Vec<Wrong>,
}

/// A number in E.164, with or without its plus sign, in digits and nothing else. Errors: what is wrong, in words.
pub(super) fn parse_phone(text: &str) -> Result<Phone, &'static str> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("a phone number has only digits, beginning with the country code");
    }
    Phone::parse(&format!("+{digits}"), None).map_err(|_| "no country has such a phone number")
}

// === impl Fields ===

impl Fields {
    pub(super) fn read(call: &Call) -> Result<Self, Problem> {
        let object = call.json().map_err(|trouble| Problem::of(&trouble, "recipient"))?;
        Ok(Self { object, wrong: Vec::new() })
    }

    /// Of a call that needs no body.
    pub(super) fn read_or_none(call: &Call) -> Result<Self, Problem> {
        if call.body.is_empty() { Ok(Self { object: Map::new(), wrong: Vec::new() }) } else { Self::read(call) }
    }

    /// Notes that a field is wrong.
    pub(super) fn add(&mut self, field: impl Into<String>, fault: Fault) {
        self.wrong.push(Wrong { field: field.into(), fault });
    }

    /// The value, or `None` with what is wrong noted.
    pub(super) fn note<T>(&mut self, field: &str, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.add(field, fault)).ok()
    }

    /// What the call needs, which is there when nothing was found wrong.
    pub(super) fn done<T>(self, needed: Option<T>) -> Result<T, Problem> {
        needed.filter(|_| self.wrong.is_empty()).ok_or_else(|| Problem::fields(self.wrong))
    }

    /// Whatever stands there; null counts as nothing.
    pub(super) fn take(&mut self, name: &str) -> Option<Value> {
        self.object.remove(name).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.object.get(name).is_some_and(|value| !value.is_null())
    }

    pub(super) fn required(&mut self, name: &str) -> Option<String> {
        if !self.has(name) {
            self.add(name, Fault::Missing);
        }
        self.text(name)
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text),
            _ => self.note(name, Err(Fault::NotText)),
        }
    }

    /// A text of 1 to `most` characters.
    pub(super) fn text_within(&mut self, name: &str, most: usize) -> Option<String> {
        let text = self.text(name)?;
        match text.chars().count() {
            0 => self.note(name, Err(Fault::ShorterThan(1))),
            count if count > most => self.note(name, Err(Fault::LongerThan(most))),
            _ => Some(text),
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(flag) => Some(flag),
            _ => self.note(name, Err(Fault::NotFlag)),
        }
    }

    /// A whole number in the query.
    pub(super) fn whole_in_query(&mut self, call: &Call, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let read = match call.query(name)?.parse::<u64>() {
            Ok(number) if number < *range.start() => Err(Fault::AtLeast(*range.start())),
            Ok(number) if number > *range.end() => Err(Fault::AtMost(*range.end())),
            Ok(number) => Ok(number),
            Err(_) => Err(Fault::NotParsed),
        };
        self.note(name, read)
    }

    /// A whole number, which may be written as 6.0.
    pub(super) fn whole(&mut self, name: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.take(name)?;
        let number = value.as_f64().ok_or(Fault::NotWhole);
        let checked = number.and_then(|number| match number {
            number if number.fract() != 0.0 => Err(Fault::HasFraction),
            number if number < *range.start() as f64 => Err(Fault::AtLeast(*range.start())),
            number if number > *range.end() as f64 => Err(Fault::AtMost(*range.end())),
            number => Ok(number as u64),
        });
        self.note(name, checked)
    }

    /// The old interface wrote it in both cases.
    pub(super) fn channel(&mut self, version: Version) -> Channel {
        let read = match self.take("channel") {
            None => return Channel::Sms,
            Some(Value::String(word)) => {
                let word = if version == Version::First { word.to_ascii_lowercase() } else { word };
                match word.as_str() {
                    "sms" => Ok(Channel::Sms),
                    "whatsapp" => Ok(Channel::WhatsApp),
                    _ => Err(Fault::NoneOf(CHANNELS)),
                }
            }
            Some(_) => Err(Fault::NoneOf(CHANNELS)),
        };
        self.note("channel", read).unwrap_or(Channel::Sms)
    }

    pub(super) fn phone(&mut self, name: &str) -> Option<Phone> {
        let text = self.required(name)?;
        let phone = parse_phone(&text).map_err(|wrong| Fault::Value(wrong.into()));
        self.note(name, phone)
    }
}
