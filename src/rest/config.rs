//! `[rest]`: what the http listener serves beside calls and receipts.

use serde::Deserialize;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether to describe the calls, at `/openapi.json` and `/docs`, to anyone who can connect.
    pub docs: bool,
}
