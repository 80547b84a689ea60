//! A collector of OTLP over HTTP, which reads what it is sent with the protocol's own types and keeps it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use http::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::gateway::{Gateway, eventually};
use crate::support::http::serve;

/// Running until the test's runtime ends.
pub(crate) struct Collector {
    address: SocketAddr,
    shelf: Arc<Shelf>,
}

/// Where it is kept.
#[derive(Default)]
struct Shelf {
    kept: Mutex<Kept>,
    arrived: Notify,
}

/// What came.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) headers: Vec<HeaderMap>,
    pub(crate) traces: Vec<ExportTraceServiceRequest>,
    pub(crate) metrics: Vec<ExportMetricsServiceRequest>,
    /// All bodies, as they came.
    pub(crate) bytes: Vec<u8>,
    /// What is answered in place of 200.
    status: Option<StatusCode>,
}

// === impl Collector ===

impl Collector {
    pub(crate) async fn start() -> Self {
        let shelf = Arc::<Shelf>::default();
        let router = Router::new()
            .route("/v1/traces", post(take_traces))
            .route("/v1/metrics", post(take_metrics))
            .with_state(Arc::clone(&shelf));
        Self { address: serve(router).await, shelf }
    }

    /// A configuration that exports to it, with more keys for its section.
    pub(crate) fn beside(&self, config: &str, keys: &str) -> String {
        format!("{config}\n[otlp]\nendpoint = \"http://{}\"\n{keys}\n", self.address)
    }

    /// Answers this from now on.
    pub(crate) fn answer(&self, status: StatusCode) {
        self.shelf.kept.lock().unwrap().status = Some(status).filter(|status| *status != StatusCode::OK);
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&Kept) -> T) -> T {
        look(&self.shelf.kept.lock().unwrap())
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.look(|kept| {
            let resources = kept.traces.iter().flat_map(|request| &request.resource_spans);
            resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
        })
    }

    pub(crate) fn metrics(&self) -> Vec<Metric> {
        self.look(|kept| {
            let resources = kept.metrics.iter().flat_map(|request| &request.resource_metrics);
            resources.flat_map(|resource| &resource.scope_metrics).flat_map(|scope| scope.metrics.clone()).collect()
        })
    }

    /// The first span that is this, once it has come; time passes meanwhile.
    pub(crate) async fn span(&self, gateway: &Gateway, is: impl Fn(&Span) -> bool) -> Span {
        self.passing(gateway, Duration::from_millis(500), async || self.spans().into_iter().find(|span| is(span))).await
    }

    /// Asks until there is an answer. Time passes in such steps, and not on and on: after each there is a while for what
    /// it brings about to arrive.
    pub(crate) async fn passing<T>(
        &self,
        gateway: &Gateway,
        step: Duration,
        mut ask: impl AsyncFnMut() -> Option<T>,
    ) -> T {
        eventually(async || {
            gateway.clock.advance(step);
            drop(timeout(Duration::from_millis(20), self.shelf.arrived.notified()).await);
            ask().await
        })
        .await
    }
}

/// What a span says under a name; empty when nothing.
pub(crate) fn said(span: &Span, name: &str) -> String {
    value_of(&span.attributes, name)
}

pub(crate) fn value_of(attributes: &[KeyValue], name: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == name).and_then(|attribute| attribute.value.clone());
    match value {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text,
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => number.to_string(),
        _ => String::new(),
    }
}

async fn take_traces(State(shelf): State<Arc<Shelf>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let request = ExportTraceServiceRequest::decode(body.clone());
    take(&shelf, headers, &body, request, |kept| &mut kept.traces)
}

async fn take_metrics(State(shelf): State<Arc<Shelf>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let request = ExportMetricsServiceRequest::decode(body.clone());
    take(&shelf, headers, &body, request, |kept| &mut kept.metrics)
}

fn take<T>(
    shelf: &Shelf,
    headers: HeaderMap,
    body: &[u8],
    request: Result<T, prost::DecodeError>,
    place: impl FnOnce(&mut Kept) -> &mut Vec<T>,
) -> StatusCode {
    shelf.arrived.notify_one();
    let mut kept = shelf.kept.lock().unwrap();
    kept.headers.push(headers);
    if let Some(status) = kept.status {
        return status;
    }
    let Ok(request) = request else { return StatusCode::BAD_REQUEST };
    kept.bytes.extend_from_slice(body);
    place(&mut kept).push(request);
    StatusCode::OK
}
