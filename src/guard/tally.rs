//! Sends and the codes that came back, faded, and whether those are fewer than honest people's. Pure.
//!
//! Certain means: of all rates that fit what was counted (a beta posterior with a uniform prior), that share lies below
//! the least one. So twenty sends without an answer weigh more than two.

use std::time::Duration;

use minicbor::{Decode, Encode};
use statrs::function::beta::beta_reg;

use crate::clock::Timestamp;
use crate::guard::area::Width;

/// How finely the age of sends is known: parts of the time after which they count.
pub(crate) const BINS: u64 = 8;

/// When areas are blocked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// The least share of codes that come back from honest people: above 0 and below 1.
    pub least: f64,
    /// How certain it must be that fewer do: above 0.5 and below 1.
    pub certainty: f64,
    /// The wider an area, the more honest people live there: it must be certain as often over as it is wide, for what comes
    /// from a small part of it to be found there first.
    pub width: Width,
    /// How old a send must be to count.
    pub matures_after: Duration,
    /// The first block.
    pub block: Duration,
    /// Sends that go through after a block, to see whether it still holds.
    pub probes: u32,
}

/// Sends that count and codes that came back, both faded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
pub struct Tally {
    #[n(0)]
    pub(crate) sends: f32,
    #[n(1)]
    pub(crate) approvals: f32,
}

// === impl Rates ===

impl Rates {
    /// The bin of time in which something was.
    pub(crate) fn bin_of(&self, at: Timestamp) -> u64 {
        at.as_millis() / self.length_of_bin()
    }

    pub(crate) fn start_of_bin(&self, bin: u64) -> Timestamp {
        Timestamp::from_millis(bin.saturating_mul(self.length_of_bin()))
    }

    fn length_of_bin(&self) -> u64 {
        (u64::try_from(self.matures_after.as_millis()).unwrap_or(u64::MAX) / BINS).max(1)
    }
}

// === impl Tally ===

impl Tally {
    /// What is left of it after some time.
    pub(crate) fn faded(self, passed: Duration, half_life: Duration) -> Self {
        let kept = (-passed.as_secs_f32() / half_life.as_secs_f32()).exp2();
        Self { sends: self.sends * kept, approvals: self.approvals * kept }
    }

    pub(crate) fn is_below(self, rates: &Rates) -> bool {
        let (sends, approvals) = (f64::from(self.sends), f64::from(self.approvals));
        // Young approvals count though their sends do not yet: the doubt is the area's.
        let misses = (sends - approvals).max(0.0);
        if approvals >= rates.least * sends {
            return false;
        }
        // Without an approval it is easily said, and with some it is less certain.
        let without_any = 1.0 - (1.0 - rates.least).powf(1.0 + misses);
        without_any >= rates.certainty
            && (approvals <= 0.0 || beta_reg(1.0 + approvals, 1.0 + misses, rates.least) >= rates.certainty)
    }
}
