//! Keys as the layers in memory hold them.

use smallvec::SmallVec;

/// In the node of the map itself as long as it is no longer than almost every key is: comparing two follows no pointer,
/// and copying one takes no memory from the allocator.
pub(crate) type RowKey = SmallVec<[u8; INLINE_BYTES]>;

/// The longest key that a verification or a message has, that of a recipient's message, takes 41.
const INLINE_BYTES: usize = 48;
