//! Expectations with gaps. In a string `<kind>` stands for any text of that kind, and `<name:kind>` keeps it:
//! `uuid`, `time` (RFC 3339), `int`, `any`, or so many characters of a class in [`CLASSES`], such as `digits6`. A number
//! is written as it is, or as `{"$number": "name"}` for any that is kept under that name. Everything else has to be exactly
//! the same.

use std::collections::BTreeMap;

use serde_json::Value;

/// What was taken, by name.
pub(crate) type Taken = BTreeMap<String, String>;

type Fits = fn(u8) -> bool;

/// Which characters a pattern may ask for.
const CLASSES: [(&str, Fits); 6] = [
    ("digits", |byte| byte.is_ascii_digit()),
    ("hex", |byte| byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase()),
    ("uppers", |byte| byte.is_ascii_uppercase()),
    ("lowers", |byte| byte.is_ascii_lowercase()),
    ("specials", |byte| b"!#$%&?@".contains(&byte)),
    // Capitals and digits that nobody takes for another.
    ("clears", |byte| (byte.is_ascii_uppercase() || byte.is_ascii_digit()) && !b"0O1I".contains(&byte)),
];

/// Compares; tells the first difference with its place.
pub(crate) fn compare(expected: &Value, actual: &Value, taken: &mut Taken) -> Result<(), String> {
    at("$", expected, actual, taken)
}

fn at(place: &str, expected: &Value, actual: &Value, taken: &mut Taken) -> Result<(), String> {
    match (expected, actual) {
        (Value::Object(wanted), Value::Number(number)) if wanted.contains_key("$number") => {
            taken.insert(wanted["$number"].as_str().unwrap().to_owned(), number.to_string());
            Ok(())
        }
        (Value::Object(wanted), Value::Object(found)) => {
            let names = |object: &serde_json::Map<_, _>| object.keys().cloned().collect::<Vec<String>>();
            let (mut wanted_names, mut found_names) = (names(wanted), names(found));
            wanted_names.sort();
            found_names.sort();
            if wanted_names != found_names {
                return Err(format!("{place}: keys {found_names:?}, wanted {wanted_names:?}"));
            }
            wanted.iter().try_for_each(|(name, value)| at(&format!("{place}.{name}"), value, &found[name], taken))
        }
        (Value::Array(wanted), Value::Array(found)) if wanted.len() == found.len() => {
            let mut pairs = wanted.iter().zip(found).enumerate();
            pairs.try_for_each(|(index, (wanted, found))| at(&format!("{place}[{index}]"), wanted, found, taken))
        }
        (Value::String(pattern), Value::String(text)) => {
            matches(pattern, text, taken).ok_or_else(|| format!("{place}: {text:?}, wanted {pattern:?}"))
        }
        _ if expected == actual => Ok(()),
        _ => Err(format!("{place}: {actual}, wanted {expected}")),
    }
}

/// Whether a text fits a pattern; what the gaps took is kept when it does.
pub(crate) fn matches(pattern: &str, text: &str, taken: &mut Taken) -> Option<()> {
    let Some((literal, rest)) = pattern.split_once('<') else { return (pattern == text).then_some(()) };
    let text = text.strip_prefix(literal)?;
    let (gap, pattern) = rest.split_once('>').filter(|(gap, _)| is_gap(gap))?;
    let (name, kind) = gap.split_once(':').map_or((None, gap), |(name, kind)| (Some(name), kind));
    let ends = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    ends.filter(|end| is(kind, &text[..*end])).find_map(|end| {
        let mut inner = taken.clone();
        matches(pattern, &text[end..], &mut inner)?;
        *taken = inner;
        taken.extend(name.map(|name| (name.to_owned(), text[..end].to_owned())));
        Some(())
    })
}

fn is_gap(gap: &str) -> bool {
    !gap.is_empty() && gap.chars().all(|c| c.is_ascii_alphanumeric() || c == ':')
}

fn is(kind: &str, text: &str) -> bool {
    let counted = |(class, fits): &(&str, Fits)| Some((kind.strip_prefix(class)?.parse::<usize>().ok()?, *fits));
    if let Some((count, fits)) = CLASSES.iter().find_map(counted) {
        return text.len() == count && text.bytes().all(fits);
    }
    match kind {
        "any" => !text.is_empty(),
        "int" => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()),
        "uuid" => text.len() == 36 && text.split('-').map(str::len).eq([8, 4, 4, 4, 12]),
        "time" => text.parse::<jiff::Timestamp>().is_ok(),
        other => panic!("no kind of pattern is called {other:?}"),
    }
}

/// Puts what was taken into a text.
pub(crate) fn fill(text: &str, taken: &Taken) -> String {
    taken.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
}

/// Puts what was taken into all strings of a value, the names of fields among them.
pub(crate) fn fill_value(value: &Value, taken: &Taken) -> Value {
    match value {
        Value::String(text) => fill(text, taken).into(),
        Value::Array(items) => items.iter().map(|item| fill_value(item, taken)).collect(),
        Value::Object(fields) if fields.contains_key("$number") => {
            let digits = fill(fields["$number"].as_str().unwrap(), taken);
            // As a client writes it: a number has no zeros before it.
            let digits = Some(digits.trim_start_matches('0')).filter(|digits| !digits.is_empty()).unwrap_or("0");
            serde_json::from_str(digits).unwrap()
        }
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (fill(name, taken), fill_value(value, taken))).collect())
        }
        other => other.clone(),
    }
}

#[test]
fn patterns_take_what_they_name() {
    let mut taken = Taken::new();
    assert!(
        matches("code <otp:digits6>, id <uuid>.", "code 012345, id 01a201eb-6366-80f1-a1f7-20ad39c323d0.", &mut taken)
            .is_some()
    );
    assert_eq!(taken["otp"], "012345");
    assert!(matches("code <digits6>", "code 0123456", &mut taken).is_none());
    assert!(compare(&serde_json::json!({"a": 1}), &serde_json::json!({"a": "1"}), &mut taken).is_err());
    assert!(compare(&serde_json::json!({"a": 1}), &serde_json::json!({"a": 1, "b": 2}), &mut taken).is_err());
    assert!(compare(&serde_json::json!({"a": {"$number": "n"}}), &serde_json::json!({"a": 7}), &mut taken).is_ok());
    assert_eq!(fill("${n}-${otp}", &taken), "7-012345");
}
