//! What we remember of a recipient between verifications: failed checks, the cool-down, and what is pending in which scope.
//!
//! It belongs to (tenant, recipient), so nothing that a caller does to a single verification resets it.

use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::clock::{self, Timestamp};
use crate::id::Id;
use crate::verification::policy::Limits;

/// How many verifications of one recipient can be listed.
pub const MAX_LISTED: usize = 64;

/// One tenant's memory of one recipient.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct RecipientState {
    /// When checks failed, oldest first; those out of the window are dropped.
    #[n(0)]
    failures: Vec<Timestamp>,
    /// Sends since the row of waits began.
    #[n(1)]
    sends: u32,
    #[n(2)]
    last_send_at: Timestamp,
    #[n(3)]
    next_send_at: Timestamp,
    /// The verification that was sent last.
    #[n(4)]
    last_sent: Option<Id>,
    /// The newest verification of each scope; it may have ended since.
    #[n(5)]
    newest: Vec<Newest>,
    /// The last verifications, oldest first, at most [`MAX_LISTED`].
    #[n(6)]
    listed: Vec<Id>,
    /// How long they can be looked up.
    #[n(7)]
    listed_until: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Newest {
    #[n(0)]
    scope: String,
    #[n(1)]
    id: Id,
    #[n(2)]
    expires_at: Timestamp,
}

/// How long after its end a verification can still be named by scope and recipient, so that who types a code too late
/// is told so.
const REMEMBERED: Duration = Duration::from_secs(3600);

// === impl RecipientState ===

impl RecipientState {
    /// Until when nothing is checked or sent; `None` when the recipient is not locked.
    pub fn locked_until(&self, limits: &Limits, now: Timestamp) -> Option<Timestamp> {
        let recent = self.recent(limits, now);
        let oldest_that_locks = recent.len().checked_sub(limits.failures as usize)?;
        Some(recent[oldest_that_locks] + limits.failure_window)
    }

    /// How many more checks may fail before the recipient is locked.
    pub fn failures_left(&self, limits: &Limits, now: Timestamp) -> usize {
        (limits.failures as usize).saturating_sub(self.recent(limits, now).len())
    }

    pub fn add_failure(&mut self, limits: &Limits, now: Timestamp) {
        let first = self.failures.len() - self.recent(limits, now).len();
        self.failures.drain(..first);
        self.failures.push(now);
    }

    /// Takes back a failure that was counted at that time.
    pub fn remove_failure(&mut self, at: Timestamp) {
        if let Some(index) = self.failures.iter().position(|failure| *failure == at) {
            self.failures.remove(index);
        }
    }

    /// When the next send is allowed; `None` when it is now. A wait that began at a time yet to come, because the clock was
    /// set back, is over: else everybody would wait for as long as it was set back.
    pub fn cool_down(&self, now: Timestamp) -> Option<Timestamp> {
        let has_begun = self.last_send_at <= now + clock::TOLERANCE;
        (has_begun && now < self.next_send_at).then_some(self.next_send_at)
    }

    /// The earliest time of the next send, past or future.
    pub fn next_send_at(&self) -> Timestamp {
        self.next_send_at
    }

    /// The verification whose send the cool-down stems from.
    pub fn last_sent(&self) -> Option<Id> {
        self.last_sent
    }

    /// Lifts the wait, for the person has shown that messages reach whom they should. The row of waits goes on, and at
    /// its end nothing is lifted any more: else whoever owns a number that earns by being sent to could be sent to
    /// without end.
    pub fn lift_cool_down(&mut self, limits: &Limits) {
        if (self.sends as usize) < limits.cool_downs.len() {
            self.next_send_at = Timestamp::default();
        }
    }

    /// Counts a send and starts the next wait.
    pub fn add_send(&mut self, id: Id, limits: &Limits, now: Timestamp) {
        if now.since(self.last_send_at) >= limits.cool_down_reset {
            self.sends = 0;
        }
        self.sends = self.sends.saturating_add(1);
        self.last_send_at = now;
        self.next_send_at = now + limits.cool_down(self.sends);
        self.last_sent = Some(id);
    }

    /// The newest verification of a scope; it may have ended.
    pub fn newest(&self, scope: &str) -> Option<Id> {
        self.newest.iter().find(|newest| newest.scope == scope).map(|newest| newest.id)
    }

    pub fn set_newest(&mut self, scope: &str, id: Id, expires_at: Timestamp, now: Timestamp) {
        self.newest.retain(|newest| newest.scope != scope && now < newest.expires_at + REMEMBERED);
        self.newest.push(Newest { scope: scope.to_owned(), id, expires_at });
    }

    /// The last verifications, oldest first. Some may be gone.
    pub fn listed(&self) -> &[Id] {
        &self.listed
    }

    /// Adds a new verification to what can be listed.
    pub fn list(&mut self, id: Id, until: Timestamp) {
        if self.listed.len() == MAX_LISTED {
            self.listed.remove(0);
        }
        self.listed.push(id);
        self.listed_until = self.listed_until.max(until);
    }

    /// Forgets which verifications there were until then, and in which scopes. What limits sends and checks stays.
    pub fn forget(&mut self, until: Timestamp) {
        self.newest.retain(|newest| newest.id.created_at() > until);
        self.listed.retain(|id| id.created_at() > until);
        if self.listed.is_empty() {
            self.listed_until = Timestamp::default();
        }
        self.last_sent = self.last_sent.filter(|id| id.created_at() > until);
    }

    /// When nothing here matters any more.
    pub fn ends_at(&self, limits: &Limits) -> Timestamp {
        let failures = self.failures.last().map(|last| *last + limits.failure_window);
        let sends = self.next_send_at.max(self.last_send_at + limits.cool_down_reset);
        let newest = self.newest.iter().map(|newest| newest.expires_at + REMEMBERED);
        newest.chain(failures).chain([self.listed_until]).fold(sends, Timestamp::max) + Duration::from_secs(1)
    }

    /// Failures within the window. One in the future, after the clock was set back, counts too.
    fn recent(&self, limits: &Limits, now: Timestamp) -> &[Timestamp] {
        let first = self.failures.partition_point(|at| now.since(*at) >= limits.failure_window);
        &self.failures[first..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Partition;
    use crate::random::OsRandom;

    fn limits() -> Limits {
        Limits {
            cool_downs: [30, 60, 120].map(Duration::from_secs).to_vec(),
            cool_down_reset: Duration::from_secs(3600),
            failures: 3,
            failure_window: Duration::from_secs(600),
            max_sends: 5,
        }
    }

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis((10_000 + seconds) * 1000)
    }

    fn id() -> Id {
        Id::new(at(0), Partition::new(0), &OsRandom)
    }

    #[test]
    fn the_window_slides() {
        let (limits, mut state) = (limits(), RecipientState::default());
        for seconds in [0, 100, 200] {
            assert_eq!(state.locked_until(&limits, at(seconds)), None);
            state.add_failure(&limits, at(seconds));
        }
        assert_eq!(state.locked_until(&limits, at(200)), Some(at(600)));
        assert_eq!(state.locked_until(&limits, at(599)), Some(at(600)));
        assert_eq!((state.locked_until(&limits, at(600)), state.failures_left(&limits, at(600))), (None, 1));
        state.add_failure(&limits, at(600));
        assert_eq!(state.locked_until(&limits, at(600)), Some(at(700)));
        assert_eq!(state.failures_left(&limits, at(2000)), 3);
    }

    #[test]
    fn a_failure_that_was_none_is_taken_back_and_no_other() {
        let (limits, mut state) = (limits(), RecipientState::default());
        [0, 5, 5].into_iter().for_each(|seconds| state.add_failure(&limits, at(seconds)));
        state.remove_failure(at(5));
        assert_eq!((state.failures_left(&limits, at(5)), state.locked_until(&limits, at(5))), (1, None));
        state.remove_failure(at(4));
        assert_eq!(state.failures_left(&limits, at(5)), 1);
        state.add_failure(&limits, at(6));
        assert_eq!(state.locked_until(&limits, at(6)), Some(at(600)));
    }

    #[test]
    fn a_clock_set_back_opens_no_lock() {
        let (limits, mut state) = (limits(), RecipientState::default());
        (0..3).for_each(|_| state.add_failure(&limits, at(5000)));
        assert!(state.locked_until(&limits, at(0)).is_some());
    }

    #[test]
    fn waits_grow_and_start_anew_after_a_pause() {
        let (limits, mut state) = (limits(), RecipientState::default());
        let mut waits = Vec::new();
        let mut now = at(0);
        for pause in [30, 60, 120, 3599, 3600] {
            state.add_send(id(), &limits, now);
            waits.push(state.next_send_at().since(now).as_secs());
            assert!(state.cool_down(now).is_some());
            now = now + Duration::from_secs(pause);
        }
        state.add_send(id(), &limits, now);
        waits.push(state.next_send_at().since(now).as_secs());
        assert_eq!(waits, [30, 60, 120, 120, 120, 30]);
    }

    #[test]
    fn waits_are_lifted_until_the_row_has_ended() {
        let (limits, mut state) = (limits(), RecipientState::default());
        let mut lifted = Vec::new();
        for _ in 0..4 {
            state.add_send(id(), &limits, at(0));
            state.lift_cool_down(&limits);
            lifted.push(state.cool_down(at(0)).is_none());
        }
        assert_eq!(lifted, [true, true, false, false]);
    }

    #[test]
    fn a_verification_is_remembered_for_an_hour_after_its_end() {
        let (mut state, login, reset) = (RecipientState::default(), id(), id());
        state.set_newest("login", login, at(100), at(0));
        state.set_newest("reset", reset, at(5000), at(3699));
        assert_eq!(state.newest("login"), Some(login));
        state.set_newest("reset", reset, at(5000), at(3700));
        assert_eq!(state.newest("login"), None);
    }

    #[test]
    fn each_scope_has_its_own_newest_verification() {
        let (mut state, login, reset) = (RecipientState::default(), id(), id());
        state.set_newest("login", login, at(100), at(0));
        state.set_newest("reset", reset, at(200), at(0));
        assert_eq!((state.newest("login"), state.newest("reset"), state.newest("")), (Some(login), Some(reset), None));
        assert!(state.ends_at(&limits()) > at(200 + 3600));
    }
}
