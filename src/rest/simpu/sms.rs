//! Texts: one call for many recipients, answered as one.
//!
//! What can be known before anything is sent is checked for all recipients first, and one that is wrong refuses the call.
//! After that the messages go out side by side, each on its own: when vendors refuse some of them, the answer names as
//! recipients those that were taken, and the others under `meta.errors`; when they refuse all, the call fails as the
//! first one did. The page of the vendor has but one answer for all.

use serde_json::{Value, json};

use crate::auth::caller::Caller;
use crate::clock::Timestamp;
use crate::messaging::batch::NewBatch;
use crate::messaging::message::{Message, Text};
use crate::messaging::request::{Content, NewMessage};
use crate::recipient::{Address, Phone};
use crate::rest::desk::Desk;
use crate::rest::input::Call;
use crate::rest::simpu::callback::{EXTERNAL_REF, in_batch, to_callback};
use crate::rest::simpu::fields::{Fields, parse_phone};
use crate::rest::simpu::personal::Personal;
use crate::rest::simpu::problem::{Fault, Problem, UNREACHABLE, Wrong};
use crate::rest::simpu::version::Version;
use crate::rest::simpu::words::{to_hex, to_number, to_time};
use crate::rest::trouble::Trouble;
use crate::segment::{Encoding, measure};
use crate::vendor::{Balance, Channel};

/// Recipients of one call.
const MAX_RECIPIENTS: usize = 500;

/// Longest name of a sender, in characters, by the vendor's page.
const MAX_SENDER_ID: usize = 11;

/// Longest reference of a caller's own, in characters: what metadata holds.
const MAX_EXTERNAL_REF: usize = 256;

/// Longest name of a template, in characters: longer ones there are none.
const MAX_TEMPLATE_ID: usize = 40;

/// What a call asks for, read.
pub(super) struct Asked {
    recipients: Vec<Phone>,
    /// Left out in the old interface only.
    sender_id: Option<String>,
    words: Words,
    pub(super) external_ref: Option<String>,
    is_trackable: bool,
    pub(super) callback: Option<String>,
    pub(super) channel: Channel,
    idempotency_key: Option<String>,
}

/// What is said.
enum Words {
    Content(String),
    Template { id: String, personal: Personal },
}

/// What came of it.
pub(super) struct Sent {
    pub(super) asked: Asked,
    /// By which the caller may know all of it.
    pub(super) id: String,
    /// At least one.
    pub(super) taken: Vec<Message>,
    /// With whom it was to, where that is known.
    refused: Vec<(Option<Phone>, Problem)>,
    /// What is left; `None` when the vendor that knows did not say.
    balance: Option<Balance>,
}

/// M1: sends a text to each recipient.
pub(super) async fn send(desk: &Desk, caller: &Caller, call: &Call, version: Version) -> Result<Sent, Problem> {
    let asked = Asked::read(call, version)?;
    let messages: Vec<_> = asked.recipients.iter().map(|phone| asked.message_to(phone)).collect();
    check_all(desk, caller, &messages)?;
    let several = messages.len() > 1;
    let new = NewBatch { key: asked.idempotency_key.clone(), messages };
    // One has an id of its own.
    let named = move |id, new| if several { in_batch(new, id) } else { new };
    let (batch, balance) = tokio::join!(desk.send_batch(caller, new, named), desk.balance(caller));
    let batch = batch.map_err(|trouble| Problem::of(&trouble, "recipients"))?;
    // Of a call that comes again there are only those that were accepted.
    let complete = batch.results.len() == asked.recipients.len();
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    for (at, result) in batch.results.into_iter().enumerate() {
        match result {
            Ok(message) => taken.push(message),
            Err(trouble) => {
                let phone = asked.recipients.get(at).filter(|_| complete).cloned();
                refused.push((phone, Problem::of(&trouble, "recipients")));
            }
        }
    }
    let id = match taken.as_slice() {
        [one] if !several => to_hex(one.id),
        _ => to_hex(batch.id),
    };
    if taken.is_empty() {
        let first = refused.into_iter().next();
        return Err(first.map_or_else(|| Problem::of(&Trouble::Fault, "recipients"), |(_, problem)| problem));
    }
    Ok(Sent { asked, id, taken, refused, balance: balance.ok() })
}

/// Refuses what cannot be sent before anything is.
fn check_all(desk: &Desk, caller: &Caller, all: &[NewMessage]) -> Result<(), Problem> {
    let mut unreachable = Vec::new();
    for (at, new) in all.iter().enumerate() {
        match desk.preview(caller, new) {
            Ok(_) => {}
            Err(Trouble::InvalidRecipient) => unreachable.push(at),
            Err(trouble) => return Err(Problem::of(&trouble, "recipients")),
        }
    }
    if unreachable.is_empty() {
        return Ok(());
    }
    let wrong = unreachable
        .into_iter()
        .map(|at| Wrong { field: "recipients".to_owned(), fault: at_place(at, all.len(), UNREACHABLE) });
    Err(Problem::fields(wrong.collect()))
}

/// What is wrong with one of the recipients.
fn at_place(at: usize, count: usize, wrong: &'static str) -> Fault {
    Fault::Value(if count == 1 { wrong.into() } else { format!("number {}: {wrong}", at + 1).into() })
}

// === impl Asked ===

impl Asked {
    fn read(call: &Call, version: Version) -> Result<Self, Problem> {
        let mut fields = Fields::read(call)?;
        let recipients = parse_recipients(&mut fields);
        if version == Version::Current && !fields.has("sender_id") {
            fields.add("sender_id", Fault::Missing);
        }
        let sender_id = fields.text_within("sender_id", MAX_SENDER_ID);
        let words = Words::read(&mut fields, recipients.as_deref().unwrap_or_default());
        let external_ref = fields.text_within(EXTERNAL_REF, MAX_EXTERNAL_REF);
        let is_trackable = fields.flag("is_trackable").unwrap_or_default();
        let callback = fields.text("callback");
        let channel = fields.channel(version);
        let (recipients, words) = fields.done(recipients.zip(words))?;
        let idempotency_key = call.idempotency_key().map_err(|trouble| Problem::of(&trouble, "recipients"))?;
        Ok(Self { recipients, sender_id, words, external_ref, is_trackable, callback, channel, idempotency_key })
    }

    pub(super) fn content(&self) -> Option<&str> {
        match &self.words {
            Words::Content(text) => Some(text),
            Words::Template { .. } => None,
        }
    }

    fn message_to(&self, phone: &Phone) -> NewMessage {
        let content = match &self.words {
            Words::Content(text) => Content::Text(Text::new(text.clone())),
            Words::Template { id, personal, .. } => {
                Content::Template { name: id.clone(), locale: None, variables: personal.of(phone) }
            }
        };
        let kept = self.external_ref.iter().map(|own| (EXTERNAL_REF.to_owned(), own.clone()));
        NewMessage {
            channel: Some(self.channel),
            content: Some(content),
            sender: self.sender_id.clone(),
            metadata: kept.collect(),
            callback: self.callback.as_deref().map(to_callback),
            ..NewMessage::to(Address::Phone(phone.e164().to_owned()), Text::new(String::new()))
        }
    }
}

/// Numbers between commas, each once however often it is written.
fn parse_recipients(fields: &mut Fields) -> Option<Vec<Phone>> {
    let text = fields.required("recipients")?;
    let written: Vec<_> = text.split(',').map(|number| number.trim_matches(' ')).filter(|it| !it.is_empty()).collect();
    if written.is_empty() || written.len() > MAX_RECIPIENTS {
        let fault = if written.is_empty() { Fault::ShorterThan(1) } else { Fault::MoreThan(MAX_RECIPIENTS) };
        return fields.note("recipients", Err(fault));
    }
    let mut phones = Vec::new();
    for (at, number) in written.iter().enumerate() {
        match parse_phone(number) {
            Ok(phone) if phones.contains(&phone) => {}
            Ok(phone) => phones.push(phone),
            Err(wrong) => fields.add("recipients", at_place(at, written.len(), wrong)),
        }
    }
    Some(phones)
}

// === impl Words ===

impl Words {
    /// Where a template is named, a content beside it is not looked at.
    fn read(fields: &mut Fields, recipients: &[Phone]) -> Option<Self> {
        let templated = fields.has("template_id");
        let id = fields.text_within("template_id", MAX_TEMPLATE_ID);
        let personal = Personal::read(fields, recipients);
        if templated {
            return id.map(|id| Self::Template { id, personal });
        }
        if !personal.written.is_empty() {
            fields.add("personalisation", Fault::Value("needs a template_id".into()));
        }
        let content = fields.required("content")?;
        if content.is_empty() {
            fields.add("content", Fault::ShorterThan(1));
        }
        Some(Self::Content(content))
    }
}

// === impl Sent ===

impl Sent {
    pub(super) fn to_body(&self) -> Value {
        let Self { asked, taken, refused, .. } = self;
        let (template_id, personalisation) = match &asked.words {
            Words::Content(_) => (None, &[][..]),
            Words::Template { id, personal } => (Some(id), personal.written.as_slice()),
        };
        let mut meta = json!({ "method": "POST", "resource": "/send/sms", "estimate": self.to_estimate() });
        if let Some(meta) = meta.as_object_mut().filter(|_| !refused.is_empty()) {
            let errors = refused
                .iter()
                .map(|(phone, problem)| problem.to_error("recipients", phone.as_ref().map(Phone::digits)));
            meta.insert("errors".to_owned(), errors.collect());
        }
        json!({
            "id": self.id,
            "recipients": taken.iter().map(|message| to_number(&message.recipient)).collect::<Vec<_>>(),
            "sender_id": asked.sender_id,
            "is_trackable": asked.is_trackable,
            "content": asked.content(),
            "external_ref": asked.external_ref,
            "callback": asked.callback,
            "template_id": template_id,
            "personalisation": personalisation,
            "created_datetime": to_time(self.created_at()),
            "updated_datetime": to_time(taken.iter().map(|it| it.sending.updated_at).max().unwrap_or_default()),
            "meta": meta,
        })
    }

    /// When the first of the messages was made.
    pub(super) fn created_at(&self) -> Timestamp {
        self.taken.iter().map(Message::created_at).min().unwrap_or_default()
    }

    /// What it costs, where a page costs one, and what is left. The longest text is the one that is measured.
    fn to_estimate(&self) -> Value {
        let measured: Vec<_> = self.taken.iter().map(|message| Measured::of(message, self.asked.channel)).collect();
        let longest = measured.iter().max_by_key(|measured| (measured.pages, measured.length));
        let available: Option<Value> =
            self.balance.as_ref().and_then(|balance| serde_json::from_str(&balance.amount).ok());
        json!({
            "available_balance": available,
            "charge": measured.iter().map(|measured| measured.pages).sum::<usize>(),
            "encoding": longest.map(|longest| longest.encoding),
            "message_length": longest.map(|longest| longest.length),
            "pages": longest.map(|longest| longest.pages),
        })
    }
}

/// What a message takes.
struct Measured {
    pages: usize,
    length: usize,
    encoding: &'static str,
}

// === impl Measured ===

impl Measured {
    /// The vendor's sample calls the alphabet of a text of 160 characters on one page UTF-8; its word for the wider one
    /// is inferred.
    fn of(message: &Message, channel: Channel) -> Self {
        let measured = measure(message.text.expose());
        let encoding = match measured.encoding {
            Encoding::Gsm7 => "UTF-8",
            Encoding::Ucs2 => "UTF-16",
        };
        // Only SMS come in pages.
        let pages = if channel == Channel::Sms { measured.segments } else { 1 };
        Self { pages, length: measured.units, encoding }
    }
}
