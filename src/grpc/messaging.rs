//! `verigate.messaging.v1.MessagingService`.

use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use crate::error::Result;
use crate::grpc::access::tenant_of;
use crate::grpc::convert::{
    not_served, parse_address, parse_channel, parse_duration, parse_id, parse_metadata, parse_text, refuse_unserved,
    to_channel, to_count, to_failure_reason, to_message_status, to_metadata, to_recipient, to_status, to_time,
};
use crate::messaging::message::{Message, Text};
use crate::messaging::segment::{Encoding, measure};
use crate::messaging::{Messaging, NewMessage};
use crate::proto::messaging::v1 as pb;
use crate::proto::messaging::v1::messaging_service_server::MessagingService;
use crate::vendor::Channel;
use crate::violations::Violations;

pub struct MessagingApi {
    messaging: Arc<Messaging>,
}

// === impl MessagingApi ===

impl MessagingApi {
    pub fn new(messaging: Arc<Messaging>) -> Self {
        Self { messaging }
    }
}

#[tonic::async_trait]
impl MessagingService for MessagingApi {
    async fn send_message(
        &self,
        request: Request<pb::SendMessageRequest>,
    ) -> Result<Response<pb::SendMessageResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let new = parse_send(request.into_inner()).map_err(to_status)?;
        let message = self.messaging.send(&tenant, new).await.map_err(to_status)?;
        Ok(Response::new(pb::SendMessageResponse { message: Some(to_message(&message)) }))
    }

    async fn send_messages(
        &self,
        _request: Request<pb::SendMessagesRequest>,
    ) -> Result<Response<pb::SendMessagesResponse>, Status> {
        Err(to_status(not_served("SendMessages")))
    }

    async fn get_message(
        &self,
        request: Request<pb::GetMessageRequest>,
    ) -> Result<Response<pb::GetMessageResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let id = parse_id(&request.get_ref().id).map_err(to_status)?;
        let message = self.messaging.get(&tenant.name, id).await.map_err(to_status)?;
        Ok(Response::new(pb::GetMessageResponse { message: Some(to_message(&message)) }))
    }

    async fn list_messages(
        &self,
        _request: Request<pb::ListMessagesRequest>,
    ) -> Result<Response<pb::ListMessagesResponse>, Status> {
        Err(to_status(not_served("ListMessages")))
    }

    async fn cancel_message(
        &self,
        _request: Request<pb::CancelMessageRequest>,
    ) -> Result<Response<pb::CancelMessageResponse>, Status> {
        Err(to_status(not_served("CancelMessage")))
    }

    type WatchMessageStream = Pin<Box<dyn Stream<Item = Result<pb::WatchMessageResponse, Status>> + Send>>;

    async fn watch_message(
        &self,
        _request: Request<pb::WatchMessageRequest>,
    ) -> Result<Response<Self::WatchMessageStream>, Status> {
        Err(to_status(not_served("WatchMessage")))
    }

    async fn preview_message(
        &self,
        _request: Request<pb::PreviewMessageRequest>,
    ) -> Result<Response<pb::PreviewMessageResponse>, Status> {
        Err(to_status(not_served("PreviewMessage")))
    }
}

/// Leaves out what cannot be read, so that the service tells it together with what is out of range.
fn parse_send(request: pb::SendMessageRequest) -> Result<NewMessage> {
    refuse_unserved("idempotency_key", !request.idempotency_key.is_empty())?;
    refuse_unserved("send_at", request.send_at.is_some())?;
    let text = match request.content {
        Some(pb::send_message_request::Content::Text(text)) => Some(Text::new(text)),
        Some(pb::send_message_request::Content::Template(_)) => return Err(not_served("template")),
        None => None,
    };
    let mut unread = Violations::default();
    Ok(NewMessage {
        recipient: parse_address(request.recipient),
        channel: unread.note(parse_channel(request.channel))?.flatten(),
        text,
        sender: parse_text(request.sender),
        validity: parse_duration(request.validity),
        metadata: parse_metadata(request.metadata),
        unread: unread.0,
    })
}

fn to_message(message: &Message) -> pb::Message {
    let sending = &message.sending;
    let measured = (sending.channel == Channel::Sms).then(|| measure(message.text.expose()));
    pb::Message {
        id: message.id.to_string(),
        recipient: Some(to_recipient(&message.recipient)),
        channel: to_channel(sending.channel).into(),
        sender: message.sender.clone().unwrap_or_default(),
        text: message.text.expose().to_owned(),
        status: to_message_status(sending.status).into(),
        encoding: measured.map_or(pb::Encoding::Unspecified, |measured| to_encoding(measured.encoding)).into(),
        segments: to_count(measured.map_or(0, |measured| measured.segments)),
        attempts: to_count(sending.attempts),
        vendor: sending.vendor.clone().unwrap_or_default(),
        vendor_reference: sending.vendor_reference.clone().unwrap_or_default(),
        reason: to_failure_reason(sending).into(),
        create_time: Some(to_time(sending.created_at)),
        update_time: Some(to_time(sending.updated_at)),
        expire_time: Some(to_time(sending.expires_at)),
        send_at: None,
        metadata: to_metadata(&message.metadata),
    }
}

fn to_encoding(encoding: Encoding) -> pb::Encoding {
    match encoding {
        Encoding::Gsm7 => pb::Encoding::Gsm7,
        Encoding::Ucs2 => pb::Encoding::Ucs2,
    }
}
