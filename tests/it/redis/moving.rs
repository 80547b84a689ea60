//! Slots of a Cluster that move from one server to another while the store is in use: nobody notices.

use std::sync::Arc;
use std::time::Duration;

use verigate::id::Partition;
use verigate::store::redis::RedisStore;
use verigate::store::{Batch, Commit, Key, Prefix, Store, Version};

use crate::redis::opening::open;
use crate::support::redis_server::{Cluster, RedisServer, cluster};

const HERE: Partition = Partition::new(7);

fn key(number: u32) -> Key {
    Key::new(HERE, format!(".{number:03}").into_bytes())
}

/// Reads and changes each of some records, and reads them all again by a scan.
async fn work(store: &RedisStore, count: u32) {
    for number in 0..count {
        let read = store.get(&key(number)).await.unwrap();
        let version = read.as_ref().map_or(Version(0), |read| read.version);
        let change = Batch::new(HERE).require(&key(number), read.as_ref()).put(key(number), vec![1], None);
        let Commit::Committed(next) = store.commit(change).await.unwrap() else { panic!("nobody else writes") };
        assert!(next > version);
    }
    let rows = store.scan(&Prefix::new(*b".", None), None, 1_000).await.unwrap();
    assert_eq!(rows.len(), count as usize);
}

fn id(server: &RedisServer) -> String {
    server.cli(&["CLUSTER", "MYID"]).trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_may_move_while_it_is_used() {
    let cluster_of_six = Cluster::start(Duration::from_secs(15));
    let store = Arc::new(open(&cluster(&cluster_of_six)).await.unwrap());
    work(&store, 40).await;

    let any = cluster_of_six.master();
    let prefix = {
        let with_index = |server: &RedisServer| server.cli(&["KEYS", "*:07}index"]).trim().to_owned();
        cluster_of_six.servers.iter().map(with_index).find(|key| !key.is_empty()).unwrap()
    };
    let slot = any.cli(&["CLUSTER", "KEYSLOT", &prefix]).trim().to_owned();
    let from = cluster_of_six.owner(slot.parse().unwrap());
    let to = cluster_of_six
        .servers
        .iter()
        .find(|server| server.port != from.port && server.cli(&["ROLE"]).starts_with("master"));
    let to = to.unwrap();
    to.cli(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(from)]);
    from.cli(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(to)]);

    // While some keys are here and some there, a commit of several is refused, and tried until they are together.
    let mover = std::thread::spawn({
        let (from_port, to_port, slot) = (from.port, to.port, slot.clone());
        move || loop {
            let keys = crate::support::redis_server::cli(from_port, &["CLUSTER", "GETKEYSINSLOT", &slot, "5"]);
            let keys: Vec<_> = keys.lines().filter(|key| !key.is_empty()).collect();
            if keys.is_empty() {
                return;
            }
            let port = to_port.to_string();
            let moved = [&["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"], keys.as_slice()].concat();
            let told = crate::support::redis_server::cli(from_port, &moved);
            assert!(told.starts_with("OK") || told.starts_with("NOKEY"), "{told}");
        }
    });
    let moving = Arc::clone(&store);
    let read = tokio::spawn(async move {
        for number in 0..40 {
            assert!(moving.get(&key(number)).await.unwrap().is_some(), "{number}");
        }
    });
    read.await.unwrap();
    tokio::task::spawn_blocking(move || mover.join().unwrap()).await.unwrap();
    // All are there, and the slot is still said to be here.
    work(&store, 40).await;

    for server in [to, from] {
        server.cli(&["CLUSTER", "SETSLOT", &slot, "NODE", &id(to)]);
    }
    work(&store, 40).await;
    assert!(to.cli(&["KEYS", &prefix]).contains(&prefix));
}
