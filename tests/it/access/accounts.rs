//! Tenants that come and go while the gateway runs.

use std::time::Duration;

use serde_json::json;
use tonic::{Code, Status};
use verigate::proto::admin::v1::{
    CreateTenantRequest, GetTenantRequest, ListTenantsRequest, Origin, Tenant, UpdateTenantRequest,
};

use crate::access::keys::{config, create, for_tenant, let_in, revoke, whole};
use crate::native_json::client::Caller;
use crate::support::gateway::{Admin, Gateway, PHONE, reason, start, start_now, wrong_fields};
use crate::support::http::call;
use crate::support::log::Log;

pub(crate) async fn add(client: &mut Admin, request: CreateTenantRequest) -> Result<Tenant, Status> {
    client.create_tenant(request).await.map(|answer| answer.into_inner().tenant.unwrap())
}

pub(crate) fn named(name: &str) -> CreateTenantRequest {
    CreateTenantRequest { name: name.to_owned(), ..CreateTenantRequest::default() }
}

async fn update(client: &mut Admin, request: UpdateTenantRequest) -> Result<Tenant, Status> {
    client.update_tenant(request).await.map(|answer| answer.into_inner().tenant.unwrap())
}

fn of(name: &str) -> UpdateTenantRequest {
    UpdateTenantRequest { name: name.to_owned(), ..UpdateTenantRequest::default() }
}

async fn show(client: &mut Admin, name: &str) -> Result<Tenant, Status> {
    let request = GetTenantRequest { name: name.to_owned() };
    client.get_tenant(request).await.map(|answer| answer.into_inner().tenant.unwrap())
}

async fn text_of(gateway: &Gateway, recipient: &str) -> String {
    gateway.inbox(recipient).await[0]["text"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_new_tenant_can_call_at_once_on_every_surface() {
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    let brand = "Globex".to_owned();
    let made =
        add(&mut admin, CreateTenantRequest { brand, default_country: "MY".to_owned(), ..named("globex") }).await;
    let made = made.unwrap();
    assert_eq!((made.origin(), made.disabled, made.create_time.is_some()), (Origin::Stored, false, true));
    let key = create(&mut admin, for_tenant("globex")).await.unwrap();
    let mut client = gateway.verifications_as(&whole(&key)).await;
    let begun = start_now(&mut client, start("012-345 6789")).await.unwrap();
    assert!(text_of(&gateway, PHONE).await.contains("Globex"));

    let caller = Caller::with(&gateway, &whole(&key));
    let started = caller.post("/v1/verifications", &json!({"recipient": {"phone": "+60123450001"}})).await.ok();
    assert_eq!(started["verification"]["status"], "VERIFICATION_STATUS_PENDING");
    let shown = caller.get(&format!("/v1/verifications/{}", begun.id)).await.ok();
    assert_eq!(shown["verification"]["id"], begun.id);

    let address = gateway.addresses.http;
    let body =
        json!({"api-key": key.0.key_id, "api-secret": key.1, "phone": "60123450011", "app-id": 1, "brand-name": "G"});
    let fields = [format!("Host: {address}"), "Content-Type: application/json".to_owned()];
    let fields = [fields[0].as_str(), fields[1].as_str()];
    let answer = call(address, "POST", "/esms/sms/otp/generate", &fields, body.to_string()).await;
    assert!(answer.body.contains("\"status\":0"), "{answer:?}");

    // What it is called changes with it.
    update(&mut admin, UpdateTenantRequest { brand: Some("Initech".to_owned()), ..of("globex") }).await.unwrap();
    start_now(&mut client, start("+60123450021")).await.unwrap();
    assert!(text_of(&gateway, "+60123450021").await.contains("Initech"));
}

#[tokio::test]
async fn what_was_stored_survives_a_restart() {
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    let request = CreateTenantRequest {
        brand: "Globex".to_owned(),
        sender: "GLOBEX".to_owned(),
        default_country: "MY".to_owned(),
        return_code: true,
        admin: true,
        balance_of: "inbox".to_owned(),
        ..named("globex")
    };
    let made = add(&mut admin, request).await.unwrap();
    let (kept, revoked) = (
        create(&mut admin, for_tenant("globex")).await.unwrap(),
        create(&mut admin, for_tenant("globex")).await.unwrap(),
    );
    revoke(&mut admin, &revoked.0.key_id).await.unwrap();
    let gateway = gateway.restart().await;
    assert_eq!(show(&mut gateway.admin().await, "globex").await.unwrap(), made);
    assert_eq!(let_in(&gateway, &whole(&kept)).await, "");
    assert_eq!(let_in(&gateway, &whole(&revoked)).await, "CREDENTIALS_INVALID");
    // It may administer, so it can look at itself.
    assert_eq!(show(&mut gateway.admin_as(&whole(&kept)).await, "globex").await.unwrap(), made);
}

#[tokio::test]
async fn a_disabled_tenant_is_shut_out_until_it_is_enabled() {
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    add(&mut admin, named("globex")).await.unwrap();
    let key = create(&mut admin, for_tenant("globex")).await.unwrap();
    let mut client = gateway.verifications_as(&whole(&key)).await;
    let begun = gateway.begin(&mut client, PHONE).await;
    let disabled = update(&mut admin, UpdateTenantRequest { disabled: Some(true), ..of("globex") }).await.unwrap();
    assert!(disabled.disabled);
    let refused = start_now(&mut client, start(PHONE)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_PERMITTED"));
    assert!(refused.message().contains("disabled"), "{refused:?}");
    assert_eq!(let_in(&gateway, &format!("{}.wrong", key.0.key_id)).await, "CREDENTIALS_INVALID");
    update(&mut admin, UpdateTenantRequest { disabled: Some(false), ..of("globex") }).await.unwrap();
    assert_eq!(crate::support::gateway::get_verification(&mut client, &begun.id).await.id, begun.id);
}

#[tokio::test]
async fn an_update_changes_what_it_names() {
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    let request = CreateTenantRequest { brand: "Globex".to_owned(), sender: "GLOBEX".to_owned(), ..named("globex") };
    let made = add(&mut admin, request).await.unwrap();
    gateway.clock.advance(Duration::from_secs(1));
    let changed =
        update(&mut admin, UpdateTenantRequest { sender: Some(String::new()), ..of("globex") }).await.unwrap();
    let expected = Tenant { sender: String::new(), update_time: changed.update_time, ..made.clone() };
    assert_eq!(changed, expected);
    assert_ne!(changed.update_time, made.update_time);
    let wrong = UpdateTenantRequest {
        default_country: Some("Malaysia".to_owned()),
        brand: Some("x".repeat(21)),
        sender: Some("x".repeat(65)),
        balance_of: Some("nobody".to_owned()),
        ..of("globex")
    };
    let refused = update(&mut admin, wrong).await.unwrap_err();
    assert_eq!(wrong_fields(&refused), ["default_country", "brand", "sender", "balance_of"]);
    assert_eq!(wrong_fields(&add(&mut admin, named("Globex")).await.unwrap_err()), ["name"]);
    assert_eq!(show(&mut admin, "globex").await.unwrap(), expected);
    for (refused, told) in [
        (show(&mut admin, "nobody").await.unwrap_err(), (Code::NotFound, "TENANT_NOT_FOUND")),
        (update(&mut admin, of("nobody")).await.unwrap_err(), (Code::NotFound, "TENANT_NOT_FOUND")),
        (update(&mut admin, of("other")).await.unwrap_err(), (Code::FailedPrecondition, "CONFIGURED")),
        (add(&mut admin, named("other")).await.unwrap_err(), (Code::AlreadyExists, "ALREADY_EXISTS")),
        (add(&mut admin, named("globex")).await.unwrap_err(), (Code::AlreadyExists, "ALREADY_EXISTS")),
    ] {
        assert_eq!((refused.code(), reason(&refused).as_str()), told, "{refused:?}");
    }
}

#[tokio::test]
async fn tenants_are_listed_in_pages_wherever_they_come_from() {
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    for name in ["zeta", "beta", "globex"] {
        add(&mut admin, named(name)).await.unwrap();
    }
    let mut request = ListTenantsRequest { page_size: 2, page_token: String::new() };
    let mut names = Vec::new();
    loop {
        let page = admin.list_tenants(request.clone()).await.unwrap().into_inner();
        assert!(page.tenants.len() <= 2);
        names.extend(page.tenants.iter().map(|tenant| (tenant.name.clone(), tenant.origin())));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    let expected = [
        ("acme", Origin::Configured),
        ("beta", Origin::Stored),
        ("globex", Origin::Stored),
        ("other", Origin::Configured),
        ("zeta", Origin::Stored),
    ];
    assert_eq!(names, expected.map(|(name, origin)| (name.to_owned(), origin)));
    let bad = ListTenantsRequest { page_size: -1, page_token: "x".to_owned() };
    assert_eq!(wrong_fields(&admin.list_tenants(bad).await.unwrap_err()), ["page_size", "page_token"]);
}

/// On one thread, whose log is taken down.
#[tokio::test]
async fn the_configuration_wins_over_what_is_stored_under_its_names() {
    let log = Log::start("warn");
    let gateway = Gateway::start_with(&config()).await;
    let mut admin = gateway.admin().await;
    add(&mut admin, CreateTenantRequest { brand: "Stored".to_owned(), ..named("globex") }).await.unwrap();
    let key = create(&mut admin, for_tenant("globex")).await.unwrap();
    let mut taken = for_tenant("other");
    taken.key_id = "gx".to_owned();
    let other = create(&mut admin, taken).await.unwrap();
    drop(admin);
    let globex = "[[tenants]]\nname = \"globex\"\nbrand = \"Configured\"\n\
                  keys = [{ id = \"gx\", secret = \"gx-secret-of-some-length\" }]\n\n[vendors.inbox]";
    let gateway = gateway.restart_with(&config().replace("[vendors.inbox]", globex)).await;
    let told = String::from_utf8(log.bytes()).unwrap();
    assert!(told.contains("the tenant \"globex\" is stored and configured; the configuration counts"), "{told}");
    assert!(told.contains("the stored API key \"gx\""), "{told}");
    let shown = show(&mut gateway.admin().await, "globex").await.unwrap();
    assert_eq!((shown.origin(), shown.brand.as_str()), (Origin::Configured, "Configured"));
    // Its stored keys are still its own.
    assert_eq!(let_in(&gateway, &whole(&key)).await, "");
    assert_eq!(let_in(&gateway, "gx.gx-secret-of-some-length").await, "");
    assert_eq!(let_in(&gateway, &whole(&other)).await, "CREDENTIALS_INVALID");
    let gateway = gateway.restart_with(&config()).await;
    assert_eq!(show(&mut gateway.admin().await, "globex").await.unwrap().brand, "Stored");
    assert_eq!(let_in(&gateway, &whole(&other)).await, "");
}
