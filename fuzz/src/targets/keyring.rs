//! Sealed values as they lie in a store that others may write to, and the file with the keys.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::FutureExt;
use verigate::error::Result;
use verigate::id::Partition;
use verigate::random::OsRandom;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::{Batch, Commit, Key, Prefix, Record, Store, Version, Write};

const RING: &str = "7:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n9:Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";

/// Holds one value, whatever the key.
#[derive(Default)]
struct OneValue(Mutex<Vec<u8>>);

pub(crate) fn run(data: &[u8]) {
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(ring) = KeyRing::parse(text)
    {
        let shown = format!("{ring:?}");
        let secrets = text.lines().filter_map(|line| line.split_once(':')).map(|(_, secret)| secret.trim());
        assert!(secrets.filter(|secret| secret.len() == 44).all(|secret| !shown.contains(secret)), "shown");
    }
    let inner = Arc::new(OneValue::default());
    let store =
        SealedStore::new(Arc::clone(&inner) as Arc<dyn Store>, KeyRing::parse(RING).unwrap(), Arc::new(OsRandom));
    let key = |name: &[u8]| Key::new(Partition::new(0), name);
    let get = |key: &Key| store.get(key).now_or_never().unwrap();

    // Nobody without a key writes a value that opens; an empty one stays empty.
    *inner.0.lock().unwrap() = data.to_vec();
    let opened = get(&key(b"one"));
    assert_eq!(opened.is_ok(), data.is_empty(), "opened what nobody sealed");

    let batch = Batch::new(Partition::new(0)).put(key(b"one"), data.to_vec(), None);
    store.commit(batch).now_or_never().unwrap().unwrap();
    assert_eq!(get(&key(b"one")).unwrap().unwrap().value, data, "what was sealed");
    if data.is_empty() {
        return;
    }
    assert!(get(&key(b"two")).is_err(), "opened under another key of the store");
    let mut sealed = inner.0.lock().unwrap().clone();
    assert!(data.len() < 8 || !sealed.windows(data.len()).any(|part| part == data), "in the clear");
    let place = data.iter().map(|byte| usize::from(*byte)).sum::<usize>() % sealed.len();
    sealed[place] ^= 1;
    *inner.0.lock().unwrap() = sealed;
    assert!(get(&key(b"one")).is_err(), "opened with byte {place} changed");
}

#[async_trait]
impl Store for OneValue {
    async fn get(&self, _: &Key) -> Result<Option<Record>> {
        Ok(Some(Record { value: self.0.lock().unwrap().clone(), version: Version(1) }))
    }

    async fn scan(&self, _: &Prefix, _: Option<&Key>, _: usize) -> Result<Vec<(Key, Record)>> {
        Ok(Vec::new())
    }

    async fn commit(&self, batch: Batch) -> Result<Commit> {
        if let Some((_, Write::Put { value, .. })) = batch.writes().first() {
            *self.0.lock().unwrap() = value.clone();
        }
        Ok(Commit::Committed(Version(1)))
    }

    fn ready(&self) -> Result<()> {
        Ok(())
    }

    fn is_shared(&self) -> bool {
        false
    }
}
