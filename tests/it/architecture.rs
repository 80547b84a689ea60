//! Reads our own source and checks the rules that a compiler does not know: who may import whom, which names stand
//! where, and how a file looks. A finding names file, line and rule. Every rule is shown to bite on a bad example.

mod examples;
mod floors;
mod invariants;
mod manners;
mod source;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::architecture::source::Source;

/// Where Rust files of ours lie.
const FOLDERS: &[&str] = &["src", "tests", "benches", "examples", "fuzz", "build.rs"];

/// What lies at the root of the repository, beside names that begin with a dot.
const TOP_LEVEL: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "SECURITY.md",
    "benches",
    "build.rs",
    "deny.toml",
    "deploy",
    "docs",
    "examples",
    "fuzz",
    "proto",
    "rust-toolchain.toml",
    "src",
    "tests",
];

/// What a build or a run leaves there, which git ignores.
const LEFT_BEHIND: &[&str] = &["node_modules", "target", "verigate-data"];

/// A line that breaks a rule.
struct Finding {
    path: String,
    line: usize,
    rule: String,
}

impl Finding {
    fn new(source: &Source, line: usize, rule: String) -> Self {
        Self { path: source.path.clone(), line, rule }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.rule)
    }
}

#[test]
fn our_own_source_keeps_every_rule() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect_rust_files(&root.join(folder), &mut files);
    }
    files.sort();
    let sources: Vec<_> = files
        .iter()
        .map(|file| {
            let path = file.strip_prefix(root).unwrap().to_str().unwrap();
            Source::new(path, &fs::read_to_string(file).unwrap())
        })
        .collect();
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the walk found no source");
    let findings = check(&sources);
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn the_root_of_the_repository_holds_only_what_belongs_there() {
    let entries = fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap();
    let mut strangers: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    strangers.retain(|name| {
        !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()) && !LEFT_BEHIND.contains(&name.as_str())
    });
    assert!(strangers.is_empty(), "no place at the top level for {strangers:?}");
}

/// Everything that the rules have to say about these files, one line each.
fn check(sources: &[Source]) -> Vec<String> {
    let each =
        sources.iter().flat_map(|source| [invariants::check(source), manners::check(source)].into_iter().flatten());
    floors::check(sources).into_iter().chain(each).map(|finding| finding.to_string()).collect()
}

/// Rust files below `path`, without what a build left there.
fn collect_rust_files(path: &Path, files: &mut Vec<PathBuf>) {
    let name = path.file_name().unwrap_or_default().to_str().unwrap();
    if name.starts_with('.') || LEFT_BEHIND.contains(&name) {
        return;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            collect_rust_files(&entry.unwrap().path(), files);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
        files.push(path.to_owned());
    }
}
