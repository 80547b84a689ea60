//! What a command printed against what the page shows of it.

use serde_json::Value;

use crate::readme::page::Block;

/// Compares what a command printed with what the page shows. Of the answers of a `watch`, how many there are depends on
/// how quickly things happen: the page shows the last ones.
pub(crate) fn compare(shown: &Block, watch: bool, printed: &str) -> Result<(), String> {
    match shown.language {
        "json" => {
            let parse = |text: &str| serde_json::Deserializer::from_str(text).into_iter::<Value>().collect();
            let shown: Result<Vec<_>, _> = parse(&shown.text);
            let printed: Result<Vec<_>, _> = parse(printed);
            let (shown, mut printed) = (shown.unwrap(), printed.map_err(|error| error.to_string())?);
            if watch {
                printed.drain(..printed.len().saturating_sub(shown.len()));
            }
            resembles(&Value::Array(shown), &Value::Array(printed), "")
        }
        "text" => {
            let lines = |text: &str| text.trim().lines().map(same_each_time).collect::<Vec<_>>();
            let (shown, printed) = (lines(&shown.text), lines(printed));
            (shown == printed).then_some(()).ok_or_else(|| format!("{shown:#?}\nis shown for\n{printed:#?}"))
        }
        other => Err(format!("no output is written in {other}")),
    }
}

/// Whether all that is shown was printed.
fn resembles(shown: &Value, printed: &Value, path: &str) -> Result<(), String> {
    match (shown, printed) {
        (Value::Object(shown), Value::Object(printed)) => shown.iter().try_for_each(|(key, shown)| {
            let path = format!("{path}.{key}");
            // The id of a column differs each time, and what it names is known by its value.
            let another = |other: &&String| is_column(key) && is_column(other);
            let found = printed.keys().filter(another).find(|other| resembles(shown, &printed[*other], &path).is_ok());
            let printed = printed.get(found.unwrap_or(key));
            resembles(shown, printed.ok_or_else(|| format!("{path} was not printed"))?, &path)
        }),
        (Value::Array(shown), Value::Array(printed)) if shown.len() == printed.len() => {
            let pairs = shown.iter().zip(printed).enumerate();
            pairs.into_iter().try_for_each(|(at, (shown, printed))| resembles(shown, printed, &format!("{path}[{at}]")))
        }
        (Value::String(text), Value::String(other)) if same_each_time(text) == same_each_time(other) => Ok(()),
        _ if shown == printed => Ok(()),
        _ => Err(format!("{path}: {shown} is shown for {printed}")),
    }
}

/// Whether it may be the id of a column of the contact list.
fn is_column(word: &str) -> bool {
    word.len() == 16 && word.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A text with its kind in place of what differs each time: ids, times, codes, waits, and how far a message is on a way
/// that it goes by itself.
fn same_each_time(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-:.+_".contains(c);
    let mut result = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let end = rest[start..].find(|c| !is_word(c)).map_or(rest.len(), |length| start + length);
        let word = rest[start..end].trim_end_matches('.');
        let (before, after) = (&rest[..start], &rest[start + word.len()..]);
        // Full stops end a sentence, not a word.
        let stops = after.len() - after.trim_start_matches('.').len();
        let (stops, after) = after.split_at(stops);
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        result += before;
        result += match word {
            "MESSAGE_STATUS_QUEUED" | "MESSAGE_STATUS_SENDING" | "MESSAGE_STATUS_SENT" | "MESSAGE_STATUS_DELIVERED" => {
                "<on its way>"
            }
            _ if is_column(word) => "<column>",
            _ if word.len() == 36 && word.parse::<uuid::Uuid>().is_ok() => "<id>",
            _ if word.parse::<jiff::Timestamp>().is_ok() => "<time>",
            _ if word.strip_suffix('s').is_some_and(|wait| wait.parse::<f64>().is_ok()) => "<wait>",
            _ if digits && after.starts_with(" s;") => "<wait>",
            _ if digits && word.len() == 6 => "<code>",
            _ => word,
        };
        result += stops;
        rest = after;
    }
    result + rest
}

#[test]
fn only_what_differs_each_time_is_passed_over() {
    let alike = [
        ("id 01a201eb-6366-80f1-a1f7-20ad39c323d0,", "id 01a201eb-644f-8092-a147-f1366d96ae2c,"),
        ("\"2026-11-22T06:32:13.350Z\"", "\"2027-01-01T00:00:00Z\""),
        ("code is 369932. It", "code is 000000. It"),
        ("column 00ffe4a1b2c3d4e5,", "column 1234567890123456,"),
        ("\"29.918s\" in 30 s;", "\"5s\" in 9 s;"),
        ("MESSAGE_STATUS_SENDING", "MESSAGE_STATUS_DELIVERED"),
    ];
    for (one, other) in alike {
        assert_eq!(same_each_time(one), same_each_time(other));
    }
    let unlike = [
        ("code is 369932", "code is 36993"),
        ("MESSAGE_STATUS_REJECTED", "MESSAGE_STATUS_DELIVERED"),
        ("+60123456789", "+60123456780"),
        ("COOL_DOWN", "NO_ROUTE"),
        ("10 minutes", "9 minutes"),
    ];
    for (one, other) in unlike {
        assert_ne!(same_each_time(one), same_each_time(other));
    }
    let shown = serde_json::json!({"00ffe4a1b2c3d4e5": "Ann"});
    for (printed, same) in [
        (serde_json::json!({"1234567890123456": "Bob", "1234567890123457": "Ann"}), true),
        (serde_json::json!({"1234567890123456": "Bob"}), false),
        (serde_json::json!({"name": "Ann"}), false),
    ] {
        assert_eq!(resembles(&shown, &printed, "").is_ok(), same, "{printed}");
    }
    let shown = serde_json::json!({"a": [{"b": 1}]});
    for (printed, same) in [
        (serde_json::json!({"a": [{"b": 1, "c": 2}], "d": 3}), true),
        (serde_json::json!({"a": [{"b": 2}]}), false),
        (serde_json::json!({"a": [{"b": 1}, {"b": 1}]}), false),
        (serde_json::json!({}), false),
    ] {
        assert_eq!(resembles(&shown, &printed, "").is_ok(), same, "{printed}");
    }
}
