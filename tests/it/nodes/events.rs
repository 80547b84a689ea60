//! Events of several nodes: none is missing, none stands in a feed twice, and an endpoint is called by one node at a time.

use std::collections::BTreeSet;

use tokio::task::JoinHandle;
use verigate::proto::admin::v1::{CreateEventEndpointRequest, EventEndpoint, UpdateEventEndpointRequest};

use crate::events::house::{FIRST, LOCAL, by_id, config, receiver, types};
use crate::nodes::house::{House, Node, SECOND, State};
use crate::support::gateway::{eventually, text_to};
use crate::support::vendor_server::Fault;

/// Nodes whose tenant may have endpoints on this machine, and an inbox each.
async fn three(house: &House) -> Vec<Node> {
    let nodes = vec![house.node().await, house.node().await, house.node().await];
    house.joined(3).await;
    nodes
}

async fn create(house: &House, node: &Node, url: &str) -> EventEndpoint {
    let request = CreateEventEndpointRequest {
        tenant: "acme".to_owned(),
        url: url.to_owned(),
        types: vec!["message.queued".to_owned()],
        secret: FIRST.to_owned(),
        ..CreateEventEndpointRequest::default()
    };
    let mut admin = node.gateway.admin().await;
    let made: JoinHandle<_> = tokio::spawn(async move { admin.create_event_endpoint(request).await });
    house.pass_until(async || made.is_finished().then_some(())).await;
    made.await.unwrap().unwrap().into_inner().endpoint.unwrap()
}

/// Sends so many messages at a node. The ids of what is to be told of them.
async fn send(node: &Node, count: usize) -> BTreeSet<String> {
    let mut client = node.gateway.messages().await;
    let mut ids = BTreeSet::new();
    for last in 0..count {
        let text = text_to(&format!("+601234567{last:02}"), "Hi");
        let message = client.send_message(text).await.unwrap().into_inner().message.unwrap();
        ids.insert(format!("evt_{}_0", message.id));
    }
    ids
}

#[tokio::test]
async fn an_endpoint_is_told_once_of_what_happens_at_any_node() {
    let house = House::with(&config(LOCAL));
    let nodes = three(&house).await;
    let server = receiver().await;
    create(&house, &nodes[1], &server.url()).await;
    let mut sent = BTreeSet::new();
    for node in &nodes {
        sent.extend(send(node, 10).await);
    }
    house.pass_until(async || (by_id(&server.requests()).len() >= 30).then_some(())).await;
    house.pass(20 * SECOND).await;
    let told = by_id(&server.requests());
    assert_eq!(told.keys().cloned().collect::<BTreeSet<_>>(), sent);
    assert!(told.values().all(|times| *times == 1), "{told:?}");
    assert!(types(&server.requests()).iter().all(|kind| kind == "message.queued"));
}

/// Whoever writes feeds and calls endpoints dies, or stands still and comes back; nodes also stop and come in order.
#[tokio::test]
async fn others_take_over_from_whoever_writes_feeds_and_calls_endpoints() {
    let house = House::with(&config(LOCAL));
    let mut nodes = three(&house).await;
    let server = receiver().await;
    create(&house, &nodes[0], &server.url()).await;
    let mut sent = send(&nodes[0], 5).await;
    house.pass_until(async || (by_id(&server.requests()).len() == 5).then_some(())).await;
    // Each in turn, so the one that has the duties is among them.
    for turn in 0..3 {
        nodes[turn].set(State::Held);
        sent.extend(send(&nodes[(turn + 1) % 3], 5).await);
        let wanted = sent.len();
        house.pass_until(async || (by_id(&server.requests()).len() == wanted).then_some(())).await;
        nodes[turn].set(State::Open);
        house.pass(10 * SECOND).await;
    }
    // In order: nothing is told twice, and nobody waits for long.
    let before = server.requests().len();
    let stopping = nodes.remove(0);
    sent.extend(send(&stopping, 5).await);
    stopping.gateway.stop().await;
    nodes.push(house.node().await);
    sent.extend(send(&nodes[2], 5).await);
    let wanted = sent.len();
    house.pass_until(async || (by_id(&server.requests()).len() == wanted).then_some(())).await;
    nodes.remove(0).die();
    sent.extend(send(&nodes[0], 5).await);
    let wanted = sent.len();
    house.pass_until(async || (by_id(&server.requests()).len() == wanted).then_some(())).await;
    house.pass(30 * SECOND).await;
    assert_eq!(by_id(&server.requests()).into_keys().collect::<BTreeSet<_>>(), sent);
    assert_eq!(server.requests().len() - before, 15, "nothing twice after the pauses");
}

/// What one node changes of an endpoint the others know within seconds.
#[tokio::test]
async fn an_endpoint_that_is_disabled_at_one_node_is_called_by_none() {
    let house = House::with(&config(LOCAL));
    let nodes = three(&house).await;
    let server = receiver().await;
    let id = create(&house, &nodes[0], &server.url()).await.id;
    let request = UpdateEventEndpointRequest {
        tenant: "acme".to_owned(),
        endpoint_id: id,
        disabled: Some(true),
        ..UpdateEventEndpointRequest::default()
    };
    nodes[2].gateway.admin().await.update_event_endpoint(request.clone()).await.unwrap();
    house.pass(2 * SECOND).await;
    send(&nodes[1], 3).await;
    house.pass(20 * SECOND).await;
    assert!(server.requests().is_empty());
    // Back again, it is told of what happens from then on, whoever is quick to try a refusing one.
    server.set_fault(Fault::Refuse).await;
    let request = UpdateEventEndpointRequest { disabled: Some(false), ..request };
    nodes[1].gateway.admin().await.update_event_endpoint(request).await.unwrap();
    house.pass(2 * SECOND).await;
    let sent = send(&nodes[0], 3).await;
    server.set_fault(None).await;
    house.pass_until(async || (by_id(&server.requests()).len() >= 3).then_some(())).await;
    assert_eq!(by_id(&server.requests()).into_keys().collect::<BTreeSet<_>>(), sent);
    eventually(async || (server.requests().len() == 3).then_some(())).await;
}
