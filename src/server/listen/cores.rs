//! Threads that answer calls, one for each core, with a runtime each that steals no work: what a call waits for wakes the
//! one thread that it runs on, and its memory is given back where it was taken. An empty call costs a third less so.
//!
//! A connection stays on the core that had the fewest. Its calls run there, too, unless that core has far more of them
//! under way than another: one client with one connection may use them all.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

/// The threads, which end when this is dropped or stopped. Without any, the default, connections and calls run on the
/// runtime of whoever serves.
#[derive(Default)]
pub struct Cores {
    all: Vec<Core>,
    /// Whom a call may go to next, if its own core is busy.
    turn: AtomicUsize,
    stop: CancellationToken,
}

struct Core {
    runtime: Handle,
    /// Connections that stay here.
    connections: AtomicUsize,
    /// Calls under way, of whichever connection.
    calls: AtomicUsize,
}

/// The place of a connection on a core, while it is open.
pub(crate) struct Seat {
    cores: Arc<Cores>,
    at: Option<usize>,
}

/// Has the calls of a connection run.
#[derive(Clone)]
pub(crate) struct Calls {
    seat: Arc<Seat>,
}

pin_project! {
    /// A call under way.
    struct Running<F> {
        #[pin]
        call: F,
        _counted: Counted,
    }
}

/// A call that is counted where it runs.
struct Counted {
    cores: Arc<Cores>,
    at: usize,
}

/// Calls that a core may have more than twice as many as another one before that takes one over.
const AHEAD: usize = 4;

// === impl Cores ===

impl Cores {
    /// Starts so many threads.
    ///
    /// Errors: those of the system, which has no room for them.
    pub fn start(count: usize) -> io::Result<Self> {
        let mut cores = Self::default();
        for number in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let (handle, stop) = (runtime.handle().clone(), cores.stop.clone());
            let work = move || {
                runtime.block_on(stop.cancelled());
                // A name lookup that hangs must not hold up the end.
                runtime.shutdown_background();
            };
            std::thread::Builder::new().name(format!("calls-{number}")).spawn(work)?;
            let (connections, calls) = (AtomicUsize::new(0), AtomicUsize::new(0));
            cores.all.push(Core { runtime: handle, connections, calls });
        }
        Ok(cores)
    }

    /// Ends the threads, and drops what still runs on them.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// A place for one more connection.
    pub(crate) fn seat(self: &Arc<Self>) -> Seat {
        let fewest = self.all.iter().enumerate().min_by_key(|(_, core)| core.connections.load(Ordering::Relaxed));
        let at = fewest.map(|(at, core)| {
            core.connections.fetch_add(1, Ordering::Relaxed);
            at
        });
        Seat { cores: Arc::clone(self), at }
    }

    /// Where a call runs whose connection stays at `home`.
    fn place(&self, home: usize) -> usize {
        let other = self.turn.fetch_add(1, Ordering::Relaxed) % self.all.len();
        let under_way = |at: usize| self.all[at].calls.load(Ordering::Relaxed);
        if under_way(home) > 2 * under_way(other) + AHEAD { other } else { home }
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.stop();
    }
}

// === impl Seat ===

impl Seat {
    /// Where the connection is to be served. Must be called within a Tokio runtime.
    pub(crate) fn runtime(&self) -> Handle {
        self.at.map_or_else(Handle::current, |at| self.cores.all[at].runtime.clone())
    }

    /// Keeps the place until the last of its calls was handed on.
    pub(crate) fn calls(self) -> Calls {
        Calls { seat: Arc::new(self) }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(at) = self.at {
            self.cores.all[at].connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

// === impl Calls ===

impl<F> Executor<F> for Calls
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, call: F) {
        let Seat { cores, at: Some(home) } = &*self.seat else { return drop(tokio::spawn(call)) };
        let at = cores.place(*home);
        let core = &cores.all[at];
        core.calls.fetch_add(1, Ordering::Relaxed);
        let running = Running { call, _counted: Counted { cores: Arc::clone(cores), at } };
        drop(core.runtime.spawn(running));
    }
}

// === impl Counted ===

impl Drop for Counted {
    fn drop(&mut self) {
        self.cores.all[self.at].calls.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Running ===

impl<F: Future<Output = ()>> Future for Running<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.project().call.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use tokio::sync::oneshot;

    use super::*;

    async fn where_it_runs(calls: &Calls) -> ThreadId {
        let (tell, told) = oneshot::channel();
        calls.execute(async move { tell.send(thread::current().id()).unwrap() });
        told.await.unwrap()
    }

    #[tokio::test]
    async fn connections_are_shared_out_evenly_and_leave_their_places() {
        let cores = Arc::new(Cores::start(3).unwrap());
        let mut seats: Vec<_> = (0..7).map(|_| cores.seat()).collect();
        let places = |seats: &[Seat]| seats.iter().map(|seat| seat.at.unwrap()).collect::<Vec<_>>();
        assert_eq!(places(&seats), [0, 1, 2, 0, 1, 2, 0]);
        seats.remove(5);
        seats.remove(2);
        assert_eq!(places(&[cores.seat()]), [2]);
        let on = seats[0].runtime().spawn(async { thread::current().id() }).await.unwrap();
        assert_ne!(on, thread::current().id());
    }

    #[tokio::test]
    async fn a_call_runs_beside_its_connection_unless_that_core_is_far_ahead() {
        let cores = Arc::new(Cores::start(2).unwrap());
        let seat = cores.seat();
        let home = seat.runtime().spawn(async { thread::current().id() }).await.unwrap();
        let calls = seat.calls();
        for _ in 0..20 {
            assert_eq!(where_it_runs(&calls).await, home);
        }
        let under_way = || cores.all.iter().map(|core| core.calls.load(Ordering::Relaxed)).collect::<Vec<_>>();
        while under_way() != [0, 0] {
            // The last one has told where it runs, and is about to end.
            tokio::task::yield_now().await;
        }
        let ended = CancellationToken::new();
        for _ in 0..60 {
            calls.execute(ended.clone().cancelled_owned());
        }
        let under_way = under_way();
        assert_eq!(under_way.iter().sum::<usize>(), 60);
        assert!(under_way[0] <= 2 * under_way[1] + AHEAD + 1, "{under_way:?}");
        ended.cancel();
    }
}
