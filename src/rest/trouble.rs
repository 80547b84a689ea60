//! What can go wrong with a call, in the words that all dialects share. Each dialect has its own numbers and texts for
//! these; none of them carries anything that a log, a vendor or another tenant said.

use std::time::Duration;

use tracing::{error, warn};

use crate::error::{Error, Kind, Reason, Violation};
use crate::messaging::sending::{SendReason, SendStatus, Sending};
use crate::telemetry::trace;
use crate::vendor::Rejection;
use crate::verification::answers::Judgement;
use crate::verification::verification::Status;
use crate::verification::view::{Checked, Outcome};

/// Why a call is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The body is not what its type says, or of a type that the dialect does not take. In words for the caller.
    Unreadable(String),
    /// The body has more bytes than are read.
    TooLarge,
    /// There is no such path, or not with this method.
    UnknownCall,
    /// Fields that are missing or out of range, by our own names for them.
    Fields(Vec<Violation>),
    InvalidRecipient,
    /// Too often, or for now no more. With the time to wait.
    Limited(Option<Duration>),
    NoCredit,
    Unauthorized,
    /// A known caller that may not do this.
    Forbidden,
    NotFound,
    /// What is asked for does not fit the state that things are in. In words for the caller.
    Refused(String),
    /// The same request is under way, or lost a race: to be sent again.
    Busy,
    /// No vendor takes it now, or we ourselves cannot. With the time to wait.
    Down(Option<Duration>),
    /// Our fault.
    Fault,
}

/// What came of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    Right,
    /// With the checks that may still fail.
    Wrong {
        left: u32,
    },
    Expired,
    /// No more checks, of this code or of this recipient.
    Exhausted,
    /// It was right before, and is used up.
    Used,
    /// There is none, or it was called off.
    NotFound,
}

// === impl Trouble ===

impl Trouble {
    /// What an error of the services means to a caller. Counts it, and logs the cause of what
    /// the caller is not told.
    pub fn of(error: &Error) -> Self {
        trace::refused(error);
        match error.kind() {
            Kind::Invalid => Self::of_fields(error.violations()),
            Kind::Unauthenticated => Self::Unauthorized,
            Kind::Forbidden => Self::Forbidden,
            Kind::NotFound => Self::NotFound,
            // Where no route leads is a number that this gateway does not serve.
            Kind::Precondition if error.reason() == Reason::NoRoute => Self::InvalidRecipient,
            Kind::Precondition | Kind::Exists => Self::Refused(error.message().to_owned()),
            Kind::Conflict => Self::Busy,
            Kind::Limited => Self::Limited(error.retry_after()),
            Kind::Unavailable | Kind::Deadline => {
                warn!(?error, "a call was refused");
                Self::Down(error.retry_after())
            }
            Kind::Unimplemented | Kind::Internal => {
                error!(?error, "a call failed");
                Self::Fault
            }
        }
    }

    fn of_fields(violations: &[Violation]) -> Self {
        let of_recipient = violations.iter().any(|violation| violation.field.starts_with("recipient"));
        if of_recipient { Self::InvalidRecipient } else { Self::Fields(violations.to_vec()) }
    }

    /// One field, by our name for it.
    pub fn field(field: &str, description: impl Into<String>) -> Self {
        Self::Fields(vec![Violation { field: field.to_owned(), description: description.into() }])
    }

    /// What a send that has come this far means to its caller; `None` when it is on its way, or may still be.
    pub fn of_send(sending: &Sending) -> Option<Self> {
        if sending.status != SendStatus::Rejected {
            return None;
        }
        Some(match sending.reason {
            Some(SendReason::Rejected(Rejection::InvalidRecipient | Rejection::Blocked)) => Self::InvalidRecipient,
            Some(SendReason::Rejected(Rejection::InvalidContent)) => {
                Self::field("text", "no vendor takes this text or sender")
            }
            Some(SendReason::Rejected(Rejection::InsufficientCredit)) => Self::NoCredit,
            Some(SendReason::Rejected(Rejection::Occupied)) => Self::Busy,
            // Our own credentials are nothing that a caller can mend.
            Some(SendReason::Rejected(Rejection::Unauthorized)) | None => Self::Down(None),
            Some(
                SendReason::Throttled | SendReason::Unavailable | SendReason::NoClearAnswer | SendReason::NoVendor,
            ) => Self::Down(None),
        })
    }
}

// === impl Judged ===

impl Judged {
    pub fn of(checked: &Checked) -> Self {
        match checked.outcome {
            Outcome::Judged(Judgement::Approved) => Self::Right,
            Outcome::Judged(Judgement::Wrong) => Self::Wrong { left: checked.checks_left },
            Outcome::Judged(Judgement::LastWrong) => Self::Wrong { left: 0 },
            Outcome::Ended(Status::Approved) => Self::Used,
            Outcome::Ended(Status::Expired) => Self::Expired,
            Outcome::Ended(Status::ChecksExhausted) | Outcome::RecipientLocked => Self::Exhausted,
            Outcome::Ended(Status::Canceled | Status::Undeliverable | Status::Pending) => Self::NotFound,
        }
    }
}
