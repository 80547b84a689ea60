//! Spans as OTLP writes them.

use prost::Message;

use crate::telemetry::otlp::wire::{
    KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span, Status, TraceRequest, number, text,
};
use crate::telemetry::trace::{Finished, Role, Value};

/// Bit of `flags` that says that the next one tells something, and that one, which says whether the parent is another
/// process's (`SpanFlags`).
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// A request that hands over these spans.
pub(crate) fn encode(spans: &[Finished], resource: &Resource, scope: &Scope) -> Vec<u8> {
    let spans = spans.iter().map(to_span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope.clone()), spans }];
    let resource = Some(resource.clone());
    TraceRequest { resource_spans: vec![ResourceSpans { resource, scope_spans }] }.encode_to_vec()
}

fn to_span(span: &Finished) -> Span {
    let (kind, remote) = match span.role {
        Role::Server => (2, if span.parent.is_some() { IS_REMOTE } else { 0 }),
        Role::Client => (3, 0),
    };
    Span {
        trace_id: span.context.trace_bytes().to_vec(),
        span_id: span.context.span_bytes().to_vec(),
        trace_state: span.state.clone().unwrap_or_default(),
        parent_span_id: span.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        name: span.name.to_owned(),
        kind,
        start_time_unix_nano: span.began,
        end_time_unix_nano: span.ended,
        attributes: span.attributes.iter().map(to_attribute).collect(),
        status: span.failed.then_some(Status { code: 2 }),
        flags: u32::from(span.context.is_sampled()) | HAS_IS_REMOTE | remote,
    }
}

fn to_attribute((key, value): &(&'static str, Value)) -> KeyValue {
    match value {
        Value::Text(value) => text(*key, value.as_ref()),
        Value::Number(value) => number(*key, *value),
    }
}
