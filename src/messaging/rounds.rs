//! Which time around its route a send is, and when it gives up the rest of a round for the next. Pure.
//!
//! A round is one way through the vendors of a route. Within it a send waits for vendors that have no room; for vendors
//! that are down, of which nobody knows when they come back, it does not wait when it could begin the next round instead.

use crate::clock::Timestamp;
use crate::messaging::backoff;
use crate::messaging::budget::Try;
use crate::messaging::sending::{Persistence, SendStatus, Sending, Step};

/// Whether the next attempt is at a vendor that had the send before. Counts as such a vendor's, too, one that was passed
/// over in an earlier round.
pub fn next_try(sending: &Sending, route: &[String]) -> Try {
    let place = |vendor: Option<&str>| route.iter().position(|other| Some(other.as_str()) == vendor);
    let last = sending.vendor.as_deref();
    let again = usize::from(sending.attempts) >= route.len() || place(sending.next_vendor(route)) <= place(last);
    if sending.attempts > 0 && again { Try::Again } else { Try::First }
}

/// The vendor with which the next round begins, when this one has begun and somebody else than its rest is left.
pub fn next_round<'a>(sending: &Sending, route: &'a [String]) -> Option<&'a str> {
    // Where a second copy would do harm, only one vendor may get it.
    if sending.unknowns > 0 && !sending.repeatable {
        return None;
    }
    let planned = sending.next_vendor(route)?;
    let before = route.iter().take_while(|vendor| *vendor != planned);
    before.map(String::as_str).find(|vendor| !sending.refused_by.iter().any(|refused| refused == vendor))
}

/// Gives up the rest of this round, for all of its vendors are down. Waits as after a round in which all failed.
pub fn pass_over(sending: &mut Sending, route: &[String], rules: Persistence, now: Timestamp) -> Step {
    let next = next_round(sending, route).map(str::to_owned);
    let Some(vendor) = next.filter(|_| sending.status == SendStatus::Queued) else { return Step::Ignored };
    let pause = sending.paused.get(&vendor).copied().unwrap_or_default();
    let due_at = pause.max(now + backoff::wait(rules.backoff, sending.attempts, route.len()));
    sending.next_vendor = Some(vendor);
    sending.put_off(due_at)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::event::history::History;
    use crate::vendor::{Channel, Failure, Rejection};

    const RULES: Persistence = Persistence { max_attempts: 20, backoff: Duration::from_secs(2) };
    const START: Timestamp = Timestamp::from_millis(1_000_000);

    fn route() -> Vec<String> {
        ["a", "b", "c"].map(str::to_owned).to_vec()
    }

    fn fail(sending: &mut Sending, vendor: &str, failure: Failure) {
        let history = &mut History::default();
        sending.begin(vendor, START, Duration::from_secs(15), history);
        sending.settle(sending.attempts, &Err(failure), &route(), RULES, false, START, history);
    }

    fn a_sending(repeatable: bool) -> Sending {
        Sending::new(0, Channel::Sms, START, START + Duration::from_secs(3600), repeatable)
    }

    #[test]
    fn what_fails_over_is_a_first_try_and_what_comes_back_is_not() {
        let (route, mut sending) = (route(), a_sending(false));
        for vendor in ["a", "b", "c"] {
            assert_eq!(next_try(&sending, &route), Try::First);
            fail(&mut sending, vendor, Failure::Unavailable);
        }
        for vendor in ["a", "b", "c"] {
            assert_eq!(next_try(&sending, &route), Try::Again);
            fail(&mut sending, vendor, Failure::Unavailable);
        }
        // One that was passed over does not make a first try of the round after it.
        let mut sending = a_sending(false);
        fail(&mut sending, "a", Failure::Unavailable);
        fail(&mut sending, "c", Failure::Unavailable);
        assert_eq!((sending.next_vendor(&route), next_try(&sending, &route)), (Some("a"), Try::Again));
    }

    #[test]
    fn the_rest_of_a_round_is_given_up_for_the_next_after_a_wait() {
        let (route, mut sending) = (route(), a_sending(true));
        assert_eq!(next_round(&sending, &route), None);
        assert_eq!(pass_over(&mut sending, &route, RULES, START), Step::Ignored);
        fail(&mut sending, "a", Failure::Unavailable);
        assert_eq!((sending.next_vendor(&route), next_round(&sending, &route)), (Some("b"), Some("a")));
        assert_eq!(pass_over(&mut sending, &route, RULES, START), Step::Later);
        assert_eq!(sending.due_at, Some(START + RULES.backoff));
        assert_eq!((sending.next_vendor(&route), next_round(&sending, &route)), (Some("a"), None));
        assert_eq!(sending.candidates(&route, START), ["a", "b", "c"]);
        assert_eq!((sending.attempts, next_try(&sending, &route)), (1, Try::Again));

        // In no case sooner than its vendor asked, nor to one that refused, nor beyond its end.
        let mut sending = a_sending(true);
        fail(&mut sending, "a", Failure::Rejected(Rejection::Unauthorized));
        fail(&mut sending, "b", Failure::Throttled { after: Some(Duration::from_secs(7_200)) });
        assert_eq!(next_round(&sending, &route), Some("b"));
        pass_over(&mut sending, &route, RULES, START);
        assert_eq!(sending.due_at, Some(sending.expires_at));
    }

    #[test]
    fn a_send_whose_second_copy_would_do_harm_stays_with_its_vendor() {
        let (route, mut sending) = (route(), a_sending(false));
        let history = &mut History::default();
        fail(&mut sending, "a", Failure::Unavailable);
        sending.begin("b", START, Duration::from_secs(15), history);
        sending.settle(2, &Err(Failure::Unknown), &route, RULES, true, START, history);
        assert_eq!(sending.status, SendStatus::Queued);
        assert_eq!((next_round(&sending, &route), next_try(&sending, &route)), (None, Try::Again));
        assert_eq!(pass_over(&mut sending, &route, RULES, START), Step::Ignored);
    }
}
