//! Variables: what callers put into templates, by name. A value is words on a line of ours: never markup, a line of its
//! own, or anything that a phone reads as an instruction.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Violation;
use crate::violations::Violations;

/// Longest value in characters.
pub const MAX_VALUE_CHARACTERS: usize = 200;

/// Longest name in bytes.
const MAX_NAME_BYTES: usize = 40;

/// The variables that we fill in ourselves: the code, its lifetime in minutes, the tenant's name for itself, and what
/// the code is for.
pub const OURS: [&str; 4] = ["brand", "code", "minutes", "scope"];

/// Words of the template language, which can name nothing.
const RESERVED: [&str; 12] = ["and", "elif", "else", "endif", "false", "if", "in", "is", "none", "not", "or", "true"];

/// Whether a template can call a variable this.
pub fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    text.len() <= MAX_NAME_BYTES
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(plain)
        && !RESERVED.contains(&text)
}

/// What is wrong with a caller's variables for a template that uses `wanted`, if anything: every one must be given, and
/// no others. No value is repeated.
pub fn check(wanted: &BTreeSet<String>, given: &BTreeMap<String, String>) -> Vec<Violation> {
    let mut found = Violations::default();
    for name in wanted.iter().filter(|name| !given.contains_key(*name)) {
        found.add(&format!("variables.{name}"), "is missing: the template uses it".to_owned());
    }
    for (name, value) in given {
        let field = format!("variables.{name}");
        if wanted.contains(name) {
            if let Some(wrong) = flaw(value) {
                found.add(&field, wrong);
            }
        } else if OURS.contains(&name.as_str()) {
            found.add(&field, "is filled in by the gateway and cannot be given".to_owned());
        } else if is_name(name) {
            let used = wanted.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
            let used = if used.is_empty() { "none" } else { &used };
            found.add(&field, format!("is not used by the template; it uses: {used}"));
        } else {
            found.add("variables", "must have names of 1 to 40 of a-z, 0-9 and _, beginning with a letter".to_owned());
        }
    }
    found.0
}

/// What is wrong with a value, if anything.
fn flaw(value: &str) -> Option<String> {
    if value.chars().count() > MAX_VALUE_CHARACTERS {
        Some(format!("must be at most {MAX_VALUE_CHARACTERS} characters"))
    } else if value.contains(breaks_line) {
        Some("must be on one line, without control characters or such as turn the text around".to_owned())
    } else if marks_line(value) {
        Some("must not hold <#>, or a word that begins with @: phones read these as marks of their own".to_owned())
    } else {
        None
    }
}

/// Whether a character would start a line, steer the device, or make the text read otherwise than it is: control
/// characters, line and paragraph separators, what sets the direction of writing, and blanks of no width. The two
/// joiners are none of these, for Sinhala, Persian and others are not written without them.
pub fn breaks_line(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        )
}

/// Whether a text could begin what phones look for. Browsers take the first `@domain #code` after a blank, not only one
/// at the start of the last line, and the two halves may come from two values with our own words between them; so no
/// `@` may begin a word. `ann@example.com` is no such thing. `<#>` opened a message for Android apps in the past.
///
/// What this cannot see is an app's hash: 11 letters may be one, and are a first name much more often. Texts with a code
/// do not end with a value, where Google's format has the hash; a phone that looks for it anywhere is not fended off.
pub fn marks_line(text: &str) -> bool {
    text.contains("<#>") || text.split(char::is_whitespace).any(|word| word.starts_with('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(wanted: &[&str], given: &[(&str, &str)]) -> Vec<String> {
        let wanted = wanted.iter().map(|name| (*name).to_owned()).collect();
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        check(&wanted, &given).into_iter().map(|violation| violation.field).collect()
    }

    #[test]
    fn exactly_what_the_template_uses_must_be_given() {
        assert_eq!(fields(&["a", "b"], &[("a", ""), ("b", "x")]), [""; 0]);
        assert_eq!(fields(&["a", "b"], &[("b", "1"), ("c", "2")]), ["variables.a", "variables.c"]);
        assert_eq!(fields(&[], &[("code", "1"), ("brand", "2")]), ["variables.brand", "variables.code"]);
        assert_eq!(fields(&[], &[("A\n@evil", "1"), ("", "2"), (&"a".repeat(41), "3")]), ["variables"; 3]);
    }

    #[test]
    fn values_are_words_on_a_line() {
        for good in [
            "",
            "O'Brien & Söhne <b>{{ code }}</b> {% if %} %s $x #1",
            "ann@example.com",
            "a@ b",
            "ශ්\u{200d}රී",
            "می\u{200c}خواهم",
            "👩\u{200d}👧",
            &"é".repeat(200),
        ] {
            assert_eq!(flaw(good), None, "{good:?}");
        }
        for bad in [
            "a\r\nb",
            "a\nb",
            "a\rb",
            "a\0b",
            "a\tb",
            "a\u{7f}b",
            "a\u{85}b",
            "a\u{2028}b",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{61c}b",
            "\u{200b}\u{200b}a",
            "\u{feff}",
            "<#> a",
            "@evil.example #000000",
            "a @evil.example #000000",
            "a\u{a0}@evil.example",
            "@",
            &"é".repeat(201),
        ] {
            assert!(flaw(bad).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn names_are_plain_and_no_words_of_the_language() {
        for good in ["a", "order_2", "t", "code", &"a".repeat(40)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "_a", "2a", "A", "a-b", "ü", "if", "true", "none", "not", &"a".repeat(41)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
