//! Reading a backup: nothing is given before its frame was found whole, and the end only after all of it was.

use std::io::{self, ErrorKind, Read};

use sha2::{Digest, Sha256};

use crate::error::{Error, Kind, Reason, Result};
use crate::keeping::format::{FORMAT, FRAME_HEAD_BYTES, FrameKind, Header, MAGIC, MAX_PAYLOAD_BYTES, Trailer, crc};
use crate::store::entries::{self, LastWords};
use crate::store::{Key, Write};

/// A backup that is being read.
pub struct Reader<R> {
    from: R,
    header: Header,
    digest: Sha256,
    frames: u64,
    records: u64,
    is_complete: bool,
}

/// Some records of a backup.
#[derive(Debug)]
pub struct Frame {
    /// Its place among all frames.
    pub number: u64,
    /// Whether these take the place of what frames before may have had under the same keys.
    pub again: bool,
    /// No key twice.
    pub entries: Vec<(Key, Write)>,
}

// === impl Frame ===

impl Frame {
    /// Tells which of its records take the place of others. To be called for every frame, in order.
    pub fn note(&self, words: &mut LastWords) {
        if self.again {
            words.note(self.number, &self.entries);
        }
    }

    /// Those of its records that no later frame takes back: no key comes twice over all frames, and none that is gone.
    pub fn last(self, words: &LastWords) -> Vec<(Key, Write)> {
        words.of(self.number, self.entries)
    }
}

// === impl Reader ===

impl<R: Read> Reader<R> {
    /// Errors: `Invalid`, saying what is wrong with the file, here and from [`Reader::read`].
    pub fn open(mut from: R) -> Result<Self> {
        let mut magic = [0; MAGIC.len()];
        match from.read_exact(&mut magic) {
            Ok(()) if magic == *MAGIC => {}
            Ok(()) => return Err(wrong("it is no backup of verigate")),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(wrong("it is no backup of verigate")),
            Err(error) => return Err(unreadable(error)),
        }
        let mut digest = Sha256::new_with_prefix(MAGIC);
        let Some((FrameKind::Header, payload)) = read_frame(&mut from, 0, &mut digest)? else {
            return Err(wrong("it is damaged: it does not begin with a header"));
        };
        let header: Header =
            minicbor::decode(&payload).map_err(|_| wrong("it is damaged: its header makes no sense"))?;
        if header.format != FORMAT {
            let message =
                format!("it was written by verigate {} in a format that this one does not know", header.version);
            return Err(wrong(message));
        }
        Ok(Self { from, header, digest, frames: 1, records: 0, is_complete: false })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next records; `None` once all of the file has been found good.
    pub fn read(&mut self) -> Result<Option<Frame>> {
        if self.is_complete {
            return Ok(None);
        }
        let before = self.digest.clone();
        let found = read_frame(&mut self.from, self.frames, &mut self.digest);
        let Some((kind, payload)) = found.map_err(|error| self.locate(error))? else {
            return Err(wrong(format!("it is cut off after {} records", self.records)));
        };
        let number = self.frames;
        self.frames += 1;
        let again = match kind {
            FrameKind::Records => false,
            FrameKind::Again => true,
            FrameKind::Trailer => {
                self.end(&payload, before)?;
                return Ok(None);
            }
            FrameKind::Header => return Err(wrong("it is damaged: it has two headers")),
        };
        let damaged = || wrong(format!("it is damaged after {} records: what follows are none", self.records));
        let entries = entries::decode(&payload).ok_or_else(damaged)?;
        self.records += entries.len() as u64;
        Ok(Some(Frame { number, again, entries }))
    }

    fn end(&mut self, payload: &[u8], before: Sha256) -> Result<()> {
        let trailer: Trailer =
            minicbor::decode(payload).map_err(|_| wrong("it is damaged: its trailer makes no sense"))?;
        if trailer != (Trailer { records: self.records, digest: before.finalize().into() }) {
            return Err(wrong("it is damaged: its checksum does not fit"));
        }
        match self.from.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => return Err(wrong("it is damaged: something follows its end")),
            Err(error) => return Err(unreadable(error)),
        }
        self.is_complete = true;
        Ok(())
    }

    fn locate(&self, error: Error) -> Error {
        if error.kind() != Kind::Invalid {
            return error;
        }
        wrong(format!("{} (after {} records)", error.message(), self.records))
    }
}

/// The next frame; `None` when the file ends before or in it.
fn read_frame(from: &mut impl Read, number: u64, digest: &mut Sha256) -> Result<Option<(FrameKind, Vec<u8>)>> {
    let mut head = [0; FRAME_HEAD_BYTES];
    if !read_exact(from, &mut head)? {
        return Ok(None);
    }
    let [kind, a, b, c, d, crc_found @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    let known = FrameKind::of(kind).filter(|_| length <= MAX_PAYLOAD_BYTES);
    let known = known.ok_or_else(|| wrong("it is damaged: a frame has a wrong head"))?;
    let mut payload = vec![0; length];
    if !read_exact(from, &mut payload)? {
        return Ok(None);
    }
    if crc(number, kind, &payload) != u32::from_be_bytes(crc_found) {
        return Err(wrong("it is damaged: the checksum of a frame does not fit"));
    }
    digest.update(head);
    digest.update(&payload);
    Ok(Some((known, payload)))
}

/// Whether there was enough to read.
fn read_exact(from: &mut impl Read, bytes: &mut [u8]) -> Result<bool> {
    match from.read_exact(bytes) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(unreadable(error)),
    }
}

fn wrong(what: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, Reason::InvalidField, what)
}

fn unreadable(error: io::Error) -> Error {
    let message = format!("it cannot be read: {error}");
    Error::new(Kind::Unavailable, Reason::StoreUnavailable, message).with_source(error)
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;
    use crate::clock::Timestamp;
    use crate::id::Partition;
    use crate::keeping::writer::Backup;
    use crate::store::keys::StoreId;
    use crate::store::{Part, Rewrite, Snapshot, WholeStore};

    /// A store whose snapshot has these parts.
    struct Told(Vec<Part>);

    #[async_trait]
    impl WholeStore for Told {
        async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
            Ok(Box::new(Telling(self.0.clone().into_iter())))
        }

        async fn rewrite(&self) -> Result<Box<dyn Rewrite>> {
            unreachable!("nobody asks for it")
        }
    }

    struct Telling(std::vec::IntoIter<Part>);

    #[async_trait]
    impl Snapshot for Telling {
        async fn next(&mut self) -> Result<Option<Part>> {
            Ok(self.0.next())
        }
    }

    fn put(key: &str, value: &str) -> (Key, Write) {
        let write = Write::Put { value: value.into(), expires_at: Some(Timestamp::from_millis(9)) };
        (Key::new(Partition::new(7), key.as_bytes()), write)
    }

    fn gone(key: &str) -> (Key, Write) {
        (Key::new(Partition::new(0), key.as_bytes()), Write::Delete)
    }

    fn id() -> StoreId {
        minicbor::decode(&minicbor::to_vec(minicbor::bytes::ByteArray::from([5; 16])).unwrap()).unwrap()
    }

    async fn write(parts: Vec<Part>) -> Vec<u8> {
        let mut backup = Backup::begin(&Told(parts), id(), Timestamp::from_millis(3)).await.unwrap();
        let (mut bytes, mut complete) = (Vec::new(), false);
        while let Some(chunk) = backup.next().await.unwrap() {
            assert!(!complete, "nothing follows the end");
            complete = chunk.is_complete;
            bytes.extend(chunk.bytes);
        }
        assert!(complete);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Frame>> {
        let mut reader = Reader::open(bytes)?;
        let mut frames = Vec::new();
        while let Some(frame) = reader.read()? {
            frames.push(frame);
        }
        Ok(frames)
    }

    fn parts() -> Vec<Part> {
        let long = "x".repeat(600_000);
        vec![
            Part { entries: vec![put("a", "1"), put("b", &long), put("c", "")], again: false },
            Part { entries: vec![put("d", "4")], again: false },
            Part { entries: vec![put("a", "2"), gone("d")], again: true },
            Part { entries: vec![put("d", "5"), gone("c")], again: true },
            Part { entries: vec![], again: true },
        ]
    }

    #[tokio::test]
    async fn what_was_written_is_read_and_the_last_word_counts() {
        let bytes = write(parts()).await;
        assert_eq!(Reader::open(bytes.as_slice()).unwrap().header().created_at, Timestamp::from_millis(3));
        let frames = read(&bytes).unwrap();
        let mut words = LastWords::default();
        frames.iter().for_each(|frame| frame.note(&mut words));
        let left: Vec<_> = frames.into_iter().flat_map(|frame| frame.last(&words)).collect();
        let long = "x".repeat(600_000);
        assert_eq!(left.len(), 3);
        assert!([put("a", "2"), put("b", &long), put("d", "5")].iter().all(|it| left.contains(it)));
    }

    #[tokio::test]
    async fn no_cut_and_no_changed_byte_goes_unnoticed() {
        let bytes = write(vec![Part { entries: vec![put("a", "1"), gone("b")], again: true }]).await;
        assert!(read(&bytes).is_ok());
        for end in 0..bytes.len() {
            assert_eq!(read(&bytes[..end]).unwrap_err().kind(), Kind::Invalid, "cut to {end}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert_eq!(read(&changed).unwrap_err().kind(), Kind::Invalid, "byte {at}");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert!(read(&longer).unwrap_err().message().contains("follows its end"));
    }
}
