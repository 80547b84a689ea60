//! `verigate bench`: how many calls a second, how long each takes, and what they cost beside a call that does nothing.
//!
//! Measures a server of its own, a child process with durable writes on a disk, or one that it is given. Knows nothing
//! of how a server works: it calls what every client calls. Only the store is also measured alone, inside this process,
//! when the caller knows how to open one.

pub mod calls;
mod child;
mod insisting;
mod latency;
mod load;
mod overload;
mod place;
mod process;
pub mod progress;
pub mod report;
mod store;

use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::Endpoint;

use crate::bench::calls::{Operation, Stock};
use crate::bench::child::Gateway;
use crate::bench::load::{Aim, Extent, Task};
use crate::bench::place::Place;
use crate::bench::process::Process;
use crate::bench::progress::Progress;
use crate::bench::report::{Live, Point, Report};
use crate::bench::store::Cycles;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::store::Store;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Seconds that each point is measured; up to two more go before, to warm up
    #[arg(long, default_value_t = 3.0, value_parser = parse_seconds)]
    pub seconds: f64,

    /// Callers that each have one call under way; a list, measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,128,256", value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub callers: Vec<u16>,

    /// Which calls to measure; checks use up what was started
    #[arg(long, value_delimiter = ',', value_enum, default_values_t = Operation::ALL)]
    pub calls: Vec<Operation>,

    /// HTTP/2 connections that the callers share
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub connections: u16,

    /// Threads that the callers run on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub threads: u16,

    /// First make so many verifications that stay pending
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u64).range(..=10_000_000))]
    pub live: u64,

    /// Then have so many times the calls come that the server takes at once; a list, such as 2,5,10
    ///
    /// The server then takes 176 at once. Callers who are turned away come again when they are told to.
    #[arg(long, value_delimiter = ',', value_name = "TIMES", conflicts_with = "address", value_parser = clap::value_parser!(u16).range(1..=20))]
    pub overload: Vec<u16>,

    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,

    /// Where the stores lie while they are measured [default: the folder for temporary files]
    #[arg(long, value_name = "FOLDER", conflicts_with = "address")]
    pub directory: Option<PathBuf>,

    /// Measure this server instead of one of our own, such as http://127.0.0.1:50051
    ///
    /// Every start hands a text to whatever vendor the server routes SMS to Malaysia to, and phone numbers are taken at
    /// random: point it only at a server whose vendor sends nothing.
    #[arg(long, value_name = "URL", requires_all = ["key", "sends_nothing"])]
    pub address: Option<String>,

    /// The API key for --address, ID.SECRET
    #[arg(long, requires = "address")]
    pub key: Option<String>,

    /// Confirms that the server at --address sends nothing to anybody
    #[arg(long, requires = "address")]
    pub sends_nothing: bool,
}

/// What a run is given from outside.
pub struct Surroundings {
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Random>,
    /// The program that `serve` starts a server of.
    pub program: PathBuf,
    /// Opens the store that is measured alone, where one is to be.
    pub open_store: Option<OpenStore>,
}

/// Opens an empty, sealed store in a folder, as a server opens its own. Called within a Tokio runtime.
pub type OpenStore = Box<dyn FnOnce(&Path) -> Result<Arc<dyn Store>> + Send>;

/// Where a run writes.
pub struct Output<'a> {
    pub report: &'a mut (dyn Write + Send),
    pub progress: &'a mut (dyn Write + Send),
    /// Progress goes to a terminal.
    pub terminal: bool,
}

/// A run under way.
struct Run<'a> {
    options: &'a Options,
    own: Option<Gateway>,
    alone: Option<Alone>,
    aim: Aim,
    stop: CancellationToken,
    progress: Progress<'a>,
    report: Report,
}

/// The store alone, which is closed before its folder goes.
struct Alone {
    cycles: Arc<Cycles>,
    _place: Place,
}

/// How many calls our server takes at once: a quarter of it is for checks alone, and none of ours is turned away.
const CALLS: usize = 8192;

/// Callers that make the verifications which stay pending.
const LIVE_CALLERS: usize = 128;

/// Measures, writes the report and returns it. Completes early, with what was measured, when `stop` does.
///
/// Errors: `Invalid` for an address or key that cannot be used; `Unavailable` when the server does not start, cannot be
/// reached or stops answering.
pub async fn run(
    options: &Options,
    surroundings: Surroundings,
    output: Output<'_>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> Result<Report> {
    let stopping = CancellationToken::new();
    let stopped = stopping.clone();
    let _watch = AbortOnDropHandle::new(tokio::spawn(async move {
        stop.await;
        stopped.cancel();
    }));
    let directory = options.directory.clone().unwrap_or_else(std::env::temp_dir);
    let (own, stock) = match &options.address {
        // It has perhaps seen earlier runs, whose recipients it refuses for a while.
        Some(_) => (None, Stock::new(draw(&*surroundings.random))),
        None => {
            let calls = if options.overload.is_empty() { CALLS } else { overload::CALLS };
            let own = Gateway::start(&surroundings.program, &directory, calls, &*surroundings.random).await?;
            (Some(own), Stock::new(0))
        }
    };
    let mut run = Run {
        options,
        aim: aim(options, own.as_ref(), stock, Arc::clone(&surroundings.clock))?,
        own,
        alone: Alone::open(surroundings.open_store, &directory, &surroundings.clock, &surroundings.random).await?,
        stop: stopping,
        progress: Progress::new(output.progress, output.terminal),
        report: Report::new(
            options.address.as_deref(),
            options.connections.into(),
            options.threads.into(),
            options.seconds,
        ),
    };
    run.measure().await?;
    let report = run.report;
    let written = if options.json {
        let json = serde_json::to_string_pretty(&report).map_err(Error::internal)?;
        writeln!(output.report, "{json}")
    } else {
        write!(output.report, "{report}")
    };
    written.map_err(Error::internal)?;
    Ok(report)
}

fn draw(random: &dyn Random) -> u64 {
    let mut bytes = [0; 8];
    random.fill(&mut bytes);
    u64::from_be_bytes(bytes)
}

/// Whom to call: our own server, else the one that is given.
fn aim(options: &Options, own: Option<&Gateway>, stock: Stock, clock: Arc<dyn Clock>) -> Result<Aim> {
    let (address, authorization) = match (own, &options.address, &options.key) {
        (Some(own), ..) => (own.address.clone(), own.key.clone()),
        (None, Some(address), Some(key)) => (address.clone(), format!("Bearer {key}")),
        (None, ..) => return Err(Error::invalid("key", "is missing: a given server needs an API key")),
    };
    let wrong_address = "must be a URL such as http://127.0.0.1:50051";
    let wrong_key = "must be ID.SECRET in visible ASCII";
    Ok(Aim {
        endpoint: Endpoint::from_shared(address)
            .map_err(|error| Error::invalid("address", wrong_address).with_source(error))?,
        authorization: authorization.parse().map_err(|_| Error::invalid("key", wrong_key))?,
        connections: options.connections.into(),
        threads: options.threads.into(),
        server: own.map(|own| Process::Child(own.process_id())),
        stock: Arc::new(stock),
        clock,
    })
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.05..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "must be 0.05 to 3600".to_owned())
}

// === impl Alone ===

impl Alone {
    async fn open(
        open_store: Option<OpenStore>,
        directory: &Path,
        clock: &Arc<dyn Clock>,
        random: &Arc<dyn Random>,
    ) -> Result<Option<Self>> {
        let Some(open_store) = open_store else { return Ok(None) };
        let place = Place::make(directory, &**random)?;
        let store = open_store(place.path())?;
        let cycles = Arc::new(Cycles::new(store, Arc::clone(clock), Arc::clone(random)).await?);
        Ok(Some(Self { cycles, _place: place }))
    }
}

// === impl Run ===

impl Run<'_> {
    async fn measure(&mut self) -> Result<()> {
        if self.options.live > 0 {
            self.make_live().await?;
        }
        for callers in self.options.callers.iter().map(|callers| usize::from(*callers)) {
            for operation in self.options.calls.iter().copied() {
                if self.stop.is_cancelled() {
                    break;
                }
                self.point(callers, operation).await?;
            }
            self.aim.stock.clear();
            // Beside the pairs that it is compared with, because a machine is not equally fast all the time.
            self.store_alone(callers).await?;
        }
        for times in &self.options.overload {
            if self.stop.is_cancelled() {
                break;
            }
            self.too_many(*times).await?;
        }
        self.report.server_memory = self.aim.server.and_then(Process::memory);
        self.report.server_disk = self.own.as_ref().and_then(Gateway::disk_bytes);
        self.report.interrupted = self.stop.is_cancelled();
        Ok(())
    }

    async fn make_live(&mut self) -> Result<()> {
        let count = self.options.live;
        let task = Task { operation: Operation::Start, callers: LIVE_CALLERS, extent: Extent::Pending(count) };
        let progress = &mut self.progress;
        let mut tell = |done: u64, elapsed: Duration| {
            let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
            progress.draw(&format!("making verifications: {done} of {count}, {rate:.0}/s"));
        };
        let measured = load::run(&self.aim, task, &self.stop, &mut tell).await?;
        self.report.note_failures(LIVE_CALLERS, Operation::Start, &measured);
        let made = Point::new(LIVE_CALLERS, Operation::Start.as_str(), &measured);
        self.progress.done(&format!("made {} verifications in {:.1} s", made.calls, made.seconds));
        self.report.live = Some(Live { count: made.calls, seconds: made.seconds, per_second: made.per_second });
        Ok(())
    }

    async fn point(&mut self, callers: usize, operation: Operation) -> Result<()> {
        let time = Duration::from_secs_f64(self.options.seconds);
        let task = Task { operation, callers, extent: Extent::For(time) };
        let progress = &mut self.progress;
        let mut tell = |done: u64, elapsed: Duration| {
            let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
            progress.draw(&format!("{callers} callers, {}: {rate:.0}/s", operation.as_str()));
        };
        let measured = load::run(&self.aim, task, &self.stop, &mut tell).await?;
        if self.stop.is_cancelled() && measured.latencies.total() == 0 && measured.failures.is_empty() {
            return Ok(());
        }
        self.report.add(callers, operation, &measured);
        let Some(point) = self.report.points.last() else { return Ok(()) };
        self.progress.done(&point.to_string());
        Ok(())
    }

    /// So many times the calls that the server takes at once.
    async fn too_many(&mut self, times: u16) -> Result<()> {
        let Some(callers) = self.report.best_callers() else { return Ok(()) };
        // Right before, because neither a machine nor a growing store is equally fast all the time.
        self.point(callers, Operation::Pair).await?;
        let Some(usual) = self.report.latest(callers, Operation::Pair).map(|point| (point.per_second, callers)) else {
            return Ok(());
        };
        let progress = &mut self.progress;
        let mut tell = |done: u64, elapsed: Duration| {
            let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
            progress.draw(&format!("{times} times what it takes: {rate:.0}/s"));
        };
        let time = Duration::from_secs_f64(self.options.seconds);
        let (row, measured) = overload::measure(&self.aim, times, time, usual, &self.stop, &mut tell).await?;
        self.report.note_failures(row.callers, Operation::Pair, &measured);
        self.progress.done(&row.to_string());
        self.report.overload.push(row);
        Ok(())
    }

    async fn store_alone(&mut self, callers: usize) -> Result<()> {
        let Some(alone) = self.alone.as_ref().filter(|_| !self.stop.is_cancelled()) else { return Ok(()) };
        let time = Duration::from_secs_f64(self.options.seconds);
        let progress = &mut self.progress;
        let mut tell = |done: u64, elapsed: Duration| {
            let rate = done as f64 / elapsed.as_secs_f64().max(0.001);
            progress.draw(&format!("{callers} callers, the store alone: {rate:.0}/s"));
        };
        let measured = alone.cycles.measure(callers, time, &self.stop, &mut tell).await?;
        if measured.latencies.total() > 0 {
            self.report.add_store(callers, &measured);
        }
        let Some(point) = self.report.store.last() else { return Ok(()) };
        self.progress.done(&point.to_string());
        Ok(())
    }
}
