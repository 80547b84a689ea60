//! What a run has measured, for people as tables and for machines as JSON.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::bench::calls::Operation;
use crate::bench::load::Measured;

/// All that a run has measured. Times are in microseconds where a name ends in `_us`, else in seconds.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub version: &'static str,
    /// The address that was given, or none for a server of our own.
    pub address: Option<String>,
    pub connections: usize,
    pub threads: usize,
    /// How long each point was meant to be measured.
    pub seconds: f64,
    /// Pending verifications that were made before anything was measured.
    pub live: Option<Live>,
    pub points: Vec<Point>,
    /// What a pair comes to beside an empty call and the store alone, at each number of callers that has a pair.
    pub ratios: Vec<Ratio>,
    /// Life cycles in the store alone, inside this process.
    pub store: Vec<Point>,
    /// What was served when too many called.
    pub overload: Vec<Overload>,
    pub failures: Vec<FailureCount>,
    /// Resident memory of our own server at the end, in bytes.
    pub server_memory: Option<u64>,
    /// What the store of our own server takes on the disk at the end, in bytes.
    pub server_disk: Option<u64>,
    /// The run was stopped before it had measured everything.
    pub interrupted: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct Live {
    pub count: u64,
    pub seconds: f64,
    pub per_second: f64,
}

/// One kind of call at one number of callers.
#[derive(Debug, Clone, Serialize)]
pub struct Point {
    pub callers: usize,
    pub call: &'static str,
    pub calls: u64,
    pub failed: u64,
    pub seconds: f64,
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
    /// Within which 99 of 100 of the calls were answered that pairs are made of; none where there were none.
    pub single_p99_us: Option<f64>,
    /// Processor time of the server for each call; none for a server that is not ours.
    pub server_cpu_us: Option<f64>,
    /// Processor time of this process for each call.
    pub own_cpu_us: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Ratio {
    pub callers: usize,
    /// Pairs a second over empty calls a second.
    pub pair_to_empty: f64,
    /// The same by what the server's processors spend, which does not depend on who else uses them.
    pub by_server_cpu: Option<f64>,
    /// Pairs a second over what the store alone makes of them.
    pub pair_to_store: Option<f64>,
}

/// Pairs by more callers than the server takes, each of whom comes again when it is turned away.
#[derive(Debug, Clone, Serialize)]
pub struct Overload {
    /// So many times the calls that it takes at once.
    pub times: u16,
    pub callers: usize,
    /// Pairs.
    pub per_second: f64,
    /// The same over what was served right before, without overload.
    pub to_peak: f64,
    /// Of the two calls of a pair that were served, together.
    pub p50_us: f64,
    pub p99_us: f64,
    pub starts_turned_away_per_second: f64,
    pub checks_turned_away_per_second: f64,
    /// Until somebody knew that they were turned away.
    pub turned_away_p50_us: f64,
    pub turned_away_p99_us: f64,
    pub failed: u64,
    /// The most resident memory of the server that was seen, in bytes.
    pub server_memory: Option<u64>,
    /// From the end of it until nine tenths of the most are served again.
    pub normal_after_seconds: Option<f64>,
}

/// Calls that were refused or answered wrongly, warm-up included.
#[derive(Debug, Clone, Serialize)]
pub struct FailureCount {
    pub callers: usize,
    pub call: &'static str,
    pub what: String,
    pub count: u64,
}

/// What stands for a life cycle of the store among the calls.
pub(crate) const STORE_CYCLE: &str = "store";

// === impl Report ===

impl Report {
    /// Nothing measured yet.
    pub(crate) fn new(address: Option<&str>, connections: usize, threads: usize, seconds: f64) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            address: address.map(str::to_owned),
            connections,
            threads,
            seconds,
            live: None,
            points: Vec::new(),
            ratios: Vec::new(),
            store: Vec::new(),
            overload: Vec::new(),
            failures: Vec::new(),
            server_memory: None,
            server_disk: None,
            interrupted: false,
        }
    }

    /// Adds a point and what failed at it.
    pub(crate) fn add(&mut self, callers: usize, operation: Operation, measured: &Measured) {
        self.note_failures(callers, operation, measured);
        self.points.push(Point::new(callers, operation.as_str(), measured));
        if operation == Operation::Pair
            && let (Some(pair), Some(empty)) = (self.latest(callers, operation), self.latest(callers, Operation::Empty))
            && empty.per_second > 0.0
        {
            let by_server_cpu = empty.server_cpu_us.zip(pair.server_cpu_us).filter(|(_, pair)| *pair > 0.0);
            self.ratios.push(Ratio {
                callers,
                pair_to_empty: pair.per_second / empty.per_second,
                by_server_cpu: by_server_cpu.map(|(empty, pair)| empty / pair),
                pair_to_store: None,
            });
        }
    }

    /// Adds what the store alone does, after the pairs of as many callers.
    pub(crate) fn add_store(&mut self, callers: usize, measured: &Measured) {
        let store = Point::new(callers, STORE_CYCLE, measured);
        let pairs = self.latest(callers, Operation::Pair).map(|pair| pair.per_second);
        if let Some(ratio) = self.ratios.last_mut().filter(|ratio| ratio.callers == callers) {
            ratio.pair_to_store = pairs.filter(|_| store.per_second > 0.0).map(|pairs| pairs / store.per_second);
        }
        self.store.push(store);
    }

    pub(crate) fn note_failures(&mut self, callers: usize, operation: Operation, measured: &Measured) {
        self.failures.extend(measured.failures.iter().map(|(what, count)| FailureCount {
            callers,
            call: operation.as_str(),
            what: what.clone(),
            count: *count,
        }));
    }

    /// By how many callers there were most pairs a second.
    pub(crate) fn best_callers(&self) -> Option<usize> {
        let pairs = self.points.iter().filter(|point| point.call == Operation::Pair.as_str());
        let best = pairs.max_by(|one, other| one.per_second.total_cmp(&other.per_second));
        best.map(|best| best.callers)
    }

    pub(crate) fn latest(&self, callers: usize, operation: Operation) -> Option<&Point> {
        self.points.iter().rev().find(|point| point.callers == callers && point.call == operation.as_str())
    }
}

/// Tables.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.address.as_deref().unwrap_or("a server of its own");
        let (connections, threads) = (self.connections, self.threads);
        writeln!(f, "verigate {}, {target}, {connections} connections from {threads} threads", self.version)?;
        if let Some(Live { count, seconds, per_second }) = &self.live {
            writeln!(f, "{count} verifications pending, made in {seconds:.1} s, {per_second:.0}/s")?;
        }
        writeln!(f, "\n{HEADINGS}")?;
        self.points.iter().chain(&self.store).try_for_each(|point| writeln!(f, "{point}"))?;
        if !self.store.is_empty() {
            writeln!(f, "store: what a pair writes, in the store alone, inside this process")?;
        }
        if !self.ratios.is_empty() {
            writeln!(f, "\ncallers  pair/empty  by server CPU  pair/store alone")?;
        }
        for Ratio { callers, pair_to_empty, by_server_cpu, pair_to_store } in &self.ratios {
            let (by_cpu, to_store) = (optional(*by_server_cpu, 3), optional(*pair_to_store, 3));
            writeln!(f, "{callers:>7}  {pair_to_empty:>10.3}  {by_cpu:>13}  {to_store:>16}")?;
        }
        if !self.overload.is_empty() {
            writeln!(f, "\n{OVERLOAD_HEADINGS}")?;
        }
        self.overload.iter().try_for_each(|row| writeln!(f, "{row}"))?;
        if !self.failures.is_empty() {
            writeln!(f, "\nFAILED")?;
        }
        for FailureCount { callers, call, what, count } in &self.failures {
            writeln!(f, "{callers:>7}  {call:<5}  {count:>8}  {what}")?;
        }
        if let (Some(memory), Some(disk)) = (self.server_memory, self.server_disk) {
            writeln!(f, "\nthe server at the end: {} MiB of memory, {} MiB on the disk", memory / MIB, disk / MIB)?;
        }
        if self.interrupted {
            writeln!(f, "\nstopped before everything was measured")?;
        }
        Ok(())
    }
}

const MIB: u64 = 1024 * 1024;
const HEADINGS: &str = "callers  call      each/s    p50 us    p99 us  p99.9 us    max us  p99 of a call  server CPU us  own CPU us  failed";

const OVERLOAD_HEADINGS: &str = "overload  callers   pairs/s  of peak    p50 ms    p99 ms  starts away/s  checks away/s  away p50 ms  away p99 ms  MiB  normal after s";

fn optional(number: Option<f64>, decimals: usize) -> String {
    number.map_or_else(|| "-".to_owned(), |number| format!("{number:.decimals$}"))
}

// === impl Point ===

impl Point {
    pub(crate) fn new(callers: usize, call: &'static str, measured: &Measured) -> Self {
        let (calls, seconds) = (measured.latencies.total(), measured.elapsed.as_secs_f64());
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let each = |time: Option<Duration>| time.filter(|_| calls > 0).map(|time| micros(time) / calls as f64);
        Self {
            callers,
            call,
            calls,
            failed: measured.failures.values().sum(),
            seconds,
            per_second: if seconds > 0.0 { calls as f64 / seconds } else { 0.0 },
            p50_us: micros(measured.latencies.within(500)),
            p99_us: micros(measured.latencies.within(990)),
            p999_us: micros(measured.latencies.within(999)),
            max_us: micros(measured.latencies.longest()),
            single_p99_us: (measured.single.total() > 0).then(|| micros(measured.single.within(990))),
            server_cpu_us: each(measured.server_cpu),
            own_cpu_us: each(measured.own_cpu),
        }
    }
}

/// A row of a table, and the line that progress leaves behind.
impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { callers, call, failed, per_second, p50_us, p99_us, p999_us, max_us, .. } = self;
        let [single, server, own] = [(self.single_p99_us, 0), (self.server_cpu_us, 1), (self.own_cpu_us, 1)]
            .map(|(us, decimals)| optional(us, decimals));
        write!(
            f,
            "{callers:>7}  {call:<5} {per_second:>10.0}{p50_us:>10.0}{p99_us:>10.0}{p999_us:>10.0}{max_us:>10.0}"
        )?;
        write!(f, "  {single:>13}  {server:>13}  {own:>10}  {failed:>6}")
    }
}

// === impl Overload ===

impl Overload {
    pub(crate) fn new(
        times: u16,
        callers: usize,
        measured: &Measured,
        peak: f64,
        server_memory: Option<u64>,
        normal_after: Option<Duration>,
    ) -> Self {
        let Point { per_second, p50_us, p99_us, failed, seconds, .. } = Point::new(callers, "pair", measured);
        let each_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        let mut all = measured.refusals.starts.clone();
        all.merge(&measured.refusals.checks);
        let turned_away = |per_mille| all.within(per_mille).as_secs_f64() * 1e6;
        Self {
            times,
            callers,
            per_second,
            to_peak: per_second / peak,
            p50_us,
            p99_us,
            starts_turned_away_per_second: each_second(measured.refusals.starts.total()),
            checks_turned_away_per_second: each_second(measured.refusals.checks.total()),
            turned_away_p50_us: turned_away(500),
            turned_away_p99_us: turned_away(990),
            failed,
            server_memory,
            normal_after_seconds: normal_after.map(|after| after.as_secs_f64()),
        }
    }
}

/// A row of a table, and the line that progress leaves behind.
impl fmt::Display for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { times, callers, per_second, to_peak, .. } = self;
        let [p50, p99, away_p50, away_p99] =
            [self.p50_us, self.p99_us, self.turned_away_p50_us, self.turned_away_p99_us].map(|micros| micros / 1e3);
        let (starts, checks) = (self.starts_turned_away_per_second, self.checks_turned_away_per_second);
        let memory = self.server_memory.map_or_else(|| "-".to_owned(), |bytes| (bytes / MIB).to_string());
        let normal = optional(self.normal_after_seconds, 2);
        write!(f, "{times:>7}x{callers:>9}{per_second:>10.0}{to_peak:>9.3}{p50:>10.1}{p99:>10.1}{starts:>15.0}")?;
        write!(f, "{checks:>15.0}{away_p50:>13.1}{away_p99:>13.1}{memory:>5}{normal:>16}")
    }
}
