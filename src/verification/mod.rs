//! Verifications: start, resend, check, cancel, show. Each use case reads, lets pure rules decide, and commits once; a
//! lost race reads and decides again.

pub mod code;
pub mod policy;
pub mod recipient_state;
pub mod request;
pub mod storage;
#[expect(clippy::module_inception, reason = "the noun that the module is named for")]
pub mod verification;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::task::JoinHandle;

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result, Violation};
use crate::id::{Id, TenantName};
use crate::messaging::holder::{Ground, MAX_ROUNDS, Records, SendHolder, SendRecord, contention, count_conflict};
use crate::messaging::outbox::Outbox;
use crate::messaging::sending::Sending;
use crate::messaging::template::{self, Templates};
use crate::messaging::vendors::Permit;
use crate::messaging::{channel_for, parse_recipient};
use crate::recipient::Recipient;
use crate::store::keys::{Holder, SendRef, TenantTag};
use crate::store::{Batch, Commit};
use crate::tenant::Tenant;
use crate::vendor::{Channel, Outgoing};
use crate::verification::code::Code;
use crate::verification::policy::{Limits, Policy};
use crate::verification::recipient_state::RecipientState;
use crate::verification::request::{DEFAULT_SCOPE, NewCheck, NewVerification, OnExisting, Target};
use crate::verification::storage::{Loaded, Storage, not_found};
use crate::verification::verification::{Beginning, Status, Verdict, Verification};
use crate::violations::Violations;

/// `[verification]`: how verifications are made and kept.
#[derive(Debug, Clone, Deserialize)]
pub struct VerificationConfig {
    /// How long a verification is kept after its code expires.
    pub retention: Duration,
    pub policy: Policy,
    pub limits: Limits,
}

/// Starts, checks and shows verifications.
pub struct Verifications {
    ground: Ground,
    storage: Storage,
    outbox: Arc<Outbox>,
    records: Arc<Records<Verification>>,
    config: VerificationConfig,
}

/// A verification as a caller may see it at one moment.
#[derive(Debug, Clone)]
pub struct View {
    pub verification: Verification,
    pub status: Status,
    /// Checks that may still fail; 0 once ended.
    pub checks_left: u32,
    /// The earliest time of the next send, past or future; `None` when there will be none.
    pub next_resend_at: Option<Timestamp>,
    pub decided_at: Option<Timestamp>,
}

/// The answer to a check.
#[derive(Debug, Clone)]
pub struct Checked {
    pub outcome: Outcome,
    /// When the next check may be made, if not now.
    pub next_check_at: Option<Timestamp>,
    pub view: View,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Judged(Verdict),
    /// Too many failed checks for this recipient; not judged.
    RecipientLocked,
}

/// A use case's result, ready to be committed: what to write, and the send to launch afterwards.
struct Plan {
    batch: Batch,
    view: View,
    send: SendRef,
    permit: Option<Permit>,
}

// === impl VerificationConfig ===

impl VerificationConfig {
    /// What is wrong with it, by key.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        found.range("retention", &self.retention, Duration::from_secs(60)..=Duration::from_secs(90 * 24 * 3600));
        found.nest("policy", self.policy.violations());
        found.nest("limits", self.limits.violations());
        found.0
    }
}

// === impl Verifications ===

impl Verifications {
    /// `brands`: the names that texts say the code is for, of the tenants that have one.
    pub fn new(
        outbox: Arc<Outbox>,
        config: VerificationConfig,
        templates: Templates,
        brands: BTreeMap<TenantName, String>,
    ) -> Self {
        let ground = outbox.ground.clone();
        let render = Box::new(move |verification: &Verification, sending: &Sending, send: &SendRef| {
            render(verification, sending, send, &templates, brands.get(&verification.tenant).map(String::as_str))
        });
        let records = Arc::new(Records::new(ground.clone(), config.retention, render));
        let storage = Storage::new(ground.clone(), config.limits.clone(), config.retention);
        Self { ground, storage, outbox, records, config }
    }

    /// The records that the outbox moves.
    pub fn holder(&self) -> Arc<dyn SendHolder> {
        Arc::clone(&self.records) as Arc<dyn SendHolder>
    }

    /// Starts a verification and sends its code, or sends a pending one's code again.
    ///
    /// Errors: `Invalid` with each field out of range; `Limited` with `CoolDown` or `RecipientLocked` and the time to
    /// wait; `Precondition`/`NoRoute`; `Conflict`; `Unavailable`.
    pub async fn start(&self, tenant: &Tenant, new: NewVerification) -> Result<View> {
        let (policy, recipient, channel) = self.check_new(tenant, &new)?;
        self.outbox.route(&tenant.name, channel, recipient.country())?;
        let code = match &new.custom_code {
            Some(code) => code.clone(),
            None => Code::generate(policy.length as usize, &policy.alphabet()?, &*self.ground.random)?,
        };
        for _ in 0..MAX_ROUNDS {
            let plan = self.plan_start(tenant, &new, &policy, &recipient, channel, &code).await?;
            if let Some((view, send, call)) = self.commit(plan).await? {
                return self.after_delivery(view, &send, call, new.delivery_wait).await;
            }
            count_conflict("start");
        }
        Err(contention())
    }

    /// Sends a pending verification's code again, on the channel of the send before or on another one.
    ///
    /// Errors: `NotFound`; `Precondition`/`VerificationNotPending`; `Limited` as for start; `Invalid`.
    pub async fn resend(&self, tenant: &TenantName, id: Id, channel: Option<Channel>) -> Result<View> {
        for _ in 0..MAX_ROUNDS {
            let loaded = self.storage.load(tenant, id).await?;
            let tags = self.storage.tags(tenant, &loaded.value.recipient);
            let state = self.storage.load_state(tags).await?;
            let now = self.ground.clock.now();
            let channel = channel.or_else(|| loaded.value.sends().last().map(|sending| sending.channel));
            let channel = channel_for(&loaded.value.recipient, channel)?;
            // Before the cool-down: waiting would not help one that has ended.
            let status = loaded.value.status(now);
            if status != Status::Pending {
                return Err(not_pending(status));
            }
            self.check_may_send(&state.value, now)?;
            let plan = self.plan_send(tags.0, loaded, state, channel, None, now)?;
            if let Some((view, ..)) = self.commit(plan).await? {
                return Ok(view);
            }
            count_conflict("resend");
        }
        Err(contention())
    }

    /// Compares a candidate with the code. A failed check is durable before this returns, and so is a success, which
    /// happens once.
    ///
    /// Errors: `NotFound` for an unknown id, another tenant's among them, and for a recipient for whom nothing was started;
    /// `Conflict`; `Unavailable`, in which case nothing was approved.
    pub async fn check(&self, tenant: &Tenant, check: NewCheck) -> Result<Checked> {
        let id = match check.target {
            Target::Id(id) => id,
            Target::Newest { ref scope, ref recipient } => {
                self.newest(&tenant.name, scope.as_deref().unwrap_or(DEFAULT_SCOPE), recipient).await?
            }
        };
        for _ in 0..MAX_ROUNDS {
            let mut loaded = self.storage.load(&tenant.name, id).await?;
            let mut state = self.storage.load_state(self.storage.tags(&tenant.name, &loaded.value.recipient)).await?;
            let now = self.ground.clock.now();
            let limits = &self.config.limits;
            if let Some(until) = state.value.locked_until(limits, now) {
                let view = self.view(loaded.value, &state.value, now);
                return Ok(Checked { outcome: Outcome::RecipientLocked, next_check_at: Some(until), view });
            }
            let before = loaded.value.clone();
            let verdict = loaded.value.check(&check.candidate, now);
            let mut batch = Batch::new(id.partition());
            if verdict == Verdict::Wrong {
                state.value.add_failure(limits, now);
                batch = self.storage.put_state(batch, &state)?;
            } else {
                // Checks in other scopes may lock the recipient meanwhile, and the right code must not slip past that.
                batch = batch.require(&state.key, state.read.as_ref());
            }
            // An ended verification changes only when this check is the first to see that its time is over.
            let changed = before.code().is_some() != loaded.value.code().is_some() || verdict == Verdict::Wrong;
            if changed {
                let send = self.storage.send_ref(&tenant.name, id, 0);
                batch = self.storage.put(batch, &send, Some(&before), &loaded)?;
                if self.ground.store.commit(batch).await? == Commit::Conflict {
                    count_conflict("check");
                    continue;
                }
            }
            let next_check_at = state.value.locked_until(limits, now);
            let view = self.view(loaded.value, &state.value, now);
            return Ok(Checked { outcome: Outcome::Judged(verdict), next_check_at, view });
        }
        Err(contention())
    }

    /// Ends a pending verification; its code is not accepted any more. Canceling a canceled one changes nothing.
    ///
    /// Errors: `NotFound`; `Precondition`/`VerificationNotPending` when it has ended otherwise.
    pub async fn cancel(&self, tenant: &TenantName, id: Id) -> Result<View> {
        for _ in 0..MAX_ROUNDS {
            let mut loaded = self.storage.load(tenant, id).await?;
            let now = self.ground.clock.now();
            let before = loaded.value.clone();
            if !loaded.value.cancel(now) {
                return Err(not_pending(before.status(now)));
            }
            let state = self.storage.load_state(self.storage.tags(tenant, &before.recipient)).await?;
            if before.code().is_some() {
                let send = self.storage.send_ref(tenant, id, 0);
                let batch = self.storage.put(Batch::new(id.partition()), &send, Some(&before), &loaded)?;
                if self.ground.store.commit(batch).await? == Commit::Conflict {
                    count_conflict("cancel");
                    continue;
                }
            }
            return Ok(self.view(loaded.value, &state.value, now));
        }
        Err(contention())
    }

    /// Errors: `NotFound` for an unknown id, another tenant's among them.
    pub async fn get(&self, tenant: &TenantName, id: Id) -> Result<View> {
        let loaded = self.storage.load(tenant, id).await?;
        let state = self.storage.load_state(self.storage.tags(tenant, &loaded.value.recipient)).await?;
        Ok(self.view(loaded.value, &state.value, self.ground.clock.now()))
    }

    /// Errors: `Invalid` that names every field that is wrong.
    fn check_new(&self, tenant: &Tenant, new: &NewVerification) -> Result<(Policy, Recipient, Channel)> {
        let mut found = new.violations();
        let policy = found.note(self.config.policy.with(&new.policy))?;
        let recipient = found.note(parse_recipient(new.recipient.as_ref(), tenant.default_country))?;
        let channel = recipient.as_ref().map(|recipient| channel_for(recipient, new.channel)).transpose();
        match (policy, recipient, found.note(channel)?.flatten()) {
            (Some(policy), Some(recipient), Some(channel)) if found.0.is_empty() => Ok((policy, recipient, channel)),
            _ => Err(Error::invalid_fields(found.0)),
        }
    }

    async fn plan_start(
        &self,
        tenant: &Tenant,
        new: &NewVerification,
        policy: &Policy,
        recipient: &Recipient,
        channel: Channel,
        code: &Code,
    ) -> Result<Plan> {
        let tags = self.storage.tags(&tenant.name, recipient);
        let mut state = self.storage.load_state(tags).await?;
        let now = self.ground.clock.now();
        self.forgive_cool_down(&tenant.name, &mut state.value, now).await?;
        self.check_may_send(&state.value, now)?;
        let pending = match state.value.newest(new.scope()) {
            Some(id) => {
                self.storage.find(&tenant.name, id).await?.filter(|old| old.value.status(now) == Status::Pending)
            }
            None => None,
        };
        let replaced = match (pending, new.on_existing) {
            (Some(_), OnExisting::Resend) if new.custom_code.is_some() => return Err(another_code_pending()),
            (Some(pending), OnExisting::Resend) => {
                return self.plan_send(tags.0, pending, state, channel, None, now);
            }
            (replaced, _) => replaced,
        };
        let id = Id::new(now, tags.1.partition(), &*self.ground.random);
        let beginning = Beginning {
            id,
            tenant: tenant.name.clone(),
            recipient: recipient.clone(),
            scope: new.scope().to_owned(),
            code: code.clone(),
            expires_at: now + policy.lifetime,
            max_checks: policy.max_checks,
            locale: new.locale.clone(),
            sender: new.sender.clone().or_else(|| tenant.sender.clone()),
            metadata: new.metadata.clone(),
        };
        let key = self.ground.keys.verification(tags.0, id);
        let fresh = Loaded { key, read: None, value: Verification::new(beginning, now) };
        self.plan_send(tags.0, fresh, state, channel, replaced, now)
    }

    /// Adds a send to a verification, new or read, and begins its first attempt if its vendor has room.
    fn plan_send(
        &self,
        tenant: TenantTag,
        mut to: Loaded<Verification>,
        mut state: Loaded<RecipientState>,
        channel: Channel,
        replaced: Option<Loaded<Verification>>,
        now: Timestamp,
    ) -> Result<Plan> {
        let (id, before) = (to.value.id, to.read.is_some().then(|| to.value.clone()));
        let vendors = self.outbox.route(&to.value.tenant, channel, to.value.recipient.country())?;
        let (status, expires_at) = (to.value.status(now), to.value.expires_at);
        let max_sends = self.config.limits.max_sends;
        let Some((sending, history)) = to.value.add_send(channel, max_sends, now) else {
            return Err(if status == Status::Pending {
                sent_often_enough(max_sends, expires_at, now)
            } else {
                not_pending(status)
            });
        };
        let number = sending.number;
        let permit = self.outbox.begin_inline(sending, vendors, now, history);
        state.value.add_send(id, &self.config.limits, now);
        state.value.set_newest(&to.value.scope, id, expires_at, now);

        let send = SendRef { holder: Holder::Verification, tenant, id, number };
        let mut batch = self.storage.put(Batch::new(id.partition()), &send, before.as_ref(), &to)?;
        if let Some(mut old) = replaced {
            let before = old.value.clone();
            old.value.cancel(now);
            batch = self.storage.put(batch, &SendRef { id: old.value.id, ..send }, Some(&before), &old)?;
        }
        let batch = self.storage.put_state(batch, &state)?;
        Ok(Plan { batch, view: self.view(to.value, &state.value, now), send, permit })
    }

    /// Commits a plan and launches its send, even when nobody waits for it any more. `None` after a lost race.
    async fn commit(&self, plan: Plan) -> Result<Option<(View, SendRef, Option<JoinHandle<()>>)>> {
        let Plan { batch, view, send, permit } = plan;
        let outgoing = permit.is_some().then(|| self.records.outgoing(&view.verification, &send)).transpose()?;
        let (outbox, store) = (Arc::clone(&self.outbox), Arc::clone(&self.ground.store));
        let work = async move {
            if store.commit(batch).await? == Commit::Conflict {
                return Ok(None);
            }
            let sending = view.verification.sends().last().cloned();
            if let Some(sending) = &sending {
                outbox.note(send.id.partition(), sending);
            }
            let attempt = sending.map_or(0, |sending: Sending| sending.attempts);
            let call = permit.zip(outgoing).map(|(permit, outgoing)| outbox.launch(permit, send, attempt, outgoing));
            Ok(Some((view, send, call)))
        };
        self.outbox.run_to_end(work).await
    }

    /// Waits for the outcome of the first vendor call, if the caller wants it, and looks at the verification again.
    async fn after_delivery(
        &self,
        view: View,
        send: &SendRef,
        call: Option<JoinHandle<()>>,
        wait: Option<Duration>,
    ) -> Result<View> {
        let (Some(call), Some(wait)) = (call, wait.filter(|wait| !wait.is_zero())) else { return Ok(view) };
        let deadline = self.ground.clock.sleep_until(self.ground.clock.now() + wait);
        tokio::select! {
            _ = call => {}
            () = deadline => {}
        }
        self.get(&view.verification.tenant, send.id).await
    }

    /// Refuses a send while the recipient is locked or cools down.
    fn check_may_send(&self, state: &RecipientState, now: Timestamp) -> Result<()> {
        if let Some(until) = state.locked_until(&self.config.limits, now) {
            let message = "too many wrong codes for this recipient; nothing is sent to it for now";
            return Err(Error::new(Kind::Limited, Reason::RecipientLocked, message).with_retry_after(until.since(now)));
        }
        if let Some(until) = state.cool_down(now) {
            let wait = until.since(now);
            let message =
                format!("this recipient was sent a code a moment ago; try again in {} s", whole_seconds(wait));
            return Err(Error::new(Kind::Limited, Reason::CoolDown, message).with_retry_after(wait));
        }
        Ok(())
    }

    /// A person who has just been approved may be sent the next code at once.
    async fn forgive_cool_down(&self, tenant: &TenantName, state: &mut RecipientState, now: Timestamp) -> Result<()> {
        let (Some(_), Some(id)) = (state.cool_down(now), state.last_sent()) else { return Ok(()) };
        if self.storage.find(tenant, id).await?.is_some_and(|last| last.value.status(now) == Status::Approved) {
            state.lift_cool_down(&self.config.limits);
        }
        Ok(())
    }

    async fn newest(&self, tenant: &TenantName, scope: &str, recipient: &Recipient) -> Result<Id> {
        let state = self.storage.load_state(self.storage.tags(tenant, recipient)).await?;
        state.value.newest(scope).ok_or_else(not_found)
    }

    fn view(&self, verification: Verification, state: &RecipientState, now: Timestamp) -> View {
        let status = verification.status(now);
        let failures_left = state.failures_left(&self.config.limits, now);
        let checks_left = match status {
            Status::Pending => verification.checks_left().min(u32::try_from(failures_left).unwrap_or(u32::MAX)),
            _ => 0,
        };
        let resendable =
            status == Status::Pending && verification.sends().len() < self.config.limits.max_sends as usize;
        let next_resend_at = resendable.then(|| state.next_send_at());
        let decided_at = verification.decided_at(now);
        View { status, checks_left, next_resend_at, decided_at, verification }
    }
}

/// Writes the code of a pending verification into a text.
fn render(
    verification: &Verification,
    sending: &Sending,
    send: &SendRef,
    templates: &Templates,
    brand: Option<&str>,
) -> Result<Outgoing> {
    let code = verification.code().ok_or_else(|| Error::internal("an ended verification was about to be sent"))?;
    let lifetime = verification.expires_at.since(sending.updated_at);
    let locale = verification.locale.as_deref();
    Ok(Outgoing {
        reference: send.to_string().into(),
        tenant: verification.tenant.clone(),
        channel: sending.channel,
        recipient: verification.recipient.clone(),
        sender: verification.sender.clone(),
        text: templates.render_code(template::DEFAULT, locale, code.expose(), lifetime, brand)?,
        expires_at: sending.expires_at,
    })
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

fn not_pending(status: Status) -> Error {
    let message = format!("the verification has ended as {}; start a new one", status.as_str());
    Error::new(Kind::Precondition, Reason::VerificationNotPending, message)
}

fn another_code_pending() -> Error {
    let message =
        "a verification is pending with a code of its own; set on_existing to REPLACE to send this custom_code";
    Error::new(Kind::Precondition, Reason::VerificationNotPending, message)
}

fn sent_often_enough(max_sends: u32, expires_at: Timestamp, now: Timestamp) -> Error {
    let message =
        format!("this verification was sent {max_sends} times, which is the most; start a new one once it has expired");
    Error::new(Kind::Limited, Reason::CoolDown, message).with_retry_after(expires_at.since(now))
}
