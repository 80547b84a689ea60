//! What a backlog costs: the rate of sends before and beside it, memory, disk, and a start.
//!
//! `cargo bench --bench backlog -- [--messages N] [--seconds S] [--stuck]` has N messages accepted (100 thousand by
//! default) that are to be sent in 30 days, or with `--stuck` now, by a vendor that never answers; and sends others for S
//! seconds before and after that (3 by default). With `--messages 0` it shows what the store's growth alone does. The store, the outbox and
//! its worker are those of the server; there is no gRPC in between.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::task::{JoinHandle, JoinSet};
use verigate::clock::{Clock, SystemClock, Timestamp};
use verigate::event::fed::Fed;
use verigate::guard::ask::Origin;
use verigate::messaging::holder::Ground;
use verigate::messaging::message::{Message, Text};
use verigate::messaging::outbox::{LONGEST_LINE, Outbox, Settings};
use verigate::messaging::request::{Content, NewMessage};
use verigate::messaging::route::Routes;
use verigate::messaging::sending::{Persistence, SendStatus};
use verigate::messaging::service::Messaging;
use verigate::messaging::template::Templates;
use verigate::messaging::vendors::Vendors;
use verigate::messaging::worker::{Steps, Worker};
use verigate::random::OsRandom;
use verigate::recipient::Address;
use verigate::store::Store;
use verigate::store::keys::Keys;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::{Config, SledStore};
use verigate::tenant::Tenant;
use verigate::vendor::inbox::Config as InboxConfig;
use verigate::vendor::{Channel, ReceiptSink};

/// The command's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Arguments {
    /// Scheduled messages.
    #[arg(long, default_value_t = 100_000)]
    messages: u64,

    /// Have them wait for a vendor that never answers, instead of for their time.
    #[arg(long)]
    stuck: bool,

    /// How long to send, before and after.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,

    /// Where to put the store; by default the working directory, because the place for temporary files may be no disk.
    #[arg(long, default_value = ".")]
    directory: PathBuf,

    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// When and by whom a message is sent.
#[derive(Clone, Copy)]
enum Kind {
    Now,
    Scheduled(Timestamp),
    Stuck,
}

/// The messaging half of a gateway.
struct House {
    sled: Arc<SledStore>,
    outbox: Arc<Outbox>,
    messaging: Arc<Messaging>,
    tenant: Tenant,
    running: Vec<JoinHandle<()>>,
}

const PREFIXES: [&str; 6] = ["+6012", "+6013", "+6014", "+6016", "+6017", "+6019"];
const CALLERS: usize = 128;
const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
const MIB: u64 = 1024 * 1024;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let Arguments { messages, seconds, directory, stuck, .. } = Arguments::parse();
    let backlog = if stuck { Kind::Stuck } else { Kind::Scheduled(SystemClock.now() + MONTH) };
    let place = tempfile::tempdir_in(directory)?;
    let time = Duration::from_secs_f64(seconds);
    let house = House::open(place.path()).await?;
    let next = Arc::new(AtomicU64::new(0));
    println!("{:>28} {:>9} {:>8} {:>10} {:>11}", "", "sends/s", "p99 ms", "disk MiB", "memory MiB");
    house.measure("before", time, &next, place.path()).await?;
    house.fill(messages, backlog, &next, place.path()).await?;
    house.measure("beside the backlog", time, &next, place.path()).await?;
    house.close().await?;

    let begin = Instant::now();
    let house = House::open(place.path()).await?;
    let opened = begin.elapsed();
    house.send(next.fetch_add(1, Ordering::Relaxed), Kind::Now).await?;
    println!("opened again in {:.0} ms, first send accepted after {:.0} ms", millis(opened), millis(begin.elapsed()));
    house.measure("after that", time, &next, place.path()).await?;
    house.close().await
}

// === impl House ===

impl House {
    async fn open(place: &Path) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let config = Config { path: place.join("data"), ..Config::default() };
        let sled = Arc::new(SledStore::open(&config, Arc::clone(&clock))?);
        let ring = KeyRing::load_or_create(&place.join("key"), &OsRandom)?;
        let store: Arc<dyn Store> =
            Arc::new(SealedStore::new(Arc::clone(&sled) as Arc<dyn Store>, ring, Arc::new(OsRandom)));
        let keys = Keys::open(&*store, &OsRandom).await?;
        let ground = Ground { store, keys, clock: Arc::clone(&clock), random: Arc::new(OsRandom), fed: Fed::default() };

        let (vendor, receipts) = InboxConfig::default().build("inbox", Arc::clone(&clock))?;
        let hangs: InboxConfig = toml::from_str("outcomes = [{ pattern = '*', outcome = 'hang' }]")?;
        let mut vendors = Vendors::default();
        vendors.add("inbox", Arc::new(vendor), 4_096);
        vendors.add("stuck", Arc::new(hangs.build("stuck", clock)?.0), 64);
        let route =
            |channel: &str, vendor: &str| toml::from_str(&format!("channel = '{channel}'\nvendors = ['{vendor}']"));
        let routes = Routes::new(vec![route("sms", "inbox")?, route("voice", "stuck")?]);
        let persistence = Persistence { max_attempts: 3, backoff: Duration::from_secs(2) };
        let settings = Settings { attempt_timeout: Duration::from_secs(10), persistence, longest_line: LONGEST_LINE };
        let outbox = Arc::new(Outbox::new(ground, vendors, routes, settings));
        let templates = Arc::new(Templates::builtin()?);
        let messaging = Arc::new(Messaging::new(Arc::clone(&outbox), templates, Duration::from_secs(3600)));
        outbox.hold(messaging.holder(), messaging.holder());
        let worker = tokio::spawn(Worker::new(Arc::clone(&outbox), Steps::default(), 64).run());
        let receipts = tokio::spawn(receipts.run(Arc::clone(&outbox) as Arc<dyn ReceiptSink>));
        let tenant = Tenant {
            name: "bench".parse()?,
            default_country: None,
            brand: None,
            sender: None,
            may_return_code: false,
            balance_of: None,
            may_administer: false,
            retention: Default::default(),
        };
        Ok(Self { sled, outbox, messaging, tenant, running: vec![worker, receipts] })
    }

    async fn close(self) -> Result<(), Failure> {
        self.outbox.stop();
        self.outbox.drain().await;
        for task in self.running {
            task.abort();
            drop(task.await);
        }
        drop((self.messaging, self.outbox));
        Ok(tokio::task::spawn_blocking(move || self.sled.close()).await?)
    }

    async fn send(&self, number: u64, kind: Kind) -> Result<Message, Failure> {
        send(&self.messaging, &self.tenant, number, kind).await
    }

    /// Sends from so many callers for `time`, and prints what that came to.
    async fn measure(&self, name: &str, time: Duration, next: &Arc<AtomicU64>, place: &Path) -> Result<(), Failure> {
        let begin = Instant::now();
        let mut times = self.call(next, Kind::Now, move |_| begin.elapsed() < time).await?;
        let seconds = begin.elapsed().as_secs_f64();
        times.sort_unstable();
        let rate = times.len() as f64 / seconds;
        let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
        print_line(name, rate, p99, place)
    }

    async fn fill(&self, messages: u64, kind: Kind, next: &Arc<AtomicU64>, place: &Path) -> Result<(), Failure> {
        for tenth in 1..=10 {
            let first = next.load(Ordering::Relaxed);
            let last = first + messages * tenth / 10 - messages * (tenth - 1) / 10;
            let begin = Instant::now();
            let mut times = self.call(next, kind, move |number| number < last).await?;
            // Each caller drew one more, and left it.
            next.store(last, Ordering::Relaxed);
            times.sort_unstable();
            let p99 = times.get(times.len() * 99 / 100).copied().unwrap_or_default();
            let rate = times.len() as f64 / begin.elapsed().as_secs_f64();
            print_line(&format!("{} waiting", messages * tenth / 10), rate, p99, place)?;
        }
        Ok(())
    }

    /// Sends for as long as `goes_on` says; returns how long each took to be accepted.
    async fn call(
        &self,
        next: &Arc<AtomicU64>,
        kind: Kind,
        goes_on: impl Fn(u64) -> bool + Clone + Send + 'static,
    ) -> Result<Vec<Duration>, Failure> {
        let mut calling = JoinSet::new();
        for _ in 0..CALLERS {
            let (messaging, tenant) = (Arc::clone(&self.messaging), self.tenant.clone());
            let (next, goes_on) = (Arc::clone(next), goes_on.clone());
            calling.spawn(async move {
                let mut times = Vec::new();
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if !goes_on(number) {
                        return Ok::<_, Failure>(times);
                    }
                    let begin = Instant::now();
                    send(&messaging, &tenant, number, kind).await?;
                    times.push(begin.elapsed());
                }
            });
        }
        let mut times = Vec::new();
        while let Some(ended) = calling.join_next().await {
            times.extend(ended??);
        }
        Ok(times)
    }
}

async fn send(messaging: &Messaging, tenant: &Tenant, number: u64, kind: Kind) -> Result<Message, Failure> {
    let new = NewMessage {
        // Malaysian mobile numbers of seven digits behind each of six prefixes.
        recipient: Some(Address::Phone(format!(
            "{}{:07}",
            PREFIXES[usize::try_from(number / 10_000_000)? % PREFIXES.len()],
            number % 10_000_000
        ))),
        channel: matches!(kind, Kind::Stuck).then_some(Channel::Voice),
        content: Some(Content::Text(Text::new("Your table is ready.".to_owned()))),
        sender: None,
        send_at: if let Kind::Scheduled(at) = kind { Some(at) } else { None },
        validity: None,
        metadata: BTreeMap::new(),
        callback: None,
        idempotency_key: None,
        batched: false,
        origin: Origin::default(),
        unread: Vec::new(),
    };
    let message = messaging.send(tenant, new).await?;
    let begun = message.sending.status == SendStatus::Sending;
    // Some of those for the vendor that never answers find room.
    if begun != matches!(kind, Kind::Now) && !matches!(kind, Kind::Stuck) {
        return Err(format!("a message is {:?} at once", message.sending.status).into());
    }
    Ok(message)
}

fn print_line(name: &str, rate: f64, p99: Duration, place: &Path) -> Result<(), Failure> {
    let disk = size(&place.join("data"))? / MIB;
    println!("{name:>28} {rate:>9.0} {:>8.1} {disk:>10} {:>11}", millis(p99), resident_bytes()? / MIB);
    Ok(())
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn size(directory: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() { size(&entry.path())? } else { about.len() };
    }
    Ok(bytes)
}

fn resident_bytes() -> Result<u64, Failure> {
    let statm = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm.split_whitespace().nth(1).unwrap_or_default().parse()?;
    Ok(pages * 4096)
}
