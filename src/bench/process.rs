//! What a process has used, as Linux tells it under `/proc`, and the watch that calls are timed with.
//!
//! Elsewhere than on Linux nothing is known of use, and the report leaves it out.

use std::time::{Duration, Instant};

/// Unit of the times in `/proc`: 100 a second on every Linux (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);
const PAGE_BYTES: u64 = 4096;

/// A process to be asked what it has used.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Process {
    Own,
    Child(u32),
}

/// Time that runs on the machine's monotonic clock: a load is real, so no test moves it by hand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch(Instant);

// === impl Process ===

impl Process {
    /// Processor time of all its threads, in user and kernel mode.
    pub(crate) fn cpu(self) -> Option<Duration> {
        let fields = self.fields()?;
        let ticks = |at: usize| fields.get(at)?.parse::<u32>().ok();
        Some(TICK * (ticks(11)? + ticks(12)?))
    }

    /// Resident memory, in bytes.
    pub(crate) fn memory(self) -> Option<u64> {
        Some(self.fields()?.get(21)?.parse::<u64>().ok()? * PAGE_BYTES)
    }

    /// The fields after the name, which may itself hold blanks and parentheses (proc_pid_stat(5), whose field 3 is the first of these).
    fn fields(self) -> Option<Vec<String>> {
        let path = match self {
            Self::Own => "/proc/self/stat".to_owned(),
            Self::Child(id) => format!("/proc/{id}/stat"),
        };
        let text = std::fs::read_to_string(path).ok()?;
        let (_, rest) = text.rsplit_once(')')?;
        Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
    }
}

// === impl Stopwatch ===

impl Stopwatch {
    #[expect(
        clippy::disallowed_methods,
        reason = "latencies are measured in microseconds, which our clock does not tell"
    )]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "latencies are measured in microseconds, which our clock does not tell"
    )]
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_time_and_memory_where_linux_tells() {
        let watch = Stopwatch::start();
        let mut sum = 0_u64;
        while watch.elapsed() < TICK * 5 {
            sum = std::hint::black_box(sum + 1);
        }
        let (cpu, memory) = (Process::Own.cpu(), Process::Own.memory());
        if cfg!(target_os = "linux") {
            assert!(cpu.unwrap() >= TICK && memory.unwrap() > 1024 * 1024);
        } else {
            assert_eq!((cpu, memory), (None, None));
        }
    }
}
