//! The vendor's status numbers, and the bodies of calls that fail.

use serde_json::{Value, json};

use crate::rest::trouble::Trouble;

/// A status number and the words beside it.
pub(super) struct Refusal(pub(super) i64, pub(super) String);

pub(super) fn unknown_country() -> Refusal {
    Refusal(4, "Country code not recognised, please begin the phone number with it".to_owned())
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn of(trouble: &Trouble) -> Self {
        let words = |number, message: &str| Self(number, message.to_owned());
        match trouble {
            Trouble::Unreadable(message) | Trouble::Refused(message) => words(1, message),
            Trouble::TooLarge => words(1, "The request is too large"),
            Trouble::UnknownCall => words(1, "There is no such endpoint"),
            Trouble::Fields(violations) => {
                let told = violations.iter().map(|v| format!("{}: {}", v.field, v.description)).collect::<Vec<_>>();
                Self(1, told.join("; "))
            }
            Trouble::InvalidRecipient => unknown_country(),
            Trouble::Limited(_) => words(6, "Too many requests, please retry later"),
            Trouble::NoCredit => words(5, "Insufficient credits"),
            Trouble::Unauthorized => words(3, "Invalid API key or secret"),
            Trouble::Forbidden => words(2, "This account or address is not allowed to do this"),
            Trouble::NotFound => words(16, "Invalid OTP"),
            Trouble::Busy | Trouble::Down(_) | Trouble::Fault => words(6, "Internal error, please retry shortly"),
        }
    }

    /// The balance keeps its field when it cannot be told.
    pub(super) fn to_body(&self, path: &str) -> Value {
        let Self(status, message) = self;
        if path == "sms/balance" {
            return json!({ "status": status, "balance": 0, "message": message });
        }
        json!({ "status": status, "message": message })
    }
}
