//! Servers that hang, die, take no writes or forget: calls are refused within a bound, and work again by themselves.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use verigate::error::{Kind, Reason};
use verigate::id::Partition;
use verigate::store::redis::RedisStore;
use verigate::store::{Batch, Commit, Key, Store};

use crate::redis::opening::open;
use crate::support::gateway::eventually;
use crate::support::redis_server::{DURABLE, RedisServer, single};

const HERE: Partition = Partition::new(7);

/// Longer than a call may take by the settings here, shorter than anybody would wait.
const PATIENCE: Duration = Duration::from_secs(15);

async fn start() -> (RedisServer, Arc<RedisStore>) {
    let server = RedisServer::start(DURABLE);
    let store = open(&format!("{}\ntimeout = \"1500ms\"\nreplica_timeout = \"500ms\"", single(&server))).await.unwrap();
    (server, Arc::new(store))
}

fn key(name: &str) -> Key {
    Key::new(HERE, name.as_bytes())
}

async fn put(store: &dyn Store, name: &str, size: usize) -> verigate::error::Result<Commit> {
    let put = store.commit(Batch::new(HERE).put(key(name), vec![b'x'; size], None));
    timeout(PATIENCE, put).await.expect("an answer within a bound")
}

/// Waits until commits work, as whoever tries again does.
async fn back(store: &dyn Store) {
    eventually(async || put(store, ".back", 1).await.ok()).await;
    eventually(async || store.ready().ok()).await;
}

async fn is_refused(store: &dyn Store) {
    for name in [".one", ".two"] {
        let error = put(store, name, 1).await.unwrap_err();
        assert_eq!((error.kind(), error.reason()), (Kind::Unavailable, Reason::StoreUnavailable), "{error:?}");
        assert!(error.retry_after().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs() {
    let (server, store) = start().await;
    put(&*store, ".before", 1).await.unwrap();
    server.pause();
    is_refused(&*store).await;
    let read = timeout(PATIENCE, store.get(&key(".before"))).await.expect("an answer within a bound");
    assert_eq!(read.unwrap_err().kind(), Kind::Unavailable);
    eventually(async || store.ready().err()).await;
    // Many at once wait no longer than one.
    let many = (0..200).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { put(&*store, &format!(".{n}"), 1).await.is_err() })
    });
    for refused in timeout(PATIENCE, futures_util::future::join_all(many)).await.expect("within the bound of one") {
        assert!(refused.unwrap());
    }
    server.resume();
    back(&*store).await;
    assert!(store.get(&key(".before")).await.unwrap().is_some(), "nobody is told of an attempt of before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_and_comes_back() {
    let (mut server, store) = start().await;
    for n in 0..50 {
        put(&*store, &format!(".{n}"), 100).await.unwrap();
    }
    server.kill();
    is_refused(&*store).await;
    eventually(async || store.ready().err()).await;
    server.revive();
    back(&*store).await;
    for n in 0..50 {
        assert!(store.get(&key(&format!(".{n}"))).await.unwrap().is_some(), "{n} was acknowledged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_full() {
    let (server, store) = start().await;
    put(&*store, ".before", 1).await.unwrap();
    server.cli(&["CONFIG", "SET", "maxmemory", "1mb"]);
    eventually(async || put(&*store, ".more", 60_000).await.err()).await;
    is_refused(&*store).await;
    assert!(store.get(&key(".before")).await.unwrap().is_some(), "what is there can be read");
    let told = format!("{:?}", eventually(async || store.ready().err()).await);
    assert!(told.contains("OOM"), "{told}");
    server.cli(&["CONFIG", "SET", "maxmemory", "0"]);
    back(&*store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_made_a_replica() {
    let (server, store) = start().await;
    let other = RedisServer::start(DURABLE);
    put(&*store, ".before", 1).await.unwrap();
    server.cli(&["REPLICAOF", "127.0.0.1", &other.port.to_string()]);
    is_refused(&*store).await;
    server.cli(&["REPLICAOF", "NO", "ONE"]);
    back(&*store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_are_forgotten_are_given_again() {
    let (server, store) = start().await;
    for _ in 0..3 {
        server.cli(&["SCRIPT", "FLUSH"]);
        put(&*store, ".key", 1).await.unwrap();
    }
    server.cli(&["SCRIPT", "FLUSH"]);
    store.sweep().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_are_opened_again() {
    let (server, store) = start().await;
    for n in 0..20 {
        server.cli(&["CLIENT", "KILL", "TYPE", "normal"]);
        // One that was under way when its connection was cut is done or not; the next one is done.
        eventually(async || put(&*store, &format!(".{n}"), 1).await.ok()).await;
        assert!(store.get(&key(&format!(".{n}"))).await.unwrap().is_some());
    }
}
