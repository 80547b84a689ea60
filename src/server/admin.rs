//! The admin listener: health for everybody, and for those who may see them metrics and the console.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;

use crate::config::settings::ServerConfig;
use crate::console;
use crate::console::desk::Desk;
use crate::receipts;
use crate::server::admin_access::{Admission, guard};
use crate::server::barrier::Barrier;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::vendor::inbox::Inbox;

/// `first_send`: a command for those who see an empty inbox.
pub(crate) fn router(
    config: &ServerConfig,
    first_send: &str,
    (desk, inboxes): (Desk, Vec<Arc<Inbox>>),
    metrics: Metrics,
    store: Arc<dyn Store>,
    ready: Arc<AtomicBool>,
) -> Router {
    let readiness = move || {
        let (store, ready) = (Arc::clone(&store), Arc::clone(&ready));
        async move { readiness(&*store, &ready) }
    };
    let page = move || async move { ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render()) };
    let console = console::Config { hosts: config.admin_hosts.clone() };
    let closed =
        Router::new().route("/metrics", get(page)).merge(console::router(Some(desk), inboxes, console, first_send));
    let closed = match Admission::new(&config.admin_access) {
        Some(admission) => closed.layer(from_fn_with_state(Arc::new(admission), guard)),
        None => closed,
    };
    Router::new()
        // Alive: the process answers. Restarting one that does not would help.
        .route("/healthz", get(|| async { "ok\n" }))
        // Ready: calls will be served. One that is not should get no traffic, but need not be restarted.
        .route("/readyz", get(readiness))
        .merge(closed)
        .layer(Barrier::new(receipts::fault))
}

fn readiness(store: &dyn Store, ready: &AtomicBool) -> Response {
    let unready = |why: &str| (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response();
    match store.ready() {
        Err(error) => unready(error.message()),
        Ok(()) if !ready.load(Ordering::Acquire) => unready("starting or stopping"),
        Ok(()) => "ok\n".into_response(),
    }
}
