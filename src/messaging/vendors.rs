//! The configured vendors by name, each with room for so many calls at once, so that a slow one fills only its own.
//!
//! Room that becomes free goes to those who wait for it: while somebody does, nobody else gets any, so a send that has
//! just come does not overtake those before it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::vendor::Vendor;

/// All configured vendors.
#[derive(Debug, Clone, Default)]
pub struct Vendors {
    slots: BTreeMap<String, Slot>,
    freed: Arc<Notify>,
}

/// Leave to call one vendor once. Dropping it makes room for the next call.
pub struct Permit {
    name: Arc<str>,
    vendor: Arc<dyn Vendor>,
    room: Arc<Room>,
}

#[derive(Debug, Clone)]
struct Slot {
    name: Arc<str>,
    vendor: Arc<dyn Vendor>,
    room: Arc<Room>,
}

#[derive(Debug)]
struct Room {
    places: Mutex<Places>,
    freed: Arc<Notify>,
}

#[derive(Debug, Clone, Copy)]
struct Places {
    /// Calls that may begin now.
    free: usize,
    /// Sends that wait for one.
    waiting: usize,
}

// === impl Vendors ===

impl Vendors {
    /// Adds a vendor that takes at most `concurrency` calls at once.
    pub fn add(&mut self, name: impl Into<String>, vendor: Arc<dyn Vendor>, concurrency: usize) {
        let places = Mutex::new(Places { free: concurrency, waiting: 0 });
        let room = Arc::new(Room { places, freed: Arc::clone(&self.freed) });
        let name = name.into();
        self.slots.insert(name.clone(), Slot { name: name.into(), vendor, room });
    }

    pub fn get(&self, name: &str) -> Option<&Arc<dyn Vendor>> {
        self.slots.get(name).map(|slot| &slot.vendor)
    }

    /// How many sends wait for room at `name`.
    pub fn waiting(&self, name: &str) -> usize {
        self.slots.get(name).map_or(0, |slot| slot.room.lock().waiting)
    }

    /// Leave to call the first of these that has room, and for whose room nobody waits.
    pub fn try_permit<'a>(&self, names: &[&'a str]) -> Option<(&'a str, Permit)> {
        names.iter().find_map(|name| Some((*name, self.slots.get(*name)?.permit(|places| places.waiting == 0)?)))
    }

    /// The same for a send that waits and whose turn it is.
    pub(crate) fn permit_in_turn(&self, names: &[String]) -> Option<(String, Permit)> {
        names.iter().find_map(|name| Some((name.clone(), self.slots.get(name)?.permit(|_| true)?)))
    }

    /// Notes that one more send waits for room at any of these.
    pub(crate) fn begin_waiting(&self, names: &[String]) {
        self.each_place(names, |places| places.waiting += 1);
        // Room may have become free since it was asked for.
        self.freed.notify_one();
    }

    /// Notes that a send waits no more.
    pub(crate) fn end_waiting(&self, names: &[String]) {
        self.each_place(names, |places| places.waiting = places.waiting.saturating_sub(1));
    }

    /// Completes when there may be room that somebody waits for, or a new one waits.
    pub(crate) async fn freed(&self) {
        self.freed.notified().await;
    }

    fn each_place(&self, names: &[String], change: impl Fn(&mut Places)) {
        for slot in names.iter().filter_map(|name| self.slots.get(name)) {
            change(&mut slot.room.lock());
        }
    }
}

// === impl Slot ===

impl Slot {
    fn permit(&self, fits: impl Fn(&Places) -> bool) -> Option<Permit> {
        let mut places = self.room.lock();
        if places.free == 0 || !fits(&places) {
            return None;
        }
        places.free -= 1;
        let (name, vendor) = (Arc::clone(&self.name), Arc::clone(&self.vendor));
        Some(Permit { name, vendor, room: Arc::clone(&self.room) })
    }
}

// === impl Room ===

impl Room {
    fn lock(&self) -> MutexGuard<'_, Places> {
        // Nothing panics while it is held.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Permit ===

impl Permit {
    /// The vendor's configured name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn vendor(&self) -> &dyn Vendor {
        &*self.vendor
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut places = self.room.lock();
        places.free += 1;
        let awaited = places.waiting > 0;
        drop(places);
        if awaited {
            self.room.freed.notify_one();
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({:?})", self.vendor)
    }
}
