//! What is looked for among many records, slice by slice.

use std::collections::HashSet;

use crate::id::Id;

/// Some of what was looked for, in the order in which it came to be.
#[derive(Debug)]
pub struct Sought<T> {
    pub items: Vec<T>,
    /// Where to go on; `None` when there is no more.
    pub after: Option<Id>,
}

/// The ids of what was erased.
pub type Erased = HashSet<Id>;

/// Records that are looked at in one go.
pub const SLICE: usize = 256;
