//! `verigate verify`: verifications by hand, for trying out and for scripts.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use prost::Message;
use tonic::transport::Channel as Transport;
use verigate::proto::verification::v1::verification_service_client::VerificationServiceClient;
use verigate::proto::verification::v1::{
    CancelVerificationRequest, CheckOutcome, CheckVerificationRequest, GetVerificationRequest,
    ResendVerificationRequest, StartVerificationRequest, Verification, VerificationStatus, check_verification_request,
};

use crate::cli::client::{Channel, Connection, Gateway, Refusal, to_recipient};
use crate::cli::exit::{Outcome, REFUSED};
use crate::cli::{output, words};

/// Start and check verifications on a running gateway
///
/// A check exits with 0 only when it approves, so that a script can rely on it.
#[derive(Args)]
#[command(after_help = "Examples:\n  verigate verify start +60123456789 --wait\n  \
                        verigate verify check 0191f5d2-… 123456 && echo welcome\n  \
                        VERIGATE_KEY=ID.SECRET verigate verify get 0191f5d2-… --address unix:/run/verigate.sock --json")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Subcommand)]
enum Command {
    /// Send a code; send it again where one is pending already
    Start(StartArguments),
    /// Compare what a person typed with the code
    Check {
        /// The verification, as start printed it
        id: String,
        /// What the person typed
        code: String,
    },
    /// Send the same code once more
    Resend {
        /// The verification, as start printed it
        id: String,
        /// Another medium than before
        #[arg(long)]
        channel: Option<Channel>,
    },
    /// End a verification, so that its code is no longer accepted
    Cancel {
        /// The verification, as start printed it
        id: String,
    },
    /// Show a verification as it is now
    Get {
        /// The verification, as start printed it
        id: String,
    },
}

#[derive(Args)]
struct StartArguments {
    /// A phone number such as +60123456789, or an e-mail address
    #[arg(value_name = "PHONE|EMAIL")]
    recipient: String,
    /// The medium; by default SMS, and EMAIL for an e-mail address
    #[arg(long)]
    channel: Option<Channel>,
    /// What the code is for, such as login; a recipient has one pending verification in each scope
    #[arg(long)]
    scope: Option<String>,
    /// The language of the text, such as ms or zh-Hant-TW
    #[arg(long)]
    locale: Option<String>,
    /// Wait until a vendor took or refused the message: 10s, or as given, at most 30s
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "10s")]
    #[arg(value_parser = parse_time)]
    wait: Option<Duration>,
}

pub(crate) fn run(arguments: Arguments) -> Outcome {
    let Arguments { command, connection } = arguments;
    let json = connection.json;
    connection.run(async move |gateway| {
        let client = VerificationServiceClient::new(gateway.transport.clone());
        let caller = Caller { gateway, client, json };
        match command {
            Command::Start(start) => caller.start(start).await,
            Command::Check { id, code } => caller.check(id, code).await,
            Command::Resend { id, channel } => caller.resend(id, channel).await,
            Command::Cancel { id } => caller.cancel(id).await,
            Command::Get { id } => caller.get(id).await,
        }
    })
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let parsed = jiff::fmt::friendly::SpanParser::new().parse_unsigned_duration(text);
    parsed.map_err(|_| "write a time such as 5s or 500ms".to_owned())
}

/// One command under way.
struct Caller {
    gateway: Gateway,
    client: VerificationServiceClient<Transport>,
    json: bool,
}

// === impl Caller ===

impl Caller {
    async fn start(mut self, start: StartArguments) -> Result<ExitCode, Refusal> {
        let delivery_wait = start.wait.map(prost_types::Duration::try_from).transpose();
        let request = StartVerificationRequest {
            recipient: Some(to_recipient(&start.recipient)),
            channel: Channel::to_wire(start.channel),
            scope: start.scope.unwrap_or_default(),
            locale: start.locale.unwrap_or_default(),
            delivery_wait: delivery_wait.ok().flatten(),
            ..StartVerificationRequest::default()
        };
        let request = self.gateway.call(request, start.wait.unwrap_or_default());
        let answer = self.client.start_verification(request).await?.into_inner();
        self.show("StartVerificationResponse", &answer, answer.verification.as_ref())?;
        Ok(sent(answer.verification.as_ref()))
    }

    async fn check(mut self, id: String, code: String) -> Result<ExitCode, Refusal> {
        let target = Some(check_verification_request::Target::Id(id));
        let request = CheckVerificationRequest { target, code, ..CheckVerificationRequest::default() };
        let request = self.gateway.call(request, Duration::ZERO);
        let answer = self.client.check_verification(request).await?.into_inner();
        if self.json {
            self.show("CheckVerificationResponse", &answer, None)?;
        } else {
            let left = match answer.outcome() {
                CheckOutcome::WrongCode => format!(", checks left: {}", answer.checks_left),
                CheckOutcome::RecipientLocked => format!(" until {}", words::time(answer.next_check_time)),
                _ => String::new(),
            };
            output::print(&format!("{}{left}\n", words::outcome(answer.outcome())))?;
        }
        Ok(code_of(answer.outcome() == CheckOutcome::Approved))
    }

    async fn resend(mut self, id: String, channel: Option<Channel>) -> Result<ExitCode, Refusal> {
        let request = ResendVerificationRequest { id, channel: Channel::to_wire(channel) };
        let request = self.gateway.call(request, Duration::ZERO);
        let answer = self.client.resend_verification(request).await?.into_inner();
        self.show("ResendVerificationResponse", &answer, answer.verification.as_ref())?;
        Ok(sent(answer.verification.as_ref()))
    }

    async fn cancel(mut self, id: String) -> Result<ExitCode, Refusal> {
        let request = self.gateway.call(CancelVerificationRequest { id }, Duration::ZERO);
        let answer = self.client.cancel_verification(request).await?.into_inner();
        self.show("CancelVerificationResponse", &answer, answer.verification.as_ref())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn get(mut self, id: String) -> Result<ExitCode, Refusal> {
        let request = self.gateway.call(GetVerificationRequest { id }, Duration::ZERO);
        let answer = self.client.get_verification(request).await?.into_inner();
        self.show("GetVerificationResponse", &answer, answer.verification.as_ref())?;
        Ok(ExitCode::SUCCESS)
    }

    /// The whole answer for machines, the verification for people.
    fn show(&self, name: &str, answer: &impl Message, verification: Option<&Verification>) -> Result<(), Refusal> {
        if self.json {
            output::print_json(&format!("verigate.verification.v1.{name}"), answer)?;
        } else if let Some(verification) = verification {
            output::print_rows(&rows(verification))?;
        }
        Ok(())
    }
}

fn rows(verification: &Verification) -> Vec<(&'static str, String)> {
    let pending = verification.status() == VerificationStatus::Pending;
    let while_pending = |text: String| if pending { text } else { String::new() };
    let mut rows = vec![
        ("verification", verification.id.clone()),
        ("status", words::verification_status(verification.status())),
        ("scope", verification.scope.clone()),
    ];
    rows.extend(
        verification
            .sends
            .iter()
            .map(|send| ("send", words::progress(send.channel(), send.status(), &send.vendor, send.reason()))),
    );
    rows.extend([
        ("checks left", while_pending(verification.checks_left.to_string())),
        ("expires", while_pending(words::time(verification.expire_time))),
        ("resend from", while_pending(words::time(verification.next_resend_time))),
        ("ended", words::time(verification.decide_time)),
        ("to check", while_pending(format!("verigate verify check {} CODE", verification.id))),
    ]);
    rows
}

/// A verification that could not be sent has ended already.
fn sent(verification: Option<&Verification>) -> ExitCode {
    code_of(verification.is_some_and(|verification| verification.status() == VerificationStatus::Pending))
}

fn code_of(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) }
}
