//! Hasun (Sri Lanka, `hasun.lk`): SMS, the status of an SMS, and codes that the vendor makes; JSON both ways.
//!
//! The vendor's page names fields and answers, but neither the address of the service, nor its paths and methods, nor
//! any HTTP status or error. So addresses are configuration, and a failure is read with care: a refusal must be an HTTP
//! status that refuses, anything else that is not the documented success leaves the outcome unknown.
//!
//! A text of ours, codes of ours included, goes out as plain SMS: the vendor's own call for codes takes none from us. It
//! hands the code that it made back to the caller; we look whether there is one, keep nothing of it, and have the vendor
//! check candidates. Its codes cannot be ended early. Numbers are written as they are dialled in Sri Lanka, the only form
//! that the page shows, so other countries' are refused here: dialled there, they would be someone else's. It keeps
//! one code for each organisation, mask and number, and names none. It takes no key that makes a second send harmless, and
//! calls nobody back: it has to be asked.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};

use crate::clock::deserialize_duration;
use crate::error::{Error, Result};
use crate::recipient::Recipient;
use crate::vendor::http::{self, Answer, Client, HttpDoor, Timeouts};
use crate::vendor::{
    Accepted, Capabilities, Channel, CodeFor, CodeHandle, CodeLimits, CodePlace, CodeRequest, CodeVerdict, Codes, Door,
    Failure, Outgoing, ReceiptStatus, Rejection, Statuses, Vendor,
};

/// What the configured paths call the organisation.
const ORGANISATION: &str = "{organisation_token}";

/// Sri Lanka.
const CALLING_CODE: &str = "94";

/// Digits of a code. The page shows six and offers no choice.
const CODE_LENGTH: u32 = 6;

/// The page gives the lifetime in seconds and no range. Up to the vendor's default of 30 minutes is surely taken.
const CODE_LIFETIMES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(30 * 60));

/// Longest name of a message or mask that is kept; the vendor's own have 36 and 9 characters.
const MAX_REFERENCE_LENGTH: usize = 128;

/// An account at Hasun.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `https`, or `http` to this machine. Default `https://api.hasun.lk/v1`, which the vendor's page does not confirm.
    #[serde(default = "default_base_url")]
    pub base_url: String,
    /// The account's API token.
    pub token: SecretString,
    /// Names the organisation in every path.
    pub organisation_token: SecretString,
    /// The number mask that messages come from, unless `mask_tokens` knows their sender.
    pub mask_token: String,
    /// Number masks by the name of a sender.
    #[serde(default)]
    pub mask_tokens: BTreeMap<String, String>,
    /// Method and path below `base_url` that send a text.
    #[serde(default = "default_send_endpoint")]
    pub send_endpoint: String,
    /// The same to ask for a text's status. With GET, the fields go into the query.
    #[serde(default = "default_status_endpoint")]
    pub status_endpoint: String,
    /// The same to have a code made and sent.
    #[serde(default = "default_start_endpoint")]
    pub start_endpoint: String,
    /// The same to have a code checked.
    #[serde(default = "default_check_endpoint")]
    pub check_endpoint: String,
    /// To resolve the name, connect and shake hands. Default 3 s.
    #[serde(default = "default_connect_timeout", deserialize_with = "deserialize_duration")]
    pub connect_timeout: Duration,
    /// For one call from start to end. Default 8 s.
    #[serde(default = "default_timeout", deserialize_with = "deserialize_duration")]
    pub timeout: Duration,
}

/// The adapter.
pub struct HasunVendor {
    name: String,
    capabilities: Capabilities,
    limits: CodeLimits,
    client: Client,
    door: HttpDoor,
    authorization: HeaderValue,
    account: String,
    mask_token: String,
    mask_tokens: BTreeMap<String, String>,
    send: Endpoint,
    status: Endpoint,
    start: Endpoint,
    check: Endpoint,
}

/// Where a call goes. Holds the organisation's token, so it has no `Debug`.
struct Endpoint {
    method: Method,
    url: Url,
}

/// The bodies of the calls, in the vendor's words.
#[derive(Serialize)]
struct SendRequest<'a> {
    mask_token: &'a str,
    number: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct StatusRequest<'a> {
    mask_token: &'a str,
    message_uuid: &'a str,
}

#[derive(Serialize)]
struct StartRequest<'a> {
    mask_token: &'a str,
    number: &'a str,
    /// Seconds.
    expire: u64,
}

#[derive(Serialize)]
struct CheckRequest<'a> {
    mask_token: &'a str,
    number: &'a str,
    /// A number on this vendor's wire.
    otp: u32,
}

/// The answers. Whatever is not there or of another type is no answer.
#[derive(Deserialize)]
struct Sent {
    status: String,
    message_uuid: Option<String>,
}

#[derive(Deserialize)]
struct Status {
    status: String,
}

#[derive(Deserialize)]
struct Started {
    #[serde(rename = "otp_code")]
    _otp_code: SomeCode,
}

#[derive(Deserialize)]
struct Checked {
    verification: bool,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
struct Refused {
    message: String,
}

/// A code was here. Which one is for the vendor and the person to know.
struct SomeCode;

// === impl Config ===

impl Config {
    /// The adapter, under its configured name. Errors: `Invalid`, naming the field.
    pub fn build(self, name: &str) -> Result<HasunVendor> {
        let base_url = http::parse_base_url(&self.base_url)?;
        let organisation = self.organisation_token.expose_secret();
        if !is_plain(organisation) || organisation == "." || organisation == ".." {
            return Err(Error::invalid("organisation_token", "must be 1 to 128 letters, digits and marks of ASCII"));
        }
        if !is_plain(&self.mask_token) {
            return Err(Error::invalid("mask_token", "must be 1 to 128 letters, digits and marks of ASCII"));
        }
        if !self.mask_tokens.values().all(|mask| is_plain(mask)) {
            return Err(Error::invalid("mask_tokens", "must each be 1 to 128 letters, digits and marks of ASCII"));
        }
        let endpoint = |field: &str, text: &str| Endpoint::parse(field, text, &base_url, organisation);
        let client = Client::new(name, Timeouts { connect: self.connect_timeout, total: self.timeout })?;
        Ok(HasunVendor {
            name: name.to_owned(),
            capabilities: Capabilities { channels: vec![Channel::Sms], idempotent: false, receipts: true },
            limits: CodeLimits {
                channels: vec![Channel::Sms],
                lengths: CODE_LENGTH..=CODE_LENGTH,
                lifetimes: CODE_LIFETIMES.0..=CODE_LIFETIMES.1,
                lifetime_step: Duration::from_secs(1),
                letters: false,
                template: false,
                cancel: false,
            },
            door: HttpDoor::new(&client, &base_url),
            client,
            authorization: http::parse_secret_header("token", "Bearer ", &self.token)?,
            account: http::account_name(&base_url, &self.organisation_token),
            send: endpoint("send_endpoint", &self.send_endpoint)?,
            status: endpoint("status_endpoint", &self.status_endpoint)?,
            start: endpoint("start_endpoint", &self.start_endpoint)?,
            check: endpoint("check_endpoint", &self.check_endpoint)?,
            mask_token: self.mask_token,
            mask_tokens: self.mask_tokens,
        })
    }
}

fn default_base_url() -> String {
    "https://api.hasun.lk/v1".to_owned()
}

fn default_send_endpoint() -> String {
    "POST /{organisation_token}/sms/send".to_owned()
}

fn default_status_endpoint() -> String {
    "POST /{organisation_token}/sms/status".to_owned()
}

fn default_start_endpoint() -> String {
    "POST /{organisation_token}/verification/otp/sms/send".to_owned()
}

fn default_check_endpoint() -> String {
    "POST /{organisation_token}/verification/otp/sms/validate".to_owned()
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(3)
}

fn default_timeout() -> Duration {
    Duration::from_secs(8)
}

// === impl Endpoint ===

impl Endpoint {
    /// Reads `POST /{organisation_token}/sms/send`. Only the status may be asked for by GET: no text or code belongs in
    /// a URL.
    fn parse(field: &str, text: &str, base_url: &Url, organisation: &str) -> Result<Self> {
        let wrong = || {
            let get = if field == "status_endpoint" { "GET, " } else { "" };
            let description = format!("must be {get}POST or PUT, a blank and a path such as /{ORGANISATION}/sms/send");
            Error::invalid(field, description)
        };
        let (method, path) = text.split_once(' ').ok_or_else(wrong)?;
        let method = match method {
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "GET" if field == "status_endpoint" => Method::GET,
            _ => return Err(wrong()),
        };
        let mut url = base_url.clone();
        let mut segments = url.path_segments_mut().map_err(|()| wrong())?;
        segments.pop_if_empty();
        for segment in path.strip_prefix('/').ok_or_else(wrong)?.split('/') {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
            match segment {
                ORGANISATION => segments.push(organisation),
                "" | "." | ".." => return Err(wrong()),
                segment if segment.bytes().all(plain) => segments.push(segment),
                _ => return Err(wrong()),
            };
        }
        drop(segments);
        Ok(Self { method, url })
    }
}

// === impl HasunVendor ===

#[async_trait]
impl Vendor for HasunVendor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<Accepted, Failure> {
        let number = to_number(outgoing.channel, &outgoing.recipient)?;
        let message = outgoing.text.expose_secret();
        let mask_token = self.mask_of(outgoing.sender.as_deref());
        let body = http::to_json(&SendRequest { mask_token, number: &number, message }, message.len())?;
        let answer = self.call(&self.send, body).await?;
        match answer.body.parse::<Sent>() {
            Some(sent) if answer.by_status.is_ok() && sent.status == "success" => {
                Ok(Accepted { vendor_reference: sent.message_uuid.filter(|uuid| is_plain(uuid)), receipt: None })
            }
            _ => Err(self.refusal(&answer)),
        }
    }

    fn door(&self) -> Option<&dyn Door> {
        Some(&self.door)
    }

    fn codes(&self) -> Option<&dyn Codes> {
        Some(self)
    }

    fn statuses(&self) -> Option<&dyn Statuses> {
        Some(self)
    }
}

#[async_trait]
impl Statuses for HasunVendor {
    async fn status(&self, vendor_reference: &str) -> Result<Option<ReceiptStatus>, Failure> {
        // The mask says only whose message it is; the vendor's own example asks with another than it sent with.
        let request = StatusRequest { mask_token: &self.mask_token, message_uuid: vendor_reference };
        let answer = if self.status.method == Method::GET {
            let mut url = self.status.url.clone();
            let fields = [("mask_token", request.mask_token), ("message_uuid", request.message_uuid)];
            url.query_pairs_mut().extend_pairs(fields);
            self.client.exchange(Method::GET, url, self.headers(), None).await?
        } else {
            self.call(&self.status, http::to_json(&request, 0)?).await?
        };
        match answer.body.parse::<Status>() {
            Some(status) if answer.by_status.is_ok() => {
                parse_status(&status.status).ok_or_else(|| self.refusal(&answer))
            }
            // It speaks of a message that it does not know; a page that is not there says nothing of the kind.
            Some(status) if answer.status.as_u16() == 404 && status.status == "error" => Ok(None),
            _ => Err(self.refusal(&answer)),
        }
    }
}

#[async_trait]
impl Codes for HasunVendor {
    fn limits(&self) -> &CodeLimits {
        &self.limits
    }

    /// The vendor knows a code by organisation, mask and number, and gives it no name; so the handle keeps the mask.
    fn place(&self, whom: &CodeFor<'_>) -> Option<CodePlace> {
        let number = to_number(whom.channel, whom.recipient).ok()?;
        let mask_token = self.mask_of(whom.sender);
        let handle = CodeHandle {
            vendor_reference: Some(mask_token.to_owned()),
            channel: whom.channel,
            recipient: whom.recipient.clone(),
        };
        Some(CodePlace { name: format!("{}/{mask_token}/{number}", self.account), handle })
    }

    async fn start(&self, request: &CodeRequest) -> Result<CodeHandle, Failure> {
        let number = to_number(request.channel, &request.recipient)?;
        if !self.limits.allow(request) {
            return Err(Failure::Rejected(Rejection::InvalidContent));
        }
        let mask_token = self.mask_of(request.sender.as_deref());
        let expire = request.lifetime.as_secs();
        let body = http::to_json(&StartRequest { mask_token, number: &number, expire }, 0)?;
        let answer = self.call(&self.start, body).await?;
        if answer.by_status.is_err() || answer.body.parse::<Started>().is_none() {
            return Err(self.refusal(&answer));
        }
        let vendor_reference = Some(mask_token.to_owned());
        Ok(CodeHandle { vendor_reference, channel: request.channel, recipient: request.recipient.clone() })
    }

    async fn check(&self, handle: &CodeHandle, candidate: &SecretString) -> Result<CodeVerdict, Failure> {
        let number = to_number(handle.channel, &handle.recipient)?;
        let Some(otp) = parse_candidate(candidate) else {
            return Ok(CodeVerdict::Wrong { checks_left: None });
        };
        let mask_token = handle.vendor_reference.as_deref().unwrap_or(&self.mask_token);
        let body = http::to_json(&CheckRequest { mask_token, number: &number, otp }, 0)?;
        let answer = self.call(&self.check, body).await?;
        match (answer.body.parse::<Checked>(), &answer.by_status) {
            (Some(Checked { verification: true, .. }), Ok(())) => Ok(CodeVerdict::Right),
            // Statuses that speak of the request, and not of us or of the vendor's health.
            (Some(Checked { verification: false, reason }), _)
                if matches!(answer.status.as_u16(), 200..=299 | 400 | 404 | 409 | 410 | 422) =>
            {
                parse_reason(&reason)
            }
            _ if is_expiry(&answer) => Ok(CodeVerdict::Expired),
            _ => Err(http::check_failure(self.refusal(&answer))),
        }
    }

    async fn cancel(&self, _: &CodeHandle) -> Result<(), Failure> {
        Ok(())
    }
}

impl HasunVendor {
    fn mask_of(&self, sender: Option<&str>) -> &str {
        sender.and_then(|sender| self.mask_tokens.get(sender)).unwrap_or(&self.mask_token)
    }

    fn headers(&self) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone())])
    }

    async fn call(&self, endpoint: &Endpoint, body: Vec<u8>) -> Result<Answer, Failure> {
        self.client.exchange(endpoint.method.clone(), endpoint.url.clone(), self.headers(), Some(body)).await
    }

    /// What an answer without the documented success says. The page describes none.
    fn refusal(&self, answer: &Answer) -> Failure {
        tracing::warn!(vendor = %self.name, status = %answer.status, "vendor refused, or its answer makes no sense");
        match &answer.by_status {
            Ok(()) => Failure::Unknown,
            Err(Failure::Rejected(Rejection::InvalidContent)) if blames_number(answer) => {
                Failure::Rejected(Rejection::InvalidRecipient)
            }
            Err(failure) => failure.clone(),
        }
    }
}

impl fmt::Debug for HasunVendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.send.url.host_str().unwrap_or_default();
        f.debug_struct("HasunVendor").field("name", &self.name).field("host", &host).finish_non_exhaustive()
    }
}

/// As it is dialled in Sri Lanka: `0771234567`.
fn to_number(channel: Channel, recipient: &Recipient) -> Result<String, Failure> {
    match (channel, recipient) {
        (Channel::Sms, Recipient::Phone(phone)) => phone.digits().strip_prefix(CALLING_CODE),
        _ => None,
    }
    .map(|number| format!("0{number}"))
    .ok_or(Failure::Rejected(Rejection::InvalidRecipient))
}

/// Fit to be kept, and to be written into a URL or a body.
fn is_plain(text: &str) -> bool {
    (1..=MAX_REFERENCE_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Only what the person can have been sent: six digits, and not a shorter number that reads the same.
fn parse_candidate(candidate: &SecretString) -> Option<u32> {
    let digits = candidate.expose_secret();
    let whole = u32::try_from(digits.len()) == Ok(CODE_LENGTH) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole { digits.parse().ok() } else { None }
}

/// What is final: `Some(None)` is a message under way, `None` no status of a message. The page shows `delivered` alone;
/// the other words are read as they sound.
fn parse_status(status: &str) -> Option<Option<ReceiptStatus>> {
    match status.to_ascii_lowercase().as_str() {
        "delivered" => Some(Some(ReceiptStatus::Delivered)),
        "failed" | "undelivered" | "rejected" => Some(Some(ReceiptStatus::Undelivered)),
        "expired" => Some(Some(ReceiptStatus::Expired)),
        "error" | "success" => None,
        _ => Some(None),
    }
}

/// The reason of a failed check: the page tells that one after the expiry is an error, and no word for it.
fn parse_reason(reason: &str) -> Result<CodeVerdict, Failure> {
    let reason = reason.to_ascii_lowercase().replace(['_', '-'], " ");
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if says(&["expire"]) {
        Ok(CodeVerdict::Expired)
    } else if says(&["max attempts", "maximum attempts", "too many"]) {
        Ok(CodeVerdict::Exhausted)
    } else if says(&["not found", "already used"]) {
        Ok(CodeVerdict::Unknown)
    } else if says(&["number"]) {
        Err(Failure::Rejected(Rejection::InvalidRecipient))
    } else {
        Ok(CodeVerdict::Wrong { checks_left: None })
    }
}

/// An error about the expiry that does not have the shape of a check's answer.
fn is_expiry(answer: &Answer) -> bool {
    let refused = matches!(answer.status.as_u16(), 400 | 404 | 409 | 410 | 422);
    refused && answer.body.parse().is_some_and(|error: Refused| error.message.to_ascii_lowercase().contains("expire"))
}

/// "Number mask" is this vendor's name for a sender.
fn blames_number(answer: &Answer) -> bool {
    answer.body.parse().is_some_and(|error: Refused| {
        let message = error.message.to_ascii_lowercase();
        message.contains("number") && !message.contains("mask")
    })
}

// === impl SomeCode ===

impl<'de> Deserialize<'de> for SomeCode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SomeCode)
    }
}

impl Visitor<'_> for SomeCode {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a code")
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self, E> {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits { Ok(Self) } else { Err(E::custom("no code")) }
    }
}
