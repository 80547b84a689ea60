//! Many messages asked for at once, under one name: sent once however often they are asked for with one key, and found
//! again by that name.
//!
//! A batch is no unit of sending. Each of its messages is accepted, sent and ended by itself, and one that is refused
//! stops no other. What a batch adds is written down last: which messages it came to. Should we die before that, or not
//! know of a message whether it was accepted, whoever asks again with the same key gets what was accepted, and the rest
//! is accepted then.

use std::sync::Arc;

use futures_util::future::join_all;
use minicbor::{Decode, Encode};

use crate::error::{Error, Kind, Reason, Result};
use crate::id::{Id, Partition, TenantName};
use crate::messaging::idempotency::{self, Claim, Request};
use crate::messaging::message::Message;
use crate::messaging::request::{Content, NewMessage};
use crate::messaging::service::Messaging;
use crate::recipient::Address;
use crate::store::keys::Fingerprint;
use crate::store::{Batch, Commit, record};
use crate::tenant::Tenant;

/// What a caller asks to have sent at once.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// Makes a repeated request harmless for 24 hours. Any text.
    pub key: Option<String>,
    /// Without idempotency keys of their own.
    pub messages: Vec<NewMessage>,
}

/// What a batch came to.
#[derive(Debug)]
pub struct SentBatch {
    pub id: Id,
    /// The same batch was asked for before, with the same key.
    pub again: bool,
    /// What became of each message, in order. Of a batch that comes again only those that were accepted.
    pub results: Vec<Result<Message>>,
}

/// A batch as it is stored: the messages that were accepted, in order.
#[derive(Debug, PartialEq, Eq, Encode, Decode)]
struct Kept {
    #[n(0)]
    messages: Vec<Id>,
}

// === impl Messaging ===

impl Messaging {
    /// Accepts messages as [`Messaging::send`] does, in parallel, and to the end even when nobody waits for that any more.
    /// `named` may write the name of the batch into each of them. [`Messaging::batch`] finds it if it has a key, or a
    /// message of it is scheduled.
    ///
    /// Errors: when none of the messages is accepted, that of the first one; `Precondition`/`IdempotencyMismatch`;
    /// `Conflict` and `Unavailable`, also when this is so of a single message and the batch has a key, which is then to be
    /// asked for again.
    pub async fn send_batch(
        self: &Arc<Self>,
        tenant: &Arc<Tenant>,
        new: NewBatch,
        named: impl Fn(Id, NewMessage) -> NewMessage + Send + Sync + 'static,
    ) -> Result<SentBatch> {
        let (messaging, tenant) = (Arc::clone(self), Arc::clone(tenant));
        self.outbox.run_to_end(async move { messaging.send_batch_once(&tenant, new, named).await }).await
    }

    /// The messages of a batch that are still known, in order.
    ///
    /// Errors: `NotFound` for an unknown batch, another tenant's among them, and one that nothing was kept of.
    pub async fn batch(&self, tenant: &TenantName, id: Id) -> Result<Vec<Message>> {
        self.find_batch(tenant, id).await?.ok_or_else(|| {
            let message = "no batch of messages has this id; it may have passed its retention";
            Error::new(Kind::NotFound, Reason::MessageNotFound, message)
        })
    }

    async fn send_batch_once(
        &self,
        tenant: &Tenant,
        new: NewBatch,
        named: impl Fn(Id, NewMessage) -> NewMessage,
    ) -> Result<SentBatch> {
        let mut partition = [0];
        self.ground.random.fill(&mut partition);
        let id = Id::new(self.ground.clock.now(), Partition::new(partition[0]), &*self.ground.random);
        let Some(key) = &new.key else { return self.send_all(tenant, new, id, named).await };
        let fingerprint = self.fingerprint_of_batch(&new.messages);
        let request = Request { tenant: &tenant.name, call: "batch", key, fingerprint };
        let ticket = match self.idempotency.claim(request, id).await? {
            Claim::Done(id) => return Ok(again(id, self.batch(&tenant.name, id).await?)),
            Claim::Open(ticket) => {
                let found = self.find_batch(&tenant.name, ticket.id).await?;
                return found.map(|messages| again(ticket.id, messages)).ok_or_else(idempotency::in_flight);
            }
            Claim::Ours(ticket) => ticket,
        };
        // Whoever held the key before us may have died after the work was done.
        if let Some(messages) = self.find_batch(&tenant.name, ticket.id).await? {
            self.idempotency.settle(&ticket, ticket.id).await?;
            return Ok(again(ticket.id, messages));
        }
        let sent = self.send_all(tenant, new, ticket.id, named).await;
        match &sent {
            Ok(batch) => self.idempotency.settle(&ticket, batch.id).await?,
            // Some of it may be done.
            Err(error) if !is_refusal(error) => {}
            Err(_) => self.idempotency.release(&ticket).await?,
        }
        sent
    }

    async fn send_all(
        &self,
        tenant: &Tenant,
        new: NewBatch,
        id: Id,
        named: impl Fn(Id, NewMessage) -> NewMessage,
    ) -> Result<SentBatch> {
        let keyed = new.key.is_some();
        // The same key for the same message, should the batch be taken up again.
        let key = |at: usize| keyed.then(|| format!("{id}.{at}"));
        let messages = new.messages.into_iter().enumerate();
        let messages = messages.map(|(at, new)| NewMessage { idempotency_key: key(at), ..named(id, new) });
        let mut results = join_all(messages.map(|new| self.send(tenant, new))).await;
        let open = |result: &Result<Message>| result.as_ref().is_err_and(|error| !is_refusal(error));
        let first = results.iter().position(open).filter(|_| keyed);
        let first = first.or_else(|| results.iter().all(Result::is_err).then_some(0));
        if let Some(first) = first {
            let error = (first < results.len()).then(|| results.swap_remove(first).err()).flatten();
            return Err(error.unwrap_or_else(|| Error::invalid("messages", "must be at least one")));
        }
        let accepted: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
        if keyed || accepted.iter().any(|message| message.send_at.is_some()) {
            self.keep_batch(&tenant.name, id, &accepted).await?;
        }
        Ok(SentBatch { id, again: false, results })
    }

    async fn keep_batch(&self, tenant: &TenantName, id: Id, accepted: &[&Message]) -> Result<()> {
        let key = self.ground.keys.message_batch(self.ground.keys.tenant(tenant), id);
        let ends_at = accepted.iter().map(|message| message.sending.expires_at).max().unwrap_or_default();
        let kept = Kept { messages: accepted.iter().map(|message| message.id).collect() };
        let batch =
            Batch::new(id.partition()).put(key, record::encode(&kept)?, Some(ends_at + self.retention.of(tenant)));
        // Without a condition: taken up twice, it comes to the same messages.
        let (Commit::Committed(_) | Commit::Conflict) = self.ground.store.commit(batch).await?;
        Ok(())
    }

    async fn find_batch(&self, tenant: &TenantName, id: Id) -> Result<Option<Vec<Message>>> {
        let key = self.ground.keys.message_batch(self.ground.keys.tenant(tenant), id);
        let Some(read) = self.ground.store.get(&key).await? else { return Ok(None) };
        let kept: Kept = record::decode(&read.value)?;
        let mut messages = Vec::with_capacity(kept.messages.len());
        for id in kept.messages {
            messages.extend(self.find(tenant, id).await?);
        }
        Ok(Some(messages))
    }

    fn fingerprint_of_batch(&self, messages: &[NewMessage]) -> Fingerprint {
        let parts: Vec<_> = messages.iter().flat_map(parts).collect();
        self.ground.keys.fingerprint(&parts)
    }
}

/// Whether a message was surely not accepted. Of a store that did not answer nobody knows what it did, and of two that
/// race for one key the other may win.
fn is_refusal(error: &Error) -> bool {
    !matches!(error.kind(), Kind::Unavailable | Kind::Internal | Kind::Conflict | Kind::Deadline)
}

fn again(id: Id, messages: Vec<Message>) -> SentBatch {
    SentBatch { id, again: true, results: messages.into_iter().map(Ok).collect() }
}

/// All that makes two messages differ, but for whom to tell of them: that is the surface's business, not the caller's.
fn parts(new: &NewMessage) -> [Vec<u8>; 3] {
    let recipient = match &new.recipient {
        Some(Address::Phone(text) | Address::Email(text)) => text.as_str(),
        None => "",
    };
    let (text, template) = match &new.content {
        Some(Content::Text(text)) => (text.expose(), None),
        Some(Content::Template { name, locale, variables }) => ("", Some((name, locale, variables))),
        None => ("", None),
    };
    let rest = format!("{:?}", (template, new.channel, &new.sender, new.send_at, new.validity, &new.metadata));
    [recipient, text, &rest].map(|part| part.as_bytes().to_vec())
}
