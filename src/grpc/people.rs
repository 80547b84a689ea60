//! What is kept of one person, over everything that keeps any: shown to who asks for it, and erased.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::auth::directory::Directory;
use crate::clock::Clock;
use crate::contacts::row::RowView;
use crate::contacts::service::Contacts;
use crate::error::Result;
use crate::id::{Id, TenantName};
use crate::messaging::message::Message;
use crate::messaging::service::Messaging;
use crate::messaging::sought::Sought;
use crate::recipient::Recipient;
use crate::verification::service::Verifications;
use crate::verification::view::View;

/// All that keeps something of people.
pub struct People {
    pub directory: Arc<Directory>,
    pub verifications: Arc<Verifications>,
    pub messaging: Arc<Messaging>,
    pub contacts: Arc<Contacts>,
    pub clock: Arc<dyn Clock>,
}

/// How much was erased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    pub verifications: usize,
    pub messages: usize,
    pub contacts: usize,
    /// Of idempotency keys.
    pub notes: u64,
}

/// Shows what is kept of a recipient, a record after the other.
pub struct Export {
    people: Arc<People>,
    recipient: Recipient,
    /// Those that were not looked through to the end.
    tenants: VecDeque<TenantName>,
    stage: Stage,
    after: Option<Id>,
    ready: VecDeque<Kept>,
}

/// Something that is kept.
#[derive(Debug)]
pub enum Kept {
    Verification(TenantName, Box<View>),
    Message(TenantName, Box<Message>),
    Contact(TenantName, RowView),
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Verifications,
    Messages,
    Contacts,
}

// === impl People ===

impl People {
    /// Erases what was written until now of a recipient, with all tenants or with one. Goes on when nobody waits for it any
    /// more.
    ///
    /// Errors: `Conflict`; `Unavailable`. Some may be erased then.
    pub async fn erase(self: &Arc<Self>, recipient: Recipient, tenant: Option<TenantName>) -> Result<Erased> {
        let people = Arc::clone(self);
        let outbox = Arc::clone(&self.messaging.outbox);
        let work = async move {
            let mut sum = Erased::default();
            for tenant in people.tenants(tenant) {
                people.erase_of(&tenant, &recipient, &mut sum).await?;
            }
            Ok(sum)
        };
        outbox.run_to_end(work).await
    }

    /// Shows what is kept of a recipient, with all tenants or with one.
    pub fn export(self: &Arc<Self>, recipient: Recipient, tenant: Option<TenantName>) -> Export {
        Export {
            people: Arc::clone(self),
            recipient,
            tenants: self.tenants(tenant).into(),
            stage: Stage::Verifications,
            after: None,
            ready: VecDeque::new(),
        }
    }

    async fn erase_of(&self, tenant: &TenantName, recipient: &Recipient, sum: &mut Erased) -> Result<()> {
        let now = self.clock.now();
        let verifications = self.verifications.erase(tenant, recipient, now).await?;
        let messages = self.messaging.erase(tenant, recipient, now).await?;
        let contacts = self.contacts.erase(tenant, recipient, now).await?;
        sum.verifications += verifications.len();
        sum.messages += messages.len();
        sum.contacts += contacts.len();
        let erased = verifications.into_iter().chain(messages).chain(contacts).collect();
        sum.notes += self.messaging.idempotency.erase(tenant, &erased).await?;
        Ok(())
    }

    /// One that is named need not be known any more.
    fn tenants(&self, tenant: Option<TenantName>) -> Vec<TenantName> {
        let known = || self.directory.roster().accounts().map(|account| account.tenant.name.clone()).collect();
        tenant.map_or_else(known, |tenant| vec![tenant])
    }
}

// === impl Export ===

impl Export {
    /// The next record; `None` when there is no more.
    ///
    /// Error: `Unavailable`.
    pub async fn next(&mut self) -> Result<Option<Kept>> {
        loop {
            if let Some(kept) = self.ready.pop_front() {
                return Ok(Some(kept));
            }
            let Some(tenant) = self.tenants.front().cloned() else { return Ok(None) };
            let (recipient, after) = (&self.recipient, self.after);
            match self.stage {
                Stage::Verifications => {
                    let found = self.people.verifications.of_recipient(&tenant, recipient, after).await?;
                    self.take(found, |view| Kept::Verification(tenant.clone(), Box::new(view)));
                }
                Stage::Messages => {
                    let found = self.people.messaging.of_recipient(&tenant, recipient, after).await?;
                    self.take(found, |message| Kept::Message(tenant.clone(), Box::new(message)));
                }
                Stage::Contacts => {
                    let found = self.people.contacts.of_recipient(&tenant, recipient, after).await?;
                    self.take(found, |row| Kept::Contact(tenant.clone(), row));
                }
            }
        }
    }

    fn take<T>(&mut self, found: Sought<T>, kept: impl Fn(T) -> Kept) {
        self.ready.extend(found.items.into_iter().map(kept));
        self.after = found.after;
        if self.after.is_none() {
            self.stage = match self.stage {
                Stage::Verifications => Stage::Messages,
                Stage::Messages => Stage::Contacts,
                Stage::Contacts => {
                    self.tenants.pop_front();
                    Stage::Verifications
                }
            };
        }
    }
}
