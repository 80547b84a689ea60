//! Delivery reports to the clients of dialects, from the call that asks for one to the receiver that is told.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::gateway::{CONFIG, Gateway, eventually};
use crate::support::http::call;
use crate::support::vendor_server::{Answer, VendorServer};

/// Receivers of tests are on this machine.
const REACHES_HERE: &str = "[callbacks]\nallow = [\"127.0.0.0/8\"]\n";

/// Sends a text as a client of eSMS that wants to be told.
async fn send(gateway: &Gateway, to: &str, fields: &Value) -> Value {
    let mut body =
        json!({ "user": "acme", "pass": "acme-secret-of-some-length", "to": to, "msg": "RM0.00 Hello", "dlr": 1 });
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let head = ["Host: 127.0.0.1", "Content-Type: application/json"];
    let answer = call(gateway.addresses.http, "POST", "/esms/sms/send", &head, &body.to_string()).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

/// The one request that comes after the first `known`.
async fn next(server: &VendorServer, known: usize) -> (String, String) {
    let request = eventually(async || server.requests().get(known).cloned()).await;
    (request.method, request.target)
}

async fn receiver() -> VendorServer {
    VendorServer::start(|_| Answer::new(204, "")).await
}

#[tokio::test]
async fn esms_reports_each_end_in_its_own_words_and_time() {
    let gateway = Gateway::start_with(&format!("{CONFIG}\n{REACHES_HERE}[messaging]\nmax_attempts = 1")).await;
    let server = receiver().await;
    let url = json!({ "dlr-url": format!("{}/dlr?shop=7", server.url()) });
    let report =
        |id: &str, word: &str, time: &str| ("GET".to_owned(), format!("/dlr?shop=7&msgId={id}&s={word}&t={time}"));

    let delivered = send(&gateway, "60123456789", &url).await;
    assert_eq!(next(&server, 0).await, report(delivered["id"].as_str().unwrap(), "DELIVRD", "20261122131600"));

    let late = send(&gateway, "60123456001", &url).await;
    gateway.clock.advance(Duration::from_secs(31));
    let told = next(&server, 1).await;
    assert_eq!(told, report(late["id"].as_str().unwrap(), "DELIVRD", "20261122131631"));

    let failed = send(&gateway, "60123456002", &url).await;
    assert_eq!(next(&server, 2).await, report(failed["id"].as_str().unwrap(), "UNDELIV", "20261122131631"));

    // Nobody ever says what became of this one, so its time runs out.
    let lost = send(&gateway, "60123456008", &url).await;
    assert_eq!(lost["status"], 0);
    gateway.clock.advance(Duration::from_secs(24 * 3600));
    assert_eq!(next(&server, 3).await, report(lost["id"].as_str().unwrap(), "EXPIRED", "20261123131631"));
}

#[tokio::test]
async fn esms_reports_only_to_who_asks() {
    let gateway = Gateway::start_with(&format!("{CONFIG}\n{REACHES_HERE}")).await;
    let server = receiver().await;
    for fields in [json!({ "dlr": 0 }), json!({ "dlr": "yes" }), json!({ "dlr": true }), json!({ "dlr": null })] {
        let mut fields = fields;
        fields["dlr-url"] = format!("{}/unasked", server.url()).into();
        assert_eq!(send(&gateway, "60123456789", &fields).await["status"], 0, "{fields}");
    }
    assert_eq!(send(&gateway, "60123456789", &json!({})).await["status"], 0);
    // It is told after all of these, had they been to be told.
    let asked = json!({ "dlr": "1", "dlr-url": format!("{}/asked", server.url()) });
    assert_eq!(send(&gateway, "60123456789", &asked).await["status"], 0);
    assert!(next(&server, 0).await.1.starts_with("/asked?"));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn esms_refuses_to_report_where_no_caller_may_send_us() {
    let gateway = Gateway::start_with(&format!("{CONFIG}\n{REACHES_HERE}")).await;
    let long = format!("https://example.com/{}", "x".repeat(3000));
    for url in ["http://10.0.0.1/dlr", "http://169.254.169.254/dlr", "ftp://example.com", "nonsense", &long] {
        let answer = send(&gateway, "60123456789", &json!({ "dlr-url": url })).await;
        assert_eq!(answer["status"], 1, "{url}: {answer}");
        assert!(answer["message"].as_str().unwrap().starts_with("dlr-url must "), "{answer}");
        assert_eq!(answer.as_object().unwrap().len(), 3);
    }
    assert!(gateway.whole_inbox().await.is_empty());
}
