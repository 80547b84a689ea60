//! What a Rust service needs to call Verigate: a connection, credentials, a deadline on each call, retries, typed errors.
//! It knows nothing of what is verified; `main.rs` shows it at work.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tonic_types::StatusExt;

use crate::proto::verification::v1 as pb;
use crate::proto::verification::v1::verification_service_client::VerificationServiceClient;

/// The retry policy. In other languages it stands in a service config, which tonic does not read.
const MAX_ATTEMPTS: u32 = 4;
const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// One connection, to be kept and cloned.
#[derive(Clone)]
pub struct Gateway {
    channel: Channel,
    authorization: MetadataValue<Ascii>,
}

/// Why a call failed. Decide by `code` and `reason`; `message` is for people and may change.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub code: Code,
    pub message: String,
    /// A name from verigate.error.v1.ErrorReason without its prefix. Empty when the gateway did not answer at all.
    pub reason: String,
    pub domain: String,
    /// How long to wait before the next try, where waiting helps.
    pub retry_after: Option<Duration>,
    /// What is wrong with which field of the request.
    pub fields: BTreeMap<String, String>,
    /// Which limits were reached.
    pub quotas: Vec<String>,
}

// === impl Gateway ===

impl Gateway {
    /// `address`: http://HOST:PORT or unix:/path; `key`: an API key, ID.SECRET. Connects when the first call is made.
    ///
    /// In the clear, so for this machine. With TLS before the gateway: `https://`, and `Endpoint::tls_config`.
    pub fn new(address: &str, key: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let address = if address.contains("://") || address.starts_with("unix:") {
            address.to_owned()
        } else {
            format!("http://{address}")
        };
        let mut authorization: MetadataValue<Ascii> = format!("Bearer {key}").parse()?;
        authorization.set_sensitive(true);
        Ok(Self { channel: Endpoint::from_shared(address)?.connect_lazy(), authorization })
    }

    /// Sends a code.
    pub async fn start(
        &self,
        request: pb::StartVerificationRequest,
        within: Duration,
    ) -> Result<pb::Verification, Status> {
        let started = self.call(request, within, async |mut client, request| client.start_verification(request).await);
        started.await?.verification.ok_or_else(|| Status::internal("an answer without a verification"))
    }

    /// Compares what was typed.
    pub async fn check(
        &self,
        request: pb::CheckVerificationRequest,
        within: Duration,
    ) -> Result<pb::CheckVerificationResponse, Status> {
        self.call(request, within, async |mut client, request| client.check_verification(request).await).await
    }

    /// Tells each status as it comes, and returns after the last.
    pub async fn watch(
        &self,
        id: &str,
        within: Duration,
        mut tell: impl FnMut(pb::VerificationStatus),
    ) -> Result<(), Status> {
        let deadline = Instant::now() + within;
        let request = pb::WatchVerificationRequest { id: id.to_owned() };
        let watch = async {
            let request = self.request(request, deadline);
            let mut answers =
                VerificationServiceClient::new(self.channel.clone()).watch_verification(request).await?.into_inner();
            while let Some(answer) = answers.message().await? {
                tell(answer.verification.unwrap_or_default().status());
            }
            Ok(())
        };
        before(deadline, watch).await
    }

    /// Makes a call that does no harm when it is made twice: it only reads, or ends where it ended, or carries an
    /// idempotency key, as every start and check should. ResendVerification is none: it sends again.
    async fn call<Q: Clone, A>(
        &self,
        request: Q,
        within: Duration,
        call: impl AsyncFn(VerificationServiceClient<Channel>, Request<Q>) -> Result<Response<A>, Status>,
    ) -> Result<A, Status> {
        retry(within, async |deadline| {
            let client = VerificationServiceClient::new(self.channel.clone());
            call(client, self.request(request.clone(), deadline)).await.map(Response::into_inner)
        })
        .await
    }

    fn request<Q>(&self, message: Q, deadline: Instant) -> Request<Q> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        // The gateway gives up then, too.
        request.set_timeout(deadline.saturating_duration_since(Instant::now()));
        request
    }
}

/// Calls until there is an answer other than UNAVAILABLE: the one status after which the same call may succeed by itself a
/// moment later.
pub async fn retry<A>(within: Duration, call: impl AsyncFn(Instant) -> Result<A, Status>) -> Result<A, Status> {
    let deadline = Instant::now() + within;
    let mut backoff = INITIAL_BACKOFF;
    for _ in 1..MAX_ATTEMPTS {
        let outcome = before(deadline, call(deadline)).await;
        // With jitter, so that clients that lost one gateway at once do not come back at once.
        let wait = backoff.mul_f64(rand::random_range(0.8..1.2));
        if !outcome.as_ref().is_err_and(is_passing) || Instant::now() + wait >= deadline {
            return outcome;
        }
        sleep(wait).await;
        backoff = (backoff * 2).min(MAX_BACKOFF);
    }
    before(deadline, call(deadline)).await
}

/// UNAVAILABLE, or no word of the gateway's at all: the connection broke.
fn is_passing(status: &Status) -> bool {
    status.code() == Code::Unavailable || (status.code() != Code::DeadlineExceeded && status.source().is_some())
}

/// DEADLINE_EXCEEDED for whatever fails once time has run out, by whoever sees it first.
async fn before<A>(deadline: Instant, work: impl Future<Output = Result<A, Status>>) -> Result<A, Status> {
    match timeout_at(deadline, work).await {
        Ok(Err(_)) | Err(_) if Instant::now() >= deadline => Err(Status::deadline_exceeded("no answer in time")),
        Ok(outcome) => outcome,
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    }
}

// === impl Refusal ===

impl Refusal {
    /// Unpacks the details of a failed call.
    pub fn of(status: &Status) -> Self {
        let details = status.get_error_details();
        let (reason, domain) =
            details.error_info().map(|info| (info.reason.clone(), info.domain.clone())).unwrap_or_default();
        let fields = details.bad_request().map(|bad| bad.field_violations.clone()).unwrap_or_default();
        let quotas = details.quota_failure().map(|quota| quota.violations.clone()).unwrap_or_default();
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason,
            domain,
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            fields: fields.into_iter().map(|violation| (violation.field, violation.description)).collect(),
            quotas: quotas.into_iter().map(|violation| violation.subject).collect(),
        }
    }
}
