//! The REST shim: vendors' own JSON, so that a client written for one of them works against us with only its base URL
//! and its credentials changed.
//!
//! Each dialect is mounted under its name, and at the root of every host that the configuration gives it. Calls are read
//! whole, within bounds, before a dialect sees them.

mod answer;
pub mod desk;
pub mod dialect;
pub mod esms;
pub mod hasun;
mod hosts;
pub mod input;
pub mod json;
pub mod native;
pub mod octopush;
pub mod simpu;
pub mod trouble;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use futures_util::FutureExt;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tracing::error;

use crate::error::Violation;
use crate::rest::desk::Desk;
use crate::rest::dialect::Dialect;
use crate::rest::esms::EsmsDialect;
use crate::rest::hasun::HasunDialect;
use crate::rest::hosts::Hosts;
use crate::rest::input::{Call, peer_of};
use crate::rest::octopush::OctopushDialect;
use crate::rest::simpu::SimpuDialect;
use crate::rest::trouble::Trouble;
use crate::shedding::Room;
use crate::telemetry::trace;
use crate::violations::Violations;

/// Calls that are read at a time; with the bound of a body it bounds what strangers can have us keep.
const MAX_READING: usize = 1024;

/// How long a call may take to come in.
const READ_LIMIT: Duration = Duration::from_secs(10);

/// `[rest]`: how vendors' clients are served.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether to describe the native calls, at `/openapi.json` and `/docs`, to anyone who can connect.
    pub docs: bool,
    /// How long a call waits for its vendor's word.
    pub wait: Duration,
    /// What is told to be left, of tenants that may see no vendor's balance.
    pub balance: u64,
    pub hasun: hasun::settings::Config,
    pub simpu: simpu::Config,
    /// Dialects at the root of hosts.
    #[serde(default)]
    pub hosts: BTreeMap<String, Kind>,
    #[serde(default)]
    pub octopush: octopush::settings::Config,
}

/// A dialect by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Esms,
    Hasun,
    Octopush,
    Simpu,
}

/// A dialect and what it stands on.
#[derive(Clone)]
struct Counter {
    dialect: Arc<dyn Dialect>,
    desk: Arc<Desk>,
    room: Arc<Room>,
    reading: Arc<Semaphore>,
    surface: &'static str,
}

/// All dialects. `room`: for their calls, shared with other surfaces. `rest`: who answers everything else.
pub fn router(config: &Config, desk: Desk, room: &Arc<Room>, rest: Router) -> Router {
    let (desk, reading) = (Arc::new(desk), Arc::new(Semaphore::new(MAX_READING)));
    let counter = |kind: Kind| Counter {
        dialect: kind.build(config, &desk),
        desk: Arc::clone(&desk),
        room: Arc::clone(room),
        reading: Arc::clone(&reading),
        surface: kind.as_str(),
    };
    let mut router = rest;
    for kind in Kind::ALL {
        let place = format!("/{}", kind.as_str());
        for path in [place.clone(), format!("{place}/"), format!("{place}/{{*rest}}")] {
            router = router.route(&path, mount(counter(kind), place.clone()));
        }
    }
    let hosts = config.hosts.iter().map(|(host, kind)| (host.clone(), at_root(counter(*kind))));
    let hosts = Hosts::new(hosts.collect());
    if hosts.is_empty() { router } else { hosts.before(router) }
}

fn mount(counter: Counter, place: String) -> axum::routing::MethodRouter {
    any(async move |request: Request| {
        let path = request.uri().path().strip_prefix(&place).unwrap_or_default().to_owned();
        counter.serve(&path, request).await
    })
}

fn at_root(counter: Counter) -> Router {
    Router::new().fallback(async move |request: Request| {
        let path = request.uri().path().to_owned();
        counter.serve(&path, request).await
    })
}

// === impl Counter ===

impl Counter {
    async fn serve(&self, path: &str, request: Request) -> Response {
        let path = path.trim_matches('/');
        trace::of_call(|call| call.surface(self.surface));
        let refuse = |trouble: Trouble| self.dialect.refuse(path, &trouble);
        let _place = match self.room.enter(self.dialect.priority(path)) {
            Ok(place) => place,
            Err(error) => return refuse(Trouble::Down(error.retry_after())),
        };
        let Ok(reading) = self.reading.try_acquire() else {
            return refuse(Trouble::Down(Some(Duration::from_secs(1))));
        };
        let desk = self.desk.for_caller_at(peer_of(request.extensions()));
        let clock = &self.desk.clock;
        let call = tokio::select! {
            call = Call::read(path, request) => call,
            () = clock.sleep_until(clock.now() + READ_LIMIT) => Err(Trouble::Unreadable("the call took too long".to_owned())),
        };
        drop(reading);
        let call = match call {
            Ok(call) => call,
            Err(trouble) => return refuse(trouble),
        };
        // A call that panics takes nothing with it: what calls share survives any of them being dropped half way.
        let answer = AssertUnwindSafe(self.dialect.answer(&desk, &call)).catch_unwind().await;
        answer.unwrap_or_else(|_| {
            error!("a call panicked, and was answered as a fault of ours");
            refuse(Trouble::Fault)
        })
    }
}

// === impl Kind ===

impl Kind {
    const ALL: [Self; 4] = [Self::Esms, Self::Hasun, Self::Octopush, Self::Simpu];

    fn as_str(self) -> &'static str {
        match self {
            Self::Esms => "esms",
            Self::Hasun => "hasun",
            Self::Octopush => "octopush",
            Self::Simpu => "simpu",
        }
    }

    fn build(self, config: &Config, desk: &Desk) -> Arc<dyn Dialect> {
        match self {
            Self::Esms => Arc::new(EsmsDialect::new(Arc::clone(&desk.clock), Arc::clone(&desk.random))),
            Self::Hasun => Arc::new(HasunDialect::new(config.hasun.clone())),
            Self::Octopush => Arc::new(OctopushDialect::new(config.octopush.clone())),
            Self::Simpu => Arc::new(SimpuDialect::new(config.simpu.clone())),
        }
    }
}

// === impl Config ===

impl Config {
    /// What is wrong with it, by key.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        found.range("wait", &self.wait, Duration::from_millis(1)..=Duration::from_secs(30));
        found.nest("hasun", self.hasun.violations());
        for host in self.hosts.keys().filter(|host| !hosts::is_host(host)) {
            found.add("hosts", format!("must be names of hosts in lower case without a port, but has {host:?}"));
        }
        found.0
    }
}
