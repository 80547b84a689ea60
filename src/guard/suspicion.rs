//! Signs that a send is wanted by somebody who earns from it: where it goes, what kind of number it is, that codes there
//! do not come back, and that somebody counts.

use std::sync::PoisonError;

use crate::clock::Timestamp;
use crate::guard::area::{self, AreaRef, Width};
use crate::guard::ask::{Admitted, Ask};
use crate::guard::conversion::{Conversion, Leave, Place, Rates};
use crate::guard::rule::{Mode, Rule};
use crate::guard::service::{Broken, Guard, MOST_SEQUENCES, found};
use crate::guard::settings::{Config, ConversionConfig};
use crate::guard::standing::Apart;
use crate::id::TenantName;
use crate::recipient::{Phone, Recipient};

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
        self.count(tenant, recipient, apart, now, [Conversion::sent, Conversion::excused_sent]);
    }

    /// Counts a code that came back.
    pub fn approved(&self, tenant: &TenantName, recipient: &Recipient) {
        let now = self.clock.now();
        let apart = self.note_answer(tenant, recipient, now).apart(now);
        self.count(tenant, recipient, apart, now, [Conversion::approved, Conversion::excused_approved]);
    }

    fn conversion(
        &self,
        rules: &Config,
        ask: &Ask<'_>,
        phone: &Phone,
        admitted: &mut Admitted,
        now: Timestamp,
    ) -> Option<Broken> {
        if rules.conversion.mode == Mode::Off || self.is_known(ask, now) {
            return None;
        }
        // All areas are asked, so that they are blocked together and not one after the other.
        let (mut longest, mut is_open, mut names) = (None, true, [0; 3]);
        for (place, (area, width)) in area::areas(phone).enumerate() {
            let rates = rules.conversion.rates(width);
            names[place] = self.name_of(ask.tenant, area);
            let named = || Place { tenant: ask.tenant.clone(), area: area.into(), country: phone.country() };
            let (leave, explained) = self
                .conversions
                .with(names[place], now, |conversion| (conversion.ask(&rates, named, now), conversion.explain()));
            match leave {
                Leave::Free => continue,
                Leave::Probe => admitted.probed.push(names[place]),
                Leave::Wait(wait) => longest = longest.max(Some(wait)),
            }
            is_open = false;
            // The others who live around an area must not pay for what comes from it.
            let Some(explained) = explained else { continue };
            names[..place]
                .iter()
                .for_each(|wider| self.conversions.with(*wider, now, |wider| wider.take_off(&explained)));
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
        // Nothing panics while it is held.
        let mut sequences = self.sequences.lock().unwrap_or_else(PoisonError::into_inner);
        if sequences.len() >= MOST_SEQUENCES && !sequences.contains_key(&name) {
            sequences.retain(|_, sequence| sequence.is_of_late(settings.window, now));
            if sequences.len() >= MOST_SEQUENCES {
                sequences.clear();
            }
        }
        let neighbours = sequences.entry(name).or_default().neighbours(number, settings.window, now);
        drop(sequences);
        let counts = neighbours >= settings.neighbours as usize;
        found(Rule::Sequence, settings.mode, counts.then_some(Some(settings.window)))
    }

    fn count(
        &self,
        tenant: &TenantName,
        recipient: &Recipient,
        apart: Apart,
        now: Timestamp,
        [count, excuse]: [fn(&mut Conversion, &Rates, Timestamp); 2],
    ) {
        let (Recipient::Phone(phone), config) = (recipient, &self.rules(tenant).conversion) else { return };
        if config.mode == Mode::Off {
            return;
        }
        for (area, width) in area::areas(phone) {
            let (name, rates) = (self.name_of(tenant, area), config.rates(width));
            self.conversions.with(name, now, |conversion| {
                // Newcomers alone judge small areas, but a country is judged by all who live there.
                if apart == Apart::No || width == Width::Country {
                    count(conversion, &rates, now);
                }
                if apart == Apart::Excused {
                    excuse(conversion, &rates, now);
                }
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
