//! The vendor's interface of before 2024, for clients that still know it: four calls, whose answers lie in an envelope. A
//! code is known by its `transaction_id`.
//!
//! Of its paths only the one to revoke was captured, and of a message only some fields: the others are taken to be as in
//! the interface of today.

use serde_json::{Value, json};

use crate::rest::simpu::sms::Sent;
use crate::rest::simpu::words::{to_hex, to_local_time, to_number};
use crate::verification::verification::Status;
use crate::verification::view::View;

/// What names a code in a body.
pub(super) const ID: &str = "transaction_id";

/// A code as it is shown.
pub(super) fn to_verify(view: &View) -> Value {
    let verification = &view.verification;
    let number = to_number(&verification.recipient);
    // A number in digits; of anything else, the text.
    let recipient = number.parse::<u64>().map_or_else(|_| number.into(), Value::from);
    to_envelope(json!({
        "verify": {
            "transaction_id": to_hex(verification.id),
            "recipient": recipient,
            "reference": if view.status == Status::Approved { "verified" } else { "sent" },
            "created_datetime": to_local_time(verification.created_at),
            "valid_until": to_local_time(verification.expires_at),
        },
    }))
}

pub(super) fn to_revoked() -> Value {
    json!({ "status": 204, "type": "success", "message": "OTP revoked" })
}

/// A text as it is shown.
pub(super) fn to_message(sent: &Sent) -> Value {
    let recipients: Vec<_> = sent.taken.iter().map(|message| to_number(&message.recipient)).collect();
    to_envelope(json!({
        "message": {
            "id": sent.id,
            "recipients": recipients.join(","),
            "content": sent.asked.content(),
            "channel": sent.asked.channel.as_str(),
            "callback": sent.asked.callback,
            "external_ref": sent.asked.external_ref,
            "external_aggregate_ref": null,
            "organisation_id": null,
            "user_id": null,
            "created_datetime": to_local_time(sent.created_at()),
        },
    }))
}

fn to_envelope(data: Value) -> Value {
    json!({ "status": 200, "type": "success", "message": "Successful", "data": data })
}
