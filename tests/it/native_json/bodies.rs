//! Bodies that are no calls: each is refused by its place, and nothing is done.

use serde_json::{Value, json};

use crate::native_json::client::{ACME, Caller};
use crate::support::gateway::{Gateway, PHONE};
use crate::support::http::call;

const START: &str = "/v1/verifications";

/// What is refused as one fault, by its place, with the words for it.
async fn assert_refused(caller: &Caller, body: impl AsRef<[u8]>, field: &str, description: &str) {
    let shown = String::from_utf8_lossy(body.as_ref()).chars().take(200).collect::<String>();
    let reply = caller.post_bytes(START, body).await;
    assert_eq!(reply.violation(), (field, description), "{shown}");
}

#[tokio::test]
async fn what_is_no_json_is_refused_by_its_place() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let good = format!(r#"{{"recipient": {{"phone": "{PHONE}"}}"#);
    for (body, what) in [
        (good.clone(), "EOF while parsing an object at line 1 column 39"),
        (format!("{good},}}"), "trailing comma at line 1 column 41"),
        (format!("{good}}} {{}}"), "trailing characters at line 1 column 42"),
        (format!("{good}}}\n\n\u{0}"), "trailing characters at line 3 column 1"),
        (format!("\u{feff}{good}}}"), "expected value at line 1 column 1"),
        (format!("{good}, \"scope\": 'a'}}"), "expected value at line 1 column 51"),
        (format!("{good}, \"scope\": \"\\ud800\"}}"), "unexpected end of hex escape at line 1 column 58"),
        (
            format!("{good}, \"scope\": \"a\nb\"}}"),
            "control character (\\u0000-\\u001F) found while parsing a string at line 2 column 0",
        ),
        (format!("{good}, \"scope\": NaN}}"), "expected value at line 1 column 51"),
        (format!("{good}, \"policy\": {{\"length\": 01}}}}"), "invalid number at line 1 column 64"),
        (format!("{good}, x: 1}}"), "key must be a string at line 1 column 42"),
        ("code=1&id=2".to_owned(), "expected value at line 1 column 1"),
        (" ".to_owned(), "EOF while parsing a value at line 1 column 1"),
    ] {
        let reply = caller.post_bytes(START, &body).await;
        assert_eq!(reply.violation(), ("body", &*format!("must be one JSON object: {what}")), "{body}");
    }
    let mut bytes = format!("{good}, \"scope\": \"").into_bytes();
    bytes.extend([0xc3, 0x28]);
    bytes.extend(b"\"}");
    assert_refused(&caller, bytes, "body", "must be UTF-8, but is not from byte 51").await;
    assert!(gateway.whole_inbox().await.is_empty(), "nothing was sent");
    assert_eq!(caller.get(START).await.ok()["verifications"], json!([]));
}

#[tokio::test]
async fn arrays_and_lone_values_are_no_calls() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let one = format!(r#"{{"recipient": {{"phone": "{PHONE}"}}}}"#);
    for (body, kind) in [
        (format!("[{one}]"), "an array"),
        (format!("[{one},{one}]"), "an array"),
        ("[]".to_owned(), "an array"),
        ("\"x\"".to_owned(), "a string"),
        ("1".to_owned(), "a number"),
        ("true".to_owned(), "true or false"),
        ("null".to_owned(), "null"),
    ] {
        assert_refused(&caller, &body, "body", &format!("must be an object, but is {kind}")).await;
    }
    assert!(gateway.whole_inbox().await.is_empty(), "nothing was sent");
}

/// Most readers of JSON take the last of two, and some the first, so that two of them see two different calls.
#[tokio::test]
async fn what_is_given_twice_is_refused() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let twice = "is given more than once";
    for (body, field) in [
        (format!(r#"{{"recipient": {{"phone": "{PHONE}", "phone": "+60123456788"}}}}"#), "recipient.phone"),
        (format!(r#"{{"recipient": {{"phone": "{PHONE}"}}, "recipient": {{"phone": "{PHONE}"}}}}"#), "recipient"),
        (format!(r#"{{"recipient": null, "recipient": {{"phone": "{PHONE}"}}}}"#), "recipient"),
        (format!(r#"{{"recipient": {{"phone": "{PHONE}"}}, "on_existing": 1, "onExisting": 2}}"#), "on_existing"),
        (format!(r#"{{"recipient": {{"phone": "{PHONE}"}}, "scope": "a", "sc\u006fpe": "a"}}"#), "scope"),
        (format!(r#"{{"recipient": {{"phone": "{PHONE}"}}, "metadata": {{"a": "b", "a": "b"}}}}"#), "metadata.a"),
    ] {
        assert_refused(&caller, &body, field, twice).await;
    }
    let both = format!(r#"{{"recipient": {{"phone": "{PHONE}", "email": "ann@example.com"}}}}"#);
    assert_refused(&caller, both, "recipient.email", "cannot be given beside phone").await;
    assert!(gateway.whole_inbox().await.is_empty(), "nothing was sent");
}

#[tokio::test]
async fn fields_are_known_and_of_their_kind() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let with = |name: &str, value: Value| json!({"recipient": {"phone": PHONE}, name: value});
    let channel = "must be one of CHANNEL_SMS, CHANNEL_WHATSAPP, CHANNEL_VOICE, CHANNEL_EMAIL";
    let wait = "must be a number of seconds such as \"90s\" or \"1.5s\", as a string";
    for (body, field, what) in [
        (with("phone", json!(PHONE)), "phone", "is no field that is known here"),
        (with("Scope", json!("a")), "Scope", "is no field that is known here"),
        (json!({"recipient": {"phone": PHONE, "fax": "1"}}), "recipient.fax", "is no field that is known here"),
        (json!({"recipient": PHONE}), "recipient", "must be an object, but is a string"),
        (json!({"recipient": [PHONE]}), "recipient", "must be an object, but is an array"),
        (json!({"recipient": {"phone": 60_123_456_789_u64}}), "recipient.phone", "must be a string, but is a number"),
        (with("scope", json!(["a"])), "scope", "must be a string, but is an array"),
        (with("scope", json!({})), "scope", "must be a string, but is an object"),
        (with("scope", json!(true)), "scope", "must be a string, but is true or false"),
        (with("channel", json!("SMS")), "channel", channel),
        (with("channel", json!(1.5)), "channel", &format!("{channel}, but is a number")),
        (with("return_code", json!("true")), "return_code", "must be true or false, but is a string"),
        (with("return_code", json!(1)), "return_code", "must be true or false, but is a number"),
        (with("delivery_wait", json!(5)), "delivery_wait", &format!("{wait}, but is a number")),
        (with("delivery_wait", json!("5")), "delivery_wait", wait),
        (with("delivery_wait", json!("5m")), "delivery_wait", wait),
        (
            with("policy", json!({"length": "six"})),
            "policy.length",
            "must be a whole number from -2147483648 to 2147483647, but is a string",
        ),
        (
            with("policy", json!({"length": 6.5})),
            "policy.length",
            "must be a whole number from -2147483648 to 2147483647",
        ),
        (
            with("policy", json!({"length": 4_294_967_302_u64})),
            "policy.length",
            "must be a whole number from -2147483648 to 2147483647",
        ),
        (with("policy", json!({"alphabet": "ALPHABET_CLASS_DIGITS"})), "policy.alphabet", "must be an array"),
        (
            with("policy", json!({"alphabet": ["ALPHABET_CLASS_DIGITS", null]})),
            "policy.alphabet[1]",
            "must be one of ALPHABET_CLASS_DIGITS, ALPHABET_CLASS_UPPER, ALPHABET_CLASS_LOWER, ALPHABET_CLASS_SPECIAL, \
             but is null",
        ),
        (with("metadata", json!(["a"])), "metadata", "must be an object"),
        (with("metadata", json!({"a": 1})), "metadata.a", "must be a string, but is a number"),
        (with("metadata", json!({"a": null})), "metadata.a", "must be a string, but is null"),
    ] {
        assert_refused(&caller, body.to_string(), field, what).await;
    }
    assert!(gateway.whole_inbox().await.is_empty(), "nothing was sent");
    // Numbers may be written as text and with a fraction of nothing, as in all of proto3 JSON.
    let loose = with("policy", json!({"length": "8", "max_checks": 3.0}));
    let started = caller.post(START, &loose).await.ok();
    assert_eq!(started["verification"]["checks_left"], 3);
}

#[tokio::test]
async fn a_heap_of_faults_is_told_in_part() {
    let gateway = Gateway::start().await;
    let many: String = (0..50_000).map(|at| format!("\"unknown-{at}\": {{\"a\": [1, 2]}}, ")).collect();
    let reply = Caller::acme(&gateway).post_bytes(START, format!("{{{}\"x\": 1}}", &many[..1_000_000])).await;
    // It broke off in the middle of a name, but that is further on than anybody looked.
    assert_eq!(reply.violations().len(), 20);
    let long = format!("{{\"{}\": 1}}", "n".repeat(100_000));
    let reply = Caller::acme(&gateway).post_bytes(START, long).await;
    assert_eq!(reply.violation().0, "n".repeat(64));
}

#[tokio::test]
async fn deep_nesting_is_refused_without_growth() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        assert_eq!(caller.post_bytes(START, &deep).await.refused_with(400), "INVALID_FIELD");
        let inside = format!(r#"{{"recipient": {{"phone": "{PHONE}"}}, "metadata": {deep}}}"#);
        assert_eq!(caller.post_bytes(START, &inside).await.refused_with(400), "INVALID_FIELD");
        let open_ended = open.repeat(200_000);
        assert_eq!(caller.post_bytes(START, &open_ended).await.refused_with(400), "INVALID_FIELD");
    }
    assert!(gateway.whole_inbox().await.is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_body_has_a_largest_size() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let padded = |length: usize| {
        let body = json!({"recipient": {"phone": PHONE}}).to_string();
        format!("{body}{}", " ".repeat(length - body.len()))
    };
    for length in [1024 * 1024 + 1, 3_000_000] {
        let reply = caller.post_bytes(START, padded(length)).await;
        assert_eq!(reply.refused_with(413), "INVALID_FIELD");
        assert_eq!(reply.json["detail"], "body: must be at most 1048576 bytes");
    }
    // Nobody says how long this one is.
    let chunk = format!("{:x}\r\n{}\r\n", 500_000, " ".repeat(500_000));
    let fields = [
        "Host: x",
        &format!("Authorization: Bearer {ACME}"),
        "Content-Type: application/json",
        "Transfer-Encoding: chunked\r\n",
        &format!("{}0\r\n", chunk.repeat(3)),
    ];
    let answer = call(caller.address, "POST", START, &fields, "").await;
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(gateway.whole_inbox().await.is_empty(), "nothing was sent");
    caller.post_bytes(START, padded(1024 * 1024)).await.ok();
}

/// Who is a stranger is told so, however much they send.
#[tokio::test]
async fn a_stranger_with_a_large_body_gets_an_answer() {
    let gateway = Gateway::start().await;
    let stranger = Caller::with(&gateway, "acme.wrong");
    for length in [900_000, 5_000_000] {
        let reply = stranger.post_bytes(START, " ".repeat(length)).await;
        assert_eq!(reply.refused_with(401), "CREDENTIALS_INVALID");
    }
}

#[tokio::test]
async fn a_body_is_json_in_utf_8_and_nothing_else() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let body = json!({"recipient": {"phone": PHONE}}).to_string();
    for fields in [
        &[][..],
        &["Content-Type: text/plain"],
        &["Content-Type: application/x-www-form-urlencoded"],
        &["Content-Type: multipart/form-data; boundary=x"],
        &["Content-Type: application/json; charset=iso-8859-1"],
        &["Content-Type: application/jsonx"],
        &["Content-Type: application/merge-patch+json"],
        &["Content-Type: application/grpc+json"],
        &["Content-Type: application/json", "Content-Encoding: gzip"],
    ] {
        let reply = caller.send("POST", START, fields, &body).await;
        assert_eq!(reply.refused_with(415), "INVALID_FIELD", "{fields:?}");
        assert_eq!(reply.json["violations"][0]["field"], "content-type");
    }
    assert!(gateway.whole_inbox().await.is_empty(), "nothing was sent");
    for kind in ["application/json; charset=utf-8", "Application/JSON;charset=\"UTF-8\"", "application/json; v=1"] {
        let reply = caller.send("POST", "/v1/messages/preview", &[&format!("Content-Type: {kind}")], "{}").await;
        assert_eq!(reply.refused_with(400), "INVALID_FIELD", "{kind}");
    }
    let reply = caller.send("GET", START, &["Content-Type: application/json"], "{}").await;
    assert_eq!(reply.violation(), ("body", "must be empty, for GET reads its query alone"));
}

#[tokio::test]
async fn a_query_is_as_strict_as_a_body() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let time = "must be a time such as \"2026-11-22T05:16:00Z\"";
    for (query, field, what) in [
        ("page=2", "page", "is no field that is known here"),
        ("recipient.fax=1", "recipient.fax", "is no field that is known here"),
        ("recipient.phone.x=1", "recipient.phone.x", "is no field that is known here"),
        ("recipient=%2B60123456789", "recipient", "cannot be given as a whole; name its fields"),
        ("recipient.phone=1&recipient.email=x", "recipient.phone", "cannot be given beside email"),
        ("page_size=x", "page_size", "must be a whole number from -2147483648 to 2147483647, but is a string"),
        ("page_size=", "page_size", "must be a whole number from -2147483648 to 2147483647, but is a string"),
        ("page_size=1&page_size=2", "page_size", "is given more than once"),
        ("page_size=1&pageSize=1", "page_size", "is given more than once"),
        ("scope=%ff", "scope", "must be UTF-8, with % before each byte"),
        ("create_time_from=yesterday", "create_time_from", time),
        ("create_time_from=2026-11-22", "create_time_from", time),
    ] {
        let reply = caller.get(&format!("{START}?{query}")).await;
        assert_eq!(reply.violation(), (field, what), "{query}");
    }
    let reply = caller.get("/v1/verifications/x?id=y").await;
    assert_eq!(reply.violation(), ("id", "stands in the path, and cannot be given once more"));
    // A secret in an address is a secret in many logs, so it does not work to begin with.
    let reply = caller.post("/v1/checks?code=012345", &json!({"code": "012345"})).await;
    assert_eq!(reply.violation(), ("code", "stands in the query, but this call reads its body alone"));
    let reply = caller.post("/v1/verifications/x/check", &json!({"id": "y", "code": "012345"})).await;
    assert_eq!(reply.violation(), ("id", "stands in the path, and cannot be given once more"));
    let scoped = json!({"scoped_recipient": {"recipient": {"phone": PHONE}}, "code": "012345"});
    let reply = caller.post("/v1/verifications/x/check", &scoped).await;
    assert_eq!(reply.violation(), ("scoped_recipient", "cannot be given beside id"));
}

#[tokio::test]
async fn a_plus_sign_in_a_query_is_a_plus_sign_where_a_number_begins() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let body = json!({"recipient": {"phone": "+6598765432"}});
    let id = caller.post(START, &body).await.ok()["verification"]["id"].take();
    for written in ["%2B6598765432", "+6598765432", "+65+9876+5432", "006598765432", "%2b65-9876-5432"] {
        let listed = caller.get(&format!("{START}?recipient.phone={written}")).await.ok();
        assert_eq!(listed["verifications"][0]["id"], id, "{written}");
    }
}
