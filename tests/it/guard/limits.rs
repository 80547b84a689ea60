//! How many sends: each limit by itself, what is told of it, and that it outlives a restart.

use std::time::Duration;

use tonic::Code;
use verigate::proto::messaging::v1::SendMessagesRequest;
use verigate::proto::messaging::v1::send_messages_request::Content;
use verigate::proto::verification::v1::StartVerificationRequest;

use crate::guard::{detail, guarded, number, try_number, try_start, until_refused, with, without_outcomes};
use crate::support::gateway::{
    CONFIG, Gateway, PHONE, check, phone, reason, resend, retry_after, start, text_to, wrong,
};
use crate::support::http::call;

const HOUR: Duration = Duration::from_secs(3600);

fn from_client(place: u32, client_ip: &str) -> StartVerificationRequest {
    StartVerificationRequest { client_ip: client_ip.to_owned(), ..start(&number(place)) }
}

fn from_device(place: u32, device_id: &str) -> StartVerificationRequest {
    StartVerificationRequest { device_id: device_id.to_owned(), ..start(&number(place)) }
}

#[tokio::test]
async fn one_number_through_twenty_tenants_is_sent_to_so_often_and_no_more() {
    let tenants: String = (0..20)
        .map(|tenant| {
            let secret = format!("secret-of-tenant-{tenant:03}");
            format!("[[tenants]]\nname = \"t{tenant}\"\nkeys = [{{ id = \"t{tenant}\", secret = \"{secret}\" }}]\n")
        })
        .collect();
    let gateway = Gateway::start_with(&format!("{}\n{tenants}", without_outcomes(CONFIG))).await;
    // However it is written.
    let spellings = ["+60123456789", "0060 12-345 6789", "tel:+60123456789", "60123456789"];
    let mut refused = Vec::new();
    for tenant in 0..20 {
        let mut client = gateway.verifications_as(&format!("t{tenant}.secret-of-tenant-{tenant:03}")).await;
        refused.extend(try_number(&mut client, spellings[tenant % 4]).await.err());
    }
    assert_eq!((gateway.inbox(PHONE).await.len(), refused.len()), (12, 8));
    for status in &refused {
        assert_eq!((status.code(), reason(status).as_str()), (Code::ResourceExhausted, "RECIPIENT_LIMIT"));
        assert_eq!((detail(status, "rule"), detail(status, "left")), (Some("recipient".into()), Some("0".into())));
        assert_eq!(retry_after(status), Some(Duration::from_secs(7200)), "one twelfth of a day");
    }
    // Messages are sends, too.
    let mut messages = gateway.messages().await;
    let status = messages.send_message(text_to(PHONE, "Hello")).await.unwrap_err();
    assert_eq!(reason(&status), "RECIPIENT_LIMIT");
    gateway.clock.advance(Duration::from_secs(7200));
    messages.send_message(text_to(PHONE, "Hello")).await.unwrap();
}

#[tokio::test]
async fn a_block_of_ten_thousand_numbers_trips_within_fifty_sends() {
    // In sequence it is the neighbours that are noticed.
    let config = format!("{}\n[guard.conversion]\nmode = \"off\"\n", without_outcomes(CONFIG));
    let gateway = Gateway::start_with(&config).await;
    let mut client = gateway.verifications().await;
    let block = (0..10_000).map(|last| start(&format!("+6012345{last:04}")));
    let (passed, status) = until_refused(&mut client, block).await;
    assert!(passed <= 50, "{passed}");
    assert_eq!(reason(&status), "NUMBERS_IN_SEQUENCE");
    // In any other order it is their number.
    let block = (0..10_000).map(|turn| start(&format!("+6017345{:04}", turn * 37 % 10_000)));
    let (passed, status) = until_refused(&mut client, block).await;
    assert_eq!((passed, reason(&status).as_str()), (50, "NUMBER_BLOCK_LIMIT"));
    assert_eq!(retry_after(&status), Some(Duration::from_secs(72)));
    // The next block, and another tenant, are others.
    try_number(&mut client, "+60173461111").await.unwrap();
    let mut other = gateway.verifications_as("other.other-secret-of-some-length").await;
    try_number(&mut other, "+60173459999").await.unwrap();
    gateway.clock.advance(Duration::from_secs(72));
    try_number(&mut client, "+60173459999").await.unwrap();
}

#[tokio::test]
async fn clients_are_known_by_their_addresses_and_devices() {
    let rules = "[guard.client_address]\nsends = 3\n[guard.client_network]\nsends = 5\n[guard.device]\nsends = 2";
    let gateway = guarded(rules).await;
    let mut client = gateway.verifications().await;
    let (passed, status) = until_refused(&mut client, (0..9).map(|place| from_client(place, "192.0.2.7"))).await;
    assert_eq!((passed, reason(&status).as_str()), (3, "CLIENT_ADDRESS_LIMIT"));
    let status = try_start(&mut client, from_client(9, "::ffff:192.0.2.7")).await.unwrap_err();
    assert_eq!(reason(&status), "CLIENT_ADDRESS_LIMIT", "it is the same address");
    try_start(&mut client, from_client(9, "192.0.2.8")).await.unwrap();

    // Whoever has a /64 has all its addresses, and whoever has a /48 all its /64.
    let same = (10..19).map(|place| from_client(place, &format!("2001:db8:1:2::{place}")));
    let (passed, status) = until_refused(&mut client, same).await;
    assert_eq!((passed, reason(&status).as_str()), (3, "CLIENT_ADDRESS_LIMIT"));
    let hopping = (20..29).map(|place| from_client(place, &format!("2001:db8:1:{place}::1")));
    let (passed, status) = until_refused(&mut client, hopping).await;
    assert_eq!((passed, reason(&status).as_str()), (2, "CLIENT_NETWORK_LIMIT"));
    try_start(&mut client, from_client(30, "2001:db8:2::1")).await.unwrap();

    let (passed, status) = until_refused(&mut client, (40..49).map(|place| from_device(place, "phone 1"))).await;
    assert_eq!((passed, reason(&status).as_str()), (2, "DEVICE_LIMIT"));
    try_start(&mut client, from_device(50, "phone 2")).await.unwrap();
}

/// Whoever is told of by a proxy of ours counts, and nobody else's headers do.
#[tokio::test]
async fn without_a_client_address_the_callers_own_counts_whatever_headers_say() {
    let rules = "[guard]\nclient_address_of_peer = true\nclient_address = { sends = 3 }";
    let config = with(rules);
    let behind = config.replace("[server]\n", "[server]\nproxies = [\"127.0.0.1/32\"]\n");
    for (config, spoof, passes) in [
        // The hop that our proxy saw is the client; what the client wrote before it is not.
        (&behind, "198.51.100.9, 203.0.113.7", 3),
        // From a stranger no header counts, and who calls from this machine is not counted.
        (&config, "203.0.113.7", 8),
    ] {
        let gateway = Gateway::start_with(config).await;
        let mut passed = 0;
        for place in 0..8 {
            let body = format!(r#"{{"recipient": {{"phone": "{}"}}, "delivery_wait": "5s"}}"#, number(place));
            let fields = [
                "Authorization: Bearer acme.acme-secret-of-some-length".to_owned(),
                "Content-Type: application/json".to_owned(),
                format!("X-Forwarded-For: 192.0.2.{place}, {spoof}"),
                format!("X-Real-IP: 192.0.2.{place}"),
                format!("Forwarded: for=192.0.2.{place}"),
            ];
            let fields: Vec<_> = fields.iter().map(String::as_str).collect();
            let answer = call(gateway.addresses.http, "POST", "/v1/verifications", &fields, &body).await;
            assert!(answer.status == 200 || answer.body.contains("CLIENT_ADDRESS_LIMIT"), "{}", answer.body);
            passed += usize::from(answer.status == 200);
        }
        assert_eq!(passed, passes, "{spoof}");
    }
}

#[tokio::test]
async fn prefixes_countries_and_tenants_have_limits_once_they_are_enforced() {
    let rule = |name: &str| format!("[guard.{name}]\nmode = \"enforce\"\nsends = 4");
    let rows = [("prefix", "PREFIX_LIMIT"), ("country_sends", "COUNTRY_LIMIT"), ("tenant", "TENANT_LIMIT")];
    for (name, expected) in rows {
        let gateway = guarded(&rule(name)).await;
        let mut client = gateway.verifications().await;
        let numbers = (0..9).map(|turn| start(&format!("+6012345{turn}{turn}00")));
        let (passed, status) = until_refused(&mut client, numbers).await;
        assert_eq!((passed, reason(&status).as_str()), (4, expected));
        let elsewhere = try_number(&mut client, "+6591234567").await;
        assert_eq!(elsewhere.is_ok(), name != "tenant", "{name}");
    }
}

#[tokio::test]
async fn what_is_only_monitored_or_off_refuses_nothing() {
    for mode in ["monitor", "off"] {
        let rules =
            format!("[guard.device]\nmode = \"{mode}\"\nsends = 1\n[guard.tenant]\nmode = \"{mode}\"\nsends = 1");
        let gateway = guarded(&rules).await;
        let mut client = gateway.verifications().await;
        for place in 0..5 {
            let started = try_start(&mut client, from_device(place, "phone 1")).await.unwrap();
            assert_ne!(started.nearest_limit.map(|it| it.rule), Some("device".to_owned()));
        }
    }
}

#[tokio::test]
async fn an_answer_tells_the_nearest_limit_and_a_refusal_takes_nothing_from_the_others() {
    let gateway = guarded("[guard.device]\nsends = 3\n[guard.client_address]\nsends = 9").await;
    let mut client = gateway.verifications().await;
    let request =
        |place| StartVerificationRequest { client_ip: "192.0.2.7".to_owned(), ..from_device(place, "phone 1") };
    for left in [2, 1, 0] {
        let nearest = try_start(&mut client, request(left)).await.unwrap().nearest_limit.unwrap();
        assert_eq!((nearest.rule.as_str(), nearest.left), ("device", i32::try_from(left).unwrap()));
    }
    for place in 10..20 {
        assert_eq!(reason(&try_start(&mut client, request(place)).await.unwrap_err()), "DEVICE_LIMIT");
    }
    let nearest = try_start(&mut client, from_client(30, "192.0.2.7")).await.unwrap().nearest_limit.unwrap();
    assert_eq!((nearest.rule.as_str(), nearest.left), ("client_address", 5), "nine, less three, less this one");
}

#[tokio::test]
async fn sending_again_is_sending() {
    let gateway = guarded("[guard.number_block]\nsends = 3").await;
    let mut client = gateway.verifications().await;
    let id = try_number(&mut client, PHONE).await.unwrap().verification.unwrap().id;
    for passes in [true, true, false] {
        gateway.clock.advance(Duration::from_secs(120));
        let again = resend(&mut client, &id).await;
        assert_eq!(again.as_ref().is_ok(), passes, "{again:?}");
        if let Err(status) = again {
            assert_eq!(reason(&status), "NUMBER_BLOCK_LIMIT");
        }
    }
}

#[tokio::test]
async fn of_a_batch_each_message_passes_or_not_by_itself() {
    let gateway = guarded("[guard.recipient]\nmode = \"enforce\"\nsends = 1").await;
    let mut client = gateway.messages().await;
    client.send_message(text_to(PHONE, "Hello")).await.unwrap();
    let request = SendMessagesRequest {
        recipients: vec![phone(PHONE), phone("+60123456780")],
        content: Some(Content::Text("Hello".to_owned())),
        ..SendMessagesRequest::default()
    };
    let results = client.send_messages(request).await.unwrap().into_inner().results;
    let failed: Vec<_> = results.iter().map(|result| format!("{:?}", result.outcome)).collect();
    assert!(failed[0].contains("RecipientLimit") && failed[0].contains("Error"), "{}", failed[0]);
    assert!(failed[1].contains("Message("), "{}", failed[1]);
}

#[tokio::test]
async fn limits_outlive_a_restart() {
    let gateway = guarded("[guard.device]\nsends = 2").await;
    let mut client = gateway.verifications().await;
    let (passed, _) = until_refused(&mut client, (0..5).map(|place| from_device(place, "phone 1"))).await;
    assert_eq!(passed, 2);
    let gateway = gateway.restart_with(&with("[guard.device]\nsends = 2")).await;
    let mut client = gateway.verifications().await;
    assert_eq!(reason(&try_start(&mut client, from_device(9, "phone 1")).await.unwrap_err()), "DEVICE_LIMIT");
    gateway.clock.advance(HOUR);
    try_start(&mut client, from_device(9, "phone 1")).await.unwrap();
}

#[tokio::test]
async fn a_few_guesses_on_very_many_people_are_too_many() {
    let gateway = guarded("[guard.tenant_failures]\nfailures = 6").await;
    let mut client = gateway.verifications().await;
    let mut people = Vec::new();
    for place in 0..6 {
        let id = try_number(&mut client, &number(place)).await.unwrap().verification.unwrap().id;
        people.push((id, gateway.code(&number(place)).await));
    }
    let mut judged = 0;
    let refused = loop {
        let (id, code) = &people[judged % 4];
        match check(&mut client, id, &wrong(code, 7)).await {
            Ok(_) => judged += 1,
            Err(status) => break status,
        }
    };
    assert_eq!((judged, refused.code(), reason(&refused).as_str()), (6, Code::ResourceExhausted, "TENANT_FAILURES"));
    assert_eq!(retry_after(&refused), Some(Duration::from_secs(600)));
    let (id, code) = &people[5];
    assert_eq!(reason(&check(&mut client, id, code).await.unwrap_err()), "TENANT_FAILURES", "right or not");
    // Another tenant's people mistype by themselves.
    let mut other = gateway.verifications_as("other.other-secret-of-some-length").await;
    let id = try_number(&mut other, "+60123450000").await.unwrap().verification.unwrap().id;
    let code = gateway.code("+60123450000").await;
    check(&mut other, &id, &wrong(&code, 7)).await.unwrap();
    check(&mut other, &id, &code).await.unwrap();
    // One that is right makes up for four that are not.
    gateway.clock.advance(Duration::from_secs(600));
    let id = try_number(&mut client, "+60123450001").await.unwrap().verification.unwrap().id;
    let code = gateway.code("+60123450001").await;
    check(&mut client, &id, &code).await.unwrap();
    let mut judged = 0;
    let id = try_number(&mut client, "+60123450002").await.unwrap().verification.unwrap().id;
    let code = gateway.code("+60123450002").await;
    while check(&mut client, &id, &wrong(&code, judged)).await.is_ok_and(|answer| answer.checks_left > 0) {
        judged += 1;
    }
    assert_eq!(judged, 4);
}

#[tokio::test]
async fn who_is_safe_or_trusted_passes_where_others_do_not() {
    let rules = "[guard]\nsafelist = [\"+60123456789\", \"+6012345\"]\n[guard.number_block]\nsends = 1";
    let gateway = guarded(rules).await;
    let mut client = gateway.verifications().await;
    for last in 0..5 {
        try_number(&mut client, &format!("+601234500{last}9")).await.unwrap();
    }
    try_number(&mut client, "+60173450001").await.unwrap();
    let refused = try_number(&mut client, "+60173450019").await.unwrap_err();
    assert_eq!(reason(&refused), "NUMBER_BLOCK_LIMIT");
    // Vouching for a person is for tenants that may.
    let vouched = StartVerificationRequest { trusted: true, ..start("+60173450019") };
    let refused = try_start(&mut client, vouched.clone()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_PERMITTED"));
    let gateway = gateway.restart_with(&with(&format!("{rules}\n[guard.tenants.acme]\ntrust = true"))).await;
    let mut client = gateway.verifications().await;
    let id = try_start(&mut client, vouched).await.unwrap().verification.unwrap().id;
    gateway.clock.advance(Duration::from_secs(60));
    resend(&mut client, &id).await.expect("and so is what is sent again");
    assert_eq!(reason(&try_number(&mut client, "+60173450039").await.unwrap_err()), "NUMBER_BLOCK_LIMIT");
}
