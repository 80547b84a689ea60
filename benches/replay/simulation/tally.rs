//! What is counted, and what is told of it.

use std::collections::{BTreeMap, BTreeSet};

use super::attacks::Shape;

/// Sends to one prefix that a shape of attack asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Prefix {
    began_at: f64,
    country: &'static str,
    pub(crate) offered: u64,
    pub(crate) through: u64,
    /// Within a day of the first.
    pub(crate) through_first_day: u64,
    /// When fifty had gone through, how many more were asked for, and went through.
    pub(crate) offered_after_50: u64,
    pub(crate) through_after_50: u64,
    /// Before the first that was refused.
    pub(crate) before_stop: u64,
    is_stopped: bool,
}

/// Sends asked for and gone through within an hour.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hour {
    pub(crate) offered: u64,
    pub(crate) through: u64,
}

/// All of a run.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) honest: Hour,
    pub(crate) honest_by_hour: Vec<Hour>,
    /// Honest sends that were refused, by rule.
    pub(crate) refused: BTreeMap<String, u64>,
    /// Honest sends before their wait was over; people then wait as they are told.
    pub(crate) waited: u64,
    pub(crate) prefixes: BTreeMap<(Shape, String), Prefix>,
    pub(crate) by_hour: BTreeMap<Shape, Vec<Hour>>,
    /// Sends of attacks that were stopped, by rule.
    pub(crate) stopped: BTreeMap<(Shape, String), u64>,
}

// === impl Tally ===

impl Tally {
    /// `rule`: by which it was refused.
    pub(crate) fn count_honest(&mut self, at: f64, rule: Option<String>) {
        count(&mut self.honest, rule.is_none());
        count(hour(&mut self.honest_by_hour, at), rule.is_none());
        if let Some(rule) = rule {
            *self.refused.entry(rule).or_default() += 1;
        }
    }

    pub(crate) fn count_attack(
        &mut self,
        at: f64,
        shape: Shape,
        country: &'static str,
        prefix: String,
        rule: Option<String>,
    ) {
        count(hour(self.by_hour.entry(shape).or_default(), at), rule.is_none());
        let prefix =
            self.prefixes.entry((shape, prefix)).or_insert(Prefix { began_at: at, country, ..Prefix::default() });
        let is_through = u64::from(rule.is_none());
        if prefix.through >= 50 {
            prefix.offered_after_50 += 1;
            prefix.through_after_50 += is_through;
        }
        prefix.offered += 1;
        prefix.through += is_through;
        if at - prefix.began_at < 24.0 * 3600.0 {
            prefix.through_first_day += is_through;
        }
        prefix.is_stopped |= rule.is_some();
        if !prefix.is_stopped {
            prefix.before_stop += 1;
        }
        if let Some(rule) = rule {
            *self.stopped.entry((shape, rule)).or_default() += 1;
        }
    }

    pub(crate) fn countries(&self) -> BTreeSet<&'static str> {
        self.prefixes.values().map(|prefix| prefix.country).collect()
    }

    pub(crate) fn of_country(&self, country: &str) -> impl Iterator<Item = &Prefix> + Clone {
        self.prefixes.values().filter(move |prefix| prefix.country == country)
    }

    pub(crate) fn of_shape(&self, shape: Shape) -> impl Iterator<Item = &Prefix> + Clone {
        self.prefixes.iter().filter(move |((other, _), _)| *other == shape).map(|(_, prefix)| prefix)
    }

    /// Of all sends that attacks asked for, the share that was stopped.
    pub(crate) fn share_stopped(&self) -> f64 {
        let (offered, through) = sum(self.prefixes.values());
        1.0 - through as f64 / offered as f64
    }

    /// Of all honest sends, the share that was refused.
    pub(crate) fn share_refused(&self) -> f64 {
        1.0 - self.honest.through as f64 / self.honest.offered as f64
    }
}

/// Offered and gone through.
pub(crate) fn sum<'a>(prefixes: impl Iterator<Item = &'a Prefix>) -> (u64, u64) {
    prefixes.fold((0, 0), |(offered, through), prefix| (offered + prefix.offered, through + prefix.through))
}

fn count(hour: &mut Hour, is_through: bool) {
    hour.offered += 1;
    hour.through += u64::from(is_through);
}

fn hour(hours: &mut Vec<Hour>, at: f64) -> &mut Hour {
    let place = (at / 3600.0) as usize;
    if hours.len() <= place {
        hours.resize(place + 1, Hour::default());
    }
    &mut hours[place]
}
