//! How calls fail. The vendor documents none of it: not the HTTP statuses, not the shapes, not the words. Here an answer
//! that would have said `"status": "success"` says `"error"`, one that would have said `"verification": true` says
//! `false` with a reason, and both come with a status of 400 or more, so that a client which looks only at that fails
//! closed.

use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::error::Violation;
use crate::rest::answer;
use crate::rest::hasun::routes::is_check;
use crate::rest::trouble::{Judged, Trouble};

/// Why a call fails.
pub(super) enum Refusal {
    /// A field is missing or cannot be read. In words for the caller.
    Field(String),
    /// The mask is none of the organisation's.
    Mask,
    /// A check that did not approve.
    Judged(Judged),
    /// What all dialects know.
    Trouble(Trouble),
}

/// An HTTP status, a word for programs and some for people.
type Told = (StatusCode, &'static str, String);

// === impl Refusal ===

impl Refusal {
    pub(super) fn required(name: &str) -> Self {
        Self::Field(format!("The {name} field is required."))
    }

    pub(super) fn to_response(&self, path: &str) -> Response {
        let (status, reason, message) = self.told();
        let mut response = answer::json(status, &to_body(is_check(path), reason, &message));
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §11.6.1 wants it with this status.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        match self {
            Self::Trouble(trouble) => answer::with_wait(response, trouble),
            Self::Field(_) | Self::Mask | Self::Judged(_) => response,
        }
    }

    fn told(&self) -> Told {
        match self {
            Self::Field(message) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", message.clone()),
            Self::Mask => {
                (StatusCode::UNPROCESSABLE_ENTITY, "invalid_mask", "The selected mask_token is invalid.".to_owned())
            }
            Self::Judged(judged) => of_judged(*judged),
            Self::Trouble(trouble) => of_trouble(trouble),
        }
    }
}

fn of_judged(judged: Judged) -> Told {
    let (status, reason, message) = match judged {
        Judged::Right => (StatusCode::OK, "verified", "OTP code verified"),
        Judged::Wrong { .. } => (StatusCode::BAD_REQUEST, "invalid", "OTP code invalid"),
        Judged::Expired => (StatusCode::BAD_REQUEST, "expired", "OTP code expired"),
        Judged::Exhausted => (StatusCode::BAD_REQUEST, "max_attempts", "Too many invalid OTP codes"),
        Judged::Used => (StatusCode::BAD_REQUEST, "already_used", "OTP code already used"),
        Judged::NotFound => (StatusCode::NOT_FOUND, "not_found", "OTP code not found"),
    };
    (status, reason, message.to_owned())
}

fn of_trouble(trouble: &Trouble) -> Told {
    let (status, reason, message) = match trouble {
        Trouble::Unreadable(message) => return (StatusCode::BAD_REQUEST, "invalid_request", message.clone()),
        // Where vendors make the codes, nobody here knows them.
        Trouble::Fields(violations) if violations.iter().any(|violation| violation.field == "return_code") => {
            (StatusCode::FORBIDDEN, "forbidden", "Not allowed for this organisation")
        }
        Trouble::Fields(violations) => {
            return (StatusCode::UNPROCESSABLE_ENTITY, "invalid_request", of_fields(violations));
        }
        Trouble::Refused(message) => return (StatusCode::CONFLICT, "conflict", message.clone()),
        Trouble::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", "The request is too large"),
        Trouble::UnknownCall => (StatusCode::NOT_FOUND, "not_found", "There is no such endpoint"),
        Trouble::InvalidRecipient => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_number", "Invalid number"),
        Trouble::Limited(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limited", "Too many requests"),
        Trouble::NoCredit => (StatusCode::PAYMENT_REQUIRED, "insufficient_balance", "Insufficient balance"),
        Trouble::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthenticated", "Unauthenticated."),
        // Such as being told its codes.
        Trouble::Forbidden => (StatusCode::FORBIDDEN, "forbidden", "Not allowed for this organisation"),
        Trouble::NotFound => (StatusCode::NOT_FOUND, "not_found", "Message not found"),
        Trouble::Busy => (StatusCode::CONFLICT, "conflict", "The same request is under way, try again"),
        Trouble::Down(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Service unavailable"),
        Trouble::Fault => (StatusCode::INTERNAL_SERVER_ERROR, "error", "Server error"),
    };
    (status, reason, message.to_owned())
}

/// Our names for fields, in the vendor's words.
fn of_fields(violations: &[Violation]) -> String {
    let told = violations.iter().map(|violation| {
        let field = match violation.field.as_str() {
            "text" => "message",
            "policy.lifetime" => "expire",
            "idempotency_key" => "Idempotency-Key",
            field => field,
        };
        format!("The {field} {}.", violation.description)
    });
    told.collect::<Vec<_>>().join(" ")
}

fn to_body(is_check: bool, reason: &str, message: &str) -> Value {
    if is_check {
        return json!({ "verification": false, "reason": reason, "message": message });
    }
    json!({ "status": "error", "message": message })
}
