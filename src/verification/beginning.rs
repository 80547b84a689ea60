//! What a new verification is made of, once all of it has been checked.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::id::{Id, TenantName};
use crate::messaging::code_text::CodeText;
use crate::messaging::errand::CodeWish;
use crate::messaging::last_line::LastLine;
use crate::recipient::Recipient;
use crate::verification::code::Code;
use crate::verification::workflow::Progress;

/// Who makes the code of a new verification.
#[derive(Debug, Clone)]
pub enum Secret {
    Ours(Code),
    /// The vendors that send it, as they can.
    Vendors(CodeWish),
}

/// What a new verification is made of.
#[derive(Debug)]
pub struct Beginning {
    pub id: Id,
    pub tenant: TenantName,
    pub recipient: Recipient,
    pub scope: String,
    pub secret: Secret,
    pub expires_at: Timestamp,
    pub max_checks: u32,
    pub locale: Option<String>,
    pub sender: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub template: String,
    pub variables: BTreeMap<String, String>,
    pub text: Option<CodeText>,
    pub last_line: LastLine,
    pub workflow: Option<Progress>,
    /// Whether the caller vouches for the person.
    pub trusted: bool,
    /// Whether it is to be written down in time when its time is over.
    pub ends_aloud: bool,
}
