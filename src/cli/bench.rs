//! `verigate bench`: how fast this machine is, measured on a server of its own or on one that is given.

use std::io::{IsTerminal, stderr, stdout};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use verigate::bench::{self, OpenStore, Options, Output, Surroundings};
use verigate::clock::SystemClock;
use verigate::error::Kind;
use verigate::random::OsRandom;
use verigate::server;

use crate::cli::exit::{Failure, INTERNAL, Outcome, UNAVAILABLE, USAGE, with_causes};

/// Measure calls a second and how long each takes
///
/// Starts a server of its own on an empty store, unless told of another, and measures a call that does nothing, a start,
/// a check, and both together, at several numbers of callers. With a server of its own it also measures what the store
/// alone makes of the same records, in this process and on another empty store.
///
/// The table ends with what a start with its check comes to, beside the call that does nothing and beside the store
/// alone.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  verigate bench\n  verigate bench --callers 1,128 --seconds 5 --json > report.json\n  \
                        verigate bench --live 1000000"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    options: Options,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let program = std::env::current_exe().map_err(|error| Failure::internal(&error))?;
    let open_store: OpenStore =
        Box::new(|folder| server::open_store(folder, Arc::new(SystemClock), Arc::new(OsRandom)));
    // A server that is given may be on another machine, and its store on another disk.
    let open_store = arguments.options.address.is_none().then_some(open_store);
    let surroundings = Surroundings { clock: Arc::new(SystemClock), random: Arc::new(OsRandom), program, open_store };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(&error))?;
    let output = Output { report: &mut stdout(), progress: &mut stderr(), terminal: stderr().is_terminal() };
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };
    match runtime.block_on(bench::run(&arguments.options, surroundings, output, interrupted)) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            let code = match error.kind() {
                Kind::Invalid => USAGE,
                Kind::Unavailable => UNAVAILABLE,
                _ => INTERNAL,
            };
            Err(Failure::new(code, with_causes(&error)))
        }
    }
}
