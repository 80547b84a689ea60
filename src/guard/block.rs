//! An area to which nothing is sent for now, and the few sends that find out whether that is still right. Pure.

use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::guard::area::Area;
use crate::guard::tally::Rates;
use crate::id::TenantName;
use crate::recipient::Country;

/// An area to which nothing is sent for now.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Block {
    #[n(0)]
    pub tenant: TenantName,
    #[n(1)]
    pub area: Area,
    #[n(2)]
    pub since: Timestamp,
    /// From then on probes go through.
    #[n(3)]
    pub until: Timestamp,
    /// Probes that went, and when the last one did.
    #[n(4)]
    pub(crate) probes: u32,
    #[n(5)]
    pub(crate) probed_at: Timestamp,
    /// The country of an area of numbers.
    #[n(6)]
    pub(crate) country: Option<Country>,
    /// What was counted here no longer counts against the areas around it.
    #[n(7)]
    #[cbor(default)]
    pub(crate) explains: bool,
    /// The names of those areas; 0 for none.
    #[n(8)]
    #[cbor(default)]
    pub(crate) around: [u64; 2],
}

/// Whose area it is.
#[derive(Debug, Clone)]
pub struct Place {
    pub tenant: TenantName,
    pub area: Area,
    pub country: Option<Country>,
    /// The names of the areas that it lies in; 0 for none.
    pub around: [u64; 2],
}

/// Whether something may be sent to an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    Free,
    /// To see whether a block still holds.
    Probe,
    Wait(Duration),
}

// === impl Block ===

impl Block {
    pub(crate) fn new(Place { tenant, area, country, around }: Place, since: Timestamp, until: Timestamp) -> Self {
        Self { tenant, area, since, until, probes: 0, probed_at: since, country, explains: false, around }
    }

    /// Whether all its numbers lie in an area.
    pub fn is_within(&self, area: &Area) -> bool {
        match (&self.area, area) {
            (Area::Prefix(_), Area::Country(country)) => self.country == Some(*country),
            (Area::Prefix(own), Area::Prefix(wider)) => own.starts_with(&**wider),
            (own @ Area::Country(_), area) => own == area,
        }
    }

    pub(crate) fn ask(&mut self, rates: &Rates, now: Timestamp) -> Leave {
        if now < self.until {
            return Leave::Wait(self.until.since(now));
        }
        if self.probes >= rates.probes {
            return Leave::Wait(self.answered_at(rates).since(now).max(Duration::from_secs(1)));
        }
        self.probes += 1;
        self.probed_at = now;
        Leave::Probe
    }

    /// When the last probe is old enough to have been answered.
    pub(crate) fn answered_at(&self, rates: &Rates) -> Timestamp {
        self.probed_at + rates.matures_after
    }

    /// All probes went and none came back.
    pub(crate) fn is_settled(&self, rates: &Rates, now: Timestamp) -> bool {
        self.probes >= rates.probes && now >= self.answered_at(rates)
    }

    /// Whose it is, for one that takes its place.
    pub(crate) fn into_place(self) -> Place {
        Place { tenant: self.tenant, area: self.area, country: self.country, around: self.around }
    }
}
