//! The settings of the listeners beside their addresses: TLS, who may connect, and how much is taken from whom.
//!
//! Reads no file: whether certificates and names are what they should be is found out by the server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::auth::secret::SecretHash;
use crate::error::Violation;
use crate::violations::Violations;

/// `[server.tls]`: TLS on each listener.
#[derive(Debug, Clone, Deserialize)]
pub struct TlsConfig {
    pub grpc: ListenerTls,
    pub http: ListenerTls,
    pub admin: ListenerTls,
}

/// TLS on one listener: none, of which side one file tells, or of both.
#[derive(Debug, Clone, Deserialize)]
pub struct ListenerTls {
    /// The chain, in PEM, the listener's own certificate first.
    pub certificate_file: Option<PathBuf>,
    /// Its key, in PEM.
    pub key_file: Option<PathBuf>,
    /// Certificates, in PEM, one of which must vouch for each client.
    pub client_ca_file: Option<PathBuf>,
}

/// The files of a listener that speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: Option<PathBuf>,
}

/// `[server.unix]`: who may connect to a Unix socket.
#[derive(Debug, Clone, Deserialize)]
pub struct UnixConfig {
    /// The permissions of the socket, in octal digits.
    pub mode: String,
    /// Names or numbers; with neither, whoever can open the socket.
    pub users: Vec<String>,
    pub groups: Vec<String>,
    /// The id of the API key that a call without credentials is made with.
    pub key: Option<String>,
}

/// `[server.admin_access]`: the credentials of the admin listener.
#[derive(Debug, Clone, Deserialize)]
pub struct AdminAccess {
    pub user: String,
    #[serde(default)]
    pub password: Option<SecretString>,
    #[serde(default)]
    pub password_hash: Option<SecretString>,
}

/// `[server.limits]`: how much is taken from whom, and for how long.
#[derive(Debug, Clone, Deserialize)]
pub struct LimitsConfig {
    pub connections: u32,
    pub connections_per_address: u32,
    pub calls: u32,
    pub handshake_timeout: Duration,
    pub read_timeout: Duration,
    pub idle_timeout: Duration,
    pub call_timeout: Duration,
}

/// The header in which a proxy says whom it speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProxyHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

// === impl TlsConfig ===

impl TlsConfig {
    /// The listeners by key.
    pub fn listeners(&self) -> [(&'static str, &ListenerTls); 3] {
        [("grpc", &self.grpc), ("http", &self.http), ("admin", &self.admin)]
    }

    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        for (key, listener) in self.listeners() {
            found.nest(key, listener.violations());
        }
        found.0
    }
}

// === impl ListenerTls ===

impl ListenerTls {
    /// `None` where the listener speaks no TLS.
    pub fn files(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: self.certificate_file.clone()?,
            key: self.key_file.clone()?,
            client_ca: self.client_ca_file.clone(),
        })
    }

    fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        let files = [("certificate_file", &self.certificate_file), ("key_file", &self.key_file)];
        let given = [files[0], files[1], ("client_ca_file", &self.client_ca_file)];
        if let Some((one, _)) = given.iter().find(|(_, file)| file.is_some()) {
            for (key, _) in files.iter().filter(|(_, file)| file.is_none()) {
                found.add(key, format!("is missing, while {one} is set: set it, too, or none of them"));
            }
        }
        found.0
    }
}

// === impl UnixConfig ===

impl UnixConfig {
    /// The permissions of the socket; those of its owner and its group where `mode` is none, which the checks refuse.
    pub fn permissions(&self) -> u32 {
        self.parse_mode().unwrap_or(0o660)
    }

    fn parse_mode(&self) -> Option<u32> {
        let digits = (3..=4).contains(&self.mode.len()) && self.mode.bytes().all(|byte| byte.is_ascii_digit());
        u32::from_str_radix(&self.mode, 8).ok().filter(|mode| digits && *mode <= 0o777 && mode & 0o600 == 0o600)
    }

    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if self.parse_mode().is_none() {
            let wanted = "must be permissions in octal digits from \"0600\" to \"0777\" that leave it to its owner";
            found.add("mode", format!("{wanted}, but is {:?}", self.mode));
        }
        for (key, names) in [("users", &self.users), ("groups", &self.groups)] {
            if names.iter().any(String::is_empty) {
                found.add(key, "must hold names or numbers, but one of them is empty".to_owned());
            }
        }
        if self.key.is_some() && !self.is_choosy() {
            let message = "needs users or groups, or whoever can open the socket would have the key";
            found.add("key", message.to_owned());
        }
        found.0
    }

    /// Whether anything is asked of those who connect, beside that they can.
    pub fn is_choosy(&self) -> bool {
        !self.users.is_empty() || !self.groups.is_empty()
    }
}

// === impl AdminAccess ===

impl AdminAccess {
    /// The hash of the password; `None` where there is none, and so no credentials are asked for.
    pub fn hash(&self) -> Option<SecretHash> {
        match (&self.password, &self.password_hash) {
            (Some(password), _) => Some(SecretHash::of(password.expose_secret())),
            (None, Some(hash)) => hash.expose_secret().parse().ok(),
            (None, None) => None,
        }
    }

    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        if !(1..=64).contains(&self.user.len()) || !self.user.bytes().all(plain) {
            found.add("user", "must be 1 to 64 visible ASCII characters without a colon".to_owned());
        }
        match (&self.password, &self.password_hash) {
            (Some(_), Some(_)) => {
                found.add("password_hash", "must not be given together with a password".to_owned());
            }
            (Some(password), None) if !(1..=256).contains(&password.expose_secret().len()) => {
                found.add("password", "must be 1 to 256 bytes".to_owned());
            }
            (None, Some(_)) => match self.hash() {
                None => {
                    let wanted = "must be \"sha256:\" and 64 hexadecimal digits, as printed by `key new`";
                    found.add("password_hash", wanted.to_owned());
                }
                Some(hash) if bool::from(hash.is_of("")) => {
                    found.add("password_hash", "must not be the hash of an empty password".to_owned());
                }
                Some(_) => {}
            },
            _ => {}
        }
        found.0
    }
}

// === impl LimitsConfig ===

impl LimitsConfig {
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        let (brief, hour) = (Duration::from_millis(10), Duration::from_secs(3600));
        found.range("connections", &self.connections, 1..=1_000_000);
        found.range("connections_per_address", &self.connections_per_address, 1..=1_000_000);
        found.range("calls", &self.calls, 4..=1_000_000);
        found.range("handshake_timeout", &self.handshake_timeout, brief..=Duration::from_secs(120));
        found.range("read_timeout", &self.read_timeout, brief..=hour);
        found.range("idle_timeout", &self.idle_timeout, brief..=24 * hour);
        found.range("call_timeout", &self.call_timeout, Duration::from_secs(1)..=hour);
        found.0
    }
}

// === impl TlsFiles ===

impl TlsFiles {
    /// Every file with the key that names it.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let client_ca = self.client_ca.as_deref().map(|file| ("client_ca_file", file));
        [("certificate_file", self.certificate.as_path()), ("key_file", self.key.as_path())]
            .into_iter()
            .chain(client_ca)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(violations: Vec<Violation>) -> Vec<String> {
        violations.into_iter().map(|violation| violation.field).collect()
    }

    fn tls(certificate: bool, key: bool, client_ca: bool) -> ListenerTls {
        let file = |given: bool| given.then(|| PathBuf::from("file.pem"));
        ListenerTls { certificate_file: file(certificate), key_file: file(key), client_ca_file: file(client_ca) }
    }

    #[test]
    fn tls_is_set_whole_or_not_at_all() {
        for (certificate, key, client_ca, missing) in [
            (false, false, false, vec![]),
            (true, true, false, vec![]),
            (true, true, true, vec![]),
            (true, false, false, vec!["key_file"]),
            (false, true, false, vec!["certificate_file"]),
            (false, false, true, vec!["certificate_file", "key_file"]),
            (true, false, true, vec!["key_file"]),
        ] {
            let tls = tls(certificate, key, client_ca);
            assert_eq!(fields(tls.violations()), missing, "{tls:?}");
            assert_eq!(tls.files().is_some(), certificate && key);
        }
    }

    #[test]
    fn the_mode_of_a_socket_is_octal_and_leaves_it_to_its_owner() {
        let unix = |mode: &str| UnixConfig { mode: mode.to_owned(), users: vec![], groups: vec![], key: None };
        for (mode, permissions) in [("0660", 0o660), ("600", 0o600), ("0777", 0o777), ("0666", 0o666)] {
            assert!(unix(mode).violations().is_empty(), "{mode}");
            assert_eq!(unix(mode).permissions(), permissions);
        }
        for bad in ["", "0", "60", "0060", "0670x", "rw-rw----", "1777", "0o660", "0888", "+660", "00660", "0400"] {
            assert_eq!(fields(unix(bad).violations()), ["mode"], "{bad}");
        }
        let nameless = UnixConfig { users: vec![String::new()], ..unix("0660") };
        assert_eq!(fields(nameless.violations()), ["users"]);
        let keyed = UnixConfig { key: Some("one".to_owned()), ..unix("0660") };
        assert_eq!(fields(keyed.violations()), ["key"]);
        assert!(UnixConfig { groups: vec!["0".to_owned()], ..keyed }.violations().is_empty());
    }

    #[test]
    fn the_admin_listener_has_one_password_that_is_not_empty() {
        let access = |password: Option<&str>, hash: Option<String>| AdminAccess {
            user: "admin".to_owned(),
            password: password.map(Into::into),
            password_hash: hash.map(Into::into),
        };
        let hash = |secret: &str| Some(SecretHash::of(secret).to_string());
        assert!(access(None, None).violations().is_empty() && access(None, None).hash().is_none());
        for good in [access(Some("x"), None), access(None, hash("x"))] {
            assert!(
                good.violations().is_empty()
                    && bool::from(good.hash().unwrap().is_of("x") & !good.hash().unwrap().is_of("y"))
            );
        }
        assert_eq!(fields(access(Some(""), None).violations()), ["password"]);
        assert_eq!(fields(access(Some("x"), hash("x")).violations()), ["password_hash"]);
        assert_eq!(fields(access(None, hash("")).violations()), ["password_hash"]);
        assert_eq!(fields(access(None, Some("canary".to_owned())).violations()), ["password_hash"]);
        for user in ["", "a:b", "a b", &"x".repeat(65)] {
            assert_eq!(fields(AdminAccess { user: user.to_owned(), ..access(None, None) }.violations()), ["user"]);
        }
    }
}
