//! Writes feeds: takes up the news that commits have left in each partition, numbers them into the feed of their tenant, and
//! takes them away.
//!
//! The numbers are given in the order in which news are found, which is roughly that of their commits. What a commit left
//! behind stays until it is in the feed, so a crash at any point loses nothing.
//!
//! Nothing is in a feed twice, though the two commits, into the feed and away from the partition, are apart. The head names
//! what was put into the feed last, and whoever has not written it itself takes that away before it looks for more; what is
//! found then is put there only on top of that same head. So what is found while a head stands is never in the feed before
//! it. This holds with any number of writers. As a rule, and for less work, one node has the duty to write all feeds.
//!
//! What it costs: for a change of a fed tenant's record one key in the commit of that change, and later, for all that has
//! gathered meanwhile, two commits. Nothing for all others.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use futures_util::stream::iter;
use futures_util::{StreamExt, TryStreamExt};
use tracing::error;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::event::fed::Fed;
use crate::event::news::Bundle;
use crate::feed::entry::{Entry, EventId};
use crate::feed::numbers::Head;
use crate::feed::shelf::Shelf;
use crate::id::Partition;
use crate::messaging::holder::{Ground, count_conflict};
use crate::store::keys::{SendRef, TenantTag};
use crate::store::{Batch, Commit, Condition, Key, Version, record};

/// News read of a partition at a time.
const SLICE: usize = 64;

/// News that are written into a feed at a time.
const MOST_AT_ONCE: usize = 128;

/// How long a partition is left alone after the store failed on it.
const AFTER_ERROR: Duration = Duration::from_secs(1);

/// Partitions looked at at a time.
const AT_ONCE: usize = 16;

/// How often all partitions are looked at where other nodes leave news, too.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// News of a tenant that nobody here knows to be fed are left alone for this long: another node may have heard sooner.
const HEARSAY: Duration = Duration::from_secs(60);

/// The duty to write feeds.
const DUTY: &str = "scribe";

/// The one writer of feeds in a process.
pub struct Scribe {
    ground: Ground,
    fed: Fed,
    shelf: Arc<Shelf>,
    /// Heads as they stand, of which all that they name has been taken away.
    heads: HashMap<TenantTag, (Option<Version>, Head)>,
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
        Self { fed: ground.fed.clone(), ground, shelf, heads: HashMap::new() }
    }

    /// Writes until it is dropped, while that is this node's duty. Whatever others left behind is taken up first.
    pub async fn run(mut self) {
        let mut looks = self.shelf.nodes.looks();
        self.note_all();
        loop {
            if !self.shelf.nodes.take(DUTY).await.unwrap_or(false) {
                self.heads.clear();
                drop(looks.changed().await);
                self.note_all();
                continue;
            }
            let partitions = self.fed.take();
            if let Err(error) = self.write(&partitions).await {
                error!(?error, "events could not be written into their feeds; it is tried again");
                // Of a commit that was not answered nobody knows what it did.
                self.heads.clear();
                self.ground.clock.sleep_until(self.ground.clock.now() + AFTER_ERROR).await;
                partitions.iter().for_each(|partition| self.fed.note(*partition));
            }
            self.wait().await;
        }
    }

    /// Waits until there may be something to write.
    async fn wait(&self) {
        if !self.shelf.nodes.is_shared() {
            return self.fed.changed().await;
        }
        tokio::select! {
            () = self.fed.changed() => {}
            () = self.ground.clock.sleep_until(self.ground.clock.now() + LOOK_AGAIN) => {
                if self.fed.is_any() {
                    self.note_all();
                }
            }
        }
    }

    fn note_all(&self) {
        Partition::all().for_each(|partition| self.fed.note(partition));
    }

    /// Writes down what waits in these partitions.
    async fn write(&mut self, partitions: &[Partition]) -> Result<()> {
        let slices = iter(partitions.to_vec()).map(|partition| self.find(partition, None)).buffered(AT_ONCE);
        let slices: Vec<_> = slices.try_collect().await?;
        let mut found = HashMap::<TenantTag, Vec<Found>>::new();
        for (partition, slice) in partitions.iter().zip(slices) {
            if slice.len() == SLICE {
                self.fed.note(*partition);
            }
            for news in slice {
                found.entry(news.record.tenant).or_default().push(news);
            }
        }
        for (tenant, found) in found {
            self.write_feed(tenant, found).await?;
        }
        Ok(())
    }

    async fn write_feed(&mut self, tenant: TenantTag, mut found: Vec<Found>) -> Result<()> {
        if !self.fed.wants(tenant) {
            let (is_shared, now) = (self.shelf.nodes.is_shared(), self.ground.clock.now());
            found.retain(|found| !is_shared || now.since(found.at()) >= HEARSAY);
            return self.take_away(&found).await;
        }
        while !found.is_empty() {
            let rest = found.split_off(found.len().min(MOST_AT_ONCE));
            let is_written = match self.heads.remove(&tenant) {
                Some(head) => self.put(tenant, head, &found).await?,
                None => false,
            };
            if !is_written {
                // What was found before the head was known may be in the feed: it is looked for again.
                self.tidy(tenant).await?;
                found.iter().chain(&rest).for_each(|found| self.fed.note(found.key.partition()));
                return Ok(());
            }
            found = rest;
        }
        Ok(())
    }

    /// Takes away what is in a feed already, left behind between the two commits, and remembers the head that names it.
    async fn tidy(&mut self, tenant: TenantTag) -> Result<()> {
        let (read, head) = self.shelf.head(tenant).await?;
        let partitions: BTreeSet<_> = head.moved().iter().map(|first| first.record.partition()).collect();
        for partition in partitions {
            let mut after = None;
            loop {
                let mut found = self.find(partition, after.as_ref()).await?;
                let Some(last) = found.last() else { break };
                after = Some(last.key.clone());
                found.retain(|found| found.record.tenant == tenant && head.moved().contains(&found.first));
                self.take_away(&found).await?;
            }
        }
        self.heads.insert(tenant, (read.map(|read| read.version), head));
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

    /// Puts news into a feed on top of this head, and takes them away. False when somebody else has written there since.
    async fn put(&mut self, tenant: TenantTag, on: (Option<Version>, Head), found: &[Found]) -> Result<bool> {
        let (version, mut head) = on;
        let key = self.ground.keys.feed_head(tenant);
        let entries = found.iter().flat_map(|found| found.news.0.iter().map(|news| (&found.record, news)));
        let entries: Vec<_> = entries.map(|(record, news)| Entry::new(record, news.clone())).collect();
        let first = head.put(found.iter().map(|news| news.first).collect(), entries.len() as u64);
        let expires_at = Some(self.ground.clock.now() + self.shelf.retention);
        let mut batch = Batch::new(key.partition());
        batch = batch.require_that(&key, version.map_or(Condition::Absent, Condition::At));
        for (number, entry) in (first..).zip(&entries) {
            batch = batch.put(self.ground.keys.feed_entry(tenant, number), record::encode(entry)?, expires_at);
        }
        let batch = batch.put(key, record::encode(&head)?, None);
        let Commit::Committed(version) = self.ground.store.commit(batch).await? else {
            count_conflict("feed");
            return Ok(false);
        };
        self.shelf.tell(tenant);
        for entry in &entries {
            metrics::counter!("verigate_events_total", "type" => entry.kind().name).increment(1);
        }
        self.take_away(found).await?;
        self.heads.insert(tenant, (Some(version), head));
        Ok(true)
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

// === impl Found ===

impl Found {
    /// When the first of it happened.
    fn at(&self) -> Timestamp {
        self.news.0.first().map(|news| news.event.at).unwrap_or_default()
    }
}
