//! The store of a server, from its opening to its closing.

use std::sync::Arc;

use tracing::warn;

use crate::clock::Clock;
use crate::config::Loaded;
use crate::config::settings::StoreKind;
use crate::error::{Error, Kind, Reason, Result};
use crate::random::Random;
use crate::server::settings;
use crate::store::keys::Keys;
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
    redis: Option<Arc<RedisStore>>,
}

// === impl Opened ===

impl Opened {
    /// One that somebody else has opened, sealed, and closes.
    pub fn by_others(store: Arc<dyn Store>) -> Self {
        Self { store, clock: None, sled: None, redis: None }
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
                Ok(Self { store, clock: None, sled: Some(sled), redis: None })
            }
            StoreKind::Redis => {
                let redis = RedisStore::open(&config.redis, Arc::clone(clock), Arc::clone(random)).await?;
                redis.warnings().iter().for_each(|warning| warn!("{warning}"));
                let redis = Arc::new(redis);
                let store = seal(Arc::clone(&redis) as Arc<dyn Store>);
                Ok(Self { store, clock: Some(redis.clock()), sled: None, redis: Some(redis) })
            }
        }
    }

    /// How keys are made here. Where nothing lies yet, this is what is written first.
    ///
    /// Errors: `Precondition` when the key file is not that of the store; those of a store that cannot be used.
    pub(crate) async fn keys(&self, random: &dyn Random) -> Result<Keys> {
        Keys::open(&*self.store, random).await.map_err(|error| match error.kind() {
            Kind::Internal => {
                let message = "store.key_file: does not open what lies in the store; give it the file that the store \
                               was made with, or another place";
                Error::new(Kind::Precondition, Reason::InvalidField, message).with_source(error)
            }
            _ => error,
        })
    }

    /// All of it at once, for who looks after its files.
    pub(crate) fn whole(&self) -> Option<Arc<dyn WholeStore>> {
        self.sled.clone().map(|sled| sled as Arc<dyn WholeStore>)
    }

    /// Waits until all is on disk, and lets go of the files.
    pub(crate) async fn close(self) -> Result<()> {
        if let Some(redis) = self.redis {
            redis.close();
        }
        let Some(sled) = self.sled else { return Ok(()) };
        tokio::task::spawn_blocking(move || sled.close()).await.map_err(Error::internal)
    }
}

fn key_ring(loaded: &Loaded, random: &dyn Random) -> Result<KeyRing> {
    let path = loaded.config.store.key_file.as_deref();
    let path = path.ok_or_else(|| Error::invalid("store.key_file", "is missing"))?;
    if loaded.dev_profile { KeyRing::load_or_create(path, random) } else { KeyRing::load(path) }
}
