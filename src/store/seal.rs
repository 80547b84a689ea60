//! Sealing: a store that encrypts every value before another store sees it, so that a stolen database file shows no
//! number, text or code.
//!
//! A sealed value is `format u8 | key id u8 | nonce (24 bytes) | ciphertext and tag (16 bytes)`. The cipher is
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), whose nonces are long enough to be drawn at random. The format byte
//! and the bytes of the record's key are authenticated too, so a value does not open under another key than its own. An
//! empty value stays empty.
//!
//! What this does not hide: the bytes of keys (`keys` sees to it that they name no recipient), sizes, versions and
//! expiry times. Nor does it notice that a whole record was set back to an older state of itself.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20::{R20, hchacha};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::error::{Error, Kind, Reason, Result};
use crate::random::Random;
use crate::store::{Batch, Commit, Key, Prefix, Record, SEAL_BYTES, Store};

/// A store whose values only the holder of the key ring can read.
pub struct SealedStore {
    inner: Arc<dyn Store>,
    keys: KeyRing,
    random: Arc<dyn Random>,
}

/// The keys that values are sealed with: the first seals, all of them open. `Debug` shows only their ids.
pub struct KeyRing {
    keys: Vec<SealingKey>,
}

struct SealingKey {
    id: u8,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

const FORMAT: u8 = 1;
const SECRET_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const HEAD_BYTES: usize = 2 + NONCE_BYTES;
const _: () = assert!(SEAL_BYTES == HEAD_BYTES + TAG_BYTES);

/// The id of the key in a ring that we create.
const FIRST_ID: u8 = 1;

// === impl SealedStore ===

impl SealedStore {
    pub fn new(inner: Arc<dyn Store>, keys: KeyRing, random: Arc<dyn Random>) -> Self {
        Self { inner, keys, random }
    }

    fn open(&self, key: &Key, record: Record) -> Result<Record> {
        Ok(Record { value: self.keys.open_record(key, &record.value)?, version: record.version })
    }
}

#[async_trait]
impl Store for SealedStore {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        self.inner.get(key).await?.map(|record| self.open(key, record)).transpose()
    }

    async fn scan(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        let sealed = self.inner.scan(prefix, after, limit).await?;
        sealed
            .into_iter()
            .map(|(key, record)| {
                let record = self.open(&key, record)?;
                Ok((key, record))
            })
            .collect()
    }

    async fn commit(&self, batch: Batch) -> Result<Commit> {
        let sealed = batch.map_values(|key, value| self.keys.seal(key.bytes(), &value, self.random.as_ref()))?;
        self.inner.commit(sealed).await
    }

    fn ready(&self) -> Result<()> {
        self.inner.ready()
    }

    fn is_shared(&self) -> bool {
        self.inner.is_shared()
    }
}

// === impl KeyRing ===

impl KeyRing {
    /// Reads the text of a key file: one key a line as `ID:SECRET`, the id a number from 0 to 255, the secret 32 bytes
    /// in standard base64; `#` begins a comment line, blank lines are skipped. The first key is the active one.
    ///
    /// Error: `Invalid`, naming the line and never the secret.
    pub fn parse(text: &str) -> Result<Self> {
        Self::parse_named("key ring", text)
    }

    /// Reads a key file. Errors: `Invalid` when it cannot be read, when others than its owner can read it (but for the
    /// group of a file that root hands to us), or when its text is wrong; as `FILE:LINE: what is wrong`.
    pub fn load(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|error| unusable(path, "cannot be read", error))?;
        let metadata = file.metadata().map_err(|error| unusable(path, "cannot be read", error))?;
        if is_exposed(metadata.permissions().mode(), metadata.uid(), rustix::process::geteuid().as_raw()) {
            let path = path.display();
            return Err(invalid(format!("{path}: group or others have access to the keys; run: chmod 600 {path}")));
        }
        let mut text = Zeroizing::new(String::new());
        file.read_to_string(&mut text).map_err(|error| unusable(path, "cannot be read", error))?;
        Self::parse_named(&path.display().to_string(), &text)
    }

    /// Reads a key file, or writes one with a single new key where there is none: for a first start without a set-up.
    /// The file appears complete and durable or not at all, and one that another process has just made is never
    /// replaced.
    pub fn load_or_create(path: &Path, random: &dyn Random) -> Result<Self> {
        if !path.try_exists().map_err(|error| unusable(path, "cannot be read", error))? {
            create_key_file(path, random).map_err(|error| unusable(path, "cannot be created", error))?;
        }
        Self::load(path)
    }

    fn parse_named(name: &str, text: &str) -> Result<Self> {
        let mut keys: Vec<SealingKey> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |what: &str| invalid(format!("{name}:{}: {what}", index + 1));
            let key = SealingKey::parse(line).map_err(wrong)?;
            if keys.iter().any(|other| other.id == key.id) {
                return Err(wrong("this id is used twice"));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err(invalid(format!("{name}: holds no key")));
        }
        Ok(Self { keys })
    }

    fn seal(&self, key: &[u8], value: &[u8], random: &dyn Random) -> Result<Vec<u8>> {
        // Where a key says it all there is nothing to hide.
        if value.is_empty() {
            return Ok(Vec::new());
        }
        let active = self.keys.first().ok_or_else(|| Error::internal("the key ring is empty"))?;
        let mut nonce = [0; NONCE_BYTES];
        random.fill(&mut nonce);
        let (cipher, short_nonce) = active.cipher(&nonce)?;
        let mut sealed = Vec::with_capacity(value.len() + SEAL_BYTES);
        sealed.extend_from_slice(&[FORMAT, active.id]);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(value);
        let tag = cipher
            .seal_in_place_separate_tag(short_nonce, associated_data(key), &mut sealed[HEAD_BYTES..])
            .map_err(|_| Error::internal("a value could not be sealed"))?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    /// A value as it was before it was sealed under its key.
    ///
    /// Errors: `Internal` when it was changed, moved or damaged, or was sealed with a key that is not here.
    pub fn open_record(&self, key: &Key, sealed: &[u8]) -> Result<Vec<u8>> {
        self.open(key.bytes(), sealed)
    }

    fn open(&self, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>> {
        if sealed.is_empty() {
            return Ok(Vec::new());
        }
        let damaged = || Error::internal("a sealed value does not open: it was changed, moved or damaged");
        let ([format, id], rest) = sealed.split_first_chunk::<2>().ok_or_else(damaged)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(damaged)?;
        if *format != FORMAT {
            return Err(damaged());
        }
        let sealing_key =
            self.keys.iter().find(|sealing_key| sealing_key.id == *id).ok_or_else(|| {
                Error::internal(format!("a sealed value needs key {id}, which is not in the key ring"))
            })?;
        let (cipher, short_nonce) = sealing_key.cipher(nonce)?;
        let mut value = ciphertext.to_vec();
        let length = cipher.open_in_place(short_nonce, associated_data(key), &mut value).map_err(|_| damaged())?.len();
        value.truncate(length);
        Ok(value)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<u8> = self.keys.iter().map(|key| key.id).collect();
        f.debug_struct("KeyRing").field("ids", &ids).finish_non_exhaustive()
    }
}

fn associated_data(key: &[u8]) -> Aad<Vec<u8>> {
    let mut data = Vec::with_capacity(1 + key.len());
    data.push(FORMAT);
    data.extend_from_slice(key);
    Aad::from(data)
}

// === impl SealingKey ===

impl SealingKey {
    fn parse(line: &str) -> Result<Self, &'static str> {
        let (id, secret) = line.split_once(':').ok_or("expected ID:SECRET")?;
        let id = id.trim().parse().map_err(|_| "the id must be a number from 0 to 255")?;
        // Room for more than fits, so that a long secret is told from a damaged one.
        let mut decoded = Zeroizing::new([0; 2 * SECRET_BYTES]);
        let wrong = "the secret must be 32 bytes in standard base64 (44 characters)";
        let length = STANDARD.decode_slice(secret.trim(), decoded.as_mut_slice()).map_err(|_| wrong)?;
        let decoded: &[u8; SECRET_BYTES] =
            decoded.get(..length).and_then(|bytes| bytes.try_into().ok()).ok_or(wrong)?;
        Ok(Self { id, secret: Zeroizing::new(*decoded) })
    }

    /// ChaCha20-Poly1305 under the key and nonce that XChaCha20 derives from ours (draft-irtf-cfrg-xchacha-03, section
    /// 2.3): HChaCha20 of the first 16 bytes of the nonce, and its last 8 behind four zeros.
    fn cipher(&self, nonce: &[u8; NONCE_BYTES]) -> Result<(LessSafeKey, Nonce)> {
        let (first, last) = nonce.split_at(16);
        let first: [u8; 16] = first.try_into().map_err(Error::internal)?;
        let key = Zeroizing::new(hchacha::<R20>((&*self.secret).into(), &first.into()).0);
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_slice())
            .map_err(|_| Error::internal("a key of the ring has the wrong length"))?;
        let mut short_nonce = [0; ring::aead::NONCE_LEN];
        short_nonce[4..].copy_from_slice(last);
        Ok((LessSafeKey::new(key), Nonce::assume_unique_for_key(short_nonce)))
    }
}

/// Writes a complete file aside and links it into place, which fails when the name is taken by then.
fn create_key_file(path: &Path, random: &dyn Random) -> io::Result<()> {
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    random.fill(secret.as_mut_slice());
    let encoded = Zeroizing::new(STANDARD.encode(secret.as_slice()));
    let text = Zeroizing::new(format!(
        "# Keys that seal the store, as ID:SECRET. Keep a copy: without them nothing stored can be read.\n\
         # The first key seals; put a new one above it to rotate, and keep the others to open old records.\n\
         {FIRST_ID}:{}\n",
        encoded.as_str()
    ));

    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut suffix = [0; 8];
    random.fill(&mut suffix);
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{:016x}", u64::from_be_bytes(suffix)));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let linked = written.and_then(|()| match fs::hard_link(&aside, path) {
        // Another process was first: its key is as good as ours.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    fs::remove_file(&aside)?;
    linked?;
    File::open(directory)?.sync_all()
}

fn invalid(message: String) -> Error {
    Error::new(Kind::Invalid, Reason::InvalidField, message)
}

fn unusable(path: &Path, what: &str, error: io::Error) -> Error {
    invalid(format!("{}: {what}: {error}", path.display()))
}

/// Whether others may open a file of this mode and owner than the process of this user. What kubelet and systemd hand to a
/// process belongs to root, and the group of the process may read it.
fn is_exposed(mode: u32, owner: u32, user: u32) -> bool {
    let is_handed = owner == 0 && user != 0;
    mode & if is_handed { 0o037 } else { 0o077 } != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    const OLD: &str = "7:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const NEW: &str = "8:Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";

    #[test]
    fn a_value_opens_under_its_own_key_only() {
        let ring = KeyRing::parse(OLD).unwrap();
        let sealed = ring.seal(b"here", b"value", &OsRandom).unwrap();
        assert_eq!(sealed.len(), b"value".len() + SEAL_BYTES);
        assert_eq!(ring.open(b"here", &sealed).unwrap(), b"value");
        assert_eq!(ring.open(b"there", &sealed).unwrap_err().kind(), Kind::Internal);
        assert_ne!(ring.seal(b"here", b"value", &OsRandom).unwrap(), sealed, "every nonce is new");
    }

    /// Appendix A.3.1 of draft-irtf-cfrg-xchacha-03.
    #[test]
    fn the_cipher_is_the_one_of_the_draft() {
        let secret: Vec<u8> = (0x80..=0x9f).collect();
        let ring = KeyRing::parse(&format!("1:{}", STANDARD.encode(secret))).unwrap();
        let nonce: Vec<u8> = (0x40..=0x57).collect();
        let data = [0x50, 0x51, 0x52, 0x53, 0xc0, 0xc1, 0xc2, 0xc3, 0xc4, 0xc5, 0xc6, 0xc7];
        let mut text = *b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, \
            sunscreen would be it.";
        let (cipher, short_nonce) = ring.keys[0].cipher(&nonce.try_into().unwrap()).unwrap();
        let tag = cipher.seal_in_place_separate_tag(short_nonce, Aad::from(data), &mut text).unwrap();
        assert_eq!(text[..8], [0xbd, 0x6d, 0x17, 0x9d, 0x3e, 0x83, 0xd4, 0x3b]);
        let expected = [192, 135, 89, 36, 193, 199, 152, 121, 71, 222, 175, 216, 120, 10, 207, 73];
        assert_eq!(tag.as_ref(), expected);
    }

    #[test]
    fn a_change_of_any_byte_is_noticed() {
        let ring = KeyRing::parse(OLD).unwrap();
        let sealed = ring.seal(b"key", b"value", &OsRandom).unwrap();
        for at in 0..sealed.len() {
            for bit in [0x01, 0x80] {
                let mut changed = sealed.clone();
                changed[at] ^= bit;
                assert_eq!(ring.open(b"key", &changed).unwrap_err().kind(), Kind::Internal, "byte {at}");
            }
            assert_eq!(ring.open(b"key", &sealed[..at]).is_ok(), at == 0, "cut to {at}");
        }
    }

    #[test]
    fn rotation_seals_with_the_first_key_and_opens_with_all() {
        let before = KeyRing::parse(OLD).unwrap();
        let sealed = before.seal(b"key", b"value", &OsRandom).unwrap();
        let rotated = KeyRing::parse(&format!("{NEW}\n{OLD}")).unwrap();
        assert_eq!(rotated.open(b"key", &sealed).unwrap(), b"value");
        let resealed = rotated.seal(b"key", b"value", &OsRandom).unwrap();
        assert_eq!(resealed[1], 8);
        let error = before.open(b"key", &resealed).unwrap_err();
        assert_eq!(error.kind(), Kind::Internal);
        assert_eq!(error.message(), "internal error");
    }

    #[test]
    fn key_files_are_read_with_comments_and_wrong_lines_are_named_without_the_secret() {
        let ring = KeyRing::parse(&format!("# ring\n\n  {NEW}  \n{OLD}\n")).unwrap();
        assert_eq!(format!("{ring:?}"), "KeyRing { ids: [8, 7], .. }");
        let secret = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==";
        for (text, line) in [
            (format!("# none\n{secret}"), ":2: expected ID:SECRET"),
            (format!("300:{secret}"), ":1: the id must be"),
            (format!("\n\n1:{secret}"), ":3: the secret must be 32 bytes"),
            (format!("1:{secret}{secret}{secret}"), ":1: the secret must be 32 bytes"),
            ("1:not base64".to_owned(), ":1: the secret must be"),
            (format!("{OLD}\n{OLD}"), ":2: this id is used twice"),
            ("# nothing\n".to_owned(), "holds no key"),
        ] {
            let error = KeyRing::parse(&text).unwrap_err();
            assert!(error.message().contains(line), "{error:?}");
            assert!(!format!("{error:?}").contains(&secret[..8]), "{error:?}");
        }
    }

    #[test]
    fn a_group_may_read_only_what_root_hands_to_us() {
        for (mode, owner, user, exposed) in [
            (0o600, 1000, 1000, false),
            (0o640, 1000, 1000, true),
            (0o440, 0, 65_532, false),
            (0o444, 0, 65_532, true),
            (0o460, 0, 65_532, true),
            (0o440, 0, 0, true),
            (0o440, 1000, 65_532, true),
        ] {
            assert_eq!(is_exposed(0o100_000 | mode, owner, user), exposed, "{mode:o} of {owner} for {user}");
        }
    }

    #[test]
    fn a_key_file_is_made_once_and_only_its_owner_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sub").join("keys");
        assert!(KeyRing::load(&path).unwrap_err().message().contains("cannot be read"));
        let first = KeyRing::load_or_create(&path, &OsRandom).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left aside");
        let again = KeyRing::load_or_create(&path, &OsRandom).unwrap();
        let sealed = first.seal(b"key", b"value", &OsRandom).unwrap();
        assert_eq!(again.open(b"key", &sealed).unwrap(), b"value");

        create_key_file(&path, &OsRandom).unwrap();
        assert_eq!(KeyRing::load(&path).unwrap().open(b"key", &sealed).unwrap(), b"value", "never replaced");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = KeyRing::load_or_create(&path, &OsRandom).unwrap_err();
        assert!(error.message().contains("chmod 600"), "{error:?}");
    }
}
