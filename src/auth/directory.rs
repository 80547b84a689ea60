//! Who may call, now: the roster that all surfaces look in, replaced as a whole when something changes.
//!
//! A look takes a lock that only a replacement holds for longer, and that for the time of a pointer.

use std::sync::Arc;

use tokio::sync::watch;

use crate::auth::caller::Caller;
use crate::auth::roster::Roster;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::id::TenantName;
use crate::tenant::Tenant;

/// Cheap to look into, from any thread.
#[derive(Debug)]
pub struct Directory {
    roster: watch::Sender<Arc<Roster>>,
    clock: Arc<dyn Clock>,
}

// === impl Directory ===

impl Directory {
    pub fn new(roster: Roster, clock: Arc<dyn Clock>) -> Self {
        Self { roster: watch::Sender::new(Arc::new(roster)), clock }
    }

    /// The caller behind an `authorization` header. Errors: as [`Roster::authenticate`].
    pub fn authenticate(&self, header: Option<&str>) -> Result<Caller> {
        self.roster.borrow().authenticate(header, self.clock.now())
    }

    /// The caller behind an id and a secret. Errors: as [`Roster::check`].
    pub fn check(&self, id: &str, secret: &str) -> Result<Caller> {
        self.roster.borrow().check(id, secret, self.clock.now())
    }

    /// The caller behind a single credential. Errors: as [`Roster::check_token`].
    pub fn check_token(&self, token: &str) -> Result<Caller> {
        self.roster.borrow().check_token(token, self.clock.now())
    }

    /// The caller with the key of this id. Errors: as [`Roster::vouched`].
    pub fn vouched(&self, id: &str) -> Result<Caller> {
        self.roster.borrow().vouched(id, self.clock.now())
    }

    pub fn tenant(&self, name: &TenantName) -> Option<Arc<Tenant>> {
        self.roster.borrow().account(name).map(|account| Arc::clone(&account.tenant))
    }

    /// Everybody as of now.
    pub fn roster(&self) -> Arc<Roster> {
        Arc::clone(&self.roster.borrow())
    }

    /// From here on this one counts.
    pub fn replace(&self, roster: Roster) {
        self.roster.send_replace(Arc::new(roster));
    }

    /// Completes when a caller who was let in would be no more, because its key has expired or was revoked,
    /// or its tenant was disabled: with what it is to be told. For answers that go on.
    pub async fn closed_to(&self, caller: &Caller) -> Error {
        let mut rosters = self.roster.subscribe();
        loop {
            let now = self.clock.now();
            let checked = rosters.borrow_and_update().recheck(caller, now);
            let expires_at = match checked {
                Ok(caller) => caller.key.expires_at,
                Err(error) => return error,
            };
            let expired = async {
                match expires_at {
                    Some(at) => self.clock.sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // The sender lives as long as we do.
                _ = rosters.changed() => {}
                () = expired => {}
            }
        }
    }
}
