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
    Id,
    Outcome,
    Username,
    Secret,
}

/// What the placeholders of one request stand for.
pub(crate) struct Values<'a> {
    pub(crate) about: About<'a>,
    pub(crate) username: Option<&'a str>,
    pub(crate) secret: Option<&'a SecretString>,
}

/// What a request speaks of.
#[derive(Clone, Copy)]
pub(crate) enum About<'a> {
    /// A message to be sent.
    Message(&'a Outgoing),
    /// One that was sent, by the vendor's name for it, and a word of the vendor's for what came of it.
    Feedback { id: &'a str, outcome: &'a str },
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
    /// What a send may hold.
    pub(crate) const OF_MESSAGES: [Self; 10] = [
        Self::Text,
        Self::Recipient,
        Self::Digits,
        Self::National,
        Self::Sender,
        Self::Reference,
        Self::ReceiptUrl,
        Self::ExpiresAt,
        Self::Username,
        Self::Secret,
    ];

    /// What feedback may hold.
    pub(crate) const OF_FEEDBACK: [Self; 4] = [Self::Id, Self::Outcome, Self::Username, Self::Secret];

    fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Recipient => "recipient",
            Self::Digits => "recipient.digits",
            Self::National => "recipient.national",
            Self::Sender => "sender",
            Self::Reference => "reference",
            Self::ReceiptUrl => "receipt_url",
            Self::ExpiresAt => "expires_at",
            Self::Id => "id",
            Self::Outcome => "outcome",
            Self::Username => "username",
            Self::Secret => "secret",
        }
    }

    /// Its values cannot be `.` or `..`, which would lead to another page; whoever fills in an id sees to that.
    pub(crate) fn fits_a_path(self) -> bool {
        !matches!(self, Self::Text | Self::Sender)
    }
}

// === impl Values ===

impl Values<'_> {
    /// `None` where there is nothing of the kind.
    fn get(&self, placeholder: Placeholder) -> Option<Cow<'_, str>> {
        match (placeholder, self.about) {
            (Placeholder::Username, _) => self.username.map(Cow::from),
            (Placeholder::Secret, _) => self.secret.map(|secret| secret.expose_secret().into()),
            (Placeholder::Id, About::Feedback { id, .. }) => Some(id.into()),
            (Placeholder::Outcome, About::Feedback { outcome, .. }) => Some(outcome.into()),
            (placeholder, About::Message(outgoing)) => of_message(placeholder, outgoing),
            (_, About::Feedback { .. }) => None,
        }
    }
}

fn of_message(placeholder: Placeholder, outgoing: &Outgoing) -> Option<Cow<'_, str>> {
    let phone = match &outgoing.recipient {
        Recipient::Phone(phone) => Some(phone),
        Recipient::Email(_) => None,
    };
    match placeholder {
        Placeholder::Text => Some(outgoing.text.expose_secret().into()),
        Placeholder::Recipient => Some(outgoing.recipient.as_str().into()),
        Placeholder::Digits => phone.map(|phone| phone.digits().into()),
        Placeholder::National => phone.map(|phone| phone.national().into()),
        Placeholder::Sender => outgoing.sender.as_deref().map(Cow::from),
        Placeholder::Reference => Some((&*outgoing.reference).into()),
        Placeholder::ReceiptUrl => outgoing.receipt_url.as_ref().map(|url| url.expose_secret().into()),
        Placeholder::ExpiresAt => Some(outgoing.expires_at.to_string().into()),
        Placeholder::Id | Placeholder::Outcome | Placeholder::Username | Placeholder::Secret => None,
    }
}

// === impl Template ===

impl Template {
    /// `{{` and `}}` stand for braces. `known`: what else may. Errors: `Invalid`, naming `field` and not the text.
    pub(crate) fn parse(field: &str, text: &str, known: &[Placeholder]) -> Result<Self> {
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
            let found = found.and_then(|(name, after)| {
                let placeholder = known.iter().find(|placeholder| placeholder.as_str() == name)?;
                Some((*placeholder, after))
            });
            let Some((placeholder, after)) = found else {
                let names: Vec<_> = known.iter().map(|known| format!("{{{}}}", known.as_str())).collect();
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

    /// `None` when it is one placeholder and nothing else, and there is nothing for it.
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
    pub(crate) fn parse(field: &str, value: Value, known: &[Placeholder]) -> Result<Self> {
        match value {
            Value::String(text) => Template::parse(field, &text, known).map(Self::Text),
            Value::Array(items) => {
                let items = items.into_iter().enumerate();
                items
                    .map(|(at, item)| Self::parse(&format!("{field}[{at}]"), item, known))
                    .collect::<Result<_>>()
                    .map(Self::List)
            }
            Value::Object(members) => {
                let parse = |(name, value)| Ok((Self::parse(&format!("{field}.{name}"), value, known)?, name));
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

    /// Without what there is nothing for.
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
