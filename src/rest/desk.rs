//! Where dialects hand in what they have read: the services behind all surfaces, in the few calls that a vendor's
//! clients know. Counters, limits, events and idempotency are those of every other surface, for the services are. Each call
//! looks first whether the caller's key has a scope for it, by the same table as every other surface.
//!
//! A vendor's client learns from the answer to its call whether the vendor took a message, so a call here waits a while
//! for the outcome of the send. What is still on its way then is accepted, and will be seen to its end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use crate::auth::act::Act;
use crate::auth::caller::{Caller, Peer};
use crate::auth::directory::Directory;
use crate::clock::Clock;
use crate::contacts::cell::Values;
use crate::contacts::filter::Filter;
use crate::contacts::query::NumberedPage;
use crate::contacts::row::RowView;
use crate::contacts::rows::NewRow;
use crate::contacts::save::{Save, Saved};
use crate::contacts::service::Contacts;
use crate::contacts::table::{NewColumn, Table};
use crate::error::{Error, Kind};
use crate::guard::ask::Origin;
use crate::id::{Id, TenantName};
use crate::messaging::batch::NewBatch;
use crate::messaging::holder::SendRecord;
use crate::messaging::list::Preview;
use crate::messaging::message::Message;
use crate::messaging::oversight::Oversight;
use crate::messaging::page::{Page, PageRequest};
use crate::messaging::request::NewMessage;
use crate::messaging::service::Messaging;
use crate::random::Random;
use crate::recipient::{Country, Recipient};
use crate::rest::trouble::{Judged, Trouble};
use crate::telemetry::trace;
use crate::vendor::{Balance, Channel};
use crate::verification::list::VerificationFilter;
use crate::verification::policy::Policy;
use crate::verification::request::{NewCheck, NewVerification};
use crate::verification::service::Verifications;
use crate::verification::view::{Checked, Started, View};

/// What a surface for vendors' clients is built from.
#[derive(Clone)]
pub struct Desk {
    pub directory: Arc<Directory>,
    pub verifications: Arc<Verifications>,
    pub messaging: Arc<Messaging>,
    pub contacts: Arc<Contacts>,
    pub oversight: Arc<Oversight>,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    /// How long a call waits for the outcome of its send.
    pub wait: Duration,
    /// What callers are told is left, of tenants without a vendor whose balance they may see.
    pub balance: u64,
    /// Where the caller is; `None` before one has come.
    pub peer: Option<Peer>,
}

/// What a batch of messages came to.
pub struct Batched {
    pub id: Id,
    /// The same batch was asked for before, with the same key.
    pub again: bool,
    /// What became of each message.
    pub results: Vec<Result<Message, Trouble>>,
}

// === impl Desk ===

impl Desk {
    /// The same, with this caller before it.
    pub fn for_caller_at(&self, peer: Option<Peer>) -> Self {
        Self { peer, ..self.clone() }
    }

    /// The caller behind the two credentials of a dialect.
    ///
    /// Errors: `Unauthorized`, whatever is wrong with them; `Forbidden` when they do not open from where the caller is.
    pub fn caller(&self, id: &str, secret: &str) -> Result<Caller, Trouble> {
        self.admit(self.directory.check(id, secret))
    }

    /// The caller behind the one credential of a dialect: `ID.SECRET`, or the secret of a key that opens by it alone.
    ///
    /// Errors: `Unauthorized`, whatever is wrong with it; `Forbidden` when it does not open from where the caller is.
    pub fn caller_by_token(&self, token: &str) -> Result<Caller, Trouble> {
        self.admit(self.directory.check_token(token))
    }

    fn admit(&self, caller: Result<Caller, Error>) -> Result<Caller, Trouble> {
        caller.and_then(|caller| caller.admit(self.peer)).map_err(|error| Trouble::of(&error))
    }

    /// Who wants a send, with where the caller is.
    fn origin(&self, origin: Origin) -> Origin {
        Origin { peer: self.peer.map(|Peer(address)| address), ..origin }
    }

    /// Starts a verification and waits for what its vendor says.
    pub async fn start(&self, caller: &Caller, new: NewVerification) -> Result<Started, Trouble> {
        does(caller, Act::Verify, "verification.v1.VerificationService/StartVerification")?;
        if new.return_code {
            may(caller, Act::ReturnCode)?;
        }
        let new = NewVerification { delivery_wait: Some(self.wait), origin: self.origin(new.origin), ..new };
        let started = self.verifications.start(&caller.tenant, new).await.map_err(|error| Trouble::of(&error))?;
        match started.view.verification.sends().last().and_then(Trouble::of_send) {
            Some(trouble) => Err(trouble),
            None => Ok(started),
        }
    }

    /// Judges a candidate. What nobody knows is [`Judged::NotFound`], not trouble.
    pub async fn check(&self, caller: &Caller, check: NewCheck) -> Result<Judged, Trouble> {
        Ok(self.checked(caller, check).await?.map_or(Judged::NotFound, |checked| Judged::of(&checked)))
    }

    /// The same, with the verification as it is then; `None` for one that nobody knows.
    pub async fn checked(&self, caller: &Caller, check: NewCheck) -> Result<Option<Checked>, Trouble> {
        does(caller, Act::Verify, "verification.v1.VerificationService/CheckVerification")?;
        match self.verifications.check(&caller.tenant, check).await {
            Ok(checked) => Ok(Some(checked)),
            Err(error) if error.kind() == Kind::NotFound => Ok(None),
            Err(error) => Err(Trouble::of(&error)),
        }
    }

    /// A verification by its id; another tenant's is not found.
    pub async fn verification(&self, caller: &Caller, id: Id) -> Result<View, Trouble> {
        does(caller, Act::SeeVerification, "verification.v1.VerificationService/GetVerification")?;
        self.verifications.get(&caller.tenant.name, id).await.map_err(|error| Trouble::of(&error))
    }

    /// A page of a tenant's verifications, newest first.
    pub async fn verifications(
        &self,
        caller: &Caller,
        filter: &VerificationFilter,
        page: &PageRequest,
    ) -> Result<Page<View>, Trouble> {
        does(caller, Act::ListVerifications, "verification.v1.VerificationService/ListVerifications")?;
        self.verifications.list(&caller.tenant, filter, page).await.map_err(|error| Trouble::of(&error))
    }

    /// Ends a pending verification. `Refused` when it has ended otherwise.
    pub async fn cancel(&self, caller: &Caller, id: Id) -> Result<View, Trouble> {
        does(caller, Act::Verify, "verification.v1.VerificationService/CancelVerification")?;
        self.verifications.cancel(&caller.tenant.name, id).await.map_err(|error| Trouble::of(&error))
    }

    /// Accepts a message and waits for what its vendor says, unless it is scheduled.
    pub async fn send(&self, caller: &Caller, new: NewMessage) -> Result<Message, Trouble> {
        does(caller, Act::Send, "messaging.v1.MessagingService/SendMessage")?;
        let new = NewMessage { origin: self.origin(new.origin), ..new };
        let message = self.messaging.send(&caller.tenant, new).await.map_err(|error| Trouble::of(&error))?;
        let message =
            if message.send_at.is_some() { message } else { self.outcome(&caller.tenant.name, message).await? };
        match Trouble::of_send(&message.sending) {
            Some(trouble) => Err(trouble),
            None => Ok(message),
        }
    }

    /// Accepts many messages and waits for what their vendors say of them, of all at the same time. See
    /// [`Messaging::send_batch`].
    pub async fn send_batch(
        &self,
        caller: &Caller,
        new: NewBatch,
        named: impl Fn(Id, NewMessage) -> NewMessage + Send + Sync + 'static,
    ) -> Result<Batched, Trouble> {
        does(caller, Act::Send, "messaging.v1.MessagingService/SendMessages")?;
        let origin = self.origin(Origin::default());
        let named = move |id, new| NewMessage { origin: origin.clone(), ..named(id, new) };
        let sent = self.messaging.send_batch(&caller.tenant, new, named).await.map_err(|error| Trouble::of(&error))?;
        let settled = async |result: Result<Message, Error>| {
            let message = result.map_err(|error| Trouble::of(&error))?;
            let message =
                if message.send_at.is_some() { message } else { self.outcome(&caller.tenant.name, message).await? };
            Trouble::of_send(&message.sending).map_or(Ok(message), Err)
        };
        let results = join_all(sent.results.into_iter().map(settled)).await;
        Ok(Batched { id: sent.id, again: sent.again, results })
    }

    /// The messages of a batch that is kept; another tenant's is not found.
    pub async fn batch(&self, caller: &Caller, id: Id) -> Result<Vec<Message>, Trouble> {
        does(caller, Act::SeeMessage, "messaging.v1.MessagingService/GetMessage")?;
        self.messaging.batch(&caller.tenant.name, id).await.map_err(|error| Trouble::of(&error))
    }

    /// Calls off a message that no vendor was called for yet; `Refused` when it is too late.
    pub async fn cancel_message(&self, caller: &Caller, id: Id) -> Result<Message, Trouble> {
        does(caller, Act::Send, "messaging.v1.MessagingService/CancelMessage")?;
        self.messaging.cancel(&caller.tenant.name, id).await.map_err(|error| Trouble::of(&error))
    }

    async fn outcome(&self, tenant: &TenantName, message: Message) -> Result<Message, Trouble> {
        let mut latest = message;
        let mut watch = self.messaging.watch(tenant, latest.id);
        let mut deadline = self.clock.sleep_until(self.clock.now() + self.wait);
        while !latest.sending.status.is_outcome() {
            let seen = tokio::select! {
                seen = watch.next() => seen,
                () = &mut deadline => break,
            };
            match seen {
                Ok(Some(message)) => latest = message,
                // It is accepted, whatever can be seen of it.
                Ok(None) | Err(_) => break,
            }
        }
        Ok(latest)
    }

    /// What a message would be; sends nothing.
    pub fn preview(&self, caller: &Caller, new: &NewMessage) -> Result<Preview, Trouble> {
        does(caller, Act::SeeMessage, "messaging.v1.MessagingService/PreviewMessage")?;
        self.messaging.preview(&caller.tenant, new).map_err(|error| Trouble::of(&error))
    }

    /// A message by its id; another tenant's is not found.
    pub async fn message(&self, caller: &Caller, id: Id) -> Result<Message, Trouble> {
        does(caller, Act::SeeMessage, "messaging.v1.MessagingService/GetMessage")?;
        self.messaging.get(&caller.tenant.name, id).await.map_err(|error| Trouble::of(&error))
    }

    /// The table of a tenant's contacts.
    pub async fn contact_table(&self, caller: &Caller) -> Result<Table, Trouble> {
        does(caller, Act::SeeContact, "contacts.v1.ContactsService/GetTable")?;
        self.contacts.table(&caller.tenant.name).await.map_err(|error| Trouble::of(&error))
    }

    /// A contact by its id; another tenant's is not found.
    pub async fn contact(&self, caller: &Caller, id: Id) -> Result<RowView, Trouble> {
        does(caller, Act::SeeContact, "contacts.v1.ContactsService/GetRow")?;
        self.contacts.get_row(&caller.tenant.name, id).await.map_err(|error| Trouble::of(&error))
    }

    /// Adds a contact.
    pub async fn create_contact(&self, caller: &Caller, new: NewRow) -> Result<RowView, Trouble> {
        does(caller, Act::WriteContacts, "contacts.v1.ContactsService/CreateRow")?;
        self.contacts.create_row(&caller.tenant, new).await.map_err(|error| Trouble::of(&error))
    }

    /// Changes those cells of a contact that are named.
    pub async fn update_contact(&self, caller: &Caller, id: Id, values: &Values) -> Result<RowView, Trouble> {
        does(caller, Act::WriteContacts, "contacts.v1.ContactsService/UpdateRow")?;
        self.contacts.update_row(&caller.tenant, id, values).await.map_err(|error| Trouble::of(&error))
    }

    pub async fn delete_contact(&self, caller: &Caller, id: Id) -> Result<(), Trouble> {
        does(caller, Act::WriteContacts, "contacts.v1.ContactsService/DeleteRow")?;
        self.contacts.delete_row(&caller.tenant.name, id).await.map_err(|error| Trouble::of(&error))
    }

    /// Contacts by their number among those that pass all filters; see [`Contacts::numbered`].
    pub async fn numbered_contacts(
        &self,
        caller: &Caller,
        filters: &[Filter],
        from: usize,
        size: usize,
    ) -> Result<NumberedPage, Trouble> {
        does(caller, Act::SearchContacts, "contacts.v1.ContactsService/QueryRows")?;
        self.contacts.numbered(&caller.tenant, filters, from, size).await.map_err(|error| Trouble::of(&error))
    }

    /// The verification of a recipient that was sent last in a scope.
    pub async fn newest(&self, caller: &Caller, scope: &str, recipient: &Recipient) -> Result<Id, Trouble> {
        does(caller, Act::SeeVerification, "verification.v1.VerificationService/GetVerification")?;
        self.verifications.newest(&caller.tenant.name, scope, recipient).await.map_err(|error| Trouble::of(&error))
    }

    /// What codes look like where a call does not say.
    pub fn policy(&self) -> &Policy {
        &self.verifications.config.policy
    }

    /// Whether messages on this channel can get there.
    pub fn carries(&self, tenant: &TenantName, channel: Channel, country: Option<Country>) -> bool {
        self.messaging.carries(tenant, channel, country)
    }

    /// Adds what is missing of these columns of the contact list, and of their options.
    pub async fn prepare_contacts(&self, caller: &Caller, wanted: &[NewColumn]) -> Result<(), Trouble> {
        does(caller, Act::WriteContacts, "contacts.v1.ContactsService/AddColumn")?;
        self.contacts.prepare(&caller.tenant.name, wanted).await.map(drop).map_err(|error| Trouble::of(&error))
    }

    /// Saves contacts, each by itself; see [`Contacts::save_rows`].
    pub async fn save_contacts(
        &self,
        caller: &Caller,
        key: &str,
        saves: &[Save],
        overwrite: bool,
    ) -> Result<Vec<Result<Saved, Trouble>>, Trouble> {
        does(caller, Act::WriteContacts, "contacts.v1.ContactsService/CreateRow")?;
        let saved = self.contacts.save_rows(&caller.tenant, key, saves, overwrite).await;
        let saved = saved.map_err(|error| Trouble::of(&error))?.into_iter();
        Ok(saved.map(|saved| saved.map_err(|error| Trouble::of(&error))).collect())
    }

    /// What is left in the account of the vendor that the tenant may see, or the configured number of credits.
    pub async fn balance(&self, caller: &Caller) -> Result<Balance, Trouble> {
        does(caller, Act::SeeBalance, "admin.v1.AdminService/GetVendorBalance")?;
        match &caller.tenant.balance_of {
            Some(vendor) => self.oversight.balance(vendor).await.map_err(|_| Trouble::Down(None)),
            None => Ok(Balance { amount: self.balance.to_string(), unit: "credits".to_owned() }),
        }
    }
}

/// Lets a caller do what it may, and notes that its call does the same as this rpc. One that does several things counts as
/// the first that changes something.
fn does(caller: &Caller, act: Act, rpc: &'static str) -> Result<(), Trouble> {
    trace::of_call(|call| {
        call.tenant(&caller.tenant.name);
        call.does(rpc, matches!(act, Act::Verify | Act::Send | Act::WriteContacts));
    });
    may(caller, act)
}

fn may(caller: &Caller, act: Act) -> Result<(), Trouble> {
    caller.may(act).map_err(|error| Trouble::of(&error))
}
