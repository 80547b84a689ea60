//! The page of metrics as OTLP writes them: what is exported is what a scraper would read, under the same names, so that
//! neither can say something else than the other.

use std::borrow::Cow;
use std::collections::BTreeMap;

use prost::Message;

use crate::telemetry::catalog::{ENTRIES, Entry, Kind};
use crate::telemetry::otlp::wire::{
    Data, Gauge, Histogram, HistogramPoint, KeyValue, Metric, MetricsRequest, NumberPoint, Resource, ResourceMetrics,
    Scope, ScopeMetrics, Sum, text,
};
use crate::telemetry::page::{Sample, samples};

/// Each point is the sum of all since the process began.
const CUMULATIVE: i32 = 2;

/// Nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Period {
    /// When counting began.
    pub(crate) from: u64,
    pub(crate) to: u64,
}

/// What the lines of one histogram under the same labels say.
#[derive(Default)]
struct Buckets {
    /// By upper bound: how many were at most that. The last has none.
    counts: Vec<(Option<f64>, u64)>,
    sum: f64,
    count: u64,
}

/// A request that hands over what a page says; metrics that are not in the catalog are left out.
pub(crate) fn encode(page: &str, period: Period, resource: &Resource, scope: &Scope) -> Vec<u8> {
    let samples: Vec<_> = samples(page).collect();
    let metrics = ENTRIES.iter().filter_map(|entry| to_metric(entry, &samples, period)).collect();
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope.clone()), metrics }];
    let resource = Some(resource.clone());
    MetricsRequest { resource_metrics: vec![ResourceMetrics { resource, scope_metrics }] }.encode_to_vec()
}

/// `None` for one of which the page says nothing.
fn to_metric(entry: &Entry, samples: &[Sample<'_>], period: Period) -> Option<Metric> {
    let data = match entry.kind {
        Kind::Counter => Data::Sum(Sum {
            data_points: points(entry, samples, period)?,
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        Kind::Gauge => Data::Gauge(Gauge { data_points: points(entry, samples, period)? }),
        Kind::Histogram => Data::Histogram(histogram(entry, samples, period)?),
    };
    let unit = entry.unit.map_or("1", |unit| unit.as_canonical_label());
    Some(Metric {
        name: entry.name.to_owned(),
        description: entry.help.to_owned(),
        unit: unit.to_owned(),
        data: Some(data),
    })
}

fn points(entry: &Entry, samples: &[Sample<'_>], Period { from, to }: Period) -> Option<Vec<NumberPoint>> {
    let of = samples.iter().filter(|sample| sample.name == entry.name);
    let points = of.map(|sample| NumberPoint {
        attributes: to_attributes(&sample.labels),
        start_time_unix_nano: from,
        time_unix_nano: to,
        as_double: Some(sample.value),
    });
    Some(points.collect()).filter(|points: &Vec<_>| !points.is_empty())
}

fn histogram(entry: &Entry, samples: &[Sample<'_>], Period { from, to }: Period) -> Option<Histogram> {
    let mut by_labels = BTreeMap::<Vec<(&str, Cow<'_, str>)>, Buckets>::new();
    for sample in samples {
        let Some(part) = sample.name.strip_prefix(entry.name) else { continue };
        let mut labels = sample.labels.clone();
        let bound = labels.iter().position(|(name, _)| *name == "le").map(|at| labels.remove(at).1);
        let buckets = by_labels.entry(labels).or_default();
        match part {
            "_bucket" => buckets.counts.push((bound.and_then(|bound| upper(&bound)), sample.value as u64)),
            "_sum" => buckets.sum = sample.value,
            "_count" => buckets.count = sample.value as u64,
            _ => {}
        }
    }
    by_labels.retain(|_, buckets| !buckets.counts.is_empty());
    let points = by_labels.into_iter().map(|(labels, buckets)| HistogramPoint {
        attributes: to_attributes(&labels),
        start_time_unix_nano: from,
        time_unix_nano: to,
        count: buckets.count,
        sum: Some(buckets.sum),
        bucket_counts: buckets.by_itself(),
        explicit_bounds: buckets.counts.iter().filter_map(|(bound, _)| *bound).collect(),
    });
    let data_points: Vec<_> = points.collect();
    (!data_points.is_empty()).then_some(Histogram { data_points, aggregation_temporality: CUMULATIVE })
}

fn to_attributes(labels: &[(&str, Cow<'_, str>)]) -> Vec<KeyValue> {
    labels.iter().map(|(name, value)| text(*name, value.as_ref())).collect()
}

/// `None` for the bound above all numbers.
fn upper(bound: &str) -> Option<f64> {
    bound.parse().ok().filter(|bound: &f64| bound.is_finite())
}

// === impl Buckets ===

impl Buckets {
    /// What is in each bucket alone. The page says how many are in it and all below.
    fn by_itself(&self) -> Vec<u64> {
        let below = std::iter::once(0).chain(self.counts.iter().map(|(_, count)| *count));
        self.counts.iter().zip(below).map(|((_, count), below)| count.saturating_sub(below)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(page: &str) -> Vec<Metric> {
        let (resource, scope) = (Resource::default(), Scope::default());
        let bytes = encode(page, Period { from: 1, to: 2 }, &resource, &scope);
        let request = MetricsRequest::decode(bytes.as_slice()).unwrap();
        request.resource_metrics[0].scope_metrics[0].metrics.clone()
    }

    #[test]
    fn gauges_are_told_as_they_are_and_what_is_not_ours_is_left_out() {
        let metrics = encoded("verigate_vendor_breaker{vendor=\"a\",state=\"open\"} 1\nverigate_unheard_of 5\n");
        assert_eq!((metrics.len(), metrics[0].name.as_str()), (1, "verigate_vendor_breaker"));
        let Some(Data::Gauge(gauge)) = &metrics[0].data else { panic!("{metrics:?}") };
        assert_eq!(gauge.data_points[0].attributes, [text("vendor", "a"), text("state", "open")]);
        assert_eq!((gauge.data_points[0].as_double, gauge.data_points[0].time_unix_nano), (Some(1.0), 2));
    }

    #[test]
    fn buckets_are_told_apart() {
        let page = "verigate_commit_seconds_bucket{le=\"0.001\"} 2\nverigate_commit_seconds_bucket{le=\"0.01\"} 5\n\
                    verigate_commit_seconds_bucket{le=\"+Inf\"} 6\nverigate_commit_seconds_sum 0.5\n\
                    verigate_commit_seconds_count 6\n";
        let metrics = encoded(page);
        let Some(Data::Histogram(histogram)) = &metrics[0].data else { panic!("{metrics:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (6, Some(0.5)));
        assert_eq!((&point.bucket_counts[..], &point.explicit_bounds[..]), (&[2, 3, 1][..], &[0.001, 0.01][..]));
        assert_eq!(metrics[0].unit, "s");
    }
}
