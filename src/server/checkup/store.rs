//! Whether the store opens with its key. One that a server holds is left alone.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::Loaded;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::server::checkup::finding::Finding;
use crate::server::settings;
use crate::store::Store;
use crate::store::keys::Keys;
use crate::store::seal::{KeyRing, SealedStore};
use crate::store::sled::{self, SledStore};

const CHECK: &str = "store";

pub(crate) async fn check(
    loaded: &Loaded,
    is_running: bool,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
) -> Vec<Finding> {
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

/// Opens it, as a start does, which settles what a crash has left, reads its first record, and closes it.
async fn open(loaded: &Loaded, ring: KeyRing, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<()> {
    let sled = Arc::new(SledStore::open(&settings::store(&loaded.config.store), clock)?);
    let store = SealedStore::new(Arc::clone(&sled) as Arc<dyn Store>, ring, Arc::clone(&random));
    let keys = Keys::open(&store, &*random).await;
    tokio::task::spawn_blocking(move || sled.close()).await.map_err(Error::internal)?;
    keys.map(drop)
}
