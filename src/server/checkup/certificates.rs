//! How long the certificates of the listeners are good for.

use std::path::Path;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::clock::Timestamp;
use crate::config::transport::TlsConfig;
use crate::server::checkup::finding::Finding;
use crate::server::checkup::validity::Validity;

const CHECK: &str = "certificate";

/// Those who renew by themselves do so a month before the end, so less than this means that it went wrong.
const SOON: Duration = Duration::from_secs(21 * 86_400);

pub(crate) fn check(config: &TlsConfig, now: Timestamp) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (listener, tls) in config.listeners() {
        let Some(files) = tls.files() else { continue };
        let files = [("certificate_file", Some(files.certificate)), ("client_ca_file", files.client_ca)];
        for (key, file) in files {
            let Some(file) = file else { continue };
            findings.push(check_file(format!("server.tls.{listener}.{key}"), &file, now));
        }
    }
    findings
}

/// Looks at the first certificate: what vouches for it is for others to keep fresh.
fn check_file(about: String, file: &Path, now: Timestamp) -> Finding {
    let renew = "renew it; a server that runs takes the new file within 10 s";
    let first = CertificateDer::from_pem_file(file).ok();
    let Some(Validity { from, until }) = first.and_then(|certificate| Validity::of(&certificate)) else {
        return Finding::failed(
            CHECK,
            about,
            format!("{} holds no certificate that we can read", file.display()),
            renew,
        );
    };
    if until < now {
        return Finding::failed(CHECK, about, format!("has ended at {until}"), renew);
    }
    if now < from {
        return Finding::failed(CHECK, about, format!("is good only from {from} on"), "check the clock, or renew it");
    }
    if until.since(now) < SOON {
        return Finding::warning(CHECK, about, format!("ends at {until}"), renew);
    }
    Finding::good(CHECK, about, format!("good until {until}"))
}
