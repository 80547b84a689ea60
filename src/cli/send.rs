//! `verigate send`: one message.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use verigate::proto::messaging::v1::messaging_service_client::MessagingServiceClient;
use verigate::proto::messaging::v1::{SendMessageRequest, send_message_request};

use crate::cli::client::{Channel, Connection, Gateway, Refusal, to_recipient};
use crate::cli::exit::Outcome;
use crate::cli::{output, words};

/// Send a message through a running gateway
///
/// Answers as soon as the message is stored; what becomes of it is told by GetMessage.
#[derive(Args)]
#[command(after_help = "Examples:\n  verigate send +60123456789 'Your parcel is here.'\n  \
                        verigate send ann@example.com 'Your parcel is here.' --json | jq -r .message.id")]
pub(crate) struct Arguments {
    /// A phone number such as +60123456789, or an e-mail address
    #[arg(value_name = "PHONE|EMAIL")]
    recipient: String,
    /// What it says
    text: String,
    /// The medium; by default SMS, and EMAIL for an e-mail address
    #[arg(long)]
    channel: Option<Channel>,
    /// Who it says it is from; by default the tenant's sender
    #[arg(long)]
    sender: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(arguments: Arguments) -> Outcome {
    let json = arguments.connection.json;
    let request = SendMessageRequest {
        recipient: Some(to_recipient(&arguments.recipient)),
        channel: Channel::to_wire(arguments.channel),
        content: Some(send_message_request::Content::Text(arguments.text)),
        sender: arguments.sender.unwrap_or_default(),
        ..SendMessageRequest::default()
    };
    arguments.connection.run(async move |gateway| send(gateway, request, json).await)
}

async fn send(gateway: Gateway, request: SendMessageRequest, json: bool) -> Result<ExitCode, Refusal> {
    let request = gateway.call(request, Duration::ZERO);
    let answer = MessagingServiceClient::new(gateway.transport).send_message(request).await?.into_inner();
    if json {
        output::print_json("verigate.messaging.v1.SendMessageResponse", &answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let message = answer.message.unwrap_or_default();
    let segments = if message.segments > 0 { message.segments.to_string() } else { String::new() };
    output::print_rows(&[
        ("message", message.id.clone()),
        ("progress", words::progress(message.channel(), message.status(), &message.vendor, message.reason())),
        ("segments", segments),
        ("expires", words::time(message.expire_time)),
    ])?;
    Ok(ExitCode::SUCCESS)
}
