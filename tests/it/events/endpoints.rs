//! Endpoints: created, changed, disabled and deleted, by calls and by the configuration; and what they are told.

use serde_json::json;
use tonic::Code;
use verigate::proto::admin::v1::{
    CreateEventEndpointRequest, DeleteEventEndpointRequest, EndpointDisableReason, ListEventEndpointsRequest, Origin,
};
use verigate::proto::messaging::v1::SendMessageRequest;
use verigate::proto::verification::v1::StartVerificationRequest;

use crate::events::house::{FIRST, House, LOCAL, SECOND, SECOND_ONE, config, first_of, receiver, types};
use crate::support::gateway::{
    Gateway, PHONE, check, eventually, reason, start, start_now, text_to, violations, wrong,
};

#[tokio::test]
async fn a_message_and_a_verification_are_told_from_beginning_to_end() {
    let mut house = House::new().await;
    let server = receiver().await;
    house.endpoint(&server.url(), &[]).await;
    let mut client = house.gateway.messages().await;
    let metadata = [("order".to_owned(), "7".to_owned())].into();
    let request = SendMessageRequest { metadata, ..text_to(PHONE, "Your table is ready.") };
    let id = client.send_message(request).await.unwrap().into_inner().message.unwrap().id;
    let requests = House::called(&server, 4).await;
    let mut told = types(&requests);
    told.sort();
    assert_eq!(told, ["message.attempted", "message.delivered", "message.queued", "message.sent"]);
    let delivered = first_of(&requests, "message.delivered");
    assert_eq!(delivered["id"], format!("evt_{id}_3"));
    assert_eq!(delivered["timestamp"], "2026-11-22T05:16:00.125Z");
    assert_eq!(
        delivered["data"],
        json!({"tenant": "acme", "message_id": id, "recipient": PHONE, "status": "DELIVERED", "channel": "sms",
            "vendor": "inbox", "metadata": {"order": "7"}})
    );
    for request in &requests {
        assert_eq!(request.header("webhook-id").unwrap(), request.json()["id"]);
        assert_eq!((request.method.as_str(), request.header("content-type")), ("POST", Some("application/json")));
    }

    let mut client = house.gateway.verifications().await;
    let request = StartVerificationRequest { scope: "login".to_owned(), ..start("+60123456780") };
    let begun = start_now(&mut client, request).await.unwrap();
    let code = house.gateway.code("+60123456780").await;
    check(&mut client, &begun.id, &wrong(&code, 0)).await.unwrap();
    check(&mut client, &begun.id, &code).await.unwrap();
    let requests = House::called(&server, 4 + 7).await.split_off(4);
    let mut told = types(&requests);
    told.sort();
    let wanted =
        ["approved", "check_failed", "send.attempted", "send.delivered", "send.queued", "send.sent", "started"];
    assert_eq!(told, wanted.map(|kind| format!("verification.{kind}")));
    let failed = first_of(&requests, "verification.check_failed");
    assert_eq!(
        failed["data"],
        json!({"tenant": "acme", "verification_id": begun.id, "scope": "login", "recipient": "+60123456780",
            "status": "PENDING", "checks_left": 4})
    );
    let sent = first_of(&requests, "verification.send.attempted");
    assert_eq!((&sent["data"]["send"], &sent["data"]["attempt"]), (&json!(0), &json!(1)));
    assert_eq!(first_of(&requests, "verification.approved")["data"]["checks_left"], 0);
}

#[tokio::test]
async fn what_time_ends_is_told_once_and_so_is_why_a_message_was_rejected() {
    let mut house = House::new().await;
    let server = receiver().await;
    house.endpoint(&server.url(), &["verification.expired", "message.rejected"]).await;
    let mut client = house.gateway.verifications().await;
    let begun = house.gateway.begin(&mut client, PHONE).await;
    // One that is approved in time does not expire.
    let approved = house.gateway.begin(&mut client, "+60123456780").await;
    let code = house.gateway.code("+60123456780").await;
    check(&mut client, &approved.id, &code).await.unwrap();
    house.gateway.clock.advance(601 * SECOND);
    let requests = House::called(&server, 1).await;
    assert_eq!(first_of(&requests, "verification.expired")["data"]["verification_id"], begun.id);
    assert_eq!(first_of(&requests, "verification.expired")["data"]["status"], "EXPIRED");
    let late = check(&mut client, &begun.id, "000000").await.unwrap();
    assert_eq!(late.checks_left, 0);
    // Whom the inbox rejects.
    house.send("+60123456003").await;
    let requests = House::called(&server, 2).await;
    assert_eq!(requests.len(), 2, "{:?}", types(&requests));
    let rejected = first_of(&requests, "message.rejected");
    assert_eq!(rejected["data"]["reason"], "INVALID_RECIPIENT");
}

#[tokio::test]
async fn endpoints_are_created_changed_listed_and_deleted() {
    let mut house = House::new().await;
    let server = receiver().await;
    let request = CreateEventEndpointRequest {
        tenant: "acme".to_owned(),
        url: server.url(),
        types: vec!["message.delivered".to_owned()],
        description: "the shop".to_owned(),
        secret: String::new(),
    };
    let answer = house.admin.create_event_endpoint(request).await.unwrap().into_inner();
    assert!(answer.secret.starts_with("whsec_") && answer.secret.len() > 40);
    let made = answer.endpoint.unwrap();
    assert_eq!((made.origin(), made.description.as_str(), made.disabled), (Origin::Stored, "the shop", false));
    assert_eq!(house.listed(&made.id).await, made);
    house.send(PHONE).await;
    assert_eq!(types(&House::called(&server, 1).await), ["message.delivered"]);

    let (changed, none) = house.change(&made.id, |it| it.types = vec!["message.queued".to_owned()]).await.unwrap();
    assert_eq!((changed.types.as_slice(), none.as_str()), (&["message.queued".to_owned()][..], ""));
    house.send(PHONE).await;
    assert_eq!(types(&House::called(&server, 2).await)[1], "message.queued");

    let (disabled, _) = house.change(&made.id, |it| it.disabled = Some(true)).await.unwrap();
    assert_eq!((disabled.disabled, disabled.disable_reason()), (true, EndpointDisableReason::Asked));
    house.send_and_see(PHONE).await;
    // Survives a restart, and so does the endpoint.
    let mut house = house.restart().await;
    assert!(house.listed(&made.id).await.disabled);
    let (enabled, _) = house.change(&made.id, |it| it.disabled = Some(false)).await.unwrap();
    assert_eq!((enabled.disabled, enabled.disable_time), (false, None));
    let id = house.send(PHONE).await.id;
    let requests = House::called(&server, 3).await;
    assert_eq!(requests[2].json()["data"]["message_id"], id, "what happened meanwhile is not told by itself");

    let gone = DeleteEventEndpointRequest { tenant: "acme".to_owned(), endpoint_id: made.id.clone() };
    house.admin.delete_event_endpoint(gone.clone()).await.unwrap();
    let again = house.admin.delete_event_endpoint(gone).await.unwrap_err();
    assert_eq!((again.code(), reason(&again).as_str()), (Code::NotFound, "ENDPOINT_NOT_FOUND"));
    house.send(PHONE).await;
    assert_eq!(house.deliveries(&made.id).await.len(), 3, "the log stays");
    assert_eq!(server.requests().len(), 3);
}

#[tokio::test]
async fn what_is_wrong_with_an_endpoint_is_told_by_field() {
    let mut house = House::new().await;
    let server = receiver().await;
    let made = house.endpoint(&server.url(), &[]).await;
    let request = CreateEventEndpointRequest {
        tenant: "acme".to_owned(),
        url: "https://example.com/".to_owned(),
        types: vec!["message.*".to_owned(), "message.read".to_owned()],
        description: "two\nlines".to_owned(),
        secret: "short".to_owned(),
    };
    let refused = house.admin.create_event_endpoint(request).await.unwrap_err();
    let fields: Vec<_> = violations(&refused).into_iter().map(|(field, _)| field).collect();
    assert_eq!(fields, ["types[1]", "description", "secret"]);
    for url in
        ["", "http://example.com/", "https://10.0.0.1/", "https://user:pass@example.com/", "ftp://x/", "https://x:22/"]
    {
        let refused = house.create(url, &[]).await.unwrap_err();
        assert_eq!(violations(&refused).into_iter().next().unwrap().0, "url", "{url}");
    }
    let unknown = CreateEventEndpointRequest { tenant: "nobody".to_owned(), ..CreateEventEndpointRequest::default() };
    let refused = house.admin.create_event_endpoint(unknown).await.unwrap_err();
    assert_eq!(reason(&refused), "TENANT_NOT_FOUND");
    let refused = house.change(&made.id, |it| it.secret = SECOND_ONE.to_owned()).await.unwrap_err();
    assert_eq!(violations(&refused)[0].0, "rotate_secret");
    let long = Some(prost_types::Duration { seconds: 7 * 86_400 + 1, nanos: 0 });
    let refused = house.change(&made.id, |it| (it.rotate_secret, it.overlap) = (true, long)).await.unwrap_err();
    assert_eq!(violations(&refused)[0].0, "overlap");
    // Another tenant's endpoint is an unknown one.
    let refused = house.change(&made.id, |it| it.tenant = "other".to_owned()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "ENDPOINT_NOT_FOUND"));
    for _ in 1..20 {
        house.endpoint("https://example.com/", &[]).await;
    }
    let refused = house.create("https://example.com/", &[]).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "TOO_MANY_ENDPOINTS"));
}

#[tokio::test]
async fn the_configuration_has_endpoints_too_and_calls_only_switch_them() {
    let server = receiver().await;
    let with = |secret: &str, types: &str| {
        let url = server.url();
        let endpoint = format!("name = \"main\"\ntenant = \"acme\"\nurl = \"{url}\"\nsecret = \"{secret}\"\n");
        format!("{LOCAL}\n[[events.endpoints]]\n{endpoint}types = [{types}]\n")
    };
    let mut house = House::with(&with(FIRST, "\"message.sent\"")).await;
    let all = ListEventEndpointsRequest { tenant: "acme".to_owned() };
    let endpoints = house.admin.list_event_endpoints(all.clone()).await.unwrap().into_inner().endpoints;
    let [endpoint] = endpoints.as_slice() else { panic!("{endpoints:?}") };
    assert_eq!((endpoint.name.as_str(), endpoint.origin()), ("main", Origin::Configured));
    house.send(PHONE).await;
    assert_eq!(types(&House::called(&server, 1).await), ["message.sent"]);
    let refused = house.change(&endpoint.id, |it| it.url = Some("https://example.com/".to_owned())).await.unwrap_err();
    assert_eq!(reason(&refused), "CONFIGURED");
    house.change(&endpoint.id, |it| it.disabled = Some(true)).await.unwrap();

    // Another secret rotates; what was disabled stays so; and what is not there any more is gone.
    let gateway = house.gateway.restart_with(&config(&with(SECOND_ONE, "\"message.queued\""))).await;
    let mut house = House { admin: gateway.admin().await, gateway };
    let changed = house.listed(&endpoint.id).await;
    assert!(changed.disabled && changed.rotation_end_time.is_some(), "{changed:?}");
    assert_eq!(changed.types, ["message.queued"]);
    let gateway = house.gateway.restart_with(&config(LOCAL)).await;
    let mut admin = gateway.admin().await;
    assert_eq!(admin.list_event_endpoints(all).await.unwrap().into_inner().endpoints, []);
}

#[tokio::test]
async fn a_slow_endpoint_does_not_slow_others() {
    let more = "[callbacks]\nconnect_timeout = \"10s\"\ntimeout = \"60s\"\n";
    let mut house = House::with(&format!("{}per_endpoint = 2\n{more}", LOCAL)).await;
    let (slow, quick) = (receiver().await, receiver().await);
    slow.set_fault(crate::support::vendor_server::Fault::Silence).await;
    let slow_one = house.endpoint(&slow.url(), &["message.queued"]).await;
    house.endpoint(&quick.url(), &["message.queued"]).await;
    for _ in 0..30 {
        house.send(PHONE).await;
    }
    House::called(&quick, 30).await;
    let requests = House::called(&slow, 2).await;
    assert_eq!(requests.len(), 2, "so many are under way at a time");
    assert_eq!(house.deliveries(&slow_one.id).await.len(), 30);
}

#[tokio::test]
async fn tenants_hear_only_of_themselves_and_only_administrators_manage() {
    let mut house = House::new().await;
    let (ours, theirs) = (receiver().await, receiver().await);
    house.endpoint(&ours.url(), &["message.queued"]).await;
    let request = CreateEventEndpointRequest {
        tenant: "other".to_owned(),
        url: theirs.url(),
        ..CreateEventEndpointRequest::default()
    };
    house.admin.create_event_endpoint(request.clone()).await.unwrap();
    let id = house.send(PHONE).await.id;
    let ours = House::called(&ours, 1).await;
    assert_eq!((ours.len(), &ours[0].json()["data"]["message_id"]), (1, &json!(id)));
    assert_eq!(theirs.requests(), []);
    let mut stranger = house.gateway.admin_as("other.other-secret-of-some-length").await;
    let refused = stranger.create_event_endpoint(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_PERMITTED"));
}

/// Nothing is written for a tenant whose events nobody wants.
#[tokio::test]
async fn whoever_has_no_endpoint_pays_nothing() {
    let gateway = Gateway::start_with(&config(LOCAL)).await;
    let mut client = gateway.verifications().await;
    let begun = gateway.begin(&mut client, PHONE).await;
    assert_eq!(begun.sends.len(), 1);
    // Neither news nor a mark at its end.
    let (_gateway, marks) = gateway.due_marks().await;
    assert_eq!(marks, 0);
    let mut house = House::new().await;
    let server = receiver().await;
    house.endpoint(&server.url(), &[]).await;
    let mut client = house.gateway.verifications().await;
    house.gateway.begin(&mut client, PHONE).await;
    House::called(&server, 5).await;
    let (gateway, marks) = house.gateway.due_marks().await;
    assert_eq!(marks, 1, "its end is to be told");
    eventually(async || (server.requests().len() >= 5).then_some(())).await;
    drop(gateway);
}
