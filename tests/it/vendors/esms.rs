//! eSMS Malaysia: what is particular about it.

use std::sync::Arc;

use serde_json::{Value, json};
use verigate::vendor::esms::Config;
use verigate::vendor::{Failure, Rejection, Vendor};

use crate::support::vendor_server::{Answer, Recorded};
use crate::vendors::suite::{
    Answered, Call, Exchange, Subject, TEXT, no_departure, outgoing, read, rejected, sent, suite,
};

const USER: &str = "esms-test-key";
const PASS: &str = "esms-test-secret-7f3a";
const ID: &str = "88ce9c6e-1707-41b8-95a2-91d228001fc7";

suite!(subject);

fn subject() -> Subject {
    Subject {
        config: |url| json!({"base_url": url, "user": USER, "pass": PASS}),
        build: |config| Ok(Arc::new(read::<Config>(config)?.build("main")?) as Arc<dyn Vendor>),
        script,
        secrets: &[USER, PASS],
        exchanges: vec![Exchange {
            call: Call::Send(outgoing()),
            requests: vec![post(
                "/sms/send",
                json_text(&[("user", USER), ("pass", PASS), ("to", "60123456789"), ("msg", &format!("RM0.00 {TEXT}"))]),
            )],
            outcome: sent(Some(ID)),
        }],
        answers: answers(),
        departure: no_departure,
        receipts: vec![],
        misconfigured: vec![
            (json!({"user": " "}), "user"),
            (json!({"pass": ""}), "pass"),
            (json!({"pass": null}), "pass"),
            (json!({"base_url": "http://sms.example"}), "base_url"),
        ],
    }
}

fn script(request: &Recorded) -> Answer {
    match request.path() {
        "/sms/send" => Answer::json(
            200,
            json!({"status": 0, "creditDeducted": 1, "message": "ok", "id": ID, "parts": 1, "type": 0}),
        ),
        _ => Answer::new(404, "no such page"),
    }
}

fn answers() -> Vec<Answered> {
    let refused = |status: Value| Answer::json(200, json!({"status": status, "message": "refused", "id": ID}));
    [
        (1, rejected(Rejection::InvalidContent)),
        (2, rejected(Rejection::Unauthorized)),
        (3, rejected(Rejection::Unauthorized)),
        (4, rejected(Rejection::InvalidRecipient)),
        (5, rejected(Rejection::InsufficientCredit)),
        (6, Err(Failure::Unknown)),
    ]
    .into_iter()
    .map(|(status, outcome)| Answered { call: Call::Send(outgoing()), answer: refused(json!(status)), outcome })
    .collect()
}

fn post(target: &str, body: String) -> String {
    format!("POST {target}\ncontent-type: application/json; charset=utf-8\n\n{body}")
}

/// An object whose members keep their order.
fn json_text(members: &[(&str, &str)]) -> String {
    let members: Vec<_> = members.iter().map(|(name, value)| format!("{}:{}", json!(name), json!(value))).collect();
    format!("{{{}}}", members.join(","))
}
