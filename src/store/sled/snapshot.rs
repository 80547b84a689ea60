//! Reading the whole store as it is at one moment, without holding up anybody.
//!
//! It is walked in short turns, and what changes meanwhile is noted, key by key, by a tap in the table. What was noted is
//! read again, in short turns, while the next changes are noted, and so on until so little is left that it can be read
//! in one turn. That turn is the moment: whatever was read before and has not been noted since is still as it was.
//!
//! Memory is bounded, for a tap that has run over ends the reading.

use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;

use crate::clock::{Clock, Timestamp};
use crate::error::Result;
use crate::id::Partition;
use crate::store::sled::fault;
use crate::store::sled::record;
use crate::store::sled::table::{Durable, Table};
use crate::store::sled::tap::Tap;
use crate::store::space::PART_SPACE;
use crate::store::{Key, KeyBytes, Part, Snapshot, Write};

/// A store that is being read.
pub(crate) struct TableSnapshot {
    table: Arc<Table>,
    clock: Arc<dyn Clock>,
    tap: Arc<Tap>,
    phase: Phase,
    /// Rounds in which what had changed was read again.
    rounds: usize,
}

enum Phase {
    /// Walking everything, from after this key on.
    Walk(Option<KeyBytes>),
    /// Reading again what has changed.
    Again(std::vec::IntoIter<KeyBytes>),
    Done,
}

/// Records read in one turn at the table, about 0.2 ms.
const TURN_RECORDS: usize = 128;

/// So few are read in one turn at the end, some ten milliseconds.
const LAST_TURN_RECORDS: usize = 2_000;

/// Where a key is said to lie that is gone.
const NOWHERE: Partition = Partition::new(0);

/// After so many rounds it is clear that reading does not catch up.
const MOST_ROUNDS: usize = 100;

// === impl TableSnapshot ===

impl TableSnapshot {
    pub(crate) fn begin(table: Arc<Table>, clock: Arc<dyn Clock>) -> Result<Self> {
        let tap = table.tap()?;
        Ok(Self { table, clock, tap, phase: Phase::Walk(None), rounds: 0 })
    }

    fn walk(&mut self, after: Option<KeyBytes>) -> Result<Part> {
        let now = self.clock.now();
        let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
        let end = Bound::Excluded(KeyBytes::from_slice(&[PART_SPACE]));
        let mut entries = Vec::new();
        let mut last = None;
        self.table.read(|durable| {
            let found = durable.range(&begin, &end, false, TURN_RECORDS)?;
            last = found.last().map(|(key, _)| key.clone()).filter(|_| found.len() == TURN_RECORDS);
            for (key, stored) in found {
                entries.extend(live(durable, &key, &stored, now)?);
            }
            Ok(())
        })?;
        self.phase = match last {
            Some(last) => Phase::Walk(Some(last)),
            None => Phase::Again(Vec::new().into_iter()),
        };
        Ok(Part { entries, again: false })
    }

    /// Reads some of the keys that have changed; when there are none left, begins with those that have changed since.
    fn again(&mut self, mut keys: std::vec::IntoIter<KeyBytes>) -> Result<Part> {
        let now = self.clock.now();
        let turn: Vec<_> = keys.by_ref().take(TURN_RECORDS).collect();
        if !turn.is_empty() {
            self.phase = Phase::Again(keys);
            let entries = self.table.read(|durable| read_all(durable, turn, now))?;
            return Ok(Part { entries, again: true });
        }
        if self.rounds == MOST_ROUNDS {
            return Err(fault::too_slow());
        }
        self.rounds += 1;
        // Nothing changes while the table is read, so what is noted and what is read is of one moment.
        let (phase, entries) = self.table.read(|durable| {
            let noted = self.tap.take()?;
            if noted.len() > LAST_TURN_RECORDS {
                let keys: Vec<_> = noted.into_iter().collect();
                return Ok((Phase::Again(keys.into_iter()), Vec::new()));
            }
            Ok((Phase::Done, read_all(durable, noted, now)?))
        })?;
        self.phase = phase;
        Ok(Part { entries, again: true })
    }
}

#[async_trait]
impl Snapshot for TableSnapshot {
    async fn next(&mut self) -> Result<Option<Part>> {
        let part = match std::mem::replace(&mut self.phase, Phase::Done) {
            Phase::Walk(after) => self.walk(after)?,
            Phase::Again(keys) => self.again(keys)?,
            Phase::Done => return Ok(None),
        };
        tokio::task::yield_now().await;
        Ok(Some(part))
    }
}

fn read_all(durable: &Durable, keys: impl IntoIterator<Item = KeyBytes>, now: Timestamp) -> Result<Vec<(Key, Write)>> {
    let mut entries = Vec::new();
    // A part of a record changes with the record.
    for key in keys.into_iter().filter(|key: &KeyBytes| key.first() != Some(&PART_SPACE)) {
        let stored = durable.get(&key)?;
        let found = stored.map(|stored| live(durable, &key, &stored, now)).transpose()?.flatten();
        // No partition is known of what is gone, and none is needed to forget it.
        entries.push(found.unwrap_or_else(|| (Key::new(NOWHERE, &*key), Write::Delete)));
    }
    Ok(entries)
}

/// The record of an entry; `None` when it has expired.
fn live(durable: &Durable, key: &[u8], stored: &[u8], now: Timestamp) -> Result<Option<(Key, Write)>> {
    let read = record::read(durable, key, stored, now)?;
    Ok(read.map(|(header, record)| {
        (Key::new(header.partition, key), Write::Put { value: record.value, expires_at: header.expires_at })
    }))
}
