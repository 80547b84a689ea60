//! Idempotency keys: a request that comes twice is done once.
//!
//! A key is reserved first, together with the id that the work will create; then the work commits under that id; then the
//! key is settled. Whoever comes again finds the work, or that it is under way, or, after a crash, that it never happened
//! and may be done now, under the same id. A refused request frees its key, for it cost nothing.

use std::collections::HashSet;
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::id::{Id, TenantName};
use crate::messaging::holder::{Ground, MAX_ROUNDS, contention, count_conflict};
use crate::messaging::sought::SLICE;
use crate::store::keys::{Fingerprint, RequestTag};
use crate::store::{Batch, Commit, Condition, Key, Version, record};

/// Longest idempotency key, in bytes.
pub const MAX_KEY: usize = 128;

/// How long a key is remembered.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// How long work may be under way before its process counts as dead. Work is a few commits, never a vendor call.
const LEASE: Duration = Duration::from_secs(30);

/// Reserves and settles keys.
#[derive(Clone)]
pub struct Idempotency {
    ground: Ground,
}

/// What a caller wants to do once.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub tenant: &'a TenantName,
    /// The kind of call. Keys of different kinds are apart.
    pub call: &'static str,
    pub key: &'a str,
    pub fingerprint: Fingerprint,
}

/// How a key stands.
#[derive(Debug)]
pub enum Claim {
    /// Ours: do the work under the ticket's id, then settle or release it.
    Ours(Ticket),
    /// Somebody else's: if no work exists under the ticket's id, it is under way. Not to be settled.
    Open(Ticket),
    /// Done, under this id.
    Done(Id),
}

/// The right and the duty to settle a key.
#[derive(Debug)]
pub struct Ticket {
    pub id: Id,
    pub tag: RequestTag,
    key: Key,
    fingerprint: Fingerprint,
    reserved_at: Timestamp,
    /// Of the note that reserves it, while it is ours. Whoever stood still for longer than [`LEASE`] may find that another
    /// has taken it over: then what that one does to it counts.
    version: Option<Version>,
}

#[derive(Debug, PartialEq, Eq, Encode, Decode)]
struct Note {
    #[n(0)]
    id: Id,
    #[n(1)]
    fingerprint: Fingerprint,
    #[n(2)]
    reserved_at: Timestamp,
    #[n(3)]
    settled: bool,
}

// === impl Idempotency ===

impl Idempotency {
    pub fn new(ground: Ground) -> Self {
        Self { ground }
    }

    /// Reserves a key for work under `id`, unless it is taken. A reservation whose process seems to have died is taken
    /// over with the id that it named, for the work may exist.
    ///
    /// Errors: `Precondition`/`IdempotencyMismatch` when the key was used for something else; `Conflict`; `Unavailable`.
    pub async fn claim(&self, request: Request<'_>, id: Id) -> Result<Claim> {
        let tag = self.ground.keys.request(request.tenant, request.call, request.key);
        let key = self.ground.keys.idempotency(self.ground.keys.tenant(request.tenant), tag);
        for _ in 0..MAX_ROUNDS {
            let now = self.ground.clock.now();
            let read = self.ground.store.get(&key).await?;
            let ticket = |id| {
                let (key, fingerprint) = (key.clone(), request.fingerprint);
                Ticket { id, tag, key, fingerprint, reserved_at: now, version: None }
            };
            let mut ticket = match &read {
                None => ticket(id),
                Some(read) => {
                    let note: Note = record::decode(&read.value)?;
                    if note.fingerprint != request.fingerprint {
                        return Err(mismatch());
                    }
                    if note.settled {
                        return Ok(Claim::Done(note.id));
                    }
                    if now.since(note.reserved_at) < LEASE {
                        return Ok(Claim::Open(ticket(note.id)));
                    }
                    ticket(note.id)
                }
            };
            let batch = Batch::new(key.partition()).require(&key, read.as_ref());
            let batch = ticket.put(batch, ticket.id, false)?;
            if let Commit::Committed(version) = self.ground.store.commit(batch).await? {
                ticket.version = Some(version);
                return Ok(Claim::Ours(ticket));
            }
            count_conflict("idempotency");
        }
        Err(contention())
    }

    /// Notes that the work is done, under `id`, which may be another than the one reserved.
    pub async fn settle(&self, ticket: &Ticket, id: Id) -> Result<()> {
        let batch = ticket.put(ticket.while_ours(), id, true)?;
        self.ground.store.commit(batch).await.map(drop)
    }

    /// Erases the notes of a tenant that name any of these as what was done, and tells how many there were. Looks through
    /// all notes of the tenant.
    pub async fn erase(&self, tenant: &TenantName, done: &HashSet<Id>) -> Result<u64> {
        let notes = self.ground.keys.idempotency_notes(self.ground.keys.tenant(tenant));
        let mut erased = 0;
        let mut after = None;
        loop {
            let read = self.ground.store.scan(&notes, after.as_ref(), SLICE).await?;
            for (key, found) in &read {
                if !done.contains(&record::decode::<Note>(&found.value)?.id) {
                    continue;
                }
                // Of what is gone nothing is done again under the same note, so it stays as it was read.
                let batch = Batch::new(key.partition()).require(key, Some(found)).delete(key.clone());
                erased += u64::from(self.ground.store.commit(batch).await? != Commit::Conflict);
            }
            match read.into_iter().nth(SLICE - 1) {
                Some((last, _)) => after = Some(last),
                None => return Ok(erased),
            }
            tokio::task::yield_now().await;
        }
    }

    /// Frees a key whose work was refused.
    pub async fn release(&self, ticket: &Ticket) -> Result<()> {
        let batch = ticket.while_ours().delete(ticket.key.clone());
        self.ground.store.commit(batch).await.map(drop)
    }
}

/// The error of a request whose twin is under way.
pub fn in_flight() -> Error {
    let message = "a call with this idempotency_key is under way; repeat it to get its result";
    Error::new(Kind::Conflict, Reason::IdempotencyInFlight, message).with_retry_after(Duration::from_secs(1))
}

/// The error of a request whose key was used for another one.
pub fn mismatch() -> Error {
    let message = "this idempotency_key was used with other contents; use a new key for a new request";
    Error::new(Kind::Precondition, Reason::IdempotencyMismatch, message)
}

// === impl Ticket ===

impl Ticket {
    /// A batch for as long as nobody has taken the key over.
    fn while_ours(&self) -> Batch {
        let batch = Batch::new(self.key.partition());
        self.version.into_iter().fold(batch, |batch, version| batch.require_that(&self.key, Condition::At(version)))
    }

    fn put(&self, batch: Batch, id: Id, settled: bool) -> Result<Batch> {
        let Self { fingerprint, reserved_at, .. } = *self;
        let value = record::encode(&Note { id, fingerprint, reserved_at, settled })?;
        Ok(batch.put(self.key.clone(), value, Some(reserved_at + KEEP)))
    }
}
