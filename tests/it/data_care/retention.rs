//! What has passed its retention is gone: from lists and calls at once, and from the files with the next rewrite. Tenants
//! may have times of their own.

use std::path::PathBuf;
use std::time::Duration;

use tonic::Code;
use verigate::proto::admin::v1::{CreateApiKeyRequest, CreateTenantRequest, GetTenantRequest, UpdateTenantRequest};
use verigate::proto::messaging::v1::{GetMessageRequest, ListMessagesRequest};
use verigate::proto::verification::v1::{GetVerificationRequest, ListVerificationsRequest};

use crate::data_care::traces::{Traces, administered, back_up, rewrite, stir};
use crate::support::gateway::{
    Gateway, PHONE, Verifications, eventually, seconds, start, start_now, text_to, violations,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

async fn is_there(client: &mut Verifications, id: &str) -> bool {
    match client.get_verification(GetVerificationRequest { id: id.to_owned() }).await {
        Ok(_) => true,
        Err(status) => {
            assert_eq!(status.code(), Code::NotFound);
            false
        }
    }
}

/// Codes live for ten minutes and are kept for an hour; messages live for a day.
fn short() -> String {
    administered().replacen("brand = \"Acme\"", "brand = \"Acme\"\nverification_retention = \"1h\"", 1)
}

#[tokio::test]
async fn what_expired_is_gone_from_lists_at_once_and_from_the_files_with_the_next_rewrite() {
    let config = format!("{}\n[messaging]\nretention = \"1h\"\n", short());
    let config = config.replacen("[store]\n", "[store]\njournal_bytes = 1048576\n", 1);
    let gateway = Gateway::start_with(&config).await;
    let mut client = gateway.verifications().await;
    let begun = start_now(&mut client, start(PHONE)).await.unwrap();
    let mut messages = gateway.messages().await;
    let sent = messages.send_message(text_to(PHONE, "hello")).await.unwrap().into_inner().message.unwrap();
    let mut admin = gateway.admin().await;
    let mut traces = Traces::default();
    traces.note(&mut admin, &begun.id).await;
    eventually(async || (!gateway.inbox(PHONE).await.is_empty()).then_some(())).await;
    traces.note(&mut admin, &sent.id).await;
    // Until they have gone from the journal into the database.
    stir(&gateway, 1_500).await;
    assert!(!traces.files(&gateway.data()).is_empty(), "the scan finds nothing");

    gateway.clock.advance(70 * MINUTE - Duration::from_millis(1));
    assert!(is_there(&mut client, &begun.id).await);
    gateway.clock.advance(Duration::from_millis(1));
    assert!(!is_there(&mut client, &begun.id).await);
    let listed = client.list_verifications(ListVerificationsRequest::default()).await.unwrap().into_inner();
    assert!(listed.verifications.is_empty());
    gateway.clock.advance(24 * HOUR);
    let get = GetMessageRequest { id: sent.id };
    assert_eq!(messages.get_message(get).await.unwrap_err().code(), Code::NotFound);
    let listed = messages.list_messages(ListMessagesRequest::default()).await.unwrap().into_inner();
    assert!(listed.messages.is_empty());
    assert!(!traces.are_in(&back_up(&mut admin).await), "a backup holds nothing that has expired");

    rewrite(&mut admin).await;
    assert_eq!(traces.files(&gateway.data()), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn the_files_are_rewritten_by_themselves() {
    let config = short().replacen("rewrite_interval = \"8760h\"", "rewrite_interval = \"3h\"", 1);
    let gateway = Gateway::start_with(&config).await;
    let mut client = gateway.verifications().await;
    let begun = start_now(&mut client, start(PHONE)).await.unwrap();
    let mut traces = Traces::default();
    traces.note(&mut gateway.admin().await, &begun.id).await;
    assert!(!traces.files(&gateway.data()).is_empty(), "the scan finds nothing");
    gateway.clock.advance(2 * HOUR);
    assert!(!gateway.data().join("current").exists(), "it is too early");
    drop(client);
    // A start anew does not put it off.
    let gateway = gateway.restart().await;
    gateway.clock.advance(HOUR);
    eventually(async || gateway.data().join("files.1").join("db").exists().then_some(())).await;
    eventually(async || (!gateway.data().join("db").exists()).then_some(())).await;
    eventually(async || traces.files(&gateway.data()).is_empty().then_some(())).await;
}

#[tokio::test]
async fn tenants_keep_records_for_as_long_as_they_say() {
    let gateway = Gateway::start_with(&short()).await;
    let mut client = gateway.verifications().await;
    let mut other = gateway.verifications_as("other.other-secret-of-some-length").await;
    let ours = start_now(&mut client, start(PHONE)).await.unwrap();
    let theirs = start_now(&mut other, start(PHONE)).await.unwrap();
    // One that is written by the outbox, and not by a call, is kept for as long.
    let late = start_now(&mut client, start("+60123456001")).await.unwrap();
    gateway.clock.advance(Duration::from_secs(31));
    gateway.clock.advance(71 * MINUTE);
    assert_eq!(
        (
            is_there(&mut client, &ours.id).await,
            is_there(&mut client, &late.id).await,
            is_there(&mut other, &theirs.id).await
        ),
        (false, false, true)
    );
    gateway.clock.advance(23 * HOUR);
    assert!(!is_there(&mut other, &theirs.id).await);
}

#[tokio::test]
async fn a_stored_tenant_has_its_own_retention_too() {
    let gateway = Gateway::start_with(&administered()).await;
    let mut admin = gateway.admin().await;
    let create = |retention| CreateTenantRequest {
        name: "globex".to_owned(),
        verification_retention: seconds(retention),
        default_country: "MY".to_owned(),
        ..CreateTenantRequest::default()
    };
    let refused = admin.create_tenant(create(59)).await.unwrap_err();
    assert_eq!(violations(&refused)[0].0, "verification_retention");
    let made = admin.create_tenant(create(60)).await.unwrap().into_inner().tenant.unwrap();
    assert_eq!((made.verification_retention, made.message_retention), (seconds(60), None));
    let key = CreateApiKeyRequest { tenant: "globex".to_owned(), ..CreateApiKeyRequest::default() };
    let key = admin.create_api_key(key).await.unwrap().into_inner();
    let mut client = gateway.verifications_as(&format!("{}.{}", key.api_key.unwrap().key_id, key.secret)).await;
    let short = start_now(&mut client, start(PHONE)).await.unwrap();
    let update = |retention| UpdateTenantRequest {
        name: "globex".to_owned(),
        verification_retention: seconds(retention),
        ..UpdateTenantRequest::default()
    };
    let refused = admin.update_tenant(update(90 * 24 * 3600 + 1)).await.unwrap_err();
    assert_eq!(violations(&refused)[0].0, "verification_retention");
    admin.update_tenant(update(7200)).await.unwrap();
    let long = start_now(&mut client, start("+60123456780")).await.unwrap();
    gateway.clock.advance(12 * MINUTE);
    assert_eq!((is_there(&mut client, &short.id).await, is_there(&mut client, &long.id).await), (false, true));
    drop((client, admin));
    let gateway = gateway.restart().await;
    let mut admin = gateway.admin().await;
    let get = GetTenantRequest { name: "globex".to_owned() };
    let kept = admin.get_tenant(get).await.unwrap().into_inner().tenant.unwrap();
    assert_eq!(kept.verification_retention, seconds(7200));
    let reset = admin.update_tenant(update(0)).await.unwrap().into_inner().tenant.unwrap();
    assert_eq!(reset.verification_retention, None);
}
