//! Answers that go on: they end when their caller's key does.

use std::time::Duration;

use tonic::{Code, Status, Streaming};
use verigate::proto::admin::v1::{CreateApiKeyRequest, UpdateTenantRequest};
use verigate::proto::verification::v1::{WatchVerificationRequest, WatchVerificationResponse};

use crate::access::accounts::{add, named};
use crate::access::keys::{config, create, for_tenant, revoke, whole};
use crate::native_json::client::{Caller, Told};
use crate::support::gateway::{Gateway, PHONE, START, Verifications, reason};

async fn watch(client: &mut Verifications, id: &str) -> Streaming<WatchVerificationResponse> {
    let request = WatchVerificationRequest { id: id.to_owned() };
    let mut watch = client.watch_verification(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().verification.unwrap().id, id);
    watch
}

/// Waits for the end of a watch of what does not change any more. The bound only turns a wait without end into a failure.
async fn end(mut watch: Streaming<WatchVerificationResponse>) -> Status {
    let end = async {
        loop {
            if let Err(status) = watch.message().await.transpose().expect("no end without an error") {
                return status;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), end).await.expect("the watch goes on")
}

#[tokio::test]
async fn a_watch_ends_with_its_key_over_grpc_and_as_json() {
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    let (key, other) =
        (create(&mut admin, for_tenant("acme")).await.unwrap(), create(&mut admin, for_tenant("acme")).await.unwrap());
    let mut client = gateway.verifications_as(&whole(&key)).await;
    let begun = gateway.begin(&mut client, PHONE).await;
    let watching = watch(&mut client, &begun.id).await;
    let mut others = watch(&mut gateway.verifications_as(&whole(&other)).await, &begun.id).await;
    let target = format!("/v1/verifications/{}/watch", begun.id);
    let mut events = Caller::with(&gateway, &whole(&key)).watch(&target, &[]).await;
    events.event("verification").await;

    revoke(&mut admin, &key.0.key_id).await.unwrap();
    let ended = end(watching).await;
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unauthenticated, "CREDENTIALS_INVALID"));
    let problem = loop {
        match events.next().await.expect("no end without an error") {
            Told::Event { name, data, .. } if name == "error" => break data,
            _ => {}
        }
    };
    assert_eq!(problem["reason"], "CREDENTIALS_INVALID");
    assert_eq!(events.next().await, None);

    // The other key's goes on to its end.
    crate::support::gateway::cancel(&mut gateway.verifications().await, &begun.id).await.unwrap();
    while others.message().await.unwrap().is_some() {}
}

#[tokio::test]
async fn a_watch_ends_when_its_key_expires_or_its_tenant_is_disabled() {
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    add(&mut admin, named("globex")).await.unwrap();
    let at = START + Duration::from_secs(60);
    let expire_time =
        Some(prost_types::Timestamp { seconds: (at.as_millis() / 1000).try_into().unwrap(), nanos: 125_000_000 });
    let expiring = create(&mut admin, CreateApiKeyRequest { expire_time, ..for_tenant("globex") }).await.unwrap();
    let lasting = create(&mut admin, for_tenant("globex")).await.unwrap();
    let mut client = gateway.verifications_as(&whole(&lasting)).await;
    let begun = gateway.begin(&mut client, PHONE).await;
    let until_time = watch(&mut gateway.verifications_as(&whole(&expiring)).await, &begun.id).await;
    let until_disabled = watch(&mut client, &begun.id).await;

    gateway.clock.advance(Duration::from_secs(60));
    assert_eq!(reason(&end(until_time).await), "CREDENTIALS_EXPIRED");
    let request =
        UpdateTenantRequest { name: "globex".to_owned(), disabled: Some(true), ..UpdateTenantRequest::default() };
    admin.update_tenant(request).await.unwrap();
    let ended = end(until_disabled).await;
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::PermissionDenied, "NOT_PERMITTED"));
}
