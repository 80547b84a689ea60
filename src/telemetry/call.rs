//! What is found out of a call while it is answered: on which surface it came, what it calls, whose it is, and why it was
//! refused. Whoever finds it out notes it, and whoever tells of calls reads it at their end.
//!
//! All of it is from this house: names of rpcs, tenants that have shown a key, reasons of ours. What a caller writes is
//! none of it, so each can be a label.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Kind, Reason};
use crate::id::TenantName;

/// A call under way.
#[derive(Debug)]
pub struct Call(Mutex<Notes>);

/// What is known of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notes {
    /// A listener at first, and then what answers on it: `grpc`, `json`, `receipts`, or the name of a dialect.
    pub surface: &'static str,
    /// The rpc that it is, or does the same as, without `verigate.`: `verification.v1.VerificationService/StartVerification`.
    pub method: &'static str,
    /// Whether that is known to change something.
    changes: bool,
    pub tenant: Option<TenantName>,
    /// The last error that its caller was told of.
    pub refusal: Option<(Kind, Reason)>,
}

/// The method of calls of which nobody knows what they call.
pub const UNKNOWN: &str = "unknown";

// === impl Call ===

impl Call {
    pub fn new(surface: &'static str, method: &'static str) -> Self {
        Self(Mutex::new(Notes { surface, method, changes: false, tenant: None, refusal: None }))
    }

    pub fn surface(&self, surface: &'static str) {
        self.lock().surface = surface;
    }

    pub fn method(&self, method: &'static str) {
        self.lock().method = method;
    }

    /// Notes an rpc that it does the same as. `changes`: whether it is one that changes something, the first of which
    /// stays.
    pub fn does(&self, rpc: &'static str, changes: bool) {
        let mut notes = self.lock();
        if notes.method == UNKNOWN || (changes && !notes.changes) {
            notes.method = rpc;
            notes.changes = changes;
        }
    }

    pub fn tenant(&self, tenant: &TenantName) {
        self.lock().tenant = Some(tenant.clone());
    }

    pub fn refused(&self, kind: Kind, reason: Reason) {
        self.lock().refusal = Some((kind, reason));
    }

    pub fn notes(&self) -> Notes {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Notes> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
