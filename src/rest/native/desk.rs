//! Where the calls at one path are answered.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tonic::{Status, Streaming};
use tracing::{Span, error};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::rest::input::peer_of;
use crate::rest::native::answer::to_json;
use crate::rest::native::call::Call;
use crate::rest::native::events::Events;
use crate::rest::native::problem::Problem;
use crate::rest::native::request::{Asked, Refusal, Unread, parse_request};
use crate::rest::native::routes::Verb;
use crate::rest::native::rpc::Rpcs;
use crate::status::to_status;
use crate::telemetry::trace;

/// How long a call may take, in seconds, unless its caller says otherwise. A watch may take forever.
const DEADLINE: u32 = 60;

/// Longest deadline that a caller may ask for, in seconds.
pub(crate) const MAX_DEADLINE: u32 = 3600;

/// How long a body that nobody wanted is waited for.
const DISCARD_LIMIT: Duration = Duration::from_secs(5);

/// Header of a call: its deadline, in whole seconds.
pub(crate) const REQUEST_TIMEOUT: &str = "request-timeout";

/// Header of a call as it comes from the layer that names calls, and of its answer.
pub(crate) const REQUEST_ID: &str = "x-request-id";

/// Header of an rpc.
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// What calls are answered with.
#[derive(Clone)]
pub(crate) struct Means {
    pub(crate) rpcs: Rpcs,
    pub(crate) clock: Arc<dyn Clock>,
}

/// All calls at one path.
pub(crate) struct Desk {
    pub(crate) means: Means,
    pub(crate) calls: Vec<Call>,
}

// === impl Desk ===

impl Desk {
    /// `in_path`: the values of the names in the path, `None` when they are not text.
    pub(crate) async fn answer(&self, in_path: Option<Vec<String>>, request: Request) -> Response {
        let (head, body) = request.into_parts();
        trace::of_call(|call| call.surface("json"));
        let request_id = head.headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned);
        let body = Arc::new(Unread::new(body));
        let answered = match (self.call(&head.method), in_path) {
            _ if head.method == Method::OPTIONS => Ok(StatusCode::NO_CONTENT.into_response()),
            (None, _) => Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, self.not_allowed(&head.method))),
            (Some(_), None) => {
                Err(Problem::new(StatusCode::BAD_REQUEST, "The path must be UTF-8, with % before each byte."))
            }
            (Some(call), Some(in_path)) => {
                let query = head.uri.query().unwrap_or_default().to_owned();
                let (headers, peer) = (head.headers.clone(), peer_of(&head.extensions));
                let asked = Asked { in_path, query, headers, body: Arc::clone(&body), peer };
                self.put_through(call, asked, request_id.clone()).await
            }
        };
        self.clear(&head.headers, &body).await;
        let mut response = answered.unwrap_or_else(|problem| problem.named(request_id).to_response());
        let headers = response.headers_mut();
        if head.method == Method::OPTIONS || self.call(&head.method).is_none() {
            headers.insert(header::ALLOW, self.allowed());
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    fn call(&self, method: &Method) -> Option<&Call> {
        let asked = if method == Method::HEAD { Verb::Get.as_str() } else { method.as_str() };
        self.calls.iter().find(|call| call.route.verb.as_str() == asked)
    }

    fn allowed(&self) -> HeaderValue {
        let verbs = self.calls.iter().map(|call| call.route.verb);
        let with_head = verbs.flat_map(|verb| [Some(verb.as_str()), (verb == Verb::Get).then_some("HEAD")]);
        let names: Vec<_> = with_head.flatten().chain(["OPTIONS"]).collect();
        HeaderValue::try_from(names.join(", ")).unwrap_or_else(|_| HeaderValue::from_static("OPTIONS"))
    }

    fn not_allowed(&self, method: &Method) -> String {
        let allowed = self.allowed();
        // One that is not among the known ones could be of any length.
        let asked: String = method.as_str().chars().take(16).collect();
        format!("{asked} is not served here, but {}.", allowed.to_str().unwrap_or_default())
    }

    async fn put_through(&self, call: &Call, asked: Asked, request_id: Option<String>) -> Result<Response, Problem> {
        // The path of the request has ids in it, and whatever else people write there.
        Span::current().record("path", call.rpc.as_str());
        trace::of_call(|of| of.method(call.route.rpc));
        let (first, rest) = self.ask(call, asked).await?;
        if call.is_watch() {
            let (output, clock) = (call.output.clone(), Arc::clone(&self.means.clock));
            return Ok(Events { output, first: Some(first), rest: Some(rest), clock, request_id }.stream());
        }
        let json = to_json(&call.output, first).map_err(|error| {
            error!(?error, "an answer cannot be written as JSON");
            Problem::of(&to_status(&error), None)
        })?;
        Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
    }

    /// The first answer, and where more would come from.
    async fn ask(&self, call: &Call, asked: Asked) -> Result<(Bytes, Streaming<Bytes>), Problem> {
        let headers = to_headers(call, &asked.headers).map_err(|error| Problem::of(&to_status(&error), None))?;
        let peer = asked.peer;
        let refused = Arc::new(OnceLock::new());
        let message = to_message(call.clone(), asked, Arc::clone(&refused));
        let answers = async {
            let mut answers = self.means.rpcs.call(&call.rpc, headers, peer, message).await?;
            let first = answers.message().await?;
            Ok((first.ok_or_else(|| to_status(&Error::internal("an rpc answered nothing")))?, answers))
        };
        answers.await.map_err(|status: Status| match refused.get() {
            Some(Refusal { error, exactly }) => Problem::of(&to_status(error), *exactly),
            None => Problem::of(&status, None),
        })
    }

    /// Lets a caller send to its end what nobody reads, for many look for no answer before. Whoever asked whether to send it
    /// does not begin.
    async fn clear(&self, headers: &HeaderMap, body: &Unread) {
        if headers.contains_key(header::EXPECT) {
            return;
        }
        let clock = &self.means.clock;
        tokio::select! {
            () = body.discard() => {}
            () = clock.sleep_until(clock.now() + DISCARD_LIMIT) => {}
        }
    }
}

/// The message of the call, or nothing, once it is told why.
async fn to_message(call: Call, asked: Asked, refused: Arc<OnceLock<Refusal>>) -> Option<Bytes> {
    match parse_request(&call, asked).await {
        Ok(message) => Some(message),
        Err(refusal) => {
            refused.get_or_init(|| refusal);
            None
        }
    }
}

/// What an rpc gets to see of the headers: whose call it is, and how long it may take.
///
/// Errors: for a deadline that is none.
fn to_headers(call: &Call, given: &HeaderMap) -> Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for value in given.get_all(header::AUTHORIZATION) {
        headers.append(header::AUTHORIZATION, value.clone());
    }
    let seconds = match given.get(REQUEST_TIMEOUT) {
        Some(value) => Some(parse_deadline(value).ok_or_else(|| {
            let wanted = format!("must be a whole number of seconds from 1 to {MAX_DEADLINE}");
            Error::invalid(REQUEST_TIMEOUT, wanted)
        })?),
        None => (!call.is_watch()).then_some(DEADLINE),
    };
    if let Some(value) = seconds.and_then(|seconds| HeaderValue::try_from(format!("{seconds}S")).ok()) {
        headers.insert(GRPC_TIMEOUT, value);
    }
    Ok(headers)
}

fn parse_deadline(value: &HeaderValue) -> Option<u32> {
    let digits = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok().filter(|seconds| (1..=MAX_DEADLINE).contains(seconds))
}
