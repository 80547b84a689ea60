//! Signatures as Standard Webhooks has them: HMAC-SHA256 over id, time and body, so that whoever is called knows that we
//! call, and that nobody says again what we said.
//!
//! <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::error::{Error, Result};
use crate::random::Random;

/// What a secret begins with that is written in base64.
const PREFIX: &str = "whsec_";

/// What the standard allows.
const MIN_SECRET_BYTES: usize = 24;
const MAX_SECRET_BYTES: usize = 64;

/// Of a secret that we make.
const MADE_SECRET_BYTES: usize = 32;

/// What calls are signed with. Not shown by `Debug`, for it has none.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

/// A new secret, as the standard writes it.
pub fn generate_secret(random: &dyn Random) -> SecretString {
    let mut bytes = [0; MADE_SECRET_BYTES];
    random.fill(&mut bytes);
    format!("{PREFIX}{}", STANDARD.encode(bytes)).into()
}

// === impl SigningKey ===

impl SigningKey {
    /// Takes what the standard writes, `whsec_` and base64; any other text is taken as it is.
    ///
    /// Errors: `Invalid`, field `secret`, for one that cannot be read or can be guessed.
    pub fn parse(secret: &SecretString) -> Result<Self> {
        Self::of(&secret_bytes(secret)?)
    }

    /// Takes only what the standard writes, for libraries of others take nothing else.
    ///
    /// Errors: as [`SigningKey::parse`], and for any other text or one that is too long.
    pub fn parse_standard(secret: &SecretString) -> Result<Self> {
        if !secret.expose_secret().starts_with(PREFIX) {
            return Err(Error::invalid("secret", format!("must begin with {PREFIX:?}, and go on in base64")));
        }
        let bytes = secret_bytes(secret)?;
        if bytes.len() > MAX_SECRET_BYTES {
            return Err(Error::invalid("secret", format!("must have at most {MAX_SECRET_BYTES} bytes")));
        }
        Self::of(&bytes)
    }

    /// The value of `webhook-signature` for one key.
    pub fn sign(&self, id: &str, at: &str, body: &[u8]) -> String {
        let mut key = self.0.clone();
        [id.as_bytes(), b".", at.as_bytes(), b".", body].iter().for_each(|part| key.update(part));
        format!("v1,{}", STANDARD.encode(key.finalize().into_bytes()))
    }

    fn of(bytes: &[u8]) -> Result<Self> {
        Hmac::new_from_slice(bytes).map(Self).map_err(Error::internal)
    }
}

fn secret_bytes(secret: &SecretString) -> Result<Vec<u8>> {
    let text = secret.expose_secret();
    let bytes = match text.strip_prefix(PREFIX) {
        Some(encoded) => {
            STANDARD.decode(encoded).map_err(|_| Error::invalid("secret", "must be base64 after \"whsec_\""))?
        }
        None => text.as_bytes().to_vec(),
    };
    if bytes.len() < MIN_SECRET_BYTES {
        let message = format!("must have at least {MIN_SECRET_BYTES} bytes, or it can be guessed");
        return Err(Error::invalid("secret", message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    #[test]
    fn a_signature_is_that_of_the_standard() {
        // The example of the libraries that the standard's authors keep.
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let key = SigningKey::parse_standard(&secret).unwrap();
        let body = br#"{"test": 2432232314}"#;
        let signature = key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_are_long_and_ours_are_of_the_standard() {
        let made = generate_secret(&OsRandom);
        assert!(SigningKey::parse_standard(&made).is_ok());
        assert_ne!(made.expose_secret(), generate_secret(&OsRandom).expose_secret());
        for (secret, parsed, standard) in [
            ("whsec_", false, false),
            ("whsec_AAAA", false, false),
            ("whsec_not base64", false, false),
            ("twenty-three-bytes-long", false, false),
            ("twenty-four-bytes--long-", true, false),
        ] {
            let secret = SecretString::from(secret);
            let read = (SigningKey::parse(&secret).is_ok(), SigningKey::parse_standard(&secret).is_ok());
            assert_eq!(read, (parsed, standard), "{}", secret.expose_secret());
        }
        let long = SecretString::from(format!("whsec_{}", STANDARD.encode([0; 65])));
        assert!(SigningKey::parse(&long).is_ok() && SigningKey::parse_standard(&long).is_err());
    }
}
