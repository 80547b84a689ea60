//! All tenants and keys at one moment, and what a credential opens among them. Never changes: another moment has another
//! roster.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::auth::account::Account;
use crate::auth::caller::Caller;
use crate::auth::key::Key;
use crate::auth::secret::{MAX_ID_BYTES, MAX_SECRET_BYTES, SecretHash};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::id::TenantName;

/// Who may call.
#[derive(Default)]
pub struct Roster {
    accounts: BTreeMap<TenantName, Arc<Account>>,
    by_id: HashMap<Arc<str>, Entry>,
    /// The ids of keys whose secret opens alone, by its hash.
    alone: HashMap<[u8; 32], Arc<str>>,
}

/// A key and the tenant that it speaks for.
struct Entry {
    caller: Caller,
    disabled: bool,
}

// === impl Roster ===

impl Roster {
    /// Errors: `Invalid` when there is one of this name.
    pub fn add_account(&mut self, account: Arc<Account>) -> Result<()> {
        let name = account.tenant.name.clone();
        if self.accounts.contains_key(&name) {
            return Err(Error::invalid("name", "must be unique"));
        }
        self.accounts.insert(name, account);
        Ok(())
    }

    /// To be called when all tenants are there.
    ///
    /// Errors: `Invalid` when two keys share an id, or a secret that opens alone, or its tenant is unknown.
    pub fn add_key(&mut self, key: Arc<Key>) -> Result<()> {
        let Some(account) = self.accounts.get(&key.tenant) else {
            return Err(Error::invalid("tenant", "must be a tenant that there is"));
        };
        if self.by_id.contains_key(&key.id) {
            return Err(Error::invalid("id", "must be unique over all tenants"));
        }
        if key.alone && self.alone.contains_key(key.hash.as_bytes()) {
            return Err(Error::invalid("alone", "must not be set for two keys with one secret"));
        }
        if key.alone {
            self.alone.insert(*key.hash.as_bytes(), Arc::clone(&key.id));
        }
        let caller = Caller { tenant: Arc::clone(&account.tenant), key: Arc::clone(&key) };
        self.by_id.insert(Arc::clone(&key.id), Entry { caller, disabled: account.disabled });
        Ok(())
    }

    pub fn account(&self, name: &TenantName) -> Option<&Arc<Account>> {
        self.accounts.get(name)
    }

    /// All tenants, by name.
    pub fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    pub fn key(&self, id: &str) -> Option<&Arc<Key>> {
        self.by_id.get(id).map(|entry| &entry.caller.key)
    }

    /// All keys, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.by_id.values().map(|entry| &entry.caller.key)
    }

    /// Whether the secret with this hash opens by itself.
    pub fn opens_alone(&self, hash: &SecretHash) -> bool {
        self.alone.contains_key(hash.as_bytes())
    }

    /// The caller behind an `authorization` header: `Bearer ID.SECRET`, the scheme in any case (RFC 9110 §11.1,
    /// RFC 6750 §2.1). Allocates nothing when it succeeds.
    ///
    /// Errors: `Unauthenticated`, as `CREDENTIALS_MISSING` without a header, else as `CREDENTIALS_INVALID`, which does
    /// not tell a malformed header, an unknown id and a wrong secret apart. Who has the right secret is told more:
    /// `CREDENTIALS_EXPIRED`, or `Forbidden` for a tenant that is disabled.
    pub fn authenticate(&self, header: Option<&str>, now: Timestamp) -> Result<Caller> {
        let header = header.ok_or_else(|| {
            let message = "no credentials: send the header \"authorization: Bearer ID.SECRET\" with an API key";
            Error::new(Kind::Unauthenticated, Reason::CredentialsMissing, message)
        })?;
        let (id, secret) = parse_bearer(header).and_then(|token| self.split(token)).ok_or_else(invalid_credentials)?;
        self.check(id, secret, now)
    }

    /// The caller behind a single credential: `ID.SECRET`, or the secret of a key that opens alone.
    ///
    /// Errors: as [`Roster::check`].
    pub fn check_token(&self, token: &str, now: Timestamp) -> Result<Caller> {
        let bounded = (1..=MAX_ID_BYTES + MAX_SECRET_BYTES).contains(&token.len());
        if let Some(id) = self.alone.get(SecretHash::of(token).as_bytes()).filter(|_| bounded) {
            return self.by_id.get(id).ok_or_else(invalid_credentials)?.open(now);
        }
        let (id, secret) = self.split(token).ok_or_else(invalid_credentials)?;
        self.check(id, secret, now)
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
    /// Errors: `Unauthenticated` as `CREDENTIALS_INVALID`, whatever is wrong; who has the right secret is told of a key
    /// that has expired as `CREDENTIALS_EXPIRED`, and of a disabled tenant as `Forbidden`.
    pub fn check(&self, id: &str, secret: &str, now: Timestamp) -> Result<Caller> {
        if id.len() > MAX_ID_BYTES || secret.is_empty() || secret.len() > MAX_SECRET_BYTES {
            return Err(invalid_credentials());
        }
        let entry = self.by_id.get(id);
        let same = entry.map_or(&SecretHash::NOBODYS, |entry| &entry.caller.key.hash).is_of(secret);
        match entry {
            Some(entry) if bool::from(same) => entry.open(now),
            _ => Err(invalid_credentials()),
        }
    }

    /// The caller with the key of this id, for whom it needs to show no secret.
    ///
    /// Errors: as those of [`Roster::check`].
    pub fn vouched(&self, id: &str, now: Timestamp) -> Result<Caller> {
        self.by_id.get(id).ok_or_else(invalid_credentials)?.open(now)
    }

    /// Whether what a caller came in with would let it in still.
    ///
    /// Errors: as those of [`Roster::check`].
    pub fn recheck(&self, caller: &Caller, now: Timestamp) -> Result<Caller> {
        let entry = self.by_id.get(&caller.key.id).filter(|entry| {
            let key = &entry.caller.key;
            key.hash.as_bytes() == caller.key.hash.as_bytes() && key.tenant == caller.key.tenant
        });
        entry.ok_or_else(invalid_credentials)?.open(now)
    }
}

/// Shows ids and no more.
impl fmt::Debug for Roster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_id.keys()).finish()
    }
}

// === impl Entry ===

impl Entry {
    /// For whoever has the right secret.
    fn open(&self, now: Timestamp) -> Result<Caller> {
        let key = &self.caller.key;
        if let Some(at) = key.expires_at.filter(|_| key.has_expired(now)) {
            let message = format!("this API key has expired at {at}; call with another, or have one made");
            return Err(Error::new(Kind::Unauthenticated, Reason::CredentialsExpired, message));
        }
        if self.disabled {
            let message = "this tenant is disabled; an administrator can enable it again";
            return Err(Error::new(Kind::Forbidden, Reason::NotPermitted, message));
        }
        key.last_use.note(now);
        Ok(self.caller.clone())
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
                   of an API key";
    Error::new(Kind::Unauthenticated, Reason::CredentialsInvalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::caller::Peer;
    use crate::auth::key_config::KeyConfig;
    use crate::tenant::Tenant;

    const NOW: Timestamp = Timestamp::from_millis(1_795_324_560_125);

    fn config(id: &str, secret: Option<&str>, secret_hash: Option<&str>) -> KeyConfig {
        let (secret, secret_hash) = (secret.map(Into::into), secret_hash.map(Into::into));
        KeyConfig { id: id.into(), secret, secret_hash, ..KeyConfig::default() }
    }

    fn account(name: &TenantName, disabled: bool) -> Arc<Account> {
        let tenant = Tenant {
            name: name.clone(),
            default_country: None,
            brand: None,
            sender: None,
            may_return_code: false,
            balance_of: None,
            may_administer: false,
            retention: Default::default(),
        };
        Arc::new(Account { disabled, ..Account::configured(tenant) })
    }

    fn roster<'a>(configs: impl IntoIterator<Item = (&'a TenantName, &'a KeyConfig)>) -> Result<Roster> {
        let mut roster = Roster::default();
        for (tenant, config) in configs {
            if roster.account(tenant).is_none() {
                roster.add_account(account(tenant, false))?;
            }
            roster.add_key(Arc::new(config.to_key(tenant)?))?;
        }
        Ok(roster)
    }

    fn keys() -> Roster {
        let acme = "acme".parse().unwrap();
        let zeta = "zeta".parse().unwrap();
        let hash = SecretHash::of("canary.two").to_string();
        roster([(&acme, &config("one", Some("canary-one"), None)), (&zeta, &config("two", None, Some(&hash)))]).unwrap()
    }

    #[test]
    fn a_key_speaks_for_its_tenant_whether_configured_by_secret_or_by_hash() {
        let keys = keys();
        let one = keys.authenticate(Some("Bearer one.canary-one"), NOW).unwrap();
        assert_eq!((one.tenant.name.as_str(), one.key_id()), ("acme", "one"));
        let two = keys.authenticate(Some("Bearer two.canary.two"), NOW).unwrap();
        assert_eq!((two.tenant.name.as_str(), two.key_id()), ("zeta", "two"));
        assert_eq!(keys.check("two", "canary.two", NOW).unwrap().key_id(), two.key_id());
    }

    #[test]
    fn the_scheme_is_read_in_any_case_and_after_any_blanks() {
        for header in ["bearer one.canary-one", "BEARER   one.canary-one", " Bearer one.canary-one "] {
            assert!(keys().authenticate(Some(header), NOW).is_ok(), "{header}");
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
            let error = keys.authenticate(Some(header), NOW).unwrap_err();
            assert_eq!(error.kind(), Kind::Unauthenticated, "{header}");
            assert_eq!(error.reason(), Reason::CredentialsInvalid, "{header}");
            assert_eq!(error.message(), answer.message(), "{header}");
        }
    }

    #[test]
    fn nobody_gets_in_with_the_dummy_or_without_keys() {
        let nobody = roster([]).unwrap();
        assert!(nobody.authenticate(Some("Bearer one.canary-one"), NOW).is_err());
        assert!(keys().check("", "", NOW).is_err());
        let (acme, empty) = ("acme".parse().unwrap(), SecretHash::of("").to_string());
        let careless = roster([(&acme, &config("one", None, Some(&empty)))]).unwrap();
        assert!(careless.check("one", "", NOW).is_err());
    }

    #[test]
    fn missing_credentials_say_how_to_send_them() {
        let error = keys().authenticate(None, NOW).unwrap_err();
        assert_eq!((error.kind(), error.reason()), (Kind::Unauthenticated, Reason::CredentialsMissing));
        assert!(error.message().contains("authorization: Bearer ID.SECRET"));
    }

    #[test]
    fn an_id_belongs_to_one_key() {
        let (acme, zeta) = ("acme".parse().unwrap(), "zeta".parse().unwrap());
        let (one, other) = (config("one", Some("a"), None), config("one", Some("b"), None));
        assert!(roster([(&acme, &one), (&zeta, &other)]).is_err());
    }

    #[test]
    fn ids_may_hold_dots() {
        let tenant: TenantName = "acme".parse().unwrap();
        let (short, long) =
            (config("ann@example", Some("com.one.two"), None), config("ann@example.com", Some("a.b"), None));
        let keys = roster([(&tenant, &short), (&tenant, &long)]).unwrap();
        let id = |token: &str| keys.check_token(token, NOW).map(|caller| caller.key_id().to_owned()).ok();
        assert_eq!(id("ann@example.com.a.b"), Some("ann@example.com".to_owned()));
        assert_eq!(id("ann@example.com.one.two"), None);
        assert_eq!(keys.authenticate(Some("Bearer ann@example.com.a.b"), NOW).unwrap().key_id(), "ann@example.com");
        let keys = roster([(&tenant, &short)]).unwrap();
        assert!(keys.check_token("ann@example.com.one.two", NOW).is_ok());
    }

    #[test]
    fn a_secret_opens_alone_only_where_it_may() {
        let tenant: TenantName = "acme".parse().unwrap();
        let may = KeyConfig { alone: true, ..config("one", Some("secret-of-one"), None) };
        let may_not = config("two", Some("secret-of-two"), None);
        let keys = roster([(&tenant, &may), (&tenant, &may_not)]).unwrap();
        assert_eq!(keys.check_token("secret-of-one", NOW).unwrap().key_id(), "one");
        assert!(keys.check_token("one.secret-of-one", NOW).is_ok());
        assert!(keys.check_token("two.secret-of-two", NOW).is_ok());
        for wrong in ["secret-of-two", "", "one", "one.", ".secret-of-one", "three.secret-of-one"] {
            assert!(keys.check_token(wrong, NOW).is_err(), "{wrong}");
        }
        // Not on the surfaces that have a place for the id.
        assert!(keys.authenticate(Some("Bearer secret-of-one"), NOW).is_err());
        let twin = KeyConfig { alone: true, ..config("three", Some("secret-of-one"), None) };
        assert!(roster([(&tenant, &may), (&tenant, &twin)]).is_err());
    }

    #[test]
    fn a_key_opens_from_its_networks_only() {
        let acme = "acme".parse().unwrap();
        let from = vec!["10.1.0.0/16".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let fixed = KeyConfig { from, ..config("one", Some("canary-one"), None) };
        let open = config("two", Some("canary-two"), None);
        let local = KeyConfig { from: vec!["127.0.0.0/8".parse().unwrap()], ..config("three", Some("three"), None) };
        let keys = roster([(&acme, &fixed), (&acme, &open), (&acme, &local)]).unwrap();
        let admit = |id: &str, secret: &str, peer: Option<&str>| {
            keys.check(id, secret, NOW).unwrap().admit(peer.map(|peer| Peer(peer.parse().unwrap())))
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

    #[test]
    fn only_who_has_the_secret_is_told_that_a_key_has_expired_or_its_tenant_is_disabled() {
        let (acme, zeta) = ("acme".parse().unwrap(), "zeta".parse().unwrap());
        let until = |id: &str, at| KeyConfig { expires_at: Some(at), ..config(id, Some("canary"), None) };
        let mut keys = roster([(&acme, &until("old", NOW))]).unwrap();
        let later = NOW + std::time::Duration::from_millis(1);
        keys.add_key(Arc::new(until("new", later).to_key(&acme).unwrap())).unwrap();
        keys.add_account(account(&zeta, true)).unwrap();
        keys.add_key(Arc::new(until("shut", later).to_key(&zeta).unwrap())).unwrap();
        let reason =
            |id: &str, secret: &str, now| keys.check(id, secret, now).map(drop).map_err(|error| error.reason());
        assert_eq!(reason("old", "canary", NOW), Err(Reason::CredentialsExpired));
        assert_eq!(reason("old", "canaries", NOW), Err(Reason::CredentialsInvalid));
        assert_eq!(
            (reason("new", "canary", NOW), reason("new", "canary", later)),
            (Ok(()), Err(Reason::CredentialsExpired))
        );
        assert_eq!(reason("shut", "canary", NOW), Err(Reason::NotPermitted));
        assert_eq!(reason("shut", "canaries", NOW), Err(Reason::CredentialsInvalid));
        let caller = keys.check("new", "canary", NOW).unwrap();
        assert!(keys.recheck(&caller, NOW).is_ok() && keys.recheck(&caller, later).is_err());
        let other = roster([(&acme, &config("new", Some("another"), None))]).unwrap();
        assert_eq!(other.recheck(&caller, NOW).unwrap_err().reason(), Reason::CredentialsInvalid);
    }

    #[test]
    fn no_debug_shows_a_secret() {
        let shown = format!("{:?} {:?}", keys(), keys().keys().collect::<Vec<_>>());
        assert!(!shown.contains("canary"), "{shown}");
    }
}
