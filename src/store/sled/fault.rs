//! What can be wrong with a store, as errors.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Kind, Reason};

/// The store was closed in good order.
pub(crate) fn closed() -> Error {
    Error::new(Kind::Unavailable, Reason::ShuttingDown, "the store is closed")
}

/// The store cannot be used; `cause` is for the log.
pub(crate) fn broken(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, "the store is unavailable").with_source(cause)
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
