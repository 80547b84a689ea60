//! Scopes on the dialects: what a vendor's client may not do with its key is refused in the vendor's words.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::access::scopes::{config, key};
use crate::support::gateway::Gateway;
use crate::support::http::call;

/// A call of a dialect with an id and a secret, and whether it was refused for want of a scope.
struct Try {
    scopes: &'static [&'static str],
    method: &'static str,
    target: &'static str,
    body: Value,
}

async fn is_forbidden(address: SocketAddr, id: &str, call_: &Try) -> bool {
    let secret = format!("{id}-secret-of-some-length");
    let host = format!("Host: {address}");
    let fields = [
        host,
        "Content-Type: application/json".to_owned(),
        format!("Authorization: Bearer {}", key(id)),
        format!("api-login: {id}"),
        format!("api-key: {secret}"),
    ];
    let mut body = call_.body.clone();
    if call_.target.starts_with("/esms/sms/otp") {
        (body["api-key"], body["api-secret"]) = (id.into(), secret.into());
    } else if call_.target.starts_with("/esms") {
        (body["user"], body["pass"]) = (id.into(), secret.into());
    }
    let fields: Vec<_> = fields.iter().map(String::as_str).collect();
    let body = if call_.method == "GET" { String::new() } else { body.to_string() };
    let answer = call(address, call_.method, call_.target, &fields, body).await;
    let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    assert_ne!(answer.status, 401, "{} as {id}: {answer:?}", call_.target);
    // eSMS has one number for an account that may not.
    answer.status == 403 || (call_.target.starts_with("/esms") && json["status"] == 2)
}

#[tokio::test]
async fn a_vendors_client_needs_the_scope_of_what_it_does() {
    let config = config() + "\n[rest.hasun.masks.acme]\nFD43GDET = \"ACME\"\n";
    let gateway = Gateway::start_with(&config).await;
    let phone = "60123456789";
    let to = json!([{"phone_number": "+60123456789"}]);
    let tries = [
        Try {
            scopes: &["verify"],
            method: "POST",
            target: "/esms/sms/otp/generate",
            body: json!({"phone": phone, "app-id": 1, "brand-name": "Acme"}),
        },
        Try {
            scopes: &["verify"],
            method: "POST",
            target: "/esms/sms/otp/verify",
            body: json!({"phone": phone, "app-id": 1, "code": "123456"}),
        },
        Try {
            scopes: &["send"],
            method: "POST",
            target: "/esms/sms/send",
            body: json!({"to": phone, "msg": "RM0.00 Hello"}),
        },
        Try { scopes: &["verify", "send", "read"], method: "POST", target: "/esms/sms/balance", body: json!({}) },
        Try {
            scopes: &["verify"],
            method: "POST",
            target: "/simpu/otp/request_token",
            body: json!({"recipient": phone, "channel": "sms"}),
        },
        Try { scopes: &["read"], method: "GET", target: "/simpu/otp/get-by-recipient/60123456789", body: Value::Null },
        Try { scopes: &["send", "read"], method: "GET", target: "/simpu/lists/contact", body: Value::Null },
        Try { scopes: &["read"], method: "POST", target: "/simpu/lists/contact/rows/query", body: json!({}) },
        Try {
            scopes: &["send"],
            method: "POST",
            target: "/octopush/sms-campaign/send",
            body: json!({"recipients": to, "text": "Hello", "type": "sms_premium", "purpose": "alert"}),
        },
        Try {
            scopes: &["verify"],
            method: "POST",
            target: "/octopush/service/otp/generate",
            body: json!({"phone_number": "+60123456789"}),
        },
        Try {
            scopes: &["send"],
            method: "POST",
            target: "/octopush/contact/create",
            body: json!({"contacts": to, "list_name": "News"}),
        },
        Try {
            scopes: &["verify", "send", "read"],
            method: "GET",
            target: "/octopush/wallet/check-balance",
            body: Value::Null,
        },
    ];
    for call in &tries {
        for scope in ["verify", "send", "read", "admin", "return-code"] {
            let forbidden = is_forbidden(gateway.addresses.http, scope, call).await;
            assert_eq!(!forbidden, call.scopes.contains(&scope), "{} with {scope}", call.target);
        }
    }
}

/// A start there answers with the code.
#[tokio::test]
async fn a_client_that_is_told_codes_needs_both_scopes() {
    let config = config() + "\n[rest.hasun.masks.acme]\nFD43GDET = \"ACME\"\n";
    let gateway = Gateway::start_with(&config).await;
    let address = gateway.addresses.http;
    for (id, status) in [("verify", 403), ("return-code", 403), ("verify+return-code", 200)] {
        let target = format!("/hasun/v1/{}/verification/otp/sms/send", id.replace('+', "%2B"));
        let fields = [
            format!("Host: {address}"),
            "Content-Type: application/json".to_owned(),
            format!("Authorization: Bearer {id}-secret-of-some-length"),
        ];
        let fields: Vec<_> = fields.iter().map(String::as_str).collect();
        let body = json!({"mask_token": "FD43GDET", "number": "+60123456789"}).to_string();
        let answer = call(address, "POST", &target, &fields, body).await;
        assert_eq!(answer.status, status, "{id}: {answer:?}");
    }
}
