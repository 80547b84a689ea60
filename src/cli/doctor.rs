//! `verigate doctor`: what is wrong with a configuration and the machine it is for, before anybody else finds out.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use verigate::clock::SystemClock;
use verigate::random::OsRandom;
use verigate::server::checkup::{self, finding::Finding, finding::State};

use crate::cli::exit::{Failure, Outcome, REFUSED};
use crate::cli::{configuration, output};

/// Look for what is wrong before a server runs, or while it does
///
/// Checks the configuration, the permissions of files with secrets, the listeners' addresses and certificates, API keys
/// that end, the limit of open files, the store, its disk, and of each vendor its name, its port, its TLS, and its
/// credentials where it tells our balance; and the clock against the vendors'. Prints a line for each, and the way out
/// where something is to do. Sends no message and prints no secret. A store that nobody holds is opened, as a start does,
/// and closed again.
///
/// The exit code is 0 when nothing failed, warnings or not, 1 when something did, and 64 for a configuration that is
/// wrong. Run it as the user that the server runs as, with the same environment.
#[derive(Args)]
#[command(after_help = "Examples:\n  verigate doctor\n  verigate doctor --config /etc/verigate/verigate.toml\n  \
                        verigate doctor -c verigate.toml --json | jq '.findings[] | select(.state != \"ok\")'")]
pub(crate) struct Arguments {
    /// The configuration file; without one, the dev profile
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON object when all is done
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let mut report = Report { json: arguments.json, color: colored(), findings: Vec::new() };
    let loaded = match configuration::load(arguments.config.as_deref()) {
        Ok(loaded) => loaded,
        Err(failure) => {
            report.tell(Finding::failed("configuration", "", failure.message(), "mend each line of it"));
            report.finish()?;
            return Ok(failure.code());
        }
    };
    if loaded.warnings.is_empty() {
        report.tell(Finding::good("configuration", "", "sound"));
    }
    for warning in &loaded.warnings {
        report.tell(Finding::warning("configuration", "", warning, "see the manual of the key"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(&error))?;
    let checkup = checkup::run(&loaded, Arc::new(SystemClock), Arc::new(OsRandom), |finding| report.tell(finding));
    runtime.block_on(checkup);
    // A name lookup that hangs must not hold up the end.
    runtime.shutdown_background();
    report.finish()
}

fn colored() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// What was found so far.
struct Report {
    json: bool,
    color: bool,
    findings: Vec<Finding>,
}

// === impl Report ===

impl Report {
    /// Prints a line at once, for some checks take a while.
    fn tell(&mut self, finding: Finding) {
        if !self.json {
            // Whether somebody still reads is seen at the end.
            drop(output::print(&self.to_line(&finding)));
        }
        self.findings.push(finding);
    }

    fn to_line(&self, Finding { check, about, state, found, advice }: &Finding) -> String {
        let color = match state {
            State::Good => "32",
            State::Skipped => "2",
            State::Warning => "33",
            State::Failed => "31;1",
        };
        let state = format!("{:<7}", state.as_str());
        let state = if self.color { format!("\x1b[{color}m{state}\x1b[0m") } else { state };
        let about = if about.is_empty() { String::new() } else { format!(" {about}") };
        let advice = advice.as_ref().map(|advice| format!("; {advice}")).unwrap_or_default();
        format!("{state}  {check}{about}: {}{advice}\n", found.replace('\n', " / "))
    }

    fn finish(&self) -> Outcome {
        let count = |state| self.findings.iter().filter(|finding| finding.state == state).count();
        let (failed, warnings) = (count(State::Failed), count(State::Warning));
        if self.json {
            let findings: Vec<_> = self.findings.iter().map(to_json).collect();
            output::print(&format!("{}\n", json!({ "ok": failed == 0, "findings": findings })))?;
        } else {
            output::print(&format!("\n{failed} failed, {warnings} to look at, {} checked\n", self.findings.len()))?;
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
    }
}

fn to_json(Finding { check, about, state, found, advice }: &Finding) -> Value {
    json!({ "check": check, "about": about, "state": state.as_str(), "found": found, "advice": advice })
}
