//! `verigate backup` and `verigate rewrite-store`: what a running gateway is asked to do with its whole store.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use tonic::Streaming;
use verigate::bench::progress::Progress;
use verigate::clock::{Clock, SystemClock, Timestamp};
use verigate::keeping::format::Header;
use verigate::keeping::reader::Reader;
use verigate::proto::admin::v1::admin_service_client::AdminServiceClient;
use verigate::proto::admin::v1::{BackupStoreRequest, BackupStoreResponse, RewriteStoreRequest};

use crate::cli::client::{Connection, Gateway, Refusal};
use crate::cli::exit::{CANNOT_CREATE, Failure, INPUT_OUTPUT, Outcome, UNAVAILABLE};
use crate::cli::output;

/// Longer than either takes.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Write a backup of a running gateway's store into a file
///
/// The gateway goes on meanwhile. The backup holds everything that was written before the command began, and what was
/// written until it ended, as it was at one moment. Its records stay sealed: to restore it takes the store's key file,
/// too, which is not in it, so keep a copy of that elsewhere. The file has its name only once it is complete, checked and
/// on the disk; a file that is there already is left alone.
///
/// Needs an API key with the scope admin.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  VERIGATE_KEY=ID.SECRET verigate backup --to /backup/verigate-$(date +%F).backup\n  \
                        verigate verify-store /backup/verigate-2026-11-28.backup --key-file /etc/verigate/store.key"
)]
pub(crate) struct BackupArguments {
    /// The file to make; only its owner may read it
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

/// Have a running gateway write its store's files anew, with nothing in them but what lives
///
/// Only then are the bytes gone, sealed as they are, of what was erased, has expired or was replaced. The gateway goes on
/// meanwhile. It does this by itself as often as store.rewrite_interval says; this is for when it should be now.
///
/// Needs an API key with the scope admin.
#[derive(Args)]
#[command(after_help = "Example:\n  VERIGATE_KEY=ID.SECRET verigate rewrite-store")]
pub(crate) struct RewriteArguments {
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn backup(arguments: &BackupArguments) -> Outcome {
    let (to, json) = (&arguments.to, arguments.connection.json);
    if to.symlink_metadata().is_ok() {
        let message = format!("{} is there already and was left as it is", to.display());
        return Err(Failure::new(CANNOT_CREATE, message));
    }
    let part = part_of(to);
    let outcome = arguments.connection.run(async |gateway| {
        let written = fetch(&gateway, &part).await?;
        place(&part, to).map_err(|error| unwritable(to, &error))?;
        tell(to, &written, json)?;
        Ok(ExitCode::SUCCESS)
    });
    if outcome.is_err() {
        drop(fs::remove_file(&part));
    }
    outcome
}

pub(crate) fn rewrite(arguments: &RewriteArguments) -> Outcome {
    let json = arguments.connection.json;
    arguments.connection.run(async |gateway| {
        let mut client = AdminServiceClient::new(gateway.transport.clone());
        let mut answers = client.rewrite_store(gateway.call(RewriteStoreRequest {}, PATIENCE)).await?.into_inner();
        let mut stderr = std::io::stderr();
        let terminal = stderr.is_terminal();
        let mut progress = Progress::new(&mut stderr, terminal);
        while let Some(answer) = answers.message().await? {
            let (records, megabytes) = (answer.records, answer.megabytes);
            if !answer.done {
                progress.draw(&format!("{records} records taken over, {megabytes} MB"));
                continue;
            }
            let text = match json {
                true => format!("{}\n", json!({ "records": records, "megabytes": megabytes })),
                false => format!("Done: {records} records in {megabytes} MB; the old files are gone.\n"),
            };
            progress.clear();
            output::print(&text)?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(Failure::new(UNAVAILABLE, "the gateway stopped before it was done").into())
    })
}

/// A backup that lies in a file, whole.
struct Written {
    header: Header,
    records: u64,
    bytes: u64,
}

/// Has the gateway write a backup into a file, durably, and reads that again.
async fn fetch(gateway: &Gateway, part: &Path) -> Result<Written, Refusal> {
    let mut client = AdminServiceClient::new(gateway.transport.clone());
    let mut chunks = client.backup_store(gateway.call(BackupStoreRequest {}, PATIENCE)).await?.into_inner();
    // After the first answer, so that a refusal leaves nothing behind.
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(part);
    let mut file = BufWriter::new(
        file.map_err(|error| Failure::new(CANNOT_CREATE, format!("{} cannot be made: {error}", part.display())))?,
    );
    let mut stderr = std::io::stderr();
    let terminal = stderr.is_terminal();
    let mut progress = Progress::new(&mut stderr, terminal);
    write_chunks(&mut chunks, &mut file, &mut progress).await?.map_err(|error| unwritable(part, &error))?;
    let file = file.into_inner().map_err(|error| unwritable(part, error.error()))?;
    file.sync_all().map_err(|error| unwritable(part, &error))?;
    let written = check(part, &mut progress)?;
    progress.clear();
    Ok(written)
}

async fn write_chunks(
    chunks: &mut Streaming<BackupStoreResponse>,
    file: &mut BufWriter<File>,
    progress: &mut Progress<'_>,
) -> Result<std::io::Result<()>, Refusal> {
    let (clock, mut bytes) = (SystemClock, 0);
    let begun = clock.now();
    while let Some(answer) = chunks.message().await? {
        if let Err(error) = file.write_all(&answer.chunk) {
            return Ok(Err(error));
        }
        bytes += answer.chunk.len() as u64;
        progress.draw(&line("read", answer.records.unsigned_abs().into(), bytes, begun, clock.now()));
        if answer.complete {
            return Ok(Ok(()));
        }
    }
    Err(Failure::new(UNAVAILABLE, "the gateway stopped before the backup was complete").into())
}

/// Reads a backup as a restore would, but for what is sealed.
fn check(part: &Path, progress: &mut Progress<'_>) -> Result<Written, Failure> {
    let wrong = |error: &verigate::error::Error| {
        Failure::new(INPUT_OUTPUT, format!("{}: what was written is not what came: {error}", part.display()))
    };
    let file = File::open(part).map_err(|error| unwritable(part, &error))?;
    let bytes = file.metadata().map_err(|error| unwritable(part, &error))?.len();
    let mut reader = Reader::open(BufReader::with_capacity(1 << 20, file)).map_err(|error| wrong(&error))?;
    let mut records = 0;
    while let Some(frame) = reader.read().map_err(|error| wrong(&error))? {
        records += frame.entries.len() as u64;
        progress.draw(&format!("{records} records checked"));
    }
    Ok(Written { header: reader.header().clone(), records, bytes })
}

/// Gives a file its name, durably, unless something has that by now.
fn place(part: &Path, to: &Path) -> std::io::Result<()> {
    fs::hard_link(part, to)?;
    fs::remove_file(part)?;
    let folder = to.canonicalize()?;
    folder.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Where a backup is written until it is complete.
fn part_of(to: &Path) -> PathBuf {
    let mut name = OsString::from(to);
    name.push(".part");
    name.into()
}

fn tell(to: &Path, written: &Written, json: bool) -> Result<(), Failure> {
    let Written { header, records, bytes } = written;
    let text = match json {
        true => format!(
            "{}\n",
            json!({
                "file": to.display().to_string(), "store": header.store.to_string(),
                "createTime": header.created_at.to_string(), "records": records, "bytes": bytes,
            })
        ),
        false => format!(
            "Made {}: {records} records, {} MB, of store {}.\nTo restore it takes the store's key file, too: keep a copy \
             of that elsewhere.\n",
            to.display(),
            megabytes(*bytes),
            header.store
        ),
    };
    output::print(&text)
}

/// How far it is, and how fast.
fn line(what: &str, records: u64, bytes: u64, begun: Timestamp, now: Timestamp) -> String {
    let millis = u64::try_from(now.since(begun).as_millis()).unwrap_or(u64::MAX).max(1);
    format!("{records} records {what}, {} MB, {} records/s", megabytes(bytes), records.saturating_mul(1000) / millis)
}

/// With one digit behind the point.
pub(crate) fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn unwritable(file: &Path, error: &std::io::Error) -> Failure {
    Failure::new(INPUT_OUTPUT, format!("{} cannot be written: {error}", file.display()))
}
