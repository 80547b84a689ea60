//! The example clients, as their users run them: stubs made from `proto/` by each language's own tools, then that
//! language's tests against the real program. What they prove stands there; here is only the gateway that they call.
//!
//! What they need is installed by `tests/run setup`. Each has a gateway of its own, with an inbox that is slow to some.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::cli::program::Place;

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
    let tools = format!("{}:{}", root.join("tests/.cache/bin").display(), std::env::var("PATH").unwrap());
    let output = Command::new("timeout")
        .args(["--kill-after=5", PATIENCE, "bash", "-ec", script])
        .current_dir(root.join("examples").join(language))
        .env("PATH", tools)
        .env("VERIGATE_ADDRESS", &served.grpc)
        .env("VERIGATE_ADMIN", format!("http://{}", served.admin))
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
}

#[test]
fn python_verifies() {
    run(
        "python",
        "mkdir -p gen
        .venv/bin/python -m grpc_tools.protoc -I ../../proto \
            --python_out=gen --pyi_out=gen --grpc_python_out=gen $(find ../../proto -name '*.proto')
        .venv/bin/python -m unittest",
    );
}

#[test]
fn node_verifies() {
    run("node", "npm test");
}

#[test]
fn go_verifies() {
    // Without `-count=1` it would show what it found the time before.
    run("go", "buf generate\n go vet ./...\n go test -count=1 ./...");
}

#[test]
fn java_verifies() {
    run("java", "mvn -B -q test");
}
