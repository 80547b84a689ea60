//! From a request over HTTP to the message of a call: what its path, its query, its headers and its body say.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::{Body, Bytes, HttpBody};
use http::{HeaderMap, StatusCode, header};
use prost::Message;
use prost_reflect::{DynamicMessage, Value};

use crate::auth::caller::Peer;
use crate::error::{Error, Result, Violation};
use crate::rest::native::call::{Call, IDEMPOTENCY_KEY};
use crate::rest::native::place::BODY;
use crate::rest::native::query::{parse_field, parse_query};
use crate::rest::native::read::parse_json;
use crate::rest::native::routes::Verb;
use crate::violations::Violations;

/// Largest body that is read, in bytes: as on the gRPC listener.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Of a body that nobody wanted, so much is still taken off the connection, so that its sender gets to read the answer.
const MAX_UNREAD_BYTES: usize = 8 * MAX_BODY_BYTES;

/// Header of an IETF draft, "The Idempotency-Key HTTP Header Field".
pub(crate) const IDEMPOTENCY_HEADER: &str = "idempotency-key";

/// Where browsers say what they have seen of a stream that broke off, and the field of a watch that goes on there. The
/// header counts more than the query: whoever comes back asks for the same address as the first time.
const LAST_EVENT_HEADER: &str = "last-event-id";
const AFTER: &str = "after";

/// A request, taken apart.
pub(crate) struct Asked {
    /// The values of the names in the path, in order.
    pub(crate) in_path: Vec<String>,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Arc<Unread>,
    /// Where it comes from.
    pub(crate) peer: Option<Peer>,
}

/// A body until somebody reads it.
pub(crate) struct Unread(Mutex<Option<Body>>);

/// Why a request is no call.
pub(crate) struct Refusal {
    pub(crate) error: Error,
    /// The HTTP status, where it tells more than the error's kind.
    pub(crate) exactly: Option<StatusCode>,
}

/// The message of the call, encoded.
pub(crate) async fn parse_request(call: &Call, asked: Asked) -> Result<Bytes, Refusal> {
    let mut message = DynamicMessage::new(call.input.clone());
    let mut faults = Violations::default();
    for (name, text) in call.in_path.iter().zip(asked.in_path) {
        parse_field(name, &[text], &mut message, &mut faults);
    }
    if call.route.verb.has_body() {
        refuse_query(&asked.query, &mut faults);
    } else {
        parse_query(&asked.query, &mut message, &call.in_path, &mut faults);
    }
    let key = parse_key(call, &asked.headers, &mut faults);
    if !faults.0.is_empty() {
        return Err(Refusal::of(Error::invalid_fields(faults.0)));
    }
    let text = read_body(call, &asked.headers, &asked.body).await?;
    let mut message = parse_json(&text, message, &call.in_path).map_err(Refusal::of)?;
    if let Some(key) = key {
        set_key(key, &mut message).map_err(Refusal::of)?;
    }
    if let Some(last) = parse_last_event(call, &asked.headers) {
        message.set_field_by_name(AFTER, Value::String(last));
    }
    Ok(message.encode_to_vec().into())
}

/// Whoever writes secrets into an address should not find that it works.
fn refuse_query(query: &str, faults: &mut Violations) {
    for (name, _) in form_urlencoded::parse(query.as_bytes()).take(1) {
        let name: String = name.chars().take(64).collect();
        faults.add(&name, "stands in the query, but this call reads its body alone".to_owned());
    }
}

async fn read_body(call: &Call, headers: &HeaderMap, body: &Unread) -> Result<Vec<u8>, Refusal> {
    let is_json = headers.get(header::CONTENT_TYPE).map(|kind| is_json(kind.to_str().unwrap_or_default()));
    let is_coded = headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity");
    if is_coded || (call.route.verb.has_body() && is_json == Some(false)) {
        return Err(Refusal::unsupported());
    }
    let text = body.read().await?;
    match is_json {
        _ if text.is_empty() => Ok(text),
        _ if !call.route.verb.has_body() => {
            let what = format!("must be empty, for {} reads its query alone", call.route.verb.as_str());
            Err(Refusal::of(Error::invalid(BODY, what)))
        }
        None => Err(Refusal::unsupported()),
        Some(_) => Ok(text),
    }
}

/// `application/json`, with the one character set that JSON has, if with any.
fn is_json(kind: &str) -> bool {
    let mut parts = kind.split(';').map(str::trim);
    let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/json"));
    named
        && parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
            !name.trim().eq_ignore_ascii_case("charset") || value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
}

/// The key of the header: a string of structured fields (RFC 9651), or the same without its quotes, as many write it.
fn parse_key(call: &Call, headers: &HeaderMap, faults: &mut Violations) -> Option<String> {
    let mut given = headers.get_all(IDEMPOTENCY_HEADER).iter();
    let first = given.next().filter(|_| call.route.verb != Verb::Get)?;
    let name = IDEMPOTENCY_HEADER;
    if !call.takes_idempotency_key {
        faults.add(name, "is not taken by this call".to_owned());
    } else if given.next().is_some() {
        faults.add(name, "is given more than once".to_owned());
    } else {
        let text = first.to_str().ok().map(str::trim).and_then(unquoted).filter(|key| !key.is_empty());
        if text.is_none() {
            faults.add(name, "must be 1 to 128 printable ASCII characters without blanks".to_owned());
        }
        return text;
    }
    None
}

/// `None` where nothing was seen, or nobody can go on there. What is no text is no cursor either.
fn parse_last_event(call: &Call, headers: &HeaderMap) -> Option<String> {
    let last = headers.get(LAST_EVENT_HEADER).filter(|_| call.is_watch() && call.field(AFTER).is_some())?;
    Some(String::from_utf8_lossy(last.as_bytes()).into_owned()).filter(|last| !last.is_empty())
}

/// `None` for quotes that do not match.
fn unquoted(text: &str) -> Option<String> {
    let Some(rest) = text.strip_prefix('"') else { return Some(text.to_owned()) };
    let inner = rest.strip_suffix('"')?;
    let mut key = String::new();
    let mut letters = inner.chars();
    while let Some(letter) = letters.next() {
        key.push(match letter {
            '"' => return None,
            '\\' => letters.next().filter(|next| ['"', '\\'].contains(next))?,
            other => other,
        });
    }
    Some(key)
}

/// Errors: `Invalid` when the body has another one.
fn set_key(key: String, message: &mut DynamicMessage) -> Result<()> {
    let given = message.get_field_by_name(IDEMPOTENCY_KEY).and_then(|given| given.as_str().map(str::to_owned));
    match given.as_deref() {
        Some(given) if !given.is_empty() && given != key => {
            Err(Error::invalid(IDEMPOTENCY_KEY, "differs from the header Idempotency-Key; give one of them"))
        }
        _ => {
            message.set_field_by_name(IDEMPOTENCY_KEY, Value::String(key));
            Ok(())
        }
    }
}

// === impl Unread ===

impl Unread {
    pub(crate) fn new(body: Body) -> Self {
        Self(Mutex::new(Some(body)))
    }

    fn take(&self) -> Option<Body> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn read(&self) -> Result<Vec<u8>, Refusal> {
        let mut text = Vec::new();
        let Some(mut body) = self.take() else { return Ok(text) };
        if usize::try_from(body.size_hint().lower()).is_ok_and(|least| least > MAX_BODY_BYTES) {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
            return Err(Refusal::too_long());
        }
        while let Some(data) = next(&mut body).await {
            let data = data.map_err(|_| Refusal::of(Error::invalid(BODY, "broke off")))?;
            if text.len() + data.len() > MAX_BODY_BYTES {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(body);
                return Err(Refusal::too_long());
            }
            text.extend_from_slice(&data);
        }
        Ok(text)
    }

    /// Takes off the connection what nobody has read.
    pub(crate) async fn discard(&self) {
        let Some(mut body) = self.take() else { return };
        let mut taken = 0;
        while taken < MAX_UNREAD_BYTES
            && let Some(Ok(data)) = next(&mut body).await
        {
            taken += data.len();
        }
    }
}

/// The next bytes; none of a frame of trailers.
async fn next(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

// === impl Refusal ===

impl Refusal {
    fn of(error: Error) -> Self {
        Self { error, exactly: None }
    }

    fn unsupported() -> Self {
        let what = "must be application/json in UTF-8 and without a Content-Encoding";
        let error =
            Error::invalid_fields(vec![Violation { field: "content-type".to_owned(), description: what.to_owned() }]);
        Self { error, exactly: Some(StatusCode::UNSUPPORTED_MEDIA_TYPE) }
    }

    fn too_long() -> Self {
        let error = Error::invalid(BODY, format!("must be at most {MAX_BODY_BYTES} bytes"));
        Self { error, exactly: Some(StatusCode::PAYLOAD_TOO_LARGE) }
    }
}
