//! What answers are made of: ids, times and the numbers of states, as the vendor writes them.

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::id::Id;
use crate::messaging::holder::SendRecord;
use crate::messaging::sending::SendStatus;
use crate::recipient::Recipient;
use crate::verification::verification::Status;
use crate::verification::view::View;

/// The vendor counts the states of a code from 1 to 5, and names the first only. The others are inferred.
const SENT: State = State(1, "SENT");
const VERIFIED: State = State(2, "VERIFIED");
const EXPIRED: State = State(3, "EXPIRED");
const REVOKED: State = State(4, "REVOKED");
const FAILED: State = State(5, "FAILED");

/// Of a text, once nothing more will be heard of it: inferred, along with that the numbers are the same.
const DELIVERED: State = State(2, "DELIVERED");

struct State(u8, &'static str);

/// 32 hexadecimal digits.
pub(super) fn to_hex(id: Id) -> String {
    id.to_string().replace('-', "")
}

/// Reads what [`to_hex`] wrote, and nothing else; `None` for what can be no id of ours.
pub(super) fn parse_hex(text: &str) -> Option<Id> {
    let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let parts = [text.get(..8)?, text.get(8..12)?, text.get(12..16)?, text.get(16..20)?, text.get(20..)?];
    plain.then(|| parts.join("-").parse().ok()).flatten()
}

/// RFC 3339 with microseconds, in UTC.
pub(super) fn to_time(at: Timestamp) -> String {
    format!("{}000+00:00", at.to_string().trim_end_matches('Z'))
}

/// The same without the offset.
pub(super) fn to_local_time(at: Timestamp) -> String {
    to_time(at).trim_end_matches("+00:00").to_owned()
}

/// The vendor writes whether there are more pages as text.
pub(super) fn to_flag(flag: bool) -> &'static str {
    if flag { "True" } else { "False" }
}

/// A phone number in digits.
pub(super) fn to_number(recipient: &Recipient) -> &str {
    recipient.as_str().trim_start_matches('+')
}

/// A code as it is shown. `verified_as_sent`: a verified one keeps the state that the vendor's samples show.
pub(super) fn to_otp(view: &View, verified_as_sent: bool) -> Value {
    let verification = &view.verification;
    let State(status, description) = match view.status {
        Status::Pending => SENT,
        Status::Approved if verified_as_sent => SENT,
        Status::Approved => VERIFIED,
        Status::Expired => EXPIRED,
        Status::Canceled => REVOKED,
        Status::ChecksExhausted | Status::Undeliverable => FAILED,
    };
    json!({
        "id": to_hex(verification.id),
        "recipient": to_number(&verification.recipient),
        "status": status,
        "status_desc": description,
        "created_datetime": to_time(verification.created_at),
        "updated_datetime": to_time(updated_at(view)),
    })
}

/// How a text ended, as a number and a word; `None` before that.
pub(super) fn to_message_state(status: SendStatus) -> Option<(u8, &'static str)> {
    let State(number, word) = match status {
        SendStatus::Delivered => DELIVERED,
        SendStatus::Expired => EXPIRED,
        SendStatus::Rejected | SendStatus::Undelivered | SendStatus::Canceled => FAILED,
        SendStatus::Queued | SendStatus::Sending | SendStatus::Sent | SendStatus::Unknown => return None,
    };
    Some((number, word))
}

/// When a code, or what became of its messages, changed last.
fn updated_at(view: &View) -> Timestamp {
    let sends = view.verification.sends().iter();
    let moved = sends.map(|sending| sending.updated_at).chain(view.decided_at);
    moved.fold(view.verification.created_at, Timestamp::max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Partition;
    use crate::random::OsRandom;

    #[test]
    fn ids_lose_their_hyphens_and_get_them_back() {
        let id = Id::new(Timestamp::from_millis(1_795_324_560_125), Partition::new(7), &OsRandom);
        let hex = to_hex(id);
        assert_eq!((hex.len(), parse_hex(&hex)), (32, Some(id)));
        let accented = format!("{}é", &hex[..30]);
        for other in ["", "x", &id.to_string(), &hex.to_uppercase(), &hex[1..], &format!("{hex}0"), &accented] {
            assert_eq!(parse_hex(other), None, "{other}");
        }
    }

    #[test]
    fn times_have_microseconds_and_an_offset() {
        let at = Timestamp::from_millis(1_795_324_560_125);
        assert_eq!(to_time(at), "2026-11-22T05:16:00.125000+00:00");
        assert_eq!(to_local_time(at), "2026-11-22T05:16:00.125000");
    }
}
