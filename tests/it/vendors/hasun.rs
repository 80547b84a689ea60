//! Hasun: what is particular about it.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use verigate::vendor::hasun::Config;
use verigate::vendor::{
    Channel, CodeHandle, CodeRequest, CodeVerdict, Failure, Outgoing, ReceiptStatus, Rejection, Vendor,
};

use crate::support::vendor_server::{Answer, Recorded, VendorServer};
use crate::vendors::suite::{
    Answered, CODE, Call, Exchange, Outcome, Subject, TEXT, code_request, no_departure, not_there, outgoing, phone,
    read, rejected, sent, suite,
};

const TOKEN: &str = "hasun-test-token-4e7b";
const ORGANISATION: &str = "hasun-test-organisation-c20d";
const MASK: &str = "FD43GDET";
const OTHER_MASK: &str = "R432FDES";
const LOCAL: &str = "0771234568";
const ID: &str = "30ce50d2-7b7c-48b9-9c4b-db5bc8345e87";

suite!(subject);

fn subject() -> Subject {
    Subject {
        config: |url| json!({"base_url": url, "token": TOKEN, "organisation_token": ORGANISATION, "mask_token": MASK}),
        build,
        script,
        secrets: &[TOKEN, ORGANISATION, "771234568", "571206"],
        exchanges: exchanges(),
        answers: answers(),
        departure: no_departure,
        receipts: vec![],
        misconfigured: vec![
            (json!({"token": " "}), "token"),
            (json!({"token": null}), "token"),
            (json!({"token": "two\nlines"}), "token"),
            (json!({"organisation_token": ""}), "organisation_token"),
            (json!({"organisation_token": ".."}), "organisation_token"),
            (json!({"organisation_token": null}), "organisation_token"),
            (json!({"mask_token": ""}), "mask_token"),
            (json!({"mask_token": null}), "mask_token"),
            (json!({"mask_tokens": {"ACME": "a b"}}), "mask_tokens"),
            (json!({"base_url": "http://sms.example"}), "base_url"),
            (json!({"send_endpoint": "/sms/send"}), "send_endpoint"),
            (json!({"send_endpoint": "GET /sms/send"}), "send_endpoint"),
            (json!({"send_endpoint": "POST sms/send"}), "send_endpoint"),
            (json!({"start_endpoint": "POST /{organisation}/otp"}), "start_endpoint"),
            (json!({"start_endpoint": "POST /"}), "start_endpoint"),
            (json!({"status_endpoint": "DELETE /sms"}), "status_endpoint"),
            (json!({"status_endpoint": "GET /a/../b"}), "status_endpoint"),
            (json!({"check_endpoint": "GET /otp"}), "check_endpoint"),
            (json!({"check_endpoint": "POST /otp?a=b"}), "check_endpoint"),
        ],
    }
}

fn build(config: Value) -> verigate::error::Result<Arc<dyn Vendor>> {
    Ok(Arc::new(read::<Config>(config)?.build("main")?))
}

fn script(request: &Recorded) -> Answer {
    let call = request.path().strip_prefix("/").and_then(|path| path.strip_prefix(ORGANISATION));
    match call.unwrap_or_default() {
        "/sms/send" => Answer::json(200, json!({"status": "success", "message_uuid": ID})),
        "/sms/status" => Answer::json(200, json!({"status": "delivered"})),
        "/verification/otp/sms/send" => Answer::json(200, json!({"otp_code": 571_206})),
        "/verification/otp/sms/validate" => verdict(200, true, "verified"),
        _ => Answer::new(404, "no such page"),
    }
}

fn exchanges() -> Vec<Exchange> {
    let check = |candidate| Call::CheckCode(handle(MASK), candidate);
    let wrong = || Outcome::Checked(CodeVerdict::Wrong { checks_left: None });
    let mut exchanges = vec![
        Exchange {
            call: Call::Send(text()),
            requests: vec![post(
                "/sms/send",
                &format!(r#"{{"mask_token":"{MASK}","number":"{LOCAL}","message":"{TEXT}"}}"#),
            )],
            outcome: sent(Some(ID)),
        },
        Exchange {
            call: Call::StartCode(request()),
            requests: vec![post(
                "/verification/otp/sms/send",
                &format!(r#"{{"mask_token":"{MASK}","number":"{LOCAL}","expire":300}}"#),
            )],
            outcome: Outcome::Started(handle(MASK)),
        },
        Exchange {
            call: check(CODE),
            requests: vec![validation(MASK, CODE)],
            outcome: Outcome::Checked(CodeVerdict::Right),
        },
        Exchange {
            call: check("012345"),
            requests: vec![validation(MASK, "12345")],
            outcome: Outcome::Checked(CodeVerdict::Right),
        },
        // A code stays with the mask that it was started under.
        Exchange {
            call: Call::CheckCode(handle(OTHER_MASK), CODE),
            requests: vec![validation(OTHER_MASK, CODE)],
            outcome: Outcome::Checked(CodeVerdict::Right),
        },
        Exchange {
            call: Call::Status(ID),
            requests: vec![post("/sms/status", &format!(r#"{{"mask_token":"{MASK}","message_uuid":"{ID}"}}"#))],
            outcome: Outcome::Status(Some(ReceiptStatus::Delivered)),
        },
    ];
    // None of these was ever sent, and as a number some would be.
    for candidate in ["", "48091", "0480913", "4809130", "+80913", "48091 ", " 480913", "4.8e05", "４８０９１３"]
    {
        exchanges.push(Exchange { call: check(candidate), requests: vec![], outcome: wrong() });
    }
    exchanges
}

fn answers() -> Vec<Answered> {
    let error = |status, message: &str| Answer::json(status, json!({"status": "error", "message": message}));
    let mut answers = Vec::new();
    for call in [Call::Send(text()), Call::StartCode(request()), Call::Status(ID), Call::CheckCode(handle(MASK), CODE)]
    {
        for (answer, outcome) in [
            (error(400, "Bad request"), rejected(Rejection::InvalidContent)),
            (error(401, "Unauthenticated."), rejected(Rejection::Unauthorized)),
            (error(403, "Forbidden"), rejected(Rejection::Unauthorized)),
            (error(402, "Insufficient balance"), rejected(Rejection::InsufficientCredit)),
            (error(422, "Invalid number"), rejected(Rejection::InvalidRecipient)),
            (error(422, "The Number Mask is not of this organisation"), rejected(Rejection::InvalidContent)),
            (error(429, "Too many requests"), Err(Failure::Throttled { after: None })),
            (error(500, "Server error"), Err(Failure::Unknown)),
            (error(503, "Service unavailable"), Err(Failure::Unknown)),
            // Says no in a way that nobody documents.
            (error(200, "Invalid number"), Err(Failure::Unknown)),
            (Answer::new(404, "no such page"), not_there(&call)),
            (Answer::json(200, json!({})), Err(Failure::Unknown)),
            (Answer::json(200, json!([])), Err(Failure::Unknown)),
            (Answer::new(200, ""), Err(Failure::Unknown)),
        ] {
            answers.push(Answered { call: call.clone(), answer, outcome });
        }
    }
    let also = |call: &Call, status, body: Value, outcome| Answered {
        call: call.clone(),
        answer: Answer::json(status, body),
        outcome,
    };
    let send = Call::Send(text());
    answers.extend([
        also(&send, 201, json!({"status": "success", "message_uuid": "x-1"}), Ok(sent(Some("x-1")))),
        also(&send, 200, json!({"status": "success"}), Ok(sent(None))),
        also(&send, 200, json!({"status": "success", "message_uuid": "a b"}), Ok(sent(None))),
        also(&send, 200, json!({"message_uuid": ID}), Err(Failure::Unknown)),
        also(&send, 200, json!({"status": true, "message_uuid": ID}), Err(Failure::Unknown)),
    ]);
    let start = Call::StartCode(request());
    answers.extend([
        also(&start, 200, json!({"otp_code": "571206"}), Ok(Outcome::Started(handle(MASK)))),
        also(&start, 200, json!({"otp_code": null}), Err(Failure::Unknown)),
        also(&start, 200, json!({"otp_code": ""}), Err(Failure::Unknown)),
        also(&start, 200, json!({"otp_code": [571_206]}), Err(Failure::Unknown)),
        also(&start, 200, json!({"status": "success"}), Err(Failure::Unknown)),
    ]);
    for (word, status) in [
        ("delivered", Some(ReceiptStatus::Delivered)),
        ("Delivered", Some(ReceiptStatus::Delivered)),
        ("failed", Some(ReceiptStatus::Undelivered)),
        ("expired", Some(ReceiptStatus::Expired)),
        ("pending", None),
        ("sent", None),
        ("nobody knows", None),
    ] {
        answers.push(also(&Call::Status(ID), 200, json!({"status": word}), Ok(Outcome::Status(status))));
    }
    let unknown = json!({"status": "error", "message": "Message not found"});
    answers.push(also(&Call::Status(ID), 404, unknown, Ok(Outcome::Status(None))));
    answers.extend(checks());
    answers
}

fn checks() -> Vec<Answered> {
    let wrong = CodeVerdict::Wrong { checks_left: None };
    let judged = |verdict| Ok(Outcome::Checked(verdict));
    let expired = || Answer::json(400, json!({"status": "error", "message": "OTP code expired"}));
    [
        (verdict(200, false, "invalid"), judged(wrong)),
        (verdict(400, false, "invalid"), judged(wrong)),
        (verdict(422, false, "refused"), judged(wrong)),
        (verdict(400, false, "expired"), judged(CodeVerdict::Expired)),
        (verdict(400, false, "max_attempts"), judged(CodeVerdict::Exhausted)),
        (verdict(404, false, "not_found"), judged(CodeVerdict::Unknown)),
        (verdict(400, false, "already_used"), judged(CodeVerdict::Unknown)),
        (verdict(422, false, "invalid_number"), rejected(Rejection::InvalidRecipient)),
        (expired(), judged(CodeVerdict::Expired)),
        // Whoever looks at the number alone, or at the body alone, would let someone in or shut someone out.
        (verdict(400, true, "verified"), rejected(Rejection::InvalidContent)),
        (verdict(500, true, "verified"), Err(Failure::Unknown)),
        (verdict(401, false, "invalid"), rejected(Rejection::Unauthorized)),
        (verdict(429, false, "rate_limited"), Err(Failure::Throttled { after: None })),
        (verdict(503, false, "unavailable"), Err(Failure::Unknown)),
        (Answer::json(200, json!({"verification": "true"})), Err(Failure::Unknown)),
        (Answer::json(200, json!({"verification": 1})), Err(Failure::Unknown)),
        (Answer::json(200, json!({"reason": "verified"})), Err(Failure::Unknown)),
    ]
    .into_iter()
    .map(|(answer, outcome)| Answered { call: Call::CheckCode(handle(MASK), CODE), answer, outcome })
    .collect()
}

#[tokio::test]
async fn only_what_the_vendor_surely_takes_is_asked_for() {
    let server = VendorServer::start(script).await;
    let vendor = build((subject().config)(&server.url())).unwrap();
    let abroad = Err(Failure::Rejected(Rejection::InvalidRecipient));
    assert_eq!(vendor.send(&outgoing()).await, abroad, "dialled in Sri Lanka it would be another number");
    let codes = vendor.codes().unwrap();
    let malaysian = CodeHandle { recipient: outgoing().recipient, ..handle(MASK) };
    let outcome = codes.check(&malaysian, &SecretString::from(CODE)).await;
    assert_eq!(outcome, Err(Failure::Rejected(Rejection::InvalidRecipient)));
    for odd in [
        CodeRequest { length: 5, ..request() },
        CodeRequest { length: 7, ..request() },
        CodeRequest { lifetime: Duration::from_secs(29), ..request() },
        CodeRequest { lifetime: Duration::from_secs(1_801), ..request() },
        CodeRequest { lifetime: Duration::from_millis(60_500), ..request() },
        CodeRequest { template: Some("{code}".to_owned()), ..request() },
    ] {
        let outcome = codes.start(&odd).await;
        assert_eq!(outcome, Err(Failure::Rejected(Rejection::InvalidContent)), "{odd:?}");
    }
    let voice = CodeRequest { channel: Channel::Voice, ..request() };
    assert_eq!(codes.start(&voice).await, Err(Failure::Rejected(Rejection::InvalidRecipient)));
    assert_eq!(codes.cancel(&handle(MASK)).await, Ok(()));
    assert_eq!(server.requests(), []);
}

#[tokio::test]
async fn addresses_and_masks_are_as_configured() {
    let server = VendorServer::start(|request: &Recorded| match request.path() {
        "/api/a%2Fb/text" => Answer::json(200, json!({"status": "success", "message_uuid": ID})),
        "/api/status" => Answer::json(200, json!({"status": "failed"})),
        _ => Answer::json(200, json!({"otp_code": 1})),
    })
    .await;
    let vendor = build(json!({
        "base_url": format!("{}/api", server.url()), "token": TOKEN, "organisation_token": "a/b", "mask_token": MASK,
        "mask_tokens": {"Acme": OTHER_MASK},
        "send_endpoint": "PUT /{organisation_token}/text",
        "status_endpoint": "GET /status",
        "start_endpoint": "POST /otp/{organisation_token}",
    }))
    .unwrap();
    vendor.send(&text()).await.unwrap();
    let status = vendor.statuses().unwrap().status("a&b").await;
    assert_eq!(status, Ok(Some(ReceiptStatus::Undelivered)));
    assert_eq!(vendor.codes().unwrap().start(&request()).await, Ok(handle(OTHER_MASK)));
    vendor.send(&Outgoing { sender: None, ..text() }).await.unwrap();

    let requests = server.requests();
    let seen: Vec<_> = requests.iter().map(|request| format!("{} {}", request.method, request.target)).collect();
    let status = format!("GET /api/status?mask_token={MASK}&message_uuid=a%26b");
    assert_eq!(seen, ["PUT /api/a%2Fb/text", &status, "POST /api/otp/a%2Fb", "PUT /api/a%2Fb/text"]);
    let masks: Vec<_> = requests.iter().map(|request| request.json()["mask_token"].clone()).collect();
    assert_eq!(masks, [json!(OTHER_MASK), Value::Null, json!(OTHER_MASK), json!(MASK)]);
    assert!(requests.iter().all(|request| request.header("authorization") == Some(&format!("Bearer {TOKEN}"))));
}

fn text() -> Outgoing {
    Outgoing { recipient: phone("+94771234568"), ..outgoing() }
}

fn request() -> CodeRequest {
    CodeRequest { recipient: phone("+94771234568"), ..code_request() }
}

/// The vendor names no code, so the mask stands for it.
fn handle(mask: &str) -> CodeHandle {
    CodeHandle { vendor_reference: Some(mask.to_owned()), channel: Channel::Sms, recipient: phone("+94771234568") }
}

fn verdict(status: u16, verification: bool, reason: &str) -> Answer {
    Answer::json(status, json!({"verification": verification, "reason": reason, "message": "OTP code"}))
}

fn validation(mask: &str, otp: &str) -> String {
    post("/verification/otp/sms/validate", &format!(r#"{{"mask_token":"{mask}","number":"{LOCAL}","otp":{otp}}}"#))
}

fn post(path: &str, body: &str) -> String {
    format!(
        "POST /{ORGANISATION}{path}\nauthorization: Bearer {TOKEN}\ncontent-type: application/json; charset=utf-8\n\n{body}"
    )
}
