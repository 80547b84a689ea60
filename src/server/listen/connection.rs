//! One connection, from its handshake to its end: what is spoken on it, within which bounds, and when it is closed.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body;
use hyper::rt::{Read, Write};
use hyper::server::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tower::Service;
use tracing::debug;

use crate::server::listen::attend::{Activity, Attendant, Origin, Timely};
use crate::server::listen::cores::{Calls, Seat};
use crate::server::listen::patience::{Patience, after};
use crate::server::listen::tls::Certificates;

/// Calls that one connection may have under way.
const MAX_STREAMS: u32 = 256;
/// Largest header list that is read over HTTP/2, in bytes.
const MAX_HEADER_LIST: u32 = 16 * 1024;
/// Streams that a peer may have us reset for its errors before its connection is closed (CVE-2025-8671).
const MAX_RESET_STREAMS: usize = 256;
/// Streams that a peer may reset before we have looked at them (rapid reset, CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 64;
/// What may be on its way to us, in bytes, before we have read it: of one call, and of all calls of a connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;
/// What of an answer waits in memory for its reader, in bytes.
const MAX_SEND_BUFFER: usize = 64 * 1024;
/// How often a silent peer is asked whether it is still there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest head of a request that is read over HTTP/1, in bytes. Its headers are at most 100, without asking.
const MAX_HEAD: usize = 32 * 1024;
/// How long a peer has to hang up by itself once it was told that we will.
const GRACE: Duration = Duration::from_secs(1);

type BoxError = Box<dyn StdError + Send + Sync>;

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    /// HTTP/2 from the first byte.
    Http2,
    /// HTTP/1, or within TLS what the peer prefers.
    Http1,
}

/// What all connections of a listener are served with.
pub(crate) struct Host<S> {
    pub(crate) service: S,
    pub(crate) wire: Wire,
    pub(crate) tls: Option<Arc<Certificates>>,
    pub(crate) patience: Patience,
    pub(crate) closing: CancellationToken,
}

/// A connection that can be closed in order: calls under way are finished, and no new ones begun.
trait Closing: Future<Output = hyper::Result<()>> {
    fn close(self: Pin<&mut Self>);
}

// === impl Host ===

impl<S, B> Host<S>
where
    S: Service<Request<Timely>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    /// Serves a connection to its end.
    pub(crate) async fn serve<T>(&self, stream: T, origin: Origin, seat: Seat)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(tls) = &self.tls else { return self.speak(stream, self.wire, origin, seat).await };
        let handshake = tls.acceptor().accept(stream);
        let stream = tokio::select! {
            shaken = handshake => shaken,
            () = after(self.patience.handshake) => return debug!("a TLS handshake took too long"),
        };
        match stream {
            Ok(stream) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let wire = if http2 { Wire::Http2 } else { self.wire };
                self.speak(stream, wire, origin, seat).await;
            }
            Err(error) => debug!(%error, "a TLS handshake failed"),
        }
    }

    async fn speak<T>(&self, stream: T, wire: Wire, origin: Origin, seat: Seat)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Activity::default());
        let (service, read) = (self.service.clone(), self.patience.read);
        let attendant = Attendant { service, origin, activity: Arc::clone(&activity), read };
        let stream = TokioIo::new(stream);
        match wire {
            Wire::Http2 => self.keep(http2(seat.calls()).serve_connection(stream, attendant), &activity).await,
            Wire::Http1 => self.keep(http1(&self.patience).serve_connection(stream, attendant), &activity).await,
        }
    }

    /// Runs a connection until its peer leaves, we close, or nothing was called for too long.
    async fn keep(&self, connection: impl Closing, activity: &Activity) {
        let mut connection = pin!(connection);
        let mut closing = false;
        // For what it waits: at first for a call at all, later for another one.
        let mut seen = 0;
        let mut timer = after(self.patience.handshake);
        loop {
            tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        debug!(%error, "a connection failed");
                    }
                    return;
                }
                () = self.closing.cancelled(), if !closing => {
                    closing = true;
                    connection.as_mut().close();
                }
                () = &mut timer => {
                    if activity.is_idle() && activity.begun() == seen {
                        connection.as_mut().close();
                        // It ends by itself when its peer agrees.
                        tokio::select! {
                            _ = &mut connection => {}
                            () = after(GRACE) => debug!("a connection without calls was cut off"),
                        }
                        return;
                    }
                    seen = activity.begun();
                    timer = after(self.patience.idle);
                }
            }
        }
    }
}

fn http2(calls: Calls) -> http2::Builder<Calls> {
    let mut builder = http2::Builder::new(calls);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_local_error_reset_streams(MAX_RESET_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

fn http1(patience: &Patience) -> http1::Builder {
    let mut builder = http1::Builder::new();
    // Runs between calls, too, and would end connections that wait for the next one: the first is looked after above.
    builder.timer(TokioTimer::new()).header_read_timeout(patience.idle).max_header_size(MAX_HEAD);
    builder
}

// === impl Closing ===

impl<I, S, B> Closing for http2::Connection<I, S, Calls>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<BoxError>,
    I: Read + Write + Unpin,
    B: Body + 'static,
    B::Error: Into<BoxError>,
    Calls: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, B> Closing for http1::Connection<I, S>
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<BoxError>,
    I: Read + Write + Unpin,
    B: Body + 'static,
    B::Error: Into<BoxError>,
{
    fn close(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}
