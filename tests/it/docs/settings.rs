//! Settings on pages: each block of them loads, and each one that prose names is there.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use toml::Table;
use verigate::config::DEFAULTS;
use verigate::feed::kinds::TYPES;

use crate::cli::example;
use crate::cli::program::Place;
use crate::docs::pages::{Block, of_the_book};

/// What blocks marked `toml,part` are parts of.
const WHOLE: &str = r#"
[store]
path = "/var/lib/verigate"
key_file = "/etc/verigate/store.key"

[[tenants]]
name = "acme"
keys = [{ id = "acme", secret = "a-secret-of-some-length" }]

[vendors.inbox]
kind = "inbox"

[[routes]]
channel = "sms"
vendors = ["inbox"]
"#;

/// Its blocks are the examples of the defaults, which have a test of their own.
const REFERENCE: &str = "docs/configuration.md";

#[test]
fn every_block_of_settings_is_accepted() {
    let mut count = 0;
    for page in of_the_book().iter().filter(|page| !page.path.ends_with("configuration.md")) {
        for block in page.blocks().iter().filter(|block| is_settings(block)) {
            count += 1;
            let place = Place::new();
            settle(&place, &whole(block));
            let checked = place.run(&["check-config", "--config", "verigate.toml"]);
            assert!(checked.code == 0, "{}:{}: {}", page.path.display(), block.line, checked.stderr);
        }
    }
    assert!(count > 10, "{count} blocks");
}

#[test]
fn every_setting_that_prose_names_is_there() {
    let known = known();
    let sections: BTreeSet<_> = known.iter().filter_map(|path| path.split('.').next()).collect();
    let mut wrong = Vec::new();
    for page in of_the_book().iter().filter(|page| !page.path.starts_with(REFERENCE)) {
        for (line, span) in page.spans() {
            if let Some(path) = setting(span, &sections).filter(|path| !known.contains(path)) {
                wrong.push(format!("{}:{line}: {path}", page.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "the defaults do not have\n{}\n", wrong.join("\n"));
}

fn is_settings(block: &Block) -> bool {
    ["toml", "toml,part"].contains(&block.language.as_str())
}

/// The file that a block stands for.
pub(crate) fn whole(block: &Block) -> String {
    let mut table: Table = toml::from_str(if block.language == "toml" { "" } else { WHOLE }).unwrap();
    merge(&mut table, toml::from_str(&block.text).unwrap_or_else(|error| panic!("line {}: {error}", block.line)));
    toml::to_string(&table).unwrap()
}

fn merge(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => merge(under, over),
            (_, value) => drop(under.insert(key, value)),
        }
    }
}

/// Writes the configuration into a folder, with the files that it names beside it.
pub(crate) fn settle(place: &Place, config: &str) {
    let folder = place.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    let moved = config.replace("/etc/verigate", &folder).replace("/var/lib/verigate", &format!("{folder}/data"));
    let (certificate, key) = certificate();
    for line in moved.lines() {
        let Some((name, file)) = line.split_once("_file = ") else { continue };
        let file = file.trim_matches('"');
        match name {
            "certificate" | "client_ca" => fs::write(file, &certificate).unwrap(),
            "key" if file.ends_with("store.key") => drop(place.run(&["store-key", "new", file]).succeeded()),
            "key" => fs::write(file, &key).unwrap(),
            _ => fs::write(file, "a-secret-of-more-than-thirty-two-bytes\n").unwrap(),
        }
        fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    place.write("verigate.toml", &moved);
}

fn certificate() -> (String, String) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["verigate.example".to_owned()]).unwrap();
    (cert.pem(), signing_key.serialize_pem())
}

/// The path of the setting or section that a code span names, if it is one.
fn setting(span: &str, sections: &BTreeSet<&str>) -> Option<String> {
    if let Some(variable) = span.strip_prefix("VERIGATE__") {
        let name = variable.split('=').next().unwrap();
        return (!name.contains('…')).then(|| name.to_lowercase().replace("__", "."));
    }
    let is_section = span.starts_with('[') && span.ends_with(']');
    let path = span.trim_matches(['[', ']']);
    let is_path = path.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._".contains(&byte));
    let top = path.split('.').next().unwrap();
    let is_ours = sections.contains(top) && (path.contains('.') || is_section);
    // Types of events have dots, too.
    let is_event = TYPES.iter().any(|event| event.name == path);
    (is_path && is_ours && !is_event).then(|| path.to_owned())
}

/// Every setting and section that the defaults have or explain.
fn known() -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let mut section = String::new();
    for line in DEFAULTS.lines() {
        let line = example(line).unwrap_or(line);
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']).to_owned();
            let parts: Vec<_> = section.split('.').collect();
            known.extend((1..=parts.len()).map(|length| parts[..length].join(".")));
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with(['#', ' '])) {
            known.insert(format!("{section}.{key}"));
        } else if let Some(list) = line.strip_prefix("#   ") {
            // Explained in words, before the example that says of what: any of the lists.
            let key = list.split(' ').next().unwrap();
            known.extend(["tenants", "routes", "vendors", "workflows", "templates"].map(|of| format!("{of}.{key}")));
            known.extend([format!("events.endpoints.{key}")]);
        }
    }
    known
}
