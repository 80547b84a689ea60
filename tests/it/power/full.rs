//! A disk that is full, and one that fails: what was acknowledged stays, nothing is acknowledged that was not written, and
//! reads go on. With room the store takes writes again by itself; after a sync that failed only a new process does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use verigate::clock::SystemClock;
use verigate::error::{Error, Reason};
use verigate::store::sled::{Config, SledStore};
use verigate::store::{Prefix, Store, WholeStore};

use crate::power::work::{self, CALLERS, compare, last_batches, try_to_make};
use crate::support::gateway::eventually;

/// The journal's room: it settles all the time, and never.
const JOURNALS: [u64; 2] = [64 * 1024, 1 << 30];

const KIND: &str = "VERIGATE_TEST_POWER_FAULT";
const JOURNAL: &str = "VERIGATE_TEST_POWER_JOURNAL";

/// A store, and how its disk is.
struct Bench {
    store: Arc<SledStore>,
    faults: PathBuf,
}

// === impl Bench ===

impl Bench {
    fn set(&self, fault: &str) {
        fs::write(&self.faults, fault).unwrap();
    }

    /// Makes batches until one is refused, with all callers at once.
    async fn make_until_refused(&self, most: u64) -> Option<Error> {
        let callers = (0..CALLERS).map(|caller| {
            let store = Arc::clone(&self.store);
            tokio::spawn(async move {
                for _ in 0..most {
                    let next = last_batches(&*store).await[usize::from(caller)] + 1;
                    if let Err(error) = try_to_make(&store, caller, next).await {
                        return Some(error);
                    }
                }
                None
            })
        });
        let mut refused = None;
        for caller in callers.collect::<Vec<_>>() {
            refused = refused.or(caller.await.unwrap());
        }
        refused
    }

    /// Everything can be read, and is as it should be.
    async fn look(&self) {
        let last = last_batches(&*self.store).await;
        for caller in 0..CALLERS {
            compare(&self.store, caller, last[usize::from(caller)]).await.unwrap();
        }
    }

    /// Waits until the database has been opened again, without what could not be written.
    async fn until_readable(&self) {
        eventually(async || {
            for space in 0..4 {
                self.store.scan(&Prefix::new([space], None), None, 1_000).await.ok()?;
            }
            Some(())
        })
        .await;
    }

    async fn until_ready(&self) {
        while self.store.ready().is_err() {
            tokio::task::yield_now().await;
        }
    }
}

fn config(place: &Path, journal_bytes: u64) -> Config {
    Config { journal_bytes, ..work::config(place) }
}

/// What the children of these tests do; nothing when it is run as a test of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let (Some(place), Ok(kind)) = (work::place(), std::env::var(KIND)) else { return };
    let journal_bytes = std::env::var(JOURNAL).unwrap().parse().unwrap();
    let store = Arc::new(SledStore::open(&config(&place, journal_bytes), Arc::new(SystemClock)).unwrap());
    let bench = Bench { store, faults: std::env::var_os("RECORDER_FAULTS").unwrap().into() };
    assert!(bench.make_until_refused(30).await.is_none());
    match &*kind {
        "full" => run_full(&bench).await,
        fault => fail(&bench, fault).await,
    }
    // Such a store closes, too, and does not wait for its disk.
    bench.set("full");
    bench.store.close();
}

async fn run_full(bench: &Bench) {
    for round in 0..3 {
        bench.set("full");
        let refused = bench.make_until_refused(2_000).await.expect("the disk is full");
        assert_eq!(refused.reason(), Reason::StoreUnavailable);
        assert!(refused.retry_after().is_some(), "{refused:?}");
        let not_ready = bench.store.ready().unwrap_err();
        assert!(not_ready.message().contains("full") && not_ready.retry_after().is_some(), "{not_ready:?}");
        bench.until_readable().await;
        bench.look().await;
        let Err(refused) = rewrite(&bench.store).await else { panic!("there is no room for other files") };
        assert_eq!(refused.reason(), Reason::StoreUnavailable);
        bench.set("");
        bench.until_ready().await;
        bench.look().await;
        assert!(bench.make_until_refused(30).await.is_none(), "round {round}");
        bench.look().await;
    }
    rewrite(&bench.store).await.unwrap();
    // Full while there is another set of files.
    let mut rewriting = bench.store.rewrite().await.unwrap();
    rewriting.next().await.unwrap();
    bench.set("full");
    bench.make_until_refused(2_000).await.expect("the disk is full");
    bench.set("");
    bench.until_ready().await;
    while let Ok(Some(_)) = rewriting.next().await {}
    drop(rewriting);
    bench.look().await;
    rewrite(&bench.store).await.unwrap();
    bench.look().await;
}

async fn fail(bench: &Bench, fault: &str) {
    bench.set(fault);
    let refused = bench.make_until_refused(2_000).await.expect("the disk fails");
    assert_eq!((refused.reason(), refused.retry_after()), (Reason::StoreUnavailable, None), "{refused:?}");
    bench.look().await;
    bench.set("");
    // Whoever asks, nothing is written any more.
    assert!(bench.make_until_refused(1).await.is_some());
    assert_eq!(bench.store.ready().unwrap_err().retry_after(), None);
    bench.look().await;
}

async fn rewrite(store: &SledStore) -> Result<(), Error> {
    let mut rewriting = store.rewrite().await?;
    while rewriting.next().await?.is_some() {}
    Ok(())
}

/// Has a store meet a fault, and opens it afterwards.
async fn meet(fault: &str, journal_bytes: u64) {
    let (place, aside) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let mut child = work::child("power::full::child", &place.path().canonicalize().unwrap());
    child.env(KIND, fault).env(JOURNAL, journal_bytes.to_string()).env("RECORDER_FAULTS", aside.path().join("faults"));
    let output = child.output().unwrap();
    let said = [output.stdout.as_slice(), &output.stderr].map(String::from_utf8_lossy).concat();
    assert!(output.status.success(), "{fault}, {journal_bytes}: {said}");
    let store = SledStore::open(&config(place.path(), journal_bytes), Arc::new(SystemClock)).unwrap();
    let last = last_batches(&store).await;
    assert!(last.iter().all(|number| *number >= 30), "{last:?}");
    for caller in 0..CALLERS {
        compare(&store, caller, last[usize::from(caller)]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_takes_writes_again_when_its_disk_has_room() {
    for journal_bytes in JOURNALS {
        meet("full", journal_bytes).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_disk_fails_writes_no_more_and_loses_nothing() {
    for fault in ["no-sync", "no-write"] {
        for journal_bytes in JOURNALS {
            meet(fault, journal_bytes).await;
        }
    }
}
