//! eSMS Malaysia: what is particular about it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value, json};
use verigate::clock::Timestamp;
use verigate::error::Kind;
use verigate::id::TenantName;
use verigate::vendor::esms::{Config, EsmsVendor};
use verigate::vendor::{
    Balance, Channel, CodeFor, CodeRequest, CodeVerdict, Codes, Failure, Outgoing, ReceiptCall, ReceiptStatus,
    Rejection, Reported, ReportedMessage, Vendor,
};

use crate::support::vendor_server::{Answer, Fault, Recorded, VendorServer};
use crate::vendors::suite::{
    Answered, CODE, Call, Exchange, NOW, Outcome, PHONE, RECEIPT_URL, Subject, TEXT, code_request, handle,
    no_departure, not_there, outgoing, phone, read, rejected, sent, suite,
};

const USER: &str = "esms-test-key";
const PASS: &str = "esms-test-secret-7f3a";
const ID: &str = "88ce9c6e-1707-41b8-95a2-91d228001fc7";
/// The app-id of tenant `dev`.
const HANDLE: &str = "7";

suite!(subject);

fn subject() -> Subject {
    Subject {
        config: |url| json!({"base_url": url, "user": USER, "pass": PASS, "app_ids": {"dev": 7, "acme": 1}}),
        build: |config| Ok(Arc::new(read::<Config>(config)?.build("main")?) as Arc<dyn Vendor>),
        script,
        secrets: &[USER, PASS],
        exchanges: exchanges(),
        answers: [sends(), starts(), checks(), balances()].concat(),
        departure: no_departure,
        receipts: reports(),
        misconfigured: vec![
            (json!({"user": " "}), "user"),
            (json!({"user": null}), "user"),
            (json!({"pass": ""}), "pass"),
            (json!({"base_url": "http://sms.example"}), "base_url"),
            (json!({"base_url": "sms"}), "base_url"),
            (json!({"timeout": "soon"}), "such as"),
            (json!({"app_ids": {"dev": 7, "acme": 7}}), "app_ids"),
            (json!({"app_ids": {"dev": 0}}), "app_ids"),
            (json!({"app_ids": {"Dev Team": 1}}), "63"),
            (json!({"app_ids": {"dev": -1}}), "u32"),
        ],
    }
}

/// The vendor's checks, in the order that its users have seen.
fn script(request: &Recorded) -> Answer {
    let body = request.json();
    let has = |names: &[&str]| names.iter().all(|name| body[name].as_str().is_some_and(|value| !value.is_empty()));
    let to_number = |name: &str, text: &str| match body[name].as_str().unwrap() {
        to if !to.bytes().all(|byte| byte.is_ascii_digit()) => Some(9),
        to if to.starts_with('0') => Some(4),
        to if to.starts_with("60") && !text.starts_with("RM0.00 ") => Some(10),
        _ => None,
    };
    let sent = json!({"status": 0, "creditDeducted": 1, "message": "ok", "id": ID, "parts": 1, "type": 0});
    match request.path() {
        "/sms/send" if !has(&["user", "pass", "to", "msg"]) => status(1),
        "/sms/send" => to_number("to", body["msg"].as_str().unwrap()).map_or_else(|| Answer::json(200, sent), status),
        "/sms/otp/generate" if !has(&["api-key", "api-secret", "phone"]) => status(1),
        "/sms/otp/generate" if body["app-id"].as_u64().is_none() => status(1),
        "/sms/otp/generate" if !has(&["message"]) && !has(&["brand-name"]) => status(11),
        "/sms/otp/generate" if !(1..=9).contains(&body["duration"].as_u64().unwrap_or_default()) => status(14),
        "/sms/otp/generate" => {
            to_number("phone", body["message"].as_str().unwrap_or("RM0.00 ")).map_or(Answer::json(200, sent), status)
        }
        "/sms/otp/verify" if !has(&["api-key", "api-secret", "phone", "code"]) => status(1),
        "/sms/otp/verify" if body["code"] == CODE => status(0),
        "/sms/otp/verify" => status(16),
        "/sms/balance" if has(&["user", "pass"]) => {
            Answer::json(200, json!({"status": 0, "balance": 279_974, "message": "ok", "id": ID}))
        }
        _ => Answer::new(404, "no such page"),
    }
}

/// In the shape of the vendor's failures.
fn status(status: impl Into<Value>) -> Answer {
    Answer::json(200, json!({"status": status.into(), "message": "refused", "id": ID}))
}

fn exchanges() -> Vec<Exchange> {
    let exchange = |call, path: &str, body: Vec<(&str, Value)>, outcome| Exchange {
        call,
        requests: vec![format!("POST {path}\ncontent-type: application/json; charset=utf-8\n\n{}", object(&body))],
        outcome,
    };
    let send = |dlr: Vec<(&'static str, Value)>| {
        let msg = format!("RM0.00 {TEXT}");
        let head =
            vec![("user", json!(USER)), ("pass", json!(PASS)), ("to", json!("60123456789")), ("msg", json!(msg))];
        [head, dlr].concat()
    };
    let code = |rest: Vec<(&'static str, Value)>| {
        let head = vec![("api-key", json!(USER)), ("api-secret", json!(PASS)), ("phone", json!("60123456789"))];
        [head, rest].concat()
    };
    let started = || Outcome::Started(handle(Some(HANDLE)));
    let own = CodeRequest { template: Some("Kod {code}, sah #duration# minit".to_owned()), ..code_request() };
    let own_words = "RM0.00 Kod #otp#, sah #duration# minit";
    let brand =
        vec![("brand-name", json!("Acme")), ("language", json!("en")), ("duration", json!(5)), ("app-id", json!(7))];
    let message = vec![("message", json!(own_words)), ("duration", json!(5)), ("app-id", json!(7))];
    let checked = |candidate: &str| code(vec![("code", json!(candidate)), ("app-id", json!(7))]);
    let wrong = Outcome::Checked(CodeVerdict::Wrong { checks_left: None });
    let balance = Outcome::Balance(Balance { amount: "279974".to_owned(), unit: "credits".to_owned() });
    vec![
        exchange(
            Call::Send(outgoing()),
            "/sms/send",
            send(vec![("dlr", json!(1)), ("dlr-url", json!(RECEIPT_URL))]),
            sent(Some(ID)),
        ),
        exchange(Call::Send(Outgoing { receipt_url: None, ..outgoing() }), "/sms/send", send(vec![]), sent(Some(ID))),
        exchange(Call::StartCode(code_request()), "/sms/otp/generate", code(brand), started()),
        exchange(Call::StartCode(own), "/sms/otp/generate", code(message), started()),
        exchange(
            Call::CheckCode(handle(Some(HANDLE)), CODE),
            "/sms/otp/verify",
            checked(CODE),
            Outcome::Checked(CodeVerdict::Right),
        ),
        exchange(Call::CheckCode(handle(Some(HANDLE)), "000000"), "/sms/otp/verify", checked("000000"), wrong),
        exchange(Call::Balance, "/sms/balance", vec![("user", json!(USER)), ("pass", json!(PASS))], balance),
    ]
}

/// JSON whose members keep their order.
fn object(members: &[(&str, Value)]) -> String {
    let members: Vec<_> = members.iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
    format!("{{{}}}", members.join(","))
}

fn table(call: &Call, rows: Vec<(Answer, Result<Outcome, Failure>)>) -> Vec<Answered> {
    rows.into_iter().map(|(answer, outcome)| Answered { call: call.clone(), answer, outcome }).collect()
}

/// What every call makes of the statuses that all of them may give, of HTTP statuses, and of nonsense.
fn refusals(call: &Call) -> Vec<Answered> {
    let unknown = || Err(Failure::Unknown);
    let throttled = |after: Option<u64>| Err(Failure::Throttled { after: after.map(Duration::from_secs) });
    let http = |status| Answer::json(status, json!({"status": 0, "id": ID, "balance": 1}));
    let mut rows = vec![
        (status(1), rejected(Rejection::InvalidContent)),
        (status(2), rejected(Rejection::Unauthorized)),
        (status(3), rejected(Rejection::Unauthorized)),
        (status(4), rejected(Rejection::InvalidRecipient)),
        (status(5), rejected(Rejection::InsufficientCredit)),
        (status(6), unknown()),
        (status(7), unknown()),
        (status(8), rejected(Rejection::InvalidContent)),
        (status(9), rejected(Rejection::InvalidRecipient)),
        (status(10), rejected(Rejection::InvalidContent)),
        (status(17), unknown()),
        (status(-1), unknown()),
        (status(i64::MAX), unknown()),
        (http(400), rejected(Rejection::InvalidContent)),
        (http(401), rejected(Rejection::Unauthorized)),
        (http(402), rejected(Rejection::InsufficientCredit)),
        (http(403), rejected(Rejection::Unauthorized)),
        (http(404), not_there(call)),
        (http(429), throttled(None)),
        (http(429).with_header("retry-after", "7"), throttled(Some(7))),
    ];
    for odd in ["-7", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999999999999"] {
        rows.push((http(429).with_header("retry-after", odd), throttled(None)));
    }
    for code in [301, 302, 303, 307, 308, 500, 502, 503, 504] {
        rows.push((http(code), unknown()));
    }
    let nested = format!(r#"{{"status":0,"x":{}"#, "[".repeat(10_000));
    for body in [
        "",
        "null",
        "0",
        "[]",
        r#"[0,"x"]"#,
        "{}",
        r#"{"status":"0","id":"x","balance":1}"#,
        r#"{"status":0.0,"balance":1}"#,
        r#"{"status":null}"#,
        r#"{"status":true}"#,
        r#"{"status":99999999999999999999}"#,
        r#"{"message":"ok","id":"x","balance":1}"#,
        r#"{"status":0,"id":"x","balance":1} and more"#,
        r#"{"status":0,"id":"x","balance":1"#,
        "<html><body>ok</body></html>",
        &nested,
    ] {
        rows.push((Answer::new(200, body), unknown()));
    }
    table(call, rows)
}

fn sends() -> Vec<Answered> {
    let call = Call::Send(outgoing());
    let ok = |body: &str, id| (Answer::new(200, body), Ok(sent(id)));
    let long = format!(r#"{{"status":0,"id":"{}"}}"#, "a".repeat(129));
    let padded = format!(r#"{{"status":0,"id":"x","pad":"{}"}}"#, " ".repeat(64 * 1024 - 100));
    let yes = vec![
        ok(r#"{"status":0,"id":"abc-1"}"#, Some("abc-1")),
        ok(r#"{"status":0}"#, None),
        ok(r#"{"status":0,"id":null}"#, None),
        ok(r#"{"status":0,"id":7}"#, None),
        ok(r#"{"status":0,"id":""}"#, None),
        ok(r#"{"status":0,"id":"a b"}"#, None),
        ok(r#"{"status":0,"id":"a\nb"}"#, None),
        ok(&long, None),
        ok(r#"{"status":0,"id":"x","extra":{"a":[1,2]}}"#, Some("x")),
        ok(&padded, Some("x")),
        // Only a check gives this one.
        (status(16), Err(Failure::Unknown)),
    ];
    [table(&call, yes), refusals(&call)].concat()
}

fn starts() -> Vec<Answered> {
    let call = Call::StartCode(code_request());
    let mut rows = vec![
        (Answer::new(200, r#"{"status":0}"#), Ok(Outcome::Started(handle(Some(HANDLE))))),
        (status(16), Err(Failure::Unknown)),
    ];
    rows.extend((11..=15).map(|code| (status(code), rejected(Rejection::InvalidContent))));
    [table(&call, rows), refusals(&call)].concat()
}

fn checks() -> Vec<Answered> {
    let call = Call::CheckCode(handle(Some(HANDLE)), CODE);
    let checked = |verdict| Ok(Outcome::Checked(verdict));
    let rows = vec![
        (status(0), checked(CodeVerdict::Right)),
        (Answer::new(200, r#"{"status":0}"#), checked(CodeVerdict::Right)),
        (status(16), checked(CodeVerdict::Wrong { checks_left: None })),
    ];
    [table(&call, rows), refusals(&call)].concat()
}

fn balances() -> Vec<Answered> {
    let row = |balance: &str, amount: Option<&str>| {
        let balance_of = |amount: &str| Balance { amount: amount.to_owned(), unit: "credits".to_owned() };
        let outcome = amount.map(|amount| Outcome::Balance(balance_of(amount))).ok_or(Failure::Unknown);
        (Answer::new(200, format!(r#"{{"status":0,"balance":{balance}}}"#)), outcome)
    };
    let rows = vec![
        row("0", Some("0")),
        row("-3", Some("-3")),
        row("12.5", Some("12.5")),
        row("\"7\"", None),
        row("null", None),
    ];
    [table(&Call::Balance, rows), refusals(&Call::Balance)].concat()
}

fn report(rest: &str, query: &[(&str, &str)]) -> ReceiptCall {
    let query = query.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ReceiptCall { rest: rest.to_owned(), query, ..ReceiptCall::default() }
}

fn reports() -> Vec<(ReceiptCall, Result<Vec<Reported>, Kind>)> {
    let said = |status, at| Ok(vec![Reported { of: ReportedMessage::Ours("m-1".to_owned()), status, at }]);
    let of = |status: &str, time: &str| report("m-1", &[("msgId", ID), ("s", status), ("t", time)]);
    // 2026-01-02 15:04:05 at UTC+8.
    let (time, at) = ("20260102150405", Timestamp::from_millis(1_767_337_445_000));
    let mut rows = vec![
        (of("DELIVRD", time), said(ReceiptStatus::Delivered, at)),
        (of("UNDELIV", time), said(ReceiptStatus::Undelivered, at)),
        (of("EXPIRED", time), said(ReceiptStatus::Expired, at)),
        (report("m-1", &[("s", "DELIVRD")]), said(ReceiptStatus::Delivered, NOW)),
        (of("delivrd", time), Ok(vec![])),
        (of("ENROUTE", time), Ok(vec![])),
        (of("", time), Ok(vec![])),
        (report("m-1", &[("t", time)]), Err(Kind::Invalid)),
        (report("m-1", &[("s", "UNDELIV"), ("s", "DELIVRD")]), Err(Kind::Invalid)),
        (report("", &[("s", "DELIVRD")]), Err(Kind::Invalid)),
        (report("m-1/x", &[("s", "DELIVRD")]), Err(Kind::Invalid)),
        (report("m 1", &[("s", "DELIVRD")]), Err(Kind::Invalid)),
        (report(&"m".repeat(129), &[("s", "DELIVRD")]), Err(Kind::Invalid)),
    ];
    // A time that is none, or that we have not reached, is now.
    for time in
        ["", "2026010215040", "20261302150405", "20260230150405", "２０２６", "+0260102150405", "20991231235959"]
    {
        rows.push((of("DELIVRD", time), said(ReceiptStatus::Delivered, NOW)));
    }
    // Before 1970 there are no times at all.
    rows.push((of("DELIVRD", "19691231235959"), said(ReceiptStatus::Delivered, NOW)));
    rows
}

// === beyond the suite ===

fn vendor(url: &str) -> EsmsVendor {
    config(url).build("main").unwrap()
}

fn config(url: &str) -> Config {
    let dev = BTreeMap::from([("dev".parse().unwrap(), 7), ("acme".parse().unwrap(), 1)]);
    Config {
        base_url: url.to_owned(),
        user: USER.into(),
        pass: PASS.into(),
        app_ids: dev,
        connect_timeout: Duration::from_secs(10),
        timeout: Duration::from_secs(20),
    }
}

#[tokio::test]
async fn the_prefix_goes_to_malaysia_only_and_once_and_the_last_line_stays_last() {
    let server = VendorServer::start(script).await;
    let vendor = vendor(&server.url());
    let bound = "您的验证码是480913。\n\n@example.com #480913";
    for (to, text, said) in [
        ("+60123456789", TEXT, format!("RM0.00 {TEXT}")),
        ("+60123456789", "RM0.00 Kod: 480913", "RM0.00 Kod: 480913".to_owned()),
        ("+60123456789", "RM0.00Kod: 480913", "RM0.00 RM0.00Kod: 480913".to_owned()),
        ("+60123456789", bound, format!("RM0.00 {bound}")),
        ("+6598765432", TEXT, TEXT.to_owned()),
        ("+16042345678", "quote \" backslash \\ tab \t", "quote \" backslash \\ tab \t".to_owned()),
    ] {
        let message = Outgoing { recipient: phone(to), text: SecretString::from(text), ..outgoing() };
        vendor.send(&message).await.unwrap();
        assert_eq!(server.requests().pop().unwrap().json()["msg"], said);
    }
}

#[tokio::test]
async fn a_base_url_may_have_a_path() {
    let server = VendorServer::start(script).await;
    server.set_fault(Fault::Answer(status(0))).await;
    let vendor = vendor(&format!("{}/proxy", server.url()));
    vendor.send(&outgoing()).await.unwrap();
    vendor.start(&code_request()).await.unwrap();
    let targets: Vec<_> = server.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(targets, ["/proxy/sms/send", "/proxy/sms/otp/generate"]);
}

#[tokio::test]
async fn the_text_around_a_code_fits_into_one_part_with_the_code_in_it() {
    let server = VendorServer::start(script).await;
    let vendor = vendor(&server.url());
    let refused = Err(Failure::Rejected(Rejection::InvalidContent));
    // The code takes 6, the head for Malaysia 7.
    for (to, filler, fits) in [
        ("+60123456789", "a".repeat(160 - 13), true),
        ("+60123456789", "a".repeat(161 - 13), false),
        ("+6598765432", "a".repeat(160 - 6), true),
        ("+6598765432", "a".repeat(161 - 6), false),
        ("+60123456789", "€".repeat(73) + "a", true),
        ("+60123456789", "€".repeat(74), false),
        ("+60123456789", "码".repeat(70 - 13), true),
        ("+60123456789", "码".repeat(71 - 13), false),
        // The vendor's mark is longer than the minutes that it becomes.
        ("+6598765432", "#duration#".to_owned() + &"a".repeat(160 - 7), true),
        ("+6598765432", "#duration#".to_owned() + &"a".repeat(160 - 6), false),
    ] {
        let template = Some(format!("{{code}}{filler}"));
        let before = server.requests().len();
        let outcome = vendor.start(&CodeRequest { recipient: phone(to), template, ..code_request() }).await;
        if fits {
            assert!(outcome.is_ok(), "{to} {filler}: {outcome:?}");
        } else {
            assert_eq!(outcome, refused, "{to} {filler}");
        }
        assert_eq!(server.requests().len() - before, usize::from(fits), "what does not fit is not asked for");
    }
}

#[tokio::test]
async fn codes_that_the_vendor_cannot_make_are_not_asked_for() {
    let server = VendorServer::start(script).await;
    let vendor = vendor(&server.url());
    let seconds = Duration::from_secs;
    let request = code_request;
    for (request, rejection) in [
        (CodeRequest { template: Some("no place for it".to_owned()), ..request() }, Rejection::InvalidContent),
        (CodeRequest { brand: None, ..request() }, Rejection::InvalidContent),
        (CodeRequest { brand: Some(String::new()), ..request() }, Rejection::InvalidContent),
        (CodeRequest { brand: Some("a".repeat(21)), ..request() }, Rejection::InvalidContent),
        (CodeRequest { lifetime: seconds(0), ..request() }, Rejection::InvalidContent),
        (CodeRequest { lifetime: seconds(90), ..request() }, Rejection::InvalidContent),
        (CodeRequest { lifetime: Duration::from_millis(60_001), ..request() }, Rejection::InvalidContent),
        (CodeRequest { lifetime: seconds(600), ..request() }, Rejection::InvalidContent),
        (CodeRequest { length: 4, ..request() }, Rejection::InvalidContent),
        (CodeRequest { channel: Channel::Voice, ..request() }, Rejection::InvalidRecipient),
        (CodeRequest { tenant: "stranger".parse().unwrap(), ..request() }, Rejection::Unauthorized),
    ] {
        assert_eq!(vendor.start(&request).await, Err(Failure::Rejected(rejection)), "{request:?}");
    }
    assert_eq!(server.requests(), []);
    assert!(!vendor.limits().cancel);
    assert_eq!(vendor.cancel(&handle(Some(HANDLE))).await, Ok(()));
    assert_eq!(server.requests(), []);

    for (locale, language) in [
        (None, "en"),
        (Some("ms"), "my"),
        (Some("ms-MY"), "my"),
        (Some("my"), "en"),
        (Some("ZH_Hant"), "zh"),
        (Some("ta"), "en"),
    ] {
        let brand = Some("码".repeat(20));
        vendor.start(&CodeRequest { locale: locale.map(str::to_owned), brand, ..request() }).await.unwrap();
        assert_eq!(server.requests().pop().unwrap().json()["language"], language, "{locale:?}");
    }
}

/// Two starts with one place name get one code at the vendor; whoever calls must not let one answer for the other.
#[tokio::test]
async fn a_place_is_an_app_id_of_an_account_and_a_number() {
    let server = VendorServer::start(script).await;
    let vendor = vendor(&server.url());
    let right = SecretString::from(CODE);
    let (dev, acme): (TenantName, TenantName) = ("dev".parse().unwrap(), "acme".parse().unwrap());
    let recipient = phone(PHONE);
    let whom = |tenant| CodeFor { tenant, channel: Channel::Sms, recipient: &recipient, sender: None };
    let (of_dev, of_acme) = (vendor.place(&whom(&dev)).unwrap(), vendor.place(&whom(&acme)).unwrap());
    assert_ne!(of_dev.name, of_acme.name);
    // The account is another one, or the same under another name of ours.
    let other = Config { user: "other-key".into(), ..config(&server.url()) }.build("main").unwrap();
    assert_ne!(other.place(&whom(&dev)).unwrap().name, of_dev.name);
    let again = config(&server.url()).build("again").unwrap();
    assert_eq!(again.place(&whom(&dev)).unwrap(), of_dev);
    let sixpence = phone("+60123456780");
    let elsewhere = CodeFor { recipient: &sixpence, ..whom(&dev) };
    assert_ne!(vendor.place(&elsewhere).unwrap().name, of_dev.name);
    for secret in [USER, PASS] {
        assert!(!of_dev.name.contains(secret));
    }

    assert_eq!(vendor.start(&code_request()).await.unwrap(), of_dev.handle);
    for (place, app_id) in [(&of_dev, 7), (&of_acme, 1)] {
        assert_eq!(vendor.check(&place.handle, &right).await, Ok(CodeVerdict::Right));
        assert_eq!(server.requests().pop().unwrap().json()["app-id"], app_id);
    }
    let stranger: TenantName = "stranger".parse().unwrap();
    assert_eq!(vendor.place(&whom(&stranger)), None);
    assert!(vendor.serves(&dev) && !vendor.serves(&stranger));
    assert_eq!(vendor.place(&CodeFor { channel: Channel::Voice, ..whom(&dev) }), None);
}

#[test]
fn a_text_is_taken_where_it_fits() {
    let vendor = config("https://vendor.example").build("main").unwrap();
    let with = |template: &str| CodeRequest { template: Some(template.to_owned()), ..code_request() };
    for (request, taken) in [
        (code_request(), true),
        (with("Kod {code}"), true),
        (with("no place for it"), false),
        (with(&format!("{{code}}{}", "a".repeat(160))), false),
        (CodeRequest { brand: None, ..code_request() }, false),
        (CodeRequest { brand: None, ..with("Kod {code}") }, true),
        (CodeRequest { lifetime: Duration::from_secs(90), ..code_request() }, false),
        (CodeRequest { channel: Channel::Voice, ..code_request() }, false),
    ] {
        assert_eq!(vendor.takes(&request), taken, "{request:?}");
    }
}

/// It may be how the vendor says "wrong", and a guess that nobody counts must not be possible.
#[tokio::test]
async fn an_answer_to_a_check_that_makes_no_sense_is_no_proof_that_it_was_not_judged() {
    let server = VendorServer::start(script).await;
    let vendor = vendor(&server.url());
    for status in [404, 409, 410, 418] {
        server.set_fault(Fault::Answer(Answer::new(status, "no such page"))).await;
        let outcome = vendor.check(&handle(Some(HANDLE)), &SecretString::from(CODE)).await;
        assert_eq!(outcome, Err(Failure::Unknown), "{status}");
    }
}

#[tokio::test]
async fn only_six_digits_reach_the_vendor_as_a_code() {
    let server = VendorServer::start(script).await;
    let vendor = vendor(&server.url());
    let wrong = CodeVerdict::Wrong { checks_left: None };
    for candidate in ["", "48091", "0480913", "+48091", "48091 ", "480 91", "4.8e05", "４８０", "٤٨٠", "abcdef"] {
        let outcome = vendor.check(&handle(Some(HANDLE)), &SecretString::from(candidate)).await;
        assert_eq!(outcome, Ok(wrong), "{candidate}");
    }
    for name in [None, Some(""), Some("x"), Some("-1"), Some("7/v-1")] {
        let outcome = vendor.check(&handle(name), &SecretString::from(CODE)).await;
        assert_eq!(outcome, Ok(CodeVerdict::Unknown), "{name:?}");
    }
    assert_eq!(server.requests(), []);
}

#[test]
fn codes_are_offered_where_tenants_have_app_ids() {
    let least = || read::<Config>(json!({"user": "u", "pass": "p"})).unwrap();
    assert_eq!(least().base_url, "https://api.esms.com.my");
    assert_eq!((least().connect_timeout, least().timeout), (Duration::from_secs(3), Duration::from_secs(8)));
    let vendor: &dyn Vendor = &least().build("main").unwrap();
    assert!(vendor.codes().is_none());
    assert!(!vendor.capabilities().idempotent);
    let config = Config { app_ids: BTreeMap::from([("dev".parse().unwrap(), 1)]), ..least() };
    let vendor: &dyn Vendor = &config.build("main").unwrap();
    let limits = vendor.codes().unwrap().limits().clone();
    assert_eq!((limits.lengths, limits.lifetime_step), (6..=6, Duration::from_secs(60)));
    assert_eq!(limits.lifetimes, Duration::from_secs(60)..=Duration::from_secs(540));
}
