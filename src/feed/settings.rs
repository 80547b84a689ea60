//! `[events]`: how long events are kept, and who is called for them.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::error::{Error, Result, Violation};
use crate::feed::endpoint::{MAX_DESCRIPTION, MAX_URL};
use crate::feed::kinds::Wanted;
use crate::id::TenantName;
use crate::network::Network;
use crate::violations::Violations;
use crate::webhook::client::Target;
use crate::webhook::network::Reach;
use crate::webhook::settings::Config as CallConfig;
use crate::webhook::signing::SigningKey;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Where events.local lets endpoints be.
const THIS_MACHINE: [&str; 2] = ["127.0.0.0/8", "::1"];

/// Most endpoints of one tenant.
pub const MAX_ENDPOINTS: usize = 20;

/// How events are kept and told.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How long an event can be told again, and what came of that looked up.
    pub retention: Duration,
    /// Events that wait for one endpoint at most; what comes later waits in the feed.
    pub backlog: u32,
    /// Calls to one endpoint under way at a time.
    pub per_endpoint: u32,
    /// Networks that may be called although they are not public.
    pub allow: Vec<Network>,
    /// Whether endpoints may be on this machine, and without TLS.
    pub local: bool,
    #[serde(default)]
    pub endpoints: Vec<EndpointConfig>,
}

/// One of `[[events.endpoints]]`.
#[derive(Debug, Clone, Deserialize)]
pub struct EndpointConfig {
    /// Unique in its tenant.
    pub name: String,
    pub tenant: TenantName,
    pub url: String,
    pub secret: SecretString,
    #[serde(default)]
    pub types: Vec<String>,
    #[serde(default)]
    pub description: String,
}

/// Where endpoints may lie.
#[derive(Debug, Clone)]
pub struct Bounds {
    reach: Reach,
    local: bool,
}

// === impl Config ===

impl Config {
    /// What is wrong with it, by key. `calls`: how calls to others' URLs are made.
    pub fn violations(&self, calls: &CallConfig) -> Vec<Violation> {
        let mut found = Violations::default();
        found.range("retention", &self.retention, 4 * DAY..=90 * DAY);
        found.range("backlog", &self.backlog, 100..=1_000_000);
        found.range("per_endpoint", &self.per_endpoint, 1..=256);
        let bounds = self.bounds(calls);
        for (at, endpoint) in self.endpoints.iter().enumerate() {
            found.nest(&format!("endpoints[{at}]"), endpoint.violations(&bounds));
            let same = |other: &EndpointConfig| (&other.tenant, &other.name) == (&endpoint.tenant, &endpoint.name);
            if self.endpoints[..at].iter().any(same) {
                found.add(&format!("endpoints[{at}].name"), "must be unique in its tenant".to_owned());
            }
            if self.endpoints[..at].iter().filter(|other| other.tenant == endpoint.tenant).count() == MAX_ENDPOINTS {
                let most = format!("must be of a tenant with at most {MAX_ENDPOINTS} endpoints");
                found.add(&format!("endpoints[{at}].tenant"), most);
            }
        }
        found.0
    }

    pub fn bounds(&self, calls: &CallConfig) -> Bounds {
        let mut reach = calls.reach();
        reach.allow = self.allow.clone();
        if self.local {
            reach.allow.extend(THIS_MACHINE.iter().filter_map(|network| network.parse::<Network>().ok()));
        }
        Bounds { reach, local: self.local }
    }

    /// The same for who makes the calls.
    pub fn calls(&self, calls: &CallConfig) -> CallConfig {
        CallConfig { allow: self.bounds(calls).reach.allow, ..calls.clone() }
    }
}

impl EndpointConfig {
    fn violations(&self, bounds: &Bounds) -> Vec<Violation> {
        let mut found = Violations::default();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if !(1..=63).contains(&self.name.len()) || !self.name.chars().all(plain) {
            found.add("name", "must be 1 to 63 of a-z, 0-9, '-' and '_'".to_owned());
        }
        let told = [bounds.check(&self.url).err(), SigningKey::parse_standard(&self.secret).err()];
        found.0.extend(told.iter().flatten().flat_map(|error| error.violations().to_vec()));
        found.0.extend(Wanted::new(self.types.clone()).violations("types"));
        found.0.extend(check_description(&self.description));
        found.0
    }
}

/// What is wrong with a description, if anything.
pub fn check_description(text: &str) -> Option<Violation> {
    let fits = text.chars().count() <= MAX_DESCRIPTION && !text.chars().any(char::is_control);
    let description = format!("must be at most {MAX_DESCRIPTION} characters, on one line");
    (!fits).then(|| Violation { field: "description".to_owned(), description })
}

// === impl Bounds ===

impl Bounds {
    /// Errors: `Invalid`, field `url`, for one that we would never call.
    pub fn check(&self, url: &str) -> Result<()> {
        if url.len() > MAX_URL {
            return Err(Error::invalid("url", format!("must be at most {MAX_URL} bytes")));
        }
        let target = Target::parse(url, &self.reach)?;
        let local = target.host() == "localhost"
            || target.host().parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback());
        if target.is_https() || (local && self.local) {
            return Ok(());
        }
        let wanted = "must begin with https://, or lead to this machine where events.local allows that";
        Err(Error::invalid("url", wanted))
    }
}
