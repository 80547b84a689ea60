//! `verigate.verification.v1.VerificationService`.

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream::unfold;
use tonic::{Request, Response, Status};

use crate::auth::act::Act;
use crate::auth::directory::Directory;
use crate::error::{Error, Result};
use crate::grpc::access::{address_of, caller_of, tenant_of};
use crate::grpc::convert::{
    parse_address, parse_channel, parse_duration, parse_id, parse_metadata, parse_page, parse_text, to_channel,
    to_count, to_failure_reason, to_message_status, to_metadata, to_recipient, to_status, to_time,
};
use crate::grpc::follow::{Answers, until};
use crate::guard::ask::Origin;
use crate::guard::rule::Rule;
use crate::id::Id;
use crate::messaging::holder::SendRecord;
use crate::messaging::page::PageRequest;
use crate::messaging::request::{check_idempotency_key, parse_recipient};
use crate::messaging::sending::Sending;
use crate::proto::verification::v1 as pb;
use crate::proto::verification::v1::verification_service_server::VerificationService;
use crate::tenant::Tenant;
use crate::vendor::Channel;
use crate::verification::answers::Judgement;
use crate::verification::code::{Candidate, Class, Code};
use crate::verification::list::VerificationFilter;
use crate::verification::policy::PolicyOverrides;
use crate::verification::request::{NewCheck, NewVerification, OnExisting, Target, check_scope};
use crate::verification::service::Verifications;
use crate::verification::verification::Status as VerificationStatus;
use crate::verification::view::{Checked, Outcome, View};
use crate::violations::Violations;

/// Longest device id, in characters.
const MAX_DEVICE_ID: usize = 128;

pub struct VerificationApi {
    verifications: Arc<Verifications>,
    directory: Arc<Directory>,
}

// === impl VerificationApi ===

impl VerificationApi {
    pub fn new(verifications: Arc<Verifications>, directory: Arc<Directory>) -> Self {
        Self { verifications, directory }
    }
}

#[tonic::async_trait]
impl VerificationService for VerificationApi {
    async fn start_verification(
        &self,
        request: Request<pb::StartVerificationRequest>,
    ) -> Result<Response<pb::StartVerificationResponse>, Status> {
        let caller = caller_of(&request)?;
        if request.get_ref().return_code {
            caller.may(Act::ReturnCode).map_err(to_status)?;
        }
        let peer = address_of(&request);
        let mut new = parse_start(request.into_inner()).map_err(to_status)?;
        new.origin.peer = peer;
        let started = self.verifications.start(&caller.tenant, new).await.map_err(to_status)?;
        Ok(Response::new(pb::StartVerificationResponse {
            verification: Some(to_verification(&started.view)),
            code: started.code.map(|code| code.expose().to_owned()).unwrap_or_default(),
            nearest_limit: started.nearest.map(to_allowance),
        }))
    }

    async fn check_verification(
        &self,
        request: Request<pb::CheckVerificationRequest>,
    ) -> Result<Response<pb::CheckVerificationResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let check = parse_check(&tenant, request.into_inner()).map_err(to_status)?;
        let checked = self.verifications.check(&tenant, check).await.map_err(to_status)?;
        Ok(Response::new(to_checked(&checked)))
    }

    async fn resend_verification(
        &self,
        request: Request<pb::ResendVerificationRequest>,
    ) -> Result<Response<pb::ResendVerificationResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let request = request.into_inner();
        let (id, channel) = parse_resend(&request).map_err(to_status)?;
        let view = self.verifications.resend(&tenant.name, id, channel).await.map_err(to_status)?;
        Ok(Response::new(pb::ResendVerificationResponse { verification: Some(to_verification(&view)) }))
    }

    async fn cancel_verification(
        &self,
        request: Request<pb::CancelVerificationRequest>,
    ) -> Result<Response<pb::CancelVerificationResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let id = parse_id(&request.get_ref().id).map_err(to_status)?;
        let view = self.verifications.cancel(&tenant.name, id).await.map_err(to_status)?;
        Ok(Response::new(pb::CancelVerificationResponse { verification: Some(to_verification(&view)) }))
    }

    async fn get_verification(
        &self,
        request: Request<pb::GetVerificationRequest>,
    ) -> Result<Response<pb::GetVerificationResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let id = parse_id(&request.get_ref().id).map_err(to_status)?;
        let view = self.verifications.get(&tenant.name, id).await.map_err(to_status)?;
        Ok(Response::new(pb::GetVerificationResponse { verification: Some(to_verification(&view)) }))
    }

    async fn list_verifications(
        &self,
        request: Request<pb::ListVerificationsRequest>,
    ) -> Result<Response<pb::ListVerificationsResponse>, Status> {
        let tenant = tenant_of(&request)?;
        let (filter, page) = parse_list(request.into_inner()).map_err(to_status)?;
        let page = self.verifications.list(&tenant, &filter, &page).await.map_err(to_status)?;
        Ok(Response::new(pb::ListVerificationsResponse {
            verifications: page.items.iter().map(to_verification).collect(),
            next_page_token: page.next.map(|token| token.to_string()).unwrap_or_default(),
        }))
    }

    type WatchVerificationStream = Answers<pb::WatchVerificationResponse>;

    async fn watch_verification(
        &self,
        request: Request<pb::WatchVerificationRequest>,
    ) -> Result<Response<Self::WatchVerificationStream>, Status> {
        let caller = caller_of(&request)?;
        let id = parse_id(&request.get_ref().id).map_err(to_status)?;
        let mut watch = self.verifications.watch(&caller.tenant.name, id);
        // The first look is part of the call, so that an unknown id is its answer.
        let first = watch.next().await.map_err(to_status)?;
        let rest = unfold(Some(watch), async |watch| {
            let mut watch = watch?;
            match watch.next().await {
                Ok(Some(view)) => Some((Ok(view), Some(watch))),
                Ok(None) => None,
                Err(error) => Some((Err(to_status(error)), None)),
            }
        });
        let views = futures_util::stream::iter(first.map(Ok)).chain(rest);
        let answers = views
            .map(|view| view.map(|view| pb::WatchVerificationResponse { verification: Some(to_verification(&view)) }));
        let directory = Arc::clone(&self.directory);
        Ok(Response::new(until(answers, async move { directory.closed_to(&caller).await })))
    }
}

fn parse_start(request: pb::StartVerificationRequest) -> Result<NewVerification> {
    let mut unread = Violations::default();
    let client_address = unread.note(parse_client_ip(&request.client_ip))?.flatten();
    if request.device_id.chars().count() > MAX_DEVICE_ID {
        unread.add("device_id", format!("must be at most {MAX_DEVICE_ID} characters"));
    }
    let custom_code = parse_text(request.custom_code).map(|code| Code::custom(&code)).transpose();
    Ok(NewVerification {
        recipient: parse_address(request.recipient),
        channel: unread.note(parse_channel(request.channel))?.flatten(),
        workflow: parse_text(request.workflow),
        scope: parse_text(request.scope),
        policy: parse_policy(request.policy.unwrap_or_default(), &mut unread)?,
        custom_code: unread.note(custom_code)?.flatten(),
        code_is_number: false,
        locale: parse_text(request.locale),
        template: parse_text(request.template),
        variables: parse_metadata(request.variables),
        text: None,
        web_otp_domain: parse_text(request.web_otp_domain),
        android_app_hash: parse_text(request.android_app_hash),
        sender: parse_text(request.sender),
        metadata: parse_metadata(request.metadata),
        on_existing: unread.note(parse_on_existing(request.on_existing))?.unwrap_or_default(),
        delivery_wait: parse_duration(request.delivery_wait),
        idempotency_key: parse_text(request.idempotency_key),
        return_code: request.return_code,
        origin: Origin { client_address, peer: None, device: parse_text(request.device_id), trusted: request.trusted },
        unread: unread.0,
    })
}

fn parse_policy(policy: pb::CodePolicy, unread: &mut Violations) -> Result<PolicyOverrides> {
    // A negative number is out of every range, and so is the number that stands in for it.
    let number = |number: i32| (number != 0).then(|| u32::try_from(number).unwrap_or(u32::MAX));
    let classes = policy.alphabet.iter().map(|class| parse_class(*class)).collect::<Result<Vec<_>>>();
    let classes = unread.note(classes)?.unwrap_or_default();
    Ok(PolicyOverrides {
        length: number(policy.length),
        alphabet: (!classes.is_empty()).then_some(classes),
        exclude_confusing: policy.exclude_confusing,
        lifetime: parse_duration(policy.lifetime),
        max_checks: number(policy.max_checks),
    })
}

fn parse_class(class: i32) -> Result<Class> {
    match pb::AlphabetClass::try_from(class) {
        Ok(pb::AlphabetClass::Digits) => Ok(Class::Digits),
        Ok(pb::AlphabetClass::Upper) => Ok(Class::Upper),
        Ok(pb::AlphabetClass::Lower) => Ok(Class::Lower),
        Ok(pb::AlphabetClass::Special) => Ok(Class::Special),
        Ok(pb::AlphabetClass::Unspecified) | Err(_) => Err(Error::invalid(
            "policy.alphabet",
            format!("must name DIGITS, UPPER, LOWER or SPECIAL, but has {class}"),
        )),
    }
}

fn parse_on_existing(on_existing: i32) -> Result<OnExisting> {
    match pb::OnExisting::try_from(on_existing) {
        Ok(pb::OnExisting::Unspecified | pb::OnExisting::Resend) => Ok(OnExisting::Resend),
        Ok(pb::OnExisting::Replace) => Ok(OnExisting::Replace),
        Ok(pb::OnExisting::Parallel) => Ok(OnExisting::Parallel),
        Err(_) => {
            Err(Error::invalid("on_existing", format!("must be RESEND, REPLACE or PARALLEL, but is {on_existing}")))
        }
    }
}

fn parse_check(tenant: &Tenant, request: pb::CheckVerificationRequest) -> Result<NewCheck> {
    let mut found = Violations::default();
    let target = match request.target {
        Some(pb::check_verification_request::Target::Id(id)) => found.note(parse_id(&id))?.map(Target::Id),
        Some(pb::check_verification_request::Target::ScopedRecipient(scoped)) => {
            let mut inner = Violations::default();
            let target = parse_newest(tenant, scoped, &mut inner)?;
            found.nest("scoped_recipient", inner.0);
            target
        }
        None => {
            found.add("target", "must be set, with either id or scoped_recipient".to_owned());
            None
        }
    };
    let candidate = found.note(Candidate::parse(&request.code))?;
    found.note(parse_client_ip(&request.client_ip))?;
    let idempotency_key = parse_text(request.idempotency_key);
    found.0.extend(idempotency_key.as_deref().and_then(check_idempotency_key));
    match (target, candidate) {
        (Some(target), Some(candidate)) if found.0.is_empty() => Ok(NewCheck { target, candidate, idempotency_key }),
        _ => Err(Error::invalid_fields(found.0)),
    }
}

fn parse_newest(tenant: &Tenant, scoped: pb::ScopedRecipient, found: &mut Violations) -> Result<Option<Target>> {
    let scope = parse_text(scoped.scope);
    found.0.extend(scope.as_deref().and_then(check_scope));
    let address = parse_address(scoped.recipient);
    let recipient = found.note(parse_recipient(address.as_ref(), tenant.default_country))?;
    Ok(recipient.map(|recipient| Target::Newest { scope, recipient }))
}

fn parse_resend(request: &pb::ResendVerificationRequest) -> Result<(Id, Option<Channel>)> {
    let mut found = Violations::default();
    let id = found.note(parse_id(&request.id))?;
    let channel = found.note(parse_channel(request.channel))?;
    match (id, channel) {
        (Some(id), Some(channel)) => Ok((id, channel)),
        _ => Err(Error::invalid_fields(found.0)),
    }
}

fn parse_list(request: pb::ListVerificationsRequest) -> Result<(VerificationFilter, PageRequest)> {
    let mut unread = Violations::default();
    let statuses = request.statuses.iter().map(|status| parse_status(*status)).collect::<Result<Vec<_>>>();
    let filter = VerificationFilter {
        recipient: parse_address(request.recipient),
        scope: parse_text(request.scope),
        statuses: unread.note(statuses)?.unwrap_or_default(),
    };
    let (from, before) = (request.create_time_from, request.create_time_before);
    let page = parse_page(request.page_size, &request.page_token, from, before, &mut unread)?;
    if unread.0.is_empty() { Ok((filter, page)) } else { Err(Error::invalid_fields(unread.0)) }
}

fn parse_status(status: i32) -> Result<VerificationStatus> {
    match pb::VerificationStatus::try_from(status) {
        Ok(pb::VerificationStatus::Pending) => Ok(VerificationStatus::Pending),
        Ok(pb::VerificationStatus::Approved) => Ok(VerificationStatus::Approved),
        Ok(pb::VerificationStatus::Expired) => Ok(VerificationStatus::Expired),
        Ok(pb::VerificationStatus::Canceled) => Ok(VerificationStatus::Canceled),
        Ok(pb::VerificationStatus::ChecksExhausted) => Ok(VerificationStatus::ChecksExhausted),
        Ok(pb::VerificationStatus::Undeliverable) => Ok(VerificationStatus::Undeliverable),
        Ok(pb::VerificationStatus::Unspecified) | Err(_) => {
            Err(Error::invalid("statuses", format!("must name verification statuses, but has {status}")))
        }
    }
}

/// `None` when it is empty.
fn parse_client_ip(text: &str) -> Result<Option<IpAddr>> {
    let parsed = (!text.is_empty()).then(|| text.parse()).transpose();
    parsed.map_err(|_| Error::invalid("client_ip", "must be an IPv4 or IPv6 address"))
}

fn to_allowance((rule, left): (Rule, u32)) -> pb::Allowance {
    pb::Allowance { rule: rule.as_str().to_owned(), left: i32::try_from(left).unwrap_or(i32::MAX) }
}

fn to_checked(checked: &Checked) -> pb::CheckVerificationResponse {
    let outcome = match checked.outcome {
        Outcome::RecipientLocked => pb::CheckOutcome::RecipientLocked,
        Outcome::Judged(Judgement::Approved) => pb::CheckOutcome::Approved,
        Outcome::Judged(Judgement::Wrong) => pb::CheckOutcome::WrongCode,
        Outcome::Judged(Judgement::LastWrong) => pb::CheckOutcome::ChecksExhausted,
        Outcome::Ended(VerificationStatus::Approved) => pb::CheckOutcome::AlreadyApproved,
        // A pending one is judged, never ended.
        Outcome::Ended(VerificationStatus::Pending | VerificationStatus::Expired) => pb::CheckOutcome::Expired,
        Outcome::Ended(VerificationStatus::Canceled) => pb::CheckOutcome::Canceled,
        Outcome::Ended(VerificationStatus::ChecksExhausted) => pb::CheckOutcome::ChecksExhausted,
        Outcome::Ended(VerificationStatus::Undeliverable) => pb::CheckOutcome::Undeliverable,
    };
    pb::CheckVerificationResponse {
        outcome: outcome.into(),
        checks_left: to_count(checked.checks_left),
        next_check_time: checked.next_check_at.map(to_time),
        verification: Some(to_verification(&checked.view)),
    }
}

pub(crate) fn to_verification(view: &View) -> pb::Verification {
    let verification = &view.verification;
    let channel = verification.sends().last().map_or_else(Default::default, |sending| to_channel(sending.channel));
    pb::Verification {
        id: verification.id.to_string(),
        recipient: Some(to_recipient(&verification.recipient)),
        scope: verification.scope.clone(),
        channel: channel.into(),
        status: to_verification_status(view.status).into(),
        create_time: Some(to_time(verification.created_at)),
        expire_time: Some(to_time(verification.expires_at)),
        decide_time: view.decided_at.map(to_time),
        checks_left: to_count(view.checks_left),
        checks_used: to_count(verification.checks_used),
        next_resend_time: view.next_resend_at.map(to_time),
        sends: verification.sends().iter().map(to_send).collect(),
        metadata: to_metadata(&verification.metadata),
        workflow: verification.workflow().unwrap_or_default().to_owned(),
        next_step_time: view.next_step_at.map(to_time),
        vendor_makes_code: verification.is_of_vendors_code(),
    }
}

fn to_verification_status(status: VerificationStatus) -> pb::VerificationStatus {
    match status {
        VerificationStatus::Pending => pb::VerificationStatus::Pending,
        VerificationStatus::Approved => pb::VerificationStatus::Approved,
        VerificationStatus::Expired => pb::VerificationStatus::Expired,
        VerificationStatus::Canceled => pb::VerificationStatus::Canceled,
        VerificationStatus::ChecksExhausted => pb::VerificationStatus::ChecksExhausted,
        VerificationStatus::Undeliverable => pb::VerificationStatus::Undeliverable,
    }
}

fn to_send(sending: &Sending) -> pb::VerificationSend {
    pb::VerificationSend {
        // On this wire people count from 1.
        number: to_count(sending.number).saturating_add(1),
        channel: to_channel(sending.channel).into(),
        vendor: sending.vendor.clone().unwrap_or_default(),
        status: to_message_status(sending.status).into(),
        attempts: to_count(sending.attempts),
        vendor_reference: sending.vendor_reference.clone().unwrap_or_default(),
        reason: to_failure_reason(sending).into(),
        create_time: Some(to_time(sending.created_at)),
        update_time: Some(to_time(sending.updated_at)),
    }
}
