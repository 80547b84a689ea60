//! Locales: the language of a text, what stands in for it, and which language a country reads.
//!
//! Knows no template and no recipient beside the country.

use std::fmt;

use crate::error::{Error, Result};
use crate::recipient::Country;

/// Longest language tag in bytes that is looked at (RFC 5646 §4.4.1).
const MAX_BYTES: usize = 35;

/// A language tag in lower case with `-` between its subtags (RFC 5646).
#[derive(Clone, PartialEq, Eq)]
pub struct Locale(Box<str>);

// === impl Locale ===

impl Locale {
    /// Reads a tag such as `ms`, `zh-Hant-TW` or `zh_hant_tw`: case does not count, and `_` reads as `-`.
    ///
    /// Errors: `Invalid`, field `locale`. That we have texts for it is not asked.
    pub fn parse(text: &str) -> Result<Self> {
        let well_formed =
            |part: &[u8]| (1..=8).contains(&part.len()) && part.iter().all(|byte| byte.is_ascii_alphanumeric());
        let separates = |byte: &u8| matches!(byte, b'-' | b'_');
        if text.len() <= MAX_BYTES && text.as_bytes().split(separates).all(well_formed) {
            Ok(Self(text.replace('_', "-").to_ascii_lowercase().into()))
        } else {
            let wanted = "must be a language tag such as en, ms or zh-Hant-TW, at most 35 characters long";
            Err(Error::invalid("locale", wanted))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The tag itself, then without its last subtag, and so on down to the bare language (RFC 4647 §3.4).
    pub fn and_broader(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self.as_str()), |tag| tag.rsplit_once('-').map(|(rest, _)| rest))
    }
}

impl fmt::Debug for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === countries ===

/// The language to write in to a number of this country when nobody asked for one. `None` where no single language is
/// plainly the one to take: the template's own choice, English as a rule, is as good there.
///
/// A judgement, held to two rules. A country is listed when one language of our built-in texts is that of its state and
/// its schools, as constitutions and language laws name it; and is left out when two such languages compete, since to
/// pick one there would please half of the readers and offend the rest, who share English or have an app that knows
/// what to ask for. So Malaysia and Brunei read Malay (for Malaysia article 152 of the constitution; English is common
/// there, but was not everybody's school), Taiwan, Hong Kong and Macao read Chinese in traditional characters once such
/// a text is configured, and France, Monaco and the West and Central African states that teach in French read French.
/// Left to English are Singapore (four official languages, of which English is the shared one), Sri Lanka (Sinhala and
/// Tamil, with English named as the link between them), India, Canada, Belgium, Switzerland, Luxembourg, Cameroon, and
/// the Maghreb, whose first language we have no text in. A caller who knows better sends a locale.
pub fn of_country(country: Country) -> Option<&'static str> {
    Some(match country.as_str() {
        "BN" | "MY" => "ms",
        "CN" => "zh-Hans",
        "HK" | "MO" | "TW" => "zh-Hant",
        // France and what belongs to it, and Monaco.
        "FR" | "BL" | "GF" | "GP" | "MC" | "MF" | "MQ" | "NC" | "PF" | "PM" | "RE" | "WF" | "YT" => "fr",
        "BF" | "BJ" | "CD" | "CF" | "CG" | "CI" | "GA" | "GN" | "ML" | "NE" | "SN" | "TG" => "fr",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_one_form_and_lose_subtags_from_their_end() {
        for written in ["zh-Hant-TW", "ZH_hant_tw", "zh-hant-tw"] {
            let locale = Locale::parse(written).unwrap();
            assert_eq!(locale.and_broader().collect::<Vec<_>>(), ["zh-hant-tw", "zh-hant", "zh"]);
        }
        for bad in ["", "-", "en-", "_en", "en us", "../en", "zh\0", "日本", "abcdefghi", &"a-".repeat(18)] {
            assert_eq!(Locale::parse(bad).unwrap_err().violations()[0].field, "locale", "{bad:?}");
        }
    }

    #[test]
    fn countries_read_one_language_or_the_templates_own() {
        for (country, expected) in [
            ("MY", Some("ms")),
            ("FR", Some("fr")),
            ("SN", Some("fr")),
            ("CN", Some("zh-Hans")),
            ("TW", Some("zh-Hant")),
            ("HK", Some("zh-Hant")),
            ("LK", None),
            ("SG", None),
            ("IN", None),
            ("CA", None),
            ("ID", None),
            ("US", None),
        ] {
            assert_eq!(of_country(country.parse().unwrap()), expected, "{country}");
        }
    }
}
