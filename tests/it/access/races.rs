//! Many administrators at once.

use futures_util::future::join_all;
use verigate::proto::admin::v1::{CreateApiKeyRequest, ListApiKeysRequest, ListTenantsRequest, UpdateTenantRequest};

use crate::access::accounts::{add, named};
use crate::access::keys::{config, create, for_tenant, let_in, revoke, whole};
use crate::support::gateway::{Gateway, reason};

const CALLERS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_tenants_of_one_name_one_is_created() {
    let gateway = Gateway::start_with(&config()).await;
    let admin = gateway.admin().await;
    for round in 0..5 {
        let name = format!("globex-{round}");
        let calls = (0..CALLERS).map(|_| {
            let (mut admin, request) = (admin.clone(), named(&name));
            tokio::spawn(async move { add(&mut admin, request).await })
        });
        let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
        let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(made.len(), 1);
        assert!(refused.into_iter().all(|refused| reason(&refused.unwrap_err()) == "ALREADY_EXISTS"));
    }
    let all = admin.clone().list_tenants(ListTenantsRequest::default()).await.unwrap().into_inner().tenants;
    assert_eq!(all.len(), 2 + 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_keys_of_one_id_one_is_created_and_once_revoked() {
    let gateway = Gateway::start_with(&config()).await;
    let admin = gateway.admin().await;
    let calls = (0..CALLERS).map(|_| {
        let mut admin = admin.clone();
        let request = CreateApiKeyRequest { key_id: "one".to_owned(), ..for_tenant("other") };
        tokio::spawn(async move { create(&mut admin, request).await })
    });
    let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    let made: Vec<_> = answers.into_iter().filter_map(Result::ok).collect();
    assert_eq!(made.len(), 1);
    assert_eq!(let_in(&gateway, &whole(&made[0])).await, "");
    let calls = (0..CALLERS).map(|_| {
        let mut admin = admin.clone();
        tokio::spawn(async move { revoke(&mut admin, "one").await })
    });
    let answers: Vec<_> = join_all(calls).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(let_in(&gateway, &whole(&made[0])).await, "CREDENTIALS_INVALID");
}

/// Changes of different things do not undo one another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_changed_at_once_is_all_changed() {
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    add(&mut admin, named("globex")).await.unwrap();
    let keys = (0..CALLERS).map(|_| {
        let mut admin = admin.clone();
        tokio::spawn(async move { drop(create(&mut admin, for_tenant("globex")).await.unwrap()) })
    });
    let updates = [
        UpdateTenantRequest { brand: Some("Globex".to_owned()), ..UpdateTenantRequest::default() },
        UpdateTenantRequest { sender: Some("GLOBEX".to_owned()), ..UpdateTenantRequest::default() },
        UpdateTenantRequest { return_code: Some(true), ..UpdateTenantRequest::default() },
    ];
    let updates = updates.into_iter().map(|update| {
        let mut admin = admin.clone();
        let update = UpdateTenantRequest { name: "globex".to_owned(), ..update };
        tokio::spawn(async move { drop(admin.update_tenant(update).await.unwrap()) })
    });
    join_all(keys.chain(updates)).await.into_iter().for_each(Result::unwrap);
    let gateway = gateway.restart().await;
    let mut admin = gateway.admin().await;
    let request = ListApiKeysRequest { tenant: "globex".to_owned(), page_size: 500, page_token: String::new() };
    assert_eq!(admin.list_api_keys(request).await.unwrap().into_inner().api_keys.len(), CALLERS);
    let tenants = admin.list_tenants(ListTenantsRequest::default()).await.unwrap().into_inner().tenants;
    let globex = tenants.into_iter().find(|tenant| tenant.name == "globex").unwrap();
    assert_eq!((globex.brand.as_str(), globex.sender.as_str(), globex.return_code), ("Globex", "GLOBEX", true));
}
