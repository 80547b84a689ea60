//! The dashboard and the alerts ask for what is there: every metric and label that they name is on the page of a gateway
//! with traffic, and Prometheus' own tool reads the rules and sees them go off.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::telemetry::promtool;
use crate::telemetry::site::Site;

const DASHBOARD: &str = include_str!("../../../deploy/grafana/verigate.json");
const ALERTS: &str = include_str!("../../../deploy/prometheus/alerts.yml");

/// What a scrape adds to every series.
const OF_SCRAPE: [&str; 2] = ["instance", "job"];

#[tokio::test]
async fn every_metric_and_label_of_the_dashboard_and_the_alerts_is_on_the_page() {
    let site = Site::start().await;
    site.traffic().await;
    let mut there = BTreeMap::<_, BTreeSet<_>>::new();
    for sample in site.page().await.samples() {
        there.entry(sample.metric().to_owned()).or_default().extend(sample.labels.into_keys());
    }
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut asked = Vec::new();
    collect(&dashboard, &mut asked);
    let of_dashboard = asked.len();
    asked.extend(expressions(ALERTS));
    assert!(of_dashboard > 40 && asked.len() > of_dashboard + 12, "{of_dashboard} of {}", asked.len());
    for expression in &asked {
        let names = metrics(expression);
        assert!(!names.is_empty(), "{expression} asks for nothing of ours");
        for name in &names {
            assert!(there.contains_key(*name), "{name} is not on the page, but in {expression}");
        }
        let known: BTreeSet<_> = names.iter().flat_map(|name| &there[*name]).map(String::as_str).collect();
        for label in labels(expression) {
            assert!(known.contains(label) || OF_SCRAPE.contains(&label), "no {label} of {names:?}, in {expression}");
        }
    }
}

#[test]
fn prometheus_reads_the_alerts_and_they_go_off_when_they_should() {
    promtool::run(&["check", "rules", "deploy/prometheus/alerts.yml"], "");
    promtool::run(&["test", "rules", "tests/it/telemetry/alerts_test.yml"], "");
}

#[test]
fn panels_have_names_of_their_own_and_do_not_lie_over_each_other() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut taken = BTreeSet::new();
    let (mut ids, mut titles) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64()) && titles.insert((panel["type"].as_str(), title)), "{title}");
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(x < 24 && taken.insert((x, y)), "{title} lies over another");
            }
        }
    }
}

/// All that a dashboard asks its data source.
fn collect(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("expr" | "definition", Value::String(text)) => found.push(text.clone()),
                    _ => collect(value, found),
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, found)),
        _ => {}
    }
}

/// What stands behind `expr:` in the rules, on its line or indented below it.
fn expressions(rules: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = rules.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(rest) = line.trim_start().strip_prefix("expr: ") else { continue };
        let depth = line.len() - line.trim_start().len();
        let mut expression = rest.trim_start_matches('|').to_owned();
        while let Some(more) = lines.next_if(|line| line.len() - line.trim_start().len() > depth) {
            expression = format!("{expression} {}", more.trim());
        }
        found.push(expression);
    }
    found
}

/// The metrics of ours in an expression.
fn metrics(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = words.filter(|word| word.starts_with("verigate_"));
    ours.map(|word| ["_bucket", "_sum", "_count"].iter().find_map(|part| word.strip_suffix(part)).unwrap_or(word))
        .collect()
}

/// The labels in an expression: in braces before an operator, in the parentheses of `by`, or behind a metric for the
/// values of a variable.
fn labels(expression: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for selector in expression.split('{').skip(1) {
        let inside = &selector[..selector.find('}').unwrap()];
        let names = inside.split("\",").filter_map(|part| part.split(['=', '!']).next());
        found.extend(names.map(str::trim).filter(|name| !name.is_empty()));
    }
    for grouping in expression.split("by (").skip(1) {
        found.extend(grouping[..grouping.find(')').unwrap()].split(',').map(str::trim));
    }
    if let Some(query) = expression.strip_prefix("label_values(") {
        found.extend(query.trim_end_matches(')').split(',').skip(1).map(str::trim));
    }
    found.remove("le");
    found
}

#[test]
fn expressions_are_taken_apart() {
    let one = "sum by (vendor, le) (rate(verigate_a_bucket{state=\"x\",country!~\"$c\"}[5m])) / verigate_b_total";
    assert_eq!(metrics(one).into_iter().collect::<Vec<_>>(), ["verigate_a", "verigate_b_total"]);
    assert_eq!(labels(one).into_iter().collect::<Vec<_>>(), ["country", "state", "vendor"]);
    assert_eq!(labels("label_values(verigate_a, tenant)").into_iter().collect::<Vec<_>>(), ["tenant"]);
    let rules = "    expr: |\n      a\n        b\n    for: 5m\n    expr: c == 0\n    for: 1m\n";
    assert_eq!(expressions(rules), [" a b", "c == 0"]);
}
