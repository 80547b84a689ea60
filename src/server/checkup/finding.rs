//! What one check found, and what to do about it.

/// How it stands with one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Good,
    /// Could not be looked at, or there is nothing to look at.
    Skipped,
    /// Works, but should not stay so.
    Warning,
    /// A server would not start, or not do its work.
    Failed,
}

/// One line of a check-up. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at: `store`, `vendor`.
    pub check: &'static str,
    /// Which of several: the name of a vendor, a file, a key of the configuration. May be empty.
    pub about: String,
    pub state: State,
    pub found: String,
    /// The way out, where there is something to do.
    pub advice: Option<String>,
}

// === impl State ===

impl State {
    /// `ok`, `skipped`, `warning` or `failed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

// === impl Finding ===

impl Finding {
    pub fn good(check: &'static str, about: impl Into<String>, found: impl Into<String>) -> Self {
        Self { check, about: about.into(), state: State::Good, found: found.into(), advice: None }
    }

    pub fn skipped(check: &'static str, about: impl Into<String>, found: impl Into<String>) -> Self {
        Self { state: State::Skipped, ..Self::good(check, about, found) }
    }

    pub fn warning(
        check: &'static str,
        about: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { state: State::Warning, advice: Some(advice.into()), ..Self::good(check, about, found) }
    }

    pub fn failed(
        check: &'static str,
        about: impl Into<String>,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self { state: State::Failed, ..Self::warning(check, about, found, advice) }
    }
}
