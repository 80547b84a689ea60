//! The vendor's delivery report: a GET of the URL that the client named, with the id that its send was answered with,
//! one of three words, and the time by the vendor's clock.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::messaging::callback::{Callback, CallbackUrl, Context, NewCallback};
use crate::messaging::callback_writer::{CallbackCall, CallbackWriter};
use crate::messaging::message::Message;
use crate::messaging::sending::SendStatus;

/// The kind of these callbacks in the store.
pub const KIND: &str = "esms";

/// The vendor's clock: eight hours ahead of UTC all year.
const AHEAD: Duration = Duration::from_secs(8 * 3600);

/// Writes them.
pub struct ReportWriter;

/// Asks for one at a URL.
pub(super) fn to_callback(url: String) -> NewCallback {
    NewCallback { kind: KIND, url: CallbackUrl::new(url), context: Context::default() }
}

impl CallbackWriter for ReportWriter {
    fn write(&self, message: &Message, callback: &Callback) -> Result<Option<CallbackCall>> {
        let Some(word) = to_word(message.sending.status) else { return Ok(None) };
        let time = to_time(callback.ended_at.unwrap_or(message.sending.updated_at))?;
        let url = callback.url.with_query(&[("msgId", &message.id.to_string()), ("s", word), ("t", &time)]);
        Ok(Some(CallbackCall::get(url)))
    }
}

/// `None` for an end that the vendor has no word for: who called a message off knows that.
fn to_word(status: SendStatus) -> Option<&'static str> {
    match status {
        SendStatus::Delivered => Some("DELIVRD"),
        SendStatus::Rejected | SendStatus::Undelivered => Some("UNDELIV"),
        SendStatus::Expired => Some("EXPIRED"),
        SendStatus::Canceled | SendStatus::Queued | SendStatus::Sending | SendStatus::Sent | SendStatus::Unknown => {
            None
        }
    }
}

/// `20261122131600`
fn to_time(at: Timestamp) -> Result<String> {
    let millis = i64::try_from((at + AHEAD).as_millis()).map_err(Error::internal)?;
    let time = jiff::Timestamp::from_millisecond(millis).map_err(Error::internal)?;
    Ok(time.strftime("%Y%m%d%H%M%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_malaysia() {
        for (millis, text) in [
            (0, "19700101080000"),
            (1_795_324_560_125, "20261122131600"),
            // There it is the next day, month and year already.
            (1_798_735_600_999, "20270101004640"),
        ] {
            assert_eq!(to_time(Timestamp::from_millis(millis)).unwrap(), text);
        }
        assert!(to_time(Timestamp::from_millis(u64::MAX)).is_err());
    }

    #[test]
    fn every_end_has_one_of_three_words() {
        for (status, word) in [
            (SendStatus::Delivered, Some("DELIVRD")),
            (SendStatus::Undelivered, Some("UNDELIV")),
            (SendStatus::Rejected, Some("UNDELIV")),
            (SendStatus::Expired, Some("EXPIRED")),
            (SendStatus::Canceled, None),
            (SendStatus::Sent, None),
        ] {
            assert_eq!(to_word(status), word, "{status:?}");
        }
    }
}
