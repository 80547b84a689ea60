//! A callback: a URL that a caller named to be told what became of a message, and how far the telling has come. Pure
//! transitions; time and chance are passed in.
//!
//! ```text
//! WAITING -> DUE -> TOLD | GIVEN_UP
//! ```
//!
//! It is planned by the commit that ends the message. Each call is counted before it is made, under a lease, so that
//! whoever dies in the middle leaves a due mark behind and the call is made again: a receiver is told at least once. What
//! is said to it, a dialect knows; here its kind is only a name.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::error::Violation;
use crate::messaging::backoff;

/// Longest URL, in bytes.
pub const MAX_URL: usize = 2_048;
/// Most bytes that a dialect may keep with a callback, names and values together.
pub const MAX_CONTEXT: usize = 2_048;

/// How long to wait after each call that was not taken; the last one repeats. Half of a wait is left to chance, so that
/// callbacks which failed together do not come back together. Ten calls take 8 to 16 hours.
const WAITS: [Duration; 9] = [
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(3600),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(4 * 3600),
    Duration::from_secs(8 * 3600),
];

/// What a caller asks to be told, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCallback {
    /// The name under which its dialect's writer is registered.
    pub kind: &'static str,
    pub url: CallbackUrl,
    /// What the dialect must know when it writes the call, such as the caller's own name for the message. At most
    /// [`MAX_CONTEXT`] bytes.
    pub context: Context,
}

/// A callback as it is stored with its message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Callback {
    #[n(0)]
    pub kind: String,
    #[n(1)]
    pub url: CallbackUrl,
    #[n(2)]
    #[cbor(default)]
    pub context: Context,
    #[n(3)]
    pub stage: Stage,
    /// Calls begun.
    #[n(4)]
    pub attempts: u8,
    /// When the next call is to be made, or, with one under way, when its maker counts as dead.
    #[n(5)]
    pub next_at: Option<Timestamp>,
    /// When the message reached the status that is told; `None` before that.
    #[n(6)]
    pub ended_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Stage {
    /// The message has not ended.
    #[n(1)]
    Waiting,
    /// To be called at `next_at`.
    #[n(2)]
    Due,
    /// The receiver knows, or there is nothing to say to it.
    #[n(3)]
    Told,
    /// Not told, and called no more.
    #[n(4)]
    GivenUp,
}

/// A URL that a caller named. Callers put secrets into paths and queries, so `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct CallbackUrl(#[n(0)] String);

/// What a dialect keeps with a callback. `Debug` shows only how much.
#[derive(Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Context(#[n(0)] pub BTreeMap<String, String>);

/// What came of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// A 2xx: the receiver knows.
    Taken,
    /// 410: it does not want to be called.
    Gone,
    /// Any other answer, a redirect among them; when it says how long to wait, `after`.
    Refused { after: Option<Duration> },
    /// No answer: not found, not reached, or too slow.
    Unanswered,
    /// Not called: the URL leads to where no caller may send us.
    Forbidden,
}

/// How stubborn a callback is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Calls at most.
    pub attempts: u8,
    /// How long a call may be under way before its maker counts as dead.
    pub lease: Duration,
    /// How long after the message's end it may still be called.
    pub patience: Duration,
}

/// The answer to whoever wants to make the call that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// Commit, then call: this attempt is ours.
    Call(u8),
    /// Commit; it was given up.
    Over,
    /// Nothing changed: it was not due.
    NotDue,
}

// === impl NewCallback ===

impl NewCallback {
    /// What is wrong with it, but for where its URL leads.
    pub(crate) fn violation(&self) -> Option<Violation> {
        let (field, description) = if self.url.0.is_empty() || self.url.0.len() > MAX_URL {
            ("callback.url", format!("must be 1 to {MAX_URL} bytes, but is {}", self.url.0.len()))
        } else if self.context.bytes() > MAX_CONTEXT {
            ("callback.context", format!("must be at most {MAX_CONTEXT} bytes, but is {}", self.context.bytes()))
        } else {
            return None;
        };
        Some(Violation { field: field.to_owned(), description })
    }
}

// === impl Callback ===

impl Callback {
    /// One that waits for its message to end.
    pub fn new(new: NewCallback) -> Self {
        let NewCallback { kind, url, context } = new;
        let stage = Stage::Waiting;
        Self { kind: kind.to_owned(), url, context, stage, attempts: 0, next_at: None, ended_at: None }
    }

    /// To be called whenever the message has ended; only the first time counts.
    pub fn plan(&mut self, now: Timestamp) {
        if self.stage == Stage::Waiting {
            self.stage = Stage::Due;
            self.ended_at = Some(now);
            self.next_at = Some(now);
        }
    }

    /// Until when its record must be kept, at least.
    pub fn ends_at(&self) -> Option<Timestamp> {
        self.next_at.max(self.ended_at)
    }

    /// Counts the call that was due at `due_at`, which is about to be made.
    pub fn begin(&mut self, due_at: Timestamp, rules: Rules, now: Timestamp) -> Begun {
        if self.next_at != Some(due_at) || now < due_at {
            return Begun::NotDue;
        }
        // Whoever made the last one is gone, and with it the outcome.
        if self.attempts >= rules.attempts || self.is_too_late(now, rules) {
            self.end(Stage::GivenUp);
            return Begun::Over;
        }
        self.attempts += 1;
        self.next_at = Some(now + rules.lease);
        Begun::Call(self.attempts)
    }

    /// Puts off a call that was due at `due_at`, for there is no room to make it. The longer it has waited, the longer it
    /// waits again, so that a backlog of any length costs little.
    pub fn put_off(&mut self, due_at: Timestamp, chance: u32, now: Timestamp) -> bool {
        let is_due = self.next_at == Some(due_at);
        if is_due {
            let age = now.since(self.ended_at.unwrap_or(now));
            self.next_at = Some(now + spread(WAITS[1].max(age / 2), chance));
        }
        is_due
    }

    /// Ends it without a call, as one that has nothing to say or that nobody can write any more.
    pub fn end(&mut self, stage: Stage) {
        self.stage = stage;
        self.next_at = None;
    }

    /// Takes in what came of a call. False, and no change, when that matters no more.
    pub fn settle(&mut self, attempt: u8, called: Called, rules: Rules, chance: u32, now: Timestamp) -> bool {
        let is_last = attempt == self.attempts;
        match called {
            _ if self.stage != Stage::Due => return false,
            // Even if we were so slow that somebody else calls by now.
            Called::Taken => self.end(Stage::Told),
            Called::Gone => self.end(Stage::GivenUp),
            _ if !is_last => return false,
            Called::Refused { after } => self.retry(after.unwrap_or_default(), rules, chance, now),
            Called::Unanswered | Called::Forbidden => self.retry(Duration::ZERO, rules, chance, now),
        }
        true
    }

    fn retry(&mut self, at_least: Duration, rules: Rules, chance: u32, now: Timestamp) {
        let wait = WAITS[usize::from(self.attempts.saturating_sub(1)).min(WAITS.len() - 1)];
        let next_at = now + spread(wait, chance).max(at_least);
        if self.attempts >= rules.attempts || self.is_too_late(next_at, rules) {
            self.end(Stage::GivenUp);
        } else {
            self.next_at = Some(next_at);
        }
    }

    fn is_too_late(&self, at: Timestamp, rules: Rules) -> bool {
        self.ended_at.is_none_or(|ended| at.since(ended) > rules.patience)
    }
}

/// Between half of a wait and all of it.
fn spread(wait: Duration, chance: u32) -> Duration {
    wait / 2 + backoff::jittered(wait / 2, chance)
}

// === impl Stage ===

impl Stage {
    /// For logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Due => "due",
            Self::Told => "told",
            Self::GivenUp => "given_up",
        }
    }
}

// === impl Called ===

impl Called {
    /// For logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Gone => "gone",
            Self::Refused { .. } => "refused",
            Self::Unanswered => "unanswered",
            Self::Forbidden => "forbidden",
        }
    }
}

// === impl CallbackUrl ===

impl CallbackUrl {
    pub fn new(url: impl Into<String>) -> Self {
        Self(url.into())
    }

    /// For whoever calls it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The URL with these names and values after what its query already says.
    pub fn with_query(&self, pairs: &[(&str, &str)]) -> String {
        let (whole, _) = self.0.split_once('#').unwrap_or((&self.0, ""));
        let between = match whole.split_once('?') {
            None => "?",
            Some((_, query)) if query.is_empty() || query.ends_with('&') => "",
            Some(_) => "&",
        };
        let added = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        format!("{whole}{between}{added}")
    }
}

impl fmt::Debug for CallbackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallbackUrl({} bytes)", self.0.len())
    }
}

// === impl Context ===

impl Context {
    /// What is kept under a name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

impl<const N: usize> From<[(&str, String); N]> for Context {
    fn from(entries: [(&str, String); N]) -> Self {
        Self(entries.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({} bytes)", self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_000_000);
    const SECOND: Duration = Duration::from_secs(1);
    const RULES: Rules =
        Rules { attempts: 10, lease: Duration::from_secs(15), patience: Duration::from_secs(24 * 3600) };

    fn planned() -> Callback {
        let url = CallbackUrl::new("https://example.com/");
        let mut callback = Callback::new(NewCallback { kind: "test", url, context: Context::default() });
        callback.plan(START);
        callback
    }

    /// Begins the call that is due, when it is due, and returns its number and that time.
    fn begin(callback: &mut Callback) -> (u8, Timestamp) {
        let due_at = callback.next_at.unwrap();
        let Begun::Call(attempt) = callback.begin(due_at, RULES, due_at) else { panic!("{callback:?}") };
        (attempt, due_at)
    }

    #[test]
    fn calls_come_ever_later_and_end_with_the_last() {
        for (chance, least) in [(0, 2), (u32::MAX, 1)] {
            let mut callback = planned();
            let mut waits = Vec::new();
            for turn in 1..=10 {
                let (attempt, now) = begin(&mut callback);
                assert_eq!((attempt, callback.next_at), (turn, Some(now + RULES.lease)));
                assert!(callback.settle(attempt, Called::Unanswered, RULES, chance, now));
                waits.extend(callback.next_at.map(|next| next.since(now)));
            }
            assert_eq!(waits, WAITS.map(|wait| wait / least));
            assert_eq!((callback.stage, callback.next_at, callback.ends_at()), (Stage::GivenUp, None, Some(START)));
        }
    }

    #[test]
    fn it_ends_with_the_patience_that_there_is() {
        let rules = Rules { patience: 40 * SECOND, ..RULES };
        let mut callback = planned();
        let (attempt, now) = begin(&mut callback);
        callback.settle(attempt, Called::Unanswered, rules, u32::MAX, now);
        assert_eq!(callback.next_at, Some(START + 10 * SECOND));
        let (attempt, now) = begin(&mut callback);
        callback.settle(attempt, Called::Unanswered, rules, 0, now);
        assert_eq!((callback.stage, callback.next_at), (Stage::Due, Some(START + 40 * SECOND)));
        // Nobody was there when it was due.
        assert_eq!(callback.begin(START + 40 * SECOND, rules, START + 41 * SECOND), Begun::Over);
        assert_eq!((callback.stage, callback.attempts), (Stage::GivenUp, 2));
    }

    #[test]
    fn a_receiver_is_waited_for_as_long_as_it_asks_and_no_longer_than_we_have() {
        let refused = |after| Called::Refused { after: Some(after) };
        let next = |called| {
            let mut callback = planned();
            let (attempt, now) = begin(&mut callback);
            callback.settle(attempt, called, RULES, u32::MAX, now);
            callback.next_at.map(|next| next.since(START))
        };
        assert_eq!(next(refused(7200 * SECOND)), Some(7200 * SECOND));
        assert_eq!(next(refused(SECOND)), Some(WAITS[0]));
        assert_eq!(next(refused(RULES.patience)), Some(RULES.patience));
        assert_eq!(next(refused(RULES.patience + SECOND)), None);
    }

    #[test]
    fn who_died_in_a_call_has_made_it() {
        let mut callback = planned();
        let rules = Rules { attempts: 2, ..RULES };
        begin(&mut callback);
        let lost = callback.next_at.unwrap();
        assert_eq!(callback.begin(lost, rules, Timestamp::from_millis(lost.as_millis() - 1)), Begun::NotDue);
        assert_eq!(callback.begin(START, rules, lost), Begun::NotDue);
        assert_eq!(callback.begin(lost, rules, lost), Begun::Call(2));
        // The first was only slow: its no does not count any more, but its yes does.
        let before = callback.clone();
        assert!(!callback.settle(1, Called::Refused { after: None }, rules, 0, lost));
        assert_eq!(callback, before);
        assert!(callback.settle(1, Called::Taken, rules, 0, lost));
        assert_eq!((callback.stage, callback.next_at), (Stage::Told, None));
        assert!(!callback.settle(2, Called::Unanswered, rules, 0, lost), "it knows");
        callback.plan(lost);
        assert_eq!((callback.stage, callback.ended_at), (Stage::Told, Some(START)));

        let mut callback = before;
        let lost = callback.next_at.unwrap();
        assert_eq!(callback.begin(lost, rules, lost), Begun::Over);
    }

    #[test]
    fn what_finds_no_room_comes_again_the_later_the_longer_it_waited() {
        let mut callback = planned();
        assert!(!callback.put_off(START + SECOND, 0, START), "of another time");
        assert!(callback.put_off(START, 0, START));
        assert_eq!(callback.next_at, Some(START + 30 * SECOND));
        let late = START + 7200 * SECOND;
        assert!(callback.put_off(START + 30 * SECOND, u32::MAX, late));
        assert_eq!((callback.next_at, callback.attempts), (Some(late + 3600 * SECOND), 0));
    }

    #[test]
    fn queries_are_added_to_what_is_there() {
        let pairs = [("id", "a b"), ("s", "é&=")];
        for (url, want) in [
            ("https://h/p", "https://h/p?id=a+b&s=%C3%A9%26%3D"),
            ("https://h/p?", "https://h/p?id=a+b&s=%C3%A9%26%3D"),
            ("https://h/p?k=v", "https://h/p?k=v&id=a+b&s=%C3%A9%26%3D"),
            ("https://h/p?k=v&", "https://h/p?k=v&id=a+b&s=%C3%A9%26%3D"),
            ("https://h/p?k=v#part?x", "https://h/p?k=v&id=a+b&s=%C3%A9%26%3D"),
            ("https://h", "https://h?id=a+b&s=%C3%A9%26%3D"),
        ] {
            assert_eq!(CallbackUrl::new(url).with_query(&pairs), want);
        }
    }

    #[test]
    fn nothing_of_it_shows_in_debug_output() {
        let url = CallbackUrl::new("https://hunter2.example/hunter2?hunter2");
        let new = NewCallback { kind: "test", url, context: Context::from([("hunter2", "hunter2".to_owned())]) };
        let shown = format!("{new:?} {:?}", Callback::new(new.clone()));
        assert!(shown.contains("39 bytes") && !shown.contains("hunter2"), "{shown}");
        assert_eq!(new.violation(), None);
        for url in [String::new(), "x".repeat(MAX_URL + 1)] {
            let new = NewCallback { url: CallbackUrl::new(url), ..new.clone() };
            assert_eq!(new.violation().unwrap().field, "callback.url");
        }
        let context = Context::from([("", "x".repeat(MAX_CONTEXT + 1))]);
        assert_eq!(NewCallback { context, ..new }.violation().unwrap().field, "callback.context");
    }
}
