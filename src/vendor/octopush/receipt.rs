//! What Octopush posts about a message: one JSON object, named by the ticket that the send's answer gave.
//!
//! The date in it has no time zone, and its pages name none, so a receipt counts as of when it came.

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::vendor::{ReceiptStatus, Reported, ReportedMessage};

/// The fields that matter here. Others come and go with the vendor's versions.
#[derive(Deserialize)]
struct Posted {
    message_id: String,
    status: String,
}

/// Errors: `Invalid` for anything but a receipt. Nothing of it is repeated.
pub(crate) fn read(body: &[u8], now: Timestamp) -> Result<Vec<Reported>> {
    let posted: Posted = serde_json::from_slice(body)
        .map_err(|_| Error::invalid("body", "must be a JSON object with the texts message_id and status"))?;
    let status = parse_status(&posted.status);
    let reported = status.map(|status| Reported { of: ReportedMessage::Theirs(posted.message_id), status, at: now });
    Ok(reported.into_iter().collect())
}

/// `None` while nothing final is known: taken by the operator, no word from it, and whatever is added later.
fn parse_status(word: &str) -> Option<ReceiptStatus> {
    match word {
        // The last three say that a person has it.
        "DELIVERED" | "READ" | "OPENED" | "CLICKED" => Some(ReceiptStatus::Delivered),
        "NOT_DELIVERED" | "NOT_ALLOWED" | "BAD_DESTINATION" | "BLACKLISTED_NUMBER" | "NOT_DELIVERABLE" | "BUSY"
        | "REFUSED" => Some(ReceiptStatus::Undelivered),
        // ACK, UNKNOWN_DELIVERY, UNDEFINED, TRANSMITTED, ISP_SEND, PROCESSED, SPAM_PRESUMPTION.
        _ => None,
    }
}
