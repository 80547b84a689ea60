//! Hasun in Sri Lanka as its clients know it: one-time codes that the caller gets to see, plain SMS, and what became of
//! one.
//!
//! The organisation stands in the path and the token in the header: together they are an API key of ours. A code belongs
//! to the organisation, the number mask and the number, so the mask is the scope of the verification, and the answer to a
//! start holds the code, as a number. What the vendor leaves open (its paths, all its errors) is decided in
//! `routes.rs` and `refusal.rs` and nowhere else.

mod fields;
mod refusal;
mod routes;
pub mod settings;

use std::time::Duration;

use async_trait::async_trait;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use crate::auth::caller::Caller;
use crate::id::Id;
use crate::messaging::message::Text;
use crate::messaging::request::NewMessage;
use crate::messaging::sending::SendStatus;
use crate::recipient::{Address, Phone, Recipient};
use crate::rest::answer;
use crate::rest::desk::Desk;
use crate::rest::dialect::Dialect;
use crate::rest::hasun::fields::Fields;
use crate::rest::hasun::refusal::Refusal;
use crate::rest::hasun::routes::{Endpoint, Route};
use crate::rest::hasun::settings::Config;
use crate::rest::input::Call;
use crate::rest::trouble::{Judged, Trouble};
use crate::shedding::Priority;
use crate::verification::code::{Candidate, Class, Code};
use crate::verification::policy::{LIFETIME, PolicyOverrides};
use crate::verification::request::{NewCheck, NewVerification, OnExisting, Target};

/// The vendor's codes are numbers of six digits.
const CODE_LENGTH: u32 = 6;

/// How long a code may last, in seconds, and how long where the client does not say.
const LASTS: std::ops::RangeInclusive<u64> = 1..=86_400;
const USUALLY_LASTS: Duration = Duration::from_secs(1_800);

/// Where numbers without a country code belong.
const SRI_LANKA: &str = "LK";

/// Speaks as Hasun does.
pub struct HasunDialect {
    config: Config,
}

/// A call whose caller is known.
struct Asked<'a> {
    desk: &'a Desk,
    caller: Caller,
    fields: Fields,
    idempotency_key: Option<String>,
}

/// A number mask of the caller's.
struct Mask<'a> {
    token: String,
    /// Who people see.
    sender: &'a str,
}

type Answered = Result<Value, Refusal>;

// === impl HasunDialect ===

impl HasunDialect {
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    async fn serve(&self, desk: &Desk, call: &Call) -> Answered {
        let route = Route::find(&call.method, call.segments()).ok_or(Refusal::Trouble(Trouble::UnknownCall))?;
        let caller = open(desk, call, &route.organisation)?;
        if route.endpoint == Endpoint::Status {
            return Ok(json!({ "status": "success", "version": "v1", "message": "Hello world!" }));
        }
        let idempotency_key = call.idempotency_key().map_err(Refusal::Trouble)?;
        let asked = Asked { desk, caller, fields: Fields::read(call)?, idempotency_key };
        match route.endpoint {
            Endpoint::Start => self.start(asked).await,
            Endpoint::Check => self.check(asked).await,
            Endpoint::Send => self.send(asked).await,
            Endpoint::Status | Endpoint::MessageStatus => self.message_status(asked).await,
        }
    }

    /// H2: makes a code, sends it and tells it, in place of one that is pending.
    async fn start(&self, asked: Asked<'_>) -> Answered {
        let mask = self.mask(&asked)?;
        let phone = parse_phone(&asked.fields.required("number")?)?;
        let lifetime = match asked.fields.whole("expire")? {
            Some(seconds) => parse_lifetime(seconds)?,
            None => USUALLY_LASTS.min(asked.desk.policy().max_lifetime),
        };
        let new = NewVerification {
            scope: Some(mask.token),
            policy: PolicyOverrides {
                length: Some(CODE_LENGTH),
                alphabet: Some(vec![Class::Digits]),
                lifetime: Some(lifetime),
                ..PolicyOverrides::default()
            },
            code_is_number: true,
            return_code: true,
            text: Some(self.config.text.code_text()),
            sender: Some(mask.sender.to_owned()),
            on_existing: OnExisting::Replace,
            idempotency_key: asked.idempotency_key,
            ..NewVerification::to(to_address(&phone))
        };
        let started = asked.desk.start(&asked.caller, new).await.map_err(Refusal::Trouble)?;
        // Only of a call that comes again after its code was used.
        let code = started.code.ok_or_else(|| Trouble::Refused("This OTP code is over, send another".to_owned()));
        to_number(&code.map_err(Refusal::Trouble)?)
    }

    /// H3: judges a code.
    async fn check(&self, asked: Asked<'_>) -> Answered {
        let mask = self.mask(&asked)?;
        let phone = parse_phone(&asked.fields.required("number")?)?;
        let otp = asked.fields.whole("otp")?.ok_or_else(|| Refusal::required("otp"))?;
        // Codes are compared as numbers, and as such have one way to be written.
        let candidate = Candidate::parse(&otp.to_string()).unwrap_or_else(|_| Candidate::hopeless());
        let target = Target::Newest { scope: Some(mask.token), recipient: Recipient::Phone(phone) };
        let check = NewCheck { target, candidate, idempotency_key: asked.idempotency_key };
        match asked.desk.check(&asked.caller, check).await.map_err(Refusal::Trouble)? {
            Judged::Right => Ok(json!({ "verification": true, "reason": "verified", "message": "OTP code verified" })),
            judged => Err(Refusal::Judged(judged)),
        }
    }

    /// H4: sends a text.
    async fn send(&self, asked: Asked<'_>) -> Answered {
        let mask = self.mask(&asked)?;
        let phone = parse_phone(&asked.fields.required("number")?)?;
        let text = Text::new(asked.fields.required("message")?);
        let new = NewMessage {
            sender: Some(mask.sender.to_owned()),
            idempotency_key: asked.idempotency_key,
            ..NewMessage::to(to_address(&phone), text)
        };
        let message = asked.desk.send(&asked.caller, new).await.map_err(Refusal::Trouble)?;
        Ok(json!({ "status": "success", "message_uuid": message.id.to_string() }))
    }

    /// H5: what became of a text. The mask need not be the one that it was sent with.
    async fn message_status(&self, asked: Asked<'_>) -> Answered {
        self.mask(&asked)?;
        let id = asked.fields.required("message_uuid")?.to_ascii_lowercase();
        let id: Id = id.parse().map_err(|_| Refusal::Trouble(Trouble::NotFound))?;
        let message = asked.desk.message(&asked.caller, id).await.map_err(Refusal::Trouble)?;
        Ok(json!({ "status": to_word(message.sending.status) }))
    }

    fn mask(&self, asked: &Asked<'_>) -> Result<Mask<'_>, Refusal> {
        let token = asked.fields.required("mask_token")?;
        let sender = self.config.sender(&asked.caller.tenant.name, &token).ok_or(Refusal::Mask)?;
        Ok(Mask { token, sender })
    }
}

#[async_trait]
impl Dialect for HasunDialect {
    async fn answer(&self, desk: &Desk, call: &Call) -> Response {
        match self.serve(desk, call).await {
            Ok(body) => answer::json(StatusCode::OK, &body),
            Err(refusal) => refusal.to_response(&call.path),
        }
    }

    fn refuse(&self, path: &str, trouble: &Trouble) -> Response {
        Refusal::Trouble(trouble.clone()).to_response(path)
    }

    fn priority(&self, path: &str) -> Priority {
        if routes::is_check(path) { Priority::Check } else { Priority::Work }
    }
}

/// Organisation and token are the two halves of an API key, or the name of a tenant and the whole of its key.
fn open(desk: &Desk, call: &Call, organisation: &str) -> Result<Caller, Refusal> {
    let token = call.header("authorization").and_then(parse_bearer).unwrap_or_default();
    let opened = match desk.caller(organisation, token) {
        Err(Trouble::Unauthorized) => desk.caller_by_token(token).and_then(|caller| {
            let is_theirs = caller.tenant.name.as_str() == organisation;
            if is_theirs { Ok(caller) } else { Err(Trouble::Unauthorized) }
        }),
        opened => opened,
    };
    opened.map_err(Refusal::Trouble)
}

fn parse_bearer(header: &str) -> Option<&str> {
    let (scheme, token) = header.trim_matches(' ').split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}

fn parse_phone(text: &str) -> Result<Phone, Refusal> {
    Phone::parse(text, SRI_LANKA.parse().ok()).map_err(|_| Refusal::Trouble(Trouble::InvalidRecipient))
}

/// The vendor takes any second; a code of ours lasts a little longer than one.
fn parse_lifetime(seconds: u64) -> Result<Duration, Refusal> {
    if !LASTS.contains(&seconds) {
        return Err(Refusal::Field(format!("The expire must be between {} and {}.", LASTS.start(), LASTS.end())));
    }
    Ok(Duration::from_secs(seconds).max(*LIFETIME.start()))
}

fn to_address(phone: &Phone) -> Address {
    Address::Phone(phone.e164().to_owned())
}

fn to_number(code: &Code) -> Answered {
    let number: u32 = code.expose().parse().map_err(|_| Refusal::Trouble(Trouble::Fault))?;
    Ok(json!({ "otp_code": number }))
}

/// Of what may have arrived, that it was sent.
fn to_word(status: SendStatus) -> &'static str {
    match status {
        SendStatus::Queued | SendStatus::Sending => "pending",
        SendStatus::Sent | SendStatus::Unknown => "sent",
        SendStatus::Delivered => "delivered",
        SendStatus::Rejected | SendStatus::Undelivered | SendStatus::Expired | SendStatus::Canceled => "failed",
    }
}
