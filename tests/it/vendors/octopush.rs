//! Octopush: what is particular about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use verigate::error::Kind;
use verigate::vendor::octopush::Config;
use verigate::vendor::{
    Accepted, Balance, Channel, CodeRequest, CodeVerdict, ContactRow, Failure, Outgoing, ReceiptCall, ReceiptStatus,
    Rejection, Reported, ReportedMessage, Vendor,
};

use crate::support::vendor_server::{Answer, Recorded, VendorServer};
use crate::vendors::suite::{
    Answered, CODE, Call, Exchange, NOW, Outcome, Subject, TEXT, code_request, handle, no_departure, outgoing, read,
    rejected, sent, suite,
};

const LOGIN: &str = "octopush-login@acme.example";
const KEY: &str = "octopush-test-key-91d2";
const TICKET: &str = "sms_5f6c4ba715694";
const TOKEN: &str = "otp_111111dab2222222aaa33333";

suite!(subject);

fn subject() -> Subject {
    Subject {
        config: |url| json!({"base_url": url, "api_login": LOGIN, "api_key": KEY}),
        build: |config| Ok(Arc::new(read::<Config>(config)?.build("main")?) as Arc<dyn Vendor>),
        script,
        secrets: &[LOGIN, KEY],
        exchanges: exchanges(),
        answers: answers(),
        departure: no_departure,
        receipts: receipts(),
        misconfigured: vec![
            (json!({"api_login": " "}), "api_login"),
            (json!({"api_login": null}), "api_login"),
            (json!({"api_key": ""}), "api_key"),
            (json!({"api_key": null}), "api_key"),
            (json!({"api_key": "two\nlines"}), "api_key"),
            (json!({"base_url": "http://sms.example"}), "base_url"),
            (json!({"base_url": "https://sms.example/?a=b"}), "base_url"),
            (json!({"max_checks": 0}), "max_checks"),
            (json!({"max_checks": 101}), "max_checks"),
            (json!({"purpose": "spam"}), "spam"),
        ],
    }
}

fn script(request: &Recorded) -> Answer {
    match (request.method.as_str(), request.path()) {
        ("POST", "/sms-campaign/send") => {
            Answer::json(201, json!({"sms_ticket": TICKET, "number_of_contacts": 1, "total_cost": 0.062}))
        }
        ("POST", "/service/otp/generate") => {
            let token = json!({"code": 0, "message": "success", "ticket_number": TICKET, "otp_request_token": TOKEN});
            Answer::json(201, token)
        }
        ("PUT", "/service/otp/validate") => Answer::json(200, json!({"code": 0, "message": "success"})),
        ("GET", "/wallet/check-balance") => Answer::json(200, json!({"amount": 12.54, "unit": "euros"})),
        ("POST", "/contact/create") => Answer::json(201, json!({})),
        _ => Answer::new(404, "no such page"),
    }
}

fn exchanges() -> Vec<Exchange> {
    let start = |text: &str, channel: &str, rest: &str| {
        format!(
            r#"{{"phone_number":"+60123456789","text":"{text}","channel":"{channel}",{rest}"code_length":6,"allow_digits":true,"allow_upper_case":false,"allow_lower_case":false,"allow_special_chars":false,"validity_period":300,"max_wrong_attempts":10"#
        )
    };
    let voice = CodeRequest {
        channel: Channel::Voice,
        locale: Some("fr-BE".to_owned()),
        template: Some("Votre code est {code}.".to_owned()),
        ..code_request()
    };
    let called = verigate::vendor::CodeHandle { channel: Channel::Voice, ..handle(Some(TOKEN)) };
    vec![
        Exchange {
            call: Call::Send(outgoing()),
            requests: vec![said(
                "POST /sms-campaign/send",
                &format!(
                    r#"{{"recipients":[{{"phone_number":"+60123456789"}}],"text":"{TEXT}","sender":"Acme","purpose":"alert","request_id":"m-1"}}"#
                ),
            )],
            outcome: sent(Some(TICKET)),
        },
        Exchange {
            call: Call::StartCode(code_request()),
            requests: vec![said(
                "POST /service/otp/generate",
                &(start("Acme: {code}", "sms", r#""sender":"Acme","#) + "}"),
            )],
            outcome: Outcome::Started(handle(Some(TOKEN))),
        },
        Exchange {
            call: Call::StartCode(voice),
            requests: vec![said(
                "POST /service/otp/generate",
                &(start("Votre code est {code}.", "voice_sms", "") + r#","voice_language":"fr-FR"}"#),
            )],
            outcome: Outcome::Started(called),
        },
        Exchange {
            call: Call::CheckCode(handle(Some(TOKEN)), CODE),
            requests: vec![said(
                "PUT /service/otp/validate",
                &format!(r#"{{"code":"{CODE}","otp_request_token":"{TOKEN}"}}"#),
            )],
            outcome: Outcome::Checked(CodeVerdict::Right),
        },
        Exchange {
            call: Call::CheckCode(handle(None), CODE),
            requests: vec![said(
                "PUT /service/otp/validate",
                &format!(r#"{{"code":"{CODE}","phone_number":"+60123456789"}}"#),
            )],
            outcome: Outcome::Checked(CodeVerdict::Right),
        },
        Exchange {
            call: Call::Balance,
            requests: vec![said("GET /wallet/check-balance", "")],
            outcome: Outcome::Balance(Balance { amount: "12.54".to_owned(), unit: "euros".to_owned() }),
        },
        Exchange {
            call: Call::Push(contact(&[("phone_number", "+60123456789"), ("first_name", "Ann"), ("param1", "a\"b")])),
            requests: vec![said(
                "POST /contact/create",
                r#"{"contacts":[{"first_name":"Ann","param1":"a\"b","phone_number":"+60123456789"}],"list_name":"Customers"}"#,
            )],
            outcome: Outcome::Pushed,
        },
    ]
}

fn said(line: &str, body: &str) -> String {
    format!("{line}\napi-key: {KEY}\napi-login: {LOGIN}\ncontent-type: application/json; charset=utf-8\n\n{body}")
}

fn contact(cells: &[(&str, &str)]) -> ContactRow {
    let cells: BTreeMap<_, _> = cells.iter().map(|(column, cell)| ((*column).to_owned(), (*cell).to_owned())).collect();
    ContactRow { list: "Customers".to_owned(), cells }
}

fn answers() -> Vec<Answered> {
    let code = |status: u16, code: Value| Answer::json(status, json!({"code": code, "message": "refused"}));
    let answered = |call: Call, answer: Answer, outcome| Answered { call, answer, outcome };
    let mut answers = Vec::new();
    for (group, failure) in codes() {
        for number in group {
            // On 200 or on 400, for the pages do not say which.
            for status in [200, 400] {
                let outcome = Err(failure.clone());
                answers.push(answered(Call::Send(outgoing()), code(status, json!(number)), outcome.clone()));
                answers.push(answered(Call::StartCode(code_request()), code(status, json!(number)), outcome));
            }
        }
    }
    let send = |answer, outcome| answered(Call::Send(outgoing()), answer, outcome);
    let start = |answer, outcome| answered(Call::StartCode(code_request()), answer, outcome);
    let check = |answer, outcome| answered(Call::CheckCode(handle(Some(TOKEN)), CODE), answer, outcome);
    answers.extend([
        // The message of an earlier attempt with the same request_id.
        send(code(400, json!(120)), Ok(Outcome::Sent(Accepted::default()))),
        send(code(200, json!(120)), Ok(Outcome::Sent(Accepted::default()))),
        start(code(400, json!(120)), Err(Failure::Unknown)),
        send(Answer::json(200, json!({"sms_ticket": TICKET})), Ok(sent(Some(TICKET)))),
        send(Answer::json(201, json!({"code": 0, "sms_ticket": TICKET})), Ok(sent(Some(TICKET)))),
        send(Answer::json(201, json!({"sms_ticket": "a b"})), Ok(sent(None))),
        send(Answer::json(201, json!({"sms_ticket": "a".repeat(129)})), Ok(sent(None))),
        send(Answer::json(201, json!({"sms_ticket": 7})), Err(Failure::Unknown)),
        send(Answer::json(201, json!({"sms_ticket": TICKET, "code": "0"})), Err(Failure::Unknown)),
        send(Answer::json(201, json!({})), Err(Failure::Unknown)),
        send(Answer::json(201, json!([TICKET])), Err(Failure::Unknown)),
        send(code(200, json!(9_999)), Err(Failure::Unknown)),
        send(code(400, json!(9_999)), rejected(Rejection::InvalidContent)),
        send(code(500, json!(104)), Err(Failure::Unknown)),
        send(code(402, json!(104)), rejected(Rejection::InsufficientCredit)),
        send(Answer::new(401, ""), rejected(Rejection::Unauthorized)),
        send(Answer::new(403, ""), rejected(Rejection::Unauthorized)),
        send(Answer::new(402, "<html>"), rejected(Rejection::InsufficientCredit)),
        send(Answer::new(404, ""), Err(Failure::Unavailable)),
        send(code(429, json!(128)).with_header("retry-after", "9"), throttled(Some(9))),
        start(Answer::json(201, json!({"code": 0})), Ok(Outcome::Started(handle(None)))),
        start(Answer::json(201, json!({"otp_request_token": TOKEN})), Err(Failure::Unknown)),
        check(code(400, json!(196)), Ok(Outcome::Checked(CodeVerdict::Exhausted))),
        check(code(400, json!(197)), Ok(Outcome::Checked(CodeVerdict::Expired))),
        check(code(400, json!(198)), Ok(Outcome::Checked(CodeVerdict::Unknown))),
        check(code(400, json!(199)), Ok(Outcome::Checked(CodeVerdict::Wrong { checks_left: None }))),
        check(
            Answer::json(400, json!({"code": 199, "message": "Wrong OTP code.", "remaining_number_of_attempts": 3})),
            Ok(Outcome::Checked(CodeVerdict::Wrong { checks_left: Some(3) })),
        ),
        check(code(400, json!(194)), rejected(Rejection::InvalidContent)),
        check(code(400, json!(195)), rejected(Rejection::InvalidContent)),
        check(code(401, json!(101)), rejected(Rejection::Unauthorized)),
        check(Answer::json(200, json!({"message": "success"})), Err(Failure::Unknown)),
        answered(Call::Balance, Answer::json(200, json!({"amount": "3.50", "unit": "euros"})), balance("3.50")),
        answered(Call::Balance, Answer::json(200, json!({"amount": "much", "unit": "euros"})), Err(Failure::Unknown)),
        answered(Call::Balance, Answer::json(200, json!({"amount": 1})), Err(Failure::Unknown)),
        answered(Call::Balance, code(401, json!(101)), rejected(Rejection::Unauthorized)),
        answered(Call::Push(contact(&[("phone_number", "+60123456789")])), code(400, json!(304)), {
            rejected(Rejection::InvalidContent)
        }),
    ]);
    answers
}

/// Every code of the vendor's pages, but those of a check and of a repeated send.
fn codes() -> Vec<(Vec<i64>, Failure)> {
    let rejected = Failure::Rejected;
    vec![
        (vec![101, 108, 109, 113, 114, 123, 124, 201, 204, 207, 209, 300], rejected(Rejection::Unauthorized)),
        (vec![104, 105], rejected(Rejection::InsufficientCredit)),
        (vec![103, 110, 117, 150, 151, 152], rejected(Rejection::InvalidRecipient)),
        (vec![100, 102, 106, 107, 111, 112, 115, 116, 118, 119, 121, 122, 208], rejected(Rejection::InvalidContent)),
        (vec![301, 302, 303, 304, 305, 306, 308], rejected(Rejection::InvalidContent)),
        (vec![128, 153], Failure::Throttled { after: None }),
        (vec![125, 126, 127, 129, 130, 131, 132, 133, 202, 203, 205, 206, 210, 500, 501], Failure::Unknown),
    ]
}

fn throttled(seconds: Option<u64>) -> verigate::error::Result<Outcome, Failure> {
    Err(Failure::Throttled { after: seconds.map(Duration::from_secs) })
}

fn balance(amount: &str) -> verigate::error::Result<Outcome, Failure> {
    Ok(Outcome::Balance(Balance { amount: amount.to_owned(), unit: "euros".to_owned() }))
}

fn receipts() -> Vec<(ReceiptCall, Result<Vec<Reported>, Kind>)> {
    let posted = |body: Value| ReceiptCall { body: body.to_string().into_bytes(), ..ReceiptCall::default() };
    let word = |word: &str| {
        posted(json!({
            "channel": "SMS", "message_id": TICKET, "number": "+60123456789", "status": word,
            "delivery_date": "2026-11-23 10:00:00", "meta_data": {},
        }))
    };
    let reported = |status| Ok(vec![Reported { of: ReportedMessage::Theirs(TICKET.to_owned()), status, at: NOW }]);
    let mut receipts = Vec::new();
    for delivered in ["DELIVERED", "READ", "OPENED", "CLICKED"] {
        receipts.push((word(delivered), reported(ReceiptStatus::Delivered)));
    }
    for failed in
        ["NOT_DELIVERED", "NOT_ALLOWED", "BAD_DESTINATION", "BLACKLISTED_NUMBER", "NOT_DELIVERABLE", "BUSY", "REFUSED"]
    {
        receipts.push((word(failed), reported(ReceiptStatus::Undelivered)));
    }
    for open in [
        "ACK",
        "UNKNOWN_DELIVERY",
        "UNDEFINED",
        "TRANSMITTED",
        "ISP_SEND",
        "PROCESSED",
        "SPAM_PRESUMPTION",
        "delivered",
    ] {
        receipts.push((word(open), Ok(vec![])));
    }
    for odd in
        [json!({"message_id": TICKET}), json!({"status": "DELIVERED"}), json!({"message_id": 1, "status": "ACK"})]
    {
        receipts.push((posted(odd), Err(Kind::Invalid)));
    }
    receipts
}

#[tokio::test]
async fn what_the_vendor_would_change_never_leaves() {
    let server = VendorServer::start(script).await;
    let config = (subject().config)(&server.url());
    let vendor = (subject().build)(config).unwrap();
    let content = Failure::Rejected(Rejection::InvalidContent);
    let long = "x".repeat(1225);
    for outgoing in [
        Outgoing { sender: Some("Acme Inc.".to_owned()), ..outgoing() },
        Outgoing { sender: Some("Ab".to_owned()), ..outgoing() },
        Outgoing { text: SecretString::from(""), ..outgoing() },
        Outgoing { text: SecretString::from(long.as_str()), ..outgoing() },
        Outgoing { text: SecretString::from("Dear {first_name}"), ..outgoing() },
    ] {
        assert_eq!(vendor.send(&outgoing).await, Err(content.clone()), "{outgoing:?}");
    }
    let codes = vendor.codes().unwrap();
    let limits = codes.limits();
    assert_eq!((limits.lengths.clone(), limits.cancel, limits.template), (4..=32, false, true));
    for request in [
        CodeRequest { length: 3, ..code_request() },
        CodeRequest { length: 33, ..code_request() },
        CodeRequest { lifetime: Duration::from_millis(2_999), ..code_request() },
        CodeRequest { lifetime: Duration::from_millis(3_500), ..code_request() },
        CodeRequest { lifetime: Duration::from_secs(10_000_001), ..code_request() },
        CodeRequest { sender: Some("Acme Inc.".to_owned()), ..code_request() },
        CodeRequest { template: Some("no place for it".to_owned()), ..code_request() },
        CodeRequest { template: Some(format!("{{code}} {long}")), ..code_request() },
    ] {
        assert_eq!(codes.start(&request).await, Err(content.clone()), "{request:?}");
    }
    let email = CodeRequest { channel: Channel::Email, ..code_request() };
    assert_eq!(codes.start(&email).await, Err(Failure::Rejected(Rejection::InvalidRecipient)));

    let book = vendor.contacts().unwrap();
    let number = ("phone_number", "+60123456789");
    let cell = "x".repeat(51);
    let listed = |list: &str| ContactRow { list: list.to_owned(), ..contact(&[number]) };
    for row in [
        contact(&[number, ("birthday", "1990-01-01")]),
        contact(&[number, ("param1", &cell)]),
        listed(""),
        listed(&"x".repeat(31)),
    ] {
        assert_eq!(book.push(&row).await, Err(content.clone()), "{row:?}");
    }
    for row in [contact(&[]), contact(&[("phone_number", "0123456789")]), contact(&[("phone_number", "+12 34 56 78")])]
    {
        assert_eq!(book.push(&row).await, Err(Failure::Rejected(Rejection::InvalidRecipient)), "{row:?}");
    }
    assert_eq!(server.requests(), []);
}
