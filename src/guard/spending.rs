//! Money: what a send costs is taken from every budget that it belongs to, or from none.

use tracing::warn;

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::guard::ask::{Admitted, Ask};
use crate::guard::price::{BudgetConfig, Item, Micros, cost, next_day};
use crate::guard::rule::{Mode, Rule};
use crate::guard::service::{Broken, Guard, found};

// === impl Guard ===

impl Guard {
    /// Pays for a send at the first of its vendors for which there is money, and notes those before it.
    ///
    /// Errors: `Unavailable` when a budget cannot be read.
    pub(crate) async fn spend(&self, ask: &Ask<'_>, admitted: &mut Admitted, now: Timestamp) -> Result<Option<Broken>> {
        let rules = self.rules(ask.tenant);
        if rules.budgets.is_empty() {
            return Ok(None);
        }
        let mut broken = None;
        for vendor in ask.vendors {
            let country = ask.recipient.country();
            let item = Item { tenant: ask.tenant, country, vendor, channel: ask.channel, segments: ask.segments };
            let price = cost(&rules.prices, &item).ok_or_else(|| Error::internal("a send has no price"))?;
            match self.pay(&rules.budgets, &item, price, now).await? {
                Ok(paid) => {
                    admitted.paid = paid;
                    return Ok(None);
                }
                Err((budget, over)) => {
                    broken = Some(over);
                    if !budget.knows_vendors() {
                        break;
                    }
                    admitted.passed_over.push(vendor.clone());
                }
            }
        }
        Ok(broken)
    }

    /// Takes a price from all budgets that an item belongs to; if one has too little, from none, and says which.
    async fn pay<'a>(
        &self,
        budgets: &'a [BudgetConfig],
        item: &Item<'_>,
        price: Micros,
        now: Timestamp,
    ) -> Result<Result<Vec<(u64, Micros)>, (&'a BudgetConfig, Broken)>> {
        let mut paid = Vec::new();
        for budget in budgets.iter().filter(|budget| budget.mode != Mode::Off && budget.fits(item)) {
            let parts = budget.account(item);
            let parts: Vec<_> = parts.iter().map(|part| part.as_bytes()).collect();
            let account = self.names.of(Rule::Budget, &parts);
            let over = match self.ledger.spend(account, price, budget.limit(), now).await {
                Ok(true) => {
                    paid.push((account, price));
                    continue;
                }
                Ok(false) => found(Rule::Budget, budget.mode, Some(Some(next_day(now).since(now)))),
                // What is only watched stops nothing.
                Err(error) if budget.mode == Mode::Monitor => {
                    warn!(?error, "a budget could not be read");
                    None
                }
                Err(error) => {
                    self.refund(&mut paid, now).await;
                    return Err(error);
                }
            };
            if let Some(over) = over {
                self.refund(&mut paid, now).await;
                return Ok(Err((budget, over)));
            }
        }
        Ok(Ok(paid))
    }

    pub(crate) async fn refund(&self, paid: &mut Vec<(u64, Micros)>, now: Timestamp) {
        for (account, price) in paid.drain(..) {
            self.ledger.refund(account, price, now).await;
        }
    }
}
