//! Receipts over HTTP: where vendors call us to say what became of messages.
//!
//! `GET` or `POST /receipts/{vendor}/{token}[/…]`, without the token where the vendor signs its calls. It finds out
//! who speaks, has the vendor's own reader read the call, and answers once the outbox has stored what it says. Whoever
//! cannot show that they are the vendor learns nothing, not even whether there is one of that name.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::{HeaderMap, Method, StatusCode, Uri, header};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tracing::{debug, error};

use crate::error::{Error, Kind, Result, Violation};
use crate::messaging::outbox::Outbox;
use crate::messaging::receipt_urls::PATH;
use crate::telemetry::trace;
use crate::vendor::{ReceiptCall, Reported};
use crate::violations::Violations;

/// Most bytes of a call's body. Vendors send a few hundred.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// How long one call may take, its body included.
const TIME_LIMIT: Duration = Duration::from_secs(10);

/// Calls under way at a time; with [`MAX_BODY_BYTES`] it bounds the memory that they take.
const MAX_CALLS: usize = 256;

/// Fewest bytes of a secret that tokens are made of.
const MIN_SECRET_BYTES: usize = 32;

const MAX_URL_BYTES: usize = 200;

/// `[receipts]`: how vendors reach us.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The URL under which vendors reach the http listener; without one they are not told to report.
    pub public_url: Option<String>,
    /// What the tokens in URLs are made of; the store's own secret, when there is none.
    #[serde(default)]
    pub secret: Option<SecretString>,
}

#[derive(Clone)]
struct Desk {
    outbox: Arc<Outbox>,
    room: Arc<Semaphore>,
}

/// Why a call was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// Not shown to be a vendor's. Looks like a page that is not there.
    Stranger,
    Senseless,
    TooLong,
    TooSlow,
    /// Not stored; the vendor should come again.
    Busy,
}

/// The routes under `/receipts/`.
pub fn router(outbox: Arc<Outbox>) -> Router {
    let desk = Desk { outbox, room: Arc::new(Semaphore::new(MAX_CALLS)) };
    Router::new()
        .route(&format!("{PATH}{{vendor}}"), any(answer))
        .route(&format!("{PATH}{{vendor}}/{{*rest}}"), any(answer))
        .with_state(desk)
}

/// The answer of the http listener to whatever it does not serve (RFC 9457).
pub fn not_found() -> Response {
    let body = r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"Nothing is served here. Calls are answered under /v1/."}"#;
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

/// The answer of the http listener when it is at fault itself (RFC 9457).
pub fn fault() -> Response {
    let body = r#"{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"internal error","reason":"INTERNAL"}"#;
    (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
}

async fn answer(
    State(desk): State<Desk>,
    path: Result<Path<Vec<String>>, PathRejection>,
    request: Request,
) -> Response {
    trace::of_call(|call| {
        call.surface("receipts");
        call.method("receipt");
    });
    let (vendor, rest) = match path.as_ref().map(|Path(parts)| parts.as_slice()) {
        Ok([vendor]) => (vendor, ""),
        Ok([vendor, rest]) => (vendor, rest.as_str()),
        _ => return not_found(),
    };
    let clock = &desk.outbox.ground.clock;
    let taken = tokio::select! {
        taken = desk.take(vendor, rest, request) => taken,
        () = clock.sleep_until(clock.now() + TIME_LIMIT) => Err(Refusal::TooSlow),
    };
    match taken {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(refusal) => refusal.to_response(),
    }
}

// === impl Config ===

impl Config {
    /// What is wrong with it, by key.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if self.public_url.as_deref().is_some_and(|url| !is_base(url)) {
            let wanted = "must be http:// or https://, a host, and perhaps a port and a path";
            found.add("public_url", format!("{wanted}: at most {MAX_URL_BYTES} bytes, without user, ? and #"));
        }
        if self.secret.as_ref().is_some_and(|secret| secret.expose_secret().len() < MIN_SECRET_BYTES) {
            found.add("secret", format!("must have at least {MIN_SECRET_BYTES} bytes, or it can be guessed"));
        }
        found.0
    }
}

fn is_base(url: &str) -> bool {
    let Ok(parsed) = url.parse::<Uri>() else { return false };
    let web = matches!(parsed.scheme_str(), Some("http" | "https"));
    web && parsed.host().is_some_and(|host| !host.is_empty())
        && url.len() <= MAX_URL_BYTES
        && !url.contains(['@', '?', '#', '"', '<', '>'])
}

// === impl Desk ===

impl Desk {
    async fn take(&self, vendor: &str, rest: &str, request: Request) -> Result<(), Refusal> {
        let found = self.outbox.vendors.get(vendor).ok_or(Refusal::Stranger)?;
        let reader = found.receipts().ok_or(Refusal::Stranger)?;
        let is_signed = reader.is_signed();
        let (token, behind) = rest.split_once('/').unwrap_or((rest, ""));
        let admitted = is_signed || self.outbox.receipt_urls.admits(vendor, token);
        if !admitted || !matches!(*request.method(), Method::GET | Method::POST) {
            count(vendor, "stranger");
            return Err(Refusal::Stranger);
        }
        // Who is to sign has shown nothing before the reader has looked.
        let early = |refusal: Refusal| if is_signed { Refusal::Stranger } else { refusal };
        let _room = self.room.try_acquire().map_err(|_| early(Refusal::Busy))?;
        let call = read_call(if is_signed { rest } else { behind }, request).await.map_err(early)?;
        let reported = reader.read(&call, self.outbox.ground.clock.now()).map_err(|error| {
            debug!(?error, vendor, "a call to the receipt listener was refused");
            count(vendor, "refused");
            if error.kind() == Kind::Unauthenticated { Refusal::Stranger } else { Refusal::Senseless }
        })?;
        self.store(vendor, reported).await.map_err(|error| {
            error!(?error, vendor, "receipts could not be stored; the vendor is asked to come again");
            count(vendor, "failed");
            Refusal::Busy
        })
    }

    async fn store(&self, vendor: &str, reported: Vec<Reported>) -> Result<(), Error> {
        if reported.is_empty() {
            count(vendor, "empty");
        }
        for reported in reported {
            self.outbox.reported(vendor, reported).await?;
            count(vendor, "stored");
        }
        Ok(())
    }
}

async fn read_call(rest: &str, request: Request) -> Result<ReceiptCall, Refusal> {
    let (parts, body) = request.into_parts();
    let Query(query) = Query::try_from_uri(&parts.uri).map_err(|_| Refusal::Senseless)?;
    // One that breaks off gets no answer anyway.
    let body = axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|_| Refusal::TooLong)?;
    let rest = rest.trim_matches('/').to_owned();
    Ok(ReceiptCall { rest, query, headers: to_fields(&parts.headers), body: body.into() })
}

fn to_fields(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
    };
    headers.iter().filter_map(text).collect()
}

/// `vendor` is a configured one, so that strangers cannot make up labels.
fn count(vendor: &str, result: &'static str) {
    metrics::counter!("verigate_receipt_calls_total", "vendor" => vendor.to_owned(), "result" => result).increment(1);
}

// === impl Refusal ===

impl Refusal {
    fn to_response(self) -> Response {
        let plain = |status: StatusCode, text: &'static str| (status, text).into_response();
        match self {
            Self::Stranger => not_found(),
            Self::Senseless => plain(StatusCode::BAD_REQUEST, "the call makes no sense for this vendor\n"),
            Self::TooLong => plain(StatusCode::PAYLOAD_TOO_LARGE, "the body has more than 65536 bytes\n"),
            Self::TooSlow => plain(StatusCode::REQUEST_TIMEOUT, "the call took too long\n"),
            Self::Busy => {
                let again = [(header::RETRY_AFTER, "5")];
                (StatusCode::SERVICE_UNAVAILABLE, again, "not stored; come again\n").into_response()
            }
        }
    }
}
