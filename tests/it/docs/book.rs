//! The book as `mdbook` makes it.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::docs::pages::{of_the_book, root};

#[test]
fn the_book_builds_without_a_warning() {
    let place = TempDir::new().unwrap();
    let path = format!("{}:{}", root().join("tests/.cache/bin").display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("env");
    command.env("PATH", path).args(["mdbook", "build", "--dest-dir"]).arg(place.path());
    let output = command.arg(root().join("docs")).output().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`tests/run setup` installs mdbook\n{printed}");
    let said: Vec<_> = printed.lines().filter(|line| !line.trim_start().starts_with("INFO ")).collect();
    assert!(said.is_empty(), "{said:#?}");
    for page in of_the_book() {
        let made = place.path().join(page.path.strip_prefix("docs").unwrap()).with_extension("html");
        let html = fs::read_to_string(&made).unwrap_or_else(|error| panic!("{}: {error}", made.display()));
        check_links(place.path(), &made, &html);
    }
}

/// Each link and image of a page leads to something that is in the book, or to the web.
fn check_links(book: &Path, page: &Path, html: &str) {
    let body = html.split("<main>").nth(1).unwrap().split("</main>").next().unwrap();
    let targets = ["href=\"", "src=\""].into_iter().flat_map(|name| body.split(name).skip(1));
    for target in targets.map(|rest| rest.split('"').next().unwrap()) {
        let file = target.split('#').next().unwrap();
        if file.contains("://") || file.is_empty() {
            continue;
        }
        let there = page.with_file_name(file).canonicalize().is_ok_and(|path| path.starts_with(book));
        assert!(there, "{}: {target}", page.display());
    }
}
