//! Who calls: every request to our services passes here, and none goes on without a tenant.

use std::collections::BTreeMap;
use std::sync::Arc;

use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::auth::{Keys, Peer};
use crate::error::{Error, Kind, Reason, Result};
use crate::grpc::convert::to_status;
use crate::id::TenantName;
use crate::tenant::Tenant;

/// Authenticates requests and names their tenant.
#[derive(Clone)]
pub struct Access {
    keys: Arc<Keys>,
    tenants: Arc<BTreeMap<TenantName, Arc<Tenant>>>,
    only_administrators: bool,
}

// === impl Access ===

impl Access {
    pub fn new(keys: Arc<Keys>, tenants: Arc<BTreeMap<TenantName, Arc<Tenant>>>) -> Self {
        Self { keys, tenants, only_administrators: false }
    }

    /// For a service that others than administrators may not call. They are turned away before their request is read.
    pub fn for_administrators(self) -> Self {
        Self { only_administrators: true, ..self }
    }

    fn tenant(&self, request: &Request<()>) -> Result<Arc<Tenant>> {
        // A header that is not text is as wrong as any other wrong one.
        let header = request.metadata().get("authorization").map(|value| value.to_str().unwrap_or_default());
        let caller = self.keys.authenticate(header)?.admit(peer_of(request))?;
        let tenant = self.tenants.get(&caller.tenant).cloned();
        let tenant = tenant.ok_or_else(|| Error::internal("an API key belongs to a tenant that is not configured"))?;
        if self.only_administrators && !tenant.may_administer {
            return Err(may_not_administer());
        }
        Ok(tenant)
    }
}

impl Interceptor for Access {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let tenant = self.tenant(&request).map_err(to_status)?;
        request.extensions_mut().insert(tenant);
        Ok(request)
    }
}

/// Where a call comes from, as its connection says, or the surface that handed it on.
fn peer_of(request: &Request<()>) -> Option<Peer> {
    request.extensions().get().copied()
}

fn may_not_administer() -> Error {
    let message = "this is not allowed for this tenant; set admin = true in its configuration";
    Error::new(Kind::Forbidden, Reason::NotPermitted, message)
}

/// The tenant of a request that came through [`Access`].
pub fn tenant_of<T>(request: &Request<T>) -> Result<Arc<Tenant>, Status> {
    let tenant = request.extensions().get::<Arc<Tenant>>().cloned();
    tenant.ok_or_else(|| to_status(Error::internal("a request came past authentication")))
}
