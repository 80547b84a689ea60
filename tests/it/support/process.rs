//! The real program as a process of its own, on a store that outlives it, so that it can be killed.
//!
//! It runs the dev profile with what a test needs set by environment: listeners of its own, a folder of the test's own,
//! short times. gRPC listens on a socket in that folder, because the port of a program that was killed may be somebody
//! else's a moment later, even that of the very client that tries to connect to it. What it prints is read to its end, so
//! that it never waits for us, and the newest lines are kept for failures.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

/// What the dev profile lets in.
pub(crate) const KEY: &str = "dev.dev-secret";

/// How long a start may take, on a machine that has much else to do.
const START: Duration = Duration::from_secs(60);

const KEPT_LINES: usize = 40;

/// A running program; killed when dropped.
pub(crate) struct Process {
    /// Where to connect to for gRPC.
    pub(crate) grpc: String,
    pub(crate) admin: SocketAddr,
    pub(crate) http: SocketAddr,
    child: Child,
    lines: mpsc::UnboundedReceiver<String>,
    newest: Newest,
}

/// The newest lines that it printed.
type Newest = Arc<Mutex<VecDeque<String>>>;

// === impl Process ===

impl Process {
    /// Starts it in `place`, with `settings` on top of the dev profile, and waits until it has said where it listens.
    pub(crate) async fn start(place: &Path, settings: &[(&str, &str)]) -> Self {
        let grpc = place.join("grpc").display().to_string();
        let mut child = Command::new(env!("CARGO_BIN_EXE_verigate"))
            .arg("serve")
            .current_dir(place)
            .env_clear()
            .env("VERIGATE__SERVER__GRPC", format!("unix:{grpc}"))
            .env("VERIGATE__SERVER__HTTP", "127.0.0.1:0")
            .env("VERIGATE__SERVER__ADMIN", "127.0.0.1:0")
            // The people of a test live close together.
            .env("VERIGATE__GUARD__NUMBER_BLOCK__MODE", "off")
            .env("VERIGATE__GUARD__SEQUENCE__MODE", "off")
            .env("VERIGATE__GUARD__CONVERSION__MODE", "off")
            .env("VERIGATE__GUARD__TENANT_FAILURES__MODE", "off")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let newest = Newest::default();
        let (sender, mut lines) = mpsc::unbounded_channel();
        read_lines(child.stdout.take().unwrap(), sender.clone(), Arc::clone(&newest));
        read_lines(child.stderr.take().unwrap(), sender, Arc::clone(&newest));
        let address = async {
            let (mut admin, mut http) = (None, None);
            while let Some(line) = lines.recv().await {
                admin = admin.or_else(|| address_after("admin", &line));
                // Every URL has this word in it.
                http = http.or_else(|| address_after("\"http\":", &line));
                if let (Some(admin), Some(http)) = (admin, http) {
                    return Some((admin, http));
                }
            }
            None
        };
        match timeout(START, address).await {
            Ok(Some((admin, http))) => Self { grpc: format!("unix://{grpc}"), admin, http, child, lines, newest },
            ended => {
                drop(child.kill());
                panic!("the program did not say where it listens ({ended:?}); it printed\n{}", joined(&newest));
            }
        }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: it gets to do nothing more.
    pub(crate) fn kill(mut self) {
        assert_eq!(self.child.try_wait().unwrap(), None, "it ended by itself:\n{}", joined(&self.newest));
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM: it may finish what it does.
    pub(crate) fn ask_to_stop(&self) {
        self.signal("TERM");
    }

    /// Any signal, such as STOP and CONT.
    pub(crate) fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let kill = ["-c", "kill -\"$1\" \"$2\"", "sh", name, &id];
        assert!(Command::new("sh").args(kill).status().unwrap().success());
    }

    /// How it ended, once it has; it must within `limit`.
    pub(crate) async fn ended(mut self, limit: Duration) -> ExitStatus {
        // Its end closes what it prints to.
        let closed = async { while self.lines.recv().await.is_some() {} };
        assert!(timeout(limit, closed).await.is_ok(), "it still runs after {limit:?}:\n{}", joined(&self.newest));
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it has ended, and then there is nothing to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The first address of this machine that a line names after a listener's name, however the line is written.
fn address_after(listener: &str, line: &str) -> Option<SocketAddr> {
    let line = line.to_ascii_lowercase();
    let rest = &line[line.find(listener)?..];
    let address = &rest[rest.find("127.0.0.1:")?..];
    let end = address.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(address.len());
    address[..end].trim_end_matches(['.', ':']).parse().ok().filter(|address: &SocketAddr| address.port() != 0)
}

fn read_lines(pipe: impl Read + Send + 'static, sender: mpsc::UnboundedSender<String>, newest: Newest) {
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let mut newest = newest.lock().unwrap();
            if newest.len() == KEPT_LINES {
                newest.pop_front();
            }
            newest.push_back(line.clone());
            // Nobody may listen any more.
            drop(sender.send(line));
        }
    });
}

fn joined(newest: &Newest) -> String {
    Vec::from(newest.lock().unwrap().clone()).join("\n")
}
