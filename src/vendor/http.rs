//! How adapters speak HTTP: a client for each vendor, one limit on what is read, and one reading of transport errors and
//! status codes.
//!
//! It knows no vendor's words and no message; an adapter brings its address and its bytes. What went wrong on the way is
//! turned into a [`Failure`] here, because only here is it known whether the request can have reached anyone.
//!
//! Its time limits run on Tokio's timer and not on the passed-in clock: they bound real sockets.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::http_client::{self, Chain, retry_after};
use crate::telemetry::trace;
use crate::vendor::{Door, Failure, Rejection, Welcome};

/// Most bytes read of an answer's body. Vendors answer in a few hundred.
pub const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How long an unused connection is kept, in seconds: less than the 60 s and more after which servers commonly close it,
/// since a request written into a closing connection has an unknown outcome.
const POOL_IDLE_SECONDS: u64 = 30;

/// Unused connections kept for one vendor.
const POOL_IDLE_CONNECTIONS: usize = 32;

/// Speaks to one vendor over a connection pool of its own. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    vendor: Arc<str>,
    http: reqwest::Client,
}

/// The way to a vendor: its origin, which is asked for nothing, and shown no credentials.
pub struct HttpDoor {
    client: Client,
    origin: Url,
}

/// How long a vendor may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// To resolve its name, connect and shake hands. Less than `total`.
    pub connect: Duration,
    /// From the start to the last byte of the answer.
    pub total: Duration,
}

/// What a body in JSON is announced as.
pub const JSON: &str = "application/json; charset=utf-8";

/// Room for the body of an answer, so that it seldom grows: growing leaves copies of what may be a code behind.
const USUAL_ANSWER_BYTES: usize = 4 * 1024;

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    /// What the status alone says about the message: nothing against it when it is one of success.
    pub by_status: Result<(), Failure>,
    /// Empty where the status is no success and the body was none that can be read.
    pub body: Body,
}

/// The body of an answer, within [`MAX_ANSWER_BYTES`] and in UTF-8. What a vendor wrote may repeat the text of a
/// message or be a code, so it shows in no `Debug` and is wiped when it is dropped.
#[derive(Default)]
pub struct Body(String);

// === impl Client ===

impl Client {
    /// `vendor` is the configured name, for logs. The text of a message goes only where the configuration says: see
    /// [`http_client::builder`].
    ///
    /// Errors: `Invalid` when `timeouts` make no sense, naming `timeout` or `connect_timeout`.
    pub fn new(vendor: &str, timeouts: Timeouts) -> Result<Self> {
        if timeouts.connect.is_zero() {
            return Err(Error::invalid("connect_timeout", "must be longer than zero"));
        }
        if timeouts.total <= timeouts.connect {
            // Else the whole would run out first, and a vendor that nobody reached would count as perhaps sent.
            return Err(Error::invalid("timeout", "must be longer than connect_timeout"));
        }
        let http = http_client::builder(timeouts.connect, timeouts.total)?
            .pool_idle_timeout(Duration::from_secs(POOL_IDLE_SECONDS))
            .pool_max_idle_per_host(POOL_IDLE_CONNECTIONS)
            .build()
            .map_err(Error::internal)?;
        Ok(Self { vendor: vendor.into(), http })
    }

    /// Makes one call and waits for the head of the answer, whatever its status: for who need not read every body.
    /// It says which trace it belongs to. Headers that hold credentials are made by [`parse_secret_header`].
    pub async fn call(
        &self,
        method: Method,
        url: Url,
        mut headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Response, Failure> {
        trace::write_headers(&mut headers);
        let request = self.http.request(method, url).headers(headers).body(body);
        request.send().await.map_err(|error| self.transport_failure(error))
    }

    /// Reads the body of an answer that came. [`Failure::Unknown`] when it does not end in time, breaks off, is too long
    /// or is not UTF-8: the vendor had the request, and nobody can tell what it made of it.
    pub async fn read_body(&self, mut answer: Response) -> Result<Body, Failure> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(USUAL_ANSWER_BYTES));
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.transport_failure(error))? {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                tracing::warn!(vendor = %self.vendor, limit = MAX_ANSWER_BYTES, "vendor's answer is too long");
                return Err(Failure::Unknown);
            }
            bytes.extend_from_slice(&chunk);
        }
        String::from_utf8(std::mem::take(&mut *bytes)).map(Body).map_err(|error| {
            error.into_bytes().zeroize();
            tracing::warn!(vendor = %self.vendor, "vendor's answer is not UTF-8");
            Failure::Unknown
        })
    }

    /// Makes a [`Client::call`], with a body in JSON if there is one, and reads the answer to its end.
    ///
    /// Errors: only where no whole answer came; what its status and body say is for the adapter to judge.
    pub async fn exchange(
        &self,
        method: Method,
        url: Url,
        mut headers: HeaderMap,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Failure> {
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
        }
        let answer = self.call(method, url, headers, body.unwrap_or_default()).await?;
        let status = answer.status();
        let by_status = if status.is_success() { Ok(()) } else { Err(status_failure(&answer)) };
        let body = match self.read_body(answer).await {
            Err(_) if by_status.is_err() => Body::default(),
            body => body?,
        };
        Ok(Answer { status, by_status, body })
    }

    fn transport_failure(&self, error: reqwest::Error) -> Failure {
        // Nothing was written when no connection came about, or when no request could be built. Anything later may have
        // reached the vendor, even if our side saw a reset.
        let failure = if error.is_connect() || error.is_builder() { Failure::Unavailable } else { Failure::Unknown };
        tracing::warn!(vendor = %self.vendor, ?failure, error = %Chain(&error.without_url()), "vendor call failed");
        failure
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("vendor", &self.vendor).finish_non_exhaustive()
    }
}

// === impl HttpDoor ===

impl HttpDoor {
    /// The door of whoever serves `url`.
    pub fn new(client: &Client, url: &Url) -> Self {
        let mut origin = url.clone();
        origin.set_path("/");
        origin.set_query(None);
        Self { client: client.clone(), origin }
    }
}

#[async_trait]
impl Door for HttpDoor {
    fn host(&self) -> (&str, u16) {
        let host = self.origin.host_str().unwrap_or_default().trim_matches(['[', ']']);
        (host, self.origin.port_or_known_default().unwrap_or(443))
    }

    /// Whatever it answers, it is there.
    async fn knock(&self) -> Result<Welcome, String> {
        let asked = self.client.http.head(self.origin.clone()).send().await;
        let answer = asked.map_err(|error| match error {
            error if error.is_timeout() => "it does not answer in time".to_owned(),
            error => Chain(&error.without_url()).to_string(),
        })?;
        let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
        Ok(Welcome { time: date.and_then(parse_date), credentials: None })
    }
}

/// The form of RFC 9110 §5.6.7 that servers write, such as `Sun, 06 Nov 1994 08:49:37 GMT`.
fn parse_date(text: &str) -> Option<Timestamp> {
    let time = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
    u64::try_from(time.as_millisecond()).ok().map(Timestamp::from_millis)
}

// === impl Body ===

impl Body {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `None` when it is not JSON of this shape.
    pub fn parse<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(&self.0).ok()
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({} bytes)", self.0.len())
    }
}

/// What an answer outside 2xx says about the message, by its status alone (RFC 9110 §15), for vendors that document
/// nothing of their own.
///
/// A 4xx is a refusal. A redirect may follow work already done (303 says just that), and a 5xx may come from a server
/// that failed halfway or from a gateway that had passed the request on: neither is surely unsent.
pub fn status_failure(answer: &Response) -> Failure {
    match answer.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::Rejected(Rejection::Unauthorized),
        StatusCode::PAYMENT_REQUIRED => Failure::Rejected(Rejection::InsufficientCredit),
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Failure::Rejected(Rejection::InvalidContent)
        }
        StatusCode::TOO_MANY_REQUESTS => Failure::Throttled { after: retry_after(answer.headers()) },
        // A wrong address, a missing page, a gateway's own limit: this vendor does not serve, another may.
        status if status.is_client_error() => Failure::Unavailable,
        _ => Failure::Unknown,
    }
}

/// What it means for the check of a code that a vendor answered with this failure: it has looked at the check, perhaps at
/// the candidate, too, so it is not sure that it did not judge it.
pub fn check_failure(failure: Failure) -> Failure {
    if failure == Failure::Unavailable { Failure::Unknown } else { failure }
}

/// Names an account of a vendor's apart from all others, without giving away its credentials.
pub fn account_name(base_url: &Url, credential: &SecretString) -> String {
    let parts = [base_url.as_str(), "\0", credential.expose_secret()];
    let hash = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize();
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A body in JSON. `text` is about as long as what is secret in it: there is room enough that it seldom grows, for growing
/// leaves copies behind.
pub fn to_json(value: &impl Serialize, text: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::with_capacity(512 + 2 * text);
    serde_json::to_writer(&mut body, value).map_err(|_| Failure::Unavailable)?;
    Ok(body)
}

/// A header that holds a credential after `scheme`, which may be empty. Shows in no log. Errors: `Invalid`, naming
/// `field`.
pub fn parse_secret_header(field: &str, scheme: &str, secret: &SecretString) -> Result<HeaderValue> {
    let secret = secret.expose_secret();
    if secret.trim().is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    let plain = secret.bytes().all(|byte| byte.is_ascii_graphic());
    let text = Zeroizing::new(format!("{scheme}{secret}"));
    let mut header = HeaderValue::from_str(&text)
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| Error::invalid(field, "must be letters, digits and marks of ASCII without blanks"))?;
    header.set_sensitive(true);
    Ok(header)
}

/// A vendor's base URL, so that paths can be appended to it: `https`, or `http` to this machine; no credentials, query
/// or fragment. Errors name the field `base_url` and never repeat the value.
pub fn parse_base_url(text: &str) -> Result<Url> {
    let mut url = parse_url("base_url", text)?;
    if url.query().is_some() {
        return Err(Error::invalid("base_url", "must not hold a query"));
    }
    let directory = format!("{}/", url.path().trim_end_matches('/'));
    url.set_path(&directory);
    Ok(url)
}

/// A URL that we call: `https`, or `http` to this machine; no credentials and no fragment. Errors name `field` and never
/// repeat the value.
pub fn parse_url(field: &str, text: &str) -> Result<Url> {
    let wrong = |description: &str| Err(Error::invalid(field, description));
    let Ok(url) = Url::parse(text) else {
        return wrong("must be an absolute URL such as https://api.example.com");
    };
    let local = is_this_machine(url.host_str().unwrap_or_default());
    if url.scheme() != "https" && !(url.scheme() == "http" && local) {
        return wrong("must begin with https:// (http:// only to this machine): it carries credentials and codes");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return wrong("must not hold a user name or password");
    }
    if url.fragment().is_some() {
        return wrong("must not hold a fragment");
    }
    Ok(url)
}

/// Whether what is sent to this host stays on this machine.
pub fn is_this_machine(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_servers_are_read() {
        let read = parse_date("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(read, Some(Timestamp::from_millis(784_111_777_000)));
        assert_eq!(parse_date("yesterday"), None);
    }

    #[test]
    fn base_urls_are_https_or_this_machine_and_end_with_a_slash() {
        for (text, kept) in [
            ("https://api.example.com", "https://api.example.com/"),
            ("https://api.example.com/v1", "https://api.example.com/v1/"),
            ("https://api.example.com/v1//", "https://api.example.com/v1/"),
            ("http://127.0.0.1:8000/", "http://127.0.0.1:8000/"),
            ("http://[::1]:8000", "http://[::1]:8000/"),
            ("http://localhost:8000", "http://localhost:8000/"),
        ] {
            assert_eq!(parse_base_url(text).unwrap().as_str(), kept);
        }
        for text in [
            "",
            "api.example.com",
            "ftp://api.example.com",
            "http://api.example.com",
            "http://127.0.0.1.example.com",
            "https://user:hunter2@api.example.com",
            "https://api.example.com/?key=hunter2",
            "https://api.example.com/#hunter2",
        ] {
            let error = parse_base_url(text).unwrap_err();
            assert_eq!(error.violations()[0].field, "base_url", "{text}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn timeouts_that_make_no_sense_are_refused_by_name() {
        let client = |connect, total| {
            let timeouts = Timeouts { connect: Duration::from_secs(connect), total: Duration::from_secs(total) };
            Client::new("main", timeouts).map_err(|error| error.violations()[0].field.clone())
        };
        assert!(client(1, 2).is_ok());
        assert_eq!(client(0, 2).unwrap_err(), "connect_timeout");
        assert_eq!(client(2, 2).unwrap_err(), "timeout");
    }
}
