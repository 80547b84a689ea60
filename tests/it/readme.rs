//! The README and the tour of the calls, held to their word: their commands run as they stand there against the real
//! binary, with the real `grpcurl` and `curl` and a real browser, and what they show as output is compared with what is
//! printed.
//!
//! Blocks marked `sh` run in order, in one shell for each page, so that variables set in one are there in the next;
//! blocks marked otherwise do not run. Only the addresses are changed, since the server under test takes free ports. A
//! `json` or `text` block after a command shows its output: JSON may leave out fields, text may not leave out anything,
//! and what differs each time (ids, times, codes, waits) need only be of the same kind. The server's banner is the
//! exception: others of its lines may stand between those shown. `verigate` commands in the README's prose run too, but
//! for those that serve.

pub(crate) mod compare;
pub(crate) mod gateway;
pub(crate) mod page;
pub(crate) mod shell;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use prost_reflect::DescriptorPool;
use serde_json::Value;
use tempfile::TempDir;
use verigate::clock::SystemClock;
use verigate::proto::FILE_DESCRIPTOR_SET;
use verigate::random::OsRandom;
use verigate::server::{Server, Surroundings};
use verigate::{config, telemetry};

use crate::console_inbox::browse;
use crate::readme::compare::compare;
use crate::readme::gateway::{FREE_PORTS, Gateway, LISTENERS};
use crate::readme::page::{Block, Page, README, TOUR};
use crate::readme::shell::Shell;
use crate::support::http::get;

/// The one command that runs the gateway, and the one that runs every test.
const SERVE: &str = "cargo run --release -- serve";
const TEST: &str = "tests/run";

/// Runs the commands of a page but for those two; `before_inbox` goes before the first that reads the inbox. Returns what
/// the server printed.
async fn follow(page: &Page, before_inbox: impl AsyncFn(SocketAddr)) -> String {
    let gateway = Gateway::start();
    let mut shell = Shell::start(gateway.place.path());
    let blocks = page.blocks();
    let mut inbox_seen = false;
    for (at, Block { text, place, .. }) in blocks.iter().enumerate().filter(|(_, block)| block.language == "sh") {
        if [SERVE, TEST].contains(&text.trim()) {
            continue;
        }
        assert!(!text.contains("cargo"), "{place}: one command is enough to build and run");
        if text.contains("/inbox") && !inbox_seen {
            before_inbox(gateway.admin()).await;
            inbox_seen = true;
        }
        let (printed, status) = shell.run(&gateway.to_command(text));
        let printed = gateway.to_shown(&printed);
        let shown = blocks.get(at + 1).filter(|next| ["json", "text"].contains(&next.language));
        let refused = shown.is_some_and(|shown| shown.text.starts_with("ERROR:"));
        assert_eq!(status != 0, refused, "{place}: exit code {status}\n{text}{printed}");
        if let Some(shown) = shown {
            let compared = compare(shown, text.contains("/Watch"), &printed);
            compared.unwrap_or_else(|why| panic!("{place}: {why}\n{text}{printed}"));
        }
    }
    assert!(inbox_seen, "{} reads the inbox", page.name);
    shell.end();
    let files: Vec<_> = fs::read_dir(gateway.place.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["verigate-data"], "nothing but the store is left behind");
    gateway.stop()
}

#[tokio::test]
async fn every_command_of_the_readme_does_what_is_shown() {
    let printed = follow(&README, see_message).await;
    let blocks = README.blocks();
    let commands: Vec<_> = (0..blocks.len()).filter(|at| blocks[*at].language == "sh").collect();
    let (first, last) = (commands[0], commands[commands.len() - 1]);
    assert_eq!((blocks[first].text.trim(), blocks[last].text.trim()), (SERVE, TEST));
    for block in [&blocks[first + 1], &blocks[commands[1]]] {
        check_lines(block, &printed);
    }
}

#[tokio::test]
async fn every_command_of_the_tour_does_what_is_shown() {
    follow(&TOUR, async |_| ()).await;
    assert!(TOUR.script().starts_with(SERVE), "it begins with the server");
}

/// Since they run, no more than their being there need be asked.
#[test]
fn every_call_of_the_contract_has_a_line() {
    let called: BTreeSet<_> = [README, TOUR].iter().flat_map(calls).collect();
    let contract = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let ours = contract.services().filter(|service| service.full_name().starts_with("verigate."));
    let calls = ours.flat_map(|service| service.methods().collect::<Vec<_>>());
    let calls: BTreeSet<_> =
        calls.map(|call| format!("{}/{}", call.parent_service().full_name(), call.name())).collect();
    assert!(calls.len() > 10, "{calls:?}");
    let missing: Vec<_> = calls.difference(&called).collect();
    assert!(missing.is_empty(), "neither page shows {missing:?}");
}

/// `package.Service/Call`, for each that the commands of a page name in full or as `$V/Call` with `V=…` before.
fn calls(page: &Page) -> Vec<String> {
    let script = page.script();
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    let set = script
        .lines()
        .filter_map(|line| line.split_once('='))
        .filter(|(name, value)| is_name(name) && value.ends_with("Service") && is_name(value));
    let spelled_out = set.fold(script.clone(), |script, (name, value)| {
        script.replace(&format!("${name}/"), &format!("verigate.{value}/"))
    });
    let words = spelled_out.split(|letter: char| !letter.is_ascii_alphanumeric() && !"./".contains(letter));
    words.filter(|word| word.contains("Service/")).map(str::to_owned).collect()
}

/// Whether the lines of a block were printed, in their order, with others between them.
fn check_lines(block: &Block, printed: &str) {
    let mut lines = printed.lines().map(str::trim);
    for line in block.text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let found = lines.any(|printed| printed == line);
        assert!(found, "{}: the server does not say {line:?}\n{printed}", block.place);
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
    assert!(README.text.contains(&format!("<http://{}/inbox>", LISTENERS[2].1)), "the README names the page");
    let page = browse(format!("http://{admin}/inbox"), 2).await;
    let list = page.split("<template").next().unwrap();
    assert!(list.contains("class=\"recipient\">+60123456789<"), "{page}");
    assert!(list.contains(&format!("class=\"code-text\">{code}<")), "{page}");
}

/// Each is a whole file, so it must do for every command and for a server.
#[tokio::test]
async fn every_configuration_starts_a_server() {
    let files: Vec<_> = README.blocks().into_iter().filter(|block| block.language == "toml").collect();
    let spans = README.spans();
    let commands: Vec<_> = spans.iter().filter_map(|span| span.strip_prefix("verigate ")).collect();
    assert!(!files.is_empty() && !commands.is_empty());
    for Block { text, place: at, .. } in files {
        let place = TempDir::new().unwrap();
        let folder = place.path().to_str().unwrap();
        let here = |text: &str| text.replace("/etc/verigate", folder).replace("/var/lib/verigate", folder);
        fs::write(place.path().join("esms.secret"), "secret\n").unwrap();
        let rcgen::CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["sms.example.com".to_owned()]).unwrap();
        fs::write(place.path().join("tls.crt"), cert.pem()).unwrap();
        fs::write(place.path().join("tls.key"), signing_key.serialize_pem()).unwrap();
        fs::set_permissions(place.path().join("tls.key"), fs::Permissions::from_mode(0o600)).unwrap();
        let file = place.path().join("verigate.toml");
        fs::write(&file, here(&text)).unwrap();
        for command in commands.iter().filter(|command| !command.starts_with("serve")) {
            let mut verigate = Command::new(env!("CARGO_BIN_EXE_verigate"));
            let output = verigate.args(here(command).split(' ')).current_dir(place.path()).output().unwrap();
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && errors.is_empty(), "`verigate {command}`: {}\n{errors}", output.status);
        }

        let free_ports = FREE_PORTS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let loaded = config::load(Some(&file), free_ports.into_iter());
        let loaded = loaded.unwrap_or_else(|error| panic!("{at}: {error}"));
        assert!(loaded.warnings.is_empty(), "{at}: {:?}", loaded.warnings);
        let metrics = telemetry::start_metrics().unwrap();
        let surroundings = Surroundings { clock: Arc::new(SystemClock), random: Arc::new(OsRandom), metrics };
        let server = Server::build(&loaded, surroundings).await;
        server.unwrap_or_else(|error| panic!("{at}: {error}"));
    }
}

#[test]
fn every_file_named_is_there() {
    for (page, least) in [(README, 6), (TOUR, 1)] {
        let named = page.files_named();
        assert!(named.len() >= least, "{named:?}");
        for path in named {
            assert!(path.exists(), "{} names {}", page.name, path.display());
        }
    }
}
