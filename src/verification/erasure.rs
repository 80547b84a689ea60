//! What is kept of one recipient: its verifications, found, shown and erased.
//!
//! No index leads from a recipient to all of its verifications, for it would cost each start a write; so all of a tenant's
//! are looked through, slice by slice.

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::{Id, TenantName};
use crate::messaging::holder::{MAX_ROUNDS, contention, count_conflict};
use crate::messaging::sought::{Erased, SLICE, Sought};
use crate::recipient::Recipient;
use crate::store::{Batch, Commit, record};
use crate::verification::service::Verifications;
use crate::verification::verification::Verification;
use crate::verification::view::View;

// === impl Verifications ===

impl Verifications {
    /// The next verifications of a recipient. There may be more though these are none.
    pub async fn of_recipient(
        &self,
        tenant: &TenantName,
        recipient: &Recipient,
        after: Option<Id>,
    ) -> Result<Sought<View>> {
        let found = self.look_through(tenant, recipient, after).await?;
        let state = self.storage.load_state(self.storage.tags(tenant, recipient)).await?;
        let now = self.ground.clock.now();
        let items = found.items.into_iter().map(|verification| self.view(verification, &state.value, now));
        Ok(Sought { items: items.collect(), after: found.after })
    }

    /// Erases the verifications of a recipient that were started until now, and what is known of it beside them, but for
    /// when it was sent to and when guesses failed: that protects it until it ends by itself.
    ///
    /// Errors: `Conflict`; `Unavailable`. Some may be erased then.
    pub async fn erase(&self, tenant: &TenantName, recipient: &Recipient, until: Timestamp) -> Result<Erased> {
        let mut erased = Erased::new();
        let mut after = None;
        loop {
            let found = self.look_through(tenant, recipient, after).await?;
            for verification in found.items.iter().filter(|found| found.created_at <= until) {
                if self.erase_one(tenant, verification.id).await? {
                    erased.insert(verification.id);
                }
            }
            match found.after.filter(|last| last.created_at() <= until) {
                Some(last) => after = Some(last),
                None => break,
            }
        }
        self.forget(tenant, recipient, until).await?;
        Ok(erased)
    }

    /// Whether there was one.
    async fn erase_one(&self, tenant: &TenantName, id: Id) -> Result<bool> {
        for _ in 0..MAX_ROUNDS {
            let Some(loaded) = self.storage.find(tenant, id).await? else { return Ok(false) };
            let send = self.storage.send_ref(tenant, id, 0);
            let batch = Batch::new(id.partition()).require(&loaded.key, loaded.read.as_ref());
            let batch = loaded.marks.delete(batch, &self.ground.keys, &send).delete(loaded.key);
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                self.outbox.watches.tell(id);
                if loaded.value.is_open() {
                    self.outbox.let_go(loaded.value.codes_of_vendors(), true);
                }
                return Ok(true);
            }
            count_conflict("erase");
        }
        Err(contention())
    }

    async fn forget(&self, tenant: &TenantName, recipient: &Recipient, until: Timestamp) -> Result<()> {
        for _ in 0..MAX_ROUNDS {
            let mut state = self.storage.load_state(self.storage.tags(tenant, recipient)).await?;
            if state.read.is_none() {
                return Ok(());
            }
            state.value.forget(until);
            let batch = self.storage.put_state(Batch::new(state.key.partition()), &state)?;
            if let Commit::Committed(_) = self.ground.store.commit(batch).await? {
                return Ok(());
            }
            count_conflict("erase");
        }
        Err(contention())
    }

    /// Those of a recipient among the next verifications of a tenant.
    async fn look_through(
        &self,
        tenant: &TenantName,
        recipient: &Recipient,
        after: Option<Id>,
    ) -> Result<Sought<Verification>> {
        // There may be many slices, and the store answers without a wait.
        tokio::task::yield_now().await;
        let (of_tenant, of_recipient) = self.storage.tags(tenant, recipient);
        let all = self.ground.keys.verifications(of_tenant);
        let after = after.map(|id| self.ground.keys.verification(of_tenant, id));
        let read = self.ground.store.scan(&all, after.as_ref(), SLICE).await?;
        let last = read.last().map(|(key, _)| self.ground.keys.parse_id(key)).transpose()?;
        let mut items = Vec::new();
        // All of a recipient's lie in its partition, which leaves out most others.
        for (_, found) in read.iter().filter(|(key, _)| key.partition() == of_recipient.partition()) {
            let verification: Verification = record::decode(&found.value)?;
            items.extend(Some(verification).filter(|found| found.recipient == *recipient));
        }
        Ok(Sought { items, after: last.filter(|_| read.len() == SLICE) })
    }
}
