//! Verifications: start, resend, check, cancel, show, list, watch. Each use case reads, lets pure rules decide, and commits
//! once; a lost race reads and decides again.

pub mod answers;
pub mod beginning;
pub mod code;
pub mod delivery;
pub(crate) mod dispatch;
pub mod feedback;
pub mod fields;
pub mod fitting;
pub mod judging;
pub mod list;
pub mod policy;
pub mod recipient_state;
pub mod replay;
pub mod request;
pub mod service;
pub mod start;
pub mod steps;
pub mod storage;
pub mod vendor_check;
pub mod vendor_code;
pub mod vendor_start;
#[expect(clippy::module_inception, reason = "the noun that the module is named for")]
pub mod verification;
pub mod view;
pub mod workflow;
