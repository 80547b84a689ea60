//! The real program, killed between what happened and its telling: nothing that was accepted stays untold, and a watch
//! comes back where it was.

use std::collections::BTreeSet;

use tempfile::TempDir;
use tonic::Request;
use tonic::transport::Endpoint;
use verigate::proto::event::v1::WatchEventsRequest;
use verigate::proto::event::v1::event_service_client::EventServiceClient;
use verigate::proto::messaging::v1::messaging_service_client::MessagingServiceClient;

use crate::events::house::{FIRST, by_id, receiver};
use crate::support::gateway::{eventually, text_to};
use crate::support::process::{KEY, Process};
use crate::support::vendor_server::Fault;

const ROUNDS: usize = 4;
const MESSAGES: usize = 6;

fn with_key<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {KEY}").parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_accepted_is_told_after_a_kill_and_watches_go_on() {
    let place = TempDir::new().unwrap();
    let server = receiver().await;
    let endpoint = format!(
        "[{{name = \"main\", tenant = \"dev\", url = \"{}\", secret = \"{FIRST}\", types = [\"message.queued\"]}}]",
        server.url()
    );
    let settings = [("VERIGATE__EVENTS__ENDPOINTS", endpoint.as_str())];
    let (mut accepted, mut cursor, mut watched) = (BTreeSet::new(), String::new(), Vec::new());
    for round in 0..=ROUNDS {
        let process = Process::start(place.path(), &settings).await;
        let channel = Endpoint::from_shared(process.grpc.clone()).unwrap().connect().await.unwrap();
        // Nobody takes what happens in this round but the last.
        server.set_fault((round < ROUNDS).then_some(Fault::Refuse)).await;
        let mut events = EventServiceClient::new(channel.clone());
        let request = WatchEventsRequest { after: cursor.clone(), types: vec!["message.queued".to_owned()] };
        let mut stream = events.watch_events(with_key(request)).await.unwrap().into_inner();
        cursor = stream.message().await.unwrap().unwrap().cursor;
        if round < ROUNDS {
            let mut client = MessagingServiceClient::new(channel);
            for turn in 0..MESSAGES {
                let text = text_to(&format!("+601234567{:02}", 10 + turn), "Hello");
                let sent = client.send_message(with_key(text)).await.unwrap().into_inner();
                accepted.insert(format!("evt_{}_0", sent.message.unwrap().id));
            }
            // Some of it was seen before the kill, and what was not comes later.
            for _ in 0..round {
                let seen = stream.message().await.unwrap().unwrap();
                cursor = seen.cursor;
                watched.extend(seen.event.map(|event| event.id));
            }
            process.kill();
            continue;
        }
        while watched.len() < accepted.len() {
            watched.extend(stream.message().await.unwrap().unwrap().event.map(|event| event.id));
        }
        eventually(async || (by_id(&server.requests()).len() == accepted.len()).then_some(())).await;
        process.kill();
    }
    assert_eq!(by_id(&server.requests()).into_keys().collect::<BTreeSet<_>>(), accepted);
    assert_eq!((watched.len(), watched.into_iter().collect()), (accepted.len(), accepted));
}
