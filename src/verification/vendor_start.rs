//! Starting and sending over routes whose vendors make the codes: who of them can make this one.

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::messaging::route::{CodeMaker, Route};
use crate::messaging::sending::Sending;
use crate::store::keys::{Holder, SendRef, TenantTag};
use crate::tenant::Tenant;
use crate::vendor::{Channel, CodeLimits};
use crate::verification::fitting::{self, Fit};
use crate::verification::policy::Policy;
use crate::verification::request::NewVerification;
use crate::verification::service::Verifications;
use crate::verification::verification::Verification;

impl Verifications {
    /// What the vendors of a route can do of a start.
    ///
    /// Errors: `Invalid` with each field that none of them can do; `Precondition`/`NoRoute`.
    pub(crate) fn fit(&self, tenant: &Tenant, new: &NewVerification, policy: &Policy, route: &Route) -> Result<Fit> {
        let codes = route.vendors().iter().filter_map(|vendor| self.outbox.codes_at(vendor));
        let able = codes.filter(|codes| codes.serves(&tenant.name)).map(|codes| codes.limits());
        let limits: Vec<&CodeLimits> = able.filter(|limits| limits.channels.contains(&route.channel())).collect();
        if limits.is_empty() {
            return Err(nobody_makes_it(route.channel()));
        }
        fitting::fit(new, policy, &limits)
    }

    /// The route on which a verification may be sent, and those of its vendors that cannot make its code.
    ///
    /// Errors: `Precondition`/`NoRoute` when none is configured, when its codes are made by somebody else than this
    /// verification's, or when none of its vendors can make this one.
    pub(crate) fn route_for(
        &self,
        verification: &Verification,
        tenant: TenantTag,
        channel: Channel,
        now: Timestamp,
    ) -> Result<(&Route, Vec<String>)> {
        let route = self.outbox.route(&verification.tenant, channel, verification.recipient.country())?;
        match (route.codes(), verification.is_of_vendors_code()) {
            (CodeMaker::Own, false) => return Ok((route, Vec::new())),
            (CodeMaker::Vendor, true) => {}
            _ => return Err(made_by_others(channel)),
        }
        // As if it were sent now: who can make the code depends on what is left of its time.
        let sending = Sending::new(0, channel, now, verification.expires_at, true);
        let send = SendRef { holder: Holder::Verification, tenant, id: verification.id, number: sending.number };
        let errand = self.records.errand_of(verification, &sending, &send)?;
        let unable = self.outbox.unable(&errand, route.vendors(), now);
        if unable.len() == route.vendors().len() { Err(nobody_makes_it(channel)) } else { Ok((route, unable)) }
    }
}

fn made_by_others(channel: Channel) -> Error {
    let message = format!(
        "on {channel} codes are made by somebody else than the code of this verification; use its channel, or start a new \
         one with on_existing REPLACE"
    );
    Error::new(Kind::Precondition, Reason::NoRoute, message)
}

fn nobody_makes_it(channel: Channel) -> Error {
    let message = format!("no vendor of the route for {channel} can make the code of this verification");
    Error::new(Kind::Precondition, Reason::NoRoute, message)
}
