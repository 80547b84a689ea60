//! An API key as the configuration has it.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::auth::account::Origin;
use crate::auth::key::{Key, LastUse};
use crate::auth::scope::{Scope, Scopes};
use crate::auth::secret::{MAX_ID_BYTES, MAX_SECRET_BYTES, SecretHash, WEAK_SECRET_BYTES, is_key_id};
use crate::clock::Timestamp;
use crate::error::{Error, Result, Violation};
use crate::id::TenantName;
use crate::network::Network;
use crate::violations::Violations;

/// One of the keys of `[[tenants]]`: an id with either a secret or the hash of one.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct KeyConfig {
    pub id: String,
    #[serde(default)]
    pub secret: Option<SecretString>,
    #[serde(default)]
    pub secret_hash: Option<SecretString>,
    /// What it is good for; `None` for all that the tenant may do.
    #[serde(default)]
    pub scopes: Option<Vec<Scope>>,
    /// From when on it opens no more.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
    /// Whether the secret opens without the id, where a vendor's clients send but one credential.
    #[serde(default)]
    pub alone: bool,
    /// Where it opens from; empty for everywhere.
    #[serde(default)]
    pub from: Vec<Network>,
}

// === impl KeyConfig ===

impl KeyConfig {
    /// What is out of range, by field.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if !is_key_id(&self.id) {
            found.add("id", format!("must be 1 to {MAX_ID_BYTES} visible ASCII characters"));
        }
        if self.scopes.as_ref().is_some_and(Vec::is_empty) {
            let wanted = "must name at least one scope; leave it out for all that the tenant may do";
            found.add("scopes", wanted.to_owned());
        }
        self.check_secret(&mut found);
        found.0
    }

    fn check_secret(&self, found: &mut Violations) {
        match (&self.secret, &self.secret_hash) {
            (None, None) => {
                found.add("secret", "is missing: give one of secret, secret_file and secret_hash".to_owned());
            }
            (Some(_), Some(_)) => found.add("secret_hash", "must not be given together with a secret".to_owned()),
            (Some(secret), None) => {
                let bytes = secret.expose_secret().len();
                if !(1..=MAX_SECRET_BYTES).contains(&bytes) {
                    found.add("secret", format!("must be 1 to {MAX_SECRET_BYTES} bytes, but has {bytes}"));
                }
            }
            (None, Some(hash)) => {
                if let Err(error) = hash.expose_secret().parse::<SecretHash>() {
                    found.0.extend_from_slice(error.violations());
                } else if self.opens_with("") {
                    found.add("secret_hash", "must not be the hash of an empty secret".to_owned());
                }
            }
        }
    }

    /// Whether `secret` is the secret of this key, told even where only its hash is given.
    pub fn opens_with(&self, secret: &str) -> bool {
        self.hash().is_ok_and(|hash| bool::from(hash.is_of(secret)))
    }

    /// The secret is given in full and is short enough to be guessed from its hash.
    pub fn is_weak(&self) -> bool {
        self.secret.as_ref().is_some_and(|secret| secret.expose_secret().len() < WEAK_SECRET_BYTES)
    }

    /// Errors: `Invalid` when it has no usable secret.
    pub fn to_key(&self, tenant: &TenantName) -> Result<Key> {
        Ok(Key {
            id: self.id.as_str().into(),
            tenant: tenant.clone(),
            hash: self.hash()?,
            scopes: self.scopes.as_deref().map_or(Scopes::ALL, Scopes::of),
            expires_at: self.expires_at,
            from: self.from.as_slice().into(),
            alone: self.alone,
            origin: Origin::Configured,
            created_at: None,
            last_use: LastUse::default(),
        })
    }

    fn hash(&self) -> Result<SecretHash> {
        match (&self.secret, &self.secret_hash) {
            (Some(secret), None) => Ok(SecretHash::of(secret.expose_secret())),
            (None, Some(hash)) => hash.expose_secret().parse(),
            _ => Err(Error::invalid("secret", "must be given once, as a secret or as its hash")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(id: &str, secret: Option<&str>, secret_hash: Option<&str>) -> KeyConfig {
        let (secret, secret_hash) = (secret.map(Into::into), secret_hash.map(Into::into));
        KeyConfig { id: id.into(), secret, secret_hash, ..KeyConfig::default() }
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
    fn a_configured_key_has_all_scopes_or_some_of_them() {
        let acme = "acme".parse().unwrap();
        let with = |scopes: Option<Vec<Scope>>| KeyConfig { scopes, ..config("one", Some("x"), None) };
        assert_eq!(with(Some(Vec::new())).violations()[0].field, "scopes");
        assert!(with(None).violations().is_empty() && with(Some(vec![Scope::Read])).violations().is_empty());
        assert!(with(None).to_key(&acme).unwrap().scopes.is_all());
        let some = with(Some(vec![Scope::Read, Scope::Read, Scope::ReturnCode])).to_key(&acme).unwrap().scopes;
        assert_eq!(some, Scopes::of(&[Scope::Read, Scope::ReturnCode]));
    }

    #[test]
    fn no_debug_shows_a_secret() {
        let shown = format!("{:?}", config("one", Some("canary"), Some("canary")));
        assert!(!shown.contains("canary"), "{shown}");
    }
}
