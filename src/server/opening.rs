//! The store of a server, from its opening to its closing.

use std::sync::Arc;

use tracing::warn;

use crate::clock::Clock;
use crate::config::Loaded;
use crate::config::settings::StoreKind;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::server::settings;
use crate::store::redis::RedisStore;
use crate::store::seal::{KeyRing, SealedStore};
use crate::store::sled::SledStore;
use crate::store::{Store, WholeStore};

/// A store that is open, as all above see it: sealed.
pub struct Opened {
    pub(crate) store: Arc<dyn Store>,
    /// The clock that its records end by, where that is not the one that it was opened with.
    pub(crate) clock: Option<Arc<dyn Clock>>,
    /// Whose files are ours to look after.
    sled: Option<Arc<SledStore>>,
}

// === impl Opened ===

impl Opened {
    /// One that somebody else has opened, sealed, and closes.
    pub fn by_others(store: Arc<dyn Store>) -> Self {
        Self { store, clock: None, sled: None }
    }

    /// That of the configuration.
    ///
    /// Errors: a key file that cannot be read, a store that cannot be opened; each says what to do.
    pub(crate) async fn of(loaded: &Loaded, clock: &Arc<dyn Clock>, random: &Arc<dyn Random>) -> Result<Self> {
        let config = &loaded.config.store;
        let ring = key_ring(loaded, &**random)?;
        let seal = |store| Arc::new(SealedStore::new(store, ring, Arc::clone(random)));
        match config.kind {
            StoreKind::Sled => {
                let sled = Arc::new(SledStore::open(&settings::store(config), Arc::clone(clock))?);
                let store = seal(Arc::clone(&sled) as Arc<dyn Store>);
                Ok(Self { store, clock: None, sled: Some(sled) })
            }
            StoreKind::Redis => {
                let redis = RedisStore::open(&config.redis, Arc::clone(clock), Arc::clone(random)).await?;
                redis.warnings().iter().for_each(|warning| warn!("{warning}"));
                let clock = Some(redis.clock());
                Ok(Self { store: seal(Arc::new(redis)), clock, sled: None })
            }
        }
    }

    /// All of it at once, for who looks after its files.
    pub(crate) fn whole(&self) -> Option<Arc<dyn WholeStore>> {
        self.sled.clone().map(|sled| sled as Arc<dyn WholeStore>)
    }

    /// Waits until all is on disk, and lets go of the files.
    pub(crate) async fn close(self) -> Result<()> {
        let Some(sled) = self.sled else { return Ok(()) };
        tokio::task::spawn_blocking(move || sled.close()).await.map_err(Error::internal)
    }
}

fn key_ring(loaded: &Loaded, random: &dyn Random) -> Result<KeyRing> {
    let path = loaded.config.store.key_file.as_deref();
    let path = path.ok_or_else(|| Error::invalid("store.key_file", "is missing"))?;
    if loaded.dev_profile { KeyRing::load_or_create(path, random) } else { KeyRing::load(path) }
}
