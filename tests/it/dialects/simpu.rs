//! The dialect of Simpu where fixtures do not reach: many calls at once, other surfaces beside it, hosts, what is posted
//! later, and our own adapter as its client.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use verigate::proto::contacts::v1::{AddColumnRequest, ColumnType, CreateRowRequest};
use verigate::proto::messaging::v1::{ListMessagesRequest, MessageStatus};
use verigate::proto::verification::v1::CheckOutcome;

use crate::support::gateway::{CONFIG, Gateway, eventually, judge, wrong};
use crate::support::http::call;
use crate::support::vendor_server::{Answer, VendorServer};

const NUMBER: &str = "2348023456789";

/// Lets messages be told of on this machine.
const CALLS_HOME: &str = "[callbacks]\nallow = [\"127.0.0.0/8\"]\n";

/// Asks as tenant `acme`.
async fn ask(gateway: &Gateway, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let path = format!("/simpu/{path}");
    ask_at(gateway, "127.0.0.1", method, &path, body).await
}

async fn ask_at(gateway: &Gateway, host: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let host = format!("Host: {host}");
    let headers = [&host, "Content-Type: application/json", "Authorization: acme.acme-secret-of-some-length"];
    let answer = call(gateway.addresses.http, method, path, &headers, &body.to_string()).await;
    (answer.status, serde_json::from_str(&answer.body).unwrap_or_default())
}

/// Requests a code and returns its id.
async fn request(gateway: &Gateway, token: &str) -> String {
    let body = json!({ "recipient": NUMBER, "token": token });
    let (status, otp) = ask(gateway, "POST", "otp/request_token", &body).await;
    assert_eq!(status, 200, "{otp}");
    otp["id"].as_str().unwrap().to_owned()
}

async fn verify(gateway: &Gateway, id: &str, token: &str) -> (u16, String) {
    let (status, answer) = ask(gateway, "POST", "otp/verify", &json!({ "id": id, "token": token })).await;
    (status, answer["message"].as_str().unwrap_or_default().to_owned())
}

/// As the other surfaces write it.
fn hyphenated(id: &str) -> String {
    [&id[..8], &id[8..12], &id[12..16], &id[16..20], &id[20..]].join("-")
}

// === codes ===

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_wrong_codes_at_once_five_are_judged() {
    let gateway = Gateway::start().await;
    let id = request(&gateway, "471147").await;
    let guesses: Vec<_> = (0..64).map(|turn| wrong("471147", turn)).collect();
    let answers = join_all(guesses.iter().map(|guess| verify(&gateway, &id, guess))).await;
    let told = |message: &str| answers.iter().filter(|(_, told)| told == message).count();
    assert_eq!(told("Invalid token"), 5, "{answers:?}");
    // What lost its race too often may come again.
    assert_eq!(told("Maximum attempts reached") + told("The same request is under way, please retry"), 59);
    assert_eq!(verify(&gateway, &id, "471147").await, (404, "Maximum attempts reached".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_right_codes_at_once_one_is_taken() {
    let gateway = Gateway::start().await;
    let id = request(&gateway, "471147").await;
    let answers = join_all((0..64).map(|_| verify(&gateway, &id, "471147"))).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 200).count(), 1, "{answers:?}");
}

#[tokio::test]
async fn all_surfaces_share_one_counter() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let id = request(&gateway, "471147").await;
    for turn in 0..2 {
        assert_eq!(judge(&mut client, &hyphenated(&id), &wrong("471147", turn)).await, CheckOutcome::WrongCode);
        assert_eq!(verify(&gateway, &id, "000000").await, (404, "Invalid token".to_owned()));
    }
    assert_eq!(verify(&gateway, &id, "000000").await, (404, "Invalid token".to_owned()));
    assert_eq!(judge(&mut client, &hyphenated(&id), "471147").await, CheckOutcome::ChecksExhausted);
    assert_eq!(verify(&gateway, &id, "471147").await, (404, "Maximum attempts reached".to_owned()));

    // A restart forgets none of it.
    let gateway = gateway.restart().await;
    assert_eq!(verify(&gateway, &id, "471147").await, (404, "Maximum attempts reached".to_owned()));
}

#[tokio::test]
async fn hosts_have_it_at_their_root_in_either_version() {
    let hosts = "[rest.hosts]\n\"api.simpu.example\" = \"simpu\"\n\"api.v1.simpu.example\" = \"simpu\"\n";
    let gateway = Gateway::start_with(&format!("{CONFIG}\n{hosts}")).await;
    let body = json!({ "recipient": NUMBER });
    let (status, otp) = ask_at(&gateway, "api.simpu.example", "POST", "/otp/request_token", &body).await;
    assert_eq!((status, &otp["status_desc"]), (200, &json!("SENT")));
    let body = json!({ "recipient": "2348023456780" });
    let (status, otp) = ask_at(&gateway, "api.v1.simpu.example", "POST", "/otp/request_token", &body).await;
    assert_eq!((status, &otp["data"]["verify"]["recipient"]), (200, &json!(2_348_023_456_780_u64)));
    let (status, answer) = ask_at(&gateway, "api.simpu.example", "GET", "/", &json!({})).await;
    assert_eq!((status, answer), (404, json!({ "status": 404, "message": "Not found" })));
}

// === texts ===

/// Eight recipients that no vendor answers for are waited for together, not one after the other, which would take forty
/// seconds.
#[tokio::test]
async fn many_recipients_take_no_longer_than_one() {
    // No attempt ends by itself meanwhile.
    let gateway = Gateway::start_with(&format!("{CONFIG}\n[messaging]\nattempt_timeout = \"100s\"\n")).await;
    let numbers: Vec<_> = (0..8).map(|at| format!("234802345{at}006")).collect();
    let body = json!({ "recipients": numbers.join(","), "sender_id": "Acme", "content": "Hello" });
    let mut messages = gateway.messages().await;
    let mut under_way = async || {
        let listed = messages.list_messages(ListMessagesRequest::default()).await.unwrap().into_inner().messages;
        listed.iter().filter(|message| message.status() == MessageStatus::Sending).count()
    };
    let mut asked = pin!(ask(&gateway, "POST", "sms/send", &body));
    tokio::select! {
        answer = &mut asked => panic!("answered before anybody waited: {answer:?}"),
        () = eventually(async || (under_way().await == numbers.len()).then_some(())) => {}
    }
    let mut seconds = 0;
    let (status, answer) = loop {
        gateway.clock.advance(Duration::from_secs(1));
        seconds += 1;
        // Calls of our own give the other one the time to end.
        for _ in 0..4 {
            under_way().await;
        }
        match futures_util::FutureExt::now_or_never(&mut asked) {
            Some(answer) => break answer,
            None => assert!(seconds < 20, "still waiting"),
        }
    };
    assert_eq!((status, &answer["recipients"]), (200, &json!(numbers)));
}

#[tokio::test]
async fn callers_are_told_how_each_of_their_texts_ended() {
    let receiver = VendorServer::start(|_| Answer::new(200, "ok")).await;
    let gateway = Gateway::start_with(&format!("{CONFIG}\n{CALLS_HOME}")).await;
    let callback = format!("{}/hook?shop=7", receiver.url());
    let send = async |recipients: &str, external_ref: Option<&str>| {
        let mut body =
            json!({ "recipients": recipients, "sender_id": "Acme", "content": "Hello", "callback": callback });
        body["external_ref"] = json!(external_ref);
        let (status, answer) = ask(&gateway, "POST", "sms/send", &body).await;
        assert_eq!((status, &answer["callback"]), (200, &json!(callback)), "{answer}");
        answer["id"].clone()
    };
    let posted = async |count: usize| {
        eventually(async || (receiver.requests().len() == count).then(|| receiver.requests())).await
    };

    let one = send("2348023456780", None).await;
    let request = posted(1).await.remove(0);
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/hook?shop=7"));
    let told = |id: &Value, external_ref: Value, recipient: &str, (status, word): (u8, &str)| {
        json!({
            "id": id, "external_ref": external_ref, "recipient": recipient, "status": status, "status_desc": word,
        })
    };
    assert_eq!(request.json(), told(&one, Value::Null, "2348023456780", (2, "DELIVERED")));

    // One id for all of a call; one comes late, one does not arrive, and one is refused.
    let many = send("2348023456781,2348023456001,2348023456002,2348023456003", Some("order 7")).await;
    posted(4).await;
    gateway.clock.advance(Duration::from_secs(30));
    let mut last: Vec<_> = posted(5).await[1..].iter().map(|request| request.json()).collect();
    last.sort_by_key(|body| body["recipient"].to_string());
    let expected = [
        ("2348023456001", (2, "DELIVERED")),
        ("2348023456002", (5, "FAILED")),
        ("2348023456003", (5, "FAILED")),
        ("2348023456781", (2, "DELIVERED")),
    ];
    assert_eq!(last, expected.map(|(recipient, state)| told(&many, json!("order 7"), recipient, state)));
}

/// Columns can be added over gRPC only, so fixtures know none of numbers and choices.
#[tokio::test]
async fn cells_keep_the_types_of_their_columns() {
    let gateway = Gateway::start().await;
    let mut contacts = gateway.contacts().await;
    let mut ids = Vec::new();
    for (name, r#type, options) in [
        ("age", ColumnType::Number, &[][..]),
        ("plan", ColumnType::Select, &["free", "paid"]),
        ("groups", ColumnType::MultiSelect, &["a", "b"]),
    ] {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let request = AddColumnRequest { name: name.to_owned(), r#type: r#type.into(), options };
        ids.push(contacts.add_column(request).await.unwrap().into_inner().column.unwrap().id);
    }
    let [age, plan, groups] = ids.try_into().unwrap();
    let columns = json!({ &age: 41.0, &plan: "paid", &groups: ["b", "a"] });
    let (status, answer) = ask(&gateway, "POST", "lists/contact/rows", &json!({ "columns": columns })).await;
    assert_eq!((status, &answer["row"]["columns"]), (200, &json!({ &age: 41, &plan: "paid", &groups: ["a", "b"] })));
    let kinds: Vec<_> =
        answer["table"]["columns"].as_array().unwrap()[6..].iter().map(|it| it["type"].clone()).collect();
    assert_eq!(kinds, ["NUMBER", "SELECT", "MULTI SELECT"]);
    let (_, answer) = ask(&gateway, "POST", "lists/contact/rows", &json!({ "columns": { &age: 1.5 } })).await;
    assert_eq!(answer["row"]["columns"], json!({ &age: 1.5 }));
    let (status, answer) = ask(&gateway, "POST", "lists/contact/rows", &json!({ "columns": { &age: "41" } })).await;
    assert_eq!((status, &answer["errors"][0]["field"]), (400, &json!(format!("columns.{age}"))));

    for (column, operator, value, found) in [
        (&age, "greater_than", json!(1.5), 1),
        (&age, "<", json!(42), 2),
        (&age, "equal", json!(41), 1),
        (&plan, "is", json!("paid"), 1),
        (&plan, "not_equal", json!("paid"), 1),
        (&groups, "contain", json!(["a"]), 1),
        (&groups, "contain", json!("b"), 1),
        (&groups, "empty", Value::Null, 1),
    ] {
        let filters = json!({ "filters": [{ "column_id": column, "operator": operator, "value": value }] });
        let (status, answer) = ask(&gateway, "POST", "lists/contact/rows/query", &filters).await;
        assert_eq!((status, &answer["meta"]["pagination"]["count_total"]), (200, &json!(found)), "{filters} {answer}");
    }
}

// === our own adapter ===

/// What our adapter for the vendor writes to its contact list, the dialect takes.
#[tokio::test]
async fn our_own_adapter_writes_contacts() {
    let behind = Gateway::start().await;
    let upstream = format!(
        r#"
        [vendors.upstream]
        kind = "simpu"
        base_url = "http://{}/simpu"
        api_key = "acme.acme-secret-of-some-length"
        sender_id = "Front"

        [contacts]
        push = ["upstream"]
        "#,
        behind.addresses.http
    );
    let front = Gateway::start_with(&format!("{CONFIG}\n{upstream}")).await;
    let text = |text: &str| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text.to_owned())) };
    let columns = [("phone_number", text("+2348023456789")), ("first_name", text("Ada"))];
    let columns = columns.map(|(name, value)| (name.to_owned(), value)).into();
    let row = CreateRowRequest { columns, idempotency_key: String::new() };
    front.contacts().await.create_row(row).await.unwrap();
    let found = eventually(async || {
        let (_, found) = ask(&behind, "POST", "lists/contact/rows/query", &json!({})).await;
        found["rows"].get(0).cloned()
    })
    .await;
    let cells: Vec<_> = found["columns"].as_object().unwrap().values().collect();
    assert!(cells.contains(&&json!("2348023456789")) && cells.contains(&&json!("Ada")), "{found}");
}
