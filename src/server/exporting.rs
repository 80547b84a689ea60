//! The export of telemetry while a server runs: begun with it, and ended with what is left handed over.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::telemetry::Metrics;
use crate::telemetry::otlp::export::Exporter;

/// How long the collector may take for what is left.
const FINISH_LIMIT: Duration = Duration::from_secs(5);

/// The export, where there is one.
pub(crate) struct Exporting(Option<(CancellationToken, JoinHandle<()>)>);

// === impl Exporting ===

impl Exporting {
    pub(crate) fn start(exporter: Option<Exporter>, metrics: Metrics) -> Self {
        Self(exporter.map(|exporter| {
            let stop = CancellationToken::new();
            (stop.clone(), tokio::spawn(exporter.run(move || metrics.render(), stop)))
        }))
    }

    /// Hands over what is left, within a time.
    pub(crate) async fn finish(mut self) {
        let Some((stop, mut exporting)) = self.0.take() else { return };
        stop.cancel();
        if tokio::time::timeout(FINISH_LIMIT, &mut exporting).await.is_err() {
            warn!("the collector of OTLP took too long for the last of what is exported");
            exporting.abort();
        }
    }
}

/// With whoever runs the server.
impl Drop for Exporting {
    fn drop(&mut self) {
        if let Some((_, exporting)) = &self.0 {
            exporting.abort();
        }
    }
}
