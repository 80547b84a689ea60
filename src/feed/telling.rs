//! An event as it is told: what the feed has of it, and whom it is about, which only its record knows.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::feed::entry::{Entry, EventId};
use crate::feed::kinds::Type;
use crate::id::{Id, TenantName};
use crate::messaging::holder::About;
use crate::messaging::outbox::Outbox;
use crate::store::keys::Holder;

/// An event with all that is told of it.
#[derive(Debug, Clone)]
pub struct Told {
    pub id: EventId,
    pub kind: &'static Type,
    pub at: Timestamp,
    pub tenant: TenantName,
    pub subject: Subject,
    /// Which send of a verification it is about, from 0; `None` for one that is about none.
    pub send: Option<u8>,
    /// Which attempt has begun, from 1.
    pub attempt: Option<u8>,
    pub channel: Option<String>,
    pub vendor: Option<String>,
    pub reason: Option<String>,
    pub checks_left: Option<u32>,
    /// `None` once the record is gone.
    pub about: Option<About>,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    Verification(Id),
    Message(Id),
}

/// Reads what events are about.
#[derive(Clone)]
pub struct Teller {
    outbox: Arc<Outbox>,
}

// === impl Teller ===

impl Teller {
    pub fn new(outbox: Arc<Outbox>) -> Self {
        Self { outbox }
    }

    pub async fn tell(&self, tenant: &TenantName, entry: &Entry) -> Result<Told> {
        let about = self.outbox.about(&entry.record(self.outbox.ground.keys.tenant(tenant))).await?;
        let news = &entry.news;
        Ok(Told {
            id: entry.event_id(),
            kind: entry.kind(),
            at: news.event.at,
            tenant: tenant.clone(),
            subject: match entry.holder() {
                Holder::Verification => Subject::Verification(entry.id),
                Holder::Message => Subject::Message(entry.id),
            },
            send: news.event.kind.send().filter(|_| entry.holder() == Holder::Verification),
            attempt: news.event.kind.attempt(),
            channel: news.channel.clone(),
            vendor: news.vendor.clone(),
            reason: news.reason.clone(),
            checks_left: news.checks_left,
            about,
        })
    }
}
