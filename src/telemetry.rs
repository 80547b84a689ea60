//! Where logs and metrics go: events to standard error as lines for people or as JSON, metrics to one page in the
//! Prometheus text format.
//!
//! Knows neither what is logged nor who serves the page. Standard output stays free for the answers of commands. Traces,
//! and what is counted by whom, lie beside.

pub mod call;
pub mod calls;
pub mod catalog;
pub mod context;
pub mod funnel;
pub mod otlp;
pub mod page;
mod span_fields;
pub mod trace;

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Deserialize;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::error::{Error, Result, Violation};
use crate::telemetry::span_fields::SpanFields;

/// The `[log]` section.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    pub format: Format,
    /// Levels by target, such as `info,verigate::messaging=debug`.
    pub filter: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `Pretty` when standard error is a terminal, else `Json`.
    Auto,
    Pretty,
    Json,
}

/// The metrics of this process.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

/// Upper bounds, in seconds, of every histogram whose name ends in `_seconds`: from one store commit to one slow vendor.
const SECONDS: [f64; 14] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Upper bounds of the number of commits that are made durable together.
const GROUP_SIZES: [f64; 9] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// The recorder is global to the process, so its handle is too.
static METRICS: Mutex<Option<Metrics>> = Mutex::new(None);

/// Starts logging to standard error. Where a subscriber is already set, that one stays.
///
/// Errors: `Invalid` for a filter that cannot be read.
pub fn start_log(config: &Config) -> Result<()> {
    let terminal = std::io::stderr().is_terminal();
    let json = match config.format {
        Format::Auto => !terminal,
        Format::Pretty => false,
        Format::Json => true,
    };
    let ansi = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let subscriber = subscriber(parse_filter(&config.filter)?, json, ansi, std::io::stderr);
    // Fails only when a subscriber is set, which is the wish of whoever set it: a test, or a program that embeds us.
    let _already_set = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

/// Starts collecting metrics; a second call gives the same page.
///
/// Errors: `Internal` when another recorder was installed in this process.
pub fn start_metrics() -> Result<Metrics> {
    let mut started = METRICS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(metrics) = &*started {
        return Ok(metrics.clone());
    }
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)
        .and_then(|builder| {
            builder.set_buckets_for_metric(Matcher::Full("verigate_commit_group_size".into()), &GROUP_SIZES)
        })
        .map_err(Error::internal)?
        .build_recorder();
    let metrics = Metrics { handle: recorder.handle() };
    metrics::set_global_recorder(recorder).map_err(|error| Error::internal(error.to_string()))?;
    catalog::describe();
    metrics::gauge!("verigate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    *started = Some(metrics.clone());
    Ok(metrics)
}

fn parse_filter(filter: &str) -> Result<EnvFilter> {
    // The phone number library writes whole numbers at its finest level; no filter may turn that on.
    let filter = format!("{filter},rlibphonenumber=off");
    EnvFilter::builder().parse(filter).map_err(|error| {
        Error::invalid("filter", "must be levels by target such as \"info,verigate::messaging=debug\"")
            .with_source(error)
    })
}

fn subscriber<W>(filter: EnvFilter, json: bool, ansi: bool, writer: W) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // It would complain of a line that cannot be written by a macro that panics when nobody reads that, either.
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
    if json {
        Box::new(builder.json().flatten_event(true).fmt_fields(SpanFields).finish())
    } else {
        Box::new(builder.with_ansi(ansi).finish())
    }
}

// === impl Config ===

impl Config {
    /// What is out of range, by field.
    pub fn violations(&self) -> Vec<Violation> {
        parse_filter(&self.filter).err().map(|error| error.violations().to_vec()).unwrap_or_default()
    }
}

// === impl Metrics ===

impl Metrics {
    /// The page, as `text/plain; version=0.0.4`.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Folds what histograms gathered since the last call. To be called every few seconds, or memory grows until
    /// somebody renders the page.
    pub fn run_upkeep(&self) {
        self.handle.run_upkeep();
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::span_fields::tests::Page;

    fn logged(filter: &str, json: bool) -> String {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = subscriber(parse_filter(filter).unwrap(), json, false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(vendor = "inbox", "sent");
            tracing::debug!("only when asked for");
        });
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn json_lines_hold_the_fields_at_their_top() {
        let line: serde_json::Value = serde_json::from_str(&logged("info", true)).unwrap();
        assert_eq!(line["message"], "sent");
        assert_eq!(line["vendor"], "inbox");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn lines_for_people_have_no_escapes_outside_a_terminal() {
        let line = logged("info", false);
        assert!(line.contains("INFO") && line.contains("sent vendor=\"inbox\""), "{line}");
        assert!(!line.contains('\u{1b}'));
    }

    #[test]
    fn the_filter_chooses_levels_by_target() {
        assert!(!logged("info", false).contains("only when asked for"));
        assert!(logged("info,verigate::telemetry=debug", false).contains("only when asked for"));
        assert_eq!(logged("off", false), "");
    }

    #[test]
    fn a_bad_filter_is_an_error_of_its_field() {
        let config = Config { format: Format::Json, filter: "info,verigate=loud".into() };
        assert_eq!(config.violations()[0].field, "filter");
        assert!(start_log(&config).is_err());
        assert!(Config { filter: "info".into(), ..config }.violations().is_empty());
    }

    #[test]
    fn starting_twice_is_no_error() {
        let config = Config { format: Format::Auto, filter: "off".into() };
        start_log(&config).unwrap();
        start_log(&config).unwrap();
    }

    #[test]
    fn every_start_of_metrics_shows_the_same_page() {
        let (first, second) = (start_metrics().unwrap(), start_metrics().unwrap());
        metrics::counter!("telemetry_test_total").increment(2);
        metrics::histogram!("telemetry_test_seconds").record(0.003);
        first.run_upkeep();
        assert!(first.render().contains("telemetry_test_total 2"));
        let page = second.render();
        assert!(page.contains("telemetry_test_total 2"), "{page}");
        assert!(page.contains("telemetry_test_seconds_bucket{le=\"0.005\"} 1"), "{page}");
    }
}
