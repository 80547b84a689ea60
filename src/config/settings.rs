//! The sections of a configuration as plain values, and the ranges of their keys.
//!
//! A range is told as a violation of a key; which line that key stands on is known elsewhere.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::auth::key_config::KeyConfig;
use crate::auth::scope::Scope;
use crate::config::transport::{AdminAccess, LimitsConfig, ProxyHeader, TlsConfig, UnixConfig};
use crate::error::Violation;
use crate::id::TenantName;
use crate::messaging::template::check_brand;
use crate::network::Network;
use crate::recipient::Country;
use crate::store::redis;
use crate::tenant::{Retention, check_sender};
use crate::violations::Violations;

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
    /// Whose word about who calls is taken.
    pub proxies: Vec<Network>,
    pub proxy_header: ProxyHeader,
    /// Host names, without port, under which the console may be asked for, beside `localhost` and any IP address.
    pub admin_hosts: Vec<String>,
    pub admin_access: AdminAccess,
    pub unix: UnixConfig,
    pub tls: TlsConfig,
    pub limits: LimitsConfig,
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
    /// 0 leaves these two to whoever opens the store.
    pub cache_bytes: u64,
    pub journal_bytes: u64,
    /// How often the files of the database are written anew.
    pub rewrite_interval: Duration,
    pub redis: redis::settings::Config,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    Sled,
    Redis,
}

/// One of `[[tenants]]`.
#[derive(Debug, Clone, Deserialize)]
pub struct TenantConfig {
    pub name: TenantName,
    #[serde(default)]
    pub default_country: Option<Country>,
    #[serde(default)]
    pub brand: Option<String>,
    #[serde(default)]
    pub sender: Option<String>,
    /// Whether a call may ask for the code in the answer to a start.
    #[serde(default)]
    pub return_code: bool,
    /// The vendor whose balance its callers are told as theirs.
    #[serde(default)]
    pub balance_of: Option<String>,
    /// Whether its keys may look after the server.
    #[serde(default)]
    pub admin: bool,
    /// How long its verifications are kept once they have ended, where not for as long as everybody's.
    #[serde(default)]
    pub verification_retention: Option<Duration>,
    /// The same for messages.
    #[serde(default)]
    pub message_retention: Option<Duration>,
    #[serde(default)]
    pub keys: Vec<KeyConfig>,
}

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

    /// The listeners that others can reach and listen in on. No fault: something before us may speak TLS for us.
    pub fn plain_listeners(&self) -> impl Iterator<Item = String> {
        let listeners = self.listeners().into_iter().zip(self.tls.listeners());
        let plain = listeners.filter(|((_, address), (_, tls))| !address.is_local() && tls.files().is_none());
        plain.map(|((key, address), _)| {
            let message =
                "can be reached from other machines without TLS, which shows codes and keys to who listens in;";
            let help = "or have something before it that speaks TLS";
            format!("server.{key}: {address} {message} set server.tls.{key}, {help}")
        })
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
        if matches!(self.grpc, Address::Unix(_)) && self.tls.grpc.files().is_some() {
            let message = "must not be set while server.grpc is a Unix socket, which nobody else can listen to";
            found.add("tls.grpc.certificate_file", message.to_owned());
        }
        found.nest("admin_access", self.admin_access.violations());
        found.nest("unix", self.unix.violations());
        found.nest("tls", self.tls.violations());
        found.nest("limits", self.limits.violations());
        found.0
    }
}

impl StoreConfig {
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if self.path.as_os_str().is_empty() {
            found.add("path", "must not be empty".to_owned());
        }
        for (field, bytes, most) in
            [("cache_bytes", self.cache_bytes, 1 << 40), ("journal_bytes", self.journal_bytes, 1 << 30)]
        {
            if bytes != 0 {
                found.range(field, &bytes, 1 << 20..=most);
            }
        }
        let year = Duration::from_secs(365 * 24 * 3600);
        found.range("rewrite_interval", &self.rewrite_interval, Duration::from_secs(60)..=year);
        found.nest("redis", self.redis.violations());
        found.0
    }
}

impl TenantConfig {
    pub fn retention(&self) -> Retention {
        Retention { verifications: self.verification_retention, messages: self.message_retention }
    }

    /// What keys are said to be good for that the tenant may not do, by the number of the key.
    pub fn idle_scopes(&self) -> impl Iterator<Item = (usize, &'static str)> {
        let idle = [
            (Scope::Admin, self.admin, "\"admin\" allows nothing without admin = true of the tenant"),
            (
                Scope::ReturnCode,
                self.return_code,
                "\"return-code\" allows nothing without return_code = true of the tenant",
            ),
        ];
        let idle = idle.into_iter().filter(|(_, allowed, _)| !allowed);
        self.keys.iter().enumerate().flat_map(move |(at, key)| {
            let named = move |scope| key.scopes.as_ref().is_some_and(|scopes| scopes.contains(&scope));
            idle.clone().filter(move |(scope, ..)| named(*scope)).map(move |(.., wrong)| (at, wrong))
        })
    }

    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        found.0.extend(self.brand.as_deref().and_then(check_brand));
        found.0.extend(self.sender.as_deref().and_then(check_sender));
        found.0.extend(self.retention().violations());
        for (index, key) in self.keys.iter().enumerate() {
            found.nest(&format!("keys[{index}]"), key.violations());
        }
        found.0
    }
}
