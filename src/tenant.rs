//! An account that calls us, as far as more than one module must know it.

use crate::error::Violation;
use crate::id::TenantName;
use crate::recipient::Country;

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
}

/// What is wrong with a sender, if anything.
pub fn check_sender(sender: &str) -> Option<Violation> {
    let fits = sender.chars().count() <= 64 && !sender.chars().any(char::is_control);
    let description = "must be at most 64 characters, on one line".to_owned();
    (!fits).then(|| Violation { field: "sender".to_owned(), description })
}
