//! What is stored, in layers: the newest commits in memory, those that are settling into sled, and sled below.
//!
//! A layer in memory holds only what the journal has made durable, so whoever reads here never hears of a change that a
//! power cut takes back. It answers before the layer below it does; a deleted key is kept as a gap for as long as
//! something may lie under it below.
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
use crate::store::sled::fault::{broken, closed, full, of_sled, under_way};
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
    taps: Taps,
}

struct Trees {
    /// `None` while it is opened again.
    current: Option<Tree>,
    /// The one that is to take its place, where one is being written. What settles goes into both.
    next: Option<Tree>,
}

/// Commits on top of an older state.
pub(crate) type Layer = BTreeMap<IVec, Entry>;

/// What a layer knows of a key.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// `None` for a deleted one.
    pub(crate) stored: Option<IVec>,
    /// Whether something may lie under the key in the layers below this one.
    pub(crate) covers: bool,
}

type Row = (IVec, Option<IVec>);
type Rows<'a> = Box<dyn Iterator<Item = Result<Row>> + 'a>;

// === impl Table ===

impl Table {
    pub(crate) fn new(tree: Tree) -> Self {
        let trees = Mutex::new(Trees { current: Some(tree), next: None });
        let (next, taps) = (Mutex::new(()), Taps::default());
        let layers = Layers { fresh: Layer::new(), settling: None, trees, next, taps };
        Self { layers: RwLock::new(Some(layers)) }
    }

    /// Reads while no layer changes. Error: `Unavailable` when the table is closed, or when a thread panicked inside and
    /// nothing can be said of it any more.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Durable) -> Result<T>) -> Result<T> {
        let layers = self.layers.read().map_err(|_| panicked())?;
        work(&Durable { layers: layers.as_ref().ok_or_else(closed)?, trees: OnceCell::new() })
    }

    /// Shows readers what the journal has made durable. Errors: as [`Table::read`].
    pub(crate) fn apply(&self, changes: impl IntoIterator<Item = (IVec, Entry)>) -> Result<()> {
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
    pub(crate) fn settle<'a>(&self, entries: impl IntoIterator<Item = (&'a IVec, &'a Entry)>) -> Result<()> {
        self.read(|durable| {
            let mut trees = durable.layers.trees()?;
            for (key, entry) in entries {
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

    /// Puts the tree that was filled into the place of sled's, where `change_over`, and forgets the other one. Errors: as
    /// [`Table::read`].
    pub(crate) fn filled(&self, change_over: bool) -> Result<()> {
        self.read(|durable| {
            let mut trees = durable.layers.trees()?;
            if let Some(next) = trees.next.take().filter(|_| change_over) {
                trees.current = Some(next);
            }
            Ok(())
        })
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
        first: &Bound<IVec>,
        last: &Bound<IVec>,
        backwards: bool,
        limit: usize,
    ) -> Result<Vec<(IVec, IVec)>> {
        let trees = self.trees()?;
        let bounds = || (first.clone(), last.clone());
        let in_tree = trees.current()?.range(bounds());
        let in_tree = directed(in_tree, backwards).map(|entry| {
            let (key, stored) = entry.map_err(of_sled)?;
            Ok((key, Some(stored)))
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
            None => self.trees()?.current()?.get(key).map_err(of_sled),
        }
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
    use super::*;
    use crate::error::Reason;

    fn table() -> (sled::Db, Table) {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let table = Table::new(Tree::clone(&db));
        (db, table)
    }

    fn apply(table: &Table, changes: &[(&str, Option<&str>)]) {
        let changes = changes.iter().map(|(key, stored)| {
            let covers = table.read(|durable| durable.find(key.as_bytes())).unwrap().covers;
            (IVec::from(*key), Entry { stored: stored.map(IVec::from), covers })
        });
        table.apply(changes.collect::<Vec<_>>()).unwrap();
    }

    /// Everything in order, the same by single reads, and the same backwards.
    fn seen(table: &Table) -> String {
        let text = |bytes: &IVec| String::from_utf8(bytes.to_vec()).unwrap();
        let bounds = [Bound::Excluded(IVec::from("a")), Bound::Excluded(IVec::from("z"))];
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
}
