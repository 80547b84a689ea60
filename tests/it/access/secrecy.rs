//! Secrets of stored keys are shown once, to whom they were made for, and are in nothing that a run leaves behind.

use secrecy::ExposeSecret;
use tonic::Response;
use verigate::auth::secret::{ApiKey, SecretHash};
use verigate::proto::admin::v1::{CreateApiKeyRequest, ListApiKeysRequest, RotateApiKeyRequest};
use verigate::random::OsRandom;

use crate::access::accounts::{add, named};
use crate::access::keys::{config, create, for_tenant, let_in, revoke, whole};
use crate::attacks::canary::{Told, assert_clean, files};
use crate::native_json::client::Caller;
use crate::support::gateway::{Gateway, seconds};
use crate::support::http::get;
use crate::support::log::Log;

/// On one thread, whose log is taken down.
#[tokio::test]
async fn secrets_of_keys_are_in_nothing_that_a_run_leaves_behind() {
    let log = Log::start("trace");
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    add(&mut admin, named("globex")).await.unwrap();
    let own = ApiKey::generate(&OsRandom);
    let made = create(&mut admin, for_tenant("globex")).await.unwrap();
    let request = CreateApiKeyRequest {
        key_id: own.id.clone(),
        secret_hash: own.hash.to_string(),
        alone: true,
        ..for_tenant("globex")
    };
    assert_eq!(create(&mut admin, request).await.unwrap().1, "");
    let rotation = RotateApiKeyRequest { key_id: made.0.key_id.clone(), overlap: seconds(60), expire_time: None };
    let rotated = admin.rotate_api_key(rotation).await.unwrap().into_inner();
    let caller = Caller::acme(&gateway);
    let over_json = caller.post("/v1/admin/tenants/globex/keys", &serde_json::json!({})).await.ok();
    let secrets = [
        made.1.clone(),
        own.secret.expose_secret().to_owned(),
        rotated.secret.clone(),
        over_json["secret"].as_str().unwrap().to_owned(),
    ];
    let hashes: Vec<_> = secrets.iter().map(|secret| SecretHash::of(secret).to_string()[7..].to_owned()).collect();
    assert_eq!(let_in(&gateway, &format!("{}.{}", own.id, secrets[1])).await, "");
    assert_eq!(let_in(&gateway, &whole(&made)).await, "");
    let mut told = Told::default();
    let list = ListApiKeysRequest { tenant: "globex".to_owned(), ..ListApiKeysRequest::default() };
    told.hear(admin.list_api_keys(list).await.map(Response::into_inner)).unwrap();
    told.answers.extend(caller.get("/v1/admin/tenants/globex/keys").await.ok().to_string().into_bytes());
    // A hash in the wrong place is not repeated.
    let wrong = CreateApiKeyRequest { secret_hash: secrets[0].clone(), ..for_tenant("globex") };
    told.answers.extend(format!("{:?}", create(&mut admin, wrong).await.unwrap_err()).into_bytes());
    let taken =
        CreateApiKeyRequest { key_id: own.id.clone(), secret_hash: own.hash.to_string(), ..for_tenant("globex") };
    told.answers.extend(format!("{:?}", create(&mut admin, taken).await.unwrap_err()).into_bytes());
    revoke(&mut admin, &made.0.key_id).await.unwrap();
    told.answers.extend(let_in(&gateway, &whole(&made)).await.into_bytes());
    let page = get(gateway.addresses.admin, "/metrics", &[&format!("Host: {}", gateway.addresses.admin)]).await;
    told.answers.extend(page.body.into_bytes());
    drop(admin);
    let gateway = gateway.restart().await;

    let secrets: Vec<_> = secrets.into_iter().chain(hashes).collect();
    assert_clean("an answer", &told.answers, &secrets);
    assert_clean("the log", &log.bytes(), &secrets);
    // Whose they are is hidden, too.
    let hidden: Vec<_> = secrets.into_iter().chain([own.id, "globex".to_owned()]).collect();
    let stored = files(&gateway.data());
    assert_clean("the store", &stored, &hidden);
}
