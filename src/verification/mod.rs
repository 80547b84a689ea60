//! Verifications: attempts to prove that a person controls a recipient.

pub mod code;
