//! Whether the codes that go to an area come back: who is paid for being sent to never types one. Pure.
//!
//! Counts sends that are old enough to have come to something, and approvals; the newer, the weightier, once over hours
//! and once over days, so that a flood shows at once and a drip in time. When it is all but certain that fewer come back
//! than should, the area is blocked: an hour, then twice as long each time. After a block a few sends go through as
//! probes, and one code that comes back opens the area again.

use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::guard::area::Width;
use crate::guard::block::{Block, Leave, Place};
use crate::guard::changes::{Bin, Changes, Closed, Probed, Stage, bin};
use crate::guard::table::State;
use crate::guard::tally::{BINS, Rates, Tally};

/// After these times what was counted weighs half.
const HALF_LIVES: [Duration; 2] = [Duration::from_secs(3600), Duration::from_secs(24 * 3600)];

/// How often it is weighed.
const LEAST_FADE: Duration = Duration::from_secs(1);

/// How long the sends and blocks of an area are remembered after the last one.
const MEMORY: Duration = Duration::from_secs(7 * 24 * 3600);

/// The longest block.
const LONGEST_BLOCK: Duration = Duration::from_secs(24 * 3600);

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
    block: Option<Box<Block>>,
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

// === impl Conversion ===

impl Conversion {
    /// Whether something may be sent. A probe is counted with the leave to make it, so that no more go than should,
    /// however many ask at once. `named` says whose area it is, should it be blocked here.
    pub fn ask(&mut self, rates: &Rates, named: impl FnOnce() -> Place, now: Timestamp) -> Leave {
        self.mature(rates, now);
        if let Some(block) = self.block.take_if(|block| block.is_settled(rates, now)) {
            // From when it was clear, whenever somebody looks.
            let since = block.answered_at(rates);
            self.close(rates, block.into_place(), since);
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
        bin(&mut self.young, rates.bin_of(now)).sends += 1;
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
        bin(&mut self.young, rates.bin_of(now)).approvals += 1;
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

    /// What was counted before a block, and the names of the areas around this one: once, for those.
    pub fn explain(&mut self) -> Option<([Tally; 2], [u64; 2])> {
        let block = self.block.as_mut().filter(|block| !block.explains)?;
        block.explains = true;
        Some((self.tallies, block.around))
    }

    /// Whether there is a block that has not been asked for it.
    pub fn is_unexplained(&self) -> bool {
        self.block.as_ref().is_some_and(|block| !block.explains)
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
        self.block.as_deref()
    }

    /// To be kept while something is done, for [`Conversion::note`] to see what it did.
    pub(crate) fn stage(&self) -> Option<Stage> {
        self.block.as_deref().map(Stage::of)
    }

    /// Notes what became of the block since.
    pub(crate) fn note(&self, before: Option<Stage>, changes: &mut Changes, now: Timestamp) {
        changes.moved(before, self.block.as_deref(), self.blocks, now);
    }

    /// Ends the block as another node has done, and forgets what was counted before.
    fn join_opening(&mut self, at: Timestamp) {
        if at > self.opened_at {
            self.block.take_if(|block| block.since <= at);
            self.opened_at = at;
            self.tallies = [Tally::default(); 2];
            self.young.clear();
        }
    }

    fn join_counts(&mut self, bins: &[Bin], [sends, approvals]: [u32; 2]) {
        if let Some(newest) = bins.last() {
            self.mature_until(newest.number);
        }
        for Bin { number, sends, approvals } in bins.iter().filter(|bin| bin.sends + bin.approvals > 0) {
            let own = bin(&mut self.young, *number);
            own.sends = own.sends.saturating_add(*sends);
            own.approvals = own.approvals.saturating_add(*approvals);
            self.tallies.iter_mut().for_each(|tally| tally.approvals += as_weight(*approvals));
        }
        self.excused.sends += as_weight(sends);
        self.excused.approvals += as_weight(approvals);
    }

    /// Of blocks that two nodes made of one area, the one that ends later holds.
    fn join_block(&mut self, Closed { block, blocks }: &Closed) {
        let is_newer = self.block.as_ref().is_none_or(|own| own.until < block.until);
        if block.since > self.opened_at && is_newer {
            self.block = Some(Box::new(block.clone()));
            self.blocks = *blocks;
        }
    }

    fn join_probes(&mut self, Probed { until, at, probes }: Probed) {
        if let Some(block) = self.block.as_mut().filter(|block| block.until == until) {
            block.probes = block.probes.saturating_add_signed(probes);
            block.probed_at = block.probed_at.max(at);
        }
    }

    fn close(&mut self, rates: &Rates, place: Place, now: Timestamp) {
        self.blocks = self.blocks.saturating_add(1);
        let longer = 1_u32.checked_shl(self.blocks - 1).unwrap_or(u32::MAX);
        let until = now + rates.block.saturating_mul(longer).min(LONGEST_BLOCK.max(rates.block));
        self.block = Some(Box::new(Block::new(place, now, until)));
    }

    /// Lets time pass: what weighs less, and what counts from now on.
    fn mature(&mut self, rates: &Rates, now: Timestamp) {
        self.fade(now);
        self.mature_until(rates.bin_of(now));
    }

    fn fade(&mut self, now: Timestamp) {
        // What fades in days does not change from one send to the next.
        let passed = now.since(self.weighed_at);
        if passed >= LEAST_FADE || now < self.weighed_at {
            let [of_hours, of_days] = &mut self.tallies;
            let fading = [(of_hours, HALF_LIVES[0]), (of_days, HALF_LIVES[1]), (&mut self.excused, HALF_LIVES[1])];
            for (tally, half_life) in fading {
                *tally = tally.faded(passed, half_life);
            }
            self.weighed_at = now;
        }
    }

    fn mature_until(&mut self, now: u64) {
        let is_young = |bin: &Bin| bin.number + BINS >= now;
        let matured: u32 = self.young.iter().filter(|bin| !is_young(bin)).map(|bin| bin.sends).sum();
        self.young.retain(is_young);
        self.tallies.iter_mut().for_each(|tally| tally.sends += as_weight(matured));
    }

    /// Until the oldest send that is under way counts, when so many are that hardly any can be honest. Most codes come
    /// back long before a send counts, but some people are still typing: so half of the least rate must be out of reach.
    fn flood(&self, rates: &Rates, now: Timestamp) -> Option<Duration> {
        let oldest = self.young.first()?.number;
        let sum = |of: fn(&Bin) -> u32| self.young.iter().map(of).sum::<u32>();
        let young = Tally { sends: as_weight(sum(|bin| bin.sends)), approvals: as_weight(sum(|bin| bin.approvals)) };
        let half = Rates { least: rates.least / 2.0, ..*rates };
        young.is_below(&half).then(|| rates.start_of_bin(oldest + BINS + 1).since(now).max(Duration::from_secs(1)))
    }

    fn is_too_low(&self, rates: &Rates) -> bool {
        let certainty = 1.0 - (1.0 - rates.certainty).powi(rates.width as i32);
        let rates = &Rates { certainty, ..*rates };
        self.tallies.iter().any(|tally| tally.is_below(rates))
    }
}

impl State for Conversion {
    type Change = Changes;

    const MOST_ON_PAGE: usize = 200;

    fn matters_until(&self) -> Timestamp {
        self.last_sent_at + MEMORY
    }

    fn join(&mut self, changes: &Changes, since: Timestamp) {
        // What comes from a clock behind ours does not weigh more for it.
        self.fade(since.max(self.weighed_at));
        if let Some(at) = changes.opened_at {
            self.join_opening(at);
        }
        self.join_counts(&changes.bins, changes.excused);
        if let Some(closed) = &changes.closed {
            self.join_block(closed);
        }
        if let Some(probed) = changes.probed {
            self.join_probes(probed);
        }
        if changes.bins.iter().any(|bin| bin.sends > 0) {
            self.last_sent_at = self.last_sent_at.max(since);
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of some minutes")]
fn as_weight(count: u32) -> f32 {
    count as f32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

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
        Place {
            tenant: "acme".parse().unwrap(),
            area: "+6012345".parse().unwrap(),
            country: "MY".parse().ok(),
            around: [1, 2],
        }
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
        let (explained, areas) = block.explain().unwrap();
        assert_eq!(areas, [1, 2], "they are named");
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

    /// Does it, and says what is to be told.
    fn told(conversion: &mut Conversion, now: Timestamp, work: impl FnOnce(&mut Conversion, &mut Changes)) -> Changes {
        let (before, mut changes) = (conversion.stage(), Changes::default());
        work(conversion, &mut changes);
        conversion.note(before, &mut changes, now);
        changes
    }

    fn sent(conversion: &mut Conversion, now: Timestamp) -> Changes {
        told(conversion, now, |conversion, changes| {
            conversion.sent(&RATES, now);
            changes.sent(&RATES, now);
        })
    }

    fn approved(conversion: &mut Conversion, now: Timestamp) -> Changes {
        told(conversion, now, |conversion, changes| {
            conversion.approved(&RATES, now);
            changes.approved(&RATES, now);
        })
    }

    fn asked(conversion: &mut Conversion, now: Timestamp) -> (Leave, Changes) {
        let mut leave = Leave::Free;
        let changes = told(conversion, now, |conversion, _| leave = conversion.ask(&RATES, named, now));
        (leave, changes)
    }

    #[test]
    fn a_block_its_probes_and_its_end_are_the_same_on_every_node() {
        let (mut here, mut there) = (Conversion::default(), Conversion::default());
        for minute in 0..30 {
            there.join(&sent(&mut here, at(minute)), at(minute));
        }
        let (leave, changes) = asked(&mut here, at(30));
        assert!(matches!(leave, Leave::Wait(_)));
        there.join(&changes, at(30));
        assert_eq!(there.block().map(|block| block.until), here.block().map(|block| block.until));
        assert!(there.is_unexplained(), "each node says for itself what it explains");
        // One probe here, two there, and no more anywhere.
        let (leave, changes) = asked(&mut here, at(90));
        assert_eq!(leave, Leave::Probe);
        there.join(&changes, at(90));
        for _ in 0..2 {
            let (leave, changes) = asked(&mut there, at(90));
            assert_eq!(leave, Leave::Probe);
            here.join(&changes, at(90));
        }
        assert!([&mut here, &mut there].into_iter().all(|node| matches!(asked(node, at(90)).0, Leave::Wait(_))));
        // One of them comes back, wherever.
        here.join(&approved(&mut there, at(91)), at(91));
        assert_eq!((here.block(), there.block()), (None, None));
        assert_eq!(asked(&mut here, at(91)).0, Leave::Free);
        assert!(here.tallies.iter().all(|tally| tally.sends < 1.0), "what was before counts no longer: {here:?}");
    }

    #[test]
    fn two_blocks_at_once_are_one_and_an_old_one_does_not_come_again() {
        let (mut here, mut there) = (Conversion::default(), Conversion::default());
        for minute in 0..30 {
            there.join(&sent(&mut here, at(minute)), at(minute));
        }
        let (one, other) = (asked(&mut here, at(30)).1, asked(&mut there, at(31)).1);
        here.join(&other, at(31));
        there.join(&one, at(31));
        assert_eq!(here.block().map(|block| block.until), Some(at(91)));
        assert_eq!(there.block().map(|block| block.until), Some(at(91)));
        assert_eq!((here.blocks, there.blocks), (1, 1));
        here.open(at(32));
        here.join(&one, at(32));
        assert_eq!(here.block(), None);
    }

    proptest! {
        /// Whoever counts, and whenever they tell each other, both know what one would.
        #[test]
        fn two_nodes_count_as_one(
            deeds in proptest::collection::vec((any::<bool>(), 0_u8..4, 0_u64..400, any::<bool>()), 1..200),
        ) {
            let mut alone = Conversion::default();
            let mut nodes = [Conversion::default(), Conversion::default()];
            let (mut news, mut now, mut since) = ([Vec::new(), Vec::new()], at(0), at(0));
            for (node, deed, seconds, tell) in deeds {
                // Within a second, or after a while in which they told each other.
                if tell {
                    exchange(&mut nodes, &mut news, since);
                    now = now + Duration::from_secs(seconds);
                    since = now;
                }
                let mut changes = Changes::default();
                let node_of = usize::from(node);
                for conversion in [&mut alone, &mut nodes[node_of]] {
                    match deed {
                        0 => conversion.approved(&RATES, now),
                        1 => conversion.excused_sent(&RATES, now),
                        _ => conversion.sent(&RATES, now),
                    }
                }
                match deed {
                    0 => changes.approved(&RATES, now),
                    1 => changes.excused(&RATES, now, false),
                    _ => changes.sent(&RATES, now),
                }
                news[node_of].push(changes);
            }
            exchange(&mut nodes, &mut news, since);
            alone.mature(&RATES, now);
            for node in &mut nodes {
                node.mature(&RATES, now);
                prop_assert_eq!(&node.young, &alone.young);
                let pairs = node.tallies.iter().zip(&alone.tallies).chain([(&node.excused, &alone.excused)]);
                for (own, whole) in pairs {
                    prop_assert!((own.sends - whole.sends).abs() < 0.01, "{:?} {:?}", own, whole);
                    prop_assert!((own.approvals - whole.approvals).abs() < 0.01, "{:?} {:?}", own, whole);
                }
            }
        }
    }

    fn exchange(nodes: &mut [Conversion; 2], news: &mut [Vec<Changes>; 2], since: Timestamp) {
        let [here, there] = nodes;
        let [of_here, of_there] = news;
        // In another order than it was counted in.
        of_there.drain(..).rev().for_each(|changes| here.join(&changes, since));
        of_here.drain(..).rev().for_each(|changes| there.join(&changes, since));
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
