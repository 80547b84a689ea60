//! Who calls: every request to our services passes here, and none goes on without a caller who may do what it asks for.
//! Others are turned away before their request is read.

use std::collections::HashMap;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Extensions, header};
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::{Request, Status};
use tower::Service;

use crate::auth::act::Act;
use crate::auth::caller::{Caller, Peer, Vouched};
use crate::auth::directory::Directory;
use crate::error::{Error, Kind, Reason, Result};
use crate::grpc::acts::ACTS;
use crate::grpc::convert::to_status;
use crate::telemetry::trace;
use crate::tenant::Tenant;

/// Authenticates requests and names their callers.
#[derive(Debug, Clone)]
pub struct Access {
    directory: Arc<Directory>,
    acts: Arc<HashMap<&'static str, Act>>,
}

/// A service that only callers reach who may.
#[derive(Debug, Clone)]
pub struct Guarded<S> {
    inner: S,
    access: Access,
}

// === impl Access ===

impl Access {
    pub fn new(directory: Arc<Directory>) -> Self {
        Self { directory, acts: Arc::new(ACTS.iter().copied().collect()) }
    }

    pub fn guard<S>(&self, inner: S) -> Guarded<S> {
        Guarded { inner, access: self.clone() }
    }

    fn caller<B>(&self, request: &http::Request<B>) -> Result<Caller> {
        // A header that is not text is as wrong as any other wrong one.
        let header = request.headers().get(header::AUTHORIZATION);
        let header = header.map(|value| value.to_str().unwrap_or_default());
        let caller = match (header, request.extensions().get()) {
            (None, Some(Vouched(id))) => self.directory.vouched(id)?,
            _ => self.directory.authenticate(header)?,
        };
        let caller = caller.admit(peer_of(request.extensions()))?;
        let act = self.acts.get(request.uri().path()).ok_or_else(not_served)?;
        caller.may(*act)?;
        Ok(caller)
    }
}

// === impl Guarded ===

impl<S, B> Service<http::Request<B>> for Guarded<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<Ready<Result<Self::Response, Self::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: http::Request<B>) -> Self::Future {
        match self.access.caller(&request) {
            Ok(caller) => {
                trace::of_call(|call| call.tenant(&caller.tenant.name));
                request.extensions_mut().insert(caller);
                Either::Right(self.inner.call(request))
            }
            Err(error) => Either::Left(ready(Ok(to_status(error).into_http()))),
        }
    }
}

impl<S: NamedService> NamedService for Guarded<S> {
    const NAME: &'static str = S::NAME;
}

/// Where a call comes from, as its connection says, or the surface that handed it on.
fn peer_of(extensions: &Extensions) -> Option<Peer> {
    extensions.get().copied()
}

fn not_served() -> Error {
    Error::new(Kind::Unimplemented, Reason::NotServed, "this server has no such method")
}

/// The address that a request comes from; none over a Unix socket.
pub fn address_of<T>(request: &Request<T>) -> Option<IpAddr> {
    request.extensions().get().map(|Peer(address)| *address)
}

/// The caller of a request that came through [`Access`].
pub fn caller_of<T>(request: &Request<T>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| to_status(Error::internal("a request came past authentication")))
}

/// The tenant of a request that came through [`Access`].
pub fn tenant_of<T>(request: &Request<T>) -> Result<Arc<Tenant>, Status> {
    caller_of(request).map(|caller| caller.tenant)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::proto::FILE_DESCRIPTOR_SET;

    #[test]
    fn every_rpc_of_ours_has_one_row() {
        let contract = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let services = contract.services().filter(|service| service.full_name().starts_with("verigate."));
        let rpcs = services.flat_map(|service| service.methods().collect::<Vec<_>>());
        let rpcs: BTreeSet<_> =
            rpcs.map(|rpc| format!("/{}/{}", rpc.parent_service().full_name(), rpc.name())).collect();
        let rows: BTreeSet<_> = ACTS.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(rows.len(), ACTS.len(), "a row is there twice");
        assert_eq!(rows, rpcs, "add a row to `acts.rs`, or take it away");
    }
}
