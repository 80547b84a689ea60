//! A store that counts what is asked of it: work is compared, never time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use verigate::error::Result;
use verigate::store::{Batch, Commit, Key, Prefix, Record, Store};

/// Passes everything on.
pub(crate) struct CountingStore {
    store: Arc<dyn Store>,
    gets: AtomicUsize,
    scans: AtomicUsize,
    rows: AtomicUsize,
    begun: AtomicUsize,
    commits: AtomicUsize,
}

/// Calls that were answered, and rows that scans gave back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) gets: usize,
    pub(crate) scans: usize,
    pub(crate) rows: usize,
    pub(crate) commits: usize,
}

impl CountingStore {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let zero = || AtomicUsize::new(0);
        Self { store, gets: zero(), scans: zero(), rows: zero(), begun: zero(), commits: zero() }
    }

    /// Whether no commit is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.begun.load(Ordering::SeqCst) == self.commits.load(Ordering::SeqCst)
    }

    pub(crate) fn work(&self) -> Work {
        let read = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        Work { gets: read(&self.gets), scans: read(&self.scans), rows: read(&self.rows), commits: read(&self.commits) }
    }
}

impl Work {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            gets: self.gets - earlier.gets,
            scans: self.scans - earlier.scans,
            rows: self.rows - earlier.rows,
            commits: self.commits - earlier.commits,
        }
    }
}

#[async_trait]
impl Store for CountingStore {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        self.store.get(key).await
    }

    async fn scan(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        self.scans.fetch_add(1, Ordering::SeqCst);
        let rows = self.store.scan(prefix, after, limit).await?;
        self.rows.fetch_add(rows.len(), Ordering::SeqCst);
        Ok(rows)
    }

    async fn commit(&self, batch: Batch) -> Result<Commit> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let committed = self.store.commit(batch).await;
        self.commits.fetch_add(1, Ordering::SeqCst);
        committed
    }

    fn ready(&self) -> Result<()> {
        self.store.ready()
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }
}
