//! How long records are kept once they have ended: for everybody, and for tenants that have it otherwise.

use std::sync::Arc;
use std::time::Duration;

use crate::id::TenantName;
use crate::tenant;

/// Tells how long a tenant has its records kept, as it is now.
pub type Wishes = Arc<dyn Fn(&TenantName) -> tenant::Retention + Send + Sync>;

/// How long records of one kind are kept. What is written is kept by what holds at that moment.
#[derive(Clone)]
pub struct Retention {
    everybody: Duration,
    wishes: Wishes,
    kind: fn(tenant::Retention) -> Option<Duration>,
}

// === impl Retention ===

impl Retention {
    pub fn of_verifications(everybody: Duration, wishes: Wishes) -> Self {
        Self { everybody, wishes, kind: |retention| retention.verifications }
    }

    pub fn of_messages(everybody: Duration, wishes: Wishes) -> Self {
        Self { everybody, wishes, kind: |retention| retention.messages }
    }

    /// How long the records of a tenant are kept.
    pub fn of(&self, tenant: &TenantName) -> Duration {
        (self.kind)((self.wishes)(tenant)).unwrap_or(self.everybody)
    }
}
