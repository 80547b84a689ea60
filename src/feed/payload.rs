//! The body of a webhook: the event in the shape that Standard Webhooks suggests.
//!
//! The recipient stands there whole, as the tenant sees it in every other answer: the receiver is the tenant's own, is
//! reached over TLS, and has to know of whom we speak. No text of a message stands there, and no code.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::error::{Error, Result};
use crate::feed::telling::{Subject, Told};

#[derive(Serialize)]
struct Payload<'a> {
    /// The same as in the header `webhook-id`.
    id: String,
    #[serde(rename = "type")]
    kind: &'a str,
    /// RFC 3339: when it happened, not when it is told.
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
struct Data<'a> {
    tenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verification_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    send: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks_left: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a BTreeMap<String, String>>,
}

/// The body of a call that tells an event. The same bytes for as long as its record is there.
///
/// Errors: `Internal`, never in practice.
pub fn write(told: &Told) -> Result<Vec<u8>> {
    let (verification_id, message_id) = match told.subject {
        Subject::Verification(id) => (Some(id.to_string()), None),
        Subject::Message(id) => (None, Some(id.to_string())),
    };
    let about = told.about.as_ref();
    let payload = Payload {
        id: told.id.to_string(),
        kind: told.kind.name,
        timestamp: told.at.to_string(),
        data: Data {
            tenant: told.tenant.as_str(),
            verification_id,
            message_id,
            scope: about.map_or("", |about| &about.scope),
            recipient: about.map(|about| about.recipient.as_str()),
            status: told.kind.status,
            send: told.send,
            attempt: told.attempt,
            channel: told.channel.as_deref(),
            vendor: told.vendor.as_deref(),
            reason: told.reason.as_deref(),
            checks_left: told.checks_left,
            metadata: about.map(|about| &about.metadata).filter(|metadata| !metadata.is_empty()),
        },
    };
    serde_json::to_vec(&payload).map_err(Error::internal)
}
