//! Dialects at the root of hosts: a vendor's client whose host name was pointed at us needs no other path.

use std::collections::BTreeMap;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use http::header;
use tower::ServiceExt;

/// Routers by the host that they serve.
#[derive(Clone)]
pub(crate) struct Hosts(BTreeMap<String, Router>);

// === impl Hosts ===

impl Hosts {
    /// `routers`: by names in lower case.
    pub(crate) fn new(routers: BTreeMap<String, Router>) -> Self {
        Self(routers)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A router that asks these first; `others` get the calls for all other hosts.
    pub(crate) fn before(self, others: Router) -> Router {
        Router::new().fallback(async move |request: Request| {
            let router = self.of(&request).unwrap_or(&others).clone();
            let answer: Result<Response, _> = router.oneshot(request).await;
            match answer {
                Ok(answer) => answer,
                Err(never) => match never {},
            }
        })
    }

    fn of(&self, request: &Request) -> Option<&Router> {
        // HTTP/2 has the host in the target.
        let host = match request.uri().authority() {
            Some(authority) => authority.as_str(),
            None => request.headers().get(header::HOST)?.to_str().ok()?,
        };
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        self.0.get(name.trim_end_matches('.').to_ascii_lowercase().as_str())
    }
}

/// Whether this is a host name as [`Hosts`] looks them up.
pub(crate) fn is_host(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    (1..=253).contains(&name.len())
        && name.chars().all(plain)
        && !name.split('.').any(|label| label.is_empty() || label.starts_with('-') || label.ends_with('-'))
}
