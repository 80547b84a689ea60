//! What a fixture says: calls as a vendor's client makes them, the exact answers, and what people received.
//!
//! In `path`, `headers` and all strings of bodies `${name}` stands for what a pattern before it has taken. A value
//! `{"$number": "${name}"}` in a body becomes a number. What may stand in expectations says `pattern.rs`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// One case, on a gateway of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fixture {
    /// What it shows, in a sentence.
    pub(crate) about: String,
    /// Added to the configuration of the gateway.
    #[serde(default)]
    pub(crate) config: String,
    pub(crate) steps: Vec<Step>,
}

/// First the time passes, then the call is made, then the inbox is looked at.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    /// Seconds.
    #[serde(default)]
    pub(crate) advance: u64,
    pub(crate) call: Option<Call>,
    pub(crate) expect: Option<Expect>,
    /// How often the call is made, with the same answer each time; by default once.
    #[serde(default = "once")]
    pub(crate) times: usize,
    /// Whether the call is made until it is answered as expected, for what the gateway does in its own time.
    #[serde(default)]
    pub(crate) eventually: bool,
    /// All messages that came since the step before, oldest first. Of each the fields that matter.
    pub(crate) inbox: Option<Vec<BTreeMap<String, Value>>>,
}

/// At most one of the bodies.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Call {
    #[serde(default = "post")]
    pub(crate) method: String,
    /// With the query, behind the dialect's place.
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) json: Option<Value>,
    pub(crate) form: Option<BTreeMap<String, String>>,
    /// Sent as it is; with the content type of JSON, unless the headers have another.
    pub(crate) body: Option<String>,
    /// Bytes in hexadecimal digits.
    pub(crate) hex: Option<String>,
    /// So many letters in place of a body.
    pub(crate) letters: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expect {
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) headers: BTreeMap<String, String>,
    /// The whole body. Without it the body is empty.
    pub(crate) json: Option<Value>,
}

fn once() -> usize {
    1
}

fn post() -> String {
    "POST".to_owned()
}
