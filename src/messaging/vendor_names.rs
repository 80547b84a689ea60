//! What vendors call our attempts, and receipts that came before we knew.
//!
//! A vendor that reports under a name of its own may do so before its answer to the send, which tells us that name, is
//! in. Such a receipt is parked under the name, and whoever learns the name finds it there. What nobody ever asks for
//! expires, and of each vendor only so many are kept: the newest, for an answer takes seconds. Entries carry the vendor in
//! their key, so one vendor cannot speak of another's messages.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::messaging::holder::{Ground, MAX_ROUNDS, contention, count_conflict};
use crate::store::keys::AttemptRef;
use crate::store::{Batch, Commit, Condition, Key, Record, Version, record};
use crate::vendor::ReceiptStatus;

/// Receipts of one vendor that are parked at a time.
pub const MOST_PARKED: usize = 10_000;

/// How long a receipt stays parked, and how long after the end of its message a name is known.
const KEPT: Duration = Duration::from_secs(72 * 3600);

/// The longest name that a vendor may give, in bytes.
const LONGEST_NAME: usize = 128;

/// The names of all vendors.
pub struct VendorNames {
    ground: Ground,
    most_parked: usize,
    /// What this process has parked, by vendor, oldest first. What one before it left behind only expires.
    parked: Mutex<HashMap<String, VecDeque<(Key, Version)>>>,
}

/// A receipt that came before its message's name was known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parked {
    pub status: ReceiptStatus,
    pub at: Timestamp,
    pub version: Version,
}

/// What is known under a name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
enum Entry {
    /// Our attempt, in the form that vendors get.
    #[n(0)]
    Ours(#[n(0)] String),
    #[n(1)]
    Parked(#[n(0)] ReceiptStatus, #[n(1)] Timestamp),
}

// === impl VendorNames ===

impl VendorNames {
    /// `most_parked`: receipts of one vendor that are kept for names that nobody knows yet.
    pub fn new(ground: Ground, most_parked: usize) -> Self {
        Self { ground, most_parked, parked: Mutex::default() }
    }

    /// The attempt that `vendor` calls `name`. For a name that nobody knows yet the receipt is parked, unless there is
    /// one already: the first word on a message is the one that counts. Durable when this returns.
    pub async fn find_or_park(
        &self,
        vendor: &str,
        name: &str,
        status: ReceiptStatus,
        at: Timestamp,
    ) -> Result<Option<AttemptRef>> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Ok(None);
        }
        let key = self.ground.keys.vendor_name(vendor, name);
        for _ in 0..MAX_ROUNDS {
            match self.read(&key).await? {
                Some((_, Entry::Ours(attempt))) => return attempt.parse().map(Some),
                Some((_, Entry::Parked(..))) => return Ok(None),
                None => {}
            }
            let expires_at = self.ground.clock.now() + KEPT;
            let entry = Entry::Parked(status, at);
            if let Some(version) = self.put(&key, Condition::Absent, &entry, expires_at).await? {
                self.make_room(vendor, key, version).await?;
                return Ok(None);
            }
        }
        Err(contention())
    }

    /// Notes that `vendor` calls an attempt `name`, which is needed for a while beyond `ends_at`. When a receipt is
    /// parked there that is not `taken_in` yet, it is returned instead and stays: take it in, and come again.
    pub async fn learn(
        &self,
        vendor: &str,
        name: &str,
        attempt: AttemptRef,
        ends_at: Timestamp,
        taken_in: Option<Parked>,
    ) -> Result<Option<Parked>> {
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Ok(None);
        }
        let key = self.ground.keys.vendor_name(vendor, name);
        let ours = Entry::Ours(attempt.to_string());
        for _ in 0..MAX_ROUNDS {
            let condition = match self.read(&key).await? {
                Some((_, known)) if known == ours => return Ok(None),
                Some((version, Entry::Parked(status, at))) => {
                    let parked = Parked { status, at, version };
                    if taken_in != Some(parked) {
                        return Ok(Some(parked));
                    }
                    Condition::At(version)
                }
                // A vendor that counts from the start again means the newer one.
                Some((version, Entry::Ours(_))) => Condition::At(version),
                None => Condition::Absent,
            };
            if self.put(&key, condition, &ours, ends_at + KEPT).await?.is_some() {
                return Ok(None);
            }
        }
        Err(contention())
    }

    async fn read(&self, key: &Key) -> Result<Option<(Version, Entry)>> {
        let Some(Record { version, value }) = self.ground.store.get(key).await? else { return Ok(None) };
        Ok(Some((version, record::decode(&value)?)))
    }

    /// `None` when the condition did not hold.
    async fn put(&self, key: &Key, condition: Condition, entry: &Entry, until: Timestamp) -> Result<Option<Version>> {
        let batch = Batch::new(key.partition()).require_that(key, condition);
        let batch = batch.put(key.clone(), record::encode(entry)?, Some(until));
        match self.ground.store.commit(batch).await? {
            Commit::Committed(version) => Ok(Some(version)),
            Commit::Conflict => {
                count_conflict("vendor_name");
                Ok(None)
            }
        }
    }

    /// Counts what was parked, and gives up the oldest when there are too many.
    async fn make_room(&self, vendor: &str, key: Key, version: Version) -> Result<()> {
        let oldest = {
            // Nothing panics while it is held.
            let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
            let parked = parked.entry(vendor.to_owned()).or_default();
            parked.push_back((key, version));
            if parked.len() > self.most_parked { parked.pop_front() } else { None }
        };
        let Some((key, version)) = oldest else { return Ok(()) };
        metrics::counter!("verigate_receipts_given_up_total", "vendor" => vendor.to_owned()).increment(1);
        // Unless its name was learned meanwhile, or it has expired.
        let batch = Batch::new(key.partition()).require_that(&key, Condition::At(version)).delete(key);
        self.ground.store.commit(batch).await.map(drop)
    }
}
