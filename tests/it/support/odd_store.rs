//! A store of which only the commits are odd: what they do, the test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use verigate::error::{Error, Kind, Reason, Result};
use verigate::store::{Batch, Commit, Key, Prefix, Record, Store};

type Odd = dyn Fn(Arc<dyn Store>, Batch) -> BoxFuture<'static, Result<Commit>> + Send + Sync;

/// Passes all else on.
pub(crate) struct OddStore {
    inner: Arc<dyn Store>,
    commit: Box<Odd>,
}

impl OddStore {
    /// `commit`: what to do with a batch for the store.
    pub(crate) fn around<F: Future<Output = Result<Commit>> + Send + 'static>(
        inner: &Arc<dyn Store>,
        commit: impl Fn(Arc<dyn Store>, Batch) -> F + Send + Sync + 'static,
    ) -> Arc<dyn Store> {
        let commit = Box::new(move |inner, batch| Box::pin(commit(inner, batch)) as BoxFuture<'static, _>);
        Arc::new(Self { inner: Arc::clone(inner), commit })
    }

    /// One whose process dies at its `commits`-th commit: with that, or just before it.
    pub(crate) fn dying(inner: &Arc<dyn Store>, commits: usize, last_is_applied: bool) -> Arc<dyn Store> {
        let commits = AtomicUsize::new(commits);
        Self::around(inner, move |inner, batch| {
            let left = commits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            async move {
                match left {
                    Ok(left) if left > 1 => inner.commit(batch).await,
                    Ok(_) if last_is_applied => inner.commit(batch).await.and(Err(died())),
                    _ => Err(died()),
                }
            }
        })
    }
}

/// What a store says that cannot be reached.
pub(crate) fn died() -> Error {
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, "the process is dead")
}

#[async_trait]
impl Store for OddStore {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        self.inner.get(key).await
    }

    async fn scan(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        self.inner.scan(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<Commit> {
        (self.commit)(Arc::clone(&self.inner), batch).await
    }

    fn ready(&self) -> Result<()> {
        self.inner.ready()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }
}
