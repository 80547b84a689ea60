//! How verifications are made and kept: the configured policy of codes, what one call may ask instead, and the limits.

use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Result, Violation};
use crate::tenant::VERIFICATION_RETENTION;
use crate::verification::code::{Alphabet, Class};
use crate::violations::Violations;

/// Characters in a code.
pub const LENGTH: std::ops::RangeInclusive<u32> = 4..=32;
/// How long a code may live, before the configured maximum.
pub const LIFETIME: std::ops::RangeInclusive<Duration> = Duration::from_secs(3)..=Duration::from_secs(10_000_000);
/// Checks that a verification may allow.
pub const MAX_CHECKS: std::ops::RangeInclusive<u32> = 1..=10;

/// `[verification]`: how verifications are made and kept.
#[derive(Debug, Clone, Deserialize)]
pub struct VerificationConfig {
    /// How long a verification is kept after its code expires.
    pub retention: Duration,
    pub policy: Policy,
    pub limits: Limits,
}

/// The code policy of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Policy {
    pub length: u32,
    pub alphabet: Vec<Class>,
    pub exclude_confusing: bool,
    pub lifetime: Duration,
    pub max_checks: u32,
    /// The longest lifetime that a call may ask for.
    pub max_lifetime: Duration,
}

/// What a call asks to have different. `None` keeps the configured value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyOverrides {
    pub length: Option<u32>,
    pub alphabet: Option<Vec<Class>>,
    pub exclude_confusing: Option<bool>,
    pub lifetime: Option<Duration>,
    pub max_checks: Option<u32>,
}

/// What protects a recipient, whatever the verification.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Limits {
    /// Waits after the first, second, … send to a recipient; the last one repeats. Not empty.
    pub cool_downs: Vec<Duration>,
    /// A pause this long starts the row of waits anew.
    pub cool_down_reset: Duration,
    /// Failed checks of a recipient within `failure_window` after which nothing more is checked for it or sent to it.
    pub failures: u32,
    pub failure_window: Duration,
    /// Sends of one verification, the first included.
    pub max_sends: u32,
}

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

// === impl VerificationConfig ===

impl VerificationConfig {
    /// What is wrong with it, by key.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        found.range("retention", &self.retention, VERIFICATION_RETENTION);
        found.nest("policy", self.policy.violations());
        found.nest("limits", self.limits.violations());
        found.0
    }
}

// === impl Policy ===

impl Policy {
    /// What is wrong with it as configured, by key.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        found.range("length", &self.length, LENGTH);
        if self.alphabet.is_empty() {
            found.add("alphabet", "must name at least one of digits, upper, lower, special".to_owned());
        }
        found.range("max_lifetime", &self.max_lifetime, MINUTE / 2..=*LIFETIME.end());
        found.range("lifetime", &self.lifetime, MINUTE / 2..=self.max_lifetime);
        found.range("max_checks", &self.max_checks, MAX_CHECKS);
        found.0
    }

    /// The policy of one call.
    ///
    /// Errors: `Invalid` that names every field out of its range, and the range.
    pub fn with(&self, asked: &PolicyOverrides) -> Result<Self> {
        let lifetimes = self.lifetimes();
        let mut violations = Vec::new();
        let mut check = |field: &str, fits: bool, range: String| {
            if !fits {
                violations.push(Violation { field: format!("policy.{field}"), description: range });
            }
        };
        check(
            "length",
            asked.length.is_none_or(|length| LENGTH.contains(&length)),
            format!("must be {} to {} characters", LENGTH.start(), LENGTH.end()),
        );
        check(
            "alphabet",
            asked.alphabet.as_ref().is_none_or(|alphabet| !alphabet.is_empty()),
            "must name at least one of DIGITS, UPPER, LOWER, SPECIAL".to_owned(),
        );
        check(
            "lifetime",
            asked.lifetime.is_none_or(|lifetime| lifetimes.contains(&lifetime)),
            format!("must be {} to {} seconds", lifetimes.start().as_secs(), lifetimes.end().as_secs()),
        );
        check(
            "max_checks",
            asked.max_checks.is_none_or(|checks| MAX_CHECKS.contains(&checks)),
            format!("must be {} to {}", MAX_CHECKS.start(), MAX_CHECKS.end()),
        );
        if !violations.is_empty() {
            return Err(Error::invalid_fields(violations));
        }
        Ok(Self {
            length: asked.length.unwrap_or(self.length),
            alphabet: asked.alphabet.clone().unwrap_or_else(|| self.alphabet.clone()),
            exclude_confusing: asked.exclude_confusing.unwrap_or(self.exclude_confusing),
            lifetime: asked.lifetime.unwrap_or(self.lifetime),
            max_checks: asked.max_checks.unwrap_or(self.max_checks),
            max_lifetime: self.max_lifetime,
        })
    }

    /// What is asked for, with each value out of its range moved to the nearest end of it, for surfaces whose callers expect
    /// that and no refusal: [`Policy::with`] takes it.
    pub fn nearest(&self, asked: PolicyOverrides) -> PolicyOverrides {
        let lifetimes = self.lifetimes();
        PolicyOverrides {
            length: asked.length.map(|length| length.clamp(*LENGTH.start(), *LENGTH.end())),
            alphabet: asked.alphabet.filter(|alphabet| !alphabet.is_empty()),
            exclude_confusing: asked.exclude_confusing,
            lifetime: asked.lifetime.map(|lifetime| lifetime.clamp(*lifetimes.start(), *lifetimes.end())),
            max_checks: asked.max_checks.map(|checks| checks.clamp(*MAX_CHECKS.start(), *MAX_CHECKS.end())),
        }
    }

    fn lifetimes(&self) -> std::ops::RangeInclusive<Duration> {
        *LIFETIME.start()..=self.max_lifetime.min(*LIFETIME.end())
    }

    /// Errors: `Invalid` when no class is named.
    pub fn alphabet(&self) -> Result<Alphabet> {
        Alphabet::new(&self.alphabet, self.exclude_confusing)
    }
}

// === impl Limits ===

impl Limits {
    /// What is wrong with them as configured, by key.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if self.cool_downs.is_empty() || !self.cool_downs.is_sorted() {
            found.add("cool_downs", "must be one or more times, each at least as long as the last".to_owned());
        }
        let longest = self.cool_downs.last().copied().unwrap_or_default();
        found.range("cool_down_reset", &self.cool_down_reset, longest..=30 * DAY);
        found.range("failures", &self.failures, 1..=100);
        found.range("failure_window", &self.failure_window, MINUTE..=30 * DAY);
        found.range("max_sends", &self.max_sends, 1..=20);
        found.0
    }

    /// The wait after the `sends`-th send in a row, counted from 1.
    pub fn cool_down(&self, sends: u32) -> Duration {
        let step = usize::try_from(sends.saturating_sub(1)).unwrap_or(usize::MAX);
        self.cool_downs.get(step).or(self.cool_downs.last()).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy {
            length: 6,
            alphabet: vec![Class::Digits],
            exclude_confusing: false,
            lifetime: Duration::from_secs(600),
            max_checks: 5,
            max_lifetime: Duration::from_secs(3600),
        }
    }

    #[test]
    fn every_field_out_of_range_is_named_with_its_range() {
        let asked = PolicyOverrides {
            length: Some(3),
            alphabet: Some(Vec::new()),
            exclude_confusing: None,
            lifetime: Some(Duration::from_secs(3601)),
            max_checks: Some(11),
        };
        let error = policy().with(&asked).unwrap_err();
        let told: Vec<_> = error.violations().iter().map(|v| (v.field.as_str(), v.description.as_str())).collect();
        assert_eq!(
            told,
            [
                ("policy.length", "must be 4 to 32 characters"),
                ("policy.alphabet", "must name at least one of DIGITS, UPPER, LOWER, SPECIAL"),
                ("policy.lifetime", "must be 3 to 3600 seconds"),
                ("policy.max_checks", "must be 1 to 10"),
            ]
        );
    }

    #[test]
    fn the_ends_of_every_range_are_allowed() {
        for (length, lifetime, checks) in [(4, 3, 1), (32, 3600, 10)] {
            let asked = PolicyOverrides {
                length: Some(length),
                lifetime: Some(Duration::from_secs(lifetime)),
                max_checks: Some(checks),
                ..PolicyOverrides::default()
            };
            let policy = policy().with(&asked).unwrap();
            assert_eq!((policy.length, policy.lifetime.as_secs(), policy.max_checks), (length, lifetime, checks));
        }
    }

    #[test]
    fn the_nearest_of_what_is_asked_is_always_taken() {
        let asked = |length, lifetime, checks| PolicyOverrides {
            length: Some(length),
            alphabet: Some(Vec::new()),
            exclude_confusing: Some(true),
            lifetime: Some(lifetime),
            max_checks: Some(checks),
        };
        let policy = policy();
        let low = policy.with(&policy.nearest(asked(0, Duration::ZERO, 0))).unwrap();
        assert_eq!((low.length, low.lifetime.as_secs(), low.max_checks), (4, 3, 1));
        let high = policy.with(&policy.nearest(asked(u32::MAX, Duration::MAX, u32::MAX))).unwrap();
        assert_eq!((high.length, high.lifetime, high.max_checks), (32, policy.max_lifetime, 10));
        assert_eq!((high.alphabet, high.exclude_confusing), (vec![Class::Digits], true));
        let fits = PolicyOverrides { length: Some(8), ..PolicyOverrides::default() };
        assert_eq!(policy.nearest(fits.clone()), fits);
    }

    #[test]
    fn the_last_cool_down_repeats() {
        let limits = Limits {
            cool_downs: [30, 60].map(Duration::from_secs).to_vec(),
            cool_down_reset: Duration::from_secs(3600),
            failures: 10,
            failure_window: Duration::from_secs(3600),
            max_sends: 5,
        };
        assert_eq!([1, 2, 3, 99].map(|sends| limits.cool_down(sends).as_secs()), [30, 60, 60, 60]);
    }
}
