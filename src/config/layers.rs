//! Configuration as a tree of values, each of which knows where it was written, and how one layer lies over another.
//!
//! Knows TOML and environment variables, and no key by name.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::fault::{ConfigError, Fault, Origin, join};

/// What every variable that configures us begins with. Path parts follow, two underscores between them.
const PREFIX: &str = "VERIGATE__";

/// A value and where it was written. Has no `Debug`, for it may be a secret.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
    /// The text of a variable that happens to read as something else: `VERIGATE__…__SECRET=12345` is still a text
    /// where one is wanted.
    pub(crate) raw: Option<String>,
}

/// A TOML value.
#[derive(Clone)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    Datetime(toml::value::Datetime),
    List(Vec<Node>),
    Table(Table),
}

/// Entries in the order in which they were first written.
#[derive(Clone, Default)]
pub(crate) struct Table {
    entries: Vec<(String, Node)>,
}

// === impl Node ===

impl Node {
    pub(crate) fn new(value: Value, origin: &Origin) -> Self {
        Self { value, origin: origin.clone(), raw: None }
    }

    /// Reads a document. `source` is its origin as a whole; a file's values get their lines.
    pub(crate) fn parse(text: &str, source: &Origin) -> Result<Self, Fault> {
        let document = Document { text, source };
        match DeTable::parse(text) {
            Ok(table) => document.table(table.into_inner()).map(|table| Self::new(Value::Table(table), source)),
            Err(error) => Err(document.syntax_fault(&error)),
        }
    }

    /// Reads the variables that begin with `VERIGATE__`, in any case. All faults are told at once.
    pub(crate) fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut variables: Vec<_> = variables
            .filter(|(name, _)| name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX)))
            .map(|(name, value)| (name[PREFIX.len()..].to_ascii_lowercase(), name, value))
            .collect();
        variables.sort();
        let mut root = Table::default();
        let mut faults = Vec::new();
        for (path, name, value) in variables {
            let origin = Origin::Variable(name.into());
            let node = Self::parse_variable(value, &origin);
            let parts: Vec<&str> = path.split("__").collect();
            if let Err(message) = root.insert_at(&parts, node, &origin) {
                faults.push(Fault::new(&origin, "", message));
            }
        }
        let root = Self::new(Value::Table(root), &Origin::Defaults);
        if faults.is_empty() { Ok(root) } else { Err(ConfigError::new(faults)) }
    }

    /// Lays `over` on top: tables merge key by key, anything else is replaced whole.
    pub(crate) fn merge(&mut self, over: Self) {
        match (&mut self.value, over.value) {
            (Value::Table(base), Value::Table(table)) => {
                // The environment as a whole is no place to send anyone to.
                if over.origin != Origin::Defaults {
                    self.origin = over.origin;
                }
                base.merge(table);
            }
            (_, value) => *self = Self { value, ..over },
        }
    }

    /// The origin of what lies at `path`, or of the innermost thing around it that exists.
    pub(crate) fn origin_of(&self, path: &str) -> &Origin {
        let (head, rest) = match path.find(['.', '[', ']']) {
            Some(at) => (&path[..at], &path[at + 1..]),
            None => (path, ""),
        };
        if head.is_empty() {
            return if rest.is_empty() { &self.origin } else { self.origin_of(rest) };
        }
        let inner = match &self.value {
            Value::Table(table) => table.get(head),
            Value::List(list) => head.parse().ok().and_then(|index: usize| list.get(index)),
            _ => None,
        };
        inner.map_or(&self.origin, |inner| inner.origin_of(rest))
    }

    fn parse_variable(text: String, origin: &Origin) -> Self {
        let document = Document { text: &text, source: origin };
        let parsed = DeValue::parse(&text).ok().and_then(|value| document.node(value.into_inner(), 0).ok());
        match parsed {
            Some(node) if matches!(node.value, Value::Text(_)) => node,
            Some(node) => Self { raw: Some(text), ..node },
            None => Self::new(Value::Text(text), origin),
        }
    }
}

// === impl Table ===

impl Table {
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.entries.iter().map(|(key, node)| (key.as_str(), node))
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.iter().find(|(other, _)| *other == key).map(|(_, node)| node)
    }

    pub(crate) fn remove(&mut self, key: &str) {
        self.entries.retain(|(other, _)| other != key);
    }

    fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries.iter_mut().find(|(other, _)| other == key).map(|(_, node)| node)
    }

    fn merge(&mut self, over: Self) {
        for (key, node) in over.entries {
            // A secret by value replaces the same secret by file, and the other way round.
            self.remove(&format!("{key}_file"));
            if let Some(other) = key.strip_suffix("_file") {
                self.remove(other);
            }
            match self.get_mut(&key) {
                Some(base) => base.merge(node),
                None => self.entries.push((key, node)),
            }
        }
    }

    /// Puts a variable's value where its name says. The error says what is wrong with the name.
    fn insert_at(&mut self, parts: &[&str], node: Node, origin: &Origin) -> Result<(), &'static str> {
        let (key, rest) = match parts {
            [] | ["", ..] => return Err("names no key: write VERIGATE__SECTION__KEY"),
            [key, rest @ ..] => (*key, rest),
        };
        if rest.is_empty() {
            if self.get(key).is_some() {
                return Err("is given twice: variables are read in any case");
            }
            self.entries.push((key.to_owned(), node));
            return Ok(());
        }
        if self.get(key).is_none() {
            self.entries.push((key.to_owned(), Node::new(Value::Table(Self::default()), origin)));
        }
        match self.get_mut(key).map(|inner| &mut inner.value) {
            Some(Value::Table(inner)) => inner.insert_at(rest, node, origin),
            _ => Err("names a key inside of one that another variable sets to a plain value"),
        }
    }
}

// === reading TOML ===

/// A text on its way into the tree.
struct Document<'t> {
    text: &'t str,
    source: &'t Origin,
}

impl Document<'_> {
    fn origin(&self, offset: usize) -> Origin {
        match self.source {
            Origin::File { name, .. } => {
                let before = &self.text.as_bytes()[..offset.min(self.text.len())];
                let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                Origin::File { name: Arc::clone(name), line: Some(line) }
            }
            other => other.clone(),
        }
    }

    /// Only the parser's own words: its `Display` would print the line, and the line may hold a secret.
    fn syntax_fault(&self, error: &toml::de::Error) -> Fault {
        let origin = error.span().map_or_else(|| self.source.clone(), |span| self.origin(span.start));
        Fault::new(&origin, "", format!("is not TOML: {}", error.message()))
    }

    /// A key stands on the line where its value begins, so the key's place is the place of both.
    fn table(&self, table: DeTable<'_>) -> Result<Table, Fault> {
        let mut entries: Vec<(Spanned<_>, Spanned<_>)> = table.into_iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let entries = entries.into_iter().map(|(key, value)| {
            let offset = key.span().start;
            let key = key.into_inner().into_owned();
            self.node(value.into_inner(), offset).map(|node| (key, node))
        });
        Ok(Table { entries: entries.collect::<Result<_, Fault>>()? })
    }

    fn node(&self, value: DeValue<'_>, offset: usize) -> Result<Node, Fault> {
        let origin = self.origin(offset);
        let too_long = || Fault::new(&origin, "", "holds a number that does not fit into 64 bits");
        let value = match value {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                Value::Integer(parsed.map_err(|_| too_long())?)
            }
            DeValue::Float(number) => Value::Float(number.as_str().parse().map_err(|_| too_long())?),
            DeValue::Boolean(value) => Value::Boolean(value),
            DeValue::Datetime(value) => Value::Datetime(value),
            DeValue::Array(list) => {
                let nodes = list.into_iter().map(|item| {
                    let offset = item.span().start;
                    self.node(item.into_inner(), offset)
                });
                Value::List(nodes.collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => Value::Table(self.table(table)?),
        };
        Ok(Node::new(value, &origin))
    }
}

/// Every value of a tree with its path, for whoever looks at them all.
pub(crate) fn visit<'n>(node: &'n Node, path: &str, see: &mut impl FnMut(&str, &'n Node)) {
    see(path, node);
    match &node.value {
        Value::Table(table) => table.iter().for_each(|(key, inner)| visit(inner, &join(path, key), see)),
        Value::List(list) => {
            for (index, inner) in list.iter().enumerate() {
                visit(inner, &format!("{path}[{index}]"), see);
            }
        }
        _ => {}
    }
}
