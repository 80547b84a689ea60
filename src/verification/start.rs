//! Starting a verification and sending its code again: the use cases that cost money.

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::task::JoinHandle;

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::guard::ask::Admitted;
use crate::guard::rule::Rule;
use crate::id::{Id, TenantName};
use crate::messaging::admission::{Admission, Wanted};
use crate::messaging::code_calls::CodesOf;
use crate::messaging::holder::{MAX_ROUNDS, Marks, SendRecord, contention, count_conflict};
use crate::messaging::idempotency::{self, Claim, Request, Ticket};
use crate::messaging::last_line::LastLine;
use crate::messaging::locale;
use crate::messaging::request::channel_for;
use crate::messaging::route::CodeMaker;
use crate::messaging::sending::Sending;
use crate::messaging::template;
use crate::messaging::vendors::Permit;
use crate::recipient::Recipient;
use crate::store::keys::{Holder, RequestTag, SendRef, TenantTag};
use crate::store::{Batch, Commit};
use crate::tenant::Tenant;
use crate::vendor::Channel;
use crate::verification::beginning::{Beginning, Secret};
use crate::verification::code::Code;
use crate::verification::fields::Checked;
use crate::verification::policy::Policy;
use crate::verification::recipient_state::RecipientState;
use crate::verification::request::{NewVerification, OnExisting};
use crate::verification::service::{Verifications, not_pending};
use crate::verification::storage::Loaded;
use crate::verification::verification::{Status, Verification};
use crate::verification::view::{Started, View};
use crate::verification::workflow::Progress;

/// A use case's result, ready to be committed: what to write, and the send to launch afterwards.
pub(crate) struct Plan {
    pub(crate) batch: Batch,
    pub(crate) view: View,
    /// With the number of a send, or of the record where nothing was added.
    pub(crate) send: SendRef,
    pub(crate) permit: Option<Permit>,
    /// What vendors have made for a verification that the new one takes the place of.
    pub(crate) void: Option<CodesOf>,
}

/// A start whose fields have been checked.
struct Starting<'a> {
    tenant: &'a Tenant,
    new: &'a NewVerification,
    policy: Policy,
    recipient: Recipient,
    channel: Channel,
    last_line: LastLine,
    workflow: Option<Progress>,
    /// For a new verification; a pending one keeps its own.
    secret: Secret,
}

/// A send to be added.
pub(crate) struct Sent<'a> {
    pub(crate) channel: Channel,
    /// The request that wants it, when it came with an idempotency key.
    pub(crate) tag: Option<RequestTag>,
    /// The verification whose place the new one takes.
    pub(crate) replaced: Option<Loaded<Verification>>,
    pub(crate) admission: &'a mut Admission,
}

/// A start that is committed.
struct Launched {
    view: View,
    send: SendRef,
    call: Option<JoinHandle<()>>,
    /// The limit that is nearest, and what is left of it.
    nearest: Option<(Rule, u32)>,
}

// === impl Verifications ===

impl Verifications {
    /// Starts a verification and sends its code, or sends a pending one's code again. With an idempotency key, a request
    /// that comes again is answered with what the first one did.
    ///
    /// Errors: `Invalid` with each field out of range; `Forbidden` for a code that may not be returned; `Limited` with
    /// `CoolDown` or `RecipientLocked` and the time to wait; both with the rule of the guard that it broke; `Precondition` with `NoRoute`, `VerificationNotPending` or
    /// `IdempotencyMismatch`; `Conflict`; `Unavailable`.
    pub async fn start(&self, tenant: &Tenant, new: NewVerification) -> Result<Started> {
        let Checked { mut policy, recipient, channel, last_line, workflow } = self.check_new(tenant, &new)?;
        if new.return_code && !tenant.may_return_code {
            return Err(may_not_return_code());
        }
        let route = self.outbox.route(&tenant.name, channel, recipient.country())?;
        let secret = match (route.codes(), &new.custom_code) {
            (CodeMaker::Vendor, _) => {
                let fit = self.fit(tenant, &new, &policy, route)?;
                policy.lifetime = fit.lifetime;
                Secret::Vendors(fit.wish)
            }
            (CodeMaker::Own, Some(code)) => Secret::Ours(code.clone()),
            (CodeMaker::Own, None) => {
                let draw = if new.code_is_number { Code::generate_number } else { Code::generate };
                Secret::Ours(draw(policy.length as usize, &policy.alphabet()?, &*self.ground.random)?)
            }
        };
        let starting = Starting { tenant, new: &new, policy, recipient, channel, last_line, workflow, secret };
        match &new.idempotency_key {
            Some(key) => self.start_once(&starting, key).await,
            None => {
                let Launched { view, send, call, nearest } = self.start_now(&starting, None).await?;
                let view = self.after_delivery(view, &send, call, new.delivery_wait).await?;
                Ok(Started { nearest, ..started(&new, view) })
            }
        }
    }

    async fn start_once(&self, starting: &Starting<'_>, key: &str) -> Result<Started> {
        let Starting { tenant, new, .. } = starting;
        let partition = self.ground.keys.recipient(&tenant.name, &starting.recipient).partition();
        let id = Id::new(self.ground.clock.now(), partition, &*self.ground.random);
        let fingerprint = self.ground.keys.fingerprint(&starting.parts());
        let request = Request { tenant: &tenant.name, call: "start", key, fingerprint };
        let ticket = match self.idempotency.claim(request, id).await? {
            Claim::Done(id) => return Ok(started(new, self.get(&tenant.name, id).await?)),
            Claim::Open(ticket) => {
                let view = self.find_started(starting, &ticket).await?;
                return view.map(|view| started(new, view)).ok_or_else(idempotency::in_flight);
            }
            Claim::Ours(ticket) => ticket,
        };
        // Whoever held the key before us may have died after the work was done.
        if let Some(view) = self.find_started(starting, &ticket).await? {
            self.idempotency.settle(&ticket, view.verification.id).await?;
            return Ok(started(new, view));
        }
        match self.start_now(starting, Some(&ticket)).await {
            Ok(Launched { view, send, call, nearest }) => {
                self.idempotency.settle(&ticket, view.verification.id).await?;
                let view = self.after_delivery(view, &send, call, new.delivery_wait).await?;
                Ok(Started { nearest, ..started(new, view) })
            }
            Err(error) => {
                // Of a store that did not answer nobody knows what it did.
                if !matches!(error.kind(), Kind::Unavailable | Kind::Internal) {
                    self.idempotency.release(&ticket).await?;
                }
                Err(error)
            }
        }
    }

    /// The work that a request with this tag has done: a verification under the reserved id, or a send of an older one.
    async fn find_started(&self, starting: &Starting<'_>, ticket: &Ticket) -> Result<Option<View>> {
        let tenant = &starting.tenant.name;
        let now = self.ground.clock.now();
        let state = self.storage.load_state(self.storage.tags(tenant, &starting.recipient)).await?;
        for id in [Some(ticket.id), state.value.newest(starting.new.scope())].into_iter().flatten() {
            let found = self.storage.find(tenant, id).await?;
            let ours = |verification: &Verification| {
                id == ticket.id || verification.sends().iter().any(|sending| sending.is_for(ticket.tag))
            };
            if let Some(found) = found.filter(|found| ours(&found.value)) {
                return Ok(Some(self.view(found.value, &state.value, now)));
            }
        }
        Ok(None)
    }

    async fn start_now(&self, starting: &Starting<'_>, ticket: Option<&Ticket>) -> Result<Launched> {
        let mut admission = Admission::of(starting.new.origin.clone());
        let launched = self.launch(starting, ticket, &mut admission).await;
        if let Err(error) = &launched {
            admission.give_back(&self.outbox, error).await;
        }
        launched
    }

    async fn launch(
        &self,
        starting: &Starting<'_>,
        ticket: Option<&Ticket>,
        admission: &mut Admission,
    ) -> Result<Launched> {
        for _ in 0..MAX_ROUNDS {
            let plan = self.plan_start(starting, ticket, admission).await?;
            if let Some((view, send, call)) = self.commit(plan).await? {
                return Ok(Launched { view, send, call, nearest: admission.nearest() });
            }
            count_conflict("start");
        }
        Err(contention())
    }

    /// Sends a pending verification's code again, on the channel of the send before or on another one.
    ///
    /// Errors: `NotFound`; `Precondition`/`VerificationNotPending`; `Limited` as for start; `Invalid`.
    pub async fn resend(&self, tenant: &TenantName, id: Id, channel: Option<Channel>) -> Result<View> {
        let mut admission = Admission::default();
        let view = self.send_again(tenant, id, channel, &mut admission).await;
        if let Err(error) = &view {
            admission.give_back(&self.outbox, error).await;
        }
        view
    }

    async fn send_again(
        &self,
        tenant: &TenantName,
        id: Id,
        channel: Option<Channel>,
        admission: &mut Admission,
    ) -> Result<View> {
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
            admission.origin.trusted = loaded.value.is_trusted();
            let sent = Sent { channel, tag: None, replaced: None, admission };
            let plan = self.plan_send(tags.0, loaded, state, sent, now).await?;
            if let Some((view, ..)) = self.commit(plan).await? {
                return Ok(view);
            }
            count_conflict("resend");
        }
        Err(contention())
    }

    async fn plan_start(
        &self,
        starting: &Starting<'_>,
        ticket: Option<&Ticket>,
        admission: &mut Admission,
    ) -> Result<Plan> {
        let Starting { tenant, new, policy, recipient, channel, last_line, workflow, secret } = starting;
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
        let tag = ticket.map(|ticket| ticket.tag);
        let replaced = match (pending, new.on_existing) {
            (Some(_), OnExisting::Resend) if new.custom_code.is_some() => return Err(another_code_pending()),
            (Some(pending), OnExisting::Resend) => {
                // One that is on its way through a workflow is sent again where it has come to.
                let latest = pending.value.sends().last().filter(|_| new.channel.is_none() && workflow.is_some());
                let channel = latest.map_or(*channel, |latest| latest.channel);
                let sent = Sent { channel, tag, replaced: None, admission };
                return self.plan_send(tags.0, pending, state, sent, now).await;
            }
            (replaced @ Some(_), OnExisting::Replace) => replaced,
            (_, OnExisting::Parallel) | (None, _) => None,
        };
        let fresh_id = || Id::new(now, tags.1.partition(), &*self.ground.random);
        let id = ticket.map_or_else(fresh_id, |ticket| ticket.id);
        let beginning = Beginning {
            id,
            tenant: tenant.name.clone(),
            recipient: recipient.clone(),
            scope: new.scope().to_owned(),
            secret: secret.clone(),
            expires_at: now + policy.lifetime,
            max_checks: policy.max_checks,
            locale: new.locale.clone().or_else(|| language(recipient).map(str::to_owned)),
            sender: new.sender.clone().or_else(|| tenant.sender.clone()),
            metadata: new.metadata.clone(),
            template: new.template.clone().unwrap_or_else(|| template::DEFAULT.to_owned()),
            variables: new.variables.clone(),
            text: new.text.clone(),
            last_line: last_line.clone(),
            workflow: workflow.clone(),
            trusted: new.origin.trusted,
        };
        let key = self.ground.keys.verification(tags.0, id);
        let value = Verification::new(beginning, now);
        let fresh = Loaded { key, read: None, value, marks: Marks::default() };
        let sent = Sent { channel: *channel, tag, replaced, admission };
        self.plan_send(tags.0, fresh, state, sent, now).await
    }

    /// Adds a send to a verification, new or read, if the guard lets it, and begins its first attempt if its vendor has
    /// room.
    pub(crate) async fn plan_send(
        &self,
        tenant: TenantTag,
        mut to: Loaded<Verification>,
        mut state: Loaded<RecipientState>,
        what: Sent<'_>,
        now: Timestamp,
    ) -> Result<Plan> {
        let Sent { channel, tag, replaced, admission } = what;
        let id = to.value.id;
        let place = (channel, to.value.recipient.country());
        let (route, unable) = self.route_for(&to.value, tenant, channel, now)?;
        let (status, expires_at) = (to.value.status(now), to.value.expires_at);
        let max_sends = self.config.limits.max_sends;
        let Some((sending, _)) = to.value.add_send(channel, max_sends, now) else {
            return Err(if status == Status::Pending {
                sent_often_enough(max_sends, expires_at, now)
            } else {
                not_pending(status)
            });
        };
        sending.request = tag;
        sending.refused_by = unable;
        let send = SendRef { holder: Holder::Verification, tenant, id, number: sending.number };
        let vendors = self.outbox.order(route, &send, place);
        let admitted = self.admit(&to.value, &send, &vendors, admission).await?;
        let permit = to.value.last_send().and_then(|(sending, history)| {
            sending.refused_by.extend_from_slice(&admitted.passed_over);
            let Some(rule) = admitted.shadow else {
                return self.outbox.begin_inline(sending, &vendors, now, history);
            };
            sending.withhold(rule.as_str(), vendors.first(), now, history);
            None
        });
        state.value.add_send(id, &self.config.limits, now);
        state.value.set_newest(&to.value.scope, id, expires_at, now);
        if to.read.is_none() {
            state.value.list(id, expires_at + self.config.retention);
        }

        let mut batch = self.storage.put(Batch::new(id.partition()), &send, &to)?;
        let mut void = None;
        if let Some(mut old) = replaced {
            old.value.cancel(now);
            batch = self.storage.put(batch, &SendRef { id: old.value.id, ..send }, &old)?;
            void = Some(old.value).filter(Verification::is_of_vendors_code).map(|old| old.codes_of_vendors());
        }
        let batch = self.storage.put_state(batch, &state)?;
        Ok(Plan { batch, view: self.view(to.value, &state.value, now), send, permit, void })
    }

    /// Asks the guard about the send that was added last.
    async fn admit<'a>(
        &self,
        verification: &Verification,
        send: &SendRef,
        vendors: &[String],
        admission: &'a mut Admission,
    ) -> Result<&'a Admitted> {
        let wanted = Wanted {
            tenant: &verification.tenant,
            recipient: &verification.recipient,
            channel: verification.sends().last().map_or(Channel::Sms, |sending| sending.channel),
            scope: &verification.scope,
            vendors,
        };
        admission.ask(&self.outbox, &wanted, || self.records.errand(verification, send)).await
    }

    /// Commits a plan and launches its send, even when nobody waits for it any more. `None` after a lost race.
    pub(crate) async fn commit(&self, plan: Plan) -> Result<Option<(View, SendRef, Option<JoinHandle<()>>)>> {
        let Plan { batch, view, send, permit, void } = plan;
        let errand = permit.is_some().then(|| self.records.errand(&view.verification, &send)).transpose()?;
        let (outbox, store) = (Arc::clone(&self.outbox), Arc::clone(&self.ground.store));
        let records = Arc::clone(&self.records);
        let work = async move {
            let Commit::Committed(version) = store.commit(batch).await? else { return Ok(None) };
            if permit.is_some() {
                records.remember(send.id, version, view.verification.clone());
            }
            outbox.watches.tell(send.id);
            if let Some(codes) = void {
                outbox.let_go(codes, true);
            }
            let sending = view.verification.sends().last().cloned();
            if let Some(sending) = &sending {
                outbox.note(send.id.partition(), sending);
            }
            if let Some(at) = view.verification.due_at() {
                outbox.due.note(send.id.partition(), at);
            }
            let attempt = sending.map_or(0, |sending: Sending| sending.attempts);
            let call = permit.zip(errand).map(|(permit, errand)| outbox.launch(permit, send, attempt, errand));
            Ok(Some((view, send, call)))
        };
        self.outbox.run_to_end(work).await
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
}

/// Adds the code to an answer, where it was asked for and is still there.
fn started(new: &NewVerification, view: View) -> Started {
    let code = view.verification.code().filter(|_| new.return_code && view.status == Status::Pending).cloned();
    Started { view, code, nearest: None }
}

/// The language of a recipient's country.
fn language(recipient: &Recipient) -> Option<&'static str> {
    recipient.country().and_then(locale::of_country)
}

fn may_not_return_code() -> Error {
    let message = "return_code is not allowed for this tenant; set return_code = true in its configuration";
    Error::new(Kind::Forbidden, Reason::NotPermitted, message)
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
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

// === impl Starting ===

impl Starting<'_> {
    /// All that makes two starts differ.
    fn parts(&self) -> Vec<Vec<u8>> {
        let new = self.new;
        let plain = format!(
            "{:?}",
            (
                self.channel,
                &new.workflow,
                new.scope(),
                &new.policy,
                &new.locale,
                &new.sender,
                &new.metadata,
                new.on_existing,
                new.code_is_number
            )
        );
        let text = new.text.as_ref().map(|text| text.fill("", Duration::ZERO, Timestamp::default()));
        let text = text.as_ref().map_or("", |text| text.expose_secret());
        let wording = format!("{:?}", (&new.template, &new.variables, text, &self.last_line));
        let custom_code = new.custom_code.as_ref().map_or("", Code::expose);
        [self.recipient.as_str(), custom_code, &plain, &wording].map(|part| part.as_bytes().to_vec()).to_vec()
    }
}
