//! The real program in a folder of its own, with none of our variables.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::spawn;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before the test gives it up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Free ports for all three listeners.
pub(crate) const FREE_PORTS: [(&str, &str); 3] = [
    ("VERIGATE__SERVER__GRPC", "127.0.0.1:0"),
    ("VERIGATE__SERVER__HTTP", "127.0.0.1:0"),
    ("VERIGATE__SERVER__ADMIN", "127.0.0.1:0"),
];

/// Where the program runs.
pub(crate) struct Place(TempDir);

/// The program under way. Killed when dropped.
pub(crate) struct Running {
    pid: Pid,
    status: Receiver<i32>,
    stdout: Receiver<String>,
    lines: Receiver<String>,
    stderr: String,
}

/// How it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Where a served gateway answers.
pub(crate) struct Served {
    pub(crate) program: Running,
    /// As the client commands take it.
    pub(crate) grpc: String,
    pub(crate) http: SocketAddr,
    pub(crate) admin: SocketAddr,
}

// === impl Place ===

impl Place {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// The names of what lies here.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        self.run_with(arguments, &[])
    }

    pub(crate) fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Ended {
        self.start(arguments, variables).end()
    }

    pub(crate) fn start(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
        let mut child = self.spawn(arguments, variables);
        let mut out = child.stdout.take().unwrap();
        let err = child.stderr.take().unwrap();
        let (tell_stdout, stdout) = channel();
        spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).unwrap();
            tell_stdout.send(text)
        });
        let (tell_line, lines) = channel();
        spawn(move || BufReader::new(err).lines().try_for_each(|line| tell_line.send(line.unwrap())));
        Running::watch(child, stdout, lines)
    }

    /// Starts the program with nobody at the other end of its outputs.
    pub(crate) fn start_unheard(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Running {
        let mut child = self.spawn(arguments, variables);
        drop((child.stdout.take(), child.stderr.take()));
        Running::watch(child, channel().1, channel().1)
    }

    fn spawn(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_verigate"));
        command.args(arguments).current_dir(self.0.path()).env_clear().envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// `serve`, once it listens; on free ports unless the variables say otherwise.
    pub(crate) fn serve(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Served {
        let variables = [&FREE_PORTS, variables].concat();
        let mut program = self.start(&[&["serve"], arguments].concat(), &variables);
        let line = program.wait_for("listening");
        let grpc = line["grpc"].as_str().unwrap().to_owned();
        let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
        Served { program, grpc, http: address("http"), admin: address("admin") }
    }
}

// === impl Running ===

impl Running {
    fn watch(mut child: Child, stdout: Receiver<String>, lines: Receiver<String>) -> Self {
        use std::os::unix::process::ExitStatusExt;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let (tell, status) = channel();
        spawn(move || {
            let status = child.wait().unwrap();
            tell.send(status.code().unwrap_or_else(|| -status.signal().unwrap()))
        });
        Self { pid, status, stdout, lines, stderr: String::new() }
    }

    /// The log line with this message, once it comes.
    pub(crate) fn wait_for(&mut self, message: &str) -> Value {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("{message:?} was never logged, only: {}", self.stderr));
            self.stderr.push_str(&format!("{line}\n"));
            let logged: Value = serde_json::from_str(&line).unwrap_or_default();
            if logged["message"] == message {
                return logged;
            }
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).unwrap();
    }

    /// Waits for the end. The code is negative when a signal ended it.
    pub(crate) fn end(mut self) -> Ended {
        let code = self.status.recv_timeout(PATIENCE).expect("the program to end in time");
        let stderr = std::mem::take(&mut self.stderr);
        let rest = self.lines.iter().map(|line| line + "\n");
        Ended { code, stderr: stderr + &rest.collect::<String>(), stdout: self.stdout.recv().unwrap_or_default() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and need not be.
        let _ended = kill_process(self.pid, Signal::KILL);
    }
}

// === impl Ended ===

impl Ended {
    /// Asserts the code, and gives the lines of standard error.
    pub(crate) fn failed_with(&self, code: i32) -> Vec<&str> {
        assert_eq!(self.code, code, "{self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        self.stderr.lines().collect()
    }

    /// Asserts success, and gives standard output.
    pub(crate) fn succeeded(&self) -> &str {
        assert_eq!(self.failed_with(0).len(), 0, "{self:?}");
        &self.stdout
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}
