//! Verifications as a service: check, cancel, show. Starting and listing stand beside it.

use std::sync::Arc;

use secrecy::{ExposeSecret, SecretString};

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::id::{Id, TenantName};
use crate::messaging::errand::{CodeErrand, Errand, PLACE_OF_CODE};
use crate::messaging::holder::{Ground, MAX_ROUNDS, Records, SendHolder, SendRecord, contention, count_conflict};
use crate::messaging::idempotency::Idempotency;
use crate::messaging::outbox::Outbox;
use crate::messaging::retention::Retention;
use crate::messaging::sending::Sending;
use crate::messaging::template::{CodeFacts, Templates, Wording};
use crate::recipient::Recipient;
use crate::store::keys::SendRef;
use crate::store::{Batch, Commit};
use crate::tenant::Tenant;
use crate::vendor::Outgoing;
use crate::verification::answers::{Answer, Judgement};
use crate::verification::policy::VerificationConfig;
use crate::verification::recipient_state::RecipientState;
use crate::verification::request::{DEFAULT_SCOPE, NewCheck, Target};
use crate::verification::storage::{Storage, not_found};
use crate::verification::verification::{Status, Verdict, Verification};
use crate::verification::view::{Checked, Outcome, Replay, View, checks_left};
use crate::verification::workflow::Workflows;

/// Starts, checks and shows verifications.
pub struct Verifications {
    pub(crate) ground: Ground,
    pub(crate) storage: Arc<Storage>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) records: Arc<Records<Verification>>,
    pub(crate) idempotency: Idempotency,
    pub(crate) templates: Arc<Templates>,
    pub(crate) config: VerificationConfig,
    pub(crate) workflows: Workflows,
}

/// Tells the brand of a tenant, as it is now.
pub type Brands = Box<dyn Fn(&TenantName) -> Option<String> + Send + Sync>;

// === impl Verifications ===

impl Verifications {
    /// `brands`: tells the name that texts say the code is for, of a tenant that has one.
    pub fn new(
        outbox: Arc<Outbox>,
        config: VerificationConfig,
        templates: Arc<Templates>,
        brands: Brands,
        workflows: Workflows,
    ) -> Self {
        let ground = outbox.ground.clone();
        let own = Arc::clone(&templates);
        let render = Box::new(move |verification: &Verification, sending: &Sending, send: &SendRef| {
            render(verification, sending, send, &own, brands(&verification.tenant).as_deref())
        });
        let retention = Retention::of_verifications(config.retention, Arc::clone(&outbox.wishes));
        let records = Arc::new(Records::new(ground.clone(), outbox.watches.clone(), retention.clone(), render));
        let storage = Arc::new(Storage::new(ground.clone(), config.limits.clone(), retention));
        let idempotency = Idempotency::new(ground.clone());
        Self { ground, storage, outbox, records, idempotency, templates, config, workflows }
    }

    /// The records that the outbox moves.
    pub fn holder(&self) -> Arc<dyn SendHolder> {
        Arc::clone(&self.records) as Arc<dyn SendHolder>
    }

    /// Compares a candidate with the code. A failed check is durable before this returns, and so is a success, which
    /// happens once. With an idempotency key, a judged check that comes again is answered as it was, and not counted.
    ///
    /// Errors: `NotFound` for an unknown id, another tenant's among them, and for a recipient for whom nothing was started;
    /// `Precondition`/`IdempotencyMismatch`; `Limited`/`TenantFailures`; `Conflict`; `Unavailable`, in which case nobody was
    /// told of an approval.
    pub async fn check(&self, tenant: &Tenant, check: NewCheck) -> Result<Checked> {
        let attempt = self.outbox.attempt_check(&tenant.name)?;
        let checked = self.check_once(tenant, check).await?;
        if !checked.repeated {
            metrics::counter!("verigate_checks_total", "outcome" => checked.outcome.as_str()).increment(1);
        }
        match (checked.outcome, attempt) {
            _ if checked.repeated => {}
            (Outcome::Judged(Judgement::Approved), Some(attempt)) => attempt.succeeded(),
            (Outcome::Judged(Judgement::Wrong | Judgement::LastWrong), Some(attempt)) => attempt.failed(),
            _ => {}
        }
        Ok(checked)
    }

    async fn check_once(&self, tenant: &Tenant, check: NewCheck) -> Result<Checked> {
        let id = match check.target {
            Target::Id(id) => id,
            Target::Newest { ref scope, ref recipient } => {
                self.newest(&tenant.name, scope.as_deref().unwrap_or(DEFAULT_SCOPE), recipient).await?
            }
        };
        let key = check.key(&self.ground.keys, &tenant.name, id);
        self.records.settled(id).await;
        for _ in 0..MAX_ROUNDS {
            let mut loaded = self.storage.load(&tenant.name, id).await?;
            if loaded.value.is_of_vendors_code() {
                // In a box, so that no other check carries the room that it takes.
                return Box::pin(self.check_at_vendor(&tenant.name, id, check.candidate, key)).await;
            }
            let mut state = self.storage.load_state(self.storage.tags(&tenant.name, &loaded.value.recipient)).await?;
            let now = self.ground.clock.now();
            match self.replay(key.as_ref(), &mut loaded, &state.value, now).await? {
                Replay::New => {}
                Replay::Given(checked) => return Ok(*checked),
                Replay::LostRace => continue,
            }
            let limits = &self.config.limits;
            if let Some(until) = state.value.locked_until(limits, now) {
                return Ok(self.checked(Outcome::RecipientLocked, Some(until), loaded.value, &state.value, now));
            }
            let was_open = loaded.value.is_open();
            let verdict = loaded.value.check(&check.candidate, now);
            let mut batch = Batch::new(id.partition());
            if verdict.is_failure() {
                state.value.add_failure(limits, now);
                batch = self.storage.put_state(batch, &state)?;
            } else {
                // Checks in other scopes may lock the recipient meanwhile, and the right code must not slip past that.
                batch = batch.require(&state.key, state.read.as_ref());
            }
            let next_check_at = state.value.locked_until(limits, now);
            if let (Some(key), Verdict::Judged(judgement)) = (key, verdict) {
                let checks_left = checks_left(&loaded.value, &state.value, limits, now);
                loaded.value.remember(Answer { key, judgement, checks_left, next_check_at });
            }
            // An ended verification changes only when this check is the first to see that its time is over.
            let changed = was_open != loaded.value.is_open() || verdict.is_failure();
            if changed {
                let send = self.storage.send_ref(&tenant.name, id, 0);
                batch = self.storage.put(batch, &send, &loaded)?;
                if self.ground.store.commit(batch).await? == Commit::Conflict {
                    count_conflict("check");
                    continue;
                }
                self.outbox.watches.tell(id);
            }
            if verdict == Verdict::Judged(Judgement::Approved) {
                self.approved(&loaded.value);
            }
            let outcome = match verdict {
                Verdict::Judged(judgement) => Outcome::Judged(judgement),
                Verdict::Ended(status) => Outcome::Ended(status),
            };
            return Ok(self.checked(outcome, next_check_at, loaded.value, &state.value, now));
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
            let (status, was_open) = (loaded.value.status(now), loaded.value.is_open());
            if !loaded.value.cancel(now) {
                return Err(not_pending(status));
            }
            let state = self.storage.load_state(self.storage.tags(tenant, &loaded.value.recipient)).await?;
            if was_open {
                let send = self.storage.send_ref(tenant, id, 0);
                let batch = self.storage.put(Batch::new(id.partition()), &send, &loaded)?;
                if self.ground.store.commit(batch).await? == Commit::Conflict {
                    count_conflict("cancel");
                    continue;
                }
                self.outbox.watches.tell(id);
                self.outbox.let_go(loaded.value.codes_of_vendors(), true);
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

    /// The verification of a recipient that was sent last in a scope, ended or not.
    ///
    /// Errors: `NotFound` when nothing was started.
    pub async fn newest(&self, tenant: &TenantName, scope: &str, recipient: &Recipient) -> Result<Id> {
        let state = self.storage.load_state(self.storage.tags(tenant, recipient)).await?;
        state.value.newest(scope).ok_or_else(not_found)
    }

    pub(crate) fn checked(
        &self,
        outcome: Outcome,
        next_check_at: Option<Timestamp>,
        verification: Verification,
        state: &RecipientState,
        now: Timestamp,
    ) -> Checked {
        let view = self.view(verification, state, now);
        Checked { outcome, checks_left: view.checks_left, next_check_at, repeated: false, view }
    }

    pub(crate) fn view(&self, verification: Verification, state: &RecipientState, now: Timestamp) -> View {
        let status = verification.status(now);
        let checks_left = checks_left(&verification, state, &self.config.limits, now);
        let decided_at = verification.decided_at(now);
        let may_resend =
            status == Status::Pending && verification.sends().len() < self.config.limits.max_sends as usize;
        let next_resend_at = may_resend.then(|| state.next_send_at());
        let next_step_at = verification.next_step_at().filter(|_| status == Status::Pending);
        View { status, checks_left, next_resend_at, decided_at, next_step_at, verification }
    }
}

/// What a vendor is to do for a pending verification: send our code in a text, or make one.
fn render(
    verification: &Verification,
    sending: &Sending,
    send: &SendRef,
    templates: &Templates,
    brand: Option<&str>,
) -> Result<Errand> {
    if let Some(code) = &verification.vendor_code {
        let text = words(verification, sending, templates, brand, PLACE_OF_CODE)?;
        return Ok(Errand::Code(CodeErrand {
            reference: sending.reference(send).to_string().into(),
            tenant: verification.tenant.clone(),
            channel: sending.channel,
            recipient: verification.recipient.clone(),
            sender: verification.sender.clone(),
            wish: code.wish,
            locale: verification.locale.clone(),
            brand: brand.map(str::to_owned),
            text: Some(text.expose_secret().to_owned()),
            expires_at: sending.expires_at,
        }));
    }
    let code = verification.code().ok_or_else(|| Error::internal("an ended verification was about to be sent"))?;
    Ok(Errand::Text(Outgoing {
        reference: sending.reference(send).to_string().into(),
        tenant: verification.tenant.clone(),
        channel: sending.channel,
        recipient: verification.recipient.clone(),
        sender: verification.sender.clone(),
        text: words(verification, sending, templates, brand, code.expose())?,
        receipt_url: None,
        expires_at: sending.expires_at,
    }))
}

/// The text around a code.
fn words(
    verification: &Verification,
    sending: &Sending,
    templates: &Templates,
    brand: Option<&str>,
    code: &str,
) -> Result<SecretString> {
    let wording = Wording {
        tenant: &verification.tenant,
        template: &verification.template,
        locale: verification.locale.as_deref(),
        variables: &verification.variables,
        brand,
    };
    let lifetime = verification.expires_at.since(sending.updated_at);
    let text = match &verification.text {
        Some(text) => text.fill(code, lifetime, verification.expires_at),
        None => templates.render_verification(&wording, &CodeFacts { code, lifetime, scope: &verification.scope })?,
    };
    verification.last_line.append(text, code)
}

pub(crate) fn not_pending(status: Status) -> Error {
    let message = format!("the verification has ended as {}; start a new one", status.as_str());
    Error::new(Kind::Precondition, Reason::VerificationNotPending, message)
}
