//! Those who earn by being sent to, or want to annoy: five shapes.
//!
//! They know nothing of the guard and do not stop when they are refused; no code of theirs comes back. One in twenty of
//! their machines sits behind an address that honest people share.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use verigate::recipient::Recipient;

use super::Plan;
use super::countries::{LANDS, Land, named};
use super::dice::Dice;
use super::people::{DAY, HOUR, address};

/// How an attack looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Shape {
    /// One million numbers, at speed.
    OnePrefix,
    /// A hundred prefixes, each of them slowly.
    Drip,
    /// One number after the other.
    Sequence,
    /// Numbers all over a country, each from an address of its own.
    Spray,
    /// One number, through all tenants.
    Bombing,
}

/// A send that is wanted: seconds from the beginning.
#[derive(Debug)]
pub(crate) struct Shot {
    pub(crate) at: f64,
    pub(crate) shape: Shape,
    pub(crate) tenant: usize,
    pub(crate) recipient: Recipient,
    pub(crate) address: IpAddr,
}

/// Machines that somebody has hired.
const MACHINES: u64 = 2_000;

const IN_USE: f64 = 0.05;

/// Where drips go: ten blocks of ten thousand numbers in each, which is what is let to such people; in the last two
/// countries honest people live, too.
const DRIPPED: [&str; 10] = ["AZ", "TN", "UZ", "PK", "LK", "KG", "TJ", "MG", "ID", "NG"];

/// Where sprays go, and what of them; in the last one honest people live, too.
const SPRAYED: [(&str, f64); 4] = [("UZ", 0.4), ("TN", 0.3), ("LK", 0.2), ("MY", 0.1)];

/// All that is wanted.
pub(crate) fn all(Plan { seed, days, wide_drip }: Plan) -> Vec<Shot> {
    let mut dice = Dice::new(seed ^ 0xa77a_c4ed);
    let end = days as f64 * DAY;
    let mut shots = Vec::new();
    for day in 0..days {
        one_prefix(&mut dice, day as f64 * DAY, named(if day % 3 == 2 { "MY" } else { "GE" }), &mut shots);
        sequence(&mut dice, day as f64 * DAY, named(if day % 3 == 1 { "SG" } else { "BD" }), &mut shots);
    }
    drip(&mut dice, end, wide_drip, &mut shots);
    spray(&mut dice, end, &mut shots);
    bombing(&mut dice, end, &mut shots);
    shots.retain(|shot| shot.at < end);
    shots
}

/// Once a day, for six hours, a send each two seconds.
fn one_prefix(dice: &mut Dice, day: f64, land: &'static Land, shots: &mut Vec<Shot>) {
    let prefix = land.prefix(dice);
    let start = day + dice.unit() * 18.0 * HOUR;
    let mut at = start;
    while at < start + 6.0 * HOUR {
        at += dice.exponential(2.0);
        let recipient = land.number_in(&prefix, dice.below(1_000_000));
        shots.push(Shot { at, shape: Shape::OnePrefix, tenant: 0, recipient, address: machine(dice, land) });
    }
}

/// From the sixth hour on, one each quarter of an hour, to each of a hundred blocks of ten thousand numbers.
fn drip(dice: &mut Dice, end: f64, is_wide: bool, shots: &mut Vec<Shot>) {
    for land in DRIPPED.map(named) {
        let mut blocks = BTreeSet::new();
        while blocks.len() < 10 {
            blocks.insert((land.prefix(dice), dice.below(100)));
        }
        for (prefix, block) in blocks {
            let mut at = 6.0 * HOUR;
            while at < end {
                at += dice.exponential(HOUR / 4.0);
                let last = block * 10_000 + dice.below(10_000);
                let recipient = land.number_in(&prefix, if is_wide { dice.below(1_000_000) } else { last });
                shots.push(Shot { at, shape: Shape::Drip, tenant: 0, recipient, address: machine(dice, land) });
            }
        }
    }
}

/// Once a day, four thousand numbers, one each four seconds or so.
fn sequence(dice: &mut Dice, day: f64, land: &'static Land, shots: &mut Vec<Shot>) {
    let (prefix, first) = (land.prefix(dice), dice.below(990_000));
    let mut at = day + dice.unit() * 18.0 * HOUR;
    for number in first..first + 4_000 {
        at += dice.exponential(4.0);
        let recipient = land.number_in(&prefix, number);
        shots.push(Shot { at, shape: Shape::Sequence, tenant: 0, recipient, address: machine(dice, land) });
    }
}

/// From the third hour on, one each ten seconds: half from IPv4 addresses all over, a quarter from another /64 of one
/// /48 each time, a quarter from another /48.
fn spray(dice: &mut Dice, end: f64, shots: &mut Vec<Shot>) {
    let mut at = 3.0 * HOUR;
    let own = 0x2600_4040_u128 << 96 | u128::from(dice.below(1 << 16)) << 80;
    while at < end {
        at += dice.exponential(10.0);
        let land = named(SPRAYED[dice.weighed(SPRAYED.iter().map(|(_, share)| *share))].0);
        let address = match dice.below(4) {
            0 => Ipv6Addr::from_bits(own | u128::from(dice.below(1 << 16)) << 64 | 7).into(),
            1 => Ipv6Addr::from_bits(0x2a0e_u128 << 112 | u128::from(dice.below(1 << 32)) << 80 | 7).into(),
            _ if dice.chance(IN_USE) => of_honest_people(dice, land),
            _ => Ipv4Addr::from_bits(0x5000_0000 | dice.below(1 << 28) as u32).into(),
        };
        shots.push(Shot { at, shape: Shape::Spray, tenant: 0, recipient: land.number(dice), address });
    }
}

/// Three people, each for twelve hours a send each twenty seconds and before and after it one each five minutes, through
/// the tenants in turn.
fn bombing(dice: &mut Dice, end: f64, shots: &mut Vec<Shot>) {
    for land in ["MY", "GB", "US"].map(named) {
        let recipient = land.number(dice);
        let storm = dice.unit() * (end - 12.0 * HOUR);
        let (mut at, mut turn) = (0.0, 0);
        while at < end {
            let is_storm = (storm..storm + 12.0 * HOUR).contains(&at);
            at += dice.exponential(if is_storm { 20.0 } else { 300.0 });
            turn += 1;
            let (recipient, address) = (recipient.clone(), machine(dice, land));
            shots.push(Shot { at, shape: Shape::Bombing, tenant: turn % 3, recipient, address });
        }
    }
}

fn machine(dice: &mut Dice, land: &Land) -> IpAddr {
    if dice.chance(IN_USE) {
        return of_honest_people(dice, land);
    }
    Ipv4Addr::from_bits(0x5f00_0000 | (dice.below(MACHINES) * 8191) as u32).into()
}

/// In the country of the numbers if honest people live there, else in the one that has most of them.
fn of_honest_people(dice: &mut Dice, land: &Land) -> IpAddr {
    let place = LANDS.iter().position(|other| other.share > 0.0 && other.name == land.name);
    address(place.unwrap_or_default() as u64, dice)
}

// === impl Shape ===

impl Shape {
    pub(crate) const ALL: [Self; 5] = [Self::OnePrefix, Self::Drip, Self::Sequence, Self::Spray, Self::Bombing];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::OnePrefix => "one prefix",
            Self::Drip => "drip over 100 prefixes",
            Self::Sequence => "sequential block",
            Self::Spray => "address spray",
            Self::Bombing => "bombing one number",
        }
    }
}
