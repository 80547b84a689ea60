//! Where endpoints may not lead, and what may not leak: private addresses by name and by redirect, secrets, codes, texts
//! and recipients in the log and in the files.

use std::path::Path;

use verigate::proto::admin::v1::DeliveryError;
use verigate::proto::verification::v1::StartVerificationRequest;

use crate::events::house::{FIRST, House, LOCAL, receiver};
use crate::support::gateway::{PHONE, check, start, start_now};
use crate::support::log::Log;
use crate::support::vendor_server::Fault;

#[tokio::test]
async fn a_name_that_leads_inside_is_judged_when_it_is_called() {
    // Endpoints may not be on this machine.
    let mut house = House::with("").await;
    let server = receiver().await;
    for url in [server.url(), server.url().replace("http", "https"), "https://[::ffff:127.0.0.1]/".to_owned()] {
        assert!(house.create(&url, &[]).await.is_err(), "{url}");
    }
    let by_name = server.url().replace("http://127.0.0.1", "https://localhost");
    let endpoint = house.endpoint(&by_name, &["message.queued"]).await;
    house.send(PHONE).await;
    let deliveries = house.attempted(&endpoint.id, 1).await;
    assert_eq!(deliveries[0].attempts[0].error(), DeliveryError::Forbidden);
    assert_eq!(server.requests(), []);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut house = House::new().await;
    let (server, inside) = (receiver().await, receiver().await);
    server.set_fault(Fault::Redirect(inside.url())).await;
    let endpoint = house.endpoint(&server.url(), &["message.queued"]).await;
    house.send(PHONE).await;
    let deliveries = house.attempted(&endpoint.id, 1).await;
    assert_eq!(deliveries[0].attempts[0].status, 302);
    assert!(deliveries[0].next_attempt_time.is_some());
    assert_eq!(inside.requests(), []);
}

/// What was allowed when an endpoint was made may not be allowed any more.
#[tokio::test]
async fn an_endpoint_is_judged_by_the_configuration_of_now() {
    let mut house = House::new().await;
    let server = receiver().await;
    let endpoint = house.endpoint(&server.url(), &["message.queued"]).await;
    let gateway = house.gateway.restart_with(&crate::events::house::config("")).await;
    let mut house = House { admin: gateway.admin().await, gateway };
    house.send(PHONE).await;
    let deliveries = house.attempted(&endpoint.id, 1).await;
    assert_eq!(deliveries[0].attempts[0].error(), DeliveryError::Forbidden);
    assert_eq!(server.requests(), []);
}

#[tokio::test]
async fn neither_calls_nor_log_nor_files_give_away_what_they_must_not() {
    const CODE: &str = "739152846";
    let log = Log::start("trace");
    let mut house = House::with(LOCAL).await;
    let server = receiver().await;
    let url = format!("{}/path-canary-4711", server.url());
    house.endpoint(&url, &[]).await;
    let mut client = house.gateway.verifications().await;
    let request = StartVerificationRequest { custom_code: CODE.to_owned(), ..start(PHONE) };
    let begun = start_now(&mut client, request).await.unwrap();
    check(&mut client, &begun.id, "000000000").await.unwrap();
    check(&mut client, &begun.id, CODE).await.unwrap();
    house.send("+60123456780").await;
    let requests = House::called(&server, 7 + 4).await;
    for request in &requests {
        let told = format!("{request:?}{}", String::from_utf8_lossy(&request.body));
        assert!(!told.contains(CODE) && !told.contains("Your table is ready"), "{told}");
        assert!(!told.contains(FIRST), "{told}");
    }
    let data = house.gateway.data();
    let house = house.restart().await;
    let logged = String::from_utf8_lossy(&log.bytes()).into_owned();
    for secret in [CODE, FIRST, &FIRST[6..], "path-canary-4711", "Your table is ready"] {
        assert!(!logged.contains(secret), "{secret} was logged");
        assert!(!holds(&data, secret.as_bytes()), "{secret} is in a file");
    }
    assert!(!holds(&data, b"60123456789") && !holds(&data, b"verification.approved"));
    drop(house);
}

/// Whether a file of the folder holds these bytes.
fn holds(folder: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return holds(&path, bytes);
        }
        std::fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes)
    })
}
