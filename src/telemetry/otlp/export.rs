//! Hands spans and metrics to a collector, beside the work and never in its way: what is to be handed over waits in a
//! bounded queue, and what finds no place there, or no collector, is let go and counted.
//!
//! One line of the log says that a collector is away, and one that it is back.

use std::sync::Arc;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use metrics::Counter;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::http_client::{self, Chain};
use crate::random::Random;
use crate::telemetry::otlp::settings::Config;
use crate::telemetry::otlp::wire::{Resource, Scope, text};
use crate::telemetry::otlp::{page, spans};
use crate::telemetry::trace::{Finished, Taker};

/// Spans that wait to be handed over. Some 6 MB.
const MOST_WAITING: usize = 8_192;

/// Spans of one request.
const MOST_OF_REQUEST: usize = 512;

/// How long a span waits for others to go with.
const GATHER: Duration = Duration::from_secs(1);

/// Waits between tries to hand over the same spans; after the last they are let go.
const RETRIES: [Duration; 4] =
    [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4), Duration::from_secs(8)];

/// The exports of a server.
pub struct Exporter {
    traces: Option<(Line, mpsc::Receiver<Finished>)>,
    metrics: Option<Line>,
    means: Means,
    interval: Duration,
}

/// The way of one signal to the collector.
struct Line {
    signal: &'static str,
    url: String,
    /// Whether the last request arrived.
    up: bool,
    dropped: Counter,
}

/// What all signals share.
struct Means {
    http: reqwest::Client,
    headers: HeaderMap,
    resource: Resource,
    scope: Scope,
    clock: Arc<dyn Clock>,
    began: u64,
}

/// Why a request was not taken.
enum Untaken {
    /// It may be another time.
    Now(String),
    /// It will not be.
    Ever(String),
}

/// What exports, and who takes spans for it; neither, where nothing is exported.
///
/// Errors: `Internal` when no client can be built.
pub fn build(config: &Config, clock: Arc<dyn Clock>, random: &dyn Random) -> Result<(Option<Exporter>, Option<Taker>)> {
    let (traces, metrics) = (config.url("traces"), config.url("metrics"));
    let (traces, metrics) = (traces.filter(|_| config.traces), metrics.filter(|_| config.metrics));
    if traces.is_none() && metrics.is_none() {
        return Ok((None, None));
    }
    let means = Means::new(config, clock, random)?;
    let (taker, traces) = match traces {
        Some(url) => {
            let (sender, receiver) = mpsc::channel(MOST_WAITING);
            let line = Line::new("traces", url);
            let dropped = line.dropped.clone();
            let take = Box::new(move |span| {
                if sender.try_send(span).is_err() {
                    dropped.increment(1);
                }
            });
            (Some(Taker { ratio: config.ratio, take }), Some((line, receiver)))
        }
        None => (None, None),
    };
    let metrics = metrics.map(|url| Line::new("metrics", url));
    Ok((Some(Exporter { traces, metrics, means, interval: config.interval }), taker))
}

// === impl Exporter ===

impl Exporter {
    /// Exports until it is told to stop, and then what is left. `page`: tells the page of metrics as it is.
    pub async fn run(self, page: impl Fn() -> String, stop: CancellationToken) {
        let Self { traces, metrics, means, interval } = self;
        let of_traces = async {
            if let Some((line, spans)) = traces {
                export_spans(line, spans, &means, &stop).await;
            }
        };
        let of_metrics = async {
            if let Some(line) = metrics {
                export_metrics(line, &page, interval, &means, &stop).await;
            }
        };
        tokio::join!(of_traces, of_metrics);
    }
}

async fn export_spans(mut line: Line, mut waiting: mpsc::Receiver<Finished>, means: &Means, stop: &CancellationToken) {
    // Nobody is left to end spans once all who could are gone.
    let is_over = |waiting: &mpsc::Receiver<_>| waiting.is_closed() && waiting.is_empty();
    while !stop.is_cancelled() && !is_over(&waiting) {
        let mut batch = Vec::new();
        tokio::select! {
            _ = waiting.recv_many(&mut batch, MOST_OF_REQUEST) => {}
            () = stop.cancelled() => {}
        }
        let gathered = means.clock.sleep_until(means.clock.now() + GATHER);
        tokio::select! {
            () = gather(&mut batch, &mut waiting) => {}
            () = gathered => {}
            () = stop.cancelled() => {}
        }
        line.hand_over(&batch, means, stop).await;
    }
    let mut left = Vec::new();
    while let Ok(span) = waiting.try_recv() {
        left.push(span);
    }
    for batch in left.chunks(MOST_OF_REQUEST) {
        line.hand_over(batch, means, stop).await;
    }
}

/// Fills a batch.
async fn gather(batch: &mut Vec<Finished>, waiting: &mut mpsc::Receiver<Finished>) {
    while batch.len() < MOST_OF_REQUEST {
        let room = MOST_OF_REQUEST - batch.len();
        if waiting.recv_many(batch, room).await == 0 {
            return;
        }
    }
}

async fn export_metrics(
    mut line: Line,
    page: &impl Fn() -> String,
    interval: Duration,
    means: &Means,
    stop: &CancellationToken,
) {
    loop {
        tokio::select! {
            () = means.clock.sleep_until(means.clock.now() + interval) => {}
            () = stop.cancelled() => {}
        }
        let period = page::Period { from: means.began, to: means.clock.nanos() };
        let body = page::encode(&page(), period, &means.resource, &means.scope);
        // One that does not arrive is made up for by the next, which holds all sums again.
        let sent = means.send(&line, &body).await;
        line.note(&sent, 1);
        if stop.is_cancelled() {
            return;
        }
    }
}

// === impl Line ===

impl Line {
    fn new(signal: &'static str, url: String) -> Self {
        let dropped = metrics::counter!("verigate_otlp_dropped_total", "signal" => signal);
        Self { signal, url, up: true, dropped }
    }

    /// Hands over spans, and tries again for a while. Once we stop there is one try more.
    async fn hand_over(&mut self, batch: &[Finished], means: &Means, stop: &CancellationToken) {
        if batch.is_empty() {
            return;
        }
        let (body, items) = (spans::encode(batch, &means.resource, &means.scope), batch.len());
        for wait in RETRIES {
            let stopping = stop.is_cancelled();
            let sent = means.send(self, &body).await;
            if !matches!(sent, Err(Untaken::Now(_))) || stopping {
                return self.note(&sent, items);
            }
            self.note(&sent, 0);
            tokio::select! {
                () = means.clock.sleep_until(means.clock.now() + wait) => {}
                () = stop.cancelled() => {}
            }
        }
        let sent = means.send(self, &body).await;
        self.note(&sent, items);
    }

    /// Counts a request, and tells of the first that does not arrive after one that did, and the other way round.
    fn note(&mut self, sent: &Result<(), Untaken>, items: usize) {
        let outcome = if sent.is_ok() { "ok" } else { "failed" };
        metrics::counter!("verigate_otlp_exports_total", "signal" => self.signal, "outcome" => outcome).increment(1);
        let was_up = std::mem::replace(&mut self.up, sent.is_ok());
        match sent {
            Ok(()) if !was_up => info!(signal = self.signal, "the collector of OTLP takes what is exported again"),
            Ok(()) => {}
            Err(Untaken::Now(why) | Untaken::Ever(why)) => {
                self.dropped.increment(items as u64);
                if was_up {
                    warn!(signal = self.signal, why, "the collector of OTLP does not take what is exported");
                }
            }
        }
    }
}

// === impl Means ===

impl Means {
    fn new(config: &Config, clock: Arc<dyn Clock>, random: &dyn Random) -> Result<Self> {
        let http = http_client::builder(config.timeout, config.timeout)?.build().map_err(Error::internal)?;
        let mut instance = [0; 16];
        random.fill(&mut instance);
        let instance = uuid::Builder::from_random_bytes(instance).into_uuid().to_string();
        let attributes = vec![
            text("service.name", config.service_name.as_str()),
            text("service.version", env!("CARGO_PKG_VERSION")),
            text("service.instance.id", instance),
        ];
        let scope = Scope { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        let mut headers: HeaderMap = config.headers.iter().filter_map(|header| header.parse()).collect();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let began = clock.nanos();
        Ok(Self { http, headers, resource: Resource { attributes }, scope, clock, began })
    }

    async fn send(&self, line: &Line, body: &[u8]) -> Result<(), Untaken> {
        let request = self.http.post(&line.url).headers(self.headers.clone()).body(body.to_vec());
        let answer = request.send().await.map_err(|error| Untaken::Now(Chain(&error.without_url()).to_string()))?;
        let why = |status: StatusCode| format!("it answered {status}");
        match answer.status() {
            status if status.is_success() => Ok(()),
            // As OTLP/HTTP has it, all others are for good.
            status @ (StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => Err(Untaken::Now(why(status))),
            status => Err(Untaken::Ever(why(status))),
        }
    }
}
