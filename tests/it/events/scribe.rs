//! The writer of feeds dies between the two commits by which news move: nothing is in a feed twice, and nothing is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use tempfile::TempDir;
use verigate::clock::ManualClock;
use verigate::error::{Error, Kind, Reason, Result};
use verigate::event::fed::Fed;
use verigate::event::history::{Event, EventKind};
use verigate::event::news::{Bundle, News};
use verigate::feed::scribe::Scribe;
use verigate::feed::shelf::Shelf;
use verigate::id::Id;
use verigate::messaging::holder::Ground;
use verigate::random::OsRandom;
use verigate::store::keys::{Holder, Keys, SendRef};
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::{Config, SledStore};
use verigate::store::{Batch, Commit, Key, Prefix, Record, Store, Write, record};

use crate::events::house::HOUR;
use crate::support::gateway::{START, eventually};

/// A store that takes nothing away while it is told so.
struct Clinging {
    store: SealedStore,
    clings: AtomicBool,
}

#[async_trait]
impl Store for Clinging {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        self.store.get(key).await
    }

    async fn scan(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        self.store.scan(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<Commit> {
        let takes_away = batch.writes().iter().all(|(_, write)| *write == Write::Delete);
        if takes_away && self.clings.load(Ordering::Relaxed) {
            return Err(Error::new(Kind::Unavailable, Reason::StoreUnavailable, "not now"));
        }
        self.store.commit(batch).await
    }

    fn ready(&self) -> Result<()> {
        self.store.ready()
    }
}

/// News of one event of a message.
fn news(place: u16) -> Bundle {
    let event = Event { at: START, kind: EventKind::Queued(0) };
    Bundle(vec![News { place, event, channel: None, vendor: None, reason: None, checks_left: None }])
}

#[tokio::test]
async fn what_moved_before_the_writer_died_is_not_moved_again() {
    let place = TempDir::new().unwrap();
    let clock = Arc::new(ManualClock::new(START));
    let config = Config { path: place.path().join("data"), ..Config::default() };
    let sled = Arc::new(SledStore::open(&config, clock.clone()).unwrap());
    let ring = KeyRing::parse(&format!("1:{}\n", "A".repeat(43) + "=")).unwrap();
    let store = SealedStore::new(sled, ring, Arc::new(OsRandom));
    let keys = Keys::open(&store, &OsRandom).await.unwrap();
    let store = Arc::new(Clinging { store, clings: AtomicBool::new(true) });
    let fed = Fed::default();
    let tenant = keys.tenant(&"acme".parse().unwrap());
    fed.set([tenant].into());
    let (random, shared) = (Arc::new(OsRandom), Arc::clone(&store) as Arc<dyn Store>);
    let ground = Ground { store: shared, keys: keys.clone(), clock, random, fed };
    let id = Id::new(START, keys.feed_partition(tenant), &OsRandom);
    let message = SendRef { holder: Holder::Message, tenant, id, number: SendRef::RECORD };
    let put = async |place| {
        let key = keys.news(START, &message, place);
        let batch = Batch::new(key.partition()).put(key, record::encode(&news(place)).unwrap(), None);
        store.commit(batch).await.unwrap();
    };
    put(0).await;
    put(1).await;
    let shelf = Arc::new(Shelf::new(ground, 100 * HOUR));
    let places = async || {
        let entries = shelf.read(tenant, 0, 10).await.unwrap();
        entries.into_iter().map(|(number, entry)| (number, entry.news.place)).collect::<Vec<_>>()
    };
    let dying = tokio::spawn(Scribe::new(Arc::clone(&shelf)).run());
    eventually(async || (places().await.len() == 2).then_some(())).await;
    dying.abort();
    drop(dying.await);
    assert_eq!(store.scan(&keys.news_of(id.partition()), None, 10).await.unwrap().len(), 2);

    store.clings.store(false, Ordering::Relaxed);
    put(2).await;
    let next = tokio::spawn(Scribe::new(Arc::clone(&shelf)).run());
    eventually(async || store.scan(&keys.news_of(id.partition()), None, 10).await.unwrap().is_empty().then_some(()))
        .await;
    assert_eq!(places().await, [(1, 0), (2, 1), (3, 2)]);
    next.abort();
}
