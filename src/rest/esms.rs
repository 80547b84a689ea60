//! eSMS Malaysia as its clients know it: one-time codes, plain SMS and the balance (`api.esms.com.my`).
//!
//! Everything is answered with HTTP 200 and a status number in the body. A code belongs to the account, the `app-id` and
//! the number, so the `app-id` is the scope of the verification. Fields may come as JSON, as a form or in the query.

mod fields;
mod refusal;
mod texts;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::id::{Id, Partition};
use crate::messaging::code_text::CodeText;
use crate::messaging::message::Text;
use crate::messaging::request::NewMessage;
use crate::recipient::{Address, Phone, Recipient};
use crate::rest::answer;
use crate::rest::desk::Desk;
use crate::rest::dialect::Dialect;
use crate::rest::esms::fields::Fields;
use crate::rest::esms::refusal::{Refusal, unknown_country};
use crate::rest::esms::texts::{CODE_LENGTH, Kind, Measured, Wording, check_plain};
use crate::rest::input::Call;
use crate::rest::trouble::{Judged, Trouble};
use crate::tenant::Tenant;
use crate::verification::code::{Candidate, Class};
use crate::verification::policy::PolicyOverrides;
use crate::verification::request::{NewCheck, NewVerification, OnExisting, Target};

/// Speaks as eSMS does.
pub struct EsmsDialect;

type Answered = Result<Value, Refusal>;

#[async_trait]
impl Dialect for EsmsDialect {
    async fn answer(&self, desk: &Desk, call: &Call) -> Response {
        let readable = call.method == Method::POST;
        let answered = match call.path.as_str() {
            "sms/otp/generate" if readable => generate(desk, call).await,
            "sms/otp/verify" if readable => verify(desk, call).await,
            // Clients of old send these as GET, too.
            "sms/send" if readable || call.method == Method::GET => send(desk, call).await,
            "sms/balance" if readable || call.method == Method::GET => balance(desk, call).await,
            path => return self.refuse(path, &Trouble::UnknownCall),
        };
        let body = answered.unwrap_or_else(|refusal| refusal.to_body(&call.path));
        to_response(StatusCode::OK, body, &request_id(desk))
    }

    fn refuse(&self, path: &str, trouble: &Trouble) -> Response {
        let status = if *trouble == Trouble::UnknownCall { StatusCode::NOT_FOUND } else { StatusCode::OK };
        answer::with_wait(to_response(status, Refusal::of(trouble).to_body(path), ""), trouble)
    }
}

/// E1: makes a code and sends it.
async fn generate(desk: &Desk, call: &Call) -> Answered {
    let fields = Fields::read(call)?;
    let (id, secret) = (fields.required("api-key")?, fields.required("api-secret")?);
    let phone = fields.required("phone")?;
    let tenant = desk.tenant(&id, &secret).map_err(|trouble| Refusal::of(&trouble))?;
    let phone = parse_phone(&phone)?;
    let wording = Wording::read(fields.text("brand-name")?, fields.text("message")?)?;
    let minutes = fields.number("duration")?.map_or(Ok(3), |minutes| parse_minutes(&minutes))?;
    let kind = Kind::read(fields.number("type")?.as_deref());
    let parts = wording.parts(fields.text("language")?.as_deref(), &phone)?;
    let text = CodeText::new(parts).map_err(|error| Refusal::of(&Trouble::of(&error)))?;
    let lifetime = Duration::from_secs(60 * minutes);
    let measured = Measured::of_code(&text, lifetime, kind)?;
    let new = NewVerification {
        scope: Some(fields.app_id()?),
        policy: PolicyOverrides {
            length: Some(CODE_LENGTH),
            alphabet: Some(vec![Class::Digits]),
            lifetime: Some(lifetime),
            ..PolicyOverrides::default()
        },
        text: Some(text),
        on_existing: OnExisting::Replace,
        idempotency_key: call.header("idempotency-key").map(str::to_owned),
        ..NewVerification::to(Address::Phone(phone.e164().to_owned()))
    };
    let started = desk.start(&tenant, new).await.map_err(|trouble| Refusal::of(&trouble))?;
    Ok(measured.to_accepted(started.view.verification.id))
}

/// E2: judges a code. Every way of being wrong is one number.
async fn verify(desk: &Desk, call: &Call) -> Answered {
    let fields = Fields::read(call)?;
    let (id, secret) = (fields.required("api-key")?, fields.required("api-secret")?);
    let (phone, code) = (fields.required("phone")?, fields.code("code")?);
    let tenant = desk.tenant(&id, &secret).map_err(|trouble| Refusal::of(&trouble))?;
    let recipient = Recipient::Phone(parse_phone(&phone)?);
    let check = NewCheck {
        target: Target::Newest { scope: Some(fields.app_id()?), recipient },
        candidate: Candidate::parse(&code).unwrap_or_else(|_| Candidate::hopeless()),
        idempotency_key: call.header("idempotency-key").map(str::to_owned),
    };
    match desk.check(&tenant, check).await.map_err(|trouble| Refusal::of(&trouble))? {
        Judged::Right => Ok(json!({ "status": 0, "message": "ok" })),
        _ => Err(Refusal(16, "Invalid OTP".to_owned())),
    }
}

/// E3: sends a text.
async fn send(desk: &Desk, call: &Call) -> Answered {
    let fields = Fields::read(call)?;
    let (id, secret) = (fields.required("user")?, fields.required("pass")?);
    let (to, text) = (fields.required("to")?, fields.required("msg")?);
    let tenant = desk.tenant(&id, &secret).map_err(|trouble| Refusal::of(&trouble))?;
    let phone = parse_phone(&to)?;
    // The vendor has a shortener for links; here the link itself stands in its place.
    let text = fields.text("link")?.map_or_else(|| text.clone(), |link| text.replace("#link#", &link));
    check_plain(&text, &phone)?;
    let measured = Measured::of_text(&text, Kind::read(fields.number("type")?.as_deref()));
    let new = NewMessage {
        idempotency_key: call.header("idempotency-key").map(str::to_owned),
        ..NewMessage::to(Address::Phone(phone.e164().to_owned()), Text::new(text))
    };
    let message = desk.send(&tenant, new).await.map_err(|trouble| Refusal::of(&trouble))?;
    Ok(measured.to_accepted(message.id))
}

/// E4: what is left.
async fn balance(desk: &Desk, call: &Call) -> Answered {
    let fields = Fields::read(call)?;
    let (id, secret) = (fields.required("user")?, fields.required("pass")?);
    let tenant: Arc<Tenant> = desk.tenant(&id, &secret).map_err(|trouble| Refusal::of(&trouble))?;
    let balance = desk.balance(&tenant).await.map_err(|trouble| Refusal::of(&trouble))?;
    let amount: Value = serde_json::from_str(&balance.amount).unwrap_or_else(|_| 0.into());
    Ok(json!({ "status": 0, "balance": amount, "message": "ok" }))
}

fn parse_phone(text: &str) -> Result<Phone, Refusal> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = "Invalid phone number, please do not include any non-numeric character";
        return Err(Refusal(9, message.to_owned()));
    }
    Phone::parse(&format!("+{text}"), None).map_err(|_| unknown_country())
}

/// Whole minutes, 1 to 9.
fn parse_minutes(text: &str) -> Result<u64, Refusal> {
    let minutes = text.parse::<u64>().ok().filter(|minutes| (1..=9).contains(minutes));
    minutes.ok_or_else(|| Refusal(14, "Invalid duration, it must be 1 to 9 minutes".to_owned()))
}

/// Names the request for people who look for it, and nothing else.
fn request_id(desk: &Desk) -> String {
    Id::new(desk.clock.now(), Partition::new(0), &*desk.random).to_string()
}

/// `id`: for answers that have none of their own.
fn to_response(status: StatusCode, mut body: Value, id: &str) -> Response {
    if let Some(body) = body.as_object_mut().filter(|body| !id.is_empty() && !body.contains_key("id")) {
        body.insert("id".to_owned(), id.into());
    }
    answer::json(status, &body)
}
