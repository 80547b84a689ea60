//! The three listeners: bound early, served later, closed together.

use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use axum::Router;
use axum::serve::ListenerExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;

use crate::config::settings::{Address, ServerConfig};
use crate::error::{Error, Kind, Reason, Result};
use crate::grpc::deadline::Deadlines;
use crate::grpc::request_id::RequestIds;

/// Calls that one connection may have under way.
const MAX_STREAMS: u32 = 256;
/// Largest header list that is read, in bytes.
const MAX_HEADER_LIST: u32 = 16 * 1024;
/// Streams that a peer may have us reset before its connection is closed (rapid reset, CVE-2023-44487).
const MAX_RESET_STREAMS: usize = 256;

/// Where a server listens.
#[derive(Debug, Clone)]
pub struct Addresses {
    pub grpc: Address,
    pub http: SocketAddr,
    pub admin: SocketAddr,
}

/// Bound, but not served.
pub(crate) struct Listeners {
    grpc: Grpc,
    http: TcpListener,
    admin: TcpListener,
}

/// What lies around every call, outermost first.
pub(crate) type Around = (RequestIds, Deadlines);

enum Grpc {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// A socket in the file system, removed when we stop.
struct SocketFile(PathBuf);

// === impl Listeners ===

impl Listeners {
    /// Errors: `Unavailable` that names the listener and its address.
    pub(crate) async fn bind(config: &ServerConfig) -> Result<(Self, Addresses)> {
        let (grpc, grpc_address) = match &config.grpc {
            Address::Tcp(address) => {
                let (listener, address) = bind_tcp("grpc", *address).await?;
                (Grpc::Tcp(listener), Address::Tcp(address))
            }
            Address::Unix(path) => (bind_unix(path).await?, Address::Unix(path.clone())),
        };
        let (http, http_address) = bind_tcp("http", config.http).await?;
        let (admin, admin_address) = bind_tcp("admin", config.admin).await?;
        let addresses = Addresses { grpc: grpc_address, http: http_address, admin: admin_address };
        Ok((Self { grpc, http, admin }, addresses))
    }

    /// Answers on all listeners until `closing`, one task each, which ends once its last call has.
    pub(crate) fn serve(
        self,
        grpc: Routes,
        around: Around,
        http: Router,
        admin: Router,
        closing: &CancellationToken,
    ) -> JoinSet<Result<()>> {
        let mut serving = JoinSet::new();
        serving.spawn(serve_grpc(self.grpc, grpc, around, closing.clone().cancelled_owned()));
        serving.spawn(serve_http(self.http, http, closing.clone().cancelled_owned()));
        serving.spawn(serve_http(self.admin, admin, closing.clone().cancelled_owned()));
        serving
    }
}

async fn bind_tcp(name: &str, address: SocketAddr) -> Result<(TcpListener, SocketAddr)> {
    let failed = |error| cannot_listen(name, &address.to_string(), error);
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn bind_unix(path: &Path) -> Result<Grpc> {
    let failed = |error| cannot_listen("grpc", &format!("unix:{}", path.display()), error);
    // One that nobody answers was left by a process that died; one that somebody answers is in use.
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && tokio::net::UnixStream::connect(path).await.is_err() {
        std::fs::remove_file(path).map_err(failed)?;
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    let file = SocketFile(path.to_owned());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(Grpc::Unix(listener, file))
}

fn cannot_listen(name: &str, address: &str, error: std::io::Error) -> Error {
    let message = format!("server.{name}: cannot listen on {address}: {error}; free it or configure another address");
    Error::new(Kind::Unavailable, Reason::Internal, message).with_source(error)
}

async fn serve_grpc(listener: Grpc, routes: Routes, around: Around, closing: impl Future<Output = ()>) -> Result<()> {
    let server = tonic::transport::Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_LIST)
        .http2_max_local_error_reset_streams(Some(MAX_RESET_STREAMS))
        .layer(around)
        .add_routes(routes);
    let served = match listener {
        Grpc::Tcp(listener) => {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            server.serve_with_incoming_shutdown(incoming, closing).await
        }
        Grpc::Unix(listener, _file) => {
            server.serve_with_incoming_shutdown(UnixListenerStream::new(listener), closing).await
        }
    };
    served.map_err(Error::internal)
}

async fn serve_http(
    listener: TcpListener,
    router: Router,
    closing: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    // Without it the kernel holds back small answers for tens of milliseconds.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, router).with_graceful_shutdown(closing).await.map_err(Error::internal)
}

// === impl SocketFile ===

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever comes after us removes a socket that is left over.
        drop(std::fs::remove_file(&self.0));
    }
}
