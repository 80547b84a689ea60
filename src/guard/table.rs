//! Many small states under hashed names, in memory, and written to the store page by page behind every call's back.
//!
//! A limit must not cost each send a commit of its own. So what limits know lies here, and what changed is written now and
//! then: a crash loses the last seconds of it, which is some sends more that pass. What must not be lost, the codes' own
//! counters and money, does not lie here.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::record;

/// Pages of a table. Each is one record.
pub const PAGES: u16 = 1024;

/// What lies in a table.
pub trait State: Default + Encode<()> + for<'b> Decode<'b, ()> {
    /// Most of these on a page, so that it fits a record.
    const MOST_ON_PAGE: usize;

    /// From when on it is as good as new, and need not be kept.
    fn matters_until(&self) -> Timestamp;
}

/// The states of one kind.
pub struct Table<S> {
    pages: Box<[Mutex<Page<S>>]>,
}

struct Page<S> {
    states: HashMap<u64, S>,
    changed: bool,
}

/// A page as it is stored.
#[derive(Encode, Decode)]
struct Written<S> {
    #[n(0)]
    states: Vec<Entry<S>>,
}

#[derive(Encode, Decode)]
struct Entry<S> {
    #[n(0)]
    name: u64,
    #[n(1)]
    state: S,
}

/// A page on its way to the store. One that does not get there is to be written again.
pub struct Change<'a, S: State> {
    table: &'a Table<S>,
    number: u16,
    bytes: Vec<u8>,
    is_written: bool,
}

// === impl Table ===

impl<S> Default for Table<S> {
    fn default() -> Self {
        let page = || Mutex::new(Page { states: HashMap::new(), changed: false });
        Self { pages: (0..PAGES).map(|_| page()).collect() }
    }
}

impl<S: State> Table<S> {
    /// Looks at a state, and changes it if `work` does. `name` must be as good as random.
    pub fn with<R>(&self, name: u64, now: Timestamp, work: impl FnOnce(&mut S) -> R) -> R {
        let mut page = self.page(page_of(name));
        page.changed = true;
        if !page.states.contains_key(&name) && page.states.len() >= S::MOST_ON_PAGE {
            page.make_room(now);
        }
        work(page.states.entry(name).or_default())
    }

    /// Looks at a state as it is.
    pub fn peek<R>(&self, name: u64, look: impl FnOnce(&S) -> R) -> R {
        match self.page(page_of(name)).states.get(&name) {
            Some(state) => look(state),
            None => look(&S::default()),
        }
    }

    /// What of all states `pick` wants to know.
    pub fn collect<R>(&self, mut pick: impl FnMut(u64, &S) -> Option<R>) -> Vec<R> {
        let mut found = Vec::new();
        for number in 0..PAGES {
            found.extend(self.page(number).states.iter().filter_map(|(name, state)| pick(*name, state)));
        }
        found
    }

    /// A page as it is to be written, if it has changed since it was, without what matters no more; empty when nothing is
    /// left.
    pub fn change(&self, number: u16, now: Timestamp) -> Result<Option<Change<'_, S>>> {
        let mut page = self.page(number);
        if !std::mem::take(&mut page.changed) {
            return Ok(None);
        }
        let mut change = Change { table: self, number, bytes: Vec::new(), is_written: false };
        page.states.retain(|_, state| state.matters_until() > now);
        if !page.states.is_empty() {
            let states = std::mem::take(&mut page.states);
            let written = Written { states: states.into_iter().map(|(name, state)| Entry { name, state }).collect() };
            let bytes = record::encode(&written);
            page.states = written.states.into_iter().map(|entry| (entry.name, entry.state)).collect();
            drop(page);
            change.bytes = bytes?;
        }
        Ok(Some(change))
    }

    /// Takes up a page that an earlier process has written.
    pub fn restore(&self, bytes: &[u8]) -> Result<()> {
        let written: Written<S> = record::decode(bytes)?;
        for Entry { name, state } in written.states {
            self.page(page_of(name)).states.insert(name, state);
        }
        Ok(())
    }

    fn page(&self, number: u16) -> MutexGuard<'_, Page<S>> {
        // Nothing panics while it is held.
        self.pages[usize::from(number)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: State> Page<S> {
    /// Forgets what matters no more, or else the quarter that stops mattering first: who fills the table with names
    /// must not make it grow, and loses the sign that is nearest to fading.
    fn make_room(&mut self, now: Timestamp) {
        self.states.retain(|_, state| state.matters_until() > now);
        if self.states.len() >= S::MOST_ON_PAGE {
            let mut ends: Vec<_> = self.states.values().map(State::matters_until).collect();
            let quarter = ends.len() / 4;
            let (_, last_to_go, _) = ends.select_nth_unstable(quarter);
            let last_to_go = *last_to_go;
            self.states.retain(|_, state| state.matters_until() > last_to_go);
        }
    }
}

// === impl Change ===

impl<S: State> Change<'_, S> {
    /// Empty when nothing is to be kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub fn written(mut self) {
        self.is_written = true;
    }
}

impl<S: State> Drop for Change<'_, S> {
    fn drop(&mut self) {
        if !self.is_written {
            self.table.page(self.number).changed = true;
        }
    }
}

fn page_of(name: u64) -> u16 {
    // The low bits choose the place in a page's map.
    u16::try_from(name >> 54).unwrap_or_default() % PAGES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::gcra::{Bucket, Decision, Limit};

    const LIMIT: Limit = Limit { sends: 2, window: std::time::Duration::from_secs(2) };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1000)
    }

    fn pass(table: &Table<Bucket>, name: u64, now: Timestamp) -> bool {
        table.with(name, now, |bucket| match LIMIT.decide(*bucket, now) {
            Decision::Pass { bucket: next, .. } => {
                *bucket = next;
                true
            }
            Decision::Wait(_) => false,
        })
    }

    #[test]
    fn what_is_written_is_there_again_and_what_matters_no_more_is_not() {
        let table = Table::<Bucket>::default();
        let (one, other) = (7 << 54, (8 << 54) + 3);
        assert!(pass(&table, one, at(0)) && pass(&table, one, at(0)) && !pass(&table, one, at(0)));
        assert!(pass(&table, other, at(0)));
        drop(table.change(7, at(1)).unwrap().expect("changed"));
        let change = table.change(7, at(1)).unwrap().expect("what was not written is to be written again");
        let again = Table::<Bucket>::default();
        again.restore(change.bytes()).unwrap();
        change.written();
        assert!(table.change(7, at(1)).unwrap().is_none(), "nothing is written twice");
        assert!(table.change(8, at(1)).unwrap().expect("changed").bytes().is_empty(), "what matters no more is gone");
        assert!(pass(&again, one, at(1)) && !pass(&again, one, at(1)));
    }

    #[test]
    fn a_full_page_forgets_what_fades_first() {
        let table = Table::<Bucket>::default();
        pass(&table, 0, at(1));
        pass(&table, 0, at(1));
        for name in 1..5000 {
            pass(&table, name, at(0));
        }
        assert!(table.page(0).states.len() <= Bucket::MOST_ON_PAGE);
        assert!(!pass(&table, 0, at(1)), "the fullest bucket is kept");
    }

    #[test]
    fn a_full_page_fits_a_record() {
        let table = Table::<Bucket>::default();
        let name = |number: u64| (u64::MAX >> 10) - number;
        for number in 0..Bucket::MOST_ON_PAGE as u64 {
            pass(&table, name(number), at(1_700_000_000));
        }
        let change = table.change(0, at(1_700_000_000)).unwrap().unwrap();
        let bytes = change.bytes();
        assert!(bytes.len() <= crate::store::MAX_VALUE_BYTES, "{}", bytes.len());
    }
}
