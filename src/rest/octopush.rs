//! Octopush as its clients know it: one-time codes, campaigns, the wallet and the contact list
//! (`api.octopush.com/v1/public`).
//!
//! Answers have the HTTP status that fits them and a number of the vendor's. What sets this dialect apart is its rule for
//! wrong data, which `coerce` holds: parameters are mended or ignored, not refused. A code is none of them: only the
//! exact text is right, here as everywhere.

mod caller;
mod campaign;
mod coerce;
mod contact;
mod otp;
mod people;
mod refusal;
pub mod settings;
pub mod status;
mod tickets;
mod wallet;

use async_trait::async_trait;
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};

use crate::rest::answer;
use crate::rest::desk::Desk;
use crate::rest::dialect::Dialect;
use crate::rest::input::Call;
use crate::rest::octopush::refusal::Refusal;
use crate::rest::octopush::settings::Config;
use crate::rest::trouble::Trouble;
use crate::shedding::Priority;

/// Speaks as Octopush does.
pub struct OctopushDialect {
    config: Config,
}

// === impl OctopushDialect ===

impl OctopushDialect {
    pub fn new(config: Config) -> Self {
        Self { config }
    }
}

#[async_trait]
impl Dialect for OctopushDialect {
    async fn answer(&self, desk: &Desk, call: &Call) -> Response {
        let answered = match (&call.method, unversioned(&call.path)) {
            (&Method::POST, "service/otp/generate") => otp::generate(desk, call).await,
            (&Method::PUT, "service/otp/validate") => otp::validate(desk, call).await,
            (&Method::POST, "sms-campaign/send") => campaign::send(desk, call, &self.config).await,
            (&Method::DELETE, "sms-campaign/cancel") => {
                return match campaign::cancel(desk, call).await {
                    Ok(()) => StatusCode::NO_CONTENT.into_response(),
                    Err(refusal) => refusal.to_response(),
                };
            }
            (&Method::GET, "wallet/check-balance") => wallet::balance(desk, call).await,
            (&Method::GET, "wallet/check-credits") => wallet::credits(desk, call).await,
            (&Method::POST, "contact/create") => people::create(desk, call).await,
            (&Method::POST, "contact-list/create") => people::create_list(desk, call).await,
            _ => Err(Refusal::of(&Trouble::UnknownCall)),
        };
        match answered {
            Ok((status, body)) => answer::json(status, &body),
            Err(refusal) => refusal.to_response(),
        }
    }

    fn refuse(&self, _path: &str, trouble: &Trouble) -> Response {
        Refusal::of(trouble).to_response()
    }

    fn priority(&self, path: &str) -> Priority {
        if unversioned(path) == "service/otp/validate" { Priority::Check } else { Priority::Work }
    }
}

/// The base URL of the vendor's clients may have a version.
fn unversioned(path: &str) -> &str {
    path.strip_prefix("v1/public/").unwrap_or(path)
}
