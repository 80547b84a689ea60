//! Holds `SECURITY.md` to its word as far as a program can: every file, heading, test, constant and default that it
//! names is there.
//!
//! A link whose text is a test's name must lead to the file that has it; one whose text is `NAME = value`, to the file
//! with that constant. A `setting = value` anywhere is a default of the manual.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

static PAGE: LazyLock<String> = LazyLock::new(|| fs::read_to_string(at_root("SECURITY.md")).unwrap());
const MANUAL: &str = include_str!("../../src/config/defaults.toml");

/// A link: what it shows, and where it leads.
struct Link<'a> {
    text: &'a str,
    target: &'a str,
}

/// The page as prose and tables.
fn prose() -> impl Iterator<Item = &'static str> {
    PAGE.lines().filter(|line| definition(line).is_none())
}

/// `[name]: target`
fn definition(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix('[')?.split_once("]: ")
}

/// All links of the page, those by a name among them.
fn links() -> Vec<Link<'static>> {
    let named: BTreeMap<_, _> = PAGE.lines().filter_map(definition).collect();
    let mut found = Vec::new();
    for line in prose() {
        for (at, _) in line.match_indices("](").chain(line.match_indices("][")) {
            let text = &line[line[..at].rfind('[').unwrap() + 1..at];
            let rest = &line[at + 2..];
            let target = match line.as_bytes()[at + 1] {
                b'(' => rest.split_once(')').unwrap().0,
                _ => {
                    let name = rest.split_once(']').unwrap().0;
                    named.get(name).unwrap_or_else(|| panic!("no [{name}]: below"))
                }
            };
            found.push(Link { text, target });
        }
    }
    found
}

/// What stands between backticks.
fn code() -> impl Iterator<Item = &'static str> {
    prose().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The anchor that a heading gets: lower case, words joined, nothing but letters and digits.
fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().replace(' ', "-");
    kept.chars().filter(|character| character.is_alphanumeric() || *character == '-').collect()
}

fn at_root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn every_link_of_the_page_leads_somewhere() {
    let anchors: BTreeSet<_> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|line| anchor(line.trim_start_matches('#').trim()))
        .collect();
    let mut used = BTreeSet::new();
    for Link { text, target } in links() {
        match target.strip_prefix('#') {
            Some(heading) => assert!(anchors.contains(heading), "{text}: no heading {heading:?}"),
            None if target.starts_with("https://") => {}
            None => assert!(at_root(target).is_file(), "{text}: there is no {target}"),
        }
        used.insert(target);
    }
    for (name, target) in PAGE.lines().filter_map(definition) {
        assert!(used.contains(target), "[{name}] is never used");
    }
}

#[test]
fn every_file_that_the_page_names_is_there() {
    let paths: Vec<_> =
        code().filter(|text| ["src/", "tests/", "docs/"].iter().any(|at| text.starts_with(at))).collect();
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths {
        assert!(at_root(path).exists(), "there is no {path}");
    }
}

#[test]
fn every_test_and_every_constant_that_the_page_names_is_in_its_file() {
    let (mut tests, mut constants) = (0, 0);
    for Link { text, target } in links() {
        let Some(text) = text.strip_prefix('`').and_then(|text| text.strip_suffix('`')) else { continue };
        if !target.ends_with(".rs") {
            continue;
        }
        let source = fs::read_to_string(at_root(target)).unwrap();
        if let Some((name, value)) = text.split_once(" = ") {
            let beginnings = ["const ", "pub const ", "pub(crate) const "].map(|keyword| format!("{keyword}{name}: "));
            let is_there = |line: &str| {
                beginnings.iter().any(|beginning| line.starts_with(beginning))
                    && line.ends_with(&format!(" = {value};"))
            };
            assert!(source.lines().any(is_there), "{target} has no constant {text}");
            constants += 1;
        } else {
            assert!(source.contains(&format!("fn {text}(")), "{target} has no {text}");
            tests += 1;
        }
    }
    assert!(tests > 100 && constants > 10, "{tests} tests and {constants} constants");
}

#[test]
fn every_default_that_the_page_names_is_that_of_the_manual() {
    let manual: toml::Table = MANUAL.parse().unwrap();
    let mut defaults = 0;
    for text in code() {
        let Some((key, value)) = text.split_once(" = ") else { continue };
        let mut parts = key.split('.');
        // What is configured by tenant, vendor or route has no default.
        let Some(section) = parts.next().and_then(|section| manual.get(section)) else { continue };
        let default = parts.try_fold(section, |at, part| at.get(part));
        let told: toml::Table = format!("value = {value}").parse().unwrap();
        assert_eq!(default, told.get("value"), "{key}");
        defaults += 1;
    }
    assert!(defaults >= 10, "{defaults} defaults");
}
