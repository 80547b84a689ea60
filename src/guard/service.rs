//! The guard as a service: asks the rules in their order, and says what came of it.
//!
//! A rule that is only monitored is asked and counted like the others, and stops nothing. What a send took from the
//! limits before a later one refused it is given back, so that who is refused does not use up what others need.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tracing::debug;

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Reason, Result};
use crate::guard::area::Area;
use crate::guard::ask::{Admitted, Ask};
use crate::guard::authorization::{Authorizer, Word};
use crate::guard::conversion::Conversion;
use crate::guard::following::Following;
use crate::guard::gcra::Bucket;
use crate::guard::ledger::Ledger;
use crate::guard::names::Names;
use crate::guard::rule::{Mode, Rule};
use crate::guard::sequence::Sequence;
use crate::guard::settings::{Answers, Config, OnFailure};
use crate::guard::standing::{Person, Standing};
use crate::guard::table::Table;
use crate::id::TenantName;
use crate::recipient::Recipient;
use crate::store::Store;
use crate::store::keys::Keys;

/// Refuses what should not be sent. One per process.
pub struct Guard {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Keys,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) names: Names,
    everybody: Config,
    /// As they hold for tenants that have some of their own.
    own: BTreeMap<TenantName, Config>,
    safelist: Vec<Area>,
    pub(crate) buckets: Table<Bucket>,
    pub(crate) conversions: Table<Conversion>,
    pub(crate) people: Table<Person>,
    pub(crate) standings: Table<Standing>,
    pub(crate) sequences: Table<Sequence>,
    /// How far it is in telling the other nodes, and hearing them.
    pub(crate) following: tokio::sync::Mutex<Following>,
    pub(crate) ledger: Ledger,
    authorizer: Option<Arc<dyn Authorizer>>,
}

/// A rule that does not hold, and how long until it does again, where waiting helps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Broken {
    pub(crate) rule: Rule,
    pub(crate) wait: Option<Duration>,
}

// === impl Guard ===

impl Guard {
    /// Knows nothing yet of what was counted before.
    ///
    /// Errors: none for a configuration that was checked.
    pub fn new(config: &Config, store: Arc<dyn Store>, keys: Keys, clock: Arc<dyn Clock>) -> Self {
        let own = config.tenants.keys().map(|tenant| (tenant.clone(), config.of(tenant))).collect();
        let is_shared = store.is_shared();
        Self {
            names: Names::new(keys.guard_secret()),
            ledger: Ledger::new(Arc::clone(&store), keys.clone()),
            store,
            keys,
            clock,
            everybody: config.clone(),
            own,
            safelist: config.safelist.iter().filter_map(|entry| Area::of_digits(entry)).collect(),
            buckets: Table::new(is_shared),
            conversions: Table::new(is_shared),
            people: Table::new(is_shared),
            standings: Table::new(is_shared),
            sequences: Table::new(is_shared),
            following: tokio::sync::Mutex::default(),
            authorizer: None,
        }
    }

    /// Asks somebody else, too, before each send.
    pub fn authorized_by(self, authorizer: Arc<dyn Authorizer>) -> Self {
        Self { authorizer: Some(authorizer), ..self }
    }

    /// The rules as they hold for a tenant.
    pub(crate) fn rules(&self, tenant: &TenantName) -> &Config {
        self.own.get(tenant).unwrap_or(&self.everybody)
    }

    /// Whether sends are counted against money, so that their length matters.
    pub fn counts_money(&self) -> bool {
        !self.everybody.budgets.is_empty()
    }

    /// Whether a send may be made; what it takes from limits and budgets is taken.
    ///
    /// Errors: `Limited` and `Forbidden`, each with the reason of the rule that it broke and, where waiting helps, how
    /// long; `Forbidden`/`NotPermitted` for a trust that the tenant may not give; `Unavailable` when a budget cannot be
    /// read.
    pub async fn admit(&self, ask: &Ask<'_>) -> Result<Admitted> {
        let (now, rules) = (self.clock.now(), self.rules(ask.tenant));
        if ask.origin.trusted && !self.may_trust(ask.tenant) {
            return Err(may_not_trust());
        }
        let mut admitted = Admitted::default();
        let asked = match self.is_safe(ask.recipient) {
            true => self.spend(ask, &mut admitted, now).await,
            false => self.ask_all(rules, ask, &mut admitted, now).await,
        };
        let broken = match asked {
            Ok(None) => {
                self.note_ask(rules, ask, &admitted, now);
                return Ok(admitted);
            }
            Ok(Some(broken)) => Ok(broken),
            Err(error) => Err(error),
        };
        self.give_all_back(&mut admitted, now);
        let broken = broken?;
        if rules.answers == Answers::Shadow && broken.rule.may_be_hidden() {
            return Ok(Admitted { shadow: Some(broken.rule), ..Admitted::default() });
        }
        Err(refusal(broken))
    }

    /// Gives back what was taken for a send that came to nothing.
    pub async fn release(&self, mut admitted: Admitted) {
        let now = self.clock.now();
        self.give_all_back(&mut admitted, now);
        self.refund(&mut admitted.paid, now).await;
    }

    async fn ask_all(
        &self,
        rules: &Config,
        ask: &Ask<'_>,
        admitted: &mut Admitted,
        now: Timestamp,
    ) -> Result<Option<Broken>> {
        let broken = self.suspect(rules, ask, admitted, now).or_else(|| self.take_rates(rules, ask, admitted, now));
        if broken.is_some() {
            return Ok(broken);
        }
        match self.authorize(rules, ask).await {
            Some(broken) => Ok(Some(broken)),
            None => self.spend(ask, admitted, now).await,
        }
    }

    async fn authorize(&self, rules: &Config, ask: &Ask<'_>) -> Option<Broken> {
        let authorizer = self.authorizer.as_ref().filter(|_| rules.authorization.mode != Mode::Off)?;
        let word = authorizer.ask(ask).await;
        let refused = match word {
            Word::Allowed => false,
            Word::Refused => true,
            Word::Silent => rules.authorization.on_failure == OnFailure::Refuse,
        };
        found(Rule::Authorization, rules.authorization.mode, refused.then_some(None))
    }

    fn is_safe(&self, recipient: &Recipient) -> bool {
        let Recipient::Phone(phone) = recipient else { return false };
        self.safelist.iter().any(|area| area.holds(phone))
    }

    fn may_trust(&self, tenant: &TenantName) -> bool {
        self.everybody.tenants.get(tenant).is_some_and(|tenant| tenant.trust)
    }
}

/// Counts what a rule says, and passes on what it forbids. `broken`: with how long until it is so no more.
pub(crate) fn found(rule: Rule, mode: Mode, broken: Option<Option<Duration>>) -> Option<Broken> {
    let wait = broken?;
    let verdict = if mode == Mode::Enforce { "refused" } else { "monitored" };
    metrics::counter!("verigate_guard_total", "rule" => rule.as_str(), "verdict" => verdict).increment(1);
    // Under attack these are as many as the calls.
    debug!(rule = rule.as_str(), verdict, "a rule of the guard does not hold");
    (mode == Mode::Enforce).then_some(Broken { rule, wait })
}

pub(crate) fn refusal(Broken { rule, wait }: Broken) -> Error {
    let error = Error::new(rule.kind(), rule.reason(), rule.message()).with_detail("rule", rule.as_str());
    // Of what is never allowed, there is nothing to be left.
    let error = if rule.kind() == Kind::Limited { error.with_detail("left", "0") } else { error };
    match wait {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}

fn may_not_trust() -> Error {
    let message = "trusted is not allowed for this tenant; set trust = true in [guard.tenants.NAME]";
    Error::new(Kind::Forbidden, Reason::NotPermitted, message)
}
