//! Counts how far sends get, from the events that a commit has added to their record: what is counted has happened, once.

use crate::event::history::{Event, EventKind};
use crate::id::TenantName;
use crate::messaging::sending::Sending;
use crate::recipient::Recipient;
use crate::store::keys::Holder;
use crate::telemetry::funnel::{self, Place, Record, Stage};

/// Counts what has happened to a send.
pub fn count_events(holder: Holder, to: (&TenantName, &Recipient), sending: &Sending, events: &[Event]) {
    for event in events {
        let (number, stage) = match event.kind {
            EventKind::Sent(number) => (number, Stage::Sent),
            EventKind::Rejected(number) => (number, Stage::Rejected),
            EventKind::Unknown(number) => (number, Stage::Unknown),
            EventKind::Delivered(number) => (number, Stage::Delivered),
            EventKind::Undelivered(number) => (number, Stage::Undelivered),
            EventKind::SendExpired(number) => (number, Stage::Expired),
            EventKind::SendCanceled(number) => (number, Stage::Canceled),
            _ => continue,
        };
        if number == sending.number {
            count(stage, holder, to, sending);
        }
    }
}

/// Counts one step of a send.
pub fn count(stage: Stage, holder: Holder, (tenant, recipient): (&TenantName, &Recipient), sending: &Sending) {
    let country = recipient.country();
    funnel::count(
        stage,
        &Place {
            record: match holder {
                Holder::Verification => Record::Verification,
                Holder::Message => Record::Message,
            },
            tenant: tenant.as_str(),
            channel: sending.channel.as_str(),
            country: country.as_ref().map(|country| country.as_str()),
            vendor: sending.vendor.as_deref(),
        },
    );
}
