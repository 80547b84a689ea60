//! What one node has to tell the others of what it counted: noted by name as it happens, and packed to be told.
//!
//! A node tells what it added, not what it has: so nothing that two nodes count at once is lost or counted twice. How
//! that is joined to what another node has is the business of each kind of state.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use minicbor::{Decode, Decoder, Encode, Encoder};

use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// By a name, which is as good as random: it is not hashed once more.
pub(crate) type ByName<T> = HashMap<u64, T, BuildHasherDefault<Itself>>;

/// So many bytes of news lie together at most, and a little.
const MOST_BYTES: usize = 16 * 1024;
const MOST_BYTES_OF_PART: usize = 3 * MOST_BYTES;

/// Where a piece of work notes what it did to a state.
pub struct News<'a, C> {
    /// `None` where there is nobody to be told.
    changes: Option<&'a mut ByName<C>>,
    name: u64,
    most: usize,
}

/// Some news of one kind of states.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct Bundle {
    #[n(0)]
    pub(crate) kind: u8,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub(crate) bytes: Vec<u8>,
}

/// What a node tells in one turn, or a part of it.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub(crate) struct Told {
    #[n(0)]
    pub(crate) node: u64,
    #[n(1)]
    pub(crate) turn: u64,
    /// How many parts the turn has.
    #[n(2)]
    pub(crate) parts: u16,
    /// After this it was counted.
    #[n(3)]
    pub(crate) since: Timestamp,
    #[n(4)]
    pub(crate) bundles: Vec<Bundle>,
}

/// Takes a name as its own hash.
#[derive(Default)]
pub(crate) struct Itself(u64);

// === impl News ===

impl<'a, C: Default> News<'a, C> {
    /// `most`: so many names have news at once; of others nothing is told.
    pub(crate) fn new(changes: Option<&'a mut ByName<C>>, name: u64, most: usize) -> Self {
        Self { changes, name, most }
    }

    /// `change` is only called where somebody is to be told.
    pub fn note(&mut self, change: impl FnOnce(&mut C)) {
        let Some(changes) = &mut self.changes else { return };
        // Without a store nothing is told, and nothing is sent either.
        if changes.len() < self.most || changes.contains_key(&self.name) {
            change(changes.entry(self.name).or_default());
        }
    }
}

// === impl Bundle ===

impl Bundle {
    pub(crate) fn new(kind: u8) -> Self {
        Self { kind, bytes: Vec::new() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= MOST_BYTES
    }

    pub(crate) fn add<C: Encode<()>>(&mut self, name: u64, change: &C) -> Result<()> {
        let mut encoder = Encoder::new(&mut self.bytes);
        encoder.u64(name).and_then(|encoder| encoder.encode(change)).map_err(Error::internal)?;
        Ok(())
    }

    pub(crate) fn read<C: for<'b> Decode<'b, ()>>(&self) -> Result<Vec<(u64, C)>> {
        let (mut decoder, mut found) = (Decoder::new(&self.bytes), Vec::new());
        while decoder.position() < self.bytes.len() {
            let name = decoder.u64().map_err(Error::internal)?;
            found.push((name, decoder.decode().map_err(Error::internal)?));
        }
        Ok(found)
    }
}

// === impl Told ===

impl Told {
    /// One turn, in as few parts as hold all, at least one, each small enough to be a record.
    pub(crate) fn pack(node: u64, turn: u64, since: Timestamp, bundles: Vec<Bundle>) -> Vec<Self> {
        let part = || Self { node, turn, parts: 1, since, bundles: Vec::new() };
        let (mut parts, mut last, mut room) = (Vec::new(), part(), MOST_BYTES_OF_PART);
        for bundle in bundles {
            let bytes = bundle.bytes.len();
            if bytes > room {
                parts.push(std::mem::replace(&mut last, part()));
                room = MOST_BYTES_OF_PART;
            }
            room = room.saturating_sub(bytes);
            last.bundles.push(bundle);
        }
        parts.push(last);
        let count = u16::try_from(parts.len()).unwrap_or(u16::MAX);
        parts.iter_mut().for_each(|part| part.parts = count);
        parts
    }
}

// === impl Itself ===

impl Hasher for Itself {
    fn finish(&self) -> u64 {
        // The highest bits of a name say on which page it lies; a map goes by the lowest and the highest.
        self.0.rotate_left(32)
    }

    fn write(&mut self, bytes: &[u8]) {
        // Names come as one number; this is for completeness.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, name: u64) {
        self.0 = name;
    }
}
