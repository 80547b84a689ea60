//! Attack 21 on every surface over HTTP: what callers pass on from people they do not know, in each place of a text that
//! a surface has. Over gRPC the same values are tried in `texts.rs`, where they are listed.
//!
//! In words that are not its own, such as a brand or a name, a value stays on its line and is nothing that a phone reads
//! as a mark. A text that is a caller's own from its first letter to its last goes out as it was given or not at all:
//! there is no line of ours in it.

use serde_json::{Value, json};
use verigate::messaging::last_line::first_web_otp;
use verigate::messaging::variables::{breaks_line, marks_line};

use crate::attacks::everywhere::{client, surfaces};
use crate::attacks::surfaces::{Client, Surface, number, open_house};
use crate::attacks::texts::{DOMAIN, HASH, NEUTRAL, REFUSED, TEMPLATES, assert_ours};
use crate::support::gateway::{Gateway, eventually};
use crate::support::http::Answer;

/// What a place in a text is to those who fill it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A value in other words. What is hostile is refused, or made harmless where the vendor's rule is to mend.
    Value,
    /// All the words.
    Whole,
    /// Not the text, but who it is from.
    Sender,
}

/// A place that a surface has, by its name there.
#[derive(Debug, Clone, Copy)]
struct Place(Surface, &'static str, Kind);

const PLACES: [Place; 19] = [
    Place(Surface::Json, "variables of a code", Kind::Value),
    Place(Surface::Json, "variables", Kind::Value),
    Place(Surface::Json, "text", Kind::Whole),
    Place(Surface::Json, "sender", Kind::Sender),
    Place(Surface::Esms, "brand-name", Kind::Value),
    Place(Surface::Esms, "link", Kind::Value),
    Place(Surface::Esms, "message", Kind::Whole),
    Place(Surface::Esms, "msg", Kind::Whole),
    Place(Surface::Hasun, "message", Kind::Whole),
    Place(Surface::Octopush, "first_name", Kind::Value),
    Place(Surface::Octopush, "param5", Kind::Value),
    Place(Surface::Octopush, "text of a code", Kind::Whole),
    Place(Surface::Octopush, "text", Kind::Whole),
    Place(Surface::Octopush, "sender of a code", Kind::Sender),
    Place(Surface::Octopush, "sender", Kind::Sender),
    Place(Surface::Simpu, "substitutions", Kind::Value),
    Place(Surface::Simpu, "content", Kind::Whole),
    Place(Surface::Simpu, "sender_id", Kind::Sender),
    Place(Surface::Simpu, "external_ref", Kind::Sender),
];

// === impl Place ===

impl Place {
    /// The call that has this in its place.
    async fn call(self, client: &Client, phone: &str, hostile: &str) -> Answer {
        let Self(surface, name, _) = self;
        let client = client.at(surface);
        let (mut path, mut body) = client.text_call(phone, "Hello", "");
        match (surface, name) {
            (Surface::Json, "variables of a code") => {
                path = "/v1/verifications".to_owned();
                body = json!({
                    "recipient": {"phone": phone}, "template": "pay", "locale": "en", "delivery_wait": "5s",
                    "variables": {"amount": "5", "shop": hostile, "note": ""},
                    "web_otp_domain": DOMAIN, "android_app_hash": HASH,
                });
            }
            (Surface::Json, "variables") => {
                let template = json!({"name": "shipped", "locale": "en", "variables": {"shop": hostile}});
                body = json!({"recipient": {"phone": phone}, "template": template});
            }
            (Surface::Esms, "brand-name") => (path, body) = client.start_call(phone, &[("brand-name", hostile)]),
            (Surface::Esms, "message") => {
                (path, body) = client.start_call(phone, &[("message", &format!("#otp# {hostile}"))]);
            }
            (Surface::Esms, "link") => (body["msg"], body["link"]) = (json!("See #link# now."), json!(hostile)),
            (Surface::Octopush, "first_name" | "param5") => {
                body["recipients"] = json!([{"phone_number": phone, name: hostile}]);
                body["text"] = json!(format!("Dear {{{name}}}, hello."));
            }
            (Surface::Octopush, "text of a code") => {
                (path, body) = client.start_call(phone, &[("text", &format!("{{code}} {hostile}"))]);
            }
            (Surface::Octopush, "sender of a code") => (path, body) = client.start_call(phone, &[("sender", hostile)]),
            (Surface::Simpu, "substitutions") => {
                let personal = json!([{"to": phone, "substitutions": {"shop": hostile}}]);
                (body["content"], body["template_id"], body["personalisation"]) =
                    (Value::Null, json!("shipped"), personal);
            }
            (_, "sender" | "sender_id" | "external_ref") => body[name] = json!(hostile),
            (_, field) => body[field] = json!(format!("Hello {hostile}")),
        }
        client.post("POST", &path, None, &body).await
    }

    /// Whether the surface has taken a call.
    fn took(self, answer: &Answer) -> bool {
        match self.0 {
            Surface::Esms => answer.status == 200 && answer.body.contains("\"status\":0,"),
            _ => (200..300).contains(&answer.status),
        }
    }

    /// Tries it on a person of its own; returns the message that went out, if one did.
    async fn send(self, gateway: &Gateway, client: &Client, phone: &str, hostile: &str) -> Option<Value> {
        let shown: String = hostile.chars().take(30).collect();
        let answer = self.call(client, phone, hostile).await;
        let took = self.took(&answer);
        assert!(answer.status < 500, "{self:?} and {shown:?}: {answer:?}");
        if !took {
            let written = json!(hostile).to_string();
            let told = ["evil", hostile, written.trim_matches('"')].iter().any(|it| answer.body.contains(it));
            assert!(!told, "{self:?} and {shown:?} are repeated: {answer:?}");
        }
        let mut messages = eventually(async || {
            // Some calls do not wait for their message to go out.
            let messages = gateway.inbox(phone).await;
            (messages.len() == usize::from(took)).then_some(messages)
        })
        .await;
        messages.pop()
    }

    /// What went out is harmless.
    fn assert_harmless(self, message: &Value, hostile: &str) {
        let text = message["text"].as_str().unwrap();
        let shown: String = text.chars().take(200).collect();
        assert!(text.chars().count() <= 1600, "{self:?}: {shown:?}");
        match self.2 {
            Kind::Value if self.1 == "variables of a code" => assert_ours(text),
            Kind::Value => {
                assert!(!text.contains(breaks_line) && !marks_line(text), "{self:?}: {shown:?}");
                assert_eq!(first_web_otp(text), None, "{self:?}: {shown:?}");
            }
            // Its own words, of which dialects take out what no phone shows, and cut what is too long.
            Kind::Whole => {
                let given = plain(hostile);
                let after_code = || text.trim_start_matches(|c: char| c.is_ascii_digit());
                let words = plain(text.strip_prefix("Hello ").unwrap_or_else(after_code));
                assert!(given.starts_with(words.trim_start()), "{self:?}: {shown:?}");
                assert!(words.len() > 1000 || given.len() == words.trim_start().len(), "{self:?}: {shown:?}");
            }
            Kind::Sender => {
                let sender = message["sender"].as_str().unwrap_or_default();
                assert!(!sender.contains(char::is_control) && sender.len() <= 40, "{self:?}: {sender:?}");
            }
        }
    }

    /// Whether it is for the vendor's clients to be mended and not refused.
    fn mends(self) -> bool {
        self.0 == Surface::Octopush
    }
}

// === impl Client ===

impl Client {
    /// A start with these fields beside those that say who calls and whom it is to.
    fn start_call(&self, phone: &str, fields: &[(&str, &str)]) -> (String, Value) {
        let (path, mut body) = self.begin_call(phone);
        for (name, value) in fields {
            body[*name] = json!(value);
        }
        (path, body)
    }
}

/// A text without what no phone shows.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !breaks_line(*c)).collect()
}

async fn house() -> Gateway {
    Gateway::start_with(&format!("{}\n{TEMPLATES}", open_house())).await
}

#[tokio::test]
async fn hostile_values_are_refused_or_made_harmless_in_every_place() {
    let gateway = house().await;
    let client = client(&gateway, Surface::Json).await;
    let long = "1".repeat(10_000);
    let mut turn = 0;
    for place in PLACES {
        for hostile in REFUSED.into_iter().chain([long.as_str()]) {
            turn += 1;
            let message = place.send(&gateway, &client, &number(turn), hostile).await;
            if let Some(message) = &message {
                place.assert_harmless(message, hostile);
            }
            let may_go_out = place.2 != Kind::Value || place.mends();
            assert!(message.is_none() || may_go_out, "{place:?} takes {hostile:?}: {message:?}");
        }
    }
}

#[tokio::test]
async fn harmless_values_stand_as_they_are_in_every_place() {
    let gateway = house().await;
    let client = client(&gateway, Surface::Json).await;
    let mut turn = 0;
    for place in PLACES.into_iter().filter(|place| place.2 != Kind::Sender) {
        let mut went_out = 0;
        for value in NEUTRAL {
            turn += 1;
            let Some(message) = place.send(&gateway, &client, &number(turn), value).await else {
                // A brand is short, and a text with a code is one part of an SMS.
                assert!(place.0 == Surface::Esms && matches!(place.1, "brand-name" | "message"), "{place:?}, {value}");
                continue;
            };
            place.assert_harmless(&message, value);
            assert!(message["text"].as_str().unwrap().contains(value), "{place:?}: {message}");
            went_out += 1;
        }
        assert!(went_out > 0, "{place:?}");
    }
}

/// A place that is forgotten here would be found by nobody.
#[test]
fn every_surface_that_carries_texts_has_its_places() {
    for surface in surfaces([21]).filter(|surface| *surface != Surface::Grpc) {
        assert!(PLACES.iter().any(|Place(of, ..)| *of == surface), "{surface:?}");
    }
}
