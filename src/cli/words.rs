//! The words of the contract for people: `CHECK_OUTCOME_WRONG_CODE` is `wrong code`.

use verigate::proto::messaging::v1::{Channel, FailureReason, MessageStatus};
use verigate::proto::verification::v1::{CheckOutcome, VerificationStatus};

pub(crate) fn outcome(outcome: CheckOutcome) -> String {
    plain(outcome.as_str_name(), "CHECK_OUTCOME_")
}

pub(crate) fn verification_status(status: VerificationStatus) -> String {
    plain(status.as_str_name(), "VERIFICATION_STATUS_")
}

/// How far a message has come: `sent by inbox`, `rejected by esms: invalid recipient`.
pub(crate) fn progress(channel: Channel, status: MessageStatus, vendor: &str, reason: FailureReason) -> String {
    let channel = plain(channel.as_str_name(), "CHANNEL_");
    let status = plain(status.as_str_name(), "MESSAGE_STATUS_");
    let vendor = if vendor.is_empty() { String::new() } else { format!(" by {vendor}") };
    let reason = match reason {
        FailureReason::Unspecified => String::new(),
        known => format!(": {}", plain(known.as_str_name(), "FAILURE_REASON_")),
    };
    format!("{channel}, {status}{vendor}{reason}")
}

/// RFC 3339; nothing for a time that is not set.
pub(crate) fn time(time: Option<prost_types::Timestamp>) -> String {
    time.map(|time| time.to_string()).unwrap_or_default()
}

fn plain(name: &str, prefix: &str) -> String {
    name.strip_prefix(prefix).unwrap_or(name).to_ascii_lowercase().replace('_', " ")
}
