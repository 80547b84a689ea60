//! What becomes of one event at one endpoint: when it is tried, and what came of that. Pure; time and chance are passed in.

use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::feed::entry::EventId;

/// How long to wait after each call that was not taken: the schedule that Standard Webhooks suggests, over three days.
pub const WAITS: [Duration; 9] = [
    Duration::from_secs(5),
    Duration::from_secs(5 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(5 * 3600),
    Duration::from_secs(10 * 3600),
    Duration::from_secs(14 * 3600),
    Duration::from_secs(20 * 3600),
    Duration::from_secs(24 * 3600),
];

/// Longest wait that an endpoint may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// Attempts that are remembered, the newest.
const MAX_ATTEMPTS: usize = 30;

/// An event at an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Delivery {
    #[n(0)]
    pub event: EventId,
    #[n(1)]
    pub state: State,
    /// Oldest first.
    #[n(2)]
    pub attempts: Vec<Attempt>,
    /// Attempts since it was last planned from the beginning.
    #[n(3)]
    tries: u8,
    /// When it is tried next; a mark stands in the store for it.
    #[n(4)]
    pub next_at: Option<Timestamp>,
    /// When it was last planned from the beginning.
    #[n(5)]
    pub planned_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum State {
    /// To be tried, or tried again.
    #[n(1)]
    Pending,
    /// The endpoint took it.
    #[n(2)]
    Delivered,
    /// Not taken, and tried no more.
    #[n(3)]
    Failed,
}

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Attempt {
    #[n(0)]
    pub at: Timestamp,
    /// Milliseconds.
    #[n(1)]
    pub took: u64,
    #[n(2)]
    pub result: Outcome,
}

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    /// With this HTTP status.
    #[n(1)]
    Answered(#[n(0)] u16),
    /// Not found, not reached, broken off, or too slow.
    #[n(2)]
    Unanswered,
    /// Not called: the URL leads to where nobody may send us.
    #[n(3)]
    Forbidden,
}

/// What a settled call means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    Taken,
    /// Tried again later.
    Later,
    /// That was the last of the schedule.
    GivenUp,
    /// The endpoint wants to hear no more at all.
    Gone,
}

// === impl Delivery ===

impl Delivery {
    /// To be tried at once.
    pub fn new(event: EventId, now: Timestamp) -> Self {
        Self { event, state: State::Pending, attempts: Vec::new(), tries: 0, next_at: Some(now), planned_at: now }
    }

    /// Tries it again from the beginning, whatever came of it.
    pub fn replay(&mut self, now: Timestamp) {
        self.state = State::Pending;
        self.tries = 0;
        self.next_at = Some(now);
        self.planned_at = now;
    }

    /// Takes in what came of a call that was due then. Where it was planned otherwise meanwhile, by a replay or another
    /// call, that stands. `pause`: how long the endpoint asks us to wait.
    pub fn settle(
        &mut self,
        due_at: Timestamp,
        attempt: Attempt,
        pause: Option<Duration>,
        chance: u32,
        now: Timestamp,
    ) -> Settled {
        if self.attempts.len() == MAX_ATTEMPTS {
            self.attempts.remove(0);
        }
        self.attempts.push(attempt);
        if self.next_at != Some(due_at) {
            return Settled::Later;
        }
        let wait = WAITS.get(usize::from(self.tries));
        self.tries = self.tries.saturating_add(1);
        match (attempt.result, wait) {
            (Outcome::Answered(200..=299), _) => self.end(State::Delivered, Settled::Taken),
            (Outcome::Answered(410), _) => self.end(State::Failed, Settled::Gone),
            (_, None) => self.end(State::Failed, Settled::GivenUp),
            (result, Some(wait)) => {
                let asked = matches!(result, Outcome::Answered(429 | 503)).then_some(pause).flatten();
                let asked = asked.unwrap_or_default().min(LONGEST_PAUSE);
                self.next_at = Some(now + jittered(*wait, chance).max(asked));
                Settled::Later
            }
        }
    }

    /// Ends it without a call, for there is nothing to tell any more. That says nothing of its endpoint.
    pub fn let_go(&mut self) -> Settled {
        match self.next_at {
            Some(_) => self.end(State::Failed, Settled::Later),
            None => Settled::Later,
        }
    }

    /// Tries it later, for there is no room to try it now.
    pub fn put_off(&mut self, until: Timestamp) -> Settled {
        self.next_at = self.next_at.map(|_| until);
        Settled::Later
    }

    fn end(&mut self, state: State, settled: Settled) -> Settled {
        self.state = state;
        self.next_at = None;
        settled
    }
}

/// Up to a tenth longer, so that what failed together does not come back together.
fn jittered(wait: Duration, chance: u32) -> Duration {
    wait + (wait / 10).mul_f64(f64::from(chance) / f64::from(u32::MAX))
}

// === impl Outcome ===

impl Outcome {
    /// For metrics: one of a few.
    pub fn class(self) -> &'static str {
        match self {
            Self::Answered(200..=299) => "taken",
            Self::Answered(410) => "gone",
            Self::Answered(429) => "throttled",
            Self::Answered(300..=399) => "redirected",
            Self::Answered(400..=499) => "refused",
            Self::Answered(_) => "failed",
            Self::Unanswered => "unanswered",
            Self::Forbidden => "forbidden",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{Id, Partition};
    use crate::random::OsRandom;

    const START: Timestamp = Timestamp::from_millis(1_000_000);

    fn delivery() -> Delivery {
        let record = Id::new(START, Partition::new(0), &OsRandom);
        Delivery::new(EventId { record, place: 0 }, START)
    }

    fn try_once(delivery: &mut Delivery, result: Outcome, pause: Option<u64>, chance: u32) -> Settled {
        let at = delivery.next_at.unwrap();
        delivery.settle(at, Attempt { at, took: 5, result }, pause.map(Duration::from_secs), chance, at)
    }

    #[test]
    fn the_schedule_is_the_suggested_one_with_up_to_a_tenth_more() {
        for (chance, most) in [(0, 10), (u32::MAX, 11)] {
            let mut delivery = delivery();
            let mut waits = Vec::new();
            for _ in 0..9 {
                let before = delivery.next_at.unwrap();
                assert_eq!(try_once(&mut delivery, Outcome::Unanswered, None, chance), Settled::Later);
                waits.push(delivery.next_at.unwrap().since(before));
            }
            assert_eq!(waits, WAITS.map(|wait| wait * most / 10));
            assert_eq!(try_once(&mut delivery, Outcome::Answered(500), None, chance), Settled::GivenUp);
            assert_eq!((delivery.state, delivery.next_at, delivery.attempts.len()), (State::Failed, None, 10));
            delivery.replay(START);
            assert_eq!(try_once(&mut delivery, Outcome::Answered(204), None, chance), Settled::Taken);
            assert_eq!((delivery.state, delivery.attempts.len()), (State::Delivered, 11));
        }
    }

    #[test]
    fn a_pause_that_is_asked_for_is_kept_within_reason() {
        for (status, asked, wait) in [(429, 60, 60), (503, 2, 5), (503, 10_000_000, 86_400), (500, 60, 5), (302, 60, 5)]
        {
            let mut delivery = delivery();
            assert_eq!(try_once(&mut delivery, Outcome::Answered(status), Some(asked), 0), Settled::Later);
            assert_eq!(delivery.next_at.unwrap().since(START).as_secs(), wait, "{status}");
        }
    }

    #[test]
    fn what_a_late_answer_says_changes_no_newer_plan() {
        let mut delivery = delivery();
        let late = |delivery: &mut Delivery, result| {
            let now = START + Duration::from_secs(9);
            delivery.settle(START, Attempt { at: START, took: 9_000, result }, None, 0, now)
        };
        let replayed_at = START + Duration::from_secs(3);
        delivery.replay(replayed_at);
        assert_eq!(late(&mut delivery, Outcome::Answered(200)), Settled::Later);
        assert_eq!((delivery.state, delivery.next_at), (State::Pending, Some(replayed_at)));
        assert_eq!(try_once(&mut delivery, Outcome::Answered(200), None, 0), Settled::Taken);
        late(&mut delivery, Outcome::Answered(500));
        delivery.put_off(START);
        delivery.let_go();
        assert_eq!((delivery.state, delivery.next_at, delivery.attempts.len()), (State::Delivered, None, 3));
    }

    #[test]
    fn gone_ends_it_at_once_and_attempts_are_bounded() {
        let mut delivery = delivery();
        assert_eq!(try_once(&mut delivery, Outcome::Answered(410), None, 0), Settled::Gone);
        for _ in 0..MAX_ATTEMPTS {
            delivery.replay(START);
            try_once(&mut delivery, Outcome::Forbidden, None, 0);
        }
        assert_eq!(delivery.attempts.len(), MAX_ATTEMPTS);
        assert_eq!(delivery.attempts[0].result, Outcome::Forbidden);
    }
}
