//! What a described vendor calls our receipt listener with: where message and status stand in the call, what the vendor's
//! words mean, and how it signs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::vendor::declarative::answer::{Word, check_pointer, scalar};
use crate::vendor::http;
use crate::vendor::{ReceiptCall, ReceiptStatus, Reported, ReportedMessage};

/// How receipts are written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptConfig {
    pub format: Format,
    /// The list of receipts in one call, as a JSON pointer; left out, a call is one. Only with [`Format::Json`].
    #[serde(default)]
    pub each: Option<String>,
    /// Where the vendor's name for the message is. Names of fields, or JSON pointers within one receipt; so are the next.
    #[serde(default)]
    pub id: Option<String>,
    /// Where our reference is, when the request carried it. With neither, the path ends with our reference.
    #[serde(default)]
    pub reference: Option<String>,
    /// Where words for what became of it are: the first that is there and listed below counts.
    pub status: Vec<String>,
    /// When it happened (RFC 3339), by the vendor's clock; left out, ours when it comes in.
    #[serde(default)]
    pub at: Option<String>,
    /// The vendor's words by what they mean. Others say nothing final.
    #[serde(default)]
    pub delivered: Vec<Word>,
    #[serde(default)]
    pub undelivered: Vec<Word>,
    #[serde(default)]
    pub expired: Vec<Word>,
    /// How calls are signed; left out, the URL carries a token instead.
    #[serde(default)]
    pub signature: Option<SignatureConfig>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Form,
    Json,
    Query,
}

/// A keyed hash (HMAC, RFC 2104) in a header.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureConfig {
    pub header: String,
    /// What stands in the header before the hash.
    #[serde(default)]
    pub prefix: Option<String>,
    #[serde(default)]
    pub algorithm: Algorithm,
    #[serde(default)]
    pub encoding: Encoding,
    #[serde(default)]
    pub over: Over,
    /// With [`Over::UrlAndForm`]: our receipt URL as the vendor sees it, up to the reference.
    #[serde(default)]
    pub url: Option<String>,
    /// Default: the vendor's `secret`.
    #[serde(default)]
    pub key: Option<SecretString>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Algorithm {
    #[default]
    Sha256,
    /// Broken for collisions, not as a keyed hash (RFC 6194 §3.3); some vendors know no other.
    Sha1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    #[default]
    Hex,
    Base64,
}

/// What the hash is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Over {
    #[default]
    Body,
    /// The whole URL, then each field's name and value in order of names, nothing between: Twilio's scheme.
    UrlAndForm,
}

/// Reads and checks.
pub(crate) struct Receipts {
    config: ReceiptConfig,
    words: BTreeMap<String, ReceiptStatus>,
    signature: Option<Signature>,
}

struct Signature {
    config: SignatureConfig,
    key: hmac::Key,
    /// Ends with a slash.
    url: String,
}

// === impl ReceiptConfig ===

impl ReceiptConfig {
    /// Errors: `Invalid`, naming the field.
    pub(crate) fn build(mut self, secret: Option<&SecretString>) -> Result<Receipts> {
        let json = self.format == Format::Json;
        for (field, place) in [
            ("receipt.each", &self.each),
            ("receipt.id", &self.id),
            ("receipt.reference", &self.reference),
            ("receipt.at", &self.at),
        ] {
            check_pointer(field, place.as_deref().filter(|_| json))?;
        }
        for (at, place) in self.status.iter().enumerate() {
            check_pointer(&format!("receipt.status[{at}]"), Some(place.as_str()).filter(|_| json))?;
        }
        if self.status.is_empty() {
            return Err(Error::invalid("receipt.status", "must say where the words of delivered are"));
        }
        if self.each.is_some() && !json {
            return Err(Error::invalid("receipt.each", "means nothing but for json"));
        }
        if self.id.is_some() && self.reference.is_some() {
            return Err(Error::invalid("receipt.reference", "must not be given together with id"));
        }
        if self.delivered.is_empty() {
            return Err(Error::invalid("receipt.delivered", "must hold the words for a message that has arrived"));
        }
        let mut words = BTreeMap::new();
        for (field, list, status) in [
            ("receipt.delivered", &self.delivered, ReceiptStatus::Delivered),
            ("receipt.undelivered", &self.undelivered, ReceiptStatus::Undelivered),
            ("receipt.expired", &self.expired, ReceiptStatus::Expired),
        ] {
            for Word(word) in list {
                if words.insert(word.clone(), status).is_some() {
                    return Err(Error::invalid(field, format!("{word:?} has a meaning already")));
                }
            }
        }
        let signature = self.signature.take().map(|signature| signature.build(self.format, secret)).transpose()?;
        Ok(Receipts { config: self, words, signature })
    }
}

// === impl SignatureConfig ===

impl SignatureConfig {
    fn build(self, format: Format, secret: Option<&SecretString>) -> Result<Signature> {
        let named = ::http::HeaderName::from_bytes(self.header.as_bytes());
        named.map_err(|_| Error::invalid("receipt.signature.header", "must be the name of a header"))?;
        let key = self.key.as_ref().or(secret).map(|key| key.expose_secret()).filter(|key| !key.trim().is_empty());
        let Some(key) = key else {
            return Err(Error::invalid("receipt.signature.key", "must not be empty, unless the vendor has a secret"));
        };
        let algorithm = match self.algorithm {
            Algorithm::Sha256 => hmac::HMAC_SHA256,
            Algorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        };
        let key = hmac::Key::new(algorithm, key.as_bytes());
        let url = match (self.over, format, &self.url) {
            (Over::Body, Format::Form | Format::Json, None) => String::new(),
            (Over::UrlAndForm, Format::Form, Some(url)) => {
                http::parse_url("receipt.signature.url", url)?;
                format!("{}/", url.trim_end_matches('/'))
            }
            (Over::Body, _, Some(_)) => {
                return Err(Error::invalid("receipt.signature.url", "means nothing but with over = \"url-and-form\""));
            }
            (Over::UrlAndForm, _, None) => return Err(Error::invalid("receipt.signature.url", "is missing")),
            (_, _, _) => {
                return Err(Error::invalid("receipt.signature.over", "does not cover what this format carries"));
            }
        };
        Ok(Signature { config: self, key, url })
    }
}

// === impl Receipts ===

impl Receipts {
    pub(crate) fn is_signed(&self) -> bool {
        self.signature.is_some()
    }

    pub(crate) fn names_ours(&self) -> bool {
        self.config.id.is_none()
    }

    /// See [`crate::vendor::ReceiptReader::read`].
    pub(crate) fn read(&self, call: &ReceiptCall, now: Timestamp) -> Result<Vec<Reported>> {
        if let Some(signature) = &self.signature {
            signature.check(call)?;
        }
        let receipts = match self.config.format {
            Format::Query => vec![self.read_fields(&call.query, call, now)],
            Format::Form => vec![self.read_fields(&form(&call.body), call, now)],
            Format::Json => {
                let body: Value = serde_json::from_slice(&call.body).unwrap_or_default();
                let body = self.config.each.as_ref().map_or(Some(&body), |each| body.pointer(each));
                match (body, &self.config.each) {
                    (Some(Value::Array(receipts)), Some(_)) => {
                        receipts.iter().map(|receipt| self.read_json(receipt, call, now)).collect()
                    }
                    (Some(receipt), None) => vec![self.read_json(receipt, call, now)],
                    _ => vec![None],
                }
            }
        };
        // One that makes no sense does not spoil the others, which would not come again.
        if !receipts.is_empty() && receipts.iter().all(Option::is_none) {
            return Err(Error::invalid("body", "must name a message and its status"));
        }
        Ok(receipts.into_iter().flatten().flatten().collect())
    }

    fn read_fields(&self, fields: &[(String, String)], call: &ReceiptCall, now: Timestamp) -> Option<Option<Reported>> {
        let get = |name: &str| fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        self.report(get, call, now)
    }

    fn read_json(&self, receipt: &Value, call: &ReceiptCall, now: Timestamp) -> Option<Option<Reported>> {
        self.report(|pointer| receipt.pointer(pointer).and_then(scalar), call, now)
    }

    /// `None` when it makes no sense; `Some(None)` when it says nothing final.
    fn report(
        &self,
        get: impl Fn(&str) -> Option<String>,
        call: &ReceiptCall,
        now: Timestamp,
    ) -> Option<Option<Reported>> {
        let name = |name: String| Some(name).filter(|name| !name.is_empty());
        let of = match (&self.config.id, &self.config.reference) {
            (Some(id), _) => ReportedMessage::Theirs(get(id).and_then(name)?),
            (None, Some(reference)) => ReportedMessage::Ours(get(reference).and_then(name)?),
            (None, None) => ReportedMessage::Ours(name(call.rest.clone())?),
        };
        let words: Vec<_> = self.config.status.iter().filter_map(|place| get(place)).collect();
        if words.is_empty() {
            return None;
        }
        let at = self.config.at.as_deref().and_then(&get).and_then(|at| parse_time(&at));
        // A clock that is ahead of ours does not put a receipt into the future.
        let at = at.map_or(now, |at| at.min(now));
        let status = words.iter().find_map(|word| self.words.get(word));
        Some(status.map(|status| Reported { of, status: *status, at }))
    }
}

fn form(body: &[u8]) -> Vec<(String, String)> {
    form_urlencoded::parse(body).map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

fn parse_time(text: &str) -> Option<Timestamp> {
    let millis = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}

// === impl Signature ===

impl Signature {
    fn check(&self, call: &ReceiptCall) -> Result<()> {
        let signed = match self.config.over {
            Over::Body => Cow::from(&call.body),
            // What came after a question mark cannot be told byte for byte, and we never ask for any.
            Over::UrlAndForm if !call.query.is_empty() => return Err(refused()),
            Over::UrlAndForm => {
                let mut fields = form(&call.body);
                fields.sort();
                fields.dedup();
                let fields = fields.into_iter().flat_map(|(name, value)| [name, value]);
                let text: String = [self.url.clone(), call.rest.clone()].into_iter().chain(fields).collect();
                Cow::from(text.into_bytes())
            }
        };
        let mut values = call
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(&self.config.header))
            .map(|(_, value)| value);
        let (Some(shown), None) = (values.next(), values.next()) else {
            return Err(refused());
        };
        let prefix = self.config.prefix.as_deref().unwrap_or_default();
        let shown = shown.strip_prefix(prefix).ok_or_else(refused)?;
        let tag = match self.config.encoding {
            Encoding::Hex => decode_hex(shown),
            Encoding::Base64 => STANDARD.decode(shown).ok(),
        };
        // In constant time.
        hmac::verify(&self.key, &signed, &tag.ok_or_else(refused)?).map_err(|_| refused())
    }
}

fn refused() -> Error {
    Error::new(Kind::Unauthenticated, Reason::CredentialsInvalid, "the signature is missing or wrong")
}

fn decode_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.chars().map(|digit| digit.to_digit(16)).collect::<Option<Vec<_>>>()?;
    if digits.len() % 2 > 0 {
        return None;
    }
    digits.chunks_exact(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).ok()).collect()
}
