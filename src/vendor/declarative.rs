//! Any vendor that takes a message in one HTTP call, described in configuration: the request as templates, where things
//! are in the answer, what its codes mean, and how its receipts look.
//!
//! It knows no vendor. What a description cannot say (codes of the vendor's own, several calls for one message, balances)
//! needs an adapter.

mod answer;
mod receipt;
mod template;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::clock::{Timestamp, deserialize_duration};
use crate::error::{Error, Result};
use crate::http_client;
use crate::recipient::Recipient;
use crate::vendor::declarative::answer::{AnswerConfig, Answers, Verdict};
use crate::vendor::declarative::receipt::{ReceiptConfig, Receipts};
use crate::vendor::declarative::template::{Placeholder, Template, Tree, Values, keep, percent_encode};
use crate::vendor::http::{self, Client, Timeouts};
use crate::vendor::{
    Accepted, Capabilities, Channel, Failure, Outgoing, ReceiptCall, ReceiptReader, Rejection, Reported, Vendor,
};

/// Longest name of a message that is kept.
const MAX_REFERENCE_LENGTH: usize = 128;

/// Headers that the call itself needs as they are.
const OWN_HEADERS: [&str; 5] = ["host", "content-length", "transfer-encoding", "connection", "content-type"];

/// A vendor, described. Shows nothing in `Debug`, for any text of it may be a secret.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What it carries. At least one.
    pub channels: Vec<Channel>,
    /// It takes a message only once for one `{reference}`. Default no.
    #[serde(default)]
    pub idempotent: bool,
    #[serde(default)]
    pub method: Method,
    /// `https`, or `http` to this machine. A template; placeholders only in its path and query.
    pub url: String,
    /// Templates by name.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretString>,
    /// With it, the request has `Authorization: Basic` of it and `secret`; `{username}` elsewhere.
    #[serde(default)]
    pub username: Option<String>,
    /// What `{secret}` stands for.
    #[serde(default)]
    pub secret: Option<SecretString>,
    /// A JSON body, whose texts are templates. Not together with `form`.
    #[serde(default)]
    pub json: Option<Value>,
    /// The fields of a form as templates.
    #[serde(default)]
    pub form: Option<BTreeMap<String, String>>,
    /// Most characters of a text: for vendors that cut longer ones. Default: any number.
    #[serde(default)]
    pub max_text: Option<usize>,
    #[serde(default)]
    pub answer: AnswerConfig,
    /// Left out, it reports nothing.
    #[serde(default)]
    pub receipt: Option<ReceiptConfig>,
    /// To resolve the name, connect and shake hands. Default 3 s.
    #[serde(default = "default_connect_timeout", deserialize_with = "deserialize_duration")]
    pub connect_timeout: Duration,
    /// For one call from start to end. Default 8 s.
    #[serde(default = "default_timeout", deserialize_with = "deserialize_duration")]
    pub timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    #[default]
    Post,
    Put,
}

/// The adapter.
pub struct DeclarativeVendor {
    name: String,
    capabilities: Capabilities,
    client: Client,
    method: Method,
    url: Template,
    headers: Vec<(HeaderName, Template)>,
    username: Option<String>,
    secret: Option<SecretString>,
    body: Body,
    max_text: Option<usize>,
    answers: Answers,
    receipts: Option<Receipts>,
}

enum Body {
    None,
    Json(Tree),
    Form(Vec<(String, Template)>),
}

/// A request, filled in.
struct Filled {
    url: Url,
    headers: HeaderMap,
    body: Vec<u8>,
}

// === impl Config ===

impl Config {
    /// The adapter, under its configured name. Errors: `Invalid`, naming the field.
    pub fn build(self, name: &str) -> Result<DeclarativeVendor> {
        if self.channels.is_empty() {
            return Err(Error::invalid("channels", "must name at least one channel"));
        }
        if self.secret.as_ref().is_some_and(|secret| secret.expose_secret().trim().is_empty()) {
            return Err(Error::invalid("secret", "must not be empty"));
        }
        if self.username.is_some() && self.secret.is_none() {
            return Err(Error::invalid("secret", "must be given together with username"));
        }
        if self.max_text == Some(0) {
            return Err(Error::invalid("max_text", "must be at least 1"));
        }
        let url = parse_url_template(&self.url)?;
        let headers = parse_headers(&self.headers)?;
        if self.username.is_some() && headers.iter().any(|(name, _)| name == AUTHORIZATION) {
            return Err(Error::invalid("headers.authorization", "must not be given together with username"));
        }
        let body = parse_body(self.method, self.json, self.form)?;
        let placeholders: Vec<_> = url
            .placeholders()
            .chain(headers.iter().flat_map(|(_, value)| value.placeholders()))
            .chain(body.placeholders())
            .collect();
        let missing = |field, wanted: &str| Err(Error::invalid(field, wanted));
        if placeholders.contains(&Placeholder::Secret) && self.secret.is_none() {
            return missing("secret", "is missing, and {secret} stands for it");
        }
        if placeholders.contains(&Placeholder::Username) && self.username.is_none() {
            return missing("username", "is missing, and {username} stands for it");
        }
        if !placeholders.contains(&Placeholder::Text) {
            return missing("url", "must hold {text}, or json, form or headers must: else nothing is said");
        }
        let receipts = self.receipt.map(|receipt| receipt.build(self.secret.as_ref())).transpose()?;
        let timeouts = Timeouts { connect: self.connect_timeout, total: self.timeout };
        Ok(DeclarativeVendor {
            name: name.to_owned(),
            capabilities: Capabilities {
                channels: self.channels,
                idempotent: self.idempotent,
                receipts: receipts.is_some(),
            },
            client: Client::new(name, timeouts)?,
            method: self.method,
            url,
            headers,
            username: self.username,
            secret: self.secret,
            body,
            max_text: self.max_text,
            answers: self.answer.build()?,
            receipts,
        })
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("channels", &self.channels).finish_non_exhaustive()
    }
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(3)
}

fn default_timeout() -> Duration {
    Duration::from_secs(8)
}

fn parse_url_template(text: &str) -> Result<Template> {
    let authority = text.find("://").map_or(0, |at| at + 3);
    let path = text[authority..].find(['/', '?', '#']).map_or(text.len(), |at| authority + at);
    if text[..path].contains(['{', '}']) {
        return Err(Error::invalid("url", "must hold placeholders only in its path and query"));
    }
    let query = text[path..].find('?').map_or(text.len(), |at| path + at);
    if !Template::parse("url", &text[path..query])?.placeholders().all(Placeholder::fits_a_path) {
        return Err(Error::invalid("url", "must hold {text} and {sender} only in its query"));
    }
    let url = Template::parse("url", text)?;
    http::parse_url("url", &url.sample("1"))?;
    Ok(url)
}

fn parse_headers(headers: &BTreeMap<String, SecretString>) -> Result<Vec<(HeaderName, Template)>> {
    let mut parsed = Vec::new();
    for (name, value) in headers {
        let field = format!("headers.{name}");
        let header = HeaderName::from_bytes(name.as_bytes());
        let header = header.map_err(|_| Error::invalid(&field, "must have the name of a header"))?;
        if OWN_HEADERS.contains(&header.as_str()) {
            return Err(Error::invalid(&field, "is set by the call itself"));
        }
        let template = Template::parse(&field, value.expose_secret())?;
        if HeaderValue::from_str(&template.sample("1")).is_err() {
            return Err(Error::invalid(&field, "must be visible ASCII characters on one line"));
        }
        parsed.push((header, template));
    }
    Ok(parsed)
}

fn parse_body(method: Method, json: Option<Value>, form: Option<BTreeMap<String, String>>) -> Result<Body> {
    let field = if json.is_some() { "json" } else { "form" };
    if method == Method::Get && (json.is_some() || form.is_some()) {
        return Err(Error::invalid(field, "must not be given with GET, which has no body"));
    }
    match (json, form) {
        (Some(_), Some(_)) => Err(Error::invalid("json", "must not be given together with form")),
        (Some(json), None) => Tree::parse("json", json).map(Body::Json),
        (None, Some(form)) => {
            let parse = |(name, text): (String, String)| Ok((Template::parse(&format!("form.{name}"), &text)?, name));
            let fields = form.into_iter().map(parse).map(|parsed| parsed.map(|(template, name)| (name, template)));
            fields.collect::<Result<_>>().map(Body::Form)
        }
        (None, None) => Ok(Body::None),
    }
}

// === impl DeclarativeVendor ===

#[async_trait]
impl Vendor for DeclarativeVendor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<Accepted, Failure> {
        let email = matches!(outgoing.recipient, Recipient::Email(_));
        if !self.capabilities.channels.contains(&outgoing.channel) || email != (outgoing.channel == Channel::Email) {
            return Err(Failure::Rejected(Rejection::InvalidRecipient));
        }
        let too_long = |most| outgoing.text.expose_secret().chars().count() > most;
        let filled = self.fill(outgoing).filter(|_| !self.max_text.is_some_and(too_long)).ok_or_else(|| {
            tracing::warn!(vendor = %self.name, "text or sender does not fit this vendor; not sent");
            Failure::Rejected(Rejection::InvalidContent)
        })?;
        let method = match self.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
        };
        let response = self.client.call(method, filled.url, filled.headers, filled.body).await?;
        self.read_answer(response).await
    }

    fn receipts(&self) -> Option<&dyn ReceiptReader> {
        self.receipts.as_ref().map(|receipts| receipts as &dyn ReceiptReader)
    }
}

impl ReceiptReader for Receipts {
    fn is_signed(&self) -> bool {
        self.is_signed()
    }

    fn names_ours(&self) -> bool {
        self.names_ours()
    }

    fn read(&self, call: &ReceiptCall, now: Timestamp) -> Result<Vec<Reported>> {
        self.read(call, now)
    }
}

impl DeclarativeVendor {
    /// `None` when a value does not fit its place: a line break in a header.
    fn fill(&self, outgoing: &Outgoing) -> Option<Filled> {
        let secret = self.secret.as_ref();
        let values = Values { outgoing, username: self.username.as_deref(), secret };
        let url = Url::parse(&self.url.fill(&values, percent_encode)?).ok()?;
        let mut headers = HeaderMap::new();
        for (name, template) in &self.headers {
            let Some(value) = template.fill(&values, keep) else { continue };
            let mut value = HeaderValue::from_str(&value).ok()?;
            value.set_sensitive(true);
            headers.insert(name.clone(), value);
        }
        if let (Some(username), Some(secret)) = (&self.username, secret) {
            let pair = STANDARD.encode(format!("{username}:{}", secret.expose_secret()));
            let mut value = HeaderValue::from_str(&format!("Basic {pair}")).ok()?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let (kind, body) = match &self.body {
            Body::None => return Some(Filled { url, headers, body: Vec::new() }),
            Body::Json(tree) => ("application/json; charset=utf-8", serde_json::to_vec(&tree.fill(&values)?).ok()?),
            Body::Form(fields) => ("application/x-www-form-urlencoded", fill_form(fields, &values).into_bytes()),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        Some(Filled { url, headers, body })
    }

    async fn read_answer(&self, response: Response) -> Result<Accepted, Failure> {
        let status = response.status();
        let http = (!status.is_success()).then(|| http::status_failure(&response));
        let after = http_client::retry_after(response.headers());
        let body = match &http {
            None if self.answers.reads_bodies() => Some(self.client.read_body(response).await?),
            Some(_) if self.answers.reads_refusals() => self.client.read_body(response).await.ok(),
            _ => None,
        };
        let body: Value = body.and_then(|body| serde_json::from_str(body.as_str()).ok()).unwrap_or_default();
        match self.answers.judge(status.as_u16(), &body, http) {
            Verdict::Accepted => {
                let plain =
                    |id: &String| id.len() <= MAX_REFERENCE_LENGTH && id.bytes().all(|byte| byte.is_ascii_graphic());
                let vendor_reference = self.answers.id(&body).filter(plain).filter(|id| !id.is_empty());
                Ok(Accepted { vendor_reference, ..Accepted::default() })
            }
            Verdict::Failed(failure) => {
                tracing::warn!(vendor = %self.name, %status, ?failure, "vendor did not take a message");
                Err(if matches!(failure, Failure::Throttled { .. }) { Failure::Throttled { after } } else { failure })
            }
        }
    }
}

impl fmt::Debug for DeclarativeVendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeclarativeVendor").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Without the fields that the message has nothing for.
fn fill_form(fields: &[(String, Template)], values: &Values<'_>) -> String {
    let mut body = String::new();
    for (name, template) in fields {
        let Some(value) = template.fill(values, keep) else { continue };
        if !body.is_empty() {
            body.push('&');
        }
        percent_encode(name, &mut body);
        body.push('=');
        percent_encode(&value, &mut body);
    }
    body
}

// === impl Body ===

impl Body {
    fn placeholders(&self) -> Vec<Placeholder> {
        match self {
            Self::None => Vec::new(),
            Self::Json(tree) => tree.placeholders(),
            Self::Form(fields) => fields.iter().flat_map(|(_, template)| template.placeholders()).collect(),
        }
    }
}
