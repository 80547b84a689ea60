//! The store alone: what a start, the outcome of its send and its check write, without the service around them. No rate
//! of the service can be higher.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::bench::calls::recipient;
use crate::bench::latency::Latencies;
use crate::bench::load::{self, Measured};
use crate::bench::process::{Process, Stopwatch};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::id::{Id, TenantName};
use crate::random::Random;
use crate::recipient::Recipient;
use crate::store::keys::{Holder, Keys, SendRef};
use crate::store::{Batch, Commit, Condition, Store, Version};

/// Makes life cycles, each for a recipient of its own.
pub(crate) struct Cycles {
    store: Arc<dyn Store>,
    keys: Keys,
    tenant: TenantName,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    next_recipient: AtomicU64,
}

/// Bytes of a verification with one send, and of what is remembered of its recipient.
const VERIFICATION_BYTES: usize = 350;
const STATE_BYTES: usize = 150;
const LEASE: Duration = Duration::from_secs(15);
const LIFETIME: Duration = Duration::from_secs(600);

// === impl Cycles ===

impl Cycles {
    /// `store` must be the sealed one, and hold nothing else.
    pub(crate) async fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self> {
        let keys = Keys::open(&*store, &*random).await?;
        Ok(Self { store, keys, tenant: "bench".parse()?, clock, random, next_recipient: AtomicU64::new(0) })
    }

    /// So many callers make life cycles for `time`, and for a shorter time before that which is not measured. `tell` hears
    /// now and then how many were made, and in what time. A cancelled `stop` ends it early.
    pub(crate) async fn measure(
        self: &Arc<Self>,
        callers: usize,
        time: Duration,
        stop: &CancellationToken,
        tell: &mut (dyn FnMut(u64, Duration) + Send),
    ) -> Result<Measured> {
        self.call(callers, load::warm_up(time), stop, &mut |_, _| ()).await?;
        self.call(callers, time, stop, tell).await
    }

    async fn call(
        self: &Arc<Self>,
        callers: usize,
        time: Duration,
        stop: &CancellationToken,
        tell: &mut (dyn FnMut(u64, Duration) + Send),
    ) -> Result<Measured> {
        let done = Arc::new(AtomicU64::new(0));
        let (watch, cpu) = (Stopwatch::start(), Process::Own.cpu());
        let mut calling = JoinSet::new();
        for _ in 0..callers {
            let (cycles, done, stop) = (Arc::clone(self), Arc::clone(&done), stop.clone());
            calling.spawn(async move {
                let mut latencies = Latencies::default();
                while watch.elapsed() < time && !stop.is_cancelled() {
                    let began = Stopwatch::start();
                    cycles.run_once().await?;
                    latencies.add(began.elapsed());
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<_, Error>(latencies)
            });
        }
        let mut measured = Measured::default();
        while !calling.is_empty() {
            tokio::select! {
                Some(ended) = calling.join_next() => measured.latencies.merge(&ended.map_err(Error::internal)??),
                () = self.clock.sleep_until(self.clock.now() + load::TICK) => {}
            }
            tell(done.load(Ordering::Relaxed), watch.elapsed());
        }
        measured.elapsed = watch.elapsed();
        measured.own_cpu = Process::Own.cpu().zip(cpu).map(|(after, before)| after.saturating_sub(before));
        Ok(measured)
    }

    async fn run_once(&self) -> Result<()> {
        let now = self.clock.now();
        let phone = recipient(self.next_recipient.fetch_add(1, Ordering::Relaxed));
        let tag = self.keys.recipient(&self.tenant, &Recipient::parse_canonical(&phone, None)?);
        let (tenant, id) = (self.keys.tenant(&self.tenant), Id::new(now, tag.partition(), &*self.random));
        let send = SendRef { holder: Holder::Verification, tenant, id, number: 0 };
        let verification = self.keys.verification(tenant, id);
        let state = self.keys.recipient_state(tenant, tag);
        let due = self.keys.due(now + LEASE, &send);
        let expires_at = Some(now + LIFETIME);

        let started = Batch::new(tag.partition())
            .require_that(&verification, Condition::Absent)
            .require_that(&state, Condition::Absent)
            .put(verification.clone(), vec![1; VERIFICATION_BYTES], expires_at)
            .put(state, vec![1; STATE_BYTES], expires_at)
            .put(due.clone(), Vec::new(), None);
        let version = self.commit(started).await?;
        let settled = Batch::new(tag.partition())
            .require_that(&verification, Condition::At(version))
            .put(verification.clone(), vec![2; VERIFICATION_BYTES], expires_at)
            .delete(due);
        let version = self.commit(settled).await?;
        let checked = Batch::new(tag.partition()).require_that(&verification, Condition::At(version)).put(
            verification,
            vec![3; VERIFICATION_BYTES],
            expires_at,
        );
        self.commit(checked).await.map(drop)
    }

    async fn commit(&self, batch: Batch) -> Result<Version> {
        match self.store.commit(batch).await? {
            Commit::Committed(version) => Ok(version),
            Commit::Conflict => Err(Error::internal("somebody else writes to the store that is measured")),
        }
    }
}
