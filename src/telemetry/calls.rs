//! Counts calls by surface, method and outcome. The labels are as few as there are rpcs, times surfaces.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::error::Kind;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Ok,
    /// It was wrong, or not allowed.
    Refused,
    /// Too often.
    Limited,
    /// We could not, or not in time; it may be repeated.
    Unavailable,
    /// Our fault.
    Failed,
    /// Nobody waited for its end.
    Canceled,
}

/// Counters by surface and method. Cheap to clone.
#[derive(Clone, Default)]
pub struct Calls(Arc<RwLock<ByMethod>>);

/// By surface and method.
type ByMethod = HashMap<(&'static str, &'static str), Counters>;

/// The counters of one method on one surface.
struct Counters {
    outcomes: [Counter; Outcome::ALL.len()],
    seconds: Histogram,
}

// === impl Outcome ===

impl Outcome {
    const ALL: [Self; 6] = [Self::Ok, Self::Refused, Self::Limited, Self::Unavailable, Self::Failed, Self::Canceled];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Limited => "limited",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// Of a gRPC status, by its number.
    pub fn of_grpc(code: u8) -> Self {
        match code {
            0 => Self::Ok,
            1 => Self::Canceled,
            4 | 14 => Self::Unavailable,
            8 => Self::Limited,
            2 | 13 | 15 => Self::Failed,
            _ => Self::Refused,
        }
    }

    /// Of an HTTP status.
    pub fn of_http(status: u16) -> Self {
        match status {
            0..400 => Self::Ok,
            429 => Self::Limited,
            503 | 504 => Self::Unavailable,
            400..500 => Self::Refused,
            _ => Self::Failed,
        }
    }

    /// Of an error that a caller was told of.
    pub fn of_error(kind: Kind) -> Self {
        match kind {
            Kind::Limited => Self::Limited,
            Kind::Unavailable | Kind::Deadline => Self::Unavailable,
            Kind::Internal => Self::Failed,
            _ => Self::Refused,
        }
    }
}

// === impl Calls ===

impl Calls {
    /// `took`: until the answer began.
    pub fn count(&self, surface: &'static str, method: &'static str, outcome: Outcome, took: Duration) {
        if let Some(counters) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(&(surface, method)) {
            return counters.count(outcome, took);
        }
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        all.entry((surface, method)).or_insert_with(|| Counters::new(surface, method)).count(outcome, took);
    }
}

impl std::fmt::Debug for Calls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Calls")
    }
}

// === impl Counters ===

impl Counters {
    fn new(surface: &'static str, method: &'static str) -> Self {
        let outcomes = Outcome::ALL.map(|outcome| {
            let outcome = outcome.as_str();
            metrics::counter!("verigate_calls_total", "surface" => surface, "method" => method, "outcome" => outcome)
        });
        let seconds = metrics::histogram!("verigate_call_seconds", "surface" => surface, "method" => method);
        Self { outcomes, seconds }
    }

    fn count(&self, outcome: Outcome, took: Duration) {
        self.outcomes[outcome as usize].increment(1);
        self.seconds.record(took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_stand_in_their_places() {
        for (at, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, at);
        }
        assert_eq!(
            [0, 1, 3, 4, 8, 13, 14, 16].map(Outcome::of_grpc).map(Outcome::as_str),
            ["ok", "canceled", "refused", "unavailable", "limited", "failed", "unavailable", "refused"]
        );
        assert_eq!(
            [200, 204, 302, 401, 429, 500, 503, 504].map(Outcome::of_http).map(Outcome::as_str),
            ["ok", "ok", "ok", "refused", "limited", "failed", "unavailable", "unavailable"]
        );
    }
}
