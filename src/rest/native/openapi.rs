//! The description of our calls for programs: OpenAPI 3.1, made from the table of routes and the contract with its
//! comments, so it cannot say anything else than these.

use std::collections::BTreeSet;

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value, json};

use crate::rest::native::call::Call;
use crate::rest::native::comments::{Comments, statuses};
use crate::rest::native::desk::MAX_DEADLINE;
use crate::rest::native::problem::MEDIA_TYPE;
use crate::rest::native::scalars::is_well_known;
use crate::rest::native::schema::Schemas;

const INTRODUCTION: &str = "\
The calls of Verigate as JSON over HTTP. They are the same calls that its gRPC services answer, with the same limits and \
counters behind them.

Every call needs the header `Authorization: Bearer ID.SECRET` with an API key.

Requests are strict: a field that is not known, one that is given twice, or a number where a string is wanted is refused, \
and nothing is done. Fields go by the names that are given here; `lowerCamelCase` is understood as well. `null` stands for \
a field that is left out. A body is `application/json` in UTF-8, of at most 1 MiB.

Answers have every field that is not an object or a time, also when there is nothing in it: empty text, 0, false, or the \
value of an enum that ends in `_UNSPECIFIED`. More fields may be added in time.

An error is a problem (RFC 9457, `application/problem+json`). Act on its `reason`; `detail` is for people and may change. \
Where waiting helps, `retry_after` and the header `Retry-After` say how many seconds.

Every answer has the header `X-Request-Id`: yours, if you sent one of at most 64 characters, or one of ours. It stands on \
each of the server's log lines about the call, too.

A call ends after 60 seconds, or as many as the header `Request-Timeout` says.";

const IDEMPOTENCY: &str = "\
The same as the field `idempotency_key`, and as the header of an IETF draft: a string, with or without the quotes of a \
structured field. Given both ways, the two must be the same.";

const EVENTS: &str = "\
A stream of server-sent events. Each is named after what it shows, its `data` is the answer as JSON, and two events with \
the same `id` say the same. It begins with how things are and ends after the last change. If it ends otherwise, the last \
event is called `error` and holds a problem. Do not connect again after the end: it would be told once more.";

/// What describes one call: where it is, and how it is described.
pub(crate) struct Operation<'a> {
    pub(crate) call: &'a Call,
    pub(crate) described: Value,
}

/// The whole description, and each call of it in the order of the table.
pub(crate) fn describe<'a>(contract: &DescriptorPool, calls: &'a [Call]) -> (Value, Vec<Operation<'a>>) {
    let comments = Comments::new(contract);
    let requests = calls.iter().filter(|call| call.route.verb.has_body()).map(|call| call.input.clone());
    let mut schemas = Schemas::new(contract, &comments, requests);
    let operations: Vec<_> =
        calls.iter().map(|call| Operation { call, described: operation(call, &comments, &mut schemas) }).collect();
    let mut paths = Map::new();
    for Operation { call, described } in &operations {
        let path = paths.entry(call.route.path).or_insert_with(|| json!({}));
        path[call.route.verb.as_str().to_lowercase()] = described.clone();
    }
    let mut named = schemas.into_components();
    named.insert("Problem".to_owned(), problem(contract, &comments));
    let document = json!({
        "openapi": "3.1.0",
        "info": { "title": "Verigate", "version": env!("CARGO_PKG_VERSION"), "description": INTRODUCTION },
        "servers": [{ "url": "/" }],
        "security": [{ "key": [] }],
        "tags": tags(calls, &comments),
        "paths": paths,
        "components": {
            "schemas": named,
            "securitySchemes": {
                "key": { "type": "http", "scheme": "bearer", "description": "An API key, as `ID.SECRET`." },
            },
            "headers": headers(),
        },
    });
    (document, operations)
}

fn tags(calls: &[Call], comments: &Comments) -> Vec<Value> {
    let mut seen = BTreeSet::new();
    let services = calls.iter().map(|call| call.method.parent_service().clone());
    let services = services.filter(|service| seen.insert(service.full_name().to_owned()));
    services.map(|service| json!({ "name": tag(service.name()), "description": comments.of(&service) })).collect()
}

pub(crate) fn tag(service: &str) -> &str {
    service.strip_suffix("Service").unwrap_or(service)
}

fn operation(call: &Call, comments: &Comments, schemas: &mut Schemas<'_>) -> Value {
    let description = comments.of(&call.method);
    let summary = description.split(". ").next().unwrap_or_default().trim_end_matches('.').to_owned();
    let mut operation = json!({
        "operationId": call.route.name.unwrap_or(call.method.name()),
        "tags": [tag(call.method.parent_service().name())],
        "summary": summary,
        "description": description,
        "parameters": parameters(call, comments, schemas),
        "responses": responses(call, comments, schemas),
    });
    if let Some(body) = body(call, schemas) {
        operation["requestBody"] = body;
    }
    operation
}

/// `None` where no field is left for a body.
fn body(call: &Call, schemas: &mut Schemas<'_>) -> Option<Value> {
    if !call.route.verb.has_body() {
        return None;
    }
    let schema = schemas.object(&call.input, &call.in_path);
    if schema["properties"].as_object().is_none_or(Map::is_empty) {
        return None;
    }
    let is_demanded = schema["required"].is_array() || schema["oneOf"].is_array() || schema["allOf"].is_array();
    let schema = if call.in_path.is_empty() { schemas.message(&call.input) } else { schema };
    let mut content = json!({ "schema": schema });
    if let Some(example) = call.route.example.and_then(|example| serde_json::from_str::<Value>(example).ok()) {
        content["example"] = example;
    }
    Some(json!({ "required": is_demanded, "content": { "application/json": content } }))
}

fn parameters(call: &Call, comments: &Comments, schemas: &mut Schemas<'_>) -> Vec<Value> {
    let mut parameters = Vec::new();
    for path in &call.in_path {
        let description = call.field(path).map(|field| comments.of(&field)).unwrap_or_default();
        parameters.push(json!({
            "name": path, "in": "path", "required": true, "description": description, "schema": { "type": "string", "minLength": 1 },
        }));
    }
    if !call.route.verb.has_body() {
        in_query(&call.input, "", &call.in_path, comments, schemas, &mut parameters);
    }
    if call.takes_idempotency_key {
        let schema = json!({ "type": "string", "pattern": "^[!-~]{1,128}$" });
        parameters
            .push(json!({ "name": "Idempotency-Key", "in": "header", "description": IDEMPOTENCY, "schema": schema }));
    }
    let schema = json!({ "type": "integer", "minimum": 1, "maximum": MAX_DEADLINE });
    let description = "How many seconds the call may take.";
    parameters.push(json!({ "name": "Request-Timeout", "in": "header", "description": description, "schema": schema }));
    parameters
}

/// The fields that a query can name, with those of messages under dotted names.
fn in_query(
    message: &MessageDescriptor,
    prefix: &str,
    without: &[&str],
    comments: &Comments,
    schemas: &mut Schemas<'_>,
    parameters: &mut Vec<Value>,
) {
    for field in message.fields() {
        let name = format!("{prefix}{}", field.name());
        match field.kind() {
            _ if field.is_map() || without.contains(&name.as_str()) => {}
            Kind::Message(inner) if !is_well_known(&inner) && !field.is_list() => {
                in_query(&inner, &format!("{name}."), without, comments, schemas, parameters);
            }
            _ => parameters.push(query_parameter(&name, &field, comments, schemas)),
        }
    }
}

fn query_parameter(name: &str, field: &FieldDescriptor, comments: &Comments, schemas: &mut Schemas<'_>) -> Value {
    let mut schema = schemas.field(field);
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("description");
    }
    let mut parameter = json!({ "name": name, "in": "query", "description": comments.of(field), "schema": schema });
    if comments.raw(field).ends_with("Required.") {
        parameter["required"] = json!(true);
    }
    parameter
}

fn responses(call: &Call, comments: &Comments, schemas: &mut Schemas<'_>) -> Value {
    let answer = schemas.message(&call.output);
    let request_id = json!({ "X-Request-Id": { "$ref": "#/components/headers/X-Request-Id" } });
    let success = if call.is_watch() {
        let name = call.output.fields().next().map(|field| field.name().to_owned()).unwrap_or_default();
        let failed = json!({ "$ref": "#/components/schemas/Problem" });
        // In this version of OpenAPI the schema of a stream of events is that of each event.
        let schema = json!({ "type": "object", "oneOf": [event(&name, &answer), event("error", &failed)] });
        json!({ "description": EVENTS, "headers": request_id, "content": { "text/event-stream": { "schema": schema } } })
    } else {
        let description = comments.of(&call.output);
        json!({ "description": description, "headers": request_id, "content": { "application/json": { "schema": answer } } })
    };
    let mut responses = Map::new();
    responses.insert("200".to_owned(), success);
    for status in possible(call, comments) {
        responses.insert(status.to_string(), failure(status));
    }
    Value::Object(responses)
}

fn event(name: &str, data: &Value) -> Value {
    json!({
        "properties": {
            "event": { "const": name },
            "id": { "type": "string" },
            "data": { "type": "string", "contentMediaType": "application/json", "contentSchema": data },
        },
        "required": ["event", "data"],
    })
}

/// The HTTP statuses of the errors that the comments name.
fn possible(call: &Call, comments: &Comments) -> BTreeSet<u16> {
    let mut possible = statuses(comments.raw(call.method.parent_service()));
    possible.extend(statuses(comments.raw(&call.method)));
    for field in call.input.fields() {
        possible.extend(statuses(comments.raw(&field)));
    }
    if call.route.verb.has_body() {
        possible.extend([413, 415]);
    }
    possible
}

fn failure(status: u16) -> Value {
    let status = http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let mut headers = json!({ "X-Request-Id": { "$ref": "#/components/headers/X-Request-Id" } });
    if [http::StatusCode::TOO_MANY_REQUESTS, http::StatusCode::SERVICE_UNAVAILABLE, http::StatusCode::CONFLICT]
        .contains(&status)
    {
        headers["Retry-After"] = json!({ "$ref": "#/components/headers/Retry-After" });
    }
    json!({
        "description": status.canonical_reason().unwrap_or_default(),
        "headers": headers,
        "content": { MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } },
    })
}

fn headers() -> Value {
    json!({
        "X-Request-Id": { "description": "The name of the call.", "schema": { "type": "string" } },
        "Retry-After": {
            "description": "How many seconds to wait before the same call can succeed. Not there where waiting does not help.",
            "schema": { "type": "integer", "minimum": 0 },
        },
    })
}

fn problem(contract: &DescriptorPool, comments: &Comments) -> Value {
    let reasons = contract.get_enum_by_name("verigate.error.v1.ErrorReason").map(|reasons| {
        let named = reasons.values().filter(|reason| reason.number() != 0);
        let line = |reason: prost_reflect::EnumValueDescriptor| {
            let name = reason.name().trim_start_matches("ERROR_REASON_").to_owned();
            format!("- `{name}`: {}", comments.of(&reason))
        };
        named.map(line).collect::<Vec<_>>().join("\n")
    });
    let why = format!(
        "Why, for programs. Not there where HTTP itself says it all. More are added in time: treat one that you do not know \
         by its status.\n\n{}",
        reasons.unwrap_or_default()
    );
    let field = "Where, as a dotted path such as `recipient.phone`; `body` for the body as a whole, and headers by their names.";
    json!({
        "type": "object",
        "description": "What went wrong (RFC 9457).",
        "properties": {
            "type": { "type": "string", "const": "about:blank" },
            "title": { "type": "string", "description": "The name of the status." },
            "status": { "type": "integer", "description": "The status once more." },
            "detail": { "type": "string", "description": "What is wrong and what would be right, in English, for people." },
            "reason": { "type": "string", "description": why },
            "violations": {
                "type": "array",
                "description": "The fields that are wrong.",
                "items": {
                    "type": "object",
                    "properties": {
                        "field": { "type": "string", "description": field },
                        "description": { "type": "string", "description": "What is wrong and what would be right." },
                    },
                    "required": ["field", "description"],
                },
            },
            "retry_after": { "type": "integer", "description": "As the header `Retry-After`." },
            "rule": { "type": "string", "description": "Of a limit that was reached or another rule of the guard: its name." },
            "left": { "type": "integer", "description": "Of such a rule: how many more it lets pass now." },
            "request_id": { "type": "string", "description": "As the header `X-Request-Id`." },
        },
        "required": ["type", "title", "status", "detail"],
    })
}
