//! The journal of the embedded store as a crash, or a stranger, may have left it. A letter says how the input is used:
//! `a` both files as they are, `b` the payload of one good frame, `c` frames that are written and then damaged at a place.

use verigate::store::sled::{JournalEntry, read_journal};

use crate::targets::choose;

pub(crate) fn run(data: &[u8]) {
    match choose(data, 3) {
        Some((0, rest)) => {
            let at = rest.iter().position(|byte| *byte == b'%').unwrap_or(rest.len());
            let (first, second) = rest.split_at(at);
            drop(read_journal(&[first.to_vec(), second.to_vec()]));
        }
        Some((1, rest)) => drop(read_journal(&[file(1, 28, &[rest.to_vec()]), Vec::new()])),
        Some((_, rest)) => damaged(rest),
        None => {}
    }
}

/// Entries of the input, two frames of them: read back as they were written, and of a damaged file no more than what
/// lies before the damage.
fn damaged(rest: &[u8]) {
    let Some((place, rest)) = rest.split_first_chunk::<2>() else { return };
    let entries: Vec<JournalEntry> = rest.chunks(9).map(entry).collect();
    let (older, newer) = entries.split_at(entries.len() / 2);
    let frames: Vec<_> = [older, newer].into_iter().filter(|part| !part.is_empty()).map(payload).collect();
    let whole = file(1, 28, &frames);
    assert_eq!(read_journal(&[whole.clone(), Vec::new()]), Some(entries.clone()), "what was written");
    let place = usize::from(u16::from_be_bytes(*place));
    let mut cut = whole.clone();
    cut.truncate(place.min(whole.len()));
    let kept = read_journal(&[cut, Vec::new()]).expect("a file that ends early was torn, not damaged");
    assert!(entries.starts_with(&kept), "of a torn file what it never held");
    let mut changed = whole;
    let place = place % changed.len();
    changed[place] ^= 0x20;
    if let Some(kept) = read_journal(&[changed, Vec::new()]) {
        assert!(entries.starts_with(&kept), "of a damaged file what it never held");
    }
}

fn entry(bytes: &[u8]) -> JournalEntry {
    let (key, value) = bytes.split_at(bytes.len().div_ceil(3));
    (key.to_vec(), value.first().is_none_or(|byte| *byte != b'-').then(|| value.to_vec()))
}

fn payload(entries: &[JournalEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (key, stored) in entries {
        bytes.extend_from_slice(&(key.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&stored.as_ref().map_or(u32::MAX, |stored| stored.len() as u32).to_be_bytes());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(stored.as_deref().unwrap_or_default());
    }
    bytes
}

/// A file as its description says, so no code of the store is in it.
fn file(turn: u64, previous_end: u64, payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::from(*b"verigate");
    file.extend_from_slice(&turn.to_be_bytes());
    file.extend_from_slice(&previous_end.to_be_bytes());
    file.extend_from_slice(&crc32fast::hash(&file).to_be_bytes());
    for payload in payloads {
        let mut covered = Vec::from(turn.to_be_bytes());
        covered.extend_from_slice(&(file.len() as u64).to_be_bytes());
        covered.extend_from_slice(payload);
        file.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        file.extend_from_slice(&crc32fast::hash(&covered).to_be_bytes());
        file.extend_from_slice(payload);
    }
    file
}
