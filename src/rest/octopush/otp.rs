//! One-time codes: sending one, and judging one.
//!
//! Codes of one number stand beside each other, each under its token; without a token the last one sent counts, in
//! whatever way it was started. Where the vendor takes an account's own settings, ours are those of the server: how long a
//! code is and what it is made of. How long it lasts and how many wrong ones are allowed have defaults of this dialect.

use std::net::IpAddr;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::auth::caller::Caller;
use crate::id::Id;
use crate::messaging::code_text::{CodeText, Part};
use crate::recipient::{Address, Phone, Recipient};
use crate::rest::desk::Desk;
use crate::rest::input::Call;
use crate::rest::octopush::caller::{authenticate, idempotency_key};
use crate::rest::octopush::coerce::Fields;
use crate::rest::octopush::refusal::Refusal;
use crate::rest::octopush::tickets::{parse_token, to_ticket, to_token};
use crate::rest::trouble::{Judged, Trouble};
use crate::tenant::Tenant;
use crate::vendor::Channel;
use crate::verification::code::{Candidate, Class};
use crate::verification::policy::{Policy, PolicyOverrides};
use crate::verification::request::{DEFAULT_SCOPE, NewCheck, NewVerification, OnExisting, Target};

const VALIDITY_SECONDS: u64 = 900;
const WRONG_ATTEMPTS: u32 = 3;

/// The entry of metadata that holds whose address the code was asked for.
const IP: &str = "recipient_ip";

/// Which parameter allows which characters.
const CLASSES: [(&str, Class); 4] = [
    ("allow_digits", Class::Digits),
    ("allow_upper_case", Class::Upper),
    ("allow_lower_case", Class::Lower),
    ("allow_special_chars", Class::Special),
];

/// The languages that a code can be read out in.
const LANGUAGES: [&str; 13] = [
    "en-US", "en-GB", "el-GR", "pl-PL", "hu-HU", "sv-SE", "de-DE", "es-ES", "es-LA", "fr-FR", "it-IT", "pt-BR", "ru-RU",
];

/// Makes a code and sends it. Only the number can be so wrong that nothing is sent.
pub(super) async fn generate(desk: &Desk, call: &Call) -> Result<(StatusCode, Value), Refusal> {
    let caller = authenticate(desk, call)?;
    let fields = Fields::read(call)?;
    let phone = fields.phone(&caller.tenant)?;
    let channel = parse_channel(&fields).filter(|channel| desk.carries(&caller.tenant.name, *channel, phone.country()));
    let new = NewVerification {
        channel,
        policy: desk.policy().nearest(parse_policy(&fields, desk.policy())),
        locale: parse_language(&fields).filter(|_| channel == Some(Channel::Voice)),
        text: Some(parse_text(&fields)?),
        sender: fields.sender(),
        metadata: parse_ip(&fields).map(|ip| (IP.to_owned(), ip)).into_iter().collect(),
        on_existing: OnExisting::Parallel,
        idempotency_key: idempotency_key(call)?,
        ..NewVerification::to(Address::Phone(phone.e164().to_owned()))
    };
    let started = desk.start(&caller, new).await.map_err(|trouble| Refusal::of(&trouble))?;
    let id = started.view.verification.id;
    let body = json!({
        "code": 0,
        "message": "success",
        "ticket_number": to_ticket(id),
        "otp_request_token": to_token(id),
    });
    Ok((StatusCode::CREATED, body))
}

/// Judges a code.
pub(super) async fn validate(desk: &Desk, call: &Call) -> Result<(StatusCode, Value), Refusal> {
    let caller = authenticate(desk, call)?;
    let fields = Fields::read(call)?;
    let target = Asked::parse(&fields, &caller.tenant)?;
    // Of a number the leading zeros are gone, so only a text is a code.
    let code =
        fields.raw("code").and_then(Value::as_str).filter(|code| !code.is_empty()).ok_or_else(Refusal::no_code)?;
    let idempotency_key = idempotency_key(call)?;
    let refused = |trouble| Refusal::of(&trouble);
    let candidate = match from_elsewhere(desk, &caller, &fields, &target).await? {
        true => Candidate::hopeless(),
        false => Candidate::parse(code).unwrap_or_else(|_| Candidate::hopeless()),
    };
    let check = NewCheck { target: target.to_target(), candidate, idempotency_key };
    match desk.check(&caller, check).await.map_err(refused)? {
        Judged::Right => Ok((StatusCode::OK, json!({ "code": 0, "message": "success" }))),
        Judged::Wrong { left } => Err(Refusal::wrong_code(left)),
        Judged::Expired => Err(Refusal::expired()),
        Judged::Exhausted => Err(Refusal::exhausted()),
        Judged::Used | Judged::NotFound => Err(Refusal::unknown_request()),
    }
}

/// Which code a check is for.
enum Asked {
    Token(Id),
    Phone(Phone),
}

// === impl Asked ===

impl Asked {
    /// A token counts before a number. One that we never made is as unknown as a number that was sent nothing.
    fn parse(fields: &Fields, tenant: &Tenant) -> Result<Self, Refusal> {
        match (fields.text("otp_request_token"), fields.text("phone_number")) {
            (Some(token), _) => parse_token(token.trim()).map(Self::Token).ok_or_else(Refusal::unknown_request),
            (None, Some(_)) => fields.phone(tenant).map(Self::Phone).map_err(|_| Refusal::unknown_request()),
            (None, None) => Err(Refusal::no_target()),
        }
    }

    fn to_target(&self) -> Target {
        match self {
            Self::Token(id) => Target::Id(*id),
            Self::Phone(phone) => Target::Newest { scope: None, recipient: Recipient::Phone(phone.clone()) },
        }
    }
}

/// Whether a check says that it comes from another address than the code was asked for. Only who names an address both
/// times is held to it, for the vendor documents one for the asking alone.
async fn from_elsewhere(desk: &Desk, caller: &Caller, fields: &Fields, asked: &Asked) -> Result<bool, Refusal> {
    let Some(given) = fields.text(IP) else { return Ok(false) };
    let found = async {
        let id = match asked {
            Asked::Token(id) => *id,
            Asked::Phone(phone) => {
                let recipient = Recipient::Phone(phone.clone());
                desk.newest(caller, DEFAULT_SCOPE, &recipient).await?
            }
        };
        desk.verification(caller, id).await
    };
    match found.await {
        Ok(view) => Ok(view.verification.metadata.get(IP).is_some_and(|kept| Some(kept) != canonical(&given).as_ref())),
        Err(Trouble::NotFound) => Err(Refusal::unknown_request()),
        Err(trouble) => Err(Refusal::of(&trouble)),
    }
}

/// The channel asked for, by the vendor's names old and new.
fn parse_channel(fields: &Fields) -> Option<Channel> {
    match fields.text("channel")?.trim().to_ascii_lowercase().as_str() {
        "sms" | "text_sms" | "text" => Some(Channel::Sms),
        "voice_sms" | "vocal_sms" | "voice" => Some(Channel::Voice),
        "whatsapp" => Some(Channel::WhatsApp),
        _ => None,
    }
}

fn parse_policy(fields: &Fields, policy: &Policy) -> PolicyOverrides {
    let natural = |name| fields.integer(name).map(|number| u64::try_from(number).unwrap_or_default());
    let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    PolicyOverrides {
        length: natural("code_length").map(small),
        alphabet: parse_classes(fields, policy),
        exclude_confusing: fields.flag("remove_confusing_characters"),
        lifetime: Some(Duration::from_secs(natural("validity_period").unwrap_or(VALIDITY_SECONDS))),
        max_checks: Some(natural("max_wrong_attempts").map_or(WRONG_ATTEMPTS, small)),
    }
}

/// A class that a call does not speak of is as in the policy. With none left the code is of digits.
fn parse_classes(fields: &Fields, policy: &Policy) -> Option<Vec<Class>> {
    let flags = CLASSES.map(|(name, class)| (fields.flag(name), class));
    flags.iter().find(|(flag, _)| flag.is_some())?;
    let allowed = flags.into_iter().filter(|(flag, class)| flag.unwrap_or_else(|| policy.alphabet.contains(class)));
    let allowed: Vec<_> = allowed.map(|(_, class)| class).collect();
    Some(if allowed.is_empty() { vec![Class::Digits] } else { allowed })
}

/// The words around the code. Without a place for it, it stands at the end, and without words alone.
fn parse_text(fields: &Fields) -> Result<CodeText, Refusal> {
    let text = fields.message("text").unwrap_or_default();
    let mut parts = CodeText::split(&text, &[("{code}", Part::Code), ("{hh:mm:ss}", Part::EndsAt)]);
    if !parts.contains(&Part::Code) {
        if !text.is_empty() && !text.ends_with(char::is_whitespace) {
            parts.push(Part::Words(" ".to_owned()));
        }
        parts.push(Part::Code);
    }
    CodeText::new(parts).map_err(|error| Refusal::of(&Trouble::of(&error)))
}

fn parse_language(fields: &Fields) -> Option<String> {
    let asked = fields.text("voice_language")?.trim().replace('_', "-");
    LANGUAGES.iter().find(|known| known.eq_ignore_ascii_case(&asked)).map(|known| (*known).to_owned())
}

fn parse_ip(fields: &Fields) -> Option<String> {
    canonical(&fields.text(IP)?)
}

/// One form of each address, however it was written.
fn canonical(text: &str) -> Option<String> {
    text.trim().parse::<IpAddr>().ok().map(|ip| ip.to_canonical().to_string())
}
