//! The vendor's numbers, and the answers to calls that fail. All that is inferred of them stands here.
//!
//! Numbers and most words are the vendor's own lists. Which HTTP status goes with which number is told for the judging of
//! codes, for 401 and for 403; the others are what a client can act on.

use std::time::Duration;

use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use crate::rest::answer;
use crate::rest::trouble::Trouble;

/// An answer that says no.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: i64,
    pub(super) message: String,
    /// Wrong codes that are still allowed, where that is what the call was about.
    pub(super) left: Option<u32>,
    /// How long to wait.
    pub(super) wait: Option<Duration>,
}

const BAD: StatusCode = StatusCode::BAD_REQUEST;

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(status: StatusCode, code: i64, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), left: None, wait: None }
    }

    /// One with the status that most of them have.
    pub(super) fn bad(code: i64, message: impl Into<String>) -> Self {
        Self::new(BAD, code, message)
    }

    pub(super) fn wrong_code(left: u32) -> Self {
        Self { left: Some(left), ..Self::bad(199, "Wrong OTP code.") }
    }

    pub(super) fn exhausted() -> Self {
        Self::bad(196, "Maximum amount of wrong attempts has been reached.")
    }

    pub(super) fn expired() -> Self {
        Self::bad(197, "OTP Request expired.")
    }

    /// Also for a code that was right before: the vendor says of it only that it is good once.
    pub(super) fn unknown_request() -> Self {
        Self::bad(198, "OTP Request not found.")
    }

    pub(super) fn no_target() -> Self {
        Self::bad(194, "At least phone number or request token is mandatory.")
    }

    pub(super) fn no_code() -> Self {
        Self::bad(195, "The OTP code is mandatory, as a string.")
    }

    pub(super) fn invalid_number() -> Self {
        Self::bad(117, "No valid phone number.")
    }

    pub(super) fn unknown_prefix() -> Self {
        Self::bad(150, "The prefix of the phone number matches no country.")
    }

    pub(super) fn duplicate() -> Self {
        Self::bad(120, "This request_id has been used already.")
    }

    /// What trouble is in the vendor's words.
    pub(super) fn of(trouble: &Trouble) -> Self {
        let refused = match trouble {
            Trouble::Unreadable(message) => Self::bad(100, message.as_str()),
            Trouble::Refused(message) => Self::bad(125, message.as_str()),
            Trouble::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, 100, "The request is too large."),
            Trouble::UnknownCall => Self::new(StatusCode::NOT_FOUND, 125, "There is no such call."),
            Trouble::Fields(violations) => {
                let told: Vec<_> = violations.iter().map(|it| format!("{} {}", it.field, it.description)).collect();
                let of_sender = violations.iter().all(|it| it.field == "sender");
                Self::bad(if of_sender { 106 } else { 125 }, told.join("; "))
            }
            Trouble::InvalidRecipient => Self::invalid_number(),
            Trouble::Limited(_) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, 128, "Too many attempts, please try later.")
            }
            Trouble::NoCredit => Self::new(StatusCode::PAYMENT_REQUIRED, 104, "Not enough credit."),
            Trouble::Unauthorized => Self::new(StatusCode::UNAUTHORIZED, 101, "Wrong api-login or api-key."),
            Trouble::Forbidden => Self::new(StatusCode::FORBIDDEN, 207, "This account has no access to this feature."),
            Trouble::NotFound => Self::bad(131, "Campaign not found."),
            Trouble::Busy => Self::down(Some(Duration::from_secs(1))),
            Trouble::Down(wait) => Self::down(*wait),
            Trouble::Fault => Self::new(StatusCode::INTERNAL_SERVER_ERROR, 500, "The request could not be processed."),
        };
        match trouble {
            Trouble::Limited(wait) => Self { wait: *wait, ..refused },
            _ => refused,
        }
    }

    fn down(wait: Option<Duration>) -> Self {
        let refused = Self::new(StatusCode::SERVICE_UNAVAILABLE, 500, "The request cannot be processed now.");
        Self { wait, ..refused }
    }

    pub(super) fn to_response(&self) -> Response {
        let mut body = json!({ "code": self.code, "message": self.message });
        if let Some(left) = self.left {
            body["remaining_number_of_attempts"] = left.into();
        }
        answer::with_wait(answer::json(self.status, &body), &Trouble::Limited(self.wait))
    }
}
