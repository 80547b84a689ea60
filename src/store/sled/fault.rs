//! What can be wrong with a store, as errors.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Kind, Reason};

/// How often it is looked whether a full disk has room again.
pub(crate) const ROOM_INTERVAL: Duration = Duration::from_secs(1);

/// The store was closed in good order.
pub(crate) fn closed() -> Error {
    Error::new(Kind::Unavailable, Reason::ShuttingDown, "the store is closed")
}

/// The store cannot be used, and will not be by this process; `cause` is for the log.
pub(crate) fn broken(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let message = "the store is unavailable until the server is started again";
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, message).with_source(cause)
}

/// The disk has no room. Unlike all else that fails in writing, this passes; `cause` is for the log.
pub(crate) fn full(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let message = "the disk of the store is full; nothing is written until there is room again";
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, message).with_retry_after(ROOM_INTERVAL).with_source(cause)
}

/// A write has failed.
pub(crate) fn unwritten(error: io::Error) -> Error {
    if is_full(&error) { full(error) } else { broken(error) }
}

/// sled could not do what it should.
pub(crate) fn of_sled(error: sled::Error) -> Error {
    match &error {
        sled::Error::Io(cause) if is_full(cause) => full(error),
        _ => broken(error),
    }
}

/// Whether the store takes writes again by itself, sooner or later.
pub(crate) fn passes(error: &Error) -> bool {
    error.retry_after().is_some()
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// A tap has run over, or reading never catches up.
pub(crate) fn too_slow() -> Error {
    let message = "the store changes faster than the backup is read; read it faster, or when there is less to do";
    Error::new(Kind::Unavailable, Reason::BackupTooSlow, message)
}

/// The files are being written anew already.
pub(crate) fn under_way() -> Error {
    let message = "the files of the store are being rewritten already; wait for that";
    Error::new(Kind::Conflict, Reason::RewriteUnderWay, message).with_retry_after(Duration::from_secs(60))
}

/// `cause` is for the operator.
pub(crate) fn cannot_open(path: &Path, cause: impl ToString) -> Error {
    let message = format!("the store at {} cannot be opened: {}", path.display(), cause.to_string());
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, message)
}
