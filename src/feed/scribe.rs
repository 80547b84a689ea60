//! Writes feeds: takes up the news that commits have left in each partition, numbers them into the feed of their tenant, and
//! takes them away.
//!
//! The numbers are given in the order in which news are found, which is roughly that of their commits. What a commit left
//! behind stays until it is in the feed, so a crash at any point loses nothing; and nothing is in the feed twice, see
//! [`numbers`](crate::feed::numbers).
//!
//! What it costs: for a change of a fed tenant's record one key in the commit of that change, and later, for all that has
//! gathered meanwhile, two commits. Nothing for all others.

use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use tracing::error;

use crate::error::Result;
use crate::event::fed::Fed;
use crate::event::news::Bundle;
use crate::feed::entry::{Entry, EventId};
use crate::feed::numbers::Head;
use crate::feed::shelf::Shelf;
use crate::id::Partition;
use crate::messaging::holder::{Ground, MAX_ROUNDS, contention, count_conflict};
use crate::store::keys::{SendRef, TenantTag};
use crate::store::{Batch, Commit, Key, record};

/// News read of a partition at a time.
const SLICE: usize = 64;

/// News that are written into a feed at a time.
const MOST_AT_ONCE: usize = 128;

/// How long a partition is left alone after the store failed on it.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// The one writer of feeds in a process.
pub struct Scribe {
    ground: Ground,
    fed: Fed,
    shelf: Arc<Shelf>,
}

/// The news of one commit, as they lie there.
struct Found {
    key: Key,
    record: SendRef,
    first: EventId,
    news: Bundle,
}

// === impl Scribe ===

impl Scribe {
    pub fn new(shelf: Arc<Shelf>) -> Self {
        let ground = shelf.ground.clone();
        Self { fed: ground.fed.clone(), ground, shelf }
    }

    /// Writes until it is dropped. Whatever was left behind by the process before is taken up first.
    pub async fn run(self) {
        Partition::all().for_each(|partition| self.fed.note(partition));
        let mut is_tidy = false;
        loop {
            let partitions = self.fed.take();
            let round = async {
                if !is_tidy {
                    self.tidy(&partitions).await?;
                }
                self.write(&partitions).await
            };
            let written = round.await;
            is_tidy = written.is_ok();
            if let Err(error) = written {
                error!(?error, "events could not be written into their feeds; it is tried again");
                self.ground.clock.sleep_until(self.ground.clock.now() + AFTER_ERROR).await;
                partitions.iter().for_each(|partition| self.fed.note(*partition));
            }
            self.fed.changed().await;
        }
    }

    /// Takes away what is in a feed already, left behind between the two commits. All of it, before anything more is put
    /// there: the next head knows of it no more.
    async fn tidy(&self, partitions: &[Partition]) -> Result<()> {
        let mut heads = HashMap::<TenantTag, Head>::new();
        for partition in partitions {
            let mut after = None;
            loop {
                let mut found = self.find(*partition, after.as_ref()).await?;
                let Some(last) = found.last() else { break };
                after = Some(last.key.clone());
                for tenant in found.iter().map(|found| found.record.tenant) {
                    if let hash_map::Entry::Vacant(unknown) = heads.entry(tenant) {
                        unknown.insert(self.shelf.head(tenant).await?.1);
                    }
                }
                found.retain(|found| heads.get(&found.record.tenant).is_some_and(|head| head.has_moved(found.first)));
                self.take_away(&found).await?;
            }
        }
        Ok(())
    }

    /// Writes down what waits in these partitions.
    async fn write(&self, partitions: &[Partition]) -> Result<()> {
        let mut found = HashMap::<TenantTag, Vec<Found>>::new();
        for partition in partitions {
            let slice = self.find(*partition, None).await?;
            if slice.len() == SLICE {
                self.fed.note(*partition);
            }
            for news in slice {
                found.entry(news.record.tenant).or_default().push(news);
            }
        }
        for (tenant, mut found) in found {
            while !found.is_empty() {
                let rest = found.split_off(found.len().min(MOST_AT_ONCE));
                self.put(tenant, found).await?;
                found = rest;
            }
        }
        Ok(())
    }

    /// The next news of a partition.
    async fn find(&self, partition: Partition, after: Option<&Key>) -> Result<Vec<Found>> {
        let rows = self.ground.store.scan(&self.ground.keys.news_of(partition), after, SLICE).await?;
        let found = rows.into_iter().map(|(key, row)| {
            let (record, place) = self.ground.keys.parse_news(&key)?;
            let first = EventId { record: record.id, place };
            Ok(Found { key, record, first, news: record::decode(&row.value)? })
        });
        found.collect()
    }

    async fn put(&self, tenant: TenantTag, mut found: Vec<Found>) -> Result<()> {
        if !self.fed.wants(tenant) {
            return self.take_away(&found).await;
        }
        let key = self.ground.keys.feed_head(tenant);
        for _ in 0..MAX_ROUNDS {
            let (read, mut head) = self.shelf.head(tenant).await?;
            // Somebody else was faster.
            let (moved, fresh): (Vec<_>, Vec<_>) = found.into_iter().partition(|news| head.has_moved(news.first));
            self.take_away(&moved).await?;
            if fresh.is_empty() {
                return Ok(());
            }
            let entries = fresh.iter().flat_map(|found| found.news.0.iter().map(|news| (&found.record, news)));
            let entries: Vec<_> = entries.map(|(record, news)| Entry::new(record, news.clone())).collect();
            let first = head.put(fresh.iter().map(|news| news.first).collect(), entries.len() as u64);
            let expires_at = Some(self.ground.clock.now() + self.shelf.retention);
            let mut batch = Batch::new(key.partition()).require(&key, read.as_ref());
            for (number, entry) in (first..).zip(&entries) {
                batch = batch.put(self.ground.keys.feed_entry(tenant, number), record::encode(entry)?, expires_at);
            }
            let batch = batch.put(key.clone(), record::encode(&head)?, None);
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                self.shelf.tell(tenant);
                for entry in &entries {
                    metrics::counter!("verigate_events_total", "type" => entry.kind().name).increment(1);
                }
                return self.take_away(&fresh).await;
            }
            count_conflict("feed");
            found = fresh;
        }
        Err(contention())
    }

    async fn take_away(&self, found: &[Found]) -> Result<()> {
        let mut batches = HashMap::<Partition, Batch>::new();
        for Found { key, .. } in found {
            let batch = batches.remove(&key.partition()).unwrap_or_else(|| Batch::new(key.partition()));
            batches.insert(key.partition(), batch.delete(key.clone()));
        }
        try_join_all(batches.into_values().map(|batch| self.ground.store.commit(batch))).await.map(drop)
    }
}
