//! Which tenants' events are handed on, and where in the store some wait for that.
//!
//! What every change of every record asks is answered from memory. Who is fed is decided elsewhere.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use tokio::sync::Notify;

use crate::id::Partition;
use crate::store::keys::TenantTag;

/// The tenants that are fed. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Fed(Arc<State>);

#[derive(Debug, Default)]
struct State {
    /// Whether there is any, so that a server without them asks no lock.
    any: AtomicBool,
    tenants: RwLock<HashSet<TenantTag>>,
    waiting: Mutex<BTreeSet<Partition>>,
    changed: Notify,
}

// === impl Fed ===

impl Fed {
    /// Whether the events of a tenant are to be handed on.
    pub fn wants(&self, tenant: TenantTag) -> bool {
        self.is_any() && self.0.tenants.read().unwrap_or_else(PoisonError::into_inner).contains(&tenant)
    }

    pub fn is_any(&self) -> bool {
        self.0.any.load(Ordering::Acquire)
    }

    /// From now on these are fed, and no others.
    pub fn set(&self, tenants: HashSet<TenantTag>) {
        let mut known = self.0.tenants.write().unwrap_or_else(PoisonError::into_inner);
        self.0.any.store(!tenants.is_empty(), Ordering::Release);
        *known = tenants;
    }

    /// To be called once news are committed in a partition.
    pub fn note(&self, partition: Partition) {
        if self.waiting().insert(partition) {
            self.0.changed.notify_one();
        }
    }

    /// Partitions in which news may wait. The caller must look there.
    pub fn take(&self) -> Vec<Partition> {
        std::mem::take(&mut *self.waiting()).into_iter().collect()
    }

    /// Completes when a partition was noted since the last time.
    pub async fn changed(&self) {
        self.0.changed.notified().await;
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeSet<Partition>> {
        // Nothing panics while it is held.
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
