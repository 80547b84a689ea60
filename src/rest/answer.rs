//! Answers as most dialects give them: JSON, an HTTP status, and how long to wait where waiting helps.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::rest::trouble::Trouble;

pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    (status, Json(body)).into_response()
}

/// Says when to come again, where the trouble tells (RFC 9110 §10.2.3: whole seconds).
pub(crate) fn with_wait(response: Response, trouble: &Trouble) -> Response {
    let (Trouble::Limited(wait) | Trouble::Down(wait)) = trouble else { return response };
    after(response, *wait)
}

/// Says when to come again, if that is known.
pub(crate) fn after(mut response: Response, wait: Option<Duration>) -> Response {
    if let Some(wait) = wait {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
    }
    response
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
}
