//! What the server answers when the deadline of a call passes, whatever a client then makes of it by itself.

use std::time::Duration;

use prost::Message;
use tonic::{Code, Request, Status};
use verigate::proto::verification::v1::{StartVerificationRequest, WatchVerificationRequest};

use crate::support::gateway::{CONFIG, Gateway, PHONE, reason, seconds, start};

fn assert_passed(status: &Status) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    let details = tonic_types::pb::Status::decode(status.details()).unwrap();
    assert_eq!(status.message(), details.message);
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline() {
    let gateway = Gateway::start().await;
    let mut client = gateway.verifications().await;
    let verification = gateway.begin(&mut client, PHONE).await;
    let mut request = Request::new(WatchVerificationRequest { id: verification.id });
    // By the gateway's clock; the client's own, which is the machine's, stands still beside it.
    let deadline = Duration::from_secs(300);
    request.set_timeout(deadline);
    let mut changes = client.watch_verification(request).await.unwrap().into_inner();
    assert!(changes.message().await.unwrap().is_some());
    gateway.clock.advance(deadline);
    // What has happened before may still be told.
    let end = async {
        while changes.message().await?.is_some() {}
        Ok(())
    };
    let end: Result<(), Status> = tokio::time::timeout(Duration::from_secs(60), end).await.expect("an end");
    assert_passed(&end.unwrap_err());
}

#[tokio::test]
async fn a_call_that_waits_ends_at_its_deadline() {
    // The vendor never answers, and is given up only after both times that count here.
    let config = format!("{CONFIG}\n[messaging]\nattempt_timeout = \"2m\"\n");
    let gateway = Gateway::start_with(&config).await;
    let mut client = gateway.verifications().await;
    let mut request = Request::new(StartVerificationRequest { delivery_wait: seconds(30), ..start("+60123456006") });
    request.set_timeout(Duration::from_secs(20));
    let call = tokio::spawn(async move { client.start_verification(request).await });
    // The call arrives at some time of this, and from then on has 20 s.
    while !call.is_finished() {
        gateway.clock.advance(Duration::from_millis(100));
        tokio::task::yield_now().await;
    }
    assert_passed(&call.await.unwrap().unwrap_err());
}
