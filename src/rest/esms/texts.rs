//! The words around a code as eSMS puts them, its rules for texts, and what a text costs.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::id::Id;
use crate::messaging::code_text::{CodeText, Part};
use crate::recipient::Phone;
use crate::rest::esms::refusal::Refusal;
use crate::segment::{Encoding, Segments, measure};

/// The vendor's codes have six digits.
pub(super) const CODE_LENGTH: u32 = 6;

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
pub(super) enum Kind {
    Gsm,
    Unicode,
    /// It does not say, or nothing that the vendor knows.
    Detected,
}

/// A text and what it takes.
pub(super) struct Measured {
    parts: usize,
    kind: i64,
}

/// A plain text: only the rule of the price tag holds, for it may take several parts.
pub(super) fn check_plain(text: &str, to: &Phone) -> Result<(), Refusal> {
    let malaysian = to.country().is_some_and(|country| country.as_str() == MALAYSIA);
    if malaysian && !text.starts_with(PRICE_TAG) {
        let message = format!("Messages to Malaysian numbers must begin with \"{PRICE_TAG}\"");
        return Err(Refusal(10, message));
    }
    Ok(())
}

// === impl Wording ===

impl Wording {
    /// A message of the client's own goes before its brand.
    pub(super) fn read(brand: Option<String>, message: Option<String>) -> Result<Self, Refusal> {
        match (message, brand) {
            (Some(message), _) if !message.contains("#otp#") => {
                Err(Refusal(12, "The message must contain #otp#".to_owned()))
            }
            (Some(message), _) => Ok(Self::Message(message)),
            (None, Some(brand)) if brand.chars().count() > MAX_BRAND => {
                Err(Refusal(13, format!("The brand name must have at most {MAX_BRAND} characters")))
            }
            (None, Some(brand)) => Ok(Self::Brand(brand)),
            (None, None) => Err(Refusal(11, "Either brand-name or message must be given".to_owned())),
        }
    }

    /// The text in pieces. A brand's is in the language asked for.
    pub(super) fn parts(self, language: Option<&str>, to: &Phone) -> Result<Vec<Part>, Refusal> {
        let marks = [("#otp#", Part::Code), ("#duration#", Part::Minutes)];
        let brand = match self {
            Self::Message(text) => {
                check_plain(&text, to)?;
                return Ok(CodeText::split(&text, &marks));
            }
            Self::Brand(brand) => brand,
        };
        let (before, between, after) = match language.unwrap_or("en") {
            "en" => (" - Your OTP code is ", ". This is valid for the next ", " minutes."),
            "my" => (" - Kod OTP anda ialah ", ". Kod ini sah untuk ", " minit seterusnya."),
            "zh" => (" - 您的OTP验证码是", "。有效期为", "分钟。"),
            _ => return Err(Refusal(15, "The language must be en, my or zh".to_owned())),
        };
        Ok(vec![
            Part::Words(format!("{PRICE_TAG}{brand}{before}")),
            Part::Code,
            Part::Words(between.to_owned()),
            Part::Minutes,
            Part::Words(after.to_owned()),
        ])
    }
}

// === impl Kind ===

impl Kind {
    pub(super) fn read(text: Option<&str>) -> Self {
        match text {
            Some("0") => Self::Gsm,
            Some("8") => Self::Unicode,
            _ => Self::Detected,
        }
    }

    /// The number that the answer has.
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
    pub(super) fn of_code(text: &CodeText, lifetime: Duration, kind: Kind) -> Result<Self, Refusal> {
        let filled = text.fill(&"0".repeat(CODE_LENGTH as usize), lifetime, Timestamp::default());
        let filled = filled.expose_secret();
        let units = if kind == Kind::Unicode { filled.encode_utf16().count() } else { measure(filled).units };
        let most = match kind {
            Kind::Unicode => Encoding::Ucs2.units_alone(),
            _ => measure(filled).encoding.units_alone(),
        };
        if units > most {
            return Err(Refusal(8, format!("The message is too long: {units} characters, and at most {most} fit")));
        }
        Ok(Self { parts: 1, kind: kind.number(measure(filled).encoding) })
    }

    pub(super) fn of_text(text: &str, kind: Kind) -> Self {
        let Segments { encoding, segments, .. } = measure(text);
        Self { parts: segments, kind: kind.number(encoding) }
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
