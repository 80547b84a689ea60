//! The store as everybody writes to it: sees which commits hold news, and says where once they are durable.
//!
//! Nobody who changes a record has to know that somebody waits for its events.

use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{Error, Result};
use crate::event::fed::Fed;
use crate::store::keys::events::is_news;
use crate::store::{Batch, Commit, Key, Prefix, Record, Store, Write};

/// A store that hands news on.
pub struct Handing {
    store: Arc<dyn Store>,
    fed: Fed,
}

// === impl Handing ===

impl Handing {
    pub fn new(store: Arc<dyn Store>, fed: Fed) -> Self {
        Self { store, fed }
    }
}

#[async_trait]
impl Store for Handing {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        self.store.get(key).await
    }

    async fn scan(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        self.store.scan(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<Commit> {
        let is_put = |(key, write): &(Key, Write)| matches!(write, Write::Put { .. }) && is_news(key);
        if !self.fed.is_any() || !batch.writes().iter().any(is_put) {
            return self.store.commit(batch).await;
        }
        let (store, fed, partition) = (Arc::clone(&self.store), self.fed.clone(), batch.partition());
        // A caller who hangs up does not stop it, so where the news are must be said although nobody waits.
        let committing = tokio::spawn(async move {
            let commit = store.commit(batch).await;
            // Of a store that did not answer nobody knows what it did.
            if !matches!(commit, Ok(Commit::Conflict)) {
                fed.note(partition);
            }
            commit
        });
        committing.await.map_err(Error::internal)?
    }

    fn ready(&self) -> Result<()> {
        self.store.ready()
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }
}
