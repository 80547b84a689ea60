//! The page for users: complete, and true.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use verigate::feed::delivery::WAITS;
use verigate::feed::kinds::TYPES;

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/events.md")).unwrap()
}

/// What stands in blocks of code of a language.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    page.split(opening.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_type_is_told_with_its_meaning_and_an_example() {
    let page = page();
    let examples: Vec<Value> = blocks(&page, "json").into_iter().map(|it| serde_json::from_str(it).unwrap()).collect();
    let with_example: BTreeSet<_> = examples.iter().map(|it| it["type"].as_str().unwrap().to_owned()).collect();
    for known in TYPES {
        assert!(page.contains(&format!("### `{}`\n\n{}\n", known.name, known.meaning)), "{}", known.name);
        assert!(with_example.contains(known.name), "{} has no example", known.name);
    }
    assert_eq!(with_example.len(), TYPES.len(), "a type is told that there is not");
    for example in &examples {
        let kind = TYPES.iter().find(|known| example["type"] == known.name).unwrap();
        let status = example["data"]["status"].as_str().unwrap_or_default();
        assert_eq!(status, kind.status, "{}", kind.name);
        let id = example["id"].as_str().unwrap();
        let record = if kind.name.starts_with("message.") { "message_id" } else { "verification_id" };
        assert!(id.starts_with(&format!("evt_{}_", example["data"][record].as_str().unwrap())), "{id}");
    }
}

#[test]
fn the_schedule_is_that_of_the_code() {
    let words = WAITS.map(|wait| match wait.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    });
    assert!(page().contains(&format!("at once, then after {}", words.join(", "))), "{words:?}");
}

#[test]
fn the_names_of_calls_and_settings_are_there() {
    let page = page();
    for name in [
        "CreateEventEndpoint",
        "UpdateEventEndpoint",
        "ListEventEndpoints",
        "DeleteEventEndpoint",
        "ListEventDeliveries",
        "ReplayEvents",
        "WatchEvents",
        "/v1/events/watch",
        "[[events.endpoints]]",
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "standardwebhooks",
        "CURSOR_TOO_OLD",
    ] {
        assert!(page.contains(name), "{name}");
    }
}
