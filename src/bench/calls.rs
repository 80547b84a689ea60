//! The calls that a load is made of, as cheap for the caller as they can be: nothing is read of an answer but what
//! decides whether it was the right one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::uri::PathAndQuery;
use serde::Serialize;
use tonic::client::Grpc;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;

use crate::bench::latency::Took;
use crate::bench::process::Stopwatch;
use crate::proto::messaging::v1::{Recipient, recipient};
use crate::proto::verification::v1::{
    CheckOutcome, CheckVerificationRequest, StartVerificationRequest, check_verification_request,
};

/// What a caller does over and over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// `grpc.health.v1.Health/Check`: what a call costs that does nothing.
    Empty,
    /// `StartVerification` for a recipient never seen before.
    Start,
    /// `CheckVerification` with the right code.
    Check,
    /// A start, then its check.
    Pair,
}

/// What the callers of a run share: recipients that nobody has used, and verifications that wait for their check.
#[derive(Debug)]
pub(crate) struct Stock {
    next_recipient: AtomicU64,
    started: Mutex<Vec<String>>,
}

/// One caller on one connection.
#[derive(Clone)]
pub(crate) struct Caller {
    grpc: Grpc<Channel>,
    authorization: MetadataValue<Ascii>,
}

/// Why a call was not made or did not do what it should.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Miss {
    /// No verification is left to be checked.
    OutOfStock,
    /// The server has too much to do, and says when to come again.
    TurnedAway { after: Duration, what: String },
    /// The answer, in words that hold no recipient and no code.
    Failed(String),
}

/// What is read of a `StartVerificationResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Started {
    #[prost(message, optional, tag = "1")]
    verification: Option<Named>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    id: String,
}

/// What is read of a `CheckVerificationResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Checked {
    #[prost(enumeration = "CheckOutcome", tag = "1")]
    outcome: i32,
}

/// Every verification has this one, so that nobody need look into an inbox for it.
const CODE: &str = "482913";

/// Mobile prefixes of the Malaysian plan that seven digits follow, every combination of which is valid.
const PREFIXES: [&str; 3] = ["+6012", "+6016", "+6019"];
const NUMBERS_A_PREFIX: u64 = 10_000_000;
const NUMBERS: u64 = NUMBERS_A_PREFIX * PREFIXES.len() as u64;
/// Strides over the numbers without meeting one twice, for it shares no factor with their count: neighbours in time are
/// no neighbours in the plan.
const STRIDE: u64 = 12_345_679;

// === impl Operation ===

impl Operation {
    pub const ALL: [Self; 4] = [Self::Empty, Self::Start, Self::Check, Self::Pair];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Start => "start",
            Self::Check => "check",
            Self::Pair => "pair",
        }
    }
}

// === impl Stock ===

impl Stock {
    /// `first`: which recipient to begin with. A server that has seen earlier runs refuses theirs for a while.
    pub(crate) fn new(first: u64) -> Self {
        Self { next_recipient: AtomicU64::new(first % NUMBERS), started: Mutex::default() }
    }

    pub(crate) fn recipient(&self) -> String {
        recipient(self.next_recipient.fetch_add(1, Ordering::Relaxed))
    }

    fn put(&self, id: String) {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).push(id);
    }

    fn take(&self) -> Option<String> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Forgets what was started and not checked.
    pub(crate) fn clear(&self) {
        *self.started.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
    }
}

/// A valid phone number, another one for each index below the count of all.
pub(crate) fn recipient(index: u64) -> String {
    let number = (index % NUMBERS) * STRIDE % NUMBERS;
    let prefix = PREFIXES[usize::try_from(number / NUMBERS_A_PREFIX).unwrap_or_default()];
    format!("{prefix}{:07}", number % NUMBERS_A_PREFIX)
}

// === impl Caller ===

impl Caller {
    pub(crate) fn new(channel: Channel, authorization: MetadataValue<Ascii>) -> Self {
        Self { grpc: Grpc::new(channel), authorization }
    }

    /// Does it once.
    pub(crate) async fn call(&mut self, operation: Operation, stock: &Stock) -> Result<Took, Miss> {
        let watch = Stopwatch::start();
        match operation {
            Operation::Empty => self.empty().await?,
            Operation::Start => {
                let id = self.start(stock.recipient()).await?;
                stock.put(id);
            }
            Operation::Check => self.check(stock.take().ok_or(Miss::OutOfStock)?).await?,
            Operation::Pair => {
                let id = self.start(stock.recipient()).await?;
                let start = watch.elapsed();
                self.check(id).await?;
                return Ok(Took::Pair { start, check: watch.elapsed().saturating_sub(start) });
            }
        }
        Ok(Took::Call(watch.elapsed()))
    }

    /// Starts a verification that nobody will check.
    pub(crate) async fn leave_pending(&mut self, stock: &Stock) -> Result<Took, Miss> {
        let watch = Stopwatch::start();
        self.start(stock.recipient()).await?;
        Ok(Took::Call(watch.elapsed()))
    }

    async fn empty(&mut self) -> Result<(), Miss> {
        let _: HealthCheckResponse = self.unary("/grpc.health.v1.Health/Check", HealthCheckRequest::default()).await?;
        Ok(())
    }

    pub(crate) async fn start(&mut self, phone: String) -> Result<String, Miss> {
        let request = StartVerificationRequest {
            recipient: Some(Recipient { address: Some(recipient::Address::Phone(phone)) }),
            custom_code: CODE.to_owned(),
            ..StartVerificationRequest::default()
        };
        let answer: Started =
            self.unary("/verigate.verification.v1.VerificationService/StartVerification", request).await?;
        answer.verification.map(|named| named.id).ok_or_else(|| Miss::Failed("start: no verification".to_owned()))
    }

    pub(crate) async fn check(&mut self, id: String) -> Result<(), Miss> {
        let request = CheckVerificationRequest {
            target: Some(check_verification_request::Target::Id(id)),
            code: CODE.to_owned(),
            ..CheckVerificationRequest::default()
        };
        let answer: Checked =
            self.unary("/verigate.verification.v1.VerificationService/CheckVerification", request).await?;
        match answer.outcome() {
            CheckOutcome::Approved => Ok(()),
            other => Err(Miss::Failed(format!("check: {}", other.as_str_name()))),
        }
    }

    async fn unary<Q, A>(&mut self, path: &'static str, message: Q) -> Result<A, Miss>
    where
        Q: prost::Message + 'static,
        A: prost::Message + Default + 'static,
    {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        self.grpc.ready().await.map_err(|_| Miss::Failed("the connection is broken".to_owned()))?;
        let codec = ProstCodec::<Q, A>::default();
        let answer = self.grpc.unary(request, PathAndQuery::from_static(path), codec).await;
        answer.map(tonic::Response::into_inner).map_err(|status| miss(&status))
    }
}

fn miss(status: &Status) -> Miss {
    let what = describe(status);
    let info = status.get_details_retry_info().filter(|_| status.code() == Code::Unavailable);
    match info.and_then(|info| info.retry_delay) {
        Some(after) => Miss::TurnedAway { after, what },
        None => Miss::Failed(what),
    }
}

/// Code and reason only: a message may repeat what was sent.
fn describe(status: &Status) -> String {
    match status.get_details_error_info() {
        Some(info) => format!("{:?} {}", status.code(), info.reason),
        None => format!("{:?}", status.code()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::recipient::Phone;

    #[test]
    fn recipients_are_valid_and_all_different() {
        let numbers: HashSet<_> = (0..20_000).map(recipient).collect();
        assert_eq!(numbers.len(), 20_000);
        for number in &numbers {
            assert_eq!(Phone::parse(number, None).unwrap().e164(), number);
        }
        assert_eq!(recipient(7), recipient(7 + NUMBERS));
    }

    #[test]
    fn the_stride_meets_every_number() {
        let divides_both = |factor: u64| NUMBERS.is_multiple_of(factor) && STRIDE.is_multiple_of(factor);
        assert!((2..=NUMBERS.isqrt()).all(|factor| !divides_both(factor)));
    }
}
