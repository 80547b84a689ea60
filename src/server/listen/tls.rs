//! TLS on a listener: its certificate and key, whom it asks for one, and how they are replaced while it serves.
//!
//! A connection keeps what it was made with. New files count for new connections once they are whole and fit together;
//! until then the old ones go on, so that a renewal that goes wrong costs nothing before the old certificate ends.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::{InconsistentKeys, RootCertStore};
use secrecy::zeroize::Zeroizing;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::transport::TlsFiles;
use crate::error::Violation;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(10);

/// Most bytes of a file that are read. A list of all the authorities of the web takes a quarter of it.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// What a listener speaks within TLS, the best first.
pub(crate) type Protocols = &'static [&'static [u8]];

/// The certificates of one listener.
pub(crate) struct Certificates {
    /// The listener's key in the configuration.
    listener: &'static str,
    files: TlsFiles,
    protocols: Protocols,
    current: RwLock<Arc<ServerConfig>>,
    /// What the files held when they were last tried, good or not.
    tried: Mutex<Mark>,
}

/// Stands for what is in the files, without keeping the key.
type Mark = [u8; 32];

/// The certificates of all listeners, to be read again while they are served. Cheap to clone.
#[derive(Clone)]
pub struct Reload(Vec<Arc<Certificates>>);

/// What is in the files.
struct Contents {
    certificate: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Zeroizing<Vec<u8>>>,
}

// === impl Certificates ===

impl Certificates {
    /// Errors: which file is no good, by its key below `[server.tls]`.
    pub(crate) fn load(listener: &'static str, files: TlsFiles, protocols: Protocols) -> Result<Self, Violation> {
        let named = |wrong: Violation| Violation { field: format!("server.tls.{listener}.{}", wrong.field), ..wrong };
        let contents = Contents::read(&files).map_err(named)?;
        let config = build(&contents, &files, protocols).map_err(named)?;
        let (current, tried) = (RwLock::new(Arc::new(config)), Mutex::new(contents.mark()));
        Ok(Self { listener, files, protocols, current, tried })
    }

    /// What the next connection is made with.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// Takes what is in the files now, if it is new and good. What is not is logged, once.
    pub(crate) fn reload(&self) {
        let contents = match Contents::read(&self.files) {
            Ok(contents) => contents,
            // Files are replaced one after the other, and one may be missing for a moment.
            Err(wrong) => return self.tell_of(&wrong, Mark::default()),
        };
        let mark = contents.mark();
        if *self.tried.lock().unwrap_or_else(PoisonError::into_inner) == mark {
            return;
        }
        match build(&contents, &self.files, self.protocols) {
            Ok(config) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                *self.tried.lock().unwrap_or_else(PoisonError::into_inner) = mark;
                info!(listener = self.listener, "new certificates are in use for new connections");
            }
            Err(wrong) => self.tell_of(&wrong, mark),
        }
    }

    fn tell_of(&self, wrong: &Violation, mark: Mark) {
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *tried, mark) != mark {
            let Violation { field, description } = wrong;
            let listener = self.listener;
            warn!("server.tls.{listener}.{field}: {description}; the certificates in use stay in use");
        }
    }

    /// What works but should not stay so.
    pub(crate) fn warning(&self) -> Option<String> {
        let mode = std::fs::metadata(&self.files.key).ok()?.permissions().mode();
        let (listener, path) = (self.listener, self.files.key.display());
        let exposed = mode & 0o007 != 0;
        exposed.then(|| format!("server.tls.{listener}.key_file: everybody on this machine may read {path}"))
    }
}

/// Looks at the files now and then.
pub(crate) async fn keep_fresh(reload: Reload, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep_until(clock.now() + LOOK_INTERVAL).await;
        reload.run().await;
    }
}

// === impl Reload ===

impl Reload {
    pub(crate) fn new(all: Vec<Arc<Certificates>>) -> Self {
        Self(all)
    }

    /// There is nothing to read.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes what is in the files now, as far as it is new and good; what became of it is logged.
    pub async fn run(&self) {
        let all = self.0.clone();
        // The files may lie on a disk that is slow, or gone.
        drop(tokio::task::spawn_blocking(move || all.iter().for_each(|one| one.reload())).await);
    }
}

fn build(contents: &Contents, files: &TlsFiles, protocols: Protocols) -> Result<ServerConfig, Violation> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| unfit("certificate_file", &error))?;
    let builder = match (&contents.client_ca, &files.client_ca) {
        (Some(pem), Some(file)) => {
            let mut roots = RootCertStore::empty();
            for authority in parse_certificates("client_ca_file", file, pem)? {
                roots.add(authority).map_err(|error| unfit("client_ca_file", &error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| unfit("client_ca_file", &error))?)
        }
        _ => builder.with_no_client_auth(),
    };
    let chain = parse_certificates("certificate_file", &files.certificate, &contents.certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|_| {
        violation("key_file", format!("{} holds no private key in PEM that is not encrypted", files.key.display()))
    })?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let (key, certificate) = (files.key.display(), files.certificate.display());
            violation("key_file", format!("{key} is not the key of the first certificate in {certificate}"))
        }
        error => unfit("certificate_file", &error),
    })?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(config)
}

fn parse_certificates(key: &str, file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Violation> {
    let parsed = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().ok();
    let found = parsed.filter(|certificates| !certificates.is_empty());
    found.ok_or_else(|| violation(key, format!("{} holds no certificates in PEM, or broken ones", file.display())))
}

fn unfit(key: &str, error: &dyn std::fmt::Display) -> Violation {
    violation(key, format!("cannot be used: {error}"))
}

fn violation(key: &str, description: String) -> Violation {
    Violation { field: key.to_owned(), description }
}

// === impl Contents ===

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, Violation> {
        let client_ca = files.client_ca.as_deref().map(|file| read("client_ca_file", file)).transpose()?;
        let certificate = read("certificate_file", &files.certificate)?;
        Ok(Self { certificate, key: read("key_file", &files.key)?, client_ca })
    }

    fn mark(&self) -> Mark {
        let parts = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        let mut all = Sha256::new();
        for part in parts.into_iter().flatten() {
            all.update(Sha256::digest(part.as_slice()));
        }
        all.finalize().into()
    }
}

fn read(key: &str, file: &Path) -> Result<Zeroizing<Vec<u8>>, Violation> {
    let mut content = Zeroizing::new(Vec::new());
    let taken = File::open(file).and_then(|opened| opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut content));
    match taken {
        Ok(bytes) if bytes as u64 > MAX_FILE_BYTES => {
            Err(violation(key, format!("{} has more than {MAX_FILE_BYTES} bytes", file.display())))
        }
        Ok(_) => Ok(content),
        Err(error) => Err(violation(key, format!("the file {file:?} cannot be read: {error}"))),
    }
}
