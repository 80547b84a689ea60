//! A gateway whose tenant has endpoints, and receivers that listen there.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use tonic::Status;
use verigate::clock::Timestamp;
use verigate::proto::admin::v1::{
    CreateEventEndpointRequest, EventDelivery, EventEndpoint, ListEventDeliveriesRequest, ListEventEndpointsRequest,
    UpdateEventEndpointRequest,
};
use verigate::proto::event::v1::WatchEventsRequest;
use verigate::proto::messaging::v1::Message;

use crate::support::gateway::{Admin, CONFIG, Gateway, START, eventually, text_to};
use crate::support::vendor_server::{Answer, Recorded, VendorServer};

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// Two secrets as Standard Webhooks writes them.
pub(crate) const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
pub(crate) const SECOND_ONE: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

/// A gateway, and its administrator.
pub(crate) struct House {
    pub(crate) gateway: Gateway,
    pub(crate) admin: Admin,
}

/// The configuration of a house, with more of it.
pub(crate) fn config(more: &str) -> String {
    let config = CONFIG.replace("brand = \"Acme\"", "brand = \"Acme\"\nadmin = true");
    // Records outlive the longest row of retries.
    format!("{config}\n[messaging]\nretention = \"240h\"\n{more}")
}

/// Endpoints may be on this machine.
pub(crate) const LOCAL: &str = "\n[events]\nlocal = true\n";

/// A receiver that takes everything.
pub(crate) async fn receiver() -> VendorServer {
    VendorServer::start(|_| Answer::new(204, "")).await
}

/// The types that were told, by their ids, of calls that name each but once.
pub(crate) fn types(requests: &[Recorded]) -> Vec<String> {
    requests.iter().map(|request| request.json()["type"].as_str().unwrap().to_owned()).collect()
}

/// The first of these that is about one type.
pub(crate) fn first_of(requests: &[Recorded], kind: &str) -> Value {
    let found = requests.iter().map(Recorded::json).find(|body| body["type"] == kind);
    found.unwrap_or_else(|| panic!("no {kind} in {:?}", types(requests)))
}

impl House {
    pub(crate) async fn new() -> Self {
        Self::with(LOCAL).await
    }

    /// `more`: further configuration.
    pub(crate) async fn with(more: &str) -> Self {
        Self::at(START, more).await
    }

    pub(crate) async fn at(now: Timestamp, more: &str) -> Self {
        let gateway = Gateway::start_at(now, &config(more)).await;
        let admin = gateway.admin().await;
        Self { gateway, admin }
    }

    pub(crate) async fn restart(self) -> Self {
        let gateway = self.gateway.restart().await;
        let admin = gateway.admin().await;
        Self { gateway, admin }
    }

    /// An endpoint of tenant `acme` with the secret [`FIRST`].
    pub(crate) async fn endpoint(&mut self, url: &str, types: &[&str]) -> EventEndpoint {
        self.create(url, types).await.unwrap()
    }

    pub(crate) async fn create(&mut self, url: &str, types: &[&str]) -> Result<EventEndpoint, Status> {
        let types = types.iter().map(|&kind| kind.to_owned()).collect();
        let request = CreateEventEndpointRequest {
            tenant: "acme".to_owned(),
            url: url.to_owned(),
            types,
            secret: FIRST.to_owned(),
            ..CreateEventEndpointRequest::default()
        };
        self.admin.create_event_endpoint(request).await.map(|answer| answer.into_inner().endpoint.unwrap())
    }

    pub(crate) async fn change(
        &mut self,
        id: &str,
        change: impl FnOnce(&mut UpdateEventEndpointRequest),
    ) -> Result<(EventEndpoint, String), Status> {
        let mut request = UpdateEventEndpointRequest {
            tenant: "acme".to_owned(),
            endpoint_id: id.to_owned(),
            ..UpdateEventEndpointRequest::default()
        };
        change(&mut request);
        let answer = self.admin.update_event_endpoint(request).await?.into_inner();
        Ok((answer.endpoint.unwrap(), answer.secret))
    }

    pub(crate) async fn listed(&mut self, id: &str) -> EventEndpoint {
        let request = ListEventEndpointsRequest { tenant: "acme".to_owned() };
        let endpoints = self.admin.list_event_endpoints(request).await.unwrap().into_inner().endpoints;
        endpoints.into_iter().find(|endpoint| endpoint.id == id).expect("an endpoint")
    }

    /// What became of the events at an endpoint, oldest first.
    pub(crate) async fn deliveries(&mut self, id: &str) -> Vec<EventDelivery> {
        let request = ListEventDeliveriesRequest {
            tenant: "acme".to_owned(),
            endpoint_id: id.to_owned(),
            page_size: 500,
            ..ListEventDeliveriesRequest::default()
        };
        let mut deliveries = self.admin.list_event_deliveries(request).await.unwrap().into_inner().deliveries;
        deliveries.reverse();
        deliveries
    }

    /// Sends a message of tenant `acme`, which is delivered.
    pub(crate) async fn send(&self, phone: &str) -> Message {
        let mut client = self.gateway.messages().await;
        client.send_message(text_to(phone, "Your table is ready.")).await.unwrap().into_inner().message.unwrap()
    }

    /// The same, and waits until its delivery is in the feed.
    pub(crate) async fn send_and_see(&self, phone: &str) -> Message {
        let mut client = self.gateway.events_as("acme.acme-secret-of-some-length").await;
        let types = vec!["message.delivered".to_owned()];
        let request = WatchEventsRequest { types, ..WatchEventsRequest::default() };
        let mut stream = client.watch_events(request).await.unwrap().into_inner();
        let sent = self.send(phone).await;
        while stream.message().await.unwrap().unwrap().event.is_none() {}
        sent
    }

    /// Waits until a receiver was called so often.
    pub(crate) async fn called(server: &VendorServer, times: usize) -> Vec<Recorded> {
        eventually(async || Some(server.requests()).filter(|requests| requests.len() >= times)).await
    }

    /// Waits until every delivery to an endpoint has so many attempts.
    pub(crate) async fn attempted(&mut self, id: &str, times: usize) -> Vec<EventDelivery> {
        let house = self;
        eventually(async || {
            let deliveries = house.deliveries(id).await;
            let done = !deliveries.is_empty() && deliveries.iter().all(|delivery| delivery.attempts.len() == times);
            done.then_some(deliveries)
        })
        .await
    }
}

/// How often each id was told.
pub(crate) fn by_id(requests: &[Recorded]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in requests {
        *counts.entry(request.header("webhook-id").unwrap().to_owned()).or_default() += 1;
    }
    counts
}
