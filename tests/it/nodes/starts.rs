//! Nodes that start at once, what they know of each other, and what all of them count.

use tokio::join;
use verigate::proto::admin::v1::{Conversion, CreateApiKeyRequest, ListConversionsRequest, ListEventEndpointsRequest};
use verigate::proto::verification::v1::CheckOutcome;

use crate::events::house::{FIRST, LOCAL, config};
use crate::nodes::house::{House, SECOND, calling, code, vendor};
use crate::support::gateway::{PHONE, check, eventually, start, start_now};

/// Whoever is second reads the secret of the first, and finds the endpoints of the configuration there.
#[tokio::test]
async fn nodes_that_start_at_once_on_an_empty_store_become_one_gateway() {
    let vendor = vendor().await;
    let endpoint = format!(
        "{LOCAL}\n[[events.endpoints]]\nname = \"main\"\ntenant = \"acme\"\nurl = \"{}\"\nsecret = \"{FIRST}\"\n",
        vendor.url()
    );
    let house = House::with(&config(&endpoint));
    let (one, other, third) = join!(house.node(), house.node(), house.node());
    house.joined(3).await;
    for node in [&one, &other, &third] {
        let mut admin = node.gateway.admin().await;
        let request = ListEventEndpointsRequest { tenant: "acme".to_owned() };
        let endpoints = admin.list_event_endpoints(request).await.unwrap().into_inner().endpoints;
        assert_eq!(endpoints.len(), 1, "{endpoints:?}");
    }
    let mut client = one.gateway.verifications().await;
    let begun = start_now(&mut client, start(PHONE)).await.unwrap();
    let code = one.gateway.code(PHONE).await;
    let mut client = other.gateway.verifications().await;
    assert_eq!(check(&mut client, &begun.id, &code).await.unwrap().outcome(), CheckOutcome::Approved);
}

#[tokio::test]
async fn a_key_that_one_node_makes_opens_all_within_seconds() {
    let house = House::with(&config(""));
    let (one, other) = (house.node().await, house.node().await);
    house.joined(2).await;
    let request = CreateApiKeyRequest { tenant: "acme".to_owned(), ..CreateApiKeyRequest::default() };
    let made = one.gateway.admin().await.create_api_key(request).await.unwrap().into_inner();
    let key = format!("{}.{}", made.api_key.unwrap().key_id, made.secret);
    house.pass(5 * SECOND).await;
    let mut client = other.gateway.verifications_as(&key).await;
    eventually(async || start_now(&mut client, start(PHONE)).await.ok()).await;
}

/// Each adds to what is written, and takes up what the others have added.
#[tokio::test]
async fn conversion_is_counted_over_all_nodes() {
    let vendor = vendor().await;
    let house = House::with(&calling(&vendor, "").replace("brand = \"Acme\"", "brand = \"Acme\"\nadmin = true"));
    let nodes = [house.node().await, house.node().await, house.node().await];
    house.joined(3).await;
    for (turn, node) in nodes.iter().enumerate() {
        let mut client = node.gateway.verifications().await;
        for person in 0..=turn {
            let begun = node.gateway.begin(&mut client, &format!("+60123456{turn}{person}0")).await;
            check(&mut client, &begun.id, &code(&vendor)).await.unwrap();
        }
    }
    // Written after two minutes at most, and seen by all after two more.
    house.pass(250 * SECOND).await;
    for node in &nodes {
        let mut admin = node.gateway.admin().await;
        let rows = admin.list_conversions(ListConversionsRequest::default()).await.unwrap().into_inner().conversions;
        let count = |of: fn(&Conversion) -> i32| rows.iter().map(of).sum::<i32>();
        assert_eq!((count(|row| row.sends), count(|row| row.approvals)), (6, 6), "{rows:?}");
    }
}
