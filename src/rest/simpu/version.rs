//! Which of the vendor's two interfaces a caller knows. The old one wraps everything in an envelope.

use crate::rest::input::Call;

/// How the host of the old interface begins, wherever it is served.
const FIRST_HOST: &str = "api.v1.";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Current,
    /// Before 2024.
    First,
}

// === impl Version ===

impl Version {
    /// As far as the call tells by where it was sent to.
    pub(super) fn of(call: &Call) -> Self {
        let host = call.header("host").unwrap_or_default().to_ascii_lowercase();
        if host.starts_with(FIRST_HOST) { Self::First } else { Self::Current }
    }
}
