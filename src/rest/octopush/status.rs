//! What the vendor posts to an account's URL once it knows what became of a message.

use serde_json::json;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::messaging::callback::Callback;
use crate::messaging::callback_writer::{CallbackCall, CallbackWriter};
use crate::messaging::message::Message;
use crate::messaging::sending::{SendReason, SendStatus, Sending};
use crate::rest::octopush::tickets::ENTRY;
use crate::vendor::{Channel, Rejection};

/// The kind of these callbacks in the store.
pub const KIND: &str = "octopush";

/// Writes them.
pub struct StatusWriter;

impl CallbackWriter for StatusWriter {
    fn write(&self, message: &Message, callback: &Callback) -> Result<Option<CallbackCall>> {
        let Some(status) = to_word(&message.sending) else { return Ok(None) };
        let body = json!({
            "channel": to_channel(message.sending.channel),
            "message_id": callback.context.get(ENTRY),
            "number": message.recipient.as_str(),
            "status": status,
            "delivery_date": to_date(callback.ended_at.unwrap_or_default()),
            "meta_data": {},
        });
        CallbackCall::post_json(callback.url.expose().to_owned(), &body).map(Some)
    }
}

/// `None` for an end that the vendor has no word for: who called a message off knows that.
fn to_word(sending: &Sending) -> Option<&'static str> {
    match sending.status {
        SendStatus::Delivered => Some("DELIVERED"),
        SendStatus::Undelivered => Some("NOT_DELIVERED"),
        SendStatus::Expired if sending.unknowns > 0 => Some("UNKNOWN_DELIVERY"),
        SendStatus::Expired => Some("NOT_DELIVERED"),
        SendStatus::Rejected => Some(match sending.reason {
            Some(SendReason::Rejected(Rejection::InvalidRecipient)) => "BAD_DESTINATION",
            Some(SendReason::Rejected(Rejection::Blocked)) => "BLACKLISTED_NUMBER",
            Some(SendReason::Rejected(
                Rejection::InvalidContent | Rejection::InsufficientCredit | Rejection::Unauthorized,
            )) => "NOT_ALLOWED",
            _ => "NOT_DELIVERED",
        }),
        SendStatus::Canceled | SendStatus::Queued | SendStatus::Sending | SendStatus::Sent | SendStatus::Unknown => {
            None
        }
    }
}

fn to_channel(channel: Channel) -> &'static str {
    match channel {
        Channel::Sms => "sms",
        Channel::WhatsApp => "whatsapp",
        Channel::Voice => "voice_sms",
        Channel::Email => "email",
    }
}

/// `2026-11-22 05:16:00`, of UTC; the vendor's has no zone either.
fn to_date(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('.').map_or(text.clone(), |(seconds, _)| seconds.replace('T', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_have_no_zone_and_no_fraction() {
        assert_eq!(to_date(Timestamp::from_millis(1_795_324_560_125)), "2026-11-22 05:16:00");
    }

    #[test]
    fn every_end_has_its_word() {
        let now = Timestamp::from_millis(1);
        let word = |status, reason, unknowns| {
            let mut sending = Sending::new(0, Channel::Sms, now, now, false);
            (sending.status, sending.reason, sending.unknowns) = (status, reason, unknowns);
            to_word(&sending)
        };
        let refused = |rejection| word(SendStatus::Rejected, Some(SendReason::Rejected(rejection)), 0);
        assert_eq!(word(SendStatus::Delivered, None, 0), Some("DELIVERED"));
        assert_eq!(word(SendStatus::Undelivered, None, 0), Some("NOT_DELIVERED"));
        assert_eq!(word(SendStatus::Expired, None, 0), Some("NOT_DELIVERED"));
        assert_eq!(word(SendStatus::Expired, None, 1), Some("UNKNOWN_DELIVERY"));
        assert_eq!(word(SendStatus::Canceled, None, 0), None);
        assert_eq!(word(SendStatus::Sent, None, 0), None);
        assert_eq!(word(SendStatus::Rejected, Some(SendReason::Unavailable), 0), Some("NOT_DELIVERED"));
        assert_eq!(refused(Rejection::InvalidRecipient), Some("BAD_DESTINATION"));
        assert_eq!(refused(Rejection::Blocked), Some("BLACKLISTED_NUMBER"));
        assert_eq!(refused(Rejection::InvalidContent), Some("NOT_ALLOWED"));
    }
}
