//! News on their way into the feed: the writer dies between the two commits by which they move, or whoever made them hangs
//! up. Nothing is in a feed twice, and nothing is left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use verigate::clock::{ManualClock, Timestamp};
use verigate::event::fed::Fed;
use verigate::event::handing::Handing;
use verigate::event::history::{Event, EventKind};
use verigate::event::news::{Bundle, News};
use verigate::feed::endpoint::NewEndpoint;
use verigate::feed::feeds::Feeds;
use verigate::feed::kinds::Wanted;
use verigate::feed::numbers::Head;
use verigate::feed::replay::{Replay, Replayed};
use verigate::feed::scribe::Scribe;
use verigate::feed::settings::Config;
use verigate::feed::shelf::Shelf;
use verigate::id::{Id, Partition, TenantName};
use verigate::messaging::holder::Ground;
use verigate::random::OsRandom;
use verigate::store::keys::{Holder, Keys, SendRef, TenantTag};
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::{Config as StoreConfig, SledStore};
use verigate::store::{Batch, Store, Write, record};
use verigate::webhook::settings::Config as CallConfig;

use crate::events::house::{FIRST, HOUR, SECOND};
use crate::interruptions::outbox;
use crate::nodes::house::{State, line};
use crate::support::gateway::{START, eventually};
use crate::support::odd_store::{OddStore, died};

/// A message of a tenant that is fed, and a store that takes nothing away while it is told so.
struct Desk {
    ground: Ground,
    shelf: Arc<Shelf>,
    message: SendRef,
    clings: Arc<AtomicBool>,
    _place: TempDir,
}

impl Desk {
    async fn new() -> Self {
        let place = TempDir::new().unwrap();
        let clock = Arc::new(ManualClock::new(START));
        let config = StoreConfig { path: place.path().join("data"), ..StoreConfig::default() };
        let sled = Arc::new(SledStore::open(&config, clock.clone()).unwrap());
        let ring = KeyRing::parse(&format!("1:{}\n", "A".repeat(43) + "=")).unwrap();
        let sealed: Arc<dyn Store> = Arc::new(SealedStore::new(sled, ring, Arc::new(OsRandom)));
        let keys = Keys::open(&*sealed, &OsRandom).await.unwrap();
        let clings = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&clings);
        let store = OddStore::around(&sealed, move |store, batch| {
            let takes_away = batch.writes().iter().all(|(_, write)| *write == Write::Delete);
            let clings = takes_away && told.load(Ordering::Relaxed);
            async move { if clings { Err(died()) } else { store.commit(batch).await } }
        });
        let fed = Fed::default();
        let tenant = keys.tenant(&"acme".parse().unwrap());
        fed.set([tenant].into());
        let id = Id::new(START, keys.feed_partition(tenant), &OsRandom);
        let message = SendRef { holder: Holder::Message, tenant, id, number: SendRef::RECORD };
        let ground = Ground { store, keys, clock, random: Arc::new(OsRandom), fed };
        let shelf = Arc::new(Shelf::new(ground.clone(), 100 * HOUR));
        Self { ground, shelf, message, clings, _place: place }
    }

    /// News of one event of the message.
    fn news(&self, at: Timestamp, place: u16) -> Batch {
        self.news_of(at, &[place])
    }

    /// News of one commit.
    fn news_of(&self, at: Timestamp, places: &[u16]) -> Batch {
        let event = Event { at, kind: EventKind::Queued(0) };
        let blank = News { place: 0, event, channel: None, vendor: None, reason: None, checks_left: None };
        let bundle = Bundle(places.iter().map(|&place| News { place, ..blank.clone() }).collect());
        let key = self.ground.keys.news(at, &self.message, places[0]);
        Batch::new(key.partition()).put(key, record::encode(&bundle).unwrap(), None)
    }

    async fn put(&self, at: Timestamp, place: u16) {
        self.ground.store.commit(self.news(at, place)).await.unwrap();
    }

    /// The places of the events in the feed, by their numbers there.
    async fn places(&self) -> Vec<(u64, u16)> {
        let entries = self.shelf.read(self.tenant(), 0, 500).await.unwrap();
        entries.into_iter().map(|(number, entry)| (number, entry.news.place)).collect()
    }

    /// News that still wait.
    async fn waiting(&self) -> usize {
        let news = self.ground.keys.news_of(self.partition());
        self.ground.store.scan(&news, None, 500).await.unwrap().len()
    }

    fn write(&self) -> JoinHandle<()> {
        tokio::spawn(Scribe::new(Arc::clone(&self.shelf)).run())
    }

    /// Has a writer die that has put the first of what waits into the feed, and took nothing away.
    async fn die_having_put(&self, entries: usize) {
        self.clings.store(true, Ordering::Relaxed);
        let dying = self.write();
        eventually(async || (self.places().await.len() == entries).then_some(())).await;
        dying.abort();
        drop(dying.await);
        self.clings.store(false, Ordering::Relaxed);
    }

    fn tenant(&self) -> TenantTag {
        self.message.tenant
    }

    fn partition(&self) -> Partition {
        self.message.id.partition()
    }
}

#[tokio::test]
async fn what_moved_before_the_writer_died_is_not_moved_again() {
    let desk = Desk::new().await;
    desk.put(START, 0).await;
    desk.put(START, 1).await;
    desk.die_having_put(2).await;
    assert_eq!(desk.waiting().await, 2);
    desk.put(START, 2).await;
    let next = desk.write();
    eventually(async || (desk.waiting().await == 0).then_some(())).await;
    assert_eq!(desk.places().await, [(1, 0), (2, 1), (3, 2)]);
    next.abort();
}

/// More than is read at a time, and what came later stands before it.
#[tokio::test]
async fn what_moved_is_known_however_much_came_before_it_meanwhile() {
    let desk = Desk::new().await;
    for place in 100..164 {
        desk.put(START, place).await;
    }
    desk.die_having_put(64).await;
    for place in 0..64 {
        desk.put(Timestamp::from_millis(START.as_millis() - 1), place).await;
    }
    let next = desk.write();
    eventually(async || (desk.waiting().await == 0).then_some(())).await;
    let places = desk.places().await;
    let numbers: Vec<_> = places.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=128).collect::<Vec<_>>(), "no gap");
    assert_eq!(places.iter().map(|(_, place)| place).collect::<BTreeSet<_>>().len(), 128, "no doubles");
    next.abort();
}

/// A writer stands still between looking for news and writing them; meanwhile another has written them, and more.
#[tokio::test]
async fn what_was_found_before_another_wrote_it_is_not_written_again() {
    let desk = Desk::new().await;
    let (line, store) = line(&desk.ground.store, Arc::default());
    let fed = Fed::default();
    fed.set([desk.tenant()].into());
    let shelf = Arc::new(Shelf::new(Ground { store, fed: fed.clone(), ..desk.ground.clone() }, 100 * HOUR));
    let still = tokio::spawn(Scribe::new(shelf).run());
    // It looks everywhere at first; then it asks where it is told, and the answer is on its way.
    let a_while = async || {
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
    };
    a_while().await;
    line.send_replace(State::Held);
    desk.put(START, 0).await;
    fed.note(desk.partition());
    a_while().await;
    let other = desk.write();
    eventually(async || (desk.waiting().await == 0).then_some(())).await;
    desk.put(START, 1).await;
    desk.ground.fed.note(desk.partition());
    eventually(async || (desk.waiting().await == 0).then_some(())).await;
    line.send_replace(State::Open);
    desk.put(START, 2).await;
    other.abort();
    eventually(async || {
        fed.note(desk.partition());
        (desk.places().await.len() >= 3 && desk.waiting().await == 0).then_some(())
    })
    .await;
    assert_eq!(desk.places().await, [(1, 0), (2, 1), (3, 2)]);
    still.abort();
}

/// Three that each believe to be the only one, as nodes do for a moment when a duty changes hands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_writers_at_once_put_nothing_into_a_feed_twice() {
    let desk = Desk::new().await;
    // Each has a memory of its own of where something waits.
    let writers: Vec<_> = (0..3)
        .map(|_| {
            let fed = Fed::default();
            fed.set([desk.tenant()].into());
            let shelf = Arc::new(Shelf::new(Ground { fed: fed.clone(), ..desk.ground.clone() }, 100 * HOUR));
            (fed, tokio::spawn(Scribe::new(shelf).run()))
        })
        .collect();
    for place in 0..400 {
        desk.put(START, place).await;
        // As a rule one hears of it first, and others come by.
        for (turn, (fed, _)) in writers.iter().enumerate() {
            if (usize::from(place) + turn) % 3 < 2 {
                fed.note(desk.partition());
            }
        }
    }
    eventually(async || {
        writers.iter().for_each(|(fed, _)| fed.note(desk.partition()));
        (desk.waiting().await == 0).then_some(())
    })
    .await;
    let places = desk.places().await;
    let numbers: Vec<_> = places.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (1..=400).collect::<Vec<_>>(), "no gap");
    assert_eq!(places.iter().map(|(_, place)| place).collect::<BTreeSet<_>>().len(), 400, "no doubles");
    writers.iter().for_each(|(_, writer)| writer.abort());
}

/// A commit goes on without its caller, and what it leaves is taken up.
#[tokio::test]
async fn news_of_whoever_hung_up_are_taken_up_at_once() {
    let desk = Desk::new().await;
    desk.put(START, 0).await;
    let writer = desk.write();
    // Then it has looked everywhere, as it does by itself but once.
    eventually(async || (desk.places().await.len() == 1 && desk.waiting().await == 0).then_some(())).await;
    let handing = Handing::new(Arc::clone(&desk.ground.store), desk.ground.fed.clone());
    assert!(handing.commit(desk.news(START, 1)).now_or_never().is_none());
    eventually(async || (desk.places().await == [(1, 0), (2, 1)]).then_some(())).await;
    writer.abort();
}

/// A number that was left out says nothing about when anything was.
#[tokio::test]
async fn a_time_is_found_in_a_feed_with_numbers_left_out() {
    let desk = Desk::new().await;
    let writer = desk.write();
    for (hour, place) in [(0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (1, 5)] {
        desk.put(START + hour * HOUR, place).await;
        desk.ground.fed.note(desk.partition());
        eventually(async || (desk.places().await.len() == usize::from(place) + 1).then_some(())).await;
        if place == 2 {
            let skip = |head: &mut Head| {
                head.skip();
                true
            };
            desk.shelf.change_head(desk.tenant(), skip).await.unwrap();
        }
    }
    let numbers: Vec<_> = desk.places().await.into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [1, 2, 3, 5, 6, 7]);
    assert_eq!(desk.shelf.before(desk.tenant(), START).await.unwrap(), 0);
    assert!((3..5).contains(&desk.shelf.before(desk.tenant(), START + HOUR).await.unwrap()));
    assert_eq!(desk.shelf.before(desk.tenant(), START + 2 * HOUR).await.unwrap(), 7);
    writer.abort();
}

/// A feed is not quite in the order of time, and of more than fit the earliest are told, so that a time tells the rest.
#[tokio::test]
async fn a_replay_of_more_than_fit_goes_on_where_it_says() {
    let desk = Desk::new().await;
    let writer = desk.write();
    for (round, at) in [(0, START + 10 * SECOND), (1, START)] {
        let places = (0..600).map(|place| round * 600 + place);
        for places in places.collect::<Vec<_>>().chunks(200) {
            desk.ground.store.commit(desk.news_of(at, places)).await.unwrap();
        }
        desk.ground.fed.note(desk.partition());
        eventually(async || {
            (desk.shelf.head(desk.tenant()).await.unwrap().1.last() >= (u64::from(round) + 1) * 600).then_some(())
        })
        .await;
    }
    let events = Config {
        retention: 100 * HOUR,
        backlog: 100,
        per_endpoint: 1,
        allow: Vec::new(),
        local: true,
        endpoints: Vec::new(),
    };
    let calls = CallConfig {
        allow: Vec::new(),
        ports: vec!["443".parse().unwrap()],
        connect_timeout: SECOND,
        timeout: 2 * SECOND,
        attempts: 1,
        concurrency: 1,
        per_receiver: 1,
    };
    let (feeds, _) = Feeds::open(outbox(&desk.ground), &events, &calls).await.unwrap();
    let acme: TenantName = "acme".parse().unwrap();
    let new = NewEndpoint {
        tenant: acme.clone(),
        name: None,
        url: "https://example.com/".to_owned(),
        wanted: Wanted::default(),
        description: String::new(),
        secret: FIRST.into(),
    };
    let endpoint = feeds.endpoints().create(new).await.unwrap();
    let never = Timestamp::from_millis(u64::MAX);
    let first = feeds.replay(&acme, endpoint.id, Replay::Between(START, never)).await.unwrap();
    let rest_from = START + 10 * SECOND;
    assert_eq!(first, Replayed { events: 1_000, rest_from: Some(rest_from) });
    let rest = feeds.replay(&acme, endpoint.id, Replay::Between(rest_from, never)).await.unwrap();
    assert_eq!(rest, Replayed { events: 600, rest_from: None });
    writer.abort();
}
