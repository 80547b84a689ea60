//! Idempotency keys: in the header or in the body, over JSON or gRPC, one name for one request.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use verigate::proto::verification::v1::{CheckOutcome, CheckVerificationRequest, StartVerificationRequest};

use crate::native_json::client::{Caller, OTHER};
use crate::support::gateway::{Gateway, PHONE, by_id, start};

const START: &str = "/v1/verifications";

fn body() -> Value {
    json!({"recipient": {"phone": PHONE}})
}

async fn start_with(caller: &Caller, fields: &[&str], body: &Value) -> String {
    let started = caller.post_with(START, fields, body).await.ok();
    started["verification"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_key_is_the_same_however_it_is_given() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let id = start_with(&caller, &["Idempotency-Key: k-1"], &body()).await;
    for fields in [&["Idempotency-Key: k-1"][..], &["Idempotency-Key: \"k-1\""], &["idempotency-key:   \"k-1\"  "]] {
        assert_eq!(start_with(&caller, fields, &body()).await, id, "{fields:?}");
    }
    let with_key = json!({"recipient": {"phone": PHONE}, "idempotency_key": "k-1"});
    assert_eq!(start_with(&caller, &[], &with_key).await, id);
    assert_eq!(start_with(&caller, &["Idempotency-Key: k-1"], &with_key).await, id);
    let mut grpc = gateway.verifications().await;
    let request = StartVerificationRequest { idempotency_key: "k-1".to_owned(), ..start(PHONE) };
    let started = grpc.start_verification(request.clone()).await.unwrap().into_inner();
    assert_eq!(started.verification.unwrap().id, id);

    // The other way around, and with a key that has the marks that quotes are written with.
    gateway.clock.advance(std::time::Duration::from_secs(31));
    let request = StartVerificationRequest { idempotency_key: "k\"\\2".to_owned(), scope: "b".to_owned(), ..request };
    let started = grpc.start_verification(request).await.unwrap().into_inner().verification.unwrap().id;
    let scoped = json!({"recipient": {"phone": PHONE}, "scope": "b"});
    assert_eq!(start_with(&caller, &[r#"Idempotency-Key: "k\"\\2""#], &scoped).await, started);
    let sends = caller.get(&format!("{START}/{started}")).await.ok()["verification"]["sends"].take();
    assert_eq!(sends.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_key_is_for_one_content_and_one_tenant() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let id = start_with(&caller, &["Idempotency-Key: k"], &body()).await;
    let other = json!({"recipient": {"phone": PHONE}, "scope": "login"});
    let reply = caller.post_with(START, &["Idempotency-Key: k"], &other).await;
    assert_eq!(reply.refused_with(400), "IDEMPOTENCY_MISMATCH");
    let elsewhere = start_with(&Caller::with(&gateway, OTHER), &["Idempotency-Key: k"], &body()).await;
    assert_ne!(elsewhere, id);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let wanted = "must be 1 to 128 printable ASCII characters without blanks";
    for bad in ["", "\"\"", "\"k", "\"k\"x", "\"k\\x\"", "\"k\"\""] {
        let reply = caller.post_with(START, &[&format!("Idempotency-Key: {bad}")], &body()).await;
        assert_eq!(reply.violation(), ("idempotency-key", wanted), "{bad}");
    }
    for bad in ["two words", &"k".repeat(129)] {
        let reply = caller.post_with(START, &[&format!("Idempotency-Key: {bad}")], &body()).await;
        assert_eq!(reply.violation().0, "idempotency_key", "{bad}");
    }
    let twice = ["Idempotency-Key: a", "Idempotency-Key: a"];
    let reply = caller.post_with(START, &twice, &body()).await;
    assert_eq!(reply.violation(), ("idempotency-key", "is given more than once"));
    let with_key = json!({"recipient": {"phone": PHONE}, "idempotency_key": "a"});
    let reply = caller.post_with(START, &["Idempotency-Key: b"], &with_key).await;
    let differs = "differs from the header Idempotency-Key; give one of them";
    assert_eq!(reply.violation(), ("idempotency_key", differs));
    // A resend has no key; whoever believes that it has should hear so.
    let reply = caller.post_with("/v1/verifications/x/resend", &["Idempotency-Key: a"], &json!({})).await;
    assert_eq!(reply.violation(), ("idempotency-key", "is not taken by this call"));
    assert_eq!(caller.send("GET", START, &["Idempotency-Key: a"], "").await.ok()["verifications"], json!([]));
    assert!(gateway.whole_inbox().await.is_empty(), "nothing was sent");
}

/// An approval whose answer was lost is told again under its key, on either surface, and to nobody else.
#[tokio::test]
async fn a_repeated_check_has_the_outcome_of_the_first() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let mut grpc = gateway.verifications().await;
    let id = gateway.begin(&mut grpc, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    let path = format!("/v1/verifications/{id}/check");
    for _ in 0..2 {
        let checked = caller.post_with(&path, &["Idempotency-Key: c"], &json!({"code": code})).await.ok();
        assert_eq!(checked["outcome"], "CHECK_OUTCOME_APPROVED");
    }
    let keyed = CheckVerificationRequest { idempotency_key: "c".to_owned(), ..by_id(&id, &code) };
    let checked = grpc.check_verification(keyed).await.unwrap().into_inner();
    assert_eq!(checked.outcome(), CheckOutcome::Approved);
    let checked = caller.post_with(&path, &["Idempotency-Key: d"], &json!({"code": code})).await.ok();
    assert_eq!(checked["outcome"], "CHECK_OUTCOME_ALREADY_APPROVED");
    let reply = caller.post_with(&path, &["Idempotency-Key: c"], &json!({"code": "000000x"})).await;
    assert_eq!(reply.refused_with(400), "IDEMPOTENCY_MISMATCH");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_at_once_on_both_surfaces_send_one_code() {
    let gateway = Gateway::start().await;
    let (caller, grpc) = (Caller::acme(&gateway), gateway.verifications().await);
    let calls = (0..50).map(|turn| {
        let (caller, mut grpc) = (caller.clone(), grpc.clone());
        tokio::spawn(async move {
            if turn % 2 == 0 {
                let reply = caller.post_with(START, &["Idempotency-Key: k"], &body()).await;
                match reply.status {
                    200 => return Some(reply.json["verification"]["id"].as_str().unwrap().to_owned()),
                    _ => assert_eq!(reply.refused_with(409), "IDEMPOTENCY_IN_FLIGHT"),
                }
                assert!(reply.answer.header("retry-after").is_some(), "{reply:?}");
                return None;
            }
            let request = StartVerificationRequest { idempotency_key: "k".to_owned(), ..start(PHONE) };
            grpc.start_verification(request).await.ok().map(|started| started.into_inner().verification.unwrap().id)
        })
    });
    let mut ids = BTreeSet::new();
    for call in calls.collect::<Vec<_>>() {
        ids.extend(call.await.unwrap());
    }
    assert_eq!(ids.len(), 1, "{ids:?}");
    let listed = caller.get(START).await.ok();
    assert_eq!(listed["verifications"].as_array().unwrap().len(), 1);
    assert_eq!(listed["verifications"][0]["sends"].as_array().unwrap().len(), 1);
}
