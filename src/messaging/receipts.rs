//! What vendors say later about messages: their receipts, and their answers when we ask.
//!
//! Every word is stored before it is acknowledged and moves a send only forward; which word counts for which attempt the
//! send's own rules decide. Who may speak for a vendor is not decided here.

use std::sync::Arc;

use async_trait::async_trait;
use tracing::{Instrument, error, info_span, warn};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::event::history::History;
use crate::messaging::holder::MAX_ROUNDS;
use crate::messaging::outbox::Outbox;
use crate::messaging::sending::{SendStatus, Sending};
use crate::messaging::vendors::Permit;
use crate::store::keys::{AttemptRef, SendRef};
use crate::vendor::{Accepted, Failure, Outgoing, Receipt, ReceiptSink, ReceiptStatus, Reported, ReportedMessage};

impl Outbox {
    /// Stores what a vendor reports; durable when this returns, and stored to its end also when nobody waits for it.
    pub async fn reported(self: &Arc<Self>, vendor: &str, reported: Reported) -> Result<()> {
        let (outbox, vendor) = (Arc::clone(self), vendor.to_owned());
        self.run_to_end(async move {
            let Reported { of, status, at } = reported;
            let attempt = match of {
                ReportedMessage::Ours(reference) => reference.parse().ok(),
                ReportedMessage::Theirs(name) if outbox.remembers_names(&vendor) => {
                    outbox.names.find_or_park(&vendor, &name, status, at).await?
                }
                ReportedMessage::Theirs(_) => None,
            };
            match attempt {
                Some(attempt) => outbox.take_in(attempt, &vendor, status, at).await,
                None => Ok(()),
            }
        })
        .await
    }

    /// Remembers what the vendor calls an attempt that it took, if it reports under that name, and takes in what it has
    /// reported already.
    pub(crate) async fn learn_name(&self, vendor: &str, accepted: &Accepted, outgoing: &Outgoing) {
        let (Some(name), None) = (&accepted.vendor_reference, accepted.receipt) else { return };
        let Ok(attempt) = outgoing.reference.parse() else { return };
        if !self.remembers_names(vendor) {
            return;
        }
        if let Err(error) = self.learn(vendor, name, attempt, outgoing.expires_at).await {
            error!(?error, vendor, "what a vendor calls a message could not be stored; its receipts will be lost");
        }
    }

    /// Asks the vendor of a send that it took what became of it. An answer that says nothing final changes nothing.
    pub(crate) fn ask(self: &Arc<Self>, mut permit: Permit, send: SendRef, sending: &Sending) {
        let Some(name) = sending.vendor_reference.clone() else { return };
        let (outbox, attempt) = (Arc::clone(self), sending.reference(&send));
        let span = info_span!("status", ?send, vendor = permit.name());
        let work = async move {
            let Some(status) = outbox.status(&mut permit, &name).await else { return };
            let vendor = permit.name().to_owned();
            // The next call need not wait for our commit.
            drop(permit);
            let at = outbox.ground.clock.now();
            // Lost, it is asked for again.
            if let Err(error) = outbox.take_in(attempt, &vendor, status, at).await {
                error!(?error, "a vendor's answer about a message could not be stored");
            }
        };
        self.spawn(work.instrument(span));
    }

    async fn status(&self, permit: &mut Permit, name: &str) -> Option<ReceiptStatus> {
        let statuses = permit.vendor().statuses()?;
        let clock = &self.ground.clock;
        let answer = tokio::select! {
            answer = statuses.status(name) => answer,
            () = clock.sleep_until(clock.now() + self.attempt_timeout()) => Err(Failure::Unknown),
        };
        permit.note_aside(&answer, clock.now());
        let outcome = match &answer {
            Ok(Some(_)) => "final",
            Ok(None) => "open",
            Err(_) => "failed",
        };
        metrics::counter!("verigate_status_asks_total", "outcome" => outcome).increment(1);
        answer.unwrap_or_else(|failure| {
            warn!(?failure, "a vendor did not say what became of a message");
            None
        })
    }

    /// Whether a vendor reports, and under names of its own.
    fn remembers_names(&self, vendor: &str) -> bool {
        let vendor = self.vendors.get(vendor);
        vendor.and_then(|vendor| vendor.receipts()).is_some_and(|reader| !reader.names_ours())
    }

    async fn learn(&self, vendor: &str, name: &str, attempt: AttemptRef, ends_at: Timestamp) -> Result<()> {
        let mut taken_in = None;
        for _ in 0..MAX_ROUNDS {
            let Some(parked) = self.names.learn(vendor, name, attempt, ends_at, taken_in).await? else { break };
            self.take_in(attempt, vendor, parked.status, parked.at).await?;
            taken_in = Some(parked);
        }
        Ok(())
    }

    async fn take_in(&self, attempt: AttemptRef, vendor: &str, status: ReceiptStatus, at: Timestamp) -> Result<()> {
        let receipt = Receipt { vendor: vendor.to_owned(), reference: attempt.to_string().into(), status, at };
        self.merge(attempt, &receipt).await
    }

    async fn merge(&self, attempt: AttemptRef, receipt: &Receipt) -> Result<()> {
        let AttemptRef { send, attempt } = attempt;
        let merge = |sending: &mut Sending, history: &mut History, now: Timestamp| {
            sending.receipt(attempt, receipt, now, history)
        };
        match self.move_send(&send, &merge).await? {
            Some(changed) if changed.sending.status == SendStatus::Undelivered => {
                warn!(?send, vendor = receipt.vendor, "a vendor could not deliver a message");
            }
            Some(_) => {}
            None => warn!(?send, vendor = receipt.vendor, "a receipt came for a message that is gone"),
        }
        Ok(())
    }
}

#[async_trait]
impl ReceiptSink for Outbox {
    async fn receive(&self, receipt: Receipt) -> Result<()> {
        let Ok(attempt) = receipt.reference.parse() else {
            warn!(vendor = receipt.vendor, "a receipt names no send of ours");
            return Ok(());
        };
        self.merge(attempt, &receipt).await
    }
}
