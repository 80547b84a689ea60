//! From `[vendors.NAME]` to adapters: one match arm a kind.

use std::sync::Arc;

use crate::clock::Clock;
use crate::config::fault::ConfigError;
use crate::config::section::Section;
use crate::config::{Config, Loaded};
use crate::contacts::books::VendorBook;
use crate::error::{Error, Kind, Reason, Result, Violation};
use crate::id::TenantName;
use crate::messaging::limits::{self, Limits, LimitsConfig};
use crate::messaging::route::{CodeMaker, RouteVendor};
use crate::messaging::vendors::Vendors;
use crate::vendor::inbox::{Inbox, Receipts};
use crate::vendor::{Channel, Vendor, declarative, esms, hasun, inbox, octopush, simpu, smtp};
use crate::violations::Violations;

/// Calls that one vendor may have under way.
const CONCURRENCY: usize = 64;
/// Calls that the vendor inside this process may have under way.
const LOCAL_CONCURRENCY: usize = 4096;

/// All configured vendors, and what hangs on some of them.
#[derive(Default)]
pub(crate) struct Built {
    pub(crate) vendors: Vendors,
    pub(crate) inboxes: Vec<Arc<Inbox>>,
    pub(crate) receipts: Vec<Receipts>,
    /// Names of vendors that are part of this process, and so cannot be down.
    local: Vec<String>,
}

/// Errors: `Invalid`, a line for each fault with its file, line and key.
pub(crate) fn build(config: &Config, clock: &Arc<dyn Clock>) -> Result<Built> {
    let mut built = Built::default();
    let mut faults = Vec::new();
    for (name, section) in &config.vendors {
        let (shared, own) = section.split(&limits::KEYS);
        let added = built.add(name, &own, clock);
        let limited = built.limit(name, &shared);
        faults.extend(added.err().into_iter().chain(limited.err()).map(|error| error.to_string()));
    }
    if faults.is_empty() { Ok(built) } else { Err(Error::new(Kind::Invalid, Reason::InvalidField, faults.join("\n"))) }
}

/// The contact lists that rows are given to.
///
/// Errors: `Invalid`, with file, line and key, for a vendor that keeps none.
pub(crate) fn books(loaded: &Loaded, vendors: &Vendors, clock: &Arc<dyn Clock>) -> Result<Vec<VendorBook>> {
    let timeout = loaded.config.messaging.attempt_timeout;
    let mut violations = Vec::new();
    let mut books = Vec::new();
    for (at, name) in loaded.config.contacts.push.iter().enumerate() {
        match VendorBook::new(vendors, name, Arc::clone(clock), timeout) {
            Some(book) => books.push(book),
            None => {
                let description = format!("must be a vendor that keeps a contact list, but {name:?} keeps none");
                violations.push(Violation { field: format!("contacts.push[{at}]"), description });
            }
        }
    }
    if violations.is_empty() {
        return Ok(books);
    }
    Err(Error::new(Kind::Invalid, Reason::InvalidField, loaded.refuse(violations).to_string()))
}

/// Whether the vendors of each route that leaves codes to them make codes on its channel, for everybody who may use it.
///
/// Errors: `Invalid`, a line for each fault with its file, line and key.
pub(crate) fn check_codes(loaded: &Loaded, vendors: &Vendors) -> Result<()> {
    let config = &loaded.config;
    let mut found = Violations::default();
    let routes = config.routes.iter().enumerate().filter(|(_, route)| route.codes == CodeMaker::Vendor);
    for (index, route) in routes {
        let every: Vec<_> = config.tenants.iter().map(|tenant| &tenant.name).collect();
        let tenants = if route.tenants.is_empty() { every } else { route.tenants.iter().collect() };
        for (at, RouteVendor { vendor, weight }) in route.vendors.iter().enumerate() {
            let key = if weight.is_some() { ".vendor" } else { "" };
            let path = format!("routes[{index}].vendors[{at}]{key}");
            if let Some(gap) = gap_in_codes(vendors.get(vendor).map(|vendor| &**vendor), route.channel, &tenants) {
                found.add(&path, format!("{gap}, as this route wants with codes = \"vendor\""));
            }
        }
    }
    if found.0.is_empty() {
        return Ok(());
    }
    Err(Error::new(Kind::Invalid, Reason::InvalidField, loaded.refuse(found.0).to_string()))
}

fn gap_in_codes(vendor: Option<&dyn Vendor>, channel: Channel, tenants: &[&TenantName]) -> Option<String> {
    let Some(codes) = vendor.and_then(|vendor| vendor.codes()) else {
        return Some("makes no codes of its own, or none as it is configured".to_owned());
    };
    let channels = &codes.limits().channels;
    if !channels.contains(&channel) {
        let known = channels.iter().map(|channel| channel.as_str()).collect::<Vec<_>>().join(" and ");
        return Some(format!("makes codes for {known} alone and not for {channel}"));
    }
    let stranger = tenants.iter().find(|tenant| !codes.serves(tenant))?;
    Some(format!("is not configured to make codes for tenant {:?}", stranger.as_str()))
}

// === impl Built ===

impl Built {
    fn add(&mut self, name: &str, section: &Section, clock: &Arc<dyn Clock>) -> Result<(), ConfigError> {
        match section.kind() {
            "inbox" => {
                let config: inbox::Config = section.parse()?;
                let (vendor, receipts) = config.build(name, Arc::clone(clock)).map_err(|e| refuse(section, &e))?;
                self.inboxes.push(vendor.inbox());
                self.receipts.push(receipts);
                self.local.push(name.to_owned());
                self.vendors.add(name, Arc::new(vendor), LOCAL_CONCURRENCY);
            }
            "esms" => {
                let config: esms::Config = section.parse()?;
                let vendor: Arc<dyn Vendor> = Arc::new(config.build(name).map_err(|e| refuse(section, &e))?);
                self.vendors.add(name, vendor, CONCURRENCY);
            }
            "octopush" => {
                let config: octopush::Config = section.parse()?;
                let vendor: Arc<dyn Vendor> = Arc::new(config.build(name).map_err(|e| refuse(section, &e))?);
                self.vendors.add(name, vendor, CONCURRENCY);
            }
            "http" => {
                let config: declarative::Config = section.parse()?;
                let vendor: Arc<dyn Vendor> = Arc::new(config.build(name).map_err(|e| refuse(section, &e))?);
                self.vendors.add(name, vendor, CONCURRENCY);
            }
            "smtp" => {
                let config: smtp::Config = section.parse()?;
                let vendor: Arc<dyn Vendor> = Arc::new(config.build(name).map_err(|e| refuse(section, &e))?);
                self.vendors.add(name, vendor, CONCURRENCY);
            }
            "hasun" => {
                let config: hasun::Config = section.parse()?;
                let vendor: Arc<dyn Vendor> = Arc::new(config.build(name).map_err(|e| refuse(section, &e))?);
                self.vendors.add(name, vendor, CONCURRENCY);
            }
            "simpu" => {
                let config: simpu::Config = section.parse()?;
                let vendor: Arc<dyn Vendor> = Arc::new(config.build(name).map_err(|e| refuse(section, &e))?);
                self.vendors.add(name, vendor, CONCURRENCY);
            }
            other => {
                let description =
                    format!("must be esms, hasun, http, inbox, octopush, simpu or smtp, but is {other:?}");
                return Err(refuse(section, &Error::invalid("kind", description)));
            }
        }
        Ok(())
    }

    /// Gives a vendor that was added the limits that its table asks for.
    fn limit(&mut self, name: &str, section: &Section) -> Result<(), ConfigError> {
        let config: LimitsConfig = section.parse()?;
        let violations = config.violations();
        if !violations.is_empty() {
            return Err(section.refuse(&violations));
        }
        let is_local = self.local.iter().any(|local| local == name);
        let usual = |limits: Limits| if is_local { limits } else { Limits::remote(limits.concurrency) };
        self.vendors.limit(name, |limits| config.over(usual(limits)));
        Ok(())
    }
}

/// The error of a vendor that knows its fields, told with the line that it stands on.
fn refuse(section: &Section, error: &Error) -> ConfigError {
    let other = Violation { field: "kind".to_owned(), description: error.message().to_owned() };
    let violations = if error.violations().is_empty() { vec![other] } else { error.violations().to_vec() };
    section.refuse(&violations)
}
