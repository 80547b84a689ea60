//! The book as `mdbook` makes it.

use std::process::Command;

use tempfile::TempDir;

use crate::docs::pages::{of_the_book, root};

#[test]
fn the_book_builds_without_a_warning() {
    let place = TempDir::new().unwrap();
    let path = format!("{}:{}", root().join("tests/.cache/bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("env");
    command.env("PATH", path).env("MDBOOK_LOG", "warn").args(["mdbook", "build", "--dest-dir"]).arg(place.path());
    let output = command.arg(root().join("docs")).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`tests/run setup` installs mdbook\n{printed}");
    assert_eq!(printed.trim(), "", "mdbook has something to say");
    for page in of_the_book() {
        let made = place.path().join(page.path.strip_prefix("docs").unwrap()).with_extension("html");
        assert!(made.exists(), "{}", made.display());
    }
}
