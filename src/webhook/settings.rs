//! `[callbacks]`: whom callers may have us call, and how patient we are with them.

use std::time::Duration;

use serde::Deserialize;

use crate::error::Violation;
use crate::network::Network;
use crate::violations::Violations;
use crate::webhook::network::{Ports, Reach};

/// How URLs of callers are called.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Networks that may be called although they are not public.
    pub allow: Vec<Network>,
    /// Ports that may be called.
    pub ports: Vec<Ports>,
    /// To resolve a name, connect and shake hands. Less than `timeout`.
    pub connect_timeout: Duration,
    /// For a call from its start to the head of the answer.
    pub timeout: Duration,
    /// Calls at most until one is taken.
    pub attempts: u32,
    /// Calls under way at a time.
    pub concurrency: u32,
    /// Of these, to one receiver.
    pub per_receiver: u32,
}

// === impl Config ===

impl Config {
    /// What is wrong with it, by key.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        found.range("connect_timeout", &self.connect_timeout, Duration::from_millis(10)..=Duration::from_secs(60));
        found.range("timeout", &self.timeout, Duration::from_millis(10)..=Duration::from_secs(60));
        found.range("attempts", &self.attempts, 1..=20);
        found.range("concurrency", &self.concurrency, 1..=4_096);
        found.range("per_receiver", &self.per_receiver, 1..=4_096);
        if self.connect_timeout >= self.timeout {
            found.add("connect_timeout", "must be shorter than callbacks.timeout".to_owned());
        }
        if self.ports.is_empty() {
            found.add("ports", "must hold at least one, or nobody can be called".to_owned());
        }
        found.0
    }

    pub fn reach(&self) -> Reach {
        Reach { allow: self.allow.clone(), ports: self.ports.clone() }
    }
}
