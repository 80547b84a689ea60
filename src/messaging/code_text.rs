//! A caller's own words around a code, for the surfaces whose clients send the text with each start.
//!
//! Templates are configured and have variables; this is one text, used once. Which marks a client writes for the code is
//! its dialect's business: here there are only parts.

use std::fmt;
use std::time::Duration;

use minicbor::{Decode, Encode};
use secrecy::SecretString;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::messaging::request::MAX_CHARACTERS;

/// Words and gaps in the order in which they are read. Holds at least one gap for the code.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct CodeText(#[n(0)] Vec<Part>);

/// One piece of a text.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Part {
    #[n(1)]
    Words(#[n(0)] String),
    #[n(2)]
    Code,
    /// How long the code lasts, in whole minutes, rounded up, at least 1.
    #[n(3)]
    Minutes,
    /// When the code ends: `HH:MM:SS` of the day in UTC.
    #[n(4)]
    EndsAt,
}

// === impl CodeText ===

impl CodeText {
    /// Errors: `Invalid`, field `text`, without a gap for the code, with a control character that is no line break, or
    /// with more than [`MAX_CHARACTERS`] characters of words.
    pub fn new(parts: Vec<Part>) -> Result<Self> {
        let words = || parts.iter().filter_map(|part| if let Part::Words(words) = part { Some(words) } else { None });
        if !parts.contains(&Part::Code) {
            return Err(Error::invalid("text", "must have a place for the code"));
        }
        if words().map(|words| words.chars().count()).sum::<usize>() > MAX_CHARACTERS {
            return Err(Error::invalid("text", format!("must have at most {MAX_CHARACTERS} characters")));
        }
        if words().any(|words| words.chars().any(|c| c.is_control() && c != '\n')) {
            return Err(Error::invalid("text", "must hold no control characters but line breaks"));
        }
        Ok(Self(parts))
    }

    /// Splits a text at marks, such as `#otp#`, of which each stands for a part. Of two that begin at one place the one
    /// that is listed first counts.
    pub fn split(text: &str, marks: &[(&str, Part)]) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut rest = text;
        let first = |rest: &str| {
            let found = marks.iter().filter_map(|mark| Some((rest.find(mark.0)?, mark)));
            found.min_by_key(|(at, _)| *at)
        };
        while let Some((at, (mark, part))) = first(rest) {
            if at > 0 {
                parts.push(Part::Words(rest[..at].to_owned()));
            }
            parts.push(part.clone());
            rest = &rest[at + mark.len()..];
        }
        if !rest.is_empty() {
            parts.push(Part::Words(rest.to_owned()));
        }
        parts
    }

    /// The text with all gaps filled. `lifetime`: of the code from now on.
    pub fn fill(&self, code: &str, lifetime: Duration, ends_at: Timestamp) -> SecretString {
        let minutes = minutes(lifetime);
        let ends_at = time_of_day(ends_at);
        let pieces = self.0.iter().map(|part| match part {
            Part::Words(words) => words.as_str(),
            Part::Code => code,
            Part::Minutes => minutes.as_str(),
            Part::EndsAt => ends_at.as_str(),
        });
        let length = pieces.clone().map(str::len).sum();
        // Of the exact size: one that had to grow would leave a copy of the code behind, unwiped.
        let mut text = String::with_capacity(length);
        pieces.for_each(|piece| text.push_str(piece));
        SecretString::from(text)
    }
}

fn minutes(lifetime: Duration) -> String {
    lifetime.as_millis().max(1).div_ceil(60_000).to_string()
}

fn time_of_day(at: Timestamp) -> String {
    let seconds = at.as_millis() / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// A text may hold anything, so only its shape is shown.
impl fmt::Debug for CodeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CodeText({} parts)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    const MARKS: [(&str, Part); 3] = [("#otp#", Part::Code), ("#duration#", Part::Minutes), ("{hh}", Part::EndsAt)];

    #[test]
    fn every_gap_is_filled() {
        let text = CodeText::new(CodeText::split("#otp# lasts #duration# min, to {hh}: #otp#", &MARKS)).unwrap();
        let ends_at = Timestamp::from_millis(1_795_324_560_125);
        let filled = text.fill("012345", Duration::from_millis(120_001), ends_at);
        assert_eq!(filled.expose_secret(), "012345 lasts 3 min, to 05:16:00: 012345");
        assert!(!format!("{text:?}").contains("lasts"));
    }

    #[test]
    fn what_cannot_be_sent_is_refused() {
        let wrong =
            |text: &str| CodeText::new(CodeText::split(text, &MARKS)).map_err(|e| e.violations()[0].field.clone());
        assert_eq!(wrong("no code"), Err("text".to_owned()));
        assert_eq!(wrong("#otp#\r"), Err("text".to_owned()));
        assert_eq!(wrong(&format!("#otp#{}", "x".repeat(MAX_CHARACTERS + 1))), Err("text".to_owned()));
        assert!(wrong("a\n#otp#").is_ok());
    }
}
