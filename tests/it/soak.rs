//! Many clients for a while: what they were told holds, and the program grows by what it keeps and by nothing else.
//!
//! `tests/soak` runs two minutes of it; `SOAK_SECONDS` says how long.

use std::fs;
use std::time::Duration;

use tokio::time::timeout;

use crate::kill::{History, forget_open_calls, number_from, stop};
use crate::support::load::Progress;

const SECONDS: u64 = 5;

/// Beside what is kept: the store's cache, its journal in memory, and the program itself.
const BASE_KIB: u64 = 256 * 1024;
/// A person with a verification or two, their records, and what the inbox keeps of them.
const KIB_A_PERSON: u64 = 8;

/// Files and threads that may come and go: a file of the store that is made anew, workers of the runtime.
const LEEWAY: u64 = 24;

/// What a process takes.
#[derive(Debug, Clone, Copy)]
struct Size {
    memory_kib: u64,
    threads: u64,
    files: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_were_told_holds_and_nothing_leaks() {
    let seconds = number_from("SOAK_SECONDS").unwrap_or(SECONDS);
    let mut history = History::new();
    let process = history.start().await;
    let (id, progress, mut sizes) = (process.id(), Progress::until(u32::MAX), Vec::new());
    let watch = async {
        for second in 0..seconds {
            // So many answers nobody gets.
            drop(timeout(Duration::from_secs(1), progress.enough()).await);
            sizes.push(Size::of(id));
            if (second + 1) % 10 == 0 {
                println!("    {} s: {:?}", second + 1, Size::of(id));
            }
        }
    };
    let mut told = history.work_while(process, &progress, watch, stop).await;
    forget_open_calls(&mut told);
    let people: u64 = told.iter().map(|told| (told.people.len() + told.letters.len()) as u64).sum();
    assert!(people > 10 * seconds, "{people} people in {seconds} s are no load");

    let process = history.start().await;
    history.compare(&process, told).await;
    history.finish(&process).await;

    // What it takes once it has met everything.
    let (first, last) = (sizes[sizes.len() / 3], sizes[sizes.len() - 1]);
    println!("soak: {seconds} s, {people} people, nothing lost; at a third {first:?}, at the end {last:?}");
    assert!(last.memory_kib < BASE_KIB + KIB_A_PERSON * people, "{people} people: {last:?}");
    assert!(last.threads <= first.threads + LEEWAY && last.files <= first.files + LEEWAY, "{first:?} became {last:?}");
}

// === impl Size ===

impl Size {
    fn of(process: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
        };
        let files = fs::read_dir(format!("/proc/{process}/fd")).unwrap().count() as u64;
        Self { memory_kib: number("VmRSS"), threads: number("Threads"), files }
    }
}
