//! What goes over the wire to eSMS and comes back: requests, answers, delivery reports, and the rules for texts.
//!
//! Pure: it makes bytes and reads them, and knows neither addresses nor time.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::recipient::Phone;
use crate::segment;
use crate::vendor::{Balance, CodeRequest, Failure, ReceiptCall, ReceiptStatus, Rejection, Reported, ReportedMessage};

/// What the vendor demands at the head of every text to a Malaysian number, blank included (its status 10). With a
/// brand name the vendor writes it by itself.
const MALAYSIAN_PREFIX: &str = "RM0.00 ";

/// Digits of the codes that the vendor makes.
pub(crate) const CODE_LENGTH: u32 = 6;

/// Longest brand name, in characters (its status 13).
const MAX_BRAND_CHARACTERS: usize = 20;

/// Longest name of a message that is kept; the vendor's own have 36 characters. Ours have 64 at most.
const MAX_REFERENCE_LENGTH: usize = 128;

/// The vendor's clock: its reports tell the time of Malaysia, which has no summer time.
const REPORT_OFFSET: jiff::tz::Offset = jiff::tz::Offset::constant(8);

/// A plain text.
#[derive(Serialize)]
pub(crate) struct SendRequest<'a> {
    pub(crate) user: &'a str,
    pub(crate) pass: &'a str,
    pub(crate) to: &'a str,
    pub(crate) msg: Msg<'a>,
    /// 1 asks for a delivery report; every other value is ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dlr: Option<u8>,
    #[serde(rename = "dlr-url", skip_serializing_if = "Option::is_none")]
    pub(crate) dlr_url: Option<&'a str>,
}

/// A code that the vendor makes and sends.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct GenerateRequest<'a> {
    pub(crate) api_key: &'a str,
    pub(crate) api_secret: &'a str,
    pub(crate) phone: &'a str,
    #[serde(flatten)]
    pub(crate) wording: Wording<'a>,
    /// Minutes.
    pub(crate) duration: u64,
    pub(crate) app_id: u32,
}

/// A check of such a code.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct VerifyRequest<'a> {
    pub(crate) api_key: &'a str,
    pub(crate) api_secret: &'a str,
    pub(crate) phone: &'a str,
    pub(crate) code: &'a str,
    pub(crate) app_id: u32,
}

#[derive(Serialize)]
pub(crate) struct BalanceRequest<'a> {
    pub(crate) user: &'a str,
    pub(crate) pass: &'a str,
}

/// A text with what the vendor wants before it. Joined only while the bytes are written, so that the text, which may
/// hold a code, lies in memory once less.
pub(crate) struct Msg<'a> {
    prefix: &'static str,
    text: &'a str,
}

/// What the message around a code says.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Wording<'a> {
    /// A text of ours, with the vendor's mark where the code belongs.
    Own { message: String },
    /// The vendor's own text, in a language that it knows.
    Vendors {
        #[serde(rename = "brand-name")]
        brand: &'a str,
        language: &'static str,
    },
}

/// An answer of any call, as far as we read it.
pub(crate) struct Answer {
    /// 0 is a yes.
    pub(crate) status: i64,
    members: Map<String, Value>,
}

// === impl Msg ===

impl<'a> Msg<'a> {
    pub(crate) fn new(phone: &Phone, text: &'a str) -> Self {
        Self { prefix: prefix(phone, text), text }
    }
}

impl Serialize for Msg<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}{}", self.prefix, self.text))
    }
}

fn prefix(phone: &Phone, text: &str) -> &'static str {
    let malaysian = phone.digits().starts_with("60");
    if malaysian && !text.starts_with(MALAYSIAN_PREFIX) { MALAYSIAN_PREFIX } else { "" }
}

// === impl Wording ===

impl<'a> Wording<'a> {
    /// `None` for what the vendor would refuse: no place for the code, a message of more than one part (160 characters,
    /// or 70 where one of them is outside the GSM alphabet; its status 8), neither template nor brand, a long brand.
    pub(crate) fn new(request: &'a CodeRequest, phone: &Phone) -> Option<Self> {
        if let Some(template) = &request.template {
            let prefix = prefix(phone, template);
            // The digits that take most room are all alike. The vendor's mark for minutes becomes one digit.
            let longest = template.replace("{code}", "000000").replace("#otp#", "000000").replace("#duration#", "9");
            let fits = segment::measure(&format!("{prefix}{longest}")).segments == 1;
            let message = format!("{prefix}{}", template.replace("{code}", "#otp#"));
            return (template.contains("{code}") && fits).then_some(Self::Own { message });
        }
        let brand = request.brand.as_deref()?;
        let fits = (1..=MAX_BRAND_CHARACTERS).contains(&brand.chars().count());
        fits.then(|| Self::Vendors { brand, language: to_language(request.locale.as_deref()) })
    }
}

/// Malay is `my` to this vendor, and nothing else is (in BCP 47 that is Burmese). What it does not know it gets in
/// English.
fn to_language(locale: Option<&str>) -> &'static str {
    let language = locale.and_then(|locale| locale.split(['-', '_']).next()).unwrap_or_default();
    match language.to_ascii_lowercase().as_str() {
        "ms" => "my",
        "zh" => "zh",
        _ => "en",
    }
}

// === impl Answer ===

impl Answer {
    /// `None` for what makes no sense. The page documents `status` as a number and nothing else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let members: Map<String, Value> = serde_json::from_str(text).ok()?;
        Some(Self { status: members.get("status")?.as_i64()?, members })
    }

    /// The vendor's name for the message, where it is plain.
    pub(crate) fn id(&self) -> Option<String> {
        let plain = |id: &&str| id.len() <= MAX_REFERENCE_LENGTH && id.bytes().all(|byte| byte.is_ascii_graphic());
        let id = self.members.get("id").and_then(Value::as_str);
        id.filter(plain).filter(|id| !id.is_empty()).map(str::to_owned)
    }

    /// Credits, not money.
    pub(crate) fn balance(&self) -> Option<Balance> {
        let Value::Number(amount) = self.members.get("balance")? else { return None };
        Some(Balance { amount: amount.to_string(), unit: "credits".to_owned() })
    }
}

/// Bytes with room enough that they seldom grow, for growing leaves copies of secrets behind.
pub(crate) fn to_bytes(request: &impl Serialize, secrets: &[&str]) -> serde_json::Result<Vec<u8>> {
    let room: usize = secrets.iter().map(|secret| 2 * secret.len()).sum();
    let mut bytes = Vec::with_capacity(512 + room);
    serde_json::to_writer(&mut bytes, request)?;
    Ok(bytes)
}

/// Status codes of the vendor's page, without 0, and without 16 ("invalid OTP"), which only a check gives.
pub(crate) fn parse_status(status: i64) -> Failure {
    match status {
        // Our address is not on the account's list; key or secret is wrong.
        2 | 3 => Failure::Rejected(Rejection::Unauthorized),
        // Country code not recognised; phone has other than digits.
        4 | 9 => Failure::Rejected(Rejection::InvalidRecipient),
        5 => Failure::Rejected(Rejection::InsufficientCredit),
        // Field missing; too long; prefix missing; and of codes: no wording, no place for the code, brand too long,
        // lifetime out of range, unknown language.
        1 | 8 | 10..=15 => Failure::Rejected(Rejection::InvalidContent),
        // 6 is "internal error, retry shortly". It does not say at which step, and a second try may deliver a second
        // message, so it is not "surely not sent". The engine may still send a code again, for a code twice does no harm;
        // a text that must not arrive twice waits.
        // 7 has no meaning, 16 none outside a check, and later codes none that we know.
        _ => Failure::Unknown,
    }
}

/// `…/REFERENCE?msgId=ID&s=STATUS&t=yyyyMMddHHmmss`, called with GET. `msgId` says nothing that our own reference in the
/// path does not.
pub(crate) fn parse_report(call: &ReceiptCall, now: Timestamp) -> Result<Vec<Reported>> {
    let reference = call.rest.as_str();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~');
    if reference.is_empty() || reference.len() > MAX_REFERENCE_LENGTH || !reference.bytes().all(plain) {
        return Err(Error::invalid("path", "must end with the reference of a message"));
    }
    let status = match only(call, "s").ok_or_else(|| Error::invalid("s", "must be given, and once"))? {
        // To the vendor this is "reached the operator"; it knows nothing later.
        "DELIVRD" => ReceiptStatus::Delivered,
        "UNDELIV" => ReceiptStatus::Undelivered,
        "EXPIRED" => ReceiptStatus::Expired,
        // A status that the page does not name may not be final.
        _ => return Ok(Vec::new()),
    };
    let at = only(call, "t").and_then(parse_report_time).unwrap_or(now);
    // What a clock ahead of ours tells has happened by now.
    Ok(vec![Reported { of: ReportedMessage::Ours(reference.to_owned()), status, at: at.min(now) }])
}

/// The value of a parameter that stands in the query just once: of two we would have to guess.
fn only<'a>(call: &'a ReceiptCall, name: &str) -> Option<&'a str> {
    let mut values = call.query.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
    values.next().filter(|_| values.next().is_none())
}

/// `20260102150405`, by the vendor's clock.
fn parse_report_time(text: &str) -> Option<Timestamp> {
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let two = |at: usize| text[at..at + 2].parse::<i8>().ok();
    let year = text[..4].parse().ok()?;
    let time = jiff::civil::DateTime::new(year, two(4)?, two(6)?, two(8)?, two(10)?, two(12)?, 0).ok()?;
    let millis = REPORT_OFFSET.to_timestamp(time).ok()?.as_millisecond();
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}
