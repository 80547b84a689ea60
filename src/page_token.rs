//! How the tokens of pages (AIP-158) are written: opaque to callers, as base64url of CBOR.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minicbor::{Decode, Encode};

use crate::error::{Error, Result};

/// For a token's `Display`.
pub fn write<T: Encode<()>>(token: &T, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let bytes = minicbor::to_vec(token).map_err(|_| fmt::Error)?;
    f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
}

/// For a token's `FromStr`.
///
/// Errors: `Invalid`, field `page_token`, for anything but a token as it was written.
pub fn read<T: for<'b> Decode<'b, ()> + fmt::Display>(text: &str) -> Result<T> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let token = bytes.and_then(|bytes| minicbor::decode::<T>(&bytes).ok());
    // Bytes behind the end are not read, and would make two tokens of one.
    let token = token.filter(|token| token.to_string() == text);
    token.ok_or_else(|| Error::invalid("page_token", "must be a next_page_token as it was returned"))
}
