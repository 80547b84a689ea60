//! `verigate restore` and `verigate verify-store`: a store and its backups without a gateway.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use serde_json::json;
use verigate::bench::progress::Progress;
use verigate::clock::SystemClock;
use verigate::error::{Error, Kind};
use verigate::random::OsRandom;
use verigate::server::restore::{self, Checked, Stage};

use crate::cli::exit::{CANNOT_CREATE, DATA, Failure, INPUT_OUTPUT, Outcome, REFUSED};
use crate::cli::output;

/// Make a store from a backup
///
/// Reads the whole backup first: that nothing is missing or changed, and that the key file opens every record. Then it
/// writes the store, compares it with the backup, and only then gives it its name, so there is either all of it or
/// nothing. The store is as it was when the backup ended; point store.path at the folder to run a gateway on it.
///
/// What happened after the backup is not known there: a code that was approved since counts as pending until it expires,
/// and what was still to be sent then is sent, perhaps again.
#[derive(Args)]
#[command(
    after_help = "Example:\n  verigate restore --from /backup/verigate-2026-11-28.backup --data /var/lib/verigate/store \\\n    \
                        --key-file /etc/verigate/store.key"
)]
pub(crate) struct RestoreArguments {
    /// The backup, as `verigate backup` made it
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The folder to make the store in; it must be empty, or not be there yet
    #[arg(long, value_name = "FOLDER")]
    data: PathBuf,
    /// The key file of the store that the backup is of: store.key_file of its configuration
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Print what was restored as one line of JSON
    #[arg(long)]
    json: bool,
}

/// Check a backup, or a store that no gateway is using
///
/// Reads every record: that it is whole, that the key file opens it, and that it is what it should be, and counts them by
/// kind. A store is opened as a start opens it, which takes up what its journal holds and changes nothing else.
///
/// Exits with 0 when all is well and with 1 when a record is bad.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  verigate verify-store /backup/verigate-2026-11-28.backup --key-file /etc/verigate/store.key\n  \
                        verigate verify-store ./verigate-data --key-file ./verigate-data.key"
)]
pub(crate) struct VerifyArguments {
    /// A backup file, or the folder of a store
    path: PathBuf,
    /// The key file of the store: store.key_file of its configuration
    #[arg(long, value_name = "FILE")]
    key_file: PathBuf,
    /// Print what was found as one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn restore(arguments: &RestoreArguments) -> Outcome {
    let RestoreArguments { from, data, key_file, json } = arguments;
    let checked = with_progress(async |tell| restore::restore(from, data, key_file, Arc::new(OsRandom), tell).await)?;
    let records = checked.census.good();
    let text = match json {
        true => to_json(&checked),
        false => format!("Restored {} with {records} records.\n{}", data.display(), to_rows(&checked)),
    };
    output::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn verify(arguments: &VerifyArguments) -> Outcome {
    let VerifyArguments { path, key_file, json } = arguments;
    let checked = with_progress(async |tell| restore::verify(path, key_file, &SystemClock, tell).await);
    // A backup that cannot be read is a bad one.
    let checked = checked.map_err(|failure| failure.instead_of(DATA, REFUSED))?;
    let bad = checked.census.bad;
    let text = match json {
        true => to_json(&checked),
        false if bad == 0 => format!("{}: all good.\n{}", path.display(), to_rows(&checked)),
        false => to_rows(&checked),
    };
    output::print(&text)?;
    if bad == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let first = checked.census.first_fault.unwrap_or_default();
    Err(Failure::new(REFUSED, format!("{}: {bad} records are bad; the first is {first}", path.display())))
}

/// Does the work, and shows on standard error how far it is.
fn with_progress(work: impl AsyncFnOnce(&mut restore::Tell<'_>) -> Result<Checked, Error>) -> Result<Checked, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| Failure::internal(&error))?;
    let mut stderr = std::io::stderr();
    let terminal = stderr.is_terminal();
    let mut progress = Progress::new(&mut stderr, terminal);
    let mut tell = |stage: Stage, records: u64| {
        let done = match stage {
            Stage::Checking => "checked",
            Stage::Restoring => "restored",
            Stage::Comparing => "compared",
        };
        progress.draw(&format!("{records} records {done}"));
    };
    let checked = runtime.block_on(work(&mut tell));
    progress.clear();
    checked.map_err(|error| failure(&error))
}

fn failure(error: &Error) -> Failure {
    let code = match error.kind() {
        Kind::Invalid => DATA,
        Kind::Exists => CANNOT_CREATE,
        Kind::Unavailable => INPUT_OUTPUT,
        _ => return Failure::internal(error),
    };
    Failure::new(code, error.message())
}

fn to_rows(checked: &Checked) -> String {
    let of = checked
        .header
        .iter()
        .flat_map(|header| [("store", header.store.to_string()), ("backed up at", header.created_at.to_string())]);
    let kinds = checked.census.kinds.iter().map(|(kind, count)| (*kind, count.to_string()));
    let bad = Some(("bad", checked.census.bad.to_string())).filter(|_| checked.census.bad > 0);
    of.chain(kinds).chain(bad).map(|(name, value)| format!("  {name:<22}  {value}\n")).collect()
}

fn to_json(checked: &Checked) -> String {
    let header = checked.header.as_ref();
    let text = json!({
        "store": header.map(|header| header.store.to_string()),
        "createTime": header.map(|header| header.created_at.to_string()),
        "records": checked.census.good(),
        "kinds": checked.census.kinds,
        "bad": checked.census.bad,
        "firstFault": checked.census.first_fault,
    });
    format!("{text}\n")
}
