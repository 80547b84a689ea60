//! Whether what a vendor calls a message gives away the code in it.
//!
//! Its name for a message is kept and told to callers, who must not learn the code from it. Only the text is known here,
//! and not which part of it is the code, so every part that could be one counts.

use crate::vendor::Accepted;

/// Codes are no shorter.
const SHORTEST_CODE: usize = 4;

/// The vendor's name for a message, where it repeats nothing of the text that could be a code. Without it, receipts can
/// still name the message by our reference.
pub(crate) fn without_echo(accepted: Accepted, text: &str) -> Accepted {
    let clean = |reference: &String| !repeats(reference, text);
    if accepted.vendor_reference.as_ref().is_none_or(clean) {
        return accepted;
    }
    tracing::warn!("a vendor's name for a message repeats part of its text, and is not kept");
    Accepted { vendor_reference: None, ..accepted }
}

fn repeats(reference: &str, text: &str) -> bool {
    // A code of special characters is a word between blanks; one in the last line stands behind a mark.
    let words = text.split_whitespace();
    let runs = text.split(|c: char| !c.is_alphanumeric());
    words.chain(runs).filter(|part| part.len() >= SHORTEST_CODE).any(|part| reference.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_holds_a_code_is_not_kept() {
        let text = "RM0.00 Acme: your code is 480913. It lasts 10 minutes.\n\n@example.com #480913";
        for (reference, kept) in [
            ("88ce9c6e-1707-41b8-95a2-91d228001fc7", true),
            ("480914", true),
            ("809", true),
            ("480913", false),
            ("sms-480913-1", false),
            ("48091310", false),
        ] {
            let accepted = Accepted { vendor_reference: Some(reference.to_owned()), receipt: None };
            assert_eq!(without_echo(accepted, text).vendor_reference.is_some(), kept, "{reference}");
        }
        for text in ["Code: a%b!cd", "Code: a%b!cd.", "Code:abcd"] {
            let code = text.trim_start_matches("Code:").trim();
            assert!(repeats(&format!("x{code}x"), text), "{text}");
        }
        assert_eq!(without_echo(Accepted::default(), text), Accepted::default());
    }
}
