//! What a text says to one recipient and not to the others: values for the variables of a template.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::recipient::Phone;
use crate::rest::simpu::fields::{Fields, parse_phone};
use crate::rest::simpu::problem::Fault;

const NAME: &str = "personalisation";

/// Values by recipient, and the list as it came.
#[derive(Default)]
pub(super) struct Personal {
    by_recipient: BTreeMap<Phone, BTreeMap<String, String>>,
    pub(super) written: Vec<Value>,
}

// === impl Personal ===

impl Personal {
    /// Reads `personalisation`, a list of `{to, substitutions}`. Each of the recipients at most once, and nobody else.
    pub(super) fn read(fields: &mut Fields, recipients: &[Phone]) -> Self {
        let written = match fields.take(NAME) {
            None => return Self::default(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                fields.add(NAME, Fault::NotList);
                return Self::default();
            }
        };
        let known: BTreeSet<_> = recipients.iter().collect();
        let mut by_recipient = BTreeMap::new();
        for (at, item) in written.iter().enumerate() {
            let path = format!("{NAME}.{at}");
            let Value::Object(item) = item else {
                fields.add(path, Fault::NotObject);
                continue;
            };
            let to = parse_to(item.get("to"));
            let to = fields.note(&format!("{path}.to"), to.and_then(|to| among(&known, to)));
            let values = parse_values(fields, &format!("{path}.substitutions"), item.get("substitutions"));
            if let Some(to) = to
                && by_recipient.insert(to, values).is_some()
            {
                fields.add(format!("{path}.to"), Fault::Value("this recipient comes twice".into()));
            }
        }
        Self { by_recipient, written }
    }

    /// The values for a recipient; none for one that is not named.
    pub(super) fn of(&self, recipient: &Phone) -> BTreeMap<String, String> {
        self.by_recipient.get(recipient).cloned().unwrap_or_default()
    }
}

fn parse_to(value: Option<&Value>) -> Result<Phone, Fault> {
    match value {
        None | Some(Value::Null) => Err(Fault::Missing),
        Some(Value::String(text)) => parse_phone(text).map_err(|wrong| Fault::Value(wrong.into())),
        Some(_) => Err(Fault::NotText),
    }
}

fn among(known: &BTreeSet<&Phone>, phone: Phone) -> Result<Phone, Fault> {
    if known.contains(&phone) { Ok(phone) } else { Err(Fault::Value("must be one of the recipients".into())) }
}

fn parse_values(fields: &mut Fields, path: &str, value: Option<&Value>) -> BTreeMap<String, String> {
    let values = match value {
        None | Some(Value::Null) => return BTreeMap::new(),
        Some(Value::Object(values)) => values,
        Some(_) => {
            fields.add(path, Fault::NotObject);
            return BTreeMap::new();
        }
    };
    let mut read = BTreeMap::new();
    for (name, value) in values {
        match value {
            Value::String(text) => drop(read.insert(name.clone(), text.clone())),
            _ => fields.add(format!("{path}.{name}"), Fault::NotText),
        }
    }
    read
}
