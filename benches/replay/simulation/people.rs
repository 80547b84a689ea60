//! Honest people: when they come, from where, how long they take to type a code, and what they do when it does not come.
//!
//! Knows nothing of the guard. Its figures are assumptions, not anybody's records: four of ten come for the first time;
//! half take less than 25 s from the send to the code; of those who have none, not quite half ask again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use verigate::recipient::Recipient;

use super::countries::{LANDS, Land};
use super::dice::Dice;

/// Starts a day, before the marketing push.
pub(crate) const STARTS_A_DAY: f64 = 24_000.0;

/// Of which as many ask for a code for the first time.
const NEW: f64 = 0.4;

/// How much of a day's traffic comes in each hour of the local day.
const CURVE: [f64; 24] = [
    1.4, 0.8, 0.5, 0.4, 0.4, 0.7, 1.6, 3.0, 4.4, 5.2, 5.6, 5.7, 6.0, 5.7, 5.4, 5.3, 5.4, 5.7, 6.2, 7.0, 7.4, 6.8, 5.0,
    2.9,
];

/// On every third day from the first on, at this hour of UTC, so many people of one country come at once for one tenant,
/// half of them within the first ten minutes.
const PUSH: (u64, u64, &str, f64) = (3, 12, "MY", 3_000.0);

/// Carriers' shared IPv4 addresses in each country, the first of which many more share than the last; and their IPv6 /48s.
const SHARED: u64 = 256;
const NETWORKS: u64 = 48;

/// Offices in each country, each with an address.
const OFFICES: u64 = 150;

pub(crate) const HOUR: f64 = 3600.0;
pub(crate) const DAY: f64 = 24.0 * HOUR;

/// Somebody who is asked for a code.
#[derive(Debug, Clone)]
pub(crate) struct Person {
    pub(crate) land: &'static Land,
    pub(crate) recipient: Recipient,
    pub(crate) address: IpAddr,
    /// Which of the tenants is theirs.
    pub(crate) tenant: usize,
}

/// Somebody comes: seconds from the beginning.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) at: f64,
    pub(crate) person: Person,
}

/// All who may come.
#[derive(Debug)]
pub(crate) struct Town {
    dice: Dice,
    /// Who came before, and may come again.
    known: Vec<Vec<Person>>,
}

// === impl Town ===

impl Town {
    pub(crate) fn new(seed: u64) -> Self {
        Self { dice: Dice::new(seed), known: LANDS.iter().map(|_| Vec::new()).collect() }
    }

    /// Who comes on a day, in no order.
    pub(crate) fn day(&mut self, day: u64) -> Vec<Visit> {
        let mut visits = Vec::new();
        for (place, land) in LANDS.iter().enumerate() {
            for hour in 0..24 {
                let local = (hour + land.hours) % 24;
                let share = CURVE[local as usize] / CURVE.iter().sum::<f64>();
                let mut at = (day * 24 + hour) as f64 * HOUR;
                let end = at + HOUR;
                let each = HOUR / (STARTS_A_DAY * land.share * share).max(f64::MIN_POSITIVE);
                loop {
                    at += self.dice.exponential(each);
                    if at >= end {
                        break;
                    }
                    visits.push(Visit { at, person: self.somebody(place, NEW) });
                }
            }
        }
        self.push(day, &mut visits);
        visits
    }

    fn push(&mut self, day: u64, visits: &mut Vec<Visit>) {
        let (days, hour, land, people) = PUSH;
        let place = LANDS.iter().position(|other| other.name == land).unwrap_or_default();
        if day.is_multiple_of(days) {
            for _ in 0..people as u64 {
                let after = self.dice.exponential(600.0 / std::f64::consts::LN_2);
                let person = Person { tenant: 0, ..self.somebody(place, NEW) };
                visits.push(Visit { at: (day * 24 + hour) as f64 * HOUR + after, person });
            }
        }
    }

    fn somebody(&mut self, place: usize, new: f64) -> Person {
        let dice = &mut self.dice;
        let known = &mut self.known[place];
        if !known.is_empty() && !dice.chance(new) {
            let mut person = dice.pick(known).clone();
            // People move: at home, at work and on the way.
            if dice.chance(0.3) {
                person.address = address(place as u64, dice);
            }
            return person;
        }
        let tenant = dice.weighed([0.7, 0.2, 0.1].into_iter());
        let land = &LANDS[place];
        let person = Person { land, recipient: land.number(dice), address: address(place as u64, dice), tenant };
        known.push(person.clone());
        person
    }
}

/// An honest person's address in a country: a carrier's that many share, a handset's own IPv6 /64, an office's or a
/// household's.
pub(crate) fn address(land: u64, dice: &mut Dice) -> IpAddr {
    match dice.weighed([0.45, 0.3, 0.08, 0.17].into_iter()) {
        0 => {
            let place = dice.weighed((1..=SHARED).map(|place| (place as f64).powf(-0.8)));
            Ipv4Addr::new(100, 64 + land as u8, 0, place as u8).into()
        }
        1 => {
            let network = 0x2001_0db8_u128 << 96 | u128::from(land) << 88 | u128::from(dice.below(NETWORKS)) << 80;
            Ipv6Addr::from_bits(network | u128::from(dice.below(1 << 16)) << 64 | 1).into()
        }
        2 => Ipv4Addr::new(198, 18 + (land >> 3) as u8, (land as u8 & 7) << 5, dice.below(OFFICES) as u8).into(),
        _ => Ipv4Addr::from_bits(0x2000_0000 | (land as u32) << 24 | dice.below(1 << 20) as u32).into(),
    }
}
