//! The figures of a run as tables.

use std::collections::BTreeMap;

use crate::simulation::attacks::Shape;
use crate::simulation::tally::{Prefix, Tally, sum};

/// `price`: of one send.
pub(crate) fn print(tally: &Tally, price: f64) {
    println!(
        "{:<24} {:>8} {:>8} {:>8} {:>9} {:>12} {:>13}",
        "attack", "asked", "through", "stopped", "prefixes", "first stop", "worst prefix"
    );
    for shape in Shape::ALL {
        row(shape.as_str(), tally.of_shape(shape));
    }
    println!("  of it, by country:");
    for land in tally.countries() {
        row(&format!("  {land}"), tally.of_country(land));
    }
    row("all", tally.prefixes.values());
    let (offered, through) = sum(tally.prefixes.values());
    println!(
        "money saved: {:.2} of {:.2} at {price} a send",
        (offered - through) as f64 * price,
        offered as f64 * price
    );
    let mut rules: BTreeMap<&str, u64> = BTreeMap::new();
    tally.stopped.iter().for_each(|((_, rule), count)| *rules.entry(rule).or_default() += count);
    println!("stopped by: {}", list(rules.into_iter()));
    println!(
        "honest sends: {} asked, {} refused, {:.4} %; by: {}",
        tally.honest.offered,
        tally.honest.offered - tally.honest.through,
        tally.share_refused() * 100.0,
        list(tally.refused.iter().map(|(rule, count)| (rule.as_str(), *count)))
    );
    println!("honest people who had to wait for the next send and did: {}", tally.waited);
}

pub(crate) fn print_worst(runs: &[Tally]) {
    let stopped = runs.iter().map(Tally::share_stopped).fold(1.0, f64::min);
    let refused = runs.iter().map(Tally::share_refused).fold(0.0, f64::max);
    println!(
        "\nworst of {}: {:.2} % of attacks stopped, {:.4} % of honest sends refused",
        runs.len(),
        stopped * 100.0,
        refused * 100.0
    );
}

fn row<'a>(name: &str, prefixes: impl Iterator<Item = &'a Prefix> + Clone) {
    let (offered, through) = sum(prefixes.clone());
    let worst = prefixes.clone().map(|prefix| prefix.through).max().unwrap_or_default();
    let first = prefixes.clone().map(|prefix| prefix.before_stop).max().unwrap_or_default();
    let share = 100.0 - 100.0 * through as f64 / offered.max(1) as f64;
    let count = prefixes.count();
    println!("{name:<24} {offered:>8} {through:>8} {share:>7.2}% {count:>9} {first:>12} {worst:>13}");
}

fn list<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    let all: Vec<_> = counts.map(|(rule, count)| format!("{rule} {count}")).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}
