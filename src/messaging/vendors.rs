//! The configured vendors by name, each with room for so many calls at once, so that a slow one fills only its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::vendor::Vendor;

/// All configured vendors.
#[derive(Debug, Clone, Default)]
pub struct Vendors(BTreeMap<String, Slot>);

/// Leave to call one vendor once. Dropping it makes room for the next call.
pub struct Permit {
    vendor: Arc<dyn Vendor>,
    _room: OwnedSemaphorePermit,
}

#[derive(Debug, Clone)]
struct Slot {
    vendor: Arc<dyn Vendor>,
    room: Arc<Semaphore>,
}

// === impl Vendors ===

impl Vendors {
    /// Adds a vendor that takes at most `concurrency` calls at once.
    pub fn add(&mut self, name: impl Into<String>, vendor: Arc<dyn Vendor>, concurrency: usize) {
        let room = Arc::new(Semaphore::new(concurrency));
        self.0.insert(name.into(), Slot { vendor, room });
    }

    pub fn get(&self, name: &str) -> Option<&Arc<dyn Vendor>> {
        self.0.get(name).map(|slot| &slot.vendor)
    }

    /// Leave to call `name` now; `None` when it is unknown or has no room.
    pub fn try_permit(&self, name: &str) -> Option<Permit> {
        let slot = self.0.get(name)?;
        let room = Arc::clone(&slot.room).try_acquire_owned().ok()?;
        Some(Permit { vendor: Arc::clone(&slot.vendor), _room: room })
    }
}

// === impl Permit ===

impl Permit {
    pub fn vendor(&self) -> &dyn Vendor {
        &*self.vendor
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({:?})", self.vendor)
    }
}
