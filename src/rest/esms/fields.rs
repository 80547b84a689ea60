//! The fields of a call, from wherever they came: JSON, a form, the query.

use serde_json::{Map, Value};

use crate::rest::esms::refusal::Refusal;
use crate::rest::input::{Call, ContentType};
use crate::rest::trouble::Trouble;

/// Each name once.
pub(super) struct Fields(Map<String, Value>);

// === impl Fields ===

impl Fields {
    /// Body and query together; no field may come from both.
    pub(super) fn read(call: &Call) -> Result<Self, Refusal> {
        let refused = |trouble: Trouble| Refusal::of(&trouble);
        let mut fields = call.query_fields().map_err(refused)?;
        let body = match call.content_type() {
            _ if call.body.is_empty() => Map::new(),
            ContentType::Form => call.form().map_err(refused)?,
            _ => call.json().map_err(refused)?,
        };
        for (name, value) in body {
            if fields.insert(name, value).is_some() {
                return Err(refused(Trouble::Unreadable("a field comes twice".to_owned())));
            }
        }
        Ok(Self(fields))
    }

    pub(super) fn required(&self, name: &str) -> Result<String, Refusal> {
        let found = match self.0.get(name) {
            // A number with its country code has no zeros that could have been lost.
            Some(Value::Number(number)) if number.is_u64() => Some(number.to_string()),
            _ => self.text(name)?,
        };
        found.ok_or_else(incomplete)
    }

    /// A code is text and nothing else: of a number the leading zeros are gone.
    pub(super) fn code(&self, name: &str) -> Result<String, Refusal> {
        self.text(name)?.ok_or_else(incomplete)
    }

    /// `None` when absent or empty.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
            Some(_) => Err(Refusal(1, format!("{name} must be a string"))),
        }
    }

    /// A number as it was written, in JSON or as text.
    pub(super) fn number(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.0.get(name) {
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            _ => self.text(name),
        }
    }

    /// The scope of codes.
    pub(super) fn app_id(&self) -> Result<String, Refusal> {
        let Some(text) = self.number("app-id")? else { return Ok("1".to_owned()) };
        let number = text.parse::<u64>().map_err(|_| Refusal(1, "app-id must be a whole number".to_owned()))?;
        Ok(number.to_string())
    }
}

fn incomplete() -> Refusal {
    Refusal(1, "Incomplete request, please make sure all mandatory parameter exists".to_owned())
}
