//! The next step of a verification's workflow, taken when its time has come and nobody has called.

use async_trait::async_trait;

use crate::clock::Timestamp;
use crate::error::{Kind, Result};
use crate::messaging::admission::Admission;
use crate::messaging::holder::{MAX_ROUNDS, SendRecord, StepTaker, Taken, contention, count_conflict};
use crate::store::Batch;
use crate::store::keys::SendRef;
use crate::verification::dispatch::{Plan, Sent};
use crate::verification::recipient_state::RecipientState;
use crate::verification::service::Verifications;
use crate::verification::storage::Loaded;
use crate::verification::verification::Verification;

/// What the guard says of a step.
struct Way<'a> {
    admission: &'a mut Admission,
    /// It has refused the step already.
    refused: bool,
}

#[async_trait]
impl StepTaker for Verifications {
    async fn take_step(&self, record: &SendRef, due_at: Timestamp) -> Result<Taken> {
        let (mut admission, mut refused) = (Admission::default(), false);
        for _ in 0..MAX_ROUNDS {
            let Some(loaded) = self.storage.find_tagged(record.tenant, record.id).await? else {
                return Ok(Taken::Gone);
            };
            // It was moved since its mark was read, and has another one, or none; or the clock was set back.
            if loaded.value.due_at() != Some(due_at) || self.ground.clock.now() < due_at {
                if let Some(at) = loaded.value.due_at() {
                    self.outbox.due.note(record.id.partition(), at);
                }
                return Ok(Taken::Done);
            }
            let tags = self.storage.tags(&loaded.value.tenant, &loaded.value.recipient);
            let state = self.storage.load_state(tags).await?;
            admission.origin.trusted = loaded.value.is_trusted();
            let way = Way { admission: &mut admission, refused };
            let plan = match self.plan_step(record, loaded, state, way, self.ground.clock.now()).await {
                // What the guard refuses is passed over like a channel that nobody carries.
                Err(error) if !refused && matches!(error.kind(), Kind::Limited | Kind::Forbidden) => {
                    refused = true;
                    continue;
                }
                plan => plan?,
            };
            if self.commit(plan).await?.is_some() {
                return Ok(Taken::Done);
            }
            count_conflict("step");
        }
        Err(contention())
    }
}

impl Verifications {
    /// Sends the code on the channel of the next step, or writes down why that is not to be.
    async fn plan_step(
        &self,
        record: &SendRef,
        mut loaded: Box<Loaded<Verification>>,
        state: Loaded<RecipientState>,
        way: Way<'_>,
        now: Timestamp,
    ) -> Result<Plan> {
        let limits = &self.config.limits;
        let locked_until = state.value.locked_until(limits, now);
        let verification = loaded.value.clone();
        // Those of a route whose codes are made by somebody else are passed over, too.
        let carries = |channel| !way.refused && self.route_for(&verification, record.tenant, channel, now).is_ok();
        match loaded.value.begin_step(locked_until, limits.max_sends, carries, now) {
            Some(channel) => {
                let sent = Sent { channel, tag: None, replaced: None, admission: way.admission };
                self.plan_send(record.tenant, loaded, state, sent, now).await
            }
            None => {
                let batch = self.storage.put(Batch::new(record.id.partition()), record, &loaded)?;
                // What a guess meanwhile did to the recipient must not be overlooked.
                let batch = batch.require(&state.key, state.read.as_ref());
                let view = self.view(loaded.value, &state.value, now);
                Ok(Plan { batch, view, send: *record, permit: None, is_new: false, void: None })
            }
        }
    }
}
