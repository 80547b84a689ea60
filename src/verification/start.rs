//! Starting a verification: a new one with a code of its own, or a pending one's code once more.

use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::task::JoinHandle;

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::guard::rule::Rule;
use crate::id::{Id, TenantName};
use crate::messaging::admission::Admission;
use crate::messaging::holder::{MAX_ROUNDS, Marks, SendRecord, contention, count_conflict};
use crate::messaging::idempotency::{self, Claim, Request, Ticket};
use crate::messaging::last_line::LastLine;
use crate::messaging::locale;
use crate::messaging::route::CodeMaker;
use crate::messaging::template;
use crate::recipient::Recipient;
use crate::store::keys::SendRef;
use crate::tenant::Tenant;
use crate::vendor::Channel;
use crate::verification::beginning::{Beginning, Secret};
use crate::verification::code::Code;
use crate::verification::dispatch::{Plan, Sent};
use crate::verification::fields::Checked;
use crate::verification::policy::Policy;
use crate::verification::recipient_state::RecipientState;
use crate::verification::request::{NewVerification, OnExisting};
use crate::verification::service::Verifications;
use crate::verification::storage::Loaded;
use crate::verification::verification::{Status, Verification};
use crate::verification::view::{Started, View};
use crate::verification::workflow::Progress;

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
    /// `CoolDown` or `RecipientLocked` and the time to wait; both with the rule of the guard that it broke;
    /// `Precondition` with `NoRoute`, `VerificationNotPending` or `IdempotencyMismatch`; `Conflict`; `Unavailable`.
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
            Some(key) => Box::pin(self.start_once(&starting, key)).await,
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
            ends_aloud: self.ground.fed.wants(tags.0),
        };
        let key = self.ground.keys.verification(tags.0, id);
        let value = Verification::new(beginning, now);
        let fresh = Box::new(Loaded { key, read: None, value, marks: Marks::default() });
        let sent = Sent { channel: *channel, tag, replaced, admission };
        self.plan_send(tags.0, fresh, state, sent, now).await
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

fn another_code_pending() -> Error {
    let message =
        "a verification is pending with a code of its own; set on_existing to REPLACE to send this custom_code";
    Error::new(Kind::Precondition, Reason::VerificationNotPending, message)
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
