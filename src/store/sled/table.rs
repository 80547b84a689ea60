//! The records in sled, touched by one thread at a time, and read as they are on the disk.
//!
//! A read of sled may change its tree: whoever passes a node that is too full or too empty splits or merges it. While
//! that went on in several threads, a key that had just been inserted was once seen to be missing. Here a lock lets
//! one thread at a time into the tree, so that no two such changes ever meet. It is held for microseconds of work in
//! memory and never across a flush, so a reader does not wait for the disk of a writer.
//!
//! Between its write and its sync a group is in the tree, but may still be lost. What it replaced is kept aside until
//! then, and readers get that: else somebody could be told of an approval that a power cut takes back.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sled::{IVec, Tree};

use crate::error::{Error, Kind, Reason, Result};

/// The tree of records, until it is closed.
pub(crate) struct Table {
    state: Mutex<Option<State>>,
}

/// The records that will survive whatever happens.
pub(crate) struct Durable<'a> {
    tree: &'a Tree,
    replaced: &'a Replaced,
}

struct State {
    tree: Tree,
    replaced: Replaced,
}

/// What lay under each key that is being written; `None` for nothing.
type Replaced = BTreeMap<IVec, Option<IVec>>;

type Entry = Result<(IVec, IVec)>;

// === impl Table ===

impl Table {
    pub(crate) fn new(tree: Tree) -> Self {
        Self { state: Mutex::new(Some(State { tree, replaced: Replaced::new() })) }
    }

    /// Reads while nobody else is in the tree. Error: `Unavailable` when the table is closed, or when a thread panicked
    /// inside and nothing can be said of the tree any more.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Durable) -> Result<T>) -> Result<T> {
        let state = self.lock()?;
        let State { tree, replaced } = state.as_ref().ok_or_else(closed)?;
        work(&Durable { tree, replaced })
    }

    /// Writes a batch, whose keys are `keys`. Readers see it from [`Table::settle`] on. Errors: as [`Table::read`].
    pub(crate) fn apply(&self, writes: sled::Batch, keys: impl IntoIterator<Item = IVec>) -> Result<()> {
        let mut state = self.lock()?;
        let State { tree, replaced } = state.as_mut().ok_or_else(closed)?;
        for key in keys {
            let old = tree.get(&key).map_err(broken)?;
            replaced.insert(key, old);
        }
        tree.apply_batch(writes).map_err(broken)
    }

    /// Shows readers what was written, for it is durable now. Errors: as [`Table::read`].
    pub(crate) fn settle(&self) -> Result<()> {
        if let Some(state) = self.lock()?.as_mut() {
            state.replaced.clear();
        }
        Ok(())
    }

    /// Lets go of the tree; every later use is refused.
    pub(crate) fn close(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn lock(&self) -> Result<MutexGuard<'_, Option<State>>> {
        self.state.lock().map_err(|_| broken("a thread panicked inside sled"))
    }
}

// === impl Durable ===

impl Durable<'_> {
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<IVec>> {
        match self.replaced.get(key) {
            Some(old) => Ok(old.clone()),
            None => self.tree.get(key).map_err(broken),
        }
    }

    /// Entries from the first to the last, or with `backwards` the other way. The bounds must not be crossed.
    pub(crate) fn range(&self, first: Bound<IVec>, last: Bound<IVec>, backwards: bool) -> impl Iterator<Item = Entry> {
        let bounds = (first, last);
        let written = self.tree.range(bounds.clone());
        let replaced = self.replaced.range(bounds);
        let mut written: Box<dyn Iterator<Item = _>> =
            if backwards { Box::new(written.rev()) } else { Box::new(written) };
        let mut replaced: Box<dyn Iterator<Item = _>> =
            if backwards { Box::new(replaced.rev()) } else { Box::new(replaced) };
        let (mut next_written, mut next_replaced) = (written.next(), replaced.next());
        std::iter::from_fn(move || {
            loop {
                let order = match (&next_written, next_replaced) {
                    (None, None) => return None,
                    (Some(Ok(_)), None) | (Some(Err(_)), _) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (Some(Ok((written, _))), Some((replaced, _))) if backwards => replaced.cmp(written),
                    (Some(Ok((written, _))), Some((replaced, _))) => written.cmp(replaced),
                };
                if order == Ordering::Less {
                    return std::mem::replace(&mut next_written, written.next()).map(|entry| entry.map_err(broken));
                }
                if order == Ordering::Equal {
                    next_written = written.next();
                }
                let old = std::mem::replace(&mut next_replaced, replaced.next());
                if let Some((key, Some(stored))) = old {
                    return Some(Ok((key.clone(), stored.clone())));
                }
            }
        })
    }
}

/// The store was closed in good order.
pub(crate) fn closed() -> Error {
    Error::new(Kind::Unavailable, Reason::ShuttingDown, "the store is closed")
}

/// The store cannot be used; `cause` is for the log.
pub(crate) fn broken(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, "the store is unavailable").with_source(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insert(key: &str, value: &str) -> (sled::Batch, [IVec; 1]) {
        let mut batch = sled::Batch::default();
        batch.insert(key, value);
        (batch, [IVec::from(key)])
    }

    fn seen(table: &Table, backwards: bool) -> String {
        let all = |durable: &Durable| {
            let first = Bound::Excluded(IVec::from("a"));
            durable.range(first, Bound::Excluded(IVec::from("z")), backwards).collect::<Result<Vec<_>>>()
        };
        let text = |bytes: IVec| String::from_utf8(bytes.to_vec()).unwrap();
        table.read(all).unwrap().into_iter().map(|(key, value)| format!("{}{} ", text(key), text(value))).collect()
    }

    #[test]
    fn readers_see_what_is_durable() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let table = Table::new(sled::Tree::clone(&db));
        for (key, value) in [("b", "1"), ("d", "1"), ("f", "1")] {
            let (batch, keys) = insert(key, value);
            table.apply(batch, keys).unwrap();
        }
        assert_eq!(seen(&table, false), "");
        table.settle().unwrap();
        assert_eq!(seen(&table, false), "b1 d1 f1 ");

        let mut batch = sled::Batch::default();
        batch.remove("b");
        batch.insert("c", "2");
        batch.insert("d", "2");
        batch.remove("f");
        batch.insert("g", "2");
        table.apply(batch, ["b", "c", "d", "f", "g"].map(IVec::from)).unwrap();
        let get = |key: &str| table.read(|durable| durable.get(key.as_bytes())).unwrap();
        assert_eq!((seen(&table, false), seen(&table, true)), ("b1 d1 f1 ".to_owned(), "f1 d1 b1 ".to_owned()));
        assert_eq!((get("b"), get("c"), get("d")), (Some("1".into()), None, Some("1".into())));
        table.settle().unwrap();
        assert_eq!((seen(&table, false), seen(&table, true)), ("c2 d2 g2 ".to_owned(), "g2 d2 c2 ".to_owned()));
        assert_eq!((get("b"), get("c"), get("d")), (None, Some("2".into()), Some("2".into())));
    }
}
