//! Simpu: what is particular about it.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use verigate::clock::Timestamp;
use verigate::error::Kind;
use verigate::vendor::simpu::Config;
use verigate::vendor::{
    Channel, CodeHandle, CodeRequest, CodeVerdict, ContactRow, Failure, Outgoing, ReceiptCall, ReceiptStatus,
    Rejection, Reported, ReportedMessage, Vendor,
};

use crate::support::vendor_server::{Answer, Fault, Recorded, VendorServer};
use crate::vendors::suite::{
    Answered, CODE, Call, Exchange, NOW, Outcome, RECEIPT_URL, Subject, TEXT, code_request, expected, handle,
    not_there, outgoing, read, rejected, sent, suite,
};

const KEY: &str = "simpu-test-key-8d10";
const ID: &str = "674535b2b39158b9aae90188fcec23eb";
const DIGITS: &str = "60123456789";

suite!(subject);

fn subject() -> Subject {
    Subject {
        config: |url| json!({"base_url": url, "api_key": KEY, "sender_id": "Verigate", "channels": ["sms", "whatsapp"]}),
        build,
        script,
        secrets: &[KEY],
        exchanges: exchanges(),
        answers: answers(),
        departure,
        receipts: receipts(),
        misconfigured: vec![
            (json!({"api_key": " "}), "api_key"),
            (json!({"api_key": null}), "api_key"),
            (json!({"api_key": "two\nlines"}), "api_key"),
            (json!({"sender_id": ""}), "sender_id"),
            (json!({"sender_id": "   "}), "sender_id"),
            (json!({"sender_id": "TwelveLetter"}), "sender_id"),
            (json!({"sender_id": null}), "sender_id"),
            (json!({"channels": []}), "channels"),
            (json!({"channels": ["sms", "voice"]}), "channels"),
            (json!({"channels": ["pigeon"]}), "pigeon"),
            (json!({"base_url": "http://sms.example"}), "base_url"),
        ],
    }
}

fn build(config: Value) -> verigate::error::Result<Arc<dyn Vendor>> {
    Ok(Arc::new(read::<Config>(config)?.build("main")?))
}

fn script(request: &Recorded) -> Answer {
    match (request.method.as_str(), request.path().trim_end_matches(ID)) {
        ("POST", "/sms/send") => Answer::json(
            200,
            json!({"id": ID, "recipients": [DIGITS], "meta": {"estimate": {"available_balance": 1000.5, "charge": 3}}}),
        ),
        ("POST", "/otp/request_token" | "/otp/verify") | ("GET", "/otp/") => otp(200, 1),
        ("DELETE", "/otp/") => Answer::json(200, json!({"status": 204})),
        ("GET", "/lists/contact") => Answer::json(200, table()),
        ("POST", "/lists/contact/rows") => Answer::json(200, json!({"row": {"id": "r1"}, "table": table()})),
        _ => Answer::new(404, "no such page"),
    }
}

/// A contact is looked up before it is added: when the first of the two calls fails, surely nothing was added.
fn departure(fault: &Fault, call: &Call) -> Option<Result<Outcome, Failure>> {
    (matches!(call, Call::Push(_)) && expected(fault) == Failure::Unknown).then_some(Err(Failure::Unavailable))
}

fn exchanges() -> Vec<Exchange> {
    let send = |channel: &str, sender: &str, callback: &str| {
        post(
            "/sms/send",
            &format!(
                r#"{{"recipients":"{DIGITS}","sender_id":"{sender}","content":"{TEXT}","channel":"{channel}","external_ref":"m-1","is_trackable":false{callback}}}"#
            ),
        )
    };
    let callback = format!(r#","callback":"{RECEIPT_URL}""#);
    let plain = Outgoing {
        channel: Channel::WhatsApp,
        sender: Some("Twelve chars".to_owned()),
        receipt_url: None,
        ..outgoing()
    };
    let start = |request, channel: &str, length: u32, minutes: u64| Exchange {
        requests: vec![post(
            "/otp/request_token",
            &format!(r#"{{"recipient":"{DIGITS}","length":{length},"expires_in":{minutes},"channel":"{channel}"}}"#),
        )],
        outcome: Outcome::Started(CodeHandle { channel: CodeRequest::clone(&request).channel, ..handle(Some(ID)) }),
        call: Call::StartCode(request),
    };
    let long =
        CodeRequest { channel: Channel::WhatsApp, length: 8, lifetime: Duration::from_secs(3_600), ..code_request() };
    let mut exchanges = vec![
        Exchange {
            call: Call::Send(outgoing()),
            requests: vec![send("sms", "Acme", &callback)],
            outcome: sent(Some(ID)),
        },
        Exchange { call: Call::Send(plain), requests: vec![send("whatsapp", "Verigate", "")], outcome: sent(Some(ID)) },
        start(code_request(), "sms", 6, 5),
        start(long, "whatsapp", 8, 60),
        Exchange {
            call: Call::CheckCode(handle(Some(ID)), "048091"),
            requests: vec![post("/otp/verify", &format!(r#"{{"token":"048091","id":"{ID}"}}"#))],
            outcome: Outcome::Checked(CodeVerdict::Right),
        },
        Exchange {
            call: Call::CancelCode(handle(Some(ID))),
            requests: vec![bare("DELETE", &format!("/otp/{ID}"))],
            outcome: Outcome::Canceled,
        },
        Exchange {
            call: Call::Push(row("contact", &[("Name", "Ann"), ("Phone", "+2348023456789")])),
            requests: vec![
                bare("GET", "/lists/contact"),
                post("/lists/contact/rows", r#"{"columns":{"c1":"Ann","c2":"+2348023456789"}}"#),
            ],
            outcome: Outcome::Pushed,
        },
    ];
    for candidate in ["", "480", "480913480", "48 913", "４８０９", "48091a", "+48091", "4.8e05"] {
        exchanges.push(Exchange {
            call: Call::CheckCode(handle(Some(ID)), candidate),
            requests: vec![],
            outcome: Outcome::Checked(CodeVerdict::Wrong { checks_left: None }),
        });
    }
    exchanges
}

fn answers() -> Vec<Answered> {
    let mut answers = Vec::new();
    let recipient = json!([{"field": "recipient", "message": "Error in field: 'recipient'", "type": "string_type"}]);
    let recipients = json!([{"field": "recipients"}]);
    let length = json!([{"field": "length", "message": "Error in field: 'length'", "type": "less_than_equal"}]);
    let none = || json!([]);
    let calls = [
        Call::Send(outgoing()),
        Call::StartCode(code_request()),
        Call::CheckCode(handle(Some(ID)), CODE),
        Call::CancelCode(handle(Some(ID))),
        Call::Push(row("contact", &[("Name", "Ann")])),
    ];
    for call in &calls {
        for (answer, outcome) in [
            (error(400, "Invalid request", none()), rejected(Rejection::InvalidContent)),
            (error(400, "Invalid request", length.clone()), rejected(Rejection::InvalidContent)),
            (error(400, "Invalid request", recipient.clone()), rejected(Rejection::InvalidRecipient)),
            (error(400, "Invalid request", recipients.clone()), rejected(Rejection::InvalidRecipient)),
            (error(400, "Insufficient balance", none()), rejected(Rejection::InsufficientCredit)),
            (error(401, "Unauthorized", none()), rejected(Rejection::Unauthorized)),
            (error(403, "Forbidden", none()), rejected(Rejection::Unauthorized)),
            (error(402, "Insufficient balance", none()), rejected(Rejection::InsufficientCredit)),
            (error(429, "Too many requests", none()), Err(Failure::Throttled { after: None })),
            (Answer::new(400, "no"), rejected(Rejection::InvalidContent)),
        ] {
            answers.push(Answered { call: call.clone(), answer, outcome });
        }
    }
    for call in &calls[..3] {
        for (answer, outcome) in [
            (error(500, "Server error", none()), Err(Failure::Unknown)),
            (error(503, "Service unavailable", recipient.clone()), Err(Failure::Unknown)),
            (Answer::new(404, "no such page"), not_there(call)),
            // The vendor's own example of an error has this status.
            (error(200, "Invalid request", recipient.clone()), rejected(Rejection::InvalidRecipient)),
            (error(200, "Invalid request", none()), Err(Failure::Unknown)),
            (Answer::json(200, json!({"id": 7, "status": 1})), Err(Failure::Unknown)),
            (Answer::json(200, json!({"id": "../x", "status": 1})), Err(Failure::Unknown)),
            (Answer::json(200, json!({})), Err(Failure::Unknown)),
            (Answer::json(200, json!([])), Err(Failure::Unknown)),
            (Answer::new(200, ""), Err(Failure::Unknown)),
        ] {
            answers.push(Answered { call: call.clone(), answer, outcome });
        }
    }
    let start = |status| Answered {
        call: calls[1].clone(),
        answer: otp(200, status),
        outcome: if status == 1 { Ok(Outcome::Started(handle(Some(ID)))) } else { Err(Failure::Unknown) },
    };
    answers.extend([1, 5, 0].map(start));
    let check = |answer, outcome| Answered { call: calls[2].clone(), answer, outcome };
    let right = || Ok(Outcome::Checked(CodeVerdict::Right));
    answers.extend([
        check(otp(200, 1), right()),
        check(otp(200, 2), right()),
        check(otp(200, 3), Err(Failure::Unknown)),
        check(otp(200, 5), Err(Failure::Unknown)),
        check(otp(500, 2), Err(Failure::Unknown)),
        check(Answer::json(200, json!({"id": "another", "status": 2})), Err(Failure::Unknown)),
        check(Answer::json(200, json!({"id": ID})), Err(Failure::Unknown)),
        check(Answer::json(200, json!({"id": ID, "status": "2"})), Err(Failure::Unknown)),
    ]);
    let cancel = |answer, outcome| Answered { call: calls[3].clone(), answer, outcome };
    answers.extend([
        cancel(otp(200, 4), Ok(Outcome::Canceled)),
        cancel(Answer::new(204, ""), Ok(Outcome::Canceled)),
        cancel(Answer::new(200, "OK"), Err(Failure::Unknown)),
        cancel(error(404, "OTP not found", none()), Ok(Outcome::Canceled)),
        cancel(Answer::new(404, "no such page"), Err(Failure::Unavailable)),
    ]);
    answers.push(Answered {
        call: calls[4].clone(),
        answer: Answer::json(200, json!({"columns": 7})),
        outcome: Err(Failure::Unavailable),
    });
    answers
}

fn receipts() -> Vec<(ReceiptCall, Result<Vec<Reported>, Kind>)> {
    let call = |rest: &str, body: Value| ReceiptCall {
        rest: rest.to_owned(),
        body: body.to_string().into_bytes(),
        ..ReceiptCall::default()
    };
    let ours = |name: &str, status, at| Ok(vec![Reported { of: ReportedMessage::Ours(name.to_owned()), status, at }]);
    let mut receipts = Vec::new();
    for (body, status) in [
        (json!({"status": 1, "status_desc": "DELIVERED"}), ReceiptStatus::Delivered),
        (json!({"status": "DELIVRD"}), ReceiptStatus::Delivered),
        (json!({"status": "delivered", "status_desc": "handed over"}), ReceiptStatus::Delivered),
        (json!({"status_desc": "UNDELIVERED"}), ReceiptStatus::Undelivered),
        (json!({"status_desc": "Failed"}), ReceiptStatus::Undelivered),
        (json!({"status_desc": "REJECTED", "recipient": DIGITS}), ReceiptStatus::Undelivered),
        (json!({"status": "EXPIRED"}), ReceiptStatus::Expired),
        // The address is ours; the body may be anybody's.
        (json!({"status": "EXPIRED", "external_ref": "m-2", "id": ID}), ReceiptStatus::Expired),
    ] {
        receipts.push((call("m-1", body), ours("m-1", status, NOW)));
    }
    for body in [
        json!({"status": 3}),
        json!({"status_desc": "SENT"}),
        json!({"status_desc": "NOT DELIVERED YET"}),
        json!({"status_desc": ["DELIVERED"]}),
        json!({"id": ID}),
    ] {
        receipts.push((call("m-1", body), Ok(vec![])));
    }
    let timed = |time: &str| call("m-1", json!({"status": "DELIVERED", "updated_datetime": time}));
    let delivered = |at| ours("m-1", ReceiptStatus::Delivered, at);
    receipts.extend([
        (timed("2026-11-22T03:00:00.125608+00:00"), delivered(Timestamp::from_millis(1_795_316_400_125))),
        (timed("2026-11-22T04:00:00.125608+01:00"), delivered(Timestamp::from_millis(1_795_316_400_125))),
        (timed("2126-11-22T03:00:00+00:00"), delivered(NOW)),
        (timed("2026-11-22T03:00:00"), delivered(NOW)),
        (timed("yesterday"), delivered(NOW)),
    ]);
    let theirs = Reported { of: ReportedMessage::Theirs(ID.to_owned()), status: ReceiptStatus::Delivered, at: NOW };
    receipts.extend([
        (
            call("", json!({"status": "DELIVERED", "external_ref": "m-2", "id": ID})),
            ours("m-2", ReceiptStatus::Delivered, NOW),
        ),
        (call("", json!({"status": "DELIVERED", "id": ID})), Ok(vec![theirs])),
        (call("", json!({"status": "DELIVERED"})), Ok(vec![])),
        (call("", json!({"status": "DELIVERED", "external_ref": "a b", "id": ""})), Ok(vec![])),
        (call("m-1", json!("DELIVERED")), Err(Kind::Invalid)),
        (
            ReceiptCall { rest: "m-1".to_owned(), body: b"status=DELIVERED".to_vec(), ..ReceiptCall::default() },
            Err(Kind::Invalid),
        ),
    ]);
    receipts
}

#[tokio::test]
async fn a_failed_check_is_looked_into_once() {
    let wrong = CodeVerdict::Wrong { checks_left: None };
    for (look, verdict) in [
        (otp(200, 1), wrong),
        (otp(200, 2), CodeVerdict::Unknown),
        (otp(200, 3), CodeVerdict::Expired),
        (otp(200, 4), CodeVerdict::Unknown),
        (otp(200, 5), wrong),
        (error(404, "OTP not found", json!([])), CodeVerdict::Unknown),
        // The check itself was judged, so no trouble after it makes that unknown.
        (Answer::new(404, "no such page"), wrong),
        (Answer::json(200, json!({"id": "another", "status": 3})), wrong),
        (otp(500, 3), wrong),
        (otp(429, 3), wrong),
        (Answer::new(200, "<html>"), wrong),
        (Answer::new(200, b"\xff".to_vec()), wrong),
    ] {
        let server = VendorServer::start(move |request: &Recorded| match request.method.as_str() {
            "POST" => error(404, "Invalid token", json!([])),
            _ => look.clone(),
        })
        .await;
        let vendor = build((subject().config)(&server.url())).unwrap();
        let outcome = vendor.codes().unwrap().check(&handle(Some(ID)), &SecretString::from(CODE)).await;
        assert_eq!(outcome, Ok(verdict), "{:?}", server.requests());
        let requests = server.requests();
        assert_eq!(requests.len(), 2);
        assert_eq!(requests[1].to_text(), bare("GET", &format!("/otp/{ID}")));
    }
}

#[tokio::test]
async fn a_contact_that_the_list_has_no_place_for_is_refused() {
    let server = VendorServer::start(script).await;
    let vendor = build((subject().config)(&server.url())).unwrap();
    let contacts = vendor.contacts().unwrap();
    let refused = Err(Failure::Rejected(Rejection::InvalidContent));
    assert_eq!(contacts.push(&row("friends", &[("Name", "Ann")])).await, refused);
    assert_eq!(contacts.push(&row("contact", &[])).await, refused);
    assert_eq!(server.requests(), []);
    assert_eq!(contacts.push(&row("contact", &[("Name", "Ann"), ("Shoe size", "40")])).await, refused);
    assert_eq!(server.requests().len(), 1, "nothing is added in part");
}

#[tokio::test]
async fn a_contact_is_added_when_the_vendor_shows_it() {
    let no = json!([{"field": "columns"}]);
    for (answer, outcome) in [
        (Answer::new(200, "<html>"), Err(Failure::Unknown)),
        (Answer::json(200, json!({"row": null})), Err(Failure::Unknown)),
        (error(500, "Server error", json!([])), Err(Failure::Unknown)),
        (error(400, "Invalid request", no), Err(Failure::Rejected(Rejection::InvalidContent))),
        (error(429, "Too many requests", json!([])), Err(Failure::Throttled { after: None })),
        (Answer::json(200, json!({"row": {"id": "r1"}})), Ok(())),
    ] {
        let server = VendorServer::start(move |request: &Recorded| match request.method.as_str() {
            "GET" => Answer::json(200, table()),
            _ => answer.clone(),
        })
        .await;
        let vendor = build((subject().config)(&server.url())).unwrap();
        assert_eq!(vendor.contacts().unwrap().push(&row("contact", &[("Name", "Ann")])).await, outcome);
        assert_eq!(server.requests().len(), 2);
    }
}

#[tokio::test]
async fn only_what_the_vendor_takes_is_asked_for() {
    let server = VendorServer::start(script).await;
    let url = server.url();
    let vendor = build((subject().config)(&url)).unwrap();
    let codes = vendor.codes().unwrap();
    for odd in [
        CodeRequest { length: 3, ..code_request() },
        CodeRequest { length: 9, ..code_request() },
        CodeRequest { lifetime: Duration::from_secs(59), ..code_request() },
        CodeRequest { lifetime: Duration::from_secs(90), ..code_request() },
        CodeRequest { lifetime: Duration::from_secs(3_660), ..code_request() },
        CodeRequest { template: Some("{code}".to_owned()), ..code_request() },
    ] {
        let outcome = codes.start(&odd).await;
        assert_eq!(outcome, Err(Failure::Rejected(Rejection::InvalidContent)), "{odd:?}");
    }
    for lost in [None, Some(""), Some("../lists/contact"), Some("a/b"), Some("a?b")] {
        let refused = Failure::Rejected(Rejection::InvalidContent);
        assert_eq!(codes.check(&handle(lost), &SecretString::from(CODE)).await, Err(refused.clone()), "{lost:?}");
        assert_eq!(codes.cancel(&handle(lost)).await, Err(refused), "{lost:?}");
    }
    let alone = build(json!({"base_url": url, "api_key": KEY, "sender_id": "Verigate"})).unwrap();
    assert_eq!(alone.capabilities().channels, [Channel::Sms]);
    let message = Outgoing { channel: Channel::WhatsApp, ..outgoing() };
    assert_eq!(alone.send(&message).await, Err(Failure::Rejected(Rejection::InvalidRecipient)));
    let request = CodeRequest { channel: Channel::WhatsApp, ..code_request() };
    let outcome = alone.codes().unwrap().start(&request).await;
    assert_eq!(outcome, Err(Failure::Rejected(Rejection::InvalidRecipient)));
    assert_eq!(server.requests(), []);
}

fn row(list: &str, cells: &[(&str, &str)]) -> ContactRow {
    let cells = cells.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ContactRow { list: list.to_owned(), cells }
}

fn table() -> Value {
    let columns = json!([{"id": "c2", "name": "Phone", "type": "PHONE NUMBER"}, {"id": "c1", "name": "Name"}]);
    json!({"id": "t1", "columns": columns})
}

fn otp(status: u16, state: i64) -> Answer {
    Answer::json(status, json!({"id": ID, "recipient": DIGITS, "status": state, "status_desc": "SENT"}))
}

fn error(status: u16, message: &str, errors: Value) -> Answer {
    Answer::json(status, json!({"status": status, "message": message, "errors": errors}))
}

fn post(path: &str, body: &str) -> String {
    format!("POST {path}\nauthorization: {KEY}\ncontent-type: application/json; charset=utf-8\n\n{body}")
}

fn bare(method: &str, path: &str) -> String {
    format!("{method} {path}\nauthorization: {KEY}\n\n")
}
