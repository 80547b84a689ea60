//! The store that gateways of a test run stand on: sled as a rule, `redis` or `cluster` where the variable
//! `VERIGATE_TEST_STORE` says so. Then every test of a whole gateway is one of that store, too.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use verigate::clock::Clock;
use verigate::random::OsRandom;
use verigate::store::Store;
use verigate::store::redis::RedisStore;
use verigate::store::sled::{self, SledStore};

use crate::support::redis_server::{cluster, redis_settings, shared_cluster, shared_server, single};

/// What names the store of a run.
pub(crate) const VARIABLE: &str = "VERIGATE_TEST_STORE";

/// How a configuration of a test says where the store lies.
const EMBEDDED: &str = "path = \"PLACE/data\"";

/// What is kept open while somebody looks at a store behind a gateway's back.
pub(crate) enum Held {
    Sled(Arc<SledStore>),
    Redis(Arc<RedisStore>),
}

/// The settings of the servers, where the store is not embedded.
fn servers() -> Option<String> {
    match std::env::var(VARIABLE).as_deref() {
        Err(_) | Ok("sled") => None,
        Ok("redis") => Some(single(shared_server())),
        Ok("cluster") => Some(cluster(shared_cluster())),
        Ok(other) => panic!("{VARIABLE} is {other:?}; it must be sled, redis or cluster"),
    }
}

/// The settings of the store of the test in this folder, whose clock is moved by hand.
fn settings(place: &Path) -> Option<String> {
    let name = place.file_name().unwrap().to_str().unwrap().replace('.', "");
    Some(format!("{}\nprefix = \"{name}\"\nclock = \"machine\"", servers()?))
}

/// A configuration with the store of this run in place of an embedded one. PLACE stands for the folder.
pub(crate) fn settle(config: &str, place: &Path) -> String {
    let config = settings(place).map_or_else(|| config.to_owned(), |settings| on_redis(config, &settings));
    config.replace("PLACE", place.to_str().unwrap())
}

/// A configuration with a store on Redis in place of an embedded one. `settings`: a line each, as under `[store.redis]`.
pub(crate) fn on_redis(config: &str, settings: &str) -> String {
    let inline = settings.replace('\n', ", ");
    config.replace(EMBEDDED, &format!("kind = \"redis\"\nredis = {{ {inline} }}"))
}

/// Where the store of the test in this folder has its files, those of others among them where it is shared.
pub(crate) fn files(place: &Path) -> PathBuf {
    match std::env::var(VARIABLE).as_deref() {
        Ok("redis") => shared_server().folder.clone(),
        Ok("cluster") => shared_cluster().folder.clone(),
        _ => place.join("data"),
    }
}

// === impl Held ===

impl Held {
    /// Opens the store of the test in this folder, which no gateway must have open.
    pub(crate) async fn open(place: &Path, clock: Arc<dyn Clock>) -> Self {
        match settings(place) {
            Some(settings) => {
                let config = redis_settings(&settings);
                Self::Redis(Arc::new(RedisStore::open(&config, clock, Arc::new(OsRandom)).await.unwrap()))
            }
            None => {
                let config = sled::Config { path: place.join("data"), ..sled::Config::default() };
                Self::Sled(Arc::new(SledStore::open(&config, clock).unwrap()))
            }
        }
    }

    pub(crate) fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sled(store) => Arc::clone(store) as Arc<dyn Store>,
            Self::Redis(store) => Arc::clone(store) as Arc<dyn Store>,
        }
    }

    pub(crate) fn close(self) {
        if let Self::Sled(store) = self {
            store.close();
        }
    }
}
