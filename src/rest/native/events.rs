//! Answers that go on: a stream of server-sent events (the WHATWG's HTML standard, chapter 9.2).
//!
//! Each event holds a whole answer and is named after what it shows. Its `id` is the cursor where there is one, so that
//! browsers go on there by themselves; else it is made of what the event says, so that two of one id say the same. The
//! stream ends after the last answer, and otherwise with an event `error` that holds the problem.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use http::header;
use prost_reflect::MessageDescriptor;
use sha2::{Digest, Sha256};
use tonic::{Status, Streaming};
use tracing::error;

use crate::clock::Clock;
use crate::rest::native::answer::to_json;
use crate::rest::native::problem::Problem;
use crate::status::to_status;

/// After this long without an event a comment is sent, so that nobody on the way takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The events of one call.
pub(crate) struct Events {
    /// What each answer is.
    pub(crate) output: MessageDescriptor,
    pub(crate) first: Option<Bytes>,
    /// None once the stream has ended.
    pub(crate) rest: Option<Streaming<Bytes>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) request_id: Option<String>,
}

// === impl Events ===

impl Events {
    pub(crate) fn stream(self) -> Response {
        let texts = unfold(self, async |mut events| {
            let text = events.next().await?;
            Some((Ok::<_, Infallible>(text), events))
        });
        let headers = [
            (header::CONTENT_TYPE.as_str(), "text/event-stream"),
            // Some proxies gather answers unless they are asked not to.
            ("x-accel-buffering", "no"),
        ];
        (headers, Body::from_stream(texts)).into_response()
    }

    async fn next(&mut self) -> Option<String> {
        if let Some(first) = self.first.take() {
            return Some(self.event(first));
        }
        let rest = self.rest.as_mut()?;
        tokio::select! {
            answer = rest.message() => match answer {
                Ok(Some(answer)) => Some(self.event(answer)),
                Ok(None) => None,
                Err(status) => Some(self.fail(&status)),
            },
            () = self.clock.sleep_until(self.clock.now() + KEEP_ALIVE) => Some(": still here\n\n".to_owned()),
        }
    }

    fn event(&mut self, answer: Bytes) -> String {
        match to_json(&self.output, answer) {
            Ok(json) => {
                let name = self.output.fields().next().map(|field| field.name().to_owned()).unwrap_or_default();
                format!("event: {name}\nid: {}\ndata: {json}\n\n", id(&json))
            }
            Err(error) => {
                error!(?error, "an answer cannot be written as JSON");
                self.fail(&to_status(&error))
            }
        }
    }

    /// The last event.
    fn fail(&mut self, status: &Status) -> String {
        self.rest = None;
        let problem = Problem::of(status, None).named(self.request_id.take());
        format!("event: error\ndata: {}\n\n", problem.to_json())
    }
}

/// The same for every order of the keys of an object.
fn id(json: &str) -> String {
    let value = serde_json::from_str::<serde_json::Value>(json).unwrap_or_default();
    if let Some(cursor) = value["cursor"].as_str() {
        return cursor.to_owned();
    }
    let sorted = value.to_string();
    Sha256::digest(sorted).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}
