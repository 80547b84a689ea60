//! Codes that callers choose, and candidates that people type: `CODE%%CANDIDATE`, each on lines of its own.

use secrecy::ExposeSecret;
use verigate::error::Kind;
use verigate::verification::code::{CODE_LENGTHS, Candidate, Code, MAX_CANDIDATE_BYTES};

use crate::targets::parts;

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parts = parts(text);
    for part in &parts {
        candidate(part);
    }
    if let [code, typed, ..] = parts.as_slice() {
        compared(code, typed);
    }
}

fn candidate(text: &str) {
    match Candidate::parse(text) {
        Ok(candidate) => {
            let kept = candidate.expose().expose_secret();
            assert!(!kept.is_empty() && kept.len() <= MAX_CANDIDATE_BYTES);
            assert!(kept.bytes().all(|byte| byte.is_ascii_graphic()), "not what can be a code");
            assert_eq!(kept, text.trim_matches([' ', '\t', '\r', '\n']), "changed on the way");
            assert_eq!(format!("{candidate:?}"), "Candidate(***)");
        }
        Err(error) => {
            assert_eq!(error.kind(), Kind::Invalid);
            // What has so many digits is none of our own words.
            let telling = text.bytes().filter(u8::is_ascii_digit).count() > 4;
            assert!(!telling || !format!("{error:?}").contains(text), "the refusal repeats it");
        }
    }
}

/// A candidate is the code when every character is, and not otherwise.
fn compared(code: &str, typed: &str) {
    let Ok(made) = Code::custom(code) else { return };
    assert!(CODE_LENGTHS.contains(&code.len()) && made.expose() == code);
    assert_eq!(format!("{made:?}"), "Code(***)");
    let exact = Candidate::parse(code).unwrap();
    assert!(made.matches(&exact), "its own characters");
    assert!(!made.matches(&Candidate::hopeless()));
    if let Ok(candidate) = Candidate::parse(typed) {
        assert_eq!(made.matches(&candidate), candidate.expose().expose_secret() == code, "{code:?} and {typed:?}");
    }
}
