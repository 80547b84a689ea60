//! Whether the store opens with its key. One that a server holds is left alone.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Loaded;
use crate::config::settings::StoreKind;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::server::checkup::finding::Finding;
use crate::server::settings;
use crate::store::Store;
use crate::store::keys::Keys;
use crate::store::redis::RedisStore;
use crate::store::seal::{KeyRing, SealedStore};
use crate::store::sled::{self, SledStore};

const CHECK: &str = "store";

pub(crate) async fn check(
    loaded: &Loaded,
    is_running: bool,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Vec<Finding> {
    if loaded.config.store.kind == StoreKind::Redis {
        return check_servers(loaded, clock, random).await;
    }
    let path = &loaded.config.store.path;
    let about = path.display().to_string();
    let restore = "keep its folder as it is, and see the operator's notes on restoring a backup";
    let ring = loaded.config.store.key_file.as_deref().map(KeyRing::load);
    let data = sled::look(path);
    let finding = match (ring, data) {
        // The dev profile makes its key when it first starts.
        (None | Some(Err(_)), Err(_)) if loaded.dev_profile => {
            Finding::skipped(CHECK, about, "not there yet; the first start makes it and its key")
        }
        (Some(Err(error)), _) => Finding::failed(CHECK, about, error.message(), "make the key file usable for us"),
        (None, _) => {
            Finding::failed(CHECK, about, "store.key_file is missing", "make one with `verigate store-key new`")
        }
        (Some(Ok(_)), Err(_)) => Finding::skipped(CHECK, about, "not there yet; the first start makes it"),
        _ if is_running => Finding::good(CHECK, about, "a running server holds it, so it was not opened"),
        // What is written while it is recovered would be ours, and the server locked out.
        (_, Ok(data)) if data.uid() != rustix::process::geteuid().as_raw() => {
            let found = format!("belongs to user {}, so it was not opened", data.uid());
            Finding::warning(CHECK, about, found, "run this as the user that the server runs as")
        }
        (Some(Ok(ring)), Ok(_)) => match open(loaded, ring, clock, random).await {
            Ok(()) => Finding::good(CHECK, about, "opens, and its key fits"),
            Err(error) => Finding::failed(CHECK, about, error.message(), restore),
        },
    };
    vec![finding]
}

/// Looks at the servers as a start does, and whether what they hold opens with our key. Others may use them meanwhile.
async fn check_servers(loaded: &Loaded, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Vec<Finding> {
    let config = &loaded.config.store.redis;
    let about = config.addresses.join(", ");
    let mend = "mend what it names; a server does not start on it either";
    let ring = match loaded.config.store.key_file.as_deref().map(KeyRing::load) {
        Some(Ok(ring)) => ring,
        Some(Err(error)) => {
            return vec![Finding::failed(CHECK, about, error.message(), "make the key file usable for us")];
        }
        None => {
            let advice = "take the key file of the other processes, or make one with `verigate store-key new`";
            return vec![Finding::failed(CHECK, about, "store.key_file is missing", advice)];
        }
    };
    let redis = match RedisStore::open(config, clock, Arc::clone(&random)).await {
        Ok(redis) => redis,
        Err(error) => return vec![Finding::failed(CHECK, about, error.message(), mend)],
    };
    let advice = "see the operator's notes on stores";
    let mut findings: Vec<_> = redis
        .warnings()
        .iter()
        .map(|warning| Finding::warning(CHECK, about.as_str(), warning.as_str(), advice))
        .collect();
    let masters = redis.masters().join(", ");
    let store = SealedStore::new(Arc::new(redis), ring, random);
    findings.push(match Keys::are_there(&store).await {
        Ok(true) => Finding::good(CHECK, about, format!("opens, and its key fits; changes go to {masters}")),
        Ok(false) => Finding::good(CHECK, about, format!("is empty; changes go to {masters}")),
        Err(error) => {
            let advice = "give it the key file that the store was made with, or another store.redis.prefix";
            Finding::failed(CHECK, about, format!("{error:?}"), advice)
        }
    });
    findings
}

/// Opens it, as a start does, which settles what a crash has left, reads its first record, and closes it.
async fn open(loaded: &Loaded, ring: KeyRing, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<()> {
    let sled = Arc::new(SledStore::open(&settings::store(&loaded.config.store), clock)?);
    let store = SealedStore::new(Arc::clone(&sled) as Arc<dyn Store>, ring, Arc::clone(&random));
    let keys = Keys::open(&store, &*random).await;
    tokio::task::spawn_blocking(move || sled.close()).await.map_err(Error::internal)?;
    keys.map(drop)
}
