//! Several nodes on one store: what one of them counted, the others know about a second later.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use tempfile::TempDir;
use verigate::clock::{Clock, ManualClock};
use verigate::config;
use verigate::error::{Error, Kind, Reason, Result};
use verigate::guard::ask::{Ask, Origin};
use verigate::guard::ledger::Ledger;
use verigate::guard::rule::{Mode, Rule};
use verigate::guard::service::Guard;
use verigate::guard::settings::Config;
use verigate::id::TenantName;
use verigate::random::OsRandom;
use verigate::recipient::{Phone, Recipient};
use verigate::store::keys::Keys;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::{self, SledStore};
use verigate::store::{Batch, Commit, Key, Prefix, Record, Store};

use crate::support::gateway::START;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// A store that others use, too. One of whose users may be cut off from it.
struct Shared {
    inner: Arc<dyn Store>,
    is_away: AtomicBool,
}

/// One store and the nodes on it.
struct Cluster {
    clock: ManualClock,
    store: Arc<dyn Store>,
    keys: Keys,
    nodes: Vec<Node>,
    _place: TempDir,
}

struct Node {
    guard: Arc<Guard>,
    store: Arc<Shared>,
}

// === impl Shared ===

#[async_trait]
impl Store for Shared {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        self.ready()?;
        self.inner.get(key).await
    }

    async fn scan(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        self.ready()?;
        self.inner.scan(prefix, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> Result<Commit> {
        self.ready()?;
        self.inner.commit(batch).await
    }

    fn ready(&self) -> Result<()> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(Error::new(Kind::Unavailable, Reason::StoreUnavailable, "the store is away"));
        }
        self.inner.ready()
    }

    fn is_shared(&self) -> bool {
        true
    }
}

// === impl Cluster ===

impl Cluster {
    async fn of(nodes: usize, rules: &Config) -> Self {
        let place = TempDir::new().unwrap();
        let clock = ManualClock::new(START);
        let config = sled::Config { path: place.path().join("data"), ..sled::Config::default() };
        let sled = SledStore::open(&config, Arc::new(clock.clone())).unwrap();
        let ring = KeyRing::parse(&format!("1:{}=", "A".repeat(43))).unwrap();
        let store: Arc<dyn Store> = Arc::new(SealedStore::new(Arc::new(sled), ring, Arc::new(OsRandom)));
        let keys = Keys::open(&*store, &OsRandom).await.unwrap();
        let mut cluster = Self { clock, store, keys, nodes: Vec::new(), _place: place };
        for _ in 0..nodes {
            cluster.add(rules).await;
        }
        cluster
    }

    async fn add(&mut self, rules: &Config) {
        let store = Arc::new(Shared { inner: Arc::clone(&self.store), is_away: AtomicBool::new(false) });
        let clock = Arc::new(self.clock.clone());
        let guard = Guard::new(rules, Arc::clone(&store) as Arc<dyn Store>, self.keys.clone(), clock);
        guard.load().await.unwrap();
        self.nodes.push(Node { guard: Arc::new(guard), store });
    }

    /// A second passes, after which all have told each other.
    async fn second(&self) {
        self.clock.advance(SECOND);
        // What the last one tells, the first hears a turn later.
        for _ in 0..2 {
            for node in &self.nodes {
                node.keep().await.unwrap();
            }
        }
    }

    /// Some minutes pass, in which all pages that changed are written.
    async fn minutes(&self, minutes: u32) {
        for _ in 0..61 {
            self.clock.advance(minutes * SECOND);
            for node in &self.nodes {
                node.keep().await.unwrap();
            }
        }
        self.second().await;
    }
}

// === impl Node ===

impl Node {
    async fn keep(&self) -> Result<()> {
        self.guard.keep(0).await
    }

    /// Asks for a code and sends it; the rule that forbids it.
    async fn send(&self, tenant: &str, number: &str) -> std::result::Result<(), String> {
        let (tenant, recipient) = (tenant_of(tenant), recipient(number));
        let origin = Origin::default();
        let ask = Ask {
            tenant: &tenant,
            recipient: &recipient,
            channel: "sms",
            scope: "login",
            origin: &origin,
            vendors: &[],
            segments: 1,
        };
        match self.guard.admit(&ask).await {
            Ok(_) => {
                self.guard.sent(&tenant, &recipient);
                Ok(())
            }
            Err(error) => {
                let rule = error.details().iter().find(|(name, _)| *name == "rule");
                Err(rule.map(|(_, rule)| rule.clone()).unwrap_or_default())
            }
        }
    }

    fn cut_off(&self, is_away: bool) {
        self.store.is_away.store(is_away, Ordering::SeqCst);
    }
}

fn tenant_of(name: &str) -> TenantName {
    name.parse().unwrap()
}

fn recipient(number: &str) -> Recipient {
    Recipient::Phone(Phone::parse(number, None).unwrap())
}

/// The rules as they come.
fn defaults() -> Config {
    config::load(None, std::iter::empty()).unwrap().config.guard
}

/// Nothing counts but the limits of numbers and recipients.
fn limits_only() -> Config {
    let mut rules = defaults();
    (rules.conversion.mode, rules.sequence.mode) = (Mode::Off, Mode::Off);
    rules
}

#[tokio::test]
async fn a_block_of_numbers_in_sequence_trips_whatever_node_is_asked() {
    let cluster = Cluster::of(3, &defaults()).await;
    let mut passed = Vec::new();
    for turn in 0..100 {
        let node = &cluster.nodes[turn % 3];
        match node.send("acme", &format!("+6012345{turn:04}")).await {
            Ok(()) => passed.push(turn),
            Err(rule) => assert_eq!(rule, Rule::Sequence.as_str()),
        }
        // Five a second.
        if turn % 5 == 4 {
            cluster.second().await;
        }
    }
    let neighbours = defaults().sequence.neighbours as usize;
    assert!((neighbours..=neighbours + 5).contains(&passed.len()), "{passed:?}");
}

#[tokio::test]
async fn all_of_a_block_of_numbers_passes_no_more_than_a_second_of_it_too_many() {
    let (cluster, limit) = (Cluster::of(2, &limits_only()).await, limits_only().number_block.sends as usize);
    let mut passed = 0;
    for turn in 0..200 {
        let sent = cluster.nodes[turn % 2].send("acme", &format!("+6017345{:04}", turn * 37)).await;
        passed += usize::from(sent.is_ok());
        assert!(sent.is_ok() || sent == Err(Rule::NumberBlock.as_str().to_owned()), "{sent:?}");
        if turn % 10 == 9 {
            cluster.second().await;
        }
    }
    assert!((limit..=limit + 10).contains(&passed), "{passed}");
    // It is paid back: what passed too much is waited for.
    cluster.minutes(2).await;
    assert!(cluster.nodes[0].send("acme", "+60173459999").await.is_ok() == (passed <= limit + 1));
}

#[tokio::test]
async fn one_number_through_twenty_tenants_trips_whatever_node_is_asked() {
    let (cluster, limit) = (Cluster::of(4, &limits_only()).await, limits_only().recipient.sends as usize);
    let mut passed = 0;
    for tenant in 0..20 {
        let sent = cluster.nodes[tenant % 4].send(&format!("t{tenant}"), "+60123456789").await;
        passed += usize::from(sent.is_ok());
        cluster.second().await;
    }
    assert_eq!(passed, limit, "one a second");
    // All at once, before anybody hears of anybody: each node's own limit, and no more until that has drained.
    let (cluster, mut passed) = (Cluster::of(4, &limits_only()).await, 0);
    for turn in 0..40 {
        for node in &cluster.nodes {
            passed += usize::from(node.send(&format!("t{turn}"), "+60123456789").await.is_ok());
        }
    }
    assert_eq!(passed, 4 * limit);
    cluster.second().await;
    // It is waited for, but not longer than for twice the limit.
    for hours in [0, 2, 12] {
        cluster.minutes(hours * 60).await;
        for node in &cluster.nodes {
            assert_eq!(node.send("acme", "+60123456789").await, Err(Rule::Recipient.as_str().to_owned()));
        }
    }
}

/// Numbers of one block, none beside another.
fn of_block(turn: u32) -> String {
    format!("+6012345{:04}", 100 + turn * 97)
}

fn conversion_only() -> Config {
    let mut rules = defaults();
    for rate in [&mut rules.recipient, &mut rules.number_block, &mut rules.prefix] {
        rate.mode = Mode::Off;
    }
    rules.sequence.mode = Mode::Off;
    rules.conversion.mode = Mode::Enforce;
    rules
}

#[tokio::test]
async fn an_area_is_blocked_by_what_all_nodes_sent_and_opened_on_all_of_them() {
    let mut cluster = Cluster::of(2, &conversion_only()).await;
    for turn in 0..20 {
        cluster.nodes[turn as usize % 2].send("acme", &of_block(turn)).await.unwrap();
    }
    cluster.minutes(12).await;
    let refused = Err(Rule::Conversion.as_str().to_owned());
    assert_eq!(cluster.nodes[0].send("acme", &of_block(50)).await, refused);
    cluster.second().await;
    for node in &cluster.nodes {
        let blocks = node.guard.blocks(None, 10, None).unwrap().blocks;
        let areas: Vec<_> = blocks.iter().map(|block| block.area.to_string()).collect();
        assert_eq!(areas, ["+6012345"], "and nobody who lives around it");
        node.send("acme", "+60123111111").await.unwrap();
    }
    // Three probes, whoever is asked.
    cluster.minutes(61).await;
    let mut probes = 0;
    for turn in 60..70 {
        probes += usize::from(cluster.nodes[turn as usize % 2].send("acme", &of_block(turn)).await.is_ok());
        cluster.second().await;
    }
    assert_eq!(probes, 3);
    // Who comes new knows it, too.
    cluster.add(&conversion_only()).await;
    assert_eq!(cluster.nodes[2].send("acme", &of_block(70)).await, refused);
    cluster.nodes[2].guard.unblock(&tenant_of("acme"), &"+6012345".parse().unwrap()).unwrap();
    cluster.second().await;
    for node in &cluster.nodes {
        assert!(node.guard.blocks(None, 10, None).unwrap().blocks.is_empty());
        node.send("acme", &of_block(71)).await.unwrap();
    }
}

#[tokio::test]
async fn a_probe_that_comes_back_on_another_node_opens_the_area() {
    let cluster = Cluster::of(2, &conversion_only()).await;
    for turn in 0..20 {
        cluster.nodes[turn as usize % 2].send("acme", &of_block(turn)).await.unwrap();
    }
    cluster.minutes(12).await;
    assert!(cluster.nodes[0].send("acme", &of_block(50)).await.is_err());
    cluster.minutes(61).await;
    cluster.nodes[0].send("acme", &of_block(51)).await.unwrap();
    cluster.second().await;
    cluster.nodes[1].guard.approved(&tenant_of("acme"), &recipient(&of_block(51)));
    cluster.second().await;
    for (node, turn) in cluster.nodes.iter().zip(52..) {
        assert!(node.guard.blocks(None, 10, None).unwrap().blocks.is_empty());
        node.send("acme", &of_block(turn)).await.unwrap();
    }
}

#[tokio::test]
async fn an_answer_on_another_node_gives_back_what_the_ask_took() {
    let (cluster, limit) = (Cluster::of(2, &limits_only()).await, limits_only().recipient.sends);
    for _ in 0..3 * limit {
        cluster.nodes[0].send("acme", "+60123456789").await.unwrap();
        cluster.second().await;
        cluster.nodes[1].guard.approved(&tenant_of("acme"), &recipient("+60123456789"));
        cluster.second().await;
    }
}

#[tokio::test]
async fn a_node_that_dies_takes_its_last_second_with_it_and_no_more() {
    let (mut cluster, limit) = (Cluster::of(2, &limits_only()).await, limits_only().recipient.sends);
    for _ in 0..limit - 2 {
        cluster.nodes[0].send("acme", "+60123456789").await.unwrap();
    }
    cluster.second().await;
    cluster.nodes[0].send("acme", "+60123456789").await.unwrap();
    // Dead, before it told of the last one.
    drop(cluster.nodes.remove(0));
    cluster.second().await;
    cluster.add(&limits_only()).await;
    for (node, passes) in [(0, true), (1, true), (0, false), (1, false)] {
        assert_eq!(cluster.nodes[node].send("acme", "+60123456789").await.is_ok(), passes);
        cluster.second().await;
    }
}

#[tokio::test]
async fn what_was_counted_outlives_all_nodes_and_what_is_told_is_not_kept_forever() {
    let (mut cluster, limit) = (Cluster::of(2, &limits_only()).await, limits_only().recipient.sends);
    for turn in 0..limit {
        cluster.nodes[turn as usize % 2].send("acme", "+60123456789").await.unwrap();
    }
    for node in cluster.nodes.drain(..) {
        node.guard.close().await.unwrap();
    }
    // Longer than what they told each other is kept.
    cluster.clock.advance(10 * MINUTE);
    let told = cluster.store.scan(&cluster.keys.all_guard_told(), None, 100).await.unwrap();
    assert!(told.is_empty());
    cluster.add(&limits_only()).await;
    assert!(cluster.nodes[0].send("acme", "+60123456789").await.is_err());
}

#[tokio::test]
async fn a_node_that_was_cut_off_for_long_knows_all_that_it_missed_and_tells_what_it_counted() {
    let (cluster, limit) = (Cluster::of(2, &limits_only()).await, limits_only().recipient.sends);
    let [one, other] = &cluster.nodes[..] else { panic!("two nodes") };
    other.send("acme", "+60123456789").await.unwrap();
    other.cut_off(true);
    for _ in 0..limit - 2 {
        one.send("acme", "+60123456789").await.unwrap();
    }
    // Longer than what is told is kept.
    for _ in 0..400 {
        cluster.clock.advance(SECOND);
        one.keep().await.unwrap();
        assert!(other.keep().await.is_err());
    }
    other.cut_off(false);
    cluster.second().await;
    for (node, passes) in [(one, true), (other, false), (one, false)] {
        assert_eq!(node.send("acme", "+60123456789").await.is_ok(), passes);
        cluster.second().await;
    }
}

#[tokio::test]
async fn money_is_spent_once_on_all_nodes_and_what_one_leaves_is_there_for_the_others() {
    let cluster = Cluster::of(2, &limits_only()).await;
    let (account, limit) = (7, 1_000);
    let ledgers: Vec<_> = cluster
        .nodes
        .iter()
        .map(|node| Ledger::new(Arc::clone(&node.store) as Arc<dyn Store>, cluster.keys.clone()))
        .collect();
    let spent = async |of: usize, times: u64| {
        let now = cluster.clock.now();
        let spending = (0..times).map(|_| ledgers[of].spend(account, 1, limit, now));
        join_all(spending).await.into_iter().filter(|spent| *spent.as_ref().unwrap()).count()
    };
    let (here, there) = tokio::join!(spent(0, 3), spent(1, 2_000));
    assert_eq!((here, there), (3, 990), "ten were taken out here, and seven are left");
    assert_eq!(spent(1, 1).await, 0);
    ledgers[0].close(cluster.clock.now()).await.unwrap();
    assert_eq!(spent(1, 1).await, 0, "it was told a moment ago that there is nothing");
    cluster.clock.advance(10 * SECOND);
    assert_eq!(spent(1, 20).await, 7);
}

#[tokio::test]
async fn nodes_that_tell_at_the_same_time_lose_nothing() {
    let mut rules = limits_only();
    rules.recipient.sends = 1_000;
    (rules.number_block.mode, rules.prefix.mode) = (Mode::Off, Mode::Off);
    let mut cluster = Cluster::of(4, &rules).await;
    let mut passed = 0;
    for _ in 0..70 {
        for node in &cluster.nodes {
            node.send("acme", "+60123456789").await.unwrap();
            passed += 1;
        }
        cluster.clock.advance(SECOND);
        let kept = join_all(cluster.nodes.iter().map(Node::keep)).await;
        assert!(kept.iter().all(Result::is_ok), "{kept:?}");
    }
    cluster.second().await;
    // The last to come reads pages that several nodes have written, and what was told since.
    cluster.add(&rules).await;
    let mut left = Vec::new();
    for node in &cluster.nodes {
        let (tenant, recipient, origin) = (tenant_of("acme"), recipient("+60123456789"), Origin::default());
        let (channel, scope, vendors) = ("sms", "login", &[][..]);
        let ask = Ask { tenant: &tenant, recipient: &recipient, channel, scope, origin: &origin, vendors, segments: 1 };
        let admitted = node.guard.admit(&ask).await.unwrap();
        left.push(admitted.nearest.unwrap());
        node.guard.release(admitted).await;
    }
    assert!(left.iter().all(|(_, left)| *left == left_of(passed)), "{left:?} after {passed}");
}

/// How many of a thousand a day are left after so many in one minute, and the one that asks.
fn left_of(passed: u32) -> u32 {
    1_000 - passed - 1
}
