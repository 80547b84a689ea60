//! A code that vendors make and check, as its verification remembers it.

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::messaging::errand::CodeWish;
use crate::vendor::{CodeVerdict, Failure};

/// What stands in a verification in place of a code of ours. The code itself is the vendor's alone.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct VendorCode {
    #[n(0)]
    pub wish: CodeWish,
    /// Checks that were begun, those that a vendor could not judge among them.
    #[n(1)]
    pub(crate) checks_begun: u32,
    /// The check that a vendor is judging.
    #[n(2)]
    pub(crate) under_way: Option<UnderWay>,
}

/// A check that a vendor is judging. It is counted as failed until it turns out otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct UnderWay {
    /// Its number among those begun.
    #[n(0)]
    pub(crate) number: u32,
    /// When whoever made it must have died, and it stays as it is counted.
    #[n(1)]
    pub(crate) until: Timestamp,
}

/// What was heard of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    Right,
    /// Or the vendor knows of no code that it could be.
    Wrong,
    /// The vendor judges no more checks of its code.
    Exhausted,
    /// The vendor's code has ended.
    Expired,
    /// The vendor surely did not look at it.
    NotJudged,
    /// Nobody can tell what the vendor made of it.
    Unclear,
}

// === impl VendorCode ===

impl VendorCode {
    pub fn new(wish: CodeWish) -> Self {
        Self { wish, checks_begun: 0, under_way: None }
    }
}

// === impl Heard ===

impl Heard {
    /// A refusal is no proof that the candidate was not looked at, and a guess that is not counted must be impossible.
    pub fn of(verdict: &Result<CodeVerdict, Failure>) -> Self {
        match verdict {
            Ok(CodeVerdict::Right) => Self::Right,
            Ok(CodeVerdict::Wrong { .. } | CodeVerdict::Unknown) => Self::Wrong,
            Ok(CodeVerdict::Exhausted) => Self::Exhausted,
            Ok(CodeVerdict::Expired) => Self::Expired,
            Err(Failure::Throttled { .. } | Failure::Unavailable) => Self::NotJudged,
            Err(Failure::Rejected(_) | Failure::Unknown) => Self::Unclear,
        }
    }
}
