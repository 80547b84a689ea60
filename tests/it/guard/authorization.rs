//! A service of the operator's own has the last word on each send, and nobody else does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use tonic::Code;
use verigate::proto::verification::v1::StartVerificationRequest;

use crate::guard::{guarded, number, try_number, try_start};
use crate::support::gateway::{Gateway, PHONE, reason, start, text_to};
use crate::support::vendor_server::{Answer, Fault, Recorded, VendorServer};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn asking(server: &VendorServer, rest: &str) -> Gateway {
    let rules = format!("mode = \"enforce\"\nurl = \"{}/authorize\"\nsecret = \"{SECRET}\"\n{rest}", server.url());
    guarded(&format!("[guard.authorization]\n{rules}")).await
}

/// Whether somebody who knows the secret asked this.
fn is_signed(request: &Recorded) -> bool {
    let key = STANDARD.decode(SECRET.trim_start_matches("whsec_")).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
    mac.update(format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes());
    mac.update(&request.body);
    header("webhook-signature") == format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[tokio::test]
async fn each_send_is_asked_about_and_the_answer_holds() {
    let server = VendorServer::start(|request| {
        Answer::json(200, json!({ "allow": request.json()["recipient"] != "+60123456780" }))
    })
    .await;
    let gateway = asking(&server, "").await;
    let mut client = gateway.verifications().await;
    let request = StartVerificationRequest {
        scope: "login".to_owned(),
        client_ip: "192.0.2.7".to_owned(),
        device_id: "phone 1".to_owned(),
        ..start(PHONE)
    };
    try_start(&mut client, request).await.unwrap();
    let status = try_number(&mut client, "+60123456780").await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "NOT_AUTHORIZED"));
    assert!(gateway.inbox("+60123456780").await.is_empty());
    let refused = gateway.messages().await.send_message(text_to("+60123456780", "Hello")).await.unwrap_err();
    assert_eq!(reason(&refused), "NOT_AUTHORIZED");

    let asked = server.requests();
    assert_eq!(asked.len(), 3);
    assert!(asked.iter().all(is_signed), "{asked:?}");
    let ids: std::collections::BTreeSet<_> = asked.iter().map(|request| request.header("webhook-id")).collect();
    assert_eq!(ids.len(), 3, "no question is another one again");
    assert_eq!((asked[0].method.as_str(), asked[0].path()), ("POST", "/authorize"));
    let expected = json!({
        "tenant": "acme", "recipient": PHONE, "country": "MY", "channel": "sms", "scope": "login",
        "client_ip": "192.0.2.7", "device_id": "phone 1", "trusted": false, "segments": 1
    });
    assert_eq!(asked[0].json(), expected);
    let code = gateway.code(PHONE).await;
    assert!(asked.iter().all(|request| !request.to_text().contains(&code)), "no code is shown to it");
}

#[tokio::test]
async fn without_a_clear_answer_the_configuration_decides() {
    let unclear: [(Option<Fault>, u16, &str); 7] = [
        (Some(Fault::Refuse), 200, r#"{"allow": true}"#),
        (Some(Fault::Silence), 200, r#"{"allow": true}"#),
        (Some(Fault::Html), 200, r#"{"allow": true}"#),
        (None, 500, r#"{"allow": true}"#),
        (None, 302, r#"{"allow": true}"#),
        (None, 200, r#"{"allow": "yes"}"#),
        (None, 200, ""),
    ];
    for (place, (fault, status, body)) in (0..).zip(unclear) {
        let server =
            VendorServer::start(move |_| Answer::new(status, body).with_header("location", "/elsewhere")).await;
        server.set_fault(fault).await;
        for (on_failure, passes) in [("refuse", false), ("allow", true)] {
            let gateway = asking(&server, &format!("timeout = \"50ms\"\non_failure = \"{on_failure}\"")).await;
            let started = try_number(&mut gateway.verifications().await, &number(place)).await;
            assert_eq!(started.is_ok(), passes, "{on_failure} after {status} {body}");
            assert!(
                server.requests().iter().all(|request| request.path() == "/authorize"),
                "redirects are not followed"
            );
        }
    }
}

#[tokio::test]
async fn what_another_rule_refuses_is_not_asked_about() {
    let server = VendorServer::start(|_| Answer::json(200, json!({ "allow": true }))).await;
    let gateway = asking(&server, "[guard.countries]\ndeny = [\"MY\"]").await;
    try_number(&mut gateway.verifications().await, PHONE).await.unwrap_err();
    assert!(server.requests().is_empty());
}
