//! Octopush (`api.octopush.com`): plain SMS, its own one-time codes by SMS and voice, receipts, balance, contacts.
//!
//! What this vendor cannot read it mends or drops, and sends the rest all the same: a sender name loses its blanks, a
//! code length is moved to the nearest bound, `{param1}` in a text is filled in. So whatever it would change is refused
//! here, before a call. A send carries our reference as its `request_id`, under which it takes a message only once.
//!
//! Which classes of characters a code of its own has is told by the account, except that it is asked for digits. The
//! address that receipts are posted to is set in the account, too.

mod receipt;
mod words;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::{Timestamp, deserialize_duration};
use crate::error::{Error, Result};
use crate::recipient::{Phone, Recipient};
use crate::vendor::http::{self, Client, HttpDoor, Timeouts};
use crate::vendor::octopush::words::{
    CODE_LENGTHS, CODE_LIFETIMES, check_contact, check_sender, check_text, code_text, has_column, parse_code,
    voice_language,
};
use crate::vendor::{
    Accepted, Account, Balance, Capabilities, Channel, CodeHandle, CodeLimits, CodeRequest, CodeVerdict, Codes,
    ContactBook, ContactRow, Door, Failure, Outgoing, ReceiptCall, ReceiptReader, Rejection, Reported, Vendor,
};

/// Longest name of a message or of a code that is kept.
const MAX_REFERENCE_LENGTH: usize = 128;

/// The vendor's code for a `request_id` that it has seen within a day.
const REPEATED: i64 = 120;

/// An account at Octopush.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `https`, or `http` to this machine. Default `https://api.octopush.com/v1/public`.
    #[serde(default = "default_base_url")]
    pub base_url: String,
    /// The account's login, an e-mail address.
    pub api_login: SecretString,
    /// The account's key.
    pub api_key: SecretString,
    /// What plain messages are for. Default [`Purpose::Alert`].
    #[serde(default)]
    pub purpose: Purpose,
    /// Wrong checks that the vendor allows for a code of its own: 1 to 100. Default 10, so that our own caps come first.
    #[serde(default = "default_max_checks")]
    pub max_checks: u32,
    /// To resolve the name, connect and shake hands. Default 3 s.
    #[serde(default = "default_connect_timeout", deserialize_with = "deserialize_duration")]
    pub connect_timeout: Duration,
    /// For one call from start to end. Default 8 s.
    #[serde(default = "default_timeout", deserialize_with = "deserialize_duration")]
    pub timeout: Duration,
}

/// The vendor's two kinds of traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    #[default]
    Alert,
    Wholesale,
}

/// The adapter.
pub struct OctopushVendor {
    name: String,
    capabilities: Capabilities,
    code_limits: CodeLimits,
    client: Client,
    door: HttpDoor,
    base_url: Url,
    headers: HeaderMap,
    purpose: Purpose,
    max_checks: u32,
}

/// A send, in the vendor's words.
#[derive(Serialize)]
struct SendRequest<'a> {
    recipients: [To<'a>; 1],
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
    purpose: Purpose,
    request_id: &'a str,
}

#[derive(Serialize)]
struct To<'a> {
    phone_number: &'a str,
}

/// The start of a code of the vendor's own.
#[derive(Serialize)]
struct StartRequest<'a> {
    phone_number: &'a str,
    text: &'a str,
    channel: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
    code_length: u32,
    allow_digits: bool,
    allow_upper_case: bool,
    allow_lower_case: bool,
    allow_special_chars: bool,
    /// Seconds.
    validity_period: u64,
    max_wrong_attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    voice_language: Option<&'static str>,
}

#[derive(Serialize)]
struct CheckRequest<'a> {
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    otp_request_token: Option<&'a str>,
    /// The last code that this number was sent: only where the vendor gave no token.
    #[serde(skip_serializing_if = "Option::is_none")]
    phone_number: Option<&'a str>,
}

/// An answer whose body is an object, or that of a refusal.
struct Answer {
    fields: serde_json::Map<String, Value>,
    /// What the HTTP status says by itself; `None` for 2xx.
    failure: Option<Failure>,
}

// === impl Config ===

impl Config {
    /// The adapter, under its configured name. Errors: `Invalid`, naming the field.
    pub fn build(self, name: &str) -> Result<OctopushVendor> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(http::JSON));
        for (field, header, secret) in
            [("api_login", "api-login", &self.api_login), ("api_key", "api-key", &self.api_key)]
        {
            if secret.expose_secret().trim().is_empty() {
                return Err(Error::invalid(field, "must not be empty"));
            }
            let mut value = HeaderValue::from_str(secret.expose_secret())
                .map_err(|_| Error::invalid(field, "must be visible ASCII characters on one line"))?;
            value.set_sensitive(true);
            headers.insert(header, value);
        }
        if !(1..=100).contains(&self.max_checks) {
            return Err(Error::invalid("max_checks", format!("must be 1 to 100, but is {}", self.max_checks)));
        }
        let timeouts = Timeouts { connect: self.connect_timeout, total: self.timeout };
        let client = Client::new(name, timeouts)?;
        let base_url = http::parse_base_url(&self.base_url)?;
        Ok(OctopushVendor {
            name: name.to_owned(),
            capabilities: Capabilities { channels: vec![Channel::Sms], idempotent: true, receipts: true },
            code_limits: CodeLimits {
                channels: vec![Channel::Sms, Channel::Voice],
                lengths: CODE_LENGTHS,
                lifetimes: CODE_LIFETIMES,
                lifetime_step: Duration::from_secs(1),
                letters: false,
                template: true,
                cancel: false,
            },
            door: HttpDoor::new(&client, &base_url),
            client,
            base_url,
            headers,
            purpose: self.purpose,
            max_checks: self.max_checks,
        })
    }
}

fn default_base_url() -> String {
    "https://api.octopush.com/v1/public".to_owned()
}

fn default_max_checks() -> u32 {
    10
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(3)
}

fn default_timeout() -> Duration {
    Duration::from_secs(8)
}

// === impl OctopushVendor ===

#[async_trait]
impl Vendor for OctopushVendor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<Accepted, Failure> {
        let phone = self.phone(&[Channel::Sms], outgoing.channel, &outgoing.recipient)?;
        let (sender, text) = (outgoing.sender.as_deref(), outgoing.text.expose_secret());
        self.checked(check_sender(sender).and_then(|()| check_text(text)))?;
        let request = SendRequest {
            recipients: [To { phone_number: phone.e164() }],
            text,
            sender,
            purpose: self.purpose,
            request_id: &outgoing.reference,
        };
        let answer = self.call(Method::POST, "sms-campaign/send", Some(&request)).await?;
        if answer.failure.is_none() && answer.code().unwrap_or(0) == 0 {
            // Without its ticket no receipt will be matched, but the message is on its way.
            return match answer.fields.get("sms_ticket").and_then(Value::as_str) {
                Some(ticket) => Ok(Accepted { vendor_reference: plain_reference(ticket), ..Accepted::default() }),
                None => Err(self.senseless()),
            };
        }
        if answer.code() == Some(REPEATED) {
            // It has the message from an earlier attempt, whose answer we did not see.
            return Ok(Accepted::default());
        }
        Err(self.refusal(&answer))
    }

    fn codes(&self) -> Option<&dyn Codes> {
        Some(self)
    }

    fn door(&self) -> Option<&dyn Door> {
        Some(&self.door)
    }

    fn receipts(&self) -> Option<&dyn ReceiptReader> {
        Some(self)
    }

    fn account(&self) -> Option<&dyn Account> {
        Some(self)
    }

    fn contacts(&self) -> Option<&dyn ContactBook> {
        Some(self)
    }
}

#[async_trait]
impl Codes for OctopushVendor {
    fn limits(&self) -> &CodeLimits {
        &self.code_limits
    }

    fn takes(&self, request: &CodeRequest) -> bool {
        let sender = request.sender.as_deref().filter(|_| request.channel != Channel::Voice);
        self.code_limits.allow(request)
            && code_text(request.template.as_deref(), request.brand.as_deref()).is_some()
            && check_sender(sender).is_ok()
    }

    async fn start(&self, request: &CodeRequest) -> Result<CodeHandle, Failure> {
        let phone = self.phone(&self.code_limits.channels, request.channel, &request.recipient)?;
        let lifetime = request.lifetime;
        let in_range = CODE_LENGTHS.contains(&request.length)
            && CODE_LIFETIMES.contains(&lifetime)
            && lifetime.subsec_nanos() == 0;
        let text = code_text(request.template.as_deref(), request.brand.as_deref());
        let text = self.checked(text.filter(|_| in_range).ok_or(Rejection::InvalidContent))?;
        let voice = request.channel == Channel::Voice;
        let sender = request.sender.as_deref().filter(|_| !voice);
        self.checked(check_sender(sender))?;
        let start = StartRequest {
            phone_number: phone.e164(),
            text: &text,
            channel: if voice { "voice_sms" } else { "sms" },
            sender,
            code_length: request.length,
            allow_digits: true,
            allow_upper_case: false,
            allow_lower_case: false,
            allow_special_chars: false,
            validity_period: lifetime.as_secs(),
            max_wrong_attempts: self.max_checks,
            voice_language: request.locale.as_deref().filter(|_| voice).and_then(voice_language),
        };
        let answer = self.call(Method::POST, "service/otp/generate", Some(&start)).await?;
        match (&answer.failure, answer.code()) {
            (None, Some(0)) => {}
            (None, None) => return Err(self.senseless()),
            _ => return Err(self.refusal(&answer)),
        }
        let token = answer.fields.get("otp_request_token").and_then(Value::as_str);
        Ok(CodeHandle {
            vendor_reference: token.and_then(plain_reference),
            channel: request.channel,
            recipient: request.recipient.clone(),
        })
    }

    async fn check(&self, handle: &CodeHandle, candidate: &SecretString) -> Result<CodeVerdict, Failure> {
        let phone = self.phone(&self.code_limits.channels, handle.channel, &handle.recipient)?;
        let token = handle.vendor_reference.as_deref();
        let request = CheckRequest {
            code: candidate.expose_secret(),
            otp_request_token: token,
            phone_number: token.is_none().then(|| phone.e164()),
        };
        let answer = self.call(Method::PUT, "service/otp/validate", Some(&request)).await?;
        match (&answer.failure, answer.code()) {
            (None, Some(0)) => Ok(CodeVerdict::Right),
            (None, None) => Err(self.senseless()),
            (_, Some(196)) => Ok(CodeVerdict::Exhausted),
            (_, Some(197)) => Ok(CodeVerdict::Expired),
            (_, Some(198)) => Ok(CodeVerdict::Unknown),
            (_, Some(199)) => {
                let left = answer.fields.get("remaining_number_of_attempts").and_then(Value::as_u64);
                Ok(CodeVerdict::Wrong { checks_left: left.and_then(|left| left.try_into().ok()) })
            }
            _ => Err(http::check_failure(self.refusal(&answer))),
        }
    }

    /// The vendor has no such call.
    async fn cancel(&self, _: &CodeHandle) -> Result<(), Failure> {
        Ok(())
    }
}

#[async_trait]
impl Account for OctopushVendor {
    async fn balance(&self) -> Result<Balance, Failure> {
        let answer = self.call(Method::GET, "wallet/check-balance", None::<&()>).await?;
        if answer.failure.is_some() {
            return Err(self.refusal(&answer));
        }
        let amount = match answer.fields.get("amount") {
            Some(Value::Number(amount)) => Some(amount.to_string()),
            Some(Value::String(amount)) if amount.parse::<f64>().is_ok_and(f64::is_finite) => Some(amount.clone()),
            _ => None,
        };
        match (amount, answer.fields.get("unit").and_then(Value::as_str)) {
            (Some(amount), Some(unit)) => Ok(Balance { amount, unit: unit.to_owned() }),
            _ => Err(self.senseless()),
        }
    }
}

#[async_trait]
impl ContactBook for OctopushVendor {
    fn takes(&self, column: &str) -> bool {
        has_column(column)
    }

    fn keeps_lists(&self) -> bool {
        true
    }

    async fn push(&self, row: &ContactRow) -> Result<(), Failure> {
        self.checked(check_contact(row))?;
        // What becomes of a contact that is there already is left to the vendor's default: its pages give the flag for
        // it two opposite meanings.
        let request = serde_json::json!({ "contacts": [row.cells], "list_name": row.list });
        let answer = self.call(Method::POST, "contact/create", Some(&request)).await?;
        let accepted = answer.failure.is_none() && answer.code().unwrap_or(0) == 0;
        if accepted { Ok(()) } else { Err(self.refusal(&answer)) }
    }
}

impl ReceiptReader for OctopushVendor {
    fn is_signed(&self) -> bool {
        false
    }

    fn read(&self, call: &ReceiptCall, now: Timestamp) -> Result<Vec<Reported>> {
        receipt::read(&call.body, now)
    }
}

impl OctopushVendor {
    fn phone<'r>(&self, carried: &[Channel], channel: Channel, to: &'r Recipient) -> Result<&'r Phone, Failure> {
        match to {
            Recipient::Phone(phone) if carried.contains(&channel) => Ok(phone),
            _ => Err(Failure::Rejected(Rejection::InvalidRecipient)),
        }
    }

    /// Turns what the vendor would change into a refusal.
    fn checked<T>(&self, checked: Result<T, Rejection>) -> Result<T, Failure> {
        checked.map_err(|rejection| {
            tracing::warn!(vendor = %self.name, reason = rejection.as_str(), "vendor would change the request; not sent");
            Failure::Rejected(rejection)
        })
    }

    async fn call(&self, method: Method, path: &str, body: Option<&impl Serialize>) -> Result<Answer, Failure> {
        let url = self.base_url.join(path).map_err(|_| Failure::Unavailable)?;
        let body = body.map(serde_json::to_vec).transpose().map_err(|_| Failure::Unavailable)?;
        let http::Answer { status, by_status, body } =
            self.client.exchange(method, url, self.headers.clone(), body).await?;
        let Err(failure) = by_status else {
            let fields = body.parse().ok_or_else(|| self.senseless())?;
            return Ok(Answer { fields, failure: None });
        };
        // A refusal has a code of its own in its body; a server that failed may write anything.
        let fields = if status.is_client_error() { body.parse() } else { None };
        let answer = Answer { fields: fields.unwrap_or_default(), failure: Some(failure) };
        tracing::warn!(vendor = %self.name, %status, code = answer.code(), "vendor refused a call");
        Ok(answer)
    }

    /// The failure that a refusal means: by its own code, else by its HTTP status.
    fn refusal(&self, answer: &Answer) -> Failure {
        let by_code = answer.code().and_then(parse_code);
        match (by_code, &answer.failure) {
            // Only the status line says how long to wait.
            (Some(Failure::Throttled { .. }), Some(throttled @ Failure::Throttled { .. })) => throttled.clone(),
            (Some(failure), _) => failure,
            (None, Some(failure)) => failure.clone(),
            (None, None) => {
                tracing::warn!(vendor = %self.name, code = answer.code(), "vendor refused with a code unknown to us");
                Failure::Unknown
            }
        }
    }

    fn senseless(&self) -> Failure {
        tracing::warn!(vendor = %self.name, "vendor's answer makes no sense");
        Failure::Unknown
    }
}

impl fmt::Debug for OctopushVendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OctopushVendor")
            .field("name", &self.name)
            .field("base_url", &self.base_url.as_str())
            .finish_non_exhaustive()
    }
}

// === impl Answer ===

impl Answer {
    /// 0 is a yes. A plain send that was taken has none.
    fn code(&self) -> Option<i64> {
        self.fields.get("code").map(|code| code.as_i64().unwrap_or(-1))
    }
}

fn plain_reference(id: &str) -> Option<String> {
    let plain = (1..=MAX_REFERENCE_LENGTH).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    plain.then(|| id.to_owned())
}
