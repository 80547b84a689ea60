//! How far verifications get, read off the metrics of this process every few seconds and kept for a quarter of an hour, so
//! that a page can show how it changes.
//!
//! What is counted is counted elsewhere; this only reads the page of metrics. It begins with the process, as that does.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::telemetry::Metrics;
use crate::telemetry::page::samples;

/// How far apart samples are.
pub(crate) const STEP: Duration = Duration::from_secs(10);

/// A quarter of an hour of them, and the one before.
const MOST: usize = 91;

/// Takes samples and keeps the newest.
pub struct Pulse {
    metrics: Metrics,
    clock: Arc<dyn Clock>,
    samples: Mutex<VecDeque<Counts>>,
}

/// Verifications by how far they got, since the process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) started: u64,
    /// Sends, of which a verification may have several.
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) approved: u64,
}

/// All that is read off the page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) counts: Counts,
    /// Started and approved verifications by country.
    pub(crate) countries: BTreeMap<String, (u64, u64)>,
    /// Errors that callers were told of, by reason.
    pub(crate) refusals: BTreeMap<String, u64>,
    /// What rules of the guard said, by rule and verdict.
    pub(crate) rules: BTreeMap<(String, String), u64>,
}

// === impl Pulse ===

impl Pulse {
    pub fn new(metrics: Metrics, clock: Arc<dyn Clock>) -> Self {
        Self { metrics, clock, samples: Mutex::default() }
    }

    /// Takes samples for ever.
    pub async fn run(self: Arc<Self>) {
        loop {
            let now = self.clock.now();
            self.add(self.read().counts);
            self.clock.sleep_until(now + STEP).await;
        }
    }

    pub(crate) fn read(&self) -> Reading {
        Reading::of(&self.metrics.render())
    }

    /// What was added from each sample to the next, oldest first, the counts of now as the last.
    pub(crate) fn steps(&self, now: Counts) -> Vec<Counts> {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let counts: Vec<_> = samples.iter().copied().chain([now]).collect();
        counts.windows(2).map(|pair| pair[1].since(pair[0])).collect()
    }

    fn add(&self, counts: Counts) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() == MOST {
            samples.pop_front();
        }
        samples.push_back(counts);
    }
}

// === impl Counts ===

impl Counts {
    fn since(self, earlier: Self) -> Self {
        Self {
            started: self.started.saturating_sub(earlier.started),
            sent: self.sent.saturating_sub(earlier.sent),
            delivered: self.delivered.saturating_sub(earlier.delivered),
            approved: self.approved.saturating_sub(earlier.approved),
        }
    }
}

// === impl Reading ===

impl Reading {
    fn of(page: &str) -> Self {
        let mut reading = Self::default();
        for sample in samples(page) {
            let (value, label) = (sample.value as u64, |name: &str| sample.label(name).to_owned());
            match sample.name {
                "verigate_verifications_started_total" => {
                    reading.counts.started += value;
                    reading.countries.entry(label("country")).or_default().0 += value;
                }
                "verigate_verifications_approved_total" => {
                    reading.counts.approved += value;
                    reading.countries.entry(label("country")).or_default().1 += value;
                }
                "verigate_sends_total" if sample.label("record") == "verification" => match sample.label("stage") {
                    "sent" => reading.counts.sent += value,
                    "delivered" => reading.counts.delivered += value,
                    _ => {}
                },
                "verigate_refusals_total" => *reading.refusals.entry(label("reason")).or_default() += value,
                "verigate_guard_total" => {
                    *reading.rules.entry((label("rule"), label("verdict"))).or_default() += value;
                }
                _ => {}
            }
        }
        reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_metrics_is_read_as_it_is_written() {
        let page = r#"
# HELP verigate_verifications_started_total Verifications that were started.
# TYPE verigate_verifications_started_total counter
verigate_verifications_started_total{tenant="a",channel="sms",country="MY"} 3
verigate_verifications_started_total{tenant="b",channel="sms",country="MY"} 4
verigate_verifications_approved_total{tenant="a",channel="sms",country="MY",vendor="ma\"in,x=\"y"} 2
verigate_verifications_approved_total{country="SG"} 1
verigate_sends_total{tenant="a",record="verification",stage="sent"} 6
verigate_sends_total{tenant="a",record="message",stage="sent"} 60
verigate_sends_total{tenant="a",record="verification",stage="delivered"} 5
verigate_refusals_total{reason="COOL_DOWN"} 9
verigate_guard_total{rule="country",verdict="refused"} 8
verigate_connections{listener="grpc"} 1
verigate_call_seconds_sum{surface="grpc"} 0.25
"#;
        let reading = Reading::of(page);
        assert_eq!(reading.counts, Counts { started: 7, sent: 6, delivered: 5, approved: 3 });
        assert_eq!(reading.countries["MY"], (7, 2));
        assert_eq!(reading.countries["SG"], (0, 1));
        assert_eq!(reading.refusals["COOL_DOWN"], 9);
        assert_eq!(reading.rules[&("country".to_owned(), "refused".to_owned())], 8);
    }
}
