//! How a record becomes the bytes of a value: a version byte, then CBOR with numbered fields.
//!
//! Numbered fields let a record gain fields without a new version; the byte is for the day when that is not enough.

use minicbor::{Decode, Encode};

use crate::error::{Error, Result};

const VERSION: u8 = 1;

/// Errors: `Internal`, never in practice.
pub fn encode<T: Encode<()>>(record: &T) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(512);
    bytes.push(VERSION);
    minicbor::encode(record, &mut bytes).map_err(Error::internal)?;
    Ok(bytes)
}

/// Errors: `Internal` for a version of the future or a damaged record.
pub fn decode<T: for<'b> Decode<'b, ()>>(bytes: &[u8]) -> Result<T> {
    match bytes {
        [VERSION, record @ ..] => minicbor::decode(record).map_err(Error::internal),
        [version, ..] => Err(Error::internal(format!("a record has version {version}, this build knows {VERSION}"))),
        [] => Err(Error::internal("a record is empty")),
    }
}
