//! A person's way through the console, in Chromium driven by playwright-core, which `tests/run setup` installs.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::gateway::Gateway;

/// Starts a verification from the form, sees it delivered live, finds it by search and opens its timeline; then looks at
/// every page at three widths in both themes. What is looked for stands in the script.
#[tokio::test(flavor = "multi_thread")]
async fn a_tour_in_a_real_browser() {
    let gateway = Gateway::start().await;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pictures = root.join("target").join("console");
    std::fs::create_dir_all(&pictures).unwrap();
    let mut tour = Command::new("timeout")
        .args(["--kill-after=5", "240", "node", "tests/it/console/tour.mjs"])
        .current_dir(root)
        .env("CONSOLE", format!("http://{}", gateway.addresses.admin))
        .env("PICTURES", &pictures)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut told, told_of) = (tour.stdin.take().unwrap(), tour.stdout.take().unwrap());
    let clock = gateway.clock.clone();
    // The inbox reports late on this recipient: the tour says when it has seen it sent, and waits to see it delivered.
    let lines = tokio::task::spawn_blocking(move || {
        let mut lines = Vec::new();
        for line in std::io::BufRead::lines(std::io::BufReader::new(told_of)).map_while(Result::ok) {
            if line == "sent" {
                clock.advance(Duration::from_secs(31));
                writeln!(told, "later").unwrap();
            }
            lines.push(line);
        }
        lines
    });
    let lines = lines.await.unwrap();
    let output = tokio::task::spawn_blocking(move || tour.wait_with_output()).await.unwrap().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}; `tests/run setup` installs what it needs\n{lines:#?}\n{errors}",
        output.status
    );
    assert_eq!(lines.last().map(String::as_str), Some("done"), "{lines:#?}");
}
