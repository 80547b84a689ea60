//! What checks with an idempotency key were answered, so that one that comes again, because its answer got lost on the
//! way, is answered alike and counted once.
//!
//! Pure. Of keys and candidates it holds keyed hashes only. An answer is kept as long as its verification, and a
//! verification judges no more checks than it allows, so there are never more answers than that.

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::store::keys::{Fingerprint, RequestTag};

/// Which check it is that may come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct CheckKey {
    /// The idempotency key.
    #[n(0)]
    pub request: RequestTag,
    /// That key with the candidate.
    #[n(1)]
    pub fingerprint: Fingerprint,
}

/// What comparing a candidate with the code came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Judgement {
    /// The right code, for the first time.
    #[n(1)]
    Approved,
    /// A wrong code; it was counted.
    #[n(2)]
    Wrong,
    /// A wrong code; it was counted, and was the last that the verification allows.
    #[n(3)]
    LastWrong,
}

/// How a check was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Answer {
    #[n(0)]
    pub key: CheckKey,
    #[n(1)]
    pub judgement: Judgement,
    #[n(2)]
    pub checks_left: u32,
    #[n(3)]
    pub next_check_at: Option<Timestamp>,
}

/// The answers of one verification, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Answers(#[n(0)] Vec<Answer>);

/// What is known of a check that comes with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing: no check with this key was judged.
    Nothing,
    /// This very check was judged.
    Answered(Answer),
    /// The key came with another candidate, which was judged so.
    Mismatched(Judgement),
}

// === impl Answers ===

impl Answers {
    pub fn find(&self, key: &CheckKey) -> Known {
        match self.0.iter().find(|answer| answer.key.request == key.request) {
            None => Known::Nothing,
            Some(answer) if answer.key == *key => Known::Answered(*answer),
            Some(answer) => Known::Mismatched(answer.judgement),
        }
    }

    pub fn add(&mut self, answer: Answer) {
        self.0.push(answer);
    }

    /// Gives the approval to nobody again.
    ///
    /// Whoever could try candidates under the key of an approval until one is answered as approved would find the code
    /// uncounted. So the first that differs is the last that is looked at.
    pub fn forget_approval(&mut self) {
        self.0.retain(|answer| answer.judgement != Judgement::Approved);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// === impl Judgement ===

impl Judgement {
    /// Whether it counts as a failed check.
    pub fn is_failure(self) -> bool {
        self != Self::Approved
    }
}
