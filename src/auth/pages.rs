//! Pages of tenants and keys (AIP-158), by name. A page goes on after the last name of the one before, so what changes
//! meanwhile neither repeats nor hides another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use minicbor::{Decode, Encode};

use crate::auth::account::Account;
use crate::auth::changes::tenant_not_found;
use crate::auth::key::Key;
use crate::auth::registry::Registry;
use crate::error::{Error, Result};
use crate::id::TenantName;
use crate::page_token;
use crate::store::keys::Fingerprint;

/// Which page.
#[derive(Debug, Clone)]
pub struct NamedPageRequest {
    /// At least 1.
    pub size: usize,
    pub token: Option<NameToken>,
}

/// A page and, if there is more, the token of the next.
#[derive(Debug, Clone)]
pub struct NamedPage<T> {
    pub items: Vec<T>,
    pub next: Option<NameToken>,
}

/// Leads from a page to the next one of the same list.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct NameToken {
    #[n(0)]
    list: Fingerprint,
    #[n(1)]
    last: String,
}

// === impl Registry ===

impl Registry {
    /// All tenants, by name.
    ///
    /// Errors: `Invalid`, field `page_token`, for a token of another list.
    pub fn list_accounts(&self, page: &NamedPageRequest) -> Result<NamedPage<Arc<Account>>> {
        let roster = self.directory().roster();
        let list = self.names().fingerprint(&["tenants"]);
        take(roster.accounts(), |account| account.tenant.name.as_str(), list, page)
    }

    /// The keys of a tenant, by id.
    ///
    /// Errors: `NotFound`; `Invalid`, field `page_token`, for a token of another list.
    pub fn list_keys(&self, tenant: &TenantName, page: &NamedPageRequest) -> Result<NamedPage<Arc<Key>>> {
        let roster = self.directory().roster();
        roster.account(tenant).ok_or_else(tenant_not_found)?;
        let mut keys: Vec<_> = roster.keys().filter(|key| key.tenant == *tenant).collect();
        keys.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let list = self.names().fingerprint(&["api keys", tenant.as_str()]);
        take(keys.into_iter(), |key| &key.id, list, page)
    }
}

fn take<'a, T: 'a>(
    items: impl Iterator<Item = &'a Arc<T>>,
    name: impl Fn(&T) -> &str,
    list: Fingerprint,
    page: &NamedPageRequest,
) -> Result<NamedPage<Arc<T>>> {
    if page.token.as_ref().is_some_and(|token| token.list != list) {
        let wanted = "must come from a call for the same list; leave it out for the first page";
        return Err(Error::invalid("page_token", wanted));
    }
    let last = page.token.as_ref().map(|token| token.last.as_str());
    let mut rest = items.filter(|item| last.is_none_or(|last| name(item) > last));
    let items: Vec<_> = rest.by_ref().take(page.size).cloned().collect();
    let last = items.last().filter(|_| rest.next().is_some());
    let next = last.map(|item| NameToken { list, last: name(item).to_owned() });
    Ok(NamedPage { items, next })
}

// === impl NameToken ===

impl fmt::Display for NameToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        page_token::write(self, f)
    }
}

impl FromStr for NameToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        page_token::read(text)
    }
}
