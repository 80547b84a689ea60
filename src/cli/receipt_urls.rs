//! `verigate receipt-urls`: where vendors report, for those that want to be told so in their own settings.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use secrecy::ExposeSecret;
use verigate::clock::SystemClock;
use verigate::error::{Error, Kind};
use verigate::random::OsRandom;
use verigate::server;

use crate::cli::exit::{Failure, INPUT_OUTPUT, KEY_FILE, Outcome, with_causes};
use crate::cli::{configuration, output};

/// Print where vendors report what became of messages
///
/// Prints a line for each configured vendor that calls us: its name and its URL, for vendors that want it in their own
/// settings. The others get it with each message. A URL holds a token by which its vendor is known, so keep it to yourself.
///
/// Without receipts.secret in the configuration the tokens come from the store, which must then not be in use.
#[derive(Args)]
#[command(after_help = "Example:\n  verigate receipt-urls --config verigate.toml")]
pub(crate) struct Arguments {
    /// The configuration file; without one, the dev profile
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let loaded = configuration::load(arguments.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(&error))?;
    let urls = runtime.block_on(server::receipt_urls(&loaded, Arc::new(SystemClock), Arc::new(OsRandom)));
    let urls = urls.map_err(|error| failure(&error))?;
    let width = urls.iter().map(|(vendor, _)| vendor.len()).max().unwrap_or_default();
    let line = |(vendor, url): &(String, secrecy::SecretString)| format!("{vendor:<width$}  {}\n", url.expose_secret());
    output::print(&urls.iter().map(line).collect::<String>())?;
    Ok(ExitCode::SUCCESS)
}

fn failure(error: &Error) -> Failure {
    match error.kind() {
        Kind::Precondition => Failure::configuration(error.message()),
        // The configuration has passed its checks.
        Kind::Invalid => Failure::new(KEY_FILE, error.message()),
        Kind::Unavailable => Failure::new(INPUT_OUTPUT, with_causes(error)),
        _ => Failure::internal(error),
    }
}
