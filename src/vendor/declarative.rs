//! Any vendor that takes a message in one HTTP call, described in configuration: the request as templates, where things
//! are in the answer, what its codes mean, how its receipts look, and how it is told what came of a message.
//!
//! It knows no vendor. What a description cannot say (codes of the vendor's own, several calls for one message, balances)
//! needs an adapter.

mod answer;
mod feedback;
mod receipt;
mod request;
mod template;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::Response;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::clock::{Timestamp, deserialize_duration};
use crate::error::{Error, Result};
use crate::http_client;
use crate::recipient::Recipient;
use crate::vendor::declarative::answer::{AnswerConfig, Answers, Verdict};
use crate::vendor::declarative::feedback::{FeedbackCall, FeedbackConfig};
use crate::vendor::declarative::receipt::{ReceiptConfig, Receipts};
use crate::vendor::declarative::request::{Described, Method, Request};
use crate::vendor::declarative::template::{About, Placeholder, Values};
use crate::vendor::http::{self, Client, HttpDoor, Timeouts};
use crate::vendor::{
    Accepted, Capabilities, Channel, Door, Failure, Feedback, FeedbackOutcome, Outgoing, ReceiptCall, ReceiptReader,
    Rejection, Reported, Vendor,
};

/// Longest name of a message that is kept.
const MAX_REFERENCE_LENGTH: usize = 128;

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
    /// Left out, it is not told whether messages reached people.
    #[serde(default)]
    pub feedback: Option<FeedbackConfig>,
    /// To resolve the name, connect and shake hands. Default 3 s.
    #[serde(default = "default_connect_timeout", deserialize_with = "deserialize_duration")]
    pub connect_timeout: Duration,
    /// For one call from start to end. Default 8 s.
    #[serde(default = "default_timeout", deserialize_with = "deserialize_duration")]
    pub timeout: Duration,
}

/// The adapter.
pub struct DeclarativeVendor {
    name: String,
    capabilities: Capabilities,
    client: Client,
    door: HttpDoor,
    request: Request,
    username: Option<String>,
    secret: Option<SecretString>,
    max_text: Option<usize>,
    answers: Answers,
    receipts: Option<Receipts>,
    feedback: Option<FeedbackCall>,
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
        let (username, secret) = (self.username.is_some(), self.secret.is_some());
        let Self { method, url, headers, json, form, .. } = self;
        let described = Described { prefix: "", method, url, headers, json, form };
        let request = described.parse(&Placeholder::OF_MESSAGES, username, secret)?;
        if !request.placeholders().contains(&Placeholder::Text) {
            return Err(Error::invalid("url", "must hold {text}, or json, form or headers must: else nothing is said"));
        }
        let receipts = self.receipt.map(|receipt| receipt.build(self.secret.as_ref())).transpose()?;
        let named = self.answer.id.is_some();
        let feedback = self.feedback.map(|feedback| feedback.build(username, secret, named)).transpose()?;
        let timeouts = Timeouts { connect: self.connect_timeout, total: self.timeout };
        let client = Client::new(name, timeouts)?;
        Ok(DeclarativeVendor {
            name: name.to_owned(),
            capabilities: Capabilities {
                channels: self.channels,
                idempotent: self.idempotent,
                receipts: receipts.is_some(),
            },
            door: HttpDoor::new(&client, &request.sample_url()?),
            client,
            request,
            username: self.username,
            secret: self.secret,
            max_text: self.max_text,
            answers: self.answer.build()?,
            receipts,
            feedback,
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
        let filled = self.request.fill(&self.values(About::Message(outgoing)));
        let filled = filled.filter(|_| !self.max_text.is_some_and(too_long)).ok_or_else(|| {
            tracing::warn!(vendor = %self.name, "text or sender does not fit this vendor; not sent");
            Failure::Rejected(Rejection::InvalidContent)
        })?;
        let response = self.client.call(filled.method, filled.url, filled.headers, filled.body).await?;
        self.read_answer(response).await
    }

    fn door(&self) -> Option<&dyn Door> {
        Some(&self.door)
    }

    fn receipts(&self) -> Option<&dyn ReceiptReader> {
        self.receipts.as_ref().map(|receipts| receipts as &dyn ReceiptReader)
    }

    fn feedback(&self) -> Option<&dyn Feedback> {
        self.feedback.is_some().then_some(self)
    }
}

#[async_trait]
impl Feedback for DeclarativeVendor {
    fn takes(&self, outcome: FeedbackOutcome) -> bool {
        self.feedback.as_ref().is_some_and(|feedback| feedback.word(outcome).is_some())
    }

    /// A yes by its HTTP status is one: nothing of the answer is needed.
    async fn tell(&self, vendor_reference: &str, outcome: FeedbackOutcome) -> Result<(), Failure> {
        let (username, secret) = (self.username.as_deref(), self.secret.as_ref());
        let filled = self.feedback.as_ref().and_then(|call| call.fill(vendor_reference, outcome, username, secret));
        let filled = filled.ok_or(Failure::Rejected(Rejection::InvalidContent))?;
        let response = self.client.call(filled.method, filled.url, filled.headers, filled.body).await?;
        let status = response.status();
        if !status.is_success() {
            tracing::warn!(vendor = %self.name, %status, "vendor did not take feedback");
            return Err(http::status_failure(&response));
        }
        // To its end, for only then can the connection be used again.
        self.client.read_body(response).await.map(drop)
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
    fn values<'a>(&'a self, about: About<'a>) -> Values<'a> {
        Values { about, username: self.username.as_deref(), secret: self.secret.as_ref() }
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
