//! Verifies a person with Verigate, from Rust.
//!
//! It starts a verification, meets the two commonest refusals, lets a deadline end a call, and watches the verification on
//! a stream while a wrong and the right code are checked. For trying out, it takes the code from the dev inbox; with
//! `--ask` it asks for it, as a real service would.
//!
//! How to run it, and how its stubs are made, is in README.md; the tests are in `tests.rs`.

mod gateway;
mod proto;
#[cfg(test)]
mod tests;

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader, stdin};
use tonic::Status;
use uuid::Uuid;

use crate::gateway::{Gateway, Refusal};
use crate::proto::messaging::v1 as messaging;
use crate::proto::verification::v1 as pb;

/// How long a call may take: longer than the longest delivery wait that goes with it.
const DEADLINE: Duration = Duration::from_secs(15);

/// What fails here is either a call or something of our own.
type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let ask = arguments.iter().any(|argument| argument == "--ask");
    let recipient = arguments.iter().find(|argument| !argument.starts_with("--"));
    let recipient = recipient.map_or("+60123456789", String::as_str);
    match run(recipient, ask).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            match error.downcast_ref::<Status>().map(Refusal::of) {
                Some(Refusal { code, reason, message, .. }) => println!("failed: {code:?} {reason}: {message}"),
                None => println!("failed: {error}"),
            }
            ExitCode::FAILURE
        }
    }
}

fn variable(name: &str, otherwise: &str) -> String {
    env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| otherwise.to_owned())
}

async fn run(recipient: &str, ask: bool) -> Outcome {
    // The key is no argument: those of a process are for everybody to see.
    let (address, key) = (variable("VERIGATE_ADDRESS", "127.0.0.1:50051"), variable("VERIGATE_KEY", "dev.dev-secret"));
    let gateway = Gateway::new(&address, &key).map_err(|error| error.to_string())?;
    let id = gateway.start(to_request(recipient), DEADLINE).await?.id;
    println!("started {id}");
    if ask {
        return ask_until_decided(&gateway, &id).await;
    }

    for (recipient, why) in [(recipient, "the same person, too soon"), ("nobody", "what is no recipient")] {
        if let Err(status) = gateway.start(to_request(recipient), DEADLINE).await {
            tell_refusal(why, &Refusal::of(&status));
        }
    }

    // Nobody types the code meanwhile, so this waits as long as it may.
    let began = Instant::now();
    if let Err(status) = gateway.watch(&id, Duration::from_secs(1), |_| ()).await {
        println!("watched for {:.1} s: {:?}", began.elapsed().as_secs_f64(), status.code());
    }

    // From here on the watch runs beside the checks.
    let watching = tokio::spawn({
        let (gateway, id) = (gateway.clone(), id.clone());
        let tell = |status: pb::VerificationStatus| println!("  watch: {}", status.as_str_name());
        async move { gateway.watch(&id, Duration::from_secs(600), tell).await }
    });
    let code = read_code(recipient).await?;
    for candidate in [wrong(&code), code] {
        check(&gateway, &id, &candidate).await?;
    }
    watching.await??;
    Ok(())
}

/// Checks what is typed until that settles it.
async fn ask_until_decided(gateway: &Gateway, id: &str) -> Outcome {
    let mut lines = BufReader::new(stdin()).lines();
    loop {
        println!("which code came?");
        let Some(candidate) = lines.next_line().await? else { return Err("nobody answers".into()) };
        if check(gateway, id, candidate.trim()).await? != pb::CheckOutcome::WrongCode {
            return Ok(());
        }
    }
}

fn tell_refusal(why: &str, refusal: &Refusal) {
    let wait = refusal.retry_after.map(|wait| format!(", wait {} s", wait.as_secs())).unwrap_or_default();
    println!("{why}: {:?} {}{wait}", refusal.code, refusal.reason);
    for (field, wanted) in &refusal.fields {
        println!("  {field}: {wanted}");
    }
}

/// A start that answers once a vendor took the message or some seconds have passed.
fn to_request(recipient: &str) -> pb::StartVerificationRequest {
    let address = match recipient.contains('@') {
        true => messaging::recipient::Address::Email(recipient.to_owned()),
        false => messaging::recipient::Address::Phone(recipient.to_owned()),
    };
    pb::StartVerificationRequest {
        recipient: Some(messaging::Recipient { address: Some(address) }),
        delivery_wait: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
        // A retry of this call finds what the first try made, instead of sending another code.
        idempotency_key: Uuid::new_v4().to_string(),
        ..pb::StartVerificationRequest::default()
    }
}

/// A wrong code is an answer, not an error: only `Approved` lets anybody in.
async fn check(gateway: &Gateway, id: &str, candidate: &str) -> Result<pb::CheckOutcome, Status> {
    let request = pb::CheckVerificationRequest {
        target: Some(pb::check_verification_request::Target::Id(id.to_owned())),
        code: candidate.to_owned(),
        // A retry of this call costs no check, and is told what the first try was told.
        idempotency_key: Uuid::new_v4().to_string(),
        ..pb::CheckVerificationRequest::default()
    };
    let checked = gateway.check(request, DEADLINE).await?;
    println!("checked: {}, {} checks left", checked.outcome().as_str_name(), checked.checks_left);
    Ok(checked.outcome())
}

/// What the dev inbox holds for a recipient, newest first.
async fn read_inbox(recipient: &str) -> Outcome<Vec<serde_json::Value>> {
    let url = format!("{}/inbox/messages", variable("VERIGATE_ADMIN", "http://127.0.0.1:9090"));
    let recipient = recipient.to_owned();
    let read = move || ureq::get(url).query("recipient", recipient).call()?.body_mut().read_to_string();
    Ok(serde_json::from_str(&tokio::task::spawn_blocking(read).await??)?)
}

/// The code of the newest message: what the person would read from a screen.
async fn read_code(recipient: &str) -> Outcome<String> {
    let messages = read_inbox(recipient).await?;
    let text = messages.first().and_then(|message| message["text"].as_str()).unwrap_or_default();
    let code = text.split(|letter: char| !letter.is_ascii_digit()).find(|run| run.len() == 6);
    code.map(str::to_owned).ok_or_else(|| "the inbox has no code for it".into())
}

/// Another code than this one.
fn wrong(code: &str) -> String {
    let (start, last) = code.split_at(code.len() - 1);
    format!("{start}{}", (last.parse::<u8>().unwrap_or_default() + 1) % 10)
}
