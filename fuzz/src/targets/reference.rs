//! Names of ours that vendors give back: references of attempts, and the tokens of receipt URLs.

use verigate::messaging::receipt_urls::ReceiptUrls;
use verigate::store::keys::{AttemptRef, ReceiptTokens};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(reference) = text.parse::<AttemptRef>() {
        assert_eq!(reference.to_string(), text, "two spellings of one reference");
        assert!(text.len() <= 64, "longer than vendors take");
        assert!(
            text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')),
            "not safe in URLs"
        );
    }
    let tokens = ReceiptTokens::from_secret(&"a secret of more than 32 bytes of its own".into()).unwrap();
    let urls = ReceiptUrls::new(Some("https://sms.example"), tokens);
    for (vendor, token) in [("one", text), (text, text)] {
        // Nobody finds a keyed hash by writing about.
        assert!(!urls.admits(vendor, token), "a token that was guessed");
    }
}
