//! Writing a backup: from a snapshot to the bytes of a file, a chunk at a time.

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::keeping::format::{FORMAT, FRAME_HEAD_BYTES, FrameKind, Header, MAGIC, Trailer, crc};
use crate::store::keys::StoreId;
use crate::store::{Snapshot, WholeStore, entries};

/// A backup that is being written.
pub struct Backup {
    snapshot: Box<dyn Snapshot>,
    out: Frames,
    records: u64,
    is_complete: bool,
}

/// The next bytes of a backup.
#[derive(Debug)]
pub struct Chunk {
    /// At most [`MAX_CHUNK_BYTES`].
    pub bytes: Vec<u8>,
    /// Records so far.
    pub records: u64,
    /// Whether nothing follows.
    pub is_complete: bool,
}

struct Frames {
    bytes: Vec<u8>,
    /// Of all bytes so far.
    digest: Sha256,
    frames: u64,
}

/// Longest chunk.
pub const MAX_CHUNK_BYTES: usize = 1024 * 1024;

/// Chunks and frames are about this long: long enough to cost little each, short enough to hold many.
const FRAME_BYTES: usize = 256 * 1024;

// === impl Backup ===

impl Backup {
    /// Begins a backup of a store as it is now or a little later.
    ///
    /// Errors: those of [`WholeStore::snapshot`].
    pub async fn begin(whole: &dyn WholeStore, store: StoreId, now: Timestamp) -> Result<Self> {
        let snapshot = whole.snapshot().await?;
        let mut out = Frames { bytes: MAGIC.to_vec(), digest: Sha256::new_with_prefix(MAGIC), frames: 0 };
        let version = env!("CARGO_PKG_VERSION").to_owned();
        out.add(FrameKind::Header, &to_cbor(&Header { format: FORMAT, store, created_at: now, version })?);
        Ok(Self { snapshot, out, records: 0, is_complete: false })
    }

    /// The next bytes; `None` once all have been given.
    ///
    /// Errors: those of the snapshot. What was given so far is then no backup.
    pub async fn next(&mut self) -> Result<Option<Chunk>> {
        while self.out.bytes.len() < FRAME_BYTES && !self.is_complete {
            match self.snapshot.next().await? {
                Some(part) => {
                    let kind = if part.again { FrameKind::Again } else { FrameKind::Records };
                    self.records += part.entries.len() as u64;
                    let mut payload = Vec::new();
                    for (key, write) in &part.entries {
                        entries::encode(&mut payload, key, write);
                        if payload.len() >= FRAME_BYTES {
                            self.out.add(kind, &std::mem::take(&mut payload));
                        }
                    }
                    if !payload.is_empty() {
                        self.out.add(kind, &payload);
                    }
                }
                None => {
                    let digest = self.out.digest.clone().finalize().into();
                    self.out.add(FrameKind::Trailer, &to_cbor(&Trailer { records: self.records, digest })?);
                    self.is_complete = true;
                }
            }
        }
        if self.out.bytes.is_empty() {
            return Ok(None);
        }
        let rest = self.out.bytes.split_off(self.out.bytes.len().min(MAX_CHUNK_BYTES));
        let bytes = std::mem::replace(&mut self.out.bytes, rest);
        let is_complete = self.is_complete && self.out.bytes.is_empty();
        Ok(Some(Chunk { bytes, records: self.records, is_complete }))
    }
}

fn to_cbor<T: minicbor::Encode<()>>(value: &T) -> Result<Vec<u8>> {
    minicbor::to_vec(value).map_err(Error::internal)
}

// === impl Frames ===

impl Frames {
    fn add(&mut self, kind: FrameKind, payload: &[u8]) {
        let begin = self.bytes.len();
        self.bytes.reserve(FRAME_HEAD_BYTES + payload.len());
        self.bytes.push(kind.byte());
        // A payload is a fraction of that.
        self.bytes.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.bytes.extend_from_slice(&crc(self.frames, kind.byte(), payload).to_be_bytes());
        self.bytes.extend_from_slice(payload);
        self.digest.update(&self.bytes[begin..]);
        self.frames += 1;
    }
}
