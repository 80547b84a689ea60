//! Looking after the store as a whole, for whoever operates the server.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::clock::Clock;
use crate::error::{Error, Kind, Result};
use crate::keeping::writer::Backup;
use crate::store::keys::StoreId;
use crate::store::{Rewrite, WholeStore};

/// Looks after one store.
pub struct Keeping {
    whole: Arc<dyn WholeStore>,
    id: StoreId,
    clock: Arc<dyn Clock>,
}

/// Files that are being written anew. Dropping it gives that up.
pub struct Renewal(Box<dyn Rewrite>);

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records that were taken over.
    pub records: u64,
    /// Bytes of the new files.
    pub bytes: u64,
}

// === impl Keeping ===

impl Keeping {
    pub fn new(whole: Arc<dyn WholeStore>, id: StoreId, clock: Arc<dyn Clock>) -> Self {
        Self { whole, id, clock }
    }

    /// Begins a backup.
    ///
    /// Errors: `Precondition`/`NotOffered`; `Unavailable`.
    pub async fn backup(&self) -> Result<Backup> {
        Backup::begin(&*self.whole, self.id, self.clock.now()).await
    }

    /// Begins to write the files anew.
    ///
    /// Errors: `Precondition`/`NotOffered`; `Conflict`/`RewriteUnderWay`; `Unavailable`.
    pub async fn renew(&self) -> Result<Renewal> {
        self.whole.rewrite().await.map(Renewal)
    }

    /// Writes the files anew each time that `interval` has passed.
    pub async fn keep_renewing(self: Arc<Self>, interval: Duration) {
        loop {
            self.clock.sleep_until(self.clock.now() + interval).await;
            match self.renew_once().await {
                Ok(Progress { records, bytes }) => info!(records, bytes, "the files of the store were written anew"),
                // Somebody else does it.
                Err(error) if error.kind() == Kind::Conflict => {}
                Err(error) => warn!(?error, "the files of the store could not be written anew"),
            }
        }
    }

    async fn renew_once(&self) -> Result<Progress> {
        let mut renewal = self.renew().await?;
        let mut last = None;
        while let Some(progress) = renewal.next().await? {
            last = Some(progress);
        }
        let bytes = renewal.0.bytes();
        last.map(|last| Progress { bytes, ..last }).ok_or_else(|| Error::internal("nothing was taken over"))
    }
}

// === impl Renewal ===

impl Renewal {
    /// Goes on for a while; `None` once the new files are in use and the old ones are gone.
    ///
    /// Error: `Unavailable`.
    pub async fn next(&mut self) -> Result<Option<Progress>> {
        let records = self.0.next().await?;
        Ok(records.map(|records| Progress { records, bytes: self.0.bytes() }))
    }
}
