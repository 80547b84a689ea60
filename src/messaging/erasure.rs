//! What is kept of one recipient: found, shown and erased. Here its messages; verifications and contacts stand with theirs.
//!
//! Erasing deletes records and never changes them, so whoever has one in hand, such as a call of a vendor under way, finds
//! it gone and does nothing more.

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::{Id, TenantName};
use crate::messaging::holder::{MAX_ROUNDS, Marks, contention, count_conflict};
use crate::messaging::message::Message;
use crate::messaging::service::Messaging;
use crate::messaging::sought::{Erased, SLICE, Sought};
use crate::recipient::Recipient;
use crate::store::keys::RecipientTag;
use crate::store::{Batch, Commit, record};

// === impl Messaging ===

impl Messaging {
    /// The next messages of a recipient.
    pub async fn of_recipient(
        &self,
        tenant: &TenantName,
        recipient: &Recipient,
        after: Option<Id>,
    ) -> Result<Sought<Message>> {
        let ids = self.marked(tenant, recipient, after).await?;
        let after = ids.last().copied().filter(|_| ids.len() == SLICE);
        let mut items = Vec::new();
        for id in ids {
            items.extend(self.find(tenant, id).await?);
        }
        Ok(Sought { items, after })
    }

    /// Erases the messages of a recipient that were accepted until now, and with them what was still to be done for them.
    ///
    /// Errors: `Conflict`; `Unavailable`. Some may be erased then.
    pub async fn erase(&self, tenant: &TenantName, recipient: &Recipient, until: Timestamp) -> Result<Erased> {
        let tag = self.ground.keys.recipient(tenant, recipient);
        let mut erased = Erased::new();
        let mut after = None;
        loop {
            let ids = self.marked(tenant, recipient, after).await?;
            for id in &ids {
                if id.created_at() > until {
                    return Ok(erased);
                }
                if self.erase_one(tenant, tag, *id).await? {
                    erased.insert(*id);
                }
            }
            match ids.last().filter(|_| ids.len() == SLICE) {
                Some(last) => after = Some(*last),
                None => return Ok(erased),
            }
        }
    }

    /// Whether there was one.
    async fn erase_one(&self, tenant: &TenantName, recipient: RecipientTag, id: Id) -> Result<bool> {
        let send = self.send_ref(tenant, id);
        let (key, mark) =
            (self.ground.keys.message(send.tenant, id), self.ground.keys.message_of(send.tenant, recipient, id));
        for _ in 0..MAX_ROUNDS {
            let read = self.ground.store.get(&key).await?;
            let mut batch = Batch::new(id.partition()).require(&key, read.as_ref()).delete(mark.clone());
            if let Some(read) = &read {
                let message: Message = record::decode(&read.value)?;
                batch = Marks::of_record(&message).delete(batch, &self.ground.keys, &send).delete(key.clone());
            }
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                self.outbox.watches.tell(id);
                return Ok(read.is_some());
            }
            count_conflict("erase");
        }
        Err(contention())
    }

    /// The ids of the next messages to a recipient.
    async fn marked(&self, tenant: &TenantName, recipient: &Recipient, after: Option<Id>) -> Result<Vec<Id>> {
        let keys = &self.ground.keys;
        let (of_tenant, of_recipient) = (keys.tenant(tenant), keys.recipient(tenant, recipient));
        let after = after.map(|id| keys.message_of(of_tenant, of_recipient, id));
        let marks = keys.messages_of(of_tenant, of_recipient);
        let marks = self.ground.store.scan(&marks, after.as_ref(), SLICE).await?;
        marks.iter().map(|(mark, _)| keys.parse_id(mark)).collect()
    }
}
