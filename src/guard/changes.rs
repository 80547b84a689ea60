//! What one node did to what is known of an area, for the others to do the same. Pure.

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::guard::block::Block;
use crate::guard::tally::Rates;

/// Sends and codes that came back, within an eighth of the time after which sends count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Bin {
    #[n(0)]
    pub(crate) number: u64,
    #[n(1)]
    pub(crate) sends: u32,
    #[n(2)]
    #[cbor(default)]
    pub(crate) approvals: u32,
}

/// What was counted, and what was decided by it.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
pub struct Changes {
    /// A block was ended then, and what was counted before it counts no longer. All else came after it.
    #[n(0)]
    pub(crate) opened_at: Option<Timestamp>,
    #[n(1)]
    pub(crate) bins: Vec<Bin>,
    /// Sends that went though it was blocked, and codes of theirs that came back.
    #[n(2)]
    pub(crate) excused: [u32; 2],
    #[n(3)]
    pub(crate) closed: Option<Closed>,
    #[n(4)]
    pub(crate) probed: Option<Probed>,
}

/// A block that began.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct Closed {
    /// Before its first probe.
    #[n(0)]
    pub(crate) block: Block,
    /// How many in a row that makes.
    #[n(1)]
    pub(crate) blocks: u32,
}

/// Probes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
pub(crate) struct Probed {
    /// Which block, by its end.
    #[n(0)]
    pub(crate) until: Timestamp,
    #[n(1)]
    pub(crate) at: Timestamp,
    /// Below zero for some that were not made after all.
    #[n(2)]
    pub(crate) probes: i32,
}

/// The block of an area at a moment, as far as it takes to see that it is another one later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stage {
    until: Timestamp,
    probes: u32,
}

/// The bin of this number among those that are there, in their order.
pub(crate) fn bin(bins: &mut Vec<Bin>, number: u64) -> &mut Bin {
    let place = bins.partition_point(|bin| bin.number < number);
    if bins.get(place).is_none_or(|bin| bin.number != number) {
        bins.insert(place, Bin { number, sends: 0, approvals: 0 });
    }
    &mut bins[place]
}

// === impl Changes ===

impl Changes {
    pub(crate) fn sent(&mut self, rates: &Rates, now: Timestamp) {
        bin(&mut self.bins, rates.bin_of(now)).sends += 1;
    }

    pub(crate) fn approved(&mut self, rates: &Rates, now: Timestamp) {
        bin(&mut self.bins, rates.bin_of(now)).approvals += 1;
    }

    /// Counts a send that went though it was blocked, or the code of one that came back.
    pub(crate) fn excused(&mut self, rates: &Rates, now: Timestamp, approved: bool) {
        // Empty where nothing else is counted: it says when this was.
        bin(&mut self.bins, rates.bin_of(now));
        let count = &mut self.excused[usize::from(approved)];
        *count = count.saturating_add(1);
    }

    /// Notes what became of the block, after all that led to it was noted.
    pub(crate) fn moved(&mut self, before: Option<Stage>, after: Option<&Block>, blocks: u32, now: Timestamp) {
        let Some(block) = after else {
            if before.is_some() {
                *self = Self { opened_at: Some(now), excused: self.excused, ..Self::default() };
            }
            return;
        };
        let same = before.filter(|before| before.until == block.until);
        if same.is_none() {
            self.closed = Some(Closed { block: Block { probes: 0, explains: false, ..block.clone() }, blocks });
            self.probed = None;
        }
        let more = i64::from(block.probes) - i64::from(same.map_or(0, |same| same.probes));
        if more != 0 {
            let noted = self.probed.map_or(0, |probed| probed.probes);
            let probes = noted.saturating_add(i32::try_from(more).unwrap_or(i32::MAX));
            self.probed = Some(Probed { until: block.until, at: block.probed_at, probes });
        }
    }
}

// === impl Stage ===

impl Stage {
    pub(crate) fn of(block: &Block) -> Self {
        Self { until: block.until, probes: block.probes }
    }
}
