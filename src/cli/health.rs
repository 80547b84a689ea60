//! `verigate health`: whether a gateway takes calls, for container engines and probes that can run a program.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::cli::client::Connection;
use crate::cli::exit::{Outcome, REFUSED};
use crate::cli::output;

/// Ask a gateway whether it takes calls
///
/// Calls grpc.health.v1.Health, which needs no API key. The exit code is 0 when the gateway serves, 1 when it is there
/// and does not, as while it drains or when the store takes no writes, and 69 when it cannot be reached. For the health
/// checks of container engines, and for probes where the gateway speaks TLS or listens on a Unix socket.
#[derive(Args)]
#[command(after_help = "Examples:\n  verigate health\n  verigate health --address unix:/run/verigate/grpc.sock\n  \
                        verigate health --address https://127.0.0.1:50051 --server-name sms.example.com --ca ca.crt")]
pub(crate) struct Arguments {
    /// The service that is asked about, such as verigate.messaging.v1.MessagingService; the whole unless given
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    service: String,
    #[command(flatten)]
    connection: Connection,
}

pub(crate) fn run(arguments: &Arguments) -> Outcome {
    let Arguments { service, connection } = arguments;
    let json = connection.json;
    connection.run(async |gateway| {
        // Its key stays here: the call wants none.
        let request = gateway.anonymous_call(HealthCheckRequest { service: service.clone() });
        let answer = HealthClient::new(gateway.transport).check(request).await?;
        let status = answer.into_inner().status();
        let serves = status == ServingStatus::Serving;
        let text = if json { format!("{}\n", json!({ "status": status.as_str_name() })) } else { words(status) };
        output::print(&text)?;
        Ok(if serves { ExitCode::SUCCESS } else { ExitCode::from(REFUSED) })
    })
}

fn words(status: ServingStatus) -> String {
    format!("{}\n", status.as_str_name().to_ascii_lowercase().replace('_', " "))
}
