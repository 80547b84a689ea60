//! The http listener: everything that is served on it, and what lies around all of it.

use std::sync::Arc;

use axum::Router;
use tonic::body::Body;
use tower::ServiceExt;

use crate::clock::Clock;
use crate::error::Result;
use crate::grpc::switchboard::Switchboard;
use crate::messaging::outbox::Outbox;
use crate::receipts;
use crate::rest::desk::Desk;
use crate::rest::{self, native};
use crate::server::around::Around;
use crate::server::barrier::Barrier;

/// What the listener is built from.
pub(crate) struct Parts<'a> {
    pub(crate) config: &'a rest::Config,
    /// The services of the gRPC listener, and what lies around their calls there.
    pub(crate) grpc: Switchboard,
    pub(crate) around: &'a Around,
    /// What the dialects stand on.
    pub(crate) desk: Desk,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) clock: Arc<dyn Clock>,
}

pub(crate) fn router(parts: Parts<'_>) -> Result<Router> {
    let Parts { config, grpc, around, desk, outbox, clock } = parts;
    let router = Router::new()
        .merge(receipts::router(outbox))
        .merge(native::router(around.grpc(grpc).map_response(|answer| answer.map(Body::new)), clock)?)
        .merge(if config.docs { native::docs()? } else { Router::new() });
    let router = rest::router(config, desk, &around.room, router.fallback(async || receipts::not_found()));
    // Receipts have tokens in their paths, and calls have names of things.
    Ok(router.layer(Barrier::new(receipts::fault)).layer(around.request_ids.clone().without_paths()))
}
