//! Names of things: time-ordered identifiers that carry their partition, and tenant names.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::random::Random;

/// Which slice of the keyspace a record lies in. All keys of one commit share one partition, so that a clustered
/// store can place them on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(u8);

/// The identifier of a verification or a message: a UUID of version 8 (RFC 9562 §5.8) that sorts by time of creation
/// and names its partition.
///
/// 48 bits of Unix milliseconds, 4 of version, 4 of zero, 8 of partition, 2 of variant, 62 random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(Uuid);

/// The name of an account that calls us: 1 to 63 of `a-z 0-9 - _`, beginning with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantName(Arc<str>);

// === impl Partition ===

impl Partition {
    pub const COUNT: usize = 256;

    pub const fn new(index: u8) -> Self {
        Self(index)
    }

    pub const fn index(self) -> u8 {
        self.0
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }
}

// === impl Id ===

impl Id {
    pub fn new(now: Timestamp, partition: Partition, random: &dyn Random) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&now.as_millis().to_be_bytes()[2..]);
        bytes[7] = partition.index();
        random.fill(&mut bytes[8..]);
        // Sets version and variant.
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Before every id that is made at `at` or later, after every earlier one. Names nothing itself.
    pub fn first_at(at: Timestamp) -> Self {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&at.as_millis().to_be_bytes()[2..]);
        Self(Uuid::from_bytes(bytes))
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    pub fn partition(&self) -> Partition {
        Partition(self.0.as_bytes()[7])
    }

    /// When it was made, to the millisecond.
    pub fn created_at(&self) -> Timestamp {
        let mut bytes = [0; 8];
        bytes[2..].copy_from_slice(&self.as_bytes()[..6]);
        Timestamp::from_millis(u64::from_be_bytes(bytes))
    }
}

/// The hyphenated lower-case form, 36 characters.
impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.hyphenated(), f)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Accepts only the form that [`Display`](fmt::Display) prints.
impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::invalid("id", "must be an id as returned on creation, 36 characters long");
        let id = Uuid::try_parse(text).map(Self).map_err(|_| wrong())?;
        if id.to_string() == text { Ok(id) } else { Err(wrong()) }
    }
}

impl<C> minicbor::Encode<C> for Id {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(self.as_bytes())?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Id {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let bytes = d.bytes()?;
        let bytes = bytes.try_into().map_err(|_| minicbor::decode::Error::message("an id has 16 bytes"))?;
        Ok(Self::from_bytes(bytes))
    }
}

// === impl TenantName ===

impl TenantName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let fits = (1..=63).contains(&text.len())
            && text.starts_with(plain)
            && text.chars().all(|c| plain(c) || c == '-' || c == '_');
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(Error::invalid("tenant", "must be 1 to 63 of a-z, 0-9, '-' and '_', beginning with a letter or digit"))
        }
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for TenantName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl<C> minicbor::Encode<C> for TenantName {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.str(&self.0)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for TenantName {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.str().map(|name| Self(name.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    #[test]
    fn ids_carry_time_and_partition_and_sort_by_time() {
        let early = Id::new(Timestamp::from_millis(1_000), Partition::new(255), &OsRandom);
        let late = Id::new(Timestamp::from_millis(1_001), Partition::new(0), &OsRandom);
        assert!(early < late);
        assert_eq!(early.partition(), Partition::new(255));
        assert_eq!(late.created_at(), Timestamp::from_millis(1_001));
        assert_eq!(early.to_string().parse::<Id>().unwrap(), early);
    }

    #[test]
    fn only_the_printed_form_of_an_id_is_accepted() {
        let id = Id::new(Timestamp::from_millis(1_795_324_560_125), Partition::new(7), &OsRandom);
        let printed = id.to_string();
        for other in [printed.to_uppercase(), printed.replace('-', ""), format!("{{{printed}}}"), String::new()] {
            assert!(other.parse::<Id>().is_err(), "{other}");
        }
    }

    #[test]
    fn tenant_names_are_plain() {
        for good in ["dev", "a", "acme-2_x", "0"] {
            assert!(good.parse::<TenantName>().is_ok(), "{good}");
        }
        for bad in ["", "-a", "A", "a b", "ü", &"a".repeat(64)] {
            assert!(bad.parse::<TenantName>().is_err(), "{bad}");
        }
    }
}
