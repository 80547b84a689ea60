//! `[otlp]`: where traces and metrics are exported to.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::error::Violation;
use crate::violations::Violations;

/// How telemetry is exported.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Base URL of the collector; without one nothing is exported.
    pub endpoint: Option<String>,
    /// Added to every request.
    pub headers: Vec<Header>,
    pub traces: bool,
    pub metrics: bool,
    /// Of the traces that begin here, the part that is exported.
    pub ratio: f64,
    pub service_name: String,
    /// For one request.
    pub timeout: Duration,
    /// Between two exports of metrics.
    pub interval: Duration,
}

/// A header of each request.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub name: String,
    /// Its value, which most often lets us in.
    pub secret: SecretString,
}

// === impl Config ===

impl Config {
    /// What is wrong with it, by key.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if self.endpoint.as_deref().is_some_and(|endpoint| !is_base(endpoint)) {
            let wanted = "must be http:// or https:// with a host, and perhaps a port and a path";
            found.add("endpoint", format!("{wanted}, such as http://localhost:4318, without user, ? and #"));
        }
        for (at, header) in self.headers.iter().enumerate() {
            found.nest(&format!("headers[{at}]"), header.violations());
        }
        if !(0.0..=1.0).contains(&self.ratio) {
            found.add("ratio", format!("must be 0 to 1, but is {}", self.ratio));
        }
        if !(1..=128).contains(&self.service_name.len()) {
            found.add("service_name", "must be 1 to 128 bytes".to_owned());
        }
        found.range("timeout", &self.timeout, Duration::from_millis(10)..=Duration::from_secs(60));
        found.range("interval", &self.interval, Duration::from_secs(1)..=Duration::from_secs(3600));
        found.0
    }

    /// Where a signal goes, as OTLP/HTTP has it; `None` when nothing is exported.
    pub fn url(&self, signal: &str) -> Option<String> {
        let endpoint = self.endpoint.as_deref()?.trim_end_matches('/');
        Some(format!("{endpoint}/v1/{signal}"))
    }
}

// === impl Header ===

impl Header {
    /// `None` when it is none, which the checks refuse. Shows in no log.
    pub fn parse(&self) -> Option<(HeaderName, HeaderValue)> {
        let mut value = HeaderValue::from_str(self.secret.expose_secret()).ok()?;
        value.set_sensitive(true);
        Some((self.name.parse().ok()?, value))
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if self.name.parse::<HeaderName>().is_err() {
            found.add("name", "must be the name of a header".to_owned());
        }
        if HeaderValue::from_str(self.secret.expose_secret()).is_err() {
            found.add("secret", "must be visible ASCII characters and blanks".to_owned());
        }
        found.0
    }
}

fn is_base(url: &str) -> bool {
    let Ok(parsed) = url.parse::<Uri>() else { return false };
    let web = matches!(parsed.scheme_str(), Some("http" | "https"));
    web && parsed.host().is_some_and(|host| !host.is_empty()) && !url.contains(['@', '?', '#'])
}
