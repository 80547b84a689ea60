//! The merged configuration as TOML that an operator can read and compare: defaults plain, everything else with the
//! place that it came from, secrets hidden.

use crate::config::fault::{Origin, join};
use crate::config::layers::{Node, Table, Value};
use crate::config::read::is_secret;

const HIDDEN: &str = "<redacted>";

/// Writes the tree. In the tables under `opaque`, of whose texts nobody knows what they hold, every text is hidden that is not
/// plainly harmless: the `kind`, a path to a file, a time, a URL without credentials.
pub(crate) fn render(root: &Node, opaque: &[&str]) -> String {
    let mut page = String::new();
    if let Value::Table(table) = &root.value {
        Renderer { opaque, page: &mut page }.table(table, "", false);
    }
    page
}

struct Renderer<'p> {
    opaque: &'p [&'p str],
    page: &'p mut String,
}

impl Renderer<'_> {
    /// Plain keys first: TOML gives what follows a header to that header.
    fn table(&mut self, table: &Table, path: &str, opaque: bool) {
        for (key, node) in table.iter().filter(|(_, node)| !is_nested(node)) {
            let value = to_toml(node, key, opaque).to_string();
            self.page.push_str(&format!("{} = {value}{}\n", quote_key(key), comment(&node.origin)));
        }
        for (key, node) in table.iter().filter(|(_, node)| is_nested(node)) {
            let inner = join(path, &quote_key(key));
            let opaque = opaque || self.opaque.contains(&inner.as_str());
            match &node.value {
                Value::Table(table) => self.block(&format!("[{inner}]"), table, &inner, opaque),
                Value::List(items) => {
                    for item in items {
                        if let Value::Table(table) = &item.value {
                            self.block(&format!("[[{inner}]]"), table, &inner, opaque);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn block(&mut self, header: &str, table: &Table, path: &str, opaque: bool) {
        let only_tables = table.iter().next().is_some() && table.iter().all(|(_, node)| is_nested(node));
        if !only_tables || header.starts_with("[[") {
            let gap = if self.page.is_empty() { "" } else { "\n" };
            self.page.push_str(&format!("{gap}{header}\n"));
        }
        self.table(table, path, opaque);
    }
}

/// Written under a header of its own.
fn is_nested(node: &Node) -> bool {
    match &node.value {
        Value::Table(_) => true,
        Value::List(items) => !items.is_empty() && items.iter().all(|item| matches!(item.value, Value::Table(_))),
        _ => false,
    }
}

fn comment(origin: &Origin) -> String {
    match origin {
        Origin::Defaults => String::new(),
        other => format!("  # {}", other.to_string().escape_debug()),
    }
}

fn quote_key(key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !key.is_empty() && key.bytes().all(bare) {
        key.to_owned()
    } else {
        toml::Value::String(key.to_owned()).to_string()
    }
}

fn to_toml(node: &Node, key: &str, opaque: bool) -> toml::Value {
    let text = match &node.value {
        Value::Text(text) => Some(text),
        _ => node.raw.as_ref(),
    };
    if is_secret(key) || (opaque && text.is_some_and(|text| !is_harmless(key, text))) {
        return toml::Value::String(HIDDEN.to_owned());
    }
    match &node.value {
        Value::Text(text) => toml::Value::String(text.clone()),
        Value::Integer(value) => toml::Value::Integer(*value),
        Value::Float(value) => toml::Value::Float(*value),
        Value::Boolean(value) => toml::Value::Boolean(*value),
        Value::Datetime(value) => toml::Value::Datetime(*value),
        Value::List(items) => toml::Value::Array(items.iter().map(|item| to_toml(item, key, opaque)).collect()),
        Value::Table(table) => {
            toml::Value::Table(table.iter().map(|(key, inner)| (key.to_owned(), to_toml(inner, key, opaque))).collect())
        }
    }
}

fn is_harmless(key: &str, text: &str) -> bool {
    let time = || jiff::fmt::friendly::SpanParser::new().parse_unsigned_duration(text).is_ok();
    let url = || text.starts_with("http") && text.contains("://") && !text.contains(['@', '?', '#']);
    key == "kind" || key.ends_with("_file") || time() || url()
}
