//! eSMS Malaysia (`api.esms.com.my`): plain SMS over its `/sms/send` call, JSON both ways.
//!
//! One recipient a call, no idempotency key, no validity period. It does not ask for delivery reports, does not use the
//! vendor's own one-time codes, and does not send a sender name, which this vendor has given up. Which of GSM-7 and
//! Unicode a text needs (`type` 0 or 8) is left to the vendor, as its page allows: it knows its operators' tables, and a
//! wrong claim by us would garble the text.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::clock::deserialize_duration;
use crate::error::{Error, Result};
use crate::recipient::{Phone, Recipient};
use crate::vendor::http::{self, Client, Timeouts};
use crate::vendor::{Accepted, Capabilities, Channel, Failure, Outgoing, Rejection, Vendor};

/// What the vendor demands at the head of every text to a Malaysian number, blank included (its status 10).
const MALAYSIAN_PREFIX: &str = "RM0.00 ";

/// Longest name of a message that is kept; the vendor's own have 36 characters.
const MAX_REFERENCE_LENGTH: usize = 128;

/// An account at eSMS.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `https`, or `http` to this machine. Default `https://api.esms.com.my`.
    #[serde(default = "default_base_url")]
    pub base_url: String,
    /// The account's API key.
    pub user: SecretString,
    /// The account's API secret.
    pub pass: SecretString,
    /// To resolve the name, connect and shake hands. Default 3 s.
    #[serde(default = "default_connect_timeout", deserialize_with = "deserialize_duration")]
    pub connect_timeout: Duration,
    /// For one call from start to end. Default 8 s.
    #[serde(default = "default_timeout", deserialize_with = "deserialize_duration")]
    pub timeout: Duration,
}

/// The adapter.
pub struct EsmsVendor {
    name: String,
    capabilities: Capabilities,
    client: Client,
    send_url: Url,
    user: SecretString,
    pass: SecretString,
}

/// The body of a send, in the vendor's words.
#[derive(Serialize)]
struct SendRequest<'a> {
    user: &'a str,
    pass: &'a str,
    to: &'a str,
    msg: Msg<'a>,
}

/// The text with what the vendor wants before it. Joined only while the bytes are written, so that the text, which may
/// hold a code, lies in memory once less.
struct Msg<'a> {
    prefix: &'static str,
    text: &'a str,
}

// === impl Config ===

impl Config {
    /// The adapter, under its configured name. Errors: `Invalid`, naming the field.
    pub fn build(self, name: &str) -> Result<EsmsVendor> {
        for (field, secret) in [("user", &self.user), ("pass", &self.pass)] {
            if secret.expose_secret().trim().is_empty() {
                return Err(Error::invalid(field, "must not be empty"));
            }
        }
        let send_url = http::parse_base_url(&self.base_url)?
            .join("sms/send")
            .map_err(|error| Error::internal(error.to_string()))?;
        let timeouts = Timeouts { connect: self.connect_timeout, total: self.timeout };
        Ok(EsmsVendor {
            name: name.to_owned(),
            capabilities: Capabilities { channels: vec![Channel::Sms], idempotent: false, receipts: false },
            client: Client::new(name, timeouts)?,
            send_url,
            user: self.user,
            pass: self.pass,
        })
    }
}

fn default_base_url() -> String {
    "https://api.esms.com.my".to_owned()
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(3)
}

fn default_timeout() -> Duration {
    Duration::from_secs(8)
}

// === impl EsmsVendor ===

#[async_trait]
impl Vendor for EsmsVendor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<Accepted, Failure> {
        let (Channel::Sms, Recipient::Phone(phone)) = (outgoing.channel, &outgoing.recipient) else {
            return Err(Failure::Rejected(Rejection::InvalidRecipient));
        };
        let body = self.to_body(phone, outgoing.text.expose_secret()).map_err(|_| Failure::Unavailable)?;
        let answer = self.client.post_json(self.send_url.clone(), body).await?;
        let status = answer.status();
        if !status.is_success() {
            // The vendor documents none of these: its own refusals come with 200.
            tracing::warn!(vendor = %self.name, %status, "vendor answered with an unexpected HTTP status");
            return Err(http::status_failure(&answer));
        }
        let body = self.client.read_body(answer).await?;
        self.parse_answer(body.as_str())
    }
}

impl EsmsVendor {
    fn to_body(&self, phone: &Phone, text: &str) -> serde_json::Result<Vec<u8>> {
        let malaysian = phone.digits().starts_with("60");
        let prefix = if malaysian && !text.starts_with(MALAYSIAN_PREFIX) { MALAYSIAN_PREFIX } else { "" };
        let request = SendRequest {
            user: self.user.expose_secret(),
            pass: self.pass.expose_secret(),
            to: phone.digits(),
            msg: Msg { prefix, text },
        };
        // Room enough that it seldom grows, for growing leaves copies of secrets behind.
        let secrets = request.user.len() + request.pass.len() + text.len();
        let mut body = Vec::with_capacity(128 + 2 * secrets);
        serde_json::to_writer(&mut body, &request)?;
        Ok(body)
    }

    /// `{"status":0,"id":"<uuid>",…}` is a yes; any other documented status is a no with a reason. The page documents
    /// `status` as a number and nothing else, so anything else is no answer.
    fn parse_answer(&self, text: &str) -> Result<Accepted, Failure> {
        let answer: Option<serde_json::Map<String, Value>> = serde_json::from_str(text).ok();
        let Some(status) = answer.as_ref().and_then(|answer| answer.get("status")?.as_i64()) else {
            tracing::warn!(vendor = %self.name, bytes = text.len(), "vendor's answer makes no sense");
            return Err(Failure::Unknown);
        };
        if status != 0 {
            tracing::warn!(vendor = %self.name, status, "vendor refused a message");
            return Err(parse_status(status));
        }
        let id = answer.as_ref().and_then(|answer| answer.get("id")?.as_str());
        let plain = |id: &&str| id.len() <= MAX_REFERENCE_LENGTH && id.bytes().all(|byte| byte.is_ascii_graphic());
        let vendor_reference = id.filter(plain).filter(|id| !id.is_empty()).map(str::to_owned);
        Ok(Accepted { vendor_reference, receipt: None })
    }
}

/// Status codes of the vendor's page, without 0.
fn parse_status(status: i64) -> Failure {
    match status {
        // Our address is not on the account's list; key or secret is wrong.
        2 | 3 => Failure::Rejected(Rejection::Unauthorized),
        // Country code not recognised; phone has other than digits.
        4 | 9 => Failure::Rejected(Rejection::InvalidRecipient),
        5 => Failure::Rejected(Rejection::InsufficientCredit),
        // Field missing; too long; prefix missing; and five that only its own one-time codes know, all about content.
        1 | 8 | 10..=15 => Failure::Rejected(Rejection::InvalidContent),
        // 6 is "internal error, retry shortly". It does not say at which step, and a second try may deliver a second
        // message, so it is not "surely not sent". The engine may still send a code again, for a code twice does no harm;
        // a text that must not arrive twice waits.
        // 7 and 16 have no meaning here, and later codes none that we know.
        _ => Failure::Unknown,
    }
}

impl fmt::Debug for EsmsVendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EsmsVendor")
            .field("name", &self.name)
            .field("send_url", &self.send_url.as_str())
            .finish_non_exhaustive()
    }
}

// === impl Msg ===

impl Serialize for Msg<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}{}", self.prefix, self.text))
    }
}
