//! Finds the service of a call.

use std::convert::Infallible;
use std::error::Error;
use std::task::{Context, Poll, ready};

use futures_util::future::Either;
use http::{Request, Response};
use http_body::Body as HttpBody;
use prost::bytes::Bytes;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower::Service;

use crate::grpc::access::Guarded;
use crate::grpc::messaging::MessagingApi;
use crate::grpc::verification::VerificationApi;
use crate::proto::messaging::v1::messaging_service_server::MessagingServiceServer;
use crate::proto::verification::v1::verification_service_server::VerificationServiceServer;

type Verification = Guarded<VerificationServiceServer<VerificationApi>>;
type Messaging = Guarded<MessagingServiceServer<MessagingApi>>;

/// All services. Those two that nearly all calls are for are reached directly; a router takes some three percent
/// of what such a call costs, for it boxes and copies, and notes what it found of a path.
#[derive(Clone)]
pub struct Switchboard {
    verification: Verification,
    messaging: Messaging,
    others: Routes,
}

// === impl Switchboard ===

impl Switchboard {
    pub(super) fn new(verification: Verification, messaging: Messaging, others: Routes) -> Self {
        Self { verification, messaging, others: others.prepare() }
    }
}

impl<B> Service<Request<B>> for Switchboard
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<<Verification as Service<Request<B>>>::Future, <Routes as Service<Request<B>>>::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        ready!(Service::<Request<B>>::poll_ready(&mut self.verification, context))?;
        ready!(Service::<Request<B>>::poll_ready(&mut self.messaging, context))?;
        Service::<Request<B>>::poll_ready(&mut self.others, context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match request.uri().path().split('/').nth(1) {
            Some(Verification::NAME) => Either::Left(self.verification.call(request)),
            Some(Messaging::NAME) => Either::Left(self.messaging.call(request)),
            _ => Either::Right(self.others.call(request)),
        }
    }
}
