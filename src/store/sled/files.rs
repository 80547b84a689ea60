//! The files of a store: opening sled's with the settings that its faults ask for, and syncing what it leaves unsynced.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use sled::{Db, Tree};

use crate::error::{Error, Kind, Reason, Result};
use crate::store::sled::fault::cannot_open;
use crate::store::sled::journal::{Journal, Recovered};

/// sled allots its log in segments of this many bytes. A quarter of one bounds a node that is kept in the log, and what
/// is written between two syncs has to stay below one; with larger segments the file is larger and less steady.
const SEGMENT_BYTES: usize = 2 * 1024 * 1024;

/// Where the layout of the records is noted, apart from them.
const LAYOUT_TREE: &str = "verigate";
const LAYOUT_KEY: &str = "layout";
const LAYOUT: &[u8] = &[2];

/// How long to wait for the lock.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// What lies in the directory of a store.
pub(crate) struct Files {
    pub(crate) db: Db,
    /// sled's data file, opened apart so that it can be synced.
    pub(crate) data: Arc<File>,
    pub(crate) recovered: Recovered,
}

/// Opens the database, its data file and the journal; the database is durable as it is when this returns. Error:
/// `Unavailable`, with a message for the operator.
pub(crate) fn open(path: &Path, cache_bytes: u64, journal_bytes: u64) -> Result<Files> {
    let db = sled::Config::new()
        .path(path)
        // sled's own flusher loses the errors that it meets.
        .flush_every_ms(None)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(cache_bytes)
        .open()
        .map_err(|error| if is_locked(&error) { in_use(path) } else { cannot_open(path, error) })?;
    let notes = db.open_tree(LAYOUT_TREE).map_err(|error| cannot_open(path, error))?;
    let known = is_known(&notes, path)?;
    let recovered = Journal::recover(path, journal_bytes, known)?;
    // Only now, so that a store whose layout is noted has a journal.
    if !known {
        notes.insert(LAYOUT_KEY, LAYOUT).map_err(|error| cannot_open(path, error))?;
    }
    db.flush().map_err(|error| cannot_open(path, error))?;
    let data = sync_files(path).map_err(|error| cannot_open(path, error))?;
    Ok(Files { db, data: Arc::new(data), recovered })
}

/// Waits until nobody holds the lock on the data file, for ten seconds at most: when a database is dropped, a thread of
/// sled's pool may still hold its last write and with it the lock.
pub(crate) fn wait_until_unlocked(path: &Path) {
    let Ok(data) = File::open(path.join("db")) else { return };
    let (unlocked, seen) = mpsc::channel();
    // Taking a lock cannot be given up, so a thread of its own does, and lets go at once.
    std::thread::spawn(move || {
        let lock = data.lock();
        drop(data);
        drop(unlocked.send(lock));
    });
    drop(seen.recv_timeout(LONGEST_WAIT));
}

fn is_known(notes: &Tree, path: &Path) -> Result<bool> {
    match notes.get(LAYOUT_KEY).map_err(|error| cannot_open(path, error))? {
        Some(layout) if layout == LAYOUT => Ok(true),
        Some(_) => Err(cannot_open(path, "it was written by another version of verigate")),
        None => Ok(false),
    }
}

/// sled syncs its snapshot and nothing else: not `conf`, which says how to read the rest, and no directory.
fn sync_files(path: &Path) -> io::Result<File> {
    File::open(path.join("conf"))?.sync_all()?;
    let data = File::open(path.join("db"))?;
    data.sync_all()?;
    let path = path.canonicalize()?;
    for directory in [Some(path.join("blobs").as_path()), Some(&path), path.parent()].into_iter().flatten() {
        File::open(directory)?.sync_all()?;
    }
    Ok(data)
}

/// sled 0.34.7 has no kind for this, only words.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().starts_with("could not acquire lock"))
}

fn in_use(path: &Path) -> Error {
    let path = path.display();
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, format!("another verigate is using {path}"))
}
