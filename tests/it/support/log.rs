//! The log of a test, in memory. For tests on one thread: what other threads log is theirs.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing::Dispatch;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::EnvFilter;

/// Takes down what this thread logs until it is dropped.
pub(crate) struct Log {
    page: Page,
    _logging: DefaultGuard,
    _silent: Dispatch,
}

#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

// === impl Log ===

impl Log {
    pub(crate) fn start(filter: &str) -> Self {
        let page = Page::default();
        let writer = page.clone();
        // The library that reads phone numbers writes them at its finest level, so the server keeps it from logging.
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::new(format!("{filter},rlibphonenumber=off")))
            .with_ansi(false)
            // Its digits would now and then be those of a code that must not be here.
            .without_time()
            .with_writer(move || writer.clone())
            .finish();
        let logging = tracing::subscriber::set_default(subscriber);
        // While there is only one subscriber, places in the code that another test's thread comes by first are taken
        // for silent on all threads. A second one, which nobody logs to, keeps them open.
        let silent = Dispatch::new(tracing_subscriber::registry());
        Self { page, _logging: logging, _silent: silent }
    }

    /// What was logged so far.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.page.0.lock().unwrap().clone()
    }
}

// === impl Page ===

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
