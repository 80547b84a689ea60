//! Looking at messages: pages of them, one as it changes, and one that is not sent.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::id::{Id, TenantName};
use crate::messaging::message::{Message, Text};
use crate::messaging::page::{Page, PageRequest, Source};
use crate::messaging::request::NewMessage;
use crate::messaging::route::Placed;
use crate::messaging::sending::SendStatus;
use crate::messaging::service::Messaging;
use crate::messaging::watches::{Watch, stopping};
use crate::recipient::{Address, Country, Recipient};
use crate::segment::{Segments, measure};
use crate::tenant::Tenant;
use crate::vendor::Channel;

/// Which messages to list; what is not given does not matter.
#[derive(Debug, Default)]
pub struct MessageFilter {
    pub recipient: Option<Address>,
    /// Any of these; empty for all.
    pub statuses: Vec<SendStatus>,
}

/// One message as it changes.
pub struct MessageWatch {
    messaging: Arc<Messaging>,
    tenant: TenantName,
    id: Id,
    watch: Watch,
    seen: Option<Message>,
}

/// What a message would be, if it were sent now.
#[derive(Debug)]
pub struct Preview {
    /// What would be sent.
    pub text: Text,
    /// What it takes on SMS; `None` on other channels.
    pub segments: Option<Segments>,
    pub candidates: Vec<Candidate>,
}

/// A vendor that the route names.
#[derive(Debug)]
pub struct Candidate {
    pub vendor: String,
    pub usable: bool,
    /// Why it would be called, or would not.
    pub why: String,
}

// === impl Messaging ===

impl Messaging {
    /// A page of a tenant's messages, newest first.
    ///
    /// Errors: `Invalid` with each field out of range.
    pub async fn list(&self, tenant: &Tenant, filter: &MessageFilter, page: &PageRequest) -> Result<Page<Message>> {
        if let Some(violation) = page.check() {
            return Err(Error::invalid_fields(vec![violation]));
        }
        let keys = &self.ground.keys;
        let recipient = filter.recipient.as_ref().map(|address| address.parse(tenant.default_country)).transpose()?;
        let tag = keys.tenant(&tenant.name);
        let source = Source::Keys(match &recipient {
            Some(recipient) => keys.messages_of(tag, keys.recipient(&tenant.name, recipient)),
            None => keys.messages(tag),
        });
        let asked = format!("{:?}", (&filter.statuses, page.from, page.before));
        let of = recipient.as_ref().map_or("", Recipient::as_str);
        let list = keys.fingerprint(&["messages", tenant.name.as_str(), of, &asked]);
        let fits = |message: &Message| filter.statuses.is_empty() || filter.statuses.contains(&message.sending.status);
        let mut pager = page.begin(source, list)?;
        let mut messages = Vec::new();
        while let Some(id) = pager.next(&self.ground, messages.len()).await? {
            messages.extend(self.find(&tenant.name, id).await?.filter(fits));
        }
        Ok(pager.page(messages))
    }

    /// Watches a message from now until nothing more will be heard of it.
    ///
    /// Errors: `NotFound`, from the first [`MessageWatch::next`].
    pub fn watch(self: &Arc<Self>, tenant: &TenantName, id: Id) -> MessageWatch {
        let watch = self.outbox.watches.watch(id);
        MessageWatch { messaging: Arc::clone(self), tenant: tenant.clone(), id, watch, seen: None }
    }

    /// Whether a route leads there whose vendors, or one of them, carry the channel.
    pub fn carries(&self, tenant: &TenantName, channel: Channel, country: Option<Country>) -> bool {
        let carries = |vendor: &String| {
            let vendor = self.outbox.vendors.get(vendor);
            vendor.is_some_and(|vendor| vendor.capabilities().channels.contains(&channel))
        };
        self.outbox.route(tenant, channel, country).is_ok_and(|route| route.vendors().iter().any(carries))
    }

    /// What a message would cost and which way it would go. Sends nothing.
    ///
    /// Errors: `Invalid`; `Precondition`/`NoRoute`.
    pub fn preview(&self, tenant: &Tenant, message: &NewMessage) -> Result<Preview> {
        let (recipient, channel, text) = message.check(tenant, &self.templates, self.ground.clock.now())?;
        let candidates = self.candidates(&tenant.name, channel, recipient.country())?;
        let segments = (channel == Channel::Sms).then(|| measure(text.expose()));
        Ok(Preview { segments, text, candidates })
    }

    /// The vendors of the route that a send would take now, most likely first.
    ///
    /// Errors: `Precondition`/`NoRoute`.
    pub fn candidates(
        &self,
        tenant: &TenantName,
        channel: Channel,
        country: Option<Country>,
    ) -> Result<Vec<Candidate>> {
        let route = self.outbox.route(tenant, channel, country)?;
        let placed = route.explain(&self.outbox.tallies(route, (channel, country)));
        let carries = |placed: &Placed| {
            let vendor = self.outbox.vendors.get(&placed.vendor);
            vendor.is_some_and(|vendor| vendor.capabilities().channels.contains(&channel))
        };
        let first = placed.iter().position(carries);
        let candidates = placed.iter().enumerate().map(|(place, placed)| {
            let usable = carries(placed);
            let why = match &placed.why {
                _ if !usable => format!("does not carry {channel}"),
                Some(why) => why.clone(),
                None if first == Some(place) => "first in the route that fits".to_owned(),
                None => "called when those before it fail".to_owned(),
            };
            Candidate { vendor: placed.vendor.clone(), usable, why }
        });
        Ok(candidates.collect())
    }
}

// === impl MessageWatch ===

impl MessageWatch {
    /// The message as it is, the first time; then each time that it has changed; `None` once it was shown in its last
    /// state.
    ///
    /// Errors: `NotFound`; `Unavailable` when the server stops.
    pub async fn next(&mut self) -> Result<Option<Message>> {
        let clock = &self.messaging.ground.clock;
        let over = |seen: &Message| seen.sending.status.is_terminal() || clock.now() >= seen.sending.expires_at;
        if self.seen.as_ref().is_some_and(over) {
            return Ok(None);
        }
        loop {
            let message = self.messaging.get(&self.tenant, self.id).await?;
            if self.seen.as_ref() != Some(&message) {
                self.seen = Some(message.clone());
                return Ok(Some(message));
            }
            let look_again = (clock.now() + self.watch.patience()).min(message.sending.expires_at);
            if clock.now() >= message.sending.expires_at {
                return Ok(None);
            }
            tokio::select! {
                () = self.watch.changed() => {}
                () = clock.sleep_until(look_again) => {}
                () = self.messaging.outbox.stopped().cancelled() => return Err(stopping()),
            }
        }
    }
}
