//! Simpu (Nigeria, `simpu.co`): SMS and WhatsApp texts, codes that the vendor makes, and rows for its contact list; JSON
//! both ways.
//!
//! A text of ours, codes of ours included, goes out by `/sms/send`. The vendor's call for codes would take a code of ours
//! too, but wraps it in words of the vendor, so it is used only for the vendor's own codes: made, checked and revoked
//! by an id. A failed check is one status, 404, whatever the cause; the code is then looked at once to learn
//! the cause.
//!
//! What becomes of a text comes by a call back to the address that went with it. It carries no signature, and the page of
//! its words was never public, so it is read leniently, and the message is named by the address alone. The account's
//! balance is told only beside a send that is paid for, and without a currency, so none is offered. A row is always
//! added: the vendor replaces rows only by an id of its own, which a contact here does not have.
//!
//! Nothing here makes a second send harmless.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::clock::{Timestamp, deserialize_duration};
use crate::error::{Error, Result};
use crate::recipient::Recipient;
use crate::vendor::http::{self, Answer, Client, HttpDoor, Timeouts};
use crate::vendor::{
    Accepted, Capabilities, Channel, CodeHandle, CodeLimits, CodeRequest, CodeVerdict, Codes, ContactBook, ContactRow,
    Door, Failure, Outgoing, ReceiptCall, ReceiptReader, ReceiptStatus, Rejection, Reported, ReportedMessage, Vendor,
};

/// Most characters of a sender's name, by the vendor's page.
const MAX_SENDER_LENGTH: usize = 11;

/// Characters of a code, by the vendor's page.
const CODE_LENGTHS: (u32, u32) = (4, 8);

/// The vendor counts the life of a code in minutes, from 1 to 60.
const MINUTE: Duration = Duration::from_secs(60);

/// Longest name of a message or code that is kept; the vendor's own have 32 characters.
const MAX_REFERENCE_LENGTH: usize = 128;

/// The one contact list that an account has.
const CONTACT_LIST: &str = "contact";

/// An account at Simpu.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `https`, or `http` to this machine. Default `https://api.simpu.co`.
    #[serde(default = "default_base_url")]
    pub base_url: String,
    /// The account's API key.
    pub api_key: SecretString,
    /// Who a message is from when it does not say, or names someone that the vendor has no room for: 1 to 11 characters.
    pub sender_id: String,
    /// What the account is set up for, of `sms` and `whatsapp`. Default `sms`.
    #[serde(default = "default_channels")]
    pub channels: Vec<Channel>,
    /// To resolve the name, connect and shake hands. Default 3 s.
    #[serde(default = "default_connect_timeout", deserialize_with = "deserialize_duration")]
    pub connect_timeout: Duration,
    /// For one call from start to end. Default 8 s.
    #[serde(default = "default_timeout", deserialize_with = "deserialize_duration")]
    pub timeout: Duration,
}

/// The adapter.
pub struct SimpuVendor {
    name: String,
    capabilities: Capabilities,
    limits: CodeLimits,
    client: Client,
    door: HttpDoor,
    base_url: Url,
    authorization: HeaderValue,
    sender_id: String,
}

/// The bodies of the calls, in the vendor's words.
#[derive(Serialize)]
struct SendRequest<'a> {
    /// Several would be separated by commas.
    recipients: &'a str,
    sender_id: &'a str,
    content: &'a str,
    channel: &'a str,
    external_ref: &'a str,
    /// Whether links in the text are replaced by the vendor's own, which follow who opens them.
    is_trackable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback: Option<&'a str>,
}

#[derive(Serialize)]
struct StartRequest<'a> {
    recipient: &'a str,
    length: u32,
    /// Minutes.
    expires_in: u64,
    channel: &'a str,
}

#[derive(Serialize)]
struct CheckRequest<'a> {
    token: &'a str,
    id: &'a str,
}

#[derive(Serialize)]
struct RowRequest<'a> {
    /// Cells by the id of their column.
    columns: BTreeMap<&'a str, &'a str>,
}

/// The answers. Whatever is not there or of another type is no answer.
#[derive(Deserialize)]
struct Sent {
    id: String,
}

/// A code, as the vendor shows it.
#[derive(Deserialize)]
struct Otp {
    id: String,
    status: i64,
}

#[derive(Deserialize)]
struct Table {
    columns: Vec<Column>,
}

#[derive(Deserialize)]
struct Column {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct RowAdded {
    #[serde(rename = "row")]
    _row: Map<String, Value>,
}

#[derive(Deserialize)]
struct Refused {
    message: String,
    #[serde(default)]
    errors: Vec<RefusedField>,
}

#[derive(Deserialize)]
struct RefusedField {
    #[serde(default)]
    field: String,
}

// === impl Config ===

impl Config {
    /// The adapter, under its configured name. Errors: `Invalid`, naming the field.
    pub fn build(self, name: &str) -> Result<SimpuVendor> {
        if !is_sender(&self.sender_id) {
            return Err(Error::invalid("sender_id", "must be 1 to 11 characters of ASCII"));
        }
        let known = |channel: &Channel| matches!(channel, Channel::Sms | Channel::WhatsApp);
        if self.channels.is_empty() || !self.channels.iter().all(known) {
            return Err(Error::invalid("channels", "must be \"sms\", \"whatsapp\" or both"));
        }
        let timeouts = Timeouts { connect: self.connect_timeout, total: self.timeout };
        let client = Client::new(name, timeouts)?;
        let base_url = http::parse_base_url(&self.base_url)?;
        Ok(SimpuVendor {
            name: name.to_owned(),
            capabilities: Capabilities { channels: self.channels.clone(), idempotent: false, receipts: true },
            limits: CodeLimits {
                channels: self.channels,
                lengths: CODE_LENGTHS.0..=CODE_LENGTHS.1,
                lifetimes: MINUTE..=60 * MINUTE,
                lifetime_step: MINUTE,
                letters: false,
                template: false,
                cancel: true,
            },
            door: HttpDoor::new(&client, &base_url),
            client,
            base_url,
            authorization: http::parse_secret_header("api_key", "", &self.api_key)?,
            sender_id: self.sender_id,
        })
    }
}

fn default_base_url() -> String {
    "https://api.simpu.co".to_owned()
}

fn default_channels() -> Vec<Channel> {
    vec![Channel::Sms]
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(3)
}

fn default_timeout() -> Duration {
    Duration::from_secs(8)
}

// === impl SimpuVendor ===

#[async_trait]
impl Vendor for SimpuVendor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<Accepted, Failure> {
        let content = outgoing.text.expose_secret();
        let request = SendRequest {
            recipients: self.number_of(outgoing.channel, &outgoing.recipient)?,
            sender_id: outgoing.sender.as_deref().filter(|sender| is_sender(sender)).unwrap_or(&self.sender_id),
            content,
            channel: outgoing.channel.as_str(),
            external_ref: &outgoing.reference,
            is_trackable: false,
            callback: outgoing.receipt_url.as_ref().map(ExposeSecret::expose_secret),
        };
        let answer = self.call(Method::POST, "sms/send", Some(http::to_json(&request, content.len())?)).await?;
        match answer.body.parse::<Sent>() {
            Some(sent) if answer.by_status.is_ok() && is_reference(&sent.id) => {
                Ok(Accepted { vendor_reference: Some(sent.id), receipt: None })
            }
            _ => Err(self.refusal(&answer)),
        }
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

    fn contacts(&self) -> Option<&dyn ContactBook> {
        Some(self)
    }
}

#[async_trait]
impl Codes for SimpuVendor {
    fn limits(&self) -> &CodeLimits {
        &self.limits
    }

    async fn start(&self, request: &CodeRequest) -> Result<CodeHandle, Failure> {
        let recipient = self.number_of(request.channel, &request.recipient)?;
        if !self.limits.allow(request) {
            return Err(Failure::Rejected(Rejection::InvalidContent));
        }
        let expires_in = request.lifetime.as_secs() / MINUTE.as_secs();
        let channel = request.channel.as_str();
        let body = http::to_json(&StartRequest { recipient, length: request.length, expires_in, channel }, 0)?;
        let answer = self.call(Method::POST, "otp/request_token", Some(body)).await?;
        match answer.body.parse::<Otp>() {
            // Without its id, or failed, a code cannot be checked; whether it went out nobody can tell.
            Some(otp) if answer.by_status.is_ok() && is_reference(&otp.id) && otp.status == 1 => {
                let recipient = request.recipient.clone();
                Ok(CodeHandle { vendor_reference: Some(otp.id), channel: request.channel, recipient })
            }
            _ => Err(self.refusal(&answer)),
        }
    }

    async fn check(&self, handle: &CodeHandle, candidate: &SecretString) -> Result<CodeVerdict, Failure> {
        let id = id_of(handle)?;
        let token = candidate.expose_secret();
        let fits = (CODE_LENGTHS.0 as usize..=CODE_LENGTHS.1 as usize).contains(&token.len());
        if !fits || !token.bytes().all(|byte| byte.is_ascii_digit()) {
            return Ok(CodeVerdict::Wrong { checks_left: None });
        }
        let body = http::to_json(&CheckRequest { token, id }, token.len())?;
        let answer = self.call(Method::POST, "otp/verify", Some(body)).await?;
        if answer.by_status.is_ok() {
            // The page shows the code as SENT after a check that succeeded, so 1 is no doubt; the others are.
            let verified = answer.body.parse::<Otp>().filter(|otp| otp.id == id && matches!(otp.status, 1 | 2));
            return verified.map(|_| CodeVerdict::Right).ok_or_else(|| self.refusal(&answer));
        }
        if !speaks_of_missing(&answer) {
            return Err(http::check_failure(self.refusal(&answer)));
        }
        self.why_wrong(id).await
    }

    async fn cancel(&self, handle: &CodeHandle) -> Result<(), Failure> {
        let answer = self.call(Method::DELETE, &format!("otp/{}", id_of(handle)?), None).await?;
        // The page shows no answer of success, only errors; a page for people is none.
        let body = answer.body.as_str();
        let ended = answer.by_status.is_ok() && (body.trim().is_empty() || answer.body.parse::<Map<_, _>>().is_some());
        // A code that is not there needs no end.
        if ended || speaks_of_missing(&answer) { Ok(()) } else { Err(self.refusal(&answer)) }
    }
}

impl ReceiptReader for SimpuVendor {
    fn is_signed(&self) -> bool {
        false
    }

    // Its callback is the address that came with the message.
    fn names_ours(&self) -> bool {
        true
    }

    fn read(&self, call: &ReceiptCall, now: Timestamp) -> Result<Vec<Reported>> {
        let body: Map<String, Value> =
            serde_json::from_slice(&call.body).map_err(|_| Error::invalid("body", "must be a JSON object"))?;
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        let word = ["status_desc", "status"].into_iter().filter_map(text).find_map(parse_word);
        let (Some(status), Some(of)) = (word, name_of(call, &body)) else { return Ok(Vec::new()) };
        let at = text("updated_datetime").and_then(parse_time).filter(|at| *at <= now).unwrap_or(now);
        Ok(vec![Reported { of, status, at }])
    }
}

#[async_trait]
impl ContactBook for SimpuVendor {
    async fn push(&self, row: &ContactRow) -> Result<(), Failure> {
        let refused = Failure::Rejected(Rejection::InvalidContent);
        if row.list != CONTACT_LIST || row.cells.is_empty() {
            return Err(refused);
        }
        let table = self.table().await?;
        let mut columns = BTreeMap::new();
        for (name, cell) in &row.cells {
            let column = table.columns.iter().find(|column| column.name == *name).ok_or_else(|| refused.clone())?;
            columns.insert(column.id.as_str(), cell.as_str());
        }
        let body = http::to_json(&RowRequest { columns }, 0)?;
        let answer = self.call(Method::POST, "lists/contact/rows", Some(body)).await?;
        let added = answer.by_status.is_ok() && answer.body.parse::<RowAdded>().is_some();
        if added { Ok(()) } else { Err(self.refusal(&answer)) }
    }
}

impl SimpuVendor {
    /// All digits, without the plus.
    fn number_of<'r>(&self, channel: Channel, recipient: &'r Recipient) -> Result<&'r str, Failure> {
        match recipient {
            Recipient::Phone(phone) if self.capabilities.channels.contains(&channel) => Ok(phone.digits()),
            _ => Err(Failure::Rejected(Rejection::InvalidRecipient)),
        }
    }

    async fn call(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Answer, Failure> {
        let url = self.base_url.join(path).map_err(|_| Failure::Unavailable)?;
        let headers = HeaderMap::from_iter([(AUTHORIZATION, self.authorization.clone())]);
        self.client.exchange(method, url, headers, body).await
    }

    /// The columns of the contact list. Nothing is to be changed yet, so however this goes wrong, it did no harm.
    async fn table(&self) -> Result<Table, Failure> {
        let table = match self.call(Method::GET, "lists/contact", None).await {
            Ok(answer) if answer.by_status.is_ok() => answer.body.parse().ok_or(Failure::Unavailable),
            Ok(answer) => Err(self.refusal(&answer)),
            Err(failure) => Err(failure),
        };
        table.map_err(|failure| if failure == Failure::Unknown { Failure::Unavailable } else { failure })
    }

    /// A check failed; the state of the code says why. Only 1, sent, is documented; the others are read as the page
    /// counts them: verified, expired, revoked, failed.
    async fn why_wrong(&self, id: &str) -> Result<CodeVerdict, Failure> {
        let wrong = CodeVerdict::Wrong { checks_left: None };
        // The check was judged, so no trouble here makes it unknown.
        let Ok(answer) = self.call(Method::GET, &format!("otp/{id}"), None).await else { return Ok(wrong) };
        if speaks_of_missing(&answer) {
            return Ok(CodeVerdict::Unknown);
        }
        let otp = answer.body.parse::<Otp>().filter(|otp| answer.by_status.is_ok() && otp.id == id);
        Ok(match otp.map(|otp| otp.status) {
            Some(2 | 4) => CodeVerdict::Unknown,
            Some(3) => CodeVerdict::Expired,
            _ => wrong,
        })
    }

    /// What an answer without the documented success says. The vendor's page lists 400 with the fields that were wrong,
    /// and shows such an error with a status of 200 in its body, so the fields count under 200 as well.
    fn refusal(&self, answer: &Answer) -> Failure {
        tracing::warn!(vendor = %self.name, status = %answer.status, "vendor refused, or its answer makes no sense");
        let refused = answer.body.parse::<Refused>();
        let fields = refused.as_ref().map_or(&[][..], |refused| &refused.errors);
        let content = Failure::Rejected(Rejection::InvalidContent);
        match &answer.by_status {
            Ok(()) if fields.is_empty() => return Failure::Unknown,
            Err(failure) if *failure != content => return failure.clone(),
            _ => {}
        }
        let blames_recipient = |field: &RefusedField| matches!(&*field.field, "recipient" | "recipients");
        if fields.iter().any(blames_recipient) {
            Failure::Rejected(Rejection::InvalidRecipient)
        } else if refused.as_ref().is_some_and(|refused| refused.message.to_ascii_lowercase().contains("balance")) {
            Failure::Rejected(Rejection::InsufficientCredit)
        } else {
            content
        }
    }
}

impl fmt::Debug for SimpuVendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.base_url.as_str();
        f.debug_struct("SimpuVendor").field("name", &self.name).field("base_url", &url).finish_non_exhaustive()
    }
}

/// 404 in the shape of the vendor's errors: it looked for a code. Any other 404 is a page that is not there.
fn speaks_of_missing(answer: &Answer) -> bool {
    answer.status.as_u16() == 404 && answer.body.parse::<Refused>().is_some()
}

fn id_of(handle: &CodeHandle) -> Result<&str, Failure> {
    let id = handle.vendor_reference.as_deref().filter(|id| is_reference(id));
    id.ok_or(Failure::Rejected(Rejection::InvalidContent))
}

/// Fit to be kept, and to be one segment of a path as it stands.
fn is_reference(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MAX_REFERENCE_LENGTH).contains(&id.len()) && id.bytes().all(plain)
}

fn is_sender(name: &str) -> bool {
    let plain = name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    (1..=MAX_SENDER_LENGTH).contains(&name.len()) && plain && !name.trim().is_empty()
}

/// Our reference in the address comes before what anyone may write into the body.
fn name_of(call: &ReceiptCall, body: &Map<String, Value>) -> Option<ReportedMessage> {
    let text = |key: &str| body.get(key).and_then(Value::as_str).filter(|text| is_reference(text));
    if !call.rest.is_empty() {
        return Some(ReportedMessage::Ours(call.rest.clone()));
    }
    let ours = text("external_ref").map(|name| ReportedMessage::Ours(name.to_owned()));
    ours.or_else(|| text("id").map(|name| ReportedMessage::Theirs(name.to_owned())))
}

/// What is final, in whole words and as SMPP 3.4 (appendix B) shortens them.
fn parse_word(word: &str) -> Option<ReceiptStatus> {
    match word.trim().to_ascii_uppercase().as_str() {
        "DELIVERED" | "DELIVRD" => Some(ReceiptStatus::Delivered),
        "EXPIRED" => Some(ReceiptStatus::Expired),
        "UNDELIVERED" | "UNDELIVERABLE" | "UNDELIV" | "FAILED" | "REJECTED" | "REJECTD" => {
            Some(ReceiptStatus::Undelivered)
        }
        _ => None,
    }
}

/// RFC 3339, with its offset.
fn parse_time(text: &str) -> Option<Timestamp> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_millisecond()).ok().map(Timestamp::from_millis)
}
