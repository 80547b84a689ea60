//! The whole gateway on Redis: two at once on one store, what only the embedded store offers, and the check-up.

use verigate::proto::admin::v1::RewriteStoreRequest;
use verigate::proto::verification::v1::CheckOutcome;

use crate::cli::program::Place;
use crate::support::gateway::{CONFIG, Gateway, judge, reason, wrong};
use crate::support::redis_server::{DURABLE, RedisServer, fresh_prefix, shared_server, single};
use crate::support::test_store::on_redis;

/// A gateway's configuration on one server. Each test has a prefix of its own.
pub(crate) fn config(servers: &str) -> String {
    on_redis(CONFIG, &format!("{servers}\nprefix = \"{}\"\nclock = \"machine\"", fresh_prefix()))
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_on_one_store_are_one() {
    let config = config(&single(shared_server()));
    let (one, other) = (Gateway::start_with(&config).await, Gateway::start_with(&config).await);
    let (mut here, mut there) = (one.verifications().await, other.verifications().await);
    let phone = "+60123456100";
    let id = one.begin(&mut here, phone).await.id;
    let code = one.code(phone).await;
    for turn in 0..4 {
        let client = if turn % 2 == 0 { &mut here } else { &mut there };
        assert_eq!(judge(client, &id, &wrong(&code, turn)).await, CheckOutcome::WrongCode);
    }
    assert_eq!(judge(&mut there, &id, &code).await, CheckOutcome::Approved);
    assert_ne!(judge(&mut here, &id, &code).await, CheckOutcome::Approved);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_files_have_is_not_offered() {
    let config = config(&single(shared_server())).replace("name = \"acme\"", "name = \"acme\"\nadmin = true");
    let gateway = Gateway::start_with(&config).await;
    let mut admin = gateway.admin().await;
    let refused = match admin.rewrite_store(RewriteStoreRequest {}).await {
        Err(refused) => refused,
        Ok(answers) => answers.into_inner().message().await.unwrap_err(),
    };
    assert_eq!((refused.code(), &*reason(&refused)), (tonic::Code::FailedPrecondition, "NOT_OFFERED"));
    assert!(refused.message().contains("use its own tools"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_check_up_looks_at_the_servers() {
    let place = Place::new();
    place.run(&["store-key", "new", "store.key"]).succeeded();
    let server = RedisServer::start(DURABLE);
    let redis = format!("kind = \"redis\"\nredis = {{ {} }}", single(&server).replace('\n', ", "));
    place.write(
        "verigate.toml",
        &format!(
            "[server]\ngrpc = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n[store]\nkey_file = \
             \"store.key\"\n{redis}\n[[tenants]]\nname = \"acme\"\nkeys = [{{ id = \"acme\", secret = \
             \"a-secret-of-some-length\" }}]\n"
        ),
    );
    let told = place.run(&["doctor", "--config", "verigate.toml"]).stdout;
    let line = |told: &str| told.lines().find(|line| line.contains("store ")).map(str::to_owned).unwrap();
    assert!(line(&told).contains(&format!("is empty; changes go to {}", server.address())), "{told}");
    assert!(server.cli(&["DBSIZE"]).trim() == "0", "a check-up writes nothing");
    server.cli(&["CONFIG", "SET", "appendfsync", "everysec"]);
    let told = place.run(&["doctor", "--config", "verigate.toml"]).stdout;
    assert!(told.contains("CONFIG SET appendfsync always"), "{told}");
}
