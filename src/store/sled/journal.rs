//! The journal: where a commit becomes durable, before sled hears of it.
//!
//! Two files of fixed length take turns. While one is written, what the other holds settles into sled; then they change
//! places. Bytes that are already allotted are written over again and again, because an fdatasync that need not store a
//! new length or new extents costs a fraction of one that must. A file grows in steps the first time it is filled.
//!
//! A file is `magic | turn u64 | where the turn before ended u64 | crc` and then frames, one for each group of commits:
//! `length u32 | crc u32 | entries`, an entry being `key length u16 | value length u32, all ones for a delete | key |
//! value`; numbers big-endian. The crc of a frame covers turn and place too, so what an earlier turn left behind is
//! never taken for a frame of this one.
//!
//! A crash can tear only the last frame, which nobody was told of. Frames that end too early, or go on behind a torn
//! one, are damage, and the store does not open over damage. Replaying what has already settled changes nothing: sled
//! then holds just that state, for it never gets entries of a turn before those of all turns before.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use sled::IVec;

use crate::error::Result;
use crate::store::KeyBytes;
use crate::store::sled::fault::cannot_open;

/// The writing end.
pub(crate) struct Journal {
    /// The one in use first.
    files: [File; 2],
    capacity: u64,
    turn: u64,
    /// Where the next frame begins.
    end: u64,
    /// Bytes of the file in use that are allotted.
    allotted: [u64; 2],
    frame: Vec<u8>,
}

/// A file whose content has settled.
pub(crate) struct Spent {
    file: File,
    allotted: u64,
}

/// A key and what lies under it from now on; `None` for nothing.
pub(crate) type Change<'a> = (&'a [u8], Option<&'a [u8]>);

/// What the files held, oldest first, and the journal to go on with.
pub(crate) struct Recovered {
    pub(crate) changes: Vec<(KeyBytes, Option<IVec>)>,
    pub(crate) journal: Journal,
}

/// What the texts of both files hold.
pub(crate) struct Found {
    /// Oldest first.
    pub(crate) changes: Vec<(KeyBytes, Option<IVec>)>,
    /// The place of the file that was written last.
    newest: usize,
    turn: u64,
    end: u64,
}

struct Head {
    turn: u64,
    previous_end: u64,
}

/// The frames of one file.
struct Replay {
    changes: Vec<(KeyBytes, Option<IVec>)>,
    end: u64,
}

pub(crate) const FILE_NAMES: [&str; 2] = ["journal.0", "journal.1"];

const MAGIC: &[u8; 8] = b"verigate";
const HEAD_BYTES: u64 = 28;
const FRAME_HEAD_BYTES: usize = 8;
const DELETED: u32 = u32::MAX;

/// A file that is filled for the first time grows by this much.
const STEP_BYTES: u64 = 1024 * 1024;

// === impl Journal ===

impl Journal {
    /// Reads both files, makes them where there are none, and leaves them as they are: nothing may be written before
    /// [`Journal::begin`], and that only once all that was read has settled. `known` says that the files must be there.
    ///
    /// Error: `Unavailable`, with a message for the operator.
    pub(crate) fn recover(directory: &Path, capacity: u64, known: bool) -> Result<Recovered> {
        let cannot = |error: io::Error| cannot_open(directory, error);
        let [first, second] = FILE_NAMES.map(|name| {
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(directory.join(name))
        });
        let (first, second) = (first.map_err(cannot)?, second.map_err(cannot)?);
        let texts = [read_all(&first).map_err(cannot)?, read_all(&second).map_err(cannot)?];
        let Found { changes, newest, turn, end } =
            Found::read(&texts, known).map_err(|problem| cannot_open(directory, problem))?;
        let allotted = texts.map(|text| text.len() as u64);
        let mut journal = Self { files: [first, second], capacity, turn, end, allotted, frame: Vec::new() };
        if newest == 1 {
            journal.swap();
        }
        Ok(Recovered { changes, journal })
    }

    /// Goes on in the other file, whose old content must have settled. Durable when this returns; after an error it goes
    /// on in this one, and may be asked again where that was for want of room.
    pub(crate) fn begin(&mut self) -> io::Result<()> {
        let turn = self.turn + 1;
        let head = Head { turn, previous_end: self.end }.bytes();
        self.grow(1, HEAD_BYTES + 1)?;
        self.files[1].write_all_at(&head, 0)?;
        synced(self.files[1].sync_all())?;
        self.swap();
        (self.turn, self.end) = (turn, HEAD_BYTES);
        Ok(())
    }

    /// The file that is not in use. What it holds must have settled before it is cleared.
    pub(crate) fn other(&self) -> io::Result<Spent> {
        Ok(Spent { file: self.files[1].try_clone()?, allotted: self.allotted[1] })
    }

    /// Bytes of the file in use that are written.
    pub(crate) fn filled(&self) -> u64 {
        self.end
    }

    /// The number of this turn; every turn has a higher one than those before, restarts among them.
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }

    /// Prepares a frame, and says whether it fits into the file in use. Any frame fits into one that has none yet.
    pub(crate) fn prepare<'a>(&mut self, changes: impl Iterator<Item = Change<'a>>) -> io::Result<bool> {
        self.frame.clear();
        self.frame.extend_from_slice(&[0; FRAME_HEAD_BYTES]);
        for (key, stored) in changes {
            let key_bytes = u16::try_from(key.len()).map_err(io::Error::other)?;
            let value_bytes =
                stored.map_or(Ok(DELETED), |stored| u32::try_from(stored.len())).map_err(io::Error::other)?;
            self.frame.extend_from_slice(&key_bytes.to_be_bytes());
            self.frame.extend_from_slice(&value_bytes.to_be_bytes());
            self.frame.extend_from_slice(key);
            self.frame.extend_from_slice(stored.map_or(&[], |stored| stored));
        }
        Ok(self.end == HEAD_BYTES || self.end + self.frame.len() as u64 <= self.capacity)
    }

    /// Writes the prepared frame. Durable when this returns. After an error for want of room nobody can take what was
    /// written for a frame, and the next one goes over it; after any other nothing more may be written.
    pub(crate) fn append(&mut self) -> io::Result<()> {
        let payload = &self.frame[FRAME_HEAD_BYTES..];
        let length = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let crc = crc(self.turn, self.end, payload);
        self.frame[..4].copy_from_slice(&length.to_be_bytes());
        self.frame[4..FRAME_HEAD_BYTES].copy_from_slice(&crc.to_be_bytes());
        let end = self.end + self.frame.len() as u64;
        self.grow(0, end)?;
        self.files[0].write_all_at(&self.frame, self.end)?;
        synced(self.files[0].sync_data())?;
        self.end = end;
        Ok(())
    }

    /// Allots room in a file up to `end` with zeros, so that writing there later changes no length and no extent.
    fn grow(&mut self, file: usize, end: u64) -> io::Result<()> {
        if end <= self.allotted[file] {
            return Ok(());
        }
        let target = end.next_multiple_of(STEP_BYTES).min(self.capacity.max(end));
        write_zeros(&self.files[file], self.allotted[file], target)?;
        self.allotted[file] = target;
        Ok(())
    }

    fn swap(&mut self) {
        self.files.swap(0, 1);
        self.allotted.swap(0, 1);
    }
}

// === impl Spent ===

impl Spent {
    /// Writes zeros over all of it. The head goes first, and durably, so that whatever a crash leaves is no journal.
    pub(crate) fn clear(&self) -> io::Result<()> {
        let head = HEAD_BYTES.min(self.allotted);
        write_zeros(&self.file, 0, head)?;
        self.file.sync_data()?;
        write_zeros(&self.file, head, self.allotted)?;
        self.file.sync_data()
    }
}

// === impl Found ===

impl Found {
    /// `known` says that the files must be there. Error: what to tell the operator.
    pub(crate) fn read(texts: &[Vec<u8>; 2], known: bool) -> Result<Self, &'static str> {
        let mut found: Vec<_> =
            texts.iter().enumerate().filter_map(|(at, text)| Some((at, Head::read(text)?, text))).collect();
        found.sort_by_key(|(_, head, _)| head.turn);
        // From the second turn on both files are there, though the head of one may be torn.
        let lost = found.iter().all(|(_, head, _)| head.turn > 1) && texts.iter().any(Vec::is_empty);
        if known && (found.is_empty() || lost) {
            return Err("a file of its journal is missing; restore it from a backup");
        }
        let mut changes = Vec::new();
        let mut end_before = None;
        for (_, head, text) in &found {
            let replay = Replay::read(text, head.turn);
            let damaged = end_before.is_some_and(|end| end != head.previous_end) || replay.goes_on(text, head.turn);
            if damaged {
                return Err("its journal is damaged; restore it from a backup");
            }
            end_before = Some(replay.end);
            changes.extend(replay.changes);
        }
        let (newest, turn) = found.last().map_or((1, 0), |(at, head, _)| (*at, head.turn));
        Ok(Self { changes, newest, turn, end: end_before.unwrap_or(HEAD_BYTES) })
    }
}

// === impl Head ===

impl Head {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::from(MAGIC);
        bytes.extend_from_slice(&self.turn.to_be_bytes());
        bytes.extend_from_slice(&self.previous_end.to_be_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// `None` for a file that was never begun, and for one whose beginning was torn.
    fn read(text: &[u8]) -> Option<Self> {
        let rest = text.strip_prefix(MAGIC)?;
        let (turn, rest) = rest.split_first_chunk()?;
        let (previous_end, _) = rest.split_first_chunk()?;
        let head = Self { turn: u64::from_be_bytes(*turn), previous_end: u64::from_be_bytes(*previous_end) };
        text.starts_with(&head.bytes()).then_some(head)
    }
}

// === impl Replay ===

impl Replay {
    /// Everything up to the first frame that is none.
    fn read(text: &[u8], turn: u64) -> Self {
        let mut replay = Self { changes: Vec::new(), end: HEAD_BYTES };
        while let Some(payload) = frame_at(text, replay.end, turn) {
            let Some(changes) = parse(payload) else { break };
            replay.changes.extend(changes);
            replay.end += (FRAME_HEAD_BYTES + payload.len()) as u64;
        }
        replay
    }

    /// Whether a good frame follows the one that was not: then that one was not torn, for it had once been synced.
    fn goes_on(&self, text: &[u8], turn: u64) -> bool {
        let next = usize::try_from(self.end).ok().and_then(|at| text.get(at..)?.first_chunk::<4>());
        next.is_some_and(|length| {
            let after = self.end + FRAME_HEAD_BYTES as u64 + u64::from(u32::from_be_bytes(*length));
            frame_at(text, after, turn).is_some()
        })
    }
}

fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    static ZEROS: [u8; 16 * 1024] = [0; 16 * 1024];
    let mut at = from;
    while at < to {
        let piece = usize::try_from(to - at).map_or(ZEROS.len(), |left| left.min(ZEROS.len()));
        file.write_all_at(&ZEROS[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}

/// A sync that fails does not pass, whatever it failed for: nobody can say what the kernel has dropped.
fn synced(sync: io::Result<()>) -> io::Result<()> {
    sync.map_err(io::Error::other)
}

fn read_all(file: &File) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    let mut text = vec![0; length];
    file.read_exact_at(&mut text, 0)?;
    Ok(text)
}

fn frame_at(text: &[u8], at: u64, turn: u64) -> Option<&[u8]> {
    let rest = text.get(usize::try_from(at).ok()?..)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (found, rest) = rest.split_first_chunk()?;
    let payload = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    (!payload.is_empty() && crc(turn, at, payload) == u32::from_be_bytes(*found)).then_some(payload)
}

fn parse(mut payload: &[u8]) -> Option<Vec<(KeyBytes, Option<IVec>)>> {
    let mut changes = Vec::new();
    while !payload.is_empty() {
        let (key_bytes, rest) = payload.split_first_chunk()?;
        let (value_bytes, rest) = rest.split_first_chunk()?;
        let (key, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*key_bytes)))?;
        let value_bytes = u32::from_be_bytes(*value_bytes);
        let stored_bytes = if value_bytes == DELETED { 0 } else { usize::try_from(value_bytes).ok()? };
        let (stored, rest) = rest.split_at_checked(stored_bytes)?;
        changes.push((KeyBytes::from(key), (value_bytes != DELETED).then(|| IVec::from(stored))));
        payload = rest;
    }
    Some(changes)
}

fn crc(turn: u64, at: u64, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&turn.to_be_bytes());
    hasher.update(&at.to_be_bytes());
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: u64 = 4096;

    fn recover(directory: &Path) -> Result<Recovered> {
        Journal::recover(directory, CAPACITY, false)
    }

    /// Appends frames of one entry each.
    fn append(journal: &mut Journal, entries: &[(&str, Option<&str>)]) {
        for (key, stored) in entries {
            let (key, stored) = (IVec::from(*key), stored.map(IVec::from));
            assert!(journal.prepare([(&*key, stored.as_deref())].into_iter()).unwrap());
            journal.append().unwrap();
        }
    }

    fn texts(changes: &[(KeyBytes, Option<IVec>)]) -> Vec<String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        changes
            .iter()
            .map(|(key, stored)| format!("{}={}", text(key), stored.as_deref().map_or("-".into(), text)))
            .collect()
    }

    fn change_file(directory: &Path, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut text = std::fs::read(directory.join(name)).unwrap();
        change(&mut text);
        std::fs::write(directory.join(name), text).unwrap();
    }

    #[test]
    fn what_was_appended_comes_back_in_order_over_turns_and_restarts() {
        let directory = tempfile::tempdir().unwrap();
        let Recovered { changes, mut journal } = recover(directory.path()).unwrap();
        assert!(changes.is_empty());
        journal.begin().unwrap();
        append(&mut journal, &[("a", Some("1")), ("b", Some(""))]);
        journal.begin().unwrap();
        append(&mut journal, &[("a", None)]);
        drop(journal);
        let Recovered { changes, mut journal } = recover(directory.path()).unwrap();
        assert_eq!(texts(&changes), ["a=1", "b=", "a=-"]);
        assert_eq!(journal.turn(), 2);
        // The third turn writes over the first, and nothing of the first is seen again, shorter though the third is.
        journal.begin().unwrap();
        drop(journal);
        let Recovered { changes, mut journal } = recover(directory.path()).unwrap();
        assert_eq!(texts(&changes), ["a=-"]);
        journal.begin().unwrap();
        append(&mut journal, &[("c", Some("3"))]);
        assert_eq!(texts(&recover(directory.path()).unwrap().changes), ["c=3"]);
    }

    #[test]
    fn a_frame_that_does_not_fit_waits_for_the_next_turn() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = recover(directory.path()).unwrap().journal;
        journal.begin().unwrap();
        let (key, long) = (IVec::from("k"), IVec::from(vec![7; 3000]));
        assert!(journal.prepare([(&*key, Some(&*long))].into_iter()).unwrap());
        journal.append().unwrap();
        assert!(!journal.prepare([(&*key, Some(&*long))].into_iter()).unwrap());
        journal.begin().unwrap();
        journal.append().unwrap();
        journal.begin().unwrap();
        let longer = IVec::from(vec![7; 5000]);
        assert!(journal.prepare([(&*key, Some(&*longer))].into_iter()).unwrap(), "one that would never fit goes alone");
        journal.append().unwrap();
        assert_eq!(recover(directory.path()).unwrap().changes.len(), 2);
    }

    #[test]
    fn a_torn_end_is_dropped_and_damage_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = recover(directory.path()).unwrap().journal;
        journal.begin().unwrap();
        append(&mut journal, &[("a", Some("1")), ("b", Some("2"))]);
        let last = usize::try_from(journal.end).unwrap();
        let one = (last - usize::try_from(HEAD_BYTES).unwrap()) / 2;
        let undamaged = std::fs::read(directory.path().join("journal.0")).unwrap();
        for at in last - one..last {
            change_file(directory.path(), "journal.0", |text| text[at] ^= 1);
            assert_eq!(texts(&recover(directory.path()).unwrap().changes), ["a=1"], "byte {at}");
            std::fs::write(directory.path().join("journal.0"), &undamaged).unwrap();
        }
        // Of the frame before the last, which has a good one behind it. A wrong length hides that one.
        for at in last - 2 * one + 4..last - one {
            change_file(directory.path(), "journal.0", |text| text[at] ^= 1);
            assert!(recover(directory.path()).err().unwrap().message().contains("damaged"), "byte {at}");
            std::fs::write(directory.path().join("journal.0"), &undamaged).unwrap();
        }
        journal.begin().unwrap();
        change_file(directory.path(), "journal.0", |text| text[last - 1] ^= 1);
        assert!(
            recover(directory.path()).err().unwrap().message().contains("damaged"),
            "an earlier turn ends too soon"
        );
    }

    #[test]
    fn a_missing_file_is_told_from_a_new_store() {
        let directory = tempfile::tempdir().unwrap();
        let mut journal = recover(directory.path()).unwrap().journal;
        journal.begin().unwrap();
        journal.begin().unwrap();
        std::fs::remove_file(directory.path().join("journal.0")).unwrap();
        let error = Journal::recover(directory.path(), CAPACITY, true).err().unwrap();
        assert!(error.message().contains("missing"), "{error:?}");
    }
}
