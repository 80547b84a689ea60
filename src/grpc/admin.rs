//! `verigate.admin.v1.AdminService`. Whoever gets here is an administrator: others are turned away with their credentials.

use std::sync::Arc;

use secrecy::ExposeSecret;
use tonic::{Request, Response, Status};
use tracing::info;

use crate::auth::changes::Rotated;
use crate::auth::registry::Registry;
use crate::auth::secret::ApiKey;
use crate::error::{Error, Result};
use crate::feed::feeds::Feeds;
use crate::grpc::access::{caller_of, tenant_of};
use crate::grpc::accounts::{
    parse_key_id, parse_name, parse_named_page, parse_new_key, parse_new_tenant, parse_rotation, parse_tenant_change,
    to_api_key, to_tenant,
};
use crate::grpc::blocks;
use crate::grpc::convert::{
    parse_channel, parse_id, parse_page_size, parse_text, to_channel, to_count, to_nearest, to_status, to_time,
};
use crate::grpc::data::Data;
use crate::grpc::endpoints;
use crate::grpc::follow::Answers;
use crate::guard::service::Guard;
use crate::id::{Id, TenantName};
use crate::messaging::breaker::BreakerState;
use crate::messaging::conversion::{Place, Tally};
use crate::messaging::conversion_list::{ConversionFilter, ConversionPageRequest, ConversionToken};
use crate::messaging::health::{Calls, Health};
use crate::messaging::oversight::{Oversight, VendorView};
use crate::messaging::service::Messaging;
use crate::proto::admin::v1 as pb;
use crate::proto::admin::v1::admin_service_server::AdminService;
use crate::proto::admin::v1::submit_feedback_request::Subject as PbSubject;
use crate::random::Random;
use crate::recipient::Country;
use crate::tenant::Tenant;
use crate::vendor::FeedbackOutcome;
use crate::verification::service::Verifications;
use crate::violations::Violations;

pub struct AdminApi(Parts);

/// What it looks after.
pub struct Parts {
    pub registry: Arc<Registry>,
    pub random: Arc<dyn Random>,
    pub oversight: Arc<Oversight>,
    pub guard: Arc<Guard>,
    pub verifications: Arc<Verifications>,
    pub messaging: Arc<Messaging>,
    pub feeds: Arc<Feeds>,
    pub data: Data,
}

/// What feedback is about.
enum Subject {
    Verification(Id),
    Message(Id),
}

// === impl AdminApi ===

impl AdminApi {
    pub fn new(parts: Parts) -> Self {
        Self(parts)
    }

    /// A tenant that there is, stored or configured.
    fn tenant(&self, name: &str) -> Result<TenantName, Status> {
        let name = parse_name("tenant", name).map_err(to_status)?;
        self.0.registry.account(&name).map(|_| name).map_err(to_status)
    }
}

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn list_vendors(
        &self,
        _: Request<pb::ListVendorsRequest>,
    ) -> Result<Response<pb::ListVendorsResponse>, Status> {
        let vendors = self.0.oversight.vendors();
        Ok(Response::new(pb::ListVendorsResponse { vendors: vendors.into_iter().map(to_vendor).collect() }))
    }

    async fn get_vendor_balance(
        &self,
        request: Request<pb::GetVendorBalanceRequest>,
    ) -> Result<Response<pb::GetVendorBalanceResponse>, Status> {
        let balance = self.0.oversight.balance(&request.get_ref().name).await.map_err(to_status)?;
        Ok(Response::new(pb::GetVendorBalanceResponse { amount: balance.amount, unit: balance.unit }))
    }

    async fn list_conversions(
        &self,
        request: Request<pb::ListConversionsRequest>,
    ) -> Result<Response<pb::ListConversionsResponse>, Status> {
        let (filter, page) = parse_conversions(request.into_inner()).map_err(to_status)?;
        let page = self.0.oversight.conversions(&filter, &page).map_err(to_status)?;
        Ok(Response::new(pb::ListConversionsResponse {
            conversions: page.rows.into_iter().map(to_conversion).collect(),
            next_page_token: page.next.map(|token| token.to_string()).unwrap_or_default(),
        }))
    }

    async fn submit_feedback(
        &self,
        request: Request<pb::SubmitFeedbackRequest>,
    ) -> Result<Response<pb::SubmitFeedbackResponse>, Status> {
        let caller = tenant_of(&request)?;
        let (tenant, subject, outcome) = parse_feedback(&caller, request.into_inner()).map_err(to_status)?;
        let taken = match subject {
            Subject::Verification(id) => self.0.verifications.feedback(&tenant, id, outcome).await,
            Subject::Message(id) => self.0.messaging.feedback(&tenant, id, outcome).await,
        };
        let taken = taken.map_err(to_status)?;
        Ok(Response::new(pb::SubmitFeedbackResponse { vendor: taken.vendor, counted: taken.counted }))
    }

    async fn list_blocks(
        &self,
        request: Request<pb::ListBlocksRequest>,
    ) -> Result<Response<pb::ListBlocksResponse>, Status> {
        blocks::list(&self.0.guard, request.into_inner()).map(Response::new).map_err(to_status)
    }

    async fn unblock(&self, request: Request<pb::UnblockRequest>) -> Result<Response<pb::UnblockResponse>, Status> {
        let caller = tenant_of(&request)?;
        blocks::end(&self.0.guard, &caller, request.into_inner()).map(Response::new).map_err(to_status)
    }

    async fn create_tenant(
        &self,
        request: Request<pb::CreateTenantRequest>,
    ) -> Result<Response<pb::CreateTenantResponse>, Status> {
        let caller = caller_of(&request)?;
        let is_vendor = |name: &str| self.0.oversight.knows(name);
        let tenant = parse_new_tenant(request.into_inner(), &is_vendor).map_err(to_status)?;
        let account = self.0.registry.create_account(tenant).await.map_err(to_status)?;
        info!(by = caller.key_id(), tenant = account.tenant.name.as_str(), "a tenant was created");
        Ok(Response::new(pb::CreateTenantResponse { tenant: Some(to_tenant(&account)) }))
    }

    async fn update_tenant(
        &self,
        request: Request<pb::UpdateTenantRequest>,
    ) -> Result<Response<pb::UpdateTenantResponse>, Status> {
        let caller = caller_of(&request)?;
        let is_vendor = |name: &str| self.0.oversight.knows(name);
        let (name, change) = parse_tenant_change(request.into_inner(), &is_vendor).map_err(to_status)?;
        let account = self.0.registry.update_account(name, change).await.map_err(to_status)?;
        let (tenant, disabled) = (account.tenant.name.as_str(), account.disabled);
        info!(by = caller.key_id(), tenant, disabled, "a tenant was changed");
        Ok(Response::new(pb::UpdateTenantResponse { tenant: Some(to_tenant(&account)) }))
    }

    async fn get_tenant(
        &self,
        request: Request<pb::GetTenantRequest>,
    ) -> Result<Response<pb::GetTenantResponse>, Status> {
        let name = parse_name("name", &request.get_ref().name).map_err(to_status)?;
        let account = self.0.registry.account(&name).map_err(to_status)?;
        Ok(Response::new(pb::GetTenantResponse { tenant: Some(to_tenant(&account)) }))
    }

    async fn list_tenants(
        &self,
        request: Request<pb::ListTenantsRequest>,
    ) -> Result<Response<pb::ListTenantsResponse>, Status> {
        let pb::ListTenantsRequest { page_size, page_token } = request.into_inner();
        let page = parse_named_page(page_size, page_token).map_err(to_status)?;
        let page = self.0.registry.list_accounts(&page).map_err(to_status)?;
        Ok(Response::new(pb::ListTenantsResponse {
            tenants: page.items.iter().map(|account| to_tenant(account)).collect(),
            next_page_token: page.next.map(|token| token.to_string()).unwrap_or_default(),
        }))
    }

    async fn create_api_key(
        &self,
        request: Request<pb::CreateApiKeyRequest>,
    ) -> Result<Response<pb::CreateApiKeyResponse>, Status> {
        let caller = caller_of(&request)?;
        let made = ApiKey::generate(&*self.0.random);
        let (new, is_made) = parse_new_key(request.into_inner(), &made).map_err(to_status)?;
        let key = self.0.registry.create_key(new).await.map_err(to_status)?;
        info!(by = caller.key_id(), tenant = key.tenant.as_str(), key = &*key.id, "an API key was created");
        let secret = if is_made { made.secret.expose_secret().to_owned() } else { String::new() };
        Ok(Response::new(pb::CreateApiKeyResponse { api_key: Some(to_api_key(&key)), secret }))
    }

    async fn list_api_keys(
        &self,
        request: Request<pb::ListApiKeysRequest>,
    ) -> Result<Response<pb::ListApiKeysResponse>, Status> {
        let pb::ListApiKeysRequest { tenant, page_size, page_token } = request.into_inner();
        let tenant = parse_name("tenant", &tenant).map_err(to_status)?;
        let page = parse_named_page(page_size, page_token).map_err(to_status)?;
        let page = self.0.registry.list_keys(&tenant, &page).map_err(to_status)?;
        Ok(Response::new(pb::ListApiKeysResponse {
            api_keys: page.items.iter().map(|key| to_api_key(key)).collect(),
            next_page_token: page.next.map(|token| token.to_string()).unwrap_or_default(),
        }))
    }

    async fn rotate_api_key(
        &self,
        request: Request<pb::RotateApiKeyRequest>,
    ) -> Result<Response<pb::RotateApiKeyResponse>, Status> {
        let caller = caller_of(&request)?;
        let made = ApiKey::generate(&*self.0.random);
        let rotation = parse_rotation(request.into_inner(), &made).map_err(to_status)?;
        let rotated = rotation.id.clone();
        let Rotated { new, old } = self.0.registry.rotate_key(rotation).await.map_err(to_status)?;
        info!(
            by = caller.key_id(),
            tenant = new.tenant.as_str(),
            key = rotated,
            new = &*new.id,
            "an API key was rotated"
        );
        Ok(Response::new(pb::RotateApiKeyResponse {
            api_key: Some(to_api_key(&new)),
            secret: made.secret.expose_secret().to_owned(),
            old_api_key: old.map(|old| to_api_key(&old)),
        }))
    }

    async fn revoke_api_key(
        &self,
        request: Request<pb::RevokeApiKeyRequest>,
    ) -> Result<Response<pb::RevokeApiKeyResponse>, Status> {
        let caller = caller_of(&request)?;
        let id = parse_key_id(request.into_inner().key_id).map_err(to_status)?;
        self.0.registry.revoke_key(id.clone()).await.map_err(to_status)?;
        info!(by = caller.key_id(), key = id, "an API key was revoked");
        Ok(Response::new(pb::RevokeApiKeyResponse {}))
    }

    type ExportRecipientStream = Answers<pb::ExportRecipientResponse>;

    async fn export_recipient(
        &self,
        request: Request<pb::ExportRecipientRequest>,
    ) -> Result<Response<Self::ExportRecipientStream>, Status> {
        let caller = caller_of(&request)?;
        self.0.data.export(caller, request.into_inner()).map(Response::new).map_err(to_status)
    }

    async fn erase_recipient(
        &self,
        request: Request<pb::EraseRecipientRequest>,
    ) -> Result<Response<pb::EraseRecipientResponse>, Status> {
        let caller = caller_of(&request)?;
        self.0.data.erase(&caller, request.into_inner()).await.map(Response::new).map_err(to_status)
    }

    type BackupStoreStream = Answers<pb::BackupStoreResponse>;

    async fn backup_store(
        &self,
        request: Request<pb::BackupStoreRequest>,
    ) -> Result<Response<Self::BackupStoreStream>, Status> {
        let caller = caller_of(&request)?;
        self.0.data.backup(caller).await.map(Response::new).map_err(to_status)
    }

    type RewriteStoreStream = Answers<pb::RewriteStoreResponse>;

    async fn rewrite_store(
        &self,
        request: Request<pb::RewriteStoreRequest>,
    ) -> Result<Response<Self::RewriteStoreStream>, Status> {
        let caller = caller_of(&request)?;
        self.0.data.rewrite(caller).await.map(Response::new).map_err(to_status)
    }

    async fn create_event_endpoint(
        &self,
        request: Request<pb::CreateEventEndpointRequest>,
    ) -> Result<Response<pb::CreateEventEndpointResponse>, Status> {
        let caller = caller_of(&request)?;
        let tenant = self.tenant(&request.get_ref().tenant)?;
        let created = endpoints::create(&self.0.feeds, &*self.0.random, tenant.clone(), request.into_inner()).await;
        let created = created.map_err(to_status)?;
        let endpoint = created.endpoint.as_ref().map(|endpoint| endpoint.id.as_str());
        info!(by = caller.key_id(), tenant = tenant.as_str(), endpoint, "an event endpoint was created");
        Ok(Response::new(created))
    }

    async fn update_event_endpoint(
        &self,
        request: Request<pb::UpdateEventEndpointRequest>,
    ) -> Result<Response<pb::UpdateEventEndpointResponse>, Status> {
        let caller = caller_of(&request)?;
        let pb::UpdateEventEndpointRequest { tenant, endpoint_id, rotate_secret, disabled, .. } = request.get_ref();
        let named = (tenant.clone(), endpoint_id.clone(), *rotate_secret, *disabled);
        let changed = endpoints::update(&self.0.feeds, &*self.0.random, request.into_inner()).await;
        let changed = changed.map_err(to_status)?;
        let (tenant, endpoint, rotated, disabled) = named;
        info!(by = caller.key_id(), tenant, endpoint, rotated, disabled, "an event endpoint was changed");
        Ok(Response::new(changed))
    }

    async fn list_event_endpoints(
        &self,
        request: Request<pb::ListEventEndpointsRequest>,
    ) -> Result<Response<pb::ListEventEndpointsResponse>, Status> {
        let tenant = self.tenant(&request.get_ref().tenant)?;
        Ok(Response::new(endpoints::list(&self.0.feeds, &tenant)))
    }

    async fn delete_event_endpoint(
        &self,
        request: Request<pb::DeleteEventEndpointRequest>,
    ) -> Result<Response<pb::DeleteEventEndpointResponse>, Status> {
        let caller = caller_of(&request)?;
        let deleted = endpoints::delete(&self.0.feeds, request.get_ref()).await.map_err(to_status)?;
        let pb::DeleteEventEndpointRequest { tenant, endpoint_id } = request.get_ref();
        info!(by = caller.key_id(), tenant, endpoint = endpoint_id, "an event endpoint was deleted");
        Ok(Response::new(deleted))
    }

    async fn list_event_deliveries(
        &self,
        request: Request<pb::ListEventDeliveriesRequest>,
    ) -> Result<Response<pb::ListEventDeliveriesResponse>, Status> {
        let tenant = self.tenant(&request.get_ref().tenant)?;
        let page = endpoints::deliveries(&self.0.feeds, &tenant, request.into_inner()).await;
        page.map(Response::new).map_err(to_status)
    }

    async fn replay_events(
        &self,
        request: Request<pb::ReplayEventsRequest>,
    ) -> Result<Response<pb::ReplayEventsResponse>, Status> {
        let caller = caller_of(&request)?;
        let pb::ReplayEventsRequest { tenant, endpoint_id, .. } = request.get_ref();
        let (tenant, endpoint) = (tenant.clone(), endpoint_id.clone());
        let replayed = endpoints::replay(&self.0.feeds, request.into_inner()).await.map_err(to_status)?;
        info!(by = caller.key_id(), tenant, endpoint, events = replayed.events, "events were replayed");
        Ok(Response::new(replayed))
    }
}

fn parse_conversions(request: pb::ListConversionsRequest) -> Result<(ConversionFilter, ConversionPageRequest)> {
    let mut unread = Violations::default();
    let country = parse_text(request.country).map(|country| country.parse::<Country>()).transpose();
    let token = parse_text(request.page_token).map(|token| token.parse::<ConversionToken>()).transpose();
    let filter = ConversionFilter {
        vendor: parse_text(request.vendor),
        channel: unread.note(parse_channel(request.channel))?.flatten(),
        country: unread.note(country)?.flatten(),
    };
    let page = ConversionPageRequest {
        size: parse_page_size(request.page_size, &mut unread),
        token: unread.note(token)?.flatten(),
    };
    if unread.0.is_empty() { Ok((filter, page)) } else { Err(Error::invalid_fields(unread.0)) }
}

fn parse_feedback(
    caller: &Tenant,
    request: pb::SubmitFeedbackRequest,
) -> Result<(TenantName, Subject, FeedbackOutcome)> {
    let mut found = Violations::default();
    let tenant = parse_text(request.tenant).map_or_else(|| Ok(caller.name.clone()), |name| name.parse());
    let tenant = found.note(tenant)?;
    let subject = found.note(parse_subject(request.subject))?;
    let outcome = found.note(parse_outcome(request.outcome))?;
    match (tenant, subject, outcome) {
        (Some(tenant), Some(subject), Some(outcome)) => Ok((tenant, subject, outcome)),
        _ => Err(Error::invalid_fields(found.0)),
    }
}

fn parse_subject(subject: Option<PbSubject>) -> Result<Subject> {
    let named = |field: &str, id: &str| {
        parse_id(id).map_err(|_| Error::invalid(field, "must be an id as returned on creation, 36 characters long"))
    };
    match subject {
        Some(PbSubject::VerificationId(id)) => named("verification_id", &id).map(Subject::Verification),
        Some(PbSubject::MessageId(id)) => named("message_id", &id).map(Subject::Message),
        None => Err(Error::invalid("subject", "must be set, with either verification_id or message_id")),
    }
}

fn parse_outcome(outcome: i32) -> Result<FeedbackOutcome> {
    match pb::FeedbackOutcome::try_from(outcome) {
        Ok(pb::FeedbackOutcome::Received) => Ok(FeedbackOutcome::Received),
        Ok(pb::FeedbackOutcome::NotReceived) => Ok(FeedbackOutcome::NotReceived),
        Ok(pb::FeedbackOutcome::Unspecified) | Err(_) => {
            Err(Error::invalid("outcome", format!("must be RECEIVED or NOT_RECEIVED, but is {outcome}")))
        }
    }
}

fn to_conversion(((vendor, channel, country), tally): (Place, Tally)) -> pb::Conversion {
    pb::Conversion {
        vendor,
        channel: to_channel(channel).into(),
        country: country.map(|country| country.to_string()).unwrap_or_default(),
        sends: to_nearest(tally.sends),
        approvals: to_nearest(tally.approvals),
        rate: to_nearest(1000.0 * tally.rate()),
        enough: tally.is_enough(),
    }
}

fn to_vendor(view: VendorView) -> pb::Vendor {
    let Health { vendor, breaker, free_at, calls, latency_p50, latency_p99, under_way, waiting } = view.health;
    pb::Vendor {
        name: vendor,
        channels: view.channels.into_iter().map(|channel| to_channel(channel).into()).collect(),
        makes_codes: view.makes_codes,
        reports_delivery: view.reports_delivery,
        tells_balance: view.tells_balance,
        takes_feedback: view.takes_feedback,
        breaker: to_breaker_state(breaker).into(),
        free_time: free_at.map(to_time),
        calls: Some(to_calls(&calls)),
        latency_p50: latency_p50.and_then(|latency| latency.try_into().ok()),
        latency_p99: latency_p99.and_then(|latency| latency.try_into().ok()),
        under_way: to_count(under_way),
        waiting: to_count(waiting),
    }
}

fn to_breaker_state(state: BreakerState) -> pb::BreakerState {
    match state {
        BreakerState::Closed => pb::BreakerState::Closed,
        BreakerState::Open => pb::BreakerState::Open,
        BreakerState::HalfOpen => pb::BreakerState::HalfOpen,
    }
}

fn to_calls(calls: &Calls) -> pb::VendorCalls {
    pb::VendorCalls {
        accepted: to_count(calls.accepted),
        rejected: to_count(calls.rejected),
        account_refused: to_count(calls.account_refused),
        throttled: to_count(calls.throttled),
        unavailable: to_count(calls.unavailable),
        unknown: to_count(calls.unknown),
    }
}
