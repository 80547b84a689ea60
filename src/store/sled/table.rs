//! What is stored, in layers: the newest commits in memory, those that are settling into sled, and sled below.
//!
//! A layer in memory holds only what the journal has made durable, so whoever reads here never hears of a change that a
//! power cut takes back. It answers before the layer below it does; a deleted key is kept as a gap for as long as
//! something may lie under it below. Where no layer has an entry, `presence` tells as a rule what is not there, and sled
//! is not asked.
//!
//! A read of sled may change its tree: whoever passes a node that is too full or too empty splits or merges it. While
//! that went on in several threads, a key that had just been inserted was once seen to be missing. Here a lock lets
//! one thread at a time into the tree, so that no two such changes ever meet. It is held for microseconds of work in
//! memory, for a group of commits that is judged for some hundreds of them, and never across a flush, so a reader does not
//! wait for the disk of a writer. Whoever lets go of it and wants it again at once, as one who settles a whole layer does,
//! comes after those who wait.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::collections::btree_map;
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

use sled::{IVec, Tree};
use tracing::warn;

use crate::error::{Error, Result};
use crate::store::KeyBytes;
use crate::store::sled::fault::{broken, closed, full, of_sled, under_way};
use crate::store::sled::presence::{KeyFilter, Presence};
use crate::store::sled::tap::{Tap, Taps};

/// All layers, until the table is closed.
pub(crate) struct Table {
    layers: RwLock<Option<Layers>>,
}

/// The records as they are for as long as this is held: layers change only while nobody reads.
pub(crate) struct Durable<'a> {
    layers: &'a Layers,
    /// From the first look at them on.
    trees: OnceCell<MutexGuard<'a, Trees>>,
}

struct Layers {
    fresh: Layer,
    settling: Option<Arc<Layer>>,
    trees: Mutex<Trees>,
    /// Held by who comes into the trees next.
    next: Mutex<()>,
    /// Asked before the trees, for it takes no lock of theirs.
    presence: Presence,
    taps: Taps,
}

struct Trees {
    /// `None` while it is opened again.
    current: Option<Tree>,
    /// The one that is to take its place, where one is being written. What settles goes into both.
    next: Option<Tree>,
}

/// Commits on top of an older state.
pub(crate) type Layer = BTreeMap<KeyBytes, Entry>;

/// What a layer knows of a key.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// `None` for a deleted one.
    pub(crate) stored: Option<IVec>,
    /// Whether something may lie under the key in the layers below this one.
    pub(crate) covers: bool,
}

type Row = (KeyBytes, Option<IVec>);
type Rows<'a> = Box<dyn Iterator<Item = Result<Row>> + 'a>;

// === impl Table ===

impl Table {
    pub(crate) fn new(tree: Tree) -> Self {
        let presence = Presence::new(tree.is_empty());
        let trees = Mutex::new(Trees { current: Some(tree), next: None });
        let (next, taps) = (Mutex::new(()), Taps::default());
        let layers = Layers { fresh: Layer::new(), settling: None, trees, next, presence, taps };
        Self { layers: RwLock::new(Some(layers)) }
    }

    /// Reads while no layer changes. Error: `Unavailable` when the table is closed, or when a thread panicked inside and
    /// nothing can be said of it any more.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Durable) -> Result<T>) -> Result<T> {
        let layers = self.layers.read().map_err(|_| panicked())?;
        work(&Durable { layers: layers.as_ref().ok_or_else(closed)?, trees: OnceCell::new() })
    }

    /// Shows readers what the journal has made durable. Errors: as [`Table::read`].
    pub(crate) fn apply(&self, changes: impl IntoIterator<Item = (KeyBytes, Entry)>) -> Result<()> {
        self.change(|layers| {
            for (key, change) in changes {
                layers.taps.note(&key);
                match layers.fresh.entry(key) {
                    btree_map::Entry::Occupied(entry) if change.stored.is_none() && !entry.get().covers => {
                        entry.remove();
                    }
                    btree_map::Entry::Occupied(mut entry) => entry.get_mut().stored = change.stored,
                    btree_map::Entry::Vacant(entry) if change.stored.is_some() || change.covers => {
                        entry.insert(change);
                    }
                    btree_map::Entry::Vacant(_) => {}
                }
            }
        })
    }

    /// Begins a new layer on top; what was the top is to settle now. Errors: as [`Table::read`], and `Unavailable` while
    /// another layer has not settled.
    pub(crate) fn freeze(&self) -> Result<Arc<Layer>> {
        self.change(|layers| {
            if layers.settling.is_some() {
                return Err(broken("the layer before has not settled"));
            }
            let settling = Arc::new(std::mem::take(&mut layers.fresh));
            layers.settling = Some(Arc::clone(&settling));
            Ok(settling)
        })?
    }

    /// Writes entries of the settling layer into sled, where readers do not yet look for them. Errors: as [`Table::read`].
    pub(crate) fn settle<'a>(&self, entries: impl IntoIterator<Item = (&'a KeyBytes, &'a Entry)>) -> Result<()> {
        self.read(|durable| {
            let mut trees = durable.layers.trees()?;
            for (key, entry) in entries {
                if entry.stored.is_some() {
                    durable.layers.presence.note(key);
                }
                let write = |tree: &Tree| match &entry.stored {
                    Some(stored) => tree.insert(key, stored),
                    None => tree.remove(key),
                };
                write(trees.current()?).map_err(of_sled)?;
                // Whoever fills the other one finds out that it is gone.
                if let Some(Err(error)) = trees.next.as_ref().map(write) {
                    warn!(?error, "the new files of the store could not be written, and are given up");
                    trees.next = None;
                }
            }
            Ok(())
        })
    }

    /// The layer that has not settled, if there is one. Errors: as [`Table::read`].
    pub(crate) fn settling(&self) -> Result<Option<Arc<Layer>>> {
        self.read(|durable| Ok(durable.layers.settling.clone()))
    }

    /// Lets go of sled's tree, and of one that is being filled, and puts in its place what `open` gives. Nobody reads it
    /// meanwhile. Errors: as [`Table::read`], and those of `open`; then no tree is there until this is done again.
    pub(crate) fn replace(&self, open: impl FnOnce() -> Result<Tree>) -> Result<()> {
        self.read(|durable| {
            let mut trees = durable.layers.trees()?;
            durable.layers.presence.forget();
            (trees.current, trees.next) = (None, None);
            trees.current = Some(open()?);
            Ok(())
        })
    }

    /// To be called once the whole settling layer is durable in sled. Errors: as [`Table::read`].
    pub(crate) fn settled(&self) -> Result<()> {
        // Dropped outside the lock: it is long.
        self.change(|layers| layers.settling.take()).map(drop)
    }

    /// Has the keys noted that change from now on. Errors: as [`Table::read`].
    pub(crate) fn tap(&self) -> Result<Arc<Tap>> {
        self.change(|layers| layers.taps.add())
    }

    /// Begins to fill an empty tree that is to take the place of sled's. Errors: as [`Table::read`], and `Conflict` while
    /// another one is filled.
    pub(crate) fn fill(&self, next: Tree) -> Result<()> {
        self.read(|durable| {
            let mut trees = durable.layers.trees()?;
            if trees.next.is_some() {
                return Err(under_way());
            }
            trees.next = Some(next);
            Ok(())
        })
    }

    /// Whether a tree is being filled. Errors: as [`Table::read`].
    pub(crate) fn is_filling(&self) -> Result<bool> {
        self.read(|durable| Ok(durable.trees()?.next.is_some()))
    }

    /// Takes over the next entries, at most `limit`, and tells the last of them, if there may be more. Whatever was taken
    /// over stays the same in both trees. Errors: as [`Table::read`].
    pub(crate) fn take_over(&self, after: Option<&IVec>, limit: usize) -> Result<(usize, Option<IVec>)> {
        self.read(|durable| {
            let trees = durable.trees()?;
            let next = trees.next.as_ref().ok_or_else(|| broken("no tree is being filled"))?;
            let begin = after.cloned().map_or(Bound::Unbounded, Bound::Excluded);
            let (mut taken, mut last) = (0, None);
            for entry in trees.current()?.range((begin, Bound::Unbounded)).take(limit) {
                let (key, stored) = entry.map_err(of_sled)?;
                next.insert(&key, stored).map_err(of_sled)?;
                (taken, last) = (taken + 1, Some(key));
            }
            Ok((taken, last.filter(|_| taken == limit)))
        })
    }

    /// Puts the tree that was filled into the place of sled's, where `change_over`, and forgets the other one. Both hold the
    /// same keys, for each change since it began to be filled went into both, so what is known of them stays true, and a
    /// walk may see some in the one and the rest in the other. Errors: as [`Table::read`].
    pub(crate) fn filled(&self, change_over: bool) -> Result<()> {
        self.read(|durable| {
            let mut trees = durable.layers.trees()?;
            if let Some(next) = trees.next.take().filter(|_| change_over) {
                trees.current = Some(next);
            }
            Ok(())
        })
    }

    /// Begins a walk through all records, which is to note each key that it sees. Errors: as [`Table::read`].
    pub(crate) fn begin_walk(&self) -> Result<Arc<KeyFilter>> {
        self.read(|durable| Ok(durable.layers.presence.begin_walk()))
    }

    /// To be called when a walk has seen all records. Errors: as [`Table::read`].
    pub(crate) fn end_walk(&self, noted: &Arc<KeyFilter>) -> Result<()> {
        self.read(|durable| {
            durable.layers.presence.end_walk(noted);
            Ok(())
        })
    }

    /// Whether it is known which keys the tree does not hold. Errors: as [`Table::read`].
    pub(crate) fn is_known(&self) -> Result<bool> {
        self.read(|durable| Ok(durable.layers.presence.is_known()))
    }

    /// Lets go of the tree; every later use is refused.
    pub(crate) fn close(&self) {
        if let Ok(mut layers) = self.layers.write() {
            layers.take();
        }
    }

    fn change<T>(&self, work: impl FnOnce(&mut Layers) -> T) -> Result<T> {
        let mut layers = self.layers.write().map_err(|_| panicked())?;
        layers.as_mut().map(work).ok_or_else(closed)
    }
}

// === impl Durable ===

impl Durable<'_> {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<IVec>> {
        match self.layers.fresh.get(key) {
            Some(entry) => Ok(entry.stored.clone()),
            None => self.below(key),
        }
    }

    /// What lies under a key, and whether a change of it on top covers anything.
    pub(crate) fn find(&self, key: &[u8]) -> Result<Entry> {
        if let Some(entry) = self.layers.fresh.get(key) {
            return Ok(entry.clone());
        }
        let stored = self.below(key)?;
        Ok(Entry { covers: stored.is_some(), stored })
    }

    /// At most `limit` entries from the first to the last, or with `backwards` the other way. The bounds must not be
    /// crossed.
    pub(crate) fn range(
        &self,
        first: &Bound<KeyBytes>,
        last: &Bound<KeyBytes>,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<(KeyBytes, IVec)>> {
        let trees = self.trees()?;
        let bounds = || (first.clone(), last.clone());
        let in_tree = trees.current()?.range(bounds());
        let in_tree = directed(in_tree, backwards).map(|entry| {
            let (key, stored) = entry.map_err(of_sled)?;
            Ok((KeyBytes::from_slice(&key), Some(stored)))
        });
        let mut rows: Rows = Box::new(in_tree);
        for layer in [self.layers.settling.as_deref(), Some(&self.layers.fresh)].into_iter().flatten() {
            let in_layer = directed(layer.range(bounds()), backwards);
            let in_layer = in_layer.map(|(key, entry)| Ok((key.clone(), entry.stored.clone())));
            rows = cover(Box::new(in_layer), rows, backwards);
        }
        let present = rows.filter_map(|row| match row {
            Ok((key, stored)) => stored.map(|stored| Ok((key, stored))),
            Err(error) => Some(Err(error)),
        });
        present.take(limit).collect()
    }

    fn below(&self, key: &[u8]) -> Result<Option<IVec>> {
        match self.layers.settling.as_ref().and_then(|layer| layer.get(key)) {
            Some(entry) => Ok(entry.stored.clone()),
            None if self.rules_out(key) => Ok(None),
            None => self.trees()?.current()?.get(key).map_err(of_sled),
        }
    }

    /// Whether it is known, without a look into the tree, that a key does not lie there. Layers above it may have it.
    pub(crate) fn rules_out(&self, key: &[u8]) -> bool {
        self.layers.presence.rules_out(key)
    }

    fn trees(&self) -> Result<&Trees> {
        if self.trees.get().is_none() {
            // It is not there, or nothing would be read.
            drop(self.trees.set(self.layers.trees()?));
        }
        self.trees.get().map(|trees| &**trees).ok_or_else(panicked)
    }
}

// === impl Layers ===

impl Layers {
    fn trees(&self) -> Result<MutexGuard<'_, Trees>> {
        let _next = self.next.lock().map_err(|_| panicked())?;
        self.trees.lock().map_err(|_| panicked())
    }
}

// === impl Trees ===

impl Trees {
    fn current(&self) -> Result<&Tree> {
        self.current.as_ref().ok_or_else(|| full("the database could not be opened again"))
    }
}

fn directed<'a, T>(rows: impl DoubleEndedIterator<Item = T> + 'a, backwards: bool) -> Box<dyn Iterator<Item = T> + 'a> {
    if backwards { Box::new(rows.rev()) } else { Box::new(rows) }
}

/// The rows of both in order, those of the upper in place of those below under the same key.
fn cover<'a>(upper: Rows<'a>, lower: Rows<'a>, backwards: bool) -> Rows<'a> {
    let (mut upper, mut lower) = (upper.peekable(), lower.peekable());
    Box::new(std::iter::from_fn(move || {
        let order = match (upper.peek(), lower.peek()) {
            (Some(Ok((above, _))), Some(Ok((below, _)))) if backwards => below.cmp(above),
            (Some(Ok((above, _))), Some(Ok((below, _)))) => above.cmp(below),
            (None, _) | (_, Some(Err(_))) => Ordering::Greater,
            (Some(_), _) => Ordering::Less,
        };
        match order {
            Ordering::Less => upper.next(),
            Ordering::Greater => lower.next(),
            Ordering::Equal => next_of_both(&mut upper, &mut lower),
        }
    }))
}

fn next_of_both<'a>(upper: &mut Peekable<Rows<'a>>, lower: &mut Peekable<Rows<'a>>) -> Option<Result<Row>> {
    lower.next();
    upper.next()
}

fn panicked() -> Error {
    broken("a thread panicked inside the table")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{self, AtomicBool};

    use super::*;
    use crate::error::Reason;
    use crate::store::sled::files;

    fn table() -> (sled::Db, Table) {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let table = Table::new(Tree::clone(&db));
        (db, table)
    }

    fn apply(table: &Table, changes: &[(&str, Option<&str>)]) {
        let changes = changes.iter().map(|(key, stored)| {
            let covers = table.read(|durable| durable.find(key.as_bytes())).unwrap().covers;
            (KeyBytes::from(key.as_bytes()), Entry { stored: stored.map(IVec::from), covers })
        });
        table.apply(changes.collect::<Vec<_>>()).unwrap();
    }

    /// Everything in order, the same by single reads, and the same backwards.
    fn seen(table: &Table) -> String {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let bounds = [Bound::Excluded(KeyBytes::from_slice(b"a")), Bound::Excluded(KeyBytes::from_slice(b"z"))];
        let all = |backwards| {
            let rows = table.read(|durable| durable.range(&bounds[0], &bounds[1], backwards, usize::MAX)).unwrap();
            for (key, stored) in &rows {
                assert_eq!(table.read(|durable| durable.get(key)).unwrap().as_ref(), Some(stored));
            }
            rows.iter().map(|(key, stored)| format!("{}{}", text(key), text(stored))).collect::<Vec<_>>()
        };
        let mut backwards = all(true);
        backwards.reverse();
        let forwards = all(false);
        assert_eq!(forwards, backwards);
        forwards.join(" ")
    }

    #[test]
    fn an_upper_layer_covers_the_lower_ones() {
        let (db, table) = table();
        apply(&table, &[("b", Some("1")), ("d", Some("1")), ("f", Some("1")), ("h", Some("1"))]);
        let settle = |layer: &Layer| {
            table.settle(layer).unwrap();
            table.settled().unwrap();
        };
        settle(&table.freeze().unwrap());
        assert_eq!((db.len(), seen(&table)), (4, "b1 d1 f1 h1".to_owned()));

        apply(&table, &[("b", None), ("c", Some("2")), ("d", Some("2"))]);
        let settling = table.freeze().unwrap();
        apply(&table, &[("b", Some("3")), ("c", None), ("d", Some("3")), ("g", Some("3")), ("h", None)]);
        assert_eq!(seen(&table), "b3 d3 f1 g3");
        assert!(table.freeze().is_err(), "one layer at a time");
        settle(&settling);
        assert_eq!((db.len(), seen(&table)), (4, "b3 d3 f1 g3".to_owned()));
        settle(&table.freeze().unwrap());
        assert_eq!((db.len(), seen(&table)), (4, "b3 d3 f1 g3".to_owned()));
    }

    #[test]
    fn what_came_and_went_in_one_layer_never_reaches_sled() {
        let (_db, table) = table();
        apply(&table, &[("b", Some("1"))]);
        apply(&table, &[("b", None)]);
        assert!(table.freeze().unwrap().is_empty());
    }

    #[test]
    fn a_closed_table_refuses() {
        let (_db, table) = table();
        table.close();
        assert_eq!(table.settled().unwrap_err().reason(), Reason::ShuttingDown);
    }

    /// A table over files, with what a committer, a settler, a sweeper and a rewriter do to it, each in small steps, and
    /// beside it what it must hold.
    struct Work {
        place: tempfile::TempDir,
        /// `None` while it is opened again.
        db: Option<sled::Db>,
        folder: PathBuf,
        /// What is being filled, where it lies, and how far it is.
        next: Option<(sled::Db, PathBuf, Option<IVec>)>,
        table: Table,
        model: BTreeMap<KeyBytes, IVec>,
        /// What settles, how much of it has, and what of it was in the tree before.
        settling: Option<(Arc<Layer>, usize, Vec<Row>)>,
        walk: Option<(Arc<KeyFilter>, Option<KeyBytes>)>,
        dice: u64,
        values: u32,
        ruled_out: usize,
        absent: usize,
    }

    const KEYS: u64 = 60;

    impl Work {
        fn new(seed: u64, is_empty: bool) -> Self {
            let place = tempfile::tempdir().unwrap();
            let folder = place.path().join("first");
            let db = sled::open(&folder).unwrap();
            let mut model = BTreeMap::new();
            if !is_empty {
                for number in 0..KEYS / 2 {
                    db.insert(key(number), &b"before"[..]).unwrap();
                    model.insert(key(number), IVec::from(&b"before"[..]));
                }
            }
            let table = Table::new(Tree::clone(&db));
            let (db, settling, walk) = (Some(db), None, None);
            Self {
                place,
                db,
                folder,
                next: None,
                table,
                model,
                settling,
                walk,
                dice: seed,
                values: 0,
                ruled_out: 0,
                absent: 0,
            }
        }

        fn below(&mut self, limit: u64) -> u64 {
            // The numbers of Knuth's MMIX; the low bits repeat soon.
            self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.dice >> 33) % limit
        }

        /// As the committer does: finds what is there, and changes it.
        fn commit(&mut self) {
            let key = key(self.below(KEYS));
            let found = self.table.read(|durable| durable.find(&key)).unwrap();
            assert_eq!(found.stored.as_ref(), self.model.get(&key));
            self.values += 1;
            let stored = (self.below(2) == 0).then(|| IVec::from(&self.values.to_be_bytes()));
            match &stored {
                Some(stored) => self.model.insert(key.clone(), stored.clone()),
                None => self.model.remove(&key),
            };
            self.table.apply([(key, Entry { stored, covers: found.covers })]).unwrap();
        }

        /// Some of what settles, or the beginning or the end of it.
        fn settle(&mut self) {
            let Some((layer, done, before)) = &mut self.settling else {
                self.settling = Some((self.table.freeze().unwrap(), 0, Vec::new()));
                return;
            };
            let some: Vec<_> = layer.iter().skip(*done).take(4).collect();
            let tree = self.db.as_ref().unwrap();
            before.extend(some.iter().map(|(key, _)| ((*key).clone(), tree.get(key).unwrap())));
            *done += some.len();
            if some.is_empty() {
                self.table.settled().unwrap();
                self.settling = None;
            } else {
                self.table.settle(some).unwrap();
            }
        }

        fn settle_all(&mut self) {
            self.settle();
            while self.settling.is_some() {
                self.settle();
            }
        }

        /// As the sweeper does; now and then it begins anew before the end.
        fn walk(&mut self) {
            if self.below(100) == 0 {
                self.walk = None;
            }
            let (keys, after) = self.walk.take().unwrap_or_else(|| (self.table.begin_walk().unwrap(), None));
            let begin = after.map_or(Bound::Unbounded, Bound::Excluded);
            let seen = self.table.read(|durable| durable.range(&begin, &Bound::Unbounded, false, 7)).unwrap();
            seen.iter().for_each(|(key, _)| keys.note(key));
            match seen.into_iter().next_back() {
                Some((last, _)) => self.walk = Some((keys, Some(last))),
                None => self.table.end_walk(&keys).unwrap(),
            }
        }

        /// As after a fault: of what had begun to settle some is lost, and all of it settles again.
        fn open_again(&mut self) {
            let db = self.db.take().unwrap();
            if let Some((_, done, before)) = &mut self.settling {
                *done = 0;
                for (key, stored) in before.drain(..).rev().filter(|(key, _)| key[1] % 2 == 0) {
                    stored.map_or_else(|| db.remove(&key), |stored| db.insert(&key, stored)).unwrap();
                }
            }
            let folder = &self.folder;
            self.next = None;
            let opened = &mut self.db;
            let open = || {
                drop(db);
                files::wait_until_unlocked(folder);
                Ok(Tree::clone(opened.insert(sled::open(folder).unwrap())))
            };
            self.table.replace(open).unwrap();
            assert!(!self.table.is_known().unwrap());
        }

        /// As one who writes the files anew does.
        fn rewrite(&mut self) {
            let Some((_, _, after)) = &mut self.next else {
                self.values += 1;
                let folder = self.place.path().join(self.values.to_string());
                let db = sled::open(&folder).unwrap();
                self.table.fill(Tree::clone(&db)).unwrap();
                self.next = Some((db, folder, None));
                return;
            };
            *after = self.table.take_over(after.as_ref(), 7).unwrap().1;
            if after.is_none() {
                self.table.filled(true).unwrap();
                let (db, folder, _) = self.next.take().unwrap();
                (self.db, self.folder) = (Some(db), folder);
            }
        }

        fn step(&mut self) {
            match self.below(1_000) {
                0..400 => self.commit(),
                400..700 => self.settle(),
                700..900 => self.walk(),
                900..990 => self.rewrite(),
                _ => self.open_again(),
            }
        }

        /// Reads every key that there ever was.
        fn check(&mut self) {
            let is_known = self.table.is_known().unwrap();
            for number in 0..KEYS {
                let (key, expected) = (key(number), self.model.get(&key(number)));
                let found = self.table.read(|durable| durable.get(&key)).unwrap();
                assert_eq!(found.as_ref(), expected, "{number}");
                let find = |durable: &Durable| Ok((durable.find(&key)?, durable.rules_out(&key)));
                let (entry, is_ruled_out) = self.table.read(find).unwrap();
                assert_eq!(entry.stored.as_ref(), expected, "{number}");
                if is_known && !self.db.as_ref().unwrap().contains_key(&key).unwrap() {
                    self.absent += 1;
                    self.ruled_out += usize::from(is_ruled_out);
                }
            }
        }
    }

    fn key(number: u64) -> KeyBytes {
        KeyBytes::from_slice(&[b'k', u8::try_from(number).unwrap()])
    }

    #[test]
    fn random_work_gives_what_a_map_gives_and_what_is_not_there_is_mostly_known() {
        for seed in 0..6 {
            let mut work = Work::new(seed, seed % 2 == 0);
            assert_eq!(work.table.is_known().unwrap(), seed % 2 == 0, "what was empty is known");
            for _ in 0..1_500 {
                work.step();
                work.check();
            }
            assert!(work.absent > 10_000, "{} times a key was not there, and it could be known", work.absent);
            assert!(work.ruled_out > work.absent / 2, "{} of {} were known", work.ruled_out, work.absent);
            // And after a walk that nothing disturbs, all of them.
            work.settle_all();
            work.settle_all();
            work.walk = None;
            work.walk();
            while work.walk.is_some() {
                work.walk();
            }
            (work.absent, work.ruled_out) = (0, 0);
            work.check();
            assert!(work.absent > 0 && work.ruled_out == work.absent, "{} of {}", work.ruled_out, work.absent);
            let rows = work.db.as_ref().unwrap().iter().map(Result::unwrap);
            let rows = rows.map(|(key, stored)| (KeyBytes::from_slice(&key), stored));
            assert!(rows.eq(work.model.clone()), "what is deleted does not stay in sled");
        }
    }

    #[test]
    fn walks_find_every_key_while_nodes_split_and_merge_under_them() {
        const KEYS: u64 = 4_000;
        const ROUNDS: u64 = 60;
        let (_db, table) = table();
        let key = |number: u64| KeyBytes::from_slice(&number.to_be_bytes());
        let is_over = AtomicBool::new(false);
        let walk = || {
            let (keys, mut begin) = (table.begin_walk().unwrap(), Bound::Unbounded);
            loop {
                let seen = table.read(|durable| durable.range(&begin, &Bound::Unbounded, false, 128)).unwrap();
                seen.iter().for_each(|(key, _)| keys.note(key));
                let Some((last, _)) = seen.into_iter().next_back() else { break };
                begin = Bound::Excluded(last);
            }
            table.end_walk(&keys).unwrap();
        };
        let walks = std::thread::scope(|scope| {
            let walking = scope.spawn(|| {
                let walks = std::iter::repeat_with(walk).take_while(|()| !is_over.load(atomic::Ordering::Relaxed));
                walks.count()
            });
            // Whole stretches come and go, and single ones among them.
            let hidden = (0..ROUNDS).find_map(|round| {
                let stretch = (round * 1_237) % KEYS;
                for number in (stretch..stretch + 400).chain((round % 7..KEYS).step_by(41)) {
                    let (key, stored) = (key(number % KEYS), round % 3 > 0 || number % 41 == 0);
                    let covers = table.read(|durable| durable.find(&key)).unwrap().covers;
                    let stored = stored.then(|| IVec::from(&[7; 300][..]));
                    table.apply([(key, Entry { stored, covers })]).unwrap();
                }
                let layer = table.freeze().unwrap();
                let entries: Vec<_> = layer.iter().collect();
                entries.chunks(8).for_each(|some| table.settle(some.iter().copied()).unwrap());
                table.settled().unwrap();
                let is_hidden = |number: &u64| {
                    let key = key(*number);
                    let in_tree = |durable: &Durable| Ok(durable.trees()?.current()?.contains_key(&key).unwrap());
                    table.read(|durable| Ok(durable.rules_out(&key) && in_tree(durable)?)).unwrap()
                };
                (0..KEYS).find(is_hidden).map(|number| (number, round))
            });
            is_over.store(true, atomic::Ordering::Relaxed);
            assert_eq!(hidden, None, "a key that lies in the tree is said not to, in a round");
            walking.join().unwrap()
        });
        assert!(walks > 20, "{walks}");
    }
}
