//! Templates: the words around a code, in the reader's language.
//!
//! Holds the built-in texts and renders them; knows neither the tenant nor how long an SMS may be. A rendered text is as
//! secret as the code in it, so it is written into a buffer that never moves and is wiped.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use minijinja::value::{Object, ObjectRepr, Value};
use minijinja::{AutoEscape, Environment, UndefinedBehavior, context};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// The template of a verification that asks for no other.
pub const DEFAULT: &str = "default";

/// Longest brand in characters.
pub const MAX_BRAND_CHARACTERS: usize = 20;

/// The locale that every template has.
const FALLBACK_LOCALE: &str = "en";

/// Longest language tag in bytes that is looked at (RFC 5646 §4.4.1).
const MAX_LOCALE_BYTES: usize = 35;

/// Longest rendered text in bytes.
const MAX_TEXT_BYTES: usize = 2_048;

/// Name, locale in lower case, source.
///
/// In each language one segment holds the text for a lifetime of up to 9,999 minutes: in GSM-7 with the longest code that
/// an alphabet draws and the longest brand, in UCS-2 with a code of 8 characters and no brand. Tamil spends all of it.
const BUILTIN: [(&str, &str, &str); 6] = [
    (DEFAULT, "en", include_str!("templates/default/en.txt")),
    (DEFAULT, "fr", include_str!("templates/default/fr.txt")),
    (DEFAULT, "ms", include_str!("templates/default/ms.txt")),
    (DEFAULT, "si", include_str!("templates/default/si.txt")),
    (DEFAULT, "ta", include_str!("templates/default/ta.txt")),
    (DEFAULT, "zh", include_str!("templates/default/zh.txt")),
];

/// Every template that can be rendered.
#[derive(Debug)]
pub struct Templates {
    /// Sources by `name/locale`.
    environment: Environment<'static>,
    /// Each once, in alphabetical order.
    names: Vec<&'static str>,
}

/// Lets the engine write a code into the text without keeping a copy of it.
#[derive(Debug)]
struct SecretValue(SecretString);

// === impl Templates ===

impl Templates {
    /// The templates that are compiled in.
    ///
    /// Errors: `Internal` when one of them does not parse, which a test rules out.
    pub fn builtin() -> Result<Self> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        for (name, locale, source) in BUILTIN {
            environment.add_template_owned(key(name, locale), source).map_err(Error::internal)?;
        }
        let mut names: Vec<_> = BUILTIN.iter().map(|(name, ..)| *name).collect();
        names.sort_unstable();
        names.dedup();
        Ok(Self { environment, names })
    }

    /// The text that carries `code` to a person.
    ///
    /// `locale` is a language tag such as `ms` or `zh-Hant-TW` (RFC 5646, case ignored, `_` read as `-`); it loses
    /// subtags from its end until the template knows it (RFC 4647 §3.4), and English stands in for the rest. The
    /// lifetime is told in whole minutes, rounded up, at least 1. `brand` says who the code is for: 1 to
    /// [`MAX_BRAND_CHARACTERS`] characters on one line.
    ///
    /// Errors: `Invalid`, fields `template`, `locale`, `brand`; `Internal` when the template is at fault.
    pub fn render_code(
        &self,
        name: &str,
        locale: Option<&str>,
        code: &str,
        lifetime: Duration,
        brand: Option<&str>,
    ) -> Result<SecretString> {
        if !self.names.contains(&name) {
            return Err(Error::invalid("template", format!("must be one of: {}", self.names.join(", "))));
        }
        let key = self.find(name, locale)?;
        let variables = context! {
            code => Value::from_object(SecretValue(SecretString::new(Box::from(code)))),
            minutes => whole_minutes(lifetime),
            brand => brand.map(checked_brand).transpose()?,
        };
        self.render(&key, variables)
    }

    /// The key of the template in the closest locale.
    fn find(&self, name: &str, locale: Option<&str>) -> Result<String> {
        let tag = locale.map_or_else(|| Ok(FALLBACK_LOCALE.to_owned()), parse_locale)?;
        let candidates = std::iter::successors(Some(tag.as_str()), |tag| tag.rsplit_once('-').map(|(rest, _)| rest));
        let mut keys = candidates.chain([FALLBACK_LOCALE]).map(|locale| key(name, locale));
        keys.find(|key| self.environment.get_template(key).is_ok())
            .ok_or_else(|| Error::internal(format!("template {name} has no {FALLBACK_LOCALE} text")))
    }

    fn render(&self, key: &str, variables: Value) -> Result<SecretString> {
        // Only the kind of an error is kept: its detail may tell a value.
        let failed = |error: minijinja::Error| Error::internal(format!("template {key}: {}", error.kind()));
        let template = self.environment.get_template(key).map_err(failed)?;
        let mut buffer = Zeroizing::new([0; MAX_TEXT_BYTES]);
        let mut free = buffer.as_mut_slice();
        template.render_captured_to(variables, &mut free).map_err(failed)?;
        let used = MAX_TEXT_BYTES - free.len();
        let text = str::from_utf8(&buffer[..used]).map_err(Error::internal)?;
        Ok(SecretString::new(Box::from(text)))
    }
}

fn key(name: &str, locale: &str) -> String {
    format!("{name}/{locale}")
}

/// The tag in lower case with `-` between its subtags.
fn parse_locale(text: &str) -> Result<String> {
    let tag = text.replace('_', "-").to_ascii_lowercase();
    let well_formed =
        tag.split('-').all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()));
    if well_formed && tag.len() <= MAX_LOCALE_BYTES {
        Ok(tag)
    } else {
        Err(Error::invalid("locale", "must be a language tag such as en, ms or zh-Hant-TW, at most 35 characters long"))
    }
}

/// Refuses what could start a line of its own or turn the text around: the lines of a message are ours.
fn checked_brand(brand: &str) -> Result<&str> {
    let misplaced = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let fits = brand.chars().count() <= MAX_BRAND_CHARACTERS;
    if fits && !brand.trim().is_empty() && !brand.contains(misplaced) {
        Ok(brand)
    } else {
        Err(Error::invalid("brand", "must be 1 to 20 characters on one line, without control or invisible characters"))
    }
}

fn whole_minutes(lifetime: Duration) -> u64 {
    let begun = u64::from(lifetime.subsec_nanos() > 0);
    lifetime.as_secs().saturating_add(begun).div_ceil(60).max(1)
}

// === impl SecretValue ===

impl Object for SecretValue {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Plain
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.expose_secret())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::messaging::segment::{Encoding, measure};

    const TEN_MINUTES: Duration = Duration::from_secs(600);

    fn render(locale: Option<&str>, code: &str, lifetime: Duration, brand: Option<&str>) -> Result<String> {
        let text = Templates::builtin()?.render_code(DEFAULT, locale, code, lifetime, brand)?;
        Ok(text.expose_secret().to_owned())
    }

    #[test]
    fn each_language_reads_as_written() {
        for (locale, expected) in [
            ("en", "Your verification code is 012345. It is valid for 10 minutes. Do not share it with anyone."),
            ("fr", "Votre code de vérification est 012345. Il est valable 10 minutes. Ne le communiquez à personne."),
            (
                "ms",
                "Kod pengesahan anda ialah 012345. Kod ini sah selama 10 minit. Jangan kongsikannya dengan sesiapa.",
            ),
            ("si", "ඔබේ සත්\u{200d}යාපන කේතය 012345. විනාඩි 10ක් වලංගුයි. කිසිවෙකුට නොදෙන්න."),
            ("ta", "சரிபார்ப்புக் குறியீடு 012345. 10 நிமிடம் செல்லும். பகிர வேண்டாம்."),
            ("zh", "您的验证码是012345，10分钟内有效，请勿告诉他人。"),
        ] {
            assert_eq!(render(Some(locale), "012345", TEN_MINUTES, None).unwrap(), expected);
        }
    }

    #[test]
    fn a_brand_stands_where_the_language_puts_it() {
        for (locale, expected) in [
            ("en", "Your Acme verification code is 1234."),
            ("fr", "Votre code de vérification Acme est 1234."),
            ("ms", "Kod pengesahan Acme anda ialah 1234."),
            ("si", "ඔබේ Acme සත්\u{200d}යාපන කේතය 1234."),
            ("ta", "Acme சரிபார்ப்புக் குறியீடு 1234."),
            ("zh", "【Acme】您的验证码是1234，"),
        ] {
            assert!(render(Some(locale), "1234", TEN_MINUTES, Some("Acme")).unwrap().starts_with(expected), "{locale}");
        }
    }

    #[test]
    fn every_text_fits_one_segment() {
        let longest = Duration::from_secs(9_999 * 60);
        for (_, locale, _) in BUILTIN {
            let text = match locale {
                "en" | "fr" | "ms" => render(Some(locale), &"8".repeat(32), longest, Some(&"W".repeat(20))),
                _ => render(Some(locale), "88888888", longest, None),
            };
            let measured = measure(&text.unwrap());
            let encoding = if matches!(locale, "en" | "fr" | "ms") { Encoding::Gsm7 } else { Encoding::Ucs2 };
            assert_eq!((measured.encoding, measured.segments), (encoding, 1), "{locale}: {measured:?}");
        }
    }

    #[test]
    fn a_locale_falls_back_from_its_end_and_then_to_english() {
        let start = |locale| render(locale, "1234", TEN_MINUTES, None).unwrap().chars().next().unwrap();
        for locale in ["zh", "zh-Hant-TW", "ZH_hans_CN", "zh-x-private"] {
            assert_eq!(start(Some(locale)), '您', "{locale}");
        }
        for locale in [None, Some("en-GB"), Some("de"), Some("de-CH-1996"), Some("zhx")] {
            assert_eq!(start(locale), 'Y', "{locale:?}");
        }
    }

    #[test]
    fn what_is_no_language_tag_is_refused() {
        for locale in ["", "-", "en-", "en us", "../en", "zh\0", "日本", "abcdefghi", &"a-".repeat(18)] {
            let error = render(Some(locale), "1234", TEN_MINUTES, None).unwrap_err();
            assert_eq!(error.violations()[0].field, "locale", "{locale:?}");
        }
    }

    #[test]
    fn an_unknown_template_is_answered_with_the_known_ones() {
        let templates = Templates::builtin().unwrap();
        for name in ["other", "", "default/en", "Default"] {
            let error = templates.render_code(name, None, "1234", TEN_MINUTES, None).unwrap_err();
            assert_eq!((error.kind(), error.message()), (Kind::Invalid, "template: must be one of: default"));
        }
    }

    #[test]
    fn minutes_are_rounded_up_and_agree_with_their_noun() {
        for (lifetime, expected) in [
            (Duration::ZERO, " 1 minute."),
            (Duration::from_secs(60), " 1 minute."),
            (Duration::new(60, 1), " 2 minutes."),
            (Duration::from_secs(61), " 2 minutes."),
            (Duration::from_secs(599), " 10 minutes."),
        ] {
            assert!(render(None, "1234", lifetime, None).unwrap().contains(expected), "{lifetime:?}");
        }
        assert!(render(None, "1234", Duration::MAX, None).is_ok());
    }

    #[test]
    fn codes_and_brands_are_text_and_not_markup_or_lines() {
        let text = render(None, "<&{{%}!#", TEN_MINUTES, Some("A&B {{ code }}")).unwrap();
        assert!(text.starts_with("Your A&B {{ code }} verification code is <&{{%}!#."), "{text}");
        for brand in
            ["", " ", "a\nb", "a\r\n@evil.example #000000", "a\u{2028}b", "a\u{202e}b", "a\u{200f}b", &"a".repeat(21)]
        {
            assert_eq!(render(None, "1234", TEN_MINUTES, Some(brand)).unwrap_err().violations()[0].field, "brand");
        }
    }

    #[test]
    fn a_text_too_long_fails_without_telling_it() {
        let error = render(None, &"7".repeat(MAX_TEXT_BYTES), TEN_MINUTES, None).unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
        assert!(!format!("{error:?}").contains("777"));
    }

    #[test]
    fn a_value_that_a_template_forgot_is_an_error() {
        let mut templates = Templates::builtin().unwrap();
        templates.environment.add_template("default/en", "{{ code }} {{ nobody }}").unwrap();
        assert_eq!(templates.render(&key(DEFAULT, "en"), context! { code => 1 }).unwrap_err().kind(), Kind::Internal);
    }

    #[test]
    fn a_rendered_text_does_not_show() {
        let text = Templates::builtin().unwrap().render_code(DEFAULT, None, "123456", TEN_MINUTES, None).unwrap();
        assert!(!format!("{text:?} {:?}", SecretValue(text.clone())).contains("123456"));
    }
}
