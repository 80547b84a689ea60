//! What lies around every call, on the gRPC listener and on the http listener, which hands calls on to the same
//! services.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use tonic::body::Body;
use tower::{Layer, Service};

use crate::clock::Clock;
use crate::config::settings::ServerConfig;
use crate::error::Error;
use crate::grpc::deadline::Deadlines;
use crate::grpc::held::Held;
use crate::grpc::request_id::RequestIds;
use crate::grpc::shedding::Shedding;
use crate::random::Random;
use crate::server::barrier::Barrier;
use crate::shedding::{Place, Room};
use crate::status::to_status;
use crate::telemetry::trace::Tracer;

/// The parts of it.
pub(crate) struct Around {
    /// Outermost: what lies within can log the name of its call.
    pub(crate) request_ids: RequestIds,
    pub(crate) room: Arc<Room>,
    deadlines: Deadlines,
}

// === impl Around ===

impl Around {
    pub(crate) fn new(config: &ServerConfig, clock: Arc<dyn Clock>, random: Arc<dyn Random>, tracer: Tracer) -> Self {
        Self {
            request_ids: RequestIds::new(random, Arc::clone(&clock), tracer),
            room: Arc::new(Room::new(config.limits.calls as usize, Arc::clone(&clock))),
            deadlines: Deadlines::new(clock, config.limits.call_timeout),
        }
    }

    /// Puts around gRPC services all but the names of calls.
    pub(crate) fn grpc<S, B>(
        &self,
        services: S,
    ) -> impl Service<Request<B>, Response = Response<Held<Body, Place>>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static
    + use<S, B>
    where
        S: Service<Request<B>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
        B: 'static,
    {
        let contained = Barrier::new(fault).layer(services);
        Shedding::new(Arc::clone(&self.room)).layer(self.deadlines.layer(contained))
    }
}

fn fault() -> Response<Body> {
    to_status(&Error::internal("a call panicked")).into_http()
}
