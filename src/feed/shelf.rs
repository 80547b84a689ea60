//! The feeds in the store: how far each has come, what stands in it, and who waits for more.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::feed::entry::Entry;
use crate::feed::numbers::Head;
use crate::messaging::holder::{Ground, MAX_ROUNDS, contention, count_conflict};
use crate::nodes::Nodes;
use crate::store::keys::TenantTag;
use crate::store::{Batch, Commit, Record, record};

/// How far the times of entries may be out of the order of their numbers: commits that were decided earlier may land later.
pub const DISORDER: Duration = Duration::from_secs(60);

/// How often a feed that is listened to is looked at, where other nodes write it, too.
const HEARING: Duration = Duration::from_millis(500);

/// The feeds of all tenants.
pub struct Shelf {
    pub(crate) ground: Ground,
    /// How long an entry is kept.
    pub(crate) retention: Duration,
    /// Who else writes feeds, and calls for them.
    pub(crate) nodes: Nodes,
    waiting: Mutex<HashMap<TenantTag, watch::Sender<()>>>,
}

// === impl Shelf ===

impl Shelf {
    pub fn new(ground: Ground, retention: Duration) -> Self {
        Self { ground, retention, nodes: Nodes::default(), waiting: Mutex::default() }
    }

    /// Shares the work with other nodes. Without it, this one is the only one.
    pub fn among(self, nodes: Nodes) -> Self {
        Self { nodes, ..self }
    }

    /// How far a feed has come. One that was never written has come nowhere.
    pub async fn head(&self, tenant: TenantTag) -> Result<(Option<Record>, Head)> {
        let read = self.ground.store.get(&self.ground.keys.feed_head(tenant)).await?;
        let head = read.as_ref().map(|read| record::decode(&read.value)).transpose()?.unwrap_or_default();
        Ok((read, head))
    }

    /// Changes the head of a feed and commits, unless `change` says that there is nothing to change.
    pub async fn change_head(&self, tenant: TenantTag, change: impl Fn(&mut Head) -> bool) -> Result<Head> {
        let key = self.ground.keys.feed_head(tenant);
        for _ in 0..MAX_ROUNDS {
            let (read, mut head) = self.head(tenant).await?;
            if !change(&mut head) {
                return Ok(head);
            }
            let batch = Batch::new(key.partition()).require(&key, read.as_ref());
            let batch = batch.put(key.clone(), record::encode(&head)?, None);
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                return Ok(head);
            }
            count_conflict("feed");
        }
        Err(contention())
    }

    /// At most so many entries after this number, in order.
    pub async fn read(&self, tenant: TenantTag, after: u64, limit: usize) -> Result<Vec<(u64, Entry)>> {
        let keys = &self.ground.keys;
        let rows = self.ground.store.scan(&keys.feed(tenant), Some(&keys.feed_entry(tenant, after)), limit).await?;
        rows.iter().map(|(key, row)| Ok((keys.parse_number(key)?, record::decode(&row.value)?))).collect()
    }

    /// `None` once its time is over.
    pub async fn get(&self, tenant: TenantTag, number: u64) -> Result<Option<Entry>> {
        let read = self.ground.store.get(&self.ground.keys.feed_entry(tenant, number)).await?;
        read.map(|read| record::decode(&read.value)).transpose()
    }

    /// A number before which no entry is of this time or later.
    pub async fn before(&self, tenant: TenantTag, at: Timestamp) -> Result<u64> {
        let at = at.saturating_sub(DISORDER);
        let (_, head) = self.head(tenant).await?;
        let (mut low, mut high) = (0, head.last());
        while low < high {
            let middle = low + (high - low) / 2;
            // Numbers are left out, and entries gone: what comes next speaks for them.
            match self.read(tenant, middle, 1).await?.pop() {
                Some((number, entry)) if entry.news.event.at < at => low = number,
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// Told whenever a feed grows: by this process, or, [heard](Shelf::hear_others) a moment later, by another.
    pub fn listen(&self, tenant: TenantTag) -> watch::Receiver<()> {
        self.waiting().entry(tenant).or_default().subscribe()
    }

    /// To be called once entries are committed.
    pub fn tell(&self, tenant: TenantTag) {
        let mut waiting = self.waiting();
        let Some(sender) = waiting.get(&tenant) else { return };
        if sender.receiver_count() == 0 {
            waiting.remove(&tenant);
        } else {
            sender.send_replace(());
        }
    }

    /// Looks at the feeds that are listened to for what other nodes have written there, for as long as it is let.
    pub async fn hear_others(&self) {
        let mut seen = HashMap::<TenantTag, u64>::new();
        while self.nodes.is_shared() {
            let is_heard = |(tenant, sender): (&TenantTag, &watch::Sender<()>)| {
                Some(*tenant).filter(|_| sender.receiver_count() > 0)
            };
            let tenants: Vec<_> = self.waiting().iter().filter_map(is_heard).collect();
            seen.retain(|tenant, _| tenants.contains(tenant));
            for tenant in tenants {
                match self.head(tenant).await {
                    Ok((_, head)) if seen.insert(tenant, head.next) != Some(head.next) => self.tell(tenant),
                    Ok(_) => {}
                    Err(error) => warn!(?error, "a feed could not be looked at for what other nodes have written"),
                }
            }
            self.ground.clock.sleep_until(self.ground.clock.now() + HEARING).await;
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<TenantTag, watch::Sender<()>>> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
