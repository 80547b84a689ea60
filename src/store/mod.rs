//! The store port: where state lives, and the promise that makes every rule above it possible.
//!
//! A [`Batch`] is all-or-nothing and conditional; once [`Store::commit`] answers `Committed`, it has survived whatever
//! happens next. Values are opaque bytes here: no store knows a rule of verification or messaging.

pub mod entries;
pub mod keys;
pub mod record;
pub mod redis;
pub mod seal;
pub mod sled;
pub mod space;

use async_trait::async_trait;
use smallvec::SmallVec;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Partition;

/// Longest key in bytes that every store takes.
pub const MAX_KEY_BYTES: usize = 256;

/// Longest value in bytes that every store takes, before sealing.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// What sealing adds to a value: room that every store leaves above [`MAX_VALUE_BYTES`].
pub const SEAL_BYTES: usize = 42;

/// Most rows that one scan returns.
pub const MAX_SCAN_ROWS: usize = 1_000;

/// Keeps records by key. Cheap to share.
#[async_trait]
pub trait Store: Send + Sync {
    /// The record at `key`; `None` when there is none or it has expired. Never waits for a writer.
    ///
    /// Errors: `Unavailable` when the store cannot be read, `Internal` when a record cannot be opened.
    async fn get(&self, key: &Key) -> Result<Option<Record>>;

    /// Live records whose key begins with `prefix`, in the order that it names, strictly after `after` in that order, at
    /// most `limit` of them (and at most [`MAX_SCAN_ROWS`]). Never waits for a writer. A shared store need not find those
    /// of spaces that nothing goes through, such as recipients' counters.
    async fn scan(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>>;

    /// Applies the whole batch if every precondition holds, else none of it. `Committed` means durable.
    ///
    /// A key that has expired counts as absent. Errors: `Unavailable` when the store cannot take writes; the batch may
    /// then be applied or not, never in part.
    async fn commit(&self, batch: Batch) -> Result<Commit>;

    /// Whether the store can take writes now; the error says why not.
    fn ready(&self) -> Result<()>;

    /// Whether other processes read and write it too, so that what this one remembers may not be all.
    fn is_shared(&self) -> bool;
}

impl dyn Store + '_ {
    /// All that a scan finds: for what there is little of. Not of one moment.
    ///
    /// Errors: as [`Store::scan`].
    pub async fn all(&self, prefix: &Prefix) -> Result<Vec<(Key, Record)>> {
        let mut all = Vec::new();
        loop {
            let after = all.last().map(|(key, _): &(Key, Record)| key.clone());
            let rows = self.scan(prefix, after.as_ref(), MAX_SCAN_ROWS).await?;
            let is_full = rows.len() == MAX_SCAN_ROWS;
            all.extend(rows);
            if !is_full {
                return Ok(all);
            }
        }
    }
}

/// What is done with all that a store holds at once, while it is in use. Beside [`Store`], and without a key ring: values
/// are as the store has them.
#[async_trait]
pub trait WholeStore: Send + Sync {
    /// Reads everything as it is at one moment, which comes at the end of the reading.
    ///
    /// Errors: `Precondition`/`NotOffered`; `Unavailable`.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>>;

    /// Begins to write the files of the store anew, with nothing in them but what lives. Dropping the answer gives it up.
    ///
    /// Errors: `Precondition`/`NotOffered`; `Conflict`/`RewriteUnderWay`; `Unavailable`.
    async fn rewrite(&self) -> Result<Box<dyn Rewrite>>;
}

/// A store that is being read as a whole.
#[async_trait]
pub trait Snapshot: Send {
    /// The next records; `None` at the end. Whoever applies them in order has the store as it was at one moment, after
    /// every write that was acknowledged before the reading began. Does not hold up those who read and write.
    ///
    /// Errors: `Unavailable`, and `Unavailable`/`BackupTooSlow` when it would never end.
    async fn next(&mut self) -> Result<Option<Part>>;
}

/// A store whose files are being written anew.
#[async_trait]
pub trait Rewrite: Send {
    /// Goes on for a while, and tells how many records it has taken over so far; `None` when the new files have taken the
    /// place of the old ones, which are gone. Does not hold up those who read and write.
    ///
    /// Error: `Unavailable`.
    async fn next(&mut self) -> Result<Option<u64>>;

    /// Bytes of the files of the database.
    fn bytes(&self) -> u64;
}

/// Some of what a snapshot holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// No key twice.
    pub entries: Vec<(Key, Write)>,
    /// Whether these take the place of what parts before may have had under the same keys.
    pub again: bool,
}

/// A key and the partition that it lies in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    bytes: KeyBytes,
    partition: Partition,
}

/// The bytes of a key. They lie in place, where they are no more than those of almost every key of ours (the longest that
/// comes with each message, that of a recipient's message, has 41): copying one takes no memory from the allocator, and
/// comparing two follows no pointer.
pub type KeyBytes = SmallVec<[u8; 48]>;

/// What a scan looks for. With a partition, every matching key lies in that one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    pub bytes: Box<[u8]>,
    pub partition: Option<Partition>,
    pub order: Order,
}

/// In which order a scan goes through its keys, which compare as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    #[default]
    Ascending,
    Descending,
}

/// A value as it was read, with the version that a later commit may require.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub value: Vec<u8>,
    pub version: Version,
}

/// Changes with every put of a key, and is never used again for it, even after a delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// The answer to a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// Durable. Every key put has this version now.
    Committed(Version),
    /// A precondition did not hold; nothing was changed.
    Conflict,
}

/// Preconditions, puts and deletes, applied together. All keys lie in one partition. A key may be put or deleted at
/// most once, and may carry at most one precondition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    partition: Partition,
    conditions: Vec<(Key, Condition)>,
    writes: Vec<(Key, Write)>,
}

/// What must hold for a batch to be applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    Absent,
    At(Version),
}

/// What a batch does to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    Put { value: Vec<u8>, expires_at: Option<Timestamp> },
    Delete,
}

// === impl Key ===

impl Key {
    /// Panics when `bytes` is empty or longer than [`MAX_KEY_BYTES`]: keys are built by `keys`, not by callers' input.
    pub fn new(partition: Partition, bytes: impl AsRef<[u8]>) -> Self {
        Self::of(partition, &[bytes.as_ref()])
    }

    /// The key of these parts, one after the other. Panics as [`Key::new`].
    pub fn of(partition: Partition, parts: &[&[u8]]) -> Self {
        let mut bytes = KeyBytes::new();
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        assert!((1..=MAX_KEY_BYTES).contains(&bytes.len()), "a key has 1 to {MAX_KEY_BYTES} bytes");
        Self { bytes, partition }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn partition(&self) -> Partition {
        self.partition
    }
}

// === impl Prefix ===

impl Prefix {
    /// Ascending.
    pub fn new(bytes: impl Into<Box<[u8]>>, partition: Option<Partition>) -> Self {
        Self { bytes: bytes.into(), partition, order: Order::Ascending }
    }

    pub fn descending(self) -> Self {
        Self { order: Order::Descending, ..self }
    }
}

// === impl Batch ===

impl Batch {
    pub fn new(partition: Partition) -> Self {
        Self { partition, conditions: Vec::new(), writes: Vec::new() }
    }

    /// Requires `key` to be as it was read: at that record's version, or absent.
    pub fn require(self, key: &Key, read: Option<&Record>) -> Self {
        let condition = read.map_or(Condition::Absent, |record| Condition::At(record.version));
        self.require_that(key, condition)
    }

    pub fn require_that(mut self, key: &Key, condition: Condition) -> Self {
        self.check(key);
        debug_assert!(self.conditions.iter().all(|(other, _)| other != key), "one condition a key");
        self.conditions.push((key.clone(), condition));
        self
    }

    /// Puts a value that is gone once `expires_at` is reached; `None` keeps it.
    pub fn put(self, key: Key, value: Vec<u8>, expires_at: Option<Timestamp>) -> Self {
        self.write(key, Write::Put { value, expires_at })
    }

    pub fn delete(self, key: Key) -> Self {
        self.write(key, Write::Delete)
    }

    pub fn partition(&self) -> Partition {
        self.partition
    }

    pub fn conditions(&self) -> &[(Key, Condition)] {
        &self.conditions
    }

    pub fn writes(&self) -> &[(Key, Write)] {
        &self.writes
    }

    /// The same batch with every value passed through `change`, which sees the key that it will lie under.
    pub fn map_values(mut self, mut change: impl FnMut(&Key, Vec<u8>) -> Result<Vec<u8>>) -> Result<Self> {
        for (key, write) in &mut self.writes {
            if let Write::Put { value, .. } = write {
                *value = change(key, std::mem::take(value))?;
            }
        }
        Ok(self)
    }

    fn write(mut self, key: Key, write: Write) -> Self {
        self.check(&key);
        debug_assert!(self.writes.iter().all(|(other, _)| *other != key), "one write a key");
        self.writes.push((key, write));
        self
    }

    fn check(&self, key: &Key) {
        assert!(key.partition == self.partition, "every key of a batch lies in its partition");
    }
}
