//! How much of us a vendor is let have: calls at once, calls a second, repeated tries, and when it is given a rest. The
//! keys that every `[vendors.NAME]` has, whatever its kind.

use std::time::Duration;

use serde::Deserialize;

use crate::clock::deserialize_duration;
use crate::error::Violation;
use crate::messaging::breaker::BreakerRules;
use crate::violations::Violations;

/// The limits of one vendor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Calls at once.
    pub concurrency: usize,
    /// Calls begun in a second; `None` for any number.
    pub rate: Option<u32>,
    /// Repeated tries for each hundred first ones; `None` for any number.
    pub retry_budget: Option<u32>,
    pub breaker: BreakerRules,
}

/// What a vendor's table says of its limits. Whatever it leaves out is as the kind of vendor has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    pub concurrency: Option<u32>,
    pub rate: Option<u32>,
    pub retry_budget: Option<u32>,
    pub breaker: BreakerConfig,
}

/// See [`BreakerRules`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerConfig {
    pub share: Option<u32>,
    pub samples: Option<u32>,
    pub in_a_row: Option<u32>,
    #[serde(deserialize_with = "deserialize_some_duration")]
    pub pause: Option<Duration>,
    pub probes: Option<u32>,
}

/// The keys of [`LimitsConfig`] within a vendor's table.
pub const KEYS: [&str; 4] = ["concurrency", "rate", "retry_budget", "breaker"];

// === impl Limits ===

impl Limits {
    /// So many calls at once, and nothing else.
    pub fn room(concurrency: usize) -> Self {
        Self { concurrency, rate: None, retry_budget: None, breaker: BreakerRules::NEVER }
    }

    /// Those of a service that somebody else runs, unless its table says otherwise.
    pub fn remote(concurrency: usize) -> Self {
        Self { retry_budget: Some(20), breaker: BreakerRules::default(), ..Self::room(concurrency) }
    }
}

// === impl LimitsConfig ===

impl LimitsConfig {
    /// What is out of range, by key.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        let BreakerConfig { share, samples, in_a_row, pause, probes } = &self.breaker;
        for (key, value, least, most) in [
            ("concurrency", self.concurrency, 1, 65_536),
            ("rate", self.rate, 1, 100_000),
            ("retry_budget", self.retry_budget, 1, 100),
            ("breaker.share", *share, 0, 100),
            ("breaker.samples", *samples, 1, 10_000),
            ("breaker.in_a_row", *in_a_row, 0, 10_000),
            ("breaker.probes", *probes, 1, 100),
        ] {
            if let Some(value) = value {
                found.range(key, &value, least..=most);
            }
        }
        if let Some(pause) = pause {
            found.range("breaker.pause", pause, Duration::from_millis(10)..=Duration::from_secs(3600));
        }
        found.0
    }

    /// The limits of a vendor whose kind has `usual` ones.
    pub fn over(&self, usual: Limits) -> Limits {
        let rules = usual.breaker;
        let breaker = BreakerRules {
            share: self.breaker.share.unwrap_or(rules.share),
            samples: self.breaker.samples.unwrap_or(rules.samples),
            in_a_row: self.breaker.in_a_row.unwrap_or(rules.in_a_row),
            pause: self.breaker.pause.unwrap_or(rules.pause),
            probes: self.breaker.probes.unwrap_or(rules.probes),
        };
        Limits {
            concurrency: self.concurrency.map_or(usual.concurrency, |concurrency| concurrency as usize),
            rate: self.rate.or(usual.rate),
            retry_budget: self.retry_budget.or(usual.retry_budget),
            breaker,
        }
    }
}

fn deserialize_some_duration<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    deserialize_duration(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_table_leaves_out_stays_as_the_kind_has_it() {
        let usual = Limits::remote(64);
        let parse = |text: &str| toml::from_str::<LimitsConfig>(text).unwrap();
        assert_eq!(parse("").over(usual), usual);
        let limits = parse("concurrency = 5\nrate = 20\nbreaker = { pause = '1m', in_a_row = 0 }").over(usual);
        let breaker = BreakerRules { pause: Duration::from_secs(60), in_a_row: 0, ..BreakerRules::default() };
        assert_eq!(limits, Limits { concurrency: 5, rate: Some(20), retry_budget: Some(20), breaker });
    }

    #[test]
    fn limits_out_of_range_are_told_by_key() {
        let config: LimitsConfig = toml::from_str(
            "concurrency = 0\nrate = 0\nretry_budget = 101\nbreaker = { share = 101, samples = 0, pause = '1ms', probes = 0 }",
        )
        .unwrap();
        let keys: Vec<_> = config.violations().into_iter().map(|violation| violation.field).collect();
        let expected = [
            "concurrency",
            "rate",
            "retry_budget",
            "breaker.share",
            "breaker.samples",
            "breaker.probes",
            "breaker.pause",
        ];
        assert_eq!(keys, expected);
    }
}
