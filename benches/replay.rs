//! What the guard stops and whom it refuses: simulated days of honest people and five attacks, with the rules as they
//! come.
//!
//! `cargo bench --bench replay [-- --seed N] [--seeds K] [--days D] [--chart FILE] [--config FILE]` plays D days (7) for
//! each of K seeds (1) from N (1) on, and prints what became of each attack, by shape and for the worst prefix, which
//! honest sends were refused by which rule, and the money saved. With `--chart`, the first seed's hours are drawn.
//! Nothing is measured in real time, so the same seed gives the same figures on every machine.

#[path = "replay/chart.rs"]
mod chart;
#[path = "replay/simulation/mod.rs"]
mod simulation;
#[path = "replay/table.rs"]
mod table;

use std::path::PathBuf;

use clap::Parser;

type Failure = Box<dyn std::error::Error>;

#[derive(Parser)]
struct Arguments {
    /// Of the first run.
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Runs, each with the next seed.
    #[arg(long, default_value_t = 1)]
    seeds: u64,

    /// Days of each run.
    #[arg(long, default_value_t = 7)]
    days: u64,

    /// Where to draw the first run, as SVG.
    #[arg(long)]
    chart: Option<PathBuf>,

    /// A configuration in place of the defaults.
    #[arg(long)]
    config: Option<PathBuf>,

    /// What a send costs.
    #[arg(long, default_value_t = 0.08)]
    price: f64,

    /// Drips go to a hundred whole prefixes of a million numbers, in place of blocks of ten thousand.
    #[arg(long)]
    wide_drip: bool,

    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let config = verigate::config::load(arguments.config.as_deref(), std::iter::empty())?.config;
    let mut runs = Vec::new();
    for seed in arguments.seed..arguments.seed + arguments.seeds {
        let tally = {
            let plan = simulation::Plan { seed, days: arguments.days, wide_drip: arguments.wide_drip };
            simulation::run(&config.guard, config.verification.limits.clone(), plan).await
        };
        println!("\nseed {seed}, {} days", arguments.days);
        table::print(&tally, arguments.price);
        runs.push(tally);
    }
    table::print_worst(&runs);
    if let (Some(path), Some(first)) = (&arguments.chart, runs.first()) {
        std::fs::write(path, chart::draw(first))?;
    }
    Ok(())
}
