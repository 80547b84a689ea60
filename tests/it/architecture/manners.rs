//! How every file looks: its head, its size, and what never stands in it.

use crate::architecture::Finding;
use crate::architecture::source::{Source, Token, closing, lines_of_code, reads};

const MOST_LINES_OF_A_FILE: usize = 400;
const MOST_LINES_OF_A_FUNCTION: usize = 60;

/// Notes to self; spelled in halves, since this file is read too.
const NOTES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
const UNFINISHED: &[&str] = &["todo", "unimplemented", "dbg"];

pub(crate) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = everywhere(source);
    if source.is_under(&["src"]) {
        findings.extend(outside_tests(source));
        findings.extend(long_functions(source));
    }
    if source.path == "src/lib.rs" {
        findings.extend(more_than_modules(source));
    }
    findings
}

fn everywhere(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |line, rule: &str| findings.push(Finding::new(source, line, rule.to_owned()));
    if !source.text.starts_with("//!") {
        find(1, "a file begins with `//!`: what it is, what it does not know");
    }
    for (line, text) in source.text.lines().enumerate() {
        let mut words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
        if words.any(|word| NOTES.contains(&word)) {
            find(line + 1, "no notes to self: do it, or tell the others");
        }
    }
    let all = &source.all;
    for (at, token) in all.iter().enumerate() {
        if UNFINISHED.iter().any(|name| token.is(name)) && reads(all, at + 1, &["!"]) {
            find(token.line, "nothing unfinished");
        }
        if reads(all, at, &["[", "ignore"]) && at > 0 && all[at - 1].is("#") {
            find(token.line, "no test is ignored");
        }
        let quiets = (token.is("allow") || token.is("expect")) && reads(all, at + 1, &["("]);
        if quiets && stands_in_attribute(all, at) {
            let inside = &all[at + 1..closing(all, at + 1)];
            if !(0..inside.len()).any(|at| reads(inside, at, &["reason", "="])) {
                find(token.line, "an `allow` or `expect` gives its reason");
            }
        }
    }
    findings
}

/// `#[allow`, `#![allow` and `#[cfg_attr(…, allow`, but not `.expect(…)` or a function of that name.
fn stands_in_attribute(tokens: &[Token], at: usize) -> bool {
    let opens = |at: usize| tokens[at].is("[") && at > 0 && (tokens[at - 1].is("#") || tokens[at - 1].is("!"));
    let attribute = (0..at).rev().find(|before| opens(*before));
    attribute.is_some_and(|open| closing(tokens, open) > at) && !tokens[at - 1].is(".")
}

fn outside_tests(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in source.paths() {
        if path.segments[0] == "super" {
            findings.push(Finding::new(source, path.line, "no `super::` outside tests".to_owned()));
        }
        if path.segments.last().is_some_and(|last| last == "*") {
            findings.push(Finding::new(source, path.line, "no glob imports outside tests".to_owned()));
        }
    }
    let lines = lines_of_code(&source.code);
    if lines > MOST_LINES_OF_A_FILE {
        let rule = format!("{lines} lines of code; a file has at most {MOST_LINES_OF_A_FILE}");
        findings.push(Finding::new(source, 1, rule));
    }
    findings
}

fn long_functions(source: &Source) -> Vec<Finding> {
    let code = &source.code;
    let mut findings = Vec::new();
    for (at, token) in code.iter().enumerate().filter(|(_, token)| token.is("fn")) {
        let Some(end) = end_of_function(code, at) else { continue };
        let lines = lines_of_code(&code[at..=end]);
        if lines > MOST_LINES_OF_A_FUNCTION {
            let name = &code[at + 1].text;
            let rule = format!("`{name}` has {lines} lines of code; a function has at most {MOST_LINES_OF_A_FUNCTION}");
            findings.push(Finding::new(source, token.line, rule));
        }
    }
    findings
}

/// The brace that closes the body; `None` for a declaration without one, such as a pointer's type.
fn end_of_function(tokens: &[Token], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        let token = tokens.get(at)?;
        if token.is("{") {
            return Some(closing(tokens, at));
        }
        if token.is(";") || token.is(")") || token.is("}") || token.is(",") {
            return None;
        }
        at = if token.is("(") || token.is("[") { closing(tokens, at) + 1 } else { at + 1 };
    }
}

/// Whoever looks for a thing finds it where it lives: the root re-exports nothing.
fn more_than_modules(source: &Source) -> Vec<Finding> {
    let code = &source.code;
    let mut findings = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let attribute = if reads(code, at, &["#", "!"]) { 2 } else { 1 };
        if code[at].is("#") {
            at = closing(code, at + attribute) + 1;
            continue;
        }
        let length = if code[at].is("pub") { 4 } else { 3 };
        if !(reads(code, at + length - 3, &["mod"]) && reads(code, at + length - 1, &[";"])) {
            findings.push(Finding::new(source, code[at].line, "`lib.rs` declares modules, nothing else".to_owned()));
            break;
        }
        at += length;
    }
    findings
}
