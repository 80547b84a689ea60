//! What is known of whether a code arrived, beside its check: somebody says so who knows, and an approval shows it. Either
//! credits the vendor that carried the code, once for each verification, and is told to that vendor.

use crate::error::Result;
use crate::id::{Id, TenantName};
use crate::messaging::feedback::{FeedbackTaken, contradicts, not_sent};
use crate::messaging::holder::{MAX_ROUNDS, SendRecord, contention, count_conflict};
use crate::messaging::progress;
use crate::messaging::sending::Sending;
use crate::store::keys::Holder;
use crate::store::{Batch, Commit};
use crate::telemetry::funnel::Stage;
use crate::vendor::FeedbackOutcome;
use crate::verification::service::Verifications;
use crate::verification::verification::{Heard, Verification};

// === impl Verifications ===

impl Verifications {
    /// Takes in whether a code arrived; durable when this returns. That it did credits the vendor that carried it last,
    /// unless an approval has done so; that it did not is said of all that went out so far. The same word again changes
    /// nothing.
    ///
    /// Errors: `NotFound`; `Precondition` with `FeedbackContradicts` when it was approved, or another word came before
    /// and nothing was sent since, or with `NotSent` when no vendor can have a code of it; `Conflict`; `Unavailable`.
    pub async fn feedback(&self, tenant: &TenantName, id: Id, outcome: FeedbackOutcome) -> Result<FeedbackTaken> {
        for _ in 0..MAX_ROUNDS {
            let mut loaded = self.storage.load(tenant, id).await?;
            let news = match loaded.value.hear(outcome, self.ground.clock.now()) {
                Heard::New(sends) => sends,
                Heard::Known => return Ok(taken(&loaded.value, false)),
                Heard::Contradicts => return Err(contradicts()),
                Heard::NothingSent => return Err(not_sent()),
            };
            let send = self.storage.send_ref(tenant, id, 0);
            let batch = self.storage.put(Batch::new(id.partition()), &send, &loaded)?;
            if self.ground.store.commit(batch).await? == Commit::Conflict {
                count_conflict("feedback");
                continue;
            }
            self.outbox.watches.tell(id);
            let received = outcome == FeedbackOutcome::Received;
            for sending in &news {
                if received {
                    self.credit(&loaded.value, sending);
                }
                self.outbox.tell_vendor(sending, outcome);
            }
            return Ok(taken(&loaded.value, received));
        }
        Err(contention())
    }

    /// Counts and credits the vendor that carried the code of a verification that was approved just now, and tells it, unless
    /// somebody's word has led to that before.
    pub(crate) fn approved(&self, verification: &Verification) {
        if let Some(sending) = verification.carrier().or(verification.sends().last()) {
            let to = (&verification.tenant, &verification.recipient);
            progress::count(Stage::Approved, Holder::Verification, to, sending);
        }
        let carrier = verification.carrier().filter(|_| !verification.is_told_received());
        if let Some(sending) = carrier {
            self.credit(verification, sending);
            self.outbox.tell_vendor(sending, FeedbackOutcome::Received);
        }
    }

    fn credit(&self, verification: &Verification, sending: &Sending) {
        if let Some(vendor) = &sending.vendor {
            self.outbox.measuring.approved(vendor, sending.channel, verification.recipient.country());
        }
        if let Some(guard) = &self.outbox.guard {
            guard.approved(&verification.tenant, &verification.recipient);
        }
    }
}

fn taken(verification: &Verification, counted: bool) -> FeedbackTaken {
    let vendor = verification.carrier().and_then(|sending| sending.vendor.clone());
    FeedbackTaken { vendor: vendor.unwrap_or_default(), counted }
}
