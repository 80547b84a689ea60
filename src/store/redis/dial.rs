//! Connections to one server: TCP, TLS where that is wanted, credentials, and a driver that carries many calls at once.
//!
//! Does not know which server is the one to ask.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, Value};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

use crate::error::{Error, Result};
use crate::store::redis::fault::{Trouble, unusable};
use crate::store::redis::settings::{Address, TlsConfig};

/// Who we are in the list of a server's clients.
const NAME: &str = "verigate";

/// Calls that wait to be written to one connection.
const WAITING_CALLS: usize = 512;

/// Opens connections with the same credentials.
#[derive(Clone)]
pub(crate) struct Dialler {
    tls: Option<TlsConnector>,
    hello: RedisConnectionInfo,
    /// How long opening one may take.
    patience: Duration,
}

/// An open connection. Closed when the last copy is dropped.
#[derive(Clone)]
pub(crate) struct Connection {
    inner: MultiplexedConnection,
    driver: Arc<Driver>,
}

/// Stops with what it belongs to.
struct Driver(AbortHandle);

// === impl Dialler ===

impl Dialler {
    /// Errors: `Invalid` for files of TLS that cannot be used.
    pub(crate) fn new(
        tls: &TlsConfig,
        (user, password): (Option<&str>, Option<&SecretString>),
        database: u32,
        patience: Duration,
    ) -> Result<Self> {
        let version = env!("CARGO_PKG_VERSION");
        let mut hello = RedisConnectionInfo::default().set_db(database.into()).set_lib_name(NAME, version);
        if let Some(user) = user {
            hello = hello.set_username(user);
        }
        if let Some(password) = password {
            hello = hello.set_password(password.expose_secret());
        }
        let tls = if tls.enabled { Some(TlsConnector::from(Arc::new(build_tls(tls)?))) } else { None };
        Ok(Self { tls, hello, patience })
    }

    /// Error: `Lost` or `Refused`.
    pub(crate) async fn dial(&self, address: &Address) -> Result<Connection, Trouble> {
        let opened = tokio::time::timeout(self.patience, self.open(address)).await;
        opened.unwrap_or_else(|_| Err(Trouble::lost(format!("no connection within {:?}", self.patience))))
    }

    async fn open(&self, address: &Address) -> Result<Connection, Trouble> {
        let tcp = TcpStream::connect((address.host.as_str(), address.port)).await.map_err(Trouble::lost)?;
        tcp.set_nodelay(true).map_err(Trouble::lost)?;
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_pipeline_buffer_size(WAITING_CALLS);
        let Some(tls) = &self.tls else {
            let (inner, driver) = MultiplexedConnection::new_with_config(&self.hello, tcp, config)
                .await
                .map_err(|error| Trouble::of_client(&error))?;
            return Ok(Connection::new(inner, driver));
        };
        let name = ServerName::try_from(address.host.clone()).map_err(Trouble::lost)?;
        let stream = tls.connect(name, tcp).await.map_err(|error| Trouble::lost(format!("TLS: {error}")))?;
        let (inner, driver) = MultiplexedConnection::new_with_config(&self.hello, stream, config)
            .await
            .map_err(|error| Trouble::of_client(&error))?;
        Ok(Connection::new(inner, driver))
    }
}

// === impl Connection ===

impl Connection {
    fn new(inner: MultiplexedConnection, driver: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { inner, driver: Arc::new(Driver(tokio::spawn(driver).abort_handle())) }
    }

    /// Whether the other end has not hung up.
    pub(crate) fn is_open(&self) -> bool {
        !self.driver.0.is_finished()
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.driver, &other.driver)
    }

    /// What the server answers to each of these calls, sent one right behind the other. Waits without end.
    ///
    /// Error: `Lost`.
    pub(crate) async fn send(&self, calls: &Pipeline) -> Result<Vec<Value>, Trouble> {
        let answers = self.inner.clone().send_packed_commands(calls, 0, calls.len()).await;
        answers.map_err(|error| Trouble::of_client(&error))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn build_tls(config: &TlsConfig) -> Result<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    match &config.ca_file {
        Some(file) => {
            for authority in read_certificates("tls.ca_file", file)? {
                roots.add(authority).map_err(|error| unusable("tls.ca_file", error))?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_root_certificates(roots);
    let (Some(certificate), Some(key)) = (&config.certificate_file, &config.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = read_certificates("tls.certificate_file", certificate)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| unusable("tls.key_file", format!("{} cannot be used: {error}", key.display())))?;
    builder.with_client_auth_cert(chain, key).map_err(|error| unusable("tls.certificate_file", error))
}

fn read_certificates(key: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let unfit = |what: String| unusable(key, format!("{} {what}", file.display()));
    let pem = std::fs::read(file).map_err(|error| unfit(format!("cannot be read: {error}")))?;
    let found = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().ok();
    found
        .filter(|certificates| !certificates.is_empty())
        .ok_or_else(|| unfit("holds no certificates in PEM, or broken ones".to_owned()))
}
