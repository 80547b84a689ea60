//! The one [`Conversion`] of a process: counted in memory, and written to the store now and then as a whole, in a record for
//! each vendor, which has room for all countries of the world.
//!
//! No call waits for it and no other commit grows by it. A crash loses what was counted since it was last written, which is
//! some minutes of many days.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Result;
use crate::messaging::conversion::{Conversion, Measured, Tally};
use crate::messaging::holder::Ground;
use crate::recipient::Country;
use crate::store::{Batch, MAX_SCAN_ROWS, record};
use crate::vendor::Channel;

/// How long what was written is kept of a vendor of which nothing new is. It weighs nothing long before.
const KEEP: Duration = Duration::from_secs(90 * 24 * 3600);

/// Counts for all vendors.
pub struct Measuring {
    pub(crate) ground: Ground,
    conversion: Mutex<Conversion>,
    changed: AtomicBool,
}

// === impl Measuring ===

impl Measuring {
    /// Knows nothing yet.
    pub fn new(ground: Ground) -> Self {
        Self { ground, conversion: Mutex::default(), changed: AtomicBool::new(false) }
    }

    /// Takes up what an earlier process has written. To be called before anything is counted.
    pub async fn load(&self) -> Result<()> {
        let records = self.ground.store.scan(&self.ground.keys.conversions(), None, MAX_SCAN_ROWS).await?;
        let measured = records.iter().map(|(_, read)| record::decode::<Measured>(&read.value));
        *self.lock() = Conversion::restore(measured.collect::<Result<_>>()?);
        Ok(())
    }

    /// Writes what was counted, if there is something new.
    pub async fn save(&self) -> Result<()> {
        if !self.changed.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let saved = self.write().await;
        if saved.is_err() {
            self.changed.store(true, Ordering::Release);
        }
        saved
    }

    async fn write(&self) -> Result<()> {
        let now = self.ground.clock.now();
        let measured = self.lock().measured(now);
        for of_vendor in measured {
            let key = self.ground.keys.conversion(&of_vendor.vendor);
            let batch = Batch::new(key.partition()).put(key, record::encode(&of_vendor)?, Some(now + KEEP));
            self.ground.store.commit(batch).await?;
        }
        Ok(())
    }

    /// Counts a code that a vendor took, or perhaps took.
    pub fn sent(&self, vendor: &str, channel: Channel, country: Option<Country>) {
        self.lock().add_send(vendor, channel, country, self.ground.clock.now());
        self.changed.store(true, Ordering::Release);
    }

    /// Counts a code that was given back.
    pub fn approved(&self, vendor: &str, channel: Channel, country: Option<Country>) {
        self.lock().add_approval(vendor, channel, country, self.ground.clock.now());
        self.changed.store(true, Ordering::Release);
    }

    /// What is known of each of these.
    pub fn tallies(&self, vendors: &[String], channel: Channel, country: Option<Country>) -> Vec<Tally> {
        let (conversion, now) = (self.lock(), self.ground.clock.now());
        vendors.iter().map(|vendor| conversion.tally(vendor, channel, country, now)).collect()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Conversion> {
        // Nothing panics while it is held.
        self.conversion.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
