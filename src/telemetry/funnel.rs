//! The way from a start to an approval, in counters by tenant, channel, country and vendor.
//!
//! There are never more than so many of them, whoever calls and whatever for: the first `MOST_PLACES` places and the first
//! `MOST_TENANTS` tenants are told apart, and what comes later counts as `other`. Counters live as long as the process, as
//! all metrics do. A place that is known is found without making anything or keeping others from theirs.

use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock, PoisonError, RwLock};

use metrics::{Counter, Label};

/// Tenants that are told apart.
const MOST_TENANTS: usize = 200;

/// Places that are told apart; each has some five counters.
const MOST_PLACES: usize = 2_000;

/// Stands in for a tenant or a country beyond the bounds.
const OTHER: &str = "other";

/// Stands in for what there is none of: the country of an e-mail address, the vendor of a send that has none yet.
const NONE: &str = "none";

/// The counters belong to the process, as the recorder does that they are of.
static FUNNEL: LazyLock<Funnel> = LazyLock::new(|| Funnel::new(MOST_TENANTS, MOST_PLACES));

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A verification was started.
    Started,
    /// A person proved control of a recipient.
    Approved,
    /// A send was accepted, for a verification or as a message.
    Queued,
    /// A vendor took a send.
    Sent,
    Delivered,
    Undelivered,
    Rejected,
    /// Nobody knows whether it left.
    Unknown,
    Expired,
    Canceled,
}

/// Of what a send is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    Verification,
    Message,
}

/// Where it happened. Countries and channels are known ones, vendors configured ones, and tenants have shown a key.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub record: Record,
    pub tenant: &'a str,
    pub channel: &'static str,
    pub country: Option<&'a str>,
    pub vendor: Option<&'a str>,
}

struct Funnel {
    most_tenants: usize,
    most_places: usize,
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    /// By tenant and by country, which leaves few to look through.
    spots: HashMap<String, HashMap<String, Vec<Spot>>>,
    places: usize,
}

/// The counters of one place in a country.
struct Spot {
    record: Record,
    channel: &'static str,
    vendor: String,
    /// By stage; those that it came to.
    counters: [OnceLock<Counter>; Stage::ALL.len()],
}

/// Counts it.
pub fn count(stage: Stage, place: &Place<'_>) {
    FUNNEL.count(stage, *place);
}

// === impl Stage ===

impl Stage {
    const ALL: [Self; 10] = [
        Self::Started,
        Self::Approved,
        Self::Queued,
        Self::Sent,
        Self::Delivered,
        Self::Undelivered,
        Self::Rejected,
        Self::Unknown,
        Self::Expired,
        Self::Canceled,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Approved => "approved",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Undelivered => "undelivered",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::Canceled => "canceled",
        }
    }
}

// === impl Record ===

impl Record {
    fn as_str(self) -> &'static str {
        match self {
            Self::Verification => "verification",
            Self::Message => "message",
        }
    }
}

// === impl Funnel ===

impl Funnel {
    fn new(most_tenants: usize, most_places: usize) -> Self {
        Self { most_tenants, most_places, known: RwLock::default() }
    }

    fn count(&self, stage: Stage, place: Place<'_>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let bound = self.bound(&known, place);
        if let Some(spot) = known.find(&bound) {
            return spot.count(stage, &bound);
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Others may have come first.
        let bound = self.bound(&known, place);
        known.place(&bound).count(stage, &bound);
    }

    /// The same place, or the one that stands in for it.
    fn bound<'a>(&self, known: &Known, place: Place<'a>) -> Place<'a> {
        if known.find(&place).is_some() {
            return place;
        }
        if known.places >= self.most_places {
            return Place { tenant: OTHER, country: Some(OTHER), ..place };
        }
        let is_new = !known.spots.contains_key(place.tenant);
        if is_new && known.spots.len() >= self.most_tenants { Place { tenant: OTHER, ..place } } else { place }
    }
}

// === impl Known ===

impl Known {
    fn find(&self, place: &Place<'_>) -> Option<&Spot> {
        self.spots.get(place.tenant)?.get(place.country())?.iter().find(|spot| spot.is_of(place))
    }

    /// The one that is there, else a new one.
    fn place(&mut self, place: &Place<'_>) -> &Spot {
        let countries = self.spots.entry(place.tenant.to_owned()).or_default();
        let spots = countries.entry(place.country().to_owned()).or_default();
        let at = spots.iter().position(|spot| spot.is_of(place)).unwrap_or_else(|| {
            self.places += 1;
            spots.push(Spot::new(place));
            spots.len() - 1
        });
        &spots[at]
    }
}

// === impl Place ===

impl Place<'_> {
    fn country(&self) -> &str {
        self.country.unwrap_or(NONE)
    }

    fn vendor(&self) -> &str {
        self.vendor.unwrap_or(NONE)
    }

    fn counter(&self, stage: Stage) -> Counter {
        let mut labels = vec![
            Label::new("tenant", self.tenant.to_owned()),
            Label::new("channel", self.channel),
            Label::new("country", self.country().to_owned()),
        ];
        if stage == Stage::Started {
            return metrics::counter!("verigate_verifications_started_total", labels);
        }
        labels.push(Label::new("vendor", self.vendor().to_owned()));
        if stage == Stage::Approved {
            return metrics::counter!("verigate_verifications_approved_total", labels);
        }
        labels.push(Label::new("record", self.record.as_str()));
        labels.push(Label::new("stage", stage.as_str()));
        metrics::counter!("verigate_sends_total", labels)
    }
}

// === impl Spot ===

impl Spot {
    fn new(place: &Place<'_>) -> Self {
        let vendor = place.vendor().to_owned();
        Self { record: place.record, channel: place.channel, vendor, counters: Default::default() }
    }

    fn is_of(&self, place: &Place<'_>) -> bool {
        self.record == place.record && self.channel == place.channel && self.vendor == place.vendor()
    }

    fn count(&self, stage: Stage, place: &Place<'_>) {
        self.counters[stage as usize].get_or_init(|| place.counter(stage)).increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place<'a>(tenant: &'a str, country: &'a str) -> Place<'a> {
        let (country, vendor) = (Some(country), Some("main"));
        Place { record: Record::Message, tenant, channel: "sms", country, vendor }
    }

    fn places(funnel: &Funnel) -> Vec<String> {
        let known = funnel.known.read().unwrap();
        let mut places: Vec<_> = known
            .spots
            .iter()
            .flat_map(|(tenant, countries)| countries.keys().map(move |country| format!("{tenant} {country}")))
            .collect();
        places.sort();
        places
    }

    #[test]
    fn tenants_beyond_the_bound_count_together() {
        let funnel = Funnel::new(2, 100);
        for tenant in ["a", "b", "c", "d", "a"] {
            funnel.count(Stage::Sent, place(tenant, "MY"));
        }
        assert_eq!(places(&funnel), ["a MY", "b MY", "other MY"]);
    }

    #[test]
    fn places_beyond_the_bound_count_together_and_known_ones_by_themselves() {
        let funnel = Funnel::new(100, 3);
        for country in ["MY", "LK", "SG", "DE", "FR", "MY"] {
            funnel.count(Stage::Sent, place("a", country));
        }
        assert_eq!(places(&funnel), ["a LK", "a MY", "a SG", "other other"]);
        for at in 0..1_000 {
            funnel.count(Stage::Sent, place(&format!("tenant-{at}"), "US"));
            funnel.count(Stage::Delivered, place(&format!("tenant-{at}"), "US"));
        }
        assert_eq!(places(&funnel).len(), 4);
        assert_eq!(funnel.known.read().unwrap().places, 4);
    }

    #[test]
    fn stages_stand_in_their_places() {
        assert!(Stage::ALL.iter().enumerate().all(|(at, stage)| *stage as usize == at));
    }
}
