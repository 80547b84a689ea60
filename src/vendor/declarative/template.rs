//! What of a request is filled in for each message: texts with `{placeholders}`, and the JSON trees that they stand in.
//!
//! A value is never read again: braces in a message's text stay braces, and what a value holds is escaped for the place
//! that it goes to, so it cannot end a JSON text, begin another form field or leave its part of a URL.

use std::borrow::Cow;
use std::fmt::Write;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::recipient::Recipient;
use crate::vendor::Outgoing;

/// A text with places in it. Has no `Debug`, for it may hold a secret.
pub(crate) struct Template {
    parts: Vec<Part>,
}

enum Part {
    Literal(String),
    Value(Placeholder),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Placeholder {
    Text,
    Recipient,
    Digits,
    National,
    Sender,
    Reference,
    ReceiptUrl,
    ExpiresAt,
    Username,
    Secret,
}

/// What the placeholders of one request stand for.
pub(crate) struct Values<'a> {
    pub(crate) outgoing: &'a Outgoing,
    pub(crate) username: Option<&'a str>,
    pub(crate) secret: Option<&'a SecretString>,
}

/// A JSON value whose texts are templates.
pub(crate) enum Tree {
    Text(Template),
    List(Vec<Tree>),
    Object(Vec<(String, Tree)>),
    Fixed(Value),
}

// === impl Placeholder ===

impl Placeholder {
    const ALL: [(&'static str, Self); 10] = [
        ("text", Self::Text),
        ("recipient", Self::Recipient),
        ("recipient.digits", Self::Digits),
        ("recipient.national", Self::National),
        ("sender", Self::Sender),
        ("reference", Self::Reference),
        ("receipt_url", Self::ReceiptUrl),
        ("expires_at", Self::ExpiresAt),
        ("username", Self::Username),
        ("secret", Self::Secret),
    ];

    /// Its values cannot be `.` or `..`, which would lead to another page.
    pub(crate) fn fits_a_path(self) -> bool {
        !matches!(self, Self::Text | Self::Sender)
    }
}

// === impl Values ===

impl Values<'_> {
    /// `None` where this message has nothing of the kind.
    fn get(&self, placeholder: Placeholder) -> Option<Cow<'_, str>> {
        let phone = match &self.outgoing.recipient {
            Recipient::Phone(phone) => Some(phone),
            Recipient::Email(_) => None,
        };
        match placeholder {
            Placeholder::Text => Some(self.outgoing.text.expose_secret().into()),
            Placeholder::Recipient => Some(self.outgoing.recipient.as_str().into()),
            Placeholder::Digits => phone.map(|phone| phone.digits().into()),
            Placeholder::National => phone.map(|phone| phone.national().into()),
            Placeholder::Sender => self.outgoing.sender.as_deref().map(Cow::from),
            Placeholder::Reference => Some((&*self.outgoing.reference).into()),
            Placeholder::ReceiptUrl => self.outgoing.receipt_url.as_ref().map(|url| url.expose_secret().into()),
            Placeholder::ExpiresAt => Some(self.outgoing.expires_at.to_string().into()),
            Placeholder::Username => self.username.map(Cow::from),
            Placeholder::Secret => self.secret.map(|secret| secret.expose_secret().into()),
        }
    }
}

// === impl Template ===

impl Template {
    /// `{{` and `}}` stand for braces. Errors: `Invalid`, naming `field` and not the text.
    pub(crate) fn parse(field: &str, text: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            literal.push_str(&rest[..at]);
            let brace = &rest[at..at + 1];
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix(brace) {
                literal.push_str(brace);
                rest = after;
                continue;
            }
            let found = rest.split_once('}').filter(|_| brace == "{");
            let known = found.and_then(|(name, after)| {
                let (_, placeholder) = Placeholder::ALL.iter().find(|(known, _)| *known == name)?;
                Some((*placeholder, after))
            });
            let Some((placeholder, after)) = known else {
                let names: Vec<_> = Placeholder::ALL.iter().map(|(name, _)| format!("{{{name}}}")).collect();
                let wanted = format!("may hold {} and, for a brace, {{{{ or }}}}; no other braces", names.join(", "));
                return Err(Error::invalid(field, wanted));
            };
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Value(placeholder));
            rest = after;
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self { parts })
    }

    pub(crate) fn placeholders(&self) -> impl Iterator<Item = Placeholder> {
        self.parts.iter().filter_map(|part| match part {
            Part::Value(placeholder) => Some(*placeholder),
            Part::Literal(_) => None,
        })
    }

    /// `None` when it is one placeholder and nothing else, and the message has nothing for it.
    pub(crate) fn fill(&self, values: &Values<'_>, escape: fn(&str, &mut String)) -> Option<String> {
        if let [Part::Value(only)] = self.parts.as_slice() {
            let value = values.get(*only)?;
            return Some(self.write(|_| Some(value.clone()), escape));
        }
        Some(self.write(|placeholder| values.get(placeholder), escape))
    }

    /// As it looks with the same word in each place.
    pub(crate) fn sample(&self, word: &str) -> String {
        self.write(|_| Some(word.into()), keep)
    }

    fn write<'v>(&self, get: impl Fn(Placeholder) -> Option<Cow<'v, str>>, escape: fn(&str, &mut String)) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => filled.push_str(literal),
                Part::Value(placeholder) => escape(&get(*placeholder).unwrap_or_default(), &mut filled),
            }
        }
        filled
    }
}

/// For places that escape as a whole.
pub(crate) fn keep(value: &str, into: &mut String) {
    into.push_str(value);
}

/// For URLs and forms: all but the unreserved characters (RFC 3986 §2.3) as `%XX`.
pub(crate) fn percent_encode(value: &str, into: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(char::from(byte));
        } else {
            // Writing to a `String` does not fail.
            let _ = write!(into, "%{byte:02X}");
        }
    }
}

// === impl Tree ===

impl Tree {
    /// Errors: `Invalid`, naming the member below `field`.
    pub(crate) fn parse(field: &str, value: Value) -> Result<Self> {
        match value {
            Value::String(text) => Template::parse(field, &text).map(Self::Text),
            Value::Array(items) => {
                let items = items.into_iter().enumerate();
                items
                    .map(|(at, item)| Self::parse(&format!("{field}[{at}]"), item))
                    .collect::<Result<_>>()
                    .map(Self::List)
            }
            Value::Object(members) => {
                let parse = |(name, value)| Ok((Self::parse(&format!("{field}.{name}"), value)?, name));
                let members = members.into_iter().map(parse).map(|parsed| parsed.map(|(tree, name)| (name, tree)));
                members.collect::<Result<_>>().map(Self::Object)
            }
            other => Ok(Self::Fixed(other)),
        }
    }

    pub(crate) fn placeholders(&self) -> Vec<Placeholder> {
        match self {
            Self::Text(template) => template.placeholders().collect(),
            Self::List(items) => items.iter().flat_map(Self::placeholders).collect(),
            Self::Object(members) => members.iter().flat_map(|(_, tree)| tree.placeholders()).collect(),
            Self::Fixed(_) => Vec::new(),
        }
    }

    /// Without what the message has nothing for.
    pub(crate) fn fill(&self, values: &Values<'_>) -> Option<Value> {
        Some(match self {
            Self::Text(template) => Value::String(template.fill(values, keep)?),
            Self::List(items) => items.iter().filter_map(|item| item.fill(values)).collect(),
            Self::Object(members) => {
                let filled = |(name, tree): &(String, Self)| Some((name.clone(), tree.fill(values)?));
                Value::Object(members.iter().filter_map(filled).collect())
            }
            Self::Fixed(value) => value.clone(),
        })
    }
}
