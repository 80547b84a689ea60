//! What becomes of a send that a vendor was given: its receipts, when to ask for one, and what somebody says who knows
//! better. Pure transitions, as those of [`Sending`] before it.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::event::history::{EventKind, History};
use crate::messaging::sending::{SendStatus, Sending, Step};
use crate::vendor::{FeedbackOutcome, Receipt, ReceiptStatus};

/// How long after it was sent, and then after each time, a vendor is asked what became of it; the last one repeats.
const ASK_AFTER: [Duration; 5] = [
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(120),
    Duration::from_secs(600),
    Duration::from_secs(3600),
];

/// How long after its end there may still be an answer to that.
const ASKED_BEYOND_END: Duration = Duration::from_secs(6 * 3600);

impl Sending {
    /// Takes in a vendor's later word on an attempt. Late, repeated and contradicting receipts change nothing, and
    /// neither do those of a vendor that the attempt did not go to.
    pub fn receipt(&mut self, attempt: u8, receipt: &Receipt, now: Timestamp, history: &mut History) -> Step {
        let current = attempt == self.named_by;
        let vendor = if current { self.vendor.as_ref() } else { self.earlier.get(&attempt) };
        if attempt == 0 || vendor != Some(&receipt.vendor) {
            return Step::Ignored;
        }
        self.report(receipt.status, current, now, history)
    }

    /// Whether it surely did not and will not reach the person.
    pub fn failed(&self) -> bool {
        matches!(
            self.status,
            SendStatus::Rejected | SendStatus::Undelivered | SendStatus::Expired | SendStatus::Canceled
        )
    }

    /// Plans to ask the vendor what became of what it took, where it does not tell by itself.
    pub fn ask_later(&mut self, now: Timestamp) -> Step {
        if self.status != SendStatus::Sent || self.vendor_reference.is_none() {
            return Step::Done;
        }
        let delay = ASK_AFTER[usize::from(self.asked).min(ASK_AFTER.len() - 1)];
        self.asked = self.asked.saturating_add(1);
        self.due_at = Some(now + delay).filter(|at| *at <= self.expires_at + ASKED_BEYOND_END);
        if self.due_at.is_some() { Step::Later } else { Step::Done }
    }

    /// Takes in what somebody says came of it. The first word counts; what no vendor can have is not spoken of. It moves
    /// nothing else: whether a vendor's word stands against it is for people to judge.
    pub fn hear(&mut self, outcome: FeedbackOutcome, now: Timestamp, history: &mut History) -> Step {
        if self.feedback.is_some() || !self.may_be_out() {
            return Step::Ignored;
        }
        self.feedback = Some(outcome);
        let event = match outcome {
            FeedbackOutcome::Received => EventKind::Confirmed(self.number),
            FeedbackOutcome::NotReceived => EventKind::Denied(self.number),
        };
        history.add(now, event);
        Step::Done
    }

    /// Whether a vendor has it or had it, surely or perhaps, whatever it made of it.
    pub fn may_be_out(&self) -> bool {
        match self.status {
            SendStatus::Rejected => false,
            SendStatus::Sending
            | SendStatus::Sent
            | SendStatus::Unknown
            | SendStatus::Delivered
            | SendStatus::Undelivered => true,
            // An attempt that surely sent nothing leaves a reason; one that was taken, or ended in doubt, does not.
            SendStatus::Queued | SendStatus::Expired | SendStatus::Canceled => {
                self.attempts > 0 && (self.unknowns > 0 || self.reason.is_none())
            }
        }
    }

    /// Takes in what became of an attempt. Whichever attempt arrived, the person has the text; that another one than the
    /// last did not arrive says nothing. `current`: whether it is the last one.
    pub(crate) fn report(
        &mut self,
        status: ReceiptStatus,
        current: bool,
        now: Timestamp,
        history: &mut History,
    ) -> Step {
        let delivered = status == ReceiptStatus::Delivered;
        let open = match self.status {
            SendStatus::Sending | SendStatus::Sent | SendStatus::Unknown => delivered || current,
            // An attempt in doubt is to be repeated, but arrived after all.
            SendStatus::Queued => delivered,
            _ => false,
        };
        if !open {
            return Step::Ignored;
        }
        let (status, event) = match status {
            ReceiptStatus::Delivered => (SendStatus::Delivered, EventKind::Delivered(self.number)),
            ReceiptStatus::Undelivered => (SendStatus::Undelivered, EventKind::Undelivered(self.number)),
            ReceiptStatus::Expired => (SendStatus::Expired, EventKind::SendExpired(self.number)),
        };
        self.set(status, now, None);
        history.add(now, event);
        Step::Done
    }
}
