//! What a vendor that fails costs its neighbour: how long messages take to reach a healthy vendor while another one,
//! under the same load, misbehaves, beside how long they take while that one is well.
//!
//! `cargo bench --bench isolation -- [--seconds S] [--rate N] [--rounds R]` sends N messages a second (100 by default) to
//! each of two vendors for S seconds (2 by default). Each way to misbehave has R rounds (5 by default), each of them two
//! runs right after one another, one with a neighbour that is well and one with a neighbour that is not, in turns in this
//! order and the other. What is told is the median over the rounds of what the second run took beside the first: a machine
//! that does other things meanwhile disturbs both alike. The last line has two neighbours that are well: how far from 1
//! its numbers are, the others say nothing.
//!
//! A message takes from the moment at which it was to be sent, so whoever is kept from sending it shows, until the healthy
//! vendor has it. The first half second of a run, when connections are made and files begun, does not count. Both vendors
//! speak HTTP over loopback through the adapter of a real vendor. The store, the outbox and its worker are those of the
//! server; there is no gRPC in between.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use clap::Parser;
use futures_util::stream::{once, unfold};
use tokio::task::{JoinHandle, JoinSet};
use verigate::clock::{Clock, SystemClock};
use verigate::event::fed::Fed;
use verigate::guard::ask::Origin;
use verigate::messaging::holder::Ground;
use verigate::messaging::limits::Limits;
use verigate::messaging::message::Text;
use verigate::messaging::outbox::{LONGEST_LINE, Outbox, Settings};
use verigate::messaging::request::{Content, NewMessage};
use verigate::messaging::route::Routes;
use verigate::messaging::sending::Persistence;
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
use verigate::vendor::esms;

/// The command's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Arguments {
    /// How long to send in each run.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,

    /// Messages a second, to each vendor.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,

    /// Pairs of runs for each manner.
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Where to put the stores; by default the working directory, because the place for temporary files may be no disk.
    #[arg(long, default_value = ".")]
    directory: PathBuf,

    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How a vendor answers.
#[derive(Debug, Clone, Copy)]
enum Manner {
    Well,
    Slow,
    Silent,
    /// A byte now and then.
    Drips,
    /// Closes the connection in place of an answer.
    HangsUp,
    ServerError,
    Throttled,
    /// A page for people.
    Page,
    /// More than anybody reads.
    Huge,
    /// Nobody listens.
    Gone,
}

const FAULTS: [Manner; 9] = [
    Manner::Slow,
    Manner::Silent,
    Manner::Drips,
    Manner::HangsUp,
    Manner::ServerError,
    Manner::Throttled,
    Manner::Page,
    Manner::Huge,
    Manner::Gone,
];

/// How long messages took in one run.
#[derive(Debug, Clone, Copy)]
struct Times {
    p50: f64,
    p99: f64,
}

/// When which recipient's message reached the healthy vendor.
type Arrivals = Arc<Mutex<HashMap<String, Instant>>>;

/// The messaging half of a gateway.
struct House {
    sled: Arc<SledStore>,
    outbox: Arc<Outbox>,
    messaging: Arc<Messaging>,
    tenant: Tenant,
    worker: JoinHandle<()>,
}

/// How long a vendor that is well takes.
const ANSWER: Duration = Duration::from_millis(5);
/// Seconds at the beginning of a run that do not count.
const WARM_UP: f64 = 0.5;
/// The house's bar.
const MOST: f64 = 1.2;
const CONCURRENCY: usize = 64;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    if arguments.seconds <= WARM_UP {
        return Err(format!("--seconds must be more than {WARM_UP}, which do not count").into());
    }
    let titles = ["neighbour", "p99 ms well", "p99 ms ill", "p50", "p99", "p99 of each round"];
    println!("{:>12} {:>12} {:>12} {:>6} {:>6}  {}", titles[0], titles[1], titles[2], titles[3], titles[4], titles[5]);
    for manner in FAULTS.into_iter().chain([Manner::Well]) {
        let mut rounds = Vec::new();
        for round in 0..arguments.rounds {
            // Whatever the one run leaves behind for the next, each has it as often.
            let (well, ill) = if round % 2 == 0 {
                let well = run(&arguments, Manner::Well).await?;
                (well, run(&arguments, manner).await?)
            } else {
                let ill = run(&arguments, manner).await?;
                (run(&arguments, Manner::Well).await?, ill)
            };
            rounds.push((well, ill));
        }
        show(manner, &rounds);
    }
    Ok(())
}

fn show(manner: Manner, rounds: &[(Times, Times)]) {
    let of = |value: fn(&(Times, Times)) -> f64| median(rounds.iter().map(value).collect());
    let (p50, p99) = (of(|(well, ill)| ill.p50 / well.p50), of(|(well, ill)| ill.p99 / well.p99));
    let each: Vec<_> = rounds.iter().map(|(well, ill)| format!("{:.2}", ill.p99 / well.p99)).collect();
    let verdict = if p99 <= MOST { "" } else { "over 1.20" };
    let (well, ill) = (of(|(well, _)| well.p99), of(|(_, ill)| ill.p99));
    let name = format!("{manner:?}");
    println!("{name:>12} {well:>12.1} {ill:>12.1} {p50:>6.2} {p99:>6.2}  {} {verdict}", each.join(" "));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

async fn run(arguments: &Arguments, manner: Manner) -> Result<Times, Failure> {
    let place = tempfile::tempdir_in(&arguments.directory)?;
    let mut times = measure(place.path(), manner, arguments.rate, arguments.seconds).await?;
    times.sort_unstable();
    let share = |per_cent: usize| {
        let time = times.get(times.len() * per_cent / 100).copied().unwrap_or_default();
        time.as_secs_f64() * 1e3
    };
    Ok(Times { p50: share(50), p99: share(99) })
}

/// How long each message took to reach the healthy vendor.
async fn measure(place: &Path, manner: Manner, rate: f64, seconds: f64) -> Result<Vec<Duration>, Failure> {
    let arrivals = Arrivals::default();
    let healthy = serve(Manner::Well, Some(Arc::clone(&arrivals))).await?;
    let house = Arc::new(House::open(place, &healthy, &serve(manner, None).await?).await?);
    let mut begins = HashMap::new();
    let mut sending = JoinSet::new();
    let (start, began) = (SystemClock.now(), Instant::now());
    for number in 0..(rate * seconds) as u32 {
        let after = Duration::from_secs_f64(f64::from(number) / rate);
        SystemClock.sleep_until(start + after).await;
        // Malaysia goes to the healthy vendor, and Singapore to its neighbour.
        let recipient = format!("601234{number:05}");
        begins.insert(recipient.clone(), began + after);
        for phone in [format!("+{recipient}"), format!("+6581{number:06}")] {
            let house = Arc::clone(&house);
            sending.spawn(async move { house.send(phone).await });
        }
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    let count = || arrivals.lock().unwrap_or_else(PoisonError::into_inner).len();
    while count() < begins.len() {
        SystemClock.sleep_until(SystemClock.now() + ANSWER).await;
    }
    let house = Arc::into_inner(house).ok_or("somebody still sends")?;
    house.close().await?;
    let arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    let warm = began + Duration::from_secs_f64(WARM_UP);
    let counts = begins.iter().filter(|(_, begin)| **begin >= warm);
    Ok(counts
        .filter_map(|(recipient, begin)| Some(arrivals.get(recipient)?.saturating_duration_since(*begin)))
        .collect())
}

/// A vendor that speaks as eSMS does; its base URL.
async fn serve(manner: Manner, arrivals: Option<Arrivals>) -> Result<String, Failure> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    if matches!(manner, Manner::Gone) {
        return Ok(url);
    }
    let answer = move |request: axum::Json<serde_json::Value>| {
        let arrivals = arrivals.clone();
        async move {
            if let (Some(arrivals), Some(to)) = (arrivals, request["to"].as_str()) {
                arrivals.lock().unwrap_or_else(PoisonError::into_inner).insert(to.to_owned(), Instant::now());
            }
            answer(manner).await
        }
    };
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(url)
}

async fn answer(manner: Manner) -> Response {
    let well = r#"{"status":0,"id":"88ce9c6e-1707-41b8-95a2-91d228001fc7"}"#;
    match manner {
        Manner::Well | Manner::Gone => SystemClock.sleep_until(SystemClock.now() + ANSWER).await,
        Manner::Slow => SystemClock.sleep_until(SystemClock.now() + 100 * ANSWER).await,
        Manner::Silent => std::future::pending().await,
        Manner::Drips => {
            let drops = unfold((), async |()| {
                SystemClock.sleep_until(SystemClock.now() + 4 * ANSWER).await;
                Some((Ok::<_, Infallible>(" "), ()))
            });
            return Body::from_stream(drops).into_response();
        }
        // A body that ends in an error takes its connection with it.
        Manner::HangsUp => {
            let broken = once(async { Err::<&str, _>(std::io::Error::other("broken off")) });
            return Body::from_stream(broken).into_response();
        }
        Manner::ServerError => return (StatusCode::INTERNAL_SERVER_ERROR, "oops").into_response(),
        Manner::Throttled => return (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")]).into_response(),
        Manner::Page => return Html("<html><body>Down for maintenance</body></html>").into_response(),
        Manner::Huge => return vec![b' '; 8 << 20].into_response(),
    }
    well.into_response()
}

// === impl House ===

impl House {
    async fn open(place: &Path, healthy: &str, neighbour: &str) -> Result<Self, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let config = Config { path: place.join("data"), ..Config::default() };
        let sled = Arc::new(SledStore::open(&config, Arc::clone(&clock))?);
        let ring = KeyRing::load_or_create(&place.join("key"), &OsRandom)?;
        let store: Arc<dyn Store> =
            Arc::new(SealedStore::new(Arc::clone(&sled) as Arc<dyn Store>, ring, Arc::new(OsRandom)));
        let keys = Keys::open(&*store, &OsRandom).await?;
        let ground = Ground { store, keys, clock, random: Arc::new(OsRandom), fed: Fed::default() };

        let mut vendors = Vendors::default();
        for (name, url) in [("healthy", healthy), ("neighbour", neighbour)] {
            let config =
                format!("base_url = '{url}'\nuser = 'user'\npass = 'pass'\ntimeout = '1s'\nconnect_timeout = '500ms'");
            vendors.add(name, Arc::new(toml::from_str::<esms::Config>(&config)?.build(name)?), CONCURRENCY);
            vendors.limit(name, |limits| Limits::remote(limits.concurrency));
        }
        let route = |country: &str, vendor: &str| {
            toml::from_str(&format!("channel = 'sms'\nvendors = ['{vendor}']\ncountries = ['{country}']"))
        };
        let routes = Routes::new(vec![route("MY", "healthy")?, route("SG", "neighbour")?]);
        let persistence = Persistence { max_attempts: 3, backoff: Duration::from_secs(2) };
        let settings = Settings { attempt_timeout: Duration::from_secs(10), persistence, longest_line: LONGEST_LINE };
        let outbox = Arc::new(Outbox::new(ground, vendors, routes, settings));
        let templates = Arc::new(Templates::builtin()?);
        let messaging = Arc::new(Messaging::new(Arc::clone(&outbox), templates, Duration::from_secs(3600)));
        outbox.hold(messaging.holder(), messaging.holder());
        let worker = tokio::spawn(Worker::new(Arc::clone(&outbox), Steps::default(), 64).run());
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
        Ok(Self { sled, outbox, messaging, tenant, worker })
    }

    async fn close(self) -> Result<(), Failure> {
        self.outbox.stop();
        self.outbox.drain().await;
        self.worker.abort();
        drop(self.worker.await);
        drop((self.messaging, self.outbox));
        Ok(tokio::task::spawn_blocking(move || self.sled.close()).await?)
    }

    async fn send(&self, phone: String) -> Result<(), Failure> {
        let new = NewMessage {
            recipient: Some(Address::Phone(phone)),
            channel: None,
            content: Some(Content::Text(Text::new("Your table is ready.".to_owned()))),
            sender: None,
            send_at: None,
            validity: None,
            metadata: BTreeMap::new(),
            callback: None,
            idempotency_key: None,
            batched: false,
            origin: Origin::default(),
            unread: Vec::new(),
        };
        self.messaging.send(&self.tenant, new).await?;
        Ok(())
    }
}
