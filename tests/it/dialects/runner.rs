//! Runs the fixtures of a dialect, each on a gateway of its own, and tells all that failed at once.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::fixture::{Call, Expect, Fixture, Step};
use super::pattern::{Taken, compare, fill, fill_value, matches};
use crate::support::gateway::{CONFIG, Gateway, eventually};
use crate::support::http;
use crate::support::http::Answer;

/// Runs all files in the folder of a dialect, of which there have to be at least so many.
pub(crate) async fn run(dialect: &str, at_least: usize) {
    let files = fixtures(dialect);
    assert!(files.len() >= at_least, "{dialect} has {} fixtures, and should have {at_least}", files.len());
    let mut failed = Vec::new();
    for file in &files {
        if let Err(why) = Case::run(dialect, file).await {
            failed.push(format!("{}: {why}", file.file_name().unwrap().to_string_lossy()));
        }
    }
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), files.len(), failed.join("\n"));
}

fn fixtures(dialect: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/dialects").join(dialect);
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "json")).collect();
    files.sort();
    files
}

struct Case {
    gateway: Gateway,
    place: String,
    taken: Taken,
    /// Messages that were looked at.
    seen: usize,
}

impl Case {
    async fn run(dialect: &str, file: &Path) -> Result<(), String> {
        let text = std::fs::read_to_string(file).unwrap();
        let fixture: Fixture = serde_json::from_str(&text).map_err(|error| format!("no fixture: {error}"))?;
        assert!(!fixture.about.is_empty() && !fixture.steps.is_empty(), "{} says nothing", file.display());
        let extra = std::fs::read_to_string(file.with_file_name("config.toml")).unwrap_or_default();
        let config = format!("{CONFIG}\n{extra}\n{}", fixture.config);
        let gateway = Gateway::start_with(&config).await;
        let mut case = Self { gateway, place: format!("/{dialect}"), taken: Taken::new(), seen: 0 };
        for (index, step) in fixture.steps.iter().enumerate() {
            case.step(step).await.map_err(|why| format!("step {}: {why}", index + 1))?;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Step) -> Result<(), String> {
        self.gateway.clock.advance(Duration::from_secs(step.advance));
        for _ in 0..step.times {
            let Some(call) = &step.call else { break };
            let answer = self.call(call).await;
            let expect = step.expect.as_ref().ok_or("a call without an expectation")?;
            let compared = self.compare(expect, &answer);
            if step.eventually && compared.is_err() {
                eventually(async || {
                    let answer = self.call(call).await;
                    self.compare(expect, &answer).ok()
                })
                .await;
            } else {
                compared?;
            }
        }
        match &step.inbox {
            Some(expected) => self.look(expected).await,
            None => Ok(()),
        }
    }

    async fn call(&self, call: &Call) -> Answer {
        let taken = &self.taken;
        let path = format!("{}/{}", self.place, fill(&call.path, taken).trim_start_matches('/'));
        let mut headers: Vec<_> =
            call.headers.iter().map(|(name, value)| format!("{name}: {}", fill(value, taken))).collect();
        let has = |wanted: &str| call.headers.keys().any(|name| name.eq_ignore_ascii_case(wanted));
        let (kind, body) = body(call, taken);
        if !has("content-type") {
            headers.extend(kind.map(|kind| format!("Content-Type: {kind}")));
        }
        if !has("host") {
            headers.push("Host: 127.0.0.1".to_owned());
        }
        let headers: Vec<_> = headers.iter().map(String::as_str).collect();
        http::call(self.gateway.addresses.http, &call.method, &path, &headers, &body).await
    }

    fn compare(&mut self, expect: &Expect, answer: &Answer) -> Result<(), String> {
        if answer.status != expect.status {
            return Err(format!("status {}, wanted {}: {}", answer.status, expect.status, answer.body));
        }
        for (name, pattern) in &expect.headers {
            let value = answer.header(name).ok_or_else(|| format!("no header {name}: {}", answer.head))?;
            let pattern = fill(pattern, &self.taken);
            matches(&pattern, value, &mut self.taken)
                .ok_or_else(|| format!("header {name}: {value:?}, wanted {pattern:?}"))?;
        }
        match &expect.json {
            None if answer.body.is_empty() => Ok(()),
            None => Err(format!("body {:?}, wanted none", answer.body)),
            Some(expected) => {
                let kind = answer.header("content-type").unwrap_or_default();
                if !kind.starts_with("application/json") {
                    return Err(format!("content type {kind:?}"));
                }
                let actual: Value = serde_json::from_str(&answer.body).map_err(|error| format!("{error}"))?;
                compare(&fill_value_but_numbers(expected, &self.taken), &actual, &mut self.taken)
            }
        }
    }

    async fn look(&mut self, expected: &[std::collections::BTreeMap<String, Value>]) -> Result<(), String> {
        let mut messages = self.gateway.whole_inbox().await;
        messages.reverse();
        let new = &messages[self.seen.min(messages.len())..];
        self.seen = messages.len();
        if new.len() != expected.len() {
            return Err(format!("{} new messages, wanted {}: {new:?}", new.len(), expected.len()));
        }
        for (index, (fields, message)) in expected.iter().zip(new).enumerate() {
            for (name, wanted) in fields {
                let wanted = fill_value_but_numbers(wanted, &self.taken);
                let found = message.get(name).unwrap_or(&Value::Null);
                compare(&wanted, found, &mut self.taken).map_err(|why| format!("message {index}, {name}: {why}"))?;
            }
        }
        Ok(())
    }
}

/// In expectations a number is a gap.
fn fill_value_but_numbers(value: &Value, taken: &Taken) -> Value {
    match value {
        Value::Object(fields) if fields.contains_key("$number") => value.clone(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (fill(name, taken), fill_value_but_numbers(value, taken)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(|item| fill_value_but_numbers(item, taken)).collect(),
        other => fill_value(other, taken),
    }
}

/// The content type and the body.
fn body(call: &Call, taken: &Taken) -> (Option<&'static str>, Vec<u8>) {
    const JSON: Option<&str> = Some("application/json; charset=utf-8");
    if let Some(json) = &call.json {
        return (JSON, fill_value(json, taken).to_string().into_bytes());
    }
    if let Some(form) = &call.form {
        let mut fields = form_urlencoded::Serializer::new(String::new());
        fields.extend_pairs(form.iter().map(|(name, value)| (name, fill(value, taken))));
        return (Some("application/x-www-form-urlencoded; charset=utf-8"), fields.finish().into_bytes());
    }
    if let Some(hex) = &call.hex {
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
        return (JSON, bytes.collect());
    }
    match (&call.body, call.letters) {
        (Some(body), _) => (JSON, fill(body, taken).into_bytes()),
        (None, Some(letters)) => (JSON, vec![b'a'; letters]),
        (None, None) => (None, Vec::new()),
    }
}
