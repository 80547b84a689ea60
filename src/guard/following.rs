//! How far a node is in telling the others that share its store what it counted, and in hearing them. Knows no store.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::guard::news::Told;
use crate::guard::table::{Heard, PAGES};

/// How often a node tells what it has counted, and hears the others.
pub(crate) const TURN: Duration = Duration::from_secs(1);

/// In so many turns all pages that changed are written.
const ROUND: u64 = 60;

/// For how many turns of ours a node is known that is not seen: some rounds.
const KNOWN_FOR: u64 = 5 * ROUND;

/// How far this node is, and has heard.
#[derive(Debug, Default)]
pub(crate) struct Following {
    /// Which node we are: no two have ever had the same number.
    pub(crate) node: u64,
    /// The last turn that we began to tell, and from when on the next one counts.
    pub(crate) turn: u64,
    pub(crate) since: Timestamp,
    /// What of it is not known to be written yet.
    pub(crate) untold: Vec<Told>,
    pub(crate) shown_at: Timestamp,
    pub(crate) others: BTreeMap<u64, Other>,
    /// Turns of ours, told or not.
    pub(crate) round: u64,
    /// What is here is not what all have counted, for taking it up failed.
    pub(crate) is_behind: bool,
}

/// Another node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Other {
    /// The last turn of its that we have joined.
    pub(crate) turn: u64,
    /// In which turn of ours it was last seen to live: clocks may jump.
    pub(crate) seen_in: u64,
    pub(crate) lives: bool,
}

/// Which of the pages that changed are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    /// Those whose turn it is.
    Some,
    /// All that are ours to write: all there are if nobody else lives.
    Ours,
}

// === impl Following ===

impl Following {
    /// How far what is here is, with so many turns of our own.
    pub(crate) fn heard(&self, turn: u64) -> Vec<Heard> {
        let ours = Heard { node: self.node, turn };
        let others = self.others.iter().map(|(node, other)| Heard { node: *node, turn: other.turn });
        others.chain([ours]).collect()
    }

    /// Forgets nodes that have not been seen for long: what they told is in pages, or gone.
    pub(crate) fn forget(&mut self) {
        let round = self.round;
        self.others.retain(|_, other| other.seen_in + KNOWN_FOR > round);
    }

    /// The pages that are ours to write, and whose turn has come.
    pub(crate) fn due(&self, which: Which) -> Vec<u16> {
        let living = || self.others.iter().filter(|(_, other)| other.lives);
        let rank = living().filter(|(node, _)| **node < self.node).count() as u64;
        let nodes = living().count() as u64 + 1;
        let is_due = |number: &u16| {
            let number = u64::from(*number);
            number % nodes == rank && (which == Which::Ours || (number / nodes) % ROUND == self.round % ROUND)
        };
        (0..PAGES).filter(is_due).collect()
    }
}

// === impl Other ===

impl Other {
    pub(crate) fn at(turn: u64, round: u64) -> Self {
        Self { turn, seen_in: round, lives: true }
    }
}
