//! Whether the codes that go to an area come back: who is paid for being sent to never types one. Pure.
//!
//! Counts sends that are old enough to have come to something, and approvals; the newer, the weightier, once over hours
//! and once over days, so that a flood shows at once and a drip in time. When it is all but certain that fewer come back
//! than should, the area is blocked: an hour, then twice as long each time. After a block a few sends go through as
//! probes, and one code that comes back opens the area again.
//!
//! Certain means: of all rates that fit what was counted (a beta posterior with a uniform prior), that share lies below
//! the least one. So twenty sends without an answer weigh more than two.

use std::time::Duration;

use minicbor::{Decode, Encode};
use statrs::function::beta::beta_reg;

use crate::clock::Timestamp;
use crate::guard::area::{Area, Width};
use crate::guard::table::State;
use crate::id::TenantName;
use crate::recipient::Country;

/// How finely the age of sends is known: parts of the time after which they count.
const BINS: u64 = 8;

/// After these times what was counted weighs half.
const HALF_LIVES: [Duration; 2] = [Duration::from_secs(3600), Duration::from_secs(24 * 3600)];

/// How often it is weighed.
const LEAST_FADE: Duration = Duration::from_secs(1);

/// How long the sends and blocks of an area are remembered after the last one.
const MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);

/// The longest block.
const LONGEST_BLOCK: Duration = Duration::from_secs(24 * 3600);

/// When areas are blocked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// The least share of codes that come back from honest people: above 0 and below 1.
    pub least: f64,
    /// How certain it must be that fewer do: above 0.5 and below 1.
    pub certainty: f64,
    /// The wider an area, the more honest people live there: it must be certain as often over as it is wide, for what comes
    /// from a small part of it to be found there first.
    pub width: Width,
    /// How old a send must be to count.
    pub matures_after: Duration,
    /// The first block.
    pub block: Duration,
    /// Sends that go through after a block, to see whether it still holds.
    pub probes: u32,
}

/// What is known of one area.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
pub struct Conversion {
    /// What is too young to count, by the bin of time in which it was.
    #[n(0)]
    young: Vec<Bin>,
    #[n(1)]
    tallies: [Tally; 2],
    #[n(2)]
    weighed_at: Timestamp,
    #[n(3)]
    last_sent_at: Timestamp,
    #[n(4)]
    block: Option<Block>,
    /// How often it was blocked in a row, and when the last block ended.
    #[n(5)]
    blocks: u32,
    #[n(6)]
    opened_at: Timestamp,
    /// Sends that went though it was blocked, and codes of theirs that came back.
    #[n(7)]
    #[cbor(default)]
    excused: Tally,
}

/// Sends and codes that came back, within an eighth of the time after which sends count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct Bin {
    #[n(0)]
    number: u64,
    #[n(1)]
    sends: u32,
    #[n(2)]
    #[cbor(default)]
    approvals: u32,
}

/// An area to which nothing is sent for now.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Block {
    #[n(0)]
    pub tenant: TenantName,
    #[n(1)]
    pub area: Area,
    #[n(2)]
    pub since: Timestamp,
    /// From then on probes go through.
    #[n(3)]
    pub until: Timestamp,
    /// Probes that went, and when the last one did.
    #[n(4)]
    probes: u32,
    #[n(5)]
    probed_at: Timestamp,
    /// The country of an area of numbers.
    #[n(6)]
    country: Option<Country>,
    /// What was counted here no longer counts against the areas around it.
    #[n(7)]
    #[cbor(default)]
    explains: bool,
}

/// Whose area it is.
#[derive(Debug, Clone)]
pub struct Place {
    pub tenant: TenantName,
    pub area: Area,
    pub country: Option<Country>,
}

/// Whether something may be sent to an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    Free,
    /// To see whether a block still holds.
    Probe,
    Wait(Duration),
}

/// Sends that count and codes that came back, both faded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Encode, Decode)]
pub struct Tally {
    #[n(0)]
    sends: f32,
    #[n(1)]
    approvals: f32,
}

// === impl Conversion ===

impl Conversion {
    /// Whether something may be sent. A probe is counted with the leave to make it, so that no more go than should,
    /// however many ask at once. `named` says whose area it is, should it be blocked here.
    pub fn ask(&mut self, rates: &Rates, named: impl FnOnce() -> Place, now: Timestamp) -> Leave {
        self.mature(rates, now);
        if let Some(block) = self.block.take_if(|block| block.is_settled(rates, now)) {
            // From when it was clear, whenever somebody looks.
            let since = block.answered_at(rates);
            let place = Place { tenant: block.tenant, area: block.area, country: block.country };
            self.close(rates, place, since);
        } else if self.block.is_none() && self.is_too_low(rates) {
            // One that was open for long after a block is as if it had never had one.
            if now.since(self.opened_at) >= LONGEST_BLOCK {
                self.blocks = 0;
            }
            self.close(rates, named(), now);
        }
        match &mut self.block {
            Some(block) => block.ask(rates, now),
            // In a country many people may begin to type at once; among a million numbers hardly.
            None if rates.width == Width::Country => Leave::Free,
            None => self.flood(rates, now).map_or(Leave::Free, Leave::Wait),
        }
    }

    /// Takes back a probe that is not made after all.
    pub fn unprobe(&mut self) {
        if let Some(block) = &mut self.block {
            block.probes = block.probes.saturating_sub(1);
        }
    }

    /// Counts a code that is on its way.
    pub fn sent(&mut self, rates: &Rates, now: Timestamp) {
        self.mature(rates, now);
        let bin = self.bin(rates, now);
        bin.sends = bin.sends.saturating_add(1);
        self.last_sent_at = now;
    }

    /// Whether one more send may go though it is blocked, to somebody who is probably a person: not when too few of
    /// these give their codes back.
    pub fn may_excuse(&self, rates: &Rates) -> bool {
        !self.excused.is_below(rates)
    }

    /// Counts a send that goes though it is blocked.
    pub fn excused_sent(&mut self, rates: &Rates, now: Timestamp) {
        self.mature(rates, now);
        self.excused.sends += 1.0;
    }

    /// Counts a code that came back from such a send.
    pub fn excused_approved(&mut self, rates: &Rates, now: Timestamp) {
        self.mature(rates, now);
        self.excused.approvals += 1.0;
    }

    /// Counts a code that came back. Ends a block when it was a probe's, or when it makes the rate less than certain.
    pub fn approved(&mut self, rates: &Rates, now: Timestamp) {
        self.mature(rates, now);
        self.tallies.iter_mut().for_each(|tally| tally.approvals += 1.0);
        let bin = self.bin(rates, now);
        bin.approvals = bin.approvals.saturating_add(1);
        let probed = self.block.as_ref().is_some_and(|block| block.probes > 0);
        if probed || (self.block.is_some() && !self.is_too_low(rates)) {
            self.open(now);
        }
    }

    /// Ends a block, if there is one, and begins to count anew.
    pub fn open(&mut self, now: Timestamp) {
        if self.block.take().is_some() {
            self.opened_at = now;
        }
        self.tallies = [Tally::default(); 2];
        self.young.clear();
    }

    /// What was counted before a block: once, for the areas around this one.
    pub fn explain(&mut self) -> Option<[Tally; 2]> {
        let block = self.block.as_mut().filter(|block| !block.explains)?;
        block.explains = true;
        Some(self.tallies)
    }

    /// Counts no longer what an area within this one explains, for nothing goes there any more. A block stays.
    pub fn take_off(&mut self, explained: &[Tally; 2]) {
        if self.block.is_none() {
            for (tally, part) in self.tallies.iter_mut().zip(explained) {
                tally.sends = (tally.sends - part.sends).max(0.0);
                tally.approvals = (tally.approvals - part.approvals).max(0.0);
            }
        }
    }

    pub fn block(&self) -> Option<&Block> {
        self.block.as_ref()
    }

    fn close(&mut self, rates: &Rates, Place { tenant, area, country }: Place, now: Timestamp) {
        self.blocks = self.blocks.saturating_add(1);
        let longer = 1_u32.checked_shl(self.blocks - 1).unwrap_or(u32::MAX);
        let until = now + rates.block.saturating_mul(longer).min(LONGEST_BLOCK.max(rates.block));
        self.block =
            Some(Block { tenant, area, since: now, until, probes: 0, probed_at: now, country, explains: false });
    }

    /// Lets time pass: what weighs less, and what counts from now on.
    fn mature(&mut self, rates: &Rates, now: Timestamp) {
        // What fades in days does not change from one send to the next.
        let passed = now.since(self.weighed_at);
        if passed >= LEAST_FADE || now < self.weighed_at {
            let [of_hours, of_days] = &mut self.tallies;
            let fading = [(of_hours, HALF_LIVES[0]), (of_days, HALF_LIVES[1]), (&mut self.excused, HALF_LIVES[1])];
            for (tally, half_life) in fading {
                let kept = 0.5_f32.powf(passed.as_secs_f32() / half_life.as_secs_f32());
                *tally = Tally { sends: tally.sends * kept, approvals: tally.approvals * kept };
            }
            self.weighed_at = now;
        }
        let now = bin_of(rates, now);
        let is_young = |bin: &Bin| bin.number + BINS >= now;
        let matured: u32 = self.young.iter().filter(|bin| !is_young(bin)).map(|bin| bin.sends).sum();
        self.young.retain(is_young);
        #[expect(clippy::cast_precision_loss, reason = "counts of some minutes")]
        self.tallies.iter_mut().for_each(|tally| tally.sends += matured as f32);
    }

    /// Until the oldest send that is under way counts, when so many are that hardly any can be honest. Most codes come
    /// back long before a send counts, but some people are still typing: so half of the least rate must be out of reach.
    fn flood(&self, rates: &Rates, now: Timestamp) -> Option<Duration> {
        let oldest = self.young.first()?.number;
        let sum = |of: fn(&Bin) -> u32| self.young.iter().map(of).sum::<u32>();
        #[expect(clippy::cast_precision_loss, reason = "counts of some minutes")]
        let young = Tally { sends: sum(|bin| bin.sends) as f32, approvals: sum(|bin| bin.approvals) as f32 };
        let half = Rates { least: rates.least / 2.0, ..*rates };
        young.is_below(&half).then(|| start_of_bin(rates, oldest + BINS + 1).since(now).max(Duration::from_secs(1)))
    }

    fn bin(&mut self, rates: &Rates, now: Timestamp) -> &mut Bin {
        let number = bin_of(rates, now);
        if self.young.last().is_none_or(|last| last.number != number) {
            self.young.push(Bin { number, sends: 0, approvals: 0 });
        }
        let last = self.young.len() - 1;
        &mut self.young[last]
    }

    fn is_too_low(&self, rates: &Rates) -> bool {
        let certainty = 1.0 - (1.0 - rates.certainty).powi(rates.width as i32);
        let rates = &Rates { certainty, ..*rates };
        self.tallies.iter().any(|tally| tally.is_below(rates))
    }
}

impl State for Conversion {
    const MOST_ON_PAGE: usize = 200;

    fn matters_until(&self) -> Timestamp {
        self.last_sent_at + MEMORY
    }
}

// === impl Tally ===

impl Tally {
    fn is_below(self, rates: &Rates) -> bool {
        let (sends, approvals) = (f64::from(self.sends), f64::from(self.approvals));
        // Young approvals count though their sends do not yet: the doubt is the area's.
        let misses = (sends - approvals).max(0.0);
        if approvals >= rates.least * sends {
            return false;
        }
        // Without an approval it is easily said, and with some it is less certain.
        let without_any = 1.0 - (1.0 - rates.least).powf(1.0 + misses);
        without_any >= rates.certainty
            && (approvals <= 0.0 || beta_reg(1.0 + approvals, 1.0 + misses, rates.least) >= rates.certainty)
    }
}

// === impl Block ===

impl Block {
    /// Whether all its numbers lie in an area.
    pub fn is_within(&self, area: &Area) -> bool {
        match (&self.area, area) {
            (Area::Prefix(_), Area::Country(country)) => self.country == Some(*country),
            (Area::Prefix(own), Area::Prefix(wider)) => own.starts_with(&**wider),
            (own @ Area::Country(_), area) => own == area,
        }
    }

    fn ask(&mut self, rates: &Rates, now: Timestamp) -> Leave {
        if now < self.until {
            return Leave::Wait(self.until.since(now));
        }
        if self.probes >= rates.probes {
            return Leave::Wait(self.answered_at(rates).since(now).max(Duration::from_secs(1)));
        }
        self.probes += 1;
        self.probed_at = now;
        Leave::Probe
    }

    /// When the last probe is old enough to have been answered.
    fn answered_at(&self, rates: &Rates) -> Timestamp {
        self.probed_at + rates.matures_after
    }

    /// All probes went and none came back.
    fn is_settled(&self, rates: &Rates, now: Timestamp) -> bool {
        self.probes >= rates.probes && now >= self.answered_at(rates)
    }
}

fn bin_of(rates: &Rates, at: Timestamp) -> u64 {
    let bin = u64::try_from(rates.matures_after.as_millis()).unwrap_or(u64::MAX) / BINS;
    at.as_millis() / bin.max(1)
}

fn start_of_bin(rates: &Rates, bin: u64) -> Timestamp {
    let length = u64::try_from(rates.matures_after.as_millis()).unwrap_or(u64::MAX) / BINS;
    Timestamp::from_millis(bin.saturating_mul(length.max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATES: Rates = Rates {
        least: 0.2,
        certainty: 0.99,
        width: Width::Block,
        matures_after: Duration::from_secs(600),
        block: Duration::from_secs(3600),
        probes: 3,
    };

    fn at(minutes: u64) -> Timestamp {
        Timestamp::from_millis((1_000_000 + minutes) * 60_000)
    }

    fn named() -> Place {
        Place { tenant: "acme".parse().unwrap(), area: "+6012345".parse().unwrap(), country: "MY".parse().ok() }
    }

    fn wait(conversion: &mut Conversion, now: Timestamp) -> Option<u64> {
        match conversion.ask(&RATES, named, now) {
            Leave::Free | Leave::Probe => None,
            Leave::Wait(wait) => Some(wait.as_secs() / 60),
        }
    }

    /// Sends, one a minute, until it is blocked; how many went.
    fn flood(conversion: &mut Conversion, from: u64, most: u64) -> u64 {
        (0..most)
            .find(|minute| {
                let blocked = wait(conversion, at(from + minute)).is_some();
                if !blocked {
                    conversion.sent(&RATES, at(from + minute));
                }
                blocked
            })
            .unwrap_or(most)
    }

    #[test]
    fn sends_that_nobody_answers_are_stopped() {
        let mut conversion = Conversion::default();
        let went = flood(&mut conversion, 0, 100);
        // Twenty that are old enough, and those of the last ten minutes.
        assert!((20..=40).contains(&went), "{went}");
        assert_eq!(wait(&mut conversion, at(went)), Some(60));
        assert_eq!(conversion.block().unwrap().area.to_string(), "+6012345");
    }

    #[test]
    fn the_wider_an_area_the_more_it_takes() {
        let most = |width| {
            let rates = Rates { width, ..RATES };
            let mut conversion = Conversion::default();
            let went = (0..200).find(|minute| {
                let free = conversion.ask(&rates, named, at(*minute)) == Leave::Free;
                conversion.sent(&rates, at(*minute));
                !free
            });
            went.unwrap()
        };
        let (block, prefix, country) = (most(Width::Block), most(Width::Prefix), most(Width::Country));
        // Ten minutes of them are too young to count.
        assert!(prefix - block > 15 && country - prefix > 15, "{block} {prefix} {country}");
        assert!(country < 80, "{country}");
    }

    #[test]
    fn a_flood_is_held_back_before_it_counts_and_people_who_type_are_not() {
        let mut conversion = Conversion::default();
        let went = (0..100).find(|_| {
            let leave = conversion.ask(&RATES, named, at(0));
            conversion.sent(&RATES, at(0));
            leave != Leave::Free
        });
        assert!((30..50).contains(&went.unwrap()), "{went:?}");
        assert!(conversion.block().is_none(), "it is no block");
        assert!(wait(&mut conversion, at(0)).is_some_and(|minutes| (9..=12).contains(&minutes)));

        let mut conversion = Conversion::default();
        for turn in 0..1_000 {
            assert_eq!(conversion.ask(&RATES, named, at(0)), Leave::Free, "{turn}");
            conversion.sent(&RATES, at(0));
            if turn % 3 == 0 {
                conversion.approved(&RATES, at(0));
            }
        }
    }

    #[test]
    fn what_a_blocked_area_explains_no_longer_counts_around_it() {
        let (mut block, mut around) = (Conversion::default(), Conversion::default());
        let rates = Rates { width: Width::Prefix, ..RATES };
        let went = flood(&mut block, 0, 100);
        (0..went).for_each(|minute| around.sent(&rates, at(minute)));
        assert_eq!(wait(&mut block, at(went)), Some(60));
        let explained = block.explain().unwrap();
        assert_eq!(block.explain(), None, "once");
        around.ask(&rates, named, at(went));
        around.take_off(&explained);
        assert!(around.tallies.iter().all(|tally| tally.sends < 1.0), "{around:?}");
        assert_eq!(around.ask(&rates, named, at(went + 20)), Leave::Free);
    }

    #[test]
    fn excuses_end_when_those_who_are_excused_give_nothing_back() {
        let mut conversion = Conversion::default();
        let excused = (0..100)
            .take_while(|_| conversion.may_excuse(&RATES).then(|| conversion.excused_sent(&RATES, at(0))).is_some());
        assert!((15..25).contains(&excused.count()));
        conversion.excused_approved(&RATES, at(0));
        (0..3).for_each(|_| conversion.excused_approved(&RATES, at(0)));
        assert!(conversion.may_excuse(&RATES), "until some do");
    }

    #[test]
    fn a_drip_is_stopped_within_days() {
        let mut conversion = Conversion::default();
        let hours = (0..24 * 5).find(|hour| {
            let now = at(hour * 60);
            let blocked = wait(&mut conversion, now).is_some();
            conversion.sent(&RATES, now);
            blocked
        });
        assert!(hours.is_some_and(|hours| hours < 50), "{hours:?}");
    }

    #[test]
    fn honest_areas_stay_open() {
        for rate in [2, 3] {
            let mut conversion = Conversion::default();
            for minute in 0..10_000 {
                assert_eq!(wait(&mut conversion, at(minute)), None, "minute {minute}");
                conversion.sent(&RATES, at(minute));
                if minute % rate == 0 {
                    conversion.approved(&RATES, at(minute + 1));
                }
            }
        }
    }

    #[test]
    fn blocks_grow_until_a_probe_comes_back() {
        let mut conversion = Conversion::default();
        let mut now = flood(&mut conversion, 0, 100);
        for hours in [1, 2, 4, 8, 16, 24, 24] {
            assert_eq!(wait(&mut conversion, at(now)), Some(hours * 60));
            now += hours * 60;
            for _ in 0..3 {
                assert_eq!(conversion.ask(&RATES, named, at(now)), Leave::Probe);
                conversion.sent(&RATES, at(now));
            }
            assert_eq!(wait(&mut conversion, at(now)), Some(10), "until the probes are answered");
            now += 10;
        }
        now += 24 * 60;
        assert_eq!(conversion.ask(&RATES, named, at(now)), Leave::Probe);
        conversion.approved(&RATES, at(now + 1));
        assert_eq!((wait(&mut conversion, at(now + 1)), conversion.block()), (None, None));
        assert!(flood(&mut conversion, now + 2, 100) < 50, "and it is watched again");
    }

    #[test]
    fn what_is_known_is_read_as_it_was_written() {
        let mut conversion = Conversion::default();
        let now = flood(&mut conversion, 0, 100);
        conversion.sent(&RATES, at(now));
        let bytes = crate::store::record::encode(&conversion).unwrap();
        let mut again: Conversion = crate::store::record::decode(&bytes).unwrap();
        assert_eq!(again, conversion);
        assert_eq!(wait(&mut again, at(now + 30)), Some(30));
    }

    #[test]
    fn a_block_after_a_long_good_time_begins_small_and_grows_like_the_first() {
        let mut conversion = Conversion::default();
        let mut now = flood(&mut conversion, 0, 100) + 60;
        assert_eq!(conversion.ask(&RATES, named, at(now)), Leave::Probe);
        conversion.approved(&RATES, at(now));
        now += 25 * 60;
        now += flood(&mut conversion, now, 100);
        for hours in [1, 2, 4] {
            assert_eq!(wait(&mut conversion, at(now)), Some(hours * 60));
            now += hours * 60;
            (0..3).for_each(|_| assert_eq!(conversion.ask(&RATES, named, at(now)), Leave::Probe));
            now += 10;
        }
    }

    #[test]
    fn a_probe_that_is_not_made_is_made_by_another() {
        let mut conversion = Conversion::default();
        let now = flood(&mut conversion, 0, 100) + 60;
        for _ in 0..10 {
            assert_eq!(conversion.ask(&RATES, named, at(now)), Leave::Probe);
            conversion.unprobe();
        }
        (0..3).for_each(|_| assert_eq!(conversion.ask(&RATES, named, at(now)), Leave::Probe));
        assert!(matches!(conversion.ask(&RATES, named, at(now)), Leave::Wait(_)));
    }

    #[test]
    fn late_answers_end_a_block_that_was_none() {
        let mut conversion = Conversion::default();
        let now = flood(&mut conversion, 0, 100);
        (0..10).for_each(|_| conversion.approved(&RATES, at(now)));
        assert_eq!(wait(&mut conversion, at(now)), None);
    }

    #[test]
    fn an_operator_opens_it() {
        let mut conversion = Conversion::default();
        let now = flood(&mut conversion, 0, 100);
        conversion.open(at(now));
        assert_eq!(wait(&mut conversion, at(now)), None);
        assert!(flood(&mut conversion, now, 100) >= 20, "it counts anew");
    }

    #[test]
    fn a_full_page_fits_a_record() {
        let mut conversion = Conversion::default();
        let now = flood(&mut conversion, 0, 100);
        (0..20).for_each(|minute| {
            (conversion.sent(&RATES, at(now + minute)), conversion.approved(&RATES, at(now + minute))).0
        });
        if let Some(block) = &mut conversion.block {
            block.tenant = "t".repeat(63).parse().unwrap();
        }
        // Those whose names are long, and a number's head.
        let bytes = crate::store::record::encode(&conversion).unwrap().len() + 12;
        assert!(bytes * Conversion::MOST_ON_PAGE < crate::store::MAX_VALUE_BYTES, "{bytes}");
    }
}
