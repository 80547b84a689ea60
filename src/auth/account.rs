//! A tenant as an operator keeps it: its ways, where they come from, and whether it may call at all.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::tenant::Tenant;

/// A tenant and what is kept about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub tenant: Arc<Tenant>,
    /// None of its keys opens.
    pub disabled: bool,
    pub origin: Origin,
    /// `None` for one from the configuration.
    pub created_at: Option<Timestamp>,
    pub updated_at: Option<Timestamp>,
}

/// Where a tenant or a key comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The configuration: only an edit of it changes them.
    Configured,
    /// The store: calls change them.
    Stored,
}

// === impl Account ===

impl Account {
    pub fn configured(tenant: Tenant) -> Self {
        let tenant = Arc::new(tenant);
        Self { tenant, disabled: false, origin: Origin::Configured, created_at: None, updated_at: None }
    }
}
