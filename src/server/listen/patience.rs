//! How long a connection is waited for.
//!
//! These times are the machine's, not those of the clock that the rest of the house is given: they are for the sockets
//! of this machine, and the HTTP library keeps its own by the same timer.

use std::pin::Pin;
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use hyper_util::rt::TokioTimer;

use crate::config::transport::LimitsConfig;

/// How long each step may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// A TLS handshake, and then the headers of a first call.
    pub(crate) handshake: Duration,
    /// The body of a request.
    pub(crate) read: Duration,
    /// A connection without calls.
    pub(crate) idle: Duration,
}

// === impl Patience ===

impl Patience {
    pub(crate) fn new(config: &LimitsConfig) -> Self {
        let LimitsConfig { handshake_timeout, read_timeout, idle_timeout, .. } = *config;
        Self { handshake: handshake_timeout, read: read_timeout, idle: idle_timeout }
    }
}

/// Completes after this long.
pub(crate) fn after(time: Duration) -> Pin<Box<dyn Sleep>> {
    TokioTimer::new().sleep(time)
}
