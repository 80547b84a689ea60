//! Another tenant's id is an unknown id: every rpc that takes one, found along the contract, answers both to the last byte
//! alike, over gRPC and as JSON. That both take the same way through the store is looked at elsewhere.

use std::collections::BTreeSet;

use prost_reflect::{Kind, MethodDescriptor};
use serde_json::{Value, json};
use verigate::proto::contacts::v1::CreateRowRequest;
use verigate::rest::native::routes::ROUTES;

use crate::access::raw::{call, methods, path, request};
use crate::native_json::client::{ACME, Caller, OTHER};
use crate::support::gateway::{Gateway, PHONE, seconds, start, start_now, text_to};

/// Fields whose names end like those of ids, and that name no thing of a tenant's; or of a tenant that an administrator
/// names beside it.
const NO_IDS: [&str; 4] = ["device_id", "endpoint_id", "event_id", "key_id"];

/// The id with its last digit changed: as well formed as any, and unknown.
fn unknown(id: &str) -> String {
    let (head, last) = id.split_at(id.len() - 1);
    format!("{head}{}", if last == "0" { "1" } else { "0" })
}

/// What tenant `acme` has.
struct Things {
    verification: String,
    message: String,
    row: String,
    column: String,
}

impl Things {
    async fn of_acme(gateway: &Gateway) -> Self {
        let verification = start_now(&mut gateway.verifications().await, start(PHONE)).await.unwrap().id;
        let mut scheduled = text_to(PHONE, "See you at nine.");
        scheduled.send_at = Some(prost_types::Timestamp { seconds: 1_795_324_560 + 3600, nanos: 0 });
        scheduled.validity = seconds(7200);
        let message = gateway.messages().await.send_message(scheduled).await.unwrap().into_inner().message.unwrap().id;
        let mut contacts = gateway.contacts().await;
        let row = contacts.create_row(CreateRowRequest::default()).await.unwrap().into_inner().row.unwrap().id;
        let column = verigate::proto::contacts::v1::AddColumnRequest {
            name: "plan".to_owned(),
            r#type: verigate::proto::contacts::v1::ColumnType::Text.into(),
            ..Default::default()
        };
        let column = contacts.add_column(column).await.unwrap().into_inner().column.unwrap().id;
        Self { verification, message, row, column }
    }

    fn named_by(&self, rpc: &str, field: &str) -> &str {
        match (rpc.split(['.', '/']).nth(2).unwrap(), field) {
            (_, "column_id") => &self.column,
            (_, "verification_id") | ("verification", "id") => &self.verification,
            (_, "message_id") | ("messaging", "id") => &self.message,
            ("contacts", "id") => &self.row,
            other => panic!("whose id is {other:?}?"),
        }
    }
}

/// The fields of a request that hold an id.
fn ids(method: &MethodDescriptor) -> Vec<String> {
    let input = method.input();
    let texts = input.fields().filter(|field| field.kind() == Kind::String && !field.is_list());
    let names = texts.map(|field| field.name().to_owned());
    names.filter(|name| (name == "id" || name.ends_with("_id")) && !NO_IDS.contains(&name.as_str())).collect()
}

/// Enough for a request to be understood.
fn body(method: &MethodDescriptor, field: &str, id: &str) -> Value {
    let mut body = json!({ field: id });
    let more = match method.name() {
        "CheckVerification" => json!({"code": "123456"}),
        "UpdateRow" => json!({"columns": {"first_name": "Ann"}}),
        "UpdateColumn" => json!({"name": "tier"}),
        "SubmitFeedback" => json!({"outcome": "FEEDBACK_OUTCOME_RECEIVED"}),
        _ => json!({}),
    };
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

fn config() -> String {
    let config = crate::support::gateway::CONFIG;
    config.replace("name = \"other\"", "name = \"other\"\nadmin = true")
}

#[tokio::test]
async fn another_tenants_id_is_an_unknown_one_for_every_rpc() {
    let gateway = Gateway::start_with(&config()).await;
    let things = Things::of_acme(&gateway).await;
    let channel = gateway.channel().await;
    let mut tried = BTreeSet::new();
    for method in methods() {
        let rpc = path(&method);
        for field in ids(&method) {
            let theirs = things.named_by(&rpc, &field);
            let (theirs, unknown) = (body(&method, &field, theirs), body(&method, &field, &unknown(theirs)));
            let mut told = Vec::new();
            for body in [&theirs, &unknown] {
                let refused = call(&channel, OTHER, &method, &request(&method, &body.to_string())).await;
                let refused = refused.expect_err(&rpc);
                told.push((refused.code(), refused.message().to_owned(), refused.details().to_vec()));
            }
            assert_eq!(told[0], told[1], "{rpc} by {field}");
            tried.insert(rpc.rsplit_once('/').unwrap().1.to_owned());
        }
    }
    let expected = [
        "CancelMessage",
        "CancelVerification",
        "CheckVerification",
        "DeleteColumn",
        "DeleteRow",
        "GetMessage",
        "GetRow",
        "GetVerification",
        "ResendVerification",
        "SubmitFeedback",
        "UpdateColumn",
        "UpdateRow",
        "WatchMessage",
        "WatchVerification",
    ];
    assert_eq!(tried.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    // They were real: their owner finds each.
    for method in methods().into_iter().filter(|method| method.name().starts_with("Get")) {
        for field in ids(&method) {
            let own = body(&method, &field, things.named_by(&path(&method), &field));
            call(&channel, ACME, &method, &request(&method, &own.to_string())).await.unwrap();
        }
    }
}

#[tokio::test]
async fn another_tenants_id_is_an_unknown_one_as_json() {
    let gateway = Gateway::start_with(&config()).await;
    let things = Things::of_acme(&gateway).await;
    let (caller, methods) = (Caller::with(&gateway, OTHER), methods());
    let mut tried = 0;
    for route in ROUTES {
        let rpc = format!("/verigate.{}", route.rpc);
        let method = methods.iter().find(|method| path(method) == rpc).unwrap();
        let in_path = |field: &String| route.path.contains(&format!("{{{field}}}"));
        for field in ids(method).into_iter().filter(|field| in_path(field) || !route.path.contains('{')) {
            let theirs = things.named_by(&rpc, &field);
            let mut told = Vec::new();
            for id in [theirs, &unknown(theirs)] {
                let mut body = body(method, &field, id);
                if in_path(&field) {
                    body.as_object_mut().unwrap().remove(&field);
                }
                let target = route.path.replace(&format!("{{{field}}}"), id);
                let text = if route.verb.has_body() { body.to_string() } else { String::new() };
                let reply = caller.send(route.verb.as_str(), &target, &["Content-Type: application/json"], text).await;
                let mut json = reply.json.clone();
                json.as_object_mut().unwrap().remove("request_id");
                told.push((reply.status, json));
            }
            assert_eq!(told[0], told[1], "{rpc} at {}", route.path);
            assert_eq!(told[0].0, 404, "{rpc} at {}: {told:?}", route.path);
            tried += 1;
        }
    }
    assert!(tried >= 14, "{tried}");
}
