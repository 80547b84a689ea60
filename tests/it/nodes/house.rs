//! Nodes on one store, each with a line to it of its own, which can be held up or cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::watch;
use verigate::clock::ManualClock;
use verigate::error::Result;
use verigate::id::Partition;
use verigate::random::OsRandom;
use verigate::store::seal::{KeyRing, SealedStore};
use verigate::store::sled::{Config as StoreConfig, SledStore};
use verigate::store::{Batch, Commit, Key, Prefix, Record, Store, Version, Write};

use crate::support::gateway::{CONFIG, Gateway, START, eventually};
use crate::support::odd_store::died;
use crate::support::vendor_server::{Answer, Recorded, VendorServer};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// By so much time passes at a time, so that every node keeps up.
const STEP: Duration = Duration::from_millis(250);

/// A store for nodes.
pub(crate) struct House {
    pub(crate) clock: ManualClock,
    pub(crate) store: Arc<dyn Store>,
    config: String,
    /// What is asked of the store and not answered yet.
    asked: Arc<AtomicUsize>,
    _place: TempDir,
}

/// A node.
pub(crate) struct Node {
    pub(crate) gateway: Gateway,
    line: watch::Sender<State>,
}

/// How a node's line to the store is. What is committed is committed in any case but one: only answers wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    /// No answer comes: the process stands still wherever it needs one.
    Held,
    /// No answer comes to the commit of a message or a verification.
    HeldOnRecords,
    /// The process stands still right before it commits anything.
    Stopped,
    /// The process stands still right before it commits a message or a verification.
    StoppedBeforeRecords,
    /// The process dies with the next commit of a message or a verification, before it.
    CutOnRecords,
    /// Nothing gets through any more: the process is dead.
    Cut,
}

struct Line {
    store: Arc<dyn Store>,
    state: watch::Receiver<State>,
    asked: Arc<AtomicUsize>,
}

/// Something is being asked.
struct Asking<'a>(&'a AtomicUsize);

// === impl House ===

impl House {
    pub(crate) fn with(config: &str) -> Self {
        let place = TempDir::new().unwrap();
        let clock = ManualClock::new(START);
        let files = StoreConfig { path: place.path().join("data"), ..StoreConfig::default() };
        let sled = SledStore::open(&files, Arc::new(clock.clone())).unwrap();
        let ring = KeyRing::parse(&format!("1:{}\n", "A".repeat(43) + "=")).unwrap();
        let store = Arc::new(SealedStore::new(Arc::new(sled), ring, Arc::new(OsRandom)));
        Self { clock, store, config: config.to_owned(), asked: Arc::default(), _place: place }
    }

    /// With one vendor, which is called at this server.
    pub(crate) fn calling(vendor: &VendorServer, more: &str) -> Self {
        Self::with(&calling(vendor, more))
    }

    pub(crate) async fn node(&self) -> Node {
        self.node_with(&self.config).await
    }

    pub(crate) async fn node_with(&self, config: &str) -> Node {
        let (line, store) = self.line();
        Node { gateway: Gateway::start_on(store, config, self.clock.clone()).await, line }
    }

    /// The store as a node sees it.
    pub(crate) fn line(&self) -> (watch::Sender<State>, Arc<dyn Store>) {
        line(&self.store, Arc::clone(&self.asked))
    }

    /// Asks until there is an answer, while time passes.
    pub(crate) async fn pass_until<T>(&self, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
        eventually(async || {
            let answer = ask().await;
            if answer.is_none() {
                self.pass(STEP).await;
            }
            answer
        })
        .await
    }

    /// Lets time pass, and every node do what it has to do by then.
    pub(crate) async fn pass(&self, time: Duration) {
        let mut passed = Duration::ZERO;
        while passed < time {
            self.clock.advance(STEP);
            passed += STEP;
            self.rest().await;
        }
    }

    /// Until nothing is asked of the store, for a while.
    async fn rest(&self) {
        let mut quiet = 0;
        while quiet < 50 {
            tokio::task::yield_now().await;
            quiet = if self.asked.load(Ordering::SeqCst) == 0 { quiet + 1 } else { 0 };
        }
    }

    /// The nodes' signs of life, another one with each renewal.
    pub(crate) async fn signs(&self) -> Vec<Version> {
        let nodes = Prefix::new(&b"_node"[..], Some(Partition::new(0)));
        self.store.all(&nodes).await.unwrap().into_iter().map(|(_, sign)| sign.version).collect()
    }

    /// Waits until so many nodes know of each other.
    pub(crate) async fn joined(&self, count: usize) {
        self.pass_until(async || (self.signs().await.len() == count).then_some(())).await;
        // And one look more.
        self.pass(5 * SECOND).await;
    }
}

// === impl Node ===

impl Node {
    pub(crate) fn set(&self, state: State) {
        self.line.send_replace(state);
    }

    /// Its process is dead from now on.
    pub(crate) fn die(self) {
        self.set(State::Cut);
    }
}

/// A line to a store; counts what is asked over it.
pub(crate) fn line(store: &Arc<dyn Store>, asked: Arc<AtomicUsize>) -> (watch::Sender<State>, Arc<dyn Store>) {
    let (line, state) = watch::channel(State::Open);
    (line, Arc::new(Line { store: Arc::clone(store), state, asked }))
}

// === impl Line ===

impl Line {
    async fn ask<T>(&self, question: impl Future<Output = T>) -> T {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let _asking = Asking(&self.asked);
        question.await
    }

    async fn answer<T>(&self, answer: Result<T>, waits: impl Fn(State) -> bool) -> Result<T> {
        let mut state = self.state.clone();
        if state.wait_for(|state| !waits(*state)).await.is_err() || *state.borrow() == State::Cut {
            return Err(died());
        }
        answer
    }

    fn check(&self) -> Result<()> {
        if *self.state.borrow() == State::Cut { Err(died()) } else { Ok(()) }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Store for Line {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        self.check()?;
        let answer = self.ask(self.store.get(key)).await;
        self.answer(answer, |state| state == State::Held).await
    }

    async fn scan(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        self.check()?;
        let answer = self.ask(self.store.scan(prefix, after, limit)).await;
        self.answer(answer, |state| state == State::Held).await
    }

    async fn commit(&self, batch: Batch) -> Result<Commit> {
        self.check()?;
        let is_record = |(key, _): &(Key, Write)| matches!(key.bytes().first(), Some(b'm' | b'v'));
        let is_of_record = batch.writes().iter().any(is_record);
        if is_of_record && *self.state.borrow() == State::CutOnRecords {
            return Err(died());
        }
        let mut state = self.state.clone();
        let goes_on = |state: &State| match state {
            State::Stopped => false,
            State::StoppedBeforeRecords => !is_of_record,
            _ => true,
        };
        drop(state.wait_for(goes_on).await.map_err(|_| died())?);
        self.check()?;
        let waits = |state| state == State::Held || (state == State::HeldOnRecords && is_of_record);
        let answer = self.ask(self.store.commit(batch)).await;
        self.answer(answer, waits).await
    }

    fn ready(&self) -> Result<()> {
        self.check()
    }

    fn is_shared(&self) -> bool {
        true
    }
}

/// A vendor that takes everything.
pub(crate) async fn vendor() -> VendorServer {
    VendorServer::start(|_| Answer::new(200, r#"{"id": "88ce9c6e"}"#)).await
}

/// The usual configuration with one vendor, which is called at this server.
pub(crate) fn calling(vendor: &VendorServer, more: &str) -> String {
    let (head, rest) = CONFIG.split_once("[vendors.inbox]").unwrap();
    let (_, tail) = rest.split_once("[[routes]]").unwrap();
    let ours = format!(
        r#"[vendors.inbox]
kind = "http"
channels = ["sms", "email"]
url = "{}/send"
json = {{ to = "{{recipient}}", text = "{{text}}" }}
answer = {{ id = "/id" }}
{more}
[[routes]]"#,
        vendor.url()
    );
    format!("{head}{ours}{tail}")
}

/// To whom the vendor was asked to send, in order.
pub(crate) fn recipients(requests: &[Recorded]) -> Vec<String> {
    requests.iter().map(|request| request.json()["to"].as_str().unwrap().to_owned()).collect()
}

/// The code that a vendor was asked to send last.
pub(crate) fn code(vendor: &VendorServer) -> String {
    let body: Value = vendor.requests().last().expect("a call").json();
    let text = body["text"].as_str().unwrap().to_owned();
    let runs = text.split(|c: char| !c.is_ascii_digit());
    runs.max_by_key(|run| run.len()).unwrap().to_owned()
}
