//! Whom the guard knows: keeps standing for people and for the places that they ask from, and gives back what an answered
//! send took from the limits that many share.

use crate::clock::Timestamp;
use crate::guard::ask::{Admitted, Ask};
use crate::guard::names::place;
use crate::guard::rule::{Mode, Rule};
use crate::guard::service::Guard;
use crate::guard::settings::Config;
use crate::guard::standing::{Person, Seen, Whence};
use crate::id::TenantName;
use crate::recipient::Recipient;

// === impl Guard ===

impl Guard {
    /// Whether codes came back from a recipient before.
    pub(crate) fn is_known(&self, ask: &Ask<'_>, admitted: &mut Admitted, now: Timestamp) -> bool {
        admitted.person = self.name_of_person(ask.tenant, ask.recipient);
        self.people.peek(admitted.person, |person| person.is_known(now))
    }

    /// Whether codes come back from where it is asked for.
    pub(crate) fn is_from_good_place(&self, rules: &Config, ask: &Ask<'_>, now: Timestamp) -> bool {
        self.place(rules, ask).is_some_and(|place| self.standings.peek(place, |standing| standing.is_good(now)))
    }

    /// Notes from where a code is asked for that may be sent.
    pub(crate) fn note_ask(&self, rules: &Config, ask: &Ask<'_>, admitted: &Admitted, now: Timestamp) {
        if !ask.is_code() {
            return;
        }
        let [address, network] = admitted.client;
        let from = Whence { place: self.place(rules, ask).unwrap_or_default(), address, network };
        let name = match admitted.person {
            0 => self.name_of_person(ask.tenant, ask.recipient),
            name => name,
        };
        self.people.with(name, now, |person, news| {
            person.asks(from, admitted.excused, now);
            news.note(|told| *told = *person);
        });
    }

    /// What is known of a recipient, whose code goes out from the place that it was asked for from.
    pub(crate) fn note_sent(&self, tenant: &TenantName, recipient: &Recipient, now: Timestamp) -> Person {
        let person = self.people.peek(self.name_of_person(tenant, recipient), |person| *person);
        if person.from.place != 0 {
            self.standings.with(person.from.place, now, |standing, news| {
                standing.sent(now);
                news.note(Seen::sent);
            });
        }
        person
    }

    /// What was known of a recipient whose code came back. What it took from the limits of its recipient and of where it
    /// was asked for is given back: they are for those that nobody answers.
    pub(crate) fn note_answer(&self, tenant: &TenantName, recipient: &Recipient, now: Timestamp) -> Person {
        let rules = self.rules(tenant);
        let name = self.name_of_person(tenant, recipient);
        let before = self.people.with(name, now, |person, news| {
            let before = std::mem::replace(person, person.answered(now));
            news.note(|told| *told = *person);
            before
        });
        let Whence { place, address, network } = before.from;
        if place != 0 {
            self.standings.with(place, now, |standing, news| {
                standing.answered(now);
                news.note(Seen::answered);
            });
        }
        let of_recipient = self.names.of(Rule::Recipient, &[recipient.as_str().as_bytes()]);
        let limits =
            [(of_recipient, rules.recipient), (address, rules.client_address), (network, rules.client_network)];
        for (name, rate) in limits.into_iter().filter(|(name, rate)| *name != 0 && rate.mode != Mode::Off) {
            self.give_back(name, rate.limit(), now);
        }
        before
    }

    fn name_of_person(&self, tenant: &TenantName, recipient: &Recipient) -> u64 {
        self.names.of(Rule::Conversion, &[tenant.as_str().as_bytes(), b"person", recipient.as_str().as_bytes()])
    }

    /// The name of the place that an ask comes from. It speaks only for numbers of one country: who hires machines among
    /// honest people seldom earns where those live.
    fn place(&self, rules: &Config, ask: &Ask<'_>) -> Option<u64> {
        let place = place(ask.client(rules)?);
        let country = ask.recipient.country();
        let country = country.as_ref().map_or("", |country| country.as_str());
        Some(self.names.of(Rule::Conversion, &[ask.tenant.as_str().as_bytes(), b"place", &place, country.as_bytes()]))
    }
}
