//! Whether the addresses of the listeners can be had.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use tokio::net::UnixStream;

use crate::config::settings::{Address, ServerConfig};
use crate::server::checkup::finding::Finding;

const CHECK: &str = "listener";

/// `is_running`: a server holds the store of this configuration, so it is most likely what holds the addresses, too.
pub(crate) async fn check(config: &ServerConfig, is_running: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, address) in config.listeners() {
        let about = format!("server.{key}");
        findings.push(match &address {
            Address::Tcp(address) => check_tcp(about, *address, is_running),
            Address::Unix(path) => check_unix(about, path, is_running).await,
        });
    }
    findings
}

fn check_tcp(about: String, address: SocketAddr, is_running: bool) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) if is_running => {
            let found = format!("{address} is free, while a server holds the store");
            Finding::warning(CHECK, about, found, "see whether that server runs with another configuration")
        }
        Ok(_) => Finding::good(CHECK, about, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => taken(about, &address.to_string(), is_running),
        Err(error) => {
            let advice = match error.kind() {
                ErrorKind::PermissionDenied => "take a port from 1024 on, or give us CAP_NET_BIND_SERVICE",
                _ => "configure an address that this machine has",
            };
            Finding::failed(CHECK, about, format!("cannot listen on {address}: {error}"), advice)
        }
    }
}

async fn check_unix(about: String, path: &Path, is_running: bool) -> Finding {
    let shown = format!("unix:{}", path.display());
    // Nobody waits here for a program that hangs: one with a full queue is told of at once, and has the address.
    match UnixStream::connect(path).await {
        Ok(_) => return taken(about, &shown, is_running),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return taken(about, &shown, is_running),
        Err(_) => {}
    }
    match path.parent() {
        Some(folder) if folder.is_dir() => Finding::good(CHECK, about, format!("{shown} is free")),
        _ => Finding::failed(CHECK, about, format!("{shown}: its folder is not there"), "make the folder"),
    }
}

fn taken(about: String, address: &str, is_running: bool) -> Finding {
    if is_running {
        let found = format!("{address} is in use, as it seems by the server that holds the store");
        return Finding::good(CHECK, about, found);
    }
    let found = format!("{address} is in use by another program");
    Finding::failed(CHECK, about, found, "free it, or configure another address")
}
