//! Every metric on the page is described, named as Prometheus has it, and documented with its labels.

use std::collections::{BTreeMap, BTreeSet};

use verigate::telemetry::catalog::{ENTRIES, Kind};

use crate::telemetry::promtool;
use crate::telemetry::site::Site;

#[tokio::test]
async fn what_is_on_the_page_is_in_the_catalog_and_as_it_says() {
    let site = Site::start().await;
    site.traffic().await;
    let page = site.page().await;
    let known: BTreeMap<_, _> = ENTRIES.iter().map(|entry| (entry.name, entry)).collect();
    assert_eq!(known.len(), ENTRIES.len(), "one is there twice");
    let mut seen = BTreeSet::new();
    let samples = page.samples();
    for sample in &samples {
        let name = sample.metric();
        let entry = known.get(name).unwrap_or_else(|| panic!("{name} is not in the catalog"));
        let mut labels: BTreeSet<_> = sample.labels.keys().map(String::as_str).collect();
        labels.remove("le");
        assert_eq!(labels, entry.labels.iter().copied().collect(), "the labels of {name}");
        seen.insert(name);
    }
    assert!(seen.len() > 22, "the traffic shows too little: {seen:?}");
    for name in &seen {
        let entry = known[name];
        let kind = match entry.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        assert!(page.text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is a {kind}");
        assert!(page.text.contains(&format!("# HELP {name} {}\n", entry.help)), "{name} is described");
    }
    promtool::run(&["check", "metrics"], &page.text);
}

#[test]
fn names_are_as_prometheus_has_them() {
    for entry in ENTRIES {
        let name = entry.name;
        assert!(name.starts_with("verigate_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), entry.kind == Kind::Counter, "{name}");
        assert_eq!(name.ends_with("_seconds"), entry.unit.is_some(), "{name}");
        assert!(entry.help.ends_with('.') && entry.help.len() > 15, "{name}: {}", entry.help);
        assert!(!entry.labels.contains(&"le") && !entry.labels.contains(&"recipient"), "{name}");
    }
}

#[test]
fn the_documentation_lists_them_all() {
    let page = include_str!("../../../docs/metrics.md");
    let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `verigate_")).collect();
    let wanted: Vec<_> = ENTRIES
        .iter()
        .map(|entry| {
            let kind = match entry.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let labels: Vec<_> = entry.labels.iter().map(|label| format!("`{label}`")).collect();
            let labels = if labels.is_empty() { String::new() } else { format!(" {}", labels.join(", ")) };
            format!("| `{}` | {kind} |{labels} | {} |", entry.name, entry.help)
        })
        .collect();
    assert_eq!(rows, wanted, "docs/metrics.md must list what src/telemetry/catalog.rs does, in the same words");
}
