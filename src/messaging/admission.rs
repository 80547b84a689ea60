//! Asking the guard before a send is made.

use secrecy::ExposeSecret;

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::event::history::{EventKind, History};
use crate::guard::ask::{Admitted, Ask, Origin};
use crate::guard::failures::Attempt;
use crate::guard::rule::Rule;
use crate::id::TenantName;
use crate::messaging::errand::Errand;
use crate::messaging::outbox::Outbox;
use crate::messaging::sending::{SendStatus, Sending};
use crate::recipient::Recipient;
use crate::segment::measure;
use crate::vendor::Channel;

/// A send that somebody wants.
pub(crate) struct Wanted<'a> {
    pub(crate) tenant: &'a TenantName,
    pub(crate) recipient: &'a Recipient,
    pub(crate) channel: Channel,
    /// Empty for messages.
    pub(crate) scope: &'a str,
    /// Best first.
    pub(crate) vendors: &'a [String],
}

/// Asks once, however often a use case has to begin again.
#[derive(Default)]
pub(crate) struct Admission {
    pub(crate) origin: Origin,
    answer: Option<Admitted>,
}

// === impl Admission ===

impl Admission {
    pub(crate) fn of(origin: Origin) -> Self {
        Self { origin, answer: None }
    }

    /// Errors: those of [`Guard::admit`](crate::guard::service::Guard::admit).
    pub(crate) async fn ask(
        &mut self,
        outbox: &Outbox,
        wanted: &Wanted<'_>,
        errand: impl FnOnce() -> Result<Errand> + Send,
    ) -> Result<&Admitted> {
        let answer = match self.answer.take() {
            Some(answer) => answer,
            None => outbox.admit(wanted, &self.origin, errand).await?,
        };
        Ok(self.answer.insert(answer))
    }

    /// Gives back what was taken for a send that came to nothing, such as one that another was quicker to make.
    pub(crate) async fn give_back(&mut self, outbox: &Outbox, why: &Error) {
        if let Some(answer) = self.answer.take() {
            outbox.give_back(answer, why).await;
        }
    }

    /// The limit that is nearest, once the guard was asked.
    pub(crate) fn nearest(&self) -> Option<(Rule, u32)> {
        self.answer.as_ref()?.nearest
    }
}

// === impl Outbox ===

impl Outbox {
    /// Whether a send may be made; what it takes from limits and budgets is taken then. `errand`: what is to be sent,
    /// asked for only where its length matters.
    ///
    /// Errors: those of [`Guard::admit`](crate::guard::service::Guard::admit).
    pub(crate) async fn admit(
        &self,
        wanted: &Wanted<'_>,
        origin: &Origin,
        errand: impl FnOnce() -> Result<Errand> + Send,
    ) -> Result<Admitted> {
        let Some(guard) = &self.guard else { return Ok(Admitted::default()) };
        let segments = if guard.counts_money() { segments(wanted.channel, &errand()?) } else { 1 };
        let Wanted { tenant, recipient, channel, scope, vendors } = *wanted;
        guard.admit(&Ask { tenant, recipient, channel: channel.as_str(), scope, origin, vendors, segments }).await
    }

    /// Gives back what was taken for a send that came to nothing. Of a store that did not answer nobody knows what it did.
    pub(crate) async fn give_back(&self, admitted: Admitted, why: &Error) {
        let Some(guard) = &self.guard else { return };
        if !matches!(why.kind(), Kind::Unavailable | Kind::Internal) {
            guard.release(admitted).await;
        }
    }

    /// Leave to make one check; `None` where nothing is counted.
    ///
    /// Errors: `Limited`/`TenantFailures`.
    pub(crate) fn attempt_check(&self, tenant: &TenantName) -> Result<Option<Attempt<'_>>> {
        self.guard.as_ref().map(|guard| guard.attempt(tenant)).transpose()
    }
}

// === impl Sending ===

impl Sending {
    /// Makes it look sent by a vendor, though nothing leaves.
    pub fn withhold(&mut self, rule: &str, vendor: Option<&String>, now: Timestamp, history: &mut History) {
        self.attempts = 1;
        self.named_by = 1;
        self.vendor = vendor.cloned();
        self.withheld = Some(rule.to_owned());
        self.set(SendStatus::Sent, now, None);
        history.add(now, EventKind::Attempted(self.number, 1));
        history.add(now, EventKind::Sent(self.number));
    }
}

/// What a send is paid by. A code that a vendor makes fits one segment.
fn segments(channel: Channel, errand: &Errand) -> u32 {
    match (channel, errand) {
        (Channel::Sms, Errand::Text(outgoing)) => {
            u32::try_from(measure(outgoing.text.expose_secret()).segments).unwrap_or(u32::MAX)
        }
        _ => 1,
    }
}
