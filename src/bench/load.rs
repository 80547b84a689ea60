//! One point of a load: so many callers, each with one call under way, for a time or until so many calls are made.
//!
//! Callers run on threads of their own with a runtime that steals no work, so that they take little of a machine which
//! they share with the server.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;

use crate::bench::calls::{Caller, Miss, Operation, Stock};
use crate::bench::insisting::{self, Refusals};
use crate::bench::latency::{Latencies, Took};
use crate::bench::process::{Process, Stopwatch};
use crate::clock::Clock;
use crate::error::{Error, Kind, Reason, Result};

/// Whom a load calls, and how.
#[derive(Clone)]
pub(crate) struct Aim {
    pub(crate) endpoint: Endpoint,
    pub(crate) authorization: MetadataValue<Ascii>,
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    /// The server's process, where it is ours.
    pub(crate) server: Option<Process>,
    pub(crate) stock: Arc<Stock>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What to do at one point.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task {
    pub(crate) operation: Operation,
    pub(crate) callers: usize,
    pub(crate) extent: Extent,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Extent {
    /// Measured for this long, as a rule after a shorter time that is not.
    For(Duration),
    /// The same, for pairs by callers who come again when they are told to.
    Insisting(Duration),
    /// So many starts that nobody checks.
    Pending(u64),
}

/// What came of a point.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) latencies: Latencies,
    /// Of the calls that pairs are made of, each by itself.
    pub(crate) single: Latencies,
    /// Calls that failed, warm-up included, by what was wrong.
    pub(crate) failures: BTreeMap<String, u64>,
    /// Calls that were turned away.
    pub(crate) refusals: Refusals,
    pub(crate) elapsed: Duration,
    pub(crate) server_cpu: Option<Duration>,
    pub(crate) own_cpu: Option<Duration>,
}

/// What the threads of a point share.
struct Shared {
    task: Task,
    stock: Arc<Stock>,
    clock: Arc<dyn Clock>,
    phase: AtomicU8,
    /// Calls that ended while measuring, well or not.
    done: AtomicU64,
    /// Calls still to be made.
    left: AtomicU64,
    ended: CancellationToken,
}

/// Processor time used up to a moment.
struct Used {
    watch: Stopwatch,
    server: Option<Duration>,
    own: Option<Duration>,
}

const WARMING_UP: u8 = 0;
const MEASURING: u8 = 1;
const STOPPED: u8 = 2;

const LONGEST_WARM_UP: Duration = Duration::from_secs(2);
/// How often somebody is told how far a load is.
pub(crate) const TICK: Duration = Duration::from_millis(100);
const SHORT_TICK: Duration = Duration::from_millis(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long calls under way may take at the end, and how long a load may stand still.
const PATIENCE: Duration = Duration::from_secs(15);

/// Runs one point. `tell` hears now and then how many calls were made, and in what time. A cancelled `stop` ends the
/// point early; what was measured until then is returned.
///
/// Errors: `Unavailable` when the server cannot be reached or does not answer.
pub(crate) async fn run(
    aim: &Aim,
    task: Task,
    stop: &CancellationToken,
    tell: &mut (dyn FnMut(u64, Duration) + Send),
) -> Result<Measured> {
    let (before, time) = match task.extent {
        // Checks use up what was started, so none is spent on warming up what the starts have just warmed.
        Extent::For(time) if task.operation == Operation::Check => (Duration::ZERO, time),
        Extent::For(time) | Extent::Insisting(time) => (warm_up(time), time),
        Extent::Pending(_) => (Duration::ZERO, Duration::MAX),
    };
    let clock = &aim.clock;
    let shared = Arc::new(Shared::new(aim, task, if before.is_zero() { MEASURING } else { WARMING_UP }));
    let mut finished = std::pin::pin!(start(aim, &shared)?);
    let mut ended = None;
    tokio::select! {
        tally = &mut finished => ended = Some(tally?),
        () = clock.sleep_until(clock.now() + before) => {}
        () = stop.cancelled() => {}
    }
    if !stop.is_cancelled() {
        shared.phase.store(MEASURING, Ordering::Release);
    }
    let begin = Used::by_now(aim.server);
    let (mut moved, mut known) = (Stopwatch::start(), 0);
    // However slow the server is, something is measured.
    while ended.is_none()
        && (begin.watch.elapsed() < time || known == 0)
        && moved.elapsed() < PATIENCE
        && !stop.is_cancelled()
    {
        let left = time.saturating_sub(begin.watch.elapsed()).max(SHORT_TICK);
        tokio::select! {
            tally = &mut finished => ended = Some(tally?),
            () = clock.sleep_until(clock.now() + TICK.min(left)) => {}
            () = stop.cancelled() => {}
        }
        let done = shared.done.load(Ordering::Relaxed);
        if done != known {
            (moved, known) = (Stopwatch::start(), done);
        }
        tell(done, begin.watch.elapsed());
    }
    shared.phase.store(STOPPED, Ordering::Release);
    shared.ended.cancel();
    let end = Used::by_now(aim.server);
    let tally = match ended {
        Some(tally) => tally,
        None => {
            tokio::time::timeout(PATIENCE, finished).await.map_err(|_| unreachable_server("it does not answer"))??
        }
    };
    Ok(tally.between(&begin, &end))
}

/// What goes before something that is measured for `time`.
pub(crate) fn warm_up(time: Duration) -> Duration {
    (time / 4).min(LONGEST_WARM_UP)
}

/// Starts the threads; what it returns completes when all of them have ended.
fn start(aim: &Aim, shared: &Arc<Shared>) -> Result<impl Future<Output = Result<Measured>> + use<>> {
    let callers = shared.task.callers;
    let threads = aim.threads.min(callers).max(1);
    let mut tallies = Vec::new();
    for thread in 0..threads {
        let share = |of: usize| of / threads + usize::from(thread < of % threads);
        let (aim, shared) = (aim.clone(), Arc::clone(shared));
        let (connections, callers) = (share(aim.connections).clamp(1, share(callers)), share(callers));
        let (tally, ready) = oneshot::channel();
        std::thread::Builder::new()
            .name("load".to_owned())
            // Nobody listens any more when the load was given up.
            .spawn(move || drop(tally.send(call_on_this_thread(&aim, &shared, connections, callers))))
            .map_err(Error::internal)?;
        tallies.push(ready);
    }
    Ok(async move {
        let mut all = Measured::default();
        for tally in tallies {
            all += &tally.await.map_err(Error::internal)??;
        }
        Ok(all)
    })
}

fn call_on_this_thread(aim: &Aim, shared: &Arc<Shared>, connections: usize, callers: usize) -> Result<Measured> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::internal)?;
    runtime.block_on(async {
        let mut channels = Vec::new();
        for _ in 0..connections {
            let connecting = tokio::time::timeout(CONNECT_TIMEOUT, aim.endpoint.connect());
            let connected = connecting.await.map_err(|_| unreachable_server("it does not let us connect"))?;
            channels
                .push(connected.map_err(|error| unreachable_server("it cannot be connected to").with_source(error))?);
        }
        let tally = Arc::new(Mutex::new(Measured::default()));
        let mut calling = JoinSet::new();
        for channel in channels.iter().cycle().take(callers) {
            let caller = Caller::new(channel.clone(), aim.authorization.clone());
            calling.spawn(call_until_stopped(caller, Arc::clone(shared), Arc::clone(&tally)));
        }
        while let Some(ended) = calling.join_next().await {
            ended.map_err(Error::internal)?;
        }
        Ok(std::mem::take(&mut *tally.lock().unwrap_or_else(PoisonError::into_inner)))
    })
}

async fn call_until_stopped(mut caller: Caller, shared: Arc<Shared>, tally: Arc<Mutex<Measured>>) {
    while shared.goes_on() {
        let outcome = match shared.task.extent {
            Extent::For(_) => caller.call(shared.task.operation, &shared.stock).await,
            Extent::Pending(_) => caller.leave_pending(&shared.stock).await,
            Extent::Insisting(_) => {
                let note = |operation, took| {
                    if shared.is_measuring() {
                        tally.lock().unwrap_or_else(PoisonError::into_inner).refusals.add(operation, took);
                    }
                };
                let until = insisting::Until { clock: &*shared.clock, ended: &shared.ended };
                insisting::pair(&mut caller, &shared.stock, until, note).await
            }
        };
        let counts = shared.is_measuring();
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(took) if counts => tally.add(took),
            Ok(_) => {}
            Err(Miss::OutOfStock) => return,
            Err(Miss::TurnedAway { what, .. } | Miss::Failed(what)) => *tally.failures.entry(what).or_default() += 1,
        }
        if counts {
            shared.done.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn unreachable_server(what: &str) -> Error {
    Error::new(Kind::Unavailable, Reason::Internal, format!("the server cannot be measured: {what}"))
}

// === impl Shared ===

impl Shared {
    fn new(aim: &Aim, task: Task, phase: u8) -> Self {
        let calls = if let Extent::Pending(calls) = task.extent { calls } else { u64::MAX };
        Self {
            task,
            stock: Arc::clone(&aim.stock),
            clock: Arc::clone(&aim.clock),
            phase: AtomicU8::new(phase),
            done: AtomicU64::new(0),
            left: AtomicU64::new(calls),
            ended: CancellationToken::new(),
        }
    }

    /// Whether one more call is to be made; counts it.
    fn goes_on(&self) -> bool {
        let counted = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        counted.is_ok() && self.phase.load(Ordering::Relaxed) != STOPPED
    }

    fn is_measuring(&self) -> bool {
        self.phase.load(Ordering::Relaxed) == MEASURING
    }
}

// === impl Measured ===

impl Measured {
    fn add(&mut self, took: Took) {
        match took {
            Took::Call(took) => self.latencies.add(took),
            Took::Pair { start, check } => {
                self.latencies.add(start + check);
                [start, check].into_iter().for_each(|took| self.single.add(took));
            }
        }
    }

    fn between(self, begin: &Used, end: &Used) -> Self {
        let used = |begin: Option<Duration>, end: Option<Duration>| Some(end?.saturating_sub(begin?));
        Self {
            elapsed: begin.watch.elapsed().saturating_sub(end.watch.elapsed()),
            server_cpu: used(begin.server, end.server),
            own_cpu: used(begin.own, end.own),
            ..self
        }
    }
}

impl AddAssign<&Self> for Measured {
    fn add_assign(&mut self, other: &Self) {
        self.latencies.merge(&other.latencies);
        self.single.merge(&other.single);
        self.refusals.merge(&other.refusals);
        for (what, count) in &other.failures {
            *self.failures.entry(what.clone()).or_default() += count;
        }
    }
}

// === impl Used ===

impl Used {
    fn by_now(server: Option<Process>) -> Self {
        Self { watch: Stopwatch::start(), server: server.and_then(Process::cpu), own: Process::Own.cpu() }
    }
}
