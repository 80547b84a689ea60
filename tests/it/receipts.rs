//! What vendors say later about messages, when they call us and when they are asked.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::json;
use verigate::messaging::sending::SendStatus;
use verigate::proto::admin::v1::{BreakerState, ListVendorsRequest, VendorCalls};
use verigate::proto::messaging::v1::{GetMessageRequest, MessageStatus};
use verigate::store::keys::ReceiptTokens;
use verigate::vendor::{Accepted, Failure, ReceiptStatus};

use crate::support::gateway::{CONFIG, Gateway, PHONE, eventually, text_to};
use crate::support::http::{call, get};
use crate::support::reporting::{House, Tells};
use crate::support::vendor_server::{Answer, Fault, Recorded, VendorServer};

const SECOND: Duration = Duration::from_secs(1);

/// Waits until a vendor was asked so often.
async fn asked(house: &House, times: usize) {
    eventually(async || (house.vendors["asked"].asked().len() == times && house.is_idle()).then_some(())).await;
}

// === vendors that are asked ===

#[tokio::test]
async fn a_vendor_that_sends_no_receipts_is_asked_less_and_less_often_until_it_knows() {
    let house = House::new(&[("asked", Tells::Asked, 9)]).await;
    let message = house.sent(100).await;
    let vendor = &house.vendors["asked"];
    let mut times: Vec<u32> = Vec::new();
    for wait in [10, 30, 120, 600, 3600, 3600] {
        house.clock.advance(wait * SECOND - SECOND / 1000);
        for _ in 0..20 {
            assert_eq!(house.sending(&message).await.status, SendStatus::Sent);
        }
        assert_eq!(vendor.asked().len(), times.len());
        house.clock.advance(SECOND / 1000);
        times.push(times.last().copied().unwrap_or_default() + wait);
        asked(&house, times.len()).await;
    }
    let told: Vec<_> = vendor.asked().into_iter().map(|(name, at)| (name, at.as_secs())).collect();
    let planned: Vec<_> = times.iter().map(|at| (vendor.name_of(0), u64::from(*at))).collect();
    assert_eq!(told, planned);

    vendor.decide(&vendor.name_of(0), ReceiptStatus::Undelivered);
    house.clock.advance(3600 * SECOND);
    let ended = house.until(&message, SendStatus::Undelivered).await;
    assert_eq!((ended.due_at, ended.attempts), (None, 1));
    let so_far = vendor.asked().len();
    house.clock.advance(24 * 3600 * SECOND);
    house.sent(101).await;
    assert_eq!(vendor.asked().len(), so_far);
}

#[tokio::test]
async fn a_vendor_is_not_asked_for_ever() {
    let house = House::new(&[("asked", Tells::Asked, 9)]).await;
    let message = house.sent(100).await;
    let mut hours = 0;
    while house.sending(&message).await.due_at.is_some() {
        hours += 1;
        house.clock.advance(3600 * SECOND);
        asked(&house, hours).await;
    }
    // A day of validity, and six hours beyond.
    assert_eq!((hours, house.sending(&message).await.status), (30, SendStatus::Sent));
}

#[tokio::test]
async fn what_there_is_to_ask_survives_a_restart() {
    let house = House::new(&[("asked", Tells::Asked, 9)]).await;
    let message = house.sent(100).await;
    let house = house.restart().await;
    let vendor = &house.vendors["asked"];
    vendor.decide(&vendor.name_of(0), ReceiptStatus::Delivered);
    house.clock.advance(10 * SECOND);
    house.until(&message, SendStatus::Delivered).await;
    assert_eq!(vendor.asked().len(), 1);
}

#[tokio::test]
async fn asking_waits_for_nobody_and_takes_nobodys_room() {
    let house = House::new(&[("asked", Tells::Asked, 1)]).await;
    let message = house.sent(100).await;
    let vendor = &house.vendors["asked"];
    vendor.hold_back();
    // Later, so that its time does not run out just when the vendor is to be asked.
    house.clock.advance(SECOND);
    let stuck = house.send(101).await;
    eventually(async || (vendor.taken().len() == 2).then_some(())).await;
    vendor.decide(&vendor.name_of(0), ReceiptStatus::Delivered);
    // The one place is taken, so it is not asked, and it is put down for the next time.
    let before = house.sending(&message).await.due_at;
    house.clock.advance(9 * SECOND);
    eventually(async || (house.sending(&message).await.due_at != before).then_some(())).await;
    assert_eq!(house.sending(&stuck).await.status, SendStatus::Sending);
    assert!(vendor.asked().is_empty());
    vendor.let_go();
    house.until(&stuck, SendStatus::Sent).await;
    // The other one is asked about first, for there is still one place only.
    house.clock.advance(10 * SECOND);
    asked(&house, 1).await;
    house.clock.advance(20 * SECOND);
    house.until(&message, SendStatus::Delivered).await;
}

#[tokio::test]
async fn what_cannot_be_asked_about_is_not() {
    let house = House::new(&[("asked", Tells::Asked, 9)]).await;
    let vendor = &house.vendors["asked"];
    // No name to ask by; refused; already known.
    vendor.will_answer(Ok(Accepted::default()));
    vendor.will_answer(Ok(Accepted {
        vendor_reference: Some("known".to_owned()),
        receipt: Some(ReceiptStatus::Delivered),
    }));
    vendor.will_answer(Err(Failure::Unknown));
    for (recipient, status) in [(100, SendStatus::Sent), (101, SendStatus::Delivered), (102, SendStatus::Unknown)] {
        let message = house.send(recipient).await;
        let due_at = house.until(&message, status).await.due_at;
        assert_eq!(due_at.is_some(), status == SendStatus::Unknown);
    }
    house.clock.advance(3600 * SECOND);
    house.sent(103).await;
    assert!(vendor.asked().is_empty());
}

// === vendors that call ===

#[tokio::test]
async fn a_name_outlives_a_restart() {
    let house = House::new(&[("one", Tells::Theirs, 9)]).await;
    let message = house.sent(100).await;
    let house = house.restart().await;
    let target = format!("{}?s=delivered&id={}&id=another", house.path("one"), house.vendors["one"].name_of(0));
    assert_eq!(get(house.address, &target, &["Host: gateway.test"]).await.status, 200);
    assert_eq!(house.sending(&message).await.status, SendStatus::Delivered);
}

#[tokio::test]
async fn names_are_remembered_only_for_vendors_that_use_them() {
    for (tells, names) in [(Tells::Ours, 0), (Tells::Asked, 0), (Tells::Never, 0), (Tells::Theirs, 1)] {
        let house = House::new(&[("one", tells, 9)]).await;
        house.sent(100).await;
        assert_eq!(house.names().await, names, "{tells:?}");
    }
}

#[tokio::test]
async fn the_gateway_serves_the_listener() {
    let gateway = Gateway::start_with(&format!("{CONFIG}\n[receipts]\npublic_url = \"https://sms.test\"\n")).await;
    let host = format!("Host: {}", gateway.addresses.http);
    let unknown = get(gateway.addresses.http, "/nothing", &[&host]).await;
    assert_eq!((unknown.status, unknown.header("content-type")), (404, Some("application/problem+json")));
    // The inbox sends no receipts over HTTP.
    let inbox = get(gateway.addresses.http, "/receipts/inbox/token/x", &[&host]).await;
    assert_eq!((inbox.status, inbox.body), (404, unknown.body));
}

// === the real adapters, from the configuration to the receipt ===

const SECRET: &str = "a secret for receipt tokens, of some length";

/// A gateway that sends through one vendor of this kind, played by a script.
async fn gateway_with(kind: &str, keys: &str, server: &VendorServer) -> Gateway {
    let config = CONFIG.replace("brand = \"Acme\"", "brand = \"Acme\"\nadmin = true");
    let (before, _) = config.split_once("[vendors.inbox]").unwrap();
    let url = server.url();
    Gateway::start_with(&format!(
        "{before}\n[receipts]\npublic_url = \"http://public.test/base/\"\nsecret = \"{SECRET}\"\n\n[vendors.one]\n\
         kind = \"{kind}\"\nbase_url = \"{url}\"\n{keys}\n\n[[routes]]\nchannel = \"sms\"\nvendors = [\"one\"]\n"
    ))
    .await
}

async fn until(gateway: &Gateway, id: &str, status: MessageStatus) {
    let mut messages = gateway.messages().await;
    eventually(async || {
        let request = GetMessageRequest { id: id.to_owned() };
        let message = messages.get_message(request).await.unwrap().into_inner().message.unwrap();
        (message.status() == status).then_some(())
    })
    .await;
}

async fn send(gateway: &Gateway, phone: &str) -> String {
    let mut messages = gateway.messages().await;
    let id = messages.send_message(text_to(phone, "Hello")).await.unwrap().into_inner().message.unwrap().id;
    until(gateway, &id, MessageStatus::Sent).await;
    id
}

#[tokio::test]
async fn each_vendor_reports_in_its_own_way() {
    let tokens = ReceiptTokens::from_secret(&SECRET.into()).unwrap();
    let own_path = format!("/receipts/one/{}", tokens.of("one").expose_secret());
    let esms = "user = \"u\"\npass = \"p\"";
    let simpu = "api_key = \"k\"\nsender_id = \"Acme\"";
    let octopush = "api_login = \"l\"\napi_key = \"k\"";
    for (kind, keys, answer, url, query, body) in [
        ("esms", esms, json!({"status": 0, "id": "x-1"}), Some("dlr-url"), "?msgId=x-1&s=DELIVRD&t=20260102150405", ""),
        ("simpu", simpu, json!({"id": "x-1", "meta": {}}), Some("callback"), "", r#"{"status": "delivered"}"#),
        (
            "octopush",
            octopush,
            json!({"sms_ticket": "x-1"}),
            None,
            "",
            r#"{"message_id": "x-1", "status": "DELIVERED"}"#,
        ),
    ] {
        let server = VendorServer::start(move |_| Answer::json(200, &answer)).await;
        let gateway = gateway_with(kind, keys, &server).await;
        let id = send(&gateway, PHONE).await;
        let request = server.requests()[0].json();
        let path = match url {
            Some(field) => request[field].as_str().unwrap().strip_prefix("http://public.test/base").unwrap().to_owned(),
            None => own_path.clone(),
        };
        assert!(path.starts_with(&own_path), "{kind} {path}");
        let method = if body.is_empty() { "GET" } else { "POST" };
        let host = format!("Host: {}", gateway.addresses.http);
        let answer = call(gateway.addresses.http, method, &format!("{path}{query}"), &[&host], body).await;
        assert_eq!(answer.status, 200, "{kind} {answer:?}");
        until(&gateway, &id, MessageStatus::Delivered).await;
    }
}

#[tokio::test]
async fn hasun_is_asked() {
    let answer = |request: &Recorded| match request.path() {
        path if path.ends_with("/sms/send") => Answer::json(200, json!({"status": "success", "message_uuid": "x-1"})),
        _ => Answer::json(200, json!({"status": "delivered"})),
    };
    let server = VendorServer::start(answer).await;
    let keys = "token = \"t\"\norganisation_token = \"o\"\nmask_token = \"m\"";
    let gateway = gateway_with("hasun", keys, &server).await;
    let id = send(&gateway, "+94771234568").await;
    gateway.clock.advance(10 * SECOND);
    until(&gateway, &id, MessageStatus::Delivered).await;
}

/// A vendor whose questions come to nothing is left alone as one that takes no messages is; how it fares with messages
/// is another matter.
#[tokio::test]
async fn questions_without_an_answer_count_against_a_vendor_but_not_as_sends() {
    for (fault, in_a_row) in [
        (Some(Fault::ServerError), 3),
        (Some(Fault::Refuse), 3),
        (Some(Fault::TooMany), 0),
        (Some(Fault::Echo(401)), 3),
        // It knows nothing final, which is an answer.
        (None, 1),
    ] {
        let answer = |request: &Recorded| match request.path() {
            path if path.ends_with("/sms/send") => {
                Answer::json(200, json!({"status": "success", "message_uuid": "x-1"}))
            }
            _ => Answer::json(200, json!({"status": "pending"})),
        };
        let server = VendorServer::start(answer).await;
        // Requests for fewer calls do not count in a row, but in a share.
        let rules = format!("breaker = {{ in_a_row = {in_a_row}, share = 100, samples = 3, pause = \"1h\" }}");
        let keys = format!("token = \"t\"\norganisation_token = \"o\"\nmask_token = \"m\"\n{rules}");
        let gateway = gateway_with("hasun", &keys, &server).await;
        for last in 1..=3 {
            send(&gateway, &format!("+9477123456{last}")).await;
        }
        server.set_fault(fault.clone()).await;
        gateway.clock.advance(10 * SECOND);
        let mut admin = gateway.admin().await;
        let mut look = async || admin.list_vendors(ListVendorsRequest {}).await.unwrap().into_inner().vendors.remove(0);
        let expected = if fault.is_some() { BreakerState::Open } else { BreakerState::Closed };
        if fault.is_none() {
            eventually(async || (server.requests().len() == 6).then_some(())).await;
        }
        let vendor =
            eventually(async || Some(look().await).filter(|it| it.breaker() == expected && it.under_way == 0)).await;
        assert_eq!(vendor.calls, Some(VendorCalls { accepted: 3, ..VendorCalls::default() }), "{fault:?}");
        assert!(vendor.latency_p99.unwrap().seconds < 10, "{fault:?}");
        // What is left alone is not asked either, until its pause is over.
        let asked = server.requests().len();
        server.set_fault(None).await;
        gateway.clock.advance(30 * SECOND);
        let mut messages = gateway.messages().await;
        messages.send_message(text_to("+94771234569", "Hello")).await.unwrap();
        if fault.is_some() {
            eventually(async || (look().await.waiting == 1).then_some(())).await;
            assert_eq!(server.requests().len(), asked, "{fault:?}");
        } else {
            eventually(async || (server.requests().len() == asked + 4).then_some(())).await;
        }
    }
}

/// Vendors are asked with half of their room at most.
#[tokio::test]
async fn questions_leave_room_for_messages() {
    let answer = |request: &Recorded| match request.path() {
        path if path.ends_with("/sms/send") => Answer::json(200, json!({"status": "success", "message_uuid": "x-1"})),
        _ => Answer::json(200, json!({"status": "pending"})),
    };
    let server = VendorServer::start(answer).await;
    let keys = "token = \"t\"\norganisation_token = \"o\"\nmask_token = \"m\"\nconcurrency = 4\ntimeout = \"90s\"";
    let gateway = gateway_with("hasun", keys, &server).await;
    for last in 1..=5 {
        send(&gateway, &format!("+9477123456{last}")).await;
    }
    server.set_fault(Fault::Silence).await;
    // Less than a call may take.
    gateway.clock.advance(10 * SECOND);
    eventually(async || (server.requests().len() == 7).then_some(())).await;
    server.set_fault(None).await;
    send(&gateway, "+94771234569").await;
    assert_eq!(server.requests().len(), 8);
}
