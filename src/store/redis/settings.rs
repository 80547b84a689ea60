//! Settings of the store on Redis or Valkey, and what they may be. Knows no connection.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::error::Violation;
use crate::violations::Violations;

/// The port of a server where none is given.
const PORT: u16 = 6379;
/// That of a Sentinel.
const SENTINEL_PORT: u16 = 26379;

const LONGEST_PREFIX: usize = 32;

/// `[store.redis]`.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    pub mode: Mode,
    /// The server; or the Sentinels; or some servers of a Cluster, which know the others. As `host`, `host:port` or
    /// `[IPv6]:port`.
    pub addresses: Vec<String>,
    /// The database in a server. A Cluster has one.
    pub database: u32,
    /// Begins every key, so that several stores may share a server.
    pub prefix: String,
    pub user: Option<String>,
    pub password: Option<SecretString>,
    pub durability: Durability,
    /// How many replicas must have a commit before it is acknowledged. Only strict waits for any.
    pub replicas: u32,
    /// Whether they must have it on disk.
    pub replica_fsync: bool,
    /// How long to wait for them.
    pub replica_timeout: Duration,
    /// How long a call may take in all.
    pub timeout: Duration,
    /// To each server that takes writes, for commits, of each runtime.
    pub connections: u32,
    pub clock: Timekeeper,
    pub sentinel: SentinelConfig,
    pub tls: TlsConfig,
}

/// How the servers are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Single,
    Sentinel,
    Cluster,
}

/// What an acknowledged commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The end of the server, and that of its machine.
    Strict,
    /// What the server's own settings promise.
    Standard,
}

/// Whose time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Timekeeper {
    /// The servers of the store, for all nodes alike.
    Server,
    /// This machine.
    Machine,
}

/// `[store.redis.sentinel]`.
#[derive(Debug, Clone, Deserialize)]
pub struct SentinelConfig {
    /// What the Sentinels call the server.
    pub master: Option<String>,
    pub user: Option<String>,
    pub password: Option<SecretString>,
}

/// `[store.redis.tls]`.
#[derive(Debug, Clone, Deserialize)]
pub struct TlsConfig {
    pub enabled: bool,
    /// Who may vouch for the servers, in place of the web's public roots.
    pub ca_file: Option<PathBuf>,
    /// Our own, for servers that want one.
    pub certificate_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
}

/// Where a server listens. Printed as it is dialled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
}

// === impl Config ===

impl Config {
    /// How many replicas a commit waits for.
    pub(crate) fn awaited(&self) -> u32 {
        if self.durability == Durability::Strict { self.replicas } else { 0 }
    }

    /// The addresses that are well formed.
    pub(crate) fn places(&self) -> Vec<Address> {
        self.addresses.iter().filter_map(|text| self.parse(text)).collect()
    }

    fn parse(&self, text: &str) -> Option<Address> {
        let port = if self.mode == Mode::Sentinel { SENTINEL_PORT } else { PORT };
        Address::parse(text, port)
    }

    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        self.check_addresses(&mut found);
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if !(1..=LONGEST_PREFIX).contains(&self.prefix.len()) || !self.prefix.bytes().all(plain) {
            let wanted = format!("must be 1 to {LONGEST_PREFIX} of A-Z, a-z, 0-9, '-', '_' and '.'");
            found.add("prefix", format!("{wanted}, but is {:?}", self.prefix));
        }
        if self.mode == Mode::Cluster && self.database != 0 {
            found.add("database", format!("must be 0 in mode \"cluster\", but is {}", self.database));
        }
        found.range("database", &self.database, 0..=1_000_000);
        if self.user.is_some() && self.password.is_none() {
            found.add("password", "is missing, while user is set: set it, too, or neither".to_owned());
        }
        self.check_durability(&mut found);
        let (brief, half_a_minute) = (Duration::from_millis(50), Duration::from_secs(30));
        found.range("timeout", &self.timeout, brief..=half_a_minute);
        found.range("connections", &self.connections, 1..=64);
        self.check_sentinel(&mut found);
        found.nest("tls", self.tls.violations());
        found.0
    }

    fn check_addresses(&self, found: &mut Violations) {
        if self.addresses.is_empty() {
            found.add("addresses", "must hold at least one address such as \"127.0.0.1:6379\"".to_owned());
        }
        if self.mode == Mode::Single && self.addresses.len() > 1 {
            let message = "must hold one address in mode \"single\"; several are for \"sentinel\" or \"cluster\"";
            found.add("addresses", message.to_owned());
        }
        for (at, text) in self.addresses.iter().enumerate().filter(|(_, text)| self.parse(text).is_none()) {
            let wanted = "must be a host and a port such as \"redis.example.com:6379\"";
            // What comes as a URL may hold a password.
            let is = if text.contains('/') || text.contains('@') { "a URL".to_owned() } else { format!("{text:?}") };
            found.add(&format!("addresses[{at}]"), format!("{wanted}, but is {is}"));
        }
    }

    fn check_durability(&self, found: &mut Violations) {
        found.range("replicas", &self.replicas, 0..=5);
        if self.durability == Durability::Standard && self.replicas > 0 {
            let message = "must be 0 with durability \"standard\", which waits for no replica";
            found.add("replicas", message.to_owned());
        }
        if self.durability == Durability::Strict && self.replicas == 0 && self.mode != Mode::Single {
            let message = "must be 1 or more with durability \"strict\" where another server may take over, or that loses \
                           what was acknowledged; or choose durability \"standard\"";
            found.add("replicas", message.to_owned());
        }
        if self.replica_fsync && self.awaited() == 0 {
            let message = "must be false unless durability is \"strict\" and replicas 1 or more";
            found.add("replica_fsync", message.to_owned());
        }
        let slow = Duration::from_secs(2);
        if self.replica_fsync && self.replica_timeout < slow {
            let message = "must be 2s or more with replica_fsync: replicas tell once a second what they have on disk";
            found.add("replica_timeout", message.to_owned());
        }
        let least = Duration::from_millis(10);
        found.range("replica_timeout", &self.replica_timeout, least..=Duration::from_secs(30));
        if self.replica_timeout >= self.timeout && self.awaited() > 0 {
            found.add("replica_timeout", "must be shorter than timeout, which it is a part of".to_owned());
        }
    }

    fn check_sentinel(&self, found: &mut Violations) {
        let SentinelConfig { master, user, password } = &self.sentinel;
        if self.mode == Mode::Sentinel {
            match master {
                None => found.add("sentinel.master", "is missing: the name that the Sentinels watch".to_owned()),
                Some(name) if name.len() > 128 || name.bytes().any(|byte| !byte.is_ascii_graphic()) => {
                    found.add("sentinel.master", "must be 1 to 128 visible ASCII characters".to_owned());
                }
                Some(_) => {}
            }
            if user.is_some() && password.is_none() {
                found.add("sentinel.password", "is missing, while user is set: set it, too, or neither".to_owned());
            }
            return;
        }
        let given =
            [("master", master.is_some()), ("user", user.is_some()), ("password", password.is_some())].into_iter();
        for (key, _) in given.filter(|(_, given)| *given) {
            found.add(&format!("sentinel.{key}"), "is for mode \"sentinel\" only".to_owned());
        }
    }
}

// === impl TlsConfig ===

impl TlsConfig {
    fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        let files = [
            ("ca_file", self.ca_file.is_some()),
            ("certificate_file", self.certificate_file.is_some()),
            ("key_file", self.key_file.is_some()),
        ];
        if !self.enabled {
            for (key, _) in files.iter().filter(|(_, given)| *given) {
                found.add(key, "needs enabled = true: without it nothing is encrypted".to_owned());
            }
        }
        let [_, (_, certificate), (_, key)] = files;
        if certificate != key {
            let (missing, given) =
                if key { ("certificate_file", "key_file") } else { ("key_file", "certificate_file") };
            found.add(missing, format!("is missing, while {given} is set: set it, too, or neither"));
        }
        found.0
    }
}

// === impl Address ===

impl Address {
    /// `port`: where the text has none.
    pub(crate) fn parse(text: &str, port: u16) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, port),
            Some((host, rest)) => (host, rest.strip_prefix(':')?.parse().ok()?),
            None => match text.split_once(':') {
                // As servers write IPv6: the last colon is before the port.
                Some((_, rest)) if rest.contains(':') => {
                    let (host, port) = text.rsplit_once(':')?;
                    (host, port.parse().ok()?)
                }
                Some((host, port)) => (host, port.parse().ok()?),
                None => (text, port),
            },
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'%');
        let is_host = (1..=253).contains(&host.len()) && host.bytes().all(plain);
        (is_host && port != 0).then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
