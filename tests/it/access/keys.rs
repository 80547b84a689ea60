//! Keys that end: by time, by rotation, by revocation.

use std::time::Duration;

use tonic::{Code, Status};
use verigate::clock::Timestamp;
use verigate::proto::admin::v1::{
    ApiKey, CreateApiKeyRequest, CreateApiKeyResponse, ListApiKeysRequest, Origin, RevokeApiKeyRequest,
    RotateApiKeyRequest, RotateApiKeyResponse, Scope,
};
use verigate::proto::messaging::v1::ListMessagesRequest;

use crate::native_json::client::Caller;
use crate::support::gateway::{
    Admin, CONFIG, Credentials, Gateway, PHONE, START, reason, seconds, start, wrong_fields,
};
use crate::support::log::Log;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// With an administrator.
pub(crate) fn config() -> String {
    CONFIG.replace("brand = \"Acme\"", "brand = \"Acme\"\nadmin = true")
}

pub(crate) async fn create(client: &mut Admin, request: CreateApiKeyRequest) -> Result<(ApiKey, String), Status> {
    let CreateApiKeyResponse { api_key, secret } = client.create_api_key(request).await?.into_inner();
    Ok((api_key.unwrap(), secret))
}

pub(crate) fn for_tenant(tenant: &str) -> CreateApiKeyRequest {
    CreateApiKeyRequest { tenant: tenant.to_owned(), ..CreateApiKeyRequest::default() }
}

pub(crate) fn whole((key, secret): &(ApiKey, String)) -> String {
    format!("{}.{secret}", key.key_id)
}

pub(crate) async fn revoke(client: &mut Admin, key_id: &str) -> Result<(), Status> {
    client.revoke_api_key(RevokeApiKeyRequest { key_id: key_id.to_owned() }).await.map(drop)
}

async fn list(client: &mut Admin, tenant: &str) -> Vec<ApiKey> {
    let request = ListApiKeysRequest { tenant: tenant.to_owned(), ..ListApiKeysRequest::default() };
    client.list_api_keys(request).await.unwrap().into_inner().api_keys
}

/// What a call with this key comes to: empty when it is let in.
pub(crate) async fn let_in(gateway: &Gateway, key: &str) -> String {
    let mut client = gateway.verifications_as(key).await;
    let list = verigate::proto::verification::v1::ListVerificationsRequest::default();
    client.list_verifications(list).await.err().map(|status| reason(&status)).unwrap_or_default()
}

fn time(at: Timestamp) -> Option<prost_types::Timestamp> {
    let millis = at.as_millis();
    let (seconds, nanos) = ((millis / 1000).try_into().unwrap(), (millis % 1000 * 1_000_000).try_into().unwrap());
    Some(prost_types::Timestamp { seconds, nanos })
}

#[tokio::test]
async fn a_key_of_the_configuration_opens_until_it_expires() {
    let at = START + 2 * DAY;
    let expiring = format!(
        "keys = [{{ id = \"old\", secret = \"old-secret-of-some-length\", expires_at = \"{at}\" }}, {{ id = \"acme\""
    );
    let gateway = Gateway::start_with(&CONFIG.replacen("keys = [{ id = \"acme\"", &expiring, 1)).await;
    let (old, new) = ("old.old-secret-of-some-length", "acme.acme-secret-of-some-length");
    assert_eq!((let_in(&gateway, old).await, let_in(&gateway, new).await), (String::new(), String::new()));
    gateway.clock.set(Timestamp::from_millis(at.as_millis() - 1));
    assert_eq!(let_in(&gateway, old).await, "");
    gateway.clock.set(at);
    let refused = gateway.verifications_as(old).await.start_verification(start(PHONE)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "CREDENTIALS_EXPIRED"));
    assert!(refused.message().contains(&at.to_string()), "{refused:?}");
    let reply = Caller::with(&gateway, old).get("/v1/messages").await;
    assert_eq!(reply.refused_with(401), "CREDENTIALS_EXPIRED");
    assert_eq!(let_in(&gateway, "old.old-secret-of-some-lengths").await, "CREDENTIALS_INVALID");
    assert_eq!(let_in(&gateway, new).await, "");
}

/// On one thread, whose log is taken down.
#[tokio::test]
async fn keys_that_expire_soon_are_told_of_at_start() {
    let log = Log::start("warn");
    let keys = [("soon", 29), ("late", 31)].map(|(id, days)| {
        format!("{{ id = \"{id}\", secret = \"{id}-secret-of-some-length\", expires_at = \"{}\" }}", START + days * DAY)
    });
    let keys = format!("keys = [{}, {{ id = \"acme\"", keys.join(", "));
    let gateway = Gateway::start_with(&CONFIG.replacen("keys = [{ id = \"acme\"", &keys, 1)).await;
    let told = String::from_utf8(log.bytes()).unwrap();
    assert!(told.contains("an API key expires soon") && told.contains("key=\"soon\""), "{told}");
    assert!(!told.contains("late") && !told.contains("expired"), "{told}");
    gateway.clock.advance(30 * DAY);
    let gateway = gateway.restart().await;
    let told = String::from_utf8(log.bytes()).unwrap();
    assert!(told.contains("an API key has expired; remove it") && told.contains("key=\"late\""), "{told}");
    drop(gateway);
}

#[tokio::test]
async fn a_rotated_key_goes_on_for_as_long_as_was_said() {
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    let request = CreateApiKeyRequest {
        scopes: vec![Scope::Read.into()],
        from: vec!["127.0.0.0/8".to_owned()],
        ..for_tenant("other")
    };
    let old = create(&mut admin, request).await.unwrap();
    let rotate = |key: &(ApiKey, String), overlap| RotateApiKeyRequest {
        key_id: key.0.key_id.clone(),
        overlap: seconds(overlap),
        expire_time: None,
    };
    let rotated = admin.rotate_api_key(rotate(&old, 600)).await.unwrap().into_inner();
    let RotateApiKeyResponse { api_key: Some(new), secret, old_api_key: Some(ending) } = rotated else {
        panic!("{rotated:?}")
    };
    assert_eq!((&new.scopes, &new.from, &new.tenant), (&old.0.scopes, &old.0.from, &old.0.tenant));
    assert_eq!(ending.expire_time, time(START + Duration::from_secs(600)));
    let new = (new, secret);
    assert!(new.0.key_id != old.0.key_id && new.1 != old.1);
    assert_eq!(
        (let_in(&gateway, &whole(&old)).await, let_in(&gateway, &whole(&new)).await),
        (String::new(), String::new())
    );
    gateway.clock.advance(Duration::from_secs(600));
    assert_eq!(let_in(&gateway, &whole(&old)).await, "CREDENTIALS_EXPIRED");
    assert_eq!(let_in(&gateway, &whole(&new)).await, "");
    // Without an overlap the old one is gone at once.
    let newest = admin.rotate_api_key(rotate(&new, 0)).await.unwrap().into_inner();
    assert_eq!(newest.old_api_key, None);
    assert_eq!(let_in(&gateway, &whole(&new)).await, "CREDENTIALS_INVALID");
    assert_eq!(let_in(&gateway, &format!("{}.{}", newest.api_key.unwrap().key_id, newest.secret)).await, "");
    let refused = admin.rotate_api_key(rotate(&new, 0)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "API_KEY_NOT_FOUND"));
    let refused = admin.rotate_api_key(rotate(&old, 91 * 24 * 3600)).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["overlap"]);
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_from_the_next_call_on() {
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    let (one, two) =
        (create(&mut admin, for_tenant("acme")).await.unwrap(), create(&mut admin, for_tenant("acme")).await.unwrap());
    // On a connection that is open already.
    let mut client = gateway.messages().await;
    let channel = gateway.channel().await;
    let with = |key: &str| {
        verigate::proto::messaging::v1::messaging_service_client::MessagingServiceClient::with_interceptor(
            channel.clone(),
            Credentials::new(key),
        )
    };
    let mut of_one = with(&whole(&one));
    of_one.list_messages(ListMessagesRequest::default()).await.unwrap();
    revoke(&mut admin, &one.0.key_id).await.unwrap();
    let refused = of_one.list_messages(ListMessagesRequest::default()).await.unwrap_err();
    assert_eq!(reason(&refused), "CREDENTIALS_INVALID");
    with(&whole(&two)).list_messages(ListMessagesRequest::default()).await.unwrap();
    client.list_messages(ListMessagesRequest::default()).await.unwrap();
    assert_eq!(reason(&revoke(&mut admin, &one.0.key_id).await.unwrap_err()), "API_KEY_NOT_FOUND");
    let refused = revoke(&mut admin, "acme").await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "CONFIGURED"));
    assert_eq!(let_in(&gateway, "acme.acme-secret-of-some-length").await, "");
}

#[tokio::test]
async fn a_key_may_have_an_id_and_a_secret_of_ones_own() {
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    let hash = verigate::auth::secret::SecretHash::of("own-secret-of-some-length").to_string();
    let request =
        CreateApiKeyRequest { key_id: "ann@example.com".to_owned(), secret_hash: hash, ..for_tenant("other") };
    let (key, secret) = create(&mut admin, request.clone()).await.unwrap();
    assert_eq!((key.key_id.as_str(), secret.as_str(), key.origin()), ("ann@example.com", "", Origin::Stored));
    assert_eq!(let_in(&gateway, "ann@example.com.own-secret-of-some-length").await, "");
    let refused = create(&mut admin, request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::AlreadyExists, "ALREADY_EXISTS"));
    let configured = CreateApiKeyRequest { key_id: "acme".to_owned(), ..for_tenant("other") };
    assert_eq!(reason(&create(&mut admin, configured).await.unwrap_err()), "ALREADY_EXISTS");
    let nobodys = create(&mut admin, for_tenant("nobody")).await.unwrap_err();
    assert_eq!((nobodys.code(), reason(&nobodys).as_str()), (Code::NotFound, "TENANT_NOT_FOUND"));
}

#[tokio::test]
async fn what_is_wrong_with_a_key_is_told_by_its_fields() {
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    let wrong = CreateApiKeyRequest {
        tenant: "No Tenant".to_owned(),
        key_id: "a b".to_owned(),
        secret_hash: "canary".to_owned(),
        scopes: vec![0],
        from: vec!["10.0.0.1/8".to_owned()],
        ..CreateApiKeyRequest::default()
    };
    let refused = create(&mut admin, wrong).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["tenant", "secret_hash", "scopes", "from[0]"]);
    assert!(!refused.message().contains("canary"));
    let empty = verigate::auth::secret::SecretHash::of("").to_string();
    let wrong = CreateApiKeyRequest {
        key_id: "a b".to_owned(),
        secret_hash: empty,
        expire_time: time(START),
        ..for_tenant("acme")
    };
    assert_eq!(wrong_fields(&create(&mut admin, wrong).await.unwrap_err()), ["key_id", "secret_hash", "expire_time"]);
}

#[tokio::test]
async fn keys_are_listed_without_secrets_and_with_their_last_use() {
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    let made = create(&mut admin, for_tenant("other")).await.unwrap();
    let unused = list(&mut admin, "other").await;
    assert_eq!(unused.iter().map(|key| key.origin()).collect::<Vec<_>>(), [Origin::Configured, Origin::Stored]);
    assert!(unused.iter().all(|key| key.last_use_time.is_none()));
    gateway.clock.advance(Duration::from_secs(90));
    assert_eq!(let_in(&gateway, &whole(&made)).await, "");
    let used = list(&mut admin, "other").await;
    let minute = (START + Duration::from_secs(90)).as_millis() / 60_000 * 60_000;
    assert_eq!(used[1].last_use_time, time(Timestamp::from_millis(minute)));
    assert_eq!(used[0].last_use_time, None);
    let mut pages = Vec::new();
    let mut request = ListApiKeysRequest { tenant: "other".to_owned(), page_size: 1, page_token: String::new() };
    loop {
        let page = admin.list_api_keys(request.clone()).await.unwrap().into_inner();
        pages.extend(page.api_keys);
        if page.next_page_token.is_empty() {
            break;
        }
        let elsewhere =
            ListApiKeysRequest { tenant: "acme".to_owned(), page_token: page.next_page_token.clone(), page_size: 1 };
        assert_eq!(wrong_fields(&admin.list_api_keys(elsewhere).await.unwrap_err()), ["page_token"]);
        request.page_token = page.next_page_token;
    }
    assert_eq!(pages, used);
}
