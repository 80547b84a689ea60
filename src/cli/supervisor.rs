//! Word to whoever started us, in the datagrams of sd_notify(3): starting, ready, reloading, stopping, still alive.
//!
//! Written out here because a word is one datagram: the crates for it either link libsystemd or change the environment,
//! which needs `unsafe`. A supervisor that does not listen is no fault of ours, and stops nothing.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;
use verigate::server::listen::Addresses;

/// Where our words go: nowhere, unless the environment names a socket.
pub(crate) struct Supervisor {
    socket: Option<UnixDatagram>,
    /// How often it wants to hear that we are alive.
    watchdog: Option<Duration>,
}

// === impl Supervisor ===

impl Supervisor {
    /// By `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    pub(crate) fn from_environment() -> Self {
        let socket = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let socket = connect(&name);
            socket.inspect_err(|error| warn!(%error, "NOTIFY_SOCKET cannot be used, so nobody is told of us")).ok()
        });
        let number = |name| std::env::var(name).ok()?.parse().ok();
        let for_us = number("WATCHDOG_PID").is_none_or(|pid: u64| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| for_us && *micros > 0).map(Duration::from_micros);
        Self { socket, watchdog }
    }

    pub(crate) fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    pub(crate) fn tell_starting(&self) {
        self.tell("STATUS=Opening the store");
    }

    /// The store is open and every listener bound.
    pub(crate) fn tell_ready(&self, Addresses { grpc, http, admin }: &Addresses) {
        self.tell(&format!("READY=1\nSTATUS=Listening: gRPC {grpc}, HTTP {http}, admin {admin}"));
    }

    pub(crate) fn tell_reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
    }

    pub(crate) fn tell_reloaded(&self) {
        self.tell("READY=1");
    }

    pub(crate) fn tell_stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=Finishing the calls under way");
    }

    /// Says twice in each span that the runtime still runs tasks, for as long as it does.
    pub(crate) async fn keep_alive(self: Arc<Self>) {
        let Some(span) = self.watchdog.filter(|_| self.is_there()) else { return };
        // Of Tokio's timer and not the clock: a clock that is set must not look like a hang.
        let mut ticks = tokio::time::interval(span / 2);
        loop {
            ticks.tick().await;
            self.tell("WATCHDOG=1");
        }
    }

    fn tell(&self, words: &str) {
        // One that is full or gone hears nothing.
        drop(self.socket.as_ref().map(|socket| socket.send(words.as_bytes())));
    }
}

/// `name`: a path, or `@` and a name that is in no file system.
fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor a name that begins with @")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
