//! The vendor's status numbers, and the answers to calls that fail.

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use crate::error::Violation;
use crate::rest::answer;
use crate::rest::trouble::Trouble;
use crate::telemetry::trace;

/// Why a call fails.
pub(super) enum Refusal {
    /// A rule of the vendor's: its status number, and words for people.
    Rule(i64, String),
    /// What the vendor has no rule for, or leaves to us.
    Trouble(Trouble),
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn rule(number: i64, message: impl Into<String>) -> Self {
        Self::Rule(number, message.into())
    }

    pub(super) fn to_response(&self, path: &str, id: &str) -> Response {
        if self.status().is_success() {
            trace::misread();
        }
        let response = answer::json(self.status(), &self.to_body(path, id));
        match self {
            Self::Rule(..) => response,
            Self::Trouble(trouble) => answer::with_wait(response, trouble),
        }
    }

    /// What went wrong stands in the body, so the call itself went well; but what the vendor does not have, it cannot
    /// answer.
    fn status(&self) -> StatusCode {
        match self {
            Self::Trouble(Trouble::UnknownCall) => StatusCode::NOT_FOUND,
            Self::Rule(..) | Self::Trouble(_) => StatusCode::OK,
        }
    }

    /// Three fields; only the balance stays where it cannot be told.
    fn to_body(&self, path: &str, id: &str) -> Value {
        let (status, message) = self.to_words();
        if path == "sms/balance" {
            return json!({ "status": status, "balance": 0, "message": message, "id": id });
        }
        json!({ "status": status, "message": message, "id": id })
    }

    fn to_words(&self) -> (i64, String) {
        let trouble = match self {
            Self::Rule(number, message) => return (*number, message.clone()),
            Self::Trouble(trouble) => trouble,
        };
        let (number, message) = match trouble {
            Trouble::Unreadable(message) | Trouble::Refused(message) => (1, message.as_str()),
            Trouble::TooLarge => (1, "The request is too large"),
            Trouble::UnknownCall => (1, "There is no such endpoint"),
            Trouble::Fields(violations) => return of_fields(violations),
            Trouble::InvalidRecipient => (4, "Phone number not recognised, please begin it with its country code"),
            Trouble::NoCredit => (5, "Insufficient credits"),
            Trouble::Unauthorized => (3, "Invalid API key or secret"),
            Trouble::Forbidden => (2, "Invalid calling IP, your account may not call from it"),
            Trouble::NotFound => (16, "Invalid OTP"),
            // There is no number for it; this one at least is tried again.
            Trouble::Limited(_) => (6, "Too many requests, please retry later"),
            Trouble::Busy | Trouble::Down(_) | Trouble::Fault => (6, "Internal error, please retry shortly"),
        };
        (number, message.to_owned())
    }
}

/// Our names for fields, in the vendor's words.
fn of_fields(violations: &[Violation]) -> (i64, String) {
    let has = |field: &str| violations.iter().any(|violation| violation.field == field);
    if has("policy.lifetime") {
        return (14, "Invalid duration, it is longer than this account may ask for".to_owned());
    }
    if has("text") {
        return (10, "Invalid message content".to_owned());
    }
    let told = violations.iter().map(|violation| match violation.field.as_str() {
        "callback.url" => format!("dlr-url {}", violation.description),
        "idempotency_key" => format!("Idempotency-Key {}", violation.description),
        field => format!("{field} {}", violation.description),
    });
    (1, told.collect::<Vec<_>>().join("; "))
}
