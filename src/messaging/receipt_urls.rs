//! Where vendors report to us: one URL for each message, behind a token for each vendor that does not sign its calls.
//!
//! Knows neither what a receipt says nor who listens; both ends of a URL are made here so that they agree.

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use crate::store::keys::ReceiptTokens;

/// What the path of every such URL begins with, behind the base.
pub const PATH: &str = "/receipts/";

/// The URLs of all vendors.
#[derive(Debug, Clone)]
pub struct ReceiptUrls {
    /// Without a slash at its end.
    base: Option<String>,
    tokens: ReceiptTokens,
}

// === impl ReceiptUrls ===

impl ReceiptUrls {
    /// `base`: the URL under which vendors reach our http listener; `None` when they do not.
    pub fn new(base: Option<&str>, tokens: ReceiptTokens) -> Self {
        Self { base: base.map(|base| base.trim_end_matches('/').to_owned()), tokens }
    }

    /// Where a vendor may report on the message with this reference of ours.
    pub fn of(&self, vendor: &str, is_signed: bool, reference: &str) -> Option<SecretString> {
        let url = self.of_vendor(vendor, is_signed)?;
        Some(format!("{}/{reference}", url.expose_secret()).into())
    }

    /// Where a vendor may report on any message, for one that is told so in its own settings. Signatures often cover the
    /// URL, which then stands in the configuration, so those who sign get one without a token.
    pub fn of_vendor(&self, vendor: &str, is_signed: bool) -> Option<SecretString> {
        let url = format!("{}{PATH}{vendor}", self.base.as_ref()?);
        Some(if is_signed { url } else { format!("{url}/{}", self.tokens.of(vendor).expose_secret()) }.into())
    }

    /// Whether this is the vendor's token. Takes as long for any wrong one.
    pub fn admits(&self, vendor: &str, token: &str) -> bool {
        self.tokens.of(vendor).expose_secret().as_bytes().ct_eq(token.as_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_leads_back_to_its_vendor_and_no_other() {
        let tokens = ReceiptTokens::from_secret(&"a secret of some length".into()).unwrap();
        for base in ["https://sms.example/in", "https://sms.example/in/"] {
            let urls = ReceiptUrls::new(Some(base), tokens.clone());
            let url = urls.of("one", false, "ref-1").unwrap();
            let path = url.expose_secret().strip_prefix("https://sms.example/in/receipts/one/").unwrap();
            let (token, reference) = path.split_once('/').unwrap();
            assert_eq!(reference, "ref-1");
            assert!(urls.admits("one", token));
            for (vendor, wrong) in [("two", token), ("one", ""), ("one", &token[1..]), ("one", &format!("{token}A"))] {
                assert!(!urls.admits(vendor, wrong), "{vendor} {wrong}");
            }
            assert!(!format!("{urls:?} {url:?}").contains(token));
        }
        let signed = ReceiptUrls::new(Some("https://sms.example"), tokens.clone()).of("one", true, "ref-1").unwrap();
        assert_eq!(signed.expose_secret(), "https://sms.example/receipts/one/ref-1");
        assert!(ReceiptUrls::new(None, tokens).of("one", false, "ref-1").is_none());
    }
}
