//! Asks a service of the operator's own whether a send may be made.
//!
//! The question is signed as Standard Webhooks has it (HMAC-SHA256 over id, time and body), so the service knows that we
//! ask and that nobody asks again with what we said. Its URL is the operator's, so it may lead anywhere that they like.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;
use reqwest::Url;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::clock::Clock;
use crate::error::{Error, Result, Violation};
use crate::guard::ask::Ask;
use crate::guard::authorization::{Authorizer, Word};
use crate::guard::rule::Mode;
use crate::guard::settings::AuthorizationConfig;
use crate::http_client::{self, Chain};
use crate::id::{Id, Partition};
use crate::random::Random;
use crate::telemetry::trace;
use crate::webhook::signing::SigningKey;

/// Most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 16 * 1024;

/// The service and how it is asked.
pub struct Authorization {
    http: reqwest::Client,
    url: Url,
    key: SigningKey,
    timeout: Duration,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

#[derive(Serialize)]
struct Question<'a> {
    tenant: &'a str,
    recipient: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
    channel: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<&'a str>,
    trusted: bool,
    segments: u32,
}

#[derive(Deserialize)]
struct Answer {
    allow: bool,
}

// === impl Authorization ===

impl Authorization {
    /// `None` when nobody is to be asked.
    ///
    /// Errors: `Invalid` for a URL or a secret that cannot be used.
    pub fn new(config: &AuthorizationConfig, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Option<Self>> {
        let (Some(url), Some(secret)) = (&config.url, &config.secret) else { return Ok(None) };
        if config.mode == Mode::Off {
            return Ok(None);
        }
        let http = http_client::builder(config.timeout, config.timeout)?.build().map_err(Error::internal)?;
        let key = SigningKey::parse(secret)?;
        Ok(Some(Self { http, url: parse_url(url)?, key, timeout: config.timeout, clock, random }))
    }

    async fn answer(&self, ask: &Ask<'_>) -> Result<bool, String> {
        let body = serde_json::to_vec(&Question {
            tenant: ask.tenant.as_str(),
            recipient: ask.recipient.as_str(),
            country: ask.recipient.country().map(|country| country.to_string()),
            channel: ask.channel,
            scope: ask.scope,
            client_ip: ask.origin.client_address,
            device_id: ask.origin.device.as_deref(),
            trusted: ask.origin.trusted,
            segments: ask.segments,
        });
        let body = body.map_err(|error| error.to_string())?;
        let now = self.clock.now();
        let id = format!("msg_{}", Id::new(now, Partition::new(0), &*self.random));
        let at = (now.as_millis() / 1000).to_string();
        let request = self.http.post(self.url.clone()).header("content-type", "application/json");
        let request = request.header("webhook-id", &id).header("webhook-timestamp", &at);
        let request = request.header("webhook-signature", self.key.sign(&id, &at, &body)).body(body);
        let mut headers = HeaderMap::new();
        trace::write_headers(&mut headers);
        let request = request.headers(headers);
        let mut response = request.send().await.map_err(|error| Chain(&error.without_url()).to_string())?;
        if !response.status().is_success() {
            return Err(format!("it answered {}", response.status()));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| Chain(&error.without_url()).to_string())? {
            answer.extend_from_slice(&chunk);
            if answer.len() > MAX_ANSWER_BYTES {
                return Err("its answer is too long".to_owned());
            }
        }
        let Answer { allow } = serde_json::from_slice(&answer).map_err(|_| "its answer makes no sense".to_owned())?;
        Ok(allow)
    }
}

#[async_trait]
impl Authorizer for Authorization {
    async fn ask(&self, ask: &Ask<'_>) -> Word {
        let mut span = trace::client("authorization");
        let answer = tokio::select! {
            answer = span.run(self.answer(ask)) => answer,
            () = self.clock.sleep_until(self.clock.now() + self.timeout) => Err("it was too slow".to_owned()),
        };
        match &answer {
            Ok(allowed) => span.set("verigate.outcome", if *allowed { "allowed" } else { "refused" }),
            Err(_) => span.fail(),
        }
        match answer {
            Ok(true) => Word::Allowed,
            Ok(false) => Word::Refused,
            Err(why) => {
                warn!(why, "guard.authorization.url did not say whether a send may be made");
                Word::Silent
            }
        }
    }
}

/// What is wrong with what it is to be called with, by key.
pub fn violations(config: &AuthorizationConfig) -> Vec<Violation> {
    let url = config.url.as_deref().map(parse_url).and_then(Result::err);
    let secret = config.secret.as_ref().map(SigningKey::parse).and_then(Result::err);
    url.iter().chain(&secret).flat_map(|error| error.violations().to_vec()).collect()
}

/// https, or http to this machine.
fn parse_url(text: &str) -> Result<Url> {
    let wanted = || Error::invalid("url", "must be an https URL without a password, or http to this machine");
    let url = Url::parse(text).map_err(|_| wanted())?;
    let local = url.host_str().is_some_and(|host| {
        host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|it: IpAddr| it.is_loopback())
    });
    let fits = url.scheme() == "https" || (url.scheme() == "http" && local);
    if fits && url.username().is_empty() && url.password().is_none() { Ok(url) } else { Err(wanted()) }
}
