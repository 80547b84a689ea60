//! The words around a code as eSMS puts them, its rules for texts, and what a text costs.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::id::Id;
use crate::messaging::code_text::{CodeText, Part};
use crate::messaging::request::{MAX_CHARACTERS, MAX_SEGMENTS};
use crate::messaging::variables::{breaks_line, marks_line};
use crate::recipient::Phone;
use crate::rest::esms::refusal::Refusal;
use crate::segment::{Encoding, Segments, measure, measure_ucs2};

/// What texts to Malaysian numbers begin with, the blank included: a rule of the country's carriers.
const PRICE_TAG: &str = "RM0.00 ";

const MALAYSIA: &str = "MY";

/// Longest brand, in characters.
const MAX_BRAND: usize = 20;

/// Where the text of a code comes from.
pub(super) enum Wording {
    Brand(String),
    Message(String),
}

/// What a client says of the alphabet of its text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    Gsm,
    Unicode,
    /// It does not say, or nothing that the vendor knows.
    Detected,
}

/// A text and what it takes.
pub(super) struct Measured {
    parts: usize,
    /// The number of its alphabet.
    kind: i64,
}

/// A text of the client's own: only the rule of the price tag holds, and only within the country.
pub(super) fn check_plain(text: &str, to: &Phone) -> Result<(), Refusal> {
    let malaysian = to.country().is_some_and(|country| country.as_str() == MALAYSIA);
    if malaysian && !text.starts_with(PRICE_TAG) {
        return Err(Refusal::rule(10, format!("Messages to Malaysian numbers must begin with \"{PRICE_TAG}\"")));
    }
    Ok(())
}

/// Words that stand within others, such as a brand: they stay on their line, and are nothing that phones look for.
pub(super) fn check_words(words: &str) -> Result<(), Refusal> {
    let wrong = if words.contains(breaks_line) {
        "do not include any control character"
    } else if marks_line(words) {
        "do not begin a word with @"
    } else {
        return Ok(());
    };
    Err(Refusal::rule(10, format!("Invalid message content, please {wrong}")))
}

// === impl Wording ===

impl Wording {
    /// A message of the client's own goes before its brand.
    pub(super) fn parse(brand: Option<String>, message: Option<String>) -> Result<Self, Refusal> {
        match (message, brand) {
            (Some(message), _) if !message_parts(&message).contains(&Part::Code) => {
                Err(Refusal::rule(12, "The message must contain #otp#"))
            }
            // Line breaks as handsets know them.
            (Some(message), _) => Ok(Self::Message(message.replace("\r\n", "\n"))),
            (None, Some(brand)) if brand.chars().count() > MAX_BRAND => {
                Err(Refusal::rule(13, format!("The brand name must have at most {MAX_BRAND} characters")))
            }
            (None, Some(brand)) => Ok(Self::Brand(brand)),
            (None, None) => Err(Refusal::rule(11, "Either brand-name or message must be given")),
        }
    }

    /// A brand's text is in the language asked for.
    pub(super) fn to_text(&self, language: Option<&str>, to: &Phone) -> Result<CodeText, Refusal> {
        let parts = match self {
            Self::Message(text) => {
                check_plain(text, to)?;
                check_controls(text)?;
                message_parts(text)
            }
            Self::Brand(brand) => {
                let parts = brand_parts(brand, language.unwrap_or("en"))?;
                check_words(brand)?;
                parts
            }
        };
        // All that can still be wrong with it is that no part has room for it by far.
        CodeText::new(parts).map_err(|_| too_long())
    }
}

/// Two marks may share no `#`: of `#duration#otp#` the second is none.
fn message_parts(text: &str) -> Vec<Part> {
    CodeText::split(text, &[("#otp#", Part::Code), ("#duration#", Part::Minutes)])
}

fn check_controls(text: &str) -> Result<(), Refusal> {
    if text.chars().any(|c| c.is_control() && c != '\n') {
        return Err(Refusal::rule(10, "Invalid message content, please do not include any control character"));
    }
    Ok(())
}

fn brand_parts(brand: &str, language: &str) -> Result<Vec<Part>, Refusal> {
    let (before, between, after) = match language {
        "en" => (" - Your OTP code is ", ". This is valid for the next ", " minutes."),
        "my" => (" - Kod OTP anda ialah ", ". Kod ini sah untuk ", " minit seterusnya."),
        "zh" => (" - 您的OTP验证码是", "。有效期为", "分钟。"),
        _ => return Err(Refusal::rule(15, "The language must be en, my or zh")),
    };
    let words = |words: &str| Part::Words(words.to_owned());
    let first = Part::Words(format!("{PRICE_TAG}{brand}{before}"));
    Ok(vec![first, Part::Code, words(between), Part::Minutes, words(after)])
}

// === impl Alphabet ===

impl Alphabet {
    pub(super) fn parse(text: Option<&str>) -> Self {
        match text {
            Some("0") => Self::Gsm,
            Some("8") => Self::Unicode,
            _ => Self::Detected,
        }
    }

    /// What the text takes. A text that is said to be plain and is not goes out as what it is.
    fn measure(self, text: &str) -> Segments {
        match self {
            Self::Unicode => measure_ucs2(text),
            Self::Gsm | Self::Detected => measure(text),
        }
    }

    /// The number that the answer has: the client's own where it gave one.
    fn number(self, encoding: Encoding) -> i64 {
        match (self, encoding) {
            (Self::Gsm, _) | (Self::Detected, Encoding::Gsm7) => 0,
            (Self::Unicode, _) | (Self::Detected, Encoding::Ucs2) => 8,
        }
    }
}

// === impl Measured ===

impl Measured {
    /// Of a text with a code, which must fit one part when it is filled.
    pub(super) fn of_code(
        text: &CodeText,
        digits: u32,
        lifetime: Duration,
        alphabet: Alphabet,
    ) -> Result<Self, Refusal> {
        let filled = text.fill(&"0".repeat(digits as usize), lifetime, Timestamp::default());
        let taken = alphabet.measure(filled.expose_secret());
        if taken.segments > 1 {
            return Err(too_long());
        }
        Ok(Self { parts: 1, kind: alphabet.number(taken.encoding) })
    }

    /// Of any other text, which may take several.
    pub(super) fn of_text(text: &str, alphabet: Alphabet) -> Result<Self, Refusal> {
        let taken = alphabet.measure(text);
        if taken.segments > MAX_SEGMENTS || text.chars().count() > MAX_CHARACTERS {
            return Err(too_long());
        }
        Ok(Self { parts: taken.segments, kind: alphabet.number(taken.encoding) })
    }

    /// A credit buys a part.
    pub(super) fn to_accepted(&self, id: Id) -> Value {
        json!({
            "status": 0,
            "creditDeducted": self.parts,
            "message": "ok",
            "id": id.to_string(),
            "parts": self.parts,
            "type": self.kind,
        })
    }
}

fn too_long() -> Refusal {
    Refusal::rule(8, "Content too long")
}
