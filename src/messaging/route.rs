//! Which vendors carry a message, in which order: the first configured route that fits wins.
//!
//! A route goes through its vendors by priority, or draws for every send which is first, by weight or by how well they
//! have done. The draw depends on the send's name alone, so a repeated look or a restart draws the same.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::error::Violation;
use crate::id::TenantName;
use crate::messaging::conversion::{self, Tally};
use crate::recipient::Country;
use crate::store::keys::SendRef;
use crate::vendor::Channel;
use crate::violations::Violations;

/// One `[[routes]]` entry.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct RouteConfig {
    pub channel: Channel,
    /// Not empty.
    pub vendors: Vec<RouteVendor>,
    #[serde(default)]
    pub order: Order,
    #[serde(default)]
    pub codes: CodeMaker,
    /// Countries that it serves; empty for all. A recipient without a country fits only an empty list.
    #[serde(default)]
    pub countries: Vec<Country>,
    /// Tenants that may use it; empty for all.
    #[serde(default)]
    pub tenants: Vec<TenantName>,
}

/// A configured vendor by its name: `"name"`, or `{ vendor = "name", weight = 3 }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteVendor {
    pub vendor: String,
    /// As written; without one it counts as 1.
    pub weight: Option<u32>,
}

/// Which of a route's vendors is called first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// As configured, best first.
    #[default]
    Priority,
    /// Drawn by weight.
    Weight,
    /// Drawn by measured approvals per send; by weight while too little is measured.
    Conversion,
}

/// Who makes the codes that go over a route, and checks them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodeMaker {
    /// We ourselves.
    #[default]
    Own,
    /// The vendor that sends them.
    Vendor,
}

/// All routes, in the order of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Routes(Vec<Route>);

/// A route, ready to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    config: RouteConfig,
    vendors: Vec<String>,
}

/// A vendor's place in a route, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub vendor: String,
    /// Why it has this place; `None` for the plain order of the configuration.
    pub why: Option<String>,
}

/// Largest weight.
const MAX_WEIGHT: u32 = 1_000;

// === impl Routes ===

impl Routes {
    pub fn new(routes: Vec<RouteConfig>) -> Self {
        let name = |vendor: &RouteVendor| vendor.vendor.clone();
        let route = |config: RouteConfig| Route { vendors: config.vendors.iter().map(name).collect(), config };
        Self(routes.into_iter().map(route).collect())
    }

    /// The route for a message.
    pub fn find(&self, tenant: &TenantName, channel: Channel, country: Option<Country>) -> Option<&Route> {
        self.0.iter().find(|route| route.config.fits(tenant, channel, country))
    }
}

// === impl Route ===

impl Route {
    /// Its vendors as configured.
    pub fn vendors(&self) -> &[String] {
        &self.vendors
    }

    pub fn channel(&self) -> Channel {
        self.config.channel
    }

    /// Who makes the codes that go over it. Other messages go over it either way.
    pub fn codes(&self) -> CodeMaker {
        self.config.codes
    }

    /// Whether [`Route::order`] wants to know how its vendors have done.
    pub fn is_measured(&self) -> bool {
        self.config.order == Order::Conversion
    }

    /// The vendors for a send, in the order in which they are to be called. `tallies`: of each, where it is measured.
    pub fn order(&self, send: &SendRef, tallies: &[Tally]) -> Cow<'_, [String]> {
        if self.config.order == Order::Priority || self.vendors.len() < 2 {
            return Cow::Borrowed(&self.vendors);
        }
        let shares = self.shares(tallies);
        // Of waits that end at random, each at the rate of its share, each ends first as often as its share says; and so
        // on for the rest.
        let seed = seed_of(send);
        let wait = |(vendor, share): (&String, &f64)| -draw(seed, vendor).ln() / share;
        let mut order: Vec<_> = self.vendors.iter().zip(&shares).map(|one| (wait(one), one.0)).collect();
        order.sort_by(|one, other| one.0.total_cmp(&other.0));
        order.into_iter().map(|(_, vendor)| vendor.clone()).collect()
    }

    /// The vendors, most likely first, and why.
    pub fn explain(&self, tallies: &[Tally]) -> Vec<Placed> {
        if self.config.order == Order::Priority {
            return self.vendors.iter().map(|vendor| Placed { vendor: vendor.clone(), why: None }).collect();
        }
        let judged = self.is_measured() && conversion::shares(tallies).is_some();
        let mut places: Vec<_> = self.shares(tallies).into_iter().enumerate().collect();
        places.sort_by(|one, other| other.1.total_cmp(&one.1));
        let all: u32 = self.config.vendors.iter().map(RouteVendor::weight).sum();
        let place = |(index, share): (usize, f64)| {
            let weight = format!("by weight {} of {all}", self.config.vendors[index].weight());
            let tally = tallies.get(index).copied().unwrap_or_default();
            let reason = match (self.is_measured(), judged) {
                (false, _) => weight,
                (true, false) => {
                    format!("{weight}, for not every vendor has {:.0} measured codes here yet", conversion::ENOUGH)
                }
                (true, true) => {
                    format!("by conversion: {:.0} % of {:.0} codes were approved", tally.rate() * 100.0, tally.sends)
                }
            };
            let why = Some(format!("called first for {:.0} % of the sends, {reason}", share * 100.0));
            Placed { vendor: self.vendors[index].clone(), why }
        };
        places.into_iter().map(place).collect()
    }

    /// What part of the sends each vendor gets first.
    fn shares(&self, tallies: &[Tally]) -> Vec<f64> {
        let measured = if self.is_measured() { conversion::shares(tallies) } else { None };
        measured.filter(|shares| shares.len() == self.vendors.len()).unwrap_or_else(|| {
            let all: u32 = self.config.vendors.iter().map(RouteVendor::weight).sum();
            self.config.vendors.iter().map(|vendor| f64::from(vendor.weight()) / f64::from(all)).collect()
        })
    }
}

/// A number of the send's own.
fn seed_of(send: &SendRef) -> u64 {
    let random = send.id.as_bytes().last_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    mix(random ^ u64::from(send.number))
}

/// Above 0 and below 1, spread evenly over the sends, and unlike for each vendor.
fn draw(seed: u64, vendor: &str) -> f64 {
    let named = vendor.bytes().fold(seed, |hash, byte| mix(hash ^ u64::from(byte)));
    let [a, b, c, d, ..] = named.to_be_bytes();
    (f64::from(u32::from_be_bytes([a, b, c, d])) + 0.5) / (f64::from(u32::MAX) + 1.0)
}

/// Stirs all bits into all others: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
fn mix(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

// === impl RouteConfig ===

impl RouteConfig {
    /// What is wrong with it, by key.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if self.vendors.is_empty() {
            found.add("vendors", "must name at least one vendor".to_owned());
        }
        for (index, vendor) in self.vendors.iter().enumerate() {
            let Some(weight) = &vendor.weight else { continue };
            let path = format!("vendors[{index}].weight");
            found.range(&path, weight, 1..=MAX_WEIGHT);
            if self.order == Order::Priority {
                let message = "means nothing in a route by priority; set its order to \"weight\" or \"conversion\"";
                found.add(&path, message.to_owned());
            }
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

// === impl RouteVendor ===

impl RouteVendor {
    fn weight(&self) -> u32 {
        self.weight.unwrap_or(1)
    }
}

impl<'de> Deserialize<'de> for RouteVendor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NameOrTable)
    }
}

/// Reads both ways to write a [`RouteVendor`].
struct NameOrTable;

impl<'de> Visitor<'de> for NameOrTable {
    type Value = RouteVendor;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a vendor's name, or a table with vendor and weight")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<RouteVendor, E> {
        Ok(RouteVendor { vendor: name.to_owned(), weight: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, table: A) -> Result<RouteVendor, A::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Weighted {
            vendor: String,
            weight: u32,
        }
        let Weighted { vendor, weight } = Weighted::deserialize(MapAccessDeserializer::new(table))?;
        Ok(RouteVendor { vendor, weight: Some(weight) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::id::{Id, Partition};
    use crate::messaging::conversion::Conversion;
    use crate::random::OsRandom;
    use crate::store::keys::{Holder, TenantTag};

    fn parse(text: &str) -> RouteConfig {
        toml::from_str(text).unwrap()
    }

    fn route(text: &str) -> Route {
        Routes::new(vec![parse(text)]).0.remove(0)
    }

    fn sends() -> impl Iterator<Item = SendRef> {
        let tenant: TenantTag =
            minicbor::decode(&minicbor::to_vec(minicbor::bytes::ByteArray::from([7; 8])).unwrap()).unwrap();
        let id = || Id::new(Timestamp::from_millis(5), Partition::new(9), &OsRandom);
        std::iter::repeat_with(move || SendRef { holder: Holder::Message, tenant, id: id(), number: 0 })
    }

    /// In how many of 4,000 sends each vendor comes first.
    fn firsts(route: &Route, tallies: &[Tally]) -> Vec<usize> {
        let firsts: Vec<_> = sends().take(4_000).map(|send| route.order(&send, tallies)[0].clone()).collect();
        route.vendors().iter().map(|vendor| firsts.iter().filter(|first| *first == vendor).count()).collect()
    }

    #[test]
    fn the_first_route_that_fits_wins() {
        let routes = Routes::new(vec![
            parse("channel = 'sms'\nvendors = ['a', 'b']\ncountries = ['MY']\ntenants = ['acme']"),
            parse("channel = 'sms'\nvendors = ['c']\ncountries = ['MY', 'SG']"),
            parse("channel = 'sms'\nvendors = ['d']"),
        ]);
        let country = |text: &str| Some(text.parse::<Country>().unwrap());
        let (acme, other) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let vendors = |tenant, country| routes.find(tenant, Channel::Sms, country).unwrap().vendors();
        assert_eq!(vendors(&acme, country("MY")), ["a", "b"]);
        assert_eq!(vendors(&other, country("MY")), ["c"]);
        assert_eq!(vendors(&acme, country("FR")), ["d"]);
        assert_eq!(vendors(&acme, None), ["d"]);
        assert!(routes.find(&acme, Channel::Voice, None).is_none());
    }

    #[test]
    fn by_priority_the_order_is_that_of_the_configuration() {
        let route = route("channel = 'sms'\nvendors = ['b', 'a']");
        assert!(sends().take(50).all(|send| route.order(&send, &[])[..] == ["b", "a"]));
        assert!(route.explain(&[]).iter().all(|placed| placed.why.is_none()));
    }

    #[test]
    fn by_weight_each_comes_first_as_often_as_it_weighs() {
        let route = route("channel = 'sms'\norder = 'weight'\nvendors = [{ vendor = 'a', weight = 3 }, 'b']");
        let firsts = firsts(&route, &[]);
        // Six standard deviations off is one in half a thousand million.
        assert!((2_836..=3_164).contains(&firsts[0]) && firsts[0] + firsts[1] == 4_000, "{firsts:?}");
        for send in sends().take(50) {
            assert_eq!(route.order(&send, &[]), route.order(&send, &[]));
        }
        let resent = sends()
            .take(200)
            .filter(|send| route.order(send, &[])[0] != route.order(&SendRef { number: 1, ..*send }, &[])[0]);
        assert!(resent.count() > 10, "a resend draws anew");
        let told: Vec<_> = route.explain(&[]).into_iter().map(|placed| placed.why.unwrap()).collect();
        assert_eq!(told[0], "called first for 75 % of the sends, by weight 3 of 4");
    }

    #[test]
    fn by_conversion_the_better_one_comes_first_once_enough_is_known() {
        let route = route("channel = 'sms'\norder = 'conversion'\nvendors = ['bad', 'good']");
        let (mut conversion, now) = (Conversion::default(), Timestamp::from_millis(1));
        let tallies = |conversion: &Conversion| {
            route.vendors().iter().map(|vendor| conversion.tally(vendor, Channel::Sms, None, now)).collect::<Vec<_>>()
        };
        for turn in 0..99 {
            conversion.add_send("bad", Channel::Sms, None, now);
            conversion.add_send("good", Channel::Sms, None, now);
            conversion.add_approval(if turn % 9 == 0 { "bad" } else { "good" }, Channel::Sms, None, now);
        }
        let even = firsts(&route, &tallies(&conversion));
        assert!((1_810..=2_190).contains(&even[0]), "{even:?}");
        assert!(route.explain(&tallies(&conversion))[0].why.as_ref().unwrap().contains("by weight 1 of 2, for not"));
        conversion.add_send("bad", Channel::Sms, None, now);
        conversion.add_send("good", Channel::Sms, None, now);
        let judged = firsts(&route, &tallies(&conversion));
        assert!((117..=283).contains(&judged[0]), "{judged:?}");
        let told = route.explain(&tallies(&conversion)).remove(0);
        let why = "called first for 95 % of the sends, by conversion: 87 % of 100 codes were approved";
        assert_eq!((told.vendor.as_str(), told.why.as_deref()), ("good", Some(why)));
    }

    #[test]
    fn weights_have_a_range_and_a_use() {
        let wrong = |text: &str| -> Vec<_> { parse(text).violations().into_iter().map(|it| it.field).collect() };
        let weighted = "channel = 'sms'\nvendors = ['a', { vendor = 'b', weight = 1000 }]";
        assert_eq!(wrong(weighted), ["vendors[1].weight"]);
        assert_eq!(wrong(&format!("{weighted}\norder = 'weight'")), [""; 0]);
        let heavy = weighted.replace("1000", "1001");
        assert_eq!(wrong(&format!("{heavy}\norder = 'conversion'")), ["vendors[1].weight"]);
        for bad in ["vendors = [1]", "vendors = [{ vendor = 'a' }]", "vendors = [{ vendor = 'a', weight = 1, x = 1 }]"]
        {
            assert!(toml::from_str::<RouteConfig>(&format!("channel = 'sms'\n{bad}")).is_err(), "{bad}");
        }
    }
}
