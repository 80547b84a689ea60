//! `[rest.octopush]`: what the vendor's clients set in their account and not in a call.

use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::error::Violation;
use crate::id::TenantName;
use crate::messaging::callback::{CallbackUrl, MAX_URL};
use crate::violations::Violations;
use crate::webhook::client::Target;
use crate::webhook::network::Reach;

/// What each account has set.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where a tenant is told what became of its messages. What their queries hold may be as good as a password.
    #[serde(default)]
    pub callbacks: BTreeMap<TenantName, SecretString>,
}

// === impl Config ===

impl Config {
    /// What is wrong with it, by key. A URL that we would never call is told here and not to callers, who cannot mend it.
    pub fn violations(&self, reach: &Reach) -> Vec<Violation> {
        let mut found = Violations::default();
        for (tenant, url) in &self.callbacks {
            let key = format!("callbacks.{tenant}");
            match Target::parse(url.expose_secret(), reach) {
                Err(error) => error.violations().iter().for_each(|it| found.add(&key, it.description.clone())),
                Ok(_) if url.expose_secret().len() > MAX_URL => {
                    found.add(&key, format!("must be at most {MAX_URL} bytes long"));
                }
                Ok(_) => {}
            }
        }
        found.0
    }

    /// Where a tenant wants to be told.
    pub fn callback(&self, tenant: &TenantName) -> Option<CallbackUrl> {
        self.callbacks.get(tenant).map(|url| CallbackUrl::new(url.expose_secret()))
    }
}
