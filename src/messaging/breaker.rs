//! Stops calling a vendor that fails, and finds out by a few probes when it is well again. Pure and takes `now`.
//!
//! ```text
//! CLOSED -> OPEN      when most of the last calls failed, or so many one after the other
//! OPEN -> HALF-OPEN   after a pause, with the first call that wants in
//! HALF-OPEN -> CLOSED when every probe went well
//! HALF-OPEN -> OPEN   when one failed, for a longer pause
//! ```
//!
//! It judges the vendor, not the message: a recipient that does not exist is a good answer. It does not know whose call it
//! was, nor how many may be under way at once.
//!
//! Calls that hand over no message are counted by the same rules, but apart: a vendor that answers questions and takes no
//! message is as broken as one that takes messages and answers no question, and neither hides the other. They are no
//! probes, for a vendor that is to be tried is tried with a message.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::messaging::recent::Recent;
use crate::vendor::{Failure, Rejection};

/// When it opens, and for how long. A number of 0 turns the rule off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerRules {
    /// Failures in a hundred of the calls that ended in the last 30 s that open it.
    pub share: u32,
    /// Calls that must have ended before a share says anything.
    pub samples: u32,
    /// Failures one after the other that open it.
    pub in_a_row: u32,
    /// How long it stays open. Doubles each time a probe fails, up to eight times this.
    pub pause: Duration,
    /// Calls let through after the pause, all of which must go well. At least 1.
    pub probes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BreakerState {
    Closed,
    HalfOpen,
    Open,
}

/// What a call says of its vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// It answers, but wants fewer calls, perhaps after a pause of its own choice.
    Throttled(Option<Duration>),
    Bad,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To hand over a message.
    Send,
    /// To ask about one, or to tell of it.
    Aside,
}

/// A call that was let through; to be handed back when it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    period: u64,
    purpose: Purpose,
}

/// Watches one vendor.
#[derive(Debug, Clone)]
pub struct Breaker {
    rules: BreakerRules,
    state: State,
    /// Changes with the state, so that what began in another one says nothing in this.
    period: u64,
    /// Pauses since it was last closed.
    pauses: u32,
}

#[derive(Debug, Clone)]
enum State {
    Closed { sends: Series, asides: Series },
    Open { since: Timestamp, until: Timestamp },
    HalfOpen { under_way: u32, good: u32 },
}

/// How the last calls of one purpose ended.
#[derive(Debug, Clone)]
struct Series {
    recent: Recent<Tally>,
    in_a_row: u32,
}

#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    calls: u32,
    failures: u32,
}

const SLICE: Duration = Duration::from_secs(5);
const SLICES: usize = 6;

/// As powers of two.
const MOST_DOUBLINGS: u32 = 3;
/// Longest pause that is taken from a vendor's own word.
const LONGEST_ASKED: Duration = Duration::from_secs(120);

// === impl BreakerRules ===

impl BreakerRules {
    pub const NEVER: Self = Self { share: 0, samples: 0, in_a_row: 0, pause: Duration::from_secs(1), probes: 1 };

    fn are_broken(&self, calls: u32, failures: u32, in_a_row: u32) -> bool {
        let by_share = self.share > 0
            && calls >= self.samples
            && u64::from(failures) * 100 >= u64::from(calls) * u64::from(self.share);
        by_share || (self.in_a_row > 0 && in_a_row >= self.in_a_row)
    }
}

impl Default for BreakerRules {
    fn default() -> Self {
        Self { share: 50, samples: 20, in_a_row: 10, pause: Duration::from_secs(10), probes: 3 }
    }
}

// === impl BreakerState ===

impl BreakerState {
    /// The name in metrics and pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

// === impl Verdict ===

impl Verdict {
    pub fn of<T>(outcome: &Result<T, Failure>) -> Self {
        match outcome {
            Ok(_) => Self::Good,
            Err(Failure::Rejected(Rejection::Unauthorized | Rejection::InsufficientCredit)) => Self::Bad,
            // It understood the message, and says what is wrong with it.
            Err(Failure::Rejected(
                Rejection::InvalidRecipient | Rejection::InvalidContent | Rejection::Blocked | Rejection::Occupied,
            )) => Self::Good,
            Err(Failure::Throttled { after }) => Self::Throttled(*after),
            Err(Failure::Unavailable | Failure::Unknown) => Self::Bad,
        }
    }
}

// === impl Breaker ===

impl Breaker {
    pub fn new(rules: BreakerRules) -> Self {
        Self { rules, state: State::closed(), period: 0, pauses: 0 }
    }

    /// As it shows to somebody who looks: open until a call was let through again.
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// When a call may begin: `now` or later. `None` when that depends on the end of another call.
    pub fn free_at(&self, purpose: Purpose, now: Timestamp) -> Option<Timestamp> {
        match (&self.state, purpose) {
            (State::Closed { .. }, _) => Some(now),
            (_, Purpose::Aside) => None,
            // Before its beginning only when the clock was set back.
            (State::Open { since, until }, _) => Some(if now < *since { now } else { (*until).max(now) }),
            (State::HalfOpen { under_way, good }, _) => (under_way + good < self.rules.probes).then_some(now),
        }
    }

    /// Lets a call through. To be asked for first by [`Breaker::free_at`].
    pub fn enter(&mut self, purpose: Purpose) -> Ticket {
        if let State::Open { .. } = self.state {
            self.move_to(State::HalfOpen { under_way: 0, good: 0 });
        }
        if let State::HalfOpen { under_way, .. } = &mut self.state {
            *under_way += 1;
        }
        Ticket { period: self.period, purpose }
    }

    /// Takes back leave for a call that was not made, or whose end says nothing.
    pub fn give_back(&mut self, ticket: Ticket) {
        if let State::HalfOpen { under_way, .. } = &mut self.state
            && ticket.period == self.period
        {
            *under_way = under_way.saturating_sub(1);
        }
    }

    /// Takes in how a call ended.
    pub fn leave(&mut self, ticket: Ticket, verdict: Verdict, now: Timestamp) {
        if ticket.period != self.period {
            return;
        }
        match &mut self.state {
            State::Closed { sends, asides } => {
                let series = if ticket.purpose == Purpose::Send { sends } else { asides };
                series.add(verdict, now);
                if verdict != Verdict::Good && series.is_broken(&self.rules, now) {
                    self.open(verdict, now);
                }
            }
            State::HalfOpen { under_way, good } => {
                *under_way = under_way.saturating_sub(1);
                *good += u32::from(verdict == Verdict::Good);
                let all_went_well = *good >= self.rules.probes;
                if verdict != Verdict::Good {
                    self.open(verdict, now);
                } else if all_went_well {
                    self.pauses = 0;
                    self.move_to(State::closed());
                }
            }
            State::Open { .. } => {}
        }
    }

    fn open(&mut self, verdict: Verdict, now: Timestamp) {
        let own = self.rules.pause.saturating_mul(1 << self.pauses.min(MOST_DOUBLINGS));
        let asked = match verdict {
            Verdict::Throttled(Some(after)) => after.min(LONGEST_ASKED),
            _ => Duration::ZERO,
        };
        self.pauses = self.pauses.saturating_add(1);
        self.move_to(State::Open { since: now, until: now + own.max(asked) });
    }

    fn move_to(&mut self, state: State) {
        self.period += 1;
        self.state = state;
    }
}

// === impl State ===

impl State {
    fn closed() -> Self {
        Self::Closed { sends: Series::new(), asides: Series::new() }
    }
}

// === impl Series ===

impl Series {
    fn new() -> Self {
        Self { recent: Recent::new(SLICE, SLICES), in_a_row: 0 }
    }

    fn add(&mut self, verdict: Verdict, now: Timestamp) {
        let tally = self.recent.now(now);
        tally.calls += 1;
        tally.failures += u32::from(verdict != Verdict::Good);
        self.in_a_row = match verdict {
            Verdict::Good => 0,
            Verdict::Throttled(_) => self.in_a_row,
            Verdict::Bad => self.in_a_row + 1,
        };
    }

    fn is_broken(&mut self, rules: &BreakerRules, now: Timestamp) -> bool {
        let sum = |sum: (u32, u32), tally: &Tally| (sum.0 + tally.calls, sum.1 + tally.failures);
        let (calls, failures) = self.recent.all(now).fold((0, 0), sum);
        rules.are_broken(calls, failures, self.in_a_row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendor::Accepted;

    const RULES: BreakerRules =
        BreakerRules { share: 50, samples: 10, in_a_row: 4, pause: Duration::from_secs(10), probes: 2 };
    const START: Timestamp = Timestamp::from_millis(1_000_000);
    const BAD: Verdict = Verdict::Bad;
    const GOOD: Verdict = Verdict::Good;
    const THROTTLED: Verdict = Verdict::Throttled(None);

    fn call(breaker: &mut Breaker, verdict: Verdict, now: Timestamp) {
        assert_eq!(breaker.free_at(Purpose::Send, now), Some(now));
        let ticket = breaker.enter(Purpose::Send);
        breaker.leave(ticket, verdict, now);
    }

    fn opened() -> Breaker {
        let mut breaker = Breaker::new(RULES);
        (0..4).for_each(|_| call(&mut breaker, BAD, START));
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker
    }

    fn after(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn what_is_wrong_with_a_message_is_no_fault_of_the_vendor() {
        let of = |failure| Verdict::of::<Accepted>(&Err(failure));
        for rejection in [Rejection::InvalidRecipient, Rejection::InvalidContent, Rejection::Blocked] {
            assert_eq!(of(Failure::Rejected(rejection)), GOOD);
        }
        for rejection in [Rejection::Unauthorized, Rejection::InsufficientCredit] {
            assert_eq!(of(Failure::Rejected(rejection)), BAD);
        }
        assert_eq!((of(Failure::Unavailable), of(Failure::Unknown)), (BAD, BAD));
        assert_eq!(of(Failure::Throttled { after: None }), THROTTLED);
        assert_eq!(Verdict::of(&Ok(Accepted::default())), GOOD);
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_not_before() {
        let mut breaker = Breaker::new(RULES);
        for verdict in [BAD, BAD, BAD, GOOD, BAD, BAD, THROTTLED, BAD] {
            call(&mut breaker, verdict, START);
            assert_eq!(breaker.state(), BreakerState::Closed);
        }
        call(&mut breaker, BAD, START);
        assert_eq!((breaker.state(), breaker.free_at(Purpose::Send, START)), (BreakerState::Open, Some(after(10))));
    }

    #[test]
    fn it_opens_at_its_share_of_enough_calls_of_the_last_half_minute() {
        let turns = |from: u64| [(GOOD, from), (BAD, from + 1)];
        let mut breaker = Breaker::new(RULES);
        for (verdict, second) in (0..4).flat_map(|_| turns(0)) {
            call(&mut breaker, verdict, after(second));
        }
        call(&mut breaker, GOOD, after(2));
        // The tenth call is enough.
        let mut late = breaker.clone();
        call(&mut breaker, BAD, after(2));
        assert_eq!(breaker.state(), BreakerState::Open);
        // But not when the others are long past.
        call(&mut late, BAD, after(60));
        assert_eq!(late.state(), BreakerState::Closed);
        // Throttled calls are failures here; it is right to come back no sooner than the vendor says.
        let mut breaker = Breaker::new(RULES);
        (0..9).for_each(|_| call(&mut breaker, THROTTLED, START));
        call(&mut breaker, Verdict::Throttled(Some(Duration::from_secs(25))), START);
        assert_eq!(breaker.free_at(Purpose::Send, START), Some(after(25)));
    }

    #[test]
    fn rules_that_are_off_never_open_it() {
        let mut breaker = Breaker::new(BreakerRules::NEVER);
        (0..1_000).for_each(|_| call(&mut breaker, BAD, START));
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_few_probes_decide() {
        let mut breaker = opened();
        assert_eq!(breaker.free_at(Purpose::Send, after(9)), Some(after(10)));
        let (one, two) = (breaker.enter(Purpose::Send), breaker.enter(Purpose::Send));
        assert_eq!((breaker.state(), breaker.free_at(Purpose::Send, after(10))), (BreakerState::HalfOpen, None));
        // One that was not made after all makes room for another.
        breaker.give_back(two);
        assert_eq!(breaker.free_at(Purpose::Send, after(10)), Some(after(10)));
        let three = breaker.enter(Purpose::Send);
        breaker.leave(one, GOOD, after(11));
        assert_eq!((breaker.state(), breaker.free_at(Purpose::Send, after(11))), (BreakerState::HalfOpen, None));
        breaker.leave(three, GOOD, after(11));
        assert_eq!(breaker.state(), BreakerState::Closed);
        // What was counted before is forgotten, and so is the length of the pause.
        (0..3).for_each(|_| call(&mut breaker, BAD, after(11)));
        assert_eq!(breaker.state(), BreakerState::Closed);
        call(&mut breaker, BAD, after(11));
        assert_eq!(breaker.free_at(Purpose::Send, after(11)), Some(after(21)));
    }

    #[test]
    fn a_probe_that_fails_doubles_the_pause_up_to_a_limit() {
        let (mut breaker, mut now) = (opened(), START);
        for pause in [10, 20, 40, 80, 80] {
            assert_eq!(breaker.free_at(Purpose::Send, now), Some(now + Duration::from_secs(pause)));
            now = now + Duration::from_secs(pause);
            call(&mut breaker, BAD, now);
        }
    }

    #[test]
    fn calls_of_an_earlier_time_say_nothing() {
        let mut breaker = Breaker::new(RULES);
        let tickets: Vec<_> = (0..12).map(|_| breaker.enter(Purpose::Send)).collect();
        tickets[..4].iter().for_each(|ticket| breaker.leave(*ticket, BAD, START));
        assert_eq!(breaker.state(), BreakerState::Open);
        breaker.leave(tickets[4], GOOD, START);
        assert_eq!(breaker.state(), BreakerState::Open);
        let probes = [breaker.enter(Purpose::Send), breaker.enter(Purpose::Send)];
        tickets[5..8].iter().for_each(|ticket| breaker.leave(*ticket, BAD, after(10)));
        assert_eq!((breaker.state(), breaker.free_at(Purpose::Send, after(10))), (BreakerState::HalfOpen, None));
        breaker.leave(probes[0], BAD, after(10));
        // The other probe, and one of the first calls.
        breaker.leave(probes[1], GOOD, after(10));
        breaker.leave(tickets[8], GOOD, after(10));
        assert_eq!((breaker.state(), breaker.free_at(Purpose::Send, after(10))), (BreakerState::Open, Some(after(30))));
    }

    #[test]
    fn questions_are_counted_apart_and_neither_they_nor_sends_hide_what_the_others_show() {
        let say = |breaker: &mut Breaker, purpose, verdict| {
            assert_eq!(breaker.free_at(purpose, START), Some(START));
            let ticket = breaker.enter(purpose);
            breaker.leave(ticket, verdict, START);
        };
        // Good answers of the one sort beside bad ones of the other: the fourth bad one in a row opens it.
        for (bad, good) in [(Purpose::Aside, Purpose::Send), (Purpose::Send, Purpose::Aside)] {
            let mut breaker = Breaker::new(RULES);
            for turn in 0..4 {
                assert_eq!(breaker.state(), BreakerState::Closed, "{bad:?} {turn}");
                (0..10).for_each(|_| say(&mut breaker, good, GOOD));
                say(&mut breaker, bad, BAD);
            }
            assert_eq!(breaker.state(), BreakerState::Open, "{bad:?}");
        }
        // A few bad answers among many good ones of their own sort open nothing.
        let mut breaker = Breaker::new(RULES);
        for _ in 0..20 {
            (0..3).for_each(|_| say(&mut breaker, Purpose::Aside, GOOD));
            say(&mut breaker, Purpose::Aside, BAD);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn what_is_not_called_is_not_asked_either_until_sends_have_shown_that_it_is_well() {
        let mut breaker = opened();
        assert_eq!(
            (breaker.free_at(Purpose::Aside, after(5)), breaker.free_at(Purpose::Aside, after(10))),
            (None, None)
        );
        call(&mut breaker, GOOD, after(10));
        assert_eq!((breaker.state(), breaker.free_at(Purpose::Aside, after(10))), (BreakerState::HalfOpen, None));
        call(&mut breaker, GOOD, after(10));
        assert_eq!(breaker.free_at(Purpose::Aside, after(10)), Some(after(10)));
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_it_open_for_nobody() {
        let breaker = opened();
        let before = Timestamp::from_millis(5);
        assert_eq!(breaker.free_at(Purpose::Send, before), Some(before));
    }
}
