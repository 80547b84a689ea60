//! What the embedded store can do on this machine, beside what its disk can do.
//!
//! `cargo bench --bench store [-- SECONDS]` prints the disk's rate of durable appends, then durable two-key commits and
//! life cycles of three commits at 1, 16 and 128 callers, for that many seconds each (2 by default).
//! `cargo bench --bench store -- --churn N` puts N life cycles through a store where 100 thousand are alive at a time,
//! and prints disk and memory after every million, or every tenth of fewer.
//! `cargo bench --bench store -- --live N` begins N life cycles and ends none of them, and prints the same.
//! Both end with the time that it takes to open the store again.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use verigate::clock::{Clock, ManualClock, SystemClock, Timestamp};
use verigate::id::Partition;
use verigate::store::sled::{Config, SledStore};
use verigate::store::{Batch, Commit, Key, Store};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// While a store is filled, a millisecond passes with each life cycle.
const LIFETIME: Duration = Duration::from_millis(100_000);
const MIB: u64 = 1024 * 1024;
const FILLING_CALLERS: usize = 64;
/// Most life cycles between two lines.
const MOST_A_LINE: u64 = 1_000_000;

/// What a caller does once, over and over.
#[derive(Clone, Copy)]
enum Work {
    TwoKeys,
    LifeCycle,
}

/// What a store is filled with.
#[derive(Clone, Copy)]
enum Filling {
    /// Life cycles whose records live for as long as the next hundred thousand take; the sweeper deletes them.
    Churn,
    /// Life cycles that are begun and stay.
    Live,
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--churn", cycles] => runtime.block_on(fill(Filling::Churn, cycles.parse()?)),
        ["--live", cycles] => runtime.block_on(fill(Filling::Live, cycles.parse()?)),
        [] => runtime.block_on(rates(Duration::from_secs(2))),
        [seconds] => runtime.block_on(rates(Duration::from_secs_f64(seconds.parse()?))),
        _ => Err("usage: [SECONDS] | --churn LIFE_CYCLES | --live LIFE_CYCLES".into()),
    }
}

/// In the working directory, because the place for temporary files may be no disk at all.
fn directory() -> Result<TempDir, Failure> {
    Ok(tempfile::tempdir_in(".")?)
}

fn open(path: &Path) -> Result<SledStore, Failure> {
    Ok(SledStore::open(&Config { path: path.to_owned(), ..Config::default() }, Arc::new(SystemClock))?)
}

async fn rates(each: Duration) -> Result<(), Failure> {
    let (appends, seconds) = append_durably(each)?;
    println!("append 4 KiB and fdatasync: {:.0}/s", appends / seconds);
    for (work, name) in [(Work::TwoKeys, "two-key commits"), (Work::LifeCycle, "life cycles")] {
        println!("\n{name}");
        println!("callers      each/s   p50 us   p99 us   group   CPU us");
        for callers in [1, 16, 128] {
            measure(work, callers, each).await?;
        }
    }
    Ok(())
}

fn append_durably(each: Duration) -> Result<(f64, f64), Failure> {
    let directory = directory()?;
    let mut file = File::create(directory.path().join("append"))?;
    let begin = now();
    let mut appends = 0.0;
    while begin.elapsed() < each {
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        appends += 1.0;
    }
    Ok((appends, begin.elapsed().as_secs_f64()))
}

async fn measure(work: Work, callers: usize, each: Duration) -> Result<(), Failure> {
    let directory = directory()?;
    let store = Arc::new(open(directory.path())?);
    let next = Arc::new(AtomicU64::new(0));
    let (begin, cpu_before) = (now(), cpu_seconds()?);
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (store, next) = (Arc::clone(&store), Arc::clone(&next));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while begin.elapsed() < each {
                    let started = now();
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    match work {
                        Work::TwoKeys => two_keys(&store, number).await?,
                        Work::LifeCycle => life_cycle(&store, number, None).await?,
                    }
                    times.push(started.elapsed());
                }
                Ok::<_, Failure>(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await??);
    }
    let seconds = begin.elapsed().as_secs_f64();
    times.sort_unstable();
    let count = times.len() as f64;
    let at = |share: usize| times.get(times.len() * share / 100).map_or(0, Duration::as_micros);
    let figures = store.figures();
    println!(
        "{callers:>7} {:>11.0} {:>8} {:>8} {:>7.1} {:>8.1}",
        count / seconds,
        at(50),
        at(99),
        figures.commits as f64 / figures.groups as f64,
        (cpu_seconds()? - cpu_before) * 1e6 / count,
    );
    Ok(())
}

async fn two_keys(store: &SledStore, number: u64) -> Result<(), Failure> {
    let [first, second, _] = keys(number);
    let batch = Batch::new(first.partition()).require(&first, None);
    commit(store, batch.put(first, noise(number, 350), None).put(second, noise(number, 150), None)).await
}

/// As a verification goes: three keys put, then one changed and one deleted, then one changed; each under the condition
/// that nobody else was there in between.
async fn life_cycle(store: &SledStore, number: u64, expires_at: Option<Timestamp>) -> Result<(), Failure> {
    begin(store, number, expires_at).await?;
    let [record, _, due] = keys(number);
    let batch = || Batch::new(record.partition());
    let read = store.get(&record).await?;
    let sent = batch().require(&record, read.as_ref()).put(record.clone(), noise(number + 1, 350), expires_at);
    commit(store, sent.delete(due)).await?;
    let read = store.get(&record).await?;
    let checked = batch().require(&record, read.as_ref()).put(record.clone(), noise(number + 2, 350), expires_at);
    commit(store, checked).await
}

async fn begin(store: &SledStore, number: u64, expires_at: Option<Timestamp>) -> Result<(), Failure> {
    let [record, recipient, due] = keys(number);
    let batch = Batch::new(record.partition())
        .require(&record, store.get(&record).await?.as_ref())
        .require(&recipient, store.get(&recipient).await?.as_ref());
    let batch = batch.put(record, noise(number, 350), expires_at).put(recipient, noise(number, 150), expires_at).put(
        due,
        Vec::new(),
        expires_at,
    );
    commit(store, batch).await
}

async fn commit(store: &SledStore, batch: Batch) -> Result<(), Failure> {
    match store.commit(batch).await? {
        Commit::Committed(_) => Ok(()),
        Commit::Conflict => Err("nobody else writes these keys".into()),
    }
}

/// A record in order of time, one at a hashed place, and an entry of work that is due.
fn keys(number: u64) -> [Key; 3] {
    let scattered = scatter(number);
    let partition = Partition::new(scattered.to_be_bytes()[0]);
    let key = |space: u8, first: u64, second: u64| {
        Key::new(partition, [&[space][..], &first.to_be_bytes(), &second.to_be_bytes()].concat())
    };
    [key(1, number, scattered), key(2, scattered, 0), key(3, number, scattered)]
}

/// Bytes that look sealed.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    (seed..).flat_map(|seed| scatter(seed).to_le_bytes()).take(length).collect()
}

/// SplitMix64's finaliser.
fn scatter(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

async fn fill(filling: Filling, cycles: u64) -> Result<(), Failure> {
    let directory = directory()?;
    let clock = ManualClock::new(Timestamp::from_millis(1_000_000));
    let config = Config { path: directory.path().to_owned(), ..Config::default() };
    let store = Arc::new(SledStore::open(&config, Arc::new(clock.clone()))?);
    println!("life cycles   each/s   disk MiB   memory MiB");
    let next = Arc::new(AtomicU64::new(0));
    let mut done = 0;
    while done < cycles {
        let until = cycles.min(done + (cycles / 10).clamp(1, MOST_A_LINE));
        let begin = now();
        fill_until(until, filling, &store, &next, &clock).await?;
        let rate = (until - done) as f64 / begin.elapsed().as_secs_f64();
        done = until;
        let disk = bytes_below(directory.path())? / MIB;
        println!("{done:>11} {rate:>8.0} {disk:>10} {:>12}", resident_bytes()? / MIB);
    }
    store.close();
    drop(store);
    let begin = now();
    let store = SledStore::open(&config, Arc::new(clock))?;
    println!("opened again in {:.2} s", begin.elapsed().as_secs_f64());
    let [last, ..] = keys(cycles.saturating_sub(1));
    if cycles > 0 && store.get(&last).await?.is_none() {
        return Err("the last record is not there".into());
    }
    Ok(())
}

async fn fill_until(
    until: u64,
    filling: Filling,
    store: &Arc<SledStore>,
    next: &Arc<AtomicU64>,
    clock: &ManualClock,
) -> Result<(), Failure> {
    let tasks: Vec<_> = (0..FILLING_CALLERS)
        .map(|_| {
            let (store, next, clock) = (Arc::clone(store), Arc::clone(next), clock.clone());
            tokio::spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= until {
                        return Ok::<_, Failure>(());
                    }
                    clock.advance(Duration::from_millis(1));
                    match filling {
                        Filling::Churn => life_cycle(&store, number, Some(clock.now() + LIFETIME)).await?,
                        Filling::Live => begin(&store, number, None).await?,
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    next.store(until, Ordering::Relaxed);
    Ok(())
}

/// The length of all files.
fn bytes_below(folder: &Path) -> Result<u64, Failure> {
    fs::read_dir(folder)?.try_fold(0, |sum, entry| {
        let entry = entry?;
        // One that is there no more takes nothing.
        let Ok(metadata) = entry.metadata() else { return Ok(sum) };
        Ok(sum + if metadata.is_dir() { bytes_below(&entry.path())? } else { metadata.len() })
    })
}

fn now() -> Instant {
    Instant::now()
}

/// Time that all threads of this process have spent, in user and kernel mode (proc(5), in ticks of 10 ms).
fn cpu_seconds() -> Result<f64, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
    Ok((ticks(11) + ticks(12)) / 100.0)
}

fn resident_bytes() -> Result<u64, Failure> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1).unwrap_or_default().parse()?;
    Ok(pages * 4096)
}
