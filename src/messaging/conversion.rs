//! How many of the codes that a vendor carried were given back: by vendor, channel and country, the newer the weightier.
//!
//! A vendor can take every text and deliver none; whether people type the codes shows it. This measures and says which
//! share of the sends each vendor should get. It does not send, and knows no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::recipient::Country;
use crate::vendor::Channel;

/// What was counted, over all vendors.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversion(BTreeMap<Place, Tally>);

/// What was counted at one place, as it weighs at `at`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
pub struct Tally {
    #[n(0)]
    pub sends: f64,
    #[n(1)]
    pub approvals: f64,
    #[n(2)]
    at: Timestamp,
}

/// What is stored of one vendor.
#[derive(Debug, Clone, PartialEq, Encode, Decode)]
pub struct Measured {
    #[n(0)]
    pub vendor: String,
    #[n(1)]
    rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Encode, Decode)]
struct Row {
    #[n(0)]
    channel: Channel,
    #[n(1)]
    country: Option<String>,
    #[n(2)]
    tally: Tally,
}

/// By vendor, channel and country, and in that order. `None`: a recipient without a country.
pub type Place = (String, Channel, Option<Country>);

/// Sends of a vendor that tell something. With fewer of one, none is judged.
pub const ENOUGH: f64 = 100.0;

/// What every vendor keeps, so that one that has become better is noticed.
const FLOOR: f64 = 0.05;

/// After this long, what was counted weighs half.
const HALF_LIFE: Duration = Duration::from_secs(3 * 24 * 3600);

/// How much more a vendor gets that converts better: a tenth better gets twice as much. Not all, for the difference may
/// be chance.
const SHARPNESS: i32 = 8;

/// What weighs less than this is forgotten.
const LEAST: f64 = 0.1;

/// The share that each vendor should get; `None` while too little is known of one of them.
pub fn shares(tallies: &[Tally]) -> Option<Vec<f64>> {
    if !tallies.iter().all(Tally::is_enough) {
        return None;
    }
    let best = tallies.iter().map(Tally::rate).fold(f64::MIN_POSITIVE, f64::max);
    let raw: Vec<_> = tallies.iter().map(|tally| (tally.rate() / best).powi(SHARPNESS)).collect();
    let (sum, count) = (raw.iter().sum::<f64>(), f64::from(u32::try_from(raw.len()).unwrap_or(u32::MAX)));
    let floor = FLOOR.min(1.0 / count);
    Some(raw.into_iter().map(|raw| floor + (1.0 - floor * count) * raw / sum).collect())
}

// === impl Conversion ===

impl Conversion {
    /// What was stored. A row whose country is known no more is left out.
    pub fn restore(measured: Vec<Measured>) -> Self {
        let mut known = BTreeMap::new();
        for Measured { vendor, rows } in measured {
            for Row { channel, country, tally } in rows {
                if let Ok(country) = country.map(|code| code.parse::<Country>()).transpose() {
                    known.insert((vendor.clone(), channel, country), tally);
                }
            }
        }
        Self(known)
    }

    /// What is to be stored, without what weighs nothing any more.
    pub fn measured(&self, now: Timestamp) -> Vec<Measured> {
        let mut measured: Vec<Measured> = Vec::new();
        for ((vendor, channel, country), tally) in self.after(None, now) {
            let row = Row { channel: *channel, country: country.map(|country| country.to_string()), tally };
            match measured.last_mut().filter(|last| last.vendor == *vendor) {
                Some(last) => last.rows.push(row),
                None => measured.push(Measured { vendor: vendor.clone(), rows: vec![row] }),
            }
        }
        measured
    }

    /// What is known as it weighs now, in order of places, from after `last`; without what weighs nothing any more.
    pub fn after<'a>(&'a self, last: Option<&Place>, now: Timestamp) -> impl Iterator<Item = (&'a Place, Tally)> {
        let start = last.map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.0.range((start, Bound::Unbounded));
        known.map(move |(place, tally)| (place, tally.weighed(now))).filter(|(_, tally)| tally.matters())
    }

    /// Adds what somebody else has counted.
    pub fn add(&mut self, other: &Self, now: Timestamp) {
        for ((vendor, channel, country), more) in &other.0 {
            let (tally, more) = (self.count(vendor, *channel, *country, now), more.weighed(now));
            tally.sends += more.sends;
            tally.approvals += more.approvals;
        }
    }

    /// What is known of one vendor.
    pub fn of(&self, vendor: &str) -> Self {
        let known = self.0.iter().filter(|((name, ..), _)| name == vendor);
        Self(known.map(|(place, tally)| (place.clone(), *tally)).collect())
    }

    /// The vendors of which something is known.
    pub fn vendors(&self) -> BTreeSet<String> {
        self.0.keys().map(|(vendor, ..)| vendor.clone()).collect()
    }

    /// Counts a code that a vendor took, or perhaps took.
    pub fn add_send(&mut self, vendor: &str, channel: Channel, country: Option<Country>, now: Timestamp) {
        self.count(vendor, channel, country, now).sends += 1.0;
    }

    /// Counts a code that was given back.
    pub fn add_approval(&mut self, vendor: &str, channel: Channel, country: Option<Country>, now: Timestamp) {
        self.count(vendor, channel, country, now).approvals += 1.0;
    }

    /// What is known of a vendor, as it weighs now.
    pub fn tally(&self, vendor: &str, channel: Channel, country: Option<Country>, now: Timestamp) -> Tally {
        let known = self.0.get(&(vendor.to_owned(), channel, country));
        known.map_or_else(Tally::default, |tally| tally.weighed(now))
    }

    fn count(&mut self, vendor: &str, channel: Channel, country: Option<Country>, now: Timestamp) -> &mut Tally {
        let tally = self.0.entry((vendor.to_owned(), channel, country)).or_default();
        *tally = tally.weighed(now);
        tally
    }
}

// === impl Tally ===

impl Tally {
    /// Approvals per send, 0 to 1, as if one of two more had been approved: so nobody is at 0 for good.
    pub fn rate(&self) -> f64 {
        ((self.approvals + 1.0) / (self.sends + 2.0)).min(1.0)
    }

    /// Whether it is enough to judge a vendor by.
    pub fn is_enough(&self) -> bool {
        self.sends >= ENOUGH
    }

    fn matters(&self) -> bool {
        self.sends + self.approvals >= LEAST
    }

    /// A clock set back makes nothing weigh more.
    fn weighed(&self, now: Timestamp) -> Self {
        let half_lives = now.since(self.at).as_secs_f64() / HALF_LIFE.as_secs_f64();
        let weight = 0.5_f64.powf(half_lives);
        Self { sends: self.sends * weight, approvals: self.approvals * weight, at: self.at.max(now) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(sends: f64, approvals: f64) -> Tally {
        Tally { sends, approvals, at: Timestamp::default() }
    }

    #[test]
    fn who_converts_better_gets_more_and_nobody_less_than_the_floor() {
        let even = shares(&[tally(200.0, 160.0), tally(5000.0, 4000.0)]).unwrap();
        assert!((even[0] - 0.5).abs() < 0.02, "{even:?}");
        let uneven = shares(&[tally(1000.0, 600.0), tally(1000.0, 800.0), tally(1000.0, 0.0)]).unwrap();
        assert!(uneven[1] > 0.75 && uneven[0] < 0.2, "{uneven:?}");
        assert!(uneven.iter().all(|share| *share >= FLOOR), "{uneven:?}");
        assert!((uneven.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let crowd = shares(&vec![tally(1000.0, 500.0); 40]).unwrap();
        assert!((crowd[7] - 0.025).abs() < 1e-9);
    }

    #[test]
    fn with_too_few_samples_of_one_nobody_is_judged() {
        assert_eq!(shares(&[tally(1e6, 1.0), tally(99.9, 99.0)]), None);
        assert_eq!(shares(&[tally(100.0, 0.0)]), Some(vec![1.0]));
    }

    #[test]
    fn what_was_counted_halves_and_is_forgotten() {
        let at = |half_lives: u32| Timestamp::from_millis(1_000) + HALF_LIFE * half_lives;
        let (country, channel) = (Some("MY".parse().unwrap()), Channel::Sms);
        let mut conversion = Conversion::default();
        for _ in 0..8 {
            conversion.add_send("a", channel, country, at(0));
        }
        conversion.add_approval("a", channel, country, at(0));
        conversion.add_send("a", channel, country, at(1));
        let tally = conversion.tally("a", channel, country, at(1));
        assert!((tally.sends - 5.0).abs() < 1e-9 && (tally.approvals - 0.5).abs() < 1e-9, "{tally:?}");
        // Set back, it weighs as much as before.
        assert_eq!(conversion.tally("a", channel, country, at(0)), tally);
        for other in [("b", channel, country), ("a", Channel::Voice, country), ("a", channel, None)] {
            assert_eq!(conversion.tally(other.0, other.1, other.2, at(1)).sends, 0.0);
        }
        assert_eq!(Conversion::restore(conversion.measured(at(1))), conversion);
        assert!(conversion.measured(at(20)).is_empty());
    }
}
