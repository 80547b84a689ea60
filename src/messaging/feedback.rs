//! What somebody says who knows whether a message arrived: it is kept with the message, and told to the vendor that
//! carried it, where that wants to hear it.
//!
//! Telling is best effort: once, beside everything else, only where the vendor has room that nobody waits for. A vendor
//! that does not take it is not thought worse of, for what it is told changes nothing for anybody's message. What codes
//! have to do with this is not known here.

use std::sync::Arc;

use tracing::{Instrument, info_span, warn};

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::event::history::History;
use crate::id::{Id, TenantName};
use crate::messaging::holder::SendHolder;
use crate::messaging::outbox::Outbox;
use crate::messaging::sending::{Sending, Step};
use crate::messaging::service::{Messaging, not_found};
use crate::messaging::vendors::Permit;
use crate::vendor::{Failure, FeedbackOutcome};

/// What came of somebody's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedbackTaken {
    /// The vendor that carried it.
    pub vendor: String,
    /// Whether it counts for that vendor's conversion, by this very call.
    pub counted: bool,
}

// === impl Messaging ===

impl Messaging {
    /// Takes in whether a message arrived; durable when this returns. The same word again changes nothing. Conversion is
    /// about codes, so it does not count there.
    ///
    /// Errors: `NotFound`; `Precondition` with `FeedbackContradicts` for another word than the first one, or `NotSent`
    /// when no vendor can have the message; `Conflict`; `Unavailable`.
    pub async fn feedback(&self, tenant: &TenantName, id: Id, outcome: FeedbackOutcome) -> Result<FeedbackTaken> {
        let send = self.send_ref(tenant, id);
        let hear = |sending: &mut Sending, history: &mut History, now: Timestamp| sending.hear(outcome, now, history);
        let changed = self.records.change(&send, &hear).await?.ok_or_else(not_found)?;
        match (changed.step, changed.sending.feedback) {
            (Step::Done, _) => self.outbox.tell_vendor(&changed.sending, outcome),
            (_, Some(known)) if known == outcome => {}
            (_, Some(_)) => return Err(contradicts()),
            (_, None) => return Err(not_sent()),
        }
        Ok(FeedbackTaken { vendor: changed.sending.vendor.unwrap_or_default(), counted: false })
    }
}

// === impl Outbox ===

impl Outbox {
    /// Tells the vendor of a send what came of it. Does not wait for anything.
    pub(crate) fn tell_vendor(self: &Arc<Self>, sending: &Sending, outcome: FeedbackOutcome) {
        let (Some(vendor), Some(name)) = (sending.vendor.clone(), sending.vendor_reference.clone()) else { return };
        let feedback = self.vendors.get(&vendor).and_then(|vendor| vendor.feedback());
        if !feedback.is_some_and(|feedback| feedback.takes(outcome)) {
            return;
        }
        let Some(permit) = self.vendors.try_aside(&vendor, self.ground.clock.now()) else {
            return count(vendor, "no_room");
        };
        let (outbox, span) = (Arc::clone(self), info_span!("feedback", vendor));
        let work = async move {
            let told = outbox.tell(&permit, &name, outcome).await;
            if let Err(failure) = &told {
                warn!(?failure, "a vendor did not take what came of a message");
            }
            count(vendor, if told.is_ok() { "told" } else { "failed" });
        };
        self.spawn(work.instrument(span));
    }

    async fn tell(&self, permit: &Permit, name: &str, outcome: FeedbackOutcome) -> Result<(), Failure> {
        let Some(feedback) = permit.vendor().feedback() else { return Ok(()) };
        let clock = &self.ground.clock;
        tokio::select! {
            told = feedback.tell(name, outcome) => told,
            () = clock.sleep_until(clock.now() + self.attempt_timeout()) => Err(Failure::Unknown),
        }
    }
}

fn count(vendor: String, result: &'static str) {
    metrics::counter!("verigate_feedback_total", "vendor" => vendor, "result" => result).increment(1);
}

/// The error of a word that cannot be true beside what is known.
pub fn contradicts() -> Error {
    let message = "something else is known already: an approval, or feedback that said otherwise; the first word stays";
    Error::new(Kind::Precondition, Reason::FeedbackContradicts, message)
}

/// The error of a word on what cannot have arrived.
pub fn not_sent() -> Error {
    Error::new(Kind::Precondition, Reason::NotSent, "no vendor has taken it, so there is nothing to say of it")
}
