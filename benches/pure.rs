//! What the pure paths of one life cycle cost, in nanoseconds or in instructions: no network, no disk, one thread.
//!
//! `cargo bench --bench pure [-- WORD]` measures those whose name holds the word. Each is called for about a fifth of a
//! second, in five rounds of which the fastest counts: what else the machine does only ever adds time.
//!
//! `cargo bench --bench pure -- --instructions [WORD]` counts instructions under valgrind's callgrind, which must be
//! installed: by running itself twice, with some calls and with a thousand more. The same build gives the same counts on
//! every machine with the same processor features.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::hint::black_box;
use std::pin::pin;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use clap::Parser;
use verigate::auth::account::Account;
use verigate::auth::directory::Directory;
use verigate::auth::key_config::KeyConfig;
use verigate::auth::roster::Roster;
use verigate::clock::{SystemClock, Timestamp};
use verigate::event::history::History;
use verigate::guard::ask::{Ask, Origin};
use verigate::guard::rule::Mode;
use verigate::guard::service::Guard;
use verigate::guard::settings::RateConfig;
use verigate::id::{Id, TenantName};
use verigate::messaging::holder::SendRecord;
use verigate::messaging::last_line::LastLine;
use verigate::messaging::sending::{Persistence, Sending};
use verigate::messaging::template::{self, CodeFacts, Templates, Wording};
use verigate::random::OsRandom;
use verigate::recipient::{Phone, Recipient};
use verigate::segment;
use verigate::store::keys::Keys;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::{Batch, Commit, Key, Prefix, Record, Store, Version, record};
use verigate::tenant::Tenant;
use verigate::vendor::{Accepted, Channel};
use verigate::verification::beginning::{Beginning, Secret};
use verigate::verification::code::{Alphabet, Candidate, Code};
use verigate::verification::policy::Limits;
use verigate::verification::recipient_state::RecipientState;
use verigate::verification::verification::Verification;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A store of one record, so that only sealing costs anything.
#[derive(Default)]
struct OneRecord(Mutex<Option<Vec<u8>>>);

/// Prints a line for each path that was asked for.
#[derive(Parser)]
struct Bench {
    /// Only paths whose name holds this.
    #[arg(default_value = "")]
    word: String,

    /// Count instructions.
    #[arg(long)]
    instructions: bool,

    /// Call the one path of this name so many times, and print nothing.
    #[arg(long, hide = true, requires = "word")]
    calls: Option<u32>,

    /// Given by cargo.
    #[arg(long, hide = true)]
    bench: bool,
}

const ROUNDS: u32 = 5;
const ROUND: Duration = Duration::from_millis(40);
const BATCH: u32 = 16;
/// Calls under callgrind before and with those that count.
const FEW: u32 = 200;
const MANY: u32 = FEW + 1_000;

const NOW: Timestamp = Timestamp::from_millis(1_795_324_560_125);
const PHONE: &str = "+60123456789";
const TEXT: &str = "482913 is your Verigate code. It is valid for 10 minutes. Do not share it with anyone.";
const VENDOR: &str = "first";

fn main() -> Result<()> {
    let bench = Bench::parse();
    bench.show("path", if bench.instructions { "instructions" } else { "ns" });
    codes(&bench)?;
    transitions(&bench)?;
    records(&bench)?;
    words(&bench)?;
    guard(&bench)
}

fn codes(bench: &Bench) -> Result<()> {
    let digits = Alphabet::default();
    let code = Code::custom("482913")?;
    let (right, wrong) = (Candidate::parse("482913")?, Candidate::parse("482914")?);
    bench.time("code: draw six digits", || Code::generate(6, &digits, &OsRandom));
    bench.time("code: compare with the right one", || code.matches(black_box(&right)));
    bench.time("code: compare with a wrong one", || code.matches(black_box(&wrong)));
    Ok(())
}

fn transitions(bench: &Bench) -> Result<()> {
    let started = started()?;
    let (right, wrong) = (Candidate::parse("482913")?, Candidate::parse("482914")?);
    bench.time("verification: copy", || started.clone());
    bench.time("verification: copy, check right", || started.clone().check(&right, NOW));
    bench.time("verification: copy, check wrong", || started.clone().check(&wrong, NOW));

    let (route, rules) = ([VENDOR.to_owned()], Persistence { max_attempts: 3, backoff: Duration::from_secs(2) });
    let mut sending = Sending::new(0, Channel::Sms, NOW, NOW + Duration::from_secs(600), true);
    sending.begin(VENDOR, NOW, Duration::from_secs(15), &mut History::default());
    let accepted = Ok(Accepted { vendor_reference: Some("0123456789abcdef".to_owned()), receipt: None });
    bench.time("send: copy, settle as accepted", || {
        let (mut sending, mut history) = (sending.clone(), History::default());
        sending.settle(1, &accepted, &route, rules, false, NOW, &mut history)
    });

    let limits = limits();
    let mut state = RecipientState::default();
    (0..5).for_each(|_| state.add_failure(&limits, NOW));
    state.add_send(started.id, &limits, NOW);
    bench.time("recipient: locked, cooling down, what is left", || {
        let state = black_box(&state);
        (state.locked_until(&limits, NOW), state.cool_down(NOW), state.failures_left(&limits, NOW))
    });
    bench.time("recipient: copy, add a send", || {
        let mut state = state.clone();
        state.add_send(started.id, &limits, NOW);
        state
    });
    Ok(())
}

fn records(bench: &Bench) -> Result<()> {
    let started = started()?;
    let encoded = record::encode(&started)?;
    bench.show("  (bytes of a verification)", encoded.len());
    bench.time("record: encode a verification", || record::encode(black_box(&started)));
    bench.time("record: decode a verification", || record::decode::<Verification>(black_box(&encoded)));

    let ring = KeyRing::parse("1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")?;
    let inner = Arc::new(OneRecord::default());
    let store = SealedStore::new(Arc::clone(&inner) as Arc<dyn Store>, ring, Arc::new(OsRandom));
    let keys = at_once(Keys::open(&store, &OsRandom))?;
    let tenant: TenantName = "acme".parse()?;
    let recipient = Recipient::Phone(Phone::parse(PHONE, None)?);
    let key = keys.verification(keys.tenant(&tenant), started.id);
    bench.time("seal: 400 bytes", || {
        at_once(store.commit(Batch::new(key.partition()).put(key.clone(), vec![7; 400], None)))
    });
    bench.time("open: 400 bytes", || at_once(store.get(&key)));
    bench.time("keys: tag of a tenant", || keys.tenant(black_box(&tenant)));
    bench.time("keys: of a recipient's state", || {
        keys.recipient_state(keys.tenant(black_box(&tenant)), keys.recipient(&tenant, &recipient))
    });
    Ok(())
}

fn words(bench: &Bench) -> Result<()> {
    let templates = Templates::builtin()?;
    let lifetime = Duration::from_secs(600);
    let (tenant, variables) = ("acme".parse::<TenantName>()?, BTreeMap::new());
    let brand = Some("Verigate");
    let wording =
        Wording { tenant: &tenant, template: template::DEFAULT, locale: Some("ms"), variables: &variables, brand };
    bench.time("phone: parse", || Phone::parse(black_box(PHONE), None));
    bench.time("phone: read back from a record", || Recipient::parse_canonical(black_box(PHONE), None));
    bench.time("text: measure segments", || segment::measure(black_box(TEXT)));
    bench.time("text: render a code", || {
        let facts = CodeFacts { code: black_box("482913"), lifetime, scope: "login" };
        templates.render_verification(&wording, &facts)
    });
    let secret = Some("acme-secret-of-some-length".into());
    let key = KeyConfig { id: "acme".to_owned(), secret, ..KeyConfig::default() };
    let account = Account::configured(Tenant {
        name: tenant.clone(),
        default_country: None,
        brand: None,
        sender: None,
        may_return_code: false,
        balance_of: None,
        may_administer: false,
        retention: Default::default(),
    });
    let mut roster = Roster::default();
    roster.add_account(Arc::new(account))?;
    roster.add_key(Arc::new(key.to_key(&tenant)?))?;
    let directory = Directory::new(roster, Arc::new(SystemClock));
    let header = Some("Bearer acme.acme-secret-of-some-length");
    bench.time("auth: authenticate", || directory.authenticate(black_box(header)));
    Ok(())
}

fn guard(bench: &Bench) -> Result<()> {
    let (store, clock) = (Arc::new(OneRecord::default()), Arc::new(SystemClock));
    let keys = at_once(Keys::open(&*store, &OsRandom))?;
    let mut rules = verigate::config::load(None, std::iter::empty())?.config.guard;
    let wide = RateConfig { mode: Mode::Enforce, sends: 1_000_000_000, window: Duration::from_secs(1) };
    (rules.recipient, rules.number_block, rules.prefix, rules.country_sends) = (wide, wide, wide, wide);
    (rules.client_address, rules.client_network, rules.tenant) = (wide, wide, wide);
    (rules.conversion.mode, rules.sequence.mode) = (Mode::Monitor, Mode::Monitor);
    let guard = Guard::new(&rules, store, keys, clock);
    let (tenant, recipient) = ("acme".parse::<TenantName>()?, Recipient::Phone(Phone::parse(PHONE, None)?));
    let origin = Origin { client_address: Some("192.0.2.7".parse()?), ..Origin::default() };
    let ask = Ask {
        tenant: &tenant,
        recipient: &recipient,
        channel: "sms",
        scope: "login",
        origin: &origin,
        vendors: &[],
        segments: 1,
    };
    bench.time("guard: admit by all rules", || at_once(guard.admit(&ask)).is_ok());
    bench.time("guard: note a code that is out", || guard.sent(&tenant, &recipient));
    bench.time("guard: note a code that came back", || guard.approved(&tenant, &recipient));
    Ok(())
}

/// A verification as it is between its first send and its check.
fn started() -> Result<Verification> {
    let recipient = Recipient::Phone(Phone::parse(PHONE, None)?);
    let beginning = Beginning {
        id: Id::new(NOW, verigate::id::Partition::new(7), &OsRandom),
        tenant: "acme".parse()?,
        recipient,
        scope: "login".to_owned(),
        secret: Secret::Ours(Code::custom("482913")?),
        expires_at: NOW + Duration::from_secs(600),
        max_checks: 5,
        locale: Some("ms".to_owned()),
        sender: Some("ACME".to_owned()),
        metadata: [("session".to_owned(), "0123456789abcdef".to_owned())].into(),
        template: template::DEFAULT.to_owned(),
        variables: BTreeMap::new(),
        text: None,
        last_line: LastLine::default(),
        workflow: None,
        trusted: false,
        ends_aloud: false,
    };
    let mut verification = Verification::new(beginning, NOW);
    verification.add_send(Channel::Sms, 5, NOW).ok_or("a new verification takes a send")?;
    let (sending, history) = verification.send_mut(0).ok_or("the send was just added")?;
    sending.begin(VENDOR, NOW, Duration::from_secs(15), history);
    Ok(verification)
}

fn limits() -> Limits {
    Limits {
        cool_downs: [30, 60, 120].map(Duration::from_secs).to_vec(),
        cool_down_reset: Duration::from_secs(3600),
        failures: 10,
        failure_window: Duration::from_secs(3600),
        max_sends: 5,
    }
}

/// The outcome of something asynchronous that never waits.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = Context::from_waker(Waker::noop());
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(outcome) = future.as_mut().poll(&mut context) {
            return outcome;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement runs on the machine's own time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "a measurement runs on the machine's own time")]
fn since(begin: Instant) -> Duration {
    begin.elapsed()
}

// === impl Bench ===

impl Bench {
    fn time<T>(&self, name: &str, mut path: impl FnMut() -> T) {
        let mut path = || drop(black_box(path()));
        match self.calls {
            Some(calls) if name == self.word => (0..calls).for_each(|_| path()),
            Some(_) => {}
            None if !name.contains(&self.word) => {}
            None if self.instructions => match instructions_of(name) {
                Ok(count) => self.show(name, count),
                Err(error) => self.show(name, error),
            },
            None => self.show(name, format_args!("{:.0}", nanos_of(&mut path))),
        }
    }

    fn show(&self, name: &str, figure: impl Display) {
        if self.calls.is_none() {
            println!("{name:<44} {:>12}", figure.to_string());
        }
    }
}

/// In the fastest round.
fn nanos_of(path: &mut dyn FnMut()) -> f64 {
    let mut round = || {
        let (begin, mut calls) = (now(), 0);
        while since(begin) < ROUND {
            (0..BATCH).for_each(|_| path());
            calls += BATCH;
        }
        since(begin).as_secs_f64() * 1e9 / f64::from(calls)
    };
    (0..ROUNDS).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// What one call adds.
fn instructions_of(name: &str) -> Result<u64> {
    let (few, many) = (instructions_with(name, FEW)?, instructions_with(name, MANY)?);
    Ok((many - few) / u64::from(MANY - FEW))
}

/// Of the whole process.
fn instructions_with(name: &str, calls: u32) -> Result<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe()?);
    let output = valgrind.args(["--calls", &calls.to_string(), name]).output();
    let output = output.map_err(|error| format!("valgrind cannot be started: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    let count = told.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    count.ok_or_else(|| format!("callgrind counted nothing:\n{told}").into())
}

// === impl OneRecord ===

#[async_trait]
impl Store for OneRecord {
    async fn get(&self, _key: &Key) -> verigate::error::Result<Option<Record>> {
        let value = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(value.map(|value| Record { value, version: Version(1) }))
    }

    async fn scan(&self, _: &Prefix, _: Option<&Key>, _: usize) -> verigate::error::Result<Vec<(Key, Record)>> {
        Ok(Vec::new())
    }

    async fn commit(&self, batch: Batch) -> verigate::error::Result<Commit> {
        batch.map_values(|_, value| {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
            Ok(Vec::new())
        })?;
        Ok(Commit::Committed(Version(1)))
    }

    fn ready(&self) -> verigate::error::Result<()> {
        Ok(())
    }

    fn is_shared(&self) -> bool {
        false
    }
}
