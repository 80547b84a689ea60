//! What lies under a key of the server: `version 8 bytes | expiry in Unix milliseconds u64, 0 for never | value`, numbers
//! big-endian; and what the keys are called.
//!
//! All keys of a partition share the hash tag `{PREFIX:PP}`, PP being its number in hexadecimal, so they lie in one slot.

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Partition;
use crate::store::{Key, Record, Version};

const HEAD_BYTES: usize = 16;

/// Names keys on the server.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    prefix: String,
}

// === impl Names ===

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Where a record lies.
    pub(crate) fn record(&self, partition: Partition, key: &[u8]) -> Vec<u8> {
        let mut name = self.tag(partition).into_bytes();
        name.reserve(1 + key.len());
        name.push(b':');
        name.extend_from_slice(key);
        name
    }

    /// The sorted set of the keys of a partition that scans find.
    pub(crate) fn index(&self, partition: Partition) -> String {
        self.tag(partition) + "index"
    }

    /// The newest version of a partition, in microseconds.
    pub(crate) fn version(&self, partition: Partition) -> String {
        self.tag(partition) + "version"
    }

    /// The slot of a Cluster that a partition lies in.
    pub(crate) fn slot(&self, partition: Partition) -> u16 {
        crc16(format!("{}:{:02x}", self.prefix, partition.index()).as_bytes()) % SLOTS
    }

    fn tag(&self, partition: Partition) -> String {
        format!("{{{}:{:02x}}}", self.prefix, partition.index())
    }
}

/// Slots of a Cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// CRC-16/XMODEM, by which a Cluster places keys (Redis cluster specification, "Key distribution model").
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 })
    })
}

/// The record, unless it has expired at `now`.
///
/// Error: `Internal` for bytes that are no record of ours.
pub(crate) fn read(mut stored: Vec<u8>, now: Timestamp) -> Result<Option<Record>> {
    let Some((version, rest)) = stored.split_first_chunk() else { return Err(foreign()) };
    let Some((expires_at, _)) = rest.split_first_chunk() else { return Err(foreign()) };
    let version = Version(u64::from_be_bytes(*version));
    let expires_at = u64::from_be_bytes(*expires_at);
    if expires_at != 0 && expires_at <= now.as_millis() {
        return Ok(None);
    }
    stored.drain(..HEAD_BYTES);
    Ok(Some(Record { value: stored, version }))
}

fn foreign() -> Error {
    Error::internal("a key of the store's prefix holds what is no record: something else uses that prefix, too")
}

/// What goes behind the version: the expiry and the value.
pub(crate) fn tail(value: &[u8], expires_at: Option<Timestamp>) -> Vec<u8> {
    let mut tail = Vec::with_capacity(8 + value.len());
    tail.extend_from_slice(&expires_at.map_or(0, Timestamp::as_millis).to_be_bytes());
    tail.extend_from_slice(value);
    tail
}

/// Reads a key out of an index.
///
/// Error: `Internal` for what cannot be one.
pub(crate) fn indexed(partition: Partition, member: Vec<u8>) -> Result<Key> {
    if member.is_empty() || member.len() > crate::store::MAX_KEY_BYTES {
        return Err(foreign());
    }
    Ok(Key::new(partition, member))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_lie_where_the_specification_puts_them() {
        assert_eq!(crc16(b"123456789"), 0x31c3, "the check value of the specification");
        let names = Names::new("verigate");
        assert_eq!(names.index(Partition::new(10)), "{verigate:0a}index");
        assert_eq!(names.record(Partition::new(255), b"r!"), b"{verigate:ff}:r!");
        assert_eq!(names.slot(Partition::new(10)), crc16(b"verigate:0a") % 16_384);
    }

    #[test]
    fn records_end_at_their_expiry() {
        let at = |millis| Timestamp::from_millis(millis);
        let stored = |expires_at| [&7_u64.to_be_bytes()[..], &tail(b"value", expires_at)].concat();
        let record = Record { value: b"value".to_vec(), version: Version(7) };
        assert_eq!(read(stored(None), at(u64::MAX)).unwrap(), Some(record.clone()));
        assert_eq!(read(stored(Some(at(5))), at(4)).unwrap(), Some(record));
        assert_eq!(read(stored(Some(at(5))), at(5)).unwrap(), None);
        assert!(read(b"too short".to_vec(), at(0)).is_err());
    }
}
