//! A caller who is turned away, comes again when it is told to, and at last gets what it came for.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bench::calls::{Caller, Miss, Operation, Stock};
use crate::bench::latency::{Latencies, Took};
use crate::bench::process::Stopwatch;
use crate::clock::Clock;

/// How long it took to be turned away.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    pub(crate) starts: Latencies,
    pub(crate) checks: Latencies,
}

/// How to wait, and for no longer than until this.
#[derive(Clone, Copy)]
pub(crate) struct Until<'a> {
    pub(crate) clock: &'a dyn Clock,
    pub(crate) ended: &'a CancellationToken,
}

/// A start, then its check; how long the two calls took that were not turned away. `note` hears of those that were.
pub(crate) async fn pair(
    caller: &mut Caller,
    stock: &Stock,
    until: Until<'_>,
    note: impl Fn(Operation, Duration),
) -> Result<Took, Miss> {
    let phone = stock.recipient();
    let (id, start) = loop {
        let watch = Stopwatch::start();
        let outcome = caller.start(phone.clone()).await;
        if let Some(outcome) = settle(outcome, Operation::Start, &watch, until, &note).await? {
            break outcome;
        }
    };
    loop {
        let watch = Stopwatch::start();
        let outcome = caller.check(id.clone()).await;
        if let Some(((), check)) = settle(outcome, Operation::Check, &watch, until, &note).await? {
            return Ok(Took::Pair { start, check });
        }
    }
}

/// What came of a call and how long it took; `None` once the time has come to make it again.
async fn settle<T>(
    outcome: Result<T, Miss>,
    operation: Operation,
    watch: &Stopwatch,
    until: Until<'_>,
    note: &impl Fn(Operation, Duration),
) -> Result<Option<(T, Duration)>, Miss> {
    let after = match outcome {
        Ok(answer) => return Ok(Some((answer, watch.elapsed()))),
        Err(Miss::TurnedAway { after, .. }) => after,
        Err(miss) => return Err(miss),
    };
    note(operation, watch.elapsed());
    tokio::select! {
        () = until.clock.sleep_until(until.clock.now() + after) => Ok(None),
        () = until.ended.cancelled() => Err(Miss::OutOfStock),
    }
}

// === impl Refusals ===

impl Refusals {
    pub(crate) fn add(&mut self, operation: Operation, took: Duration) {
        match operation {
            Operation::Check => self.checks.add(took),
            _ => self.starts.add(took),
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.starts.merge(&other.starts);
        self.checks.merge(&other.checks);
    }
}
