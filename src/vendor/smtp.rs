//! E-mail over SMTP (RFC 5321): one plain text to one address, handed to a mail server that takes it from there.
//!
//! TLS is on unless the server is this machine, and its certificate is checked. Every message has a connection of its
//! own, which ends when the server has answered: codes are few, and a connection that was kept may be dead when the next
//! one needs it. What happens after the server took a message (bounces) comes as mail to the sender and is not read.
//!
//! Up to the text nothing was sent, whatever fails. From its first byte to the server's answer nobody can tell.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use lettre::message::header::{ContentType, HeaderName, HeaderValue, MIME_VERSION_1_0};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{
    AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters, TlsParametersBuilder,
};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tokio::time::timeout;

use crate::clock::deserialize_duration;
use crate::error::{Error, Result};
use crate::http_client::Chain;
use crate::recipient::Recipient;
use crate::vendor::http::is_this_machine;
use crate::vendor::{Accepted, Capabilities, Channel, Door, Failure, Outgoing, Rejection, Vendor, Welcome};

/// Longest subject, in characters: what a phone shows, and far less than a line holds.
const MAX_SUBJECT_LENGTH: usize = 150;

/// How long a server may take to say goodbye, after the answer that counts.
const QUIT_TIMEOUT: Duration = Duration::from_secs(5);

/// A mail server and what its mails look like.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A name or an IP address.
    pub host: String,
    /// Default 465 with [`Tls::Implicit`], 587 with [`Tls::Starttls`], 25 with [`Tls::Off`].
    #[serde(default)]
    pub port: Option<u16>,
    #[serde(default)]
    pub tls: Tls,
    /// Certificates (PEM) that are trusted in place of the web's public roots.
    #[serde(default)]
    pub ca: Option<String>,
    /// Left out, we do not log in.
    #[serde(default)]
    pub username: Option<String>,
    #[serde(default)]
    pub password: Option<SecretString>,
    /// Who mails are from, such as `Acme <codes@acme.example>`. A message's own sender takes the place of the name.
    pub from: String,
    /// The same for all mails: 1 to 150 characters on one line.
    pub subject: String,
    /// Who we say we are. Default: the domain of `from`.
    #[serde(default)]
    pub hello: Option<String>,
    /// To resolve the name, connect, shake hands and be greeted. Default 4 s.
    #[serde(default = "default_connect_timeout", deserialize_with = "deserialize_duration")]
    pub connect_timeout: Duration,
    /// For one mail from start to end. Default 9 s.
    #[serde(default = "default_timeout", deserialize_with = "deserialize_duration")]
    pub timeout: Duration,
}

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// From the first byte (RFC 8314).
    #[default]
    Implicit,
    /// After a start in the clear (RFC 3207); a server that does not offer it gets nothing.
    Starttls,
    /// Not at all: only to this machine.
    #[serde(rename = "none")]
    Off,
}

/// The adapter.
pub struct SmtpVendor {
    name: String,
    capabilities: Capabilities,
    host: String,
    port: u16,
    tls: Option<TlsParameters>,
    starttls: bool,
    credentials: Option<Credentials>,
    from: Mailbox,
    subject: String,
    hello: ClientId,
    connect_timeout: Duration,
    timeout: Duration,
}

/// How far a mail has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connect,
    LogIn,
    From,
    To,
    Data,
    /// The text is being written, and the server may have it.
    Text,
}

// === impl Config ===

impl Config {
    /// The adapter, under its configured name. Errors: `Invalid`, naming the field.
    pub fn build(self, name: &str) -> Result<SmtpVendor> {
        if self.connect_timeout.is_zero() {
            return Err(Error::invalid("connect_timeout", "must be longer than zero"));
        }
        if self.timeout <= self.connect_timeout {
            return Err(Error::invalid("timeout", "must be longer than connect_timeout"));
        }
        if self.tls == Tls::Off && !is_this_machine(&self.host) {
            return Err(Error::invalid(
                "tls",
                "must be implicit or starttls, except to this machine: mails carry codes",
            ));
        }
        let from = self.from.parse().ok().filter(|from: &Mailbox| from.email.to_string().is_ascii());
        let wanted = "must be an e-mail address, with a name or without: Acme <codes@acme.example>";
        let from = from.ok_or_else(|| Error::invalid("from", wanted))?;
        let printable = !self.subject.trim().is_empty() && !self.subject.chars().any(char::is_control);
        if !printable || self.subject.chars().count() > MAX_SUBJECT_LENGTH {
            let wanted = format!("must be 1 to {MAX_SUBJECT_LENGTH} characters on one line");
            return Err(Error::invalid("subject", wanted));
        }
        let hello = self.hello.as_deref().unwrap_or(from.email.domain()).to_owned();
        if hello.is_empty() || !hello.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]".contains(&b)) {
            return Err(Error::invalid("hello", "must be the name of a host"));
        }
        let port = self.port.unwrap_or(match self.tls {
            Tls::Implicit => 465,
            Tls::Starttls => 587,
            Tls::Off => 25,
        });
        Ok(SmtpVendor {
            name: name.to_owned(),
            capabilities: Capabilities { channels: vec![Channel::Email], idempotent: false, receipts: false },
            tls: self.tls_parameters()?,
            credentials: self.credentials()?,
            host: self.host,
            port,
            starttls: self.tls == Tls::Starttls,
            from,
            subject: self.subject,
            hello: ClientId::Domain(hello),
            connect_timeout: self.connect_timeout,
            timeout: self.timeout,
        })
    }

    fn tls_parameters(&self) -> Result<Option<TlsParameters>> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let address = self.host.parse::<IpAddr>().is_ok();
        if !address && (self.host.is_empty() || !self.host.bytes().all(plain)) {
            return Err(Error::invalid("host", "must be a host name or an IP address, without a port"));
        }
        if self.tls == Tls::Off {
            return match self.ca {
                Some(_) => Err(Error::invalid("ca", "means nothing without TLS")),
                None => Ok(None),
            };
        }
        let mut builder = TlsParametersBuilder::new(self.host.clone()).certificate_store(CertificateStore::WebpkiRoots);
        if let Some(pem) = &self.ca {
            let wrong = || Error::invalid("ca", "must hold certificates in PEM");
            let certificate = Certificate::from_pem(pem.as_bytes()).map_err(|_| wrong())?;
            if !pem.contains("-----BEGIN CERTIFICATE-----") {
                return Err(wrong());
            }
            builder = builder.certificate_store(CertificateStore::None).add_root_certificate(certificate);
        }
        let parameters = builder.build_rustls().map_err(|_| Error::invalid("ca", "must hold certificates in PEM"))?;
        Ok(Some(parameters))
    }

    fn credentials(&self) -> Result<Option<Credentials>> {
        match (&self.username, &self.password) {
            (None, None) => Ok(None),
            (Some(username), _) if username.trim().is_empty() => Err(Error::invalid("username", "must not be empty")),
            (Some(username), Some(password)) if !password.expose_secret().is_empty() => {
                Ok(Some(Credentials::new(username.clone(), password.expose_secret().to_owned())))
            }
            (Some(_), _) => Err(Error::invalid("password", "must not be empty, for there is a username")),
            (None, Some(_)) => Err(Error::invalid("username", "is missing, and there is a password")),
        }
    }
}

fn default_connect_timeout() -> Duration {
    Duration::from_secs(4)
}

fn default_timeout() -> Duration {
    Duration::from_secs(9)
}

// === impl SmtpVendor ===

#[async_trait]
impl Vendor for SmtpVendor {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    async fn send(&self, outgoing: &Outgoing) -> Result<Accepted, Failure> {
        let (Channel::Email, Recipient::Email(email)) = (outgoing.channel, &outgoing.recipient) else {
            return Err(Failure::Rejected(Rejection::InvalidRecipient));
        };
        let to = email.as_str().parse().map_err(|_| Failure::Rejected(Rejection::InvalidRecipient))?;
        let message = self.to_message(outgoing, Mailbox::new(None, to)).ok_or_else(|| {
            tracing::warn!(vendor = %self.name, "sender or text does not fit a mail; not sent");
            Failure::Rejected(Rejection::InvalidContent)
        })?;
        let mut phase = Phase::Connect;
        let outcome = timeout(self.timeout, self.deliver(&message, &mut phase)).await;
        match outcome {
            Ok(Ok(())) => Ok(Accepted::default()),
            Ok(Err(error)) => Err(self.failure(phase, error.as_ref())),
            Err(_) => Err(self.failure(phase, None)),
        }
    }

    fn door(&self) -> Option<&dyn Door> {
        Some(self)
    }
}

#[async_trait]
impl Door for SmtpVendor {
    fn host(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    async fn knock(&self) -> Result<Welcome, String> {
        let late = || "it does not answer in time".to_owned();
        let connected = timeout(self.connect_timeout, self.connect()).await.map_err(|_| late())?;
        let mut connection = connected.map_err(|error| match error.is_response() {
            true => "it does not greet as a mail server does".to_owned(),
            false => Chain(&error).to_string(),
        })?;
        let credentials = match &self.credentials {
            None => None,
            Some(credentials) => {
                let mechanisms = [Mechanism::Plain, Mechanism::Login];
                let shown =
                    timeout(self.timeout, connection.auth(&mechanisms, credentials)).await.map_err(|_| late())?;
                Some(shown.map(drop).map_err(|error| self.failure(Phase::LogIn, Some(&error))))
            }
        };
        drop(timeout(QUIT_TIMEOUT, connection.quit()).await);
        Ok(Welcome { time: None, credentials })
    }
}

impl SmtpVendor {
    /// `None` when the sender's name or the text cannot stand in a mail.
    fn to_message(&self, outgoing: &Outgoing, to: Mailbox) -> Option<Message> {
        let text = outgoing.text.expose_secret();
        let sender = outgoing.sender.clone().or_else(|| self.from.name.clone());
        if sender.as_ref().is_some_and(|name| name.chars().any(char::is_control)) || text.contains('\0') {
            return None;
        }
        // So that nobody's out-of-office reply comes back (RFC 3834 §5).
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        Message::builder()
            .from(Mailbox::new(sender, self.from.email.clone()))
            .to(to)
            .subject(self.subject.as_str())
            .message_id(Some(format!("<{}@{}>", outgoing.reference, self.from.email.domain())))
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .header(MIME_VERSION_1_0)
            .header(ContentType::TEXT_PLAIN)
            .body(text.to_owned())
            .ok()
    }

    /// Leaves in `phase` how far it came. Errors: `None` when time ran out.
    async fn deliver(&self, message: &Message, phase: &mut Phase) -> Result<(), Option<SmtpError>> {
        let mut connection = timeout(self.connect_timeout, self.connect()).await.map_err(|_| None)??;
        *phase = Phase::LogIn;
        if let Some(credentials) = &self.credentials {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await?;
        }
        *phase = Phase::From;
        let envelope = message.envelope();
        connection.command(Mail::new(envelope.from().cloned(), Vec::new())).await?;
        *phase = Phase::To;
        for to in envelope.to() {
            connection.command(Rcpt::new(to.clone(), Vec::new())).await?;
        }
        *phase = Phase::Data;
        connection.command(Data).await?;
        *phase = Phase::Text;
        connection.message(&message.formatted()).await?;
        // The message is the server's now; nobody waits for the goodbye.
        tokio::spawn(async move { drop(timeout(QUIT_TIMEOUT, connection.quit()).await) });
        Ok(())
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let implicit = self.tls.clone().filter(|_| !self.starttls);
        let server = (self.host.as_str(), self.port);
        let mut connection = AsyncSmtpConnection::connect_tokio1(server, None, &self.hello, implicit, None).await?;
        if let Some(tls) = self.tls.clone().filter(|_| self.starttls) {
            connection.starttls(tls, &self.hello).await?;
        }
        Ok(connection)
    }

    /// What went wrong, told without a word of the server's, which may repeat address or text.
    fn failure(&self, phase: Phase, error: Option<&SmtpError>) -> Failure {
        let code = error.and_then(SmtpError::status).map(u16::from);
        let failure = classify(phase, code, error.is_some_and(SmtpError::is_client));
        let ours = error.filter(|error| code.is_none() && !error.is_response()).map(|error| Chain(error).to_string());
        let error = ours.unwrap_or_else(|| if error.is_none() { "out of time" } else { "refused" }.to_owned());
        tracing::warn!(vendor = %self.name, ?phase, code, ?failure, error, "mail server did not take a message");
        failure
    }
}

/// A server that answers 4yz or 5yz has not taken the message (RFC 5321 §4.2.1). `ours`: we found nothing to go on with,
/// and wrote nothing.
fn classify(phase: Phase, code: Option<u16>, ours: bool) -> Failure {
    match (phase, code) {
        // Credentials wrong, too weak, or missing, wherever it says so (RFC 4954 §6).
        (_, Some(530 | 534 | 535 | 538)) => Failure::Rejected(Rejection::Unauthorized),
        (Phase::LogIn, Some(500..)) => Failure::Rejected(Rejection::Unauthorized),
        // No way to log in that both know.
        (Phase::LogIn, None) if ours => Failure::Rejected(Rejection::Unauthorized),
        // Busy, full, or meant to come back: what greylisting and limits on rates answer.
        (Phase::From | Phase::To, Some(450..=452)) => Failure::Throttled { after: None },
        // Of the greeting: this server serves nobody now.
        (Phase::Connect, _) | (_, Some(..500)) => Failure::Unavailable,
        (Phase::To, Some(_)) => Failure::Rejected(Rejection::InvalidRecipient),
        (_, Some(_)) => Failure::Rejected(Rejection::InvalidContent),
        (Phase::Text, None) => Failure::Unknown,
        (_, None) => Failure::Unavailable,
    }
}

impl fmt::Debug for SmtpVendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpVendor")
            .field("name", &self.name)
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
