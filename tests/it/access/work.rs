//! Another tenant's id takes the way of an unknown one: as many reads and commits, for each use of it. Time itself is no
//! test, but what takes time here is the store.

use std::sync::Arc;

use verigate::contacts::cell::Values;
use verigate::contacts::push::Queue;
use verigate::contacts::rows::NewRow;
use verigate::contacts::service::{Contacts, ContactsConfig};
use verigate::error::Error;
use verigate::event::fed::Fed;
use verigate::id::{Id, TenantName};
use verigate::messaging::holder::{Ground, SendRecord};
use verigate::messaging::sending::SendStatus;
use verigate::random::OsRandom;
use verigate::store::Store;
use verigate::tenant::Tenant;
use verigate::vendor::FeedbackOutcome;
use verigate::verification::code::Candidate;
use verigate::verification::request::{NewCheck, Target};

use crate::support::floor::{Floor, code_to, number};
use crate::support::gateway::eventually;

/// The id with its last byte changed.
fn unknown(id: Id) -> Id {
    let mut bytes = *id.as_bytes();
    bytes[15] ^= 1;
    Id::from_bytes(bytes)
}

/// What a use of an id costs, for theirs and for one that nobody has.
async fn compare<T>(floor: &Floor, what: &str, theirs: Id, call: impl AsyncFn(Id) -> Result<T, Error>) {
    let mut costs = Vec::new();
    for id in [theirs, unknown(theirs)] {
        let before = floor.work();
        let Err(error) = call(id).await else { panic!("{what}: let in") };
        costs.push((floor.work().since(before), error.reason(), error.message().to_owned()));
    }
    assert_eq!(costs[0], costs[1], "{what}");
}

#[tokio::test]
async fn an_id_of_another_tenant_costs_what_an_unknown_one_does() {
    let floor = Floor::new(&[("inbox", 8, "")]).await;
    let stranger = Tenant { name: "other".parse::<TenantName>().unwrap(), ..floor.tenant.clone() };
    let name = &stranger.name;
    let begun = floor.verifications.start(&floor.tenant, code_to(number(10), None)).await.unwrap();
    let theirs = begun.view.verification.id;
    let sent = floor.send(number(11)).await;
    // What vendors are told about goes on beside; it is all done before anything is compared.
    floor.until(&sent, SendStatus::Delivered).await;
    let verification = async || floor.verifications.get(&floor.tenant.name, theirs).await.unwrap().verification;
    eventually(async || {
        let arrived = verification().await.sends()[0].status == SendStatus::Delivered;
        (arrived && floor.store.is_idle()).then_some(())
    })
    .await;

    let verifications = &floor.verifications;
    compare(&floor, "get", theirs, async |id| verifications.get(name, id).await).await;
    compare(&floor, "cancel", theirs, async |id| verifications.cancel(name, id).await).await;
    compare(&floor, "resend", theirs, async |id| verifications.resend(name, id, None).await).await;
    compare(&floor, "watch", theirs, async |id| verifications.watch(name, id).next().await).await;
    let check = async |id| {
        let candidate = Candidate::parse("123456").unwrap();
        verifications.check(&stranger, NewCheck { target: Target::Id(id), candidate, idempotency_key: None }).await
    };
    compare(&floor, "check", theirs, check).await;
    let received = FeedbackOutcome::Received;
    compare(&floor, "feedback", theirs, async |id| verifications.feedback(name, id, received).await).await;

    let messaging = &floor.messaging;
    compare(&floor, "get message", sent.id, async |id| messaging.get(name, id).await).await;
    compare(&floor, "cancel message", sent.id, async |id| messaging.cancel(name, id).await).await;
    compare(&floor, "watch message", sent.id, async |id| messaging.watch(name, id).next().await).await;
    compare(&floor, "feedback on message", sent.id, async |id| messaging.feedback(name, id, received).await).await;
    compare(&floor, "batch", sent.id, async |id| messaging.batch(name, id).await).await;
}

#[tokio::test]
async fn a_contact_of_another_tenant_costs_what_an_unknown_one_does() {
    let floor = Floor::new(&[("inbox", 8, "")]).await;
    let ground = Ground {
        store: Arc::clone(&floor.store) as Arc<dyn Store>,
        keys: floor.keys.clone(),
        clock: Arc::new(floor.clock.clone()),
        random: Arc::new(OsRandom),
        fed: Fed::default(),
    };
    let config = ContactsConfig { max_rows: 100, push: Vec::new() };
    let contacts = Contacts::new(ground, &config, Arc::new(Queue::new(Vec::new())));
    let new = NewRow { values: Values::new(), idempotency_key: None, unread: Vec::new() };
    let row = contacts.create_row(&floor.tenant, new.clone()).await.unwrap().id;
    // A tenant that has a table of its own.
    let stranger = Tenant { name: "other".parse().unwrap(), ..floor.tenant.clone() };
    contacts.create_row(&stranger, new).await.unwrap();
    let name = &stranger.name;
    compare(&floor, "get row", row, async |id| contacts.get_row(name, id).await).await;
    compare(&floor, "update row", row, async |id| contacts.update_row(&stranger, id, &Values::new()).await).await;
    compare(&floor, "delete row", row, async |id| contacts.delete_row(name, id).await).await;
}
