//! `[guard]`: which rules hold, for everybody and for single tenants, and how strict they are.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use crate::error::Violation;
use crate::guard::area::Area;
use crate::guard::gcra::Limit;
use crate::guard::price::{BudgetConfig, PriceConfig};
use crate::guard::rule::Mode;
use crate::id::TenantName;
use crate::number_type::NumberType;
use crate::recipient::Country;
use crate::violations::Violations;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// `[guard]`.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    pub answers: Answers,
    pub client_address_of_peer: bool,
    pub safelist: Vec<String>,
    pub countries: Countries,
    pub number_types: NumberTypes,
    pub conversion: ConversionConfig,
    pub sequence: SequenceConfig,
    pub recipient: RateConfig,
    pub number_block: RateConfig,
    pub prefix: RateConfig,
    pub country_sends: RateConfig,
    pub client_address: RateConfig,
    pub client_network: RateConfig,
    pub device: RateConfig,
    pub tenant: RateConfig,
    pub tenant_failures: FailuresConfig,
    pub authorization: AuthorizationConfig,
    #[serde(default)]
    pub prices: Vec<PriceConfig>,
    #[serde(default)]
    pub budgets: Vec<BudgetConfig>,
    /// What holds for single tenants in place of the above.
    #[serde(default)]
    pub tenants: BTreeMap<TenantName, TenantConfig>,
}

/// `[guard.tenants.NAME]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct TenantConfig {
    pub answers: Option<Answers>,
    pub trust: bool,
    pub countries: Option<Countries>,
    pub number_types: Option<NumberTypes>,
    pub number_block: Option<RateConfig>,
    pub prefix: Option<RateConfig>,
    pub country_sends: Option<RateConfig>,
    pub client_address: Option<RateConfig>,
    pub client_network: Option<RateConfig>,
    pub device: Option<RateConfig>,
    pub tenant: Option<RateConfig>,
    pub conversion: Option<Mode>,
    pub sequence: Option<Mode>,
}

/// What callers are told of a send that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answers {
    /// Which rule, and when to come back.
    Explicit,
    /// That it was sent, so that who tries how far they get learns nothing.
    Shadow,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Countries {
    pub mode: Mode,
    /// Empty for all.
    pub allow: Vec<Country>,
    pub deny: Vec<Country>,
    /// Sent to, and noted.
    pub monitor: Vec<Country>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct NumberTypes {
    pub mode: Mode,
    pub deny: Vec<NumberType>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ConversionConfig {
    pub mode: Mode,
    pub least: f64,
    pub certainty: f64,
    pub matures_after: Duration,
    pub block: Duration,
    pub probes: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub struct SequenceConfig {
    pub mode: Mode,
    pub neighbours: u32,
    pub window: Duration,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct RateConfig {
    pub mode: Mode,
    pub sends: u32,
    pub window: Duration,
}

#[derive(Debug, Clone, Copy, Deserialize)]
pub struct FailuresConfig {
    pub mode: Mode,
    pub failures: u32,
    pub window: Duration,
}

#[derive(Debug, Clone, Deserialize)]
pub struct AuthorizationConfig {
    pub mode: Mode,
    #[serde(default)]
    pub url: Option<String>,
    #[serde(default)]
    pub secret: Option<SecretString>,
    pub timeout: Duration,
    pub on_failure: OnFailure,
}

/// What counts when nobody answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    Allow,
    Refuse,
}

// === impl Config ===

impl Config {
    /// What is wrong with it, by key. What it names elsewhere, tenants and vendors, is for who knows them.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        for (at, entry) in self.safelist.iter().enumerate() {
            if Area::of_digits(entry).is_none() {
                let wanted = "must be a number, or the first digits of numbers, with a + before them";
                found.add(&format!("safelist[{at}]"), format!("{wanted}, but is {entry:?}"));
            }
        }
        for (key, rate) in self.rates() {
            found.nest(key, rate.violations());
        }
        found.nest("conversion", self.conversion.violations());
        found.nest("sequence", self.sequence.violations());
        found.nest("tenant_failures", self.tenant_failures.violations());
        found.nest("authorization", self.authorization.violations());
        for (at, price) in self.prices.iter().enumerate() {
            found.nest(&format!("prices[{at}]"), price.violations());
        }
        self.check_budgets(&mut found);
        for (name, tenant) in &self.tenants {
            for (key, rate) in tenant.rates() {
                found.nest(&format!("tenants.{name}.{key}"), rate.violations());
            }
        }
        found.0
    }

    /// Nothing is spent without a price: it would count as nothing.
    fn check_budgets(&self, found: &mut Violations) {
        for (at, budget) in self.budgets.iter().enumerate() {
            found.nest(&format!("budgets[{at}]"), budget.violations());
            let same = |other: &BudgetConfig| {
                (&other.tenant, other.country, &other.vendor, &other.per)
                    == (&budget.tenant, budget.country, &budget.vendor, &budget.per)
            };
            if let Some(first) = self.budgets[..at].iter().position(same) {
                found
                    .add(&format!("budgets[{at}]"), format!("is about the same as budgets[{first}]; keep one of them"));
            }
        }
        if !self.budgets.is_empty() && !self.prices.iter().any(PriceConfig::is_for_all) {
            let message =
                "must end with a row that has only a price, for all that no other row fits: what has no price";
            found.add("prices", format!("{message} cannot be counted against the budgets"));
        }
    }

    fn rates(&self) -> [(&'static str, RateConfig); 8] {
        [
            ("recipient", self.recipient),
            ("number_block", self.number_block),
            ("prefix", self.prefix),
            ("country_sends", self.country_sends),
            ("client_address", self.client_address),
            ("client_network", self.client_network),
            ("device", self.device),
            ("tenant", self.tenant),
        ]
    }

    /// The same as it holds for one tenant.
    pub fn of(&self, tenant: &TenantName) -> Self {
        let mut own = self.clone();
        let Some(changed) = self.tenants.get(tenant).cloned() else { return own };
        let take = |own: &mut RateConfig, changed: Option<RateConfig>| *own = changed.unwrap_or(*own);
        take(&mut own.number_block, changed.number_block);
        take(&mut own.prefix, changed.prefix);
        take(&mut own.country_sends, changed.country_sends);
        take(&mut own.client_address, changed.client_address);
        take(&mut own.client_network, changed.client_network);
        take(&mut own.device, changed.device);
        take(&mut own.tenant, changed.tenant);
        own.answers = changed.answers.unwrap_or(own.answers);
        own.countries = changed.countries.unwrap_or(own.countries);
        own.number_types = changed.number_types.unwrap_or(own.number_types);
        own.conversion.mode = changed.conversion.unwrap_or(own.conversion.mode);
        own.sequence.mode = changed.sequence.unwrap_or(own.sequence.mode);
        own
    }
}

// === impl TenantConfig ===

impl TenantConfig {
    fn rates(&self) -> impl Iterator<Item = (&'static str, RateConfig)> {
        let all = [
            ("number_block", self.number_block),
            ("prefix", self.prefix),
            ("country_sends", self.country_sends),
            ("client_address", self.client_address),
            ("client_network", self.client_network),
            ("device", self.device),
            ("tenant", self.tenant),
        ];
        all.into_iter().filter_map(|(key, rate)| Some((key, rate?)))
    }
}

// === impl RateConfig ===

impl RateConfig {
    pub fn limit(&self) -> Limit {
        Limit { sends: self.sends, window: self.window }
    }

    fn violations(&self) -> Vec<Violation> {
        limit_violations("sends", self.limit())
    }
}

/// What is out of range of a limit whose count has this key.
fn limit_violations(count: &str, Limit { sends, window }: Limit) -> Vec<Violation> {
    let mut found = Violations::default();
    found.range(count, &sends, 1..=1_000_000_000);
    found.range("window", &window, Duration::from_secs(1)..=30 * DAY);
    found.0
}

// === impl FailuresConfig ===

impl FailuresConfig {
    pub fn limit(&self) -> Limit {
        Limit { sends: self.failures, window: self.window }
    }

    fn violations(&self) -> Vec<Violation> {
        limit_violations("failures", self.limit())
    }
}

// === impl ConversionConfig ===

impl ConversionConfig {
    fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        if !(0.01..=0.9).contains(&self.least) {
            found.add("least", format!("must be 0.01 to 0.9, but is {}", self.least));
        }
        if !(0.8..=0.999_999).contains(&self.certainty) {
            found.add("certainty", format!("must be 0.8 to 0.999999, but is {}", self.certainty));
        }
        found.range("matures_after", &self.matures_after, Duration::from_secs(10)..=DAY);
        found.range("block", &self.block, Duration::from_secs(60)..=DAY);
        found.range("probes", &self.probes, 1..=100);
        found.0
    }
}

// === impl SequenceConfig ===

impl SequenceConfig {
    fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        found.range("neighbours", &self.neighbours, 2..=32);
        found.range("window", &self.window, Duration::from_secs(60)..=DAY);
        found.0
    }
}

// === impl AuthorizationConfig ===

impl AuthorizationConfig {
    fn violations(&self) -> Vec<Violation> {
        let mut found = Violations::default();
        found.range("timeout", &self.timeout, Duration::from_millis(10)..=Duration::from_secs(30));
        if self.mode != Mode::Off {
            if self.url.is_none() {
                found.add("url", "is missing: it is asked before each send; or set mode = \"off\"".to_owned());
            }
            if self.secret.is_none() {
                let message = "is missing: questions are signed with it, and unsigned ones prove nothing";
                found.add("secret", format!("{message}; give secret or secret_file"));
            }
        }
        found.0
    }
}
