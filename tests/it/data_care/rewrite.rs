//! The files of a store, written anew while it is in use: nothing is lost, whatever happens in the middle.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tempfile::TempDir;
use verigate::clock::{ManualClock, SystemClock, Timestamp};
use verigate::error::{Kind, Reason};
use verigate::id::Partition;
use verigate::store::sled::{self, SledStore};
use verigate::store::{Batch, Commit, Key, Store, WholeStore, Write};

fn open(path: &Path) -> Arc<SledStore> {
    let config = sled::Config { path: path.to_owned(), journal_bytes: 1 << 20, ..sled::Config::default() };
    Arc::new(SledStore::open(&config, Arc::new(SystemClock)).unwrap())
}

fn key(number: u64) -> Key {
    Key::new(Partition::new(0), format!("k{:06}", number % 3_000).into_bytes())
}

async fn put(store: &SledStore, number: u64, value: &[u8]) {
    let batch = Batch::new(Partition::new(0)).put(key(number), value.to_vec(), None);
    assert!(matches!(store.commit(batch).await.unwrap(), Commit::Committed(_)));
}

/// Long enough that some go on in further parts.
fn value(number: u64) -> Vec<u8> {
    let length = if number.is_multiple_of(50) { 40_000 } else { 300 };
    number.to_be_bytes().into_iter().cycle().take(length).collect()
}

async fn rewrite(store: &SledStore) -> u64 {
    let mut rewriting = store.rewrite().await.unwrap();
    let mut taken = 0;
    while let Some(records) = rewriting.next().await.unwrap() {
        assert!(records >= taken);
        taken = records;
    }
    taken
}

/// The numbers that every key was last written with by one writer.
struct Writer {
    store: Arc<SledStore>,
    stop: Arc<AtomicBool>,
    last: Arc<AtomicU64>,
}

impl Writer {
    fn start(store: &Arc<SledStore>) -> (Self, tokio::task::JoinHandle<()>) {
        let writer = Self { store: Arc::clone(store), stop: Arc::default(), last: Arc::default() };
        let (store, stop, last) = (Arc::clone(store), Arc::clone(&writer.stop), Arc::clone(&writer.last));
        let work = tokio::spawn(async move {
            let mut number = 0;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                if number % 7 == 3 {
                    store.commit(Batch::new(Partition::new(0)).delete(key(number))).await.unwrap();
                } else {
                    put(&store, number, &value(number)).await;
                }
                last.store(number, Ordering::Relaxed);
            }
        });
        (writer, work)
    }

    async fn until(&self, number: u64) {
        let goal = self.last.load(Ordering::Relaxed) + number;
        while self.last.load(Ordering::Relaxed) < goal {
            tokio::task::yield_now().await;
        }
    }

    async fn stop(self, work: tokio::task::JoinHandle<()>) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        work.await.unwrap();
        drop(self.store);
        self.last.load(Ordering::Relaxed)
    }
}

/// Every key is as it was last written, and nothing else is there.
async fn check(store: &SledStore, last: u64) {
    let mut there = 0;
    for number in last.saturating_sub(2_999).max(1)..=last {
        let found = store.get(&key(number)).await.unwrap().map(|record| record.value);
        let expected = (number % 7 != 3).then(|| value(number));
        assert!(found == expected, "key of {number} of {last}");
        there += usize::from(expected.is_some());
    }
    let mut snapshot = store.snapshot().await.unwrap();
    let mut seen = 0;
    while let Some(part) = snapshot.next().await.unwrap() {
        seen += part.entries.iter().filter(|(_, write)| *write != Write::Delete).count();
    }
    assert_eq!(seen, there);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_rewritten_under_load_and_holds_what_it_held() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    let (writer, work) = Writer::start(&store);
    writer.until(4_000).await;
    for round in 1..=3 {
        let before = writer.last.load(Ordering::Relaxed);
        assert!(rewrite(&store).await > 1_000);
        writer.until(200).await;
        assert!(writer.last.load(Ordering::Relaxed) > before);
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        let folders: Vec<_> = names.iter().filter(|name| name.to_string_lossy().starts_with("files.")).collect();
        assert_eq!(folders, [&*format!("files.{round}")], "{names:?}");
        assert!(!names.iter().any(|name| name == "db" || name == "conf" || name == "blobs"), "{names:?}");
    }
    let last = writer.stop(work).await;
    check(&store, last).await;
    drop(store);
    check(&open(folder.path()), last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_given_up_leaves_nothing_behind_and_harms_nobody() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    let (writer, work) = Writer::start(&store);
    writer.until(3_000).await;
    for calls in 0..2 {
        let mut rewriting = store.rewrite().await.unwrap();
        let Err(refused) = store.rewrite().await else { panic!("two at once") };
        assert_eq!((refused.kind(), refused.reason()), (Kind::Conflict, Reason::RewriteUnderWay));
        for _ in 0..calls {
            rewriting.next().await.unwrap();
        }
        let was_done = rewriting.next().await.unwrap().is_none();
        drop(rewriting);
        assert!(!was_done);
    }
    assert!(rewrite(&store).await > 1_000);
    let last = writer.stop(work).await;
    check(&store, last).await;
    drop(store);
    let store = open(folder.path());
    check(&store, last).await;
    let folders = std::fs::read_dir(folder.path()).unwrap().filter(|it| it.as_ref().unwrap().path().is_dir()).count();
    assert_eq!(folders, 1);
}

/// What a crash can leave: new files that were not yet in use, and old ones that were not yet deleted.
#[tokio::test]
async fn files_that_a_crash_has_left_are_deleted_on_the_next_opening() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    for number in 1..=50 {
        put(&store, number, &value(number)).await;
    }
    store.close();
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to).unwrap();
        for name in ["db", "conf"] {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    };
    copy(folder.path(), &folder.path().join("files.1"));
    let store = open(folder.path());
    assert!(!folder.path().join("files.1").exists(), "it was not in use");
    rewrite(&store).await;
    let aside = TempDir::new().unwrap();
    store.close();
    copy(&folder.path().join("files.1"), aside.path());
    copy(aside.path(), folder.path());
    copy(aside.path(), &folder.path().join("files.2"));
    let store = open(folder.path());
    assert!(!folder.path().join("db").exists() && !folder.path().join("files.2").exists());
    for number in 1..=50 {
        assert!(store.get(&key(number)).await.unwrap().unwrap().value == value(number));
    }
    let Err(refused) = SledStore::open(
        &sled::Config { path: folder.path().to_owned(), ..sled::Config::default() },
        Arc::new(SystemClock),
    ) else {
        panic!("two at once")
    };
    assert!(refused.message().starts_with("another verigate is using"), "{}", refused.message());
    store.close();
    // Nothing is made, or deleted, in place of a database that is not there.
    for name in ["elsewhere", "files.9"] {
        std::fs::write(folder.path().join("current"), name).unwrap();
        let config = sled::Config { path: folder.path().to_owned(), ..sled::Config::default() };
        let Err(refused) = SledStore::open(&config, Arc::new(SystemClock)) else { panic!("it names no folder") };
        assert!(refused.message().contains("names no folder"), "{}", refused.message());
        assert!(folder.path().join("files.1").join("db").exists());
    }
}

#[tokio::test]
async fn what_has_expired_is_not_taken_over() {
    let folder = TempDir::new().unwrap();
    let clock = ManualClock::new(Timestamp::from_millis(1_000));
    let config = sled::Config { path: folder.path().to_owned(), ..sled::Config::default() };
    let store = SledStore::open(&config, Arc::new(clock.clone())).unwrap();
    for number in 0..10 {
        let until = Timestamp::from_millis(2_000 + number);
        let batch = Batch::new(Partition::new(0)).put(key(number), value(number), Some(until));
        store.commit(batch).await.unwrap();
    }
    clock.set(Timestamp::from_millis(2_007));
    // Those that live, one of them in three parts.
    assert_eq!(rewrite(&store).await, 2);
    clock.set(Timestamp::from_millis(3_000));
    assert_eq!(rewrite(&store).await, 0);
}
