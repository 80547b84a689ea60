//! More callers than a server takes: what is served all the same, how quickly others are turned away, and how soon it is
//! over.

use std::sync::Arc;
use std::time::Duration;

use crate::bench::Run;
use crate::bench::calls::Operation;
use crate::bench::child::CALLS;
use crate::bench::load::{self, Aim, Extent, Task};
use crate::bench::process::{Process, Stopwatch};
use crate::bench::report::Overload;
use crate::error::Result;

/// Callers on one connection, which takes 256 calls at once.
const CALLERS_A_CONNECTION: usize = 200;

/// Of what is served without overload, what counts as normal.
const NORMAL: f64 = 0.9;

/// How long it is looked whether a server is back to normal, and how long each look takes.
const LONGEST_LOOK: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(250);

// === impl Run ===

impl Run<'_> {
    /// So many times the calls that the server takes at once, then as many callers as it served best.
    pub(super) async fn overload(&mut self, times: u16) -> Result<()> {
        let pairs = self.report.points.iter().filter(|point| point.call == Operation::Pair.as_str());
        let best = pairs.max_by(|one, other| one.per_second.total_cmp(&other.per_second));
        let Some((peak, usual)) = best.map(|best| (best.per_second, best.callers)) else { return Ok(()) };
        let callers = usize::from(times) * CALLS;
        let aim = Aim { connections: callers.div_ceil(CALLERS_A_CONNECTION), ..self.aim.clone() };
        let time = Duration::from_secs_f64(self.options.seconds);
        let task = Task { operation: Operation::Pair, callers, extent: Extent::Insisting(time) };
        let (progress, server) = (&mut self.progress, self.aim.server);
        let mut memory = None;
        let mut tell = |done: u64, elapsed: Duration| {
            let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
            memory = memory.max(server.and_then(Process::memory));
            progress.draw(&format!("{callers} callers, {times} times what it takes: {rate:.0}/s"));
        };
        let clock = Arc::clone(&self.clock);
        let measured = load::run(&aim, task, &self.stock, &*clock, &self.stop, &mut tell).await?;
        self.report.note_failures(callers, Operation::Pair, &measured);
        let normal_after = self.look_until_normal(usual, peak * NORMAL).await?;
        let row = Overload::new(times, callers, &measured, peak, memory, normal_after);
        self.progress.done(&row.to_string());
        self.report.overload.push(row);
        Ok(())
    }

    /// How long it takes until so many pairs a second are served again.
    async fn look_until_normal(&mut self, callers: usize, rate: f64) -> Result<Option<Duration>> {
        let watch = Stopwatch::start();
        let task = Task { operation: Operation::Pair, callers, extent: Extent::For(LOOK) };
        let clock = Arc::clone(&self.clock);
        while watch.elapsed() < LONGEST_LOOK && !self.stop.is_cancelled() {
            let measured = load::run(&self.aim, task, &self.stock, &*clock, &self.stop, &mut |_, _| {}).await?;
            if measured.latencies.total() as f64 >= rate * measured.elapsed.as_secs_f64() {
                return Ok(Some(watch.elapsed()));
            }
        }
        Ok(None)
    }
}
