//! Telling an endpoint again what it missed: one event, or all of a while.

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::feed::delivery::Delivery;
use crate::feed::endpoint::Endpoint;
use crate::feed::entry::{Entry, EventId};
use crate::feed::feeds::Feeds;
use crate::feed::shelf::DISORDER;
use crate::id::{Id, TenantName};
use crate::messaging::holder::{MAX_ROUNDS, contention, count_conflict};
use crate::store::keys::{Holder, SendRef, TenantTag};
use crate::store::{Batch, Commit, record};

/// Events of one replay at most.
pub const MAX_REPLAYED: usize = 1_000;

/// Entries read at a time.
const SLICE: usize = 64;

/// Entries looked at for one event whose record is gone, so that only about when it happened is known.
const MAX_LOOKED_AT: u64 = 20_000;

/// What to tell again.
#[derive(Debug, Clone, Copy)]
pub enum Replay {
    One(EventId),
    /// What happened at or after the first and before the second.
    Between(Timestamp, Timestamp),
}

/// What came of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    pub events: usize,
    /// From when on there is more, when that was not all.
    pub rest_from: Option<Timestamp>,
}

// === impl Feeds ===

impl Feeds {
    /// Has an endpoint told again, at once and by the whole schedule, of those events that it wants. Of what it has yet to
    /// be told for the first time nothing changes.
    ///
    /// Errors: `NotFound` with `EndpointNotFound` or `EventNotFound`; `Precondition`/`EndpointDisabled`; `Unavailable`.
    pub async fn replay(&self, tenant: &TenantName, endpoint: Id, what: Replay) -> Result<Replayed> {
        let endpoint = self.endpoints.look_up(tenant, endpoint).await?;
        if !endpoint.is_enabled() {
            let message = "the endpoint is disabled; enable it first";
            return Err(Error::new(Kind::Precondition, Reason::EndpointDisabled, message));
        }
        let tag = self.shelf.ground.keys.tenant(tenant);
        let replayed = match what {
            Replay::One(event) => self.replay_one(tag, &endpoint, event).await?,
            Replay::Between(from, before) => self.replay_between(tag, &endpoint, from, before).await?,
        };
        // Its courier looks for what is due.
        self.shelf.tell(tag);
        Ok(replayed)
    }

    async fn replay_one(&self, tenant: TenantTag, endpoint: &Endpoint, event: EventId) -> Result<Replayed> {
        let at = self.time_of(tenant, event).await?;
        let first = self.shelf.before(tenant, at).await?;
        let mut last = first;
        while last < first + MAX_LOOKED_AT {
            let entries = self.shelf.read(tenant, last, SLICE).await?;
            let Some((newest, _)) = entries.last() else { break };
            last = *newest;
            if let Some(found) = entries.into_iter().find(|(_, entry)| entry.event_id() == event) {
                let is_told = found.0 <= self.read_to(tenant, endpoint).await?;
                if is_told {
                    self.plan(tenant, endpoint, &[found]).await?;
                }
                return Ok(Replayed { events: usize::from(is_told), rest_from: None });
            }
        }
        let message = "the tenant's feed has no event of this id; it may have passed the retention of events";
        Err(Error::new(Kind::NotFound, Reason::EventNotFound, message))
    }

    /// When an event happened; of a record that is gone, when that was made.
    async fn time_of(&self, tenant: TenantTag, event: EventId) -> Result<Timestamp> {
        for holder in [Holder::Verification, Holder::Message] {
            let record = SendRef { holder, tenant, id: event.record, number: SendRef::RECORD };
            let about = self.outbox.about(&record).await?;
            if let Some(found) = about.and_then(|about| about.events.get(usize::from(event.place)).cloned()) {
                return Ok(found.at);
            }
        }
        Ok(event.record.created_at())
    }

    async fn replay_between(
        &self,
        tenant: TenantTag,
        endpoint: &Endpoint,
        from: Timestamp,
        before: Timestamp,
    ) -> Result<Replayed> {
        let wanted = endpoint.wanted();
        let read_to = self.read_to(tenant, endpoint).await?;
        let mut last = self.shelf.before(tenant, from).await?;
        // The earliest, which are not the first in the feed, and one more to tell where the rest begins.
        let mut found = Vec::new();
        loop {
            let entries = self.shelf.read(tenant, last, SLICE).await?;
            let Some((newest, entry)) = entries.last() else { break };
            let before = found.get(MAX_REPLAYED).map_or(before, |(_, rest): &(u64, Entry)| rest.news.event.at);
            let is_over = entry.news.event.at >= before + DISORDER || *newest > read_to;
            last = *newest;
            found.extend(entries.into_iter().filter(|(number, entry)| {
                let at = entry.news.event.at;
                at >= from && at < before && *number <= read_to && wanted.has(entry.kind().name)
            }));
            found.sort_by_key(|(_, entry)| entry.news.event.at);
            found.truncate(MAX_REPLAYED + 1);
            if is_over {
                break;
            }
        }
        let rest_from = found.get(MAX_REPLAYED).map(|(_, entry)| entry.news.event.at);
        found.truncate(MAX_REPLAYED);
        for entries in found.chunks(SLICE) {
            self.plan(tenant, endpoint, entries).await?;
        }
        Ok(Replayed { events: found.len(), rest_from })
    }

    async fn read_to(&self, tenant: TenantTag, endpoint: &Endpoint) -> Result<u64> {
        let read = self.shelf.ground.store.get(&self.shelf.ground.keys.read_to(tenant, endpoint.id)).await?;
        read.map_or(Ok(0), |read| record::decode(&read.value))
    }

    async fn plan(&self, tenant: TenantTag, endpoint: &Endpoint, entries: &[(u64, Entry)]) -> Result<()> {
        let ground = &self.shelf.ground;
        for _ in 0..MAX_ROUNDS {
            let now = ground.clock.now();
            let expires_at = Some(now + self.shelf.retention);
            let mut batch = Batch::new(ground.keys.feed_partition(tenant));
            for (number, entry) in entries {
                let key = ground.keys.delivery(tenant, *number, endpoint.id);
                let mark = |at| ground.keys.delivery_due(tenant, endpoint.id, at, *number);
                let read = ground.store.get(&key).await?;
                let mut delivery = Delivery::new(entry.event_id(), now);
                if let Some(read) = &read {
                    delivery = record::decode(&read.value)?;
                    if let Some(at) = delivery.next_at.filter(|at| *at != now) {
                        batch = batch.delete(mark(at));
                    }
                    delivery.replay(now);
                }
                batch = batch.require(&key, read.as_ref()).put(key, record::encode(&delivery)?, expires_at);
                batch = batch.put(mark(now), Vec::new(), expires_at);
            }
            if let Commit::Committed(_) = ground.store.commit(batch).await? {
                return Ok(());
            }
            count_conflict("replay");
        }
        Err(contention())
    }
}
