//! An account that calls us, as far as more than one module must know it.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::Violation;
use crate::id::TenantName;
use crate::recipient::Country;
use crate::violations::Violations;

/// A tenant's ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    pub name: TenantName,
    /// The country that a phone number without a country code belongs to.
    pub default_country: Option<Country>,
    /// The name in the built-in templates, such as that of an app.
    pub brand: Option<String>,
    /// Who messages say they are from, where a call does not say.
    pub sender: Option<String>,
    /// Whether a call may ask for the code in the answer to a start.
    pub may_return_code: bool,
    /// The vendor whose balance its callers are told as theirs.
    pub balance_of: Option<String>,
    /// Whether it may look after the server: see all vendors and our accounts with them, and tell whether what any tenant
    /// sent has arrived.
    pub may_administer: bool,
    pub retention: Retention,
}

/// How long a tenant has records kept once they have ended, where it is not for as long as everybody's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    pub verifications: Option<Duration>,
    pub messages: Option<Duration>,
}

/// For how long verifications may be kept.
pub const VERIFICATION_RETENTION: RangeInclusive<Duration> = Duration::from_secs(60)..=LONGEST_RETENTION;

/// For how long messages may be kept: vendors report for hours.
pub const MESSAGE_RETENTION: RangeInclusive<Duration> = Duration::from_secs(3600)..=LONGEST_RETENTION;

const LONGEST_RETENTION: Duration = Duration::from_secs(90 * 24 * 3600);

// === impl Retention ===

impl Retention {
    /// What is out of range, by the names that its parts have in a configuration and in calls.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        for (name, retention, range) in [
            ("verification_retention", self.verifications, VERIFICATION_RETENTION),
            ("message_retention", self.messages, MESSAGE_RETENTION),
        ] {
            if let Some(retention) = retention {
                found.range(name, &retention, range);
            }
        }
        found.0
    }
}

/// What is wrong with a sender, if anything.
pub fn check_sender(sender: &str) -> Option<Violation> {
    let fits = sender.chars().count() <= 64 && !sender.chars().any(char::is_control);
    let description = "must be at most 64 characters, on one line".to_owned();
    (!fits).then(|| Violation { field: "sender".to_owned(), description })
}
