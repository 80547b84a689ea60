//! Where a reader of a feed has come to, as it is told: opaque, so that nobody counts on numbers.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};

use crate::error::Error;
use crate::page_token;

/// The number of the last entry that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Cursor(#[n(0)] pub u64);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        page_token::write(self, f)
    }
}

impl FromStr for Cursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        page_token::read(text).map_err(|_| Error::invalid("after", "must be a cursor as it was told"))
    }
}
