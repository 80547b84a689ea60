//! What every store must do, run on each of them, and what only the embedded one can show: reopening, crashes, a disk
//! that takes no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::runtime::Handle;
use verigate::clock::{Clock, ManualClock, SystemClock, Timestamp};
use verigate::error::{Kind, Reason};
use verigate::id::Partition;
use verigate::random::OsRandom;
use verigate::store::redis::RedisStore;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::SledStore;
use verigate::store::{Batch, Commit, Condition, Key, MAX_SCAN_ROWS, MAX_VALUE_BYTES, Prefix, Record, Store, Version};

use crate::support::redis_server::{
    DURABLE, RedisServer, cluster, fresh_prefix, redis_settings, shared_cluster, shared_server, single,
};
use crate::support::store_model::ModelStore;

#[path = "support/store_child.rs"]
mod store_child;

const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const START: Timestamp = Timestamp::from_millis(1_795_324_560_125);

/// A store under test, and how to open it once more.
struct Subject {
    open: Box<dyn Fn() -> Arc<dyn Store>>,
    store: Option<Arc<dyn Store>>,
}

impl Subject {
    fn new(open: impl Fn() -> Arc<dyn Store> + 'static) -> Self {
        let store = Some(open());
        Self { open: Box::new(open), store }
    }

    fn store(&self) -> &Arc<dyn Store> {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some((self.open)());
    }
}

fn model(clock: Arc<dyn Clock>) -> Subject {
    let store: Arc<dyn Store> = Arc::new(ModelStore::new(clock));
    Subject::new(move || Arc::clone(&store))
}

fn sled(clock: Arc<dyn Clock>) -> Subject {
    let directory = tempfile::tempdir().unwrap();
    Subject::new(move || Arc::new(open_sled(directory.path(), &clock)))
}

fn sealed(clock: Arc<dyn Clock>) -> Subject {
    let directory = tempfile::tempdir().unwrap();
    Subject::new(move || Arc::new(seal(Arc::new(open_sled(directory.path(), &clock)))))
}

/// A store on Redis under a prefix of its own, with what the settings of `text` say of the servers.
fn redis(servers: String) -> impl Fn(Arc<dyn Clock>) -> Subject {
    move |clock| {
        let (servers, prefix) = (servers.clone(), fresh_prefix());
        Subject::new(move || Arc::new(open_redis(&servers, &prefix, &clock)))
    }
}

fn open_redis(servers: &str, prefix: &str, clock: &Arc<dyn Clock>) -> RedisStore {
    let config = redis_settings(&format!("{servers}\nprefix = \"{prefix}\"\nclock = \"machine\""));
    let open = RedisStore::open(&config, Arc::clone(clock), Arc::new(OsRandom));
    tokio::task::block_in_place(|| Handle::current().block_on(open)).unwrap()
}

fn open_sled(path: &Path, clock: &Arc<dyn Clock>) -> SledStore {
    SledStore::open(&store_child::config(path), Arc::clone(clock)).unwrap()
}

fn seal(store: Arc<dyn Store>) -> SealedStore {
    SealedStore::new(store, KeyRing::parse(KEYS).unwrap(), Arc::new(OsRandom))
}

const HERE: Partition = Partition::new(7);

/// In a space that is none of the house's, for scans need not find all of those.
fn key(name: &str) -> Key {
    Key::new(HERE, format!(".{name}").into_bytes())
}

fn name(key: &Key) -> String {
    String::from_utf8(key.bytes()[1..].to_vec()).unwrap()
}

fn batch() -> Batch {
    Batch::new(HERE)
}

fn prefix(of: &str) -> Prefix {
    Prefix::new(format!(".{of}").into_bytes(), None)
}

async fn put(store: &dyn Store, name: &str, value: &str) -> Version {
    committed(store.commit(batch().put(key(name), value.into(), None)).await.unwrap())
}

fn committed(commit: Commit) -> Version {
    match commit {
        Commit::Committed(version) => version,
        Commit::Conflict => panic!("expected a commit, not a conflict"),
    }
}

async fn value(store: &dyn Store, name: &str) -> Option<String> {
    let record = store.get(&key(name)).await.unwrap();
    record.map(|record| String::from_utf8(record.value).unwrap())
}

async fn names(store: &dyn Store, of: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let after = after.map(key);
    let rows = store.scan(&prefix(of), after.as_ref(), limit).await.unwrap();
    rows.iter().map(|(key, _)| name(key)).collect()
}

/// Every case that needs no more than the port.
async fn suite(make: impl Fn(Arc<dyn Clock>) -> Subject) {
    let clock = ManualClock::new(START);
    let fresh = || make(Arc::new(clock.clone()));
    preconditions_hold_or_leave_everything(&**fresh().store()).await;
    versions_are_never_used_again(&mut fresh()).await;
    expiry_is_to_the_millisecond(&**fresh().store(), &clock).await;
    scans_go_in_order(&**fresh().store()).await;
    scans_pass_over_the_expired(&**fresh().store(), &clock).await;
    scans_go_over_all_partitions(&**fresh().store()).await;
    rows_say_where_they_lie(&**fresh().store()).await;
    values_of_every_size_come_back(&mut fresh()).await;
    no_increment_is_lost(fresh().store()).await;
    readers_see_both_keys_or_none(fresh().store()).await;
    assert!(fresh().store().ready().is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_behaves() {
    suite(model).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_behaves() {
    suite(sled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_store_behaves() {
    suite(sealed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_redis_behaves() {
    suite(redis(single(shared_server()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_valkey_behaves() {
    let server = RedisServer::start_valkey(DURABLE);
    suite(redis(single(&server))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_on_a_cluster_behaves() {
    suite(redis(cluster(shared_cluster()))).await;
}

async fn preconditions_hold_or_leave_everything(store: &dyn Store) {
    let first = put(store, "a", "1").await;
    for refused in [
        batch().require_that(&key("a"), Condition::Absent),
        batch().require_that(&key("b"), Condition::At(first)),
        batch().require_that(&key("b"), Condition::Absent).require_that(&key("a"), Condition::At(Version(u64::MAX))),
    ] {
        let refused = refused.put(key("b"), b"2".to_vec(), None).delete(key("a"));
        assert_eq!(store.commit(refused).await.unwrap(), Commit::Conflict);
        assert_eq!(value(store, "a").await.as_deref(), Some("1"));
        assert_eq!(value(store, "b").await, None);
    }
    let read = store.get(&key("a")).await.unwrap().unwrap();
    assert_eq!(read, Record { value: b"1".to_vec(), version: first });
    let change = batch().require(&key("a"), Some(&read)).require(&key("b"), None);
    let change = change.put(key("b"), b"2".to_vec(), None).delete(key("a"));
    let second = committed(store.commit(change.clone()).await.unwrap());
    assert_ne!(first, second);
    assert_eq!(value(store, "a").await, None);
    assert_eq!(store.get(&key("b")).await.unwrap().unwrap().version, second);
    assert_eq!(store.commit(change).await.unwrap(), Commit::Conflict, "the same again");
    // Conditions alone, and deletes of what is not there, are commits too.
    committed(store.commit(batch().require_that(&key("b"), Condition::At(second))).await.unwrap());
    committed(store.commit(batch().delete(key("nothing"))).await.unwrap());
}

async fn versions_are_never_used_again(subject: &mut Subject) {
    let mut seen = BTreeSet::new();
    for round in 0..4 {
        for _ in 0..5 {
            let version = put(&**subject.store(), "a", "same").await;
            assert!(seen.insert(version), "round {round}: {version:?} again");
            committed(subject.store().commit(batch().delete(key("a"))).await.unwrap());
        }
        subject.reopen();
    }
}

async fn expiry_is_to_the_millisecond(store: &dyn Store, clock: &ManualClock) {
    let at = clock.now() + Duration::from_millis(2);
    let first = committed(store.commit(batch().put(key("a"), b"1".to_vec(), Some(at))).await.unwrap());
    clock.advance(Duration::from_millis(1));
    assert_eq!(value(store, "a").await.as_deref(), Some("1"));
    assert_eq!(names(store, "", None, 10).await, ["a"]);
    let absent = batch().require_that(&key("a"), Condition::Absent).put(key("a"), b"2".to_vec(), None);
    assert_eq!(store.commit(absent.clone()).await.unwrap(), Commit::Conflict);
    clock.advance(Duration::from_millis(1));
    assert_eq!(value(store, "a").await, None);
    assert!(names(store, "", None, 10).await.is_empty());
    let at_first = batch().require_that(&key("a"), Condition::At(first)).delete(key("a"));
    assert_eq!(store.commit(at_first).await.unwrap(), Commit::Conflict, "an expired key is absent");
    assert_ne!(committed(store.commit(absent).await.unwrap()), first);
    assert_eq!(value(store, "a").await.as_deref(), Some("2"));
    let past = batch().put(key("b"), b"3".to_vec(), Some(Timestamp::from_millis(0)));
    committed(store.commit(past).await.unwrap());
    assert_eq!(value(store, "b").await, None, "put after its expiry");
}

async fn scans_go_in_order(store: &dyn Store) {
    for name in ["b/2", "a", "b/1", "b0", "b/", "b", "c", "b/\u{7f}"] {
        put(store, name, name).await;
    }
    assert_eq!(names(store, "b/", None, 10).await, ["b/", "b/1", "b/2", "b/\u{7f}"]);
    assert_eq!(names(store, "b/", Some("b/1"), 10).await, ["b/2", "b/\u{7f}"], "strictly after");
    assert_eq!(names(store, "b/", Some("b/1x"), 1).await, ["b/2"], "after a key that is not there");
    assert_eq!(names(store, "b/", Some("a"), 1).await, ["b/"], "after a key before the prefix");
    assert!(names(store, "b/", Some("c"), 10).await.is_empty(), "after a key behind the prefix");
    assert!(names(store, "b/", Some("b/\u{7f}"), 10).await.is_empty(), "after the last");
    assert!(names(store, "x", None, 10).await.is_empty());
    assert!(names(store, "", None, 0).await.is_empty());
    assert_eq!(names(store, "", None, 10).await.len(), 8);

    scans_go_both_ways(store).await;
    let many = (0..MAX_SCAN_ROWS + 50).fold(batch(), |batch, n| batch.put(key(&format!("m{n:05}")), vec![], None));
    committed(store.commit(many).await.unwrap());
    let rows = names(store, "m", None, usize::MAX).await;
    assert_eq!((rows.len(), &*rows[MAX_SCAN_ROWS - 1]), (MAX_SCAN_ROWS, "m00999"));
    assert_eq!(names(store, "m", Some("m00999"), usize::MAX).await.len(), 50);
}

async fn scans_go_both_ways(store: &dyn Store) {
    let all = ["w", "wa", "wb", "wb0", "wc\u{7f}"];
    let beside = all.iter().chain(&["v\u{7f}", "x"]).fold(batch(), |batch, name| batch.put(key(name), vec![], None));
    committed(store.commit(beside).await.unwrap());
    let descending = async |after: Option<&str>, limit: usize| {
        let rows = store.scan(&prefix("w").descending(), after.map(key).as_ref(), limit).await.unwrap();
        rows.iter().map(|(key, _)| name(key)).collect::<Vec<_>>()
    };
    assert_eq!(descending(None, 10).await, ["wc\u{7f}", "wb0", "wb", "wa", "w"]);
    assert_eq!(descending(Some("wb0"), 2).await, ["wb", "wa"]);
    assert_eq!(descending(Some("x"), 1).await, ["wc\u{7f}"]);
    for after in ["w", "a"] {
        assert_eq!(descending(Some(after), 10).await, [""; 0], "{after}");
    }
    let gone = all.iter().chain(&["v\u{7f}", "x"]).fold(batch(), |batch, name| batch.delete(key(name)));
    committed(store.commit(gone).await.unwrap());
}

async fn scans_pass_over_the_expired(store: &dyn Store, clock: &ManualClock) {
    let at = clock.now() + Duration::from_secs(1);
    let many =
        (0..700).fold(batch(), |batch, n| batch.put(key(&format!("e{n:05}")), vec![], (n % 350 != 349).then_some(at)));
    committed(store.commit(many).await.unwrap());
    clock.advance(Duration::from_secs(1));
    assert_eq!(names(store, "e", None, 2).await, ["e00349", "e00699"]);
}

/// Keys of many partitions are one sequence, whatever a store has to put together for that.
async fn scans_go_over_all_partitions(store: &dyn Store) {
    let place = |number: u32| Partition::new(u8::try_from(number % 7 * 31 + u32::from(number > 300)).unwrap());
    for number in 0..600_u32 {
        let key = Key::new(place(number), format!(".x{number:05}").into_bytes());
        committed(store.commit(Batch::new(place(number)).put(key, vec![], None)).await.unwrap());
    }
    for (limit, descending) in [(1_000, false), (7, false), (1_000, true), (50, true)] {
        let of = if descending { prefix("x").descending() } else { prefix("x") };
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let rows = store.scan(&of, after.as_ref(), limit).await.unwrap();
            let Some((last, _)) = rows.last() else { break };
            assert!(rows.len() <= limit);
            after = Some(last.clone());
            all.extend(rows.into_iter().map(|(key, _)| key));
        }
        let mut expected: Vec<_> = (0..600).map(|number| format!("x{number:05}")).collect();
        if descending {
            expected.reverse();
        }
        assert_eq!(all.iter().map(name).collect::<Vec<_>>(), expected, "{limit} {descending}");
    }
    for number in 0..600_u32 {
        let key = Key::new(place(number), format!(".x{number:05}").into_bytes());
        committed(store.commit(Batch::new(place(number)).delete(key)).await.unwrap());
    }
}

async fn rows_say_where_they_lie(store: &dyn Store) {
    for index in [0, 7, 255] {
        let key = Key::new(Partition::new(index), [b'p', index]);
        committed(store.commit(Batch::new(Partition::new(index)).put(key, vec![index], None)).await.unwrap());
    }
    let rows = store.scan(&Prefix::new(*b"p", None), None, 10).await.unwrap();
    assert_eq!(rows.iter().map(|(key, _)| key.partition().index()).collect::<Vec<_>>(), [0, 7, 255]);
    let one = Prefix::new([b'p', 255], Some(Partition::new(255)));
    assert_eq!(store.scan(&one, None, 10).await.unwrap()[0].0.partition(), Partition::new(255));
}

async fn values_of_every_size_come_back(subject: &mut Subject) {
    let sizes = [0, 1, 10_000, 16 * 1024 - 42, 16 * 1024, 40_000, MAX_VALUE_BYTES, 20_000, 3];
    let bytes = |size: usize| -> Vec<u8> { (0..size).map(|at| u8::try_from(at % 253).unwrap()).collect() };
    for size in sizes {
        committed(subject.store().commit(batch().put(key("v"), bytes(size), None)).await.unwrap());
        subject.reopen();
        let record = subject.store().get(&key("v")).await.unwrap().unwrap();
        assert!(record.value == bytes(size), "{size} bytes");
        let rows = subject.store().scan(&prefix(""), None, 10).await.unwrap();
        assert_eq!(rows.len(), 1, "{size} bytes: one record is one row");
        assert!(rows[0].1 == record);
    }
    let error = subject.store().commit(batch().put(key("v"), vec![0; MAX_VALUE_BYTES + 100], None)).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.message().contains("large"), "{error:?}");
    assert_eq!(subject.store().get(&key("v")).await.unwrap().unwrap().value.len(), 3);
    committed(subject.store().commit(batch().delete(key("v"))).await.unwrap());
    assert!(subject.store().get(&key("v")).await.unwrap().is_none());
}

async fn no_increment_is_lost(store: &Arc<dyn Store>) {
    const TASKS: u64 = 16;
    const EACH: u64 = 25;
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let store = Arc::clone(store);
            tokio::spawn(async move {
                let mut done = 0;
                while done < EACH {
                    let read = store.get(&key("counter")).await.unwrap();
                    let count = read.as_ref().map_or(0, |read| u64::from_be_bytes(*read.value.first_chunk().unwrap()));
                    let next = batch().require(&key("counter"), read.as_ref());
                    let next = next.put(key("counter"), (count + 1).to_be_bytes().to_vec(), None);
                    done += u64::from(store.commit(next).await.unwrap() != Commit::Conflict);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let record = store.get(&key("counter")).await.unwrap().unwrap();
    assert_eq!(record.value, (TASKS * EACH).to_be_bytes());
}

async fn readers_see_both_keys_or_none(store: &Arc<dyn Store>) {
    const ROUNDS: u8 = 200;
    committed(store.commit(batch().put(key("a"), vec![0], None).put(key("z"), vec![0], None)).await.unwrap());
    let writer = tokio::spawn({
        let store = Arc::clone(store);
        async move {
            for round in 1..=ROUNDS {
                let change = batch().put(key("a"), vec![round], None).put(key("z"), vec![round], None);
                committed(store.commit(change).await.unwrap());
            }
        }
    });
    let mut compared = 0;
    while !writer.is_finished() || compared == 0 {
        let before = store.get(&key("a")).await.unwrap().unwrap();
        let other = store.get(&key("z")).await.unwrap().unwrap();
        let after = store.get(&key("a")).await.unwrap().unwrap();
        if before.version == after.version {
            assert_eq!(before, other);
            compared += 1;
        }
        let rows = store.scan(&prefix(""), None, 2).await.unwrap();
        assert_eq!(rows[0].1, rows[1].1, "one scan");
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

#[test]
#[should_panic(expected = "lies in its partition")]
fn a_batch_stays_in_its_partition() {
    let _ = batch().put(Key::new(Partition::new(8), *b"elsewhere"), vec![], None);
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Pairs the versions of the model with those of a store: each of one belongs to one of the other.
#[derive(Default)]
struct Versions(BTreeMap<Version, Version>, BTreeSet<Version>);

impl Versions {
    fn check(&mut self, model: Version, real: Version) {
        match self.0.get(&model) {
            Some(known) => assert_eq!(*known, real),
            None => {
                assert!(self.1.insert(real), "{real:?} was used before");
                self.0.insert(model, real);
            }
        }
    }

    fn check_record(&mut self, model: Option<Record>, real: Option<Record>) {
        assert_eq!(model.as_ref().map(|record| &record.value), real.as_ref().map(|record| &record.value));
        if let (Some(model), Some(real)) = (model, real) {
            self.check(model.version, real.version);
        }
    }
}

impl Dice {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }

    fn key(&mut self) -> Key {
        key(&format!("k{}", self.below(40)))
    }
}

/// A model and a store that get the same work, and have to give the same answers.
struct Comparison {
    clock: ManualClock,
    model: ModelStore,
    subject: Subject,
    versions: Versions,
    dice: Dice,
}

impl Comparison {
    async fn get(&mut self) {
        let key = self.dice.key();
        let expected = self.model.get(&key).await.unwrap();
        self.versions.check_record(expected, self.subject.store().get(&key).await.unwrap());
    }

    async fn scan(&mut self) {
        let of = prefix(self.dice.pick(&["", "k", "k1", "k39", "x"]));
        let of = if self.dice.below(2) == 0 { of } else { of.descending() };
        let after = (self.dice.below(2) == 0).then(|| self.dice.key());
        let limit = self.dice.pick(&[0, 1, 2, 5, 50]);
        let expected = self.model.scan(&of, after.as_ref(), limit).await.unwrap();
        let found = self.subject.store().scan(&of, after.as_ref(), limit).await.unwrap();
        assert_eq!(expected.len(), found.len());
        for ((expected_key, expected), (found_key, found)) in expected.into_iter().zip(found) {
            assert_eq!(expected_key, found_key);
            self.versions.check_record(Some(expected), Some(found));
        }
    }

    async fn commit(&mut self) {
        let (mut expected, mut real) = (batch(), batch());
        let keys: BTreeSet<Key> = (0..=self.dice.below(4)).map(|_| self.dice.key()).collect();
        for key in keys {
            if let Some((of_model, of_store)) = self.conditions(&key).await {
                expected = expected.require_that(&key, of_model);
                real = real.require_that(&key, of_store);
            }
            if self.dice.below(4) == 0 {
                (expected, real) = (expected.delete(key.clone()), real.delete(key));
            } else {
                let size = self.dice.pick(&[0, 9, 300, 300, 300, 40_000]);
                let value = vec![u8::try_from(self.dice.below(256)).unwrap(); size];
                let lives = Duration::from_millis(self.dice.below(200));
                let expires_at = (self.dice.below(2) == 0).then(|| self.clock.now() + lives);
                expected = expected.put(key.clone(), value.clone(), expires_at);
                real = real.put(key, value, expires_at);
            }
        }
        let expected = self.model.commit(expected).await.unwrap();
        match (expected, self.subject.store().commit(real).await.unwrap()) {
            (Commit::Committed(expected), Commit::Committed(real)) => self.versions.check(expected, real),
            (expected, real) => assert_eq!(expected, real),
        }
    }

    /// A condition on `key` in the versions of both: mostly one that holds, at times any version that once was, at
    /// times none.
    async fn conditions(&mut self, key: &Key) -> Option<(Condition, Condition)> {
        let version = match self.dice.below(12) {
            0..4 => return None,
            4 => self.versions.0.keys().nth(usize::try_from(self.dice.below(50)).unwrap()).copied(),
            _ => self.model.get(key).await.unwrap().map(|record| record.version),
        };
        let Some(version) = version else { return Some((Condition::Absent, Condition::Absent)) };
        let of_store = *self.versions.0.get(&version)?;
        Some((Condition::At(version), Condition::At(of_store)))
    }
}

async fn compare_with_model(make: impl Fn(Arc<dyn Clock>) -> Subject, seed: u64) {
    let clock = ManualClock::new(START);
    let model = ModelStore::new(Arc::new(clock.clone()));
    let subject = make(Arc::new(clock.clone()));
    let mut comparison = Comparison { clock, model, subject, versions: Versions::default(), dice: Dice(seed) };
    for _ in 0..700 {
        match comparison.dice.below(80) {
            0..20 => comparison.get().await,
            20..28 => comparison.scan().await,
            28..74 => comparison.commit().await,
            74..79 => comparison.clock.advance(Duration::from_millis(comparison.dice.below(100))),
            _ => comparison.subject.reopen(),
        }
    }
    let of_all = prefix("");
    let expected = comparison.model.scan(&of_all, None, usize::MAX).await.unwrap();
    let found = comparison.subject.store().scan(&of_all, None, usize::MAX).await.unwrap();
    assert_eq!(expected.len(), found.len());
    assert!(expected.iter().zip(&found).all(|(one, other)| one.0 == other.0 && one.1.value == other.1.value));
}

#[tokio::test(flavor = "multi_thread")]
async fn random_work_gives_what_the_model_gives() {
    for seed in [0x5EED, 0xC0FF_EE00_0001] {
        compare_with_model(sled, seed).await;
        compare_with_model(sealed, seed).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_work_on_redis_gives_what_the_model_gives() {
    compare_with_model(redis(single(shared_server())), 0x5EED).await;
    compare_with_model(redis(cluster(shared_cluster())), 0xC0FF_EE00_0001).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_at_a_time_uses_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = open_sled(directory.path(), &clock);
    let error = SledStore::open(&store_child::config(directory.path()), Arc::clone(&clock)).err().unwrap();
    assert_eq!(error.message(), format!("another verigate is using {}", directory.path().display()));
    store.close();
    assert_eq!(store.ready().unwrap_err().reason(), Reason::ShuttingDown);
    assert_eq!(store.get(&key("a")).await.unwrap_err().reason(), Reason::ShuttingDown);
    assert_eq!(store.commit(batch()).await.unwrap_err().reason(), Reason::ShuttingDown);
    open_sled(directory.path(), &clock);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_writes_what_has_queued() {
    let directory = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = Arc::new(open_sled(directory.path(), &clock));
    let commits: Vec<_> = (0..200)
        .map(|n| {
            let store = Arc::clone(&store);
            let put = batch().put(key(&format!("k{n}")), vec![], None);
            tokio::spawn(async move { (n, store.commit(put).await.is_ok()) })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close();
    let mut acknowledged = Vec::new();
    for commit in commits {
        acknowledged.push(commit.await.unwrap());
    }
    drop(store);
    let store = open_sled(directory.path(), &clock);
    for (n, acknowledged) in acknowledged {
        assert_eq!(store.get(&key(&format!("k{n}"))).await.unwrap().is_some(), acknowledged, "k{n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_file_shows_nothing_of_a_sealed_value() {
    let directory = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let secret = "canary-code-482913";
    let stored_as_is = open_sled(directory.path(), &clock);
    put(&stored_as_is, "open", "visible-482913").await;
    let store = seal(Arc::new(stored_as_is));
    put(&store, "a", secret).await;
    assert_eq!(value(&store, "a").await.as_deref(), Some(secret));
    let error = store.get(&key("open")).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (Kind::Internal, "internal error"));
    assert!(!format!("{error:?}").contains("482913"));
    drop(store);
    assert!(files_contain(&directory, b"visible-482913"), "the search finds what is there");
    assert!(!files_contain(&directory, secret.as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_value_leads_to_a_file_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = open_sled(directory.path(), &clock);
    for n in 0..60 {
        let put = batch().put(key(&format!("k{n:02}")), vec![n; MAX_VALUE_BYTES], None);
        committed(store.commit(put).await.unwrap());
    }
    assert_eq!(fs::read_dir(directory.path().join("blobs")).unwrap().count(), 0);
}

fn files_contain(directory: &TempDir, text: &[u8]) -> bool {
    let contains = |path: &Path| fs::read(path).unwrap().windows(text.len()).any(|window| window == text);
    let entries = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).any(|path| contains(&path))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_deletes_what_has_expired_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let store = open_sled(directory.path(), &shared);
    // Sooner than the store first sweeps by itself.
    let at = START + Duration::from_millis(50);
    for n in 0..300 {
        let expires_at = (n % 3 > 0).then_some(at);
        committed(store.commit(batch().put(key(&format!("k{n:03}")), vec![1; 100], expires_at)).await.unwrap());
    }
    let large = batch().put(key("large"), vec![1; MAX_VALUE_BYTES], Some(at));
    committed(store.commit(large).await.unwrap());
    assert_eq!(store.sweep_now().await.unwrap(), 0);
    clock.set(at);
    committed(store.commit(batch().put(key("k001"), b"again".to_vec(), None)).await.unwrap());
    assert_eq!(store.sweep_now().await.unwrap(), 200);
    assert_eq!(store.sweep_now().await.unwrap(), 0);
    assert_eq!(names(&store, "", None, 1_000).await.len(), 101);
    assert_eq!(value(&store, "k001").await.as_deref(), Some("again"));
    assert!(files_contain(&directory, b"again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_sweeps_by_itself_as_time_goes_by() {
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let store = open_sled(directory.path(), &shared);
    for n in 0..10 {
        committed(store.commit(batch().put(key(&format!("k{n}")), vec![], Some(START))).await.unwrap());
    }
    let before = store.figures().commits;
    while store.figures().commits == before {
        clock.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
    assert_eq!(store.sweep_now().await.unwrap(), 0);
}

/// sled by itself was once seen to miss a key that had just been inserted while its neighbours were being deleted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_just_committed_is_found_while_its_neighbours_are_swept() {
    const TASKS: u64 = 8;
    const EACH: u64 = 150;
    let directory = tempfile::tempdir().unwrap();
    let clock = ManualClock::new(START);
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    let store = Arc::new(open_sled(directory.path(), &shared));
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (store, clock) = (Arc::clone(&store), clock.clone());
            tokio::spawn(async move {
                for n in 0..EACH {
                    let mine = key(&format!("{n:05}/{task}/keep"));
                    let mut change =
                        batch().require_that(&mine, Condition::Absent).put(mine.clone(), vec![1; 50], None);
                    for neighbour in 0..6 {
                        let neighbour = key(&format!("{n:05}/{task}/{neighbour}"));
                        change = change.put(neighbour, vec![2; 50], Some(clock.now() + Duration::from_millis(1)));
                    }
                    let version = committed(store.commit(change).await.unwrap());
                    clock.advance(Duration::from_millis(1));
                    assert_eq!(store.get(&mine).await.unwrap().unwrap().version, version);
                    let rows = store.scan(&prefix(&format!("{n:05}/{task}/")), None, 10).await.unwrap();
                    assert_eq!(rows.iter().filter(|(key, _)| *key == mine).count(), 1);
                    if n % 10 == task {
                        store.sweep_now().await.unwrap();
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    store.sweep_now().await.unwrap();
    let rows = store.scan(&prefix("0"), None, usize::MAX).await.unwrap();
    let rest = store.scan(&prefix("0"), rows.last().map(|(key, _)| key), usize::MAX).await.unwrap();
    assert_eq!(u64::try_from(rows.len() + rest.len()).unwrap(), TASKS * EACH);
}

/// What the child of the tests below does; nothing when it is run as a test of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    if let Some(directory) = store_child::directory() {
        store_child::work(&directory).await;
    }
}

/// Reads acknowledgements until there are `enough` or no more come; keeps the highest number of each caller. Returns
/// whether the child said that it has stopped by itself.
fn read_acknowledgements(lines: &mut impl Iterator<Item = String>, highest: &mut [u64], enough: u64) -> bool {
    let mut read = 0;
    for line in lines {
        if line == "stopped" {
            return true;
        }
        // The harness prints the name of the test without ending the line.
        let Some(at) = line.find("ack ") else { continue };
        let mut words = line[at..].split(' ').skip(1).map(|word| word.parse::<u64>().unwrap());
        let (caller, number) = (words.next().unwrap(), words.next().unwrap());
        let highest = &mut highest[usize::try_from(caller).unwrap()];
        *highest = number.max(*highest);
        read += 1;
        if read == enough {
            break;
        }
    }
    false
}

async fn check_child(directory: &Path, acknowledged: &[u64]) {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = open_sled(directory, &clock);
    for (caller, acknowledged) in (0..store_child::CALLERS).zip(acknowledged) {
        let (low, high) = store_child::numbers(&store, caller).await;
        assert_eq!(low, high, "caller {caller}: half a batch");
        assert!(low >= *acknowledged, "caller {caller}: {acknowledged} was acknowledged, {low} is there");
        let between = Prefix::new([1, caller], None);
        let mut after = None;
        let mut count = 0;
        loop {
            let rows = store.scan(&between, after.as_ref(), usize::MAX).await.unwrap();
            count += rows.len();
            match rows.into_iter().next_back() {
                Some((last, _)) => after = Some(last),
                None => break,
            }
        }
        assert_eq!(u64::try_from(count).unwrap(), low, "caller {caller}: one key for each commit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_kill_9() {
    let program = std::env::current_exe().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = [0; store_child::CALLERS as usize];
    let mut dice = Dice(0xDEAD);
    for round in 0..20 {
        let journal_bytes = [store_child::SHORT_JOURNAL, 1 << 20][round % 2];
        let mut child = store_child::command(program.to_str().unwrap(), &[], directory.path(), journal_bytes);
        let mut child = child.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let enough = 1 + dice.below(600);
        assert!(!read_acknowledgements(&mut lines, &mut acknowledged, enough));
        // Waits for nothing: without it every kill would fall into the moment just after an acknowledgement.
        #[expect(clippy::disallowed_methods, reason = "the moment of the kill must not depend on what is killed")]
        std::thread::sleep(Duration::from_micros(dice.below(3_000)));
        child.kill().unwrap();
        // What it said before it died counts as well.
        read_acknowledgements(&mut lines, &mut acknowledged, u64::MAX);
        child.wait().unwrap();
        check_child(directory.path(), &acknowledged).await;
    }
    assert!(acknowledged.iter().sum::<u64>() > 1_000, "{acknowledged:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_no_more_ends_writing_and_loses_nothing() {
    // The limit is met by the database under a short journal, and by a long journal itself.
    for journal_bytes in [store_child::SHORT_JOURNAL, 1 << 30] {
        let program = std::env::current_exe().unwrap();
        let directory = tempfile::tempdir().unwrap();
        // A limit on the size of files, whose signal is ignored, so that writes fail.
        let script = r#"trap '' XFSZ; ulimit -f 12000; exec "$0" "$@""#;
        let leading = ["-c", script, program.to_str().unwrap()];
        let mut child = store_child::command("sh", &leading, directory.path(), journal_bytes).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut acknowledged = [0; store_child::CALLERS as usize];
        assert!(read_acknowledgements(&mut lines, &mut acknowledged, u64::MAX), "it noticed and stopped");
        lines.for_each(drop);
        assert!(child.wait().unwrap().success());
        assert!(acknowledged.iter().sum::<u64>() > 100, "{acknowledged:?}");
        check_child(directory.path(), &acknowledged).await;
    }
}
