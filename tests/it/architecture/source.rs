//! A Rust file as the rules see it: tokens with their lines, and the paths that it names.
//!
//! Works on tokens alone: comments and doc comments are gone, a string is one token, and macros are read like any
//! other code. It knows no rule.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Delimiter, Group, Spacing, Span, TokenStream, TokenTree};

/// One file of ours.
pub(crate) struct Source {
    /// From the root of the repository, such as `src/store/mod.rs`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// Every token, tests included.
    pub(crate) all: Vec<Token>,
    /// The tokens outside items under `#[cfg(test)]`.
    pub(crate) code: Vec<Token>,
}

/// A word, literal, mark or bracket. `::` is one mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) kind: Kind,
    pub(crate) line: usize,
    pub(crate) last_line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Word,
    Literal,
    Mark,
}

/// A path that the code names, written out in full through the file's `use` declarations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
}

/// A leaf of a `use` declaration and the name that it brings into scope.
struct Import {
    path: Path,
    name: String,
}

// === impl Source ===

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let stream = text.parse::<TokenStream>().unwrap_or_else(|error| panic!("{path} is not Rust: {error}"));
        let (mut all, mut code) = (Vec::new(), Vec::new());
        flatten(stream.clone(), true, &mut all);
        if !path.ends_with("/tests.rs") {
            flatten(stream, false, &mut code);
        }
        Self { path: path.to_owned(), text: text.to_owned(), all, code }
    }

    pub(crate) fn is_under(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| {
            let rest = self.path.strip_prefix(folder);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest == ".rs")
        })
    }

    /// The module of a file under `src/`: `["store", "sled"]` for `src/store/sled.rs`, nothing for `src/lib.rs`.
    pub(crate) fn module(&self) -> Vec<&str> {
        let stem = self.path.strip_prefix("src/").and_then(|path| path.strip_suffix(".rs")).unwrap_or_default();
        stem.split('/').filter(|segment| !matches!(*segment, "mod" | "lib" | "")).collect()
    }

    /// Every path of two or more segments outside tests, and every `use`. A name that a `use` brought in is replaced
    /// by what it stands for, and `self` by this module, so `use crate::vendor; vendor::send()` names
    /// `crate::vendor` and `crate::vendor::send`.
    pub(crate) fn paths(&self) -> Vec<Path> {
        paths(&self.code, &self.module())
    }

    /// The same, with the code under `#[cfg(test)]`.
    pub(crate) fn paths_with_tests(&self) -> Vec<Path> {
        paths(&self.all, &self.module())
    }
}

// === impl Token ===

impl Token {
    fn new(text: &str, kind: Kind, span: Span) -> Self {
        Self { text: text.to_owned(), kind, line: span.start().line, last_line: span.end().line }
    }

    pub(crate) fn is(&self, text: &str) -> bool {
        self.kind != Kind::Literal && self.text == text
    }
}

// === impl Path ===

impl Path {
    pub(crate) fn starts_with(&self, start: &[&str]) -> bool {
        self.segments.len() >= start.len() && self.segments.iter().zip(start).all(|(have, want)| have == want)
    }
}

/// How many lines hold at least part of a token: blank lines and comments do not.
pub(crate) fn lines_of_code(tokens: &[Token]) -> usize {
    tokens.iter().flat_map(|token| token.line..=token.last_line).collect::<BTreeSet<_>>().len()
}

/// Whether the tokens from `at` on read as `texts`.
pub(crate) fn reads(tokens: &[Token], at: usize, texts: &[&str]) -> bool {
    let rest = tokens.get(at..).unwrap_or_default();
    rest.len() >= texts.len() && rest.iter().zip(texts).all(|(token, text)| token.is(text))
}

/// The index of the bracket that closes the one at `open`.
pub(crate) fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.kind != Kind::Mark {
            continue;
        }
        match token.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" if depth == 1 => return at,
            ")" | "]" | "}" => depth -= 1,
            _ => {}
        }
    }
    panic!("token trees are balanced")
}

fn flatten(stream: TokenStream, keep_tests: bool, tokens: &mut Vec<Token>) {
    let trees: Vec<_> = stream.into_iter().collect();
    let mut at = 0;
    while let Some(tree) = trees.get(at) {
        match attribute(&trees[at..]) {
            Some((text, length)) if text.starts_with("doc=") => {
                at += length;
                continue;
            }
            Some((text, length)) if text == "cfg(test)" && !keep_tests => {
                at += length;
                at += 1 + trees[at..].iter().position(ends_item).unwrap_or(trees.len() - at);
                continue;
            }
            _ => {}
        }
        if let Some(span) = double_colon(&trees[at..]) {
            tokens.push(Token::new("::", Kind::Mark, span));
            at += 1;
        } else {
            push(tree, keep_tests, tokens);
        }
        at += 1;
    }
}

fn double_colon(trees: &[TokenTree]) -> Option<Span> {
    match trees {
        [TokenTree::Punct(first), TokenTree::Punct(second), ..] => {
            let both = first.as_char() == ':' && first.spacing() == Spacing::Joint && second.as_char() == ':';
            both.then(|| first.span())
        }
        _ => None,
    }
}

/// The attribute that begins here, without blanks, and how many trees it takes.
fn attribute(trees: &[TokenTree]) -> Option<(String, usize)> {
    let is_mark =
        |tree: Option<&TokenTree>, mark| matches!(tree, Some(TokenTree::Punct(punct)) if punct.as_char() == mark);
    if !is_mark(trees.first(), '#') {
        return None;
    }
    let at = if is_mark(trees.get(1), '!') { 2 } else { 1 };
    match trees.get(at) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Bracket => {
            Some((group.stream().to_string().replace(' ', ""), at + 1))
        }
        _ => None,
    }
}

fn ends_item(tree: &TokenTree) -> bool {
    match tree {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Ident(_) | TokenTree::Literal(_) => false,
    }
}

fn push(tree: &TokenTree, keep_tests: bool, tokens: &mut Vec<Token>) {
    match tree {
        TokenTree::Ident(ident) => tokens.push(Token::new(&ident.to_string(), Kind::Word, ident.span())),
        TokenTree::Literal(literal) => tokens.push(Token::new(&literal.to_string(), Kind::Literal, literal.span())),
        TokenTree::Punct(punct) => tokens.push(Token::new(&punct.to_string(), Kind::Mark, punct.span())),
        TokenTree::Group(group) => {
            let (open, close) = brackets(group);
            tokens.push(Token::new(open, Kind::Mark, group.span_open()));
            flatten(group.stream(), keep_tests, tokens);
            tokens.push(Token::new(close, Kind::Mark, group.span_close()));
        }
    }
}

fn brackets(group: &Group) -> (&'static str, &'static str) {
    match group.delimiter() {
        Delimiter::Parenthesis => ("(", ")"),
        Delimiter::Brace => ("{", "}"),
        Delimiter::Bracket => ("[", "]"),
        Delimiter::None => unreachable!("source text has no invisible brackets"),
    }
}

fn paths(tokens: &[Token], module: &[&str]) -> Vec<Path> {
    let (mut imports, mut written) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        let starts_path =
            tokens[at].kind == Kind::Word && !(at > 0 && (tokens[at - 1].is("::") || tokens[at - 1].is(".")));
        if tokens[at].is("use") && !reads(tokens, at + 1, &["<"]) {
            at += 1;
            use_tree(tokens, &mut at, &[], &mut imports);
        } else if starts_path && reads(tokens, at + 1, &["::"]) {
            written.push(path_from(tokens, &mut at));
        }
        at += 1;
    }

    let names: BTreeMap<_, _> =
        imports.iter().map(|import| (import.name.clone(), import.path.segments.clone())).collect();
    let mut paths: Vec<_> = imports.into_iter().map(|import| import.path).chain(written).collect();
    for path in &mut paths {
        let head = path.segments[0].as_str();
        if head == "self" {
            let own = ["crate"].into_iter().chain(module.iter().copied()).map(str::to_owned);
            path.segments.splice(..1, own);
        } else if let Some(full) = names.get(head).filter(|full| full[0] != head) {
            path.segments.splice(..1, full.iter().cloned());
        }
    }
    paths
}

/// Reads `word::word::…`, leaving `at` on its last token.
fn path_from(tokens: &[Token], at: &mut usize) -> Path {
    let mut path = Path { segments: vec![tokens[*at].text.clone()], line: tokens[*at].line };
    while reads(tokens, *at + 1, &["::"]) && tokens.get(*at + 2).is_some_and(|token| token.kind == Kind::Word) {
        *at += 2;
        path.segments.push(tokens[*at].text.clone());
    }
    path
}

/// Reads one branch of a `use` declaration up to the mark that ends it, leaving `at` on that.
fn use_tree(tokens: &[Token], at: &mut usize, before: &[String], imports: &mut Vec<Import>) {
    let mut segments = before.to_vec();
    let mut name = None;
    let line = tokens[*at].line;
    loop {
        match tokens[*at].text.as_str() {
            "," | "}" | ";" => break,
            "::" => {}
            "{" => {
                while !tokens[*at].is("}") {
                    *at += 1;
                    use_tree(tokens, at, &segments, imports);
                }
                *at += 1;
                return;
            }
            "as" => {
                *at += 1;
                name = Some(tokens[*at].text.clone());
            }
            "self" if !segments.is_empty() => {}
            segment => segments.push(segment.to_owned()),
        }
        *at += 1;
    }
    // An empty branch follows a trailing comma.
    if segments.len() > before.len() || tokens[*at - 1].is("self") || name.is_some() {
        let name = name.unwrap_or_else(|| segments[segments.len() - 1].clone());
        imports.push(Import { path: Path { segments, line }, name });
    }
}
