//! Which files hold secrets, as far as the names of keys tell: those that a `…_file` names, and the configuration itself.
//!
//! For who looks at permissions; reads none of them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::config::fault::{Origin, join};
use crate::config::layers::{Node, Value};
use crate::config::read::is_secret;

/// Files that everybody may read: they are shown to whoever connects.
const PUBLIC: [&str; 3] = ["certificate_file", "client_ca_file", "ca_file"];

/// What vendors call a secret, beside the names that say so.
const VENDORS_WORDS: [&str; 1] = ["pass"];

/// Each file once, with the first key that makes it one.
pub(crate) fn find(root: &Node) -> Vec<(String, PathBuf)> {
    let mut found = BTreeMap::new();
    walk(root, "", &mut found);
    found.into_iter().map(|(file, key)| (key, file)).collect()
}

fn walk(node: &Node, path: &str, found: &mut BTreeMap<PathBuf, String>) {
    match &node.value {
        Value::Table(table) => {
            for (key, inner) in table.iter() {
                let path = join(path, key);
                if let Some(file) = secret_in(key, inner) {
                    found.entry(file).or_insert_with(|| path.clone());
                }
                walk(inner, &path, found);
            }
        }
        Value::List(items) => {
            for (at, item) in items.iter().enumerate() {
                walk(item, &format!("{path}[{at}]"), found);
            }
        }
        _ => {}
    }
}

/// The file that holds the secret of this key.
fn secret_in(key: &str, node: &Node) -> Option<PathBuf> {
    let Value::Text(text) = &node.value else { return None };
    if key.ends_with("_file") && !text.is_empty() && !PUBLIC.contains(&key) {
        return Some(text.into());
    }
    match &node.origin {
        Origin::File { name, .. } if is_said(key) || VENDORS_WORDS.contains(&key) => Some(PathBuf::from(&**name)),
        _ => None,
    }
}

/// A hash gives nobody the secret.
fn is_said(key: &str) -> bool {
    is_secret(key) && !key.ends_with("_hash")
}
