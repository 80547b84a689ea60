//! Signs that a send is wanted by somebody who earns from it: where it goes, what kind of number it is, that codes there
//! do not come back, and that somebody counts.

use crate::clock::Timestamp;
use crate::guard::area::{self, AreaRef, Width};
use crate::guard::ask::{Admitted, Ask};
use crate::guard::block::{Leave, Place};
use crate::guard::changes::Changes;
use crate::guard::conversion::Conversion;
use crate::guard::rule::{Mode, Rule};
use crate::guard::service::{Broken, Guard, found};
use crate::guard::settings::{Config, ConversionConfig};
use crate::guard::standing::Apart;
use crate::guard::tally::Rates;
use crate::id::TenantName;
use crate::recipient::{Phone, Recipient};

/// What became of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is on its way.
    Sent,
    /// It came back.
    Approved,
}

// === impl Guard ===

impl Guard {
    /// The first rule that a send breaks. The numbers of people whom the caller vouches for are only looked up in the
    /// list of countries.
    pub(crate) fn suspect(
        &self,
        rules: &Config,
        ask: &Ask<'_>,
        admitted: &mut Admitted,
        now: Timestamp,
    ) -> Option<Broken> {
        let Recipient::Phone(phone) = ask.recipient else { return None };
        let country = country(rules, phone);
        if country.is_some() || ask.origin.trusted {
            return country;
        }
        number_type(rules, phone)
            .or_else(|| self.conversion(rules, ask, phone, admitted, now))
            .or_else(|| self.sequence(rules, ask.tenant, phone, now))
    }

    /// Counts a code that is on its way to somebody.
    pub fn sent(&self, tenant: &TenantName, recipient: &Recipient) {
        let now = self.clock.now();
        let apart = self.note_sent(tenant, recipient, now).apart(now);
        self.count(tenant, recipient, apart, Outcome::Sent, now);
    }

    /// Counts a code that came back.
    pub fn approved(&self, tenant: &TenantName, recipient: &Recipient) {
        let now = self.clock.now();
        let apart = self.note_answer(tenant, recipient, now).apart(now);
        self.count(tenant, recipient, apart, Outcome::Approved, now);
    }

    fn conversion(
        &self,
        rules: &Config,
        ask: &Ask<'_>,
        phone: &Phone,
        admitted: &mut Admitted,
        now: Timestamp,
    ) -> Option<Broken> {
        if rules.conversion.mode == Mode::Off || self.is_known(ask, admitted, now) {
            return None;
        }
        // All areas are asked, so that they are blocked together and not one after the other.
        let (mut longest, mut is_open, mut names) = (None, true, [0; 3]);
        for (place, (area, width)) in area::areas(phone).enumerate() {
            let rates = rules.conversion.rates(width);
            names[place] = self.name_of(ask.tenant, area);
            let around = [0, 1].map(|wider| if wider < place { names[wider] } else { 0 });
            let (tenant, country) = (ask.tenant, phone.country());
            let named = || Place { tenant: tenant.clone(), area: area.into(), country, around };
            let (leave, is_new) = self.conversions.with(names[place], now, |conversion, news| {
                let before = conversion.stage();
                let leave = conversion.ask(&rates, named, now);
                if conversion.stage() != before {
                    news.note(|changes| conversion.note(before, changes, now));
                }
                (leave, conversion.is_unexplained())
            });
            // The others who live around an area must not pay for what comes from it.
            if is_new {
                self.explain(names[place], now);
            }
            match leave {
                Leave::Free => continue,
                Leave::Probe => admitted.probed.push(names[place]),
                Leave::Wait(wait) => longest = longest.max(Some(wait)),
            }
            is_open = false;
        }
        if is_open {
            return None;
        }
        let rates = rules.conversion.rates(Width::Block);
        let may_excuse = |name: &u64| self.conversions.peek(*name, |conversion| conversion.may_excuse(&rates));
        if names.iter().all(may_excuse) && self.is_from_good_place(rules, ask, now) {
            self.give_all_back(admitted, now);
            admitted.excused = true;
            return None;
        }
        found(Rule::Conversion, rules.conversion.mode, longest.map(Some))
    }

    fn sequence(&self, rules: &Config, tenant: &TenantName, phone: &Phone, now: Timestamp) -> Option<Broken> {
        let settings = &rules.sequence;
        if settings.mode == Mode::Off {
            return None;
        }
        let prefix = area::prefix(phone)?;
        let number = phone.digits()[prefix.len()..].parse().ok()?;
        let name = self.names.of(Rule::Sequence, &[tenant.as_str().as_bytes(), prefix.as_bytes()]);
        let neighbours = self.sequences.with(name, now, |sequence, news| {
            news.note(|told| told.add(number, now));
            sequence.neighbours(number, settings.window, now)
        });
        let counts = neighbours >= settings.neighbours as usize;
        found(Rule::Sequence, settings.mode, counts.then_some(Some(settings.window)))
    }

    /// Takes what a new block explains off what was counted of the areas around it.
    pub(crate) fn explain(&self, name: u64, now: Timestamp) {
        // Each node does so by itself, when it learns of the block.
        let explained = self.conversions.with(name, now, |conversion, _| conversion.explain());
        let Some((explained, around)) = explained else { return };
        for wider in around.into_iter().filter(|wider| *wider != 0) {
            self.conversions.with(wider, now, |wider, _| wider.take_off(&explained));
        }
    }

    fn count(&self, tenant: &TenantName, recipient: &Recipient, apart: Apart, outcome: Outcome, now: Timestamp) {
        let (Recipient::Phone(phone), config) = (recipient, &self.rules(tenant).conversion) else { return };
        if config.mode == Mode::Off {
            return;
        }
        for (area, width) in area::areas(phone) {
            let (name, rates) = (self.name_of(tenant, area), config.rates(width));
            // Newcomers alone judge small areas, but a country is judged by all who live there.
            let counts = apart == Apart::No || width == Width::Country;
            let excused = apart == Apart::Excused;
            if !counts && !excused {
                continue;
            }
            self.conversions.with(name, now, |conversion, news| {
                let before = conversion.stage();
                outcome.count(conversion, &rates, counts, excused, now);
                news.note(|changes| {
                    outcome.tell(changes, &rates, counts, excused, now);
                    conversion.note(before, changes, now);
                });
            });
        }
    }

    /// The name under which it is counted how many codes come back from an area.
    fn name_of(&self, tenant: &TenantName, area: AreaRef<'_>) -> u64 {
        let (kind, text): (&[u8], &str) = match &area {
            AreaRef::Country(country) => (b"country", country.as_str()),
            AreaRef::Prefix(digits) => (b"prefix", digits),
        };
        self.names.of(Rule::Conversion, &[tenant.as_str().as_bytes(), kind, text.as_bytes()])
    }
}

// === impl Outcome ===

impl Outcome {
    fn count(self, conversion: &mut Conversion, rates: &Rates, counts: bool, excused: bool, now: Timestamp) {
        match self {
            Self::Sent if counts => conversion.sent(rates, now),
            Self::Approved if counts => conversion.approved(rates, now),
            _ => {}
        }
        match self {
            Self::Sent if excused => conversion.excused_sent(rates, now),
            Self::Approved if excused => conversion.excused_approved(rates, now),
            _ => {}
        }
    }

    /// The same for the other nodes.
    fn tell(self, changes: &mut Changes, rates: &Rates, counts: bool, excused: bool, now: Timestamp) {
        match self {
            Self::Sent if counts => changes.sent(rates, now),
            Self::Approved if counts => changes.approved(rates, now),
            _ => {}
        }
        if excused {
            changes.excused(rates, now, self == Self::Approved);
        }
    }
}

fn country(rules: &Config, phone: &Phone) -> Option<Broken> {
    let countries = &rules.countries;
    if countries.mode == Mode::Off {
        return None;
    }
    let holds = |list: &[_]| phone.country().is_some_and(|country| list.contains(&country));
    let denied = holds(&countries.deny) || !(countries.allow.is_empty() || holds(&countries.allow));
    if denied {
        return found(Rule::Country, countries.mode, Some(None));
    }
    found(Rule::Country, Mode::Monitor, holds(&countries.monitor).then_some(None))
}

fn number_type(rules: &Config, phone: &Phone) -> Option<Broken> {
    let types = &rules.number_types;
    if types.mode == Mode::Off || types.deny.is_empty() {
        return None;
    }
    found(Rule::NumberType, types.mode, types.deny.contains(&phone.number_type()).then_some(None))
}

// === impl ConversionConfig ===

impl ConversionConfig {
    pub(crate) fn rates(&self, width: Width) -> Rates {
        Rates {
            least: self.least,
            certainty: self.certainty,
            width,
            matures_after: self.matures_after,
            block: self.block,
            probes: self.probes,
        }
    }
}
