//! Adding a send to a verification and committing it, with the guard's leave: what starts, resends and steps of a
//! workflow have in common. All that costs money passes here.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::guard::ask::Admitted;
use crate::id::{Id, TenantName};
use crate::messaging::admission::{Admission, Wanted};
use crate::messaging::code_calls::CodesOf;
use crate::messaging::holder::{MAX_ROUNDS, SendRecord, contention, count_conflict};
use crate::messaging::outbox::Begun;
use crate::messaging::progress;
use crate::messaging::request::channel_for;
use crate::messaging::vendors::Permit;
use crate::store::keys::{Holder, RequestTag, SendRef, TenantTag};
use crate::store::{Batch, Commit};
use crate::telemetry::funnel::Stage;
use crate::telemetry::trace;
use crate::vendor::Channel;
use crate::verification::recipient_state::RecipientState;
use crate::verification::service::{Verifications, not_pending};
use crate::verification::storage::Loaded;
use crate::verification::verification::{Status, Verification};
use crate::verification::view::View;

/// A use case's result, ready to be committed: what to write, and the send to launch afterwards.
pub(crate) struct Plan {
    pub(crate) batch: Batch,
    pub(crate) view: View,
    /// With the number of a send, or of the record where nothing was added.
    pub(crate) send: SendRef,
    pub(crate) permit: Option<Permit>,
    /// Whether it begins a verification.
    pub(crate) is_new: bool,
    /// What vendors have made for a verification that the new one takes the place of.
    pub(crate) void: Option<CodesOf>,
}

/// A send to be added.
pub(crate) struct Sent<'a> {
    pub(crate) channel: Channel,
    /// The request that wants it, when it came with an idempotency key.
    pub(crate) tag: Option<RequestTag>,
    /// The verification whose place the new one takes.
    pub(crate) replaced: Option<Box<Loaded<Verification>>>,
    pub(crate) admission: &'a mut Admission,
}

// === impl Verifications ===

impl Verifications {
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

    /// Adds a send to a verification, new or read, if the guard lets it, and begins its first attempt if its vendor has
    /// room.
    pub(crate) async fn plan_send(
        &self,
        tenant: TenantTag,
        mut to: Box<Loaded<Verification>>,
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
        // Where no call asks for it, as in a workflow, it is for the call that started all.
        let trace = trace::current().or_else(|| to.value.sends().first()?.trace);
        let Some((sending, _)) = to.value.add_send(channel, max_sends, now) else {
            return Err(if status == Status::Pending {
                sent_often_enough(max_sends, expires_at, now)
            } else {
                not_pending(status)
            });
        };
        sending.request = tag;
        sending.trace = trace;
        let send = SendRef { holder: Holder::Verification, tenant, id, number: sending.number };
        let vendors = self.outbox.order(route, &send, place);
        let able: Vec<_> = vendors.iter().filter(|vendor| !unable.contains(vendor)).cloned().collect();
        let admitted = self.admit(&to.value, &send, &able, admission).await?;
        let permit = to.value.last_send().and_then(|(sending, history)| {
            sending.refused_by = unable;
            sending.refused_by.extend_from_slice(&admitted.passed_over);
            let Some(rule) = admitted.shadow else {
                return self.outbox.begin_inline(sending, &vendors, now, history);
            };
            sending.withhold(rule.as_str(), able.first(), now, history);
            None
        });
        state.value.add_send(id, &self.config.limits, now);
        state.value.set_newest(&to.value.scope, id, expires_at, now);
        if to.read.is_none() {
            state.value.list(id, expires_at + self.storage.retention.of(&to.value.tenant));
        }

        let mut batch = self.storage.put(Batch::new(id.partition()), &send, &to)?;
        let mut void = None;
        if let Some(mut old) = replaced {
            old.value.cancel(now);
            batch = self.storage.put(batch, &SendRef { id: old.value.id, ..send }, &old)?;
            void = Some(old.value).filter(Verification::is_of_vendors_code).map(|old| old.codes_of_vendors());
        }
        let batch = self.storage.put_state(batch, &state)?;
        let is_new = to.read.is_none();
        Ok(Plan { batch, view: self.view(to.value, &state.value, now), send, permit, is_new, void })
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
        let Plan { batch, view, send, permit, is_new, void } = plan;
        let errand = permit.is_some().then(|| self.records.errand(&view.verification, &send)).transpose()?;
        let (outbox, store) = (Arc::clone(&self.outbox), Arc::clone(&self.ground.store));
        let records = Arc::clone(&self.records);
        let work = async move {
            let Commit::Committed(version) = store.commit(batch).await? else { return Ok(None) };
            if permit.is_some() {
                records.remember(send.id, version, view.verification.clone());
            }
            outbox.watches.tell(send.id);
            count(&view.verification, &send, is_new);
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
            let launched = permit.zip(errand).zip(sending.as_ref());
            let call = launched.map(|((permit, errand), sending)| {
                outbox.launch(permit, Begun::of(send, sending), errand, sending.trace)
            });
            Ok(Some((view, send, call)))
        };
        self.outbox.run_to_end(work).await
    }

    /// Refuses a send while the recipient is locked or cools down.
    pub(crate) fn check_may_send(&self, state: &RecipientState, now: Timestamp) -> Result<()> {
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
}

/// Counts what a plan has begun.
fn count(verification: &Verification, send: &SendRef, is_new: bool) {
    // A step of a workflow may add nothing.
    let Some(sending) = verification.sends().iter().find(|sending| sending.number == send.number) else { return };
    let to = (&verification.tenant, &verification.recipient);
    for stage in [Stage::Started, Stage::Queued].into_iter().skip(usize::from(!is_new)) {
        progress::count(stage, send.holder, to, sending);
    }
}

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

fn sent_often_enough(max_sends: u32, expires_at: Timestamp, now: Timestamp) -> Error {
    let message =
        format!("this verification was sent {max_sends} times, which is the most; start a new one once it has expired");
    Error::new(Kind::Limited, Reason::CoolDown, message).with_retry_after(expires_at.since(now))
}
