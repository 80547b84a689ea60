//! An endpoint: where a tenant wants to be called, for what, and with which signature. Pure; time is passed in.

use std::fmt;
use std::time::Duration;

use minicbor::{Decode, Encode};
use secrecy::SecretString;

use crate::clock::Timestamp;
use crate::feed::kinds::Wanted;
use crate::id::{Id, TenantName};

/// Longest URL, in bytes.
pub const MAX_URL: usize = 2_048;

/// Longest description, in characters.
pub const MAX_DESCRIPTION: usize = 256;

/// Secrets that sign at a time: one, and during a rotation the one before.
const MAX_SECRETS: usize = 2;

/// An endpoint as it is stored. `Debug` shows neither its URL nor a secret.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct Endpoint {
    #[n(0)]
    pub id: Id,
    #[n(1)]
    pub tenant: TenantName,
    /// The name that the configuration gives it; `None` for one that a call has made.
    #[n(2)]
    pub name: Option<String>,
    #[n(3)]
    pub url: String,
    /// Empty for all.
    #[n(4)]
    types: Vec<String>,
    #[n(5)]
    pub description: String,
    /// Newest first.
    #[n(6)]
    secrets: Vec<Signer>,
    #[n(7)]
    pub disabled: Option<Disabled>,
    #[n(8)]
    pub created_at: Timestamp,
    #[n(9)]
    pub updated_at: Timestamp,
    /// When it last took an event, to ten minutes.
    #[n(10)]
    pub succeeded_at: Option<Timestamp>,
}

/// A secret, and for how long it still signs.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
struct Signer {
    #[n(0)]
    secret: String,
    /// `None` for the newest.
    #[n(1)]
    until: Option<Timestamp>,
}

/// Since when an endpoint is not called, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Disabled {
    #[n(0)]
    pub since: Timestamp,
    #[n(1)]
    pub why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Why {
    /// A call said so.
    #[n(1)]
    Asked,
    /// It answered 410.
    #[n(2)]
    Gone,
    /// It took nothing for as long as an event is tried.
    #[n(3)]
    Failing,
}

/// What an endpoint is made of.
#[derive(Clone)]
pub struct NewEndpoint {
    pub tenant: TenantName,
    pub name: Option<String>,
    pub url: String,
    pub wanted: Wanted,
    pub description: String,
    pub secret: SecretString,
}

/// How often it is written down that an endpoint took something.
const SUCCESS_STEP: Duration = Duration::from_secs(600);

// === impl Endpoint ===

impl Endpoint {
    pub fn new(id: Id, new: NewEndpoint, now: Timestamp) -> Self {
        use secrecy::ExposeSecret;
        Self {
            id,
            tenant: new.tenant,
            name: new.name,
            url: new.url,
            types: new.wanted.names().to_vec(),
            description: new.description,
            secrets: vec![Signer { secret: new.secret.expose_secret().to_owned(), until: None }],
            disabled: None,
            created_at: now,
            updated_at: now,
            succeeded_at: None,
        }
    }

    pub fn is_enabled(&self) -> bool {
        self.disabled.is_none()
    }

    pub fn wanted(&self) -> Wanted {
        Wanted::new(self.types.clone())
    }

    pub fn want(&mut self, wanted: &Wanted) {
        self.types = wanted.names().to_vec();
    }

    /// The secrets to sign with, newest first.
    pub fn secrets(&self, now: Timestamp) -> impl Iterator<Item = SecretString> {
        let live = self.secrets.iter().filter(move |signer| signer.until.is_none_or(|until| now < until));
        live.map(|signer| signer.secret.as_str().into())
    }

    /// Until when the secret before the newest still signs, if it does.
    pub fn rotating_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.secrets.iter().filter_map(|signer| signer.until).find(|until| now < *until)
    }

    /// Signs with a new secret from now on, and with the one before for so long. The same secret again changes nothing.
    pub fn rotate(&mut self, secret: &str, overlap: Duration, now: Timestamp) {
        if self.secrets.first().is_some_and(|newest| newest.secret == secret) {
            return;
        }
        self.secrets.retain(|signer| signer.until.is_none() && !overlap.is_zero());
        if let Some(before) = self.secrets.first_mut() {
            before.until = Some(now + overlap);
        }
        self.secrets.insert(0, Signer { secret: secret.to_owned(), until: None });
        self.secrets.truncate(MAX_SECRETS);
    }

    /// False, and no change, when it is disabled already.
    pub fn disable(&mut self, why: Why, now: Timestamp) -> bool {
        if self.disabled.is_some() {
            return false;
        }
        self.disabled = Some(Disabled { since: now, why });
        true
    }

    /// Whether it should be written down that it took something.
    pub fn is_news_of_success(&self, now: Timestamp) -> bool {
        self.succeeded_at.is_none_or(|at| now.since(at) >= SUCCESS_STEP)
    }

    /// Whether it took nothing since then.
    pub fn has_failed_since(&self, at: Timestamp) -> bool {
        self.succeeded_at.is_none_or(|took| took + SUCCESS_STEP < at)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint").field("id", &self.id).field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

// === impl Why ===

impl Why {
    /// For logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;
    use crate::id::Partition;
    use crate::random::OsRandom;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    fn endpoint() -> Endpoint {
        let new = NewEndpoint {
            tenant: "acme".parse().unwrap(),
            name: None,
            url: "https://example.com/".to_owned(),
            wanted: Wanted::default(),
            description: String::new(),
            secret: "first".into(),
        };
        Endpoint::new(Id::new(NOW, Partition::new(0), &OsRandom), new, NOW)
    }

    fn secrets(endpoint: &Endpoint, now: Timestamp) -> Vec<String> {
        endpoint.secrets(now).map(|secret| secret.expose_secret().to_owned()).collect()
    }

    #[test]
    fn the_old_secret_signs_beside_the_new_one_for_as_long_as_was_said() {
        let mut endpoint = endpoint();
        endpoint.rotate("second", HOUR, NOW);
        assert_eq!(secrets(&endpoint, NOW), ["second", "first"]);
        assert_eq!(endpoint.rotating_until(NOW), Some(NOW + HOUR));
        endpoint.rotate("second", HOUR, NOW + HOUR);
        assert_eq!(
            (secrets(&endpoint, NOW + HOUR), endpoint.rotating_until(NOW + HOUR)),
            (vec!["second".to_owned()], None)
        );
        endpoint.rotate("third", HOUR, NOW);
        endpoint.rotate("fourth", HOUR, NOW);
        assert_eq!(secrets(&endpoint, NOW), ["fourth", "third"]);
        endpoint.rotate("fifth", Duration::ZERO, NOW);
        assert_eq!(secrets(&endpoint, NOW), ["fifth"]);
        assert!(!format!("{endpoint:?}").contains("fifth"));
    }

    #[test]
    fn whoever_was_disabled_first_stays_the_reason() {
        let mut endpoint = endpoint();
        assert!(endpoint.disable(Why::Gone, NOW) && !endpoint.disable(Why::Failing, NOW + HOUR));
        assert_eq!(endpoint.disabled, Some(Disabled { since: NOW, why: Why::Gone }));
    }

    #[test]
    fn a_success_counts_to_ten_minutes() {
        let mut endpoint = endpoint();
        assert!(endpoint.has_failed_since(NOW) && endpoint.is_news_of_success(NOW));
        endpoint.succeeded_at = Some(NOW);
        assert!(!endpoint.is_news_of_success(NOW + HOUR / 7) && endpoint.is_news_of_success(NOW + HOUR));
        assert!(!endpoint.has_failed_since(NOW + HOUR / 6) && endpoint.has_failed_since(NOW + HOUR));
    }
}
