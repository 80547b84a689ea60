//! Calls rpcs in this process, through the very services that the gRPC listener serves.
//!
//! Messages stay encoded here. The request is made only when the service asks for it, so whoever may not call is turned
//! away before a byte of theirs is read, as on the gRPC listener.

use std::convert::Infallible;

use axum::body::Bytes;
use futures_util::stream::once;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version, header};
use prost::bytes::{Buf, BufMut};
use tonic::body::Body;
use tonic::codec::{DecodeBuf, Decoder, EncodeBody, EncodeBuf, Encoder};
use tonic::metadata::GRPC_CONTENT_TYPE;
use tonic::{Code, Status, Streaming};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt};

use crate::auth::caller::Peer;

/// The services, with all that lies around their calls.
#[derive(Clone)]
pub(crate) struct Rpcs(BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>);

/// Messages as they are.
struct Encoded;

// === impl Rpcs ===

impl Rpcs {
    pub(crate) fn new<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        Self(BoxCloneSyncService::new(service))
    }

    /// The answers, of which there is one unless the rpc streams. With no `message` nothing is done.
    ///
    /// Errors: the status of the call; without a message, some status.
    pub(crate) async fn call(
        &self,
        rpc: &PathAndQuery,
        headers: HeaderMap,
        peer: Option<Peer>,
        message: impl Future<Output = Option<Bytes>> + Send + 'static,
    ) -> Result<Streaming<Bytes>, Status> {
        let message = once(async { message.await.ok_or_else(|| Status::invalid_argument("there is no message")) });
        // What stays within the process needs no limit of size.
        let mut request = Request::new(Body::new(EncodeBody::new_client(Encoded, message, None, Some(usize::MAX))));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = Uri::from(rpc.clone());
        *request.headers_mut() = headers;
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        request.headers_mut().insert(header::CONTENT_TYPE, GRPC_CONTENT_TYPE);
        request.headers_mut().insert(header::TE, HeaderValue::from_static("trailers"));
        let Ok(response) = self.0.clone().oneshot(request).await;
        match Status::from_header_map(response.headers()) {
            Some(status) if status.code() != Code::Ok => Err(status),
            _ => {
                let http_status = response.status();
                Ok(Streaming::new_response(Encoded, response.into_body(), http_status, None, Some(usize::MAX)))
            }
        }
    }
}

// === impl Encoded ===

impl Encoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Encoded {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
