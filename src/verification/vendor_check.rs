//! Checks of codes that vendors make: counted first, in a commit of its own; then asked about, with nothing held that
//! others wait for; then settled in a second commit. Whoever dies in between leaves the check counted, and a caller that
//! hangs up cancels nothing.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::id::{Id, TenantName};
use crate::messaging::code_calls::{Live, LiveCode};
use crate::messaging::holder::{Ground, MAX_ROUNDS, SendRecord, contention, count_conflict};
use crate::messaging::outbox::Outbox;
use crate::messaging::progress;
use crate::store::keys::Holder;
use crate::store::{Batch, Commit};
use crate::telemetry::funnel::Stage;
use crate::vendor::{CodeVerdict, Failure};
use crate::verification::answers::{Answer, CheckKey, Judgement};
use crate::verification::code::Candidate;
use crate::verification::judging::Settled;
use crate::verification::policy::Limits;
use crate::verification::recipient_state::RecipientState;
use crate::verification::service::Verifications;
use crate::verification::storage::{Loaded, Storage};
use crate::verification::vendor_code::Heard;
use crate::verification::verification::{Status, Verdict, Verification};
use crate::verification::view::{Checked, Outcome, Replay, checks_left};

/// When to come again, where nobody knows better.
const SOON: Duration = Duration::from_secs(1);

/// A check that is to be judged: what was read, and whom to ask.
struct Question {
    verification: Box<Loaded<Verification>>,
    state: Loaded<RecipientState>,
    /// Where vendors can be asked; else the candidate is wrong, whatever it is.
    codes: Vec<LiveCode>,
    candidate: Arc<Candidate>,
    key: Option<CheckKey>,
    now: Timestamp,
}

/// A judged check, as it is committed.
struct Judged {
    verification: Verification,
    state: RecipientState,
    verdict: Verdict,
    next_check_at: Option<Timestamp>,
    now: Timestamp,
}

/// Has vendors judge checks, whoever waits for that.
struct Judge {
    ground: Ground,
    storage: Arc<Storage>,
    outbox: Arc<Outbox>,
    limits: Limits,
}

// === impl Verifications ===

impl Verifications {
    /// As [`Verifications::check`], of a verification whose code vendors make. Of several checks at once each waits for
    /// the one before it.
    ///
    /// Errors: those, and `Unavailable`/`VendorUnavailable` when the check was not judged, or nobody can tell how; in the
    /// second case it stays counted.
    pub(crate) async fn check_at_vendor(
        &self,
        tenant: &TenantName,
        id: Id,
        candidate: Candidate,
        key: Option<CheckKey>,
    ) -> Result<Checked> {
        let candidate = Arc::new(candidate);
        // Before the first look, so that no change is missed.
        let mut watch = self.outbox.watches.watch(id);
        let patience = self.outbox.time_of_check(self.ground.clock.now()).1;
        let mut rounds = 0;
        while rounds < MAX_ROUNDS {
            let mut loaded = self.storage.load(tenant, id).await?;
            let state = self.storage.load_state(self.storage.tags(tenant, &loaded.value.recipient)).await?;
            let now = self.ground.clock.now();
            match self.replay(key.as_ref(), &mut loaded, &state.value, now).await? {
                Replay::New => {}
                Replay::Given(checked) => return Ok(*checked),
                Replay::LostRace => {
                    rounds += 1;
                    continue;
                }
            }
            if let Some(until) = loaded.value.check_under_way(now) {
                if now >= patience {
                    return Err(contention());
                }
                let look_again = until.min(patience).min(now + watch.patience());
                tokio::select! {
                    () = watch.changed() => {}
                    () = self.ground.clock.sleep_until(look_again) => {}
                }
                continue;
            }
            if let Some(until) = state.value.locked_until(&self.config.limits, now) {
                return Ok(self.checked(Outcome::RecipientLocked, Some(until), loaded.value, &state.value, now));
            }
            if loaded.value.status(now) != Status::Pending {
                if let Some(checked) = self.ended(loaded, &state, now).await? {
                    return Ok(checked);
                }
            } else if let Some(question) = self.question(loaded, state, &candidate, key, now).await? {
                if let Some(checked) = self.judge(question).await? {
                    return Ok(checked);
                }
                count_conflict("check");
            }
            rounds += 1;
        }
        Err(contention())
    }

    /// Answers a check of one that has ended, and writes down what time has done to it.
    async fn ended(
        &self,
        mut loaded: Box<Loaded<Verification>>,
        state: &Loaded<RecipientState>,
        now: Timestamp,
    ) -> Result<Option<Checked>> {
        if loaded.value.is_open() {
            loaded.value.end_by_time(now);
            if !self.put(&loaded).await? {
                return Ok(None);
            }
        }
        let outcome = Outcome::Ended(loaded.value.status(now));
        Ok(Some(self.checked(outcome, None, loaded.value, &state.value, now)))
    }

    /// Whom to ask. `None` when there is nobody for good, and the verification was canceled for that; or after a lost
    /// race.
    ///
    /// Errors: `Unavailable` when the vendor cannot be asked now; nothing is counted.
    async fn question(
        &self,
        mut loaded: Box<Loaded<Verification>>,
        state: Loaded<RecipientState>,
        candidate: &Arc<Candidate>,
        key: Option<CheckKey>,
        now: Timestamp,
    ) -> Result<Option<Question>> {
        let is_being_made = loaded.value.sends().iter().any(|sending| sending.is_making_code());
        let codes = match self.outbox.live_codes(&loaded.value.codes_of_vendors()).await? {
            Live::Codes(codes) => codes,
            Live::Displaced | Live::Nothing if is_being_made => {
                let message = "the vendor has not made the code yet; nothing was compared or counted, try again";
                return Err(vendor_unavailable(message, SOON));
            }
            // A newer verification has what was this one's.
            Live::Displaced => {
                loaded.value.cancel(now);
                self.put(&loaded).await?;
                return Ok(None);
            }
            Live::Nothing => Vec::new(),
        };
        if let Some(until) = codes.first().and_then(|code| self.outbox.vendors.closed_until(&code.vendor, now)) {
            return Err(not_judged(Some(until.since(now))));
        }
        let candidate = Arc::clone(candidate);
        Ok(Some(Question { verification: loaded, state, codes, candidate, key, now }))
    }

    /// `None` after a lost race.
    async fn judge(&self, question: Question) -> Result<Option<Checked>> {
        let judge = Judge {
            ground: self.ground.clone(),
            storage: Arc::clone(&self.storage),
            outbox: Arc::clone(&self.outbox),
            limits: self.config.limits.clone(),
        };
        let judged = self.outbox.run_to_end(async move { judge.run(question).await }).await?;
        Ok(judged.map(|Judged { verification, state, verdict, next_check_at, now }| {
            let outcome = match verdict {
                Verdict::Judged(judgement) => Outcome::Judged(judgement),
                Verdict::Ended(status) => Outcome::Ended(status),
            };
            self.checked(outcome, next_check_at, verification, &state, now)
        }))
    }

    /// False after a lost race.
    async fn put(&self, loaded: &Loaded<Verification>) -> Result<bool> {
        let id = loaded.value.id;
        let send = self.storage.send_ref(&loaded.value.tenant, id, 0);
        let batch = self.storage.put(Batch::new(id.partition()), &send, loaded)?;
        let stood = self.ground.store.commit(batch).await? != Commit::Conflict;
        if stood {
            self.outbox.watches.tell(id);
        }
        Ok(stood)
    }
}

// === impl Judge ===

impl Judge {
    /// Counts a check, has it judged, and settles it. `None` after a race that was lost before anything was counted.
    async fn run(&self, question: Question) -> Result<Option<Judged>> {
        let Question { mut verification, mut state, codes, candidate, key, now } = question;
        let (until, lost_at) = self.outbox.time_of_check(now);
        let Some(number) = verification.value.begin_check(lost_at, now) else { return Ok(None) };
        state.value.add_failure(&self.limits, now);
        if codes.is_empty() {
            // Nobody is to be asked, so one commit is enough.
            let heard = (None, Ok(CodeVerdict::Unknown));
            return self.settle(verification, state, (number, now), &heard, key).await;
        }
        if !self.commit(&verification, &state).await? {
            return Ok(None);
        }
        let heard = self.outbox.check_codes(&codes, candidate.expose(), until).await;
        let (tenant, id) = (&verification.value.tenant, verification.value.id);
        for _ in 0..MAX_ROUNDS {
            let verification = self.storage.load(tenant, id).await?;
            let state = self.storage.load_state(self.storage.tags(tenant, &verification.value.recipient)).await?;
            if let Some(judged) = self.settle(verification, state, (number, now), &heard, key).await? {
                return Ok(Some(judged));
            }
            count_conflict("check");
        }
        Err(contention())
    }

    /// Commits what was heard of a check, by its number and the time at which it was counted. `None` after a lost race.
    async fn settle(
        &self,
        mut verification: Box<Loaded<Verification>>,
        mut state: Loaded<RecipientState>,
        (number, counted_at): (u32, Timestamp),
        (code, heard): &(Option<&LiveCode>, Result<CodeVerdict, Failure>),
        key: Option<CheckKey>,
    ) -> Result<Option<Judged>> {
        let now = self.ground.clock.now();
        let Settled { verdict, is_counted } = verification.value.settle_check(number, Heard::of(heard), now);
        if !is_counted {
            state.value.remove_failure(counted_at);
        }
        let next_check_at = state.value.locked_until(&self.limits, now);
        if let (Some(key), Some(Verdict::Judged(judgement))) = (key, verdict) {
            let checks_left = checks_left(&verification.value, &state.value, &self.limits, now);
            verification.value.remember(Answer { key, judgement, checks_left, next_check_at });
        }
        if !self.commit(&verification, &state).await? {
            return Ok(None);
        }
        let Some(verdict) = verdict else { return Err(unjudged(heard)) };
        let verification = verification.value;
        if let (Verdict::Judged(Judgement::Approved), Some(code)) = (verdict, code) {
            let (recipient, country) = (&verification.recipient, verification.recipient.country());
            if let Some(sending) =
                verification.sends().iter().rev().find(|send| send.vendor.as_ref() == Some(&code.vendor))
            {
                progress::count(Stage::Approved, Holder::Verification, (&verification.tenant, recipient), sending);
            }
            self.outbox.measuring.approved(&code.vendor, code.handle.channel, country);
            if let Some(guard) = &self.outbox.guard {
                guard.approved(&verification.tenant, &verification.recipient);
            }
        }
        if verification.status(now) != Status::Pending {
            let is_void = verification.status(now) != Status::Approved;
            self.outbox.let_go(verification.codes_of_vendors(), is_void);
        }
        Ok(Some(Judged { verification, state: state.value, verdict, next_check_at, now }))
    }

    /// False after a lost race.
    async fn commit(&self, verification: &Loaded<Verification>, state: &Loaded<RecipientState>) -> Result<bool> {
        let id = verification.value.id;
        let send = self.storage.send_ref(&verification.value.tenant, id, 0);
        let batch = self.storage.put(Batch::new(id.partition()), &send, verification)?;
        let batch = self.storage.put_state(batch, state)?;
        let stood = self.ground.store.commit(batch).await? != Commit::Conflict;
        if stood {
            self.outbox.watches.tell(id);
        }
        Ok(stood)
    }
}

fn unjudged(heard: &Result<CodeVerdict, Failure>) -> Error {
    match heard {
        Err(Failure::Unavailable) => not_judged(None),
        Err(Failure::Throttled { after }) => not_judged(*after),
        _ => {
            let message = "the vendor gave no clear answer about the code, so the check counts as failed; try again";
            vendor_unavailable(message, SOON)
        }
    }
}

fn not_judged(wait: Option<Duration>) -> Error {
    let message = "the vendor that made the code cannot be asked now; nothing was compared or counted, try again";
    vendor_unavailable(message, wait.unwrap_or(SOON))
}

fn vendor_unavailable(message: &str, wait: Duration) -> Error {
    Error::new(Kind::Unavailable, Reason::VendorUnavailable, message).with_retry_after(wait)
}
