//! Who calls: API keys, each an id and a secret, and the tenant that a key speaks for.
//!
//! A secret is kept and compared as one SHA-256. Keys made by [`ApiKey::generate`] carry 256 random bits, which nobody
//! guesses however fast the hash is, so a slow hash would only slow each call. A secret that a person chose has far
//! fewer bits: who steals its hash can try billions a second against it. That is why short ones draw a warning at
//! start, and why configuration counts a hash among the secrets.
//!
//! Knows nothing of requests: a surface hands in the header or the pair that its wire format carries.

use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::error::{Error, Kind, Reason, Result, Violation};
use crate::id::TenantName;
use crate::network::Network;
use crate::random::Random;

/// Longest key id, in bytes.
pub const MAX_ID_BYTES: usize = 64;

/// Longest secret, in bytes. Bounds the work that a stranger can cause.
pub const MAX_SECRET_BYTES: usize = 256;

/// A configured secret of fewer bytes than this is called weak.
pub const WEAK_SECRET_BYTES: usize = 16;

/// The key of `[[tenants]]` as configured: an id with either a secret or the hash of one.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct KeyConfig {
    pub id: String,
    #[serde(default)]
    pub secret: Option<SecretString>,
    #[serde(default)]
    pub secret_hash: Option<SecretString>,
    /// Whether the secret opens without the id, where a vendor's clients send but one credential.
    #[serde(default)]
    pub alone: bool,
    /// Where it opens from; empty for everywhere.
    #[serde(default)]
    pub from: Vec<Network>,
}

/// Every key that may call. Made once at start; reading it needs no lock.
pub struct Keys {
    by_id: HashMap<Arc<str>, Key>,
    /// The callers whose secret opens alone, by its hash: who can choose what is looked up here has to know the secret.
    alone: HashMap<[u8; 32], Caller>,
    /// Compared with when an id is unknown, so that it takes the same work as a wrong secret.
    nobody: SecretHash,
}

/// An authenticated caller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub tenant: TenantName,
    pub key_id: Arc<str>,
    from: Arc<[Network]>,
}

/// Who calls: the other end of the connection, or whom a proxy speaks for that we believe. An extension of each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// The SHA-256 of a secret. Written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy)]
pub struct SecretHash([u8; 32]);

/// A new key. The secret is shown once, to whom it was made for; only the hash is configured.
#[derive(Debug)]
pub struct ApiKey {
    /// `vk_` and 12 of `a-z 2-7`.
    pub id: String,
    /// 256 random bits as 43 characters of base64url (RFC 4648 §5).
    pub secret: SecretString,
    pub hash: SecretHash,
}

struct Key {
    caller: Caller,
    hash: SecretHash,
}

// === impl KeyConfig ===

impl KeyConfig {
    /// What is out of range, by field.
    pub fn violations(&self) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut violate = |field: &str, description: String| {
            violations.push(Violation { field: field.into(), description });
        };
        if !is_key_id(&self.id) {
            violate("id", format!("must be 1 to {MAX_ID_BYTES} visible ASCII characters"));
        }
        match (&self.secret, &self.secret_hash) {
            (None, None) => violate("secret", "is missing: give one of secret, secret_file and secret_hash".into()),
            (Some(_), Some(_)) => violate("secret_hash", "must not be given together with a secret".into()),
            (Some(secret), None) => {
                let bytes = secret.expose_secret().len();
                if !(1..=MAX_SECRET_BYTES).contains(&bytes) {
                    violate("secret", format!("must be 1 to {MAX_SECRET_BYTES} bytes, but has {bytes}"));
                }
            }
            (None, Some(hash)) => {
                if let Err(error) = hash.expose_secret().parse::<SecretHash>() {
                    violations.extend_from_slice(error.violations());
                } else if self.opens_with("") {
                    violate("secret_hash", "must not be the hash of an empty secret".into());
                }
            }
        }
        violations
    }

    /// Whether `secret` is the secret of this key, told even where only its hash is given.
    pub fn opens_with(&self, secret: &str) -> bool {
        self.hash().is_ok_and(|hash| bool::from(hash.0.ct_eq(&SecretHash::of(secret).0)))
    }

    /// The secret is given in full and is short enough to be guessed from its hash.
    pub fn is_weak(&self) -> bool {
        self.secret.as_ref().is_some_and(|secret| secret.expose_secret().len() < WEAK_SECRET_BYTES)
    }

    fn hash(&self) -> Result<SecretHash> {
        match (&self.secret, &self.secret_hash) {
            (Some(secret), None) => Ok(SecretHash::of(secret.expose_secret())),
            (None, Some(hash)) => hash.expose_secret().parse(),
            _ => Err(Error::invalid("secret", "must be given once, as a secret or as its hash")),
        }
    }
}

// === impl Keys ===

impl Keys {
    /// Errors: `Invalid` when two keys share an id, or a secret that opens alone, or one has no usable secret.
    pub fn new<'a>(configs: impl IntoIterator<Item = (&'a TenantName, &'a KeyConfig)>) -> Result<Self> {
        let mut by_id = HashMap::new();
        let mut alone = HashMap::new();
        for (tenant, config) in configs {
            let key_id: Arc<str> = config.id.as_str().into();
            let from = config.from.as_slice().into();
            let caller = Caller { tenant: tenant.clone(), key_id: Arc::clone(&key_id), from };
            if config.alone && alone.insert(config.hash()?.0, caller.clone()).is_some() {
                return Err(Error::invalid("alone", "must not be set for two keys with one secret"));
            }
            if by_id.insert(key_id, Key { caller, hash: config.hash()? }).is_some() {
                return Err(Error::invalid("id", "must be unique over all tenants"));
            }
        }
        Ok(Self { by_id, alone, nobody: SecretHash([0; 32]) })
    }

    /// The caller behind an `authorization` header: `Bearer ID.SECRET`, the scheme in any case (RFC 9110 §11.1,
    /// RFC 6750 §2.1). Allocates nothing when it succeeds.
    ///
    /// Errors: `Unauthenticated`, as `CREDENTIALS_MISSING` without a header, else as `CREDENTIALS_INVALID`, which does
    /// not tell a malformed header, an unknown id and a wrong secret apart.
    pub fn authenticate(&self, header: Option<&str>) -> Result<Caller> {
        let header = header.ok_or_else(|| {
            let message = "no credentials: send the header \"authorization: Bearer ID.SECRET\" with an API key";
            Error::new(Kind::Unauthenticated, Reason::CredentialsMissing, message)
        })?;
        let (id, secret) = parse_bearer(header).and_then(|token| self.split(token)).ok_or_else(invalid_credentials)?;
        self.check(id, secret)
    }

    /// The caller behind a single credential: `ID.SECRET`, or the secret of a key that opens alone.
    ///
    /// Errors: `Unauthenticated` as `CREDENTIALS_INVALID`, whatever is wrong.
    pub fn check_token(&self, token: &str) -> Result<Caller> {
        let bounded = (1..=MAX_ID_BYTES + MAX_SECRET_BYTES).contains(&token.len());
        if let Some(caller) = self.alone.get(&SecretHash::of(token).0).filter(|_| bounded) {
            return Ok(caller.clone());
        }
        let (id, secret) = self.split(token).ok_or_else(invalid_credentials)?;
        self.check(id, secret)
    }

    /// Id and secret of a token. An id may hold dots, and so may a secret: the longest id that is known counts, else
    /// what stands before the first dot.
    fn split<'a>(&self, token: &'a str) -> Option<(&'a str, &'a str)> {
        let dots = token.bytes().enumerate().take(MAX_ID_BYTES + 1).filter(|(_, byte)| *byte == b'.');
        let parts = dots.map(|(at, _)| (&token[..at], &token[at + 1..]));
        let known = parts.clone().rfind(|(id, _)| self.by_id.contains_key(*id));
        known.or_else(|| parts.into_iter().next())
    }

    /// The caller behind an id and a secret, for surfaces that carry them apart.
    ///
    /// Errors: `Unauthenticated` as `CREDENTIALS_INVALID`, whatever is wrong.
    pub fn check(&self, id: &str, secret: &str) -> Result<Caller> {
        if id.len() > MAX_ID_BYTES || secret.is_empty() || secret.len() > MAX_SECRET_BYTES {
            return Err(invalid_credentials());
        }
        let key = self.by_id.get(id);
        let expected = key.map_or(&self.nobody, |key| &key.hash);
        let same = expected.0.ct_eq(&SecretHash::of(secret).0);
        let known = Choice::from(u8::from(key.is_some()));
        match key {
            Some(key) if bool::from(same & known) => Ok(key.caller.clone()),
            _ => Err(invalid_credentials()),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_id.keys()).finish()
    }
}

// === impl Caller ===

impl Caller {
    /// Lets a caller pass whose key opens from there. A connection without an address, such as one to a Unix socket, comes
    /// from this machine.
    ///
    /// Errors: `Forbidden` as `NOT_PERMITTED`.
    pub fn admit(self, peer: Option<Peer>) -> Result<Self> {
        let address = peer.map_or(Ipv4Addr::LOCALHOST.into(), |Peer(address)| address.to_canonical());
        if self.from.is_empty() || self.from.iter().any(|network| network.contains(address)) {
            return Ok(self);
        }
        let message = format!("this API key does not open from {address}; add the network to its `from`");
        Err(Error::new(Kind::Forbidden, Reason::NotPermitted, message))
    }
}

fn parse_bearer(header: &str) -> Option<&str> {
    let (scheme, rest) = header.trim_matches(' ').split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    Some(rest.trim_start_matches(' '))
}

fn invalid_credentials() -> Error {
    let message = "the credentials are not valid: send \"authorization: Bearer ID.SECRET\" with the id and the secret \
                   of a configured API key";
    Error::new(Kind::Unauthenticated, Reason::CredentialsInvalid, message)
}

fn is_key_id(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

// === impl SecretHash ===

impl SecretHash {
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// Whether it is that of `secret`, told in the same time for every hash.
    pub fn is_of(&self, secret: &str) -> bool {
        bool::from(self.0.ct_eq(&Self::of(secret).0))
    }
}

/// The form to configure.
impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:<redacted>")
    }
}

/// The error says nothing of the text: it may be a secret in the wrong place.
impl FromStr for SecretHash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = text.strip_prefix("sha256:").and_then(parse_hex);
        bytes.map(Self).ok_or_else(|| {
            Error::invalid("secret_hash", "must be \"sha256:\" and 64 hexadecimal digits, as printed by `key new`")
        })
    }
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
}

// === impl ApiKey ===

impl ApiKey {
    /// Makes a key. Neither part holds a dot, so both travel in `Bearer ID.SECRET`.
    pub fn generate(random: &dyn Random) -> Self {
        /// RFC 4648 §6, in lower case. 32 letters, so 5 bits of a byte choose one without bias.
        const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut letters = [0; 12];
        random.fill(&mut letters);
        let id = letters.iter().fold(String::from("vk_"), |mut id, byte| {
            id.push(char::from(BASE32[usize::from(byte % 32)]));
            id
        });
        let mut bits = Zeroizing::new([0; 32]);
        random.fill(bits.as_mut_slice());
        let secret = SecretString::from(URL_SAFE_NO_PAD.encode(bits.as_slice()));
        let hash = SecretHash::of(secret.expose_secret());
        Self { id, secret, hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    fn config(id: &str, secret: Option<&str>, secret_hash: Option<&str>) -> KeyConfig {
        let (secret, secret_hash) = (secret.map(Into::into), secret_hash.map(Into::into));
        KeyConfig { id: id.into(), secret, secret_hash, alone: false, from: Vec::new() }
    }

    fn keys() -> Keys {
        let acme = "acme".parse().unwrap();
        let zeta = "zeta".parse().unwrap();
        let hash = SecretHash::of("canary.two").to_string();
        Keys::new([(&acme, &config("one", Some("canary-one"), None)), (&zeta, &config("two", None, Some(&hash)))])
            .unwrap()
    }

    #[test]
    fn a_key_speaks_for_its_tenant_whether_configured_by_secret_or_by_hash() {
        let keys = keys();
        let one = keys.authenticate(Some("Bearer one.canary-one")).unwrap();
        assert_eq!((one.tenant.as_str(), &*one.key_id), ("acme", "one"));
        let two = keys.authenticate(Some("Bearer two.canary.two")).unwrap();
        assert_eq!((two.tenant.as_str(), &*two.key_id), ("zeta", "two"));
        assert_eq!(keys.check("two", "canary.two").unwrap(), two);
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_after_any_blanks() {
        for header in ["bearer one.canary-one", "BEARER   one.canary-one", " Bearer one.canary-one "] {
            assert!(keys().authenticate(Some(header)).is_ok(), "{header}");
        }
    }

    #[test]
    fn every_wrong_credential_has_the_same_answer() {
        let long_secret = format!("Bearer one.{}", "x".repeat(MAX_SECRET_BYTES + 1));
        let long_id = format!("Bearer {}.canary-one", "x".repeat(MAX_ID_BYTES + 1));
        let huge = "x".repeat(1 << 20);
        let hash_as_secret = format!("Bearer one.{}", SecretHash::of("canary-one"));
        let wrong = [
            "Bearer one.canary-two",
            "Bearer one.canary-one ,",
            "Bearer one.canary-on",
            "Bearer one.Canary-one",
            "Bearer two.canary-one",
            "Bearer three.canary-one",
            "Bearer one.",
            "Bearer .canary-one",
            "Bearer .",
            "Bearer one",
            "Bearer",
            "Bearer ",
            "",
            "one.canary-one",
            "Basic one.canary-one",
            "Bearer\tone.canary-one",
            "Bearer one.canary-one\0",
            "Bearer \u{ff4f}ne.canary-one",
            &long_secret,
            &long_id,
            &huge,
            &hash_as_secret,
        ];
        let keys = keys();
        let answer = invalid_credentials();
        for header in wrong {
            let error = keys.authenticate(Some(header)).unwrap_err();
            assert_eq!(error.kind(), Kind::Unauthenticated, "{header}");
            assert_eq!(error.reason(), Reason::CredentialsInvalid, "{header}");
            assert_eq!(error.message(), answer.message(), "{header}");
        }
    }

    #[test]
    fn nobody_gets_in_with_the_dummy_or_without_keys() {
        let nobody = Keys::new([]).unwrap();
        assert!(nobody.authenticate(Some("Bearer one.canary-one")).is_err());
        assert!(keys().check("", "").is_err());
        let (acme, empty) = ("acme".parse().unwrap(), SecretHash::of("").to_string());
        let careless = Keys::new([(&acme, &config("one", None, Some(&empty)))]).unwrap();
        assert!(careless.check("one", "").is_err());
    }

    #[test]
    fn missing_credentials_say_how_to_send_them() {
        let error = keys().authenticate(None).unwrap_err();
        assert_eq!((error.kind(), error.reason()), (Kind::Unauthenticated, Reason::CredentialsMissing));
        assert!(error.message().contains("authorization: Bearer ID.SECRET"));
    }

    #[test]
    fn an_id_belongs_to_one_key() {
        let (acme, zeta) = ("acme".parse().unwrap(), "zeta".parse().unwrap());
        let (one, other) = (config("one", Some("a"), None), config("one", Some("b"), None));
        assert!(Keys::new([(&acme, &one), (&zeta, &other)]).is_err());
    }

    #[test]
    fn hashes_are_read_as_they_are_printed() {
        // The example of FIPS 180-2, appendix B.1.
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(SecretHash::of("abc").to_string(), abc);
        assert_eq!(abc.parse::<SecretHash>().unwrap().to_string(), abc);
        let upper = abc.replace("ba78", "BA78");
        assert_eq!(upper.parse::<SecretHash>().unwrap().to_string(), abc);
        let signed = abc.replace("ba", "+a");
        for bad in ["", "abc", &abc[7..], &abc[..70], &format!("{abc}0"), &abc.replace("ba", "ga"), &signed] {
            assert!(bad.parse::<SecretHash>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_configured_key_has_an_id_and_one_secret() {
        let fields = |config: KeyConfig| config.violations().into_iter().map(|v| v.field).collect::<Vec<_>>();
        let hash = SecretHash::of("x").to_string();
        assert!(fields(config("one", Some("x"), None)).is_empty());
        assert!(fields(config("one", None, Some(&hash))).is_empty());
        assert!(fields(config("o.n@e", Some("x"), None)).is_empty());
        assert_eq!(fields(config("o ne", Some("x"), None)), ["id"]);
        assert_eq!(fields(config("", None, None)), ["id", "secret"]);
        assert_eq!(fields(config("one", Some(""), None)), ["secret"]);
        assert_eq!(fields(config("one", Some(&"x".repeat(257)), None)), ["secret"]);
        assert_eq!(fields(config("one", Some("x"), Some(&hash))), ["secret_hash"]);
        assert_eq!(fields(config("one", None, Some("canary"))), ["secret_hash"]);
        assert_eq!(fields(config("one", None, Some(&SecretHash::of("").to_string()))), ["secret_hash"]);
        assert!(config("one", None, Some(&hash)).opens_with("x") && config("one", Some("x"), None).opens_with("x"));
        assert!(!config("one", None, Some(&hash)).opens_with("y") && !config("one", None, None).opens_with(""));
        assert!(config("one", Some("fifteen-letters"), None).is_weak());
        assert!(!config("one", Some("sixteen-letters!"), None).is_weak());
    }

    #[test]
    fn a_new_key_opens_the_door_and_is_never_twice_the_same() {
        let (key, other) = (ApiKey::generate(&OsRandom), ApiKey::generate(&OsRandom));
        assert_ne!(key.id, other.id);
        assert_ne!(key.secret.expose_secret(), other.secret.expose_secret());
        assert_eq!(key.id.len(), "vk_".len() + 12);
        assert!(is_key_id(&key.id));
        assert_eq!(key.secret.expose_secret().len(), 43);
        assert!(!key.secret.expose_secret().contains('.'));
        let tenant = "acme".parse().unwrap();
        let keys = Keys::new([(&tenant, &config(&key.id, None, Some(&key.hash.to_string())))]).unwrap();
        let header = format!("Bearer {}.{}", key.id, key.secret.expose_secret());
        assert_eq!(*keys.authenticate(Some(&header)).unwrap().key_id, *key.id);
    }

    #[test]
    fn ids_may_hold_dots() {
        let tenant: TenantName = "acme".parse().unwrap();
        let (short, long) =
            (config("ann@example", Some("com.one.two"), None), config("ann@example.com", Some("a.b"), None));
        let keys = Keys::new([(&tenant, &short), (&tenant, &long)]).unwrap();
        let id = |token: &str| keys.check_token(token).map(|caller| caller.key_id.to_string()).ok();
        assert_eq!(id("ann@example.com.a.b"), Some("ann@example.com".to_owned()));
        assert_eq!(id("ann@example.com.one.two"), None);
        assert_eq!(*keys.authenticate(Some("Bearer ann@example.com.a.b")).unwrap().key_id, *"ann@example.com");
        let keys = Keys::new([(&tenant, &short)]).unwrap();
        assert!(keys.check_token("ann@example.com.one.two").is_ok());
    }

    #[test]
    fn a_secret_opens_alone_only_where_it_may() {
        let tenant: TenantName = "acme".parse().unwrap();
        let may = KeyConfig { alone: true, ..config("one", Some("secret-of-one"), None) };
        let may_not = config("two", Some("secret-of-two"), None);
        let keys = Keys::new([(&tenant, &may), (&tenant, &may_not)]).unwrap();
        assert_eq!(*keys.check_token("secret-of-one").unwrap().key_id, *"one");
        assert!(keys.check_token("one.secret-of-one").is_ok());
        assert!(keys.check_token("two.secret-of-two").is_ok());
        for wrong in ["secret-of-two", "", "one", "one.", ".secret-of-one", "three.secret-of-one"] {
            assert!(keys.check_token(wrong).is_err(), "{wrong}");
        }
        // Not on the surfaces that have a place for the id.
        assert!(keys.authenticate(Some("Bearer secret-of-one")).is_err());
        let twin = KeyConfig { alone: true, ..config("three", Some("secret-of-one"), None) };
        assert!(Keys::new([(&tenant, &may), (&tenant, &twin)]).is_err());
    }

    #[test]
    fn no_debug_shows_a_secret() {
        let key = ApiKey::generate(&OsRandom);
        let shown = format!("{key:?}");
        assert!(!shown.contains(key.secret.expose_secret()));
        assert!(!shown.contains(&key.hash.to_string()[7..]));
        let shown = format!("{:?} {:?} {:?}", keys(), config("one", Some("canary"), Some("canary")), keys().nobody);
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn a_key_opens_from_its_networks_only() {
        let acme = "acme".parse().unwrap();
        let from = vec!["10.1.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let fixed = KeyConfig { from, ..config("one", Some("canary-one"), None) };
        let open = config("two", Some("canary-two"), None);
        let local = KeyConfig { from: vec!["127.0.0.0/8".parse().unwrap()], ..config("three", Some("three"), None) };
        let keys = Keys::new([(&acme, &fixed), (&acme, &open), (&acme, &local)]).unwrap();
        let admit = |id: &str, secret: &str, peer: Option<&str>| {
            keys.check(id, secret).unwrap().admit(peer.map(|peer| Peer(peer.parse().unwrap())))
        };
        for peer in ["10.1.255.255", "::ffff:10.1.0.1", "2001:db8::9"] {
            assert!(admit("one", "canary-one", Some(peer)).is_ok(), "{peer}");
        }
        for peer in [Some("10.2.0.0"), Some("2001:db9::"), Some("127.0.0.1"), Some("::1"), None] {
            let error = admit("one", "canary-one", peer).unwrap_err();
            assert_eq!((error.kind(), error.reason()), (Kind::Forbidden, Reason::NotPermitted), "{peer:?}");
        }
        for peer in [Some("10.2.0.0"), Some("::1"), None] {
            assert!(admit("two", "canary-two", peer).is_ok(), "{peer:?}");
        }
        assert!(admit("three", "three", None).is_ok() && admit("three", "three", Some("10.1.0.1")).is_err());
    }
}
