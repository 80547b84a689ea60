//! Simpu (Nigeria) as its clients know it: one-time codes, texts and the contact list (`api.simpu.co`).
//!
//! A code is known by the id that its request was answered with; of one recipient there may be several. Every answer is
//! JSON with its HTTP status, and each way of failing has a status, a message and, where fields are wrong, their names.

pub mod callback;
mod fields;
mod first;
mod lists;
mod otp;
mod personal;
mod problem;
mod sms;
mod version;
mod words;

use async_trait::async_trait;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::auth::caller::Caller;
use crate::id::TenantName;
use crate::rest::answer;
use crate::rest::desk::Desk;
use crate::rest::dialect::Dialect;
use crate::rest::input::Call;
use crate::rest::simpu::problem::Problem;
use crate::rest::simpu::version::Version;
use crate::rest::simpu::words::to_otp;
use crate::rest::trouble::Trouble;
use crate::shedding::Priority;
use crate::verification::view::View;

/// `[rest.simpu]`: where the vendor's own documents leave room.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Whether a code that was just checked is shown as sent, as the vendor's samples have it, and not as verified.
    pub verified_as_sent: bool,
    /// Tenants whose clients know the interface of before 2024.
    pub v1_tenants: Vec<TenantName>,
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
    GetTable,
    GetRow(String),
    CreateRow,
    UpdateRow(String),
    DeleteRow(String),
    QueryRows,
}

type Answered = Result<Response, Problem>;

#[async_trait]
impl Dialect for SimpuDialect {
    async fn answer(&self, desk: &Desk, call: &Call) -> Response {
        let mut version = Version::of(call);
        let answered = match Operation::of(call) {
            None => Err(Trouble::UnknownCall),
            Some(operation) => caller_of(desk, call).map(|caller| (operation, caller)),
        };
        let answered = match answered {
            Err(trouble) => Err(Problem::of(&trouble, "recipient")),
            Ok((operation, caller)) => {
                if self.config.v1_tenants.contains(&caller.tenant.name) {
                    version = Version::First;
                }
                match version {
                    Version::Current => self.perform(operation, desk, &caller, call).await,
                    Version::First => self.perform_first(operation, desk, &caller, call).await,
                }
            }
        };
        answered.unwrap_or_else(|problem| problem.to_response(version))
    }

    fn refuse(&self, _path: &str, trouble: &Trouble) -> Response {
        Problem::of(trouble, "recipient").to_response(Version::Current)
    }

    fn priority(&self, path: &str) -> Priority {
        if path == "otp/verify" { Priority::Check } else { Priority::Work }
    }
}

/// The key is the whole header; some clients call it a bearer's.
fn caller_of(desk: &Desk, call: &Call) -> Result<Caller, Trouble> {
    let header = call.header("authorization").ok_or(Trouble::Unauthorized)?.trim_matches(' ');
    let token = match header.split_once(' ') {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("bearer") => rest.trim_start_matches(' '),
        _ => header,
    };
    desk.caller_by_token(token)
}

// === impl SimpuDialect ===

impl SimpuDialect {
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    async fn perform(&self, operation: Operation, desk: &Desk, caller: &Caller, call: &Call) -> Answered {
        let version = Version::Current;
        let to_otp = |view: &View| to_otp(view, self.config.verified_as_sent);
        match operation {
            Operation::RequestOtp => otp::request(desk, caller, call, version).await.map(|view| ok(&to_otp(&view))),
            Operation::VerifyOtp => otp::verify(desk, caller, call, "id").await.map(|view| ok(&to_otp(&view))),
            Operation::GetOtp(id) => otp::get(desk, caller, &id).await.map(|view| ok(&to_otp(&view))),
            Operation::ListOtps(recipient) => {
                let views = otp::list(desk, caller, call, recipient.as_deref()).await?;
                Ok(ok(&views.iter().map(to_otp).collect()))
            }
            Operation::RevokeOtp(id) => otp::revoke(desk, caller, &id).await.map(|()| gone()),
            Operation::SendSms => sms::send(desk, caller, call, version).await.map(|sent| ok(&sent.to_body())),
            Operation::GetTable => lists::table(desk, caller).await.map(|body| ok(&body)),
            Operation::GetRow(id) => lists::get(desk, caller, &id).await.map(|body| ok(&body)),
            Operation::CreateRow => lists::create(desk, caller, call).await.map(|body| ok(&body)),
            Operation::UpdateRow(id) => lists::update(desk, caller, call, &id).await.map(|body| ok(&body)),
            Operation::DeleteRow(id) => lists::delete(desk, caller, &id).await.map(|()| gone()),
            Operation::QueryRows => lists::query(desk, caller, call).await.map(|body| ok(&body)),
        }
    }

    /// What the old interface does not have is as in the one of today.
    async fn perform_first(&self, operation: Operation, desk: &Desk, caller: &Caller, call: &Call) -> Answered {
        let version = Version::First;
        match operation {
            Operation::RequestOtp => {
                otp::request(desk, caller, call, version).await.map(|view| ok(&first::to_verify(&view)))
            }
            Operation::VerifyOtp => {
                otp::verify(desk, caller, call, first::ID).await.map(|view| ok(&first::to_verify(&view)))
            }
            Operation::RevokeOtp(id) if id == "revoke" => {
                otp::revoke_named(desk, caller, call, first::ID).await.map(|()| ok(&first::to_revoked()))
            }
            Operation::SendSms => {
                sms::send(desk, caller, call, version).await.map(|sent| ok(&first::to_message(&sent)))
            }
            other => self.perform(other, desk, caller, call).await,
        }
    }
}

fn ok(body: &Value) -> Response {
    answer::json(StatusCode::OK, body)
}

fn gone() -> Response {
    StatusCode::NO_CONTENT.into_response()
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
            ("GET", ["lists", "contact"]) => Self::GetTable,
            // The vendor's pages have it both ways.
            ("GET", ["lists", "contact", "row" | "rows", id]) => Self::GetRow((*id).to_owned()),
            ("POST", ["lists", "contact", "rows"]) => Self::CreateRow,
            ("POST", ["lists", "contact", "rows", "query"]) => Self::QueryRows,
            ("PATCH", ["lists", "contact", "row" | "rows", id]) => Self::UpdateRow((*id).to_owned()),
            ("DELETE", ["lists", "contact", "row" | "rows", id]) => Self::DeleteRow((*id).to_owned()),
            _ => return None,
        })
    }
}
