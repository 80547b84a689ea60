//! What callers ask of verifications, checked field by field before anything happens.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::error::Violation;
use crate::guard::ask::Origin;
use crate::id::{Id, TenantName};
use crate::messaging::code_text::CodeText;
use crate::messaging::request::{check_idempotency_key, check_metadata, check_sender};
use crate::recipient::{Address, Recipient};
use crate::store::keys::Keys;
use crate::vendor::Channel;
use crate::verification::answers::CheckKey;
use crate::verification::code::{Candidate, Code};
use crate::verification::policy::PolicyOverrides;
use crate::violations::Violations;

/// The scope of calls that name none.
pub const DEFAULT_SCOPE: &str = "default";
/// Longest wait for the first outcome of a vendor call.
pub const MAX_DELIVERY_WAIT: Duration = Duration::from_secs(30);

const MAX_SCOPE: usize = 64;

/// A verification to be started.
#[derive(Debug)]
pub struct NewVerification {
    /// Required.
    pub recipient: Option<Address>,
    pub channel: Option<Channel>,
    /// The name of the workflow to take; not beside a channel.
    pub workflow: Option<String>,
    pub scope: Option<String>,
    pub policy: PolicyOverrides,
    /// A code that the caller chose, instead of a random one.
    pub custom_code: Option<Code>,
    /// Whether a random code begins with no zero, for callers to whom it is a number.
    pub code_is_number: bool,
    /// BCP 47; falls back to a broader one and at last to English. When not given, the language of the recipient's
    /// country.
    pub locale: Option<String>,
    /// The template of its texts; [`DEFAULT`](crate::messaging::template::DEFAULT) when not given.
    pub template: Option<String>,
    /// A value for each variable that the template uses beside ours, and no others.
    pub variables: BTreeMap<String, String>,
    /// The words around the code, in place of a template.
    pub text: Option<CodeText>,
    /// Ends the texts with what browsers and Android look for.
    pub web_otp_domain: Option<String>,
    pub android_app_hash: Option<String>,
    pub sender: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub on_existing: OnExisting,
    /// How long to wait for the first outcome of the vendor call.
    pub delivery_wait: Option<Duration>,
    /// Makes a repeated request harmless for 24 hours. At most 128 bytes.
    pub idempotency_key: Option<String>,
    /// Whether the answer should hold the code, which the tenant must be allowed.
    pub return_code: bool,
    /// Who wants it.
    pub origin: Origin,
    /// Fields that could not be read and are left out above: told together with those that are out of range.
    pub unread: Vec<Violation>,
}

/// What to do when one is pending for the same recipient and scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnExisting {
    /// Send the same code again.
    #[default]
    Resend,
    /// Cancel it and start anew with another code.
    Replace,
    /// Leave it and start another beside it, with a code of its own.
    Parallel,
}

/// Which verification a check is for.
#[derive(Debug)]
pub enum Target {
    Id(Id),
    /// The newest one of a recipient in a scope.
    Newest {
        scope: Option<String>,
        recipient: Recipient,
    },
}

/// A check to be made.
#[derive(Debug)]
pub struct NewCheck {
    pub target: Target,
    pub candidate: Candidate,
    /// Makes a repeated check harmless as long as its verification is kept. At most 128 bytes.
    pub idempotency_key: Option<String>,
}

// === impl NewVerification ===

impl NewVerification {
    /// One that leaves all but the recipient to the configuration.
    pub fn to(recipient: Address) -> Self {
        Self {
            recipient: Some(recipient),
            channel: None,
            workflow: None,
            scope: None,
            policy: PolicyOverrides::default(),
            custom_code: None,
            code_is_number: false,
            locale: None,
            template: None,
            variables: BTreeMap::new(),
            text: None,
            web_otp_domain: None,
            android_app_hash: None,
            sender: None,
            metadata: BTreeMap::new(),
            on_existing: OnExisting::default(),
            delivery_wait: None,
            idempotency_key: None,
            return_code: false,
            origin: Origin::default(),
            unread: Vec::new(),
        }
    }

    /// Every field that is out of its range or could not be read, but for the recipient, its channel and the policy.
    pub fn violations(&self) -> Violations {
        let wait = self.delivery_wait.filter(|wait| *wait > MAX_DELIVERY_WAIT);
        let checks = [
            self.scope.as_deref().and_then(check_scope),
            self.locale.as_deref().and_then(check_locale),
            check_sender(self.sender.as_deref()),
            check_metadata(&self.metadata),
            self.idempotency_key.as_deref().and_then(check_idempotency_key),
            wait.map(|_| violation("delivery_wait", "must be 0 to 30 seconds")),
        ];
        Violations(self.unread.iter().cloned().chain(checks.into_iter().flatten()).collect())
    }

    pub fn scope(&self) -> &str {
        self.scope.as_deref().unwrap_or(DEFAULT_SCOPE)
    }
}

// === impl NewCheck ===

impl NewCheck {
    /// What the check is known by when it comes again to verification `id`; `None` without an idempotency key.
    pub fn key(&self, keys: &Keys, tenant: &TenantName, id: Id) -> Option<CheckKey> {
        let key = self.idempotency_key.as_deref()?;
        let fingerprint = self.candidate.fingerprint(keys, id, key);
        Some(CheckKey { request: keys.request(tenant, "check", key), fingerprint })
    }
}

/// What is wrong with a scope, if anything.
pub fn check_scope(scope: &str) -> Option<Violation> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    let fits = (1..=MAX_SCOPE).contains(&scope.len()) && scope.chars().all(plain);
    (!fits).then(|| violation("scope", "must be 1 to 64 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-'"))
}

/// What is wrong with a locale, if anything: it must look like BCP 47, but need not be one that we have texts for.
fn check_locale(locale: &str) -> Option<Violation> {
    let mut subtags = locale.split('-');
    let language = subtags.next().unwrap_or_default();
    let fits = locale.len() <= 35
        && (2..=3).contains(&language.len())
        && language.chars().all(|c| c.is_ascii_alphabetic())
        && subtags.all(|tag| (1..=8).contains(&tag.len()) && tag.chars().all(|c| c.is_ascii_alphanumeric()));
    (!fits).then(|| violation("locale", "must be a BCP 47 language tag such as en, ms or zh-Hant"))
}

fn violation(field: &str, description: &str) -> Violation {
    Violation { field: field.to_owned(), description: description.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_and_locales() {
        for good in ["default", "1", "a.b_c:d-E", &"s".repeat(64)] {
            assert_eq!(check_scope(good), None, "{good}");
        }
        for bad in ["", " ", "a b", "ü", &"s".repeat(65)] {
            assert!(check_scope(bad).is_some(), "{bad}");
        }
        for good in ["en", "ms-MY", "zh-Hant-TW", "fil", "de-1996"] {
            assert_eq!(check_locale(good), None, "{good}");
        }
        for bad in ["", "e", "english", "en_US", "en-", "en-ümlaut", "12"] {
            assert!(check_locale(bad).is_some(), "{bad}");
        }
    }
}
