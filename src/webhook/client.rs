//! The one client that calls URLs which callers name.
//!
//! Judged is where the connection goes. A host that is an address is judged in whatever way it is spelled, for the URL is
//! read as every browser reads it; a name is resolved once for each call, and the connection goes to an address that was
//! judged and to no other. What a URL may not hold is refused before that: another scheme, a password, a port that is not
//! allowed.
//!
//! Of an answer only the head counts. Its body is read as far as is needed to use the connection again, and thrown away.
//!
//! Its time limits run on Tokio's timer and not on the passed-in clock: they bound real sockets.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::{Response, Url};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use crate::error::{Error, Result};
use crate::http_client::{self, Chain, retry_after};
use crate::webhook::names::{Names, Pin, Unresolved};
use crate::webhook::network::Reach;
use crate::webhook::rooms::{Room, Rooms};
use crate::webhook::settings::Config;

/// Most that is read of an answer's body, and how long that may take. Longer ones cost their connection.
const MAX_BODY_BYTES: usize = 64 * 1024;
const BODY_TIME: Duration = Duration::from_secs(1);

/// How long an unused connection is kept. Only receivers that others wait to call keep one, see [`Turn::call`].
const IDLE_TIME: Duration = Duration::from_secs(5);

/// Calls URLs of callers. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    reach: Arc<Reach>,
    names: Names,
    rooms: Rooms,
    /// For a call from its start to the head of the answer.
    timeout: Duration,
}

/// A URL that we would call, should its name lead to where we may.
#[derive(Debug, Clone)]
pub struct Target(Url);

/// Leave to make one call.
pub struct Turn {
    client: Client,
    /// `None` for a URL that may not be called.
    place: Option<Place>,
}

/// Room at a receiver.
struct Place {
    receiver: String,
    room: Arc<Room>,
}

/// What to say to a receiver.
pub struct Call {
    pub method: Method,
    /// On the host and port for which it is our turn.
    pub url: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// With this status, and how long we are asked to wait.
    Answered { status: StatusCode, after: Option<Duration> },
    /// Not found, not reached, broken off, or too slow.
    Unanswered,
    /// Not called, for it leads to where callers may not send us.
    Forbidden,
}

// === impl Client ===

impl Client {
    /// Errors: `Internal` when no client can be built.
    pub fn new(config: &Config) -> Result<Self> {
        let reach = Arc::new(config.reach());
        let names = Names::new(Arc::clone(&reach), config.connect_timeout);
        let http = http_client::builder(config.connect_timeout, config.timeout)?
            .dns_resolver(names.clone())
            .pool_idle_timeout(IDLE_TIME)
            .pool_max_idle_per_host(config.per_receiver as usize)
            .build()
            .map_err(Error::internal)?;
        let rooms = Rooms::new(config.concurrency as usize, config.per_receiver as usize);
        Ok(Self { http, reach, names, rooms, timeout: config.timeout })
    }

    /// Reads a URL that a caller names. Where a name leads is found out at each call.
    ///
    /// Errors: `Invalid`, field `url`, which say what is wrong and never repeat the value.
    pub fn parse(&self, url: &str) -> Result<Target> {
        Target::parse(url, &self.reach)
    }

    /// Waits until one more call of an account may go to a URL. `None` when too many wait for that already. For a URL
    /// that may not be called it is nobody's turn: see [`Outcome::Forbidden`].
    pub async fn turn(&self, account: &str, url: &str) -> Option<Turn> {
        let place = match self.parse(url) {
            Ok(target) => {
                let receiver = target.receiver();
                let room = Arc::new(self.rooms.enter(account, &receiver).await?);
                Some(Place { receiver, room })
            }
            Err(_) => None,
        };
        Some(Turn { client: self.clone(), place })
    }

    /// Calls a receiver up to the head of its answer. Errors: what came of it instead.
    async fn call(&self, receiver: &str, room: &Arc<Room>, call: Call) -> Result<Response, Outcome> {
        let target = self.parse(&call.url).ok().filter(|target| target.receiver() == receiver);
        let Some(Target(url)) = target else {
            warn!(receiver, "a call was not made: it is written for another receiver than the one whose turn it is");
            return Err(Outcome::Forbidden);
        };
        let _pin = self.pin(&url, room).await.map_err(|why| {
            info!(receiver, "a receiver was not called: {}", why.as_str());
            match why {
                Unresolved::Unknown => Outcome::Unanswered,
                Unresolved::LeadsInside => Outcome::Forbidden,
            }
        })?;
        let mut request = self.http.request(call.method, url).headers(call.headers);
        if !call.body.is_empty() {
            request = request.body(call.body);
        }
        // Connections are worth keeping only where more is to be said. Of the others there may be any number.
        if !room.is_shared() {
            request = request.header(CONNECTION, HeaderValue::from_static("close"));
        }
        request.send().await.map_err(|error| {
            info!(receiver, error = %Chain(&error.without_url()), "a receiver was not reached or did not answer");
            Outcome::Unanswered
        })
    }

    /// `None` for a host that is an address.
    async fn pin(&self, url: &Url, room: &Arc<Room>) -> Result<Option<Pin>, Unresolved> {
        match (address_of(url), url.host_str()) {
            (None, Some(name)) => self.names.pin(name, Arc::clone(room)).await.map(Some),
            _ => Ok(None),
        }
    }
}

/// The address that a host is, if it is one rather than a name.
fn address_of(url: &Url) -> Option<IpAddr> {
    let host = url.host_str()?;
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

// === impl Target ===

impl Target {
    /// Errors: `Invalid`, field `url`, for one that we would never call.
    pub fn parse(url: &str, reach: &Reach) -> Result<Self> {
        let wrong = |description: &str| Err(Error::invalid("url", description));
        let Ok(url) = Url::parse(url) else { return wrong("must be a URL such as https://example.com/callback") };
        if !matches!(url.scheme(), "http" | "https") {
            return wrong("must begin with http:// or https://");
        }
        // A dot at its end says that a name is whole, and leaves nothing of one that is all dots.
        if url.host_str().unwrap_or_default().trim_end_matches('.').is_empty() {
            return wrong("must name a host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return wrong("must not hold a user name or password");
        }
        if !url.port_or_known_default().is_some_and(|port| reach.may_use_port(port)) {
            return wrong("must have a port that the configuration allows, usually 80, 443 or one from 1024 on");
        }
        if address_of(&url).is_some_and(|address| !reach.may_reach(address)) {
            return wrong("must lead to a public address, or to one that the configuration allows");
        }
        Ok(Self(url))
    }

    /// Who is called: the host and its port, and nothing that could be a secret.
    pub fn receiver(&self) -> String {
        let host = self.0.host_str().unwrap_or_default().trim_end_matches('.');
        format!("{host}:{}", self.0.port_or_known_default().unwrap_or_default())
    }
}

// === impl Turn ===

impl Turn {
    /// Makes the call. Ends when there is an answer, but for its body, or the time is over.
    pub async fn call(self, call: Call) -> Outcome {
        let Self { client, place } = self;
        let Some(Place { receiver, room }) = place else {
            info!("a receiver was not called: the configuration does not allow its URL");
            return Outcome::Forbidden;
        };
        let Ok(answered) = timeout(client.timeout, client.call(&receiver, &room, call)).await else {
            info!(receiver, "a receiver did not answer in time");
            return Outcome::Unanswered;
        };
        let answer = match answered {
            Ok(answer) => answer,
            Err(outcome) => return outcome,
        };
        let status = answer.status();
        match status.is_success() {
            true => debug!(receiver, status = status.as_u16(), "a receiver took a call"),
            false => info!(receiver, status = status.as_u16(), "a receiver did not take a call"),
        }
        let outcome = Outcome::Answered { status, after: retry_after(answer.headers()) };
        // What else it has to say is not heard.
        let _cut = timeout(BODY_TIME, read_out(answer)).await;
        outcome
    }
}

async fn read_out(mut answer: Response) {
    let mut left = MAX_BODY_BYTES;
    while let Ok(Some(chunk)) = answer.chunk().await {
        match left.checked_sub(chunk.len()) {
            Some(rest) => left = rest,
            None => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(allow: &str) -> Client {
        let config =
            format!("allow = [{allow}]\nports = [\"80\", \"443\", \"1024-65535\"]\nconnect_timeout = 1\ntimeout = 1\n");
        let config = config.replace("= 1\n", "= { secs = 1, nanos = 0 }\n");
        let rest = "attempts = 10\nconcurrency = 4\nper_receiver = 1\n";
        Client::new(&toml::from_str(&(config + rest)).unwrap()).unwrap()
    }

    #[test]
    fn urls_of_callers_hold_no_password_and_lead_to_allowed_ports_of_public_addresses() {
        let client = client("");
        for (url, receiver) in [
            ("https://example.com/callback?a=b", "example.com:443"),
            ("http://example.com", "example.com:80"),
            ("HTTP://EXAMPLE.com.:8080/#part", "example.com:8080"),
            ("https://8.8.8.8/", "8.8.8.8:443"),
            ("https://[2606:4700::1111]/", "[2606:4700::1111]:443"),
            ("https://[::ffff:8.8.8.8]/", "[::ffff:808:808]:443"),
            // A name: where it leads is found out at each call.
            ("http://localhost/", "localhost:80"),
            ("https://例え.jp/", "xn--r8jz45g.jp:443"),
        ] {
            assert_eq!(client.parse(url).unwrap().receiver(), receiver, "{url}");
        }
        for (url, wanted) in [
            ("", "must be a URL"),
            ("/hunter2", "must be a URL"),
            ("http://", "must be a URL"),
            ("http://hunter 2/", "must be a URL"),
            ("http://1.2.3.4.5/hunter2", "must be a URL"),
            ("http://256.0.0.1/hunter2", "must be a URL"),
            ("ftp://example.com/hunter2", "must begin with"),
            ("file:///hunter2", "must begin with"),
            ("javascript:hunter2", "must begin with"),
            ("gopher://example.com:70/hunter2", "must begin with"),
            ("https://user@example.com/hunter2", "must not hold"),
            ("https://:hunter2@example.com/", "must not hold"),
            ("https://8.8.8.8:443@127.0.0.1/hunter2", "must not hold"),
            ("http://example.com:22/hunter2", "must have a port"),
            ("http://example.com:25/hunter2", "must have a port"),
            ("http://example.com:0/hunter2", "must have a port"),
            ("http://./hunter2", "must name a host"),
            ("http://.../hunter2", "must name a host"),
            ("http://127.0.0.1/hunter2", "must lead"),
            ("http://[fe80::1]/hunter2", "must lead"),
        ] {
            let error = client.parse(url).unwrap_err();
            let violation = &error.violations()[0];
            assert!(violation.field == "url" && violation.description.starts_with(wanted), "{url}: {violation:?}");
            assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn an_address_is_known_in_every_spelling() {
        let (strict, local) = (client(""), client("\"127.0.0.0/8\", \"::1\", \"0.0.0.0\""));
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "0x7f000001",
            "0x7f.1",
            "2130706433",
            "017700000001",
            "0177.0.0.01",
            "127.0.0.1.",
            "127.255.255.254",
            "%31%32%37.0.0.1",
            "１２７.0.0.1",
            "127。0。0。1",
            "①②⑦.0.0.1",
            "[::1]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[0:0:0:0:0:ffff:7f00:0001]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b::127.0.0.1]",
            "[2002:7f00:1::]",
            "[2002:7f00:1::1]",
            "0.0.0.0",
            "0",
            "0x0",
        ] {
            for scheme in ["http", "https"] {
                let url = format!("{scheme}://{host}:8080/");
                assert!(strict.parse(&url).is_err(), "{url}");
                assert!(local.parse(&url).is_ok(), "{url}");
            }
        }
        for host in [
            "169.254.169.254",
            "0xa9fea9fe",
            "2852039166",
            "169.254.43518",
            "[::ffff:169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[64:ff9b:1::a9fe:a9fe]",
            "[fd00:ec2::254]",
            "[fe80::a9fe:a9fe]",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "[::]",
            "[ff02::1]",
            "[fec0::1]",
            "[2001:db8::1]",
            "[2001:0:a9fe:a9fe::f7f7:f7f7]",
        ] {
            let url = format!("http://{host}/");
            assert!(strict.parse(&url).is_err() && local.parse(&url).is_err(), "{url}");
        }
    }
}
