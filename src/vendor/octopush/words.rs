//! Octopush's ranges and codes, from its pages: what it takes unchanged, and what each of its numbers means.
//!
//! Pure: no call is made here.

use std::borrow::Cow;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::vendor::{ContactRow, Failure, Rejection};

pub(crate) const CODE_LENGTHS: RangeInclusive<u32> = 4..=32;
pub(crate) const CODE_LIFETIMES: RangeInclusive<Duration> = Duration::from_secs(3)..=Duration::from_secs(10_000_000);

/// Characters of a text, eight parts' worth.
const TEXT_LENGTHS: RangeInclusive<usize> = 1..=1224;
const SENDER_LENGTHS: RangeInclusive<usize> = 3..=11;
const LIST_NAME_LENGTHS: RangeInclusive<usize> = 1..=30;
const MOST_OF_A_CELL: usize = 50;

/// What the vendor fills in where it stands in the text of a message.
const FILLED_IN: [&str; 7] =
    ["{first_name}", "{last_name}", "{param1}", "{param2}", "{param3}", "{param4}", "{param5}"];

/// The languages that it can read a code out in.
const VOICE_LANGUAGES: [&str; 13] = [
    "en-US", "en-GB", "el-GR", "pl-PL", "hu-HU", "sv-SE", "de-DE", "es-ES", "es-LA", "fr-FR", "it-IT", "pt-BR", "ru-RU",
];

/// Letters and digits of ASCII: others are taken out of a name, and a name that is then too short is left out.
pub(crate) fn check_sender(sender: Option<&str>) -> Result<(), Rejection> {
    let plain = |name: &str| SENDER_LENGTHS.contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric());
    if sender.is_none_or(plain) { Ok(()) } else { Err(Rejection::InvalidContent) }
}

pub(crate) fn check_text(text: &str) -> Result<(), Rejection> {
    let changed = FILLED_IN.iter().any(|name| text.contains(name));
    if !changed && TEXT_LENGTHS.contains(&text.chars().count()) { Ok(()) } else { Err(Rejection::InvalidContent) }
}

/// The text around a code of the vendor's own. `None` for a template without the one placeholder that it needs.
pub(crate) fn code_text<'a>(template: Option<&'a str>, brand: Option<&str>) -> Option<Cow<'a, str>> {
    let text = match (template, brand) {
        (Some(template), _) => Cow::Borrowed(template),
        (None, Some(brand)) => Cow::Owned(format!("{brand}: {{code}}")),
        (None, None) => Cow::Borrowed("{code}"),
    };
    // Without it the vendor puts the code at the end; any other brace may be a placeholder, such as the end of its life.
    let around = text.replacen("{code}", "", 1);
    (around.len() < text.len() && !around.contains(['{', '}']) && check_text(&text).is_ok()).then_some(text)
}

/// The nearest of the vendor's languages; `None` leaves it to the account.
pub(crate) fn voice_language(locale: &str) -> Option<&'static str> {
    let language = locale.split(['-', '_']).next().unwrap_or(locale);
    let same = |known: &&&str| known.eq_ignore_ascii_case(&locale.replace('_', "-"));
    let exact = VOICE_LANGUAGES.iter().find(same);
    // Spanish of any other country is that of the Americas.
    if exact.is_none() && language.eq_ignore_ascii_case("es") && locale.len() > language.len() {
        return Some("es-LA");
    }
    exact.or_else(|| VOICE_LANGUAGES.iter().find(|known| known[..2].eq_ignore_ascii_case(language))).copied()
}

/// Whether a contact has such a column: its number, or what can be filled in.
pub(crate) fn has_column(name: &str) -> bool {
    name == "phone_number" || FILLED_IN.iter().any(|known| known.trim_matches(['{', '}']) == name)
}

/// The vendor ignores columns that it does not know and numbers that are none.
pub(crate) fn check_contact(row: &ContactRow) -> Result<(), Rejection> {
    let number = row.cells.get("phone_number").map(String::as_str).unwrap_or_default();
    let digits = number.strip_prefix('+').unwrap_or_default();
    if !(7..=15).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Rejection::InvalidRecipient);
    }
    let fits = row.cells.iter().all(|(column, cell)| has_column(column) && cell.chars().count() <= MOST_OF_A_CELL);
    let named = LIST_NAME_LENGTHS.contains(&row.list.chars().count());
    if fits && named { Ok(()) } else { Err(Rejection::InvalidContent) }
}

/// What a refusal's code means for what was asked; `None` for codes that the vendor's pages do not know. 0 and those of
/// a check (196 to 199) are looked at before.
pub(crate) fn parse_code(code: i64) -> Option<Failure> {
    let rejection = match code {
        // Login, password or key is wrong or missing; account not validated, under review, or without the right.
        101 | 108 | 109 | 113 | 114 | 123 | 124 | 201 | 204 | 207 | 209 | 300 => Rejection::Unauthorized,
        104 | 105 => Rejection::InsufficientCredit,
        // No recipient, none that is valid, no country for its prefix, country or route not served.
        103 | 110 | 117 | 150 | 151 | 152 => Rejection::InvalidRecipient,
        // Nothing posted; text missing or too long; sender; type; parameters; lists; the mentions that advertisements
        // must have; and, for codes, a check without a code or without anything to check it by.
        100 | 102 | 106 | 107 | 111 | 112 | 115 | 116 | 118 | 119 | 121 | 122 | 194 | 195 | 208 => {
            Rejection::InvalidContent
        }
        // Lists: too many of them, name taken, not there, full, too many contacts, unknown action, file.
        301..=306 | 308 => Rejection::InvalidContent,
        // Too many attempts; congested.
        128 | 153 => return Some(Failure::Throttled { after: None }),
        // Undefined; cannot process; connection error: it does not say at which step. A repeated `request_id` outside a
        // send, and states of campaigns (awaiting, running, built, sent, not found), say nothing about this request.
        // Transfers of credit (202, 203, 205, 206, 210) are not asked for by us.
        120 | 125..=127 | 129..=133 | 202 | 203 | 205 | 206 | 210 | 500 | 501 => return Some(Failure::Unknown),
        // A check's own words, where no check was asked for.
        196..=199 => return Some(Failure::Unknown),
        _ => return None,
    };
    Some(Failure::Rejected(rejection))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_vendor_would_change_is_refused() {
        for sender in [None, Some("ACME"), Some("abc"), Some("Elevenchars"), Some("123")] {
            assert_eq!(check_sender(sender), Ok(()), "{sender:?}");
        }
        for sender in ["", "ab", "Twelve chars", "Twelvecharss", "Ac me", "Acmé", "Ac-me"] {
            assert_eq!(check_sender(Some(sender)), Err(Rejection::InvalidContent), "{sender:?}");
        }
        let long = "é".repeat(1224);
        for (text, fits) in [
            ("x", true),
            (long.as_str(), true),
            ("{code} {name}", true),
            ("", false),
            (&format!("{long}x"), false),
            ("Dear {first_name}", false),
            ("{param5}", false),
        ] {
            assert_eq!(check_text(text).is_ok(), fits, "{text:.20}");
        }
    }

    #[test]
    fn a_code_has_one_place_in_its_text() {
        assert_eq!(code_text(None, None).unwrap(), "{code}");
        assert_eq!(code_text(None, Some("Acme")).unwrap(), "Acme: {code}");
        assert_eq!(code_text(Some("Kod {code}."), Some("Acme")).unwrap(), "Kod {code}.");
        for template in ["no place", "{code} {code}", "{code} until {hh:mm:ss}", "{code", "", "{ code }"] {
            assert_eq!(code_text(Some(template), None), None, "{template}");
        }
        assert_eq!(code_text(None, Some("{first_name}")), None);
        assert_eq!(code_text(Some(&format!("{{code}}{}", "x".repeat(1219))), None), None);
    }

    #[test]
    fn voices_speak_the_nearest_language() {
        for (locale, voice) in [
            ("en", Some("en-US")),
            ("en-GB", Some("en-GB")),
            ("EN_gb", Some("en-GB")),
            ("en-MY", Some("en-US")),
            ("es", Some("es-ES")),
            ("es-ES", Some("es-ES")),
            ("es-MX", Some("es-LA")),
            ("pt-PT", Some("pt-BR")),
            ("ms", None),
            ("e", None),
            ("", None),
        ] {
            assert_eq!(voice_language(locale), voice, "{locale}");
        }
    }
}
