//! The fields of a call: of a JSON body, or of the query where there is none. Numbers may be written as text, as in the
//! vendor's own samples; everything else has its one type.

use http::Method;
use serde_json::{Map, Value};

use crate::rest::hasun::refusal::Refusal;
use crate::rest::input::Call;

/// Each name once.
pub(super) struct Fields(Map<String, Value>);

// === impl Fields ===

impl Fields {
    pub(super) fn read(call: &Call) -> Result<Self, Refusal> {
        let from_query = call.method == Method::GET && call.body.is_empty();
        let fields = if from_query { call.query_fields() } else { call.json() };
        fields.map(Self).map_err(Refusal::Trouble)
    }

    /// A text that must be there.
    pub(super) fn required(&self, name: &str) -> Result<String, Refusal> {
        match self.0.get(name) {
            None | Some(Value::Null) => Err(Refusal::required(name)),
            Some(Value::String(text)) if text.is_empty() => Err(Refusal::required(name)),
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(Refusal::Field(format!("The {name} must be a string."))),
        }
    }

    /// A whole number; `None` when it is absent. No fractions, signs or exponents, which no two readers read alike.
    pub(super) fn whole(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let number = match self.0.get(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if text.is_empty() => return Ok(None),
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => parse_whole(text.trim_matches([' ', '\t', '\r', '\n'])),
            Some(_) => None,
        };
        number.map(Some).ok_or_else(|| Refusal::Field(format!("The {name} must be an integer.")))
    }
}

fn parse_whole(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
