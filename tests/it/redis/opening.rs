//! What a server must be before a store is opened on it, and how the store comes in: credentials, TLS, rights.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tempfile::TempDir;
use verigate::clock::{Clock, ManualClock, SystemClock, Timestamp};
use verigate::error::{Kind, Result};
use verigate::id::Partition;
use verigate::random::OsRandom;
use verigate::store::redis::RedisStore;
use verigate::store::{Batch, Commit, Condition, Key, Prefix, Store};

use crate::support::redis_server::{
    Cluster, DURABLE, RedisServer, cluster, fresh_prefix, redis_settings, shared_cluster, shared_server, single,
};

/// Rights that are enough, as the page on stores lists them.
const RIGHTS: &str = include_str!("../../../docs/stores.md");

pub(crate) async fn open(settings: &str) -> Result<RedisStore> {
    let settings = format!("{settings}\nprefix = \"{}\"", fresh_prefix());
    RedisStore::open(&redis_settings(&settings), Arc::new(SystemClock), Arc::new(OsRandom)).await
}

async fn refusal(settings: &str) -> String {
    let error = open(settings).await.err().expect("it must not be opened");
    error.message().to_owned()
}

/// Writes a key, finds it and deletes it.
async fn work(store: &dyn Store) {
    let place = Partition::new(3);
    let key = Key::new(place, *b".key");
    let batch = Batch::new(place).require_that(&key, Condition::Absent).put(key.clone(), b"value".to_vec(), None);
    assert!(matches!(store.commit(batch).await.unwrap(), Commit::Committed(_)));
    assert_eq!(store.get(&key).await.unwrap().unwrap().value, b"value");
    assert_eq!(store.scan(&Prefix::new(*b".", None), None, 10).await.unwrap().len(), 1);
    store.commit(Batch::new(place).delete(key)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_may_throw_records_away_is_refused() {
    let server = RedisServer::start(&[DURABLE, &["--maxmemory-policy", "allkeys-lru"]].concat());
    let told = refusal(&single(&server)).await;
    assert!(told.contains("maxmemory-policy is \"allkeys-lru\""), "{told}");
    let command = format!("redis-cli -h 127.0.0.1 -p {} CONFIG SET maxmemory-policy noeviction", server.port);
    assert!(told.contains(&command), "{told}");
    // What it says to do is enough.
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]);
    work(&open(&single(&server)).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_needs_a_server_that_keeps_what_it_acknowledges() {
    let server = RedisServer::start(&[]);
    let told = refusal(&single(&server)).await;
    assert!(told.contains("appendonly is \"no\"") && told.contains("CONFIG SET appendonly yes"), "{told}");
    server.cli(&["CONFIG", "SET", "appendonly", "yes"]);
    let told = refusal(&single(&server)).await;
    assert!(told.contains("appendfsync is \"everysec\"") && told.contains("CONFIG SET appendfsync always"), "{told}");
    server.cli(&["CONFIG", "SET", "appendfsync", "always"]);
    work(&open(&single(&server)).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn standard_warns_of_a_server_that_keeps_nothing() {
    let server = RedisServer::start(&[]);
    let store = open(&format!("{}\ndurability = \"standard\"", single(&server))).await.unwrap();
    assert!(store.warnings()[0].contains("its restart loses everything"), "{:?}", store.warnings());
    server.cli(&["CONFIG", "SET", "save", "60 1"]);
    let store = open(&format!("{}\ndurability = \"standard\"", single(&server))).await.unwrap();
    assert_eq!(store.warnings(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_and_a_server_of_another_kind_are_refused() {
    let cluster_node = shared_cluster();
    let replica = cluster_node.servers.iter().find(|server| server.cli(&["ROLE"]).starts_with("slave")).unwrap();
    assert!(refusal(&single(replica)).await.contains("is a replica"));
    let alone = format!("mode = \"cluster\"\nreplicas = 1\naddresses = [{:?}]", shared_server().address());
    let told = refusal(&alone).await;
    assert!(told.contains("cluster support disabled"), "{told}");
    let told = refusal(&format!(
        "mode = \"sentinel\"\nreplicas = 1\nsentinel = {{ master = \"x\" }}\naddresses = [{:?}]",
        shared_server().address()
    ))
    .await;
    assert!(told.contains("no Sentinel knows the master \"x\""), "{told}");
    let nobody = "mode = \"single\"\naddresses = [\"127.0.0.1:1\"]";
    assert!(refusal(nobody).await.contains("127.0.0.1:1: Connection refused"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_of_a_cluster_leads_to_the_others() {
    let Cluster { servers, .. } = shared_cluster();
    let one = servers.iter().find(|server| server.cli(&["ROLE"]).starts_with("slave")).unwrap();
    let addresses = cluster(shared_cluster());
    let settings = addresses.lines().map(|line| match line.starts_with("addresses") {
        true => format!("addresses = [{:?}, \"127.0.0.1:1\"]", one.address()),
        false => line.to_owned(),
    });
    let store = open(&settings.collect::<Vec<_>>().join("\n")).await.unwrap();
    assert_eq!(store.masters().len(), 3);
    work(&store).await;
}

/// An authority, and a server certificate from it.
fn certify(place: &Path) {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    // What has the name of its authority passes for one that has signed itself.
    parameters.distinguished_name.push(DnType::CommonName, "a server");
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = parameters.signed_by(&key, &authority).unwrap();
    std::fs::write(place.join("ca.pem"), authority.pem()).unwrap();
    std::fs::write(place.join("server.pem"), certificate.pem()).unwrap();
    std::fs::write(place.join("server.key"), key.serialize_pem()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_takes_the_named_authority_and_no_other() {
    let (place, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    certify(place.path());
    certify(other.path());
    let file = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let (port, ca, certificate, key) =
        (crate::support::redis_server::free_port(), file("ca.pem"), file("server.pem"), file("server.key"));
    let port = port.to_string();
    let tls = ["--tls-port", &port, "--tls-cert-file", &certificate, "--tls-key-file", &key, "--tls-ca-cert-file", &ca];
    let _server = RedisServer::start(&[DURABLE, &tls].concat());
    let settings = |files: &str, host: &str| {
        format!("mode = \"single\"\naddresses = [\"{host}:{port}\"]\ntls = {{ enabled = true{files} }}")
    };
    let ours = format!(", ca_file = {ca:?}, certificate_file = {certificate:?}, key_file = {key:?}");
    for host in ["127.0.0.1", "localhost"] {
        work(&open(&settings(&ours, host)).await.unwrap()).await;
    }
    let theirs = format!(", ca_file = {:?}", other.path().join("ca.pem"));
    for files in [theirs.as_str(), ""] {
        let told = refusal(&settings(files, "127.0.0.1")).await;
        assert!(told.contains("TLS: invalid peer certificate"), "{told}");
    }
    // It wants a certificate of its clients.
    open(&settings(&format!(", ca_file = {ca:?}"), "127.0.0.1")).await.err().expect("no certificate");
    let missing = format!(", ca_file = {:?}", place.path().join("none.pem"));
    let error = open(&settings(&missing, "127.0.0.1")).await.err().unwrap();
    assert_eq!((error.kind(), &*error.violations()[0].field), (Kind::Invalid, "store.redis.tls.ca_file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rights_that_the_page_lists_are_enough() {
    let rule = RIGHTS.lines().find_map(|line| line.strip_prefix("ACL SETUSER verigate ")).expect("a rule");
    let server = RedisServer::start(DURABLE);
    let rule = rule.replace(">PASSWORD", ">the-password").replace("~{verigate:*", "~{t*");
    let told = server.cli(&[&["ACL", "SETUSER", "verigate"], &*rule.split(' ').collect::<Vec<_>>()].concat());
    assert_eq!(told.trim(), "OK");
    server.cli(&["ACL", "SETUSER", "default", "off"]);
    let with = |credentials: &str| format!("{}\n{credentials}", single(&server));
    let store = open(&with("user = \"verigate\"\npassword = \"the-password\"")).await.unwrap();
    work(&store).await;
    store.sweep().await.unwrap();
    assert_eq!(store.warnings(), [""; 0]);
    for wrong in ["user = \"verigate\"\npassword = \"other\"", "password = \"the-password\"", ""] {
        let told = refusal(&with(wrong)).await;
        assert!(told.contains("authentication") || told.contains("NOAUTH"), "{wrong}: {told}");
        assert!(!told.contains("the-password"), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_settings_are_not_told_it_warns_of_what_it_does_not_know() {
    let server = RedisServer::start(DURABLE);
    server.cli(&["ACL", "SETUSER", "default", "-config"]);
    let store = open(&single(&server)).await.unwrap();
    assert!(store.warnings()[0].contains("we may not call CONFIG GET"), "{:?}", store.warnings());
    work(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_agree_on_the_time_whatever_their_clocks_say() {
    let wrong: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_millis(1_000)));
    let settings = |clock: &str| {
        redis_settings(&format!("{}\nprefix = \"{}\"\nclock = \"{clock}\"", single(shared_server()), fresh_prefix()))
    };
    let store = RedisStore::open(&settings("server"), Arc::clone(&wrong), Arc::new(OsRandom)).await.unwrap();
    let (told, right) = (store.clock().now(), SystemClock.now());
    let off = told.since(right).max(right.since(told));
    assert!(off < std::time::Duration::from_secs(5), "{off:?}");
    let clock = store.clock();
    let later = clock.now() + std::time::Duration::from_millis(20);
    clock.sleep_until(later).await;
    assert!(clock.now() >= later);
    let store = RedisStore::open(&settings("machine"), wrong, Arc::new(OsRandom)).await.unwrap();
    assert_eq!(store.clock().now(), Timestamp::from_millis(1_000));
}
