//! `verigate.messaging.v1.MessagingService`.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::unfold;
use tonic::{Request, Response, Status};

use crate::auth::directory::Directory;
use crate::error::{Error, Result};
use crate::grpc::access::{address_of, caller_of, tenant_of};
use crate::grpc::convert::{
    parse_address, parse_channel, parse_duration, parse_id, parse_message_status, parse_metadata, parse_page,
    parse_text, parse_time, to_channel, to_count, to_failure_reason, to_message_status, to_metadata, to_recipient,
    to_status, to_time,
};
use crate::grpc::follow::{Answers, until};
use crate::guard::ask::Origin;
use crate::messaging::list::MessageFilter;
use crate::messaging::message::{Message, Text};
use crate::messaging::page::PageRequest;
use crate::messaging::request::{Content, NewMessage};
use crate::messaging::service::Messaging;
use crate::proto::error::v1 as pb_error;
use crate::proto::messaging::v1 as pb;
use crate::proto::messaging::v1::messaging_service_server::MessagingService;
use crate::segment::{Encoding, measure};
use crate::vendor::Channel;
use crate::violations::Violations;

/// Recipients of one batch.
const MAX_BATCH: usize = 500;

pub struct MessagingApi {
    messaging: Arc<Messaging>,
    directory: Arc<Directory>,
}

// === impl MessagingApi ===

impl MessagingApi {
    pub fn new(messaging: Arc<Messaging>, directory: Arc<Directory>) -> Self {
        Self { messaging, directory }
    }
}

#[tonic::async_trait]
impl MessagingService for MessagingApi {
    async fn send_message(
        &self,
        request: Request<pb::SendMessageRequest>,
    ) -> Result<Response<pb::SendMessageResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let peer = address_of(&request);
        let mut new = parse_send(request.into_inner()).map_err(to_status)?;
        new.origin.peer = peer;
        let message = self.messaging.send(&tenant, new).await.map_err(to_status)?;
        Ok(Response::new(pb::SendMessageResponse { message: Some(to_message(&message)) }))
    }

    async fn send_messages(
        &self,
        request: Request<pb::SendMessagesRequest>,
    ) -> Result<Response<pb::SendMessagesResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let peer = address_of(&request);
        let mut batch = parse_batch(request.into_inner()).map_err(to_status)?;
        batch.iter_mut().for_each(|new| new.origin.peer = peer);
        // In parallel, so that their commits share groups.
        let results = join_all(batch.into_iter().map(|new| self.messaging.send(&tenant, new))).await;
        Ok(Response::new(pb::SendMessagesResponse { results: results.into_iter().map(to_result).collect() }))
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
        request: Request<pb::ListMessagesRequest>,
    ) -> Result<Response<pb::ListMessagesResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let (filter, page) = parse_list(request.into_inner()).map_err(to_status)?;
        let page = self.messaging.list(&tenant, &filter, &page).await.map_err(to_status)?;
        Ok(Response::new(pb::ListMessagesResponse {
            messages: page.items.iter().map(to_message).collect(),
            next_page_token: page.next.map(|token| token.to_string()).unwrap_or_default(),
        }))
    }

    async fn cancel_message(
        &self,
        request: Request<pb::CancelMessageRequest>,
    ) -> Result<Response<pb::CancelMessageResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let id = parse_id(&request.get_ref().id).map_err(to_status)?;
        let message = self.messaging.cancel(&tenant.name, id).await.map_err(to_status)?;
        Ok(Response::new(pb::CancelMessageResponse { message: Some(to_message(&message)) }))
    }

    type WatchMessageStream = Answers<pb::WatchMessageResponse>;

    async fn watch_message(
        &self,
        request: Request<pb::WatchMessageRequest>,
    ) -> Result<Response<Self::WatchMessageStream>, Status> {
        let caller = caller_of(&request)?;
        let id = parse_id(&request.get_ref().id).map_err(to_status)?;
        let mut watch = self.messaging.watch(&caller.tenant.name, id);
        // The first look is part of the call, so that an unknown id is its answer.
        let first = watch.next().await.map_err(to_status)?;
        let rest = unfold(Some(watch), async |watch| {
            let mut watch = watch?;
            match watch.next().await {
                Ok(Some(message)) => Some((Ok(message), Some(watch))),
                Ok(None) => None,
                Err(error) => Some((Err(to_status(error)), None)),
            }
        });
        let messages = futures_util::stream::iter(first.map(Ok)).chain(rest);
        let answers =
            messages.map(|message| message.map(|it| pb::WatchMessageResponse { message: Some(to_message(&it)) }));
        let directory = Arc::clone(&self.directory);
        Ok(Response::new(until(answers, async move { directory.closed_to(&caller).await })))
    }

    async fn preview_message(
        &self,
        request: Request<pb::PreviewMessageRequest>,
    ) -> Result<Response<pb::PreviewMessageResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let new = parse_preview(request.into_inner()).map_err(to_status)?;
        let preview = self.messaging.preview(&tenant, &new).map_err(to_status)?;
        let candidates = preview.candidates.into_iter().map(|candidate| pb::RouteCandidate {
            vendor: candidate.vendor,
            usable: candidate.usable,
            why: candidate.why,
        });
        Ok(Response::new(pb::PreviewMessageResponse {
            characters: to_count(preview.text.expose().chars().count()),
            text: preview.text.expose().to_owned(),
            encoding: preview.segments.map_or(pb::Encoding::Unspecified, |it| to_encoding(it.encoding)).into(),
            segments: to_count(preview.segments.map_or(0, |it| it.segments)),
            candidates: candidates.collect(),
        }))
    }
}

fn parse_send(request: pb::SendMessageRequest) -> Result<NewMessage> {
    let content = request.content.map(|content| match content {
        pb::send_message_request::Content::Text(text) => Content::Text(Text::new(text)),
        pb::send_message_request::Content::Template(template) => Content::Template {
            name: template.name,
            locale: parse_text(template.locale),
            variables: parse_metadata(template.variables),
        },
    });
    let mut unread = Violations::default();
    Ok(NewMessage {
        recipient: parse_address(request.recipient),
        channel: unread.note(parse_channel(request.channel))?.flatten(),
        content,
        sender: parse_text(request.sender),
        validity: parse_duration(request.validity),
        metadata: parse_metadata(request.metadata),
        send_at: unread.note(parse_time("send_at", request.send_at))?.flatten(),
        callback: None,
        idempotency_key: parse_text(request.idempotency_key),
        batched: false,
        origin: Origin { trusted: request.trusted, ..Origin::default() },
        unread: unread.0,
    })
}

/// One request for each recipient. With an idempotency key, each recipient has a key of its own, made from it.
fn parse_batch(request: pb::SendMessagesRequest) -> Result<Vec<NewMessage>> {
    if !(1..=MAX_BATCH).contains(&request.recipients.len()) {
        let wanted = format!("must be 1 to {MAX_BATCH} recipients, but are {}", request.recipients.len());
        return Err(Error::invalid("recipients", wanted));
    }
    let content = request.content.map(|content| match content {
        pb::send_messages_request::Content::Text(text) => pb::send_message_request::Content::Text(text),
        pb::send_messages_request::Content::Template(it) => pb::send_message_request::Content::Template(it),
    });
    let one = pb::SendMessageRequest {
        recipient: None,
        channel: request.channel,
        content,
        sender: request.sender,
        send_at: request.send_at,
        validity: request.validity,
        idempotency_key: request.idempotency_key,
        metadata: request.metadata,
        trusted: request.trusted,
    };
    let one = parse_send(one)?;
    let each = |recipient| NewMessage { recipient: parse_address(Some(recipient)), batched: true, ..one.clone() };
    Ok(request.recipients.into_iter().map(each).collect())
}

fn parse_preview(request: pb::PreviewMessageRequest) -> Result<NewMessage> {
    let content = request.content.map(|content| match content {
        pb::preview_message_request::Content::Text(text) => pb::send_message_request::Content::Text(text),
        pb::preview_message_request::Content::Template(it) => pb::send_message_request::Content::Template(it),
    });
    parse_send(pb::SendMessageRequest {
        recipient: request.recipient,
        channel: request.channel,
        content,
        sender: request.sender,
        ..pb::SendMessageRequest::default()
    })
}

fn parse_list(request: pb::ListMessagesRequest) -> Result<(MessageFilter, PageRequest)> {
    let mut unread = Violations::default();
    let statuses = request.statuses.iter().map(|status| parse_message_status(*status)).collect::<Result<Vec<_>>>();
    let statuses = unread.note(statuses)?.unwrap_or_default();
    let filter = MessageFilter { recipient: parse_address(request.recipient), statuses };
    let (from, before) = (request.create_time_from, request.create_time_before);
    let page = parse_page(request.page_size, &request.page_token, from, before, &mut unread)?;
    if unread.0.is_empty() { Ok((filter, page)) } else { Err(Error::invalid_fields(unread.0)) }
}

fn to_result(result: Result<Message>) -> pb::SendMessagesResult {
    let outcome = match result {
        Ok(message) => pb::send_messages_result::Outcome::Message(Box::new(to_message(&message))),
        Err(error) => pb::send_messages_result::Outcome::Error(to_batch_error(error)),
    };
    pb::SendMessagesResult { outcome: Some(outcome) }
}

fn to_batch_error(error: Error) -> pb::SendMessagesError {
    let reason = pb_error::ErrorReason::from_str_name(&format!("ERROR_REASON_{}", error.reason().as_str()));
    let told = pb::SendMessagesError {
        reason: reason.unwrap_or_default().into(),
        message: error.message().to_owned(),
        retry_after: error.retry_after().and_then(|wait| wait.try_into().ok()),
    };
    // Its cause is logged as for a call of its own.
    drop(to_status(error));
    told
}

pub(crate) fn to_message(message: &Message) -> pb::Message {
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
        send_at: message.send_at.map(to_time),
        metadata: to_metadata(&message.metadata),
    }
}

fn to_encoding(encoding: Encoding) -> pb::Encoding {
    match encoding {
        Encoding::Gsm7 => pb::Encoding::Gsm7,
        Encoding::Ucs2 => pb::Encoding::Ucs2,
    }
}
