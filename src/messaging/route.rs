//! Which vendors carry a message, in which order: the first configured route that fits wins.

use serde::Deserialize;

use crate::error::Violation;
use crate::id::TenantName;
use crate::recipient::Country;
use crate::vendor::Channel;
use crate::violations::Violations;

/// One `[[routes]]` entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RouteConfig {
    pub channel: Channel,
    /// Names of configured vendors, best first. Not empty.
    pub vendors: Vec<String>,
    /// Countries that it serves; empty for all. A recipient without a country fits only an empty list.
    #[serde(default)]
    pub countries: Vec<Country>,
    /// Tenants that may use it; empty for all.
    #[serde(default)]
    pub tenants: Vec<TenantName>,
}

/// All routes, in the order of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(Vec<RouteConfig>);

// === impl Routes ===

impl Routes {
    pub fn new(routes: Vec<RouteConfig>) -> Self {
        Self(routes)
    }

    /// The vendors for a message, best first; empty when no route fits.
    pub fn vendors(&self, tenant: &TenantName, channel: Channel, country: Option<Country>) -> &[String] {
        self.0.iter().find(|route| route.fits(tenant, channel, country)).map_or(&[], |route| route.vendors.as_slice())
    }
}

// === impl RouteConfig ===

impl RouteConfig {
    /// What is wrong with it, by key.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if self.vendors.is_empty() {
            found.add("vendors", "must name at least one vendor".to_owned());
        }
        found.0
    }

    /// Whether it carries a tenant's messages on a channel to a country; without one, to any country at all.
    pub fn carries(&self, tenant: &TenantName, channel: Channel, country: Option<Country>) -> bool {
        let somewhere = country.or_else(|| self.countries.first().copied());
        self.fits(tenant, channel, somewhere)
    }

    fn fits(&self, tenant: &TenantName, channel: Channel, country: Option<Country>) -> bool {
        self.channel == channel
            && (self.tenants.is_empty() || self.tenants.contains(tenant))
            && (self.countries.is_empty() || country.is_some_and(|country| self.countries.contains(&country)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_route_that_fits_wins() {
        let parse = |text: &str| toml::from_str::<RouteConfig>(text).unwrap();
        let routes = Routes::new(vec![
            parse("channel = 'sms'\nvendors = ['a', 'b']\ncountries = ['MY']\ntenants = ['acme']"),
            parse("channel = 'sms'\nvendors = ['c']\ncountries = ['MY', 'SG']"),
            parse("channel = 'sms'\nvendors = ['d']"),
        ]);
        let country = |text: &str| Some(text.parse::<Country>().unwrap());
        let (acme, other) = ("acme".parse().unwrap(), "other".parse().unwrap());
        assert_eq!(routes.vendors(&acme, Channel::Sms, country("MY")), ["a", "b"]);
        assert_eq!(routes.vendors(&other, Channel::Sms, country("MY")), ["c"]);
        assert_eq!(routes.vendors(&acme, Channel::Sms, country("FR")), ["d"]);
        assert_eq!(routes.vendors(&acme, Channel::Sms, None), ["d"]);
        assert!(routes.vendors(&acme, Channel::Voice, None).is_empty());
    }
}
