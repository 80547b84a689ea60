//! Watches as server-sent events.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use serde_json::json;
use tonic::body::Body;
use verigate::clock::ManualClock;
use verigate::rest::native;

use crate::native_json::client::{Caller, Told};
use crate::support::gateway::{Gateway, PHONE, START};
use crate::support::http::serve;

/// Starts a verification whose code has arrived; gives where it is watched.
async fn start(caller: &Caller, phone: &str) -> String {
    let body = json!({"recipient": {"phone": phone}, "delivery_wait": "5s"});
    let started = caller.post("/v1/verifications", &body).await.ok();
    format!("/v1/verifications/{}", started["verification"]["id"].as_str().unwrap())
}

#[tokio::test]
async fn each_change_is_an_event_and_the_last_one_ends_it() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let one = start(&caller, PHONE).await;
    let mut events = caller.watch(&format!("{one}/watch"), &["X-Request-Id: watching"]).await;
    for field in [
        "HTTP/1.1 200 OK",
        "content-type: text/event-stream",
        "cache-control: no-store",
        "x-accel-buffering: no",
        "x-request-id: watching",
    ] {
        assert!(events.head.contains(field), "{}", events.head);
    }
    let Some(Told::Event { name, id: Some(id), data }) = events.next().await else { panic!("no event") };
    assert_eq!((name.as_str(), id.len()), ("verification", 16));
    assert_eq!(data["verification"]["status"], "VERIFICATION_STATUS_PENDING");
    assert_eq!(data, caller.get(&one).await.ok(), "an event is what a look would show");
    // The same state has the same id, whoever looks.
    let again = caller.watch(&format!("{one}/watch"), &[]).await.next().await.unwrap();
    assert!(matches!(&again, Told::Event { id: Some(other), .. } if *other == id), "{again:?}");

    caller.post(&format!("{one}/check"), &json!({"code": "x"})).await.ok();
    let Some(Told::Event { id: Some(next), data, .. }) = events.next().await else { panic!("no event") };
    assert_eq!(data["verification"]["checks_used"], 1);
    assert_ne!(next, id);
    caller.post(&format!("{one}/check"), &json!({"code": gateway.code(PHONE).await})).await.ok();
    let last = events.event("verification").await;
    assert_eq!(last["verification"]["status"], "VERIFICATION_STATUS_APPROVED");
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn silence_is_broken_by_a_comment() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let one = start(&caller, PHONE).await;
    let mut events = caller.watch(&format!("{one}/watch"), &[]).await;
    events.event("verification").await;
    for _ in 0..3 {
        // It may have begun to wait at any time of this.
        let told = tokio::select! {
            told = events.next() => told,
            () = async { loop { gateway.clock.advance(Duration::from_millis(100)); tokio::task::yield_now().await; } } => None,
        };
        assert_eq!(told, Some(Told::Comment("still here".to_owned())));
    }
}

#[tokio::test]
async fn what_cannot_be_watched_is_a_problem_and_no_stream() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    for (target, status, reason) in [
        ("/v1/verifications/01a201eb-6366-80f1-a1f7-20ad39c323d0/watch", 404, "VERIFICATION_NOT_FOUND"),
        ("/v1/messages/01a201eb-6366-80f1-a1f7-20ad39c323d0/watch", 404, "MESSAGE_NOT_FOUND"),
        ("/v1/messages/x/watch", 400, "INVALID_FIELD"),
    ] {
        assert_eq!(caller.get(target).await.refused_with(status), reason);
    }
    assert_eq!(
        Caller::with(&gateway, "acme.no").get("/v1/messages/x/watch").await.refused_with(401),
        "CREDENTIALS_INVALID"
    );
}

/// The server does not wait for those who watch until its drain deadline, but tells them.
#[tokio::test]
async fn a_server_that_stops_ends_its_streams() {
    let gateway = Gateway::start().await;
    let caller = Caller::acme(&gateway);
    let one = start(&caller, PHONE).await;
    let mut events = caller.watch(&format!("{one}/watch"), &["X-Request-Id: the-one"]).await;
    events.event("verification").await;
    // Ends only once every connection has; the drain deadline is ten seconds of the machine's time.
    let restarted = tokio::time::timeout(Duration::from_secs(8), gateway.restart());
    let (restarted, told) = tokio::join!(restarted, async {
        let told = events.event("error").await;
        assert_eq!(events.next().await, None);
        told
    });
    assert!(restarted.is_ok(), "the stream held the server up");
    assert_eq!((&told["status"], &told["reason"]), (&json!(503), &json!("SHUTTING_DOWN")));
    assert_eq!(told["request_id"], "the-one");
}

/// Behind the routes is a service of the test's own, which sees what becomes of its stream.
#[tokio::test]
async fn a_watcher_that_leaves_ends_the_call_within() {
    let (dropped, gone) = tokio::sync::oneshot::channel::<()>();
    let dropped = Arc::new(Mutex::new(Some(dropped)));
    let service = tower::service_fn(move |_request: http::Request<Body>| {
        let guard = dropped.lock().unwrap().take();
        async move {
            // A frame with an empty message, and nothing more for as long as somebody listens.
            let frames =
                futures_util::stream::unfold((Some(Bytes::from_static(&[0; 5])), guard), async |(first, guard)| {
                    match first {
                        Some(first) => Some((Ok::<_, Infallible>(first), (None, guard))),
                        None => std::future::pending().await,
                    }
                });
            Ok::<_, Infallible>(http::Response::new(Body::new(axum::body::Body::from_stream(frames))))
        }
    });
    let clock = Arc::new(ManualClock::new(START));
    let address = serve(native::router(service, clock).unwrap()).await;
    let mut events = Caller::at(address).watch("/v1/messages/x/watch", &[]).await;
    assert_eq!(events.event("message").await, json!({}));
    drop(events);
    let gone = tokio::time::timeout(Duration::from_secs(60), gone).await.expect("the stream within is dropped");
    assert!(gone.is_err(), "its end of the channel was dropped with it");
}
