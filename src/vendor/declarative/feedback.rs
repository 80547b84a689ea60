//! How a described vendor is told whether its messages reached people: one call for each, which names the message as the
//! vendor does.

use std::collections::BTreeMap;

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::vendor::FeedbackOutcome;
use crate::vendor::declarative::request::{Described, Filled, Method, Request};
use crate::vendor::declarative::template::{About, Placeholder, Values};

/// The call, and the vendor's words.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedbackConfig {
    #[serde(default)]
    pub method: Method,
    /// As that of a send; its placeholders, and those below, are others.
    pub url: String,
    #[serde(default)]
    pub headers: BTreeMap<String, SecretString>,
    #[serde(default)]
    pub json: Option<Value>,
    #[serde(default)]
    pub form: Option<BTreeMap<String, String>>,
    /// What `{outcome}` stands for when a message was received.
    #[serde(default)]
    pub received: Option<String>,
    /// And when it was not; left out, the vendor is not told so.
    #[serde(default)]
    pub not_received: Option<String>,
}

/// Fills it in.
pub(crate) struct FeedbackCall {
    request: Request,
    received: String,
    not_received: Option<String>,
}

// === impl FeedbackConfig ===

impl FeedbackConfig {
    /// `username` and `secret`: whether the vendor has them. `named`: whether its answers name messages.
    ///
    /// Errors: `Invalid`, naming the field.
    pub(crate) fn build(self, username: bool, secret: bool, named: bool) -> Result<FeedbackCall> {
        let Self { method, url, headers, json, form, received, not_received } = self;
        if !named {
            return Err(Error::invalid("answer.id", "is missing: feedback names messages by it"));
        }
        let described = Described { prefix: "feedback.", method, url, headers, json, form };
        let request = described.parse(&Placeholder::OF_FEEDBACK, username, secret)?;
        let placeholders = request.placeholders();
        if !placeholders.contains(&Placeholder::Id) {
            let wanted =
                "must hold {id}, or json, form or headers of feedback must: else nobody knows of what it speaks";
            return Err(Error::invalid("feedback.url", wanted));
        }
        // Where only one thing is ever told, there may be no word for it.
        let has_words = received.is_some() || not_received.is_some();
        let needs_words = placeholders.contains(&Placeholder::Outcome) || not_received.is_some();
        match received {
            None if needs_words => Err(Error::invalid("feedback.received", "is missing: what {outcome} stands for")),
            _ if has_words && !placeholders.contains(&Placeholder::Outcome) => {
                Err(Error::invalid("feedback.url", "must hold {outcome}, or json, form or headers of feedback must"))
            }
            received => Ok(FeedbackCall { request, received: received.unwrap_or_default(), not_received }),
        }
    }
}

// === impl FeedbackCall ===

impl FeedbackCall {
    /// The vendor's word; `None` where it has none.
    pub(crate) fn word(&self, outcome: FeedbackOutcome) -> Option<&str> {
        match outcome {
            FeedbackOutcome::Received => Some(&self.received),
            FeedbackOutcome::NotReceived => self.not_received.as_deref(),
        }
    }

    /// `None` when there is no word for it, or what the vendor calls the message does not fit its place.
    pub(crate) fn fill(
        &self,
        id: &str,
        outcome: FeedbackOutcome,
        username: Option<&str>,
        secret: Option<&SecretString>,
    ) -> Option<Filled> {
        // Dots alone would lead to another page.
        if id.bytes().all(|byte| byte == b'.') {
            return None;
        }
        let about = About::Feedback { id, outcome: self.word(outcome)? };
        self.request.fill(&Values { about, username, secret })
    }
}
