//! Between the wire and the house, for what several services share: `parse_*` in, `to_*` out.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tonic::Status;
use tracing::{error, warn};

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::id::Id;
use crate::messaging::page::{MAX_SIZE, PageRequest, PageToken};
use crate::messaging::sending::{SendReason, SendStatus, Sending};
use crate::proto::messaging::v1 as pb;
use crate::recipient::{Address, Recipient};
use crate::status;
use crate::vendor::{Channel, Rejection};
use crate::violations::Violations;

const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// 9999-12-31T23:59:59Z, the last second of `google.protobuf.Timestamp`.
const LAST_SECOND: u64 = 253_402_300_799;

/// Turns an error into its status, and logs the cause of what the caller is not told.
pub fn to_status(error: Error) -> Status {
    match error.kind() {
        Kind::Internal => error!(?error, "a call failed"),
        Kind::Unavailable => warn!(?error, "a call was refused"),
        _ => {}
    }
    status::to_status(&error)
}

pub fn parse_id(text: &str) -> Result<Id> {
    text.parse()
}

/// `None` when it is absent, or has no address in it.
pub fn parse_address(recipient: Option<pb::Recipient>) -> Option<Address> {
    recipient?.address.map(|address| match address {
        pb::recipient::Address::Phone(phone) => Address::Phone(phone),
        pb::recipient::Address::Email(email) => Address::Email(email),
    })
}

/// `None` when unspecified.
pub fn parse_channel(channel: i32) -> Result<Option<Channel>> {
    match pb::Channel::try_from(channel) {
        Ok(pb::Channel::Unspecified) => Ok(None),
        Ok(pb::Channel::Sms) => Ok(Some(Channel::Sms)),
        Ok(pb::Channel::Whatsapp) => Ok(Some(Channel::WhatsApp)),
        Ok(pb::Channel::Voice) => Ok(Some(Channel::Voice)),
        Ok(pb::Channel::Email) => Ok(Some(Channel::Email)),
        Err(_) => Err(Error::invalid("channel", format!("must be SMS, WHATSAPP, VOICE or EMAIL, but is {channel}"))),
    }
}

/// A negative duration, or one whose nanos are no part of a second, is out of every range; so is the longest one, which
/// stands in for it. To carry such nanos over to the seconds would be to guess.
pub fn parse_duration(duration: Option<prost_types::Duration>) -> Option<Duration> {
    duration.map(|duration| match (duration.seconds.try_into(), duration.nanos.try_into()) {
        (Ok(seconds), Ok(nanos @ 0..NANOS_PER_SECOND)) => Duration::new(seconds, nanos),
        _ => Duration::MAX,
    })
}

/// `None` when absent, and for a time that no calendar has.
///
/// Errors: `Invalid` for a time before 1970 or with nanos that are no part of a second.
pub fn parse_time(field: &str, time: Option<prost_types::Timestamp>) -> Result<Option<Timestamp>> {
    let Some(time) = time else { return Ok(None) };
    match (u64::try_from(time.seconds), u32::try_from(time.nanos)) {
        (Ok(seconds), Ok(nanos @ 0..NANOS_PER_SECOND)) if seconds <= LAST_SECOND => {
            Ok(Some(Timestamp::from_millis(seconds * 1000 + u64::from(nanos / 1_000_000))))
        }
        _ => Err(Error::invalid(field, "must be a time from 1970 to 9999")),
    }
}

/// `None` when the caller does not say.
pub fn parse_page_size(size: i32, unread: &mut Violations) -> Option<usize> {
    if size < 0 {
        unread.add("page_size", format!("must be 1 to {MAX_SIZE}, but is {size}"));
    }
    usize::try_from(size).ok().filter(|size| *size > 0)
}

/// The fields that lists of records have.
pub fn parse_page(
    size: i32,
    token: &str,
    from: Option<prost_types::Timestamp>,
    before: Option<prost_types::Timestamp>,
    unread: &mut Violations,
) -> Result<PageRequest> {
    let size = parse_page_size(size, unread);
    let token = (!token.is_empty()).then(|| token.parse::<PageToken>()).transpose();
    Ok(PageRequest {
        size,
        token: unread.note(token)?.flatten(),
        from: unread.note(parse_time("create_time_from", from))?.flatten(),
        before: unread.note(parse_time("create_time_before", before))?.flatten(),
    })
}

/// An absent string is an empty one on this wire.
pub fn parse_text(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

pub fn parse_metadata(metadata: HashMap<String, String>) -> BTreeMap<String, String> {
    metadata.into_iter().collect()
}

pub fn to_metadata(metadata: &BTreeMap<String, String>) -> HashMap<String, String> {
    metadata.clone().into_iter().collect()
}

pub fn to_recipient(recipient: &Recipient) -> pb::Recipient {
    let address = match recipient {
        Recipient::Phone(phone) => pb::recipient::Address::Phone(phone.e164().to_owned()),
        Recipient::Email(email) => pb::recipient::Address::Email(email.as_str().to_owned()),
    };
    pb::Recipient { address: Some(address) }
}

pub fn to_channel(channel: Channel) -> pb::Channel {
    match channel {
        Channel::Sms => pb::Channel::Sms,
        Channel::WhatsApp => pb::Channel::Whatsapp,
        Channel::Voice => pb::Channel::Voice,
        Channel::Email => pb::Channel::Email,
    }
}

pub fn to_message_status(status: SendStatus) -> pb::MessageStatus {
    match status {
        SendStatus::Queued => pb::MessageStatus::Queued,
        SendStatus::Sending => pb::MessageStatus::Sending,
        SendStatus::Sent => pb::MessageStatus::Sent,
        SendStatus::Rejected => pb::MessageStatus::Rejected,
        SendStatus::Unknown => pb::MessageStatus::Unknown,
        SendStatus::Delivered => pb::MessageStatus::Delivered,
        SendStatus::Undelivered => pb::MessageStatus::Undelivered,
        SendStatus::Expired => pb::MessageStatus::Expired,
        SendStatus::Canceled => pb::MessageStatus::Canceled,
    }
}

/// Why it was rejected or stands in doubt; while it is still being tried, nothing has failed yet.
pub fn to_failure_reason(sending: &Sending) -> pb::FailureReason {
    let failed = matches!(sending.status, SendStatus::Rejected | SendStatus::Unknown);
    match sending.reason.filter(|_| failed) {
        None => pb::FailureReason::Unspecified,
        Some(SendReason::Rejected(Rejection::InvalidRecipient)) => pb::FailureReason::InvalidRecipient,
        Some(SendReason::Rejected(Rejection::InvalidContent)) => pb::FailureReason::InvalidContent,
        Some(SendReason::Rejected(Rejection::Unauthorized)) => pb::FailureReason::VendorUnauthorized,
        Some(SendReason::Rejected(Rejection::InsufficientCredit)) => pb::FailureReason::InsufficientCredit,
        Some(SendReason::Rejected(Rejection::Blocked)) => pb::FailureReason::RecipientBlocked,
        Some(SendReason::Rejected(Rejection::Occupied)) => pb::FailureReason::OtherCodePending,
        Some(SendReason::Throttled) => pb::FailureReason::VendorThrottled,
        Some(SendReason::Unavailable) => pb::FailureReason::VendorUnavailable,
        Some(SendReason::NoClearAnswer) => pb::FailureReason::VendorNoClearAnswer,
        Some(SendReason::NoVendor) => pb::FailureReason::NoVendor,
    }
}

pub fn parse_message_status(status: i32) -> Result<SendStatus> {
    match pb::MessageStatus::try_from(status) {
        Ok(pb::MessageStatus::Queued) => Ok(SendStatus::Queued),
        Ok(pb::MessageStatus::Sending) => Ok(SendStatus::Sending),
        Ok(pb::MessageStatus::Sent) => Ok(SendStatus::Sent),
        Ok(pb::MessageStatus::Rejected) => Ok(SendStatus::Rejected),
        Ok(pb::MessageStatus::Unknown) => Ok(SendStatus::Unknown),
        Ok(pb::MessageStatus::Delivered) => Ok(SendStatus::Delivered),
        Ok(pb::MessageStatus::Undelivered) => Ok(SendStatus::Undelivered),
        Ok(pb::MessageStatus::Expired) => Ok(SendStatus::Expired),
        Ok(pb::MessageStatus::Canceled) => Ok(SendStatus::Canceled),
        Ok(pb::MessageStatus::Unspecified) | Err(_) => {
            Err(Error::invalid("statuses", format!("must name message statuses, but has {status}")))
        }
    }
}

pub fn to_time(at: Timestamp) -> prost_types::Timestamp {
    let millis = at.as_millis();
    prost_types::Timestamp {
        seconds: i64::try_from(millis / 1000).unwrap_or(i64::MAX),
        // Below 10⁹ by construction.
        nanos: i32::try_from(millis % 1000 * 1_000_000).unwrap_or_default(),
    }
}

/// The nearest whole number, which is no negative one. A float ends at the ends of an integer by itself.
pub fn to_nearest(number: f64) -> i32 {
    number.round() as i32
}

/// Counts are small; one that is not shows as the most that the wire can tell.
pub fn to_count(count: impl TryInto<i32>) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}
