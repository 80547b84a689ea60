//! The records in sled, touched by one thread at a time.
//!
//! A read of sled may change its tree: whoever passes a node that is too full or too empty splits or merges it. While
//! that went on in several threads, a key that had just been inserted was once seen to be missing. Here a lock lets
//! one thread at a time into the tree, so that no two such changes ever meet. It is held for microseconds of work in
//! memory and never across a flush, so a reader does not wait for the disk of a writer.

use std::sync::{Mutex, PoisonError};

use sled::Tree;

use crate::error::{Error, Kind, Reason, Result};

/// The tree of records, until it is closed.
pub(crate) struct Table {
    tree: Mutex<Option<Tree>>,
}

// === impl Table ===

impl Table {
    pub(crate) fn new(tree: Tree) -> Self {
        Self { tree: Mutex::new(Some(tree)) }
    }

    /// Does `work` while nobody else is in the tree. Error: `Unavailable` when the table is closed, or when a thread
    /// panicked inside and nothing can be said of the tree any more.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&Tree) -> Result<T>) -> Result<T> {
        let tree = self.tree.lock().map_err(|_| broken("a thread panicked inside sled"))?;
        let tree = tree.as_ref().ok_or_else(closed)?;
        work(tree)
    }

    /// Lets go of the tree; every later use is refused.
    pub(crate) fn close(&self) {
        self.tree.lock().unwrap_or_else(PoisonError::into_inner).take();
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
