//! Every call once, from its beginning to its end, and what all calls have in common.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use verigate::rest::native::routes::ROUTES;

use crate::native_json::client::{ACME, Caller, OTHER, Reply, Told};
use crate::support::gateway::{CONFIG, Gateway, PHONE};
use crate::support::http::call;
use crate::support::vendor_server::{Answer, VendorServer};

/// A caller that notes which calls of the table it has seen succeed.
struct Walker {
    caller: Caller,
    seen: BTreeSet<(&'static str, &'static str)>,
}

impl Walker {
    async fn get(&mut self, path: &'static str, target: &str) -> Value {
        let reply = self.caller.get(target).await;
        self.note("GET", path, reply)
    }

    async fn post(&mut self, path: &'static str, target: &str, body: Value) -> Value {
        let reply = self.caller.post(target, &body).await;
        self.note("POST", path, reply)
    }

    async fn send(&mut self, verb: &'static str, path: &'static str, target: &str, body: Value) -> Value {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let reply = self.caller.send(verb, target, &["Content-Type: application/json"], text).await;
        self.note(verb, path, reply)
    }

    fn note(&mut self, verb: &'static str, path: &'static str, reply: Reply) -> Value {
        self.seen.insert((verb, path));
        reply.ok()
    }

    /// Every call to these services was seen.
    fn assert_walked(&self, services: &str) {
        let routes = ROUTES.iter().filter(|route| route.rpc.starts_with(services));
        let missing: Vec<_> = routes.filter(|route| !self.seen.contains(&(route.verb.as_str(), route.path))).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }
}

#[tokio::test]
async fn verifications_are_started_checked_resent_canceled_read_and_watched() {
    let gateway = Gateway::start().await;
    let mut walker = Walker { caller: Caller::acme(&gateway), seen: BTreeSet::new() };
    let body = json!({"recipient": {"phone": "012-345 6789"}, "scope": "login", "delivery_wait": "5s",
        "policy": {"length": 8, "alphabet": ["ALPHABET_CLASS_DIGITS"]}, "metadata": {"order": "7"}});
    let started = walker.post("/v1/verifications", "/v1/verifications", body).await;
    assert_eq!(started["code"], "");
    let begun = &started["verification"];
    assert_eq!(begun["recipient"], json!({"phone": PHONE}));
    assert_eq!((&begun["status"], &begun["checks_left"]), (&json!("VERIFICATION_STATUS_PENDING"), &json!(5)));
    assert_eq!((&begun["metadata"], &begun["workflow"]), (&json!({"order": "7"}), &json!("")));
    assert_eq!(begun["create_time"], "2026-11-22T05:16:00.125Z");
    let id = begun["id"].as_str().unwrap();
    let code = gateway.code(PHONE).await;
    assert_eq!(code.len(), 8);

    let one = format!("/v1/verifications/{id}");
    let wrong = walker.post("/v1/verifications/{id}/check", &format!("{one}/check"), json!({"code": "x"})).await;
    assert_eq!((&wrong["outcome"], &wrong["checks_left"]), (&json!("CHECK_OUTCOME_WRONG_CODE"), &json!(4)));
    gateway.clock.advance(Duration::from_secs(30));
    let resent = walker.post("/v1/verifications/{id}/resend", &format!("{one}/resend"), json!({})).await;
    assert_eq!(resent["verification"]["sends"].as_array().unwrap().len(), 2);
    let scoped = json!({"scoped_recipient": {"scope": "login", "recipient": {"phone": PHONE}}, "code": code});
    let right = walker.post("/v1/checks", "/v1/checks", scoped).await;
    assert_eq!(right["outcome"], "CHECK_OUTCOME_APPROVED");
    let got = walker.get("/v1/verifications/{id}", &one).await;
    assert_eq!(got["verification"], right["verification"]);
    let listed = walker.get("/v1/verifications", "/v1/verifications?recipient.phone=%2B60123456789&page_size=5").await;
    assert_eq!(listed["verifications"], json!([got["verification"]]));
    let mut events = walker.caller.watch(&format!("{one}/watch"), &[]).await;
    assert_eq!(events.event("verification").await, got);
    assert_eq!(events.next().await, None);
    walker.seen.insert(("GET", "/v1/verifications/{id}/watch"));

    let body = json!({"recipient": {"email": "ann@example.com"}});
    let other = walker.caller.post("/v1/verifications", &body).await.ok();
    let one = format!("/v1/verifications/{}/cancel", other["verification"]["id"].as_str().unwrap());
    // No body at all is as good as an empty object.
    let canceled = Reply::ok(walker.caller.send("POST", &one, &[], "").await);
    assert_eq!(canceled["verification"]["status"], "VERIFICATION_STATUS_CANCELED");
    assert_eq!(walker.post("/v1/verifications/{id}/cancel", &one, json!({})).await, canceled);
    walker.assert_walked("verification.");
}

#[tokio::test]
async fn messages_are_sent_previewed_canceled_read_and_watched() {
    let gateway = Gateway::start().await;
    let mut walker = Walker { caller: Caller::acme(&gateway), seen: BTreeSet::new() };
    let body = json!({"recipient": {"phone": PHONE}, "text": "Your table is ready: 7 €"});
    let preview = walker.post("/v1/messages/preview", "/v1/messages/preview", body.clone()).await;
    assert_eq!((&preview["encoding"], &preview["segments"]), (&json!("ENCODING_GSM7"), &json!(1)));
    assert_eq!(preview["candidates"][0]["vendor"], "inbox");
    let sent = walker.post("/v1/messages", "/v1/messages", body).await;
    let one = format!("/v1/messages/{}", sent["message"]["id"].as_str().unwrap());
    let mut events = walker.caller.watch(&format!("{one}/watch"), &[]).await;
    let mut seen = events.event("message").await;
    while seen["message"]["status"] != "MESSAGE_STATUS_DELIVERED" {
        seen = events.event("message").await;
    }
    assert_eq!(events.next().await, None);
    walker.seen.insert(("GET", "/v1/messages/{id}/watch"));
    let got = walker.get("/v1/messages/{id}", &one).await;
    assert_eq!(got, seen);
    assert_eq!(gateway.inbox(PHONE).await[0]["text"], got["message"]["text"]);

    // The next ones are younger.
    gateway.clock.advance(Duration::from_millis(1));
    let batch = json!({"recipients": [{"phone": PHONE}, {"phone": "12"}], "text": "later",
        "send_at": "2026-11-22T06:16:00+00:00", "validity": "3600s"});
    let results = walker.post("/v1/messages/batch", "/v1/messages/batch", batch).await["results"].take();
    assert_eq!(results[0]["message"]["status"], "MESSAGE_STATUS_QUEUED");
    assert_eq!(results[0]["message"]["send_at"], "2026-11-22T06:16:00Z");
    assert_eq!(results[1]["error"]["reason"], "ERROR_REASON_INVALID_FIELD");
    let later = format!("/v1/messages/{}/cancel", results[0]["message"]["id"].as_str().unwrap());
    let canceled = walker.post("/v1/messages/{id}/cancel", &later, json!({})).await;
    assert_eq!(canceled["message"]["status"], "MESSAGE_STATUS_CANCELED");
    let both = "statuses=MESSAGE_STATUS_CANCELED&statuses=MESSAGE_STATUS_DELIVERED&pageSize=1";
    let listed = walker.get("/v1/messages", &format!("/v1/messages?{both}")).await;
    assert_eq!(listed["messages"], json!([canceled["message"]]));
    let token = listed["next_page_token"].as_str().unwrap();
    let next = walker.caller.get(&format!("/v1/messages?{both}&page_token={token}")).await.ok();
    assert_eq!(next["messages"], json!([got["message"]]));
    walker.assert_walked("messaging.");
}

#[tokio::test]
async fn administrators_see_vendors_and_others_do_not() {
    let balance = json!({"status": 0, "balance": 279_974, "message": "ok", "id": "1"});
    let server = VendorServer::start(move |_| Answer::json(200, balance.clone())).await;
    let carrier =
        format!("[vendors.carrier]\nkind = \"esms\"\nuser = \"u\"\npass = \"p\"\nbase_url = \"{}\"\n", server.url());
    let config = CONFIG.replace("brand = \"Acme\"", "brand = \"Acme\"\nadmin = true");
    // One code without an answer is enough.
    let strict = "[guard.conversion]\nmode = \"enforce\"\nleast = 0.9\ncertainty = 0.8\nmatures_after = \"10s\"";
    let config = config.replace("[guard.conversion]\nmode = \"off\"", strict);
    let gateway = Gateway::start_with(&format!("{config}{carrier}")).await;
    let mut walker = Walker { caller: Caller::acme(&gateway), seen: BTreeSet::new() };
    let vendors = walker.get("/v1/admin/vendors", "/v1/admin/vendors").await["vendors"].take();
    assert_eq!((&vendors[0]["name"], &vendors[0]["breaker"]), (&json!("carrier"), &json!("BREAKER_STATE_CLOSED")));
    assert_eq!(vendors[1]["name"], "inbox");
    let path = "/v1/admin/vendors/{name}/balance";
    let left = walker.get(path, "/v1/admin/vendors/c%61rrier/balance").await;
    assert_eq!(left, json!({"amount": "279974", "unit": left["unit"]}));
    let unknown = walker.caller.get("/v1/admin/vendors/no%2Fbody/balance").await;
    assert_eq!(unknown.refused_with(404), "VENDOR_NOT_FOUND");
    let refused = Caller::with(&gateway, OTHER).get("/v1/admin/vendors?x=y").await;
    assert_eq!(refused.refused_with(403), "NOT_PERMITTED");

    let body = json!({"recipient": {"phone": PHONE}, "delivery_wait": "5s"});
    let id = walker.caller.post("/v1/verifications", &body).await.ok()["verification"]["id"].take();
    let body = json!({"verification_id": id, "outcome": "FEEDBACK_OUTCOME_RECEIVED"});
    let counted = walker.post("/v1/admin/feedback", "/v1/admin/feedback", body).await;
    assert_eq!(counted["vendor"], "inbox");
    let path = "/v1/admin/conversions";
    let rows = walker.get(path, "/v1/admin/conversions?vendor=inbox&channel=CHANNEL_SMS&country=MY").await;
    assert_eq!((&rows["conversions"][0]["vendor"], &rows["conversions"][1]), (&json!("inbox"), &Value::Null));
    look_after_callers(&mut walker).await;
    look_after_blocks(&gateway, &mut walker).await;
    look_after_data(&mut walker).await;
    look_after_endpoints(&mut walker).await;
    walker.assert_walked("admin.");
}

/// What the store holds: of one person, and as a whole.
async fn look_after_data(walker: &mut Walker) {
    let export = "/v1/admin/recipients/export";
    let mut shown = walker.caller.watch(&format!("{export}?recipient.phone=%2B60123456789&tenant=acme"), &[]).await;
    let first = shown.event("tenant").await;
    assert_eq!((&first["tenant"], &first["verification"]["recipient"]["phone"]), (&json!("acme"), &json!(PHONE)));
    walker.seen.insert(("GET", export));
    let erase = "/v1/admin/recipients/erase";
    let erased = walker.post(erase, erase, json!({"recipient": {"phone": PHONE}})).await;
    assert_eq!(erased, json!({"verifications": 1, "messages": 0, "contacts": 0, "notes": 0}));
    let wrong = walker.caller.post(erase, &json!({"tenant": "No"})).await;
    assert_eq!(wrong.violations().iter().map(|(field, _)| *field).collect::<Vec<_>>(), ["recipient", "tenant"]);
    let (backup, rewrite) = ("/v1/admin/store/backup", "/v1/admin/store/rewrite");
    for (verb, path, last) in [("GET", backup, "complete"), ("POST", rewrite, "done")] {
        let body = if verb == "POST" { "{}" } else { "" };
        let reply = walker.caller.send(verb, path, &["Content-Type: application/json"], body).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(reply.answer.body.contains(&format!("\"{last}\":true")), "{reply:?}");
        walker.seen.insert((verb, path));
    }
}

async fn look_after_blocks(gateway: &Gateway, walker: &mut Walker) {
    let start = |phone: &str| json!({"recipient": {"phone": phone}, "delivery_wait": "5s"});
    for first in ["+6581234567", "+6591234567"] {
        walker.caller.post("/v1/verifications", &start(first)).await.ok();
    }
    gateway.clock.advance(Duration::from_secs(60));
    for next in ["+6581234568", "+6591234568"] {
        let refused = walker.caller.post("/v1/verifications", &start(next)).await;
        assert_eq!(refused.refused_with(429), "CONVERSION_TOO_LOW");
    }
    let path = "/v1/admin/blocks";
    let blocks = walker.get(path, "/v1/admin/blocks?tenant=acme&page_size=1").await;
    assert_eq!((&blocks["blocks"][0]["area"], &blocks["blocks"][1]), (&json!("SG"), &Value::Null));
    let rest = format!("{path}?tenant=acme&page_token={}", blocks["next_page_token"].as_str().unwrap());
    let rest = walker.get(path, &rest).await["blocks"].take();
    let listed = |area: &str| rest.as_array().unwrap().iter().any(|block| block["area"] == area);
    assert!(listed("+658123") && listed("+659123") && !listed("SG"), "{rest}");
    walker.post("/v1/admin/blocks/end", "/v1/admin/blocks/end", json!({"area": "SG"})).await;
    walker.caller.post("/v1/verifications", &start("+6591234568")).await.ok();
}

async fn look_after_endpoints(walker: &mut Walker) {
    let all = "/v1/admin/tenants/{tenant}/endpoints";
    let (one, replay) = (format!("{all}/{{endpoint_id}}"), format!("{all}/{{endpoint_id}}/replay"));
    let (one, replay): (&str, &str) = (one.leak(), replay.leak());
    let others = "/v1/admin/tenants/other/endpoints";
    let body = json!({"url": "https://example.com/events", "types": ["message.*"]});
    let made = walker.post(all, others, body).await;
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"), "{made}");
    let target = format!("{others}/{}", made["endpoint"]["id"].as_str().unwrap());
    let changed = walker.send("PATCH", one, &target, json!({"disabled": true})).await;
    assert_eq!(changed["endpoint"]["disable_reason"], "ENDPOINT_DISABLE_REASON_ASKED");
    assert_eq!(walker.get(all, others).await["endpoints"], json!([changed["endpoint"]]));
    let refused = walker.caller.post(&format!("{target}/replay"), &json!({"from_time": "2026-11-22T00:00:00Z"})).await;
    assert_eq!(refused.refused_with(400), "ENDPOINT_DISABLED");
    walker.send("PATCH", one, &target, json!({"disabled": false})).await;
    let body = json!({"from_time": "2026-11-22T00:00:00Z"});
    assert_eq!(walker.post(replay, &format!("{target}/replay"), body).await["events"], 0);
    let page = "/v1/admin/tenants/other/deliveries?page_size=5&outcomes=DELIVERY_OUTCOME_FAILED";
    assert_eq!(walker.get("/v1/admin/tenants/{tenant}/deliveries", page).await["deliveries"], json!([]));
    walker.send("DELETE", one, &target, Value::Null).await;
}

async fn look_after_callers(walker: &mut Walker) {
    let (all, one) = ("/v1/admin/tenants", "/v1/admin/tenants/{name}");
    let made = walker.post(all, all, json!({"name": "globex", "brand": "Globex"})).await["tenant"].take();
    assert_eq!((&made["name"], &made["origin"]), (&json!("globex"), &json!("ORIGIN_STORED")));
    let changed = walker.send("PATCH", one, "/v1/admin/tenants/globex", json!({"brand": "", "admin": true})).await;
    assert_eq!((&changed["tenant"]["brand"], &changed["tenant"]["admin"]), (&json!(""), &json!(true)));
    assert_eq!(walker.get(one, "/v1/admin/tenants/globex").await, changed);
    let page = walker.get(all, "/v1/admin/tenants?page_size=2").await;
    assert_eq!((page["tenants"].as_array().unwrap().len(), &page["tenants"][1]["name"]), (2, &json!("globex")));

    let (keys, globexs) = ("/v1/admin/tenants/{tenant}/keys", "/v1/admin/tenants/globex/keys");
    let key = walker.post(keys, globexs, json!({"key_id": "ann/1", "scopes": ["SCOPE_READ"]})).await;
    assert_eq!((&key["api_key"]["key_id"], key["secret"].as_str().unwrap().len()), (&json!("ann/1"), 43));
    let rotated =
        walker.post("/v1/admin/keys/{key_id}/rotate", "/v1/admin/keys/ann%2F1/rotate", json!({"overlap": "60s"}));
    let rotated = rotated.await;
    assert_eq!(rotated["old_api_key"]["expire_time"], "2026-11-22T05:17:00.125Z");
    walker.send("DELETE", "/v1/admin/keys/{key_id}", "/v1/admin/keys/ann%2F1", Value::Null).await;
    let left = walker.get(keys, globexs).await["api_keys"].take();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["key_id"]), (1, &rotated["api_key"]["key_id"]));
}

#[tokio::test]
async fn contacts_are_kept_changed_and_found() {
    let gateway = Gateway::start().await;
    let mut walker = Walker { caller: Caller::acme(&gateway), seen: BTreeSet::new() };
    let columns = "/v1/contacts/columns";
    let body = json!({"name": "age", "type": "COLUMN_TYPE_NUMBER"});
    let age = walker.post(columns, columns, body).await["column"]["id"].as_str().unwrap().to_owned();
    let renamed = walker
        .send("PATCH", "/v1/contacts/columns/{column_id}", &format!("{columns}/age"), json!({"name": "years"}))
        .await;
    assert_eq!((&renamed["column"]["id"], &renamed["column"]["name"]), (&json!(age), &json!("years")));
    let table = walker.get("/v1/contacts/table", "/v1/contacts/table").await["table"].take();
    assert_eq!(table["columns"].as_array().unwrap().last().unwrap()["name"], "years");

    let rows = "/v1/contacts/rows";
    let body = json!({"columns": {"phone_number": PHONE, "first_name": "Ann", "years": 41, "email": null}});
    let row = walker.post(rows, rows, body).await["row"].take();
    assert_eq!(row["columns"][&age], 41.0);
    let one = format!("{rows}/{}", row["id"].as_str().unwrap());
    assert_eq!(walker.get("/v1/contacts/rows/{id}", &one).await["row"], row);
    let body = json!({"columns": {"years": null, "first_name": "Ann-Marie"}});
    let changed = walker.send("PATCH", "/v1/contacts/rows/{id}", &one, body).await["row"].take();
    assert!(changed["columns"][&age].is_null() && changed["columns"].as_object().unwrap().len() == 2, "{changed}");
    let query = "/v1/contacts/rows/query";
    let filter = json!({"column_id": "first_name", "operator": "FILTER_OPERATOR_STARTS_WITH", "value": "ann"});
    let found = walker.post(query, query, json!({"filters": [filter]})).await;
    assert_eq!(found["rows"], json!([changed]));
    // Cells are of any kind of JSON, but none may be given twice.
    let twice = walker.caller.post_bytes(rows, r#"{"columns": {"years": 1, "years": 2}}"#).await;
    assert_eq!(twice.violation(), ("columns.years", "is given more than once"));
    let wrong = walker.caller.post(rows, &json!({"columns": {"years": "41"}})).await;
    assert_eq!(wrong.violations().len(), 1);
    assert_eq!(walker.send("DELETE", "/v1/contacts/rows/{id}", &one, Value::Null).await, json!({}));
    assert_eq!(walker.caller.get(&one).await.refused_with(404), "CONTACT_ROW_NOT_FOUND");
    let gone = format!("{columns}/{age}");
    assert_eq!(walker.send("DELETE", "/v1/contacts/columns/{column_id}", &gone, Value::Null).await, json!({}));
    walker.assert_walked("contacts.");
}

/// Of rows that are added, too.
#[tokio::test]
async fn every_call_of_the_table_reaches_its_service_and_asks_for_a_key_first() {
    let config = CONFIG.replace("brand = \"Acme\"", "brand = \"Acme\"\nadmin = true");
    let gateway = Gateway::start_with(&config).await;
    for route in ROUTES {
        let target: Vec<_> =
            route.path.split('/').map(|segment| if segment.starts_with('{') { "nothing" } else { segment }).collect();
        let target = target.join("/");
        for (key, reason) in [("acme.wrong", "CREDENTIALS_INVALID"), ("acme", "CREDENTIALS_INVALID")] {
            // What would be wrong with it later is not looked at.
            let stranger = Caller::with(&gateway, key);
            let reply = stranger.send(route.verb.as_str(), &format!("{target}?x=y"), &[], "{").await;
            assert_eq!(reply.refused_with(401), reason, "{route:?}");
            assert_eq!(reply.answer.header("www-authenticate"), Some("Bearer"));
        }
        let body = if route.verb.has_body() { "{}" } else { "" };
        // That watch would have no end.
        let target = if route.rpc.ends_with("/WatchEvents") { format!("{target}?after=x") } else { target };
        let reply =
            Caller::acme(&gateway).send(route.verb.as_str(), &target, &["Content-Type: application/json"], body).await;
        assert!([200, 400, 404].contains(&reply.status), "{route:?}: {reply:?}");
        assert!(reply.status == 200 || !reply.refused_with(reply.status).is_empty(), "{route:?}: {reply:?}");
    }
    let none = call(gateway.addresses.http, "GET", "/v1/verifications", &["Host: x"], "").await;
    assert_eq!(none.status, 401);
    assert!(none.body.contains("CREDENTIALS_MISSING"), "{none:?}");
}

#[tokio::test]
async fn names_of_json_are_understood_as_well_and_null_is_nothing() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let body = json!({"recipient": {"phone": PHONE, "email": null}, "deliveryWait": "5s", "scope": null, "policy": null,
        "metadata": null, "onExisting": "ON_EXISTING_REPLACE", "channel": 1,
        "customCode": "012345"});
    let started = caller.post("/v1/verifications", &body).await.ok();
    assert_eq!(started["verification"]["scope"], "default");
    assert_eq!(gateway.code(PHONE).await, "012345");
    let body = json!({"scopedRecipient": {"recipient": {"phone": PHONE}}, "code": "012345"});
    assert_eq!(caller.post("/v1/checks", &body).await.ok()["outcome"], "CHECK_OUTCOME_APPROVED");
}

#[tokio::test]
async fn calls_have_names_methods_and_heads() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let named = caller.send("GET", "/v1/verifications", &["X-Request-Id: my-name-1"], "").await;
    assert_eq!(named.answer.header("x-request-id"), Some("my-name-1"));
    for (name, value) in [("cache-control", "no-store"), ("x-content-type-options", "nosniff")] {
        assert_eq!(named.answer.header(name), Some(value));
    }
    let bad = caller.send("GET", "/v1/verifications", &["X-Request-Id: two words"], "").await;
    assert_eq!(bad.answer.header("x-request-id").unwrap().len(), 16);
    let refused = caller.send("GET", "/v1/verifications/x", &["X-Request-Id: my-name-2"], "").await;
    assert_eq!((refused.refused_with(400), &refused.json["request_id"]), ("INVALID_FIELD", &json!("my-name-2")));

    let wrong = caller.send("DELETE", "/v1/verifications", &[], "").await;
    assert_eq!(wrong.refused_with(405), "");
    assert_eq!(wrong.answer.header("allow"), Some("POST, GET, HEAD, OPTIONS"));
    let wrong = caller.send("GET", "/v1/messages/batch", &[], "").await;
    assert_eq!((wrong.refused_with(405), wrong.answer.header("allow")), ("", Some("POST, OPTIONS")));
    let options = caller.send("OPTIONS", "/v1/verifications/x", &["Origin: https://evil.example"], "").await;
    assert_eq!((options.status, options.answer.header("allow")), (204, Some("GET, HEAD, OPTIONS")));
    assert!(!options.answer.head.to_lowercase().contains("access-control"), "{options:?}");
    let head = caller.send("HEAD", "/v1/verifications", &[], "").await;
    assert_eq!((head.status, head.answer.body.as_str()), (200, ""));
    assert_eq!(head.answer.header("content-length"), Some("41"));
}

#[tokio::test]
async fn what_is_not_served_is_not_found() {
    let gateway = Gateway::start().await;
    for target in ["/", "/v1", "/v1/", "/v1/verifications/", "/v1/nothing", "/v2/verifications", "/verigate", "/docs"] {
        let reply = call(gateway.addresses.http, "GET", target, &["Host: x"], "").await;
        assert_eq!(reply.status, 404, "{target}");
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{target}");
        assert!(reply.header("x-request-id").is_some(), "{target}");
        assert_eq!(
            reply.body,
            r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"Nothing is served here. Calls are answered under /v1/."}"#
        );
    }
    let reply = Caller::acme(&gateway).get("/v1/verifications/%ff").await;
    assert_eq!(reply.refused_with(400), "");
}

/// Moves the gateway's clock until the call is answered, and gives the seconds that it took by it, about.
async fn wind<T>(gateway: &Gateway, call: tokio::task::JoinHandle<T>) -> (T, u64) {
    let mut steps = 0;
    while !call.is_finished() {
        gateway.clock.advance(Duration::from_millis(100));
        steps += 1;
        tokio::task::yield_now().await;
    }
    (call.await.unwrap(), steps / 10)
}

#[tokio::test]
async fn a_call_ends_at_the_deadline_that_its_caller_sets() {
    let gateway = Gateway::start_with(&format!("{CONFIG}\n[messaging]\nattempt_timeout = \"2m\"\n")).await;
    let caller = Caller::acme(&gateway);
    for bad in ["0", "-1", "1.5", "3601", "x", "99999999999"] {
        let reply = caller.post_with("/v1/verifications", &[&format!("Request-Timeout: {bad}")], &json!({})).await;
        assert_eq!(reply.violation(), ("request-timeout", "must be a whole number of seconds from 1 to 3600"), "{bad}");
    }
    // The vendor never answers.
    let body = json!({"recipient": {"phone": "+60123456006"}, "delivery_wait": "30s"});
    let asked = caller.clone();
    let call = tokio::spawn(async move { asked.post_with("/v1/verifications", &["Request-Timeout: 20"], &body).await });
    let (reply, took) = wind(&gateway, call).await;
    assert_eq!(reply.refused_with(504), "DEADLINE_EXCEEDED");
    assert!(took >= 19, "{took} s");
    let started = caller.post("/v1/verifications", &json!({"recipient": {"phone": PHONE}})).await.ok();
    let watch = format!("/v1/verifications/{}/watch", started["verification"]["id"].as_str().unwrap());
    let mut events = caller.watch(&watch, &["Request-Timeout: 300"]).await;
    events.event("verification").await;
    gateway.clock.advance(Duration::from_secs(300));
    let last = loop {
        match events.next().await {
            Some(Told::Event { name, data, .. }) if name == "error" => break data,
            Some(_) => {}
            None => panic!("it ended without a word"),
        }
    };
    assert_eq!((&last["status"], &last["reason"]), (&json!(504), &json!("DEADLINE_EXCEEDED")));
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_body_that_never_ends_ends_its_call_after_a_minute() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let call = tokio::spawn(async move {
        let fields = ["Host: x", &format!("Authorization: Bearer {ACME}"), "Content-Type: application/json"];
        call(caller.address, "POST", "/v1/verifications", &[&fields[..], &["Transfer-Encoding: chunked"]].concat(), "")
            .await
    });
    let (answer, took) = wind(&gateway, call).await;
    assert_eq!(answer.status, 504, "{answer:?}");
    assert!(took >= 59, "{took} s");
}
