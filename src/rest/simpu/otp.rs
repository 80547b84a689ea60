//! One-time codes: request, check, look at, revoke.
//!
//! A code is known by its id alone, so several of one recipient live side by side. The page names no limits of checks;
//! ours hold, and what they refuse is told as a failed check.

use std::time::Duration;

use crate::auth::caller::Caller;
use crate::id::Id;
use crate::messaging::page::PageRequest;
use crate::recipient::{Address, Phone};
use crate::rest::desk::Desk;
use crate::rest::input::Call;
use crate::rest::simpu::fields::{Fields, parse_phone};
use crate::rest::simpu::problem::{Fault, OTP_NOT_FOUND, Problem, missing};
use crate::rest::simpu::version::Version;
use crate::rest::simpu::words::parse_hex;
use crate::rest::trouble::{Judged, Trouble};
use crate::verification::code::{CODE_LENGTHS, Candidate, Class, Code};
use crate::verification::list::VerificationFilter;
use crate::verification::policy::PolicyOverrides;
use crate::verification::recipient_state::MAX_LISTED;
use crate::verification::request::{NewCheck, NewVerification, OnExisting, Target};
use crate::verification::verification::Status;
use crate::verification::view::View;

const LENGTHS: std::ops::RangeInclusive<u64> = 4..=8;
const DEFAULT_LENGTH: u64 = 4;
const MINUTES: std::ops::RangeInclusive<u64> = 1..=60;
const DEFAULT_MINUTES: u64 = 15;

/// S1: makes a code, or takes the caller's own, and sends it.
pub(super) async fn request(desk: &Desk, caller: &Caller, call: &Call, version: Version) -> Result<View, Problem> {
    let mut fields = Fields::read(call)?;
    let phone = fields.phone("recipient");
    let length = fields.whole("length", LENGTHS).unwrap_or(DEFAULT_LENGTH);
    let minutes = fields.whole("expires_in", MINUTES).unwrap_or(DEFAULT_MINUTES);
    let code = fields.text("token").and_then(|token| fields.note("token", parse_code(&token)));
    let channel = fields.channel(version);
    let phone = fields.done(phone)?;
    let new = NewVerification {
        channel: Some(channel),
        policy: PolicyOverrides {
            // A code of the caller's own has the length that it has.
            length: u32::try_from(length).ok().filter(|_| code.is_none()),
            alphabet: Some(vec![Class::Digits]),
            lifetime: Some(Duration::from_secs(60 * minutes)),
            ..PolicyOverrides::default()
        },
        custom_code: code,
        on_existing: OnExisting::Parallel,
        idempotency_key: call.idempotency_key().map_err(|trouble| refused(&trouble))?,
        ..NewVerification::to(to_address(&phone))
    };
    desk.start(caller, new).await.map(|started| started.view).map_err(|trouble| refused(&trouble))
}

/// S2: judges a code. `named`: the field with its id.
pub(super) async fn verify(desk: &Desk, caller: &Caller, call: &Call, named: &str) -> Result<View, Problem> {
    let mut fields = Fields::read(call)?;
    let token = fields.required("token");
    let id = fields.required(named);
    let (token, id) = fields.done(token.zip(id))?;
    let check = NewCheck {
        target: Target::Id(parse_id(&id)?),
        candidate: Candidate::parse(&token).unwrap_or_else(|_| Candidate::hopeless()),
        idempotency_key: call.idempotency_key().map_err(|trouble| refused(&trouble))?,
    };
    let checked = desk.checked(caller, check).await.map_err(|trouble| refused(&trouble))?;
    let Some(checked) = checked else { return Err(missing(OTP_NOT_FOUND)) };
    match Judged::of(&checked) {
        Judged::Right => Ok(checked.view),
        judged => Err(failed(judged)),
    }
}

/// S3: a code by its id.
pub(super) async fn get(desk: &Desk, caller: &Caller, id: &str) -> Result<View, Problem> {
    desk.verification(caller, parse_id(id)?).await.map_err(|trouble| refused(&trouble))
}

/// S4: the codes of a recipient, newest first. The page has the recipient in a path without a place for it, so here it
/// may come either way.
pub(super) async fn list(
    desk: &Desk,
    caller: &Caller,
    call: &Call,
    recipient: Option<&str>,
) -> Result<Vec<View>, Problem> {
    let recipient = recipient.or_else(|| call.query("recipient"));
    let recipient = recipient.ok_or_else(|| Problem::field("recipient", Fault::Missing))?;
    // The plus sign of a number that was not encoded reads as a blank.
    let phone = parse_phone(recipient.trim_start_matches(' '));
    let phone = phone.map_err(|wrong| Problem::field("recipient", Fault::Value(wrong.into())))?;
    let filter = VerificationFilter { recipient: Some(to_address(&phone)), ..VerificationFilter::default() };
    let page = PageRequest { size: Some(MAX_LISTED), ..PageRequest::default() };
    desk.verifications(caller, &filter, &page).await.map(|page| page.items).map_err(|trouble| refused(&trouble))
}

/// S5: makes a code useless. Of one that is revoked already, nothing more is to be done.
pub(super) async fn revoke(desk: &Desk, caller: &Caller, id: &str) -> Result<(), Problem> {
    let id = parse_id(id)?;
    match desk.cancel(caller, id).await {
        Ok(_) => Ok(()),
        Err(Trouble::Refused(_)) => {
            let view = desk.verification(caller, id).await.map_err(|trouble| refused(&trouble))?;
            Err(failed(match view.status {
                Status::Approved => Judged::Used,
                Status::Expired => Judged::Expired,
                Status::ChecksExhausted => Judged::Exhausted,
                Status::Pending | Status::Canceled | Status::Undeliverable => Judged::NotFound,
            }))
        }
        Err(trouble) => Err(refused(&trouble)),
    }
}

/// The same where the id stands in the body. `named`: the field with it.
pub(super) async fn revoke_named(desk: &Desk, caller: &Caller, call: &Call, named: &str) -> Result<(), Problem> {
    let mut fields = Fields::read(call)?;
    let id = fields.required(named);
    revoke(desk, caller, &fields.done(id)?).await
}

/// Every way to fail is one status, each with words of its own.
fn failed(judged: Judged) -> Problem {
    missing(match judged {
        Judged::Right | Judged::Wrong { .. } => "Invalid token",
        Judged::Expired => "Token expired",
        Judged::Exhausted => "Maximum attempts reached",
        Judged::Used => "Token already used",
        Judged::NotFound => OTP_NOT_FOUND,
    })
}

fn refused(trouble: &Trouble) -> Problem {
    match trouble {
        Trouble::NotFound => missing(OTP_NOT_FOUND),
        trouble => Problem::of(trouble, "recipient"),
    }
}

/// The page limits how long a code is that the vendor makes, and says nothing of the caller's own: those have our limits.
fn parse_code(token: &str) -> Result<Code, Fault> {
    match token.chars().count() {
        count if count < *CODE_LENGTHS.start() => Err(Fault::ShorterThan(*CODE_LENGTHS.start())),
        count if count > *CODE_LENGTHS.end() => Err(Fault::LongerThan(*CODE_LENGTHS.end())),
        _ => Code::custom(token).map_err(|_| Fault::Value("must be printable ASCII characters without blanks".into())),
    }
}

fn parse_id(text: &str) -> Result<Id, Problem> {
    parse_hex(text).ok_or_else(|| missing(OTP_NOT_FOUND))
}

fn to_address(phone: &Phone) -> Address {
    Address::Phone(phone.e164().to_owned())
}
