//! The reference of the settings, made from the compiled-in defaults: sections as headings, each key with its type, its
//! default, the environment variable that sets it, and its comment.

use std::fmt::Write as _;

use toml::Value;
use verigate::config::DEFAULTS;

use crate::docs::pages::check_generated;

const PAGE: &str = "docs/configuration.md";

const HEAD: &str = "<!-- Made from src/config/defaults.toml: UPDATE_DOCS=1 cargo test --test it docs -->

# Configuration reference

This is [`defaults.toml`](../src/config/defaults.toml), set as a page: where it speaks of this file, it means that one.

";

/// A run of comment lines between empty ones, and what follows it at once.
#[derive(Default)]
struct Reader {
    page: String,
    section: String,
    comment: Vec<String>,
    /// Empty lines since anything else.
    empty: usize,
    begun: bool,
}

#[test]
fn the_reference_of_the_settings_is_what_the_defaults_say() {
    let mut reader = Reader::default();
    DEFAULTS.lines().for_each(|line| reader.take(line));
    reader.end_comment();
    check_generated(PAGE, &format!("{HEAD}{}", reader.page.trim_start()));
}

#[test]
fn a_comment_is_prose_lists_and_examples() {
    let lines =
        ["One", "two.", "", "  key   what", "", "#a = [", "#  1,", "#]"].map(|line| match line.strip_prefix('#') {
            Some(_) => line.to_owned(),
            None => format!("# {line}").trim_end().to_owned(),
        });
    let wanted = "One\ntwo.\n\n```text\nkey   what\n```\n\n```toml,part\na = [\n  1,\n]\n```\n\n";
    assert_eq!(to_markdown(&lines), wanted);
}

// === impl Reader ===

impl Reader {
    fn take(&mut self, line: &str) {
        if line.is_empty() {
            self.end_comment();
            self.empty += 1;
            return;
        }
        if line.starts_with('#') {
            if self.comment.is_empty() {
                // Two empty lines begin a new subject.
                self.begun = self.empty > 1;
            }
            self.comment.push(line.to_owned());
        } else if let Some(section) = line.strip_prefix('[') {
            self.section = section.trim_end_matches(']').to_owned();
            let _ = writeln!(self.page, "## `[{}]`\n", self.section);
            self.flush();
        } else {
            let (key, default) = line.split_once(" = ").unwrap_or_else(|| panic!("{line}: no key"));
            self.key(key, default);
        }
        self.empty = 0;
    }

    fn key(&mut self, key: &str, default: &str) {
        let path = format!("{}.{key}", self.section);
        let variable = format!("VERIGATE__{}", path.to_uppercase().replace('.', "__"));
        let default = default.split(" #").next().unwrap().trim();
        let _ = writeln!(self.page, "### `{path}`\n");
        let _ = writeln!(self.page, "{}, default `{default}`, variable `{variable}`\n", kind(default));
        self.flush();
    }

    /// Ends a comment that no key follows. One that begins a new subject is about what its first example shows.
    fn end_comment(&mut self) {
        if self.comment.is_empty() {
            return;
        }
        let header = self.comment.iter().find(|line| line.starts_with("#["));
        if let Some(header) = header.filter(|_| self.begun) {
            let title = match header.trim_start_matches('#') {
                list if list.starts_with("[[") => list.to_owned(),
                table => format!("[{}.NAME]", table.trim_matches(['[', ']']).split('.').next().unwrap()),
            };
            let _ = writeln!(self.page, "## `{title}`\n");
        }
        self.flush();
    }

    fn flush(&mut self) {
        self.page += &to_markdown(&std::mem::take(&mut self.comment));
    }
}

/// Prose as it stands, with examples and what is indented as blocks.
fn to_markdown(comment: &[String]) -> String {
    let mut page = String::new();
    let mut open = "";
    // Of an example: brackets that are open.
    let mut brackets = 0;
    for line in comment {
        let text = line.trim_start_matches('#');
        let wanted = match text {
            "" => open,
            _ if brackets > 0 => open,
            _ if !text.starts_with(' ') => "toml,part",
            _ if text.starts_with("   ") => "text",
            _ => "",
        };
        if wanted != open {
            close(&mut page, open);
            if !page.is_empty() && !page.ends_with("\n\n") {
                page.push('\n');
            }
            if !wanted.is_empty() {
                let _ = writeln!(page, "```{wanted}");
            }
            open = wanted;
        }
        if open == "toml,part" {
            brackets += text.matches(['[', '{']).count();
            brackets -= text.matches([']', '}']).count().min(brackets);
        }
        let text = match open {
            "text" => text.strip_prefix("   ").unwrap_or(text),
            "toml,part" => text,
            _ => text.trim_start(),
        };
        page += text;
        page.push('\n');
    }
    close(&mut page, open);
    if !page.is_empty() && !page.ends_with("\n\n") {
        page.push('\n');
    }
    page
}

/// Ends a block, without the empty lines before its end.
fn close(page: &mut String, open: &str) {
    if open.is_empty() {
        return;
    }
    page.truncate(page.trim_end().len());
    page.push_str("\n```\n");
}

fn kind(default: &str) -> &'static str {
    let table: toml::Table = toml::from_str(&format!("x = {default}")).unwrap();
    match &table["x"] {
        Value::String(text) if is_time(text) => "time",
        Value::String(_) => "text",
        Value::Integer(_) => "whole number",
        Value::Float(_) => "number",
        Value::Boolean(_) => "true or false",
        Value::Array(_) => "list",
        Value::Table(_) => "table",
        Value::Datetime(_) => "date and time",
    }
}

/// `10s`, `1h30m`, `250ms`
fn is_time(text: &str) -> bool {
    let letters: String = text.chars().filter(|c| !c.is_ascii_digit()).collect();
    text.starts_with(|c: char| c.is_ascii_digit()) && ["ms", "s", "m", "h", "hm"].contains(&letters.as_str())
}
