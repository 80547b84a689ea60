//! Telling again: one event, or all of a while; and what is told once a record is gone.

use prost_types::Timestamp as Time;
use serde_json::Value;
use tonic::{Code, Status};
use verigate::proto::admin::v1::{DeliveryOutcome, EraseRecipientRequest, ReplayEventsRequest, ReplayEventsResponse};

use crate::events::house::{HOUR, House, LOCAL, SECOND, by_id, receiver};
use crate::support::gateway::{PHONE, START, eventually, phone, reason, violations};
use crate::support::vendor_server::{Fault, Recorded};

async fn replay(
    house: &mut House,
    endpoint: &str,
    what: impl FnOnce(&mut ReplayEventsRequest),
) -> Result<ReplayEventsResponse, Status> {
    let mut request = ReplayEventsRequest {
        tenant: "acme".to_owned(),
        endpoint_id: endpoint.to_owned(),
        ..ReplayEventsRequest::default()
    };
    what(&mut request);
    house.admin.replay_events(request).await.map(tonic::Response::into_inner)
}

/// So many seconds after the beginning.
fn at(seconds: i64) -> Option<Time> {
    let millis = i64::try_from(START.as_millis()).unwrap() + seconds * 1000;
    Some(Time { seconds: millis / 1000, nanos: i32::try_from(millis % 1000 * 1_000_000).unwrap() })
}

#[tokio::test]
async fn one_event_is_told_again_under_its_id_whatever_came_of_it() {
    let mut house = House::new().await;
    let server = receiver().await;
    let endpoint = house.endpoint(&server.url(), &["message.delivered"]).await;
    house.send(PHONE).await;
    house.gateway.clock.advance(SECOND);
    house.send("+60123456780").await;
    House::called(&server, 2).await;
    let deliveries = house.attempted(&endpoint.id, 1).await;
    let event_id = deliveries[0].event_id.clone();
    let replayed = replay(&mut house, &endpoint.id, |it| it.event_id = event_id.clone()).await.unwrap();
    assert_eq!((replayed.events, replayed.rest_time), (1, None));
    let requests = House::called(&server, 3).await;
    assert_eq!(requests[2].header("webhook-id"), Some(event_id.as_str()));
    let log = eventually(async || {
        let log = house.deliveries(&endpoint.id).await;
        (log[0].attempts.len() == 2).then_some(log)
    });
    assert_eq!(log.await[0].outcome(), DeliveryOutcome::Delivered);

    for (event_id, code, why) in [
        ("evt_01a201eb-6366-80f1-a1f7-20ad39c323d0_0", Code::NotFound, "EVENT_NOT_FOUND"),
        ("evt_0", Code::InvalidArgument, "INVALID_FIELD"),
        ("", Code::InvalidArgument, "INVALID_FIELD"),
    ] {
        let refused = replay(&mut house, &endpoint.id, |it| it.event_id = event_id.to_owned()).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (code, why), "{event_id}");
    }
}

#[tokio::test]
async fn all_of_a_while_are_told_again_and_how_many() {
    let mut house = House::new().await;
    let server = receiver().await;
    let endpoint = house.endpoint(&server.url(), &["message.delivered"]).await;
    for _ in 0..5 {
        house.send(PHONE).await;
        house.gateway.clock.advance(100 * SECOND);
    }
    House::called(&server, 5).await;
    house.attempted(&endpoint.id, 1).await;
    // Those of 100, 200 and 300 seconds.
    let replayed =
        replay(&mut house, &endpoint.id, |it| (it.from_time, it.before_time) = (at(100), at(400))).await.unwrap();
    assert_eq!((replayed.events, replayed.rest_time), (3, None));
    let requests = House::called(&server, 8).await;
    assert_eq!(by_id(&requests).into_values().collect::<Vec<_>>(), [1, 2, 2, 2, 1]);
    let backwards = replay(&mut house, &endpoint.id, |it| (it.from_time, it.before_time) = (at(9), at(9))).await;
    assert_eq!(violations(&backwards.unwrap_err())[0].0, "before_time");
    house.change(&endpoint.id, |it| it.disabled = Some(true)).await.unwrap();
    let refused = replay(&mut house, &endpoint.id, |it| it.from_time = at(0)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "ENDPOINT_DISABLED"));
}

/// What an endpoint missed while it was disabled comes by a replay.
#[tokio::test]
async fn what_was_missed_can_be_told() {
    let mut house = House::new().await;
    let server = receiver().await;
    let endpoint = house.endpoint(&server.url(), &["message.delivered"]).await;
    house.change(&endpoint.id, |it| it.disabled = Some(true)).await.unwrap();
    let missed = house.send(PHONE).await.id;
    let mut client = house.gateway.messages().await;
    eventually(async || {
        let request = verigate::proto::messaging::v1::GetMessageRequest { id: missed.clone() };
        let message = client.get_message(request).await.unwrap().into_inner().message.unwrap();
        (message.status() == verigate::proto::messaging::v1::MessageStatus::Delivered).then_some(())
    })
    .await;
    house.change(&endpoint.id, |it| it.disabled = Some(false)).await.unwrap();
    eventually(async || {
        let replayed = replay(&mut house, &endpoint.id, |it| it.from_time = at(0)).await.unwrap();
        (replayed.events == 1).then_some(())
    })
    .await;
    let requests = House::called(&server, 1).await;
    assert_eq!(requests[0].json()["data"]["message_id"], missed);
}

/// Whom an event was about is known only for as long as its record is kept.
#[tokio::test]
async fn of_a_record_that_is_gone_only_ids_are_told() {
    let mut house = House::with(&format!("{LOCAL}\n[verification]\nretention = \"1h\"\n")).await;
    let server = receiver().await;
    server.set_fault(Fault::ServerError).await;
    let endpoint = house.endpoint(&server.url(), &["verification.started"]).await;
    let mut client = house.gateway.verifications().await;
    let begun = house.gateway.begin(&mut client, PHONE).await;
    house.attempted(&endpoint.id, 1).await;
    server.set_fault(None).await;
    house.gateway.clock.advance(3 * HOUR);
    House::called(&server, 2).await;
    let requests = server.requests();
    assert_eq!(requests[0].header("webhook-id"), requests[1].header("webhook-id"));
    let data: Vec<Value> = requests.iter().map(|request| request.json()["data"].take()).collect();
    assert_eq!((&data[0]["recipient"], &data[1]["recipient"]), (&Value::from(PHONE), &Value::Null));
    assert_eq!((&data[1]["verification_id"], &data[1]["status"]), (&Value::from(begun.id), &Value::from("PENDING")));
}

/// What is erased is told by nobody, also where it was told already, and is only told again.
#[tokio::test]
async fn of_whom_was_erased_only_ids_are_told() {
    let mut house = House::new().await;
    let server = receiver().await;
    server.set_fault(Fault::ServerError).await;
    let endpoint = house.endpoint(&server.url(), &["message.queued", "verification.started"]).await;
    let mut client = house.gateway.verifications().await;
    house.gateway.begin(&mut client, PHONE).await;
    house.send(PHONE).await;
    eventually(async || (house.deliveries(&endpoint.id).await.len() == 2).then_some(())).await;
    house.attempted(&endpoint.id, 1).await;
    let request = EraseRecipientRequest { recipient: Some(phone(PHONE)), ..EraseRecipientRequest::default() };
    let erased = house.admin.erase_recipient(request).await.unwrap().into_inner();
    assert_eq!((erased.verifications, erased.messages), (1, 1));
    server.set_fault(None).await;
    house.gateway.clock.advance(6 * SECOND);
    let requests = House::called(&server, 4).await;
    assert_eq!(by_id(&requests).into_values().collect::<Vec<_>>(), [2, 2]);
    let digits = |request: &Recorded| String::from_utf8_lossy(&request.body).contains(&PHONE[3..]);
    assert_eq!(requests.iter().map(digits).collect::<Vec<_>>(), [true, true, false, false]);
}
