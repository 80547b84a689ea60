//! How many calls may be under way at once, and which are turned away first when there are more.
//!
//! Whoever is turned away is told at once and comes again; nobody waits in a line. People who already hold a code come
//! before those who ask for one, so checks are turned away last. Knows calls by the paths of their rpcs, on whatever
//! surface they came.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::error::{Error, Kind, Reason, Result};

/// When to come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

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
    pub fn new(calls: usize) -> Self {
        for priority in [Priority::Check, Priority::Work, Priority::Stream] {
            // There from the start, so that the first one turned away shows as one more.
            shed(priority).increment(0);
        }
        Self { lower: calls - calls / 4, upper: calls, calls: AtomicUsize::new(0), streams: AtomicUsize::new(0) }
    }

    /// Errors: `Unavailable` as `OVERLOADED`, with the time to come again.
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
            let error = Error::new(Kind::Unavailable, Reason::Overloaded, "too many calls are under way; try again");
            return Err(error.with_retry_after(RETRY_AFTER));
        }
        Ok(Place { room: Arc::clone(self), priority })
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
        let room = Arc::new(Room::new(8));
        let _work: Vec<_> = (0..6).map(|_| room.enter(Priority::Work).unwrap()).collect();
        let refused = room.enter(Priority::Work).unwrap_err();
        assert_eq!((refused.kind(), refused.reason()), (Kind::Unavailable, Reason::Overloaded));
        assert_eq!(refused.retry_after(), Some(RETRY_AFTER));
        let mut checks: Vec<_> = (0..2).map(|_| room.enter(Priority::Check).unwrap()).collect();
        assert_eq!(room.enter(Priority::Check).unwrap_err().reason(), Reason::Overloaded);
        assert!(room.enter(Priority::Health).is_ok() && room.enter(Priority::Stream).is_ok());
        checks.pop();
        // One below the upper mark, and still above the lower.
        assert!(room.enter(Priority::Work).is_err() && room.enter(Priority::Check).is_ok());
    }

    #[test]
    fn a_place_is_free_again_once_its_call_is_over() {
        let room = Arc::new(Room::new(4));
        for priority in [Priority::Work, Priority::Check, Priority::Stream, Priority::Health] {
            for _ in 0..100 {
                drop(room.enter(priority).unwrap());
            }
        }
        let _streams: Vec<_> = (0..4).map(|_| room.enter(Priority::Stream).unwrap()).collect();
        assert!(room.enter(Priority::Stream).is_err() && room.enter(Priority::Work).is_ok());
        assert_eq!((room.calls.load(Ordering::Relaxed), room.streams.load(Ordering::Relaxed)), (0, 4));
    }
}
