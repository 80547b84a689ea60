//! Calls endpoints: one courier for each, which reads the feed of its tenant and has nothing to do with the others.
//!
//! What an endpoint is to be told is written down in the commit that moves its place in the feed, with a mark for when. A
//! courier takes in no more than the backlog allows: while its endpoint is slow or down, what happens waits in the feed, and
//! is missed only once the feed's retention is over. Only so many calls are under way at a time, so an endpoint that never
//! answers holds these and nothing else.
//!
//! Where nodes share a store, one of them has the duty to call an endpoint, and another takes that up when it is gone.
//!
//! What came of a call is committed after it, so whoever dies in between calls again: an endpoint is told at least once, and
//! always under the same id. The order is that of the feed but for what is tried again; nobody should count on it.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tracing::{debug, error, info, warn};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::feed::delivery::{Attempt, Delivery, Outcome, Settled};
use crate::feed::endpoint::{Endpoint, Why};
use crate::feed::endpoints::Endpoints;
use crate::feed::entry::Entry;
use crate::feed::payload;
use crate::feed::settings::{Bounds, Config};
use crate::feed::shelf::Shelf;
use crate::feed::telling::Teller;
use crate::id::Id;
use crate::messaging::holder::{Ground, MAX_ROUNDS, contention, count_conflict};
use crate::messaging::outbox::Outbox;
use crate::store::keys::TenantTag;
use crate::store::{Batch, Commit, Key, MAX_SCAN_ROWS, Record, record};
use crate::webhook::client::{self, Call, Client};
use crate::webhook::signing::SigningKey;

/// Entries of the feed taken in at a time.
const SLICE: usize = 64;

/// How often an endpoint's deliveries are looked at though nobody told of news: another node may have planned some.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// How long a delivery is left alone after something of ours failed, or too many wait for the same receiver.
const AFTER_TROUBLE: Duration = Duration::from_secs(10);

/// All couriers of a process.
pub struct Couriers(Arc<Desk>);

/// What they share.
struct Desk {
    ground: Ground,
    shelf: Arc<Shelf>,
    endpoints: Arc<Endpoints>,
    teller: Teller,
    outbox: Arc<Outbox>,
    client: Client,
    bounds: Bounds,
    backlog: usize,
    per_endpoint: usize,
    /// Deliveries that wait, over all endpoints.
    waiting: AtomicUsize,
}

/// The one who calls one endpoint.
struct Courier {
    desk: Arc<Desk>,
    tenant: TenantTag,
    id: Id,
    room: Arc<Semaphore>,
    /// Numbers of the entries that are being told.
    under_way: Mutex<HashSet<u64>>,
    settled: Notify,
    waiting: AtomicUsize,
}

// === impl Couriers ===

impl Couriers {
    /// `client` keeps to the same bounds.
    pub fn new(
        shelf: Arc<Shelf>,
        endpoints: Arc<Endpoints>,
        outbox: Arc<Outbox>,
        (client, bounds): (Client, Bounds),
        config: &Config,
    ) -> Self {
        Self(Arc::new(Desk {
            ground: shelf.ground.clone(),
            shelf,
            endpoints,
            teller: Teller::new(Arc::clone(&outbox)),
            outbox,
            client,
            bounds,
            backlog: config.backlog as usize,
            per_endpoint: config.per_endpoint as usize,
            waiting: AtomicUsize::new(0),
        }))
    }

    /// Keeps a courier for each endpoint that is enabled, and that no other node calls, until it is dropped.
    pub async fn run(self) {
        let (mut changes, mut looks) = (self.0.endpoints.changes(), self.0.shelf.nodes.looks());
        let mut running = HashMap::<Id, AbortHandle>::new();
        let mut tasks = JoinSet::new();
        loop {
            let ours = self.ours().await;
            running.retain(|id, task| {
                let stays = !task.is_finished() && ours.iter().any(|endpoint| endpoint.id == *id);
                if !stays {
                    task.abort();
                }
                stays
            });
            for endpoint in ours {
                running
                    .entry(endpoint.id)
                    .or_insert_with(|| tasks.spawn(Courier::new(Arc::clone(&self.0), &endpoint).run()));
            }
            while tasks.try_join_next().is_some() {}
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                _ = looks.changed() => {}
            }
        }
    }

    /// The endpoints that this node is to call.
    async fn ours(&self) -> Vec<Arc<Endpoint>> {
        let mut ours = Vec::new();
        for endpoint in self.0.endpoints.enabled() {
            match self.0.shelf.nodes.take(&duty(endpoint.id)).await {
                Ok(true) => ours.push(endpoint),
                Ok(false) => {}
                Err(error) => warn!(?error, endpoint = %endpoint.id, "nobody knows who is to call an event endpoint"),
            }
        }
        ours
    }
}

// === impl Courier ===

impl Courier {
    fn new(desk: Arc<Desk>, endpoint: &Endpoint) -> Arc<Self> {
        let tenant = desk.ground.keys.tenant(&endpoint.tenant);
        let room = Arc::new(Semaphore::new(desk.per_endpoint));
        let (under_way, settled) = (Mutex::default(), Notify::new());
        Arc::new(Self { desk, tenant, id: endpoint.id, room, under_way, settled, waiting: AtomicUsize::new(0) })
    }

    async fn run(self: Arc<Self>) {
        let mut told = self.desk.shelf.listen(self.tenant);
        let mut is_counted = false;
        loop {
            told.mark_unchanged();
            let round = async {
                if !is_counted {
                    self.wait_again(self.count_waiting().await?);
                    is_counted = true;
                }
                self.take_in().await?;
                self.begin_due().await
            };
            let clock = &self.desk.ground.clock;
            let next = match round.await {
                Ok(next) => next,
                Err(error) => {
                    error!(?error, endpoint = %self.id, "an event endpoint could not be served; it is tried again");
                    Some(clock.now() + AFTER_TROUBLE)
                }
            };
            let look_again = clock.now() + LOOK_AGAIN;
            tokio::select! {
                _ = told.changed() => {}
                () = self.settled.notified() => {}
                () = clock.sleep_until(next.map_or(look_again, |next| next.min(look_again))) => {}
            }
        }
    }

    /// Deliveries that waited before this courier began, as far as it matters.
    async fn count_waiting(&self) -> Result<usize> {
        let prefix = self.desk.ground.keys.deliveries_due(self.tenant, self.id);
        let (mut count, mut after) = (0, None);
        loop {
            let rows = self.desk.ground.store.scan(&prefix, after.as_ref(), MAX_SCAN_ROWS).await?;
            count += rows.len();
            after = rows.last().map(|(key, _)| key.clone());
            if rows.len() < MAX_SCAN_ROWS || count >= self.desk.backlog {
                return Ok(count);
            }
        }
    }

    /// Moves on in the feed for as long as there is more and room for it.
    async fn take_in(&self) -> Result<()> {
        loop {
            let room = self.desk.backlog.saturating_sub(self.waiting.load(Ordering::Relaxed));
            if room == 0 || !self.take_in_slice(room.min(SLICE)).await? {
                return Ok(());
            }
        }
    }

    /// False when the feed is read to its end, or somebody else has just moved on.
    async fn take_in_slice(&self, limit: usize) -> Result<bool> {
        let Desk { ground, shelf, endpoints, .. } = &*self.desk;
        let Some(endpoint) = endpoints.find(self.id).filter(|endpoint| endpoint.is_enabled()) else { return Ok(false) };
        let key = ground.keys.read_to(self.tenant, self.id);
        let Some(read) = ground.store.get(&key).await? else { return Ok(false) };
        let last: u64 = record::decode(&read.value)?;
        let entries = shelf.read(self.tenant, last, limit).await?;
        let Some((newest, _)) = entries.last() else { return Ok(false) };
        let (wanted, now) = (endpoint.wanted(), ground.clock.now());
        let expires_at = Some(now + shelf.retention);
        let mut batch = Batch::new(key.partition()).require(&key, Some(&read)).put(key, record::encode(newest)?, None);
        let mut taken = 0;
        for (number, entry) in entries.iter().filter(|(_, entry)| wanted.has(entry.kind().name)) {
            let delivery = record::encode(&Delivery::new(entry.event_id(), now))?;
            batch = batch.put(ground.keys.delivery(self.tenant, *number, self.id), delivery, expires_at);
            batch = batch.put(ground.keys.delivery_due(self.tenant, self.id, now, *number), Vec::new(), expires_at);
            taken += 1;
        }
        let is_ours = matches!(ground.store.commit(batch).await?, Commit::Committed(_));
        if is_ours {
            self.add_waiting(taken);
        }
        Ok(is_ours)
    }

    /// Tells what is due, as far as there is room. When the next is due.
    async fn begin_due(self: &Arc<Self>) -> Result<Option<Timestamp>> {
        let Desk { ground, outbox, per_endpoint, .. } = &*self.desk;
        let prefix = ground.keys.deliveries_due(self.tenant, self.id);
        let mut after: Option<Key> = None;
        loop {
            // Those under way still stand first.
            let limit = 2 * per_endpoint + 1;
            let rows = ground.store.scan(&prefix, after.as_ref(), limit).await?;
            let is_full = rows.len() == limit;
            if after.is_none() && !is_full {
                self.wait_again(rows.len());
            }
            for (mark, _) in rows {
                let (at, number) = (ground.keys.parse_due_time(&mark)?, ground.keys.parse_number(&mark)?);
                if at > ground.clock.now() {
                    return Ok(Some(at));
                }
                after = Some(mark);
                if self.under_way().contains(&number) {
                    continue;
                }
                let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else { return Ok(None) };
                self.under_way().insert(number);
                outbox.spawn(Arc::clone(self).tell(number, at, room));
            }
            if !is_full {
                return Ok(None);
            }
        }
    }

    async fn tell(self: Arc<Self>, number: u64, due_at: Timestamp, room: OwnedSemaphorePermit) {
        if let Err(error) = self.try_to_tell(number, due_at).await {
            error!(?error, endpoint = %self.id, number, "an event could not be told; it is tried again");
            let clock = &self.desk.ground.clock;
            tokio::select! {
                () = clock.sleep_until(clock.now() + AFTER_TROUBLE) => {}
                () = self.desk.outbox.stopped().cancelled() => {}
            }
        }
        drop(room);
        self.under_way().remove(&number);
        self.settled.notify_one();
    }

    async fn try_to_tell(&self, number: u64, due_at: Timestamp) -> Result<()> {
        let Desk { ground, shelf, endpoints, .. } = &*self.desk;
        // It was deleted or disabled since: what waits stays until it is enabled again, or its time is over.
        let Some(endpoint) = endpoints.find(self.id).filter(|endpoint| endpoint.is_enabled()) else { return Ok(()) };
        let Some((_, delivery)) = self.read(number).await?.filter(|(_, it)| it.next_at == Some(due_at)) else {
            let mark = ground.keys.delivery_due(self.tenant, self.id, due_at, number);
            self.remove_waiting();
            return ground.store.commit(Batch::new(mark.partition()).delete(mark)).await.map(drop);
        };
        let Some(entry) = shelf.get(self.tenant, number).await? else {
            return self.settle(number, &Delivery::let_go).await.map(drop);
        };
        let Some(turn) = self.turn(&endpoint).await else {
            let until = ground.clock.now() + AFTER_TROUBLE;
            return self.settle(number, &|delivery: &mut Delivery| delivery.put_off(until)).await.map(drop);
        };
        let call = self.write(&endpoint, &entry).await?;
        if !shelf.nodes.has(&duty(self.id)) {
            return Ok(());
        }
        let began = ground.clock.now();
        let (result, pause) = match turn.call(call).await {
            client::Outcome::Answered { status, after } => (Outcome::Answered(status.as_u16()), after),
            client::Outcome::Unanswered => (Outcome::Unanswered, None),
            client::Outcome::Forbidden => (Outcome::Forbidden, None),
        };
        let now = ground.clock.now();
        let took = now.since(began);
        metrics::counter!("verigate_event_deliveries_total", "outcome" => result.class()).increment(1);
        metrics::histogram!("verigate_event_delivery_seconds").record(took.as_secs_f64());
        let took = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        let (attempt, chance) = (Attempt { at: began, took, result }, self.chance());
        let settle = |delivery: &mut Delivery| delivery.settle(due_at, attempt, pause, chance, now);
        let settled = self.settle(number, &settle).await?;
        let (event, kind, outcome) = (entry.event_id(), entry.kind().name, result.class());
        match settled {
            Some(Settled::Taken) => debug!(endpoint = %self.id, %event, kind, "an event was told"),
            _ => info!(endpoint = %self.id, %event, kind, outcome, ?settled, "an event was not taken"),
        }
        self.conclude(settled, &delivery).await
    }

    /// What a settled delivery means for its endpoint.
    async fn conclude(&self, settled: Option<Settled>, delivery: &Delivery) -> Result<()> {
        let endpoints = &self.desk.endpoints;
        match settled {
            Some(Settled::Taken) => endpoints.succeeded(self.id).await,
            Some(Settled::Gone) => endpoints.disable(self.id, Why::Gone).await,
            Some(Settled::GivenUp) => match endpoints.find(self.id) {
                Some(endpoint) if endpoint.has_failed_since(delivery.planned_at) => {
                    endpoints.disable(self.id, Why::Failing).await
                }
                _ => Ok(()),
            },
            Some(Settled::Later) | None => Ok(()),
        }
    }

    /// `None` when too many wait for the same receiver already.
    async fn turn(&self, endpoint: &Endpoint) -> Option<client::Turn> {
        // What the configuration allowed when it was made, it may not allow now: then it is nobody's turn there.
        let url = self.desk.bounds.check(&endpoint.url).map_or("", |()| endpoint.url.as_str());
        self.desk.client.turn(endpoint.tenant.as_str(), url).await
    }

    async fn write(&self, endpoint: &Endpoint, entry: &Entry) -> Result<Call> {
        let body = payload::write(&self.desk.teller.tell(&endpoint.tenant, entry).await?)?;
        let now = self.desk.ground.clock.now();
        let (id, at) = (entry.event_id().to_string(), (now.as_millis() / 1000).to_string());
        let signatures = endpoint.secrets(now).map(|secret| Ok(SigningKey::parse(&secret)?.sign(&id, &at, &body)));
        let signatures = signatures.collect::<Result<Vec<_>>>()?.join(" ");
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for (name, value) in [("webhook-id", id), ("webhook-timestamp", at), ("webhook-signature", signatures)] {
            headers.insert(HeaderName::from_static(name), value.parse().map_err(Error::internal)?);
        }
        Ok(Call { method: Method::POST, url: endpoint.url.clone(), headers, body })
    }

    async fn read(&self, number: u64) -> Result<Option<(Record, Delivery)>> {
        let key = self.desk.ground.keys.delivery(self.tenant, number, self.id);
        let Some(read) = self.desk.ground.store.get(&key).await? else { return Ok(None) };
        let delivery = record::decode(&read.value)?;
        Ok(Some((read, delivery)))
    }

    /// Changes a delivery, moves its mark, and commits. `None` when it is gone.
    async fn settle(&self, number: u64, change: &(dyn Fn(&mut Delivery) -> Settled + Sync)) -> Result<Option<Settled>> {
        let Desk { ground, shelf, .. } = &*self.desk;
        let key = ground.keys.delivery(self.tenant, number, self.id);
        let mark = |at| ground.keys.delivery_due(self.tenant, self.id, at, number);
        for _ in 0..MAX_ROUNDS {
            let Some((read, mut delivery)) = self.read(number).await? else { return Ok(None) };
            let before = delivery.next_at;
            let settled = change(&mut delivery);
            let expires_at = Some(ground.clock.now() + shelf.retention);
            let mut batch = Batch::new(key.partition()).require(&key, Some(&read));
            batch = batch.put(key.clone(), record::encode(&delivery)?, expires_at);
            if before != delivery.next_at {
                batch = before.into_iter().fold(batch, |batch, at| batch.delete(mark(at)));
                batch =
                    delivery.next_at.into_iter().fold(batch, |batch, at| batch.put(mark(at), Vec::new(), expires_at));
            }
            if let Commit::Committed(_) = ground.store.commit(batch).await? {
                if before.is_some() && delivery.next_at.is_none() {
                    self.remove_waiting();
                }
                return Ok(Some(settled));
            }
            count_conflict("delivery");
        }
        Err(contention())
    }

    fn add_waiting(&self, count: usize) {
        self.waiting.fetch_add(count, Ordering::Relaxed);
        let all = self.desk.waiting.fetch_add(count, Ordering::Relaxed) + count;
        tell_backlog(all);
    }

    /// So many were seen to wait. What is counted drifts from that by those that a replay plans, and by marks that are
    /// read just before they go.
    fn wait_again(&self, count: usize) {
        self.desk.waiting.fetch_add(count, Ordering::Relaxed);
        let before = self.waiting.swap(count, Ordering::Relaxed);
        tell_backlog(self.desk.waiting.fetch_sub(before, Ordering::Relaxed).saturating_sub(before));
    }

    fn remove_waiting(&self) {
        let less = |count: usize| count.checked_sub(1);
        if self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok() {
            tell_backlog(self.desk.waiting.fetch_sub(1, Ordering::Relaxed).saturating_sub(1));
        }
    }

    fn chance(&self) -> u32 {
        let mut chance = [0; 4];
        self.desk.ground.random.fill(&mut chance);
        u32::from_be_bytes(chance)
    }

    fn under_way(&self) -> MutexGuard<'_, HashSet<u64>> {
        // Nothing panics while it is held.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waited at an endpoint that is called no more does not count.
impl Drop for Courier {
    fn drop(&mut self) {
        let count = *self.waiting.get_mut();
        tell_backlog(self.desk.waiting.fetch_sub(count, Ordering::Relaxed).saturating_sub(count));
    }
}

/// The duty to call an endpoint.
fn duty(endpoint: Id) -> String {
    format!("endpoint {endpoint}")
}

fn tell_backlog(count: usize) {
    metrics::gauge!("verigate_event_backlog").set(f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
}
