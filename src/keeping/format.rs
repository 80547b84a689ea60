//! How a backup lies in a file: `verigate backup\n`, then frames.
//!
//! A frame is `kind u8 | length u32 | crc u32 | payload`, numbers big-endian. The crc covers the number of the frame too,
//! so that none can be missing or change its place. The first frame is the header and the last one the trailer, both
//! CBOR; between them are records: `key length u16 | partition u8 | expiry in Unix milliseconds u64, all ones for never |
//! value length u32, all ones for what is gone | key | value`. A frame of the kind AGAIN says what has become of records
//! in frames before it. The trailer counts records and holds the SHA-256 of all before it: who cuts a file off, or changes
//! a byte, is found out. Who forges one is not, but cannot seal a value.

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::id::Partition;
use crate::store::keys::StoreId;
use crate::store::{Key, MAX_KEY_BYTES, Write};

pub(crate) const MAGIC: &[u8; 16] = b"verigate backup\n";

/// The layout of the frames that this build writes and reads.
pub(crate) const FORMAT: u8 = 1;

pub(crate) const FRAME_HEAD_BYTES: usize = 9;

/// No frame of ours has a longer payload.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;

const NEVER: u64 = u64::MAX;
const GONE: u32 = u32::MAX;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameKind {
    Header,
    Records,
    Again,
    Trailer,
}

/// What is said of a backup before its records.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Header {
    #[n(0)]
    pub(crate) format: u8,
    /// Of which store it is.
    #[n(1)]
    pub store: StoreId,
    /// When it began.
    #[n(2)]
    pub created_at: Timestamp,
    /// The version of the program that wrote it.
    #[n(3)]
    pub version: String,
}

#[derive(Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Trailer {
    #[n(0)]
    pub(crate) records: u64,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub(crate) digest: [u8; 32],
}

// === impl FrameKind ===

impl FrameKind {
    pub(crate) const fn byte(self) -> u8 {
        match self {
            Self::Header => b'H',
            Self::Records => b'R',
            Self::Again => b'A',
            Self::Trailer => b'T',
        }
    }

    pub(crate) fn of(byte: u8) -> Option<Self> {
        [Self::Header, Self::Records, Self::Again, Self::Trailer].into_iter().find(|kind| kind.byte() == byte)
    }
}

pub(crate) fn crc(number: u64, kind: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_be_bytes());
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.finalize()
}

// === records ===

pub(crate) fn put_record(payload: &mut Vec<u8>, key: &Key, write: &Write) {
    let (expires_at, value) = match write {
        Write::Put { value, expires_at } => (*expires_at, Some(value.as_slice())),
        Write::Delete => (None, None),
    };
    // Both fit: the store has longest keys and values.
    let key_bytes = u16::try_from(key.bytes().len()).unwrap_or(u16::MAX);
    let value_bytes = value.map_or(GONE, |value| u32::try_from(value.len()).unwrap_or(GONE));
    payload.extend_from_slice(&key_bytes.to_be_bytes());
    payload.push(key.partition().index());
    payload.extend_from_slice(&expires_at.map_or(NEVER, Timestamp::as_millis).to_be_bytes());
    payload.extend_from_slice(&value_bytes.to_be_bytes());
    payload.extend_from_slice(key.bytes());
    payload.extend_from_slice(value.unwrap_or_default());
}

/// `None` for what is no list of records.
pub(crate) fn parse_records(mut payload: &[u8]) -> Option<Vec<(Key, Write)>> {
    let mut records = Vec::new();
    while !payload.is_empty() {
        let (key_bytes, rest) = payload.split_first_chunk()?;
        let ([partition], rest) = rest.split_first_chunk::<1>()?;
        let (expiry, rest) = rest.split_first_chunk()?;
        let (value_bytes, rest) = rest.split_first_chunk()?;
        let key_bytes = usize::from(u16::from_be_bytes(*key_bytes));
        let value_bytes = u32::from_be_bytes(*value_bytes);
        let (key, rest) = rest.split_at_checked(key_bytes)?;
        let is_gone = value_bytes == GONE;
        let (value, rest) = rest.split_at_checked(if is_gone { 0 } else { usize::try_from(value_bytes).ok()? })?;
        if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
            return None;
        }
        let expiry = u64::from_be_bytes(*expiry);
        let expires_at = (expiry != NEVER).then(|| Timestamp::from_millis(expiry));
        let write = if is_gone { Write::Delete } else { Write::Put { value: value.to_vec(), expires_at } };
        records.push((Key::new(Partition::new(*partition), key), write));
        payload = rest;
    }
    Some(records)
}
