//! What refusals look like, to the last byte.

use std::time::Duration;

use serde_json::json;

use crate::native_json::client::{Caller, Reply};
use crate::support::gateway::{Gateway, PHONE};
use crate::support::log::Log;

/// The body, but for the request's name, which is asserted to be that of the header.
fn golden(reply: &Reply) -> String {
    let id = reply.answer.header("x-request-id").unwrap();
    let ending = format!(",\"request_id\":\"{id}\"}}");
    format!("{}}}", reply.answer.body.strip_suffix(&ending).unwrap_or_else(|| panic!("{reply:?}")))
}

#[tokio::test]
async fn wrong_fields_are_all_named_in_one_problem() {
    let gateway = Gateway::start().await;
    let body = json!({"recipient": {"phone": "12"}, "scope": "no scope", "policy": {"length": 99}});
    let reply = Caller::acme(&gateway).post("/v1/verifications", &body).await;
    let fields: Vec<_> = reply.violations().iter().map(|(field, _)| (*field).to_owned()).collect();
    assert_eq!(fields, ["scope", "policy.length", "recipient.phone"]);
    assert_eq!(
        golden(&Caller::acme(&gateway).post("/v1/verifications", &json!({"recipient": {"email": "x"}})).await),
        r#"{"type":"about:blank","title":"Bad Request","status":400,"detail":"recipient.email: must be a plain address such as ann@example.com","reason":"INVALID_FIELD","violations":[{"field":"recipient.email","description":"must be a plain address such as ann@example.com"}]}"#
    );
}

#[tokio::test]
async fn a_cool_down_says_when_to_come_back() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let body = json!({"recipient": {"phone": PHONE}, "delivery_wait": "5s"});
    caller.post("/v1/verifications", &body).await.ok();
    gateway.clock.advance(Duration::from_millis(1));
    let reply = caller.post("/v1/verifications", &body).await;
    // Of 29.999 s the whole seconds, rounded up: whoever waits as long succeeds.
    assert_eq!(reply.answer.header("retry-after"), Some("30"));
    assert_eq!(
        golden(&reply),
        r#"{"type":"about:blank","title":"Too Many Requests","status":429,"detail":"this recipient was sent a code a moment ago; try again in 30 s","reason":"COOL_DOWN","retry_after":30}"#
    );
    gateway.clock.advance(Duration::from_secs(30));
    caller.post("/v1/verifications", &body).await.ok();
}

#[tokio::test]
async fn each_kind_of_refusal_has_its_status_and_reason() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let unknown = "/v1/verifications/01a201eb-6366-80f1-a1f7-20ad39c323d0";
    assert_eq!(
        golden(&caller.get(unknown).await),
        r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"no such verification; it may have passed its retention","reason":"VERIFICATION_NOT_FOUND"}"#
    );
    let voice = json!({"recipient": {"phone": PHONE}, "channel": "CHANNEL_VOICE"});
    let reply = caller.post("/v1/verifications", &voice).await;
    assert_eq!((reply.refused_with(400), reply.answer.header("retry-after")), ("NO_ROUTE", None));
    let asking = json!({"recipient": {"phone": PHONE}, "return_code": true});
    assert_eq!(caller.post("/v1/verifications", &asking).await.refused_with(403), "NOT_PERMITTED");
    assert_eq!(
        golden(&Caller::with(&gateway, "acme.wrong").get(unknown).await),
        r#"{"type":"about:blank","title":"Unauthorized","status":401,"detail":"the credentials are not valid: send \"authorization: Bearer ID.SECRET\" with the id and the secret of an API key","reason":"CREDENTIALS_INVALID"}"#
    );
}

/// On one thread, whose log is taken down.
#[tokio::test]
async fn a_fault_of_ours_is_logged_under_the_name_of_its_call_and_not_told() {
    let log = Log::start("error");
    let gateway = Gateway::start().await;
    let body = json!({"recipient": {"phone": PHONE}, "delivery_wait": "5s"});
    let started = Caller::acme(&gateway).post("/v1/verifications", &body).await.ok();
    let id = started["verification"]["id"].as_str().unwrap().to_owned();
    let gateway = gateway.damage(&id, |record| record[..record.len() - 5].to_vec()).await;
    let caller = Caller::acme(&gateway);
    let reply = caller.send("GET", &format!("/v1/verifications/{id}"), &["X-Request-Id: the-one"], "").await;
    assert_eq!(
        golden(&reply),
        r#"{"type":"about:blank","title":"Internal Server Error","status":500,"detail":"internal error","reason":"INTERNAL"}"#
    );
    let log = String::from_utf8(log.bytes()).unwrap();
    let line = log.lines().find(|line| line.contains("a call failed")).unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("request_id=\"the-one\""), "{line}");
    assert!(line.contains("path=\"/verigate.verification.v1.VerificationService/GetVerification\""), "{line}");
    assert!(!line.contains(&id), "{line}");
}
