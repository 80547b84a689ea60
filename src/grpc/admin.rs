//! `verigate.admin.v1.AdminService`. Whoever gets here is an administrator: others are turned away with their credentials.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use crate::error::Result;
use crate::grpc::convert::{to_channel, to_count, to_status, to_time};
use crate::messaging::breaker::BreakerState;
use crate::messaging::health::{Calls, Health};
use crate::messaging::oversight::{Oversight, VendorView};
use crate::proto::admin::v1 as pb;
use crate::proto::admin::v1::admin_service_server::AdminService;

pub struct AdminApi {
    oversight: Arc<Oversight>,
}

// === impl AdminApi ===

impl AdminApi {
    pub fn new(oversight: Arc<Oversight>) -> Self {
        Self { oversight }
    }
}

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn list_vendors(
        &self,
        _: Request<pb::ListVendorsRequest>,
    ) -> Result<Response<pb::ListVendorsResponse>, Status> {
        let vendors = self.oversight.vendors();
        Ok(Response::new(pb::ListVendorsResponse { vendors: vendors.into_iter().map(to_vendor).collect() }))
    }

    async fn get_vendor_balance(
        &self,
        request: Request<pb::GetVendorBalanceRequest>,
    ) -> Result<Response<pb::GetVendorBalanceResponse>, Status> {
        let balance = self.oversight.balance(&request.get_ref().name).await.map_err(to_status)?;
        Ok(Response::new(pb::GetVendorBalanceResponse { amount: balance.amount, unit: balance.unit }))
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
