//! Whom the guard knows: keeps standing for people and for the places that they ask from, and gives back what an answered
//! send took from the limits that many share.

use crate::clock::Timestamp;
use crate::guard::ask::Ask;
use crate::guard::names::{client, network};
use crate::guard::rule::{Mode, Rule};
use crate::guard::service::Guard;
use crate::guard::settings::Config;
use crate::guard::standing::Apart;
use crate::id::TenantName;
use crate::recipient::Recipient;

// === impl Guard ===

impl Guard {
    /// Whether codes came back from a recipient before.
    pub(crate) fn is_known(&self, ask: &Ask<'_>, now: Timestamp) -> bool {
        self.people.peek(self.person(ask.tenant, ask.recipient), |person| person.is_known(now))
    }

    /// Whether codes come back from where it is asked for.
    pub(crate) fn is_from_good_place(&self, rules: &Config, ask: &Ask<'_>, now: Timestamp) -> bool {
        match self.places(rules, ask)[0] {
            0 => false,
            place => self.standings.with(place, now, |standing| standing.is_good(now)),
        }
    }

    /// Notes a send that may be made.
    pub(crate) fn note_ask(&self, rules: &Config, ask: &Ask<'_>, excused: bool, now: Timestamp) {
        let from = self.places(rules, ask);
        if from[0] != 0 {
            self.standings.with(from[0], now, |standing| standing.sent(now));
        }
        let name = self.person(ask.tenant, ask.recipient);
        self.people.with(name, now, |person| person.asks(from, excused, now));
    }

    /// Whether what becomes of the last send to a recipient says nothing of where it lies, and why.
    pub(crate) fn apart(&self, tenant: &TenantName, recipient: &Recipient, now: Timestamp) -> Apart {
        self.people.peek(self.person(tenant, recipient), |person| person.apart(now))
    }

    /// Notes a code that came back. What it took from the limits of its recipient and of where it was asked for is given
    /// back: they are for those that nobody answers.
    pub(crate) fn note_answer(&self, tenant: &TenantName, recipient: &Recipient, now: Timestamp) {
        let rules = self.rules(tenant);
        let name = self.person(tenant, recipient);
        let [place, address, network] = self.people.with(name, now, |person| person.answers(now));
        if place != 0 {
            self.standings.with(place, now, |standing| standing.answered(now));
        }
        let of_recipient = self.names.of(Rule::Recipient, &[recipient.as_str().as_bytes()]);
        let limits =
            [(of_recipient, rules.recipient), (address, rules.client_address), (network, rules.client_network)];
        for (name, rate) in limits.into_iter().filter(|(name, rate)| *name != 0 && rate.mode != Mode::Off) {
            self.give_back(name, rate.limit(), now);
        }
    }

    fn person(&self, tenant: &TenantName, recipient: &Recipient) -> u64 {
        self.names.of(Rule::Conversion, &[tenant.as_str().as_bytes(), b"person", recipient.as_str().as_bytes()])
    }

    /// The names of the place that an ask comes from and of its limits; 0 for none.
    fn places(&self, rules: &Config, ask: &Ask<'_>) -> [u64; 3] {
        let Some(address) = ask.client(rules) else { return [0; 3] };
        let tenant = ask.tenant.as_str().as_bytes();
        let (client, network) = (client(address), network(address));
        // A handset has a /64 of its own, and carriers' shared addresses lie beside each other: a place is what is around
        // an address, a /48 or an IPv4 /24. It speaks only for numbers of one country: who hires machines among honest
        // people seldom earns where those live.
        let place = network.as_deref().unwrap_or(&client[..client.len().min(3)]);
        let country = ask.recipient.country();
        let country = country.as_ref().map_or("", |country| country.as_str());
        [
            self.names.of(Rule::Conversion, &[tenant, b"place", place, country.as_bytes()]),
            self.names.of(Rule::ClientAddress, &[tenant, &client]),
            network.as_deref().map_or(0, |network| self.names.of(Rule::ClientNetwork, &[tenant, network])),
        ]
    }
}
