//! A message: one text of the caller's to one recipient, as it is stored. Synchronous; time is passed in.

use std::collections::BTreeMap;
use std::fmt;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::event::history::{EventKind, History};
use crate::id::{Id, TenantName};
use crate::messaging::callback::Callback;
use crate::messaging::holder::{About, SendRecord};
use crate::messaging::sending::Sending;
use crate::recipient::Recipient;
use crate::store::Key;
use crate::store::keys::{Keys, SendRef};

/// A message and all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Message {
    #[n(0)]
    pub id: Id,
    #[n(1)]
    pub tenant: TenantName,
    #[n(2)]
    pub recipient: Recipient,
    #[n(3)]
    pub text: Text,
    #[n(4)]
    pub sender: Option<String>,
    #[n(5)]
    pub sending: Sending,
    #[n(6)]
    pub metadata: BTreeMap<String, String>,
    #[n(7)]
    pub history: History,
    /// When it was asked to be sent; `None` for one that was to be sent at once.
    #[n(8)]
    pub send_at: Option<Timestamp>,
    /// Who wants to be told how it ends.
    #[n(9)]
    pub callback: Option<Callback>,
}

/// The words of a message. They may hold somebody's code, so `Debug` shows only how many there are.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Text(#[n(0)] String);

// === impl Message ===

impl Message {
    /// A message that wants its first attempt at once.
    pub fn new(
        id: Id,
        tenant: TenantName,
        recipient: Recipient,
        text: Text,
        sender: Option<String>,
        sending: Sending,
        metadata: BTreeMap<String, String>,
    ) -> Self {
        let mut history = History::default();
        history.add(sending.created_at, EventKind::Queued(sending.number));
        Self { id, tenant, recipient, text, sender, sending, metadata, history, send_at: None, callback: None }
    }

    pub fn created_at(&self) -> Timestamp {
        self.sending.created_at
    }
}

// === impl Text ===

impl Text {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// For a vendor, and for the tenant that wrote it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} characters)", self.0.chars().count())
    }
}

// === impl SendRecord for Message ===

impl SendRecord for Message {
    fn key(keys: &Keys, send: &SendRef) -> Key {
        keys.message(send.tenant, send.id)
    }

    fn tenant(&self) -> &TenantName {
        &self.tenant
    }

    fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    fn sends(&self) -> &[Sending] {
        std::slice::from_ref(&self.sending)
    }

    fn send_mut(&mut self, number: u8) -> Option<(&mut Sending, &mut History)> {
        (number == self.sending.number).then_some((&mut self.sending, &mut self.history))
    }

    fn history(&self) -> &History {
        &self.history
    }

    fn about(&self) -> About {
        About::of(&self.recipient, "", &self.metadata, &self.history)
    }

    fn send_moved(&mut self, now: Timestamp) {
        if let Some(callback) = self.callback.as_mut().filter(|_| self.sending.status.is_terminal()) {
            callback.plan(now);
        }
    }

    /// It outlives its own time for as long as there is somebody to tell how it ended.
    fn ends_at(&self) -> Timestamp {
        let told_until = self.callback.as_ref().and_then(Callback::ends_at).unwrap_or_default();
        self.sending.expires_at.max(told_until)
    }

    fn due_at(&self) -> Option<Timestamp> {
        self.callback.as_ref()?.next_at
    }
}
