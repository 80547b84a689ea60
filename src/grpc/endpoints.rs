//! Event endpoints on the wire: from requests to what feeds are asked for, and from what they keep to messages.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::feed::delivery::{Attempt, Outcome, State};
use crate::feed::endpoint::{Endpoint, NewEndpoint, Why};
use crate::feed::endpoints::{EndpointChange, OVERLAP};
use crate::feed::feeds::Feeds;
use crate::feed::kinds::Wanted;
use crate::feed::log::{DeliveryFilter, DeliveryPageRequest, DeliveryToken, Logged};
use crate::feed::replay::Replay;
use crate::feed::settings::check_description;
use crate::grpc::accounts::parse_name;
use crate::grpc::convert::{parse_duration, parse_id, parse_page_size, parse_text, parse_time, to_count, to_time};
use crate::id::{Id, TenantName};
use crate::proto::admin::v1 as pb;
use crate::random::Random;
use crate::violations::Violations;
use crate::webhook::signing::{SigningKey, generate_secret};

const LONGEST_OVERLAP: Duration = Duration::from_secs(7 * 24 * 3600);

pub async fn create(
    feeds: &Feeds,
    random: &dyn Random,
    tenant: TenantName,
    request: pb::CreateEventEndpointRequest,
) -> Result<pb::CreateEventEndpointResponse> {
    let mut found = Violations::default();
    let wanted = parse_wanted(request.types, &mut found);
    found.0.extend(check_description(&request.description));
    let given = found.note(parse_secret(request.secret))?.flatten();
    if !found.0.is_empty() {
        return Err(Error::invalid_fields(found.0));
    }
    let (secret, told) = given_or_made(given, random);
    let new = NewEndpoint { tenant, name: None, url: request.url, wanted, description: request.description, secret };
    let endpoint = feeds.endpoints().create(new).await?;
    Ok(pb::CreateEventEndpointResponse { endpoint: Some(to_endpoint(&endpoint, feeds.now())), secret: told })
}

pub async fn update(
    feeds: &Feeds,
    random: &dyn Random,
    request: pb::UpdateEventEndpointRequest,
) -> Result<pb::UpdateEventEndpointResponse> {
    let mut found = Violations::default();
    let named = found.note(parse_endpoint(&request.tenant, &request.endpoint_id))?;
    let is_wanted = request.all_types || !request.types.is_empty();
    if request.all_types && !request.types.is_empty() {
        found.add("types", "must be empty with all_types".to_owned());
    }
    let wanted = parse_wanted(request.types, &mut found);
    found.0.extend(request.description.as_deref().and_then(check_description));
    let overlap = parse_duration(request.overlap).unwrap_or(OVERLAP);
    if overlap > LONGEST_OVERLAP {
        found.add("overlap", "must be 0 to 7 days".to_owned());
    }
    if !request.rotate_secret && (!request.secret.is_empty() || request.overlap.is_some()) {
        found.add("rotate_secret", "must be set to give a secret or an overlap".to_owned());
    }
    let given = found.note(parse_secret(request.secret))?.flatten();
    let Some((tenant, id)) = named.filter(|_| found.0.is_empty()) else { return Err(Error::invalid_fields(found.0)) };
    let (rotation, told) = match request.rotate_secret {
        true => {
            let (secret, told) = given_or_made(given, random);
            (Some((secret, overlap)), told)
        }
        false => (None, String::new()),
    };
    let change = EndpointChange {
        url: request.url,
        wanted: is_wanted.then_some(wanted),
        description: request.description,
        enabled: request.disabled.map(|disabled| !disabled),
        rotation,
    };
    let endpoint = feeds.endpoints().update(&tenant, id, change).await?;
    Ok(pb::UpdateEventEndpointResponse { endpoint: Some(to_endpoint(&endpoint, feeds.now())), secret: told })
}

pub fn list(feeds: &Feeds, tenant: &TenantName) -> pb::ListEventEndpointsResponse {
    let (endpoints, now) = (feeds.endpoints().of(tenant), feeds.now());
    pb::ListEventEndpointsResponse { endpoints: endpoints.iter().map(|endpoint| to_endpoint(endpoint, now)).collect() }
}

pub async fn delete(
    feeds: &Feeds,
    request: &pb::DeleteEventEndpointRequest,
) -> Result<pb::DeleteEventEndpointResponse> {
    let (tenant, id) = parse_endpoint(&request.tenant, &request.endpoint_id)?;
    feeds.endpoints().delete(&tenant, id).await?;
    Ok(pb::DeleteEventEndpointResponse {})
}

pub async fn deliveries(
    feeds: &Feeds,
    tenant: &TenantName,
    request: pb::ListEventDeliveriesRequest,
) -> Result<pb::ListEventDeliveriesResponse> {
    let mut found = Violations::default();
    let endpoint = parse_text(request.endpoint_id).map(|id| parse_endpoint_id(&id)).transpose();
    let event = parse_text(request.event_id).map(|id| id.parse()).transpose();
    let states = request.outcomes.iter().map(|outcome| parse_outcome(*outcome)).collect::<Result<Vec<_>>>();
    let filter = DeliveryFilter {
        endpoint: found.note(endpoint)?.flatten(),
        event: found.note(event)?.flatten(),
        states: found.note(states)?.unwrap_or_default(),
    };
    let token = parse_text(request.page_token).map(|token| token.parse::<DeliveryToken>()).transpose();
    let page = DeliveryPageRequest {
        size: parse_page_size(request.page_size, &mut found),
        token: found.note(token)?.flatten(),
    };
    if !found.0.is_empty() {
        return Err(Error::invalid_fields(found.0));
    }
    let (deliveries, next) = feeds.deliveries(tenant, &filter, &page).await?;
    Ok(pb::ListEventDeliveriesResponse {
        deliveries: deliveries.iter().map(to_delivery).collect(),
        next_page_token: next.map(|token| token.to_string()).unwrap_or_default(),
    })
}

pub async fn replay(feeds: &Feeds, request: pb::ReplayEventsRequest) -> Result<pb::ReplayEventsResponse> {
    let mut found = Violations::default();
    let named = found.note(parse_endpoint(&request.tenant, &request.endpoint_id))?;
    let event = found.note(parse_text(request.event_id).map(|id| id.parse()).transpose())?.flatten();
    let from = found.note(parse_time("from_time", request.from_time))?.flatten();
    let before = found.note(parse_time("before_time", request.before_time))?.flatten();
    let before = before.unwrap_or(Timestamp::from_millis(u64::MAX));
    let what = match (event, from) {
        (Some(event), None) => Some(Replay::One(event)),
        (None, Some(from)) if from < before => Some(Replay::Between(from, before)),
        (None, Some(_)) => {
            found.add("before_time", "must be later than from_time".to_owned());
            None
        }
        _ => {
            found.add("event_id", "must be given, or else from_time".to_owned());
            None
        }
    };
    let (Some((tenant, id)), Some(what), true) = (named, what, found.0.is_empty()) else {
        return Err(Error::invalid_fields(found.0));
    };
    let replayed = feeds.replay(&tenant, id, what).await?;
    Ok(pb::ReplayEventsResponse { events: to_count(replayed.events), rest_time: replayed.rest_from.map(to_time) })
}

fn parse_endpoint(tenant: &str, id: &str) -> Result<(TenantName, Id)> {
    let mut found = Violations::default();
    let tenant = found.note(parse_name("tenant", tenant))?;
    let id = found.note(parse_endpoint_id(id))?;
    tenant.zip(id).ok_or_else(|| Error::invalid_fields(found.0))
}

fn parse_endpoint_id(id: &str) -> Result<Id> {
    parse_id(id).map_err(|_| Error::invalid("endpoint_id", "must be the id of an endpoint, 36 characters long"))
}

fn parse_wanted(types: Vec<String>, found: &mut Violations) -> Wanted {
    let wanted = Wanted::new(types);
    found.0.extend(wanted.violations("types"));
    wanted
}

fn parse_secret(secret: String) -> Result<Option<SecretString>> {
    let secret = parse_text(secret).map(SecretString::from);
    secret.as_ref().map(SigningKey::parse_standard).transpose()?;
    Ok(secret)
}

/// The secret, and what is told of it: only one that we made.
fn given_or_made(given: Option<SecretString>, random: &dyn Random) -> (SecretString, String) {
    match given {
        Some(secret) => (secret, String::new()),
        None => {
            let made = generate_secret(random);
            let told = made.expose_secret().to_owned();
            (made, told)
        }
    }
}

fn parse_outcome(outcome: i32) -> Result<State> {
    match pb::DeliveryOutcome::try_from(outcome) {
        Ok(pb::DeliveryOutcome::Pending) => Ok(State::Pending),
        Ok(pb::DeliveryOutcome::Delivered) => Ok(State::Delivered),
        Ok(pb::DeliveryOutcome::Failed) => Ok(State::Failed),
        Ok(pb::DeliveryOutcome::Unspecified) | Err(_) => {
            Err(Error::invalid("outcomes", format!("must name PENDING, DELIVERED or FAILED, but has {outcome}")))
        }
    }
}

fn to_endpoint(endpoint: &Endpoint, now: Timestamp) -> pb::EventEndpoint {
    let reason = endpoint.disabled.map_or(pb::EndpointDisableReason::Unspecified, |disabled| to_reason(disabled.why));
    let origin = if endpoint.name.is_some() { pb::Origin::Configured } else { pb::Origin::Stored };
    pb::EventEndpoint {
        id: endpoint.id.to_string(),
        tenant: endpoint.tenant.to_string(),
        name: endpoint.name.clone().unwrap_or_default(),
        url: endpoint.url.clone(),
        types: endpoint.wanted().names().to_vec(),
        description: endpoint.description.clone(),
        disabled: !endpoint.is_enabled(),
        disable_time: endpoint.disabled.map(|disabled| to_time(disabled.since)),
        disable_reason: reason.into(),
        rotation_end_time: endpoint.rotating_until(now).map(to_time),
        last_success_time: endpoint.succeeded_at.map(to_time),
        origin: origin.into(),
        create_time: Some(to_time(endpoint.created_at)),
        update_time: Some(to_time(endpoint.updated_at)),
    }
}

fn to_reason(why: Why) -> pb::EndpointDisableReason {
    match why {
        Why::Asked => pb::EndpointDisableReason::Asked,
        Why::Gone => pb::EndpointDisableReason::Gone,
        Why::Failing => pb::EndpointDisableReason::Failing,
    }
}

fn to_delivery(logged: &Logged) -> pb::EventDelivery {
    let Logged { endpoint, delivery, entry } = logged;
    pb::EventDelivery {
        endpoint_id: endpoint.to_string(),
        event_id: delivery.event.to_string(),
        r#type: entry.as_ref().map(|entry| entry.kind().name.to_owned()).unwrap_or_default(),
        event_time: entry.as_ref().map(|entry| to_time(entry.news.event.at)),
        outcome: to_outcome(delivery.state).into(),
        attempts: delivery.attempts.iter().map(to_attempt).collect(),
        next_attempt_time: delivery.next_at.map(to_time),
    }
}

fn to_outcome(state: State) -> pb::DeliveryOutcome {
    match state {
        State::Pending => pb::DeliveryOutcome::Pending,
        State::Delivered => pb::DeliveryOutcome::Delivered,
        State::Failed => pb::DeliveryOutcome::Failed,
    }
}

fn to_attempt(attempt: &Attempt) -> pb::DeliveryAttempt {
    let (status, error) = match attempt.result {
        Outcome::Answered(status) => (status.into(), pb::DeliveryError::Unspecified),
        Outcome::Unanswered => (0, pb::DeliveryError::Unanswered),
        Outcome::Forbidden => (0, pb::DeliveryError::Forbidden),
    };
    pb::DeliveryAttempt {
        time: Some(to_time(attempt.at)),
        latency: Duration::from_millis(attempt.took).try_into().ok(),
        status,
        error: error.into(),
    }
}
