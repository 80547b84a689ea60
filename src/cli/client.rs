//! A gateway as the client commands see it: where it is, with which key it is called, and what its refusals mean.

use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel as Transport, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use verigate::config::DEV_KEY;
use verigate::proto::messaging::v1 as pb;

use crate::cli::exit::{CREDENTIALS, Failure, INTERNAL, Outcome, REFUSED, UNAVAILABLE, USAGE, with_causes};
use crate::cli::output;

const ADDRESS: &str = "must be http://HOST:PORT, https://HOST:PORT or unix:/PATH";

/// How long to wait for a connection, and for an answer that takes no waiting of its own.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// Which gateway to call, and how.
#[derive(Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// Where the gateway listens: http://HOST:PORT, https://HOST:PORT or unix:/PATH
    #[arg(long, global = true, value_name = "ADDRESS", env = "VERIGATE_ADDRESS")]
    #[arg(default_value = "http://127.0.0.1:50051")]
    address: String,
    /// The API key, ID.SECRET; by default that of the dev profile. Others on this machine can read arguments, so
    /// better set the variable
    #[arg(long, global = true, value_name = "KEY", env = "VERIGATE_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Certificates in PEM, one of which must vouch for a gateway that speaks TLS; by default the public ones
    #[arg(long, global = true, value_name = "FILE", env = "VERIGATE_CA")]
    ca: Option<PathBuf>,
    /// Our own certificate and then its key in one file, in PEM, for a gateway that asks for it
    #[arg(long, global = true, value_name = "FILE", env = "VERIGATE_CERTIFICATE")]
    certificate: Option<PathBuf>,
    /// The name that the gateway's certificate must be for, when that is not the host of the address
    #[arg(long, global = true, value_name = "NAME", env = "VERIGATE_SERVER_NAME")]
    server_name: Option<String>,
    /// Print the answer, or the refusal, as one line of JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

fn read(name: &str, file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file)
        .map_err(|error| Failure::new(USAGE, format!("{name}: the file {file:?} cannot be read: {error}")))
}

/// The medium of a message.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Channel {
    Sms,
    Whatsapp,
    Voice,
    Email,
}

/// A gateway that answered the telephone.
pub(crate) struct Gateway {
    pub(crate) transport: Transport,
    authorization: MetadataValue<Ascii>,
}

// === impl Connection ===

impl Connection {
    /// Runs one command against the gateway.
    pub(crate) fn run(&self, command: impl AsyncFnOnce(Gateway) -> Result<ExitCode, Refusal>) -> Outcome {
        let endpoint = self.endpoint()?;
        let authorization = self.authorization()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::internal(&error))?;
        runtime.block_on(async {
            let transport = endpoint.connect().await.map_err(|error| self.unreachable(&error))?;
            match command(Gateway { transport, authorization }).await {
                Ok(code) => Ok(code),
                Err(Refusal::Answer(status)) => self.refused(&status),
                Err(Refusal::Here(failure)) => Err(failure),
            }
        })
    }

    fn endpoint(&self) -> Result<Endpoint, Failure> {
        let wrong = |why: &str| Failure::new(USAGE, format!("--address: {why}"));
        let address = match self.address.split_once(':') {
            Some(("unix", path)) if path.starts_with('/') => self.address.clone(),
            Some(("http", rest)) if rest.starts_with("//") => self.address.clone(),
            Some(("https", rest)) if rest.starts_with("//") => self.address.clone(),
            // A host and a port, as the configuration writes them.
            Some((_, rest)) if !rest.starts_with("//") => format!("http://{}", self.address),
            _ => return Err(wrong(ADDRESS)),
        };
        let secure = address.starts_with("https:");
        let endpoint = Endpoint::from_shared(address).map_err(|_| wrong(ADDRESS))?.connect_timeout(CONNECT_PATIENCE);
        if secure {
            return endpoint.tls_config(self.tls()?).map_err(|error| wrong(&with_causes(&error)));
        }
        let given = [
            ("--ca", self.ca.is_some()),
            ("--certificate", self.certificate.is_some()),
            ("--server-name", self.server_name.is_some()),
        ];
        for (name, given) in given {
            if given {
                return Err(Failure::new(USAGE, format!("{name}: is for an address that begins with https://")));
            }
        }
        Ok(endpoint)
    }

    fn tls(&self) -> Result<ClientTlsConfig, Failure> {
        let config = match &self.ca {
            Some(file) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("--ca", file)?)),
            None => ClientTlsConfig::new().with_webpki_roots(),
        };
        let config = match &self.server_name {
            Some(name) => config.domain_name(name),
            None => config,
        };
        Ok(match &self.certificate {
            Some(file) => {
                let pem = read("--certificate", file)?;
                config.identity(Identity::from_pem(&pem, &pem))
            }
            None => config,
        })
    }

    /// Never repeats the key.
    fn authorization(&self) -> Result<MetadataValue<Ascii>, Failure> {
        let key = self.key.as_deref().filter(|key| !key.is_empty()).unwrap_or(DEV_KEY);
        let value = format!("Bearer {key}").parse::<MetadataValue<Ascii>>().ok().filter(|_| key.contains('.'));
        let mut value = value.ok_or_else(|| Failure::new(USAGE, "--key: must be an API key, written ID.SECRET"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn unreachable(&self, error: &(dyn StdError + 'static)) -> Failure {
        let error = with_causes(error);
        // What tonic calls every error here says nothing.
        let why = error.trim_start_matches("transport error: ");
        let message = format!("cannot reach {}: {why}; is `verigate serve` running?", self.address);
        Failure::new(UNAVAILABLE, message)
    }

    /// Tells a refusal, and gives the code that stands for it.
    fn refused(&self, status: &Status) -> Outcome {
        if let Some(error) = status.source() {
            // Not the gateway's word: the connection broke under the call.
            return Err(self.unreachable(error));
        }
        let details = status.get_error_details();
        let reason = details.error_info().map(|info| info.reason.clone());
        let retry_after = details.retry_info().and_then(|info| info.retry_delay);
        let code = match status.code() {
            Code::InvalidArgument | Code::OutOfRange => USAGE,
            Code::Unauthenticated => CREDENTIALS,
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => UNAVAILABLE,
            Code::Internal | Code::Unknown | Code::DataLoss | Code::Unimplemented => INTERNAL,
            _ => REFUSED,
        };
        if self.json {
            let error = json!({
                "code": i32::from(status.code()),
                "reason": reason,
                "message": status.message(),
                "retryAfterSeconds": retry_after.map(|wait| wait.as_secs_f64()),
            });
            output::print(&format!("{}\n", json!({ "error": error })))?;
        }
        let reason = reason.map(|reason| format!("{reason}: ")).unwrap_or_default();
        Err(Failure::new(code, format!("{reason}{}", status.message())))
    }
}

/// Why a command against a gateway has no answer to show.
pub(crate) enum Refusal {
    /// The gateway, or the way there, says no.
    Answer(Status),
    /// It went wrong here.
    Here(Failure),
}

// === impl Refusal ===

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Answer(status)
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self::Here(failure)
    }
}

// === impl Gateway ===

impl Gateway {
    /// A call with credentials and a deadline; `wait` is how long the gateway is asked to hold its answer.
    pub(crate) fn call<T>(&self, message: T, wait: Duration) -> Request<T> {
        let mut request = self.anonymous_call(message);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        request.set_timeout(ANSWER_PATIENCE + wait);
        request
    }

    /// A call with a deadline and nothing of ours, for what everybody may ask.
    pub(crate) fn anonymous_call<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(ANSWER_PATIENCE);
        request
    }
}

// === impl Channel ===

impl Channel {
    pub(crate) fn to_wire(channel: Option<Self>) -> i32 {
        let channel = match channel {
            None => pb::Channel::Unspecified,
            Some(Self::Sms) => pb::Channel::Sms,
            Some(Self::Whatsapp) => pb::Channel::Whatsapp,
            Some(Self::Voice) => pb::Channel::Voice,
            Some(Self::Email) => pb::Channel::Email,
        };
        channel.into()
    }
}

/// Who a text names: an e-mail address has an `@`, a phone number has none.
pub(crate) fn to_recipient(text: &str) -> pb::Recipient {
    let address = if text.contains('@') {
        pb::recipient::Address::Email(text.to_owned())
    } else {
        pb::recipient::Address::Phone(text.to_owned())
    };
    pb::Recipient { address: Some(address) }
}
