//! How we speak HTTP to others: one way to build clients, and how to read what they meet.
//!
//! Knows neither whom we call nor why.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::error::{Error, Result};

/// An error and its causes in one line.
pub struct Chain<'a>(pub &'a dyn StdError);

/// A client that follows no redirect (that would hand what we say to another place), repeats nothing, keeps no cookies
/// and takes no proxy from the environment. Trusts the web's public roots, compiled in, over TLS 1.2 and 1.3.
///
/// `connect`: to resolve, connect and shake hands. `total`: from the start to the last byte of the answer. Both run on
/// Tokio's timer and not on the passed-in clock: they bound real sockets.
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "the one place that builds HTTP clients")]
pub fn builder(connect: Duration, total: Duration) -> Result<reqwest::ClientBuilder> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls_config()?)
        .http1_only()
        .connect_timeout(connect)
        .timeout(total)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .no_proxy()
        .tcp_nodelay(true)
        .user_agent(concat!("verigate/", env!("CARGO_PKG_VERSION")));
    Ok(client)
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3). A date there is left out, as ours and theirs may differ.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u32 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}

fn tls_config() -> Result<rustls::ClientConfig> {
    let roots = rustls::RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

// === impl Chain ===

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
