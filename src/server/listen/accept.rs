//! Takes in the connections of one listener, as many as it may have, and sees all of them to their end.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Body;
use hyper::{Request, Response};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::task::JoinSet;
use tower::Service;
use tracing::{debug, warn};

use crate::auth::caller::Vouched;
use crate::clock::{Clock, Timestamp};
use crate::server::listen::attend::{Origin, Timely};
use crate::server::listen::caps::{Caps, Place};
use crate::server::listen::client_address::Proxies;
use crate::server::listen::connection::Host;
use crate::server::listen::cores::Cores;
use crate::server::listen::patience::after;
use crate::server::listen::unix::{Guests, SocketFile};

/// How long to wait where no connection can be taken, as when all files are open.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is told that connections are turned away.
const TELL_INTERVAL: Duration = Duration::from_secs(60);

/// Where connections come in.
pub(crate) enum Door {
    Tcp(TcpListener),
    Unix { listener: UnixListener, guests: Guests, vouched: Option<Vouched>, _file: SocketFile },
}

/// What decides whether a connection is taken.
pub(crate) struct Gate {
    /// The listener's key in the configuration.
    pub(crate) listener: &'static str,
    pub(crate) caps: Arc<Caps>,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) clock: Arc<dyn Clock>,
    /// When it was last told that connections are turned away.
    pub(crate) told: Option<Timestamp>,
}

enum Stream {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// A stream between two runtimes.
enum Detached {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// A connection that is counted while it is open.
struct Counted {
    listener: &'static str,
    _place: Place,
}

/// Serves until the host closes, and then until the last call has been answered. What is dropped is cut off.
pub(crate) async fn serve<S, B>(door: Door, mut gate: Gate, host: Host<S>, cores: Arc<Cores>)
where
    S: Service<Request<Timely>, Response = Response<B>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let host = Arc::new(host);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = host.closing.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = door.accept() => accepted,
        };
        match accepted {
            Ok(stream) => {
                let Some((place, origin)) = gate.admit(&door, &stream) else { continue };
                let (host, seat) = (Arc::clone(&host), cores.seat());
                let runtime = seat.runtime();
                let stream = stream.detach();
                let serve = async move {
                    let _place = place;
                    match stream.and_then(Detached::attach) {
                        Ok(Stream::Tcp(stream, _)) => host.serve(stream, origin, seat).await,
                        Ok(Stream::Unix(stream)) => host.serve(stream, origin, seat).await,
                        Err(error) => debug!(%error, "a connection cannot be served"),
                    }
                };
                connections.spawn_on(serve, &runtime);
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                gate.tell(&format!("connections cannot be taken: {error}"));
                tokio::select! {
                    () = host.closing.cancelled() => break,
                    () = after(PAUSE) => {}
                }
            }
        }
    }
    // Nobody should wait for us who could be served by another, and a socket file is our successor's from here on.
    drop(door);
    while connections.join_next().await.is_some() {}
}

/// The peer gave up before we took its connection.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

// === impl Door ===

impl Door {
    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Without it the kernel holds back small answers for tens of milliseconds.
                drop(stream.set_nodelay(true));
                Ok(Stream::Tcp(stream, address))
            }
            Self::Unix { listener, .. } => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
}

// === impl Stream ===

impl Stream {
    fn detach(self) -> io::Result<Detached> {
        Ok(match self {
            Self::Tcp(stream, address) => Detached::Tcp(stream.into_std()?, address),
            Self::Unix(stream) => Detached::Unix(stream.into_std()?),
        })
    }
}

// === impl Detached ===

impl Detached {
    /// Within the runtime that it is for.
    fn attach(self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(stream, address) => Stream::Tcp(TcpStream::from_std(stream)?, address),
            Self::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        })
    }
}

// === impl Gate ===

impl Gate {
    /// `None` for a connection that has to go.
    fn admit(&mut self, door: &Door, stream: &Stream) -> Option<(Counted, Origin)> {
        let origin = match (stream, door) {
            (Stream::Tcp(_, address), _) => self.origin(address.ip()),
            (Stream::Unix(stream), Door::Unix { guests, vouched, .. }) => {
                let process = stream.peer_cred().ok().filter(|process| guests.admit(*process));
                if process.is_none() {
                    self.turn_away("stranger");
                    return None;
                }
                Origin::Local(vouched.clone())
            }
            (Stream::Unix(_), Door::Tcp(_)) => Origin::Local(None),
        };
        let counted = if let Origin::Address(address) = &origin { Some(*address) } else { None };
        match self.caps.admit(counted) {
            Ok(place) => Some((Counted::new(self.listener, place), origin)),
            Err(full) => {
                self.turn_away(full.as_str());
                None
            }
        }
    }

    fn origin(&self, address: IpAddr) -> Origin {
        if self.proxies.trusts(address) {
            return Origin::Proxy(address, Arc::clone(&self.proxies));
        }
        Origin::Address(address)
    }

    fn turn_away(&mut self, why: &'static str) {
        let listener = self.listener;
        metrics::counter!("verigate_connections_refused_total", "listener" => listener, "why" => why).increment(1);
        self.tell(match why {
            "stranger" => "a connection was closed, for its user and group are not in server.unix",
            "address" => "a connection was closed, for its address has server.limits.connections_per_address open",
            _ => "a connection was closed, for server.limits.connections are open",
        });
    }

    /// Not each time: whoever can connect could fill the disk.
    fn tell(&mut self, what: &str) {
        let (listener, now) = (self.listener, self.clock.now());
        if self.told.is_some_and(|told| now.since(told) < TELL_INTERVAL) {
            return debug!(listener, "{what}");
        }
        self.told = Some(now);
        warn!(listener, "{what}; not told again within a minute");
    }
}

// === impl Counted ===

impl Counted {
    fn new(listener: &'static str, place: Place) -> Self {
        metrics::gauge!("verigate_connections", "listener" => listener).increment(1.0);
        Self { listener, _place: place }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::gauge!("verigate_connections", "listener" => self.listener).decrement(1.0);
    }
}
