//! Vendors that are described in configuration: two from the example file through the whole suite, and what a
//! description may and may not say.

use std::collections::BTreeMap;
use std::sync::Arc;

use secrecy::SecretString;
use serde_json::{Value, json};
use verigate::clock::Timestamp;
use verigate::error::{Kind, Result};
use verigate::recipient::{Email, Recipient};
use verigate::vendor::declarative::Config;
use verigate::vendor::{
    Accepted, Channel, Failure, FeedbackOutcome, Outgoing, ReceiptCall, ReceiptStatus, Rejection, Reported,
    ReportedMessage, Vendor,
};

use crate::support::vendor_server::{Answer, Fault, Recorded, VendorServer};
use crate::vendors::suite::{NOW, outgoing, read};

/// What operators copy from.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/vendors-by-configuration.toml");

fn build(config: Value) -> Result<Arc<dyn Vendor>> {
    Ok(Arc::new(read::<Config>(config)?.build("main")?) as Arc<dyn Vendor>)
}

/// A vendor of the example, at another host and with the secret at hand.
fn example(name: &str, host: &str, url: &str, secret: &str) -> Value {
    let text = std::fs::read_to_string(EXAMPLE).unwrap();
    let example: Value = toml::from_str(&text).unwrap();
    let mut vendor = example["vendors"][name].clone();
    let members = vendor.as_object_mut().unwrap();
    assert_eq!(members.remove("kind"), Some(json!("http")));
    assert!(members.remove("secret_file").is_some());
    members.insert("secret".to_owned(), json!(secret));
    let moved = |place: &Value| json!(place.as_str().unwrap().replace(host, url));
    members.insert("url".to_owned(), moved(&members["url"]));
    if let Some(feedback) = members.get_mut("feedback") {
        feedback["url"] = moved(&feedback["url"]);
    }
    vendor
}

fn reported(of: ReportedMessage, status: ReceiptStatus, at: Timestamp) -> Reported {
    Reported { of, status, at }
}

fn ours(reference: &str) -> ReportedMessage {
    ReportedMessage::Ours(reference.to_owned())
}

mod twilio {
    use super::*;
    use crate::vendors::suite::{Answered, Call, Exchange, Outcome, Subject, outgoing, rejected, sent, suite};

    const TOKEN: &str = "twilio-test-token-8be1";
    const PAIR: &str = "QUMwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDp0d2lsaW8tdGVzdC10b2tlbi04YmUx";
    const SID: &str = "SM5f6c4ba7156940b1a2c3d4e5f6a7b8c9";

    suite!(subject);

    fn subject() -> Subject {
        Subject {
            config: |url| example("twilio", "https://api.twilio.com", url, TOKEN),
            build,
            script: |_| Answer::json(201, json!({"sid": SID, "status": "queued", "error_code": null})),
            secrets: &[TOKEN, PAIR],
            exchanges: vec![
                Exchange {
                    call: Call::Send(outgoing()),
                    requests: vec![posted(
                        "From=Acme&",
                        "StatusCallback=https%3A%2F%2Fhooks.example%2Freceipts%2Fmain%2Ftoken-5c1d%2Fm-1&",
                    )],
                    outcome: sent(Some(SID)),
                },
                Exchange {
                    call: Call::Send(Outgoing { sender: None, receipt_url: None, ..outgoing() }),
                    requests: vec![posted("", "")],
                    outcome: sent(Some(SID)),
                },
                told(FeedbackOutcome::Received, "confirmed"),
                told(FeedbackOutcome::NotReceived, "unconfirmed"),
            ],
            answers: answers(),
            // Of the answer to feedback nothing but its status is needed.
            departure: |fault, call| match (fault, call) {
                (Fault::Html, Call::Feedback(..)) => Some(Ok(Outcome::Told)),
                _ => None,
            },
            receipts: receipts(),
            misconfigured: vec![
                (json!({"secret": " "}), "secret"),
                (json!({"secret": null}), "secret"),
                (json!({"url": "http://sms.example/{username}"}), "url"),
                (json!({"channels": []}), "channels"),
                (json!({"channels": ["pigeon"]}), "pigeon"),
                (json!({"form": {"Body": "{txt}"}}), "form.Body"),
                (json!({"answer": null}), "answer.id"),
            ],
        }
    }

    fn told(outcome: FeedbackOutcome, word: &str) -> Exchange {
        let request = format!(
            "POST /2010-04-01/Accounts/AC00000000000000000000000000000000/Messages/{SID}/Feedback.json
\
             authorization: Basic {PAIR}\ncontent-type: application/x-www-form-urlencoded\n\nOutcome={word}"
        );
        Exchange { call: Call::Feedback(SID, outcome), requests: vec![request], outcome: Outcome::Told }
    }

    fn posted(from: &str, callback: &str) -> String {
        format!(
            "POST /2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json\nauthorization: Basic {PAIR}\n\
             content-type: application/x-www-form-urlencoded\n\n\
             Body=Your%20verification%20code%20is%20480913.&{from}ProvideFeedback=true&{callback}To=%2B60123456789"
        )
    }

    fn answers() -> Vec<Answered> {
        let refused = |status: u16, code: i64| {
            Answer::json(status, json!({"code": code, "message": "no", "status": status, "more_info": "https://…"}))
        };
        let send = |answer, outcome| Answered { call: Call::Send(outgoing()), answer, outcome };
        let call = Call::Feedback(SID, FeedbackOutcome::Received);
        let tell = |answer, outcome| Answered { call: call.clone(), answer, outcome };
        let unknown = || Err::<Outcome, _>(Failure::Unknown);
        vec![
            send(refused(400, 21211), rejected(Rejection::InvalidRecipient)),
            send(refused(400, 21614), rejected(Rejection::InvalidRecipient)),
            send(refused(400, 21617), rejected(Rejection::InvalidContent)),
            send(refused(400, 21606), rejected(Rejection::InvalidContent)),
            send(refused(400, 21610), rejected(Rejection::Blocked)),
            send(refused(400, 21408), rejected(Rejection::Unauthorized)),
            send(refused(401, 20003), rejected(Rejection::Unauthorized)),
            send(refused(429, 20429), Err(Failure::Throttled { after: None })),
            // A code that the description does not know: by its status.
            send(refused(400, 29999), rejected(Rejection::InvalidContent)),
            send(refused(404, 20404), Err(Failure::Unavailable)),
            send(refused(500, 20500), unknown()),
            send(Answer::new(401, ""), rejected(Rejection::Unauthorized)),
            send(Answer::json(201, json!({"sid": SID.repeat(4)})), Ok(sent(None))),
            send(Answer::json(201, json!({"sid": "a b"})), Ok(sent(None))),
            send(Answer::json(201, json!({"status": "queued"})), unknown()),
            send(Answer::json(201, json!([SID])), unknown()),
            tell(Answer::json(201, json!({"outcome": "confirmed"})), Ok(Outcome::Told)),
            tell(Answer::new(204, ""), Ok(Outcome::Told)),
            // What its codes mean for a send they do not mean here.
            tell(refused(404, 21610), Err(Failure::Unavailable)),
            tell(refused(401, 20003), rejected(Rejection::Unauthorized)),
            tell(refused(500, 20500), unknown()),
        ]
    }

    /// The hashes were made with another program, over the URL and the fields in order of their names.
    fn receipts() -> Vec<(ReceiptCall, Result<Vec<Reported>, Kind>)> {
        let form = |status: &str| format!("SmsSid={SID}&MessageStatus={status}&To=%2B60123456789&AccountSid=AC0+1");
        let call = |status: &str, signature: &str| {
            let headers = vec![("x-twilio-signature".to_owned(), signature.to_owned())];
            ReceiptCall { rest: "m-1".to_owned(), headers, body: form(status).into_bytes(), ..ReceiptCall::default() }
        };
        let is = |status| Ok(vec![reported(ours("m-1"), status, NOW)]);
        let moved = ReceiptCall { rest: "m-2".to_owned(), ..call("delivered", DELIVERED) };
        let queried = ReceiptCall { query: vec![("a".to_owned(), "b".to_owned())], ..call("delivered", DELIVERED) };
        vec![
            (call("delivered", DELIVERED), is(ReceiptStatus::Delivered)),
            (call("failed", FAILED), is(ReceiptStatus::Undelivered)),
            (call("sent", SENT), Ok(vec![])),
            (call("failed", DELIVERED), Err(Kind::Unauthenticated)),
            (call("delivered", ""), Err(Kind::Unauthenticated)),
            (call("delivered", "no base64!"), Err(Kind::Unauthenticated)),
            (moved, Err(Kind::Unauthenticated)),
            (queried, Err(Kind::Unauthenticated)),
        ]
    }

    const DELIVERED: &str = "3ZX8kXrSxdfq4zfK8P/DMR0CHpo=";
    const FAILED: &str = "/S5ITXd2Wt+NJ8EVSzsaEL1LAv8=";
    const SENT: &str = "7IP0CQVgvPUQZvHnsMkDF1J53H4=";

    #[tokio::test]
    async fn a_text_that_the_vendor_would_refuse_for_its_length_is_not_sent() {
        let server = VendorServer::start(|_| Answer::json(201, json!({"sid": SID}))).await;
        let vendor = build((subject().config)(&server.url())).unwrap();
        let text = |characters| Outgoing { text: SecretString::from("é".repeat(characters)), ..outgoing() };
        assert!(vendor.send(&text(1600)).await.is_ok());
        let refused = Err(Failure::Rejected(Rejection::InvalidContent));
        assert_eq!(vendor.send(&text(1601)).await, refused);
        assert_eq!(server.requests().len(), 1);
    }
}

mod infobip {
    use super::*;
    use crate::vendors::suite::{
        Answered, Call, Exchange, Outcome, Subject, TEXT, no_departure, outgoing, rejected, sent, suite,
    };

    const KEY: &str = "infobip-test-key-c90f";
    const ID: &str = "44623520261195364";

    suite!(subject);

    fn subject() -> Subject {
        Subject {
            config: |url| example("infobip", "https://xxxxx.api.infobip.com", url, KEY),
            build,
            script: |_| answer("PENDING", "PENDING_ACCEPTED"),
            secrets: &[KEY],
            exchanges: vec![Exchange {
                call: Call::Send(outgoing()),
                requests: vec![format!(
                    "POST /sms/3/messages\nauthorization: App {KEY}\ncontent-type: application/json; charset=utf-8\n\n{}",
                    json!({"messages": [{
                        "sender": "Acme",
                        "destinations": [{"to": "60123456789", "messageId": "m-1"}],
                        "content": {"text": TEXT},
                        "webhooks": {
                            "delivery": {"url": "https://hooks.example/receipts/main/token-5c1d/m-1"},
                            "contentType": "application/json",
                        },
                    }]})
                )],
                outcome: sent(Some(ID)),
            }],
            answers: answers(),
            departure: no_departure,
            receipts: receipts(),
            misconfigured: vec![
                (json!({"secret": null}), "secret"),
                (json!({"answer": {"id": "messages"}}), "answer.id"),
                (json!({"json": {"a": [{"b": "}"}]}}), "json.a[0].b"),
            ],
        }
    }

    fn answer(group: &str, name: &str) -> Answer {
        let status = json!({"groupName": group, "name": name, "id": 1});
        Answer::json(200, json!({"bulkId": "b", "messages": [{"messageId": ID, "status": status, "destination": "6"}]}))
    }

    fn answers() -> Vec<Answered> {
        let send = |answer, outcome| Answered { call: Call::Send(outgoing()), answer, outcome };
        let unknown = || Err::<Outcome, _>(Failure::Unknown);
        vec![
            send(answer("PENDING", "PENDING_ENROUTE"), Ok(sent(Some(ID)))),
            send(answer("REJECTED", "REJECTED_NOT_ENOUGH_CREDITS"), rejected(Rejection::InsufficientCredit)),
            send(answer("REJECTED", "REJECTED_DND"), rejected(Rejection::Blocked)),
            send(answer("REJECTED", "REJECTED_DESTINATION"), rejected(Rejection::InvalidRecipient)),
            send(answer("REJECTED", "REJECTED_SOMETHING_NEW"), rejected(Rejection::InvalidContent)),
            send(answer("REJECTED", "REJECTED_FLOODING_FILTER"), Err(Failure::Throttled { after: None })),
            send(answer("REJECTED", "REJECTED_SYSTEM_ERROR"), unknown()),
            send(answer("SOMETHING", "NEW"), unknown()),
            send(Answer::json(200, json!({"messages": [{"messageId": ID}]})), unknown()),
            send(Answer::json(200, json!({"messages": [{"status": {"groupName": "PENDING"}}]})), unknown()),
            send(Answer::json(401, json!({"errorCode": "E401"})), rejected(Rejection::Unauthorized)),
            send(Answer::json(400, json!({"errorCode": "E400"})), rejected(Rejection::InvalidContent)),
            send(Answer::json(503, json!({"errorCode": "E503"})), unknown()),
        ]
    }

    fn receipts() -> Vec<(ReceiptCall, Result<Vec<Reported>, Kind>)> {
        let call = |results: Value| {
            let body = json!({ "results": results }).to_string().into_bytes();
            ReceiptCall { rest: "other".to_owned(), body, ..ReceiptCall::default() }
        };
        let result = |id: &str, group: &str, name: &str| json!({"messageId": id, "doneAt": "2026-11-22T05:10:00.250+0000", "status": {"groupName": group, "name": name}});
        let at = Timestamp::from_millis(1_795_324_200_250);
        let mut late = result("m-1", "EXPIRED", "EXPIRED_EXPIRED");
        late["doneAt"] = json!("2030-01-01T00:00:00.000+0000");
        vec![
            (
                call(json!([
                    result("m-1", "DELIVERED", "DELIVERED_TO_HANDSET"),
                    result("m-2", "UNDELIVERABLE", "UNDELIVERABLE_NOT_DELIVERED"),
                    result("m-3", "PENDING", "PENDING_ENROUTE"),
                    result("m-4", "DELIVERED", "DELIVERED_TO_OPERATOR"),
                    {"messageId": 7},
                    "nonsense",
                ])),
                Ok(vec![
                    reported(ours("m-1"), ReceiptStatus::Delivered, at),
                    reported(ours("m-2"), ReceiptStatus::Undelivered, at),
                ]),
            ),
            // A clock ahead of ours.
            (call(json!([late])), Ok(vec![reported(ours("m-1"), ReceiptStatus::Expired, NOW)])),
            (call(json!([])), Ok(vec![])),
            (call(json!([{"messageId": "m-1"}])), Err(Kind::Invalid)),
            (call(json!({"messageId": "m-1"})), Err(Kind::Invalid)),
        ]
    }
}

/// Enough to be sent, by whatever method.
fn least(url: &str) -> Value {
    json!({"channels": ["sms", "email"], "method": "GET", "url": format!("{url}/send/{{reference}}?to={{recipient}}&text={{text}}&from={{sender}}")})
}

fn with(mut config: Value, patch: Value) -> Value {
    for (key, value) in patch.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

async fn yes() -> VendorServer {
    VendorServer::start(|_| Answer::new(200, "OK")).await
}

#[tokio::test]
async fn values_are_escaped_for_where_they_stand() {
    let server = yes().await;
    let nasty = "a&b=c#d?e/../%41 \"\\\n{secret}\u{202e}é+";
    let message = Outgoing {
        text: SecretString::from(nasty),
        sender: Some("../x&to=1".to_owned()),
        recipient: Recipient::Email(Email::parse("ann+x@example.com").unwrap()),
        channel: Channel::Email,
        ..outgoing()
    };
    let escaped = "a%26b%3Dc%23d%3Fe%2F..%2F%2541%20%22%5C%0A%7Bsecret%7D%E2%80%AE%C3%A9%2B";
    build(least(&server.url())).unwrap().send(&message).await.unwrap();
    let sent = server.requests().pop().unwrap();
    assert_eq!(
        (sent.method.as_str(), sent.target.as_str()),
        ("GET", format!("/send/m-1?to=ann%2Bx%40example.com&text={escaped}&from=..%2Fx%26to%3D1").as_str())
    );
    assert_eq!(sent.header("content-type"), None);

    let url = format!("{}/send", server.url());
    let form = json!({"channels": ["email"], "method": "PUT", "url": url, "form": {"a b": "{{{text}}}", "z": "1"}});
    build(form).unwrap().send(&message).await.unwrap();
    let sent = server.requests().pop().unwrap();
    assert_eq!(sent.method, "PUT");
    assert_eq!(String::from_utf8(sent.body).unwrap(), format!("a%20b=%7B{escaped}%7D&z=1"));

    let body = json!({"n": 1, "b": true, "t": ["<{text}>", "{recipient.digits}"], "no": {"sender": "{receipt_url}"}});
    let message = Outgoing { receipt_url: None, ..message };
    build(json!({"channels": ["email"], "url": url, "json": body})).unwrap().send(&message).await.unwrap();
    let sent = server.requests().pop().unwrap();
    assert_eq!(sent.json(), json!({"n": 1, "b": true, "t": [format!("<{nasty}>")], "no": {}}));
}

#[tokio::test]
async fn a_header_takes_no_second_line() {
    let server = yes().await;
    let headers = json!({"headers": {"X-From": "{sender}", "X-Key": "k-{secret}"}, "secret": "s3cret"});
    let vendor = build(with(least(&server.url()), headers)).unwrap();
    vendor.send(&outgoing()).await.unwrap();
    let sent = server.requests().pop().unwrap();
    assert_eq!((sent.header("x-from"), sent.header("x-key")), (Some("Acme"), Some("k-s3cret")));
    vendor.send(&Outgoing { sender: None, ..outgoing() }).await.unwrap();
    assert_eq!(server.requests().pop().unwrap().header("x-from"), None);
    let forged = Outgoing { sender: Some("Acme\r\nX-Key: other".to_owned()), ..outgoing() };
    assert_eq!(vendor.send(&forged).await, Err(Failure::Rejected(Rejection::InvalidContent)));
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn without_a_description_of_answers_http_decides() {
    let server = yes().await;
    let vendor = build(least(&server.url())).unwrap();
    assert_eq!(vendor.send(&outgoing()).await, Ok(Accepted::default()));
    // E-mail channels have e-mail addresses, and the others have none.
    let message = Outgoing { channel: Channel::Email, ..outgoing() };
    assert_eq!(vendor.send(&message).await, Err(Failure::Rejected(Rejection::InvalidRecipient)));
    assert!(!vendor.capabilities().receipts && !vendor.capabilities().idempotent);
}

#[tokio::test]
async fn statuses_can_be_told_another_meaning() {
    let statuses = json!({"accepted": [409], "unavailable": ["503"], "throttled": [420], "blocked": [200]});
    for (status, outcome) in [
        (409, Ok(Accepted::default())),
        (503, Err(Failure::Unavailable)),
        (420, Err(Failure::Throttled { after: Some(std::time::Duration::from_secs(3)) })),
        (200, Err(Failure::Rejected(Rejection::Blocked))),
        (201, Ok(Accepted::default())),
        (500, Err(Failure::Unknown)),
    ] {
        let answer = move |_: &Recorded| Answer::new(status, "").with_header("retry-after", "3");
        let server = VendorServer::start(answer).await;
        let vendor = build(with(least(&server.url()), json!({"answer": {"statuses": statuses}}))).unwrap();
        assert_eq!(vendor.send(&outgoing()).await, outcome, "{status}");
    }
}

/// A vendor that names messages, and this description of how it takes feedback.
fn feedback(url: &str, feedback: Value) -> Value {
    with(least(url), json!({"answer": {"id": "/id"}, "feedback": feedback}))
}

#[tokio::test]
async fn feedback_is_told_as_it_is_described() {
    let server = yes().await;
    let there = format!("{}/feedback", server.url());
    let tell = async |description: Value, id: &str, outcome| {
        let vendor = build(feedback(&server.url(), description)).unwrap();
        let feedback = vendor.feedback().unwrap();
        (feedback.takes(outcome), feedback.tell(id, outcome).await)
    };
    let (yes, no) = (FeedbackOutcome::Received, FeedbackOutcome::NotReceived);
    let json = json!({"url": there, "method": "PUT", "headers": {"x-id": "<{id}>"},
        "json": {"of": "{id}", "came": ["{outcome}"]}, "received": "\"1\"", "not_received": "0"});
    assert_eq!(tell(json.clone(), "a/b&c", yes).await, (true, Ok(())));
    let sent = server.requests().pop().unwrap();
    assert_eq!((sent.method.as_str(), sent.path(), sent.header("x-id")), ("PUT", "/feedback", Some("<a/b&c>")));
    assert_eq!(sent.json(), json!({"of": "a/b&c", "came": ["\"1\""]}));
    tell(json, "x", no).await.1.unwrap();
    assert_eq!(server.requests().pop().unwrap().json(), json!({"of": "x", "came": ["0"]}));

    // With one thing to tell it needs no word; nothing else is told.
    let only = json!({"url": format!("{there}/{{id}}?a={{id}}"), "method": "GET"});
    assert_eq!(tell(only.clone(), "a/../b c", yes).await, (true, Ok(())));
    let sent = server.requests().pop().unwrap();
    assert_eq!((sent.method.as_str(), sent.target.as_str()), ("GET", "/feedback/a%2F..%2Fb%20c?a=a%2F..%2Fb%20c"));
    let refused = Err(Failure::Rejected(Rejection::InvalidContent));
    assert_eq!(tell(only.clone(), "x", no).await, (false, refused.clone()));
    // Names that lead to another page.
    for id in [".", "..", ""] {
        assert_eq!(tell(only.clone(), id, yes).await, (true, refused.clone()), "{id:?}");
    }
    assert_eq!(server.requests().len(), 3);
    assert!(build(least(&server.url())).unwrap().feedback().is_none());
}

#[test]
fn receipts_by_query_and_signatures_over_the_body_are_read() {
    let receipt = json!({"format": "query", "id": "id", "status": ["s"], "delivered": [1], "undelivered": ["2"]});
    let vendor = build(with(least("https://sms.example"), json!({"receipt": receipt}))).unwrap();
    let reader = vendor.receipts().unwrap();
    assert!(!reader.is_signed() && vendor.capabilities().receipts);
    let query = |pairs: &[(&str, &str)]| ReceiptCall {
        query: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..ReceiptCall::default()
    };
    let theirs = ReportedMessage::Theirs("x-1".to_owned());
    let came = reader.read(&query(&[("id", "x-1"), ("s", "1")]), NOW).unwrap();
    assert_eq!(came, [reported(theirs, ReceiptStatus::Delivered, NOW)]);
    assert_eq!(reader.read(&query(&[("id", "x-1"), ("s", "3")]), NOW).unwrap(), []);
    for odd in [&[("id", ""), ("s", "1")][..], &[("s", "1")], &[("id", "x-1")], &[]] {
        assert_eq!(reader.read(&query(odd), NOW).unwrap_err().kind(), Kind::Invalid);
    }

    // HMAC-SHA256 with the key "Jefe" over RFC 4231's second text.
    let signature = json!({"header": "X-Sign", "prefix": "sha256=", "key": "Jefe"});
    let receipt = json!({"format": "form", "status": ["what do ya want for nothing?"], "delivered": [""], "signature": signature});
    let vendor = build(with(least("https://sms.example"), json!({"receipt": receipt}))).unwrap();
    let reader = vendor.receipts().unwrap();
    assert!(reader.is_signed());
    let hash = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    let call = |shown: &[&str]| {
        let headers = shown.iter().map(|shown| ("x-sign".to_owned(), (*shown).to_owned())).collect();
        let body = b"what do ya want for nothing?".to_vec();
        ReceiptCall { rest: "m-1".to_owned(), headers, body, ..ReceiptCall::default() }
    };
    let right = format!("sha256={hash}");
    assert_eq!(reader.read(&call(&[&right]), NOW).unwrap().len(), 1);
    let upper = format!("sha256={}", hash.to_ascii_uppercase());
    assert_eq!(reader.read(&call(&[&upper]), NOW).unwrap().len(), 1);
    for wrong in [&[][..], &[hash], &[&right, &right], &["sha256="], &["sha256=5b"], &["sha256=5"], &["sha256=zz"]] {
        assert_eq!(reader.read(&call(wrong), NOW).unwrap_err().kind(), Kind::Unauthenticated, "{wrong:?}");
    }
}

#[test]
fn a_description_that_makes_no_sense_is_refused_by_its_key() {
    let url = "https://sms.example";
    build(least(url)).unwrap();
    let receipt =
        |patch: Value| json!({"receipt": with(json!({"format": "json", "status": ["/s"], "delivered": ["d"]}), patch)});
    let sign =
        |patch: Value| receipt(json!({"format": "form", "signature": with(json!({"header": "x", "key": "k"}), patch)}));
    let told = |patch: Value| {
        let whole = json!({"url": "https://sms.example/{id}/{outcome}", "received": "y"});
        json!({"answer": {"id": "/id"}, "feedback": with(whole, patch)})
    };
    for (patch, field) in [
        (told(json!({"url": "https://{id}.example/{outcome}"})), "feedback.url"),
        (told(json!({"url": "https://sms.example/{outcome}"})), "feedback.url"),
        (told(json!({"url": "https://sms.example/{id}"})), "feedback.url"),
        (told(json!({"url": "https://sms.example/{id}/{outcome}/{text}"})), "feedback.url"),
        (told(json!({"url": "http://sms.example/{id}/{outcome}"})), "feedback.url"),
        (told(json!({"url": "https://user:hunter2@sms.example/{id}/{outcome}"})), "feedback.url"),
        (told(json!({"received": null})), "feedback.received"),
        (told(json!({"url": "https://sms.example/{id}", "received": null, "not_received": "n"})), "feedback.received"),
        (told(json!({"form": {"to": "{recipient}"}})), "feedback.form.to"),
        (told(json!({"method": "GET", "json": {}})), "feedback.json"),
        (told(json!({"headers": {"x": "{secret}"}})), "secret"),
        (told(json!({"headers": {"Content-Type": "x"}})), "feedback.headers.Content-Type"),
        (with(told(json!({})), json!({"answer": {}})), "answer.id"),
        (json!({"method": "POST", "json": {"a": "{id}"}}), "json.a"),
        (json!({"url": "https://{recipient}.example/?{text}"}), "url"),
        (json!({"url": "https://sms.example/{text}"}), "url"),
        (json!({"url": "https://sms.example/{sender}?{text}"}), "url"),
        (json!({"url": "https://sms.example/?a={text}#x"}), "url"),
        (json!({"url": "https://user:hunter2@sms.example/?a={text}"}), "url"),
        (json!({"url": "https://sms.example/"}), "url"),
        (json!({"url": "https://sms.example/?{text"}), "url"),
        (json!({"url": "https://sms.example/?{text}&{other}"}), "url"),
        (json!({"url": "sms.example/?{text}"}), "url"),
        (json!({"json": {}}), "json"),
        (json!({"form": {}}), "form"),
        (json!({"method": "POST", "json": {}, "form": {}}), "json"),
        (json!({"headers": {"Host": "x"}}), "headers.Host"),
        (json!({"headers": {"a b": "x"}}), "headers.a b"),
        (json!({"headers": {"x": "a\nb"}}), "headers.x"),
        (json!({"headers": {"x": "{secret}"}}), "secret"),
        (json!({"headers": {"x": "{username}"}}), "username"),
        (json!({"username": "u"}), "secret"),
        (json!({"username": "u", "secret": "s", "headers": {"Authorization": "x"}}), "headers.authorization"),
        (json!({"max_text": 0}), "max_text"),
        (json!({"answer": {"code": ["/a"]}}), "answer.code"),
        (json!({"answer": {"codes": {"blocked": [1]}}}), "answer.code"),
        (json!({"answer": {"code": ["a"], "codes": {"blocked": [1]}}}), "answer.code[0]"),
        (json!({"answer": {"code": ["/a"], "codes": {"blocked": [1], "unknown": ["1"]}}}), "answer.codes.unknown"),
        (json!({"answer": {"statuses": {"blocked": [99]}}}), "answer.statuses"),
        (receipt(json!({"status": ["s"]})), "receipt.status[0]"),
        (receipt(json!({"status": []})), "receipt.status"),
        (receipt(json!({"id": "/a", "reference": "/b"})), "receipt.reference"),
        (receipt(json!({"delivered": []})), "receipt.delivered"),
        (receipt(json!({"expired": ["d"]})), "receipt.expired"),
        (receipt(json!({"format": "form", "each": "x"})), "receipt.each"),
        (sign(json!({"header": "a b"})), "receipt.signature.header"),
        (sign(json!({"key": " "})), "receipt.signature.key"),
        (sign(json!({"key": null})), "receipt.signature.key"),
        (sign(json!({"over": "url-and-form"})), "receipt.signature.url"),
        (sign(json!({"url": "https://a.example"})), "receipt.signature.url"),
        (sign(json!({"over": "url-and-form", "url": "http://a.example"})), "receipt.signature.url"),
        (receipt(json!({"format": "query", "signature": {"header": "x", "key": "k"}})), "receipt.signature.over"),
    ] {
        let error = build(with(least(url), patch.clone())).expect_err(&patch.to_string());
        assert_eq!(error.violations()[0].field, field, "{patch}: {error:?}");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
}

#[test]
fn the_example_loads_as_it_stands() {
    let home = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let tenant = "[[tenants]]\nname = \"acme\"\nkeys = [{ id = \"one\", secret = \"secret-of-one\" }]\n";
    let example = std::fs::read_to_string(EXAMPLE).unwrap();
    let example = example.replace("/etc/verigate/twilio.secret", &write("twilio.secret", "one\n"));
    let example = example.replace("/etc/verigate/infobip.secret", &write("infobip.secret", "two\n"));
    let file = write("verigate.toml", &format!("{tenant}{example}"));
    let key_file = ("VERIGATE__STORE__KEY_FILE".to_owned(), write("store.key", "not read here"));
    let loaded = verigate::config::load(Some(file.as_ref()), [key_file].into_iter()).unwrap();
    let vendors: BTreeMap<_, _> = loaded.config.vendors.iter().collect();
    assert_eq!(vendors.len(), 2);
    for (name, section) in vendors {
        assert_eq!(section.kind(), "http");
        section.parse::<Config>().unwrap().build(name).unwrap();
    }
    assert_eq!(loaded.config.routes.len(), 1);
}

/// The manual's examples of vendors do not stop at loading: each is one that can be built.
#[test]
fn the_examples_of_the_manual_are_whole() {
    let plain = |line: &&str| line.strip_prefix('#').is_some_and(|rest| !rest.is_empty() && !rest.starts_with(' '));
    let lines: Vec<_> = verigate::config::DEFAULTS.lines().filter(plain).map(|line| &line[1..]).collect();
    let from = lines.iter().position(|line| line.starts_with("[vendors")).unwrap();
    let to = lines.iter().position(|line| line.starts_with("[[routes")).unwrap();
    let manual: Value = toml::from_str(&lines[from..to].join("\n")).unwrap();
    let example = |name: &str, kind: &str| {
        let mut vendor = manual["vendors"][name].clone();
        assert_eq!(vendor.as_object_mut().unwrap().remove("kind"), Some(json!(kind)));
        vendor
    };
    build(example("other", "http")).unwrap();
    read::<verigate::vendor::octopush::Config>(example("octopush", "octopush")).unwrap().build("main").unwrap();
    read::<verigate::vendor::smtp::Config>(example("mail", "smtp")).unwrap().build("main").unwrap();
}
