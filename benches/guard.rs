//! What the guard costs: `admit` alone, rule by rule, and StartVerification with it beside one without it.
//!
//! `cargo bench --bench guard [-- --starts N] [--rounds R] [--callers C]` first prints the nanoseconds of one `admit`,
//! with all rules as they come and with one of them off at a time; then it runs R rounds (11) of N starts (4,000) by C
//! callers (64) on each of two services with a store of their own on disk, one after the other and in turns in this
//! order and the other, and prints the median over the rounds of what the guarded one took beside the plain one. Limits
//! are raised so that nothing is refused. There is no gRPC around a start, which would make the share smaller.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use verigate::clock::{Clock, SystemClock};
use verigate::event::fed::Fed;
use verigate::guard::ask::{Ask, Origin};
use verigate::guard::rule::Mode;
use verigate::guard::service::Guard;
use verigate::guard::settings::{Config as GuardConfig, RateConfig};
use verigate::id::TenantName;
use verigate::messaging::holder::Ground;
use verigate::messaging::outbox::{LONGEST_LINE, Outbox, Settings};
use verigate::messaging::route::Routes;
use verigate::messaging::sending::Persistence;
use verigate::messaging::service::Messaging;
use verigate::messaging::template::Templates;
use verigate::messaging::vendors::Vendors;
use verigate::messaging::worker::{Steps, Worker};
use verigate::random::OsRandom;
use verigate::recipient::{Address, Recipient};
use verigate::store::Store;
use verigate::store::keys::Keys;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::{Config as StoreConfig, SledStore};
use verigate::tenant::Tenant;
use verigate::vendor::Channel;
use verigate::vendor::inbox::Config as InboxConfig;
use verigate::verification::request::NewVerification;
use verigate::verification::service::Verifications;
use verigate::verification::workflow::Workflows;

/// The command's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Arguments {
    /// Starts of each service in a round.
    #[arg(long, default_value_t = 4000)]
    starts: usize,

    #[arg(long, default_value_t = 11)]
    rounds: usize,

    #[arg(long, default_value_t = 64)]
    callers: usize,

    /// Where to put the stores; by default the working directory, because the place for temporary files may be no disk.
    #[arg(long, default_value = ".")]
    directory: PathBuf,

    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A service on a store of its own.
struct Service {
    verifications: Arc<Verifications>,
    tenant: Tenant,
    next: usize,
    running: Vec<JoinHandle<()>>,
    _place: TempDir,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse();
    let rules = rules()?;
    for (name, rules) in without_each(&rules) {
        println!("{name:<44} {:>8} ns", admit(&rules).await?);
    }
    let mut plain = Service::new(&arguments.directory, None).await?;
    let mut guarded = Service::new(&arguments.directory, Some(&rules)).await?;
    let mut ratios = Vec::new();
    for round in 0..=arguments.rounds {
        let (with, without) = if round % 2 == 0 {
            let with = guarded.start(&arguments).await?;
            (with, plain.start(&arguments).await?)
        } else {
            let without = plain.start(&arguments).await?;
            (guarded.start(&arguments).await?, without)
        };
        // The first warms up.
        if round > 0 {
            let each = |took: Duration| took.as_secs_f64() * 1e6 / arguments.starts as f64;
            let ratio = with.as_secs_f64() / without.as_secs_f64();
            println!(
                "round {round:>2}: {:>7.1} µs a start with, {:>7.1} without: {ratio:.3}",
                each(with),
                each(without)
            );
            ratios.push(ratio);
        }
    }
    ratios.sort_by(f64::total_cmp);
    println!("median: {:.3}", ratios[ratios.len() / 2]);
    Ok(())
}

/// As they come, all of them enforced, and so wide that nothing is refused.
fn rules() -> Result<GuardConfig, Failure> {
    let mut rules = verigate::config::load(None, std::iter::empty())?.config.guard;
    let wide = RateConfig { mode: Mode::Enforce, sends: 1_000_000_000, window: Duration::from_secs(1) };
    for rate in [
        &mut rules.recipient,
        &mut rules.number_block,
        &mut rules.prefix,
        &mut rules.country_sends,
        &mut rules.client_address,
        &mut rules.client_network,
        &mut rules.device,
        &mut rules.tenant,
    ] {
        *rate = wide;
    }
    // Nobody answers here, which is what costs most; to be refused for it is for the bench of the replay.
    rules.conversion.mode = Mode::Monitor;
    rules.conversion.matures_after = Duration::from_secs(24 * 3600);
    rules.conversion.certainty = 0.999_999;
    rules.conversion.least = 0.01;
    rules.sequence.neighbours = 64;
    Ok(rules)
}

fn without_each(rules: &GuardConfig) -> Vec<(&'static str, GuardConfig)> {
    let mut all = vec![("admit: all rules", rules.clone())];
    let mut without = |name, change: fn(&mut GuardConfig)| {
        let mut rules = rules.clone();
        change(&mut rules);
        all.push((name, rules));
    };
    without("admit: without number types", |rules| rules.number_types.mode = Mode::Off);
    without("admit: without conversion", |rules| rules.conversion.mode = Mode::Off);
    without("admit: without sequence", |rules| rules.sequence.mode = Mode::Off);
    without("admit: without any limit", |rules| {
        for rate in [
            &mut rules.recipient,
            &mut rules.number_block,
            &mut rules.prefix,
            &mut rules.country_sends,
            &mut rules.client_address,
            &mut rules.client_network,
            &mut rules.device,
            &mut rules.tenant,
        ] {
            rate.mode = Mode::Off;
        }
    });
    all
}

/// The least of five rounds.
async fn admit(rules: &GuardConfig) -> Result<u128, Failure> {
    const CALLS: u32 = 20_000;
    let place = TempDir::new()?;
    let (store, keys) = open(&place).await?;
    let guard = Guard::new(rules, store, keys, Arc::new(SystemClock));
    let tenant: TenantName = "acme".parse()?;
    let recipients: Vec<Recipient> =
        (0..CALLS).map(|turn| address(turn as usize).parse(None)).collect::<Result<_, _>>()?;
    let mut least = u128::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        for (turn, recipient) in recipients.iter().enumerate() {
            let origin = Origin { client_address: Some(client(turn)), ..Origin::default() };
            let ask = Ask {
                tenant: &tenant,
                recipient,
                channel: "sms",
                scope: "",
                origin: &origin,
                vendors: &[],
                segments: 1,
            };
            std::hint::black_box(guard.admit(&ask).await?);
        }
        least = least.min(began.elapsed().as_nanos() / u128::from(CALLS));
    }
    Ok(least)
}

async fn open(place: &TempDir) -> Result<(Arc<dyn Store>, Keys), Failure> {
    let config = StoreConfig { path: place.path().join("data"), ..StoreConfig::default() };
    let sled = SledStore::open(&config, Arc::new(SystemClock))?;
    let ring = KeyRing::parse("1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")?;
    let store: Arc<dyn Store> = Arc::new(SealedStore::new(Arc::new(sled), ring, Arc::new(OsRandom)));
    let keys = Keys::open(&*store, &OsRandom).await?;
    Ok((store, keys))
}

/// Malaysian numbers, none beside the one before it.
fn address(turn: usize) -> Address {
    Address::Phone(format!("+6012{:07}", 2_000_000 + turn * 7_919 % 7_999_999))
}

fn client(turn: usize) -> std::net::IpAddr {
    std::net::Ipv4Addr::from_bits(0x0a00_0000 | (turn as u32 * 37) & 0x00ff_ffff).into()
}

// === impl Service ===

impl Service {
    async fn new(directory: &std::path::Path, rules: Option<&GuardConfig>) -> Result<Self, Failure> {
        let place = TempDir::new_in(directory)?;
        let (store, keys) = open(&place).await?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let guard =
            rules.map(|rules| Arc::new(Guard::new(rules, Arc::clone(&store), keys.clone(), Arc::clone(&clock))));
        let ground = Ground { store, keys, clock: Arc::clone(&clock), random: Arc::new(OsRandom), fed: Fed::default() };
        let mut vendors = Vendors::default();
        let config: InboxConfig = toml::from_str("keep = 1000\noutcomes = []")?;
        let (vendor, _) = config.build("inbox", clock)?;
        vendors.add("inbox", Arc::new(vendor), 1024);
        let routes = Routes::new(vec![toml::from_str("channel = \"sms\"\nvendors = [\"inbox\"]")?]);
        let persistence = Persistence { max_attempts: 3, backoff: Duration::from_secs(2) };
        let settings = Settings { attempt_timeout: Duration::from_secs(10), persistence, longest_line: LONGEST_LINE };
        let outbox = Outbox::new(ground, vendors, routes, settings);
        let outbox = Arc::new(match guard {
            Some(guard) => outbox.guarded_by(guard),
            None => outbox,
        });
        let templates = Arc::new(Templates::builtin()?);
        let messaging = Messaging::new(Arc::clone(&outbox), Arc::clone(&templates), Duration::from_secs(3600));
        let config = verigate::config::load(None, std::iter::empty())?.config.verification;
        let workflows = Workflows::default();
        let verifications =
            Arc::new(Verifications::new(Arc::clone(&outbox), config, templates, Box::new(|_| None), workflows));
        outbox.hold(messaging.holder(), verifications.holder());
        let running = vec![tokio::spawn(Worker::new(outbox, Steps::default(), 64).run())];
        let tenant = Tenant {
            name: "acme".parse()?,
            default_country: None,
            brand: None,
            sender: None,
            may_return_code: false,
            balance_of: None,
            may_administer: false,
            retention: Default::default(),
        };
        Ok(Self { verifications, tenant, next: 0, running, _place: place })
    }

    /// How long so many starts take.
    async fn start(&mut self, arguments: &Arguments) -> Result<Duration, Failure> {
        let began = Instant::now();
        let each = arguments.starts / arguments.callers;
        let callers = (0..arguments.callers).map(|caller| {
            let (verifications, tenant) = (Arc::clone(&self.verifications), self.tenant.clone());
            let first = self.next + caller * each;
            tokio::spawn(async move {
                for turn in first..first + each {
                    let origin = Origin { client_address: Some(client(turn)), ..Origin::default() };
                    let new =
                        NewVerification { channel: Some(Channel::Sms), origin, ..NewVerification::to(address(turn)) };
                    verifications.start(&tenant, new).await?;
                }
                Ok::<_, verigate::error::Error>(())
            })
        });
        for done in join_all(callers).await {
            done??;
        }
        self.next += arguments.starts;
        Ok(began.elapsed())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.running.iter().for_each(JoinHandle::abort);
    }
}
