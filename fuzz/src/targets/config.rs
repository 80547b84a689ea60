//! Configuration: a file of TOML, and behind `%%` variables of the environment, one `NAME=VALUE` a line.

use std::cell::RefCell;
use std::io::{Seek, Write};
use std::sync::Arc;

use tempfile::NamedTempFile;
use verigate::clock::SystemClock;
use verigate::config::fault::ConfigError;
use verigate::config::{Loaded, load};

use crate::targets::parts;

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
        Ok(loaded) => accepted(&loaded),
        Err(error) => told(&error.to_string()),
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

/// What loads can be shown, without its secrets, and what was shown loads.
fn accepted(loaded: &Loaded) {
    let shown = loaded.render();
    assert!(!shown.contains("canary"), "a secret is shown:\n{shown}");
    let _any = (loaded.example_key(), loaded.config.templates(), loaded.config.keys());
    // Vendors and routes are read by the server; it is told what is wrong, and nothing panics.
    drop(verigate::server::check(loaded, Arc::new(SystemClock)));
}

/// Faults are lines for people, and none shows a secret.
fn told(message: &str) {
    assert!(!message.trim().is_empty());
    assert!(!message.contains("secret-canary"), "a secret is told: {message}");
}
