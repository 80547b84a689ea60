//! Many small states under hashed names, in memory, and written to the store page by page behind every call's back.
//!
//! A limit must not cost each send a commit of its own. So what limits know lies here, and what changed is written now and
//! then: a crash loses the last seconds of it, which is some sends more that pass. What must not be lost, the codes' own
//! counters and money, does not lie here.
//!
//! Where several nodes count, each has a table of its own, notes what it does to it, and joins what the others tell.

use std::sync::{Mutex, MutexGuard, PoisonError};

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::guard::news::{Bundle, ByName, News};
use crate::store::{Version, record};

/// Pages of a table. Each is one record.
pub const PAGES: u16 = 1024;

/// What lies in a table.
pub trait State: Default + Encode<()> + for<'b> Decode<'b, ()> + Send {
    /// What one node adds to it, for the others to add it, too.
    type Change: Default + Encode<()> + for<'b> Decode<'b, ()> + Send;

    /// Most of these on a page, so that it fits a record.
    const MOST_ON_PAGE: usize;

    /// From when on it is as good as new, and need not be kept.
    fn matters_until(&self) -> Timestamp;

    /// Adds what another node has added since a moment of late. In whatever order changes come, the outcome is the same.
    fn join(&mut self, change: &Self::Change, since: Timestamp);
}

/// The states of one kind.
pub struct Table<S: State> {
    pages: Box<[Mutex<Page<S>>]>,
    /// Whether other nodes are to be told of what changes.
    is_shared: bool,
}

/// A table of whatever it holds, as it is kept and told of.
pub(crate) trait Pages: Sync {
    /// A page as it is to be written, if it has changed since it was, without what matters no more. It holds no news that
    /// are not told then.
    fn change(&self, number: u16, telling: Option<Telling<'_>>, now: Timestamp) -> Result<Option<Change<'_>>>;

    /// Takes up a page as it was written, in place of what is there but for what others have not been told yet. Says which
    /// page it is, and what it holds of all nodes' news.
    fn restore(&self, bytes: &[u8], version: Version) -> Result<(u16, Vec<Heard>)>;

    /// What a page as it was written holds of all nodes' news.
    fn heard(&self, bytes: &[u8]) -> Result<Vec<Heard>>;

    /// Takes out what others have not been told of a page yet, after what was taken out before.
    fn tell(&self, number: u16, kind: u8, bundles: &mut Vec<Bundle>) -> Result<()>;

    /// Joins what another node tells, on the pages that are wanted; the names of what it is about.
    fn join(&self, bundle: &Bundle, since: Timestamp, now: Timestamp, wanted: &dyn Fn(u16) -> bool)
    -> Result<Vec<u64>>;

    /// Notes how a page was written.
    fn written(&self, number: u16, version: Option<Version>);

    fn changed(&self, number: u16);
}

/// Up to where a node's news are in something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Heard {
    #[n(0)]
    pub(crate) node: u64,
    #[n(1)]
    pub(crate) turn: u64,
}

/// Where the news of a page go that is to be written, and what it holds then.
pub(crate) struct Telling<'a> {
    pub(crate) kind: u8,
    pub(crate) heard: &'a [Heard],
    pub(crate) bundles: &'a mut Vec<Bundle>,
}

struct Page<S: State> {
    states: ByName<S>,
    changed: bool,
    news: ByName<S::Change>,
    /// As it was last read or written.
    version: Option<Version>,
}

/// A page as it is stored.
#[derive(Encode, Decode)]
struct Written<S> {
    #[n(0)]
    states: Vec<Entry<S>>,
    #[n(1)]
    #[cbor(default)]
    heard: Vec<Heard>,
}

#[derive(Encode, Decode)]
struct Entry<S> {
    #[n(0)]
    name: u64,
    #[n(1)]
    state: S,
}

/// A page on its way to the store. One that does not get there is to be written again.
pub struct Change<'a> {
    table: &'a dyn Pages,
    number: u16,
    bytes: Vec<u8>,
    version: Option<Version>,
    is_written: bool,
}

// === impl Table ===

impl<S: State> Table<S> {
    pub fn new(is_shared: bool) -> Self {
        Self { pages: (0..PAGES).map(|_| Mutex::default()).collect(), is_shared }
    }

    /// Looks at a state, and changes it if `work` does, which then has to note it for the other nodes. `name` must be as
    /// good as random.
    pub fn with<R>(&self, name: u64, now: Timestamp, work: impl FnOnce(&mut S, &mut News<'_, S::Change>) -> R) -> R {
        let page = &mut *self.page(page_of(name));
        page.changed = true;
        page.make_room_for(name, now);
        let mut news = News::new(self.is_shared.then_some(&mut page.news), name, S::MOST_ON_PAGE);
        let state = page.states.entry(name).or_default();
        // It may not have been forgotten yet.
        if state.matters_until() <= now {
            *state = S::default();
        }
        work(state, &mut news)
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

    fn page(&self, number: u16) -> MutexGuard<'_, Page<S>> {
        // Nothing panics while it is held.
        self.pages[usize::from(number)].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: State> Pages for Table<S> {
    fn change(&self, number: u16, telling: Option<Telling<'_>>, now: Timestamp) -> Result<Option<Change<'_>>> {
        let mut page = self.page(number);
        if !std::mem::take(&mut page.changed) {
            return Ok(None);
        }
        let heard = match telling {
            Some(Telling { kind, heard, bundles }) => {
                page.tell(kind, bundles)?;
                heard.to_vec()
            }
            None => Vec::new(),
        };
        let mut change = Change { table: self, number, bytes: Vec::new(), version: page.version, is_written: false };
        page.states.retain(|_, state| state.matters_until() > now);
        if !page.states.is_empty() {
            let states = std::mem::take(&mut page.states);
            let states = states.into_iter().map(|(name, state)| Entry { name, state }).collect();
            let written = Written { states, heard };
            let bytes = record::encode(&written);
            page.states = written.states.into_iter().map(|entry| (entry.name, entry.state)).collect();
            drop(page);
            change.bytes = bytes?;
        }
        Ok(Some(change))
    }

    fn restore(&self, bytes: &[u8], version: Version) -> Result<(u16, Vec<Heard>)> {
        let Written { states, heard } = record::decode::<Written<S>>(bytes)?;
        let number = states.first().map_or(0, |first| page_of(first.name));
        self.page(number).take_up(states, version);
        Ok((number, heard))
    }

    fn heard(&self, bytes: &[u8]) -> Result<Vec<Heard>> {
        record::decode::<Written<S>>(bytes).map(|written| written.heard)
    }

    fn tell(&self, number: u16, kind: u8, bundles: &mut Vec<Bundle>) -> Result<()> {
        self.page(number).tell(kind, bundles)
    }

    fn join(
        &self,
        bundle: &Bundle,
        since: Timestamp,
        now: Timestamp,
        wanted: &dyn Fn(u16) -> bool,
    ) -> Result<Vec<u64>> {
        let mut joined = bundle.read::<S::Change>()?;
        joined.retain(|(name, _)| wanted(page_of(*name)));
        for (name, change) in &joined {
            let page = &mut *self.page(page_of(*name));
            page.changed = true;
            page.make_room_for(*name, now);
            page.states.entry(*name).or_default().join(change, since);
        }
        Ok(joined.into_iter().map(|(name, _)| name).collect())
    }

    fn written(&self, number: u16, version: Option<Version>) {
        self.page(number).version = version;
    }

    fn changed(&self, number: u16) {
        self.page(number).changed = true;
    }
}

// === impl Page ===

impl<S: State> Default for Page<S> {
    fn default() -> Self {
        Self { states: ByName::default(), changed: false, news: ByName::default(), version: None }
    }
}

impl<S: State> Page<S> {
    fn take_up(&mut self, states: Vec<Entry<S>>, version: Version) {
        self.version = Some(version);
        self.states = states.into_iter().map(|entry| (entry.name, entry.state)).collect();
        for (name, change) in &self.news {
            self.states.entry(*name).or_default().join(change, Timestamp::default());
        }
    }

    fn tell(&mut self, kind: u8, bundles: &mut Vec<Bundle>) -> Result<()> {
        for (name, change) in std::mem::take(&mut self.news) {
            match bundles.iter_mut().rfind(|bundle| bundle.kind == kind && !bundle.is_full()) {
                Some(bundle) => bundle.add(name, &change)?,
                None => {
                    let mut bundle = Bundle::new(kind);
                    bundle.add(name, &change)?;
                    bundles.push(bundle);
                }
            }
        }
        Ok(())
    }

    /// Forgets what matters no more, or else the quarter that stops mattering first: who fills the table with names
    /// must not make it grow, and loses the sign that is nearest to fading.
    fn make_room_for(&mut self, name: u64, now: Timestamp) {
        if self.states.len() < S::MOST_ON_PAGE || self.states.contains_key(&name) {
            return;
        }
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

impl Change<'_> {
    /// Empty when nothing is to be kept.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// As the page was when it was last read or written here.
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// What a page that somebody else wrote holds of all nodes' news.
    pub(crate) fn heard_in(&self, bytes: &[u8]) -> Result<Vec<Heard>> {
        self.table.heard(bytes)
    }

    /// `version`: as it is stored now.
    pub fn written(mut self, version: Option<Version>) {
        self.is_written = true;
        self.table.written(self.number, version);
    }

    /// It was not written, for somebody else has, who knew what is not known here yet.
    pub fn outrun(self, version: Option<Version>) {
        self.table.written(self.number, version);
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        if !self.is_written {
            self.table.changed(self.number);
        }
    }
}

fn page_of(name: u64) -> u16 {
    // Other bits choose the place in a page's map.
    u16::try_from(name >> 54).unwrap_or_default() % PAGES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::*;
    use crate::guard::gcra::{Bucket, Decision, Limit};

    const LIMIT: Limit = Limit { sends: 2, window: std::time::Duration::from_secs(2) };

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000_000 + seconds * 1000)
    }

    fn pass(table: &Table<Bucket>, name: u64, now: Timestamp) -> bool {
        table.with(name, now, |bucket, _| match LIMIT.decide(*bucket, now) {
            Decision::Pass { bucket: next, .. } => {
                *bucket = next;
                true
            }
            Decision::Wait(_) => false,
        })
    }

    #[test]
    fn what_is_written_is_there_again_and_what_matters_no_more_is_not() {
        let table = Table::<Bucket>::new(false);
        let (one, other) = (7 << 54, (8 << 54) + 3);
        assert!(pass(&table, one, at(0)) && pass(&table, one, at(0)) && !pass(&table, one, at(0)));
        assert!(pass(&table, other, at(0)));
        drop(table.change(7, None, at(1)).unwrap().expect("changed"));
        let change = table.change(7, None, at(1)).unwrap().expect("what was not written is to be written again");
        let again = Table::<Bucket>::new(false);
        again.restore(change.bytes(), Version(1)).unwrap();
        change.written(None);
        assert!(table.change(7, None, at(1)).unwrap().is_none(), "nothing is written twice");
        assert!(
            table.change(8, None, at(1)).unwrap().expect("changed").bytes().is_empty(),
            "what matters no more is gone"
        );
        assert!(pass(&again, one, at(1)) && !pass(&again, one, at(1)));
    }

    #[test]
    fn a_full_page_forgets_what_fades_first() {
        let table = Table::<Bucket>::new(false);
        pass(&table, 0, at(1));
        pass(&table, 0, at(1));
        for name in 1..5000 {
            pass(&table, name, at(0));
        }
        assert!(table.page(0).states.len() <= Bucket::MOST_ON_PAGE);
        assert!(!pass(&table, 0, at(1)), "the fullest bucket is kept");
    }

    fn told(table: &Table<Bucket>) -> Vec<Bundle> {
        let mut bundles = Vec::new();
        (0..PAGES).for_each(|number| table.tell(number, b'b', &mut bundles).unwrap());
        bundles
    }

    fn join(table: &Table<Bucket>, bundles: &[Bundle], now: Timestamp) {
        for bundle in bundles {
            table.join(bundle, now, now, &|_| true).unwrap();
        }
    }

    fn filled(bucket: &mut Bucket, news: &mut News<'_, i64>, now: Timestamp) {
        *bucket = bucket.filled(1_000_000, now);
        news.note(|filled| *filled += 1_000_000);
    }

    proptest! {
        /// Two nodes that fill buckets and tell each other have what one would have.
        #[test]
        fn two_tables_that_tell_each_other_are_as_one(
            deeds in proptest::collection::vec((0_usize..2, 0_u64..5, 0_u64..3, any::<bool>()), 1..100),
        ) {
            let alone = Table::<Bucket>::new(false);
            let nodes = [Table::<Bucket>::new(true), Table::<Bucket>::new(true)];
            let mut now = at(0);
            let exchange = |now| {
                let told = nodes.each_ref().map(told);
                join(&nodes[0], &told[1], now);
                join(&nodes[1], &told[0], now);
            };
            for (node, name, seconds, tell) in deeds {
                if tell {
                    exchange(now);
                    now = now + std::time::Duration::from_secs(seconds);
                }
                alone.with(name << 54, now, |bucket, news| filled(bucket, news, now));
                nodes[node].with(name << 54, now, |bucket, news| filled(bucket, news, now));
            }
            exchange(now);
            for name in 0..5_u64 {
                let whole = alone.peek(name << 54, |bucket| *bucket);
                for node in &nodes {
                    prop_assert_eq!(node.peek(name << 54, |bucket| *bucket), whole);
                }
            }
        }
    }

    #[test]
    fn a_page_that_is_taken_up_again_keeps_what_was_not_told() {
        let table = Table::<Bucket>::new(true);
        table.with(0, at(0), |bucket, news| filled(bucket, news, at(0)));
        let (heard, mut bundles) = ([Heard { node: 7, turn: 3 }], Vec::new());
        let telling = Telling { kind: b'b', heard: &heard, bundles: &mut bundles };
        let change = table.change(0, Some(telling), at(0)).unwrap().expect("changed");
        assert_eq!(bundles.len(), 1, "a page that is written holds no news that are not told");
        table.with(0, at(0), |bucket, news| filled(bucket, news, at(0)));
        let before = table.peek(0, |bucket| *bucket);
        assert_eq!(table.restore(change.bytes(), Version(1)).unwrap(), (0, heard.to_vec()));
        assert_eq!(table.peek(0, |bucket| *bucket), before);
    }

    #[test]
    fn a_full_page_fits_a_record() {
        let table = Table::<Bucket>::new(false);
        let name = |number: u64| (u64::MAX >> 10) - number;
        for number in 0..Bucket::MOST_ON_PAGE as u64 {
            pass(&table, name(number), at(1_700_000_000));
        }
        let change = table.change(0, None, at(1_700_000_000)).unwrap().unwrap();
        let bytes = change.bytes();
        assert!(bytes.len() <= crate::store::MAX_VALUE_BYTES, "{}", bytes.len());
    }
}
