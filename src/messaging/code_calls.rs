//! Codes that vendors make: has them made, checked and ended, with the limits that every call of a vendor has.
//!
//! Knows which vendor to ask about which code; what an answer means for a verification is decided above.

use std::sync::Arc;

use secrecy::SecretString;
use tracing::{Instrument, debug_span, error, warn};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::{Id, TenantName};
use crate::messaging::code_places::{Claim, Refusal, Standing};
use crate::messaging::errand::{CodeErrand, Errand};
use crate::messaging::outbox::{Begun, Outbox};
use crate::messaging::patience::before;
use crate::messaging::vendors::Permit;
use crate::recipient::Recipient;
use crate::telemetry::trace;
use crate::vendor::{
    Accepted, Channel, CodeFor, CodeHandle, CodePlace, CodeVerdict, Codes, Failure, Rejection, Vendor,
};

/// Codes of one verification that a vendor is asked about in one check, at most. Beyond the newest only where the vendor
/// knows nothing of that.
const MOST_ASKED: usize = 3;

/// Whose codes they are, and which.
#[derive(Debug, Clone)]
pub struct CodesOf {
    /// The verification.
    pub id: Id,
    pub tenant: TenantName,
    pub recipient: Recipient,
    pub sender: Option<String>,
    /// All that vendors made or may have made, newest first.
    pub codes: Vec<SentCode>,
}

/// A code that a vendor made or may have made.
#[derive(Debug, Clone)]
pub struct SentCode {
    pub vendor: String,
    pub channel: Channel,
    /// The vendor's name for it, where it gave one.
    pub reference: Option<String>,
}

/// A code that can be checked.
#[derive(Debug, Clone)]
pub struct LiveCode {
    pub vendor: String,
    pub handle: CodeHandle,
}

/// What can be asked about.
#[derive(Debug)]
pub enum Live {
    /// These, newest first; not empty.
    Codes(Vec<LiveCode>),
    /// Nothing, for vendors have made codes of other verifications in their place.
    Displaced,
    Nothing,
}

// === impl Outbox ===

impl Outbox {
    /// Has a vendor make a code, once the place where it keeps that is ours, if it has such places.
    pub(crate) async fn start_code(
        &self,
        permit: &mut Permit,
        begun: &Begun,
        code: &CodeErrand,
    ) -> Result<Accepted, Failure> {
        let errand = Errand::Code(code.clone());
        let now = self.ground.clock.now();
        let codes = permit.vendor().codes();
        let place = codes.and_then(|codes| codes.place(&code.whom()));
        let lifetime = codes.and_then(|codes| code.request(codes, now)).map(|request| request.lifetime);
        let (Some(place), Some(lifetime)) = (place, lifetime) else {
            return self.call(permit, &errand, begun.until).await;
        };
        // By its own clock the vendor keeps the code a little longer.
        let claim = Claim::new(&begun.send, self.lease(), now + lifetime + self.lease());
        let taken = self.code_places.take(&place.name, claim).await.map_err(|error| {
            error!(?error, "it could not be noted whose code a vendor is about to make");
            Failure::Unavailable
        })?;
        let taken = taken.map_err(|refusal| match refusal {
            Refusal::UnderWay(until) => Failure::Throttled { after: Some(until.since(now)) },
            Refusal::Occupied => {
                warn!(vendor = permit.name(), "a vendor keeps the code of another tenant where it would keep this one");
                Failure::Rejected(Rejection::Occupied)
            }
        })?;
        let outcome = self.call(permit, &errand, begun.until).await;
        // Lost, the code cannot be checked, or another one not any more; nothing is approved that should not be.
        if let Err(error) = self.code_places.settle(taken, &outcome).await {
            error!(?error, "it could not be noted what came of a vendor's code");
        }
        outcome
    }

    /// Asks a vendor to make a code. The name that it gave the code is kept in place of a message's.
    pub(crate) async fn make_code(vendor: &dyn Vendor, code: &CodeErrand, now: Timestamp) -> Result<Accepted, Failure> {
        let refused = Failure::Rejected(Rejection::InvalidContent);
        let codes = vendor.codes().ok_or_else(|| refused.clone())?;
        let request = code.request(codes, now).ok_or(refused)?;
        let place = codes.place(&request.whom());
        let handle = codes.start(&request).await?;
        let vendor_reference = handle.vendor_reference.filter(|_| place.is_none());
        if vendor_reference.is_none() && place.is_none() {
            warn!("a vendor gave no name to a code that it made, so nobody can check it");
            return Err(Failure::Unknown);
        }
        Ok(Accepted { vendor_reference, receipt: None })
    }

    /// Those of these vendors that cannot do this.
    pub(crate) fn unable(&self, errand: &Errand, vendors: &[String], now: Timestamp) -> Vec<String> {
        let Errand::Code(code) = errand else { return Vec::new() };
        let able = |vendor: &&String| self.codes_at(vendor).is_some_and(|codes| code.request(codes, now).is_some());
        vendors.iter().filter(|vendor| !able(vendor)).cloned().collect()
    }

    /// Which of these codes can be checked.
    pub(crate) async fn live_codes(&self, of: &CodesOf) -> Result<Live> {
        let (mut live, mut places) = (Vec::new(), Vec::new());
        let mut displaced = false;
        for sent in &of.codes {
            let Some(codes) = self.codes_at(&sent.vendor) else { continue };
            let handle = match (codes.place(&of.whom(sent)), &sent.reference) {
                (Some(CodePlace { name, .. }), _) if places.contains(&name) => continue,
                (Some(CodePlace { name, handle }), _) => {
                    let standing = self.code_places.standing(&name, of.id).await?;
                    places.push(name);
                    displaced |= standing == Standing::Displaced;
                    (standing == Standing::Ours).then_some(handle)
                }
                (None, Some(_)) => Some(of.handle(sent)),
                (None, None) => None,
            };
            live.extend(handle.map(|handle| LiveCode { vendor: sent.vendor.clone(), handle }));
        }
        live.truncate(MOST_ASKED);
        Ok(match live.is_empty() {
            false => Live::Codes(live),
            true if displaced => Live::Displaced,
            true => Live::Nothing,
        })
    }

    /// How long a check may take from now on, and until when nobody is to make another meanwhile: room for the call, the
    /// call, and room to commit its outcome.
    pub(crate) fn time_of_check(&self, now: Timestamp) -> (Timestamp, Timestamp) {
        let until = now + 2 * self.attempt_timeout();
        (until, until + (self.lease() - self.attempt_timeout()))
    }

    /// Has vendors check a candidate: against the newest of these codes, and against an older one only where the vendor
    /// knows nothing of the newer. Tells which code the verdict is about.
    pub(crate) async fn check_codes<'a>(
        &self,
        codes: &'a [LiveCode],
        candidate: &SecretString,
        until: Timestamp,
    ) -> (Option<&'a LiveCode>, Result<CodeVerdict, Failure>) {
        for code in codes {
            match self.check_code(code, candidate, until).await {
                Ok(CodeVerdict::Unknown) => {}
                verdict => return (Some(code), verdict),
            }
        }
        (None, Ok(CodeVerdict::Unknown))
    }

    /// Lets go of the codes of a verification that has ended: tells vendors that take it that they are void, and lets
    /// other tenants have their places. Nobody waits for it, and whatever of it fails, ends with the codes themselves.
    pub(crate) fn let_go(self: &Arc<Self>, of: CodesOf, is_void: bool) {
        if of.codes.is_empty() {
            return;
        }
        let outbox = Arc::clone(self);
        let work = async move {
            for sent in &of.codes {
                let Some(codes) = outbox.codes_at(&sent.vendor) else { continue };
                if let Some(place) = codes.place(&of.whom(sent)) {
                    if let Err(error) = outbox.code_places.free(&place.name, of.id).await {
                        warn!(?error, "it could not be noted that a vendor's code is not needed any more");
                    }
                } else if is_void && codes.limits().cancel && sent.reference.is_some() {
                    let (until, _) = outbox.time_of_check(outbox.ground.clock.now());
                    let handle = of.handle(sent);
                    if let Err(failure) = outbox.ask_soon(&sent.vendor, until, codes.cancel(&handle)).await {
                        warn!(
                            vendor = sent.vendor,
                            ?failure,
                            "a vendor did not end a code that is not needed any more"
                        );
                    }
                }
            }
        };
        self.spawn(work.instrument(debug_span!("codes")));
    }

    async fn check_code(
        &self,
        code: &LiveCode,
        candidate: &SecretString,
        until: Timestamp,
    ) -> Result<CodeVerdict, Failure> {
        let codes = self.codes_at(&code.vendor).ok_or(Failure::Unavailable)?;
        let mut span = trace::client("vendor.check");
        let verdict = span.run(self.ask_soon(&code.vendor, until, codes.check(&code.handle, candidate))).await;
        let outcome = match &verdict {
            Ok(CodeVerdict::Right) => "right",
            Ok(CodeVerdict::Wrong { .. }) => "wrong",
            Ok(CodeVerdict::Expired) => "expired",
            Ok(CodeVerdict::Exhausted) => "exhausted",
            Ok(CodeVerdict::Unknown) => "not_found",
            Err(Failure::Throttled { .. } | Failure::Unavailable) => "not_judged",
            Err(Failure::Rejected(_) | Failure::Unknown) => "unknown",
        };
        span.set("verigate.vendor", code.vendor.clone());
        span.set("verigate.outcome", outcome);
        drop(span);
        metrics::counter!("verigate_vendor_code_checks_total", "outcome" => outcome).increment(1);
        if let Err(failure) = &verdict {
            warn!(vendor = code.vendor, ?failure, "a vendor did not check a code");
        }
        verdict
    }

    /// Asks a vendor something within its limits, and until then at most. What waits for room leaves time for the call.
    async fn ask_soon<T>(
        &self,
        vendor: &str,
        until: Timestamp,
        question: impl Future<Output = Result<T, Failure>> + Send,
    ) -> Result<T, Failure> {
        let clock = &*self.ground.clock;
        let now = clock.now();
        let room_until = now + until.since(now).saturating_sub(self.attempt_timeout());
        let mut permit = self.vendors.permit_soon(vendor, clock, room_until).await.ok_or(Failure::Unavailable)?;
        let began = clock.now();
        // What is not asked by then must not be asked any more.
        let patience = began + self.attempt_timeout();
        let answer = before(clock, (patience, until), question).await.unwrap_or(Err(Failure::Unknown));
        let ended = clock.now();
        let outcome = answer.as_ref().map(|_| Accepted::default()).map_err(Clone::clone);
        permit.note(&outcome, ended.since(began), ended);
        answer
    }

    /// The codes that a vendor makes, if it makes any.
    pub(crate) fn codes_at(&self, vendor: &str) -> Option<&dyn Codes> {
        self.vendors.get(vendor).and_then(|vendor| vendor.codes())
    }
}

// === impl CodesOf ===

impl CodesOf {
    fn whom(&self, sent: &SentCode) -> CodeFor<'_> {
        let Self { tenant, recipient, sender, .. } = self;
        CodeFor { tenant, channel: sent.channel, recipient, sender: sender.as_deref() }
    }

    fn handle(&self, sent: &SentCode) -> CodeHandle {
        CodeHandle {
            vendor_reference: sent.reference.clone(),
            channel: sent.channel,
            recipient: self.recipient.clone(),
        }
    }
}
