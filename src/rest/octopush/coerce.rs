//! The vendor's rule for wrong data, made exact: a value of the wrong type is cast, one out of range goes to the nearest
//! end, forbidden characters are taken out, and what still makes no sense is as if it were not there.
//!
//! The vendor states the rule and leaves open what follows from it; every choice of that kind stands here. A code is no
//! parameter, so nothing here ever makes one.

use serde_json::{Map, Number, Value};

use crate::messaging::variables::breaks_line;
use crate::recipient::Phone;
use crate::rest::input::Call;
use crate::rest::octopush::refusal::Refusal;
use crate::tenant::Tenant;

/// Most characters of a text; the rest is cut off.
pub(super) const MAX_TEXT: usize = 1224;

/// Characters of a sender.
const SENDER: std::ops::RangeInclusive<usize> = 3..=11;

/// Fewest characters of a phone number.
const MIN_PHONE: usize = 7;

/// The parameters of a call. Names that nobody asks for are ignored.
pub(super) struct Fields(Map<String, Value>);

// === impl Fields ===

impl Fields {
    /// Errors: for a body that is no JSON object, which no rule can mend.
    pub(super) fn read(call: &Call) -> Result<Self, Refusal> {
        if call.body.is_empty() {
            return Err(Refusal::bad(100, "No POST data."));
        }
        call.json().map(Self).map_err(|trouble| Refusal::of(&trouble))
    }

    /// As it came.
    pub(super) fn raw(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// `None` when absent, empty, or nothing that can be a text.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.raw(name).and_then(text)
    }

    /// The text of a message: without control characters but line breaks, and no longer than it may be.
    pub(super) fn message(&self, name: &str) -> Option<String> {
        self.text(name).map(|text| cut(&clean(&text), MAX_TEXT)).filter(|text| !text.trim().is_empty())
    }

    /// Whole, and rounded towards zero; what is beyond an `i64` is its nearest end.
    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        let number = match self.raw(name)? {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        // A cast from a float saturates.
        number.filter(|number: &f64| number.is_finite()).map(|number| number.trunc() as i64)
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.raw(name)? {
            Value::Bool(flag) => Some(*flag),
            Value::Number(number) if number.as_f64() == Some(1.0) => Some(true),
            Value::Number(number) if number.as_f64() == Some(0.0) => Some(false),
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "1" | "yes" => Some(true),
                "false" | "0" | "no" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// Letters and digits of ASCII; `None` when too few are left.
    pub(super) fn sender(&self) -> Option<String> {
        let text = self.text("sender")?;
        let plain = text.chars().filter(char::is_ascii_alphanumeric).take(*SENDER.end()).collect::<String>();
        SENDER.contains(&plain.len()).then_some(plain)
    }

    /// The texts of a list, or the one text in its place.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        match self.raw(name) {
            Some(Value::Array(items)) => items.iter().filter_map(text).collect(),
            Some(one) => text(one).into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// The recipient of a call for one.
    pub(super) fn phone(&self, tenant: &Tenant) -> Result<Phone, Refusal> {
        parse_phone(self.raw("phone_number"), tenant)
    }
}

/// A scalar as text; never an empty one.
pub(super) fn text(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => written(number),
        Value::Bool(flag) => flag.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    Some(text).filter(|text| !text.is_empty())
}

/// Without the `.0` that some languages write after a whole number.
fn written(number: &Number) -> String {
    let text = number.to_string();
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// Line breaks become `\n`, tabs blanks; other control characters go.
pub(super) fn clean(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace('\r', "\n").replace('\t', " ");
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

/// Words that stand within somebody's text: on its line, and without what phones look for, which are `<#>` and a word
/// that begins with `@`.
pub(super) fn within_line(words: &str) -> String {
    let mut line: String = words.replace('\n', " ").chars().filter(|c| !breaks_line(*c)).collect();
    // What is taken out may join two halves.
    while line.contains("<#>") {
        line = line.replace("<#>", "");
    }
    let mut kept = String::with_capacity(line.len());
    for c in line.chars() {
        let begins = kept.chars().next_back().is_none_or(char::is_whitespace);
        if c != '@' || !begins {
            kept.push(c);
        }
    }
    kept
}

pub(super) fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// A number as the vendor takes it, with or without what people write between its digits.
pub(super) fn parse_phone(value: Option<&Value>, tenant: &Tenant) -> Result<Phone, Refusal> {
    let text = value.and_then(text).ok_or_else(Refusal::invalid_number)?;
    let text = text.replace([' ', '.', '-', '(', ')'], "");
    let text = text.strip_prefix("00").map_or_else(|| text.clone(), |rest| format!("+{rest}"));
    if text.chars().count() < MIN_PHONE {
        return Err(Refusal::invalid_number());
    }
    Phone::parse(&text, tenant.default_country).map_err(|_| match text.strip_prefix('+') {
        Some(digits) if is_digits(digits) && !Phone::begins_with_calling_code(digits) => Refusal::unknown_prefix(),
        _ => Refusal::invalid_number(),
    })
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: Value) -> Fields {
        Fields(value.as_object().unwrap().clone())
    }

    #[test]
    fn integers_are_cast_and_what_is_none_is_ignored() {
        for (given, wanted) in [
            (json!(6), Some(6)),
            (json!("6"), Some(6)),
            (json!(" 6 "), Some(6)),
            (json!(6.0), Some(6)),
            (json!(6.9), Some(6)),
            (json!(-6.9), Some(-6)),
            (json!("6.5"), Some(6)),
            (json!(1e300), Some(i64::MAX)),
            (json!("-1e300"), Some(i64::MIN)),
            (json!(u64::MAX), Some(i64::MAX)),
            (json!("six"), None),
            (json!("inf"), None),
            (json!("NaN"), None),
            (json!(""), None),
            (json!(true), None),
            (json!(null), None),
            (json!([6]), None),
            (json!({ "a": 6 }), None),
        ] {
            assert_eq!(fields(json!({ "n": given })).integer("n"), wanted, "{given}");
        }
        assert_eq!(fields(json!({})).integer("n"), None);
    }

    #[test]
    fn flags_are_cast_and_what_is_none_is_ignored() {
        for yes in [json!(true), json!("true"), json!("TRUE"), json!("1"), json!(1), json!(1.0), json!("yes")] {
            assert_eq!(fields(json!({ "f": yes })).flag("f"), Some(true), "{yes}");
        }
        for no in [json!(false), json!("false"), json!("0"), json!(0), json!("No")] {
            assert_eq!(fields(json!({ "f": no })).flag("f"), Some(false), "{no}");
        }
        for neither in [json!("maybe"), json!(2), json!(""), json!(null), json!([true]), json!({})] {
            assert_eq!(fields(json!({ "f": neither })).flag("f"), None, "{neither}");
        }
    }

    #[test]
    fn words_in_a_text_stay_on_their_line_and_mark_nothing() {
        for (given, wanted) in [
            ("Ann", "Ann"),
            ("ann@example.com", "ann@example.com"),
            ("\n@evil.example #000000", " evil.example #000000"),
            ("a @@b @", "a b "),
            ("a\u{2028}b\u{202e}c", "abc"),
            ("<<#>#> x", " x"),
            ("<#>@evil.example", "evil.example"),
            ("ශ්\u{200d}රී", "ශ්\u{200d}රී"),
        ] {
            assert_eq!(within_line(given), wanted, "{given:?}");
        }
    }

    #[test]
    fn senders_are_stripped_cut_or_ignored() {
        let sender = |given: Value| fields(json!({ "sender": given })).sender();
        assert_eq!(sender(json!("Acme Corp!")).unwrap(), "AcmeCorp");
        assert_eq!(sender(json!("ABCDEFGHIJKLMNOP")).unwrap(), "ABCDEFGHIJK");
        assert_eq!(sender(json!("Crédit")).unwrap(), "Crdit");
        assert_eq!(sender(json!(38_000)).unwrap(), "38000");
        for none in [json!("A!"), json!("été"), json!(""), json!(["Acme"]), json!(null)] {
            assert_eq!(sender(none.clone()), None, "{none}");
        }
    }

    #[test]
    fn texts_keep_line_breaks_and_lose_what_no_phone_shows() {
        assert_eq!(clean("a\r\nb\rc\td\0e\u{7}"), "a\nb\nc de");
        let long = fields(json!({ "text": "é".repeat(2_000) })).message("text").unwrap();
        assert_eq!(long.chars().count(), MAX_TEXT);
        assert_eq!(fields(json!({ "text": 123.0 })).message("text").unwrap(), "123");
        for none in [json!(" \n"), json!({}), json!([]), json!(null)] {
            assert_eq!(fields(json!({ "text": none })).message("text"), None);
        }
    }
}
