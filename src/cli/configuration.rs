//! `verigate check-config`, and how every command reads a configuration.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use verigate::clock::SystemClock;
use verigate::config::{self, Loaded};
use verigate::server;

use crate::cli::exit::{Failure, Outcome, tell};
use crate::cli::output;

/// Check a configuration and print what it comes to
///
/// Prints the defaults, your file and the environment laid over each other, as TOML: beside every value that is no
/// default stands where it came from, and secrets are hidden. Opens no store and binds no address.
///
/// Faults go to standard error, each on a line of its own with file, line and key; then the exit code is 64. Warnings
/// go there, too, and change nothing.
#[derive(Args)]
#[command(after_help = "Example:\n  verigate check-config --config verigate.toml")]
pub(crate) struct Arguments {
    /// The configuration file; without one, the dev profile
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let loaded = load(arguments.config.as_deref())?;
    for warning in &loaded.warnings {
        tell(&format!("warning: {warning}"));
    }
    output::print(&loaded.render())?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a configuration and checks all of it, also what only the server can read. Opens and binds nothing.
pub(crate) fn load(file: Option<&Path>) -> Result<Loaded, Failure> {
    let mut loaded = config::load(file, config::environment()).map_err(Failure::configuration)?;
    let warnings = server::check(&loaded, Arc::new(SystemClock)).map_err(Failure::configuration)?;
    loaded.warnings.extend(warnings);
    Ok(loaded)
}
