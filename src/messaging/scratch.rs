//! Where a text is written that holds a code: a place that never moves, of which what was written is wiped.

use std::io::{self, Write};

use zeroize::Zeroize;

/// A place for `N` bytes. What would be more fails with `WriteZero`.
pub(crate) struct Scratch<const N: usize> {
    bytes: [u8; N],
    used: usize,
}

// === impl Scratch ===

impl<const N: usize> Scratch<N> {
    pub(crate) fn new() -> Self {
        Self { bytes: [0; N], used: 0 }
    }

    pub(crate) fn written(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

impl<const N: usize> Write for Scratch<N> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = (&mut self.bytes[self.used..]).write(bytes)?;
        self.used += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Wipes what was used only: a byte is wiped by a write of its own, which takes longer than to render a text.
impl<const N: usize> Drop for Scratch<N> {
    fn drop(&mut self) {
        self.bytes[..self.used].zeroize();
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;

    #[test]
    fn what_fits_is_kept_and_the_rest_fails() {
        let mut scratch = Scratch::<4>::new();
        scratch.write_all(b"abc").unwrap();
        assert_eq!(scratch.written(), b"abc");
        assert_eq!(scratch.write_all(b"de").unwrap_err().kind(), ErrorKind::WriteZero);
        assert_eq!(scratch.written(), b"abcd");
    }
}
