//! Looking after the vendors: what each offers, how it fares, how many of its codes are given back, and what is left in
//! our account with it.
//!
//! Sends nothing and takes no room from sends, so an operator learns the most while a vendor is in trouble: its breaker
//! is looked at, but neither asked for leave nor told how a call of ours went. Does not know who may look.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::clock::Clock;
use crate::error::{Error, Kind, Reason, Result};
use crate::messaging::conversion_list::{ConversionFilter, ConversionPage, ConversionPageRequest};
use crate::messaging::health::Health;
use crate::messaging::measuring::Measuring;
use crate::messaging::vendors::Vendors;
use crate::vendor::{Balance, Channel, Failure, Vendor};

/// Watches the configured vendors.
pub struct Oversight {
    vendors: Vendors,
    measuring: Arc<Measuring>,
    clock: Arc<dyn Clock>,
    /// How long a vendor may take to answer.
    timeout: Duration,
}

/// A vendor as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VendorView {
    pub channels: Vec<Channel>,
    /// Makes and checks codes by itself.
    pub makes_codes: bool,
    /// Tells what becomes of a message, unasked or asked.
    pub reports_delivery: bool,
    pub tells_balance: bool,
    /// Wants to hear whether messages reached people.
    pub takes_feedback: bool,
    /// Under its configured name.
    pub health: Health,
}

// === impl Oversight ===

impl Oversight {
    pub fn new(vendors: Vendors, measuring: Arc<Measuring>, clock: Arc<dyn Clock>, timeout: Duration) -> Self {
        Self { vendors, measuring, clock, timeout }
    }

    /// All configured vendors by name.
    pub fn vendors(&self) -> Vec<VendorView> {
        let health = self.vendors.health(self.clock.now()).into_iter();
        health.filter_map(|health| Some(view(&**self.vendors.get(&health.vendor)?, health))).collect()
    }

    /// Whether a vendor of this name is configured.
    pub fn knows(&self, name: &str) -> bool {
        self.vendors.get(name).is_some()
    }

    /// A page of how many codes vendors carried, and how many of these were given back. What was counted of a vendor that
    /// is not configured any more fades away.
    ///
    /// Errors: `Invalid`, field `page_token`.
    pub fn conversions(&self, filter: &ConversionFilter, page: &ConversionPageRequest) -> Result<ConversionPage> {
        self.measuring.list(filter, page)
    }

    /// Asks a vendor what is left in our account with it.
    ///
    /// Errors: `Invalid` without a name; `NotFound`; `Precondition` with `NotOffered` or `VendorRefused`; `Unavailable`
    /// with `VendorUnavailable`, also when it takes too long. None of them says what the vendor wrote.
    pub async fn balance(&self, name: &str) -> Result<Balance> {
        if name.is_empty() {
            return Err(Error::invalid("name", "must be the name of a vendor in the configuration"));
        }
        let vendor = self.vendors.get(name).ok_or_else(not_found)?;
        let account = vendor.account().ok_or_else(not_offered)?;
        let outcome = tokio::select! {
            outcome = account.balance() => outcome,
            () = self.clock.sleep_until(self.clock.now() + self.timeout) => Err(Failure::Unknown),
        };
        outcome.map_err(|failure| {
            warn!(vendor = name, ?failure, "a vendor did not tell our balance");
            to_error(&failure)
        })
    }
}

fn view(vendor: &dyn Vendor, health: Health) -> VendorView {
    let capabilities = vendor.capabilities();
    VendorView {
        channels: capabilities.channels.clone(),
        makes_codes: vendor.codes().is_some(),
        reports_delivery: capabilities.receipts || vendor.statuses().is_some(),
        tells_balance: vendor.account().is_some(),
        takes_feedback: vendor.feedback().is_some(),
        health,
    }
}

/// In words of ours: what a vendor answers may repeat what it was asked with.
fn to_error(failure: &Failure) -> Error {
    let unavailable = |message| Error::new(Kind::Unavailable, Reason::VendorUnavailable, message);
    match failure {
        Failure::Rejected(_) => {
            let message = "the vendor refused our account; check its credentials and credit";
            Error::new(Kind::Precondition, Reason::VendorRefused, message)
        }
        Failure::Throttled { after } => {
            let error = unavailable("the vendor is asked too often; try again later");
            match after {
                Some(wait) => error.with_retry_after(*wait),
                None => error,
            }
        }
        Failure::Unavailable => unavailable("the vendor could not be reached, or is down"),
        Failure::Unknown => unavailable("the vendor did not answer in time, or with nothing that makes sense"),
    }
}

fn not_found() -> Error {
    let message = "no vendor of this name is configured; ListVendors names those that are";
    Error::new(Kind::NotFound, Reason::VendorNotFound, message)
}

fn not_offered() -> Error {
    Error::new(Kind::Precondition, Reason::NotOffered, "this vendor tells no balance")
}
