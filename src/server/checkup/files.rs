//! Who may read the files that hold secrets.

use std::os::unix::fs::PermissionsExt;

use crate::config::Loaded;
use crate::server::checkup::finding::Finding;

const CHECK: &str = "file";

/// Anybody on this machine.
const OTHERS: u32 = 0o006;

pub(crate) fn check(loaded: &Loaded) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, file) in loaded.secret_files() {
        let about = file.display().to_string();
        findings.push(match std::fs::metadata(&file) {
            Err(error) if loaded.dev_profile && error.kind() == std::io::ErrorKind::NotFound => {
                Finding::skipped(CHECK, about, "not there yet; the dev profile makes it")
            }
            Err(error) => {
                Finding::failed(CHECK, about, format!("{key}: cannot be looked at: {error}"), "make it readable for us")
            }
            Ok(metadata) if metadata.permissions().mode() & OTHERS != 0 => {
                let found = format!("holds {key}, and everybody on this machine may open it");
                let advice = format!("chmod o-rw {about}");
                Finding::warning(CHECK, about, found, advice)
            }
            Ok(_) => Finding::good(CHECK, about, format!("holds {key}, and others cannot open it")),
        });
    }
    findings
}
