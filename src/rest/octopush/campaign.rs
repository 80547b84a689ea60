//! Campaigns: one text to up to 500 people, in each one's own words, at once or later.
//!
//! Each recipient gets a message of its own. Numbers that are none, that no route leads to, or that the vendors refuse
//! while the call waits, are left out and not counted. Money is not counted here at all, so nothing costs anything.

use std::collections::BTreeMap;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::id::{Id, Partition};
use crate::messaging::batch::NewBatch;
use crate::messaging::callback::{CallbackUrl, Context, NewCallback};
use crate::messaging::message::{Message, Text};
use crate::messaging::request::{MAX_SEGMENTS, NewMessage};
use crate::messaging::sending::SendStatus;
use crate::recipient::Address;
use crate::rest::desk::Desk;
use crate::rest::input::Call;
use crate::rest::octopush::caller::{authenticate, idempotency_key};
use crate::rest::octopush::coerce::{Fields, MAX_TEXT, cut};
use crate::rest::octopush::contact::{Contact, parse_contacts};
use crate::rest::octopush::refusal::Refusal;
use crate::rest::octopush::settings::Config;
use crate::rest::octopush::status::KIND;
use crate::rest::octopush::tickets::{ENTRY, parse_ticket, to_ticket};
use crate::rest::trouble::Trouble;
use crate::segment::measure;

/// Campaigns with more recipients cannot be called off.
const MOST_TO_CANCEL: usize = 2;

/// How long before its time a campaign can still be called off.
const CANCEL_AHEAD: Duration = Duration::from_secs(10 * 60);

/// Sends a campaign.
pub(super) async fn send(desk: &Desk, call: &Call, config: &Config) -> Result<(StatusCode, Value), Refusal> {
    let caller = authenticate(desk, call)?;
    let fields = Fields::read(call)?;
    let contacts = parse_contacts(fields.raw("recipients"), &caller.tenant)?;
    let text = fields.message("text").ok_or_else(|| Refusal::bad(107, "There is no text."))?;
    let (sender, send_at) = (fields.sender(), parse_send_at(&fields));
    let messages = contacts.iter().map(|contact| {
        let message = NewMessage::to(Address::Phone(contact.phone.e164().to_owned()), words(contact, &text)?);
        Ok(NewMessage { sender: sender.clone(), send_at, ..message })
    });
    let messages = messages.collect::<Result<Vec<_>, Refusal>>()?;
    // A request_id is the vendor's own way of saying that a call is the same, and has no form.
    let request_id = fields.text("request_id");
    let key = match &request_id {
        Some(id) => Some(format!("request_id {id}")),
        None => idempotency_key(call)?,
    };
    if fields.flag("simulation_mode") == Some(true) {
        let id = Id::new(desk.clock.now(), Partition::new(0), &*desk.random);
        return Ok(to_sent(id, messages.len()));
    }
    let named = naming(config.callback(&caller.tenant.name));
    let sent = desk.send_batch(&caller, NewBatch { key, messages }, named).await;
    let sent = sent.map_err(|trouble| match trouble {
        // It was another campaign's.
        Trouble::Refused(_) if request_id.is_some() => Refusal::duplicate(),
        trouble => Refusal::of(&trouble),
    })?;
    let taken = sent.results.iter().filter(|result| result.is_ok()).count();
    match sent.results.into_iter().find_map(Result::err) {
        Some(trouble) if taken == 0 => Err(Refusal::of(&trouble)),
        _ if sent.again && request_id.is_some() => Err(Refusal::duplicate()),
        _ => Ok(to_sent(sent.id, taken)),
    }
}

/// Calls a scheduled campaign off.
pub(super) async fn cancel(desk: &Desk, call: &Call) -> Result<(), Refusal> {
    let caller = authenticate(desk, call)?;
    let ticket = match call.query("ticket_number") {
        Some(ticket) if call.body.is_empty() => Some(ticket.to_owned()),
        _ => Fields::read(call)?.text("ticket_number"),
    };
    let id = ticket.as_deref().and_then(parse_ticket).ok_or_else(|| Refusal::of(&Trouble::NotFound))?;
    let messages = desk.batch(&caller, id).await.map_err(|trouble| Refusal::of(&trouble))?;
    if messages.len() > MOST_TO_CANCEL {
        let wanted = format!("Only campaigns of at most {MOST_TO_CANCEL} recipients can be canceled.");
        return Err(Refusal::bad(125, wanted));
    }
    let earliest = desk.clock.now() + CANCEL_AHEAD;
    let in_time = |message: &Message| {
        let canceled = message.sending.status == SendStatus::Canceled;
        canceled || message.send_at.is_some_and(|at| at > earliest)
    };
    let too_late = || Refusal::bad(132, "The campaign was sent, or will be within 10 minutes.");
    if !messages.iter().all(in_time) {
        return Err(too_late());
    }
    for message in messages {
        match desk.cancel_message(&caller, message.id).await {
            Ok(_) => {}
            Err(Trouble::Refused(_)) => return Err(too_late()),
            Err(trouble) => return Err(Refusal::of(&trouble)),
        }
    }
    Ok(())
}

/// Writes the ticket into each message: for those who look at one in any other way, and for what its end is told with.
fn naming(url: Option<CallbackUrl>) -> impl Fn(Id, NewMessage) -> NewMessage {
    move |id, new| {
        let ticket = to_ticket(id);
        let callback =
            url.clone().map(|url| NewCallback { kind: KIND, url, context: Context::from([(ENTRY, ticket.clone())]) });
        NewMessage { metadata: BTreeMap::from([(ENTRY.to_owned(), ticket)]), callback, ..new }
    }
}

/// A text in the words of a contact, as long as texts may be.
fn words(contact: &Contact, text: &str) -> Result<Text, Refusal> {
    let filled = cut(&contact.fill(text), MAX_TEXT);
    if filled.trim().is_empty() {
        return Err(Refusal::bad(107, "There is no text for one of the recipients."));
    }
    let parts = measure(&filled).segments;
    if parts > MAX_SEGMENTS {
        let wanted = format!("The text takes {parts} parts in its alphabet, and at most {MAX_SEGMENTS} are sent.");
        return Err(Refusal::bad(102, wanted));
    }
    Ok(Text::new(filled))
}

/// ISO 8601. A time without an offset is one of UTC. What is no time is ignored, as the vendor does.
fn parse_send_at(fields: &Fields) -> Option<Timestamp> {
    let text = fields.text("send_at")?;
    let text = text.trim();
    let at = text.parse::<jiff::Timestamp>().ok().or_else(|| {
        let civil = text.parse::<jiff::civil::DateTime>().ok()?;
        civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
    });
    at.map(|at| Timestamp::from_millis(u64::try_from(at.as_millisecond()).unwrap_or_default()))
}

fn to_sent(id: Id, contacts: usize) -> (StatusCode, Value) {
    let body = json!({ "sms_ticket": to_ticket(id), "number_of_contacts": contacts, "total_cost": 0.0 });
    (StatusCode::CREATED, body)
}
