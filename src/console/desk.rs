//! What the pages of the console stand on. Knows no page.

use std::sync::Arc;

use crate::auth::directory::Directory;
use crate::console::pulse::Pulse;
use crate::error::{Error, Kind, Reason, Result};
use crate::guard::service::Guard;
use crate::id::TenantName;
use crate::messaging::oversight::Oversight;
use crate::messaging::service::Messaging;
use crate::random::Random;
use crate::tenant::Tenant;
use crate::verification::service::Verifications;

/// The services, and who may be looked at.
pub struct Desk {
    pub directory: Arc<Directory>,
    pub verifications: Arc<Verifications>,
    pub messaging: Arc<Messaging>,
    pub oversight: Arc<Oversight>,
    pub guard: Arc<Guard>,
    pub random: Arc<dyn Random>,
    pub pulse: Arc<Pulse>,
    /// The configured names of the vendors from which nothing leaves this machine.
    pub inboxes: Vec<String>,
}

// === impl Desk ===

impl Desk {
    /// Errors: `Invalid` for what is no name; `NotFound`/`TenantNotFound`.
    pub(crate) fn tenant(&self, name: &str) -> Result<Arc<Tenant>> {
        let name: TenantName = name.parse()?;
        self.directory.tenant(&name).ok_or_else(|| {
            let message = format!("no tenant is called {name}; the lists on the pages name those that there are");
            Error::new(Kind::NotFound, Reason::TenantNotFound, message)
        })
    }

    /// The names of all tenants, in order.
    pub(crate) fn tenants(&self) -> Vec<String> {
        let mut names: Vec<_> =
            self.directory.roster().accounts().map(|account| account.tenant.name.to_string()).collect();
        names.sort();
        names
    }
}
