//! Watches of a tenant's events: where they begin, that they come back without a gap and without doubles, and when they
//! cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use tonic::{Code, Streaming};
use verigate::proto::event::v1::{Event, WatchEventsRequest, WatchEventsResponse, event};

use crate::events::house::{HOUR, House, LOCAL, SECOND, config};
use crate::native_json::client::{Caller, Told};
use crate::support::gateway::{Events, Gateway, PHONE, reason, text_to, violations};

const ACME: &str = "acme.acme-secret-of-some-length";
const OTHER: &str = "other.other-secret-of-some-length";

/// Begins a watch, and takes the first answer, which only says where it begins.
async fn watch(client: &mut Events, after: &str, types: &[&str]) -> (Streaming<WatchEventsResponse>, String) {
    let types = types.iter().map(|&kind| kind.to_owned()).collect();
    let request = WatchEventsRequest { after: after.to_owned(), types };
    let mut stream = client.watch_events(request).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.event, None);
    (stream, first.cursor)
}

/// The next event and the cursor after it.
async fn next(stream: &mut Streaming<WatchEventsResponse>) -> (Event, String) {
    loop {
        let answer = stream.message().await.unwrap().unwrap();
        if let Some(event) = answer.event {
            return (event, answer.cursor);
        }
    }
}

fn message_of(event: &Event) -> &str {
    match event.subject.as_ref().unwrap() {
        event::Subject::MessageId(id) | event::Subject::VerificationId(id) => id,
    }
}

#[tokio::test]
async fn a_watch_sees_what_happens_from_now_on_and_comes_back_after_a_restart() {
    let house = House::with("").await;
    // Nobody watched yet, so this is not written down.
    house.send(PHONE).await;
    let mut client = house.gateway.events_as(ACME).await;
    let (mut stream, begin) = watch(&mut client, "", &[]).await;
    let id = house.send(PHONE).await.id;
    let (queued, cursor) = next(&mut stream).await;
    assert_eq!((queued.r#type.as_str(), message_of(&queued)), ("message.queued", id.as_str()));
    assert_eq!((queued.id.as_str(), queued.status.as_str()), (format!("evt_{id}_0").as_str(), "QUEUED"));
    assert_eq!(queued.recipient, Some(crate::support::gateway::phone(PHONE)));
    let mut seen = vec![queued.id.clone()];
    for _ in 0..3 {
        seen.push(next(&mut stream).await.0.id);
    }
    drop(stream);
    // What happens while nobody watches is kept, also over a restart.
    let missed = house.send(PHONE).await.id;
    let house = house.restart().await;
    let mut client = house.gateway.events_as(ACME).await;
    let (mut stream, _) = watch(&mut client, &cursor, &[]).await;
    let mut again = Vec::new();
    for _ in 0..7 {
        again.push(next(&mut stream).await.0);
    }
    let ids: Vec<_> = again.iter().map(|event| event.id.clone()).collect();
    assert_eq!(ids[..3], seen[1..]);
    assert!(again[3..].iter().all(|event| message_of(event) == missed), "{ids:?}");
    // From the very beginning it is the same.
    let (mut stream, _) = watch(&mut client, &begin, &["message.queued"]).await;
    assert_eq!(next(&mut stream).await.0.id, queued.id);
    assert_eq!(message_of(&next(&mut stream).await.0), missed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_there_is_neither_a_gap_nor_a_double() {
    const SENDERS: usize = 8;
    const EACH: usize = 12;
    let house = House::with("").await;
    let mut client = house.gateway.events_as(ACME).await;
    let (stream, mut cursor) = watch(&mut client, "", &[]).await;
    drop(stream);
    let mut sending = tokio::task::JoinSet::new();
    for sender in 0..SENDERS {
        let mut client = house.gateway.messages().await;
        sending.spawn(async move {
            let mut ids = Vec::new();
            for turn in 0..EACH {
                let phone = format!("+6012345{:04}", 1_000 + sender * 100 + turn + 10);
                let sent = client.send_message(text_to(&phone, "Hello")).await.unwrap().into_inner();
                ids.push(sent.message.unwrap().id);
            }
            ids
        });
    }
    // Comes back again and again meanwhile.
    let (mut seen, mut last) = (Vec::<Event>::new(), BTreeMap::<String, String>::new());
    while seen.len() < SENDERS * EACH * 2 {
        let (mut stream, _) = watch(&mut client, &cursor, &[]).await;
        for _ in 0..7 {
            let (event, at) = next(&mut stream).await;
            cursor = at;
            seen.push(event);
        }
    }
    let house = house.restart().await;
    let mut client = house.gateway.events_as(ACME).await;
    let (mut stream, _) = watch(&mut client, &cursor, &[]).await;
    while seen.len() < SENDERS * EACH * 4 {
        seen.push(next(&mut stream).await.0);
    }
    let sent: BTreeSet<_> = sending.join_all().await.into_iter().flatten().collect();
    let ids: BTreeSet<_> = seen.iter().map(|event| event.id.clone()).collect();
    assert_eq!(ids.len(), seen.len(), "none twice");
    let wanted: BTreeSet<_> = sent.iter().flat_map(|id| (0..4).map(move |at| format!("evt_{id}_{at}"))).collect();
    assert_eq!(ids, wanted, "none missing");
    for event in &seen {
        let before = last.insert(message_of(event).to_owned(), event.id.clone());
        assert!(before.is_none_or(|before| before < event.id), "those of one record in their order");
    }
}

#[tokio::test]
async fn a_cursor_whose_events_are_gone_is_refused_and_one_that_was_never_told_too() {
    let house = House::with("[events]\nretention = \"96h\"\n").await;
    let mut client = house.gateway.events_as(ACME).await;
    let (mut stream, begin) = watch(&mut client, "", &[]).await;
    house.send(PHONE).await;
    let mut cursor = String::new();
    for _ in 0..4 {
        cursor = next(&mut stream).await.1;
    }
    // The server may not have noticed by itself that this watch is over, and would go on for it.
    drop((stream, client));
    let house = house.restart().await;
    // By now nobody has wanted events for longer than they are kept, so some may be missing.
    house.gateway.clock.advance(97 * HOUR);
    let house = house.restart().await;
    let mut client = house.gateway.events_as(ACME).await;
    let request = |after: &str| WatchEventsRequest { after: after.to_owned(), types: Vec::new() };
    let refused = client.watch_events(request(&begin)).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "CURSOR_TOO_OLD"));
    let refused = client.watch_events(request(&cursor)).await.unwrap_err();
    assert_eq!(reason(&refused), "CURSOR_TOO_OLD");
    for (after, types, field) in [("nonsense", "", "after"), ("", "message", "types[0]")] {
        let types = Some(types.to_owned()).filter(|kind| !kind.is_empty()).into_iter().collect();
        let refused = client.watch_events(WatchEventsRequest { after: after.to_owned(), types }).await.unwrap_err();
        assert_eq!(violations(&refused)[0].0, field);
    }
    // Of a tenant that has come less far.
    let (_, new) = watch(&mut client, "", &[]).await;
    let mut stranger = house.gateway.events_as(OTHER).await;
    let refused = stranger.watch_events(request(&new)).await.unwrap_err();
    assert_eq!(violations(&refused)[0].0, "after");
}

#[tokio::test]
async fn tenants_see_only_their_own_and_the_scope_is_read() {
    let house = House::new().await;
    let mut ours = house.gateway.events_as(ACME).await;
    let mut theirs = house.gateway.events_as(OTHER).await;
    let (mut our_stream, _) = watch(&mut ours, "", &[]).await;
    let (mut their_stream, _) = watch(&mut theirs, "", &[]).await;
    house.send(PHONE).await;
    next(&mut our_stream).await;
    let silence = tokio::time::timeout(Duration::from_millis(300), their_stream.message()).await;
    assert!(silence.is_err(), "{silence:?}");

    let keys = "keys = [{ id = \"acme\", secret = \"acme-secret-of-some-length\", scopes = [\"send\", \"verify\"] }]";
    let narrow = config(LOCAL).replace("keys = [{ id = \"acme\", secret = \"acme-secret-of-some-length\" }]", keys);
    let gateway = Gateway::start_with(&narrow).await;
    let mut client = gateway.events_as(ACME).await;
    let refused = client.watch_events(WatchEventsRequest::default()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "NOT_PERMITTED"));
}

/// Whoever wants few of many events still hears where to come back.
#[tokio::test]
async fn the_cursor_moves_on_past_what_is_not_wanted() {
    let house = House::new().await;
    let mut client = house.gateway.events_as(ACME).await;
    let (mut stream, begin) = watch(&mut client, "", &["message.denied"]).await;
    for _ in 0..30 {
        house.send(PHONE).await;
    }
    let moved = stream.message().await.unwrap().unwrap();
    assert_eq!(moved.event, None);
    assert_ne!(moved.cursor, begin);
    // A reader that reads nothing more keeps nobody else waiting.
    let (mut other, _) = watch(&mut client, &begin, &[]).await;
    for _ in 0..120 {
        next(&mut other).await;
    }
}

#[tokio::test]
async fn over_http_a_watch_goes_on_by_last_event_id() {
    let house = House::new().await;
    let caller = Caller::acme(&house.gateway);
    let mut events = caller.watch("/v1/events/watch?types=message.queued", &[]).await;
    let Some(Told::Event { id: Some(begin), data, .. }) = events.next().await else { panic!("no first event") };
    assert_eq!(data["event"], json!(null));
    let id = house.send(PHONE).await.id;
    let Some(Told::Event { id: Some(cursor), data, name }) = events.next().await else { panic!("no event") };
    assert_eq!((name.as_str(), &data["event"]["type"]), ("event", &json!("message.queued")));
    assert_eq!((&data["event"]["message_id"], &data["cursor"]), (&json!(id), &json!(cursor)));
    drop(events);
    let other = house.send(PHONE).await.id;
    for (query, after) in [("", cursor.as_str()), (&*format!("&after={begin}"), cursor.as_str())] {
        let target = format!("/v1/events/watch?types=message.queued{query}");
        let mut events = caller.watch(&target, &[&format!("Last-Event-ID: {after}")]).await;
        assert!(matches!(events.next().await, Some(Told::Event { .. })));
        let data = events.event("event").await;
        assert_eq!(data["event"]["message_id"], other);
    }
    let refused = caller.get("/v1/events/watch?after=nonsense").await;
    assert_eq!(refused.refused_with(400), "INVALID_FIELD");
    house.gateway.clock.advance(SECOND);
}
