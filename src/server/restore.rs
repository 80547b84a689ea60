//! Restoring a backup into a new store, and checking a store or a backup, both without a server.
//!
//! A restore reads the backup to its end before it writes anything, writes into a folder beside the one that is wanted,
//! compares what it wrote with the backup, and only then gives the folder its name. So there is either nothing or all.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::future::join_all;

use crate::clock::{Clock, ManualClock, Timestamp};
use crate::error::{Error, Kind, Reason, Result};
use crate::id::Partition;
use crate::keeping::format::Header;
use crate::keeping::reader::Reader;
use crate::random::Random;
use crate::server::judge::{Census, Judge};
use crate::store::entries::LastWords;
use crate::store::keys::Keys;
use crate::store::seal::{KeyRing, SealedStore};
use crate::store::sled::{self, SledStore};
use crate::store::{Batch, Commit, Store, WholeStore, Write};

/// What is being done, with how many records it has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Checking,
    Restoring,
    Comparing,
}

/// Hears how far it is.
pub type Tell<'a> = dyn FnMut(Stage, u64) + Send + 'a;

/// What was restored or checked.
#[derive(Debug)]
pub struct Checked {
    pub census: Census,
    /// Of a backup.
    pub header: Option<Header>,
}

/// A backup file, and what opens its records.
struct Source<'a> {
    file: &'a Path,
    words: LastWords,
    records: u64,
}

/// Restores a backup into a folder that is not there yet, or is empty. Must be called within a Tokio runtime.
///
/// Errors: `Exists` when the folder holds something; `Invalid` for a key file that cannot be used, and for a backup that
/// is damaged, cut off, of another store, or needs another key; `Unavailable` for files that cannot be read or written.
/// Nothing is left in the folder then.
pub async fn restore(
    from: &Path,
    data: &Path,
    key_file: &Path,
    random: Arc<dyn Random>,
    tell: &mut Tell<'_>,
) -> Result<Checked> {
    let aside = beside(data);
    check_empty(data, &aside)?;
    let (source, checked) = Source::check(from, KeyRing::load(key_file)?, tell)?;
    if checked.census.bad > 0 {
        return Err(wrong(from, unfit(&checked.census)));
    }
    let header = checked.header.as_ref().ok_or_else(|| Error::internal("a backup has no header"))?;
    let written = source.write(&aside, header, KeyRing::load(key_file)?, random, tell).await;
    let placed = written.and_then(|()| put_in_place(&aside, data).map_err(|error| unwritable(data, &error)));
    if let Err(error) = placed {
        drop(fs::remove_dir_all(&aside));
        return Err(error);
    }
    Ok(checked)
}

/// Checks a backup file, or the folder of a store that no server is using: that every record is whole, opens, and is
/// what it should be. Must be called within a Tokio runtime.
///
/// Opening a store does what a start does: it takes up what the journal holds, and changes nothing else.
///
/// Errors: those of a key file, a backup or a store that cannot be read at all. Bad records are counted.
pub async fn verify(path: &Path, key_file: &Path, clock: &dyn Clock, tell: &mut Tell<'_>) -> Result<Checked> {
    let ring = KeyRing::load(key_file)?;
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if metadata.is_file() {
        return Source::check(path, ring, tell).map(|(_, checked)| checked);
    }
    if sled::look(path).is_err() {
        return Err(wrong(path, "it holds no store"));
    }
    // At this moment for as long as it takes, so that nothing expires under our eyes.
    let sled = open(path, Arc::new(ManualClock::new(clock.now())))?;
    let census = verify_store(&sled, Judge::new(ring), tell).await;
    tokio::task::spawn_blocking(move || sled.close()).await.map_err(Error::internal)?;
    Ok(Checked { census: census?, header: None })
}

async fn verify_store(sled: &SledStore, mut judge: Judge, tell: &mut Tell<'_>) -> Result<Census> {
    let mut snapshot = sled.snapshot().await?;
    let mut records = 0;
    while let Some(part) = snapshot.next().await? {
        records += part.entries.len() as u64;
        for (key, write) in &part.entries {
            if let Write::Put { value, .. } = write {
                judge.judge(key, value);
            }
        }
        tell(Stage::Checking, records);
    }
    Ok(judge.census())
}

// === impl Source ===

impl<'a> Source<'a> {
    /// Reads a backup to its end.
    fn check(file: &'a Path, ring: KeyRing, tell: &mut Tell<'_>) -> Result<(Self, Checked)> {
        let mut reader = open_backup(file)?;
        let header = reader.header().clone();
        let mut source = Self { file, words: LastWords::default(), records: 0 };
        let mut read = 0;
        // What is the last word is known only at the end.
        while let Some(frame) = reader.read().map_err(|error| name(file, error))? {
            frame.note(&mut source.words);
            read += frame.entries.len() as u64;
            tell(Stage::Checking, read);
        }
        let mut judge = Judge::new(ring);
        let mut reader = open_backup(file)?;
        while let Some(frame) = reader.read().map_err(|error| name(file, error))? {
            for (key, write) in frame.last(&source.words) {
                let Write::Put { value, .. } = write else { continue };
                judge.judge(&key, &value);
                source.records += 1;
            }
            tell(Stage::Checking, source.records);
        }
        Ok((source, Checked { census: judge.census(), header: Some(header) }))
    }

    /// Makes a store of it, and compares the two.
    async fn write(
        &self,
        aside: &Path,
        header: &Header,
        ring: KeyRing,
        random: Arc<dyn Random>,
        tell: &mut Tell<'_>,
    ) -> Result<()> {
        // At a time when nothing has expired, so that all of it can be compared.
        let sled = Arc::new(open(aside, Arc::new(ManualClock::new(Timestamp::default())))?);
        let written = async {
            self.fill(&sled, tell).await?;
            self.compare(&sled, tell).await?;
            let sealed = SealedStore::new(Arc::clone(&sled) as Arc<dyn Store>, ring, Arc::clone(&random));
            let id = Keys::open(&sealed, &*random).await?.store_id();
            if id == header.store { Ok(()) } else { Err(wrong(self.file, "its records are of another store")) }
        };
        let written = written.await;
        tokio::task::spawn_blocking(move || sled.close()).await.map_err(Error::internal)?;
        written
    }

    async fn fill(&self, store: &SledStore, tell: &mut Tell<'_>) -> Result<()> {
        let mut reader = open_backup(self.file)?;
        let mut done = 0;
        while let Some(frame) = reader.read().map_err(|error| name(self.file, error))? {
            let mut batches: Vec<Option<Batch>> = vec![None; Partition::COUNT];
            for (key, write) in frame.last(&self.words) {
                let Write::Put { value, expires_at } = write else { continue };
                let partition = key.partition();
                let batch = &mut batches[usize::from(partition.index())];
                *batch = Some(batch.take().unwrap_or_else(|| Batch::new(partition)).put(key, value, expires_at));
                done += 1;
            }
            let commits = batches.into_iter().flatten().map(|batch| store.commit(batch));
            for commit in join_all(commits).await {
                let (Commit::Committed(_) | Commit::Conflict) = commit?;
            }
            tell(Stage::Restoring, done);
        }
        Ok(())
    }

    /// Whether the store holds all of the backup, and nothing else.
    async fn compare(&self, store: &SledStore, tell: &mut Tell<'_>) -> Result<()> {
        let differs = || wrong(self.file, "it changed while it was restored, or what was restored did");
        let mut reader = open_backup(self.file)?;
        let mut done = 0;
        while let Some(frame) = reader.read().map_err(|error| name(self.file, error))? {
            for (key, write) in frame.last(&self.words) {
                let Write::Put { value, .. } = write else { continue };
                let found = store.get(&key).await?;
                if found.is_none_or(|found| found.value != value) {
                    return Err(differs());
                }
                done += 1;
            }
            tell(Stage::Comparing, done);
        }
        let mut held = 0;
        let mut snapshot = store.snapshot().await?;
        while let Some(part) = snapshot.next().await? {
            held += part.entries.len() as u64;
        }
        if held == self.records { Ok(()) } else { Err(differs()) }
    }
}

fn open_backup(file: &Path) -> Result<Reader<BufReader<File>>> {
    let opened = File::open(file).map_err(|error| unreadable(file, &error))?;
    Reader::open(BufReader::with_capacity(1 << 20, opened)).map_err(|error| name(file, error))
}

fn open(path: &Path, clock: Arc<dyn Clock>) -> Result<SledStore> {
    SledStore::open(&sled::Config { path: path.to_owned(), ..sled::Config::default() }, clock)
}

/// Where a store is restored to before it has its name.
fn beside(data: &Path) -> PathBuf {
    // Without a slash at its end.
    let mut name = data.components().collect::<PathBuf>().into_os_string();
    name.push(".restoring");
    name.into()
}

fn check_empty(data: &Path, aside: &Path) -> Result<()> {
    let is_empty = match fs::read_dir(data) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(unreadable(data, &error)),
    };
    let taken = |path: &Path, why: &str| {
        Err(Error::new(Kind::Exists, Reason::AlreadyExists, format!("{} {why}", path.display())))
    };
    if !is_empty {
        return taken(data, "is not empty; restore into a new folder, and move it once the server has stopped");
    }
    if aside.exists() {
        return taken(aside, "is there, left by a restore that was cut off; delete it and come again");
    }
    Ok(())
}

/// Gives the folder its name, durably.
fn put_in_place(aside: &Path, data: &Path) -> std::io::Result<()> {
    fs::rename(aside, data)?;
    let data = data.canonicalize()?;
    data.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

fn unfit(census: &Census) -> String {
    let first = census.first_fault.as_deref().unwrap_or_default();
    format!("{} of its records cannot be used; the first is {first}", census.bad)
}

fn name(file: &Path, error: Error) -> Error {
    Error::new(error.kind(), error.reason(), format!("{}: {}", file.display(), error.message())).with_source(error)
}

fn wrong(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(Kind::Invalid, Reason::InvalidField, format!("{}: {what}", path.display()))
}

fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("{} cannot be read: {error}", path.display());
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, message)
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    let message = format!("{} cannot be written: {error}", path.display());
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, message)
}
