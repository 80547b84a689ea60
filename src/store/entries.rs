//! Entries: keys, and what lies or no longer lies under them, as bytes; and which of several of one key is the last word.
//!
//! An entry is `key length u16 | partition u8 | expiry in Unix milliseconds u64, all ones for never | value length u32, all
//! ones for what is gone | key | value`, numbers big-endian.

use std::collections::HashMap;

use crate::clock::Timestamp;
use crate::id::Partition;
use crate::store::{Key, MAX_KEY_BYTES, Write};

const NEVER: u64 = u64::MAX;
const GONE: u32 = u32::MAX;

/// Where the last word on each key stands, of those keys that have more than one.
#[derive(Debug, Default)]
pub struct LastWords(HashMap<Box<[u8]>, u64>);

/// Adds an entry.
pub fn encode(payload: &mut Vec<u8>, key: &Key, write: &Write) {
    let (expires_at, value) = match write {
        Write::Put { value, expires_at } => (*expires_at, Some(value.as_slice())),
        Write::Delete => (None, None),
    };
    // Both fit: the store has longest keys and values.
    let key_bytes = u16::try_from(key.bytes().len()).unwrap_or(u16::MAX);
    let value_bytes = value.map_or(GONE, |value| u32::try_from(value.len()).unwrap_or(GONE));
    payload.extend_from_slice(&key_bytes.to_be_bytes());
    payload.push(key.partition().index());
    payload.extend_from_slice(&expires_at.map_or(NEVER, Timestamp::as_millis).to_be_bytes());
    payload.extend_from_slice(&value_bytes.to_be_bytes());
    payload.extend_from_slice(key.bytes());
    payload.extend_from_slice(value.unwrap_or_default());
}

/// `None` for what is no list of entries.
pub fn decode(mut payload: &[u8]) -> Option<Vec<(Key, Write)>> {
    let mut records = Vec::new();
    while !payload.is_empty() {
        let (key_bytes, rest) = payload.split_first_chunk()?;
        let ([partition], rest) = rest.split_first_chunk::<1>()?;
        let (expiry, rest) = rest.split_first_chunk()?;
        let (value_bytes, rest) = rest.split_first_chunk()?;
        let key_bytes = usize::from(u16::from_be_bytes(*key_bytes));
        let value_bytes = u32::from_be_bytes(*value_bytes);
        let (key, rest) = rest.split_at_checked(key_bytes)?;
        let is_gone = value_bytes == GONE;
        let (value, rest) = rest.split_at_checked(if is_gone { 0 } else { usize::try_from(value_bytes).ok()? })?;
        if !(1..=MAX_KEY_BYTES).contains(&key.len()) {
            return None;
        }
        let expiry = u64::from_be_bytes(*expiry);
        let expires_at = (expiry != NEVER).then(|| Timestamp::from_millis(expiry));
        let write = if is_gone { Write::Delete } else { Write::Put { value: value.to_vec(), expires_at } };
        records.push((Key::new(Partition::new(*partition), key), write));
        payload = rest;
    }
    Some(records)
}

// === impl LastWords ===

impl LastWords {
    /// Notes entries that take the place of earlier ones. To be called in order, with places that grow.
    pub fn note(&mut self, place: u64, entries: &[(Key, Write)]) {
        self.0.extend(entries.iter().map(|(key, _)| (key.bytes().into(), place)));
    }

    /// Those of the entries at a place that are the last word, and not that the key is gone.
    pub fn of(&self, place: u64, mut entries: Vec<(Key, Write)>) -> Vec<(Key, Write)> {
        entries.retain(|(key, write)| {
            *write != Write::Delete && self.0.get(key.bytes()).is_none_or(|last| *last == place)
        });
        entries
    }
}
