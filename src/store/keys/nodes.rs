//! Where processes that share a store meet: who of them lives, and who does what only one does at a time.
//!
//! All of it lies in one partition, and there is little of it.

use crate::error::{Error, Result};
use crate::id::Partition;
use crate::store::keys::{Keys, first};
use crate::store::space::META;
use crate::store::{Key, Prefix};

const NODE: &[u8] = b"node";
const DUTY: &[u8] = b"duty";

/// Where all of it lies.
const PLACE: Partition = Partition::new(0);

impl Keys {
    /// The sign that a node lives.
    pub fn node(&self, name: &[u8]) -> Key {
        Key::of(PLACE, &[&[META], NODE, name])
    }

    pub fn nodes(&self) -> Prefix {
        Prefix::new([&[META][..], NODE].concat(), Some(PLACE))
    }

    /// The name in a key made by [`Keys::node`].
    pub fn parse_node(&self, key: &Key) -> Result<Vec<u8>> {
        let name = key.bytes().strip_prefix(&[META]).and_then(|rest| rest.strip_prefix(NODE));
        name.map(<[u8]>::to_vec).ok_or_else(|| Error::internal("a node has a malformed key"))
    }

    /// Where it is noted which node has a duty.
    pub fn duty(&self, name: &str) -> Key {
        let hash = self.hash(&["duty", name]);
        Key::of(PLACE, &[&[META], DUTY, &first::<16>(&hash)])
    }

    /// What is written anew whenever a node has changed whose feeds are written, or who is called for them.
    pub fn feeds_changed(&self) -> Key {
        Key::of(PLACE, &[&[META], b"feeds"])
    }

    pub fn duties(&self) -> Prefix {
        Prefix::new([&[META][..], DUTY].concat(), Some(PLACE))
    }
}
