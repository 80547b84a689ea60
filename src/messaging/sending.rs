//! One text on its way to one recipient: the states of a send, as pure transitions.
//!
//! ```text
//! QUEUED -> SENDING(attempt, vendor) -> SENT | REJECTED | UNKNOWN -> DELIVERED | UNDELIVERED | EXPIRED
//!        -> CANCELED | EXPIRED
//! ```
//!
//! A message holds one send, a verification several; both move them only through the functions here, and commit before
//! they act. `due_at` names the moment at which somebody must look again, so a send is never forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::event::history::{EventKind, History};
use crate::messaging::backoff;
use crate::store::keys::{AttemptRef, RequestTag, SendRef};
use crate::telemetry::context::TraceContext;
use crate::vendor::{Accepted, Channel, Failure, FeedbackOutcome, Rejection};

/// A send and all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Sending {
    /// Its place among the sends of its record, from 0.
    #[n(0)]
    pub number: u8,
    #[n(1)]
    pub channel: Channel,
    #[n(2)]
    pub status: SendStatus,
    /// The vendor that has it, or had it last.
    #[n(3)]
    pub vendor: Option<String>,
    #[n(4)]
    pub vendor_reference: Option<String>,
    #[n(5)]
    pub reason: Option<SendReason>,
    /// How often a vendor was called.
    #[n(6)]
    pub attempts: u8,
    /// The vendor that gets the next attempt, once it is settled which.
    #[n(7)]
    pub next_vendor: Option<String>,
    /// Vendors that refused it for good, or cannot do what it wants.
    #[n(8)]
    pub refused_by: Vec<String>,
    /// How many attempts ended in doubt.
    #[n(9)]
    pub unknowns: u8,
    #[n(10)]
    pub created_at: Timestamp,
    #[n(11)]
    pub updated_at: Timestamp,
    /// No attempt begins at or after this.
    #[n(12)]
    pub expires_at: Timestamp,
    /// When to look again: the next attempt, the end of the attempt under way, or, of one that was sent, when to ask its
    /// vendor what became of it. A due mark stands in the store for it.
    #[n(13)]
    pub due_at: Option<Timestamp>,
    /// Whether sending twice does little harm, as with a code, so that doubt is answered by one more attempt.
    #[n(14)]
    pub repeatable: bool,
    /// Vendors that asked for a pause, and until when.
    #[n(15)]
    #[cbor(default)]
    pub paused: BTreeMap<String, Timestamp>,
    /// The request that it was made for, when that came with an idempotency key.
    #[n(16)]
    pub request: Option<RequestTag>,
    /// The attempt under whose reference its vendor knows it.
    #[n(17)]
    pub named_by: u8,
    /// Whether the next attempt repeats the last one: at the same vendor and under the same reference.
    #[n(18)]
    pub repeats: bool,
    /// The vendors of earlier attempts, by the attempts under whose references they know it.
    #[n(19)]
    #[cbor(default)]
    pub earlier: BTreeMap<u8, String>,
    /// How often its vendor was to be asked what became of it.
    #[n(20)]
    #[cbor(default)]
    pub asked: u8,
    /// What somebody says came of it who knows better than its vendor.
    #[n(21)]
    pub feedback: Option<FeedbackOutcome>,
    /// The codes that vendors made for it, or perhaps made; `None` where we make the code ourselves.
    #[n(22)]
    pub made: Option<Vec<MadeCode>>,
    /// The rule of the guard by which it only looks sent: nothing left.
    #[n(23)]
    pub withheld: Option<String>,
    /// The call that asked for it, so that what is done for it later belongs to the same trace.
    #[n(24)]
    pub trace: Option<TraceContext>,
}

/// A code that a vendor made, or perhaps made.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct MadeCode {
    #[n(0)]
    pub attempt: u8,
    #[n(1)]
    pub vendor: String,
    /// The vendor's name for it, where it gave one. Told to nobody.
    #[n(2)]
    pub reference: Option<String>,
    /// When the vendor was asked for it.
    #[n(3)]
    pub asked_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum SendStatus {
    #[n(1)]
    Queued,
    /// An attempt is under way, or was when the process died.
    #[n(2)]
    Sending,
    /// A vendor took it.
    #[n(3)]
    Sent,
    /// Surely not sent, and given up.
    #[n(4)]
    Rejected,
    /// Perhaps sent.
    #[n(5)]
    Unknown,
    #[n(6)]
    Delivered,
    #[n(7)]
    Undelivered,
    /// Its time was over before a vendor took it, or before doubt was resolved.
    #[n(8)]
    Expired,
    /// Given up before a vendor took it, for nobody waits for it any more.
    #[n(9)]
    Canceled,
}

/// Why a send stands as it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub enum SendReason {
    #[n(1)]
    Rejected(#[n(0)] Rejection),
    /// The vendor asked for fewer calls.
    #[n(2)]
    Throttled,
    /// The vendor could not be reached.
    #[n(3)]
    Unavailable,
    /// The vendor gave no clear answer, or we died while we waited for it.
    #[n(4)]
    NoClearAnswer,
    /// The vendor that the route names is not configured any more.
    #[n(5)]
    NoVendor,
}

/// What a transition asks of whoever called it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing changed; nothing to commit.
    Ignored,
    /// Commit, then call the vendor: this attempt is ours.
    Attempt(u8),
    /// Commit; somebody looks again at `due_at`.
    Later,
    /// Commit; nothing is left to do.
    Done,
}

/// How stubborn a send is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Persistence {
    /// Vendor calls at most, over all vendors.
    pub max_attempts: u8,
    /// Wait after the first round in which no vendor was reachable; doubles with each round, at most to 60 times this.
    pub backoff: Duration,
}

// === impl Sending ===

impl Sending {
    /// A send that wants its first attempt at once.
    pub fn new(number: u8, channel: Channel, now: Timestamp, expires_at: Timestamp, repeatable: bool) -> Self {
        Self {
            number,
            channel,
            status: SendStatus::Queued,
            vendor: None,
            vendor_reference: None,
            reason: None,
            attempts: 0,
            next_vendor: None,
            refused_by: Vec::new(),
            unknowns: 0,
            created_at: now,
            updated_at: now,
            expires_at,
            due_at: Some(now),
            repeatable,
            request: None,
            paused: BTreeMap::new(),
            named_by: 0,
            repeats: false,
            earlier: BTreeMap::new(),
            asked: 0,
            feedback: None,
            made: None,
            withheld: None,
            trace: None,
        }
    }

    /// The vendor that the next attempt goes to, given the route's vendors in order.
    pub fn next_vendor<'a>(&'a self, route: &'a [String]) -> Option<&'a str> {
        let planned = self.next_vendor.as_ref().filter(|vendor| route.contains(vendor));
        planned.or_else(|| self.after(None, route)).map(String::as_str)
    }

    /// The vendors that may get the next attempt, best first: the one that is planned and, for when that has no room,
    /// those that come later in the same round. Who was tried in this round is not among them, so a vendor without room
    /// does not use up the attempts at another that is down.
    pub fn candidates<'a>(&'a self, route: &'a [String], now: Timestamp) -> Vec<&'a str> {
        let Some(planned) = self.next_vendor(route) else { return Vec::new() };
        // The vendor that perhaps has it drops a second copy; another one would deliver it.
        if self.unknowns > 0 && !self.repeatable {
            return vec![planned];
        }
        let later = route.iter().skip_while(|vendor| *vendor != planned).skip(1);
        let takes = |vendor: &&String| {
            !self.refused_by.contains(vendor) && self.paused.get(*vendor).is_none_or(|until| *until <= now)
        };
        std::iter::once(planned).chain(later.filter(takes).map(String::as_str)).collect()
    }

    /// The reference of the attempt under way, for its vendor.
    pub fn reference(&self, send: &SendRef) -> AttemptRef {
        AttemptRef { send: *send, attempt: self.named_by }
    }

    /// Begins an attempt with `vendor`, whose outcome is awaited for `lease`. To be called on queued sends.
    pub fn begin(&mut self, vendor: &str, now: Timestamp, lease: Duration, history: &mut History) -> Step {
        if self.status != SendStatus::Queued {
            return Step::Ignored;
        }
        if now >= self.expires_at {
            return self.expire(now, history);
        }
        self.attempts = self.attempts.saturating_add(1);
        if !self.repeats || self.vendor.as_deref() != Some(vendor) {
            self.earlier.extend(self.vendor.take().map(|earlier| (self.named_by, earlier)));
            self.named_by = self.attempts;
        }
        self.repeats = false;
        self.vendor = Some(vendor.to_owned());
        self.next_vendor = None;
        self.vendor_reference = None;
        self.reason = None;
        self.set(SendStatus::Sending, now, Some(now + lease));
        history.add(now, EventKind::Attempted(self.number, self.attempts));
        Step::Attempt(self.attempts)
    }

    /// Answers a due mark for everything but a queued send that has time left, which wants [`Sending::begin`].
    pub fn wake(&mut self, route: &[String], rules: Persistence, now: Timestamp, history: &mut History) -> Step {
        if self.due_at.is_none_or(|due| now < due) {
            return Step::Ignored;
        }
        match self.status {
            SendStatus::Queued | SendStatus::Unknown if now >= self.expires_at => self.expire(now, history),
            SendStatus::Queued if self.next_vendor(route).is_none() => self.reject(SendReason::NoVendor, now, history),
            // Whoever made the attempt is gone, and with it the outcome.
            SendStatus::Sending => {
                self.settle(self.attempts, &Err(Failure::Unknown), route, rules, false, now, history)
            }
            _ => Step::Ignored,
        }
    }

    /// Takes in the outcome of an attempt. `idempotent`: the vendor would drop a second copy by itself.
    #[expect(clippy::too_many_arguments, reason = "a transition takes all it depends on")]
    pub fn settle(
        &mut self,
        attempt: u8,
        outcome: &Result<Accepted, Failure>,
        route: &[String],
        rules: Persistence,
        idempotent: bool,
        now: Timestamp,
        history: &mut History,
    ) -> Step {
        let learned = self.note_code(attempt, outcome);
        if self.attempts != attempt || self.status != SendStatus::Sending {
            let step = self.settle_late(attempt, outcome, now, history);
            return if learned && step == Step::Ignored { Step::Done } else { step };
        }
        match outcome {
            Ok(accepted) => {
                self.vendor_reference = accepted.vendor_reference.clone().filter(|_| !self.is_of_vendors_code());
                self.reason = None;
                self.set(SendStatus::Sent, now, None);
                history.add(now, EventKind::Sent(self.number));
                accepted.receipt.map_or(Step::Done, |status| self.report(status, true, now, history))
            }
            Err(Failure::Rejected(rejection)) => self.refused(*rejection, route, rules, now, history),
            Err(Failure::Throttled { after }) => {
                self.reason = Some(SendReason::Throttled);
                let pause = after.and_then(|after| Some((self.vendor.clone()?, now + after)));
                self.paused.extend(pause);
                self.elsewhere(route, rules, now, history)
            }
            Err(Failure::Unavailable) => {
                self.reason = Some(SendReason::Unavailable);
                self.elsewhere(route, rules, now, history)
            }
            Err(Failure::Unknown) => self.doubt(route, rules, idempotent, now, history),
        }
    }

    /// Puts off the next attempt, for the vendor has no room for it now.
    pub fn put_off(&mut self, until: Timestamp) -> Step {
        if self.status != SendStatus::Queued {
            return Step::Ignored;
        }
        self.due_at = Some(until.min(self.expires_at));
        Step::Later
    }

    /// Gives up an attempt that has not begun, because nobody waits for it any more. What is under way goes on.
    pub fn abandon(&mut self, now: Timestamp, history: &mut History) -> Step {
        if self.status != SendStatus::Queued {
            return Step::Ignored;
        }
        self.set(SendStatus::Canceled, now, None);
        history.add(now, EventKind::SendCanceled(self.number));
        Step::Done
    }

    /// Gives up an attempt that has not begun, because another send takes its place. Of one whose attempt before ended in
    /// doubt, the doubt stays: the text may be in the person's hand.
    pub fn withdraw(&mut self, now: Timestamp, history: &mut History) -> Step {
        let in_doubt = self.status == SendStatus::Queued && self.unknowns > 0;
        if in_doubt { self.stay_in_doubt(now, history) } else { self.abandon(now, history) }
    }

    pub fn is_for(&self, request: RequestTag) -> bool {
        self.request == Some(request)
    }

    fn refused(
        &mut self,
        rejection: Rejection,
        route: &[String],
        rules: Persistence,
        now: Timestamp,
        history: &mut History,
    ) -> Step {
        let reason = SendReason::Rejected(rejection);
        // What is wrong with the recipient is wrong at every vendor; what is wrong with our account is not.
        if matches!(rejection, Rejection::InvalidRecipient | Rejection::Blocked) {
            return self.reject(reason, now, history);
        }
        self.reason = Some(reason);
        self.refused_by.extend(self.vendor.clone());
        self.elsewhere(route, rules, now, history)
    }

    /// Plans another attempt after one that surely sent nothing: at once with the next vendor of the route, or after a
    /// wait when the round is over; in no case before the end of a pause that the vendor asked for.
    fn elsewhere(&mut self, route: &[String], rules: Persistence, now: Timestamp, history: &mut History) -> Step {
        let reason = self.reason.unwrap_or(SendReason::Unavailable);
        let place = |vendor: &Option<String>| route.iter().position(|other| Some(other) == vendor.as_ref());
        // Where an earlier attempt ended in doubt, only the vendor that drops copies may get it again.
        self.repeats = self.unknowns > 0 && !self.repeatable;
        let next = match &self.vendor {
            Some(vendor) if self.repeats => Some(vendor.clone()).filter(|vendor| !self.refused_by.contains(vendor)),
            _ => self.after(self.vendor.as_deref(), route).cloned(),
        };
        let next = next.filter(|_| self.attempts < rules.max_attempts);
        let Some(vendor) = &next else { return self.reject(reason, now, history) };
        let wait = if place(&next) > place(&self.vendor) {
            Duration::ZERO
        } else {
            backoff::wait(rules.backoff, self.attempts, route.len())
        };
        let due_at = self.paused.get(vendor).copied().unwrap_or_default().max(now + wait);
        self.next_vendor = next;
        // Later than its end nothing is tried, and somebody must write that down in time.
        self.set(SendStatus::Queued, now, Some(due_at.min(self.expires_at)));
        Step::Later
    }

    /// Decides after an attempt that perhaps sent something.
    fn doubt(
        &mut self,
        route: &[String],
        rules: Persistence,
        idempotent: bool,
        now: Timestamp,
        history: &mut History,
    ) -> Step {
        self.unknowns = self.unknowns.saturating_add(1);
        let again = self.attempts < rules.max_attempts && now < self.expires_at;
        let next = if !again {
            None
        } else if self.repeatable && self.unknowns == 1 {
            self.after(self.vendor.as_deref(), route).cloned()
        } else if idempotent {
            self.vendor.clone()
        } else {
            None
        };
        if next.is_some() {
            self.repeats = idempotent && next == self.vendor;
            self.next_vendor = next;
            self.set(SendStatus::Queued, now, Some(now));
            return Step::Later;
        }
        self.stay_in_doubt(now, history)
    }

    /// A receipt may still come; without one, doubt ends with the send's time.
    fn stay_in_doubt(&mut self, now: Timestamp, history: &mut History) -> Step {
        self.reason = Some(SendReason::NoClearAnswer);
        self.set(SendStatus::Unknown, now, Some(self.expires_at));
        history.add(now, EventKind::Unknown(self.number));
        Step::Later
    }

    /// Takes in an answer that comes after a receipt, a lost lease or the next attempt. It may still tell of delivery,
    /// and name the vendor's reference.
    fn settle_late(
        &mut self,
        attempt: u8,
        outcome: &Result<Accepted, Failure>,
        now: Timestamp,
        history: &mut History,
    ) -> Step {
        let Ok(accepted) = outcome else { return Step::Ignored };
        let is_last = attempt == self.attempts;
        let step = accepted.receipt.map_or(Step::Ignored, |status| self.report(status, is_last, now, history));
        let is_named = self.vendor_reference.is_some() || self.is_of_vendors_code();
        let wants_reference = is_last && !is_named && self.status != SendStatus::Queued;
        if !wants_reference || accepted.vendor_reference.is_none() {
            return step;
        }
        self.vendor_reference.clone_from(&accepted.vendor_reference);
        self.updated_at = now;
        Step::Done
    }

    /// Gives up. Only what no attempt can have sent is rejected: an earlier one that ended in doubt may have put the
    /// text into the person's hand, and a code that arrives must still be good.
    fn reject(&mut self, reason: SendReason, now: Timestamp, history: &mut History) -> Step {
        if self.unknowns > 0 {
            return self.stay_in_doubt(now, history);
        }
        self.reason = Some(reason);
        self.set(SendStatus::Rejected, now, None);
        history.add(now, EventKind::Rejected(self.number));
        Step::Done
    }

    fn expire(&mut self, now: Timestamp, history: &mut History) -> Step {
        self.set(SendStatus::Expired, now, None);
        history.add(now, EventKind::SendExpired(self.number));
        Step::Done
    }

    pub(crate) fn set(&mut self, status: SendStatus, now: Timestamp, due_at: Option<Timestamp>) {
        self.status = status;
        self.updated_at = now;
        self.due_at = due_at;
    }

    /// The vendor after `vendor` in the route, around its end, passing over those that refused; the first when `None`.
    fn after<'a>(&self, vendor: Option<&str>, route: &'a [String]) -> Option<&'a String> {
        let start = vendor.and_then(|vendor| route.iter().position(|other| other == vendor)).map_or(0, |i| i + 1);
        route.iter().cycle().skip(start).take(route.len()).find(|candidate| !self.refused_by.contains(candidate))
    }
}

// === impl SendStatus ===

impl SendStatus {
    /// Whether nothing can change it any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Rejected | Self::Delivered | Self::Undelivered | Self::Expired | Self::Canceled)
    }

    /// Whether it says what came of the send so far: a vendor has it, perhaps has it, or will not get it.
    pub fn is_outcome(self) -> bool {
        !matches!(self, Self::Queued | Self::Sending)
    }
}

// === impl SendReason ===

impl SendReason {
    /// The name on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected(rejection) => rejection.as_str(),
            Self::Throttled => "VENDOR_THROTTLED",
            Self::Unavailable => "VENDOR_UNAVAILABLE",
            Self::NoClearAnswer => "VENDOR_NO_CLEAR_ANSWER",
            Self::NoVendor => "NO_VENDOR",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vendor::{Receipt, ReceiptStatus};

    const LEASE: Duration = Duration::from_secs(15);
    const RULES: Persistence = Persistence { max_attempts: 20, backoff: Duration::from_secs(2) };

    /// A send on a route, with the time that has passed.
    struct Case {
        sending: Sending,
        route: Vec<String>,
        now: Timestamp,
        history: History,
    }

    impl Case {
        fn new(repeatable: bool, route: &[&str]) -> Self {
            let now = Timestamp::from_millis(1_000_000);
            let sending = Sending::new(0, Channel::Sms, now, now + Duration::from_secs(3600), repeatable);
            let route = route.iter().map(ToString::to_string).collect();
            Self { sending, route, now, history: History::default() }
        }

        /// Begins the next attempt when it is due, and returns its vendor.
        fn begin(&mut self) -> String {
            self.now = self.now.max(self.sending.due_at.unwrap());
            let vendor = self.sending.next_vendor(&self.route).unwrap().to_owned();
            let step = self.sending.begin(&vendor, self.now, LEASE, &mut self.history);
            assert_eq!(step, Step::Attempt(self.sending.attempts));
            vendor
        }

        fn settle(&mut self, outcome: Result<Accepted, Failure>, idempotent: bool) -> Step {
            let Self { sending, route, now, history } = self;
            sending.settle(sending.attempts, &outcome, route, RULES, idempotent, *now, history)
        }

        /// Begins an attempt and lets it fail.
        fn fail(&mut self, failure: Failure) -> String {
            let vendor = self.begin();
            self.settle(Err(failure), false);
            vendor
        }

        fn wake(&mut self) -> Step {
            self.sending.wake(&self.route, RULES, self.now, &mut self.history)
        }

        fn receipt(&mut self, attempt: u8, vendor: &str, status: ReceiptStatus) -> Step {
            let receipt = Receipt { vendor: vendor.to_owned(), reference: "ours".into(), status, at: self.now };
            self.sending.receipt(attempt, &receipt, self.now, &mut self.history)
        }
    }

    fn accepted(reference: &str) -> Result<Accepted, Failure> {
        Ok(Accepted { vendor_reference: Some(reference.to_owned()), receipt: None })
    }

    #[test]
    fn a_vendor_that_refuses_our_account_is_passed_over_from_then_on() {
        let mut case = Case::new(false, &["a", "b", "c"]);
        assert_eq!(case.fail(Failure::Rejected(Rejection::InsufficientCredit)), "a");
        assert_eq!(case.fail(Failure::Unavailable), "b");
        assert_eq!(case.fail(Failure::Rejected(Rejection::Unauthorized)), "c");
        assert_eq!(case.fail(Failure::Unavailable), "b");
        assert_eq!(case.fail(Failure::Rejected(Rejection::InvalidContent)), "b");
        assert_eq!(case.sending.status, SendStatus::Rejected);
        assert_eq!(case.sending.reason, Some(SendReason::Rejected(Rejection::InvalidContent)));
        assert!(case.sending.failed());
    }

    #[test]
    fn a_blocked_recipient_is_tried_nowhere_else() {
        let mut case = Case::new(true, &["a", "b"]);
        case.fail(Failure::Rejected(Rejection::Blocked));
        assert_eq!((case.sending.status, case.sending.attempts), (SendStatus::Rejected, 1));
    }

    #[test]
    fn doubt_at_a_vendor_that_drops_copies_is_answered_there() {
        let mut case = Case::new(false, &["a", "b"]);
        for _ in 0..3 {
            assert_eq!(case.begin(), "a");
            assert_eq!(case.settle(Err(Failure::Unknown), true), Step::Later);
        }
        case.begin();
        case.settle(accepted("theirs"), true);
        assert_eq!((case.sending.status, case.sending.reason), (SendStatus::Sent, None));
    }

    #[test]
    fn waits_between_rounds_double_up_to_two_minutes_and_end_with_the_send() {
        let mut case = Case::new(false, &["a", "b"]);
        let mut waits = Vec::new();
        for _ in 0..10 {
            assert_eq!(case.fail(Failure::Unavailable), "a");
            assert_eq!(case.sending.due_at, Some(case.now));
            assert_eq!(case.fail(Failure::Unavailable), "b");
            waits.extend(case.sending.due_at.map(|due| due.since(case.now).as_secs()));
        }
        // The twentieth attempt was the last.
        assert_eq!(waits, [2, 4, 8, 16, 32, 64, 120, 120, 120]);
        assert_eq!(case.sending.status, SendStatus::Rejected);

        let mut case = Case::new(false, &["a"]);
        case.now = Timestamp::from_millis(case.sending.expires_at.as_millis() - 1);
        case.fail(Failure::Unavailable);
        assert_eq!(case.sending.due_at, Some(case.sending.expires_at));
        case.sending.put_off(case.now + Duration::from_secs(60));
        assert_eq!(case.sending.due_at, Some(case.sending.expires_at));
    }

    #[test]
    fn a_pause_ends_and_holds_for_the_vendor_that_asked_for_it_only() {
        let mut case = Case::new(false, &["a", "b"]);
        case.fail(Failure::Throttled { after: Some(Duration::from_secs(30)) });
        case.fail(Failure::Rejected(Rejection::Unauthorized));
        assert_eq!(case.sending.due_at, Some(case.now + Duration::from_secs(30)));
        assert_eq!(case.fail(Failure::Unavailable), "a");
        // The pause is over, so only the wait of the second round is left.
        assert_eq!(case.sending.due_at, Some(case.now + Duration::from_secs(4)));
    }

    #[test]
    fn the_outcome_of_an_attempt_that_is_over_moves_nothing() {
        let mut case = Case::new(true, &["a", "b"]);
        case.begin();
        case.now = case.now + LEASE;
        assert_eq!(case.wake(), Step::Later);
        assert_eq!(case.begin(), "b");
        let (sending, route) = (case.sending.clone(), case.route.clone());
        let late = accepted("late");
        assert_eq!(case.sending.settle(1, &late, &route, RULES, false, case.now, &mut case.history), Step::Ignored);
        assert_eq!(case.sending, sending);
    }

    #[test]
    fn an_answer_after_its_receipt_only_names_the_reference() {
        let mut case = Case::new(false, &["a"]);
        case.begin();
        assert_eq!(case.receipt(1, "a", ReceiptStatus::Delivered), Step::Done);
        assert_eq!(case.settle(Err(Failure::Unavailable), false), Step::Ignored);
        assert_eq!(case.settle(accepted("theirs"), false), Step::Done);
        assert_eq!(case.settle(accepted("another"), false), Step::Ignored);
        assert_eq!(case.sending.status, SendStatus::Delivered);
        assert_eq!(case.sending.vendor_reference.as_deref(), Some("theirs"));
    }

    #[test]
    fn good_news_of_an_earlier_attempt_counts_and_bad_news_does_not() {
        // The second attempt goes to another vendor, or to the same one again.
        for (route, second) in [(&["a", "b"][..], "b"), (&["a"], "a")] {
            let mut case = Case::new(true, route);
            assert_eq!(case.receipt(0, "a", ReceiptStatus::Delivered), Step::Ignored);
            assert_eq!(case.receipt(1, "a", ReceiptStatus::Delivered), Step::Ignored);
            case.fail(Failure::Unknown);
            assert_eq!(case.receipt(1, "a", ReceiptStatus::Undelivered), Step::Ignored);
            let mut queued = case.sending.clone();
            assert_eq!(case.begin(), second);
            assert_eq!(case.receipt(1, "a", ReceiptStatus::Undelivered), Step::Ignored);
            assert_eq!(case.receipt(1, "a", ReceiptStatus::Expired), Step::Ignored);
            assert_eq!(case.receipt(3, second, ReceiptStatus::Delivered), Step::Ignored);
            let mut under_way = case.sending.clone();
            assert_eq!(case.receipt(1, "a", ReceiptStatus::Delivered), Step::Done);
            // So it does before the second copy has left.
            std::mem::swap(&mut case.sending, &mut queued);
            assert_eq!(case.receipt(1, "a", ReceiptStatus::Delivered), Step::Done);
            assert_eq!((case.sending.status, case.sending.due_at), (SendStatus::Delivered, None));
            // And bad news of the last one counts.
            std::mem::swap(&mut case.sending, &mut under_way);
            assert_eq!(case.receipt(2, second, ReceiptStatus::Undelivered), Step::Done);
            assert_eq!(case.sending.status, SendStatus::Undelivered);
        }
    }

    #[test]
    fn a_vendor_speaks_only_of_the_attempts_that_it_was_given() {
        let mut case = Case::new(true, &["a", "b", "c"]);
        assert_eq!(case.fail(Failure::Unknown), "a");
        assert_eq!(case.fail(Failure::Unavailable), "b");
        assert_eq!(case.begin(), "c");
        for (attempt, vendor) in [(1, "b"), (1, "c"), (2, "a"), (2, "c"), (3, "a"), (3, "b"), (4, "c"), (0, "c")] {
            let before = case.sending.clone();
            assert_eq!(case.receipt(attempt, vendor, ReceiptStatus::Delivered), Step::Ignored, "{attempt} {vendor}");
            assert_eq!(case.sending, before);
        }
        for (attempt, vendor) in [(1, "a"), (2, "b"), (3, "c")] {
            let before = case.sending.clone();
            assert_eq!(case.receipt(attempt, vendor, ReceiptStatus::Delivered), Step::Done, "{attempt} {vendor}");
            case.sending = before;
        }
    }

    #[test]
    fn a_vendor_is_asked_less_and_less_often_and_not_for_ever() {
        let mut case = Case::new(false, &["a"]);
        assert_eq!((case.sending.ask_later(case.now), case.sending.asked), (Step::Done, 0));
        case.begin();
        case.settle(accepted("theirs"), false);
        let mut waits = Vec::new();
        while case.sending.ask_later(case.now) == Step::Later {
            let due_at = case.sending.due_at.unwrap();
            waits.push(due_at.since(case.now).as_secs());
            case.now = due_at;
            assert_eq!(case.wake(), Step::Ignored);
        }
        // The send is good for an hour.
        assert_eq!(waits, [10, 30, 120, 600, 3600, 3600, 3600, 3600, 3600, 3600]);
        assert_eq!((case.sending.status, case.sending.due_at), (SendStatus::Sent, None));
    }

    #[test]
    fn an_answer_that_tells_of_delivery_is_outcome_and_receipt_in_one() {
        let delivered = |status| Ok(Accepted { vendor_reference: Some("theirs".to_owned()), receipt: Some(status) });
        for (receipt, status) in [
            (ReceiptStatus::Delivered, SendStatus::Delivered),
            (ReceiptStatus::Undelivered, SendStatus::Undelivered),
            (ReceiptStatus::Expired, SendStatus::Expired),
        ] {
            let mut case = Case::new(false, &["a"]);
            case.begin();
            assert_eq!(case.settle(delivered(receipt), false), Step::Done);
            assert_eq!((case.sending.status, case.sending.due_at), (status, None));
            let kinds: Vec<_> = case.history.events().iter().map(|event| event.kind).collect();
            assert_eq!((kinds.len(), kinds[1]), (3, EventKind::Sent(0)));
        }
        // Late, when another attempt is under way, only the good news counts.
        let mut case = Case::new(true, &["a", "b"]);
        case.begin();
        case.now = case.now + LEASE;
        case.wake();
        case.begin();
        let late = |case: &mut Case, status| {
            let (route, now) = (case.route.clone(), case.now);
            case.sending.settle(1, &delivered(status), &route, RULES, false, now, &mut case.history)
        };
        assert_eq!(late(&mut case, ReceiptStatus::Undelivered), Step::Ignored);
        assert_eq!(late(&mut case, ReceiptStatus::Delivered), Step::Done);
        assert_eq!((case.sending.status, case.sending.vendor_reference.clone()), (SendStatus::Delivered, None));
    }

    #[test]
    fn a_repeated_attempt_keeps_its_reference_and_its_vendor() {
        let mut case = Case::new(false, &["a", "b"]);
        case.fail(Failure::Unavailable);
        assert_eq!(case.begin(), "b");
        assert_eq!(case.settle(Err(Failure::Unknown), true), Step::Later);
        for failure in [Failure::Unavailable, Failure::Unknown, Failure::Throttled { after: None }] {
            assert_eq!(case.sending.candidates(&case.route, case.now), ["b"]);
            assert_eq!((case.begin(), case.sending.named_by), ("b".to_owned(), 2));
            case.settle(Err(failure), true);
        }
        // To the vendor all of these are the second attempt, and so are they in its receipts.
        case.begin();
        assert_eq!(case.receipt(5, "b", ReceiptStatus::Undelivered), Step::Ignored);
        assert_eq!(case.receipt(2, "b", ReceiptStatus::Undelivered), Step::Done);

        let mut case = Case::new(false, &["a", "b"]);
        case.begin();
        case.settle(Err(Failure::Unknown), true);
        case.begin();
        case.settle(Err(Failure::Rejected(Rejection::Unauthorized)), true);
        assert_eq!(case.sending.status, SendStatus::Unknown);
    }

    #[test]
    fn a_send_without_room_may_go_to_the_rest_of_its_round() {
        let mut case = Case::new(true, &["a", "b", "c", "d"]);
        assert_eq!(case.sending.candidates(&case.route, case.now), ["a", "b", "c", "d"]);
        case.fail(Failure::Throttled { after: Some(Duration::from_secs(30)) });
        assert_eq!(case.sending.candidates(&case.route, case.now), ["b", "c", "d"]);
        case.fail(Failure::Rejected(Rejection::InsufficientCredit));
        // The one in the middle was passed over.
        case.sending.begin("d", case.now, LEASE, &mut case.history);
        assert_eq!(case.sending.named_by, 3);
        case.settle(Err(Failure::Unavailable), false);
        assert_eq!(case.sending.candidates(&case.route, case.now), ["a", "c", "d"]);
        case.sending.paused.insert("c".to_owned(), case.now + Duration::from_millis(1));
        assert_eq!(case.sending.candidates(&case.route, case.now), ["a", "d"]);
        case.route.clear();
        assert_eq!(case.sending.candidates(&case.route, case.now), [""; 0]);
    }

    #[test]
    fn vendors_that_are_configured_no_more_are_not_waited_for() {
        let mut case = Case::new(true, &["a", "b"]);
        case.fail(Failure::Unavailable);
        assert_eq!(case.sending.next_vendor(&case.route), Some("b"));
        case.route = vec!["c".to_owned()];
        assert_eq!(case.sending.next_vendor(&case.route), Some("c"));
        case.route.clear();
        assert_eq!(case.wake(), Step::Done);
        assert_eq!((case.sending.status, case.sending.reason), (SendStatus::Rejected, Some(SendReason::NoVendor)));

        let mut case = Case::new(true, &["a"]);
        case.fail(Failure::Unknown);
        case.route.clear();
        assert_eq!(case.wake(), Step::Later);
        assert_eq!((case.sending.status, case.sending.reason), (SendStatus::Unknown, Some(SendReason::NoClearAnswer)));
        assert_eq!(case.sending.due_at, Some(case.sending.expires_at));
    }

    #[test]
    fn nothing_happens_before_it_is_due_or_out_of_turn() {
        let mut case = Case::new(false, &["a"]);
        case.begin();
        let sending = case.sending.clone();
        case.now = Timestamp::from_millis((case.now + LEASE).as_millis() - 1);
        assert_eq!(case.wake(), Step::Ignored);
        assert_eq!(case.sending.begin("a", case.now, LEASE, &mut case.history), Step::Ignored);
        assert_eq!(case.sending.put_off(case.now), Step::Ignored);
        assert_eq!(case.sending.abandon(case.now, &mut case.history), Step::Ignored);
        assert_eq!(case.sending, sending);
    }

    #[test]
    fn an_attempt_at_the_end_is_not_begun() {
        let mut case = Case::new(false, &["a"]);
        case.now = case.sending.expires_at;
        assert_eq!(case.sending.begin("a", case.now, LEASE, &mut case.history), Step::Done);
        assert_eq!((case.sending.status, case.sending.attempts), (SendStatus::Expired, 0));
    }
}
