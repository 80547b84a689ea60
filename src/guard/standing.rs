//! Who has shown to be a person: a recipient that gave a code back, and a place from which codes do come back. Pure.
//!
//! Where codes do not come back from an area, honest people live among those who earn from being sent to. Those who gave
//! a code back before are let through, and so are those who come from where others did who gave theirs back for numbers of
//! the same country. Neither can be had without real codes typed.

use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::guard::table::State;

/// How long a person is known after the last code that came back.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long it is known from where somebody asked.
const ASKED_FOR: Duration = Duration::from_secs(24 * 3600);

/// After this time what was counted of a place weighs half.
const HALF_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How long a place is remembered after the last send.
const MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);

/// The fewest codes that must have come back from a place, and of all that it asked for, the least share.
const LEAST_ANSWERS: f32 = 3.0;
const LEAST_SHARE: f32 = 0.4;

/// What is known of one recipient of one tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
pub struct Person {
    #[n(0)]
    asked_at: Timestamp,
    #[n(1)]
    answered_at: Timestamp,
    #[n(2)]
    pub from: Whence,
    /// The last send was let through though the area is blocked.
    #[n(3)]
    excused: bool,
}

/// The names of where an ask came from, and of the limits of its address and network; 0 for none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct Whence {
    #[n(0)]
    pub place: u64,
    #[n(1)]
    pub address: u64,
    #[n(2)]
    pub network: u64,
}

/// Whether what becomes of a send says nothing of the area that it goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Apart {
    No,
    /// A code came back from there before.
    Known,
    /// The area is blocked, but others gave theirs back where this one was asked for.
    Excused,
}

/// What is known of a place from which sends are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
pub struct Standing {
    #[n(0)]
    sends: f32,
    #[n(1)]
    answers: f32,
    #[n(2)]
    weighed_at: Timestamp,
}

/// What one node has seen of a place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
pub struct Seen {
    #[n(0)]
    pub sends: u16,
    #[n(1)]
    pub answers: u16,
}

// === impl Person ===

impl Person {
    /// Notes a send that is about to be made.
    pub fn asks(&mut self, from: Whence, excused: bool, now: Timestamp) {
        *self = Self { asked_at: now, excused, ..*self };
        // A resend may not say from where.
        if from != Whence::default() {
            self.from = from;
        }
    }

    /// The same after a code came back. An ask is answered once.
    pub fn answered(self, now: Timestamp) -> Self {
        Self { answered_at: now, from: Whence::default(), ..self }
    }

    /// Whether a code came back before.
    pub fn is_known(&self, now: Timestamp) -> bool {
        self.answered_at + KNOWN_FOR > now
    }

    /// Whether what becomes of the last send says nothing of the area, and why.
    pub fn apart(&self, now: Timestamp) -> Apart {
        if self.excused {
            Apart::Excused
        } else if self.is_known(now) {
            Apart::Known
        } else {
            Apart::No
        }
    }

    /// What two nodes know together: each time is the later one, and what the last ask was like is known by whom it asked
    /// last. Where that one does not say from where, the other may.
    fn with(self, other: Self) -> Self {
        let order = |person: &Self| (person.asked_at, person.answered_at, person.excused, person.from);
        let (earlier, later) = if order(&self) <= order(&other) { (self, other) } else { (other, self) };
        let answered_at = earlier.answered_at.max(later.answered_at);
        let asked = [later, earlier].into_iter().find(|person| person.from != Whence::default());
        // An ask is answered once.
        let asked = asked.filter(|asked| asked.asked_at > answered_at || earlier.answered_at == later.answered_at);
        Self {
            asked_at: later.asked_at,
            answered_at,
            from: asked.map_or_else(Whence::default, |asked| asked.from),
            excused: later.excused,
        }
    }
}

impl State for Person {
    type Change = Self;

    const MOST_ON_PAGE: usize = 1_000;

    fn matters_until(&self) -> Timestamp {
        let known =
            if self.answered_at == Timestamp::default() { self.answered_at } else { self.answered_at + KNOWN_FOR };
        known.max(self.asked_at + ASKED_FOR)
    }

    fn join(&mut self, other: &Self, _since: Timestamp) {
        *self = self.with(*other);
    }
}

// === impl Seen ===

impl Seen {
    pub fn sent(&mut self) {
        self.sends = self.sends.saturating_add(1);
    }

    pub fn answered(&mut self) {
        self.answers = self.answers.saturating_add(1);
    }
}

// === impl Standing ===

impl Standing {
    pub fn sent(&mut self, now: Timestamp) {
        self.add(Seen { sends: 1, ..Seen::default() }, now);
    }

    pub fn answered(&mut self, now: Timestamp) {
        self.add(Seen { answers: 1, ..Seen::default() }, now);
    }

    /// Whether people are there whose codes come back.
    pub fn is_good(self, now: Timestamp) -> bool {
        let Self { sends, answers, .. } = self.faded(now);
        answers >= LEAST_ANSWERS && answers >= LEAST_SHARE * sends
    }

    fn add(&mut self, Seen { sends, answers }: Seen, now: Timestamp) {
        *self = self.faded(now);
        self.sends += f32::from(sends);
        self.answers += f32::from(answers);
    }

    fn faded(self, now: Timestamp) -> Self {
        let kept = (-now.since(self.weighed_at).as_secs_f32() / HALF_LIFE.as_secs_f32()).exp2();
        Self { sends: self.sends * kept, answers: self.answers * kept, weighed_at: now.max(self.weighed_at) }
    }
}

impl State for Standing {
    type Change = Seen;

    const MOST_ON_PAGE: usize = 1_500;

    fn matters_until(&self) -> Timestamp {
        self.weighed_at + MEMORY
    }

    fn join(&mut self, seen: &Seen, since: Timestamp) {
        self.add(*seen, since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: u64) -> Timestamp {
        Timestamp::from_millis((500_000 + hours) * 3_600_000)
    }

    #[test]
    fn a_person_is_known_for_a_month_after_a_code_came_back() {
        let mut person = Person::default();
        let from = Whence { place: 1, address: 2, network: 3 };
        person.asks(from, false, at(0));
        // A resend that does not say from where.
        person.asks(Whence::default(), false, at(0));
        assert_eq!(person.from, from);
        assert!(!person.is_known(at(0)) && person.apart(at(0)) == Apart::No);
        person = person.answered(at(0));
        assert_eq!(person.from, Whence::default(), "one answer for one ask");
        assert!(person.is_known(at(30 * 24 - 1)) && !person.is_known(at(30 * 24)));
        person.asks(from, true, at(30 * 24));
        assert_eq!(person.apart(at(30 * 24)), Apart::Excused);
    }

    #[test]
    fn what_two_nodes_know_of_a_person_is_the_same_in_any_order() {
        let (home, office) = (Whence { place: 1, ..Whence::default() }, Whence { place: 2, ..Whence::default() });
        let asked = |from, hour| {
            let mut person = Person::default();
            person.asks(from, false, at(hour));
            person
        };
        let answered = asked(home, 1).answered(at(2));
        let rows = [
            (asked(home, 1), asked(office, 2), office, "the later ask"),
            (asked(home, 1), asked(Whence::default(), 2), home, "a resend does not say from where"),
            (asked(home, 1), answered, Whence::default(), "one answer for one ask"),
            (asked(office, 3), answered, office, "an ask after an answer"),
            (asked(home, 1), Person::default(), home, "nothing known"),
        ];
        for (one, other, from, why) in rows {
            let both = one.with(other);
            assert_eq!(both, other.with(one), "{why}");
            assert_eq!((both.from, both.with(one), both.with(other)), (from, both, both), "{why}");
        }
        assert!(asked(office, 3).with(answered).is_known(at(3)));
    }

    #[test]
    fn a_place_is_good_while_codes_come_back_from_it() {
        let mut place = Standing::default();
        (0..2).for_each(|_| (place.sent(at(0)), place.answered(at(0))).1);
        assert!(!place.is_good(at(0)), "two may be chance");
        place.sent(at(0));
        place.answered(at(0));
        assert!(place.is_good(at(0)));
        (0..5).for_each(|_| place.sent(at(0)));
        assert!(!place.is_good(at(0)), "three of eight");
        assert!(!Standing::default().is_good(at(0)));
    }

    #[test]
    fn full_pages_fit_records() {
        let now = Timestamp::from_millis(u64::MAX / 4);
        let person = Person {
            asked_at: now,
            answered_at: now,
            from: Whence { place: u64::MAX, address: u64::MAX, network: u64::MAX },
            excused: true,
        };
        let standing = Standing { sends: 7.0, answers: 3.0, weighed_at: now };
        let bytes = |encoded: Vec<u8>| encoded.len() + 11;
        let person = bytes(crate::store::record::encode(&person).unwrap()) * Person::MOST_ON_PAGE;
        let standing = bytes(crate::store::record::encode(&standing).unwrap()) * Standing::MOST_ON_PAGE;
        assert!(person.max(standing) < crate::store::MAX_VALUE_BYTES, "{person} {standing}");
    }
}
