//! The secrets of API keys: how they are made, and the one form in which they are kept.
//!
//! A secret is kept and compared as one SHA-256. Keys made by [`ApiKey::generate`] carry 256 random bits, which nobody
//! guesses however fast the hash is, so a slow hash would only slow each call. A secret that a person chose has far
//! fewer bits: who steals its hash can try billions a second against it. That is why short ones draw a warning at
//! start, and why configuration counts a hash among the secrets.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::error::{Error, Result};
use crate::random::Random;

/// Longest key id, in bytes.
pub const MAX_ID_BYTES: usize = 64;

/// Longest secret, in bytes. Bounds the work that a stranger can cause.
pub const MAX_SECRET_BYTES: usize = 256;

/// A configured secret of fewer bytes than this is called weak.
pub const WEAK_SECRET_BYTES: usize = 16;

/// The SHA-256 of a secret. Written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct SecretHash(#[cbor(with = "minicbor::bytes")] [u8; 32]);

/// A new key. The secret is shown once, to whom it was made for; only the hash is kept.
#[derive(Debug)]
pub struct ApiKey {
    /// `vk_` and 12 of `a-z 2-7`.
    pub id: String,
    /// 256 random bits as 43 characters of base64url (RFC 4648 §5).
    pub secret: SecretString,
    pub hash: SecretHash,
}

/// Whether a text can be the id of a key: 1 to [`MAX_ID_BYTES`] visible ASCII characters.
pub fn is_key_id(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

// === impl SecretHash ===

impl SecretHash {
    /// Compared with when an id is unknown, so that it takes the same work as a wrong secret. Nobody knows its secret.
    pub(crate) const NOBODYS: Self = Self([0; 32]);

    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// In constant time.
    pub fn is_of(&self, secret: &str) -> Choice {
        self.0.ct_eq(&Self::of(secret).0)
    }

    /// To look a secret up by. Whoever can choose what is looked up has to know the secret.
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The form to configure.
impl fmt::Display for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:<redacted>")
    }
}

/// The error says nothing of the text: it may be a secret in the wrong place.
impl FromStr for SecretHash {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bytes = text.strip_prefix("sha256:").and_then(parse_hex);
        bytes.map(Self).ok_or_else(|| {
            Error::invalid("secret_hash", "must be \"sha256:\" and 64 hexadecimal digits, as printed by `key new`")
        })
    }
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
}

// === impl ApiKey ===

impl ApiKey {
    /// Makes a key. Neither part holds a dot, so both travel in `Bearer ID.SECRET`.
    pub fn generate(random: &dyn Random) -> Self {
        /// RFC 4648 §6, in lower case. 32 letters, so 5 bits of a byte choose one without bias.
        const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut letters = [0; 12];
        random.fill(&mut letters);
        let id = letters.iter().fold(String::from("vk_"), |mut id, byte| {
            id.push(char::from(BASE32[usize::from(byte % 32)]));
            id
        });
        let mut bits = Zeroizing::new([0; 32]);
        random.fill(bits.as_mut_slice());
        let secret = SecretString::from(URL_SAFE_NO_PAD.encode(bits.as_slice()));
        let hash = SecretHash::of(secret.expose_secret());
        Self { id, secret, hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    #[test]
    fn hashes_are_read_as_they_are_printed() {
        // The example of FIPS 180-2, appendix B.1.
        let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(SecretHash::of("abc").to_string(), abc);
        assert_eq!(abc.parse::<SecretHash>().unwrap().to_string(), abc);
        let upper = abc.replace("ba78", "BA78");
        assert_eq!(upper.parse::<SecretHash>().unwrap().to_string(), abc);
        let signed = abc.replace("ba", "+a");
        for bad in ["", "abc", &abc[7..], &abc[..70], &format!("{abc}0"), &abc.replace("ba", "ga"), &signed] {
            assert!(bad.parse::<SecretHash>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_new_key_is_never_twice_the_same_and_is_not_shown() {
        let (key, other) = (ApiKey::generate(&OsRandom), ApiKey::generate(&OsRandom));
        assert_ne!(key.id, other.id);
        assert_ne!(key.secret.expose_secret(), other.secret.expose_secret());
        assert_eq!(key.id.len(), "vk_".len() + 12);
        assert!(is_key_id(&key.id));
        assert_eq!(key.secret.expose_secret().len(), 43);
        assert!(!key.secret.expose_secret().contains('.'));
        assert!(bool::from(key.hash.is_of(key.secret.expose_secret())));
        let shown = format!("{key:?}");
        assert!(!shown.contains(key.secret.expose_secret()));
        assert!(!shown.contains(&key.hash.to_string()[7..]));
    }
}
