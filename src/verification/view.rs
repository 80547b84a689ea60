//! What callers see of verifications.

use crate::clock::Timestamp;
use crate::guard::rule::Rule;
use crate::verification::answers::Judgement;
use crate::verification::code::Code;
use crate::verification::policy::Limits;
use crate::verification::recipient_state::RecipientState;
use crate::verification::verification::{Status, Verification};

/// A verification as a caller may see it at one moment.
#[derive(Debug, Clone)]
pub struct View {
    pub verification: Verification,
    pub status: Status,
    /// Checks that may still fail; 0 once ended.
    pub checks_left: u32,
    /// The earliest time of the next send, past or future; `None` when there will be none.
    pub next_resend_at: Option<Timestamp>,
    pub decided_at: Option<Timestamp>,
    /// When the workflow goes on by itself; `None` when it does not.
    pub next_step_at: Option<Timestamp>,
}

/// The answer to a check.
#[derive(Debug, Clone)]
pub struct Checked {
    pub outcome: Outcome,
    /// Checks that might still fail after this one. Of a repeated check, what the first one was told.
    pub checks_left: u32,
    /// When the next check may be made, if not now. Of a repeated check, what the first one was told.
    pub next_check_at: Option<Timestamp>,
    /// Whether it was judged before, and is only told again.
    pub repeated: bool,
    /// The verification as it is now.
    pub view: View,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Judged(Judgement),
    /// Not judged: the verification has this status.
    Ended(Status),
    /// Too many failed checks for this recipient; not judged.
    RecipientLocked,
}

/// Whether a check was answered before.
pub(crate) enum Replay {
    /// There is none: the check has to be judged.
    New,
    /// As the first time.
    Given(Box<Checked>),
    /// What was read has changed meanwhile: read it again.
    LostRace,
}

/// The answer to a start.
#[derive(Debug, Clone)]
pub struct Started {
    pub view: View,
    /// Only for a tenant that may have it, and that asked.
    pub code: Option<Code>,
    /// The limit that is nearest, and how many more sends it lets pass now.
    pub nearest: Option<(Rule, u32)>,
}

/// How many more checks may fail, as far as the verification and its recipient allow.
pub(crate) fn checks_left(verification: &Verification, state: &RecipientState, limits: &Limits, now: Timestamp) -> u32 {
    let failures_left = u32::try_from(state.failures_left(limits, now)).unwrap_or(u32::MAX);
    match verification.status(now) {
        Status::Pending => verification.checks_left().min(failures_left),
        _ => 0,
    }
}

// === impl Outcome ===

impl Outcome {
    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Judged(Judgement::Approved) => "approved",
            Self::Judged(Judgement::Wrong) => "wrong",
            Self::Judged(Judgement::LastWrong) => "exhausted",
            Self::Ended(_) => "ended",
            Self::RecipientLocked => "locked",
        }
    }
}
