//! Messages as a service: accept, cancel, show. Accepted means committed, and from then on the outbox sees each to its end.

use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::error::{Error, Kind, Reason, Result, Violation};
use crate::event::history::History;
use crate::id::{Id, TenantName};
use crate::messaging::admission::Wanted;
use crate::messaging::callback::{Callback, NewCallback};
use crate::messaging::callbacks::Receivers;
use crate::messaging::errand::Errand;
use crate::messaging::holder::{Ground, Marks, Records, SendHolder, SendRecord, contention, put_record};
use crate::messaging::idempotency::{self, Claim, Idempotency, Request, Ticket};
use crate::messaging::message::{Message, Text};
use crate::messaging::outbox::{Begun, Outbox};
use crate::messaging::progress;
use crate::messaging::request::{DEFAULT_VALIDITY, NewMessage};
use crate::messaging::retention::Retention;
use crate::messaging::sending::{SendStatus, Sending, Step};
use crate::messaging::template::Templates;
use crate::messaging::vendors::Permit;
use crate::recipient::Recipient;
use crate::store::keys::{Fingerprint, Holder, SendRef};
use crate::store::{Batch, Commit, Condition, record};
use crate::telemetry::funnel::Stage;
use crate::telemetry::trace;
use crate::tenant::{MESSAGE_RETENTION, Tenant};
use crate::vendor::{Channel, Outgoing};
use crate::violations::Violations;

/// `[messaging]`: how messages leave, and how long they are kept.
#[derive(Debug, Clone, Deserialize)]
pub struct MessagingConfig {
    /// How long a message is kept after its validity ends.
    pub retention: Duration,
    /// How long one vendor call may take.
    pub attempt_timeout: Duration,
    /// Due sends that are looked at at once.
    pub workers: u32,
    /// Vendor calls for one send, over all vendors.
    pub max_attempts: u32,
}

/// Accepts and shows messages.
pub struct Messaging {
    pub(crate) ground: Ground,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) records: Arc<Records<Message>>,
    pub(crate) idempotency: Idempotency,
    pub(crate) templates: Arc<Templates>,
    receivers: Option<Arc<dyn Receivers>>,
    pub(crate) retention: Retention,
}

// === impl MessagingConfig ===

impl MessagingConfig {
    /// What is wrong with it, by key.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        found.range("retention", &self.retention, MESSAGE_RETENTION);
        found.range("attempt_timeout", &self.attempt_timeout, Duration::from_millis(100)..=Duration::from_secs(120));
        found.range("workers", &self.workers, 1..=4_096);
        found.range("max_attempts", &self.max_attempts, 1..=20);
        found.0
    }
}

// === impl Messaging ===

impl Messaging {
    /// `retention`: how long a message is kept after its validity ends, unless its tenant has a time of its own.
    pub fn new(outbox: Arc<Outbox>, templates: Arc<Templates>, retention: Duration) -> Self {
        let ground = outbox.ground.clone();
        let retention = Retention::of_messages(retention, Arc::clone(&outbox.wishes));
        let records = Records::new(ground.clone(), outbox.watches.clone(), retention.clone(), Box::new(render));
        let records = Arc::new(records);
        let idempotency = Idempotency::new(ground.clone());
        Self { ground, outbox, records, idempotency, templates, receivers: None, retention }
    }

    /// Takes messages with callbacks to these. Without it, such messages are refused.
    pub fn telling(self, receivers: Arc<dyn Receivers>) -> Self {
        Self { receivers: Some(receivers), ..self }
    }

    /// The records that the outbox moves.
    pub fn holder(&self) -> Arc<dyn SendHolder> {
        Arc::clone(&self.records) as Arc<dyn SendHolder>
    }

    /// Accepts a message: it is durable when this returns, and reaches one terminal state afterwards. With an idempotency
    /// key, a request that comes again is answered with the message of the first one.
    ///
    /// Errors: `Invalid` with each field out of range; `Precondition` with `NoRoute` or `IdempotencyMismatch`; `Limited`
    /// and `Forbidden` with the rule of the guard that it broke; `Conflict`; `Unavailable`.
    pub async fn send(&self, tenant: &Tenant, mut new: NewMessage) -> Result<Message> {
        new.unread.extend(new.callback.as_ref().and_then(|callback| self.unreachable(callback)));
        let now = self.ground.clock.now();
        let (recipient, channel, text) = new.check(tenant, &self.templates, now)?;
        self.outbox.route(&tenant.name, channel, recipient.country())?;
        let partition = self.ground.keys.recipient(&tenant.name, &recipient).partition();
        let id = Id::new(now, partition, &*self.ground.random);
        let to = (recipient, channel, text);
        // No key of a caller's holds a blank.
        let of_batch = |key: String| if new.batched { format!("{key} {}", to.0.as_str()) } else { key };
        let Some(key) = new.idempotency_key.clone().map(of_batch) else {
            return self.accept(tenant, new, to, id).await;
        };
        let fingerprint = self.fingerprint(&new, &to);
        let request = Request { tenant: &tenant.name, call: "send", key: &key, fingerprint };
        match self.idempotency.claim(request, id).await? {
            Claim::Done(id) => self.get(&tenant.name, id).await,
            Claim::Open(ticket) => self.find(&tenant.name, ticket.id).await?.ok_or_else(idempotency::in_flight),
            Claim::Ours(ticket) => self.accept_once(tenant, new, to, ticket).await,
        }
    }

    /// Cancels a message that no vendor was called for yet. Canceling a canceled one changes nothing.
    ///
    /// Errors: `NotFound`; `Precondition`/`MessageNotQueued` when it is on its way or has ended.
    pub async fn cancel(&self, tenant: &TenantName, id: Id) -> Result<Message> {
        let send = self.send_ref(tenant, id);
        let abandon = |sending: &mut Sending, history: &mut History, now| sending.abandon(now, history);
        let changed = self.outbox.move_send(&send, &abandon).await?.ok_or_else(not_found)?;
        if changed.step == Step::Ignored && changed.sending.status != SendStatus::Canceled {
            let message = "the message is on its way or has ended; only a queued one can be canceled";
            return Err(Error::new(Kind::Precondition, Reason::MessageNotQueued, message));
        }
        self.get(tenant, id).await
    }

    /// Errors: `NotFound` for an unknown id, another tenant's among them.
    pub async fn get(&self, tenant: &TenantName, id: Id) -> Result<Message> {
        self.find(tenant, id).await?.ok_or_else(not_found)
    }

    pub(crate) async fn find(&self, tenant: &TenantName, id: Id) -> Result<Option<Message>> {
        let key = Message::key(&self.ground.keys, &self.send_ref(tenant, id));
        let read = self.ground.store.get(&key).await?;
        read.map(|read| record::decode(&read.value)).transpose()
    }

    async fn accept_once(
        &self,
        tenant: &Tenant,
        new: NewMessage,
        to: (Recipient, Channel, Text),
        ticket: Ticket,
    ) -> Result<Message> {
        // Whoever held the key before us may have died after the work was done.
        let accepted = match self.find(&tenant.name, ticket.id).await? {
            Some(message) => Ok(message),
            None => self.accept(tenant, new, to, ticket.id).await,
        };
        match &accepted {
            Ok(message) => self.idempotency.settle(&ticket, message.id).await?,
            // Of a store that did not answer nobody knows what it did.
            Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Internal) => {}
            Err(_) => self.idempotency.release(&ticket).await?,
        }
        accepted
    }

    async fn accept(
        &self,
        tenant: &Tenant,
        new: NewMessage,
        to: (Recipient, Channel, Text),
        id: Id,
    ) -> Result<Message> {
        let (recipient, channel, text) = to;
        let now = self.ground.clock.now();
        let send = self.send_ref(&tenant.name, id);
        let to = (channel, recipient.country());
        let route = self.outbox.route(&tenant.name, channel, to.1)?;
        let of_recipient = self.ground.keys.recipient(&tenant.name, &recipient);
        let send_at = new.send_at.unwrap_or(now).max(now);
        let expires_at = send_at + new.validity.unwrap_or(DEFAULT_VALIDITY);
        let mut sending = Sending::new(0, channel, now, expires_at, false);
        sending.due_at = Some(send_at);
        sending.trace = trace::current();
        let sender = new.sender.or_else(|| tenant.sender.clone());
        let mut message = Message::new(id, tenant.name.clone(), recipient, text, sender, sending, new.metadata);
        message.send_at = Some(send_at).filter(|at| *at > now);
        message.callback = new.callback.map(Callback::new);
        let vendors = self.outbox.order(route, &send, to);
        let wanted =
            Wanted { tenant: &tenant.name, recipient: &message.recipient, channel, scope: "", vendors: &vendors };
        let admitted = self.outbox.admit(&wanted, &new.origin, || self.records.errand(&message, &send)).await?;
        message.sending.refused_by.clone_from(&admitted.passed_over);
        let permit = match admitted.shadow {
            Some(rule) => {
                message.sending.withhold(rule.as_str(), vendors.first(), now, &mut message.history);
                None
            }
            None if send_at > now => None,
            None => self.outbox.begin_inline(&mut message.sending, &vendors, now, &mut message.history),
        };

        let key = Message::key(&self.ground.keys, &send);
        let batch = Batch::new(id.partition()).require_that(&key, Condition::Absent);
        let mark = self.ground.keys.message_of(send.tenant, of_recipient, id);
        let batch = batch.put(mark, Vec::new(), Some(message.ends_at() + self.retention.of(&tenant.name)));
        let batch = put_record(batch, &self.ground, &send, &Marks::default(), &message, &self.retention)?;
        let accepted = self.commit(message, send, batch, permit).await;
        if let Err(error) = &accepted {
            self.outbox.give_back(admitted, error).await;
        }
        accepted
    }

    /// Commits an accepted message and launches its send, even when nobody waits for it any more.
    async fn commit(&self, message: Message, send: SendRef, batch: Batch, permit: Option<Permit>) -> Result<Message> {
        let errand = self.records.errand(&message, &send)?;
        let (outbox, store) = (Arc::clone(&self.outbox), Arc::clone(&self.ground.store));
        let records = Arc::clone(&self.records);
        self.outbox
            .run_to_end(async move {
                let Commit::Committed(version) = store.commit(batch).await? else { return Err(contention()) };
                if permit.is_some() {
                    records.remember(send.id, version, message.clone());
                }
                let to = (&message.tenant, &message.recipient);
                progress::count(Stage::Queued, send.holder, to, &message.sending);
                // With an attempt under way too: should its outcome get lost, the lease must be known to run out.
                outbox.note(send.id.partition(), &message.sending);
                if let Some(permit) = permit {
                    let begun = Begun::of(send, &message.sending);
                    drop(outbox.launch(permit, begun, errand, message.sending.trace));
                }
                Ok(message)
            })
            .await
    }

    /// What a request with an idempotency key asks for.
    fn fingerprint(&self, new: &NewMessage, (recipient, channel, text): &(Recipient, Channel, Text)) -> Fingerprint {
        let rest = format!("{:?}", (channel, &new.sender, new.send_at, new.validity, &new.metadata));
        let mut parts = vec![recipient.as_str(), text.expose(), &rest];
        if let Some(NewCallback { kind, url, context }) = &new.callback {
            parts.extend([*kind, url.expose()]);
            parts.extend(context.0.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]));
        }
        self.ground.keys.fingerprint(&parts)
    }

    /// Why nobody can be told there.
    fn unreachable(&self, callback: &NewCallback) -> Option<Violation> {
        let field = "callback.url".to_owned();
        let Some(receivers) = &self.receivers else {
            return Some(Violation { field, description: "must not be set: nobody is called here".to_owned() });
        };
        // What is wrong with it otherwise is told by itself.
        let error = receivers.check(callback.url.expose()).err().filter(|_| callback.violation().is_none())?;
        let description = error.violations().first().map_or_else(|| error.message(), |found| &found.description);
        Some(Violation { field, description: description.to_owned() })
    }

    pub(crate) fn send_ref(&self, tenant: &TenantName, id: Id) -> SendRef {
        SendRef { holder: Holder::Message, tenant: self.ground.keys.tenant(tenant), id, number: 0 }
    }
}

pub(crate) fn not_found() -> Error {
    let message = "no message has this id; it may have passed its retention";
    Error::new(Kind::NotFound, Reason::MessageNotFound, message)
}

/// A message goes out as it was written.
fn render(message: &Message, sending: &Sending, send: &SendRef) -> Result<Errand> {
    Ok(Errand::Text(Outgoing {
        reference: sending.reference(send).to_string().into(),
        tenant: message.tenant.clone(),
        channel: sending.channel,
        recipient: message.recipient.clone(),
        sender: message.sender.clone(),
        text: SecretString::from(message.text.expose()),
        receipt_url: None,
        expires_at: sending.expires_at,
    }))
}
