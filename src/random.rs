//! Randomness, passed in. Production draws from the operating system; only tests may do otherwise.

use std::cell::RefCell;
use std::fmt;

use zeroize::Zeroizing;

/// A source of random bytes. [`OsRandom`] is the only one fit for codes and keys.
pub trait Random: Send + Sync + fmt::Debug {
    fn fill(&self, bytes: &mut [u8]);
}

/// The operating system's CSPRNG. Each thread draws a block at a time, for a system call costs more than its bytes;
/// every byte is handed out once and wiped.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

/// What a thread has drawn and not yet handed out.
struct Drawn {
    bytes: Zeroizing<[u8; BLOCK_BYTES]>,
    left: usize,
}

/// Most that Linux hands out without being interrupted by a signal (getrandom(2)).
const BLOCK_BYTES: usize = 256;

thread_local! {
    static DRAWN: RefCell<Drawn> = RefCell::new(Drawn { bytes: Zeroizing::new([0; BLOCK_BYTES]), left: 0 });
}

impl Random for OsRandom {
    /// Panics when the system has no randomness to give: nothing safe can be done without it.
    fn fill(&self, bytes: &mut [u8]) {
        if bytes.len() > BLOCK_BYTES {
            return draw(bytes);
        }
        DRAWN.with_borrow_mut(|drawn| {
            if drawn.left < bytes.len() {
                draw(drawn.bytes.as_mut_slice());
                drawn.left = BLOCK_BYTES;
            }
            let end = drawn.left;
            drawn.left -= bytes.len();
            let taken = &mut drawn.bytes[drawn.left..end];
            bytes.copy_from_slice(taken);
            taken.fill(0);
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place that draws randomness")]
fn draw(bytes: &mut [u8]) {
    if let Err(error) = getrandom::fill(bytes) {
        panic!("the operating system's random source failed: {error}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_byte_is_handed_out_twice() {
        let mut seen = HashSet::new();
        for length in (16..=BLOCK_BYTES + 16).cycle().take(2_000) {
            let mut bytes = vec![0; length];
            OsRandom.fill(&mut bytes);
            // 16 bytes do not meet again by chance.
            assert!(bytes.chunks_exact(16).all(|part| seen.insert(part.to_vec())), "{length} bytes");
        }
        DRAWN.with_borrow(|drawn| assert!(drawn.bytes[drawn.left..].iter().all(|byte| *byte == 0), "wiped"));
    }
}
