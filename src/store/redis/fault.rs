//! What can be wrong with the servers: as troubles while we still look for a way round, and as errors in the end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::{RedisError, ServerError, ServerErrorKind, Value};

use crate::error::{Error, Kind, Reason};
use crate::store::redis::settings::Address;

/// Why a server did not do what it was asked. Cheap to clone, for many may wait for one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Another server has it now, as this one says; nothing was done.
    Moved(Address),
    /// The same for this once.
    Ask(Address),
    /// It is on its way between two servers, or the server is not ready for it; nothing was done.
    TryAgain,
    /// The server does not know the script; nothing was done.
    NoScript,
    /// The server takes no writes, or is no longer the one to ask; nothing was done.
    Displaced(Arc<str>),
    /// The server refuses, and would again; nothing was done.
    Refused(Arc<str>),
    /// No answer, so that it may be done or not.
    Lost(Arc<str>),
}

/// A cause in words, for the log.
#[derive(Debug)]
struct Cause(String);

// === impl Trouble ===

impl Trouble {
    /// What a server answers in place of a value.
    ///
    /// Error: that it did.
    pub(crate) fn check(value: &Value) -> Result<(), Self> {
        match value {
            Value::ServerError(error) => Err(Self::of_server(error)),
            _ => Ok(()),
        }
    }

    pub(crate) fn of_server(error: &ServerError) -> Self {
        let words = || words_of(error).into();
        let redirect = || error.details()?.split_ascii_whitespace().nth(1).and_then(|text| Address::parse(text, 0));
        match (error.kind(), redirect()) {
            (Some(ServerErrorKind::Moved), Some(to)) => Self::Moved(to),
            (Some(ServerErrorKind::Ask), Some(to)) => Self::Ask(to),
            (Some(ServerErrorKind::TryAgain), _) => Self::TryAgain,
            (Some(ServerErrorKind::NoScript), _) => Self::NoScript,
            (
                Some(
                    ServerErrorKind::ReadOnly
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::BusyLoading
                    | ServerErrorKind::Moved
                    | ServerErrorKind::Ask,
                ),
                _,
            ) => Self::Displaced(words()),
            // A replica that was told to be one while it waited.
            _ if error.code() == "UNBLOCKED" => Self::Lost(words()),
            _ => Self::Refused(words()),
        }
    }

    pub(crate) fn of_client(error: &RedisError) -> Self {
        Self::lost(error)
    }

    pub(crate) fn lost(cause: impl fmt::Display) -> Self {
        Self::Lost(cause.to_string().into())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved(to) | Self::Ask(to) => write!(f, "sends us to {to}, again and again"),
            Self::TryAgain => f.write_str("is moving these keys, and says to try again"),
            Self::NoScript => f.write_str("forgets scripts as soon as it has them"),
            Self::Displaced(words) | Self::Refused(words) | Self::Lost(words) => f.write_str(words),
        }
    }
}

fn words_of(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

// === impl Cause ===

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Cause {}

/// The store cannot be used just now. `cause` is for the log.
pub(crate) fn unavailable(cause: impl Into<String>) -> Error {
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, "the store is unavailable")
        .with_retry_after(Duration::from_secs(1))
        .with_source(Cause(cause.into()))
}

/// `cause` is for the operator, and says what to do.
pub(crate) fn cannot_open(cause: impl fmt::Display) -> Error {
    let message = format!("the redis store cannot be opened: {cause}");
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, message)
}

/// A setting that cannot be used, by its key.
pub(crate) fn unusable(key: &str, what: impl fmt::Display) -> Error {
    Error::invalid(format!("store.redis.{key}"), what.to_string())
}
