//! Looking after the store as a whole, for whoever operates the server.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Reason, Result};
use crate::keeping::writer::Backup;
use crate::store::keys::Keys;
use crate::store::{Batch, Rewrite, Store, WholeStore, record};

/// Looks after one store.
pub struct Keeping {
    /// Without one another program looks after the files.
    whole: Option<Arc<dyn WholeStore>>,
    store: Arc<dyn Store>,
    keys: Keys,
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
    pub fn new(whole: Option<Arc<dyn WholeStore>>, store: Arc<dyn Store>, keys: Keys, clock: Arc<dyn Clock>) -> Self {
        Self { whole, store, keys, clock }
    }

    /// Begins a backup.
    ///
    /// Errors: `Precondition`/`NotOffered`; `Unavailable`.
    pub async fn backup(&self) -> Result<Backup> {
        Backup::begin(self.whole()?, self.keys.store_id(), self.clock.now()).await
    }

    /// Begins to write the files anew.
    ///
    /// Errors: `Precondition`/`NotOffered`; `Conflict`/`RewriteUnderWay`; `Unavailable`.
    pub async fn renew(&self) -> Result<Renewal> {
        self.whole()?.rewrite().await.map(Renewal)
    }

    /// Writes the files anew each time that `interval` has passed, over restarts too: one who is started anew each night
    /// must not wait for ever.
    pub async fn keep_renewing(self: Arc<Self>, interval: Duration) {
        if self.whole.is_none() {
            return;
        }
        let last = self.last_renewed().await.unwrap_or_else(|error| {
            warn!(?error, "it is not known when the files of the store were last written anew");
            self.clock.now()
        });
        let mut due = last + interval;
        loop {
            self.clock.sleep_until(due).await;
            match self.renew_once().await {
                Ok(Progress { records, bytes }) => info!(records, bytes, "the files of the store were written anew"),
                // Somebody else does it.
                Err(error) if error.kind() == Kind::Conflict => {}
                Err(error) => warn!(?error, "the files of the store could not be written anew"),
            }
            due = self.clock.now() + interval;
        }
    }

    fn whole(&self) -> Result<&dyn WholeStore> {
        self.whole.as_deref().ok_or_else(|| {
            let message = "the store is not embedded: use its own tools to back it up";
            Error::new(Kind::Precondition, Reason::NotOffered, message)
        })
    }

    /// When they were last written anew here, or else when that was first asked. Of times when somebody else had it done
    /// nothing is noted: the next time then comes sooner.
    async fn last_renewed(&self) -> Result<Timestamp> {
        match self.store.get(&self.keys.renewed()).await? {
            Some(noted) => record::decode(&noted.value),
            None => self.note_renewed().await,
        }
    }

    async fn note_renewed(&self) -> Result<Timestamp> {
        let (key, now) = (self.keys.renewed(), self.clock.now());
        self.store.commit(Batch::new(key.partition()).put(key, record::encode(&now)?, None)).await?;
        Ok(now)
    }

    async fn renew_once(&self) -> Result<Progress> {
        let mut renewal = self.renew().await?;
        let mut last = None;
        while let Some(progress) = renewal.next().await? {
            last = Some(progress);
        }
        let bytes = renewal.0.bytes();
        self.note_renewed().await?;
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
