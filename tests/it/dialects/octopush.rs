//! The dialect of Octopush where fixtures do not reach: many calls at once, other surfaces beside it, time that passes,
//! restarts, what is posted later, and a client of its customers.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::pin::pin;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

use futures_util::future::join_all;
use prost_types::value::Kind;
use serde_json::{Value, json};
use verigate::proto::contacts::v1::{GetTableRequest, QueryRowsRequest};
use verigate::proto::messaging::v1::{GetMessageRequest, ListMessagesRequest};
use verigate::proto::verification::v1::CheckOutcome;

use crate::cli::program::Place;
use crate::support::gateway::{CONFIG, Gateway, PHONE, by_recipient, eventually, judge, wrong};
use crate::support::http::call;
use crate::support::vendor_server::{Answer, VendorServer};

const HOUR: Duration = Duration::from_secs(3600);

/// Asks as tenant `acme`.
async fn ask(gateway: &Gateway, method: &str, path: &str, body: Value) -> (u16, Value) {
    let headers = ["Host: 127.0.0.1", "Content-Type: application/json", "api-login: acme"];
    let headers = [&headers[..], &["api-key: acme-secret-of-some-length"]].concat();
    let answer = call(gateway.addresses.http, method, &format!("/octopush/{path}"), &headers, &body.to_string()).await;
    (answer.status, serde_json::from_str(&answer.body).unwrap_or_default())
}

async fn generate(gateway: &Gateway, body: Value) -> Value {
    let (status, answer) = ask(gateway, "POST", "service/otp/generate", body).await;
    assert_eq!(status, 201, "{answer}");
    answer
}

async fn validate(gateway: &Gateway, body: Value) -> (u16, Value) {
    ask(gateway, "PUT", "service/otp/validate", body).await
}

async fn campaign(gateway: &Gateway, body: Value) -> (u16, Value) {
    ask(gateway, "POST", "sms-campaign/send", body).await
}

// === codes ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_wrong_codes_at_once_as_many_are_judged_as_are_allowed() {
    let gateway = Gateway::start().await;
    let token = generate(&gateway, json!({ "phone_number": PHONE })).await["otp_request_token"].clone();
    let code = gateway.code(PHONE).await;
    let guess = |turn| json!({ "otp_request_token": token, "code": wrong(&code, turn) });
    let answers = join_all((0..64).map(|turn| validate(&gateway, guess(turn)))).await;
    let judged = answers.iter().filter(|(_, answer)| answer["code"] == 199);
    let mut left: Vec<_> = judged.map(|(_, answer)| answer["remaining_number_of_attempts"].as_u64().unwrap()).collect();
    left.sort_unstable();
    assert_eq!(left, [0, 1, 2]);
    // What lost its race too often may come again.
    assert!(answers.iter().all(|(_, answer)| matches!(answer["code"].as_i64(), Some(196 | 199 | 500))), "{answers:?}");
    let (status, answer) = validate(&gateway, json!({ "otp_request_token": token, "code": code })).await;
    assert_eq!((status, &answer["code"]), (400, &json!(196)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_right_codes_at_once_one_is_right() {
    let gateway = Gateway::start().await;
    let token = generate(&gateway, json!({ "phone_number": PHONE })).await["otp_request_token"].clone();
    let body = json!({ "otp_request_token": token, "code": gateway.code(PHONE).await });
    let answers = join_all((0..64).map(|_| validate(&gateway, body.clone()))).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|(_, answer)| matches!(answer["code"].as_i64(), Some(0 | 198 | 500))), "{answers:?}");
}

#[tokio::test]
async fn wrong_codes_count_together_with_those_of_other_surfaces() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = gateway.begin(&mut client, PHONE).await.id;
    let code = gateway.code(PHONE).await;
    for turn in 0..2 {
        assert_eq!(judge(&mut client, &id, &wrong(&code, turn)).await, CheckOutcome::WrongCode);
    }
    let (_, answer) = validate(&gateway, json!({ "phone_number": PHONE, "code": wrong(&code, 2) })).await;
    assert_eq!(answer["remaining_number_of_attempts"], 2);
    let token = format!("otp_{}", id.replace('-', ""));
    let (_, answer) = validate(&gateway, json!({ "otp_request_token": token, "code": wrong(&code, 3) })).await;
    assert_eq!(answer["remaining_number_of_attempts"], 1);
    assert_eq!(validate(&gateway, json!({ "phone_number": PHONE, "code": code })).await.0, 200);
    assert_eq!(judge(&mut client, &id, &code).await, CheckOutcome::AlreadyApproved);
}

/// And the other way: what this dialect has started, others can check.
#[tokio::test]
async fn a_code_of_this_dialect_is_checked_over_grpc_and_survives_a_restart() {
    let gateway = Gateway::start().await;
    generate(&gateway, json!({ "phone_number": PHONE, "recipient_ip": "203.0.113.9" })).await;
    let code = gateway.code(PHONE).await;
    let gateway = gateway.restart().await;
    let (_, answer) = validate(&gateway, json!({ "phone_number": PHONE, "code": "nope" })).await;
    assert_eq!(answer["remaining_number_of_attempts"], 2);
    let mut client = gateway.verifications().await;
    let checked = client.check_verification(by_recipient(PHONE, &code)).await.unwrap().into_inner();
    assert_eq!(checked.outcome(), CheckOutcome::Approved);
    assert_eq!(checked.verification.unwrap().metadata["recipient_ip"], "203.0.113.9");
}

// === campaigns ===

#[tokio::test]
async fn a_scheduled_campaign_is_sent_when_its_time_has_come_and_not_called_off_any_more() {
    let gateway = Gateway::start().await;
    let body =
        json!({ "recipients": [{ "phone_number": PHONE }], "text": "Later", "send_at": "2026-11-22T06:16:00.125Z" });
    let (status, sent) = campaign(&gateway, body).await;
    assert_eq!((status, &sent["number_of_contacts"]), (201, &json!(1)));
    gateway.clock.advance(HOUR - Duration::from_secs(1));
    assert!(gateway.inbox(PHONE).await.is_empty());
    gateway.clock.advance(Duration::from_secs(1));
    let message = eventually(async || gateway.inbox(PHONE).await.pop()).await;
    assert_eq!(message["text"], "Later");
    let (status, answer) =
        ask(&gateway, "DELETE", "sms-campaign/cancel", json!({ "ticket_number": sent["sms_ticket"] })).await;
    assert_eq!((status, &answer["code"]), (400, &json!(132)));
}

#[tokio::test]
async fn request_ids_and_scheduled_campaigns_survive_a_restart() {
    let gateway = Gateway::start().await;
    let body = json!({ "recipients": [{ "phone_number": PHONE }, { "phone_number": "+60123456788" }], "text": "Later",
        "send_at": "2026-11-22T08:00:00Z", "request_id": "order 7" });
    let (_, sent) = campaign(&gateway, body.clone()).await;
    let gateway = gateway.restart().await;
    assert_eq!(campaign(&gateway, body).await.1["code"], 120);

    // Each message has the ticket, for those who look at it over gRPC.
    let mut client = gateway.messages().await;
    let page = client.list_messages(ListMessagesRequest::default()).await.unwrap().into_inner();
    for message in &page.messages {
        assert_eq!(Some(message.metadata["ticket"].as_str()), sent["sms_ticket"].as_str());
    }
    let (status, _) =
        ask(&gateway, "DELETE", "sms-campaign/cancel", json!({ "ticket_number": sent["sms_ticket"] })).await;
    assert_eq!((page.messages.len(), status), (2, 204));
    for message in page.messages {
        let request = GetMessageRequest { id: message.id };
        let message = client.get_message(request).await.unwrap().into_inner().message.unwrap();
        assert_eq!(message.status().as_str_name(), "MESSAGE_STATUS_CANCELED");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_campaigns_at_once_with_one_request_id_one_is_sent() {
    let gateway = Gateway::start().await;
    let recipients: Vec<_> = (0..5).map(|last| format!("+6012345678{last}")).collect();
    let body = json!({ "recipients": recipients, "text": "Hi", "request_id": "r" });
    let answers = join_all((0..20).map(|_| campaign(&gateway, body.clone()))).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 201).count(), 1, "{answers:?}");
    assert!(answers.iter().all(|(_, answer)| matches!(answer["code"].as_i64(), None | Some(120 | 500))), "{answers:?}");
    assert_eq!(gateway.whole_inbox().await.len(), 5);
}

#[tokio::test]
async fn five_hundred_get_theirs_and_are_called_by_one_ticket() {
    let gateway = Gateway::start().await;
    let recipients: Vec<_> = (0..500)
        .map(|number| json!({ "phone_number": format!("+60123{number:03}100"), "first_name": format!("N{number}") }))
        .collect();
    let body = json!({ "recipients": recipients, "text": "Hi {first_name}", "request_id": "all" });
    let (status, sent) = campaign(&gateway, body).await;
    assert_eq!((status, &sent["number_of_contacts"]), (201, &json!(500)));
    let inbox = gateway.whole_inbox().await;
    let texts: BTreeMap<_, _> = inbox.iter().map(|it| (it["recipient"].as_str(), it["text"].as_str())).collect();
    assert_eq!((inbox.len(), texts.len()), (500, 500));
    assert_eq!(texts[&Some("+60123042100")], Some("Hi N42"));
}

/// A vendor that never answers is waited for once, and not for each recipient.
#[tokio::test]
async fn all_recipients_of_a_campaign_are_waited_for_together() {
    let gateway = Gateway::start_with(&format!("{CONFIG}\n[messaging]\nattempt_timeout = \"2m\"")).await;
    let silent: Vec<_> = (0..40).map(|number| format!("+60123{number:03}006")).collect();
    let mut call = pin!(campaign(&gateway, json!({ "recipients": silent, "text": "Hi" })));
    // The call begins to wait at a moment that nobody sees; one wait is 5 s, and forty of them are 200 s.
    for waits in 0.. {
        match tokio::time::timeout(Duration::from_secs(2), &mut call).await {
            Ok((status, sent)) => {
                assert_eq!((status, &sent["number_of_contacts"]), (201, &json!(40)));
                break;
            }
            Err(_) => gateway.clock.advance(Duration::from_secs(5)),
        }
        assert!(waits < 10, "it still waits");
    }
}

// === what is posted later ===

#[tokio::test]
async fn an_account_is_told_how_each_message_of_a_campaign_ended() {
    let receiver = VendorServer::start(|_| Answer::new(200, "")).await;
    let url = format!("{}/status?account=7", receiver.url());
    let config = format!("{CONFIG}\n[callbacks]\nallow = [\"127.0.0.1\"]\n[rest.octopush.callbacks]\nacme = \"{url}\"");
    let gateway = Gateway::start_with(&config).await;
    let recipients = ["+60123456789", "+60123456001", "+60123456002", "+60123456003"];
    let (_, sent) = campaign(&gateway, json!({ "recipients": recipients, "text": "canary-text" })).await;
    assert_eq!(sent["number_of_contacts"], 3);
    let posted = async |count: usize| {
        eventually(async || Some(receiver.requests()).filter(|requests| requests.len() >= count)).await
    };
    posted(3).await;
    gateway.clock.advance(Duration::from_secs(30));
    let requests = posted(4).await;
    let mut told = BTreeMap::new();
    for request in &requests {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/status?account=7"));
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let keys: Vec<_> = body.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["channel", "delivery_date", "message_id", "meta_data", "number", "status"]);
        assert_eq!(
            (&body["channel"], &body["message_id"], &body["meta_data"]),
            (&json!("sms"), &sent["sms_ticket"], &json!({}))
        );
        let [number, status, date] =
            ["number", "status", "delivery_date"].map(|key| body[key].as_str().unwrap().to_owned());
        told.insert(number, (status, date));
    }
    let word = |status: &str, date: &str| (status.to_owned(), date.to_owned());
    let expected = [
        ("+60123456001", word("DELIVERED", "2026-11-22 05:16:30")),
        ("+60123456002", word("NOT_DELIVERED", "2026-11-22 05:16:00")),
        ("+60123456003", word("BAD_DESTINATION", "2026-11-22 05:16:00")),
        ("+60123456789", word("DELIVERED", "2026-11-22 05:16:00")),
    ];
    assert_eq!(told, expected.map(|(number, word)| (number.to_owned(), word)).into());
    // Nothing of a message goes there but whose it was.
    assert!(!requests.iter().any(|request| String::from_utf8_lossy(&request.body).contains("canary")));
    // Another account has set none.
    let other = [
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        "api-login: other",
        "api-key: other-secret-of-some-length",
    ];
    let body = json!({ "recipients": [PHONE], "text": "Hi" }).to_string();
    let answer = call(gateway.addresses.http, "POST", "/octopush/sms-campaign/send", &other, &body).await;
    assert_eq!((answer.status, receiver.requests().len()), (201, 4));
}

// === contacts ===

#[tokio::test]
async fn contacts_are_rows_of_the_tenants_table() {
    let gateway = Gateway::start().await;
    let create = async |body: Value| ask(&gateway, "POST", "contact/create", body).await;
    let ann = |first: &str| json!({ "phone_number": PHONE, "first_name": first, "param1": "x".repeat(60) });
    let bob = json!({ "phone_number": "0123456788", "first_name": "Bob" });
    let first =
        json!({ "contacts": [ann("Ann"), bob, { "phone_number": "none" }], "list_name": "Clients", "tag_name": "vip" });
    assert_eq!(create(first).await.0, 201);
    let second = json!({ "contacts": [ann("Anna")], "list_names": ["B"], "un_tag": "vip", "do_not_overwrite": "yes" });
    assert_eq!(create(second).await.0, 201);
    let rows = rows(&gateway).await;
    assert_eq!(
        rows["+60123456788"],
        json!({ "phone_number": "+60123456788", "first_name": "Bob", "lists": ["Clients"], "tags": ["vip"] })
    );
    assert_eq!(
        rows[PHONE],
        json!({ "phone_number": PHONE, "first_name": "Ann", "param1": "x".repeat(50), "lists": ["Clients", "B"] })
    );
    assert_eq!(create(json!({ "contacts": [ann("Anna")] })).await.0, 201);
    let rows = self::rows(&gateway).await;
    assert_eq!(
        (rows.len(), &rows[PHONE]["first_name"], &rows[PHONE]["lists"]),
        (2, &json!("Anna"), &json!(["Clients", "B"]))
    );
}

/// By number, each by the names of its columns.
async fn rows(gateway: &Gateway) -> BTreeMap<String, Value> {
    let mut client = gateway.contacts().await;
    let table = client.get_table(GetTableRequest {}).await.unwrap().into_inner().table.unwrap();
    let rows = client.query_rows(QueryRowsRequest::default()).await.unwrap().into_inner().rows;
    let name = |id: &str| table.columns.iter().find(|column| column.id == id).unwrap().name.clone();
    let plain = |value: &prost_types::Value| match value.kind.as_ref().unwrap() {
        Kind::StringValue(text) => json!(text),
        Kind::ListValue(list) => {
            let text = |value: &prost_types::Value| match &value.kind {
                Some(Kind::StringValue(text)) => text.clone(),
                other => panic!("no option is {other:?}"),
            };
            list.values.iter().map(text).collect()
        }
        other => panic!("no cell holds {other:?}"),
    };
    let row = |row: &verigate::proto::contacts::v1::Row| {
        let cells = row.columns.iter().map(|(id, cell)| (name(id), plain(cell)));
        let cells: Value = cells.collect::<serde_json::Map<_, _>>().into();
        (cells["phone_number"].as_str().unwrap().to_owned(), cells)
    };
    rows.iter().map(row).collect()
}

// === a client ===

/// Against the real program, under the paths that the vendor has, with the status calls going to a server of ours.
#[test]
fn a_shops_client_works_with_another_base_url() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let body = take(stream.unwrap());
            if tell.send(body).is_err() {
                break;
            }
        }
    });
    let place = Place::new();
    place.run(&["store-key", "new", "key"]).succeeded();
    place.write("verigate.toml", &format!("{SHOP}acme = \"http://127.0.0.1:{port}/status\"\n"));
    let served = place.serve(&["--config", "verigate.toml"], &[]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/dialects/clients/octopush.py");
    let output = Command::new("timeout")
        .args(["--kill-after=5", "120", "python3", script])
        .args([
            &format!("http://{}/octopush/v1/public", served.http),
            "ann.lee@example.com",
            "shop-secret-of-some-length",
        ])
        .arg(format!("http://{}/inbox/messages", served.admin))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    let ticket = out.trim();
    for _ in 0..2 {
        let body: Value = told.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!((body["message_id"].as_str(), body["status"].as_str()), (Some(ticket), Some("DELIVERED")), "{body}");
    }
}

const SHOP: &str = r#"
[store]
key_file = "key"

[[tenants]]
name = "acme"
default_country = "FR"
keys = [{ id = "ann.lee@example.com", secret = "shop-secret-of-some-length" }]

[vendors.inbox]
kind = "inbox"

[[routes]]
channel = "sms"
vendors = ["inbox"]

[callbacks]
allow = ["127.0.0.1"]

[rest.octopush.callbacks]
"#;

/// Reads one request and answers that all is well.
fn take(mut stream: std::net::TcpStream) -> Value {
    use std::io::{Read, Write};
    let mut request = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        let count = stream.read(&mut bytes).unwrap();
        request.extend_from_slice(&bytes[..count]);
        let text = String::from_utf8_lossy(&request);
        let body = text.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
        if let Some(body) = body {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            return body;
        }
        assert!(count > 0, "{text}");
    }
}
