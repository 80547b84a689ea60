//! The files of a store: opening sled's with the settings that its faults ask for, and syncing what it leaves unsynced.
//!
//! sled's files lie in the folder of the store itself, until they are written anew for the first time. From then on they
//! lie in a folder `files.N` within it, which the file `current` names. The new ones are in use as soon as it names them,
//! and a rename makes it do so; what a crash leaves of others is deleted on the next opening. The file `lock` is held for
//! as long as the store is open, whichever files are in use.

use std::fs::{self, DirEntry, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use sled::{Db, Tree};

use crate::error::{Error, Kind, Reason, Result};
use crate::store::sled::fault::{self, cannot_open};
use crate::store::sled::journal::{FILE_NAMES, Journal, Recovered};

/// sled allots its log in segments of this many bytes. A quarter of one bounds a node that is kept in the log, and what
/// is written between two syncs has to stay below one; with larger segments the file is larger and less steady.
const SEGMENT_BYTES: usize = 2 * 1024 * 1024;

/// Where the layout of the records is noted, apart from them.
const LAYOUT_TREE: &str = "verigate";
const LAYOUT_KEY: &str = "layout";
const LAYOUT: &[u8] = &[2];

/// How long to wait for the lock.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Names the folder of sled's files, where that is not the folder of the store.
const CURRENT: &str = "current";
const LOCK: &str = "lock";
/// Is there for as long as a store is made. What a crash leaves of that could not be told from a store that lost something.
const MAKING: &str = "making";
/// Kept so that there is some room when the disk is full, as much as it takes to open sled's files again; and what it is
/// tried with whether there is any.
const ROOM: &str = "room";
const ROOM_TRIED: &str = "room.new";
const ROOM_BYTES: u64 = 8 * 1024 * 1024;
/// What such folders are called, with a number behind it.
const FOLDER: &str = "files.";
/// What sled calls its files, and how the names of some begin.
const DATA: &str = "db";
const FILES_OF_SLED: [&str; 3] = [DATA, "conf", "blobs"];
const SNAPSHOT_OF_SLED: &str = "snap.";
/// The end of the name of a snapshot that is being written, and the bytes of length and checksum that it ends with.
const UNFINISHED: &str = ".generating";
const SNAPSHOT_END_BYTES: usize = 12;

/// What lies in the directory of a store.
pub(crate) struct Files {
    pub(crate) db: Db,
    pub(crate) disk: Disk,
    pub(crate) recovered: Recovered,
    /// Held for as long as the store is open.
    pub(crate) lock: File,
}

/// The database that is in use; held while something settles, so that none takes its place meanwhile.
pub(crate) struct Disk {
    /// `None` when it was let go of and could not be opened again.
    pub(crate) db: Option<Db>,
    /// sled's data file, opened apart so that it can be synced.
    pub(crate) data: File,
    pub(crate) folder: PathBuf,
}

/// Opens the database, its data file and the journal; the database is durable as it is when this returns. Error:
/// `Unavailable`, with a message for the operator.
pub(crate) fn open(path: &Path, cache_bytes: u64, journal_bytes: u64) -> Result<Files> {
    let cannot = |error: io::Error| cannot_open(path, error);
    make_folder(path).map_err(cannot)?;
    let lock = take_lock(path)?;
    begin_making(path).map_err(cannot)?;
    let folder = current(path).map_err(cannot)?;
    clear_others(path, &folder).map_err(cannot)?;
    if !keeps_room(path) {
        find_room(path).map_err(cannot)?;
    }
    let db = open_sled(&folder, cache_bytes)
        .map_err(|error| if is_locked(&error) { in_use(path) } else { cannot_open(path, error) })?;
    let notes = db.open_tree(LAYOUT_TREE).map_err(|error| cannot_open(path, error))?;
    let known = is_known(&notes, path)?;
    let recovered = Journal::recover(path, journal_bytes, known)?;
    // Only now, so that a store whose layout is noted has a journal.
    if !known {
        notes.insert(LAYOUT_KEY, LAYOUT).map_err(|error| cannot_open(path, error))?;
    }
    db.flush().map_err(|error| cannot_open(path, error))?;
    let data = sync_files(&folder).map_err(cannot)?;
    let disk = Disk { db: Some(db.clone()), data, folder };
    Ok(Files { db, disk, recovered, lock })
}

/// To be called once a store that was opened has a journal to write to: from here on it must be whole.
pub(crate) fn end_making(path: &Path) -> io::Result<()> {
    match fs::remove_file(path.join(MAKING)) {
        Ok(()) => File::open(path)?.sync_all(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens a database that was open before; it is durable as it is when this returns. Error: `Unavailable`.
pub(crate) fn open_again(folder: &Path, cache_bytes: u64) -> Result<(Db, File)> {
    let db = open_sled(folder, cache_bytes).map_err(fault::of_sled)?;
    db.flush().map_err(fault::of_sled)?;
    let data = sync_files(folder).map_err(fault::unwritten)?;
    Ok((db, data))
}

/// Whether there is room on the disk, beside what is kept of it. Keeps it if none is kept.
pub(crate) fn find_room(path: &Path) -> io::Result<()> {
    let tried = path.join(ROOM_TRIED);
    // A piece at a time: memory that is taken once for all of it would stay with us.
    let found =
        File::create(&tried).and_then(|mut room| io::copy(&mut io::repeat(0).take(ROOM_BYTES), &mut room)).map(drop);
    let put = match &found {
        Ok(()) if !keeps_room(path) => fs::rename(&tried, path.join(ROOM)),
        _ => fs::remove_file(&tried),
    };
    found.and(put)
}

/// Gives the room free that was kept; whether there was any.
pub(crate) fn use_room(path: &Path) -> bool {
    keeps_room(path) && fs::remove_file(path.join(ROOM)).is_ok()
}

fn keeps_room(path: &Path) -> bool {
    fs::metadata(path.join(ROOM)).is_ok_and(|room| room.len() >= ROOM_BYTES)
}

/// Whether a store is open, here or in another process.
pub fn is_in_use(path: &Path) -> bool {
    File::open(path.join(LOCK)).is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Looks at a store without opening it: at a file that each has, whichever files of sled are in use. Error: none is there.
pub fn look(path: &Path) -> io::Result<Metadata> {
    fs::metadata(path.join(FILE_NAMES[0]))
}

/// Makes an empty database beside the one that is in use. Error: `Unavailable`, with a message for the operator.
pub(crate) fn create_beside(path: &Path, disk: &Disk, cache_bytes: u64) -> Result<(Db, PathBuf)> {
    let number = number_of(&disk.folder).unwrap_or_default() + 1;
    let folder = path.join(format!("{FOLDER}{number}"));
    // What one that was given up has left.
    if folder.exists() {
        fs::remove_dir_all(&folder).map_err(|error| cannot_open(path, error))?;
    }
    let db = open_sled(&folder, cache_bytes).map_err(|error| cannot_open(path, error))?;
    let notes = db.open_tree(LAYOUT_TREE).map_err(|error| cannot_open(path, error))?;
    notes.insert(LAYOUT_KEY, LAYOUT).map_err(|error| cannot_open(path, error))?;
    Ok((db, folder))
}

/// Makes a database that lies beside the other one durable as it is, and all ready for [`make_current`]. Nothing has changed
/// for the store when this fails.
pub(crate) fn make_ready(path: &Path, db: &Db, folder: &Path) -> io::Result<File> {
    db.flush().map_err(io::Error::other)?;
    let data = sync_files(folder)?;
    let name = folder.file_name().unwrap_or_default();
    let mut file = File::create(aside(path))?;
    file.write_all(name.as_encoded_bytes())?;
    file.sync_all()?;
    Ok(data)
}

/// Has the store use the database that was made ready, from the next opening on. That is durable when this returns.
pub(crate) fn make_current(path: &Path) -> io::Result<()> {
    fs::rename(aside(path), path.join(CURRENT))?;
    File::open(path)?.sync_all()
}

fn aside(path: &Path) -> PathBuf {
    path.join(format!("{CURRENT}.new"))
}

/// Deletes the files of databases that are not in use, and what a crash has left of a look for room.
pub(crate) fn clear_others(path: &Path, in_use: &Path) -> io::Result<()> {
    let mut cleared = false;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        let is_other_database =
            name.starts_with(FOLDER) && entry.path() != in_use || in_use != path && is_of_sled(name);
        let is_other = is_other_database || name == ROOM_TRIED;
        if !is_other {
            continue;
        }
        delete(&entry)?;
        cleared = true;
    }
    if cleared { File::open(path)?.sync_all() } else { Ok(()) }
}

/// Bytes of a folder's files.
pub(crate) fn bytes_of(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.filter_map(|file| file.metadata().ok()).filter(Metadata::is_file).map(|file| file.len()).sum()
}

/// The folder of the files that are in use.
fn current(path: &Path) -> io::Result<PathBuf> {
    match fs::read_to_string(path.join(CURRENT)) {
        // An empty one must not be made in place of one that was lost.
        Ok(name) if number_of(Path::new(&name)).is_some() && path.join(&name).join(DATA).is_file() => {
            Ok(path.join(name))
        }
        Ok(_) => Err(io::Error::other(format!(
            "its file `{CURRENT}` names no folder of a database; restore it from a backup"
        ))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path.to_owned()),
        Err(error) => Err(error),
    }
}

/// Notes that a store is being made, where there is none; begins anew where that was not ended.
fn begin_making(path: &Path) -> io::Result<()> {
    let making = path.join(MAKING);
    let was_making = making.exists();
    // Whatever else lies there is not ours.
    let is_of_store =
        |name: &str| FILE_NAMES.contains(&name) || is_of_sled(name) || name.starts_with(FOLDER) || name == CURRENT;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if !entry.file_name().to_str().is_some_and(is_of_store) {
            continue;
        }
        if !was_making {
            return Ok(());
        }
        delete(&entry)?;
    }
    File::create(making)?.sync_all()?;
    File::open(path)?.sync_all()
}

fn is_of_sled(name: &str) -> bool {
    FILES_OF_SLED.contains(&name) || name.starts_with(SNAPSHOT_OF_SLED)
}

fn delete(entry: &DirEntry) -> io::Result<()> {
    if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }
}

fn number_of(folder: &Path) -> Option<u64> {
    folder.file_name()?.to_str()?.strip_prefix(FOLDER)?.parse().ok()
}

fn take_lock(path: &Path) -> Result<File> {
    let lock = OpenOptions::new().write(true).create(true).truncate(false).open(path.join(LOCK));
    let lock = lock.map_err(|error| cannot_open(path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(in_use(path)),
        Err(TryLockError::Error(error)) => Err(cannot_open(path, error)),
    }
}

/// Makes a folder, and those above it that are missing, each so that it is found after a loss of power.
fn make_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(above)?;
    fs::create_dir(path)?;
    File::open(above)?.sync_all()
}

fn open_sled(folder: &Path, cache_bytes: u64) -> sled::Result<Db> {
    if folder.is_dir() {
        prepare(folder)?;
    }
    sled::Config::new()
        .path(folder)
        // sled's own flusher loses the errors that it meets.
        .flush_every_ms(None)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(cache_bytes)
        .open()
}

/// Makes sure of what sled believes of its files when it opens them.
///
/// It takes a snapshot that it was still writing when a crash came for a good one, and then does not open. And what it
/// finds in its log it notes in a new snapshot, which it syncs, though of the log some may be in the kernel's cache alone.
fn prepare(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(SNAPSHOT_OF_SLED) && name.ends_with(UNFINISHED) && !is_whole_snapshot(&fs::read(&path)?) {
            fs::remove_file(&path)?;
        }
    }
    match File::open(folder.join(DATA)) {
        Ok(data) => data.sync_all(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn is_whole_snapshot(bytes: &[u8]) -> bool {
    let Some((content, end)) = bytes.split_last_chunk::<SNAPSHOT_END_BYTES>() else { return false };
    !content.is_empty() && end[8..] == crc32fast::hash(content).to_le_bytes()
}

/// Waits until nobody holds the lock on the data file, for ten seconds at most: when a database is dropped, a thread of
/// sled's pool may still hold its last write and with it the lock.
pub(crate) fn wait_until_unlocked(folder: &Path) {
    let Ok(data) = File::open(folder.join(DATA)) else { return };
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
    let data = File::open(path.join(DATA))?;
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

// === impl Disk ===

impl Disk {
    /// `flush` hands sled's buffers to the kernel, and only the sync brings them to the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        let db = self.db.as_ref().ok_or_else(|| fault::full("the database could not be opened again"))?;
        db.flush().map_err(fault::of_sled)?;
        self.data.sync_data().map_err(fault::broken)
    }
}
