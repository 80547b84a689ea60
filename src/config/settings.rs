//! The sections of a configuration as plain values, and the ranges of their keys.
//!
//! A range is told as a violation of a key; which line that key stands on is known elsewhere.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::auth;
use crate::error::Violation;
use crate::id::TenantName;
use crate::vendor::Channel;

/// `[server]`: where we listen and how we stop.
#[derive(Debug, Clone, Deserialize)]
pub struct ServerConfig {
    pub grpc: Address,
    #[serde(deserialize_with = "deserialize_socket")]
    pub http: SocketAddr,
    #[serde(deserialize_with = "deserialize_socket")]
    pub admin: SocketAddr,
    pub reflection: bool,
    pub drain_deadline: Duration,
}

/// Where a listener listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// `[store]`: where state lies.
#[derive(Debug, Clone, Deserialize)]
pub struct StoreConfig {
    pub kind: StoreKind,
    pub path: PathBuf,
    /// `None` only until the checks have run, for it is required.
    pub key_file: Option<PathBuf>,
    pub cache_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    Sled,
}

/// `[verification]`: what a code looks like and how often it may be tried and sent.
#[derive(Debug, Clone, Deserialize)]
pub struct VerificationConfig {
    pub retention: Duration,
    pub policy: PolicyConfig,
    pub limits: LimitsConfig,
}

/// `[verification.policy]`: what a request may override.
#[derive(Debug, Clone, Deserialize)]
pub struct PolicyConfig {
    pub length: u32,
    pub alphabet: Vec<Letters>,
    pub exclude_confusing: bool,
    pub lifetime: Duration,
    pub max_checks: u32,
    pub max_lifetime: Duration,
}

/// A class of characters of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Letters {
    Digits,
    Upper,
    Lower,
    Special,
}

/// `[verification.limits]`: what no request may override.
#[derive(Debug, Clone, Deserialize)]
pub struct LimitsConfig {
    pub cool_downs: Vec<Duration>,
    pub cool_down_reset: Duration,
    pub failures: u32,
    pub failure_window: Duration,
    pub max_sends: u32,
}

/// `[messaging]`: how messages leave.
#[derive(Debug, Clone, Deserialize)]
pub struct MessagingConfig {
    pub retention: Duration,
    pub attempt_timeout: Duration,
    pub workers: u32,
    pub max_attempts: u32,
}

/// One of `[[tenants]]`.
#[derive(Debug, Clone, Deserialize)]
pub struct TenantConfig {
    pub name: TenantName,
    /// ISO 3166-1 alpha-2, in upper case.
    #[serde(default)]
    pub default_country: Option<String>,
    #[serde(default)]
    pub brand: Option<String>,
    #[serde(default)]
    pub sender: Option<String>,
    #[serde(default)]
    pub keys: Vec<auth::KeyConfig>,
}

/// One of `[[routes]]`.
#[derive(Debug, Clone, Deserialize)]
pub struct RouteConfig {
    pub channel: Channel,
    /// Names of `[vendors.NAME]`, in the order in which they are tried.
    pub vendors: Vec<String>,
    /// ISO 3166-1 alpha-2, in upper case; empty for all.
    #[serde(default)]
    pub countries: Vec<String>,
    /// Empty for all.
    #[serde(default)]
    pub tenants: Vec<TenantName>,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

// === impl Address ===

impl Address {
    /// Nobody off this machine can reach it.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl FromStr for Address {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err("must be unix: and a path that begins with a slash"),
            None => text
                .parse()
                .map(Self::Tcp)
                .map_err(|_| "must be an IP address and a port such as 127.0.0.1:50051, or unix:/path"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

fn deserialize_socket<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let wanted = "must be an IP address and a port such as 127.0.0.1:8080";
    String::deserialize(deserializer)?.parse().map_err(|_| serde::de::Error::custom(wanted))
}

// === ranges ===

impl ServerConfig {
    /// The listeners by key.
    pub fn listeners(&self) -> [(&'static str, Address); 3] {
        [("grpc", self.grpc.clone()), ("http", self.http.into()), ("admin", self.admin.into())]
    }

    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        found.range("drain_deadline", &self.drain_deadline, Duration::from_millis(1)..=Duration::from_secs(600));
        let listeners = self.listeners();
        for (index, (key, address)) in listeners.iter().enumerate() {
            let any_port = matches!(address, Address::Tcp(tcp) if tcp.port() == 0);
            if let Some((other, _)) = listeners[..index].iter().find(|(_, other)| other == address && !any_port) {
                found.add(key, format!("must differ from server.{other}, but both are {address}"));
            }
        }
        found.0
    }
}

impl StoreConfig {
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if self.path.as_os_str().is_empty() {
            found.add("path", "must not be empty".to_owned());
        }
        found.range("cache_bytes", &self.cache_bytes, 1 << 20..=1 << 40);
        found.0
    }
}

impl VerificationConfig {
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        let (policy, limits) = (&self.policy, &self.limits);
        found.range("retention", &self.retention, policy.max_lifetime..=90 * DAY);
        found.range("policy.length", &policy.length, 4..=32);
        if policy.alphabet.is_empty() {
            found.add("policy.alphabet", "must name at least one of digits, upper, lower, special".to_owned());
        }
        found.range("policy.max_lifetime", &policy.max_lifetime, Duration::from_secs(30)..=DAY);
        found.range("policy.lifetime", &policy.lifetime, Duration::from_secs(30)..=policy.max_lifetime);
        found.range("policy.max_checks", &policy.max_checks, 1..=20);
        if limits.cool_downs.is_empty() || !limits.cool_downs.is_sorted() {
            found.add("limits.cool_downs", "must be one or more times, each at least as long as the last".to_owned());
        }
        let longest = limits.cool_downs.last().copied().unwrap_or_default();
        found.range("limits.cool_down_reset", &limits.cool_down_reset, longest..=30 * DAY);
        found.range("limits.failures", &limits.failures, 1..=100);
        found.range("limits.failure_window", &limits.failure_window, Duration::from_secs(60)..=30 * DAY);
        found.range("limits.max_sends", &limits.max_sends, 1..=20);
        found.0
    }
}

impl MessagingConfig {
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        found.range("retention", &self.retention, Duration::from_secs(60 * 60)..=90 * DAY);
        found.range("attempt_timeout", &self.attempt_timeout, Duration::from_millis(100)..=Duration::from_secs(120));
        found.range("workers", &self.workers, 1..=4_096);
        found.range("max_attempts", &self.max_attempts, 1..=20);
        found.0
    }
}

impl TenantConfig {
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if let Some(country) = &self.default_country {
            found.country("default_country", country);
        }
        for (field, text) in [("brand", &self.brand), ("sender", &self.sender)] {
            if text.as_ref().is_some_and(|text| text.chars().count() > 64 || text.chars().any(char::is_control)) {
                found.add(field, "must be at most 64 characters, on one line".to_owned());
            }
        }
        if self.keys.is_empty() {
            found.add("keys", "must hold at least one key, or the tenant cannot call".to_owned());
        }
        for (index, key) in self.keys.iter().enumerate() {
            found.nest(&format!("keys[{index}]"), key.violations());
        }
        found.0
    }
}

impl RouteConfig {
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if self.vendors.is_empty() {
            found.add("vendors", "must name at least one vendor".to_owned());
        }
        for (index, country) in self.countries.iter().enumerate() {
            found.country(&format!("countries[{index}]"), country);
        }
        found.0
    }
}

/// What was found so far.
#[derive(Default)]
pub(crate) struct Violations(pub(crate) Vec<Violation>);

impl Violations {
    pub(crate) fn add(&mut self, field: &str, description: String) {
        self.0.push(Violation { field: field.to_owned(), description });
    }

    /// Takes the violations of what lies at `path`.
    pub(crate) fn nest(&mut self, path: &str, inner: Vec<Violation>) {
        self.0.extend(inner.into_iter().map(|inner| Violation { field: format!("{path}.{}", inner.field), ..inner }));
    }

    fn range<T: PartialOrd + Written>(&mut self, field: &str, value: &T, range: RangeInclusive<T>) {
        if !range.contains(value) {
            let (least, most) = (range.start().written(), range.end().written());
            self.add(field, format!("must be {least} to {most}, but is {}", value.written()));
        }
    }

    fn country(&mut self, field: &str, code: &str) {
        if code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_uppercase()) {
            self.add(field, "must be a country by two capital letters (ISO 3166-1) such as MY".to_owned());
        }
    }
}

/// As configuration writes it.
trait Written {
    fn written(&self) -> String;
}

impl Written for u32 {
    fn written(&self) -> String {
        self.to_string()
    }
}

impl Written for u64 {
    fn written(&self) -> String {
        self.to_string()
    }
}

impl Written for Duration {
    fn written(&self) -> String {
        let printer = jiff::fmt::friendly::SpanPrinter::new().spacing(jiff::fmt::friendly::Spacing::None);
        printer.unsigned_duration_to_string(self)
    }
}
