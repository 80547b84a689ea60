//! A stand-in for eSMS Malaysia: `/sms/send` as its page describes it, in JSON, and whatever can go wrong on the way.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio_stream::StreamExt;

use crate::support::http::serve;

pub(crate) const USER: &str = "esms-test-key";
pub(crate) const PASS: &str = "esms-test-secret-7f3a";

/// Running until the test's runtime ends.
pub(crate) struct EsmsServer {
    address: SocketAddr,
    state: Arc<Mutex<Shared>>,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// What the server does instead of its work.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// A documented or undocumented status, in the shape of the vendor's failures.
    Status(i64),
    /// Any answer.
    Answer { status: u16, headers: Vec<(&'static str, String)>, body: Vec<u8> },
    /// Takes the request and never answers.
    Silence,
    /// Answers one byte each 20 ms, without end.
    Drip,
    /// Begins an answer and breaks off.
    BreakOff,
}

#[derive(Default)]
struct Shared {
    fault: Option<Fault>,
    requests: Vec<Recorded>,
}

impl EsmsServer {
    pub(crate) async fn start() -> Self {
        let state: Arc<Mutex<Shared>> = Arc::default();
        // A fallback, so that requests which go astray are recorded, too.
        let address = serve(axum::Router::new().fallback(handle).with_state(state.clone())).await;
        Self { address, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on, until told otherwise.
    pub(crate) fn set_fault(&self, fault: impl Into<Option<Fault>>) {
        self.state.lock().unwrap().fault = fault.into();
    }

    /// All that came, oldest first.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.state.lock().unwrap().requests.clone()
    }
}

async fn handle(State(state): State<Arc<Mutex<Shared>>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec();
    let recorded = Recorded {
        method: parts.method.to_string(),
        target: parts.uri.to_string(),
        headers: parts.headers,
        body: body.clone(),
    };
    let fault = {
        let mut state = state.lock().unwrap();
        state.requests.push(recorded);
        state.fault.clone()
    };
    match fault {
        None if parts.uri.path() == "/sms/send" => {
            serde_json::from_slice(&body).map_or_else(|_| refusal(1), |request| send(&request))
        }
        None => StatusCode::NOT_FOUND.into_response(),
        Some(fault) => misbehave(fault).await,
    }
}

/// The vendor's checks, in the order that its users have seen.
fn send(request: &Value) -> Response {
    let field = |name: &str| request[name].as_str().filter(|value| !value.is_empty());
    let (Some(user), Some(pass), Some(to), Some(msg)) = (field("user"), field("pass"), field("to"), field("msg"))
    else {
        return refusal(1);
    };
    if (user, pass) != (USER, PASS) {
        return refusal(3);
    }
    if !to.bytes().all(|byte| byte.is_ascii_digit()) {
        return refusal(9);
    }
    if to.starts_with('0') {
        return refusal(4);
    }
    if to.starts_with("60") && !msg.starts_with("RM0.00 ") {
        return refusal(10);
    }
    let id = "88ce9c6e-1707-41b8-95a2-91d228001fc7";
    let kind = if msg.is_ascii() { 0 } else { 8 };
    axum::Json(json!({"status": 0, "creditDeducted": 1, "message": "ok", "id": id, "parts": 1, "type": kind}))
        .into_response()
}

fn refusal(status: i64) -> Response {
    axum::Json(json!({"status": status, "message": "refused", "id": "c8d6bb1c-bff6-47d5-9e01-dc2596bbdbe7"}))
        .into_response()
}

async fn misbehave(fault: Fault) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json")];
    match fault {
        Fault::Status(status) => refusal(status),
        Fault::Answer { status, headers, body } => {
            let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Fault::Silence => std::future::pending().await,
        Fault::Drip => {
            let bytes = tokio_stream::iter(std::iter::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(b" "))));
            (json, Body::from_stream(bytes.throttle(Duration::from_millis(20)))).into_response()
        }
        Fault::BreakOff => {
            let head = tokio_stream::iter([Ok(Bytes::from_static(br#"{"status":0,"#)), Err("the line went dead")]);
            (json, Body::from_stream(head)).into_response()
        }
    }
}
