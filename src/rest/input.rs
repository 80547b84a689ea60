//! A call as it came in over HTTP, read whole and within bounds, before anybody asks what it means.

use std::error::Error as StdError;

use axum::body::Bytes;
use axum::extract::Request;
use http::{Extensions, HeaderMap, Method, header};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};

use crate::auth::caller::Peer;
use crate::rest::json;
use crate::rest::trouble::Trouble;

/// Most bytes of a body that are read. Five hundred contacts with all their fields take half of it.
pub const MAX_BODY_BYTES: usize = 512 * 1024;

/// A call, behind the place where its dialect is mounted.
#[derive(Debug)]
pub struct Call {
    pub method: Method,
    /// Without slashes at its ends, and still percent-encoded.
    pub path: String,
    /// Decoded, in the order in which they came.
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What the `content-type` of a call says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType {
    Json,
    Form,
    /// None is given.
    Absent,
    Other,
}

/// Where a request comes from, as its connection says. Headers do not count here: anybody can write them.
pub(crate) fn peer_of(extensions: &Extensions) -> Option<Peer> {
    extensions.get().copied()
}

/// Why a body was not read. One that breaks off gets no answer anyway.
fn unread(error: &axum::Error) -> Trouble {
    let is_late = error.source().is_some_and(|cause| cause.is::<tonic::Status>());
    if is_late { Trouble::Unreadable("the call took too long".to_owned()) } else { Trouble::TooLarge }
}

// === impl Call ===

impl Call {
    /// Reads a request to its end. `path`: what follows the place where the dialect is mounted.
    pub(crate) async fn read(path: &str, request: Request) -> Result<Self, Trouble> {
        let (parts, body) = request.into_parts();
        let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let body = axum::body::to_bytes(body, MAX_BODY_BYTES).await.map_err(|error| unread(&error))?;
        let path = path.trim_matches('/').to_owned();
        Ok(Self { method: parts.method, path, query, headers: parts.headers, body })
    }

    /// The parts of the path, decoded.
    pub fn segments(&self) -> Vec<String> {
        let decode = |part: &str| percent_decode_str(part).decode_utf8_lossy().into_owned();
        self.path.split('/').filter(|part| !part.is_empty()).map(decode).collect()
    }

    /// A header as text; `None` when it is missing or no text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The last value of a name in the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// What makes a repeated call harmless.
    ///
    /// Errors: `Fields` for one that is no text: a call that comes again must not find that it was passed over.
    pub fn idempotency_key(&self) -> Result<Option<String>, Trouble> {
        let Some(value) = self.headers.get("idempotency-key") else { return Ok(None) };
        let text =
            value.to_str().map_err(|_| Trouble::field("idempotency_key", "must be printable ASCII characters"))?;
        Ok(Some(text.to_owned()))
    }

    pub fn content_type(&self) -> ContentType {
        let Some(value) = self.headers.get(header::CONTENT_TYPE) else { return ContentType::Absent };
        let essence = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/json" => ContentType::Json,
            "application/x-www-form-urlencoded" => ContentType::Form,
            _ => ContentType::Other,
        }
    }

    /// The body as a JSON object. One without a content type is taken for JSON.
    ///
    /// Errors: `Unreadable`.
    pub fn json(&self) -> Result<Map<String, Value>, Trouble> {
        if !matches!(self.content_type(), ContentType::Json | ContentType::Absent) {
            return Err(Trouble::Unreadable("the content type must be application/json".to_owned()));
        }
        match json::parse(&self.body).map_err(Trouble::Unreadable)? {
            Value::Object(object) => Ok(object),
            _ => Err(Trouble::Unreadable("the body must be a JSON object".to_owned())),
        }
    }

    /// The fields of a form. Each name once.
    ///
    /// Errors: `Unreadable`.
    pub fn form(&self) -> Result<Map<String, Value>, Trouble> {
        let text = std::str::from_utf8(&self.body);
        let text = text.map_err(|_| Trouble::Unreadable("the body must be UTF-8".to_owned()))?;
        to_object(form_urlencoded::parse(text.as_bytes()).map(|(name, value)| (name.into_owned(), value.into_owned())))
    }

    /// The query as fields. Each name once.
    ///
    /// Errors: `Unreadable`.
    pub fn query_fields(&self) -> Result<Map<String, Value>, Trouble> {
        to_object(self.query.iter().cloned())
    }
}

fn to_object(fields: impl Iterator<Item = (String, String)>) -> Result<Map<String, Value>, Trouble> {
    let mut object = Map::new();
    for (name, value) in fields {
        if object.insert(name, value.into()).is_some() {
            return Err(Trouble::Unreadable("a field comes twice".to_owned()));
        }
    }
    Ok(object)
}
