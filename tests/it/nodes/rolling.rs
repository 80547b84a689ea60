//! A rolling restart under steady calls: a client that repeats what was answered with UNAVAILABLE, as the book says, sees no
//! call fail, and nobody gets two codes.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::sync::watch;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;
use verigate::proto::verification::v1::{CheckOutcome, StartVerificationRequest};

use crate::nodes::house::{House, Node, SECOND, recipients, vendor};
use crate::support::gateway::{Credentials, Verifications, by_id, eventually, start};
use crate::support::vendor_server::VendorServer;

const CALLERS: usize = 4;
const ROUNDS: usize = 2;

/// The `maxAttempts` of the retry policy in the book.
const ATTEMPTS: usize = 4;

/// Where nodes are, as a load balancer knows it: who stops is taken out when it is told to stop, as a readiness probe does,
/// or a little later.
#[derive(Clone)]
struct Balancer {
    nodes: watch::Receiver<Vec<Channel>>,
    turn: Arc<AtomicUsize>,
}

impl Balancer {
    /// Calls by the retry policy: another try at whoever is next.
    async fn call<T>(&self, mut call: impl AsyncFnMut(&mut Verifications) -> Result<T, Status>) -> Result<T, Status> {
        let (first, mut tries) = (self.turn.fetch_add(1, Ordering::Relaxed), 1);
        loop {
            let channel = {
                let nodes = self.nodes.borrow();
                nodes[(first + tries) % nodes.len()].clone()
            };
            let credentials = Credentials::new("acme.acme-secret-of-some-length");
            let mut client = VerificationServiceClient::with_interceptor(channel, credentials);
            match call(&mut client).await {
                Err(status) if may_repeat(&status) && tries < ATTEMPTS => tries += 1,
                answer => return answer,
            }
        }
    }
}

/// UNAVAILABLE, or no word of the gateway's at all: the connection broke, for which this client has other codes.
fn may_repeat(status: &Status) -> bool {
    status.code() == Code::Unavailable || (status.code() != Code::DeadlineExceeded && status.source().is_some())
}

fn channel(node: &Node) -> Channel {
    Endpoint::from_shared(format!("http://{}", node.gateway.grpc())).unwrap().connect_lazy()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_fails_while_nodes_are_restarted_in_turn() {
    let vendor = vendor().await;
    let house = House::calling(&vendor, "");
    let mut nodes = [house.node().await, house.node().await];
    house.joined(2).await;
    let (listed, known) = watch::channel(nodes.iter().map(channel).collect::<Vec<_>>());
    let balancer = Balancer { nodes: known, turn: Arc::default() };
    let (stops, done) = (AtomicBool::new(false), AtomicUsize::new(0));
    let callers = (0..CALLERS).map(async |caller| {
        let mut turn = 0;
        while !stops.load(Ordering::Relaxed) {
            let phone = format!("+6012{caller}{turn:06}");
            verify(&balancer, &vendor, &phone).await.unwrap_or_else(|status| panic!("{phone}: {status:?}"));
            turn += 1;
            done.fetch_add(1, Ordering::Relaxed);
        }
    });
    let more = async |count: usize| {
        let wanted = done.load(Ordering::Relaxed) + count;
        eventually(async || (done.load(Ordering::Relaxed) >= wanted).then_some(())).await;
    };
    let restarts = async {
        for _ in 0..ROUNDS {
            for place in 0..2 {
                more(10).await;
                // The list is a little behind: it still names who stops.
                let new = house.node().await;
                let old = std::mem::replace(&mut nodes[place], new);
                old.gateway.stop().await;
                more(5).await;
                listed.send_replace(nodes.iter().map(channel).collect());
                house.clock.advance(SECOND);
            }
        }
        stops.store(true, Ordering::Relaxed);
    };
    tokio::join!(join_all(callers), restarts);
    let mut sent = BTreeMap::<_, usize>::new();
    recipients(&vendor.requests()).into_iter().for_each(|phone| *sent.entry(phone).or_default() += 1);
    assert!(sent.values().all(|times| *times == 1), "{:?}", sent.iter().filter(|(_, times)| **times > 1));
    assert_eq!(sent.len(), done.load(Ordering::Relaxed));
}

/// One person's verification: started with an idempotency key, so that it may be repeated, and checked with one.
async fn verify(balancer: &Balancer, vendor: &VendorServer, phone: &str) -> Result<(), Status> {
    let request = StartVerificationRequest { idempotency_key: format!("start-{phone}"), ..start(phone) };
    let begun = balancer.call(async |client| client.start_verification(request.clone()).await).await?;
    let id = begun.into_inner().verification.unwrap().id;
    let code = eventually(async || {
        let requests = vendor.requests();
        let request = requests.iter().rev().find(|request| request.json()["to"] == phone)?;
        let text = request.json()["text"].as_str().unwrap().to_owned();
        text.split(|c: char| !c.is_ascii_digit()).max_by_key(|run| run.len()).map(str::to_owned)
    })
    .await;
    let mut request = by_id(&id, &code);
    request.idempotency_key = format!("check-{phone}");
    let checked = balancer.call(async |client| client.check_verification(request.clone()).await).await?.into_inner();
    assert_eq!(checked.outcome(), CheckOutcome::Approved, "{phone}");
    Ok(())
}
