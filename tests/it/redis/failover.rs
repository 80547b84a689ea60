//! A server is killed in the middle of checks, and another takes its place: nobody gets more guesses or a second approval,
//! and what was acknowledged holds. Meanwhile calls are refused as unavailable, and no other way.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinHandle;
use tonic::Code;
use verigate::proto::verification::v1::{CheckOutcome, VerificationStatus};
use verigate::store::redis::settings::Durability;

use crate::redis::gateway::config;
use crate::support::gateway::{Gateway, Verifications, check, eventually, get_verification, wrong};
use crate::support::redis_server::{Cluster, MASTER, RedisServer, Watched};

/// After which the others give up a server that is silent.
const SILENCE: Duration = Duration::from_millis(1_500);

/// So many that some of them lie on the server that is killed.
const PEOPLE: usize = 24;

/// Guesses of each, more than the five that are allowed.
const GUESSES: u32 = 8;

const ALLOWED: usize = 5;

/// Turns that begin before the server is killed, and those that begin when it is dead and not yet replaced.
const BEFORE_IT: Range<u32> = 0..4;
const AFTER_IT: Range<u32> = 4..u32::MAX;

/// Longer than it takes until another server has taken over.
const PATIENCE: Duration = Duration::from_secs(60);

/// Answers after which the server is killed.
const BEFORE: usize = 30;

/// One verification, its code, and what clients were told of it.
struct Case {
    id: String,
    code: String,
    wrong: AtomicUsize,
    approved: AtomicUsize,
}

/// Many verifications under attack at once.
struct Storm {
    gateway: Arc<Gateway>,
    cases: Vec<Arc<Case>>,
    tally: Arc<Tally>,
}

/// How the calls of a storm ended.
#[derive(Default)]
struct Tally {
    answers: AtomicUsize,
}

// === impl Storm ===

impl Storm {
    async fn new(config: &str) -> Self {
        let gateway = Arc::new(Gateway::start_with(config).await);
        let mut client = gateway.verifications().await;
        let mut cases = Vec::new();
        for number in 0..PEOPLE {
            let phone = format!("+6012345{:04}", 1_100 + number);
            let id = gateway.begin(&mut client, &phone).await.id;
            let code = gateway.code(&phone).await;
            cases.push(Arc::new(Case { id, code, wrong: AtomicUsize::new(0), approved: AtomicUsize::new(0) }));
        }
        Self { gateway, cases, tally: Arc::default() }
    }

    /// Guesses, and in the end two who know the code, all at once. Each asks again while the store is away.
    async fn rage(&self, turns: Range<u32>) -> Vec<JoinHandle<()>> {
        let mut calls = Vec::new();
        for (number, case) in self.cases.iter().enumerate() {
            // Every other one is guessed at only, so that all of the allowance is used.
            let all = GUESSES + if number % 2 == 0 { 2 } else { 0 };
            for turn in turns.start..turns.end.min(all) {
                let candidate = if turn < GUESSES { wrong(&case.code, turn) } else { case.code.clone() };
                let client = self.gateway.verifications().await;
                calls.push(tokio::spawn(ask(client, Arc::clone(case), candidate, Arc::clone(&self.tally))));
            }
        }
        calls
    }

    /// What is left of it holds to the rules.
    async fn judge(&self, calls: Vec<JoinHandle<()>>, durability: Durability) {
        for call in calls {
            call.await.unwrap();
        }
        let mut client = self.gateway.verifications().await;
        for case in &self.cases {
            let (wrong, approved) = (case.wrong.load(Ordering::SeqCst), case.approved.load(Ordering::SeqCst));
            assert!(wrong <= ALLOWED && approved <= 1, "{wrong} wrong, {approved} approved");
            let now = get_verification(&mut client, &case.id).await;
            // Standard promises less, so that it may not be held to what mostly holds.
            if durability == Durability::Strict {
                assert!(now.checks_used as usize >= wrong, "an answer is forgotten: {now:?}");
                let is_approved = now.status() == VerificationStatus::Approved;
                assert!(is_approved || approved == 0, "an approval is forgotten: {now:?}");
            }
        }
    }

    async fn until_answers(&self, count: usize) {
        eventually(async || (self.tally.answers.load(Ordering::SeqCst) >= count).then_some(())).await;
    }
}

/// Asks until there is an answer.
async fn ask(mut client: Verifications, case: Arc<Case>, candidate: String, tally: Arc<Tally>) {
    let asked = async {
        loop {
            match check(&mut client, &case.id, &candidate).await {
                Ok(answer) => return answer.outcome(),
                // So many at one verification may meet each other more often than a call tries again.
                Err(refused) => {
                    let expected = [Code::Unavailable, Code::Aborted, Code::DeadlineExceeded];
                    assert!(expected.contains(&refused.code()), "{refused:?}");
                    tokio::task::yield_now().await;
                }
            }
        }
    };
    let outcome = tokio::time::timeout(PATIENCE, asked).await.expect("an answer, once another has taken over");
    tally.answers.fetch_add(1, Ordering::SeqCst);
    match outcome {
        CheckOutcome::Approved => drop(case.approved.fetch_add(1, Ordering::SeqCst)),
        CheckOutcome::WrongCode => drop(case.wrong.fetch_add(1, Ordering::SeqCst)),
        _ => {}
    }
}

fn cluster_config(cluster: &Cluster, durability: &str) -> String {
    let settings = format!("mode = \"cluster\"\naddresses = {:?}\n{durability}", cluster.addresses());
    config(&settings)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_a_cluster_dies_among_checks_and_strict_loses_nothing() {
    let mut cluster = Cluster::start(SILENCE);
    let strict = "replicas = 1\nreplica_timeout = \"1500ms\"\ntimeout = \"2s\"";
    let storm = Storm::new(&cluster_config(&cluster, strict)).await;
    let mut calls = storm.rage(BEFORE_IT).await;
    storm.until_answers(BEFORE).await;
    let port = cluster.master().port;
    let dead = cluster.servers.iter().position(|server| server.port == port).unwrap();
    cluster.servers[dead].kill();
    calls.extend(storm.rage(AFTER_IT).await);
    is_replaced(&cluster, port).await;
    // Its replica is alone now, and alone it acknowledges nothing; as a replica the dead one is welcome.
    tokio::task::block_in_place(|| cluster.servers[dead].revive());
    storm.judge(calls, Durability::Strict).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_a_cluster_dies_and_standard_goes_on_without_it() {
    let cluster = Cluster::start(SILENCE);
    let standard = "durability = \"standard\"\ntimeout = \"2s\"";
    let storm = Storm::new(&cluster_config(&cluster, standard)).await;
    let mut calls = storm.rage(BEFORE_IT).await;
    storm.until_answers(BEFORE).await;
    let master = cluster.master();
    master.kill();
    calls.extend(storm.rage(AFTER_IT).await);
    is_replaced(&cluster, master.port).await;
    storm.judge(calls, Durability::Standard).await;
}

/// Waits until the Cluster has put another in the place of the server of this port.
async fn is_replaced(cluster: &Cluster, port: u16) {
    let others = || cluster.servers.iter().filter(|server| server.port != port);
    eventually(async || {
        let masters = others().filter(|server| server.cli(&["ROLE"]).starts_with("master")).count();
        let is_well = |server: &RedisServer| server.cli(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
        (masters == 3 && others().all(is_well)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_name_another_and_strict_loses_nothing() {
    let watched = Watched::start(SILENCE);
    let settings = format!(
        "mode = \"sentinel\"\naddresses = {:?}\nsentinel = {{ master = \"{MASTER}\" }}\nreplicas = 1\n\
         replica_timeout = \"1500ms\"\ntimeout = \"2s\"",
        watched.addresses()
    );
    let storm = Storm::new(&config(&settings)).await;
    let mut calls = storm.rage(BEFORE_IT).await;
    storm.until_answers(BEFORE).await;
    watched.master.kill();
    calls.extend(storm.rage(AFTER_IT).await);
    storm.judge(calls, Durability::Strict).await;
}
