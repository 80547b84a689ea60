//! A gateway of our own to be measured: a process like any other, with its own store in a folder that goes with it.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tokio::sync::mpsc;

use crate::bench::place::Place;
use crate::error::{Error, Kind, Reason, Result};
use crate::random::Random;

/// A running gateway; ends, and its folder with it, when dropped.
pub(crate) struct Gateway {
    process: Child,
    pub(crate) address: String,
    /// What to send as `authorization`.
    pub(crate) key: String,
    place: Place,
}

/// The last lines of a process's output.
type LastLines = Arc<Mutex<VecDeque<String>>>;

const CONFIG: &str = include_str!("child.toml");
/// Where that configuration has the store.
const STORE: &str = "data";
/// The option of `serve` by which a server never outlives who started it.
const UNTIL_STDIN_ENDS: &str = "--until-stdin-ends";
const START_TIMEOUT: Duration = Duration::from_secs(30);
const LINES_KEPT: usize = 5;

// === impl Gateway ===

impl Gateway {
    /// Starts `program` as `serve --config FILE` on a store under `directory`, and reads from its output where it listens.
    /// `calls`: how many it takes at once.
    ///
    /// Errors: `Unavailable` with its last words when it does not start.
    pub(crate) async fn start(program: &Path, directory: &Path, calls: usize, random: &dyn Random) -> Result<Self> {
        let place = Place::make(directory, random)?;
        let (config, secret) = furnish(place.path(), calls, random).map_err(Error::internal)?;
        let mut process = Command::new(program)
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .arg(UNTIL_STDIN_ENDS)
            // We write nothing to it. It ends with us, however we end, and the server with it.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A Ctrl-C is for us: we end it when we have measured what we can.
            .process_group(0)
            .spawn()
            .map_err(|error| cannot_start(program, &error.to_string()))?;
        let (found, mut address) = mpsc::unbounded_channel();
        let last_lines = LastLines::default();
        let outputs: [Option<Box<dyn Read + Send>>; 2] = [
            process.stdout.take().map(|output| Box::new(output) as Box<dyn Read + Send>),
            process.stderr.take().map(|output| Box::new(output) as Box<dyn Read + Send>),
        ];
        for output in outputs.into_iter().flatten() {
            let (found, last_lines) = (found.clone(), Arc::clone(&last_lines));
            std::thread::spawn(move || listen(output, &found, &last_lines));
        }
        drop(found);
        let key = format!("Bearer bench.{secret}");
        let mut gateway = Self { process, address: String::new(), key, place };
        match tokio::time::timeout(START_TIMEOUT, address.recv()).await {
            Ok(Some(address)) => {
                gateway.address = address;
                Ok(gateway)
            }
            Ok(None) | Err(_) => {
                let lines = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
                Err(cannot_start(program, &lines.iter().cloned().collect::<Vec<_>>().join("\n")))
            }
        }
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// What its store takes on the disk, in bytes.
    pub(crate) fn disk_bytes(&self) -> Option<u64> {
        self.place.bytes(STORE)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Nothing in its store is worth a clean end.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// Reads to the end, so that the process never waits for a reader, and reports the address once it is told.
fn listen(output: impl Read, found: &mpsc::UnboundedSender<String>, last_lines: &LastLines) {
    for line in BufReader::new(output).lines().map_while(std::result::Result::ok) {
        if let Some(address) = find_address(&line) {
            drop(found.send(format!("http://{address}")));
        }
        let mut lines = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(line);
        if lines.len() > LINES_KEPT {
            lines.pop_front();
        }
    }
}

/// The first loopback address after the word `grpc`, in whichever way the line is written.
fn find_address(line: &str) -> Option<String> {
    const HOST: &str = "127.0.0.1:";
    let line = line.to_ascii_lowercase();
    let (_, after) = line.split_once("grpc")?;
    let (_, port) = after.split_once(HOST)?;
    let port: String = port.chars().take_while(char::is_ascii_digit).collect();
    port.parse::<u16>().ok().filter(|port| *port != 0).map(|port| format!("{HOST}{port}"))
}

/// Writes what the gateway needs; returns the path of its configuration and the secret of its API key.
fn furnish(place: &Path, calls: usize, random: &dyn Random) -> std::io::Result<(PathBuf, String)> {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    write_private(&place.join("sealing-key"), &format!("1:{}\n", STANDARD.encode(bytes)))?;
    random.fill(&mut bytes);
    let secret = URL_SAFE_NO_PAD.encode(bytes);
    write_private(&place.join("api-secret"), &secret)?;
    let config = place.join("verigate.toml");
    random.fill(&mut bytes[..8]);
    let run = bytes[..8].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = CONFIG.replace("PLACE", &place.display().to_string()).replace("CALLS", &calls.to_string());
    let text = text.replace("RUN", &run);
    write_private(&config, &text)?;
    Ok((config, secret))
}

fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}

fn cannot_start(program: &Path, why: &str) -> Error {
    let message = format!("{} serve does not start:\n{why}", program.display());
    Error::new(Kind::Unavailable, Reason::Internal, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::OsRandom;

    #[test]
    fn addresses_are_found_however_they_are_written() {
        let wanted = Some("127.0.0.1:4321".to_owned());
        for line in [
            r#"{"level":"INFO","message":"listening","grpc":"127.0.0.1:4321","http":"127.0.0.1:1"}"#,
            "INFO listening grpc=127.0.0.1:4321 http=127.0.0.1:1",
            "Addresses { grpc: Tcp(127.0.0.1:4321), http: 127.0.0.1:1 }",
            "  gRPC     127.0.0.1:4321",
        ] {
            assert_eq!(find_address(line), wanted, "{line}");
        }
        for line in ["grpc", "http=127.0.0.1:1", "grpc=127.0.0.1:0", "grpc unix:/run/verigate"] {
            assert_eq!(find_address(line), None, "{line}");
        }
    }

    #[test]
    fn the_configuration_passes_every_check() {
        let place = tempfile::tempdir().unwrap();
        let (config, _) = furnish(place.path(), 7, &OsRandom).unwrap();
        let loaded = crate::config::load(Some(&config), std::iter::empty()).unwrap();
        assert_eq!(loaded.config.store.path, place.path().join(STORE));
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_told_with_its_last_words() {
        let parent = tempfile::tempdir().unwrap();
        let program = Path::new("/bin/ls");
        let error = Gateway::start(program, parent.path(), 7, &OsRandom).await.err().unwrap();
        assert!(error.message().starts_with("/bin/ls serve does not start"), "{}", error.message());
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
