//! Calls that fail, in the vendor's shape: an HTTP status, a message, and what is wrong with which field.
//!
//! The vendor shows the shape, the statuses 400 and 404, and one wrong field, whose slug `missing` is a word of the
//! validator Pydantic. All other slugs are that validator's, too; they, the other statuses and the messages are inferred,
//! and stand here and nowhere else.

use std::borrow::Cow;
use std::time::Duration;

use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use crate::rest::answer;
use crate::rest::simpu::version::Version;
use crate::rest::trouble::Trouble;

/// Why a call is refused.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    message: Cow<'static, str>,
    errors: Vec<Wrong>,
    /// When to come again, where waiting helps.
    wait: Option<Duration>,
}

/// A field that is wrong. Inner fields are named by their path, such as `personalisation.0.to`.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) field: String,
    pub(super) fault: Fault,
}

/// What is wrong with a field.
#[derive(Debug)]
pub(super) enum Fault {
    Missing,
    NotText,
    NotWhole,
    /// A text that should be a whole number.
    NotParsed,
    HasFraction,
    NotFlag,
    NotList,
    NotObject,
    AtLeast(u64),
    AtMost(u64),
    ShorterThan(usize),
    LongerThan(usize),
    /// A list with more items.
    MoreThan(usize),
    NoneOf(&'static [&'static str]),
    /// The body as a whole cannot be read.
    Unreadable(String),
    /// Whatever else is wrong, in words.
    Value(Cow<'static, str>),
}

pub(super) const OTP_NOT_FOUND: &str = "OTP not found";
pub(super) const NOT_FOUND: &str = "Not found";
pub(super) const UNREACHABLE: &str = "this number cannot be reached on this channel";

/// A failed check, or an id or row that nobody knows.
pub(super) fn missing(message: &'static str) -> Problem {
    Problem::plain(StatusCode::NOT_FOUND, message)
}

// === impl Problem ===

impl Problem {
    fn plain(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, message: message.into(), errors: Vec::new(), wait: None }
    }

    /// Fields that are wrong, of which there is at least one.
    pub(super) fn fields(errors: Vec<Wrong>) -> Self {
        Self { errors, ..Self::plain(StatusCode::BAD_REQUEST, "Invalid request") }
    }

    pub(super) fn field(field: &str, fault: Fault) -> Self {
        Self::fields(vec![Wrong { field: field.to_owned(), fault }])
    }

    /// `recipient`: the call's own name for whom a message is to.
    pub(super) fn of(trouble: &Trouble, recipient: &str) -> Self {
        let plain = |status, message: &'static str| Self::plain(status, message);
        match trouble {
            Trouble::Unreadable(message) => Self::field("body", Fault::Unreadable(message.clone())),
            Trouble::TooLarge => plain(StatusCode::PAYLOAD_TOO_LARGE, "Request too large"),
            Trouble::UnknownCall => missing(NOT_FOUND),
            Trouble::Fields(violations) => {
                let wrong = violations.iter().map(|violation| Wrong {
                    field: to_field(&violation.field),
                    fault: Fault::Value(violation.description.clone().into()),
                });
                Self::fields(wrong.collect())
            }
            Trouble::InvalidRecipient => Self::field(recipient, Fault::Value(UNREACHABLE.into())),
            Trouble::Limited(wait) => Self { wait: *wait, ..plain(StatusCode::TOO_MANY_REQUESTS, "Too many requests") },
            Trouble::NoCredit => plain(StatusCode::PAYMENT_REQUIRED, "Insufficient balance"),
            Trouble::Unauthorized => plain(StatusCode::UNAUTHORIZED, "Unauthorized"),
            Trouble::Forbidden => plain(StatusCode::FORBIDDEN, "Forbidden"),
            Trouble::NotFound => missing(NOT_FOUND),
            Trouble::Refused(message) => Self::plain(StatusCode::BAD_REQUEST, message.clone()),
            Trouble::Busy => {
                let message = "The same request is under way, please retry";
                Self { wait: Some(Duration::from_secs(1)), ..plain(StatusCode::CONFLICT, message) }
            }
            Trouble::Down(wait) => {
                Self { wait: *wait, ..plain(StatusCode::SERVICE_UNAVAILABLE, "Service unavailable") }
            }
            Trouble::Fault => plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error"),
        }
    }

    pub(super) fn to_response(&self, version: Version) -> Response {
        let mut body = json!({ "status": self.status.as_u16(), "message": self.message });
        if let Some(body) = body.as_object_mut() {
            if version == Version::First {
                body.insert("type".to_owned(), "error".into());
            }
            if !self.errors.is_empty() {
                body.insert("errors".to_owned(), self.errors.iter().map(Wrong::to_body).collect());
            }
        }
        answer::after(answer::json(self.status, &body), self.wait)
    }

    /// What is said of one recipient of many.
    pub(super) fn to_error(&self, field: &str, recipient: Option<&str>) -> Value {
        let told = self.errors.first().map(|wrong| wrong.fault.to_words());
        let (kind, words) = told.unwrap_or_else(|| ("value_error", self.message.to_string()));
        json!({ "field": field, "recipient": recipient, "message": in_field(field, &words), "type": kind })
    }
}

/// The vendor's name for a field of ours.
fn to_field(ours: &str) -> String {
    match ours {
        "policy.length" => "length".to_owned(),
        "policy.lifetime" => "expires_in".to_owned(),
        "custom_code" => "token".to_owned(),
        "sender" => "sender_id".to_owned(),
        "text" => "content".to_owned(),
        "template.name" => "template_id".to_owned(),
        "metadata" => "external_ref".to_owned(),
        "callback.url" => "callback".to_owned(),
        "idempotency_key" => "Idempotency-Key".to_owned(),
        _ => match ours.strip_prefix("template.variables") {
            Some(rest) => format!("personalisation.substitutions{rest}"),
            // The validator joins all parts of a path by dots.
            None => ours.replace('[', ".").replace(']', ""),
        },
    }
}

fn in_field(field: &str, words: &str) -> String {
    format!("Error in field: '{field}' {words}.")
}

// === impl Wrong ===

impl Wrong {
    fn to_body(&self) -> Value {
        let (kind, words) = self.fault.to_words();
        json!({ "field": self.field, "message": in_field(&self.field, &words), "type": kind })
    }
}

// === impl Fault ===

impl Fault {
    /// The validator's slug and its words.
    fn to_words(&self) -> (&'static str, String) {
        let plural = |count: &usize| if *count == 1 { "" } else { "s" };
        match self {
            Self::Missing => ("missing", "Field required".to_owned()),
            Self::NotText => ("string_type", "Input should be a valid string".to_owned()),
            Self::NotWhole => ("int_type", "Input should be a valid integer".to_owned()),
            Self::NotParsed => {
                ("int_parsing", "Input should be a valid integer, unable to parse string as an integer".to_owned())
            }
            Self::HasFraction => {
                ("int_from_float", "Input should be a valid integer, got a number with a fractional part".to_owned())
            }
            Self::NotFlag => ("bool_type", "Input should be a valid boolean".to_owned()),
            Self::NotList => ("list_type", "Input should be a valid list".to_owned()),
            Self::NotObject => ("dict_type", "Input should be a valid dictionary".to_owned()),
            Self::AtLeast(least) => ("greater_than_equal", format!("Input should be greater than or equal to {least}")),
            Self::AtMost(most) => ("less_than_equal", format!("Input should be less than or equal to {most}")),
            Self::ShorterThan(least) => {
                ("string_too_short", format!("String should have at least {least} character{}", plural(least)))
            }
            Self::LongerThan(most) => {
                ("string_too_long", format!("String should have at most {most} character{}", plural(most)))
            }
            Self::MoreThan(most) => ("too_long", format!("List should have at most {most} item{}", plural(most))),
            Self::NoneOf(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("'{word}'")).collect();
                ("literal_error", format!("Input should be {}", words.join(" or ")))
            }
            Self::Unreadable(message) => ("json_invalid", format!("JSON decode error, {message}")),
            Self::Value(message) => ("value_error", format!("Value error, {message}")),
        }
    }
}
