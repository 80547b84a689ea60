//! What sends cost, and what may be spent on them in a day. Pure.

use std::collections::BTreeSet;

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::error::Violation;
use crate::guard::rule::Mode;
use crate::id::TenantName;
use crate::recipient::Country;
use crate::violations::Violations;

/// Parts of a unit of money: whole numbers, so that nothing is lost in adding up.
pub type Micros = u64;

const MICROS: f64 = 1e6;

const MILLIS_A_DAY: u64 = 24 * 3600 * 1000;

/// One of `[[guard.prices]]`.
#[derive(Debug, Clone, Deserialize)]
pub struct PriceConfig {
    #[serde(default)]
    pub vendor: Option<String>,
    #[serde(default)]
    pub country: Option<Country>,
    #[serde(default)]
    pub channel: Option<String>,
    /// Of an SMS segment, or of one message on other channels.
    pub price: f64,
}

/// One of `[[guard.budgets]]`.
#[derive(Debug, Clone, Deserialize)]
pub struct BudgetConfig {
    #[serde(default)]
    pub tenant: Option<TenantName>,
    #[serde(default)]
    pub country: Option<Country>,
    #[serde(default)]
    pub vendor: Option<String>,
    /// By what it is split: each of these has a budget of its own.
    #[serde(default)]
    pub per: BTreeSet<Part>,
    pub day: f64,
    #[serde(default = "enforce")]
    pub mode: Mode,
}

/// What a budget can be split by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    Tenant,
    Country,
    Vendor,
}

/// What is to be paid for.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    pub tenant: &'a TenantName,
    pub country: Option<Country>,
    pub vendor: &'a str,
    pub channel: &'a str,
    pub segments: u32,
}

/// The day, in UTC, as a number.
pub fn day_of(now: Timestamp) -> u64 {
    now.as_millis() / MILLIS_A_DAY
}

/// When the next day begins.
pub fn next_day(now: Timestamp) -> Timestamp {
    Timestamp::from_millis((day_of(now) + 1) * MILLIS_A_DAY)
}

/// What it costs; `None` when no price says so. The first row that fits counts.
pub fn cost(prices: &[PriceConfig], item: &Item<'_>) -> Option<Micros> {
    let row = prices.iter().find(|row| row.fits(item))?;
    Some(micros(row.price).saturating_mul(u64::from(item.segments)))
}

fn enforce() -> Mode {
    Mode::Enforce
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
fn micros(amount: f64) -> Micros {
    (amount * MICROS).round() as Micros
}

// === impl PriceConfig ===

impl PriceConfig {
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if !(0.0..=1000.0).contains(&self.price) {
            found.add("price", format!("must be 0 to 1000, but is {}", self.price));
        }
        let channels = ["sms", "whatsapp", "voice", "email"];
        if self.channel.as_deref().is_some_and(|channel| !channels.contains(&channel)) {
            found.add("channel", "must be \"sms\", \"whatsapp\", \"voice\" or \"email\"".to_owned());
        }
        found.0
    }

    /// Fits whatever is sent.
    pub fn is_for_all(&self) -> bool {
        self.vendor.is_none() && self.country.is_none() && self.channel.is_none()
    }

    fn fits(&self, item: &Item<'_>) -> bool {
        self.vendor.as_deref().is_none_or(|vendor| vendor == item.vendor)
            && self.country.is_none_or(|country| Some(country) == item.country)
            && self.channel.as_deref().is_none_or(|channel| channel == item.channel)
    }
}

// === impl BudgetConfig ===

impl BudgetConfig {
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if !(0.000_001..=1e9).contains(&self.day) {
            found.add("day", format!("must be above 0 and at most 1000000000, but is {}", self.day));
        }
        found.0
    }

    pub fn limit(&self) -> Micros {
        micros(self.day)
    }

    pub fn fits(&self, item: &Item<'_>) -> bool {
        self.tenant.as_ref().is_none_or(|tenant| tenant == item.tenant)
            && self.country.is_none_or(|country| Some(country) == item.country)
            && self.vendor.as_deref().is_none_or(|vendor| vendor == item.vendor)
    }

    /// Whether another vendor may have another budget.
    pub fn knows_vendors(&self) -> bool {
        self.vendor.is_some() || self.per.contains(&Part::Vendor)
    }

    /// What the account is known by: the budget and, where it is split, whose part.
    pub fn account(&self, item: &Item<'_>) -> Vec<String> {
        let country = |country: Option<Country>| country.map(|country| country.to_string()).unwrap_or_default();
        let own = [
            self.tenant.as_ref().map(ToString::to_string).unwrap_or_default(),
            country(self.country),
            self.vendor.clone().unwrap_or_default(),
        ];
        let part = |part: &Part| match part {
            Part::Tenant => item.tenant.to_string(),
            Part::Country => country(item.country),
            Part::Vendor => item.vendor.to_owned(),
        };
        own.into_iter().chain(self.per.iter().map(|split| format!("{split:?}={}", part(split)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item<'a>(tenant: &'a TenantName, vendor: &'a str, country: &str, segments: u32) -> Item<'a> {
        Item { tenant, country: country.parse().ok(), vendor, channel: "sms", segments }
    }

    fn price(vendor: Option<&str>, country: Option<&str>, price: f64) -> PriceConfig {
        let country = country.map(|country| country.parse().unwrap());
        PriceConfig { vendor: vendor.map(str::to_owned), country, channel: None, price }
    }

    #[test]
    fn the_first_price_that_fits_counts_for_each_segment() {
        let acme: TenantName = "acme".parse().unwrap();
        let prices =
            [price(Some("octopush"), Some("FR"), 0.06), price(Some("octopush"), None, 0.1), price(None, None, 0.045)];
        assert_eq!(cost(&prices, &item(&acme, "octopush", "FR", 2)), Some(120_000));
        assert_eq!(cost(&prices, &item(&acme, "octopush", "MY", 1)), Some(100_000));
        assert_eq!(cost(&prices, &item(&acme, "esms", "MY", 3)), Some(135_000));
        assert_eq!(cost(&prices[..1], &item(&acme, "esms", "MY", 3)), None);
    }

    #[test]
    fn a_split_budget_has_an_account_for_each_part() {
        let (acme, other): (TenantName, TenantName) = ("acme".parse().unwrap(), "other".parse().unwrap());
        let whole = BudgetConfig {
            tenant: None,
            country: None,
            vendor: None,
            per: BTreeSet::new(),
            day: 5.0,
            mode: Mode::Enforce,
        };
        let split = BudgetConfig { per: [Part::Tenant, Part::Country].into(), ..whole.clone() };
        let (one, two) = (item(&acme, "esms", "MY", 1), item(&other, "esms", "MY", 1));
        assert_eq!(whole.account(&one), whole.account(&two));
        assert_ne!(split.account(&one), split.account(&two));
        assert_ne!(split.account(&one), split.account(&item(&acme, "esms", "SG", 1)));
        assert_eq!(split.account(&one), split.account(&item(&acme, "simpu", "MY", 1)));
        assert!(!whole.knows_vendors() && !split.knows_vendors());
    }

    #[test]
    fn days_are_those_of_utc() {
        let noon = Timestamp::from_millis(20_000 * MILLIS_A_DAY + 43_200_000);
        assert_eq!((day_of(noon), next_day(noon).since(noon).as_secs()), (20_000, 43_200));
    }
}
