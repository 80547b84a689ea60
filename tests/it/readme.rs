//! The README, held to its word: its commands run as they stand there against the real binary, with the real `grpcurl`
//! and `curl` and a real browser, and what it shows as their output is compared with what they print.
//!
//! Blocks marked `sh` run in order, in one shell, so that variables set in one are there in the next; blocks marked
//! otherwise do not run. Only the addresses are changed, since the server under test takes free ports. A `json` or `text`
//! block after a command shows its output: JSON may leave out fields, text may not leave out anything, and what differs
//! each time (ids, times, codes, waits) need only be of the same kind. The server's banner is the exception: others of
//! its lines may stand between those shown. `verigate` commands in the prose run too, but for those that serve.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use verigate::clock::SystemClock;
use verigate::random::OsRandom;
use verigate::server::{Server, Surroundings};
use verigate::{config, telemetry};

use crate::console_inbox::browse;
use crate::support::http::get;

const README: &str = include_str!("../../README.md");

/// The one command that runs the gateway, and the one that runs every test.
const SERVE: &str = "cargo run --release -- serve";
const TEST: &str = "tests/run";

/// The listeners, and where they are in the README.
const LISTENERS: [(&str, &str); 3] =
    [("grpc", "127.0.0.1:50051"), ("http", "127.0.0.1:8080"), ("admin", "127.0.0.1:9090")];

/// Ends the output of a block; what follows is the exit code of its last command that failed, or 0.
const END: &str = "--- end of block";

/// Free ports in place of the fixed ones.
const FREE_PORTS: [(&str, &str); 3] = [
    ("VERIGATE__SERVER__GRPC", "127.0.0.1:0"),
    ("VERIGATE__SERVER__HTTP", "127.0.0.1:0"),
    ("VERIGATE__SERVER__ADMIN", "127.0.0.1:0"),
];

/// A fenced block.
struct Block {
    language: &'static str,
    text: String,
    line: usize,
}

/// `verigate serve` without a file, in an empty folder.
struct Gateway {
    child: Child,
    place: TempDir,
    /// What it prints on both outputs, in the end.
    printed: Option<JoinHandle<String>>,
    /// In the order of [`LISTENERS`].
    addresses: [SocketAddr; 3],
}

/// A shell that keeps its variables from block to block.
struct Shell {
    child: Child,
    input: ChildStdin,
    output: BufReader<std::io::PipeReader>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::<Block>::new();
    let mut inside = false;
    for (index, line) in README.lines().enumerate() {
        match line.strip_prefix("```") {
            Some(language) if !inside => {
                assert!(!language.is_empty(), "README.md:{}: a block must name its language", index + 1);
                blocks.push(Block { language, text: String::new(), line: index + 1 });
            }
            Some(_) => {}
            None if inside => blocks.last_mut().unwrap().text += &format!("{line}\n"),
            None => continue,
        }
        inside ^= line.starts_with("```");
    }
    assert!(!inside, "README.md: the last block does not end");
    blocks
}

/// Without its blocks.
fn prose() -> String {
    README.split("```").step_by(2).collect()
}

// === impl Gateway ===

impl Gateway {
    fn start() -> Self {
        let place = TempDir::new().unwrap();
        let (output, input) = pipe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_verigate"));
        command.arg("serve").current_dir(place.path()).envs(FREE_PORTS);
        let child = command.stdout(input.try_clone().unwrap()).stderr(input).spawn().unwrap();
        // It holds the writing ends, which would keep the pipe open.
        drop(command);
        let mut output = BufReader::new(output);
        let mut printed = String::new();
        let addresses = loop {
            let read = output.read_line(&mut printed).unwrap();
            assert_ne!(read, 0, "the server ended before it told its addresses:\n{printed}");
            if let [Some(grpc), Some(http), Some(admin)] = LISTENERS.map(|(name, _)| address_after(&printed, name)) {
                break [grpc, http, admin];
            }
        };
        let printed = std::thread::spawn(move || {
            output.read_to_string(&mut printed).unwrap();
            printed
        });
        Self { child, place, printed: Some(printed), addresses }
    }

    fn admin(&self) -> SocketAddr {
        self.addresses[2]
    }

    /// A command of the README, for this server.
    fn to_command(&self, text: &str) -> String {
        let pairs = LISTENERS.iter().zip(self.addresses);
        pairs.fold(text.to_owned(), |text, ((_, shown), address)| text.replace(shown, &address.to_string()))
    }

    /// An output of this server, with the addresses of the README.
    fn to_shown(&self, text: &str) -> String {
        let pairs = LISTENERS.iter().zip(self.addresses);
        pairs.fold(text.to_owned(), |text, ((_, shown), address)| text.replace(&address.to_string(), shown))
    }

    /// Stops it as Ctrl-C does, and gives all that it printed.
    fn stop(mut self) -> String {
        let killed = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let status = self.child.wait().unwrap();
        let printed = self.printed.take().unwrap().join().unwrap();
        assert!(status.success(), "{status}\n{printed}");
        self.to_shown(&printed)
    }
}

/// A test that fails leaves no server behind.
impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The first address after the name of a listener, once it stands there in full.
fn address_after(text: &str, listener: &str) -> Option<SocketAddr> {
    let after = &text[text.find(listener)?..];
    let start = after.find("127.0.0.1:")?;
    let address = &after[start..];
    let end = address.find(|c: char| !c.is_ascii_digit() && !".:".contains(c))?;
    address[..end].parse().ok()
}

// === impl Shell ===

impl Shell {
    fn start(place: &Path) -> Self {
        let tools = std::env::var("PATH").unwrap();
        let tools = format!("{}:{tools}", root().join("tests/.cache/bin").display());
        let (output, input) = pipe().unwrap();
        // One that hangs is ended.
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", "120", "bash"]).current_dir(place).env("PATH", tools);
        command.stdin(std::process::Stdio::piped()).stdout(input.try_clone().unwrap()).stderr(input);
        let mut child = command.spawn().unwrap();
        drop(command);
        let input = child.stdin.take().unwrap();
        let mut shell = Self { child, input, output: BufReader::new(output) };
        for tool in ["grpcurl", "curl"] {
            let (_, status) = shell.run(&format!("command -v {tool}"));
            assert_eq!(
                status, 0,
                "the README's commands need {tool}; install it, or run `tests/run setup`, which does"
            );
        }
        shell
    }

    /// What a block prints on both outputs together, and the exit code of its last command that failed, or 0.
    fn run(&mut self, script: &str) -> (String, i32) {
        writeln!(self.input, "failed=0; trap 'failed=$?' ERR\n{script}\nprintf '\\n{END} %s\\n' \"$failed\"").unwrap();
        let mut printed = String::new();
        loop {
            let mut line = String::new();
            let read = self.output.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "the shell ended, or was ended because it hung, in:\n{script}\n{printed}");
            if let Some(status) = line.strip_prefix(END) {
                return (printed.trim_end().to_owned(), status.trim().parse().unwrap());
            }
            printed += &line;
        }
    }

    fn end(mut self) {
        drop(self.input);
        assert!(self.child.wait().unwrap().success());
    }
}

// === comparing ===

/// Compares what a command printed with what the README shows.
fn compare(shown: &Block, printed: &str) -> Result<(), String> {
    match shown.language {
        "json" => {
            let parse = |text: &str| serde_json::Deserializer::from_str(text).into_iter::<Value>().collect();
            let shown: Result<Vec<_>, _> = parse(&shown.text);
            let printed: Result<Vec<_>, _> = parse(printed);
            resembles(&Value::Array(shown.unwrap()), &Value::Array(printed.map_err(|error| error.to_string())?), "")
        }
        "text" => {
            let lines = |text: &str| text.trim().lines().map(same_each_time).collect::<Vec<_>>();
            let (shown, printed) = (lines(&shown.text), lines(printed));
            (shown == printed).then_some(()).ok_or_else(|| format!("{shown:#?}\nis shown for\n{printed:#?}"))
        }
        other => Err(format!("no output is written in {other}")),
    }
}

/// Whether all that is shown was printed.
fn resembles(shown: &Value, printed: &Value, path: &str) -> Result<(), String> {
    match (shown, printed) {
        (Value::Object(shown), Value::Object(printed)) => shown.iter().try_for_each(|(key, shown)| {
            let path = format!("{path}.{key}");
            resembles(shown, printed.get(key).ok_or_else(|| format!("{path} was not printed"))?, &path)
        }),
        (Value::Array(shown), Value::Array(printed)) if shown.len() == printed.len() => {
            let pairs = shown.iter().zip(printed).enumerate();
            pairs.into_iter().try_for_each(|(at, (shown, printed))| resembles(shown, printed, &format!("{path}[{at}]")))
        }
        (Value::String(text), Value::String(other)) if same_each_time(text) == same_each_time(other) => Ok(()),
        _ if shown == printed => Ok(()),
        _ => Err(format!("{path}: {shown} is shown for {printed}")),
    }
}

/// A text with its kind in place of what differs each time: ids, times, codes, waits, and how far a message is on a way
/// that it goes by itself.
fn same_each_time(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || "-:.+_".contains(c);
    let mut result = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_word) {
        let end = rest[start..].find(|c| !is_word(c)).map_or(rest.len(), |length| start + length);
        let word = rest[start..end].trim_end_matches('.');
        let (before, after) = (&rest[..start], &rest[start + word.len()..]);
        // Full stops end a sentence, not a word.
        let stops = after.len() - after.trim_start_matches('.').len();
        let (stops, after) = after.split_at(stops);
        let digits = word.bytes().all(|byte| byte.is_ascii_digit());
        result += before;
        result += match word {
            "MESSAGE_STATUS_QUEUED" | "MESSAGE_STATUS_SENDING" | "MESSAGE_STATUS_SENT" | "MESSAGE_STATUS_DELIVERED" => {
                "<on its way>"
            }
            _ if word.len() == 36 && word.parse::<uuid::Uuid>().is_ok() => "<id>",
            _ if word.parse::<jiff::Timestamp>().is_ok() => "<time>",
            _ if word.strip_suffix('s').is_some_and(|wait| wait.parse::<f64>().is_ok()) => "<wait>",
            _ if digits && after.starts_with(" s;") => "<wait>",
            _ if digits && word.len() == 6 => "<code>",
            _ => word,
        };
        result += stops;
        rest = after;
    }
    result + rest
}

// === the tests ===

#[tokio::test]
async fn every_command_does_what_is_shown() {
    let blocks = blocks();
    let commands: Vec<_> = (0..blocks.len()).filter(|at| blocks[*at].language == "sh").collect();
    let (first, last) = (commands[0], commands[commands.len() - 1]);
    let banner = &blocks[first + 1];
    let first_call = &blocks[commands[1]];
    assert_eq!((blocks[first].text.trim(), blocks[last].text.trim()), (SERVE, TEST));

    let gateway = Gateway::start();
    let mut shell = Shell::start(gateway.place.path());
    let mut seen = false;
    for at in commands.into_iter().filter(|at| ![first, last].contains(at)) {
        let Block { text, line, .. } = &blocks[at];
        assert!(!text.contains("cargo"), "README.md:{line}: one command is enough to build and run");
        if text.contains("/inbox") && !seen {
            see_message(gateway.admin()).await;
            seen = true;
        }
        let (printed, status) = shell.run(&gateway.to_command(text));
        let printed = gateway.to_shown(&printed);
        let shown = blocks.get(at + 1).filter(|next| ["json", "text"].contains(&next.language));
        let refused = shown.is_some_and(|shown| shown.text.starts_with("ERROR:"));
        assert_eq!(status != 0, refused, "README.md:{line}: exit code {status}\n{text}{printed}");
        if let Some(shown) = shown {
            compare(shown, &printed).unwrap_or_else(|why| panic!("README.md:{line}: {why}\n{text}{printed}"));
        }
    }
    assert!(seen, "the README reads the inbox");
    shell.end();

    let files: Vec<_> = fs::read_dir(gateway.place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["verigate-data"], "nothing but the store is left behind");
    let printed = gateway.stop();
    for block in [banner, first_call] {
        check_lines(block, &printed);
    }
}

/// Whether the lines of a block were printed, in their order, with others between them.
fn check_lines(block: &Block, printed: &str) {
    let mut lines = printed.lines().map(str::trim);
    for line in block.text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let found = lines.any(|printed| printed == line);
        assert!(found, "README.md:{}: the server does not say {line:?}\n{printed}", block.line);
    }
}

/// Waits until the message is there that the first command sends, and looks at it in a browser as the README advises.
async fn see_message(admin: SocketAddr) {
    let arrival = async {
        loop {
            let answer = get(admin, "/inbox/messages", &[&format!("Host: {admin}")]).await;
            let messages: Value = serde_json::from_str(&answer.body).unwrap();
            if let Some(text) = messages[0]["text"].as_str() {
                break text.to_owned();
            }
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(60), arrival).await.expect("a message in the inbox");
    let code = text.split(|c: char| !c.is_ascii_digit()).find(|run| run.len() == 6).unwrap();
    assert!(README.contains(&format!("<http://{}/inbox>", LISTENERS[2].1)), "the README names the page");
    let page = browse(format!("http://{admin}/inbox"), 2).await;
    let list = page.split("<template").next().unwrap();
    assert!(list.contains("class=\"recipient\">+60123456789<"), "{page}");
    assert!(list.contains(&format!("class=\"code-text\">{code}<")), "{page}");
}

/// Each is a whole file, so it must do for every command and for a server.
#[tokio::test]
async fn every_configuration_starts_a_server() {
    let files: Vec<_> = blocks().into_iter().filter(|block| block.language == "toml").collect();
    let prose = prose();
    let spans = prose.split('`').skip(1).step_by(2);
    let commands: Vec<_> = spans.filter_map(|span| span.strip_prefix("verigate ")).collect();
    assert!(!files.is_empty() && !commands.is_empty());
    for block in files {
        let place = TempDir::new().unwrap();
        let folder = place.path().to_str().unwrap();
        let here = |text: &str| text.replace("/etc/verigate", folder).replace("/var/lib/verigate", folder);
        fs::write(place.path().join("esms.secret"), "secret\n").unwrap();
        let file = place.path().join("verigate.toml");
        fs::write(&file, here(&block.text)).unwrap();
        for command in commands.iter().filter(|command| !command.starts_with("serve")) {
            let mut verigate = Command::new(env!("CARGO_BIN_EXE_verigate"));
            let output = verigate.args(here(command).split(' ')).current_dir(place.path()).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && errors.is_empty(), "`verigate {command}`: {}\n{errors}", output.status);
        }

        let free_ports = FREE_PORTS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let loaded = config::load(Some(&file), free_ports.into_iter());
        let loaded = loaded.unwrap_or_else(|error| panic!("README.md:{}: {error}", block.line));
        assert!(loaded.warnings.is_empty(), "README.md:{}: {:?}", block.line, loaded.warnings);
        let metrics = telemetry::start_metrics().unwrap();
        let surroundings = Surroundings { clock: Arc::new(SystemClock), random: Arc::new(OsRandom), metrics };
        let server = Server::build(&loaded, surroundings).await;
        server.unwrap_or_else(|error| panic!("README.md:{}: {error}", block.line));
    }
}

#[test]
fn every_file_named_is_there() {
    let prose = prose();
    let links = prose.split("](").skip(1).map(|rest| rest.split(')').next().unwrap());
    let spans = prose.split('`').skip(1).step_by(2);
    let is_file = |name: &&str| ["src/", "tests/", "proto/", "docs/"].iter().any(|folder| name.starts_with(folder));
    let named = links.filter(|link| !link.contains("://")).chain(spans.filter(is_file));
    let named: BTreeSet<PathBuf> = named.map(|name| root().join(name)).collect();
    assert!(named.len() > 5, "{named:?}");
    for path in named {
        assert!(path.exists(), "README.md names {}", path.display());
    }
}

#[test]
fn only_what_differs_each_time_is_passed_over() {
    let alike = [
        ("id 01a201eb-6366-80f1-a1f7-20ad39c323d0,", "id 01a201eb-644f-8092-a147-f1366d96ae2c,"),
        ("\"2026-11-22T06:32:13.350Z\"", "\"2027-01-01T00:00:00Z\""),
        ("code is 369932. It", "code is 000000. It"),
        ("\"29.918s\" in 30 s;", "\"5s\" in 9 s;"),
        ("MESSAGE_STATUS_SENDING", "MESSAGE_STATUS_DELIVERED"),
    ];
    for (one, other) in alike {
        assert_eq!(same_each_time(one), same_each_time(other));
    }
    let unlike = [
        ("code is 369932", "code is 36993"),
        ("MESSAGE_STATUS_REJECTED", "MESSAGE_STATUS_DELIVERED"),
        ("+60123456789", "+60123456780"),
        ("COOL_DOWN", "NO_ROUTE"),
        ("10 minutes", "9 minutes"),
    ];
    for (one, other) in unlike {
        assert_ne!(same_each_time(one), same_each_time(other));
    }
    let shown = serde_json::json!({"a": [{"b": 1}]});
    for (printed, same) in [
        (serde_json::json!({"a": [{"b": 1, "c": 2}], "d": 3}), true),
        (serde_json::json!({"a": [{"b": 2}]}), false),
        (serde_json::json!({"a": [{"b": 1}, {"b": 1}]}), false),
        (serde_json::json!({}), false),
    ] {
        assert_eq!(resembles(&shown, &printed, "").is_ok(), same, "{printed}");
    }
}
