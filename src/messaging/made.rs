//! Which codes vendors made, or perhaps made, for a send. Pure transitions, as those of [`Sending`] beside it.
//!
//! A vendor that is asked again makes another code, so every attempt that may have sent something counts, not the last one
//! alone.

use crate::messaging::sending::{MadeCode, SendStatus, Sending};
use crate::vendor::{Accepted, Failure};

impl Sending {
    /// A send whose vendors make the code.
    pub fn of_vendors_code(self) -> Self {
        Self { made: Some(Vec::new()), ..self }
    }

    pub fn is_of_vendors_code(&self) -> bool {
        self.made.is_some()
    }

    /// Every code that may be in the person's hand, that of an attempt under way among them, in no order.
    pub fn made_codes(&self) -> Vec<MadeCode> {
        let mut codes = self.made.clone().unwrap_or_default();
        if let (SendStatus::Sending, Some(vendor), true) = (self.status, &self.vendor, self.made.is_some()) {
            codes.push(MadeCode {
                attempt: self.attempts,
                vendor: vendor.clone(),
                reference: None,
                asked_at: self.updated_at,
            });
        }
        codes
    }

    /// Whether a vendor may still be on its way to make one.
    pub fn is_making_code(&self) -> bool {
        self.made.is_some() && matches!(self.status, SendStatus::Queued | SendStatus::Sending)
    }

    /// Notes what the outcome of an attempt says of its code. To be called before the outcome changes anything else.
    /// Whether there was something to note.
    pub(crate) fn note_code(&mut self, attempt: u8, outcome: &Result<Accepted, Failure>) -> bool {
        let is_last = attempt == self.attempts;
        let vendor = if is_last { self.vendor.as_ref() } else { self.earlier.get(&attempt) };
        let (Some(codes), Some(vendor)) = (&mut self.made, vendor) else { return false };
        let known = codes.iter().position(|code| code.attempt == attempt);
        let reference = match outcome {
            Ok(accepted) => accepted.vendor_reference.clone(),
            Err(Failure::Unknown) => None,
            // The vendor says so late: until now there was doubt.
            Err(_) => return known.map(|at| codes.remove(at)).is_some(),
        };
        match known {
            Some(at) if reference.is_none() || codes[at].reference == reference => false,
            Some(at) => {
                codes[at].reference = reference;
                true
            }
            None => {
                let asked_at = self.updated_at;
                codes.push(MadeCode { attempt, vendor: vendor.clone(), reference, asked_at });
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event::history::History;
    use crate::messaging::sending::{Persistence, Step};
    use crate::vendor::{Channel, Rejection};

    const RULES: Persistence = Persistence { max_attempts: 20, backoff: Duration::from_secs(2) };
    const LEASE: Duration = Duration::from_secs(15);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis((1_000 + seconds) * 1_000)
    }

    fn a_sending() -> Sending {
        Sending::new(0, Channel::Sms, at(0), at(600), true).of_vendors_code()
    }

    fn route() -> Vec<String> {
        ["a", "b"].map(str::to_owned).to_vec()
    }

    fn begin(sending: &mut Sending, vendor: &str, seconds: u64) {
        let step = sending.begin(vendor, at(seconds), LEASE, &mut History::default());
        assert!(matches!(step, Step::Attempt(_)));
    }

    fn settle(sending: &mut Sending, attempt: u8, outcome: Result<Accepted, Failure>, seconds: u64) -> Step {
        sending.settle(attempt, &outcome, &route(), RULES, false, at(seconds), &mut History::default())
    }

    fn named(reference: &str) -> Result<Accepted, Failure> {
        Ok(Accepted { vendor_reference: Some(reference.to_owned()), receipt: None })
    }

    fn told(sending: &Sending) -> Vec<(u8, &str, Option<&str>, Timestamp)> {
        let codes = sending.made.iter().flatten();
        codes.map(|code| (code.attempt, &*code.vendor, code.reference.as_deref(), code.asked_at)).collect()
    }

    #[test]
    fn a_code_is_known_by_its_vendors_name_and_nobody_else_is_told_that() {
        let mut sending = a_sending();
        begin(&mut sending, "a", 5);
        let perhaps = sending.made_codes();
        assert_eq!((perhaps.len(), perhaps[0].vendor.as_str(), perhaps[0].asked_at), (1, "a", at(5)));
        assert!(sending.is_making_code());
        settle(&mut sending, 1, named("x"), 7);
        assert_eq!(told(&sending), [(1, "a", Some("x"), at(5))]);
        assert_eq!((sending.status, sending.vendor_reference.clone()), (SendStatus::Sent, None));
        assert_eq!((sending.made_codes().len(), sending.is_making_code()), (1, false));
    }

    #[test]
    fn every_attempt_that_may_have_made_a_code_counts_and_no_other() {
        let mut sending = a_sending();
        begin(&mut sending, "a", 0);
        settle(&mut sending, 1, Err(Failure::Unknown), 1);
        begin(&mut sending, "b", 1);
        settle(&mut sending, 2, Err(Failure::Unavailable), 2);
        begin(&mut sending, "a", 9);
        settle(&mut sending, 3, Err(Failure::Rejected(Rejection::Unauthorized)), 9);
        begin(&mut sending, "b", 9);
        settle(&mut sending, 4, named("y"), 9);
        assert_eq!(told(&sending), [(1, "a", None, at(0)), (4, "b", Some("y"), at(9))]);
    }

    #[test]
    fn an_answer_that_comes_late_is_taken_in() {
        let mut sending = a_sending();
        begin(&mut sending, "a", 0);
        sending.wake(&route(), RULES, at(15), &mut History::default());
        assert_eq!(told(&sending), [(1, "a", None, at(0))]);
        begin(&mut sending, "b", 15);
        assert_eq!(settle(&mut sending, 1, named("x"), 16), Step::Done);
        assert_eq!(settle(&mut sending, 1, named("x"), 16), Step::Ignored);
        assert_eq!(told(&sending), [(1, "a", Some("x"), at(0))]);
        assert_eq!(sending.status, SendStatus::Sending);
        sending.wake(&route(), RULES, at(30), &mut History::default());
        assert_eq!(told(&sending).len(), 2);
        assert_eq!(settle(&mut sending, 2, Err(Failure::Unavailable), 31), Step::Done);
        assert_eq!(told(&sending), [(1, "a", Some("x"), at(0))]);
    }

    #[test]
    fn a_text_of_ours_has_none() {
        let mut sending = Sending::new(0, Channel::Sms, at(0), at(600), true);
        begin(&mut sending, "a", 0);
        settle(&mut sending, 1, named("x"), 1);
        assert_eq!(
            (sending.made.clone(), sending.made_codes(), sending.vendor_reference.as_deref()),
            (None, vec![], Some("x"))
        );
    }
}
