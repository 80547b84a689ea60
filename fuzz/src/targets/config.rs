//! Configuration: a file of TOML, and behind `%%` variables of the environment, one `NAME=VALUE` a line.

use std::cell::RefCell;
use std::io::{Seek, Write};
use std::sync::Arc;

use tempfile::NamedTempFile;
use verigate::clock::SystemClock;
use verigate::config::fault::ConfigError;
use verigate::config::{Loaded, load};

use crate::targets::parts;

/// What the secrets of inputs begin with.
const CANARY: &str = "secret-canary";

thread_local! {
    static FILE: RefCell<NamedTempFile> = RefCell::new(NamedTempFile::new().unwrap());
}

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A value may be read from any file that the operator names: this machine's are not for the fuzzer.
    if text.to_ascii_lowercase().contains("_file") {
        return;
    }
    let parts = parts(text);
    let variables = parts.get(1).copied().unwrap_or_default();
    let variables = variables.lines().filter_map(|line| line.split_once('='));
    let variables = variables.map(|(name, value)| (format!("VERIGATE__{name}"), value.to_owned()));
    match read(parts[0], variables) {
        Ok(loaded) => accepted(&loaded, &parts),
        Err(error) => told(&error.to_string(), &parts),
    }
}

fn read(text: &str, variables: impl Iterator<Item = (String, String)>) -> Result<Loaded, ConfigError> {
    FILE.with_borrow_mut(|file| {
        file.as_file_mut().rewind().unwrap();
        file.as_file_mut().set_len(0).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        load(Some(file.path()), variables)
    })
}

/// What loads can be shown, without its secrets.
fn accepted(loaded: &Loaded, parts: &[&str]) {
    told(&loaded.render(), parts);
    let _any = (loaded.example_key(), loaded.config.templates());
    // Vendors and routes are read by the server; it is told what is wrong, and nothing panics.
    drop(verigate::server::check(loaded, Arc::new(SystemClock)));
}

/// What is told to people is not empty, and does not show what a key with the name of a secret has.
fn told(message: &str, parts: &[&str]) {
    assert!(!message.trim().is_empty());
    let Ok(table) = parts[0].parse::<toml::Table>() else { return };
    let marked = |text: &str| text.contains(CANARY);
    let elsewhere = parts[1..].iter().any(|part| marked(part));
    if !elsewhere && !outside_secrets(&toml::Value::Table(table), &marked) {
        assert!(!marked(message), "a secret is told: {message}");
    }
}

/// Whether the mark stands in a name, or under a name that says nothing of a secret.
fn outside_secrets(value: &toml::Value, marked: &dyn Fn(&str) -> bool) -> bool {
    match value {
        toml::Value::String(text) => marked(text),
        toml::Value::Array(items) => items.iter().any(|item| outside_secrets(item, marked)),
        toml::Value::Table(table) => table.iter().any(|(name, value)| {
            let secret = matches!(name.as_str(), "secret" | "password" | "api_key" | "token") && value.is_str();
            marked(name) || !secret && outside_secrets(value, marked)
        }),
        _ => false,
    }
}
