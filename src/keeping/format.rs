//! How a backup lies in a file: `verigate backup\n`, then frames.
//!
//! A frame is `kind u8 | length u32 | crc u32 | payload`, numbers big-endian. The crc covers the number of the frame too,
//! so that none can be missing or change its place. The first frame is the header and the last one the trailer, both
//! CBOR; between them are records, as `store::entries` writes them. A frame of the kind AGAIN says what has become of
//! records in frames before it. The trailer counts records and holds the SHA-256 of all before it: who cuts a file off, or changes
//! a byte, is found out. Who forges one is not, but cannot seal a value.

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::store::keys::StoreId;

pub(crate) const MAGIC: &[u8; 16] = b"verigate backup\n";

/// The layout of the frames that this build writes and reads.
pub(crate) const FORMAT: u8 = 1;

pub(crate) const FRAME_HEAD_BYTES: usize = 9;

/// No frame of ours has a longer payload.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;

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
