//! What a key is good for: scopes, and sets of them. They narrow what the key's tenant may do, and never widen it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::error::{Error, Result};

/// One thing that a key may be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Start, check, resend and cancel verifications.
    Verify,
    /// Send and cancel messages, and change contacts.
    Send,
    /// List and search whatever the tenant has.
    Read,
    /// Look after the server, for a tenant that may.
    Admin,
    /// Ask for the code in the answer to a start, for a tenant that may.
    ReturnCode,
}

/// A set of scopes.
#[derive(Clone, Copy, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct Scopes(#[n(0)] u8);

// === impl Scope ===

impl Scope {
    pub const ALL: [Self; 5] = [Self::Verify, Self::Send, Self::Read, Self::Admin, Self::ReturnCode];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Send => "send",
            Self::Read => "read",
            Self::Admin => "admin",
            Self::ReturnCode => "return-code",
        }
    }

    /// Its place in a set. Never changes, for sets are kept.
    const fn bit(self) -> u8 {
        match self {
            Self::Verify => 1,
            Self::Send => 2,
            Self::Read => 4,
            Self::Admin => 8,
            Self::ReturnCode => 16,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| Error::invalid("scopes", "must name verify, send, read, admin or return-code"))
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let wanted = "must be verify, send, read, admin or return-code";
        String::deserialize(deserializer)?.parse().map_err(|_| serde::de::Error::custom(wanted))
    }
}

// === impl Scopes ===

impl Scopes {
    /// Every scope that there is, and every one that will be.
    pub const ALL: Self = Self(u8::MAX);

    pub const fn of(scopes: &[Scope]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < scopes.len() {
            bits |= scopes[at].bit();
            at += 1;
        }
        Self(bits)
    }

    pub fn is_all(self) -> bool {
        self == Self::ALL
    }

    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether one scope at least is in both.
    pub fn meet(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.contains(*scope))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(Scope::as_str)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_read_as_they_are_written() {
        for scope in Scope::ALL {
            assert_eq!(scope.as_str().parse::<Scope>().unwrap(), scope);
            assert_eq!(Scopes::of(&[scope]).iter().collect::<Vec<_>>(), [scope]);
        }
        for bad in ["", "Verify", "return_code", "all", "*"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
        assert_eq!(Scopes::ALL.iter().count(), Scope::ALL.len());
    }

    #[test]
    fn sets_meet_where_they_share_a_scope() {
        let some = Scopes::of(&[Scope::Verify, Scope::Read]);
        assert!(some.meet(Scopes::of(&[Scope::Send, Scope::Read])));
        assert!(!some.meet(Scopes::of(&[Scope::Send, Scope::Admin])));
        assert!(!Scopes::of(&[]).meet(Scopes::ALL) && !some.is_all());
    }
}
