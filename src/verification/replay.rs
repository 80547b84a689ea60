//! Checks that come again under their idempotency key: the use case beside checking that compares nothing.

use crate::clock::Timestamp;
use crate::error::Result;
use crate::messaging::holder::count_conflict;
use crate::messaging::idempotency::mismatch;
use crate::store::{Batch, Commit};
use crate::verification::answers::{CheckKey, Judgement, Known};
use crate::verification::recipient_state::RecipientState;
use crate::verification::service::Verifications;
use crate::verification::storage::Loaded;
use crate::verification::verification::Verification;
use crate::verification::view::{Checked, Outcome, Replay};

// === impl Verifications ===

impl Verifications {
    /// Answers a check that was judged before as it was answered then. Before the lock of the recipient: a check that
    /// locked it has to hear the same when it comes again.
    ///
    /// An approval goes out only on what was read, unchanged, and a mismatch takes it away for good before it is told.
    /// So of many candidates at once under the key of an approval the store lets one be looked at, as of many codes.
    ///
    /// Errors: `Precondition`/`IdempotencyMismatch` when the key came with another candidate; `Unavailable`.
    pub(crate) async fn replay(
        &self,
        key: Option<&CheckKey>,
        loaded: &mut Loaded<Verification>,
        state: &RecipientState,
        now: Timestamp,
    ) -> Result<Replay> {
        let batch = Batch::new(loaded.value.id.partition());
        let answer = match key.map_or(Known::Nothing, |key| loaded.value.known(key)) {
            Known::Nothing => return Ok(Replay::New),
            Known::Answered(answer) => answer,
            Known::Mismatched(Judgement::Wrong | Judgement::LastWrong) => return Err(mismatch()),
            Known::Mismatched(Judgement::Approved) => {
                loaded.value.forget_approval();
                let send = self.storage.send_ref(&loaded.value.tenant, loaded.value.id, 0);
                let batch = self.storage.put(batch, &send, loaded)?;
                return if self.stood(batch).await? { Err(mismatch()) } else { Ok(Replay::LostRace) };
            }
        };
        let unchanged = batch.require(&loaded.key, loaded.read.as_ref());
        if answer.judgement == Judgement::Approved && !self.stood(unchanged).await? {
            return Ok(Replay::LostRace);
        }
        let view = self.view(loaded.value.clone(), state, now);
        Ok(Replay::Given(Box::new(Checked {
            outcome: Outcome::Judged(answer.judgement),
            checks_left: answer.checks_left,
            next_check_at: answer.next_check_at,
            repeated: true,
            view,
        })))
    }

    /// Commits; false when what was read did not stand until then.
    async fn stood(&self, batch: Batch) -> Result<bool> {
        let commit = self.ground.store.commit(batch).await?;
        if commit == Commit::Conflict {
            count_conflict("replay");
        }
        Ok(commit != Commit::Conflict)
    }
}
