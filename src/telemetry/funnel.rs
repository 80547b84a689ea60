//! The way from a start to an approval, in counters by tenant, channel, country and vendor.
//!
//! There are never more than so many of them, whoever calls and whatever for: the first `MOST_PLACES` sets of labels and
//! the first `MOST_TENANTS` tenants are told apart, and what comes later counts as `other`. Counters live as long as the
//! process, as all metrics do.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

use metrics::{Counter, Label};

/// Tenants that are told apart.
const MOST_TENANTS: usize = 200;

/// Sets of labels that are told apart; each is some five counters.
const MOST_PLACES: usize = 2_000;

/// Stands in for a tenant or a country beyond the bounds.
const OTHER: &str = "other";

/// Stands in for what there is none of: the country of an e-mail address, the vendor of a send that has none yet.
const NONE: &str = "none";

/// The counters belong to the process, as the recorder does that they are of.
static FUNNEL: LazyLock<Funnel> = LazyLock::new(|| Funnel::new(MOST_TENANTS, MOST_PLACES));

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    tenants: HashSet<Arc<str>>,
    counters: HashMap<Labels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Labels {
    stage: Stage,
    record: Record,
    tenant: Arc<str>,
    channel: &'static str,
    country: Arc<str>,
    vendor: Arc<str>,
}

/// Counts it.
pub fn count(stage: Stage, place: &Place<'_>) {
    FUNNEL.counter(stage, place).increment(1);
}

// === impl Stage ===

impl Stage {
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

    fn counter(&self, stage: Stage, place: &Place<'_>) -> Counter {
        let labels = Labels::new(stage, place);
        if let Some(counter) = self.known.read().unwrap_or_else(PoisonError::into_inner).counters.get(&labels) {
            return counter.clone();
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let labels = self.bound(&mut known, labels);
        known.counters.entry(labels).or_insert_with_key(Labels::counter).clone()
    }

    /// The same labels, or those that stand in for them.
    fn bound(&self, known: &mut Known, labels: Labels) -> Labels {
        if known.counters.contains_key(&labels) {
            return labels;
        }
        if known.counters.len() >= self.most_places {
            return Labels { tenant: OTHER.into(), country: OTHER.into(), ..labels };
        }
        if !known.tenants.contains(&labels.tenant) {
            if known.tenants.len() >= self.most_tenants {
                return Labels { tenant: OTHER.into(), ..labels };
            }
            known.tenants.insert(Arc::clone(&labels.tenant));
        }
        labels
    }
}

// === impl Labels ===

impl Labels {
    fn new(stage: Stage, place: &Place<'_>) -> Self {
        Self {
            stage,
            record: place.record,
            tenant: place.tenant.into(),
            channel: place.channel,
            country: place.country.unwrap_or(NONE).into(),
            vendor: place.vendor.unwrap_or(NONE).into(),
        }
    }

    fn counter(&self) -> Counter {
        let own = |text: &Arc<str>| text.as_ref().to_owned();
        let mut labels = vec![
            Label::new("tenant", own(&self.tenant)),
            Label::new("channel", self.channel),
            Label::new("country", own(&self.country)),
        ];
        if self.stage == Stage::Started {
            return metrics::counter!("verigate_verifications_started_total", labels);
        }
        labels.push(Label::new("vendor", own(&self.vendor)));
        if self.stage == Stage::Approved {
            return metrics::counter!("verigate_verifications_approved_total", labels);
        }
        labels.push(Label::new("record", self.record.as_str()));
        labels.push(Label::new("stage", self.stage.as_str()));
        metrics::counter!("verigate_sends_total", labels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place<'a>(tenant: &'a str, country: &'a str) -> Place<'a> {
        let (country, vendor) = (Some(country), Some("main"));
        Place { record: Record::Message, tenant, channel: "sms", country, vendor }
    }

    fn labels(funnel: &Funnel) -> Vec<String> {
        let known = funnel.known.read().unwrap();
        let mut labels: Vec<_> =
            known.counters.keys().map(|labels| format!("{} {}", labels.tenant, labels.country)).collect();
        labels.sort();
        labels
    }

    #[test]
    fn tenants_beyond_the_bound_count_together() {
        let funnel = Funnel::new(2, 100);
        for tenant in ["a", "b", "c", "d", "a"] {
            funnel.counter(Stage::Sent, &place(tenant, "MY")).increment(1);
        }
        assert_eq!(labels(&funnel), ["a MY", "b MY", "other MY"]);
    }

    #[test]
    fn places_beyond_the_bound_count_together_and_known_ones_by_themselves() {
        let funnel = Funnel::new(100, 3);
        for country in ["MY", "LK", "SG", "DE", "FR", "MY"] {
            funnel.counter(Stage::Sent, &place("a", country)).increment(1);
        }
        assert_eq!(labels(&funnel), ["a LK", "a MY", "a SG", "other other"]);
        for at in 0..1_000 {
            funnel.counter(Stage::Sent, &place(&format!("tenant-{at}"), "US")).increment(1);
            funnel.counter(Stage::Delivered, &place(&format!("tenant-{at}"), "US")).increment(1);
        }
        assert_eq!(labels(&funnel).len(), 5);
    }
}
