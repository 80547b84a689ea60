//! The one [`Conversion`] of a process: counted in memory, and added now and then to what the store has, in a record for
//! each vendor, which has room for all countries of the world.
//!
//! No call waits for it and no other commit grows by it. A crash loses what was counted since it was last written, which is
//! some minutes of many days. Where other nodes count, too, what they have written is taken up each time that something is
//! written here, so all go by about the same.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::messaging::conversion::{Conversion, Measured, Tally};
use crate::messaging::holder::{Ground, MAX_ROUNDS, contention, count_conflict};
use crate::recipient::Country;
use crate::store::{Batch, Commit, MAX_SCAN_ROWS, record};
use crate::vendor::Channel;

/// How long what was written is kept of a vendor of which nothing new is. It weighs nothing long before.
const KEEP: Duration = Duration::from_secs(90 * 24 * 3600);

/// Counts for all vendors.
pub struct Measuring {
    pub(crate) ground: Ground,
    counted: Mutex<Counted>,
}

/// What was counted.
#[derive(Default)]
struct Counted {
    /// By everybody, as far as is known here.
    all: Conversion,
    /// By this process, and not written yet.
    fresh: Conversion,
}

/// What is known by everybody, for as long as it is looked at.
pub(crate) struct Known<'a>(MutexGuard<'a, Counted>);

// === impl Measuring ===

impl Measuring {
    /// Knows nothing yet.
    pub fn new(ground: Ground) -> Self {
        Self { ground, counted: Mutex::default() }
    }

    /// Takes up what earlier processes and others have written.
    pub async fn load(&self) -> Result<()> {
        let records = self.ground.store.scan(&self.ground.keys.conversions(), None, MAX_SCAN_ROWS).await?;
        let measured = records.iter().map(|(_, read)| record::decode::<Measured>(&read.value));
        let mut all = Conversion::restore(measured.collect::<Result<_>>()?);
        let mut counted = self.lock();
        all.add(&counted.fresh, self.ground.clock.now());
        counted.all = all;
        Ok(())
    }

    /// Writes what was counted, if there is something new, and takes up what others have written meanwhile.
    pub async fn save(&self) -> Result<()> {
        let fresh = std::mem::take(&mut self.lock().fresh);
        let mut failed = Ok(());
        for vendor in fresh.vendors() {
            let of_vendor = fresh.of(&vendor);
            if let Err(error) = self.write(&vendor, &of_vendor).await {
                // It is tried again, perhaps for the second time: who knows what a store did that did not answer.
                self.lock().fresh.add(&of_vendor, self.ground.clock.now());
                failed = Err(error);
            }
        }
        if self.ground.store.is_shared() {
            self.load().await?;
        }
        failed
    }

    /// Adds to what is written of a vendor.
    async fn write(&self, vendor: &str, fresh: &Conversion) -> Result<()> {
        let key = self.ground.keys.conversion(vendor);
        for _ in 0..MAX_ROUNDS {
            let now = self.ground.clock.now();
            let read = self.ground.store.get(&key).await?;
            let written = read.as_ref().map(|read| record::decode::<Measured>(&read.value)).transpose()?;
            let mut sum = Conversion::restore(written.into_iter().collect());
            sum.add(fresh, now);
            // Too little to be written down is not.
            let Some(measured) = sum.measured(now).pop() else { return Ok(()) };
            let batch = Batch::new(key.partition()).require(&key, read.as_ref());
            let batch = batch.put(key.clone(), record::encode(&measured)?, Some(now + KEEP));
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                return Ok(());
            }
            count_conflict("conversion");
        }
        Err(contention())
    }

    /// Counts a code that a vendor took, or perhaps took.
    pub fn sent(&self, vendor: &str, channel: Channel, country: Option<Country>) {
        self.count(|conversion, now| conversion.add_send(vendor, channel, country, now));
    }

    /// Counts a code that was given back.
    pub fn approved(&self, vendor: &str, channel: Channel, country: Option<Country>) {
        self.count(|conversion, now| conversion.add_approval(vendor, channel, country, now));
    }

    /// What is known of each of these.
    pub fn tallies(&self, vendors: &[String], channel: Channel, country: Option<Country>) -> Vec<Tally> {
        let (counted, now) = (self.lock(), self.ground.clock.now());
        vendors.iter().map(|vendor| counted.all.tally(vendor, channel, country, now)).collect()
    }

    pub(crate) fn known(&self) -> Known<'_> {
        Known(self.lock())
    }

    fn count(&self, count: impl Fn(&mut Conversion, Timestamp)) {
        let (mut counted, now) = (self.lock(), self.ground.clock.now());
        count(&mut counted.all, now);
        count(&mut counted.fresh, now);
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        // Nothing panics while it is held.
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Known ===

impl std::ops::Deref for Known<'_> {
    type Target = Conversion;

    fn deref(&self) -> &Conversion {
        &self.0.all
    }
}
