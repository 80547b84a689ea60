//! Callbacks from the message that asks for one to the receiver that is told: over real sockets and a real store, on a
//! clock that stands still unless it is moved. What is told is written by a dialect of the tests' own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use verigate::clock::{Clock, ManualClock, Timestamp};
use verigate::error::{Error, Reason, Result};
use verigate::event::fed::Fed;
use verigate::messaging::callback::{Callback, CallbackUrl, Context, NewCallback, Stage};
use verigate::messaging::callback_writer::{CallbackCall, CallbackWriter, CallbackWriters};
use verigate::messaging::callbacks::{Callbacks, Receivers, Settings as CallSettings};
use verigate::messaging::holder::Ground;
use verigate::messaging::message::Message;
use verigate::messaging::outbox::{LONGEST_LINE, Outbox, Settings};
use verigate::messaging::request::NewMessage;
use verigate::messaging::route::Routes;
use verigate::messaging::sending::{Persistence, SendStatus};
use verigate::messaging::service::Messaging;
use verigate::messaging::template::Templates;
use verigate::messaging::vendors::Vendors;
use verigate::messaging::worker::{Steps, Worker};
use verigate::random::OsRandom;
use verigate::server::callbacks::Guarded;
use verigate::store::keys::Keys;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::{Config as StoreConfig, SledStore};
use verigate::telemetry;
use verigate::tenant::Tenant;
use verigate::vendor::ReceiptSink;
use verigate::vendor::inbox::Config as InboxConfig;
use verigate::verification::service::Verifications;
use verigate::verification::workflow::Workflows;
use verigate::webhook::client::Client;

use crate::support::counting_store::CountingStore;
use crate::support::floor::{number, text_to};
use crate::support::gateway::{START, eventually};
use crate::support::log::Log;
use crate::support::vendor_server::{Answer, Fault, Recorded, VendorServer};

mod child;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// What happens to whom.
const OUTCOMES: &str = r#"
    { pattern = "*001", outcome = "late", delay = "30s" },
    { pattern = "*002", outcome = "failed" },
    { pattern = "*003", outcome = "rejected" },
    { pattern = "*004", outcome = "late", delay = "50m" },
    { pattern = "*008", outcome = "unknown" },
"#;

const DELIVERED: usize = 100;
const LATE: usize = 1;
const FAILED: usize = 2;
const REJECTED: usize = 3;
const VERY_LATE: usize = 4;
const UNKNOWN: usize = 8;

/// A gateway without a surface that runs until it is dropped.
struct House {
    clock: ManualClock,
    messaging: Arc<Messaging>,
    tenant: Tenant,
    store: Arc<CountingStore>,
    terms: Terms,
    /// How long a call may be under way.
    lease: Duration,
    running: Running,
    /// The files, where they are its own.
    place: Option<TempDir>,
}

/// Tasks that end with their house.
struct Running(Vec<JoinHandle<()>>);

/// How a house calls.
#[derive(Clone)]
struct Terms {
    settings: &'static [(&'static str, &'static str)],
    retention: Duration,
    writers: CallbackWriters,
}

/// The dialect. What it is to do stands in the context.
struct Words;

// === impl Words ===

impl CallbackWriter for Words {
    fn write(&self, message: &Message, callback: &Callback) -> Result<Option<CallbackCall>> {
        let status = format!("{:?}", message.sending.status);
        let (id, at) = (message.id.to_string(), callback.ended_at.unwrap().to_string());
        let url = callback.url.expose().to_owned();
        match callback.context.get("manner") {
            Some("broken") => Err(Error::internal("no words")),
            Some("silent") => Ok(None),
            Some("post") => CallbackCall::post_json(url, &json!({ "id": id, "status": status })).map(Some),
            Some("elsewhere") => Ok(Some(CallbackCall::get(callback.context.get("url").unwrap().to_owned()))),
            _ => Ok(Some(CallbackCall::get(callback.url.with_query(&[("id", &id), ("s", &status), ("t", &at)])))),
        }
    }
}

// === impl Terms ===

impl Default for Terms {
    fn default() -> Self {
        let writers = CallbackWriters::default().add("test", Arc::new(Words));
        Self { settings: &[], retention: 24 * HOUR, writers }
    }
}

impl Terms {
    fn with(settings: &'static [(&'static str, &'static str)]) -> Self {
        Self { settings, ..Self::default() }
    }

    /// For receivers that would never answer.
    fn impatient() -> Self {
        Self::with(&[("TIMEOUT", "500ms"), ("CONNECT_TIMEOUT", "400ms")])
    }
}

// === impl House ===

impl House {
    async fn new() -> Self {
        Self::on(Terms::default()).await
    }

    async fn on(terms: Terms) -> Self {
        let place = TempDir::new().unwrap();
        let house = Self::at(place.path(), ManualClock::new(START), terms).await;
        Self { place: Some(place), ..house }
    }

    /// Opens the store in a folder.
    async fn at(place: &Path, clock: ManualClock, terms: Terms) -> Self {
        let config = StoreConfig { path: place.join("data"), ..StoreConfig::default() };
        let sled = SledStore::open(&config, Arc::new(clock.clone())).unwrap();
        let ring = KeyRing::parse(&format!("1:{}\n", "A".repeat(43) + "=")).unwrap();
        let sealed = SealedStore::new(Arc::new(sled), ring, Arc::new(OsRandom));
        Self::build(Arc::new(CountingStore::new(Arc::new(sealed))), clock, terms).await
    }

    /// A new process on the same store, which remembers nothing. Calls of the old one are not cut off.
    async fn restart_on(mut self, terms: Terms) -> Self {
        for task in self.running.0.drain(..) {
            task.abort();
            drop(task.await);
        }
        let house = Self::build(Arc::clone(&self.store), self.clock.clone(), terms).await;
        Self { place: self.place.take(), ..house }
    }

    async fn restart(self) -> Self {
        let terms = self.terms.clone();
        self.restart_on(terms).await
    }

    async fn build(store: Arc<CountingStore>, clock: ManualClock, terms: Terms) -> Self {
        let local: &[_] = &[("ALLOW", r#"["127.0.0.0/8"]"#)];
        let judged = terms.settings.iter().any(|(key, _)| *key == "ALLOW");
        let variables = terms.settings.iter().chain(if judged { &[] } else { local });
        let variables = variables.map(|(key, value)| (format!("VERIGATE__CALLBACKS__{key}"), (*value).to_owned()));
        let config = verigate::config::load(None, variables).unwrap().config;

        let keys = Keys::open(&*store, &OsRandom).await.unwrap();
        let shared = Arc::clone(&store) as _;
        let ground = Ground {
            store: shared,
            keys,
            clock: Arc::new(clock.clone()),
            random: Arc::new(OsRandom),
            fed: Fed::default(),
        };
        let inbox: InboxConfig = toml::from_str(&format!("outcomes = [{OUTCOMES}]")).unwrap();
        let (vendor, receipts) = inbox.build("inbox", Arc::new(clock.clone())).unwrap();
        let mut vendors = Vendors::default();
        vendors.add("inbox", Arc::new(vendor), 100);
        let routes = Routes::new(vec![toml::from_str("channel = \"sms\"\nvendors = [\"inbox\"]").unwrap()]);
        let persistence = Persistence { max_attempts: 1, backoff: 2 * SECOND };
        let settings = Settings { attempt_timeout: 10 * SECOND, persistence, longest_line: LONGEST_LINE };
        let outbox = Arc::new(Outbox::new(ground, vendors, routes, settings));

        let receivers: Arc<dyn Receivers> = Arc::new(Guarded::new(Client::new(&config.callbacks).unwrap()));
        let templates = Arc::new(Templates::builtin().unwrap());
        let messaging = Messaging::new(Arc::clone(&outbox), Arc::clone(&templates), terms.retention);
        let messaging = Arc::new(messaging.telling(Arc::clone(&receivers)));
        let verifications = Verifications::new(
            Arc::clone(&outbox),
            config.verification,
            templates,
            Box::new(|_| None),
            Workflows::default(),
        );
        outbox.hold(messaging.holder(), verifications.holder());
        let attempts = config.callbacks.attempts.try_into().unwrap();
        let settings = CallSettings { timeout: config.callbacks.timeout, attempts, retention: terms.retention };
        let callbacks = Callbacks::new(Arc::clone(&outbox), receivers, terms.writers.clone(), settings);
        let steps = Steps { messages: Some(Arc::new(callbacks)), verifications: None };
        // One place for all who take up sends: a call that kept it would hold up everything.
        let running = Running(vec![
            tokio::spawn(Worker::new(Arc::clone(&outbox), steps, 1).run()),
            tokio::spawn(receipts.run(Arc::clone(&outbox) as Arc<dyn ReceiptSink>)),
        ]);
        let tenant = Tenant {
            name: "acme".parse().unwrap(),
            default_country: None,
            brand: None,
            sender: None,
            may_return_code: false,
            balance_of: None,
            may_administer: false,
            retention: Default::default(),
        };
        Self {
            clock,
            messaging,
            tenant,
            store,
            terms,
            lease: config.callbacks.timeout + 5 * SECOND,
            running,
            place: None,
        }
    }

    /// A message to whoever `last` stands for, with a callback to `url`.
    async fn send(&self, last: usize, url: &str) -> Message {
        self.send_new(NewMessage { callback: Some(callback(url)), ..text_to(number(last)) }).await.unwrap()
    }

    async fn send_with(&self, url: &str, context: Context) -> Message {
        let callback = NewCallback { context, ..callback(url) };
        self.send_new(NewMessage { callback: Some(callback), ..text_to(number(DELIVERED)) }).await.unwrap()
    }

    async fn send_new(&self, new: NewMessage) -> Result<Message> {
        self.messaging.send(&self.tenant, new).await
    }

    async fn get(&self, message: &Message) -> Message {
        self.messaging.get(&self.tenant.name, message.id).await.unwrap()
    }

    async fn callback(&self, message: &Message) -> Callback {
        self.get(message).await.callback.unwrap()
    }

    async fn until_ended(&self, message: &Message, status: SendStatus) -> Message {
        eventually(async || {
            let message = self.get(message).await;
            (message.sending.status == status).then_some(message)
        })
        .await
    }

    async fn until(&self, message: &Message, stage: Stage) -> Callback {
        eventually(async || {
            let callback = self.callback(message).await;
            assert!(callback.stage == stage || callback.next_at.is_some() || callback.attempts == 0, "{callback:?}");
            (callback.stage == stage).then_some(callback)
        })
        .await
    }

    /// Waits until so many calls were made and the last of them is settled: the next one, if any, is then not due with
    /// the end of a lease.
    async fn until_called(&self, message: &Message, attempts: u8) -> Callback {
        eventually(async || {
            let callback = self.callback(message).await;
            let lease = Some(self.clock.now() + self.lease);
            (callback.attempts == attempts && callback.next_at != lease && self.store.is_idle()).then_some(callback)
        })
        .await
    }

    /// Lets whatever may be under way come to its end.
    async fn settle(&self) {
        for _ in 0..200 {
            tokio::task::yield_now().await;
        }
        eventually(async || self.store.is_idle().then_some(())).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

fn callback(url: &str) -> NewCallback {
    NewCallback { kind: "test", url: CallbackUrl::new(url), context: Context::default() }
}

async fn receiver() -> VendorServer {
    VendorServer::start(|_| Answer::new(200, "ok")).await
}

fn statuses(requests: &[Recorded]) -> Vec<&str> {
    requests.iter().map(|it| it.target.split("&s=").nth(1).unwrap().split('&').next().unwrap()).collect()
}

// === telling ===

#[tokio::test]
async fn a_receiver_is_told_once_how_its_message_ended() {
    let (house, server) = (House::new().await, receiver().await);
    let url = format!("{}/dlr?key=a%20b", server.url());
    let message = house.send(DELIVERED, &url).await;
    let told = house.until(&message, Stage::Told).await;
    assert_eq!((told.attempts, told.next_at, told.ended_at), (1, None, Some(START)));
    let requests = server.requests();
    let target = format!("/dlr?key=a%20b&id={}&s=Delivered&t=2026-11-22T05%3A16%3A00.125Z", message.id);
    assert_eq!((requests[0].method.as_str(), &requests[0].target), ("GET", &target));
    // Nor later, nor by another process.
    house.clock.advance(23 * HOUR);
    let house = house.restart().await;
    house.clock.advance(HOUR);
    house.settle().await;
    assert_eq!(server.requests().len(), 1);

    let message = house.send_with(&server.url(), Context::from([("manner", "post".to_owned())])).await;
    house.until(&message, Stage::Told).await;
    let request = &server.requests()[1];
    assert_eq!(request.json(), json!({ "id": message.id.to_string(), "status": "Delivered" }));
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/"));
    assert_eq!(request.header("content-type"), Some("application/json; charset=utf-8"));
}

#[tokio::test]
async fn every_end_is_told_and_nothing_before_it() {
    let (house, server) = (House::new().await, receiver().await);
    let ended = async |message: Message, status: SendStatus| {
        house.until_ended(&message, status).await;
        house.until(&message, Stage::Told).await;
        let requests = server.requests();
        assert_eq!(*statuses(&requests).last().unwrap(), format!("{status:?}"));
        requests.len()
    };
    assert_eq!(ended(house.send(FAILED, &server.url()).await, SendStatus::Undelivered).await, 1);
    assert_eq!(ended(house.send(REJECTED, &server.url()).await, SendStatus::Rejected).await, 2);

    let sent = house.send(LATE, &server.url()).await;
    house.until_ended(&sent, SendStatus::Sent).await;
    let doubted = house.send(UNKNOWN, &server.url()).await;
    house.until_ended(&doubted, SendStatus::Unknown).await;
    let later =
        NewMessage { send_at: Some(START + HOUR), callback: Some(callback(&server.url())), ..text_to(number(9)) };
    let queued = house.send_new(later).await.unwrap();
    for message in [&sent, &doubted, &queued] {
        assert_eq!(house.callback(message).await.stage, Stage::Waiting);
    }
    house.messaging.cancel(&house.tenant.name, queued.id).await.unwrap();
    assert_eq!(ended(queued, SendStatus::Canceled).await, 3);
    house.clock.advance(30 * SECOND);
    assert_eq!(ended(sent, SendStatus::Delivered).await, 4);
    house.clock.advance(24 * HOUR);
    assert_eq!(ended(doubted, SendStatus::Expired).await, 5);
}

#[tokio::test]
async fn a_callback_costs_two_commits_and_messages_without_one_nothing() {
    let (house, server) = (House::new().await, receiver().await);
    let commits = async |message: Message, before: usize| {
        house.until_ended(&message, SendStatus::Delivered).await;
        if message.callback.is_some() {
            house.until(&message, Stage::Told).await;
        }
        house.settle().await;
        house.store.work().commits - before
    };
    let before = house.store.work().commits;
    assert_eq!(commits(house.send_new(text_to(number(DELIVERED))).await.unwrap(), before).await, 2);
    assert_eq!(commits(house.send(DELIVERED, &server.url()).await, before + 2).await, 4);
}

// === telling again ===

#[tokio::test]
async fn a_call_that_is_not_taken_is_made_again_until_it_is() {
    let (house, server) = (House::new().await, receiver().await);
    let elsewhere = receiver().await;
    let answers = [
        Answer::new(500, "no"),
        Answer::new(404, "no"),
        Answer::new(302, "no").with_header("location", elsewhere.url()),
        Answer::new(401, "no"),
    ];
    server.set_fault(Fault::Answer(answers[0].clone())).await;
    let message = house.send(DELIVERED, &server.url()).await;
    let waits = [10, 60, 300, 900].map(Duration::from_secs);
    for (turn, wait) in (1..).zip(waits) {
        let called = house.until_called(&message, turn).await;
        assert_eq!((called.stage, server.requests().len()), (Stage::Due, usize::from(turn)));
        let next_at = called.next_at.unwrap();
        let waited = next_at.since(house.clock.now());
        assert!(wait / 2 <= waited && waited <= wait, "{waited:?} after call {turn}");
        let next = answers.get(usize::from(turn)).cloned().unwrap_or(Answer::new(299, "well"));
        server.set_fault(Fault::Answer(next)).await;
        // Not a moment sooner.
        house.clock.set(Timestamp::from_millis(next_at.as_millis() - 1));
        house.settle().await;
        assert_eq!(server.requests().len(), usize::from(turn));
        house.clock.set(next_at);
    }
    assert_eq!(house.until(&message, Stage::Told).await.attempts, 5);
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.target == requests[0].target), "each says the same");
    assert_eq!(elsewhere.requests(), [], "redirects are not followed");
}

#[tokio::test]
async fn a_receiver_is_called_ten_times_and_no_more() {
    let (house, server) = (House::new().await, receiver().await);
    server.set_fault(Fault::ServerError).await;
    let message = house.send(DELIVERED, &server.url()).await;
    for turn in 1..10 {
        house.clock.set(house.until_called(&message, turn).await.next_at.unwrap());
    }
    let given_up = house.until(&message, Stage::GivenUp).await;
    assert_eq!((given_up.attempts, given_up.next_at, server.requests().len()), (10, None, 10));
    server.set_fault(None).await;
    let house = house.restart().await;
    house.clock.advance(5 * HOUR);
    house.settle().await;
    assert_eq!(server.requests().len(), 10);
}

#[tokio::test]
async fn a_receiver_says_when_to_come_again_or_not_to() {
    let (house, server) = (House::new().await, receiver().await);
    server.set_fault(Fault::Answer(Answer::new(503, "").with_header("retry-after", "7200"))).await;
    let patient = house.send(DELIVERED, &server.url()).await;
    assert_eq!(house.until_called(&patient, 1).await.next_at, Some(START + 2 * HOUR));
    server.set_fault(Fault::Answer(Answer::new(429, "").with_header("retry-after", "100000"))).await;
    let endless = house.send(DELIVERED, &server.url()).await;
    house.until(&endless, Stage::GivenUp).await;
    server.set_fault(Fault::Answer(Answer::new(410, "gone"))).await;
    let gone = house.send(DELIVERED, &server.url()).await;
    assert_eq!(house.until(&gone, Stage::GivenUp).await.attempts, 1);
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn nobody_is_told_after_the_retention_and_a_message_is_kept_until_then() {
    let minute = 60 * SECOND;
    let terms = Terms { retention: HOUR, ..Terms::default() };
    let (house, server) = (House::on(terms).await, receiver().await);
    server.set_fault(Fault::ServerError).await;
    let callback = Some(callback(&server.url()));
    let new = NewMessage { validity: Some(minute), callback, ..text_to(number(VERY_LATE)) };
    let message = house.send_new(new).await.unwrap();
    house.until_ended(&message, SendStatus::Sent).await;
    house.clock.advance(50 * minute);
    let ended_at = START + 50 * minute;
    let mut turn = 0;
    let given_up = loop {
        turn += 1;
        let called = house.until_called(&message, turn).await;
        let Some(next_at) = called.next_at else { break called };
        house.clock.set(next_at);
    };
    assert_eq!((given_up.stage, given_up.attempts > 4, given_up.attempts < 8), (Stage::GivenUp, true, true));
    // It was there to be told of for longer than it would have been without.
    assert!(house.clock.now() > START + HOUR + minute, "{}", house.clock.now());
    house.clock.set(Timestamp::from_millis((ended_at + HOUR).as_millis() - 1));
    house.get(&message).await;
    house.clock.set(ended_at + HOUR);
    assert!(house.messaging.get(&house.tenant.name, message.id).await.is_err());
}

// === receivers that misbehave ===

#[tokio::test]
async fn slow_receivers_hold_up_neither_messages_nor_other_receivers() {
    let terms = Terms::with(&[("TIMEOUT", "30s"), ("PER_RECEIVER", "2"), ("CONCURRENCY", "16")]);
    let house = House::on(terms).await;
    let (stuck, well) = (receiver().await, receiver().await);
    stuck.set_fault(Fault::Silence).await;
    for _ in 0..20 {
        house.send(DELIVERED, &stuck.url()).await;
    }
    eventually(async || (stuck.requests().len() == 2).then_some(())).await;
    // Late ones go by the same worker, which has one place.
    let message = house.send(LATE, &well.url()).await;
    house.until_ended(&message, SendStatus::Sent).await;
    house.clock.advance(30 * SECOND);
    house.until(&message, Stage::Told).await;
    let new = NewMessage { send_at: Some(house.clock.now() + SECOND), ..text_to(number(DELIVERED)) };
    let scheduled = house.send_new(new).await.unwrap();
    house.clock.advance(SECOND);
    house.until_ended(&scheduled, SendStatus::Delivered).await;
    assert_eq!(stuck.requests().len(), 2);
}

#[tokio::test]
async fn those_who_wait_for_a_receiver_are_served_in_turn() {
    let (house, server) = (House::on(Terms::with(&[("PER_RECEIVER", "1")])).await, receiver().await);
    let mut messages = Vec::new();
    for last in 100..130 {
        messages.push(house.send(last, &server.url()).await);
    }
    for message in &messages {
        house.until(message, Stage::Told).await;
    }
    assert_eq!(server.requests().len(), 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_for_whom_there_is_no_room_to_wait_come_again() {
    let terms = Terms::with(&[("TIMEOUT", "60s")]);
    let (house, server) = (House::on(terms).await, receiver().await);
    let sent = 500 + 20;
    let sending = (0..sent).map(|last| {
        let (callback, send_at) = (Some(callback(&server.url())), Some(START + HOUR));
        house.send_new(NewMessage { callback, send_at, ..text_to(number(100 + last % 800)) })
    });
    let messages: Vec<_> = join_all(sending).await.into_iter().map(Result::unwrap).collect();
    server.set_fault(Fault::Silence).await;
    let canceling = messages.iter().map(|message| house.messaging.cancel(&house.tenant.name, message.id));
    join_all(canceling).await.into_iter().for_each(|canceled| drop(canceled.unwrap()));
    let put_off = async || {
        let mut count = 0;
        for message in &messages {
            let callback = house.callback(message).await;
            count += usize::from(callback.attempts == 0 && callback.next_at > Some(house.clock.now()));
        }
        count
    };
    eventually(async || (put_off().await == 20).then_some(())).await;
    // Hangs up on the one that it had, and serves the others.
    server.set_fault(Fault::Refuse).await;
    server.set_fault(None).await;
    for message in &messages {
        eventually(async || {
            let callback = house.callback(message).await;
            // A call under way has more time than that.
            let put_off = |at: &Timestamp| at.since(house.clock.now()) <= 60 * SECOND;
            callback.next_at.filter(put_off).into_iter().for_each(|at| house.clock.set(at.max(house.clock.now())));
            (callback.stage == Stage::Told).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn receivers_that_do_not_answer_are_called_again() {
    let (house, server) = (House::on(Terms::impatient()).await, receiver().await);
    server.set_fault(Fault::Silence).await;
    let message = house.send(DELIVERED, &server.url()).await;
    for (turn, next) in (1..).zip([Some(Fault::Reset), Some(Fault::Refuse), Some(Fault::BlackHole), None]) {
        let called = house.until_called(&message, turn).await;
        assert_eq!(called.stage, Stage::Due);
        server.set_fault(next).await;
        house.clock.set(called.next_at.unwrap());
    }
    assert_eq!(house.until(&message, Stage::Told).await.attempts, 5);
}

// === whom and what ===

#[tokio::test]
async fn urls_that_nobody_may_be_sent_to_are_refused_at_once() {
    let house = House::new().await;
    for (url, wanted) in [
        ("", "must be 1 to 2048 bytes, but is 0"),
        (&format!("https://example.com/{}", "x".repeat(2048)), "must be 1 to 2048 bytes, but is 2068"),
        ("example.com/hook", "must be a URL such as https://example.com/callback"),
        ("ftp://example.com/", "must begin with http:// or https://"),
        ("https://user:hunter2@example.com/", "must not hold a user name or password"),
        (
            "http://example.com:22/",
            "must have a port that the configuration allows, usually 80, 443 or one from 1024 on",
        ),
        ("http://169.254.169.254/", "must lead to a public address, or to one that the configuration allows"),
        ("http://[::1]:8080/", "must lead to a public address, or to one that the configuration allows"),
    ] {
        let new = NewMessage { callback: Some(callback(url)), ..text_to(number(DELIVERED)) };
        let error = house.send_new(new).await.unwrap_err();
        let found: Vec<_> = error.violations().iter().map(|it| (it.field.as_str(), it.description.as_str())).collect();
        assert_eq!(found, [("callback.url", wanted)]);
    }
    assert_eq!(house.store.work().commits, 1, "only the keys' secret");
}

#[tokio::test]
async fn a_name_that_leads_inside_is_found_out_when_it_is_called() {
    let strict = || Terms::with(&[("ALLOW", "[]")]);
    let (house, server) = (House::on(strict()).await, receiver().await);
    let url = server.url().replace("127.0.0.1", "localhost");
    let message = house.send(DELIVERED, &url).await;
    let called = house.until_called(&message, 1).await;
    assert_eq!(called.stage, Stage::Due, "the name may lead elsewhere tomorrow");
    // What an earlier configuration let in is judged by that of now.
    let house = house.restart_on(Terms::default()).await;
    let messages = [house.send(UNKNOWN, &url).await, house.send(UNKNOWN, &server.url()).await];
    for message in &messages {
        house.until_ended(message, SendStatus::Unknown).await;
    }
    let house = house.restart_on(strict()).await;
    house.clock.advance(24 * HOUR);
    for message in &messages {
        house.until_ended(message, SendStatus::Expired).await;
        assert_eq!(house.until_called(message, 1).await.stage, Stage::Due);
    }
    assert_eq!(server.requests(), []);
}

#[tokio::test]
async fn a_dialect_may_have_no_words_or_be_gone() {
    let (house, server) = (House::new().await, receiver().await);
    let manner = |manner: &str| Context::from([("manner", manner.to_owned())]);
    let silent = house.send_with(&server.url(), manner("silent")).await;
    house.until(&silent, Stage::Told).await;
    let broken = house.send_with(&server.url(), manner("broken")).await;
    assert_eq!(house.until_called(&broken, 1).await.stage, Stage::Due);
    let other = receiver().await;
    let context = Context::from([("manner", "elsewhere".to_owned()), ("url", other.url())]);
    let elsewhere = house.send_with(&server.url(), context).await;
    assert_eq!(house.until_called(&elsewhere, 1).await.stage, Stage::Due);
    assert_eq!((server.requests(), other.requests()), (vec![], vec![]));

    let house = house.restart_on(Terms { writers: CallbackWriters::default(), ..Terms::default() }).await;
    let gone = house.send(DELIVERED, &server.url()).await;
    assert_eq!(house.until(&gone, Stage::GivenUp).await.attempts, 1);
    assert_eq!(server.requests(), []);
}

#[tokio::test]
async fn a_request_that_comes_again_tells_its_receiver_once() {
    let (house, server) = (House::new().await, receiver().await);
    let new = |url: String| NewMessage {
        callback: Some(callback(&url)),
        idempotency_key: Some("key".to_owned()),
        ..text_to(number(DELIVERED))
    };
    let first = house.send_new(new(server.url())).await.unwrap();
    house.until(&first, Stage::Told).await;
    assert_eq!(house.send_new(new(server.url())).await.unwrap().id, first.id);
    let mut others = vec![new(format!("{}/other", server.url()))];
    let mut other = new(server.url());
    other.callback.as_mut().unwrap().context = Context::from([("a", "b".to_owned())]);
    others.push(other);
    others.push(NewMessage { callback: None, ..new(String::new()) });
    for other in others {
        let error = house.send_new(other).await.unwrap_err();
        assert_eq!(error.reason(), Reason::IdempotencyMismatch);
    }
    house.settle().await;
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn neither_logs_nor_metrics_nor_debug_output_show_a_url() {
    let log = Log::start("trace");
    let metrics = telemetry::start_metrics().unwrap();
    let (house, server) = (House::on(Terms::impatient()).await, receiver().await);
    let url = |path: &str| format!("{}/canary-path{path}?token=canary-query", server.url());
    let context = Context::from([("ref", "canary-context".to_owned())]);
    for fault in [None, Some(Fault::ServerError), Some(Fault::Silence), Some(Fault::Refuse)] {
        server.set_fault(fault).await;
        let message = house.send_with(&url(""), context.clone()).await;
        let callback = house.until_called(&message, 1).await;
        let new = NewMessage { callback: Some(self::callback(&url(""))), ..text_to(number(DELIVERED)) };
        let shown = format!("{message:?} {callback:?} {new:?}");
        assert!(!shown.contains("canary"), "{shown}");
    }
    let refused = NewMessage { callback: Some(callback("ftp://canary-host/")), ..text_to(number(DELIVERED)) };
    let error = house.send_new(refused).await.unwrap_err();
    assert!(!format!("{error:?}").contains("canary"));
    let logged = String::from_utf8(log.bytes()).unwrap();
    assert!(logged.contains("a receiver did not take a call") && !logged.contains("canary"), "{logged}");
    let page = metrics.render();
    for outcome in ["taken", "refused", "unanswered"] {
        assert!(page.contains(&format!("verigate_callback_calls_total{{outcome=\"{outcome}\"}}")), "{page}");
    }
    assert!(page.contains("verigate_callbacks_total{outcome=\"told\"}") && !page.contains("canary"));
    assert!(!page.contains("127.0.0.1:"), "no receiver is a label");
}

// === a process that dies ===

#[tokio::test]
async fn calls_that_a_process_left_open_are_made_by_the_next() {
    // The message ended, but nobody called.
    let (house, server) = (House::new().await, receiver().await);
    server.set_fault(Fault::ServerError).await;
    let waiting = house.send(DELIVERED, &server.url()).await;
    let next_at = house.until_called(&waiting, 1).await.next_at.unwrap();
    let house = house.restart().await;
    server.set_fault(None).await;
    house.settle().await;
    assert_eq!(server.requests().len(), 1);
    house.clock.set(next_at);
    assert_eq!(house.until(&waiting, Stage::Told).await.attempts, 2);

    // Somebody called, but what came of it is not known.
    server.set_fault(Fault::Silence).await;
    let open = house.send(DELIVERED, &server.url()).await;
    eventually(async || (server.requests().len() == 3).then_some(())).await;
    let house = house.restart().await;
    server.set_fault(None).await;
    house.settle().await;
    assert_eq!((house.callback(&open).await.attempts, server.requests().len()), (1, 3), "it may still be under way");
    house.clock.advance(house.lease);
    assert_eq!(house.until(&open, Stage::Told).await.attempts, 2);
    assert_eq!(server.requests().len(), 4);
}

#[tokio::test]
async fn a_call_whose_maker_was_killed_is_made_again() {
    let server = receiver().await;
    server.set_fault(Fault::Silence).await;
    let place = TempDir::new().unwrap();
    let mut first = child::start(place.path(), Some(&server.url()), START);
    eventually(async || (server.requests().len() == 1).then_some(())).await;
    first.kill().unwrap();
    first.wait().unwrap();
    server.set_fault(None).await;
    let mut second = child::start(place.path(), None, START + HOUR);
    eventually(async || (server.requests().len() == 2).then_some(())).await;
    second.kill().unwrap();
    second.wait().unwrap();
    let requests = server.requests();
    assert_eq!(requests[0].target, requests[1].target, "of the same message");
}
