//! The sweeper: walks all records in small slices and has the committer delete those that have expired.
//!
//! Nothing depends on what it deletes for being right, because expired records count as absent at once; it only gives
//! space back. It deletes a record only at the version that it saw, so one that was put again meanwhile survives.
//!
//! Spaces in order of time expire at their low end and hashed ones anywhere, and no index says where, so it walks
//! everything: fast through a stretch where much has expired, slower where nothing has. At one million live records and
//! nothing to find, a walk is 7,800 slices, takes 80 seconds and about one second of a core.
//!
//! As it sees every key anyway, it also tells `presence` which there are, and that does depend on it: a walk that left one
//! out would hide a record. Until the keys are known it walks fast.

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::clock::{Clock, Timestamp};
use crate::error::Result;
use crate::store::sled::fault;
use crate::store::sled::presence::KeyFilter;
use crate::store::sled::queue::{Job, Queue};
use crate::store::sled::record;
use crate::store::sled::table::Table;
use crate::store::space::PART_SPACE;
use crate::store::{KeyBytes, Version};

/// Walks a table for as long as its queue is open.
pub(crate) struct Sweeper {
    pub(crate) table: Arc<Table>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A walk that is under way.
struct Walk {
    /// Takes the key of each record that is seen.
    keys: Arc<KeyFilter>,
    /// Where the next slice begins, exclusively.
    after: Option<KeyBytes>,
}

/// What one slice came to.
struct Slice {
    found: usize,
    forgotten: usize,
}

/// Records that the sweeper looks at in one turn at the table, about 0.1 ms; and most turns in one slice.
const LOOK_RECORDS: usize = 128;
const MAX_LOOKS: usize = 16;

/// After a slice where much has expired, and while the keys are not known.
const SHORT_PAUSE: Duration = Duration::from_millis(1);
/// At most, after slices where nothing has.
const LONG_PAUSE: Duration = Duration::from_millis(10);
/// After a walk, so that a small store is not walked without end; and when the store has more to do than it can.
const REST: Duration = Duration::from_secs(1);

// === impl Sweeper ===

impl Sweeper {
    /// Walks round and round; ends when the store is closed or has failed.
    pub(crate) async fn run(self) {
        let mut walk = None;
        let mut pace = LONG_PAUSE;
        let mut pause = REST;
        loop {
            self.clock.sleep_until(self.clock.now() + pause).await;
            match self.slice(&mut walk).await {
                Ok(slice) => {
                    // A closed table ends this with the next slice.
                    let hurries = slice.found >= LOOK_RECORDS / 8 || self.table.is_known().is_ok_and(|known| !known);
                    pace = if hurries { SHORT_PAUSE } else { (pace * 2).min(LONG_PAUSE) };
                    pause = if walk.is_some() { pace } else { REST };
                }
                Err(error) if fault::passes(&error) => pause = REST,
                Err(_) => return,
            }
        }
    }

    /// One whole walk without pauses; returns how many records it deleted.
    pub(crate) async fn walk(&self) -> Result<usize> {
        let mut forgotten = 0;
        let mut walk = None;
        loop {
            forgotten += self.slice(&mut walk).await?.forgotten;
            if walk.is_none() {
                return Ok(forgotten);
            }
        }
    }

    /// The next slice of a walk, or the first of a new one; at the end of it none is left. One that fails is to be walked
    /// again.
    async fn slice(&self, under_way: &mut Option<Walk>) -> Result<Slice> {
        let walk = match under_way {
            Some(walk) => walk,
            None => under_way.insert(Walk { keys: self.table.begin_walk()?, after: None }),
        };
        let now = self.clock.now();
        let mut expired = Vec::new();
        let mut last = walk.after.clone();
        for _ in 0..MAX_LOOKS {
            last = self.look(last.as_ref(), now, &walk.keys, &mut expired)?;
            // Where some have expired more are likely, and a commit is worth more than a few.
            if last.is_none() || expired.is_empty() || expired.len() >= LOOK_RECORDS {
                break;
            }
            tokio::task::yield_now().await;
        }
        let found = expired.len();
        let forgotten = if found == 0 { 0 } else { self.forget(expired).await? };
        walk.after = last;
        if walk.after.is_none() {
            self.table.end_walk(&walk.keys)?;
            *under_way = None;
        }
        Ok(Slice { found, forgotten })
    }

    /// Looks at the next records, notes their keys and returns the last of them, if there may be more.
    fn look(
        &self,
        after: Option<&KeyBytes>,
        now: Timestamp,
        keys: &KeyFilter,
        expired: &mut Vec<(KeyBytes, Version)>,
    ) -> Result<Option<KeyBytes>> {
        let begin = after.cloned().map_or(Bound::Unbounded, Bound::Excluded);
        let end = Bound::Excluded(KeyBytes::from_slice(&[PART_SPACE]));
        let mut entries = self.table.read(|durable| durable.range(&begin, &end, false, LOOK_RECORDS))?;
        for (key, stored) in &entries {
            keys.note(key);
            // What is no record of ours is not ours to delete.
            if let Ok((header, _)) = record::decode(stored)
                && !header.is_live(now)
            {
                expired.push((key.clone(), header.version));
            }
        }
        let last = entries.pop().map(|(key, _)| key);
        Ok(last.filter(|_| entries.len() + 1 == LOOK_RECORDS))
    }

    async fn forget(&self, records: Vec<(KeyBytes, Version)>) -> Result<usize> {
        let (answer, answered) = oneshot::channel();
        self.queue.push(Job::Forget { records, answer })?;
        answered.await.map_err(|_| self.queue.why_unanswered())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::error::Reason;
    use crate::id::Partition;
    use crate::store::MAX_VALUE_BYTES;
    use crate::store::sled::record::Header;

    const EXPIRY: Timestamp = Timestamp::from_millis(2_000_000);

    fn key(number: usize) -> KeyBytes {
        KeyBytes::from_slice(&number.to_be_bytes()[4..])
    }

    /// A sweeper of a table that holds so many records, of which one has several parts and one expires, and whose queue has
    /// no room for any job.
    fn sweeper(records: usize, expires: usize) -> (Sweeper, ManualClock) {
        let db = sled::Config::new().temporary(true).open().unwrap();
        for number in 0..records {
            let expires_at = (number == expires).then_some(EXPIRY);
            let value = if number == 1 { &[1; MAX_VALUE_BYTES][..] } else { b"value" };
            let header = Header::new(Version(7), expires_at, Partition::new(0));
            let encoded = record::encode(&key(number), header, value, &mut Vec::new()).unwrap();
            encoded.entries(&key(number)).for_each(|(key, stored)| drop(db.insert(key, stored).unwrap()));
        }
        let (table, queue) = (Arc::new(Table::new(sled::Tree::clone(&db))), Arc::new(Queue::new(0)));
        let clock = ManualClock::new(EXPIRY);
        (Sweeper { table, queue, clock: Arc::new(clock.clone()) }, clock)
    }

    fn check(table: &Table, records: usize) {
        for number in 0..records {
            let found = table.read(|durable| {
                assert!(!durable.rules_out(&key(number)), "{number}");
                let stored = durable.get(&key(number))?.unwrap();
                record::read(durable, &key(number), &stored, Timestamp::from_millis(0))
            });
            assert!(found.unwrap().is_some(), "{number}, and all its parts");
        }
        let absent = (records..records + 1_000)
            .filter(|number| table.read(|durable| Ok(durable.rules_out(&key(*number)))).unwrap());
        assert!(absent.count() > 990);
    }

    #[tokio::test]
    async fn a_slice_that_fails_is_walked_again_before_any_key_is_known_to_be_absent() {
        const RECORDS: usize = 5 * LOOK_RECORDS;
        let (sweeper, clock) = sweeper(RECORDS, 2 * LOOK_RECORDS);
        let mut walk = None;
        for _ in 0..2 {
            sweeper.slice(&mut walk).await.unwrap();
        }
        for _ in 0..10 {
            let error = sweeper.slice(&mut walk).await.err();
            assert_eq!(error.unwrap().reason(), Reason::Overloaded, "nothing can be deleted");
            assert!(walk.is_some() && !sweeper.table.is_known().unwrap());
        }
        clock.set(Timestamp::from_millis(0));
        while walk.is_some() {
            assert!(!sweeper.table.is_known().unwrap(), "before the end of the walk");
            sweeper.slice(&mut walk).await.unwrap();
        }
        check(&sweeper.table, RECORDS);
    }

    #[tokio::test]
    async fn it_walks_fast_until_the_keys_are_known_and_slowly_then() {
        const SLICES: u32 = 20;
        let records = LOOK_RECORDS * usize::try_from(SLICES).unwrap();
        let (sweeper, clock) = sweeper(records, records);
        let table = Arc::clone(&sweeper.table);
        let sweeping = tokio::spawn(sweeper.run());
        let mut waited = Duration::ZERO;
        while !table.is_known().unwrap() {
            tokio::task::yield_now().await;
            clock.advance(SHORT_PAUSE);
            waited += SHORT_PAUSE;
        }
        assert!(waited < REST + LONG_PAUSE * SLICES / 2, "{waited:?}");
        check(&table, records);
        sweeping.abort();
    }
}
