//! The index that scans go by: what it leaves out, and how it is rid of what the server has forgotten.

use verigate::id::Partition;
use verigate::store::{Batch, Key, Prefix, Store};

use crate::redis::opening::open;
use crate::support::redis_server::{DURABLE, RedisServer, single};

const HERE: Partition = Partition::new(7);

async fn put(store: &dyn Store, name: &str) {
    let key = Key::new(HERE, name.as_bytes());
    store.commit(Batch::new(HERE).put(key, b"value".to_vec(), None)).await.unwrap();
}

/// Keys of this server that end so.
fn keys(server: &RedisServer, pattern: &str) -> Vec<String> {
    server.cli(&["KEYS", pattern]).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_of_forgotten_records_go_with_a_scan_or_a_sweep() {
    let server = RedisServer::start(DURABLE);
    let store = open(&single(&server)).await.unwrap();
    for number in 0..500 {
        put(&store, &format!(".{number:03}")).await;
    }
    let index = keys(&server, "*:07}index").remove(0);
    let size = || server.cli(&["ZCARD", &index]).trim().to_owned();
    assert_eq!(size(), "500");
    // As when they expire.
    let record = |name: &str| index.replace("index", &format!(":{name}"));
    for name in [".000", ".250", ".499"] {
        assert_eq!(server.cli(&["DEL", &record(name)]).trim(), "1");
    }
    let rows = store.scan(&Prefix::new(*b".", Some(HERE)), None, 2).await.unwrap();
    assert_eq!(rows[0].0.bytes(), b".001");
    assert_eq!((rows.len(), &*size()), (2, "499"), "the scan has seen the first of them");
    assert_eq!(store.sweep().await.unwrap(), 2);
    assert_eq!(size(), "497");
    assert_eq!(store.scan(&Prefix::new(*b".", None), None, 1_000).await.unwrap().len(), 497);
    assert_eq!(store.sweep().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_ends_on_the_server_a_minute_after_its_end() {
    let server = RedisServer::start(DURABLE);
    let store = open(&single(&server)).await.unwrap();
    let key = Key::new(HERE, *b".ends");
    let expires_at = store.clock().now() + std::time::Duration::from_secs(100);
    store.commit(Batch::new(HERE).put(key, b"value".to_vec(), Some(expires_at))).await.unwrap();
    put(&store, ".stays").await;
    let left = |name: &str| server.cli(&["TTL", &keys(&server, &format!("*:{name}"))[0]]).trim().to_owned();
    assert!(["159", "160"].contains(&&*left(".ends")), "{}", left(".ends"));
    assert_eq!(left(".stays"), "-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_goes_through_is_in_no_index() {
    let server = RedisServer::start(DURABLE);
    let store = open(&single(&server)).await.unwrap();
    // The counters of a recipient, as `space` calls them.
    put(&store, "r-counters").await;
    assert_eq!(keys(&server, "*index"), [""; 0]);
    put(&store, "v-verification").await;
    assert_eq!(keys(&server, "*index").len(), 1);
    store.commit(Batch::new(HERE).delete(Key::new(HERE, *b"r-counters"))).await.unwrap();
    store.commit(Batch::new(HERE).delete(Key::new(HERE, *b"v-verification"))).await.unwrap();
    assert_eq!(keys(&server, "*index"), [""; 0]);
    assert_eq!(keys(&server, "*:07}:*"), [""; 0]);
}
