//! Whole calls over HTTP: each dialect's and the native ones, with method, path, headers and body.
//!
//! An input is up to four calls, between lines of `%%`: a line `METHOD PATH`, headers one `NAME: VALUE` a line, an empty
//! line and the body. `$ID` stands for the last name of something that an answer gave.

use std::cell::RefCell;

use axum::body::Body;
use http::Request;
use serde_json::Value;

use crate::targets::house::{Answer, CODE, House};

/// Most calls of one input.
const MOST_CALLS: usize = 4;

/// Parts of secrets in the configuration; callers show the whole ones, and are never shown any.
const SECRET: &str = "-secret-of-some-length";

thread_local! {
    static HOUSE: RefCell<Option<House>> = const { RefCell::new(None) };
}

pub(crate) fn esms(data: &[u8]) {
    run("/esms/", data);
}

pub(crate) fn hasun(data: &[u8]) {
    run("/hasun/", data);
}

pub(crate) fn octopush(data: &[u8]) {
    run("/octopush/", data);
}

pub(crate) fn simpu(data: &[u8]) {
    run("/simpu/", data);
}

pub(crate) fn native(data: &[u8]) {
    run("/v1/", data);
}

fn run(place: &str, data: &[u8]) {
    HOUSE.with_borrow_mut(|house| {
        if house.as_ref().is_none_or(House::is_full) {
            // The old one lets go of its files first.
            *house = None;
            *house = Some(House::new());
        }
        let house = house.as_mut().unwrap();
        house.begin();
        let mut id = "00000000-0000-7000-8000-000000000000".to_owned();
        for part in split(data, b"\n%%\n").into_iter().take(MOST_CALLS) {
            let part = replace(part, b"$ID", id.as_bytes());
            let Some(request) = parse(place, &part) else { return };
            let answer = house.call(request);
            judge(place, &part, &answer);
            id = serde_json::from_str(&answer.body).ok().and_then(|json| name_in(&json)).unwrap_or(id);
        }
    });
}

/// A request, where the text is one.
fn parse(place: &str, text: &[u8]) -> Option<Request<Body>> {
    let end = text.windows(2).position(|window| window == b"\n\n");
    let (head, body) = end.map_or((text, &[][..]), |end| (&text[..end], &text[end + 2..]));
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.lines();
    let (method, path) = lines.next()?.split_once(' ')?;
    let mut request = Request::builder().method(method).uri(format!("{place}{path}"));
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    request.body(Body::from(body.to_vec())).ok()
}

/// What holds for every answer, whatever was asked.
fn judge(place: &str, asked: &[u8], answer: &Answer) {
    assert!(answer.status != 500 && answer.status < 600, "we broke: {answer:?}");
    if answer.kind.contains("json") && !answer.body.is_empty() {
        let read: Result<Value, _> = serde_json::from_str(&answer.body);
        assert!(read.is_ok(), "an answer that says it is JSON, and is not: {answer:?}");
    }
    let contains = |part: &str| asked.windows(part.len()).any(|window| window == part.as_bytes());
    // One dialect's callers are to be given their codes.
    if place != "/hasun/" && !contains(CODE) {
        assert!(!answer.body.contains(CODE), "a code is answered: {answer:?}");
    }
    assert!(!answer.body.contains(SECRET), "a secret is answered: {answer:?}");
    echo(asked, answer);
}

/// A refusal does not repeat the candidate that it refuses, where the candidate stands nowhere else in the call.
fn echo(asked: &[u8], answer: &Answer) {
    let Some(at) = asked.windows(2).position(|window| window == b"\n\n") else { return };
    let Ok(Value::Object(fields)) = serde_json::from_slice(&asked[at + 2..]) else { return };
    for name in ["code", "otp", "token"] {
        if let Some(Value::String(candidate)) = fields.get(name)
            && candidate.len() > 7
            && asked.windows(candidate.len()).filter(|window| *window == candidate.as_bytes()).count() == 1
        {
            assert!(!answer.body.contains(candidate.as_str()), "a candidate is repeated: {answer:?}");
        }
    }
}

/// The last text in an answer that looks like a name that we gave.
fn name_in(json: &Value) -> Option<String> {
    match json {
        Value::String(text) => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
            ((20..=64).contains(&text.len()) && text.bytes().all(plain)).then(|| text.clone())
        }
        Value::Array(items) => items.iter().rev().find_map(name_in),
        Value::Object(fields) => ["id", "otp_request_token"]
            .iter()
            .find_map(|name| fields.get(*name).and_then(name_in))
            .or_else(|| fields.values().rev().find_map(name_in)),
        _ => None,
    }
}

fn split<'a>(data: &'a [u8], mark: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut left = data;
    while let Some(at) = left.windows(mark.len()).position(|window| window == mark) {
        parts.push(&left[..at]);
        left = &left[at + mark.len()..];
    }
    parts.push(left);
    parts
}

fn replace(text: &[u8], mark: &[u8], with: &[u8]) -> Vec<u8> {
    split(text, mark).join(with)
}
