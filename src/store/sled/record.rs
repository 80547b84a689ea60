//! How a record lies in sled: a fixed header and the value as it was given, a long one in several parts.
//!
//! `version u64 | expiry in Unix milliseconds u64, all ones for never | partition u8 | further parts u8 | value`, numbers
//! big-endian. The partition is kept because keys are opaque here and a scan has to say where each key lies.
//!
//! sled rewrites up to two dozen neighbouring entries as one node, and a node above a quarter of a segment goes to a
//! file of its own, which sled never syncs. So no entry is longer than [`PART_BYTES`]: what is longer continues under
//! `0xFF | key | number of the part`, a space that the store keeps for that.

use sled::IVec;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Partition;
use crate::store::sled::table::Durable;
use crate::store::space::PART_SPACE;
use crate::store::{KeyBytes, Record, Version};

/// What the store itself has to know of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: Version,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) partition: Partition,
    /// How many further entries the value goes on in.
    further_parts: u8,
}

/// A record as its entries hold it.
pub(crate) struct Encoded {
    pub(crate) header: Header,
    /// Lies under the key of the record.
    first: IVec,
    /// Each with a key of its own.
    further: Vec<(KeyBytes, IVec)>,
}

const HEADER_BYTES: usize = 18;
const PART_BYTES: usize = 16 * 1024;
const NEVER: u64 = u64::MAX;

// === impl Header ===

impl Header {
    pub(crate) fn new(version: Version, expires_at: Option<Timestamp>, partition: Partition) -> Self {
        Self { version, expires_at, partition, further_parts: 0 }
    }

    /// Whether the record is there at all: it is gone in the very millisecond of its expiry.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|at| now < at)
    }

    /// The keys of the further parts of the record under `key`.
    pub(crate) fn part_keys(&self, key: &[u8]) -> impl Iterator<Item = KeyBytes> {
        (0..self.further_parts).map(move |number| part_key(key, number))
    }
}

// === impl Encoded ===

impl Encoded {
    /// All of them, of the record under `key`.
    pub(crate) fn entries(self, key: &[u8]) -> impl Iterator<Item = (KeyBytes, IVec)> + use<> {
        std::iter::once((KeyBytes::from(key), self.first)).chain(self.further)
    }
}

/// The entries that hold a record. `buffer` is a place to work in, which is worth keeping.
pub(crate) fn encode(key: &[u8], mut header: Header, value: &[u8], buffer: &mut Vec<u8>) -> Result<Encoded> {
    let (first, rest) = value.split_at(value.len().min(PART_BYTES));
    let parts = rest.chunks(PART_BYTES);
    header.further_parts = u8::try_from(parts.len()).map_err(Error::internal)?;
    buffer.clear();
    buffer.reserve(HEADER_BYTES + first.len());
    buffer.extend_from_slice(&header.version.0.to_be_bytes());
    buffer.extend_from_slice(&header.expires_at.map_or(NEVER, Timestamp::as_millis).to_be_bytes());
    buffer.extend_from_slice(&[header.partition.index(), header.further_parts]);
    buffer.extend_from_slice(first);
    let further = header.part_keys(key).zip(parts.map(IVec::from)).collect();
    Ok(Encoded { header, first: IVec::from(&**buffer), further })
}

/// Splits an entry into header and the beginning of the value. Error: `Internal` when it is no record of ours.
pub(crate) fn decode(stored: &[u8]) -> Result<(Header, &[u8])> {
    let too_short = || Error::internal("a stored record is shorter than its header");
    let (version, rest) = stored.split_first_chunk::<8>().ok_or_else(too_short)?;
    let (expiry, rest) = rest.split_first_chunk::<8>().ok_or_else(too_short)?;
    let ([partition, further_parts], value) = rest.split_first_chunk::<2>().ok_or_else(too_short)?;
    let expiry = u64::from_be_bytes(*expiry);
    let header = Header {
        version: Version(u64::from_be_bytes(*version)),
        expires_at: (expiry != NEVER).then(|| Timestamp::from_millis(expiry)),
        partition: Partition::new(*partition),
        further_parts: *further_parts,
    };
    Ok((header, value))
}

/// The whole record of an entry that was found under `key`, and its header; `None` when it has expired.
pub(crate) fn read(table: &Durable, key: &[u8], stored: &[u8], now: Timestamp) -> Result<Option<(Header, Record)>> {
    let (header, first) = decode(stored)?;
    if !header.is_live(now) {
        return Ok(None);
    }
    let mut value = first.to_vec();
    for part_key in header.part_keys(key) {
        let part = table.get(&part_key)?;
        value.extend_from_slice(&part.ok_or_else(|| Error::internal("a part of a stored record is missing"))?);
    }
    Ok(Some((header, Record { value, version: header.version })))
}

fn part_key(key: &[u8], number: u8) -> KeyBytes {
    let mut part_key = KeyBytes::with_capacity(key.len() + 2);
    part_key.push(PART_SPACE);
    part_key.extend_from_slice(key);
    part_key.push(number);
    part_key
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sled::table::Table;

    const NOW: Timestamp = Timestamp::from_millis(1_000);

    #[test]
    fn records_come_back_as_they_were_put() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let table = Table::new(sled::Tree::clone(&db));
        let mut buffer = Vec::new();
        for expires_at in [None, Some(Timestamp::from_millis(1_001))] {
            for length in [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 4 * PART_BYTES + 42] {
                let value: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap()).collect();
                let header = Header::new(Version(7), expires_at, Partition::new(255));
                let encoded = encode(b"key", header, &value, &mut buffer).unwrap();
                let header = encoded.header;
                for (key, stored) in encoded.entries(b"key") {
                    assert!(stored.len() <= HEADER_BYTES + PART_BYTES);
                    db.insert(key, stored).unwrap();
                }
                let stored = db.get(b"key").unwrap().unwrap();
                let read = |durable: &Durable| read(durable, b"key", &stored, NOW);
                let (read_header, record) = table.read(read).unwrap().unwrap();
                assert_eq!((read_header, record.version), (header, Version(7)));
                assert!(record.value == value, "{length} bytes");
            }
        }
    }

    #[test]
    fn a_cut_record_is_an_error() {
        let header = Header::new(Version(1), None, Partition::new(0));
        let stored = encode(b"k", header, b"", &mut Vec::new()).unwrap().first;
        assert!(decode(&stored).is_ok());
        assert!(decode(&stored[..HEADER_BYTES - 1]).is_err());
    }

    #[test]
    fn a_record_is_gone_in_the_millisecond_of_its_expiry() {
        let header = Header::new(Version(1), Some(NOW), Partition::new(0));
        assert!(header.is_live(Timestamp::from_millis(999)));
        assert!(!header.is_live(NOW));
        let never = Header::new(Version(1), None, Partition::new(0));
        assert!(never.is_live(Timestamp::from_millis(u64::MAX)));
    }
}
