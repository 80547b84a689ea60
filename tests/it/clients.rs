//! The example clients, as their users run them: stubs made from `proto/` by each language's own tools, then that
//! language's tests against the real program. What they prove stands there; here is only the gateway that they call.
//!
//! What they need is installed by `tests/run setup`. Each has a gateway of its own, with an inbox that is slow to some, and
//! a way to it that fails at first. The commands that make stubs are taken from the README of each.

mod flaky;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::cli::program::Place;
use crate::clients::flaky::Flaky;

/// Slower than any deadline in the tests.
const SLOW_INBOX: (&str, &str) =
    ("VERIGATE__VENDORS__INBOX__OUTCOMES", r#"[{pattern = "slow-*", outcome = "slow", delay = "25s"}]"#);

/// How long one may take, in seconds. They take a few when the machine has nothing else to do.
const PATIENCE: &str = "400";

/// Runs a script in the folder of an example while a gateway serves.
fn run(language: &str, script: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = Place::new();
    let served = place.serve(&[], &[SLOW_INBOX]);
    let flaky = Flaky::before(served.grpc.parse().unwrap());
    let tools = format!("{}:{}", root.join("tests/.cache/bin").display(), std::env::var("PATH").unwrap());
    let output = Command::new("timeout")
        .args(["--kill-after=5", PATIENCE, "bash", "-ec", script])
        .current_dir(root.join("examples").join(language))
        .env("PATH", tools)
        .env("VERIGATE_ADDRESS", &served.grpc)
        .env("VERIGATE_ADMIN", format!("http://{}", served.admin))
        .env("VERIGATE_FLAKY", flaky.address().to_string())
        .env("VERIGATE_KEY", "dev.dev-secret")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let Output { status, stdout, stderr } = &output;
    let (out, err) = (String::from_utf8_lossy(stdout), String::from_utf8_lossy(stderr));
    assert!(
        status.success(),
        "examples/{language}: {status}; `tests/run setup` installs what it needs\n{script}\n{out}\n{err}"
    );
    assert!(flaky.connections() >= 3, "examples/{language}: nobody came by the way that fails at first");
}

/// The commands of a README that make stubs, with buf and with protoc.
fn stub_commands(language: &str) -> [String; 2] {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(language).join("README.md");
    let text = std::fs::read_to_string(file).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
    let blocks: Vec<_> = blocks.collect();
    let with = |words: [&str; 2]| blocks.iter().find(|block| words.iter().any(|words| block.contains(words))).cloned();
    let found = [with(["buf generate", "buf build"]), with(["protoc -I", "protoc \\\n"])];
    found.map(|block| block.unwrap_or_else(|| panic!("examples/{language}: {blocks:?}")))
}

#[test]
fn python_verifies() {
    let [buf, protoc] = stub_commands("python");
    let test = ".venv/bin/python -m unittest";
    // What buf makes need only load: the tests are the same.
    let load = ".venv/bin/python -c 'import gateway, verify'";
    run("python", &format!("rm -rf gen\n{buf}\n{load}\nrm -rf gen\n{protoc}\n{test}"));
}

#[test]
fn node_verifies() {
    let [buf, protoc] = stub_commands("node");
    let compile = "npx tsc --noEmit";
    run("node", &format!("rm -rf gen\n{buf}\n{compile}\nrm -rf gen\n{protoc}\n{compile}\nnpm test"));
}

#[test]
fn go_verifies() {
    let [buf, protoc] = stub_commands("go");
    // Without `-count=1` it would show what it found the time before.
    let test = "go vet ./...\ngo test -count=1 ./...";
    run("go", &format!("rm -rf gen\n{protoc}\ngo build -o /dev/null ./...\nrm -rf gen\n{buf}\n{test}"));
}

#[test]
fn java_verifies() {
    let [buf, protoc] = stub_commands("java");
    run(
        "java",
        &format!(
            "rm -rf gen\n{buf}\ntest -f $(find gen -name VerificationServiceGrpc.java)\nrm -rf gen\n{protoc}\n\
         test -f $(find gen -name VerificationServiceGrpc.java)\nmvn -B -q test"
        ),
    );
}

#[test]
fn rust_verifies() {
    let [buf, protoc] = stub_commands("rust");
    let check = "cargo check --locked --quiet";
    let alone = "unset VERIGATE_DESCRIPTORS\ncargo test --locked --quiet";
    run("rust", &format!("{buf}\n{check}\n{protoc}\n{check}\n{alone}"));
}
