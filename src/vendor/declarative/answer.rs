//! What a described vendor's answer means: by the code in its body, else by a status that is told, else by what HTTP says
//! of the status.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as DeError, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::vendor::{Failure, Rejection};

/// Where in an answer things are, and what they mean.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnswerConfig {
    /// The vendor's name for the message, as a JSON pointer (RFC 6901). An answer without it is no yes.
    pub id: Option<String>,
    /// Where codes may be, as JSON pointers: the first that is there and listed below counts.
    pub code: Vec<String>,
    pub codes: OutcomesConfig,
    /// By HTTP status, where it differs from what HTTP says.
    pub statuses: OutcomesConfig,
}

/// Codes by what they mean.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutcomesConfig {
    pub accepted: Vec<Word>,
    pub invalid_recipient: Vec<Word>,
    pub invalid_content: Vec<Word>,
    pub unauthorized: Vec<Word>,
    pub insufficient_credit: Vec<Word>,
    pub blocked: Vec<Word>,
    pub throttled: Vec<Word>,
    pub unavailable: Vec<Word>,
    pub unknown: Vec<Word>,
}

/// A code, written as a text or as a whole number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word(pub String);

/// The same, looked up by code.
pub(crate) struct Answers {
    id: Option<String>,
    code: Vec<String>,
    codes: BTreeMap<String, Verdict>,
    statuses: BTreeMap<String, Verdict>,
    /// Some code says yes, so that none says nothing.
    told: bool,
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    Failed(Failure),
}

// === impl AnswerConfig ===

impl AnswerConfig {
    /// Errors: `Invalid`, naming the field.
    pub(crate) fn build(self) -> Result<Answers> {
        check_pointer("answer.id", self.id.as_deref())?;
        for (at, pointer) in self.code.iter().enumerate() {
            check_pointer(&format!("answer.code[{at}]"), Some(pointer))?;
        }
        let told = !self.codes.accepted.is_empty();
        let (codes, statuses) = (self.codes.build("answer.codes")?, self.statuses.build("answer.statuses")?);
        if codes.is_empty() != self.code.is_empty() {
            return Err(Error::invalid(
                "answer.code",
                "must say where the codes of answer.codes are, and they what it means",
            ));
        }
        let status = |word: &&String| !word.parse().is_ok_and(|status: u16| (200..=599).contains(&status));
        if let Some(word) = statuses.keys().find(status) {
            return Err(Error::invalid(
                "answer.statuses",
                format!("must be HTTP statuses from 200 to 599, but one is {word:?}"),
            ));
        }
        Ok(Answers { id: self.id, code: self.code, codes, statuses, told })
    }
}

/// Errors: `Invalid`, naming `field`.
pub(crate) fn check_pointer(field: &str, pointer: Option<&str>) -> Result<()> {
    if pointer.is_none_or(|pointer| pointer.starts_with('/')) {
        return Ok(());
    }
    Err(Error::invalid(field, "must be a JSON pointer such as /messages/0/id"))
}

// === impl OutcomesConfig ===

impl OutcomesConfig {
    fn build(self, field: &str) -> Result<BTreeMap<String, Verdict>> {
        let rejected = |rejection| Verdict::Failed(Failure::Rejected(rejection));
        let mut verdicts = BTreeMap::new();
        for (name, words, verdict) in [
            ("accepted", self.accepted, Verdict::Accepted),
            ("invalid_recipient", self.invalid_recipient, rejected(Rejection::InvalidRecipient)),
            ("invalid_content", self.invalid_content, rejected(Rejection::InvalidContent)),
            ("unauthorized", self.unauthorized, rejected(Rejection::Unauthorized)),
            ("insufficient_credit", self.insufficient_credit, rejected(Rejection::InsufficientCredit)),
            ("blocked", self.blocked, rejected(Rejection::Blocked)),
            ("throttled", self.throttled, Verdict::Failed(Failure::Throttled { after: None })),
            ("unavailable", self.unavailable, Verdict::Failed(Failure::Unavailable)),
            ("unknown", self.unknown, Verdict::Failed(Failure::Unknown)),
        ] {
            for Word(word) in words {
                if verdicts.insert(word.clone(), verdict.clone()).is_some() {
                    return Err(Error::invalid(format!("{field}.{name}"), format!("{word:?} has a meaning already")));
                }
            }
        }
        Ok(verdicts)
    }
}

// === impl Answers ===

impl Answers {
    /// Whether a body says more than its status.
    pub(crate) fn reads_refusals(&self) -> bool {
        !self.code.is_empty()
    }

    /// Whether the body of a 2xx matters at all.
    pub(crate) fn reads_bodies(&self) -> bool {
        self.id.is_some() || self.told || self.reads_refusals()
    }

    /// `http` is what the status means by itself; `None` for 2xx.
    pub(crate) fn judge(&self, status: u16, body: &Value, http: Option<Failure>) -> Verdict {
        let code = self.code.iter().find_map(|pointer| self.codes.get(&scalar(body.pointer(pointer)?)?));
        match (code, self.statuses.get(&status.to_string())) {
            (Some(failed @ Verdict::Failed(_)), _) => failed.clone(),
            (_, Some(verdict @ Verdict::Failed(_))) => verdict.clone(),
            (_, None) if http.is_some() => Verdict::Failed(http.unwrap_or(Failure::Unknown)),
            // A yes by its status, and none of its codes is known.
            (None, _) if self.told => Verdict::Failed(Failure::Unknown),
            _ if self.id.is_some() && self.id(body).is_none() => Verdict::Failed(Failure::Unknown),
            _ => Verdict::Accepted,
        }
    }

    pub(crate) fn id(&self, body: &Value) -> Option<String> {
        scalar(body.pointer(self.id.as_deref()?)?)
    }
}

/// A text, number or truth value as text.
pub(crate) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

// === impl Word ===

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;

        impl Visitor<'_> for Written {
            type Value = Word;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text in quotes or a whole number")
            }

            fn visit_str<E: DeError>(self, text: &str) -> Result<Word, E> {
                Ok(Word(text.to_owned()))
            }

            fn visit_i64<E: DeError>(self, number: i64) -> Result<Word, E> {
                Ok(Word(number.to_string()))
            }

            fn visit_u64<E: DeError>(self, number: u64) -> Result<Word, E> {
                Ok(Word(number.to_string()))
            }
        }

        deserializer.deserialize_any(Written)
    }
}
