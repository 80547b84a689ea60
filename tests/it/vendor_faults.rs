//! Two thousand messages and codes over two vendors, of which one misbehaves in each way in turn, while the program is
//! killed in the middle: each that was accepted comes to one end, none is sent twice but for doubt, none after its time,
//! and a vendor that fails is left alone.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use verigate::clock::{Clock, ManualClock, SystemClock, Timestamp};
use verigate::config;
use verigate::proto::messaging::v1::messaging_service_client::MessagingServiceClient;
use verigate::proto::messaging::v1::{ListMessagesRequest, MessageStatus, SendMessageRequest};
use verigate::proto::verification::v1::ListVerificationsRequest;
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;
use verigate::random::OsRandom;
use verigate::server::{Server, Surroundings};
use verigate::telemetry;

use crate::support::faulty_vendor::{Arrival, FaultyVendor, Manner};
use crate::support::gateway::{Credentials, Messages, Verifications, seconds, start, text_to};
use crate::support::process::{KEY, Process};

/// Sends in each manner of the faulty vendor, and before that while it does not even listen.
const SENDS: u32 = 185;
/// Every so many of them is a code.
const CODES: u32 = 10;
const WORKERS: u32 = 32;

/// In the middle of which the program is killed.
const KILLED_IN: Manner = Manner::BlackHole;

const MANNERS: [Manner; 9] = [
    Manner::ServerError,
    Manner::Drip,
    Manner::Page,
    Manner::HangUp,
    Manner::BlackHole,
    Manner::TooFast(1),
    Manner::Huge,
    Manner::Redirect,
    Manner::Garbled,
];

/// Most calls that a vendor gets during [`SENDS`] sends while it fails: those under way at first, and probes.
const MOST_CALLS: usize = 80;

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// What had left when the program was killed may be read by a vendor after that.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
const LONGER_THAN_EVER: Duration = Duration::from_secs(60);

/// What a client was told of a send.
#[derive(Debug)]
struct Accepted {
    id: String,
    /// Digits.
    recipient: String,
    is_code: bool,
    expires_at: Timestamp,
    seen: MessageStatus,
}

/// A connection to a gateway, whichever it is.
#[derive(Clone)]
struct Client {
    messages: Messages,
    verifications: Verifications,
}

/// The vendors, and all that was accepted for them.
struct Ledger {
    faulty: FaultyVendor,
    healthy: FaultyVendor,
    accepted: Vec<Accepted>,
    killed_at: Timestamp,
    numbers: Arc<AtomicU32>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vendor_that_misbehaves_costs_no_message_and_sends_none_twice() {
    let place = TempDir::new().unwrap();
    let mut ledger = Ledger::new();
    let settings = ledger.settings(place.path());
    let settings: Vec<_> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let mut process = Process::start(place.path(), &settings).await;
    let mut client = Client::connect(&process.grpc).await;

    // Nobody listens there yet.
    ledger.send(&client, SENDS).await;
    ledger.faulty.open();
    for manner in MANNERS {
        ledger.recover(&client).await;
        ledger.faulty.behave(manner);
        if manner == KILLED_IN {
            let (half, rest) = (client.clone(), ledger.accepted.len() + 100);
            ledger.send_until(&half, rest, process).await;
            process = Process::start(place.path(), &settings).await;
            client = Client::connect(&process.grpc).await;
        }
        ledger.send(&client, SENDS).await;
        let calls = ledger.faulty.count(manner);
        assert!((1..=MOST_CALLS).contains(&calls), "{calls} calls while {manner:?}");
    }
    assert!(ledger.accepted.len() >= 2_000, "{}", ledger.accepted.len());
    let is_under_way = |status| matches!(status, MessageStatus::Queued | MessageStatus::Sending);
    ledger.look_until_none(&mut client, is_under_way).await;

    // What is queued at its end is not sent, although every vendor would take it again.
    ledger.faulty.behave(Manner::TooFast(3_600));
    ledger.healthy.behave(Manner::TooFast(3_600));
    let late = ledger.accepted.len();
    ledger.send(&client, 20).await;
    process.kill();
    ledger.faulty.behave(Manner::Well);
    ledger.healthy.behave(Manner::Well);
    let before = (ledger.faulty.arrivals().len(), ledger.healthy.arrivals().len());
    ledger.look_later(&settings).await;
    assert_eq!((ledger.faulty.arrivals().len(), ledger.healthy.arrivals().len()), before);
    for late in &ledger.accepted[late..] {
        assert_eq!(late.seen, MessageStatus::Expired, "{late:?}");
    }
    ledger.audit();
}

// === impl Client ===

impl Client {
    async fn connect(address: &str) -> Self {
        let channel = Endpoint::from_shared(address.to_owned()).unwrap().connect().await.unwrap();
        Self {
            messages: MessagingServiceClient::with_interceptor(channel.clone(), Credentials::new(KEY)),
            verifications: VerificationServiceClient::with_interceptor(channel, Credentials::new(KEY)),
        }
    }

    /// Has one more message or code accepted; `None` when the connection was cut.
    async fn send(&mut self, number: u32) -> Option<Accepted> {
        let recipient = format!("6012{number:07}");
        let phone = format!("+{recipient}");
        let is_code = number.is_multiple_of(CODES);
        let (id, expire_time) = if is_code {
            let started = self.verifications.start_verification(start(&phone)).await.ok()?.into_inner();
            let verification = started.verification.unwrap();
            (verification.id, verification.expire_time)
        } else {
            let request = SendMessageRequest { validity: seconds(60), ..text_to(&phone, "Your table is ready.") };
            let message = self.messages.send_message(request).await.ok()?.into_inner().message.unwrap();
            (message.id, message.expire_time)
        };
        let expire_time = expire_time.unwrap();
        let millis = expire_time.seconds * 1_000 + i64::from(expire_time.nanos) / 1_000_000;
        let expires_at = Timestamp::from_millis(millis.try_into().unwrap());
        Some(Accepted { id, recipient, is_code, expires_at, seen: MessageStatus::Queued })
    }

    /// How far every message and every code has come, by id.
    async fn statuses(&mut self) -> HashMap<String, MessageStatus> {
        let mut statuses = HashMap::new();
        let mut request = ListMessagesRequest { page_size: 500, ..ListMessagesRequest::default() };
        loop {
            let page = self.messages.list_messages(request.clone()).await.unwrap().into_inner();
            statuses.extend(page.messages.into_iter().map(|message| (message.id.clone(), message.status())));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                break;
            }
        }
        let mut request = ListVerificationsRequest { page_size: 500, ..ListVerificationsRequest::default() };
        loop {
            let page = self.verifications.list_verifications(request.clone()).await.unwrap().into_inner();
            statuses.extend(page.verifications.into_iter().map(|code| (code.id.clone(), code.sends[0].status())));
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return statuses;
            }
        }
    }
}

// === impl Ledger ===

impl Ledger {
    fn new() -> Self {
        let (faulty, mut healthy) = (FaultyVendor::closed(), FaultyVendor::closed());
        healthy.open();
        Self { faulty, healthy, accepted: Vec::new(), killed_at: Timestamp::default(), numbers: Arc::default() }
    }

    /// On top of the dev profile. Times are short, so that much happens in a few seconds.
    fn settings(&self, place: &Path) -> Vec<(String, String)> {
        let vendor = |vendor: &FaultyVendor| {
            format!(
                "{{ kind = 'esms', base_url = 'http://{}', user = 'user', pass = 'pass', timeout = '1500ms', \
                 connect_timeout = '1s', concurrency = 16, breaker = {{ in_a_row = 5, pause = '100ms' }} }}",
                vendor.address
            )
        };
        let data = place.join("data").display().to_string();
        [
            ("STORE__PATH", data.clone()),
            ("STORE__KEY_FILE", format!("{data}/key")),
            ("VENDORS__FAULTY", vendor(&self.faulty)),
            ("VENDORS__HEALTHY", vendor(&self.healthy)),
            ("ROUTES", "[{ channel = 'sms', vendors = ['faulty', 'healthy'] }]".to_owned()),
            ("MESSAGING__ATTEMPT_TIMEOUT", format!("{}ms", ATTEMPT_TIMEOUT.as_millis())),
            ("VERIFICATION__POLICY__LIFETIME", "60s".to_owned()),
        ]
        .map(|(key, value)| (format!("VERIGATE__{key}"), value))
        .to_vec()
    }

    /// Sends so many from several callers at once.
    async fn send(&mut self, client: &Client, count: u32) {
        self.accepted.extend(calling(client, &self.numbers, count).join_all().await.into_iter().flatten());
    }

    /// Sends, and kills the program as soon as so many were accepted in all.
    async fn send_until(&mut self, client: &Client, accepted: usize, process: Process) {
        let mut calls = calling(client, &self.numbers, SENDS);
        while self.accepted.len() < accepted {
            self.accepted.extend(calls.join_next().await.expect("enough are accepted").unwrap());
        }
        self.killed_at = SystemClock.now();
        process.kill();
        self.accepted.extend(calls.join_all().await.into_iter().flatten());
    }

    /// Lets the faulty vendor be well until it is trusted again.
    async fn recover(&mut self, client: &Client) {
        self.faulty.behave(Manner::Well);
        let taken = self.faulty.count(Manner::Well);
        let trusted = async {
            while self.faulty.count(Manner::Well) < taken + 10 {
                let accepted = client.clone().send(self.numbers.fetch_add(1, Ordering::Relaxed)).await;
                self.accepted.push(accepted.expect("the program runs"));
            }
        };
        timeout(LONGER_THAN_EVER, trusted).await.expect("a vendor that is well is called again");
    }

    /// Looks at all that was accepted until none of it is in a status that `passes`. What has come to an end stays there.
    async fn look_until_none(&mut self, client: &mut Client, passes: impl Fn(MessageStatus) -> bool) {
        let look = async {
            loop {
                let statuses = client.statuses().await;
                for accepted in &mut self.accepted {
                    let status = *statuses.get(&accepted.id).unwrap_or_else(|| panic!("{accepted:?} is gone"));
                    assert!(!is_end(accepted.seen) || status == accepted.seen, "{accepted:?} became {status:?}");
                    accepted.seen = status;
                }
                if !self.accepted.iter().any(|accepted| passes(accepted.seen)) {
                    return;
                }
            }
        };
        timeout(LONGER_THAN_EVER, look).await.expect("everything comes as far in time");
    }

    /// The end of all doubt: a gateway on the same store, when everybody's time is over.
    async fn look_later(&mut self, settings: &[(&str, &str)]) {
        let own = [("VERIGATE__SERVER__GRPC", "127.0.0.1:0"), ("VERIGATE__SERVER__HTTP", "127.0.0.1:0")];
        let variables = settings.iter().chain(&own).chain(&[("VERIGATE__SERVER__ADMIN", "127.0.0.1:0")]);
        let variables = variables.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let loaded = config::load(None, variables).unwrap();
        let surroundings = Surroundings {
            clock: Arc::new(ManualClock::new(SystemClock.now() + Duration::from_secs(600))),
            random: Arc::new(OsRandom),
            metrics: telemetry::start_metrics().unwrap(),
        };
        let server = Server::build(&loaded, surroundings).await.unwrap();
        let address = format!("http://{}", server.addresses().grpc);
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async move { drop(stopped.await) }));
        let mut client = Client::connect(&address).await;
        self.look_until_none(&mut client, |status| !is_end(status)).await;
        drop(stop);
        running.await.unwrap().unwrap();
    }

    /// Compares what the vendors got with what became of each.
    fn audit(&self) {
        let mut arrivals: HashMap<String, Vec<Arrival>> = HashMap::new();
        for arrival in self.faulty.arrivals().into_iter().chain(self.healthy.arrivals()) {
            arrivals.entry(arrival.recipient.clone()).or_default().push(arrival);
        }
        for accepted in &self.accepted {
            let mut got = arrivals.remove(&accepted.recipient).unwrap_or_default();
            got.sort_by_key(|arrival| arrival.at);
            assert!(got.iter().all(|arrival| arrival.at < accepted.expires_at), "{accepted:?} after its time: {got:?}");
            got.retain(|arrival| arrival.manner.may_send());
            let was_well = got.iter().any(|arrival| arrival.manner == Manner::Well);
            match accepted.seen {
                MessageStatus::Sent => assert!(was_well, "{accepted:?}: {got:?}"),
                MessageStatus::Expired => {}
                other => panic!("{other:?} of {accepted:?}: {got:?}"),
            }
            // A code in doubt is sent once more, any other message is not.
            let most = if accepted.is_code { 2 } else { 1 };
            assert!(got.len() <= most, "{accepted:?} was sent more often: {got:?}");
            let (_, earlier) = got.split_last().unzip();
            for earlier in earlier.into_iter().flatten() {
                assert!(self.is_in_doubt(earlier), "{accepted:?} was sent again without need: {got:?}");
            }
        }
        // What is left was asked for by calls that were cut off.
        assert!(arrivals.len() <= usize::try_from(WORKERS).unwrap(), "{arrivals:?}");
    }

    /// Whether nobody could tell what came of it: no clear answer, or one that may not have been written down before
    /// the program was killed.
    fn is_in_doubt(&self, arrival: &Arrival) -> bool {
        let lost = arrival.at <= self.killed_at + ON_ITS_WAY && arrival.at + ATTEMPT_TIMEOUT >= self.killed_at;
        arrival.manner != Manner::Well || lost
    }
}

fn calling(client: &Client, numbers: &Arc<AtomicU32>, count: u32) -> JoinSet<Option<Accepted>> {
    let mut calls = JoinSet::new();
    let room = Arc::new(tokio::sync::Semaphore::new(usize::try_from(WORKERS).unwrap()));
    for _ in 0..count {
        let (mut client, numbers, room) = (client.clone(), Arc::clone(numbers), Arc::clone(&room));
        calls.spawn(async move {
            let _room = room.acquire().await.unwrap();
            client.send(numbers.fetch_add(1, Ordering::Relaxed)).await
        });
    }
    calls
}

/// The vendors do not say what became of what they took.
fn is_end(status: MessageStatus) -> bool {
    matches!(status, MessageStatus::Sent | MessageStatus::Rejected | MessageStatus::Expired)
}
