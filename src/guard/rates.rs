//! How many sends: to one recipient, to numbers that begin alike, to a country, and for one client, device or tenant.

use crate::clock::Timestamp;
use crate::guard::area;
use crate::guard::ask::{Admitted, Ask};
use crate::guard::gcra::{Bucket, Decision, Limit};
use crate::guard::names::{client, network};
use crate::guard::rule::{Mode, Rule};
use crate::guard::service::{Broken, Guard, found};
use crate::guard::settings::{Config, RateConfig};
use crate::guard::table::State;
use crate::recipient::Recipient;

impl State for Bucket {
    /// Microseconds by which it was filled, or emptied.
    type Change = i64;

    const MOST_ON_PAGE: usize = 2_500;

    fn matters_until(&self) -> Timestamp {
        self.empty_at()
    }

    fn join(&mut self, change: &i64, since: Timestamp) {
        *self = self.filled(*change, since);
    }
}

// === impl Guard ===

impl Guard {
    /// Takes one from each limit until one is reached, and says which. What was taken is noted, to be given back.
    pub(crate) fn take_rates(
        &self,
        rules: &Config,
        ask: &Ask<'_>,
        admitted: &mut Admitted,
        now: Timestamp,
    ) -> Option<Broken> {
        admitted.taken.reserve(8);
        for (rule, rate, name) in self.counted(rules, ask) {
            let wait = match self.take(name, rate.limit(), now) {
                Decision::Pass { left, .. } => {
                    admitted.taken.push((name, rate.limit()));
                    match rule {
                        Rule::ClientAddress => admitted.client[0] = name,
                        Rule::ClientNetwork => admitted.client[1] = name,
                        _ => {}
                    }
                    if rate.mode == Mode::Enforce {
                        admitted.note(rule, left);
                    }
                    None
                }
                Decision::Wait(wait) => Some(Some(wait)),
            };
            if let Some(broken) = found(rule, rate.mode, wait) {
                return Some(broken);
            }
        }
        None
    }

    /// Gives back what was taken for a send that is not to be.
    pub(crate) fn give_all_back(&self, admitted: &mut Admitted, now: Timestamp) {
        admitted.taken.drain(..).for_each(|(name, limit)| self.give_back(name, limit, now));
        for name in admitted.probed.drain(..) {
            self.conversions.with(name, now, |conversion, news| {
                let before = conversion.stage();
                conversion.unprobe();
                news.note(|changes| conversion.note(before, changes, now));
            });
        }
    }

    pub(crate) fn take(&self, name: u64, limit: Limit, now: Timestamp) -> Decision {
        self.buckets.with(name, now, |bucket, news| {
            let decision = limit.decide(*bucket, now);
            match decision {
                Decision::Pass { bucket: next, .. } => {
                    *bucket = next;
                    news.note(|filled| *filled = filled.saturating_add_unsigned(limit.interval()));
                }
                Decision::Wait(_) => *bucket = limit.bounded(*bucket, now),
            }
            decision
        })
    }

    pub(crate) fn give_back(&self, name: u64, limit: Limit, now: Timestamp) {
        self.buckets.with(name, now, |bucket, news| {
            let before = std::mem::replace(bucket, limit.refund(*bucket));
            news.note(|filled| *filled = filled.saturating_sub_unsigned(before.emptied_by(*bucket, now)));
        });
    }

    /// What of a send is counted, and where.
    fn counted(&self, rules: &Config, ask: &Ask<'_>) -> impl Iterator<Item = (Rule, RateConfig, u64)> {
        let tenant = ask.tenant.as_str().as_bytes();
        let of = |rule, parts: &[&[u8]]| Some(self.names.of(rule, parts));
        // Those whom the caller vouches for may all live in one place.
        let phone = match ask.recipient {
            Recipient::Phone(phone) if !ask.origin.trusted => Some(phone),
            _ => None,
        };
        let country = phone.and_then(|phone| phone.country());
        let address = ask.client(rules);
        let of_area = |rule, area: Option<&str>| area.and_then(|area| of(rule, &[tenant, area.as_bytes()]));
        let rows = [
            // Whoever is bombarded does not care by whom.
            (Rule::Recipient, rules.recipient, of(Rule::Recipient, &[ask.recipient.as_str().as_bytes()])),
            (Rule::NumberBlock, rules.number_block, of_area(Rule::NumberBlock, phone.and_then(area::block))),
            (Rule::Prefix, rules.prefix, of_area(Rule::Prefix, phone.and_then(area::prefix))),
            (
                Rule::CountrySends,
                rules.country_sends,
                of_area(Rule::CountrySends, country.as_ref().map(|country| country.as_str())),
            ),
            (
                Rule::ClientAddress,
                rules.client_address,
                address.and_then(|address| of(Rule::ClientAddress, &[tenant, &client(address)])),
            ),
            (
                Rule::ClientNetwork,
                rules.client_network,
                address.and_then(network).and_then(|network| of(Rule::ClientNetwork, &[tenant, &network])),
            ),
            (
                Rule::Device,
                rules.device,
                ask.origin.device.as_deref().and_then(|device| of(Rule::Device, &[tenant, device.as_bytes()])),
            ),
            (Rule::Tenant, rules.tenant, of(Rule::Tenant, &[tenant])),
        ];
        let counted = |(rule, rate, name): (Rule, RateConfig, Option<u64>)| Some((rule, rate, name?));
        rows.into_iter().filter(|(_, rate, _)| rate.mode != Mode::Off).filter_map(counted)
    }
}
