//! Our own calls as JSON over HTTP, at `/v1/…`, for clients that know no gRPC.
//!
//! Nothing is decided here. A call is found in a table, its JSON is read along the contract, and the same services answer
//! it that answer gRPC, within this process and with all that lies around their calls: credentials, deadlines, limits and
//! counters are the same because they are the same.

mod answer;
mod call;
mod comments;
mod desk;
mod docs;
mod events;
mod openapi;
mod place;
mod plain;
mod problem;
mod query;
mod read;
mod request;
pub mod routes;
mod rpc;
mod scalars;
mod schema;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, LazyLock, OnceLock};

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use axum::routing::{self, MethodRouter, any};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use prost_reflect::DescriptorPool;
use tonic::body::Body;
use tower::Service;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::rest::native::call::Call;
use crate::rest::native::desk::{Desk, Means};
use crate::rest::native::openapi::describe;
use crate::rest::native::problem::Problem;
use crate::rest::native::routes::ROUTES;
use crate::rest::native::rpc::Rpcs;

const DOCS_STYLE: &str = concat!(include_str!("../../page/page.css"), "\n", include_str!("assets/docs.css"));

/// On what describes the calls: the page may load its own style sheet, and nothing else.
const DOCS_HEADERS: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];

/// The routes under `/v1/`. `services` answers rpcs, and ends its streams when the server stops.
///
/// Errors: `Internal` when the table of routes is not borne out by the compiled-in contract.
pub fn router<S>(services: S, clock: Arc<dyn Clock>) -> Result<Router>
where
    S: Service<http::Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send + 'static,
{
    let means = Means { rpcs: Rpcs::new(services), clock };
    let mut by_path = BTreeMap::<_, Vec<Call>>::new();
    for call in calls(&contract()?)? {
        by_path.entry(shape(call.route.path)).or_default().push(call);
    }
    let mut router = Router::new();
    for (path, calls) in by_path {
        let desk = Arc::new(Desk { means: means.clone(), calls });
        let answer = |in_path: Result<RawPathParams, RawPathParamsRejection>, request: Request| async move {
            let in_path = in_path.ok().map(|names| names.iter().map(|(_, value)| value.to_owned()).collect());
            desk.answer(in_path, request).await
        };
        router = router.route(&path, any(answer));
    }
    Ok(router)
}

/// The description of these routes, for programs and for people. It says nothing that is not public.
///
/// Errors: as [`router`].
pub fn docs() -> Result<Router> {
    let contract = contract()?;
    let calls = calls(&contract)?;
    // Made when somebody asks for one of them: to make them takes ten times the memory that they take.
    let made = Arc::new(LazyLock::new(move || {
        let (document, operations) = describe(&contract, &calls);
        let page = docs::page(&document, &operations).into_string();
        (Bytes::from(document.to_string()), Bytes::from(page))
    }));
    let (document, page) = (Arc::clone(&made), made);
    let router = Router::new()
        .route(docs::DOCUMENT, file("application/json", move || document.0.clone()))
        .route(docs::PAGE, file("text/html; charset=utf-8", move || page.1.clone()))
        .route(docs::STYLE, file("text/css; charset=utf-8", || Bytes::from_static(DOCS_STYLE.as_bytes())));
    Ok(router)
}

/// Read once, for it takes megabytes.
fn contract() -> Result<DescriptorPool> {
    static CONTRACT: OnceLock<DescriptorPool> = OnceLock::new();
    if let Some(contract) = CONTRACT.get() {
        return Ok(contract.clone());
    }
    let contract = DescriptorPool::decode(FILE_DESCRIPTOR_SET).map_err(Error::internal)?;
    Ok(CONTRACT.get_or_init(|| contract).clone())
}

fn calls(contract: &DescriptorPool) -> Result<Vec<Call>> {
    ROUTES.iter().map(|route| Call::new(contract, route)).collect()
}

/// Serves a text that stays the same for as long as the server runs.
fn file(kind: &'static str, text: impl Fn() -> Bytes + Clone + Send + Sync + 'static) -> MethodRouter {
    let mut headers = DOCS_HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))).to_vec();
    headers.push((header::CONTENT_TYPE, HeaderValue::from_static(kind)));
    let headers: HeaderMap = headers.into_iter().collect();
    routing::get(async move || (headers.clone(), text()))
        .fallback(async || Problem::new(StatusCode::METHOD_NOT_ALLOWED, "This can only be read, by GET.").to_response())
}

/// A path with numbers in place of its names, so that calls that name the same place otherwise share it.
fn shape(path: &str) -> String {
    let segments = path.split('/').enumerate();
    let numbered =
        segments.map(|(at, segment)| if segment.starts_with('{') { format!("{{p{at}}}") } else { segment.to_owned() });
    numbered.collect::<Vec<_>>().join("/")
}
