//! What becomes of an event that is not taken: the schedule, pauses that are asked for, endpoints that are gone or stay
//! down, and ids that never change.

use std::collections::BTreeSet;
use std::time::Duration;

use prost_types::Timestamp as Time;
use serde_json::json;
use verigate::feed::delivery::WAITS;
use verigate::proto::admin::v1::{
    DeliveryError, DeliveryOutcome, EndpointDisableReason, EventDelivery, ListEventDeliveriesRequest,
};

use crate::events::house::{HOUR, House, LOCAL, SECOND, by_id, receiver};
use crate::support::gateway::{PHONE, eventually};
use crate::support::vendor_server::{Answer, Fault};

fn millis(time: &Time) -> i64 {
    time.seconds * 1000 + i64::from(time.nanos) / 1_000_000
}

/// How long after its last attempt a delivery is tried again.
fn wait(delivery: &EventDelivery) -> Duration {
    let last = delivery.attempts.last().unwrap().time.as_ref().unwrap();
    let next = delivery.next_attempt_time.as_ref().unwrap();
    Duration::from_millis((millis(next) - millis(last)).try_into().unwrap())
}

#[tokio::test]
async fn an_event_is_tried_by_the_schedule_under_one_id_and_then_its_endpoint_is_disabled() {
    let mut house = House::new().await;
    let server = receiver().await;
    server.set_fault(Fault::ServerError).await;
    let endpoint = house.endpoint(&server.url(), &["message.delivered"]).await;
    house.send(PHONE).await;
    for (turn, suggested) in WAITS.into_iter().enumerate() {
        let deliveries = house.attempted(&endpoint.id, turn + 1).await;
        let waits = wait(&deliveries[0]);
        assert!(waits >= suggested && waits <= suggested * 11 / 10, "{turn}: {waits:?}");
        assert_eq!(server.requests().len(), turn + 1);
        house.gateway.clock.advance(waits);
    }
    let deliveries = house.attempted(&endpoint.id, 10).await;
    assert_eq!((deliveries[0].outcome(), &deliveries[0].next_attempt_time), (DeliveryOutcome::Failed, &None));
    assert_eq!(deliveries[0].attempts[9].status, 500);
    let disabled = eventually(async || Some(house.listed(&endpoint.id).await).filter(|it| it.disabled)).await;
    assert_eq!(disabled.disable_reason(), EndpointDisableReason::Failing);

    let requests = server.requests();
    assert_eq!(by_id(&requests).into_values().collect::<Vec<_>>(), [10], "one id for all");
    let bodies: BTreeSet<_> = requests.iter().map(|request| request.body.clone()).collect();
    assert_eq!(bodies.len(), 1, "and one body");
    let times: BTreeSet<_> = requests.iter().map(|request| request.header("webhook-timestamp").unwrap()).collect();
    assert_eq!(times.len(), 10, "each signed at its own time");
}

#[tokio::test]
async fn a_pause_that_is_asked_for_is_kept_and_a_restart_forgets_nothing() {
    let mut house = House::new().await;
    let server = receiver().await;
    server.set_fault(Fault::Answer(Answer::new(503, "").with_header("retry-after", "90"))).await;
    let endpoint = house.endpoint(&server.url(), &["message.delivered"]).await;
    house.send(PHONE).await;
    let deliveries = house.attempted(&endpoint.id, 1).await;
    assert_eq!(wait(&deliveries[0]), 90 * SECOND);
    server.set_fault(None).await;
    let mut house = house.restart().await;
    house.gateway.clock.advance(89 * SECOND);
    assert_eq!(house.deliveries(&endpoint.id).await[0].attempts.len(), 1);
    house.gateway.clock.advance(SECOND);
    let deliveries = house.attempted(&endpoint.id, 2).await;
    assert_eq!((deliveries[0].outcome(), deliveries[0].attempts[1].status), (DeliveryOutcome::Delivered, 204));
    eventually(async || house.listed(&endpoint.id).await.last_success_time).await;
    assert_eq!(by_id(&server.requests()).len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_is_called_no_more_until_it_is_enabled() {
    let mut house = House::new().await;
    let server = receiver().await;
    server.set_fault(Fault::Answer(Answer::new(410, ""))).await;
    let endpoint = house.endpoint(&server.url(), &["message.delivered"]).await;
    house.send(PHONE).await;
    let disabled = eventually(async || Some(house.listed(&endpoint.id).await).filter(|it| it.disabled)).await;
    assert_eq!(disabled.disable_reason(), EndpointDisableReason::Gone);
    assert_eq!(house.deliveries(&endpoint.id).await[0].outcome(), DeliveryOutcome::Failed);
    house.send_and_see(PHONE).await;
    house.gateway.clock.advance(HOUR);
    server.set_fault(None).await;
    house.change(&endpoint.id, |it| it.disabled = Some(false)).await.unwrap();
    let id = house.send(PHONE).await.id;
    let requests = House::called(&server, 2).await;
    assert_eq!((requests.len(), &requests[1].json()["data"]["message_id"]), (2, &json!(id)));
}

#[tokio::test]
async fn the_log_is_listed_in_pages_by_endpoint_event_and_outcome() {
    let mut house = House::new().await;
    let (up, down) = (receiver().await, receiver().await);
    down.set_fault(Fault::Refuse).await;
    let up_one = house.endpoint(&up.url(), &["message.*"]).await;
    let down_one = house.endpoint(&down.url(), &["message.queued"]).await;
    for _ in 0..3 {
        house.send(PHONE).await;
    }
    House::called(&up, 12).await;
    let refused = house.attempted(&down_one.id, 1).await;
    assert_eq!((refused.len(), refused[0].outcome()), (3, DeliveryOutcome::Pending));
    assert_eq!(refused[0].attempts[0].error(), DeliveryError::Unanswered);
    assert_eq!(house.attempted(&up_one.id, 1).await.len(), 12);

    let all = ListEventDeliveriesRequest { tenant: "acme".to_owned(), page_size: 4, ..Default::default() };
    let (mut page_token, mut seen) = (String::new(), Vec::new());
    loop {
        let request = ListEventDeliveriesRequest { page_token, ..all.clone() };
        let page = house.admin.list_event_deliveries(request).await.unwrap().into_inner();
        seen.extend(page.deliveries);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(seen.len(), 15);
    let keys: BTreeSet<_> = seen.iter().map(|it| (it.endpoint_id.clone(), it.event_id.clone())).collect();
    assert_eq!(keys.len(), 15, "none twice");
    let event_id = refused[1].event_id.clone();
    let one = ListEventDeliveriesRequest { event_id, ..all.clone() };
    assert_eq!(house.admin.list_event_deliveries(one.clone()).await.unwrap().into_inner().deliveries.len(), 2);
    let outcomes = vec![DeliveryOutcome::Pending.into()];
    let pending = ListEventDeliveriesRequest { outcomes, ..all };
    let page = house.admin.list_event_deliveries(pending.clone()).await.unwrap().into_inner();
    assert_eq!(page.deliveries.len(), 3);
    let first = house.admin.list_event_deliveries(ListEventDeliveriesRequest { page_size: 1, ..one.clone() });
    let page_token = first.await.unwrap().into_inner().next_page_token;
    let stolen = ListEventDeliveriesRequest { page_token, ..pending };
    assert!(house.admin.list_event_deliveries(stolen.clone()).await.is_err(), "a token of another list");
    let stolen = ListEventDeliveriesRequest { tenant: "other".to_owned(), page_token: stolen.page_token, ..one };
    assert!(house.admin.list_event_deliveries(stolen).await.is_err(), "of another tenant");
}

/// The backlog of an endpoint is bounded; what does not fit waits in the feed and comes when there is room.
#[tokio::test]
async fn what_finds_no_room_waits_in_the_feed() {
    let mut house = House::with(&format!("{LOCAL}backlog = 100\n")).await;
    let server = receiver().await;
    server.set_fault(Fault::ServerError).await;
    let endpoint = house.endpoint(&server.url(), &["message.queued"]).await;
    for _ in 0..200 {
        house.send(PHONE).await;
    }
    eventually(async || (house.deliveries(&endpoint.id).await.len() >= 100).then_some(())).await;
    assert_eq!(house.attempted(&endpoint.id, 1).await.len(), 100);
    server.set_fault(None).await;
    house.gateway.clock.advance(6 * SECOND);
    eventually(async || (by_id(&server.requests()).len() == 200).then_some(())).await;
}
