//! One API key as it is kept: whose it is, what it is good for, until when, and from where.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::auth::account::Origin;
use crate::auth::scope::Scopes;
use crate::auth::secret::SecretHash;
use crate::clock::Timestamp;
use crate::id::TenantName;
use crate::network::Network;

const MINUTE: u64 = 60_000;

/// A key. Holds the hash of its secret alone.
#[derive(Debug, Clone)]
pub struct Key {
    /// Unique over all tenants.
    pub id: Arc<str>,
    pub tenant: TenantName,
    pub hash: SecretHash,
    pub scopes: Scopes,
    /// From when on it opens no more.
    pub expires_at: Option<Timestamp>,
    /// Where it opens from; empty for everywhere.
    pub from: Arc<[Network]>,
    /// Whether the secret opens without the id, where a vendor's clients send but one credential.
    pub alone: bool,
    pub origin: Origin,
    /// `None` for one from the configuration.
    pub created_at: Option<Timestamp>,
    pub last_use: LastUse,
}

/// When a key was last used, to the minute, as far as this process has seen it. What is cloned from it is the same.
#[derive(Debug, Clone, Default)]
pub struct LastUse(Arc<AtomicU64>);

// === impl Key ===

impl Key {
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    pub fn opens_from(&self, address: IpAddr) -> bool {
        self.from.is_empty() || self.from.iter().any(|network| network.contains(address))
    }
}

// === impl LastUse ===

impl LastUse {
    /// Writes once a minute, so that callers on many cores do not fight over it.
    pub fn note(&self, now: Timestamp) {
        let minute = now.as_millis() / MINUTE;
        if self.0.load(Ordering::Relaxed) != minute {
            self.0.store(minute, Ordering::Relaxed);
        }
    }

    /// The beginning of that minute.
    pub fn at(&self) -> Option<Timestamp> {
        let minute = self.0.load(Ordering::Relaxed);
        (minute > 0).then(|| Timestamp::from_millis(minute * MINUTE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_use_is_known_to_the_minute() {
        let last_use = LastUse::default();
        assert_eq!(last_use.at(), None);
        last_use.note(Timestamp::from_millis(1_795_324_560_125));
        assert_eq!(last_use.at(), Some(Timestamp::from_millis(1_795_324_560_000)));
        last_use.clone().note(Timestamp::from_millis(1_795_324_620_000));
        assert_eq!(last_use.at(), Some(Timestamp::from_millis(1_795_324_620_000)));
    }
}
