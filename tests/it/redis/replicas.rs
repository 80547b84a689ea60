//! Durability "strict" where there are replicas: what they do not have is not acknowledged.

use verigate::error::Kind;
use verigate::id::Partition;
use verigate::store::{Batch, Key, Store};

use crate::redis::opening::open;
use crate::support::gateway::eventually;
use crate::support::redis_server::{DURABLE, RedisServer, single};

const HERE: Partition = Partition::new(7);

fn put(name: &str) -> Batch {
    Batch::new(HERE).put(Key::new(HERE, name.as_bytes()), b"value".to_vec(), None)
}

/// A server and its replica, both with these settings beside their own.
fn pair() -> (RedisServer, RedisServer) {
    let master = RedisServer::start(DURABLE);
    let replica = RedisServer::start(&[DURABLE, &["--replicaof", "127.0.0.1", &master.port.to_string()]].concat());
    replica.wait_until("it follows", |replica| replica.cli(&["ROLE"]).contains("connected"));
    (master, replica)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_no_replica_has_is_not_acknowledged() {
    let (master, replica) = pair();
    let settings = "replicas = 1\nreplica_timeout = \"2s\"\ntimeout = \"5s\"";
    let store = open(&format!("{}\n{settings}", single(&master))).await.unwrap();
    for number in 0..50 {
        store.commit(put(&format!(".{number}"))).await.unwrap();
        let keys: u32 = replica.cli(&["DBSIZE"]).trim().parse().unwrap();
        // Beside the records there are the version and the index of the partition.
        assert!(keys >= number + 3, "{keys} keys there after {number} commits");
    }
    replica.pause();
    let error = store.commit(put(".alone")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(format!("{error:?}").contains("0 of 1 replicas had the commit within 2s"), "{error:?}");
    eventually(async || store.ready().err()).await;
    assert!(store.get(&Key::new(HERE, *b".1")).await.unwrap().is_some(), "reads go on");
    replica.resume();
    eventually(async || store.ready().ok()).await;
    store.commit(put(".again")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_that_wait_for_a_replica_do_not_wait_for_each_other() {
    let (master, _replica) = pair();
    let settings = "replicas = 1\nconnections = 8\nreplica_timeout = \"8s\"\ntimeout = \"10s\"";
    let store = std::sync::Arc::new(open(&format!("{}\n{settings}", single(&master))).await.unwrap());
    let commits = (0..200).map(|number| {
        let store = std::sync::Arc::clone(&store);
        tokio::spawn(async move { store.commit(put(&format!(".{number}"))).await.map(drop) })
    });
    for commit in futures_util::future::join_all(commits).await {
        commit.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_its_replicas_is_warned_of_and_takes_no_commits() {
    let master = RedisServer::start(DURABLE);
    let settings = "replicas = 1\nreplica_timeout = \"100ms\"";
    let store = open(&format!("{}\n{settings}", single(&master))).await.unwrap();
    assert!(store.warnings()[0].contains("it has 0 of the 1 replicas"), "{:?}", store.warnings());
    assert_eq!(store.commit(put(".key")).await.unwrap_err().kind(), Kind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_must_have_it_on_disk_need_a_server_that_can_tell() {
    let settings = "replicas = 1\nreplica_fsync = true\nreplica_timeout = \"4s\"\ntimeout = \"5s\"";
    // Debian's is too old for that as yet, and one day it is not.
    let (old, _replica) = pair();
    let version = old.cli(&["INFO", "server"]);
    let version = version.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap().trim().to_owned();
    if version.as_str() < "7.2" {
        let told = open(&format!("{}\n{settings}", single(&old))).await.err().unwrap();
        assert!(told.message().contains(&format!("version {version:?}, but 7.2 or later is needed")), "{told:?}");
    }

    let master = RedisServer::start_valkey(DURABLE);
    let port = master.port.to_string();
    let replica = RedisServer::start_valkey(&[DURABLE, &["--replicaof", "127.0.0.1", &port]].concat());
    replica.wait_until("it follows", |replica| replica.cli(&["ROLE"]).contains("connected"));
    let store = open(&format!("{}\n{settings}", single(&master))).await.unwrap();
    store.commit(put(".key")).await.unwrap();
    replica.pause();
    let refused = format!("{:?}", store.commit(put(".alone")).await.unwrap_err());
    assert!(refused.contains("0 of 1 replicas had the commit"), "{refused}");
    replica.resume();
    eventually(async || store.commit(put(".again")).await.ok()).await;
}
