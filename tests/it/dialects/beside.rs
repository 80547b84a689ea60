//! What fixtures cannot say: dialects beside each other and beside gRPC, hosts, and calls that outlast their wait.

use std::time::Duration;

use serde_json::{Value, json};
use verigate::proto::verification::v1::{CheckOutcome, ListVerificationsRequest, StartVerificationRequest};

use crate::support::gateway::{CONFIG, Gateway, eventually, judge, phone, start, start_now};
use crate::support::http::{Answer, call, get};
use crate::support::log::Log;

const SECRET: &str = "acme-secret-of-some-length";

async fn post(gateway: &Gateway, path: &str, head: &[&str], body: &Value) -> Answer {
    let head = [&["Host: 127.0.0.1", "Content-Type: application/json"], head].concat();
    call(gateway.addresses.http, "POST", path, &head, &body.to_string()).await
}

async fn verify_by_esms(gateway: &Gateway, code: &str) -> Value {
    let body = json!({ "api-key": "acme", "api-secret": SECRET, "phone": "60123456789", "code": code });
    let answer = post(gateway, "/esms/sms/otp/verify", &[], &body).await;
    serde_json::from_str::<Value>(&answer.body).unwrap()["status"].clone()
}

async fn verify_by_hasun(gateway: &Gateway, code: &str) -> Value {
    let body = json!({ "mask_token": "1", "number": "+60123456789", "otp": code });
    let authorization = format!("Authorization: Bearer {SECRET}");
    let answer = post(gateway, "/hasun/acme/verification/otp/sms/validate", &[&authorization], &body).await;
    serde_json::from_str::<Value>(&answer.body).unwrap()["reason"].clone()
}

#[tokio::test]
async fn wrong_codes_count_together_whichever_way_they_come() {
    let config = format!("{CONFIG}\n[rest.hasun.masks.acme]\n1 = \"ACME\"");
    let gateway = Gateway::start_with(&config).await;
    let mut client = gateway.verifications().await;
    let request = StartVerificationRequest { scope: "1".to_owned(), ..start("+60123456789") };
    let id = start_now(&mut client, request).await.unwrap().id;
    let code = gateway.code("+60123456789").await;
    for _ in 0..2 {
        assert_eq!(judge(&mut client, &id, "0000000").await, CheckOutcome::WrongCode);
        assert_eq!(verify_by_esms(&gateway, "0000000").await, 16);
    }
    assert_eq!(verify_by_hasun(&gateway, "1").await, "invalid");
    assert_eq!(verify_by_hasun(&gateway, &code).await, "max_attempts");
    assert_eq!(verify_by_esms(&gateway, &code).await, 16);
    assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::ChecksExhausted);
}

#[tokio::test]
async fn a_code_works_once_whichever_way_it_comes() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let request = StartVerificationRequest { scope: "1".to_owned(), ..start("+60123456789") };
    let id = start_now(&mut client, request).await.unwrap().id;
    let code = gateway.code("+60123456789").await;
    assert_eq!(verify_by_esms(&gateway, &code).await, 0);
    assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::AlreadyApproved);
}

#[tokio::test]
async fn where_vendors_make_the_codes_nobody_here_can_tell_them() {
    // Nobody is called: there is nothing to be sent.
    let vendors = "[vendors.other]\nkind = \"octopush\"\napi_login = \"ann@example.com\"\napi_key = \"made-up\"\n";
    let route = "[[routes]]\nchannel = \"sms\"\nvendors = [\"other\"]\ncodes = \"vendor\"\n";
    let config = CONFIG.replacen("brand = \"Acme\"", "brand = \"Acme\"\nreturn_code = true", 1);
    let config = config.replacen("[[routes]]", &format!("{vendors}{route}[[routes]]"), 1);
    let gateway = Gateway::start_with(&format!("{config}\n[rest.hasun.masks.acme]\nFD43GDET = \"ACME\"")).await;
    let body = json!({ "mask_token": "FD43GDET", "number": "0771234567" });
    let authorization = format!("Authorization: Bearer {SECRET}");
    let answer = post(&gateway, "/hasun/acme/verification/otp/sms/send", &[&authorization], &body).await;
    assert_eq!((answer.status, answer.body.contains("Not allowed")), (403, true), "{}", answer.body);
}

#[tokio::test]
async fn a_host_has_its_dialect_at_its_root_and_others_do_not() {
    let config = format!("{CONFIG}\n[rest.hosts]\n\"api.esms.com.my\" = \"esms\"\n\"sms.example.com\" = \"hasun\"");
    let gateway = Gateway::start_with(&config).await;
    let balance = format!("/sms/balance?user=acme&pass={SECRET}");
    for host in ["api.esms.com.my", "API.esms.com.my:8080", "api.esms.com.my."] {
        let answer = get(gateway.addresses.http, &balance, &[&format!("Host: {host}")]).await;
        assert!(answer.status == 200 && answer.body.contains("\"balance\":1000000"), "{host}: {}", answer.body);
    }
    let authorization = format!("Authorization: Bearer {SECRET}");
    let answer = get(gateway.addresses.http, "/v1/acme/status", &["Host: sms.example.com", &authorization]).await;
    assert!(answer.body.contains("Hello world!"), "{}", answer.body);
    // At its root nothing else is served.
    let under_name = format!("/esms{balance}");
    let answer = get(gateway.addresses.http, &under_name, &["Host: api.esms.com.my"]).await;
    assert!(answer.status == 404 && answer.body.contains("no such endpoint"), "{}", answer.body);
    for host in ["127.0.0.1", "esms.com.my", "x.api.esms.com.my"] {
        assert_eq!(get(gateway.addresses.http, &balance, &[&format!("Host: {host}")]).await.status, 404, "{host}");
        let answer = get(gateway.addresses.http, &under_name, &[&format!("Host: {host}")]).await;
        assert_eq!(answer.status, 200, "{host}");
    }
}

#[tokio::test]
async fn what_is_still_on_its_way_after_the_wait_is_told_as_sent() {
    let gateway = Gateway::start_with(&format!("{CONFIG}\n[rest]\nwait = \"1s\"")).await;
    // Nobody ever answers for this one.
    let to = "60123456006";
    let code = json!({ "api-key": "acme", "api-secret": SECRET, "phone": to, "brand-name": "Eaon" });
    let mut asked = std::pin::pin!(post(&gateway, "/esms/sms/otp/generate", &[], &code));
    let mut client = gateway.verifications().await;
    let filter = ListVerificationsRequest { recipient: Some(phone("+60123456006")), ..Default::default() };
    // The clock moves once the verification is there: a call may take its time to come in, too.
    let waited = eventually(async || {
        let listed = client.list_verifications(filter.clone()).await.unwrap().into_inner();
        (!listed.verifications.is_empty()).then_some(())
    });
    tokio::select! {
        biased;
        () = waited => {}
        answer = &mut asked => panic!("answered too soon: {}", answer.body),
    }
    let passing = async {
        loop {
            gateway.clock.advance(Duration::from_millis(250));
            gateway.inbox("+60123456006").await;
        }
    };
    let answer = tokio::select! {
        answer = asked => answer,
        () = passing => unreachable!("time passes for ever"),
    };
    assert!(answer.body.contains(r#""status":0"#), "{}", answer.body);
}

/// Clients of old put what they have to say into the query, their secret among it.
#[tokio::test]
async fn no_log_shows_what_a_query_or_a_body_carries() {
    let log = Log::start("trace");
    let gateway = Gateway::start().await;
    let head = ["Host: 127.0.0.1"];
    let query = format!("user=acme&pass={SECRET}&to=60123451477&msg=RM0.00+canary-text");
    for target in [
        format!("/esms/sms/send?{query}"),
        format!("/esms/sms/send?user=acme&pass={SECRET}&to=60123451003&msg=RM0.00+canary-refused"),
        format!("/esms/sms/balance?user=acme&pass={SECRET}"),
        "/esms/sms/send?user=acme&pass=canary-wrong-secret&to=60123451477&msg=canary".to_owned(),
        "/esms/canary-path?pass=canary-secret".to_owned(),
    ] {
        let answer = get(gateway.addresses.http, &target, &head).await;
        assert!(matches!(answer.status, 200 | 404), "{answer:?}");
    }
    let body = json!({ "api-key": "acme", "api-secret": SECRET, "phone": "60123451477", "code": "canary-code" });
    post(&gateway, "/esms/sms/otp/verify", &[], &body).await;
    post(&gateway, "/octopush/service/otp/generate", &["api-login: acme", "api-key: canary-key"], &body).await;
    post(&gateway, "/simpu/otp/request_token", &["Authorization: canary-key"], &body).await;
    post(&gateway, "/hasun/canary-token/sms/send", &["Authorization: Bearer canary-key"], &body).await;
    assert_eq!(gateway.inbox("+60123451477").await.len(), 1);
    let log = String::from_utf8(log.bytes()).unwrap();
    assert!(log.contains("a vendor did not take a message"), "{log}");
    for secret in ["canary", SECRET, "123451477", "123451003"] {
        assert!(!log.contains(secret), "the log shows {secret}");
    }
}
