//! What clients know of a gateway's state: what was acknowledged to them, and which of their calls were cut off and so
//! may have taken effect or not.
//!
//! It is compared with what the gateway shows after a crash. What it then shows settles the open calls, so each entry
//! becomes exact again. It knows no processes and makes no calls.

use std::time::Duration;

use verigate::clock::Timestamp;
use verigate::proto::messaging::v1::{Message, MessageStatus};
use verigate::proto::verification::v1::{CheckOutcome, Verification, VerificationStatus};

use crate::support::gateway::phone;

/// Wrong codes after which a recipient is locked.
pub(crate) const FAILURES: u32 = 3;

/// How often something surely happened, and how often it was asked for without an answer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    pub(crate) acknowledged: u32,
    pub(crate) open: u32,
}

/// A recipient of verifications.
#[derive(Debug)]
pub(crate) struct Person {
    pub(crate) phone: String,
    /// Oldest first. All in one scope.
    pub(crate) verifications: Vec<Entry>,
    /// The custom code of a start that was cut off.
    pub(crate) open_start: Option<String>,
    /// Before this, nothing is sent.
    pub(crate) next_send_at: Timestamp,
}

/// A verification whose start was acknowledged.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: String,
    pub(crate) code: Option<String>,
    pub(crate) expires_at: Timestamp,
    pub(crate) max_checks: u32,
    pub(crate) wrong: Tally,
    pub(crate) sends: Tally,
    /// A right code was given without an answer.
    pub(crate) approval_open: bool,
    /// It was canceled or replaced without an answer.
    pub(crate) cancel_open: bool,
    pub(crate) ended: Option<VerificationStatus>,
    /// Its sends waited for nothing when they were last looked at.
    settled: bool,
}

/// A message that was accepted.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) id: String,
    pub(crate) text: String,
    pub(crate) expires_at: Timestamp,
    /// The process that accepted it had also begun to send it.
    pub(crate) begun: bool,
    pub(crate) status: MessageStatus,
}

// === impl Tally ===

impl Tally {
    pub(crate) fn most(self) -> u32 {
        self.acknowledged + self.open
    }

    /// Takes in what the gateway counts.
    fn settle(&mut self, counted: u32, what: &str) {
        let possible = self.acknowledged..=self.most();
        assert!(possible.contains(&counted), "{what}: counted {counted}, possible {possible:?}");
        *self = Self { acknowledged: counted, open: 0 };
    }
}

// === impl Person ===

impl Person {
    pub(crate) fn new(phone: String) -> Self {
        Self { phone, verifications: Vec::new(), open_start: None, next_send_at: Timestamp::default() }
    }

    /// Takes in the answer to a start or resend.
    pub(crate) fn note_send(&mut self, shown: &Verification) {
        // One that was sent often enough tells no time for another send.
        if let Some(next) = shown.next_resend_time {
            self.next_send_at = self.next_send_at.max(time(Some(next)));
        }
    }

    pub(crate) fn is_locked(&self) -> bool {
        self.verifications.iter().map(|entry| entry.wrong.acknowledged).sum::<u32>() >= FAILURES
    }

    /// The calls that were cut off have surely done nothing.
    pub(crate) fn forget_open_calls(&mut self) {
        self.open_start = None;
        for entry in &mut self.verifications {
            entry.wrong.open = 0;
            entry.sends.open = 0;
            entry.approval_open = false;
            entry.cancel_open = false;
        }
    }

    /// Whether nothing may be sent for now, and that is not about to change.
    pub(crate) fn cools_down(&self, now: Timestamp) -> bool {
        // One who was approved may be sent the next code at once.
        let approved = self.verifications.last().is_none_or(|last| last.ended == Some(VerificationStatus::Approved));
        !approved && now + Duration::from_secs(60) < self.next_send_at
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.verifications.iter().all(|entry| entry.settled)
    }

    /// Compares a verification with what is known of it, and settles what was open. `asked_at`, `answered_at`: when.
    pub(crate) fn see(&mut self, at: usize, shown: &Verification, asked_at: Timestamp, answered_at: Timestamp) {
        let entry = &mut self.verifications[at];
        assert!(shown.recipient == Some(phone(&self.phone)), "the recipient of {} changed", entry.id);
        assert_eq!(time(shown.expire_time), entry.expires_at, "the expiry of {} moved", entry.id);
        let possible = entry.possible(asked_at, answered_at);
        assert!(possible.contains(&shown.status()), "{:?}, possible {possible:?}: {entry:?}", shown.status());
        entry.settle_checks(shown);
        entry.sends.settle(u32::try_from(shown.sends.len()).unwrap(), &format!("sends of {}", entry.id));
        entry.settled = shown.sends.iter().all(|send| is_settled(send.status()));
        entry.approval_open = false;
        entry.cancel_open = false;
        entry.ended = ended(shown);
        // What has ended tells no time for another send; the recipient's cool-down shows at the next start.
        let Some(next_send_at) = shown.next_resend_time.map(|next| time(Some(next))) else { return };
        assert!(
            next_send_at >= self.next_send_at,
            "the cool-down after {} shrank from {} to {next_send_at}",
            entry.id,
            self.next_send_at
        );
        self.next_send_at = next_send_at;
    }
}

// === impl Entry ===

impl Entry {
    pub(crate) fn new(shown: &Verification, code: Option<String>, max_checks: u32) -> Self {
        Self {
            id: shown.id.clone(),
            code,
            expires_at: time(shown.expire_time),
            max_checks,
            wrong: Tally::default(),
            sends: Tally { acknowledged: u32::try_from(shown.sends.len()).unwrap(), open: 0 },
            approval_open: false,
            cancel_open: false,
            ended: ended(shown),
            settled: false,
        }
    }

    /// Every status that it may have now.
    fn possible(&self, asked_at: Timestamp, answered_at: Timestamp) -> Vec<VerificationStatus> {
        if let Some(ended) = self.ended {
            return vec![ended];
        }
        let exhausted = self.wrong.most() >= self.max_checks;
        let statuses = [
            (VerificationStatus::Pending, asked_at < self.expires_at),
            (VerificationStatus::Expired, answered_at >= self.expires_at),
            (VerificationStatus::Approved, self.approval_open),
            (VerificationStatus::Canceled, self.cancel_open),
            (VerificationStatus::ChecksExhausted, exhausted),
        ];
        statuses.into_iter().filter(|(_, possible)| *possible).map(|(status, _)| status).collect()
    }

    /// Takes in the answer to a check; `None` when it was cut off. `right`: the code was.
    pub(crate) fn note_check(&mut self, right: bool, outcome: Option<CheckOutcome>) {
        match outcome {
            None if right => self.approval_open = true,
            None => self.wrong.open += 1,
            Some(CheckOutcome::Approved) => {
                assert!(right, "a wrong code was approved: {self:?}");
                assert_eq!(self.ended, None, "approved after it had ended: {self:?}");
                self.ended = Some(VerificationStatus::Approved);
            }
            // Also the one that was the last may be told as the end of all checks.
            Some(CheckOutcome::WrongCode | CheckOutcome::ChecksExhausted) if self.ended.is_none() => {
                assert!(!right, "the right code was refused: {self:?}");
                self.wrong.acknowledged += 1;
                if self.wrong.acknowledged == self.max_checks {
                    self.ended = Some(VerificationStatus::ChecksExhausted);
                }
            }
            Some(other) => panic!("a check came to {other:?}: {self:?}"),
        }
    }

    /// What the right code comes to after the end.
    pub(crate) fn outcome_after_end(&self) -> Option<CheckOutcome> {
        Some(match self.ended? {
            VerificationStatus::Approved => CheckOutcome::AlreadyApproved,
            VerificationStatus::Canceled => CheckOutcome::Canceled,
            VerificationStatus::ChecksExhausted => CheckOutcome::ChecksExhausted,
            VerificationStatus::Expired => CheckOutcome::Expired,
            other => panic!("no verification of these tests ends as {other:?}"),
        })
    }

    fn settle_checks(&mut self, shown: &Verification) {
        let used = u32::try_from(shown.checks_used).unwrap();
        // The right one may count as used too.
        let right = u32::from(shown.status() == VerificationStatus::Approved && used > self.wrong.most());
        self.wrong.settle(used - right, &format!("wrong codes of {}", self.id));
    }
}

// === impl Letter ===

impl Letter {
    pub(crate) fn new(accepted: &Message) -> Self {
        Self {
            id: accepted.id.clone(),
            text: accepted.text.clone(),
            expires_at: time(accepted.expire_time),
            begun: accepted.status() != MessageStatus::Queued,
            status: accepted.status(),
        }
    }

    /// Compares a message with what is known of it.
    pub(crate) fn see(&mut self, shown: &Message) {
        assert_eq!((&shown.id, &shown.text), (&self.id, &self.text));
        assert_eq!(time(shown.expire_time), self.expires_at, "the expiry of {} moved", self.id);
        assert!(
            self.status == shown.status() || !is_terminal(self.status),
            "message {} went on from {:?} to {:?}",
            self.id,
            self.status,
            shown.status()
        );
        self.status = shown.status();
    }

    /// Whether nothing has to be done for it any more, unless a vendor or the clock has news.
    pub(crate) fn is_settled(&self) -> bool {
        is_settled(self.status)
    }
}

/// Whether a send or message waits for nothing that a restart could have forgotten.
fn is_settled(status: MessageStatus) -> bool {
    is_terminal(status) || matches!(status, MessageStatus::Sent | MessageStatus::Unknown)
}

fn is_terminal(status: MessageStatus) -> bool {
    match status {
        MessageStatus::Unspecified => panic!("a status is missing"),
        MessageStatus::Queued | MessageStatus::Sending | MessageStatus::Sent | MessageStatus::Unknown => false,
        MessageStatus::Rejected
        | MessageStatus::Delivered
        | MessageStatus::Undelivered
        | MessageStatus::Expired
        | MessageStatus::Canceled => true,
    }
}

fn ended(shown: &Verification) -> Option<VerificationStatus> {
    Some(shown.status()).filter(|status| *status != VerificationStatus::Pending)
}

/// A time on the wire, which has whole milliseconds.
pub(crate) fn time(time: Option<prost_types::Timestamp>) -> Timestamp {
    let time = time.unwrap();
    Timestamp::from_millis(u64::try_from(time.seconds * 1000 + i64::from(time.nanos) / 1_000_000).unwrap())
}
