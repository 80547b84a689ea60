//! `[rest.hasun]`: what the vendor keeps for its customers and their clients only name.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer};

use crate::error::Violation;
use crate::id::TenantName;
use crate::messaging::code_text::{CodeText, Part};
use crate::messaging::request::check_sender;
use crate::verification::request::check_scope;
use crate::violations::Violations;

/// The settings of this dialect.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The text of codes.
    pub text: Wording,
    /// By tenant: senders by mask token.
    #[serde(default)]
    pub masks: BTreeMap<TenantName, BTreeMap<String, String>>,
}

/// Words around a code, with `{code}` in the place of it and `{minutes}` for how long it lasts.
#[derive(Clone)]
pub struct Wording(CodeText);

// === impl Config ===

impl Config {
    /// Who messages with a mask are from; `None` for a mask that the tenant does not have.
    pub fn sender(&self, tenant: &TenantName, mask: &str) -> Option<&str> {
        self.masks.get(tenant)?.get(mask).map(String::as_str)
    }

    /// What is wrong with it, by key.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        for (tenant, masks) in &self.masks {
            for (mask, sender) in masks {
                let path = format!("masks.{tenant}.{mask}");
                // A mask is the scope of its codes.
                let wrong = check_scope(mask).into_iter().map(|wrong| format!("its name {}", wrong.description));
                let wrong = wrong.chain(check_sender(Some(sender)).map(|wrong| wrong.description));
                wrong.for_each(|wrong| found.add(&path, wrong));
            }
        }
        found.0
    }
}

// === impl Wording ===

impl Wording {
    pub fn code_text(&self) -> CodeText {
        self.0.clone()
    }
}

impl fmt::Debug for Wording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'de> Deserialize<'de> for Wording {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parts = CodeText::split(&text, &[("{code}", Part::Code), ("{minutes}", Part::Minutes)]);
        let wrong = "must hold {code}, at most 1600 characters, and no control characters but line breaks";
        CodeText::new(parts).map(Self).map_err(|_| serde::de::Error::custom(wrong))
    }
}
