//! The three listeners: bound early, served later, closed together.

mod accept;
mod attend;
mod caps;
mod client_address;
mod connection;
pub mod cores;
mod patience;
pub mod tls;
mod unix;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Layer;

use crate::auth::caller::Vouched;
use crate::clock::Clock;
use crate::config::settings::{Address, ServerConfig};
use crate::error::{Error, Kind, Reason, Result, Violation};
use crate::grpc::switchboard::Switchboard;
use crate::server::around::Around;
use crate::server::listen::accept::{Door, Gate};
use crate::server::listen::caps::Caps;
use crate::server::listen::client_address::Proxies;
use crate::server::listen::connection::{Host, Wire};
use crate::server::listen::cores::Cores;
use crate::server::listen::patience::Patience;
use crate::server::listen::tls::{Certificates, Protocols};
use crate::server::listen::unix::Guests;

const GRPC_PROTOCOLS: Protocols = &[b"h2"];
const HTTP_PROTOCOLS: Protocols = &[b"h2", b"http/1.1"];

/// Where a server listens.
#[derive(Debug, Clone)]
pub struct Addresses {
    pub grpc: Address,
    pub http: SocketAddr,
    pub admin: SocketAddr,
}

/// Bound, but not served.
pub(crate) struct Listeners {
    grpc: Door,
    http: Door,
    admin: Door,
    limits: Limits,
    certificates: Vec<(&'static str, Arc<Certificates>)>,
}

/// What every listener allows.
struct Limits {
    connections: u32,
    connections_per_address: u32,
    patience: Patience,
    proxies: Arc<Proxies>,
    clock: Arc<dyn Clock>,
}

/// Reads the files that the listeners need, and looks up the names that may connect.
///
/// Errors: everything that is wrong with them, by key.
pub(crate) fn check(config: &ServerConfig) -> Result<Vec<(&'static str, Arc<Certificates>)>, Vec<Violation>> {
    let mut wrong = Guests::new(&config.unix).err().unwrap_or_default();
    let mut certificates = Vec::new();
    for (listener, tls) in config.tls.listeners() {
        let Some(files) = tls.files() else { continue };
        let protocols = if listener == "grpc" { GRPC_PROTOCOLS } else { HTTP_PROTOCOLS };
        match Certificates::load(listener, files, protocols) {
            Ok(loaded) => certificates.push((listener, Arc::new(loaded))),
            Err(violation) => wrong.push(violation),
        }
    }
    if wrong.is_empty() { Ok(certificates) } else { Err(wrong) }
}

// === impl Listeners ===

impl Listeners {
    /// `certificates`: of those listeners that speak TLS, from [`check`].
    ///
    /// Errors: `Unavailable` that names the listener and its address.
    pub(crate) async fn bind(
        config: &ServerConfig,
        certificates: Vec<(&'static str, Arc<Certificates>)>,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Addresses)> {
        let (grpc, grpc_address) = match &config.grpc {
            Address::Tcp(address) => {
                let (door, address) = bind_tcp("grpc", *address).await?;
                (door, Address::Tcp(address))
            }
            Address::Unix(path) => (bind_unix(path, config).await?, Address::Unix(path.clone())),
        };
        let (http, http_address) = bind_tcp("http", config.http).await?;
        let (admin, admin_address) = bind_tcp("admin", config.admin).await?;
        let addresses = Addresses { grpc: grpc_address, http: http_address, admin: admin_address };
        let limits = Limits {
            connections: config.limits.connections,
            connections_per_address: config.limits.connections_per_address,
            patience: Patience::new(&config.limits),
            proxies: Arc::new(Proxies::new(config.proxies.clone(), config.proxy_header)),
            clock,
        };
        Ok((Self { grpc, http, admin, limits, certificates }, addresses))
    }

    /// Those who speak TLS.
    pub(crate) fn certificates(&self) -> Vec<Arc<Certificates>> {
        self.certificates.iter().map(|(_, certificates)| Arc::clone(certificates)).collect()
    }

    /// Answers on all listeners until `closing`, one task each, which ends once its last call has. Calls of clients run on
    /// `cores`.
    pub(crate) fn serve(
        self,
        grpc: Switchboard,
        around: &Around,
        http: Router,
        admin: Router,
        cores: &Arc<Cores>,
        closing: &CancellationToken,
    ) -> JoinSet<()> {
        let Self { grpc: grpc_door, http: http_door, admin: admin_door, limits, certificates } = self;
        let tls = |listener| certificates.iter().find(|(name, _)| *name == listener).map(|(_, tls)| Arc::clone(tls));
        let grpc = around.request_ids.layer(around.grpc(grpc));
        let mut serving = JoinSet::new();
        serving.spawn(accept::serve(
            grpc_door,
            limits.gate("grpc"),
            Host {
                service: grpc,
                wire: Wire::Http2,
                tls: tls("grpc"),
                patience: limits.patience,
                closing: closing.clone(),
            },
            Arc::clone(cores),
        ));
        // What the admin listener is asked for may take longer, and nobody else should wait for it.
        let with_cores = [("http", http_door, http, Arc::clone(cores)), ("admin", admin_door, admin, Arc::default())];
        for (listener, door, router, cores) in with_cores {
            let host = Host {
                service: router,
                wire: Wire::Http1,
                tls: tls(listener),
                patience: limits.patience,
                closing: closing.clone(),
            };
            serving.spawn(accept::serve(door, limits.gate(listener), host, cores));
        }
        serving
    }
}

async fn bind_tcp(name: &str, address: SocketAddr) -> Result<(Door, SocketAddr)> {
    let failed = |error| cannot_listen(name, &address.to_string(), error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((Door::Tcp(listener), bound))
}

async fn bind_unix(path: &Path, config: &ServerConfig) -> Result<Door> {
    let guests = Guests::new(&config.unix).map_err(Error::invalid_fields)?;
    let failed = |error| cannot_listen("grpc", &format!("unix:{}", path.display()), error);
    let (listener, file) = unix::bind(path, &config.unix).await.map_err(failed)?;
    // Only those who were asked for are known.
    let key = config.unix.key.as_deref().filter(|_| config.unix.is_choosy());
    Ok(Door::Unix { listener, guests, vouched: key.map(|id| Vouched(id.into())), _file: file })
}

fn cannot_listen(name: &str, address: &str, error: std::io::Error) -> Error {
    let message = format!("server.{name}: cannot listen on {address}: {error}; free it or configure another address");
    Error::new(Kind::Unavailable, Reason::Internal, message).with_source(error)
}

// === impl Limits ===

impl Limits {
    fn gate(&self, listener: &'static str) -> Gate {
        Gate {
            listener,
            caps: Arc::new(Caps::new(self.connections, self.connections_per_address)),
            proxies: Arc::clone(&self.proxies),
            clock: Arc::clone(&self.clock),
            told: None,
        }
    }
}
