//! Real processes on one Redis, of which one is stopped and resumed and another killed, under calls: nothing is sent twice but
//! for doubt, no code is good twice, and no guesses are gained.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tempfile::TempDir;
use tokio::time::timeout;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use verigate::proto::messaging::v1::messaging_service_client::MessagingServiceClient;
use verigate::proto::messaging::v1::{ListMessagesRequest, Message, MessageStatus, SendMessageRequest};
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;
use verigate::proto::verification::v1::{CheckOutcome, StartVerificationRequest};

use crate::nodes::house::{recipients, vendor};
use crate::support::gateway::{Credentials, Messages, Verifications, check, eventually, start, text_to, wrong};
use crate::support::process::{KEY, Process};
use crate::support::redis_server::{DURABLE, RedisServer};
use crate::support::vendor_server::VendorServer;

/// How long a call waits for a node that may stand still.
const PATIENCE: Duration = Duration::from_secs(3);

/// Three nodes.
struct Cluster {
    processes: Vec<Process>,
    channels: Vec<Channel>,
    turn: AtomicUsize,
}

impl Cluster {
    async fn start(place: &Path, redis: &RedisServer, vendor: &VendorServer) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let key = place.join("key");
        std::fs::write(&key, format!("1:{}\n", "A".repeat(43) + "=")).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        let called = format!(
            "{{ kind = 'http', channels = ['sms'], url = '{}/send', timeout = '900ms', connect_timeout = '300ms', \
             answer = {{ id = '/id' }}, json = {{ to = '{{recipient}}', text = '{{text}}' }} }}",
            vendor.url()
        );
        let settings = [
            ("VERIGATE__STORE__KIND", "redis".to_owned()),
            ("VERIGATE__STORE__REDIS__ADDRESSES", format!("['{}']", redis.address())),
            ("VERIGATE__STORE__KEY_FILE", key.display().to_string()),
            ("VERIGATE__VENDORS__ONE", called),
            ("VERIGATE__ROUTES", "[{ channel = 'sms', vendors = ['one'] }]".to_owned()),
            ("VERIGATE__MESSAGING__ATTEMPT_TIMEOUT", "1s".to_owned()),
        ];
        let settings: Vec<_> = settings.iter().map(|(key, value)| (*key, value.as_str())).collect();
        let (mut processes, mut channels) = (Vec::new(), Vec::new());
        for number in 0..3 {
            let folder = place.join(number.to_string());
            std::fs::create_dir(&folder).unwrap();
            let process = Process::start(&folder, &settings).await;
            channels.push(Endpoint::from_shared(process.grpc.clone()).unwrap().connect_lazy());
            processes.push(process);
        }
        Self { processes, channels, turn: AtomicUsize::new(0) }
    }

    fn messages(&self, node: usize) -> Messages {
        MessagingServiceClient::with_interceptor(self.channels[node].clone(), Credentials::new(KEY))
    }

    fn verifications(&self, node: usize) -> Verifications {
        VerificationServiceClient::with_interceptor(self.channels[node].clone(), Credentials::new(KEY))
    }

    /// Calls one node after the other until one answers.
    async fn call<T>(&self, mut call: impl AsyncFnMut(usize) -> Result<T, Status>) -> T {
        let mut turn = self.turn.fetch_add(1, Ordering::Relaxed);
        eventually(async || {
            turn += 1;
            timeout(PATIENCE, call(turn % self.channels.len())).await.ok()?.ok()
        })
        .await
    }

    /// Sends a message to each of these, and a code to every fifth; returns the verifications by recipient.
    async fn send(&self, numbers: std::ops::Range<usize>, done: &AtomicUsize) -> BTreeMap<String, String> {
        let sends = numbers.map(async |number| {
            let phone = format!("+60123{number:06}");
            let key = format!("key-{number}");
            let mut id = None;
            if number.is_multiple_of(5) {
                let request = StartVerificationRequest { idempotency_key: key, ..start(&phone) };
                let started =
                    self.call(async |node| self.verifications(node).start_verification(request.clone()).await);
                id = Some(started.await.into_inner().verification.unwrap().id);
            } else {
                let request = SendMessageRequest { idempotency_key: key, ..text_to(&phone, "Hi") };
                self.call(async |node| self.messages(node).send_message(request.clone()).await).await;
            }
            done.fetch_add(1, Ordering::Relaxed);
            id.map(|id| (phone, id))
        });
        join_all(sends).await.into_iter().flatten().collect()
    }

    /// All messages, once each has an outcome.
    async fn settled(&self, node: usize) -> Vec<Message> {
        let mut client = self.messages(node);
        eventually(async || {
            let mut messages = Vec::new();
            let mut request = ListMessagesRequest { page_size: 500, ..ListMessagesRequest::default() };
            loop {
                let page = client.list_messages(request.clone()).await.ok()?.into_inner();
                messages.extend(page.messages);
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            let open = [MessageStatus::Queued, MessageStatus::Sending];
            messages.iter().all(|message| !open.contains(&message.status())).then_some(messages)
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_are_stopped_and_resumed_or_killed_do_nothing_twice() {
    let (place, redis, vendor) = (TempDir::new().unwrap(), RedisServer::start(DURABLE), vendor().await);
    let mut cluster = Cluster::start(place.path(), &redis, &vendor).await;
    let done = AtomicUsize::new(0);
    let victim = cluster.processes.remove(1);
    let failing = async {
        eventually(async || (done.load(Ordering::Relaxed) >= 40).then_some(())).await;
        cluster.processes[0].signal("STOP");
        eventually(async || (done.load(Ordering::Relaxed) >= 80).then_some(())).await;
        victim.kill();
    };
    let (mut codes, ()) = tokio::join!(cluster.send(0..150, &done), failing);
    // By then the third has taken up what both had, and one of them goes on with what it believes to have.
    assert_eq!(cluster.settled(2).await.len(), 120);
    cluster.processes[0].signal("CONT");
    assert_eq!(cluster.settled(0).await.len(), 120);
    codes.extend(cluster.send(150..200, &done).await);
    let messages = cluster.settled(0).await;
    assert_eq!(messages.len(), 160);

    let sent = recipients(&vendor.requests());
    let mut times = BTreeMap::<_, usize>::new();
    sent.iter().for_each(|phone| *times.entry(phone.as_str()).or_default() += 1);
    for message in &messages {
        let phone = phone_of(message);
        let times = times.get(phone.as_str()).copied().unwrap_or_default();
        let most = if message.status() == MessageStatus::Unknown { 0..=1 } else { 1..=1 };
        assert!(most.contains(&times), "{phone} was sent {times} times and is {:?}", message.status());
    }
    // Each code once, and once more for doubt at the most.
    assert!(codes.keys().all(|phone| (1..=2).contains(&times[phone.as_str()])), "{times:?}");
    let twice = codes.keys().filter(|phone| times[phone.as_str()] == 2).count();
    assert!(twice < codes.len() / 2, "{twice} codes of {} were sent twice", codes.len());
    approve_each_once(&cluster, &vendor, &codes).await;
}

/// At two nodes at once; and of some, after as many wrong ones as are allowed, none.
async fn approve_each_once(cluster: &Cluster, vendor: &VendorServer, codes: &BTreeMap<String, String>) {
    let (mut here, mut there) = (cluster.verifications(0), cluster.verifications(2));
    let mut approved = BTreeSet::new();
    for (turn, (phone, id)) in codes.iter().enumerate() {
        let code = code_for(vendor, phone);
        if turn.is_multiple_of(6) {
            for guess in 0..8 {
                let client = if guess % 2 == 0 { &mut here } else { &mut there };
                drop(check(client, id, &wrong(&code, guess)).await);
            }
        }
        let (one, other) = tokio::join!(check(&mut here, id, &code), check(&mut there, id, &code));
        let good = [one, other].into_iter().flatten().filter(|checked| checked.outcome() == CheckOutcome::Approved);
        assert_eq!(good.count(), usize::from(!turn.is_multiple_of(6)), "{phone}");
        approved.insert(id);
    }
    assert_eq!(approved.len(), codes.len());
}

fn phone_of(message: &Message) -> String {
    use verigate::proto::messaging::v1::recipient::Address;
    match message.recipient.as_ref().and_then(|recipient| recipient.address.clone()) {
        Some(Address::Phone(phone)) => phone,
        other => panic!("{other:?} is no phone"),
    }
}

/// The code that a person was sent.
fn code_for(vendor: &VendorServer, phone: &str) -> String {
    let requests = vendor.requests();
    let request = requests.iter().rev().find(|request| request.json()["to"] == phone).expect("a code");
    let text = request.json()["text"].as_str().unwrap().to_owned();
    text.split(|c: char| !c.is_ascii_digit()).max_by_key(|run| run.len()).unwrap().to_owned()
}
