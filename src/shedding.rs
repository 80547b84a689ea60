//! How many calls may be under way at once, and which are turned away first when there are more.
//!
//! Whoever is turned away is told at once and comes again; nobody waits in a line. When to come again depends on how many
//! are turned away: those who do as they are told then take little of what is served. People who already hold a code come
//! before those who ask for one, so checks are turned away last. Knows calls by the paths of their rpcs, on whatever
//! surface they came.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Reason, Result};

/// When to come again, at the earliest and at the latest, in milliseconds.
const SHORTEST_WAIT: u64 = 1_000;
const LONGEST_WAIT: u64 = 10_000;

/// How long it is counted who is turned away, before it is looked at whether they wait long enough.
const TURN: Duration = Duration::from_secs(1);

/// Of so many calls that are begun, one that is turned away is bearable: it takes a tenth of what a start does, and as much
/// of the machine of who calls.
const BEGUN_FOR_EACH: u64 = 16;

/// How early a call is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Never: it says how we are, and takes next to nothing.
    Health,
    /// Above the upper mark only.
    Check,
    /// Above the lower mark.
    Work,
    /// Open for long, and mostly idle: counted by itself.
    Stream,
}

/// The priority of each rpc whose path is this, or begins with this where it ends with a slash or a dot. All others are
/// [`Priority::Work`].
const PRIORITIES: &[(&str, Priority)] = &[
    ("/verigate.verification.v1.VerificationService/CheckVerification", Priority::Check),
    ("/verigate.verification.v1.VerificationService/WatchVerification", Priority::Stream),
    ("/verigate.messaging.v1.MessagingService/WatchMessage", Priority::Stream),
    // Who mends an overload has to get through.
    ("/verigate.admin.v1.AdminService/", Priority::Check),
    ("/grpc.health.v1.Health/Check", Priority::Health),
    ("/grpc.health.v1.Health/", Priority::Stream),
    ("/grpc.reflection.", Priority::Stream),
];

/// The room that calls share, on all surfaces.
#[derive(Debug)]
pub struct Room {
    lower: usize,
    upper: usize,
    calls: AtomicUsize,
    streams: AtomicUsize,
    begun: AtomicU64,
    pace: Mutex<Pace>,
    clock: Arc<dyn Clock>,
}

/// How long those who are turned away wait until they come again.
#[derive(Debug)]
struct Pace {
    wait: u64,
    turn_began: Timestamp,
    /// In this turn.
    turned_away: u64,
    /// Before this turn.
    begun: u64,
}

/// The place of a call under way, until it is dropped.
#[derive(Debug)]
pub struct Place {
    room: Arc<Room>,
    priority: Priority,
}

fn shed(priority: Priority) -> metrics::Counter {
    metrics::counter!("verigate_calls_shed_total", "priority" => priority.as_str())
}

// === impl Priority ===

impl Priority {
    /// `path`: `/package.Service/Method`.
    pub fn of(path: &str) -> Self {
        let fits = |known: &str| if known.ends_with(['/', '.']) { path.starts_with(known) } else { path == known };
        PRIORITIES.iter().find(|(known, _)| fits(known)).map_or(Self::Work, |(_, priority)| *priority)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Check => "check",
            Self::Work => "work",
            Self::Stream => "stream",
        }
    }
}

// === impl Room ===

impl Room {
    /// `calls`: most calls under way at once, a quarter of which is kept for checks. As many streams have room beside
    /// them.
    pub fn new(calls: usize, clock: Arc<dyn Clock>) -> Self {
        for priority in [Priority::Check, Priority::Work, Priority::Stream] {
            // There from the start, so that the first one turned away shows as one more.
            shed(priority).increment(0);
        }
        Self {
            lower: calls - calls / 4,
            upper: calls,
            calls: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            begun: AtomicU64::new(0),
            pace: Mutex::default(),
            clock,
        }
    }

    /// Errors: `Unavailable` as `OVERLOADED`, with the time to come again: 0.5 to 15 seconds, others for others.
    pub fn enter(self: &Arc<Self>, priority: Priority) -> Result<Place> {
        let (count, most) = match priority {
            Priority::Health => return Ok(Place { room: Arc::clone(self), priority }),
            Priority::Check => (&self.calls, self.upper),
            Priority::Work => (&self.calls, self.lower),
            Priority::Stream => (&self.streams, self.upper),
        };
        // Counting guards no memory but itself.
        if count.fetch_add(1, Ordering::Relaxed) >= most {
            count.fetch_sub(1, Ordering::Relaxed);
            shed(priority).increment(1);
            // Nothing panics while it is held.
            let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
            let wait = pace.turn_away(self.begun.load(Ordering::Relaxed), self.clock.now());
            drop(pace);
            let error = Error::new(Kind::Unavailable, Reason::Overloaded, "too many calls are under way; try again");
            return Err(error.with_retry_after(wait));
        }
        self.begun.fetch_add(1, Ordering::Relaxed);
        Ok(Place { room: Arc::clone(self), priority })
    }
}

// === impl Pace ===

impl Default for Pace {
    fn default() -> Self {
        Self { wait: SHORTEST_WAIT, turn_began: Timestamp::default(), turned_away: 0, begun: 0 }
    }
}

impl Pace {
    /// `begun`: calls so far.
    fn turn_away(&mut self, begun: u64, now: Timestamp) -> Duration {
        let lasted = now.since(self.turn_began);
        // A clock that was set back begins a turn, too.
        if lasted >= TURN || now < self.turn_began {
            let bearable = begun.saturating_sub(self.begun) / BEGUN_FOR_EACH;
            let wait = match lasted {
                // They have come to an end meanwhile.
                lasted if lasted >= 2 * TURN => SHORTEST_WAIT,
                _ if self.turned_away > 2 * bearable => self.wait * 2,
                _ => (self.wait * self.turned_away / bearable.max(1)).max(self.wait / 2),
            };
            let wait = wait.clamp(SHORTEST_WAIT, LONGEST_WAIT);
            *self = Self { wait, turn_began: now, turned_away: 0, begun };
        }
        self.turned_away += 1;
        // From half to one and a half of it, evenly, for who is turned away together must not come back together: the
        // golden ratio's multiples fill a circle so.
        let spread = self.turned_away.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
        Duration::from_millis(self.wait / 2 + self.wait * spread / 1024)
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        match self.priority {
            Priority::Health => {}
            Priority::Check | Priority::Work => drop(self.room.calls.fetch_sub(1, Ordering::Relaxed)),
            Priority::Stream => drop(self.room.streams.fetch_sub(1, Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn room(calls: usize) -> Arc<Room> {
        Arc::new(Room::new(calls, Arc::new(ManualClock::new(Timestamp::from_millis(1_000_000)))))
    }

    #[test]
    fn rpcs_are_ranked_by_their_paths() {
        for (path, priority) in [
            ("/verigate.verification.v1.VerificationService/CheckVerification", Priority::Check),
            ("/verigate.verification.v1.VerificationService/CheckVerification/", Priority::Work),
            ("/verigate.verification.v1.VerificationService/StartVerification", Priority::Work),
            ("/verigate.verification.v1.VerificationService/WatchVerification", Priority::Stream),
            ("/verigate.messaging.v1.MessagingService/WatchMessage", Priority::Stream),
            ("/verigate.admin.v1.AdminService/ListVendors", Priority::Check),
            ("/grpc.health.v1.Health/Check", Priority::Health),
            ("/grpc.health.v1.Health/Watch", Priority::Stream),
            ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Priority::Stream),
            ("", Priority::Work),
            ("/", Priority::Work),
        ] {
            assert_eq!(Priority::of(path), priority, "{path}");
        }
    }

    #[test]
    fn checks_are_turned_away_last_and_health_never() {
        let room = room(8);
        let _work: Vec<_> = (0..6).map(|_| room.enter(Priority::Work).unwrap()).collect();
        let refused = room.enter(Priority::Work).unwrap_err();
        assert_eq!((refused.kind(), refused.reason()), (Kind::Unavailable, Reason::Overloaded));
        assert!((500..1_500).contains(&refused.retry_after().unwrap().as_millis()));
        let mut checks: Vec<_> = (0..2).map(|_| room.enter(Priority::Check).unwrap()).collect();
        assert_eq!(room.enter(Priority::Check).unwrap_err().reason(), Reason::Overloaded);
        assert!(room.enter(Priority::Health).is_ok() && room.enter(Priority::Stream).is_ok());
        checks.pop();
        // One below the upper mark, and still above the lower.
        assert!(room.enter(Priority::Work).is_err() && room.enter(Priority::Check).is_ok());
    }

    #[test]
    fn a_place_is_free_again_once_its_call_is_over() {
        let room = room(4);
        for priority in [Priority::Work, Priority::Check, Priority::Stream, Priority::Health] {
            for _ in 0..100 {
                drop(room.enter(priority).unwrap());
            }
        }
        let _streams: Vec<_> = (0..4).map(|_| room.enter(Priority::Stream).unwrap()).collect();
        assert!(room.enter(Priority::Stream).is_err() && room.enter(Priority::Work).is_ok());
        assert_eq!((room.calls.load(Ordering::Relaxed), room.streams.load(Ordering::Relaxed)), (0, 4));
    }

    /// The mean wait, in milliseconds, of so many who are turned away evenly over each second.
    fn mean(pace: &mut Pace, (begun, each): (&mut u64, u64), second: u64, turned_away: u64) -> u64 {
        *begun += each;
        let wait = |number| {
            let now = Timestamp::from_millis(1_000 * second + 1_000 * number / turned_away);
            u64::try_from(pace.turn_away(*begun, now).as_millis()).unwrap()
        };
        (0..turned_away).map(wait).sum::<u64>() / turned_away
    }

    #[test]
    fn the_more_are_turned_away_the_later_they_come_again() {
        let (mut pace, mut begun) = (Pace::default(), 0);
        let mut after = |second, turned_away| mean(&mut pace, (&mut begun, 8_000), second, turned_away);
        assert!((990..1_010).contains(&after(100, 400)), "few, compared with those who are served");
        assert!((990..1_010).contains(&after(101, 3_000)), "nobody knows yet");
        assert!((1_990..2_010).contains(&after(102, 3_000)));
        assert!((3_980..4_020).contains(&after(103, 750)), "which is as many as wait four seconds");
        assert!((5_950..6_050).contains(&after(104, 500)));
        assert!((5_950..6_050).contains(&after(105, 250)), "as many as are bearable");
        assert!((2_970..3_030).contains(&after(106, 250)), "half of those");
        assert!((990..1_010).contains(&after(109, 500)), "a new surge");
        (110..120).for_each(|second| _ = after(second, 9_000));
        assert!((9_950..10_050).contains(&after(120, 9_000)), "nobody is sent away for longer");
    }

    #[test]
    fn nobody_comes_again_with_all_others() {
        let (mut pace, now) = (Pace::default(), Timestamp::from_millis(1_000_000));
        let mut waits: Vec<_> = (0..1_000).map(|_| pace.turn_away(0, now).as_millis()).collect();
        waits.sort_unstable();
        assert!(waits[0] >= 500 && waits[999] < 1_500);
        let most = waits.chunk_by(|one, other| one / 10 == other / 10).map(<[_]>::len).max();
        assert!(most.unwrap() <= 12, "ten of a thousand in each hundredth: {most:?}");
    }
}
