//! What a store is given to do while the power may go, and what must be there afterwards.
//!
//! Each of its callers makes one batch after the other and tells its number once it is acknowledged. What lies under a
//! caller's keys follows from the number of its last batch alone, so whatever is lost, torn or made up shows.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use verigate::clock::SystemClock;
use verigate::error::Error;
use verigate::id::Partition;
use verigate::store::sled::{Config, SledStore};
use verigate::store::{Batch, Commit, Key, Prefix, Store, WholeStore};

use crate::power::record::{Act, recorder};

pub(crate) const CALLERS: u8 = 5;
/// Batches of each caller before the files are written anew, meanwhile, and after the store was closed and opened again.
const ROUNDS: [u64; 3] = [40, 40, 10];
/// Batches after which a key of one is deleted, and keys that are written again and again.
const KEPT: u64 = 20;
const HOT: u64 = 7;

const PLACE: &str = "VERIGATE_TEST_POWER_CHILD";

/// Where the store lies in its place: two levels that the store has to make, too.
pub(crate) const STORE: &str = "made/store";
/// Where it is told what was acknowledged, beside the store, so that it stands in the record.
const WORDS: &str = "words";

/// What was told until some moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// The last word but for numbers.
    pub(crate) stage: String,
    /// Whether the store has ever been open.
    pub(crate) was_open: bool,
    acknowledged: [u64; CALLERS as usize],
    /// What the record calls the file with the words.
    words: Option<u64>,
}

/// So short a journal turns all the time.
pub(crate) fn config(place: &Path) -> Config {
    Config { path: place.join(STORE), journal_bytes: 64 * 1024, ..Config::default() }
}

/// The command that runs this work in `place`, recorded to `record`.
pub(crate) fn command(place: &Path, record: &Path) -> Command {
    let mut command = child("power::child", place);
    command.env("RECORDER_LOG", record);
    command
}

/// The command that runs a test alone, in `place`, under the recorder.
pub(crate) fn child(test: &str, place: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(PLACE, place)
        .env("LD_PRELOAD", recorder())
        .env("RECORDER_FOLDER", place);
    command
}

/// The place to work in, when this process is the child.
pub(crate) fn place() -> Option<PathBuf> {
    std::env::var_os(PLACE).map(PathBuf::from)
}

pub(crate) async fn work(place: &Path) {
    let words = Words(place.join(WORDS));
    words.tell("opening");
    let store = open(place);
    words.tell("open");
    let mut begun = last_batches(&*store).await;
    raise(&store, &words, &mut begun, ROUNDS[0]).await;
    let rewriting = async {
        words.tell("rewriting");
        let mut rewriting = store.rewrite().await.unwrap();
        while rewriting.next().await.unwrap().is_some() {}
        words.tell("rewritten");
    };
    tokio::join!(rewriting, raise(&store, &words, &mut begun, ROUNDS[1]));
    words.tell("closing");
    drop(store);
    words.tell("opening");
    let store = open(place);
    words.tell("open");
    raise(&store, &words, &mut begun, ROUNDS[2]).await;
    words.tell("end");
}

fn open(place: &Path) -> Arc<SledStore> {
    Arc::new(SledStore::open(&config(place), Arc::new(SystemClock)).unwrap())
}

/// Has each caller make so many batches.
async fn raise(store: &Arc<SledStore>, words: &Words, last: &mut [u64; CALLERS as usize], batches: u64) {
    let callers = (0..CALLERS).map(|caller| {
        let (store, words, from) = (Arc::clone(store), words.clone(), last[usize::from(caller)]);
        tokio::spawn(async move {
            for number in from + 1..=from + batches {
                make(&store, caller, number).await;
                words.tell(&format!("ack {caller} {number}"));
            }
        })
    });
    for caller in callers.collect::<Vec<_>>() {
        caller.await.unwrap();
    }
    last.iter_mut().for_each(|number| *number += batches);
}

async fn make(store: &SledStore, caller: u8, number: u64) {
    try_to_make(store, caller, number).await.unwrap();
}

/// Makes the batch of a number.
pub(crate) async fn try_to_make(store: &SledStore, caller: u8, number: u64) -> Result<(), Error> {
    let mut batch = Batch::new(Partition::new(caller));
    for (key, value) in changes(caller, number) {
        let key = Key::new(Partition::new(caller), key);
        batch = match value {
            Some(value) => batch.put(key, value, None),
            None => batch.delete(key),
        };
    }
    match store.commit(batch).await? {
        Commit::Committed(_) => Ok(()),
        Commit::Conflict => panic!("there was no condition"),
    }
}

/// What the batch of a number changes.
fn changes(caller: u8, number: u64) -> BTreeMap<Vec<u8>, Option<Vec<u8>>> {
    let key = |space: u8, number: u64| [&[space, caller][..], &number.to_be_bytes()].concat();
    let length = if number.is_multiple_of(25) { 40_000 } else { 100 + number * 37 % 900 };
    let value: Vec<u8> = number.to_be_bytes().into_iter().cycle().take(length.try_into().unwrap()).collect();
    let mut changes = BTreeMap::new();
    // At both ends of the space, and among others that come and go.
    changes.insert(key(0, 0), Some(number.to_be_bytes().to_vec()));
    changes.insert(key(1, number), Some(value.clone()));
    if number > KEPT {
        changes.insert(key(1, number - KEPT), None);
    }
    changes.insert(key(2, number % HOT), Some(value));
    changes.insert(key(3, 0), Some(number.to_be_bytes().to_vec()));
    changes
}

/// Everything that a caller's batches until this one leave.
fn expected(caller: u8, last: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut left = BTreeMap::new();
    for number in last.saturating_sub(KEPT.max(HOT)) + 1..=last {
        for (key, value) in changes(caller, number) {
            match value {
                Some(value) => drop(left.insert(key, value)),
                None => drop(left.remove(&key)),
            }
        }
    }
    left
}

/// Of each caller the number of its last batch.
pub(crate) async fn last_batches(store: &dyn Store) -> [u64; CALLERS as usize] {
    let mut last = [0; CALLERS as usize];
    for caller in 0..CALLERS {
        last[usize::from(caller)] = last_batch(store, caller).await;
    }
    last
}

async fn last_batch(store: &dyn Store, caller: u8) -> u64 {
    let key = Key::new(Partition::new(caller), [&[0, caller][..], &[0; 8]].concat());
    let record = store.get(&key).await.unwrap();
    record.map_or(0, |record| u64::from_be_bytes(*record.value.first_chunk().unwrap()))
}

/// Opens what a power cut has left, and compares it with what was told before; then goes on with it.
pub(crate) async fn check(place: &Path, told: &Told) -> Result<(), String> {
    let open = || SledStore::open(&config(place), Arc::new(SystemClock)).map_err(|error| error.message().to_owned());
    let store = open()?;
    let mut last = [0; CALLERS as usize];
    for caller in 0..CALLERS {
        last[usize::from(caller)] = compare(&store, caller, told.acknowledged[usize::from(caller)]).await?;
    }
    for caller in 0..CALLERS {
        make(&store, caller, last[usize::from(caller)] + 1).await;
    }
    store.close();
    let store = open()?;
    for caller in 0..CALLERS {
        compare(&store, caller, last[usize::from(caller)] + 1).await?;
    }
    Ok(())
}

/// What there is of a caller follows from one number, which is the one that was acknowledged, or the next.
pub(crate) async fn compare(store: &SledStore, caller: u8, acknowledged: u64) -> Result<u64, String> {
    let last = last_batch(store, caller).await;
    if last < acknowledged || last > acknowledged + 1 {
        return Err(format!("caller {caller}: {acknowledged} was acknowledged, {last} is there"));
    }
    let mut found = BTreeMap::new();
    for space in 0..=u8::MAX - 1 {
        let rows = store.scan(&Prefix::new([space, caller], None), None, 1_000).await.unwrap();
        found.extend(rows.into_iter().map(|(key, record)| (key.bytes().to_vec(), record.value)));
    }
    if found != expected(caller, last) {
        return Err(format!("caller {caller}: what is there is not what batch {last} left"));
    }
    Ok(last)
}

// === impl Told ===

impl Told {
    pub(crate) fn by(acts: &[Act<'_>], before: Self) -> Self {
        let mut told = before;
        for act in acts {
            match act {
                Act::Create { path, inode } if path[1..] == *WORDS => told.words = Some(*inode),
                Act::Write { inode, bytes, .. } if told.words == Some(*inode) => {
                    told.hear(str::from_utf8(bytes).unwrap())
                }
                _ => {}
            }
        }
        told
    }

    fn hear(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("ack"), Some(caller), Some(number)) => {
                self.acknowledged[caller.parse::<usize>().unwrap()] = number.parse().unwrap();
            }
            (Some(stage), None, None) => {
                self.was_open |= stage == "open";
                stage.clone_into(&mut self.stage);
            }
            _ => panic!("{line:?} was told"),
        }
    }

    /// What a check has left: of each caller one batch more than was there.
    pub(crate) async fn after_check(place: &Path) -> Self {
        drop(fs::remove_file(place.join(WORDS)));
        let store = open(place);
        Self { was_open: true, acknowledged: last_batches(&*store).await, ..Self::default() }
    }
}

/// Says what was acknowledged, in one write a line.
#[derive(Clone)]
struct Words(PathBuf);

impl Words {
    fn tell(&self, line: &str) {
        let mut words = OpenOptions::new().create(true).append(true).open(&self.0).unwrap();
        words.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}
