//! More callers than a server takes: what is served all the same, how quickly others are turned away, and how soon it is
//! over.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::bench::calls::Operation;
use crate::bench::load::{self, Aim, Extent, Measured, Task};
use crate::bench::process::{Process, Stopwatch};
use crate::bench::report::Overload;
use crate::error::Result;

/// How many calls a server takes at once that is to have too many: three quarters of it are starts, about as many as
/// two cores serve best.
pub(crate) const CALLS: usize = 176;

/// Callers on one connection, which takes 256 calls at once.
const CALLERS_A_CONNECTION: usize = 200;

/// Of what is served without overload, what counts as normal.
const NORMAL: f64 = 0.9;

/// How long it is looked whether a server is back to normal, and how long each look takes.
const LONGEST_LOOK: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(250);

/// Pairs for `time` by so many times the callers whose calls the server takes at once, then by as many as it serves best.
/// `usual`: how many pairs a second it serves of those, and how many they are.
///
/// Errors: as those of a load.
pub(crate) async fn measure(
    aim: &Aim,
    times: u16,
    time: Duration,
    usual: (f64, usize),
    stop: &CancellationToken,
    tell: &mut (dyn FnMut(u64, Duration) + Send),
) -> Result<(Overload, Measured)> {
    let callers = usize::from(times) * CALLS;
    let wide = Aim { connections: callers.div_ceil(CALLERS_A_CONNECTION), ..aim.clone() };
    let task = Task { operation: Operation::Pair, callers, extent: Extent::Insisting(time) };
    let mut memory = None;
    let mut tell = |done: u64, elapsed: Duration| {
        memory = memory.max(aim.server.and_then(Process::memory));
        tell(done, elapsed);
    };
    let measured = load::run(&wide, task, stop, &mut tell).await?;
    let normal_after = look_until_normal(aim, usual, stop).await?;
    Ok((Overload::new(times, callers, &measured, usual.0, memory, normal_after), measured))
}

/// How long it takes until the server is back to normal.
async fn look_until_normal(
    aim: &Aim,
    (peak, callers): (f64, usize),
    stop: &CancellationToken,
) -> Result<Option<Duration>> {
    let watch = Stopwatch::start();
    let task = Task { operation: Operation::Pair, callers, extent: Extent::For(LOOK) };
    while watch.elapsed() < LONGEST_LOOK && !stop.is_cancelled() {
        let measured = load::run(aim, task, stop, &mut |_, _| {}).await?;
        if measured.latencies.total() as f64 >= NORMAL * peak * measured.elapsed.as_secs_f64() {
            return Ok(Some(watch.elapsed()));
        }
    }
    Ok(None)
}
