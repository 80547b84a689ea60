//! eSMS Malaysia as its clients know it: one-time codes, plain SMS and the balance (`api.esms.com.my`).
//!
//! Everything is answered with HTTP 200 and a status number in the body. A code belongs to the account, the `app-id` and
//! the number, so the `app-id` is the scope of the verification. Fields may come as JSON, as a form or in the query.
//!
//! Where several things are wrong with a call, the vendor does not say which it tells. Here each call reads from top to
//! bottom in one order of status numbers: 1, 3, 2, 9, 4, 11, 12 or 13, 14, 15, 10, 8, 5, 6.

mod fields;
mod refusal;
pub mod report;
mod texts;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::{Number, Value, json};

use crate::auth::caller::Caller;
use crate::clock::Clock;
use crate::id::{Id, Partition};
use crate::messaging::message::Text;
use crate::messaging::request::NewMessage;
use crate::random::Random;
use crate::recipient::{Address, Phone, Recipient};
use crate::rest::answer;
use crate::rest::desk::Desk;
use crate::rest::dialect::Dialect;
use crate::rest::esms::fields::{Credentials, Fields};
use crate::rest::esms::refusal::Refusal;
use crate::rest::esms::texts::{Measured, Wording, check_plain, check_words};
use crate::rest::input::Call;
use crate::rest::trouble::{Judged, Trouble};
use crate::shedding::Priority;
use crate::verification::code::{Candidate, Class};
use crate::verification::policy::PolicyOverrides;
use crate::verification::request::{NewCheck, NewVerification, OnExisting, Target};

/// The vendor's codes have six digits.
const CODE_LENGTH: u32 = 6;

/// How long a code lasts, in minutes, and for a client that does not say.
const MINUTES: std::ops::RangeInclusive<u64> = 1..=9;
const USUAL_MINUTES: u64 = 3;

/// Speaks as eSMS does.
pub struct EsmsDialect {
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
}

type Answered = Result<Value, Refusal>;

// === impl EsmsDialect ===

impl EsmsDialect {
    pub fn new(clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        Self { clock, random }
    }

    /// Names a request for people who look for it, and nothing else.
    fn request_id(&self) -> String {
        Id::new(self.clock.now(), Partition::new(0), &*self.random).to_string()
    }
}

#[async_trait]
impl Dialect for EsmsDialect {
    async fn answer(&self, desk: &Desk, call: &Call) -> Response {
        let post = call.method == Method::POST;
        let answered = match call.path.as_str() {
            "sms/otp/generate" if post => generate(desk, call).await,
            "sms/otp/verify" if post => verify(desk, call).await,
            // Clients of old send these as GET, too.
            "sms/send" if post || call.method == Method::GET => send(desk, call).await,
            "sms/balance" if post || call.method == Method::GET => balance(desk, call).await,
            _ => Err(Refusal::Trouble(Trouble::UnknownCall)),
        };
        match answered {
            Ok(mut body) => {
                if let Some(body) = body.as_object_mut() {
                    body.entry("id").or_insert_with(|| self.request_id().into());
                }
                answer::json(StatusCode::OK, &body)
            }
            Err(refusal) => refusal.to_response(&call.path, &self.request_id()),
        }
    }

    fn refuse(&self, path: &str, trouble: &Trouble) -> Response {
        Refusal::Trouble(trouble.clone()).to_response(path, &self.request_id())
    }

    fn priority(&self, path: &str) -> Priority {
        if path == "sms/otp/verify" { Priority::Check } else { Priority::Work }
    }
}

/// E1: makes a code and sends it, in place of one that is pending.
async fn generate(desk: &Desk, call: &Call) -> Answered {
    let fields = Fields::read(call)?;
    let credentials = fields.credentials("api-key", "api-secret")?;
    let (phone, app_id) = (fields.phone("phone")?, fields.app_id()?);
    let (brand, message) = (fields.text("brand-name")?, fields.text("message")?);
    let idempotency_key = call.idempotency_key().map_err(Refusal::Trouble)?;
    let caller = open(desk, &credentials)?;
    let phone = parse_phone(&phone)?;
    let wording = Wording::parse(brand, message)?;
    let minutes = fields.number("duration").map_or(Ok(USUAL_MINUTES), |minutes| parse_minutes(&minutes))?;
    let text = wording.to_text(fields.number("language").as_deref(), &phone)?;
    let lifetime = Duration::from_secs(60 * minutes);
    let measured = Measured::of_code(&text, CODE_LENGTH, lifetime, fields.alphabet())?;
    let new = NewVerification {
        scope: Some(app_id),
        policy: PolicyOverrides {
            length: Some(CODE_LENGTH),
            alphabet: Some(vec![Class::Digits]),
            lifetime: Some(lifetime),
            ..PolicyOverrides::default()
        },
        text: Some(text),
        on_existing: OnExisting::Replace,
        idempotency_key,
        ..NewVerification::to(to_address(&phone))
    };
    let started = desk.start(&caller, new).await.map_err(Refusal::Trouble)?;
    Ok(measured.to_accepted(started.view.verification.id))
}

/// E2: judges a code. Every way of being wrong is one number.
async fn verify(desk: &Desk, call: &Call) -> Answered {
    let fields = Fields::read(call)?;
    let credentials = fields.credentials("api-key", "api-secret")?;
    let (phone, app_id) = (fields.phone("phone")?, fields.app_id()?);
    let code = fields.required("code")?;
    let idempotency_key = call.idempotency_key().map_err(Refusal::Trouble)?;
    let caller = open(desk, &credentials)?;
    let check = NewCheck {
        target: Target::Newest { scope: Some(app_id), recipient: Recipient::Phone(parse_phone(&phone)?) },
        candidate: Candidate::parse(&code).unwrap_or_else(|_| Candidate::hopeless()),
        idempotency_key,
    };
    match desk.check(&caller, check).await.map_err(Refusal::Trouble)? {
        Judged::Right => Ok(json!({ "status": 0, "message": "ok" })),
        Judged::Wrong { .. } | Judged::Expired | Judged::Exhausted | Judged::Used | Judged::NotFound => {
            Err(Refusal::rule(16, "Invalid OTP"))
        }
    }
}

/// E3: sends a text.
async fn send(desk: &Desk, call: &Call) -> Answered {
    let fields = Fields::read(call)?;
    let credentials = fields.credentials("user", "pass")?;
    let (to, text) = (fields.phone("to")?, fields.required("msg")?);
    let (link, report_url) = (fields.text("link")?, fields.report_url()?);
    let idempotency_key = call.idempotency_key().map_err(Refusal::Trouble)?;
    let caller = open(desk, &credentials)?;
    let phone = parse_phone(&to)?;
    link.as_deref().map_or(Ok(()), check_words)?;
    // The vendor has a shortener for links; here the link itself stands in its place.
    let text = link.map_or_else(|| text.clone(), |link| text.replace("#link#", &link));
    check_plain(&text, &phone)?;
    let measured = Measured::of_text(&text, fields.alphabet())?;
    let callback = report_url.map(report::to_callback);
    let new = NewMessage { callback, idempotency_key, ..NewMessage::to(to_address(&phone), Text::new(text)) };
    let message = desk.send(&caller, new).await.map_err(Refusal::Trouble)?;
    Ok(measured.to_accepted(message.id))
}

/// E4: what is left.
async fn balance(desk: &Desk, call: &Call) -> Answered {
    let fields = Fields::read(call)?;
    let caller = open(desk, &fields.credentials("user", "pass")?)?;
    let balance = desk.balance(&caller).await.map_err(Refusal::Trouble)?;
    let amount: Number = serde_json::from_str(&balance.amount).map_err(|_| Refusal::Trouble(Trouble::Fault))?;
    Ok(json!({ "status": 0, "balance": amount, "message": "ok" }))
}

fn open(desk: &Desk, credentials: &Credentials) -> Result<Caller, Refusal> {
    desk.caller(&credentials.key, &credentials.secret).map_err(Refusal::Trouble)
}

/// Digits with the country code in front, and nothing else.
fn parse_phone(text: &str) -> Result<Phone, Refusal> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::rule(9, "Invalid phone number, please do not include any non-numeric character"));
    }
    Phone::parse(&format!("+{text}"), None).map_err(|_| Refusal::Trouble(Trouble::InvalidRecipient))
}

fn parse_minutes(text: &str) -> Result<u64, Refusal> {
    let minutes = fields::parse_whole(text).filter(|minutes| MINUTES.contains(minutes));
    minutes.ok_or_else(|| Refusal::rule(14, "Invalid duration, it must be 1 to 9 minutes"))
}

fn to_address(phone: &Phone) -> Address {
    Address::Phone(phone.e164().to_owned())
}
