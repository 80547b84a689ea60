//! `verigate.event.v1.EventService`.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::{once, unfold};
use tonic::{Request, Response, Status};

use crate::auth::directory::Directory;
use crate::feed::cursor::Cursor;
use crate::feed::feeds::Feeds;
use crate::feed::kinds::Wanted;
use crate::feed::telling::{Subject, Told};
use crate::feed::watch::Seen;
use crate::grpc::access::caller_of;
use crate::grpc::convert::{parse_text, to_channel, to_count, to_metadata, to_recipient, to_status, to_time};
use crate::grpc::follow::{Answers, until};
use crate::proto::event::v1 as pb;
use crate::proto::event::v1::event_service_server::EventService;
use crate::proto::messaging::v1 as pb_messaging;
use crate::vendor::Channel;

pub struct EventApi {
    feeds: Arc<Feeds>,
    directory: Arc<Directory>,
}

// === impl EventApi ===

impl EventApi {
    pub fn new(feeds: Arc<Feeds>, directory: Arc<Directory>) -> Self {
        Self { feeds, directory }
    }
}

#[tonic::async_trait]
impl EventService for EventApi {
    type WatchEventsStream = Answers<pb::WatchEventsResponse>;

    async fn watch_events(
        &self,
        request: Request<pb::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let caller = caller_of(&request)?;
        let pb::WatchEventsRequest { after, types } = request.into_inner();
        let after = parse_text(after).map(|after| after.parse::<Cursor>()).transpose().map_err(to_status)?;
        let watch = self.feeds.watch(&caller.tenant.name, after, Wanted::new(types)).await;
        let (first, watch) = watch.map_err(to_status)?;
        let rest = unfold(Some(watch), async |watch| {
            let mut watch = watch?;
            match watch.next().await {
                Ok(seen) => Some((Ok(seen), Some(watch))),
                Err(error) => Some((Err(to_status(error)), None)),
            }
        });
        let answers = once(async { Ok(first) }).chain(rest).map(|seen| seen.map(|seen| to_response(&seen)));
        let directory = Arc::clone(&self.directory);
        Ok(Response::new(until(answers, async move { directory.closed_to(&caller).await })))
    }
}

fn to_response(seen: &Seen) -> pb::WatchEventsResponse {
    pb::WatchEventsResponse { event: seen.event.as_ref().map(to_event), cursor: seen.cursor.to_string() }
}

fn to_event(told: &Told) -> pb::Event {
    let about = told.about.as_ref();
    let subject = match told.subject {
        Subject::Message(id) => pb::event::Subject::MessageId(id.to_string()),
        Subject::Verification(id) => pb::event::Subject::VerificationId(id.to_string()),
    };
    pb::Event {
        id: told.id.to_string(),
        r#type: told.kind.name.to_owned(),
        create_time: Some(to_time(told.at)),
        subject: Some(subject),
        scope: about.map(|about| about.scope.clone()).unwrap_or_default(),
        recipient: about.map(|about| to_recipient(&about.recipient)),
        status: told.kind.status.to_owned(),
        send: told.send.map(to_count),
        attempt: told.attempt.map(to_count),
        channel: told.channel.as_deref().map_or(pb_messaging::Channel::Unspecified, to_channel_named).into(),
        vendor: told.vendor.clone().unwrap_or_default(),
        reason: told.reason.as_deref().map_or(pb_messaging::FailureReason::Unspecified, to_reason).into(),
        checks_left: told.checks_left.map(to_count),
        metadata: about.map(|about| to_metadata(&about.metadata)).unwrap_or_default(),
    }
}

fn to_channel_named(name: &str) -> pb_messaging::Channel {
    let channel = Channel::ALL.into_iter().find(|channel| channel.as_str() == name);
    channel.map_or(pb_messaging::Channel::Unspecified, to_channel)
}

fn to_reason(name: &str) -> pb_messaging::FailureReason {
    pb_messaging::FailureReason::from_str_name(&format!("FAILURE_REASON_{name}")).unwrap_or_default()
}
