//! A second process of this test binary that commits and is killed, or runs into a full disk.
//!
//! Each of its callers keeps two keys that always hold the same number, raised by one in each commit, and tells the
//! number once the commit is acknowledged.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use verigate::clock::SystemClock;
use verigate::error::{Error, Reason};
use verigate::id::Partition;
use verigate::store::sled::{Config, SledStore};
use verigate::store::{Batch, Commit, Key, Store};

pub(crate) const CALLERS: u8 = 6;
const DIRECTORY: &str = "VERIGATE_TEST_STORE_CHILD";
const JOURNAL: &str = "VERIGATE_TEST_STORE_JOURNAL";

/// A journal so short that it turns all the time.
pub(crate) const SHORT_JOURNAL: u64 = 16 * 1024;

pub(crate) fn config(path: &Path) -> Config {
    Config { path: path.to_owned(), journal_bytes: SHORT_JOURNAL, ..Config::default() }
}

/// The command that runs the test `child` of `store` alone, in `directory`, with its acknowledgements piped.
pub(crate) fn command(program: &str, leading: &[&str], directory: &Path, journal_bytes: u64) -> Command {
    let mut command = Command::new(program);
    command
        .args(leading)
        .args(["store::child", "--exact", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(JOURNAL, journal_bytes.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// The directory to work in, when this process is the child.
pub(crate) fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Commits until the store refuses, which it does only when writing fails.
pub(crate) async fn work(directory: &Path) {
    let journal_bytes = std::env::var(JOURNAL).unwrap().parse().unwrap();
    let config = Config { journal_bytes, ..config(directory) };
    let store: Arc<dyn Store> = Arc::new(SledStore::open(&config, Arc::new(SystemClock)).unwrap());
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                loop {
                    match raise(store.as_ref(), caller).await {
                        Ok(number) => tell(&format!("ack {caller} {number}\n")),
                        Err(error) => break error,
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().reason(), Reason::StoreUnavailable);
    }
    assert_eq!(store.ready().unwrap_err().reason(), Reason::StoreUnavailable);
    assert_eq!(raise(store.as_ref(), 0).await.unwrap_err().reason(), Reason::StoreUnavailable);
    tell("stopped\n");
}

/// The numbers under both keys of a caller; 0 where there is none.
pub(crate) async fn numbers(store: &dyn Store, caller: u8) -> (u64, u64) {
    let [low, high] = keys(caller);
    let read = async |key: &Key| {
        let record = store.get(key).await.unwrap();
        record.map_or(0, |record| u64::from_be_bytes(*record.value.first_chunk().unwrap()))
    };
    (read(&low).await, read(&high).await)
}

async fn raise(store: &dyn Store, caller: u8) -> Result<u64, Error> {
    let [low, high] = keys(caller);
    let read = store.get(&low).await?;
    let number = 1 + read.as_ref().map_or(0, |record| u64::from_be_bytes(*record.value.first_chunk().unwrap()));
    let mut value = number.to_be_bytes().to_vec();
    value.resize(500, caller);
    // One key at each end of the space, so that the two lie in nodes of their own, among others that come and go.
    let between = key(caller, &[&[1][..], &number.to_be_bytes()].concat());
    let batch = Batch::new(Partition::new(caller))
        .require(&low, read.as_ref())
        .put(low, value.clone(), None)
        .put(between, value.clone(), None)
        .put(high, value, None);
    match store.commit(batch).await? {
        Commit::Committed(_) => Ok(number),
        Commit::Conflict => panic!("nobody else writes these keys"),
    }
}

fn keys(caller: u8) -> [Key; 2] {
    [key(caller, &[0]), key(caller, &[2])]
}

fn key(caller: u8, rest: &[u8]) -> Key {
    let [first, rest @ ..] = rest else { panic!("a key has a first byte") };
    Key::new(Partition::new(caller), [&[*first, caller], rest].concat())
}

fn tell(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes()).unwrap();
    out.flush().unwrap();
}
