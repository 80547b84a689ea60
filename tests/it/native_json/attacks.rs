//! Attacks that change surfaces, and those that only JSON can express.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use verigate::proto::verification::v1::{CheckOutcome, StartVerificationRequest};

use crate::native_json::client::{Caller, OTHER};
use crate::support::gateway::{Gateway, PHONE, get_verification, judge, start, start_now, wrong};
use crate::support::http::get;
use crate::support::log::Log;

/// Surfaces are many; the counter is one.
#[tokio::test]
async fn guesses_count_together_on_every_surface() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let mut grpc = gateway.verifications().await;
    let id = gateway.begin(&mut grpc, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    for turn in 0..2 {
        assert_eq!(judge(&mut grpc, &id, &wrong(&code, turn)).await, CheckOutcome::WrongCode);
    }
    let path = format!("/v1/verifications/{id}/check");
    for (turn, expected) in [(2, "WRONG_CODE"), (3, "WRONG_CODE"), (4, "CHECKS_EXHAUSTED")] {
        let checked = caller.post(&path, &json!({"code": wrong(&code, turn)})).await.ok();
        assert_eq!(checked["outcome"], format!("CHECK_OUTCOME_{expected}"));
        assert_eq!(checked["checks_left"], 4 - turn);
    }
    assert_eq!(caller.post(&path, &json!({"code": code})).await.ok()["outcome"], "CHECK_OUTCOME_CHECKS_EXHAUSTED");
    assert_eq!(judge(&mut grpc, &id, &code).await, CheckOutcome::ChecksExhausted);
    assert_eq!(get_verification(&mut grpc, &id).await.checks_used, 5);
}

#[tokio::test]
async fn a_code_works_once() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let mut grpc = gateway.verifications().await;
    let id = gateway.begin(&mut grpc, PHONE).await.id;
    let code = json!({"code": gateway.code(PHONE).await});
    let path = format!("/v1/verifications/{id}/check");
    assert_eq!(caller.post(&path, &code).await.ok()["outcome"], "CHECK_OUTCOME_APPROVED");
    assert_eq!(caller.post(&path, &code).await.ok()["outcome"], "CHECK_OUTCOME_ALREADY_APPROVED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_right_codes_at_once_one_succeeds() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let mut grpc = gateway.verifications().await;
    let id = gateway.begin(&mut grpc, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    let calls = (0..64).map(|turn| {
        let (caller, mut grpc, id, code) = (caller.clone(), grpc.clone(), id.clone(), code.clone());
        tokio::spawn(async move {
            if turn % 2 == 0 {
                return judge(&mut grpc, &id, &code).await.as_str_name().to_owned();
            }
            let checked = caller.post(&format!("/v1/verifications/{id}/check"), &json!({"code": code})).await.ok();
            checked["outcome"].as_str().unwrap().to_owned()
        })
    });
    let mut outcomes = BTreeMap::<_, usize>::new();
    for call in calls.collect::<Vec<_>>() {
        *outcomes.entry(call.await.unwrap()).or_default() += 1;
    }
    let expected = [("CHECK_OUTCOME_ALREADY_APPROVED", 63), ("CHECK_OUTCOME_APPROVED", 1)];
    assert_eq!(outcomes, expected.map(|(outcome, count)| (outcome.to_owned(), count)).into());
}

/// `012345` is no number, and nothing but its own characters is it.
#[tokio::test]
async fn a_code_is_exactly_its_characters() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let mut grpc = gateway.verifications().await;
    let request = StartVerificationRequest { custom_code: "012345".to_owned(), ..start(PHONE) };
    let id = start_now(&mut grpc, request).await.unwrap().id;
    let path = format!("/v1/verifications/{id}/check");
    let number = "must be a string, but is a number";
    for (code, what) in [
        (json!(12345), number),
        (json!(12345.0), number),
        (json!(1.2345e4), number),
        (json!(true), "must be a string, but is true or false"),
        (json!([]), "must be a string, but is an array"),
        (json!(["012345"]), "must be a string, but is an array"),
        (json!(["000000", "012345"]), "must be a string, but is an array"),
        (json!({"code": "012345"}), "must be a string, but is an object"),
    ] {
        let reply = caller.post(&path, &json!({"code": code})).await;
        assert_eq!(reply.violation(), ("code", what), "{code}");
        assert!(!reply.answer.body.contains("2345"), "{reply:?}");
    }
    // Written so that no reader of ours makes a number of it, and without any code.
    for body in [r#"{"code": 012345}"#, r#"{"code": null}"#, r#"{"code": ""}"#, "{}", r#"{"code": 1e999}"#, ""] {
        assert_eq!(caller.post_bytes(&path, body).await.refused_with(400), "INVALID_FIELD", "{body}");
    }
    for strange in ["０１２３４５", "٠١٢٣٤٥", "012345\u{200b}", "0 12345", "012345\u{0}", "\u{202e}543210"]
    {
        assert_eq!(
            caller.post(&path, &json!({"code": strange})).await.refused_with(400),
            "INVALID_FIELD",
            "{strange:?}"
        );
    }
    assert_eq!(caller.post(&path, &json!({"code": "0".repeat(1_000_000)})).await.refused_with(400), "INVALID_FIELD");
    let body = format!("{{\"code\": \"{}\"}}", "0".repeat(1_100_000));
    assert_eq!(caller.post_bytes(&path, body).await.refused_with(413), "INVALID_FIELD");
    assert_eq!(get_verification(&mut grpc, &id).await.checks_used, 0, "none of these is a guess");
    for guess in ["12345", "+12345", "1.2345e4", "12345.0", "0x3039"] {
        let checked = caller.post(&path, &json!({"code": guess})).await.ok();
        assert!(checked["outcome"] != "CHECK_OUTCOME_APPROVED", "{guess}");
    }
    assert_eq!(get_verification(&mut grpc, &id).await.checks_used, 5, "each of these is one guess");
}

#[tokio::test]
async fn many_guesses_in_one_body_are_no_call() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let mut grpc = gateway.verifications().await;
    let id = gateway.begin(&mut grpc, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    let path = format!("/v1/verifications/{id}/check");
    let all: Vec<Value> = [&wrong(&code, 0), &code].iter().map(|code| json!({"code": code})).collect();
    assert_eq!(caller.post(&path, &Value::Array(all)).await.violation().0, "body");
    let twice = format!(r#"{{"code": "{}", "code": "{code}"}}"#, wrong(&code, 0));
    let reply = caller.post_bytes(&path, twice).await;
    assert_eq!(reply.violation(), ("code", "is given more than once"));
    assert!(!reply.answer.body.contains(&code), "{reply:?}");
    let joined = format!(r#"{{"code": "{}"}}{{"code": "{code}"}}"#, wrong(&code, 0));
    assert_eq!(caller.post_bytes(&path, joined).await.violation().0, "body");
    assert_eq!(get_verification(&mut grpc, &id).await.checks_used, 0);
}

/// Two calls on one connection, the second sent before the first is answered: each is counted.
#[tokio::test]
async fn guesses_one_behind_the_other_are_each_counted() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let gateway = Gateway::start().await;
    let mut grpc = gateway.verifications().await;
    let id = gateway.begin(&mut grpc, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    let mut stream = tokio::net::TcpStream::connect(gateway.addresses.http).await.unwrap();
    let mut requests = String::new();
    for turn in 0..7 {
        let body = json!({"code": wrong(&code, turn)}).to_string();
        let close = if turn == 6 { "Connection: close\r\n" } else { "" };
        requests += &format!(
            "POST /v1/verifications/{id}/check HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n{close}\r\n{body}",
            crate::native_json::client::ACME,
            body.len(),
        );
    }
    stream.write_all(requests.as_bytes()).await.unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("CHECK_OUTCOME_WRONG_CODE").count(), 4, "{answers}");
    assert_eq!(answers.matches("CHECK_OUTCOME_CHECKS_EXHAUSTED").count(), 3, "{answers}");
    assert_eq!(get_verification(&mut grpc, &id).await.checks_used, 5);
}

#[tokio::test]
async fn another_tenants_id_is_as_unknown_as_any() {
    let gateway = Gateway::start().await;
    let mut grpc = gateway.verifications().await;
    let id = gateway.begin(&mut grpc, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    let (owner, stranger) = (Caller::acme(&gateway), Caller::with(&gateway, OTHER));
    let unknown = format!("{}{}", &id[..35], if id.ends_with('0') { '1' } else { '0' });
    let calls = [("GET", ""), ("GET", "/watch"), ("POST", "/check"), ("POST", "/resend"), ("POST", "/cancel")];
    for (method, call) in calls {
        let mut told = Vec::new();
        for (caller, id) in [(&stranger, &id), (&stranger, &unknown), (&owner, &unknown)] {
            let body = if call == "/check" { json!({"code": code}).to_string() } else { String::new() };
            let fields = ["Content-Type: application/json", "X-Request-Id: same"];
            let reply = caller.send(method, &format!("/v1/verifications/{id}{call}"), &fields, body).await;
            assert_eq!(reply.refused_with(404), "VERIFICATION_NOT_FOUND", "{call}");
            told.push(reply.answer.body);
        }
        assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    }
    let scoped = json!({"scoped_recipient": {"recipient": {"phone": PHONE}}, "code": code});
    assert_eq!(stranger.post("/v1/checks", &scoped).await.refused_with(404), "VERIFICATION_NOT_FOUND");
    assert_eq!(stranger.get("/v1/verifications").await.ok()["verifications"], json!([]));
    assert_eq!(get_verification(&mut grpc, &id).await.checks_used, 0);
    assert_eq!(owner.post("/v1/checks", &scoped).await.ok()["outcome"], "CHECK_OUTCOME_APPROVED");
}

/// Everything that a call carries, looked for in the log at its finest and on the page of metrics. On one thread.
#[tokio::test]
async fn no_log_and_no_metric_shows_what_calls_carry() {
    const CODE: &str = "Canary-Code-4711";
    const NUMBER: &str = "+60123451477";
    let log = Log::start("trace");
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let body = json!({"recipient": {"phone": NUMBER}, "custom_code": CODE, "delivery_wait": "5s",
        "metadata": {"canary-key": "canary-value"}});
    let started = caller.post("/v1/verifications", &body).await.ok();
    let id = started["verification"]["id"].as_str().unwrap();
    for body in [
        json!({"code": "Canary-Wrong-0815"}),
        json!({"code": CODE, "canary-name": 1}),
        json!({"code": [CODE]}),
        json!({"code": CODE}),
    ] {
        caller.post(&format!("/v1/verifications/{id}/check?"), &body).await;
    }
    caller.post_bytes("/v1/checks", format!("{{\"code\": \"{CODE}\" canary-junk")).await;
    caller.post_with("/v1/verifications", &["Idempotency-Key: canary-key-2 x"], &body).await;
    caller.get(&format!("/v1/verifications?recipient.phone={NUMBER}&scope=canary-scope")).await.ok();
    caller.get("/v1/verifications?recipient.phone=%2B60123451477&canary-query=canary-value").await;
    caller.get("/v1/verifications/canary-in-the-path").await;
    caller.post(&format!("/v1/checks?code={CODE}"), &body).await;
    Caller::with(&gateway, "acme.canary-secret").get("/v1/messages").await;
    let mut events = caller.watch(&format!("/v1/verifications/{id}/watch"), &[]).await;
    while events.next().await.is_some() {}
    let host = format!("Host: {}", gateway.addresses.admin);
    let metrics = get(gateway.addresses.admin, "/metrics", &[&host]).await;
    assert_eq!(metrics.status, 200);
    let gateway = gateway.restart().await;
    let log = String::from_utf8(log.bytes()).unwrap();
    assert!(log.contains("DEBUG call{request_id=") && log.contains("VerificationService/CheckVerification"), "{log}");
    for (place, text) in [("the log", &log), ("the metrics", &metrics.body)] {
        for secret in ["canary", "Canary", "123451477", "acme-secret-of-some-length"] {
            if let Some(at) = text.find(secret) {
                let (from, to) = (text.floor_char_boundary(at.saturating_sub(300)), text.len().min(at + 200));
                panic!("{place} shows {secret}: {}", &text[from..text.ceil_char_boundary(to)]);
            }
        }
    }
    drop(gateway);
}
