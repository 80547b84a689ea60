//! The description of the calls: that it is a valid one, that the server does what it says, and the page for people.
//!
//! Two programs of others judge, from PyPI: `openapi-spec-validator`, and `schemathesis`, which makes up calls by the
//! description, good ones and bad ones, and compares the answers with it. `tests/run setup` installs them.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use verigate::rest::native::routes::ROUTES;

use crate::cli::program::Place;
use crate::console_inbox::browse;
use crate::native_json::client::Caller;
use crate::support::gateway::{CONFIG, Gateway};
use crate::support::http::get;

/// Calls made up for each one described, beside those that are tried systematically.
const EXAMPLES: &str = "12";

/// What the description says less strictly than the server acts, or more: which numbers are phone numbers stands in words
/// alone, and that `null` is as good as nothing, and a number may be written as text, not at all.
const UNCHECKED: &str = "negative_data_rejection,positive_data_acceptance";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Runs one of the two programs, for some minutes at most; asserts that it has nothing to complain of.
fn run(program: &str, arguments: &[&str], place: &Place) -> String {
    let path = root().join("tests/.cache/openapi/bin").join(program);
    assert!(path.exists(), "{program} is not there: `tests/run setup` installs it");
    let output = Command::new("timeout")
        .args(["--kill-after=5", "300"])
        .arg(path)
        .args(arguments)
        .current_dir(place.path("."))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {}\n{text}", output.status);
    text
}

async fn document(address: SocketAddr) -> Value {
    let answer = get(address, "/openapi.json", &["Host: x"]).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    serde_json::from_str(&answer.body).unwrap()
}

async fn described() -> Gateway {
    Gateway::start_with(&format!("{CONFIG}\n[rest]\ndocs = true\n")).await
}

#[tokio::test]
async fn the_description_is_valid_and_names_every_call() {
    let gateway = described().await;
    let document = document(gateway.addresses.http).await;
    let place = Place::new();
    place.write("openapi.json", &document.to_string());
    let said =
        run("openapi-spec-validator", &["--schema", "3.1", "--validation-errors", "all", "openapi.json"], &place);
    assert!(said.contains("openapi.json: OK"), "{said}");

    let mut ids = Vec::new();
    for route in ROUTES {
        let call = &document["paths"][route.path][route.verb.as_str().to_lowercase()];
        ids.push(call["operationId"].as_str().unwrap_or_else(|| panic!("{route:?}: {call}")));
        for status in ["200", "400", "401", "500", "503"] {
            assert!(call["responses"][status].is_object(), "{route:?} does not tell of {status}");
        }
        assert!(call["description"].as_str().unwrap().len() > 20, "{route:?}");
        let named = call["parameters"].as_array().unwrap().iter();
        assert!(named.clone().all(|one| !one["description"].as_str().unwrap().is_empty()), "{route:?}: {call}");
    }
    ids.sort_unstable();
    let count = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), count, "no two calls have one name");
}

#[tokio::test]
async fn the_description_says_what_the_contract_says() {
    let gateway = described().await;
    let document = document(gateway.addresses.http).await;
    let schemas = &document["components"]["schemas"];
    let start = &document["paths"]["/v1/verifications"]["post"];
    assert_eq!(start["summary"], "Makes a code, stores the verification durably, and sends the code");
    let request = &schemas["StartVerificationRequest"];
    assert_eq!((&request["required"], &request["additionalProperties"]), (&json!(["recipient"]), &json!(false)));
    assert_eq!(request["properties"]["delivery_wait"]["type"], "string");
    let alternatives = json!([{"required": ["phone"]}, {"required": ["email"]}]);
    assert_eq!(schemas["Recipient"]["oneOf"], alternatives);
    assert_eq!(schemas["Verification"]["properties"]["create_time"]["format"], "date-time");
    assert_eq!(schemas["Channel"]["enum"][1], "CHANNEL_SMS");
    let parameters = start["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|parameter| parameter["name"] == "Idempotency-Key"));
    assert!(start["description"].as_str().unwrap().contains("429 (COOL_DOWN)"), "{start}");
    assert!(schemas["Problem"]["properties"]["reason"]["description"].as_str().unwrap().contains("- `COOL_DOWN`: 429"));

    let list = document["paths"]["/v1/verifications"]["get"]["parameters"].as_array().unwrap();
    let names: Vec<_> = list.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"recipient.phone") && names.contains(&"create_time_from"), "{names:?}");
    // What the path names is not in the body, and neither is what cannot stand beside it.
    let check = &document["paths"]["/v1/verifications/{id}/check"]["post"]["requestBody"];
    let schema = &check["content"]["application/json"]["schema"];
    assert_eq!(schema["required"], json!(["code"]));
    assert!(schema["properties"]["id"].is_null() && schema["properties"]["scoped_recipient"].is_null(), "{schema}");
    let cancel = &document["paths"]["/v1/verifications/{id}/cancel"]["post"];
    assert!(cancel["requestBody"].is_null(), "{cancel}");
}

/// What stands there to be copied is read by the calls that it stands with.
#[tokio::test]
async fn every_example_is_a_call() {
    let gateway = Gateway::start_with(&CONFIG.replace("brand = \"Acme\"", "brand = \"Acme\"\nadmin = true")).await;
    let caller = Caller::acme(&gateway);
    for route in ROUTES {
        let Some(example) = route.example else { continue };
        let id = "01a201eb-6366-80f1-a1f7-20ad39c323d0";
        let target = route.path.replace("{id}", id).replace("{endpoint_id}", id);
        let target =
            ["{column_id}", "{name}", "{tenant}", "{key_id}"].iter().fold(target, |it, name| it.replace(name, "none"));
        let reply = caller.send(route.verb.as_str(), &target, &["Content-Type: application/json"], example).await;
        assert!(reply.status == 200 || reply.refused_with(404).ends_with("_NOT_FOUND"), "{route:?}: {reply:?}");
    }
}

#[test]
fn the_server_does_what_the_description_says() {
    let place = Place::new();
    let served = place.serve(&[], &[]);
    let config = root().join("tests/it/native_json/schemathesis.toml").display().to_string();
    let arguments = [
        "--config-file",
        &config,
        "run",
        &format!("http://{}/openapi.json", served.http),
        "--header=Authorization: Bearer dev.dev-secret",
        "--seed=20261122",
        "--generation-database=none",
        "--max-examples",
        EXAMPLES,
        "--exclude-checks",
        UNCHECKED,
        "--request-timeout=20",
        "--suppress-health-check=all",
        "--warnings=off",
        "--continue-on-failure",
        "--no-color",
    ];
    let said = run("schemathesis", &arguments, &place);
    let count = |word: &str| {
        let before = said.split(word).next().unwrap();
        before.rsplit(|letter: char| !letter.is_ascii_digit()).find(|number| !number.is_empty()).unwrap().to_owned()
    };
    assert!(said.contains(&format!("Tested: {}", ROUTES.len())), "{said}");
    assert!(count(" generated").parse::<usize>().unwrap() > 1000, "{said}");
}

#[tokio::test]
async fn the_page_is_readable_and_loads_nothing_of_others() {
    let gateway = described().await;
    let address = gateway.addresses.http;
    let page = get(address, "/docs", &["Host: x"]).await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'self'; frame-ancestors 'none'"), "{policy}");
    assert!(!page.body.contains("<script") && !page.body.contains("style="), "{}", page.body);
    // But for the URL in an example, which is nothing to follow.
    let body = page.body.replace("https://acme.example/events", "");
    assert!(!body.contains("http://") && !body.contains("https://"), "it stands alone");
    for route in ROUTES {
        assert!(page.body.contains(route.path), "{route:?}");
    }
    let ids: Vec<_> = page.body.split(" id=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    for link in page.body.split("href=\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(ids.contains(&link), "nothing is called {link}");
    }
    let style = get(address, "/docs/style.css", &["Host: x"]).await;
    assert_eq!((style.status, style.header("content-type")), (200, Some("text/css; charset=utf-8")));
    let seen = browse(format!("http://{address}/docs"), 1).await;
    assert!(seen.contains("Makes a code, stores the verification durably, and sends the code."), "{seen}");

    let wrong = Caller::at(address).send("POST", "/docs", &[], "").await;
    assert_eq!((wrong.status, wrong.answer.header("allow")), (405, Some("GET,HEAD")));
}

#[tokio::test]
async fn without_the_setting_there_is_no_description() {
    let gateway = Gateway::start().await;
    for target in ["/openapi.json", "/docs", "/docs/style.css"] {
        assert_eq!(get(gateway.addresses.http, target, &["Host: x"]).await.status, 404, "{target}");
    }
}
