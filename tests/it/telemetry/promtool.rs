//! Prometheus' own tool, which judges pages and rules. `tests/run setup` takes it from Debian's package without
//! installing that, for with it comes a service.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs it from the root of the repository; it must be content.
pub(crate) fn run(arguments: &[&str], input: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = root.join("tests/.cache/bin/promtool");
    let program = if ours.exists() { ours } else { PathBuf::from("promtool") };
    let started = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = started.expect("promtool is missing: run tests/run setup");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let ended = child.wait_with_output().unwrap();
    let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(ended.status.success(), "promtool {arguments:?} finds fault:\n{said}");
}
