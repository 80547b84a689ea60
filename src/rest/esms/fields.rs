//! The fields of a call, from wherever they came: JSON, a form, the query.
//!
//! Numbers may be written as text, for a form has nothing else, and so may a phone number be a JSON number: with its
//! country code it has no zeros that could have been lost. A code is text and nothing else.

use serde_json::{Map, Value};

use crate::rest::esms::refusal::Refusal;
use crate::rest::esms::texts::Alphabet;
use crate::rest::input::{Call, ContentType};
use crate::rest::trouble::Trouble;

/// The scope of codes whose client names none.
const USUAL_APP: &str = "1";

/// Each name once.
pub(super) struct Fields(Map<String, Value>);

/// The two halves of an API key, which go by two pairs of names.
pub(super) struct Credentials {
    pub(super) key: String,
    pub(super) secret: String,
}

// === impl Fields ===

impl Fields {
    /// Body and query together; no field may come from both.
    pub(super) fn read(call: &Call) -> Result<Self, Refusal> {
        let mut fields = call.query_fields().map_err(Refusal::Trouble)?;
        let body = match call.content_type() {
            _ if call.body.is_empty() => Map::new(),
            ContentType::Form => call.form().map_err(Refusal::Trouble)?,
            ContentType::Json | ContentType::Absent | ContentType::Other => call.json().map_err(Refusal::Trouble)?,
        };
        for (name, value) in body {
            if fields.insert(name, value).is_some() {
                return Err(Refusal::Trouble(Trouble::Unreadable("a field comes twice".to_owned())));
            }
        }
        Ok(Self(fields))
    }

    pub(super) fn credentials(&self, key: &str, secret: &str) -> Result<Credentials, Refusal> {
        Ok(Credentials { key: self.required(key)?, secret: self.required(secret)? })
    }

    /// A text that must be there.
    pub(super) fn required(&self, name: &str) -> Result<String, Refusal> {
        self.text(name)?.ok_or_else(incomplete)
    }

    /// A text, empty when it is absent: `None`.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(Refusal::rule(1, format!("{name} must be a string"))),
        }
    }

    /// A phone number, not looked at yet.
    pub(super) fn phone(&self, name: &str) -> Result<String, Refusal> {
        match self.0.get(name) {
            Some(Value::Number(number)) => Ok(number.to_string()),
            _ => self.required(name),
        }
    }

    /// A value as it was written, in JSON or as text; of what is neither number nor text, something that no field has as
    /// its value. Who asks judges it, each field with a status number of its own.
    pub(super) fn number(&self, name: &str) -> Option<String> {
        match self.0.get(name)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
            other => Some(other.to_string()),
        }
    }

    /// The scope of codes.
    pub(super) fn app_id(&self) -> Result<String, Refusal> {
        let Some(text) = self.number("app-id") else { return Ok(USUAL_APP.to_owned()) };
        let number = parse_whole(&text).ok_or_else(|| Refusal::rule(1, "app-id must be a whole number"))?;
        Ok(number.to_string())
    }

    /// Where to report, if a report is asked for.
    pub(super) fn report_url(&self) -> Result<Option<String>, Refusal> {
        if self.number("dlr").as_deref() == Some("1") { self.text("dlr-url") } else { Ok(None) }
    }

    /// What is asked for where the vendor would detect it.
    pub(super) fn alphabet(&self) -> Alphabet {
        Alphabet::parse(self.number("type").as_deref())
    }
}

/// Digits and nothing else, neither sign nor exponent.
pub(super) fn parse_whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

fn incomplete() -> Refusal {
    Refusal::rule(1, "Incomplete request, please make sure all mandatory parameter exists")
}
