//! Simpu (Nigeria) as its clients know it: one-time codes, texts and the contact list (`api.simpu.co`).
//!
//! A code is known by the id that its request was answered with; of one recipient there may be several. Every answer is
//! JSON with its HTTP status, and each way of failing has a status, a message and, where fields are wrong, their names.

pub mod callback;
mod fields;
mod otp;
mod personal;
mod problem;
mod sms;
mod version;
mod words;

use std::sync::Arc;

use async_trait::async_trait;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::rest::answer;
use crate::rest::desk::Desk;
use crate::rest::dialect::Dialect;
use crate::rest::input::Call;
use crate::rest::simpu::problem::Problem;
use crate::rest::simpu::version::Version;
use crate::rest::simpu::words::to_otp;
use crate::rest::trouble::Trouble;
use crate::tenant::Tenant;

/// `[rest.simpu]`: where the vendor's own documents leave room.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether a code that was just checked is shown as sent, as the vendor's samples have it, and not as verified.
    pub verified_as_sent: bool,
}

/// Speaks as Simpu does.
pub struct SimpuDialect {
    config: Config,
}

/// What a call wants.
enum Operation {
    RequestOtp,
    VerifyOtp,
    GetOtp(String),
    /// With the recipient, where the path names it.
    ListOtps(Option<String>),
    RevokeOtp(String),
    SendSms,
}

type Answered = Result<Response, Problem>;

#[async_trait]
impl Dialect for SimpuDialect {
    async fn answer(&self, desk: &Desk, call: &Call) -> Response {
        let Some(operation) = Operation::of(call) else { return self.refuse(&call.path, &Trouble::UnknownCall) };
        let answered = match tenant_of(desk, call) {
            Ok(tenant) => self.perform(operation, desk, &tenant, call).await,
            Err(trouble) => Err(Problem::of(&trouble, "recipient")),
        };
        answered.unwrap_or_else(|problem| problem.to_response(Version::of(call)))
    }

    fn refuse(&self, _path: &str, trouble: &Trouble) -> Response {
        Problem::of(trouble, "recipient").to_response(Version::Current)
    }
}

/// The key is the whole header; some clients call it a bearer's.
fn tenant_of(desk: &Desk, call: &Call) -> Result<Arc<Tenant>, Trouble> {
    let header = call.header("authorization").ok_or(Trouble::Unauthorized)?.trim_matches(' ');
    let token = match header.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim_start_matches(' '),
        _ => header,
    };
    desk.tenant_by_token(token)
}

// === impl SimpuDialect ===

impl SimpuDialect {
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    async fn perform(&self, operation: Operation, desk: &Desk, tenant: &Tenant, call: &Call) -> Answered {
        let sent = self.config.verified_as_sent;
        let ok = |body: Value| answer::json(StatusCode::OK, &body);
        match operation {
            Operation::RequestOtp => otp::request(desk, tenant, call).await.map(|view| ok(to_otp(&view, sent))),
            Operation::VerifyOtp => otp::verify(desk, tenant, call).await.map(|view| ok(to_otp(&view, sent))),
            Operation::GetOtp(id) => otp::get(desk, tenant, &id).await.map(|view| ok(to_otp(&view, sent))),
            Operation::ListOtps(recipient) => {
                let views = otp::list(desk, tenant, call, recipient.as_deref()).await?;
                Ok(ok(views.iter().map(|view| to_otp(view, sent)).collect()))
            }
            Operation::RevokeOtp(id) => {
                otp::revoke(desk, tenant, &id).await.map(|()| StatusCode::NO_CONTENT.into_response())
            }
            Operation::SendSms => sms::send(desk, tenant, call).await.map(|sent| ok(sent.to_body())),
        }
    }
}

// === impl Operation ===

impl Operation {
    /// `None` for what the vendor does not have.
    fn of(call: &Call) -> Option<Self> {
        let segments = call.segments();
        let path: Vec<_> = segments.iter().map(String::as_str).collect();
        Some(match (call.method.as_str(), path.as_slice()) {
            ("POST", ["otp", "request_token"]) => Self::RequestOtp,
            ("POST", ["otp", "verify"]) => Self::VerifyOtp,
            ("GET", ["otp", "get-by-recipient"]) => Self::ListOtps(None),
            ("GET", ["otp", "get-by-recipient", recipient]) => Self::ListOtps(Some((*recipient).to_owned())),
            ("GET", ["otp", id]) => Self::GetOtp((*id).to_owned()),
            ("DELETE", ["otp", id]) => Self::RevokeOtp((*id).to_owned()),
            ("POST", ["sms", "send"]) => Self::SendSms,
            _ => return None,
        })
    }
}
