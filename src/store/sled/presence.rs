//! Which keys may lie in sled's tree: a Bloom filter that most looks for what is not there need go no further than.
//!
//! A key that a start or a condition looks for is as a rule not there, and to find that out in the tree takes its lock and
//! a page of it. Here it takes some memory accesses. It says "surely not there" or "perhaps"; the first must never be
//! wrong, for it also says whether a deletion has to reach the tree.
//!
//! What is held to: whatever lies in the tree was noted, or a layer above the tree has an entry of its key that has not
//! settled. Layers answer first, so only keys of the first kind are ever asked for.
//!
//! - Nothing but settling puts keys into the tree, and it notes each before it does. Until all of its layer has settled
//!   that layer answers; whoever reads after that took the table's lock after it, and so sees what was noted. That is
//!   why relaxed atomics are enough.
//! - Bits are never cleared. What was deleted leaves with the next filter, which is filled from its first moment by what
//!   settles, and by a walk of the sweeper through all records. It takes the place of the one before at the end.
//! - What the walk finds in the tree was either there when the walk began, or has settled since. Settling notes and
//!   inserts in one turn at the tree, so what is noted too early for the next filter is there when the walk first looks.
//! - The walk does not see what a deletion in a layer covers, so the next filter may lack a key that lies in the tree.
//!   But that deletion, or what is put in its place, stays in its layer until it has settled: the key is then gone from
//!   the tree, or noted. Not even opening sled again, where deletions that had settled in part come back, changes that.
//! - A slice of a walk that fails is walked again before the next one. A walk that is given up, or that another one
//!   overtakes, leaves all as it was, for its filter is no longer the one that is filled.
//! - Before the first walk has ended all is "perhaps", unless the tree was empty when it was opened; so it is once sled
//!   was opened again after a fault, for then nobody should have to know what it lost.
//!
//! It takes about 14 bits a key, up to 24 where there are more than there were at the last walk, twice that during a walk,
//! and 0.3 % of what is not there is taken for "perhaps". A filter that is full is followed by one as large as all before
//! it, so that a store that grows from nothing to a million keys within one walk has 1.5 %.
//!
//! Whoever can choose keys can choose some that it takes for known ones. They are looked for in the tree, no more.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use fastbloom::{AtomicBloomFilter, DefaultHasher};

use crate::store::space::PART_SPACE;

/// What is known of the keys in the tree.
pub(crate) struct Presence(RwLock<Filters>);

struct Filters {
    /// `None` where nothing is known.
    known: Option<Arc<KeyFilter>>,
    /// Filled while a walk is under way.
    next: Option<Arc<KeyFilter>>,
}

/// A set of keys that says of some others, too, that it holds them.
pub(crate) struct KeyFilter {
    hasher: DefaultHasher,
    /// How many keys the first link is for.
    room: usize,
    /// All but the last of those that are there are full.
    links: [OnceLock<Link>; MOST_LINKS],
}

struct Link {
    filter: AtomicBloomFilter<DefaultHasher>,
    room: usize,
    /// About how many keys were noted in it.
    noted: AtomicUsize,
}

/// At least so many keys are expected, which takes 96 KiB.
const LEAST_ROOM: usize = 1 << 16;

const BITS_OF_KEY: usize = 12;

/// Enough for more keys than any disk has room for.
const MOST_LINKS: usize = 24;

const SEED: [u8; 16] = *b"which are absent";

// === impl Presence ===

impl Presence {
    pub(crate) fn new(is_empty: bool) -> Self {
        let known = is_empty.then(|| Arc::new(KeyFilter::new(LEAST_ROOM)));
        Self(RwLock::new(Filters { known, next: None }))
    }

    /// Whether a key surely does not lie in the tree.
    pub(crate) fn rules_out(&self, key: &[u8]) -> bool {
        // The sweeper does not walk parts of records.
        key.first() != Some(&PART_SPACE) && self.filters().known.as_ref().is_some_and(|known| !known.may_hold(key))
    }

    /// To be called in the same turn at the tree as the insertion of the key, and before it.
    pub(crate) fn note(&self, key: &[u8]) {
        let filters = self.filters();
        [&filters.known, &filters.next].into_iter().flatten().for_each(|keys| keys.note(key));
    }

    /// Whether anything is ruled out.
    pub(crate) fn is_known(&self) -> bool {
        self.filters().known.is_some()
    }

    /// Begins a walk through all records, which is to note the key of each and then say that it has ended. One that is
    /// under way counts no more.
    pub(crate) fn begin_walk(&self) -> Arc<KeyFilter> {
        let before = self.filters().known.as_ref().map_or(0, |known| known.len());
        let next = Arc::new(KeyFilter::new(before + before / 8));
        self.change().next = Some(Arc::clone(&next));
        next
    }

    /// Takes what a whole walk has noted for what is known, unless it counts no more.
    pub(crate) fn end_walk(&self, noted: &Arc<KeyFilter>) {
        let mut filters = self.change();
        if let Some(next) = filters.next.take_if(|next| Arc::ptr_eq(next, noted)) {
            filters.known = Some(next);
        }
    }

    /// Knows nothing from here on, until a walk that begins later has ended.
    pub(crate) fn forget(&self) {
        *self.change() = Filters { known: None, next: None };
    }

    fn filters(&self) -> RwLockReadGuard<'_, Filters> {
        // Nothing is half done while it is held.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> RwLockWriteGuard<'_, Filters> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl KeyFilter ===

impl KeyFilter {
    fn new(expected: usize) -> Self {
        let hasher = DefaultHasher::seeded(&SEED);
        Self { hasher, room: expected.max(LEAST_ROOM), links: [const { OnceLock::new() }; MOST_LINKS] }
    }

    pub(crate) fn note(&self, key: &[u8]) {
        let hash = self.hasher.hash_one(key);
        for (number, place) in self.links.iter().enumerate() {
            let link = place.get_or_init(|| self.link(number));
            // What is written again takes no room.
            if link.filter.contains_hash(hash) {
                return;
            }
            if link.has_room() || number + 1 == MOST_LINKS {
                return link.note(hash);
            }
        }
    }

    fn may_hold(&self, key: &[u8]) -> bool {
        let hash = self.hasher.hash_one(key);
        self.there().any(|link| link.filter.contains_hash(hash))
    }

    /// About how many keys were noted.
    fn len(&self) -> usize {
        self.there().map(|link| link.noted.load(Ordering::Relaxed)).sum()
    }

    fn there(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().map_while(OnceLock::get)
    }

    /// As large as all before it.
    fn link(&self, number: usize) -> Link {
        let room = self.room << number.saturating_sub(1);
        let words = (room * BITS_OF_KEY).div_ceil(64);
        let filter = AtomicBloomFilter::from_vec(vec![0; words]).hasher(self.hasher.clone()).expected_items(room);
        Link { filter, room, noted: AtomicUsize::new(0) }
    }
}

// === impl Link ===

impl Link {
    fn has_room(&self) -> bool {
        self.noted.load(Ordering::Relaxed) < self.room
    }

    fn note(&self, hash: u64) {
        self.filter.insert_hash(hash);
        self.noted.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> [u8; 8] {
        number.to_be_bytes()
    }

    /// How many of ten thousand keys that were never noted are taken for some that may be there.
    fn mistaken(rules_out: impl Fn(&[u8]) -> bool) -> usize {
        (0..10_000).filter(|number| !rules_out(&key(usize::MAX / 2 - number))).count()
    }

    #[test]
    fn nothing_is_ruled_out_before_a_walk_has_ended() {
        let presence = Presence::new(false);
        presence.note(&key(1));
        assert!(!presence.is_known() && !presence.rules_out(&key(2)));
        let walk = presence.begin_walk();
        walk.note(&key(3));
        presence.note(&key(4));
        assert!(!presence.is_known() && !presence.rules_out(&key(2)));
        presence.end_walk(&walk);
        assert!(presence.is_known() && presence.rules_out(&key(2)));
        assert!(!presence.rules_out(&key(3)) && !presence.rules_out(&key(4)));
        presence.forget();
        assert!(!presence.is_known() && !presence.rules_out(&key(2)));
    }

    #[test]
    fn an_empty_tree_is_known_and_parts_never_are() {
        let presence = Presence::new(true);
        assert!(presence.is_known() && presence.rules_out(&key(1)) && presence.rules_out(b""));
        assert!(!presence.rules_out(&[PART_SPACE, 1]));
        presence.note(&key(1));
        presence.note(b"");
        assert!(!presence.rules_out(&key(1)) && !presence.rules_out(b""));
    }

    #[test]
    fn what_settles_during_a_walk_is_in_both_and_what_was_deleted_leaves() {
        let presence = Presence::new(true);
        presence.note(&key(1));
        presence.note(&key(2));
        let walk = presence.begin_walk();
        walk.note(&key(2));
        presence.note(&key(3));
        assert!(!presence.rules_out(&key(1)) && !presence.rules_out(&key(3)), "before the walk has ended");
        presence.end_walk(&walk);
        assert!(presence.rules_out(&key(1)));
        assert!(!presence.rules_out(&key(2)) && !presence.rules_out(&key(3)));
        // It is over.
        walk.note(&key(4));
        presence.note(&key(5));
        presence.end_walk(&walk);
        assert!(!presence.rules_out(&key(5)));
    }

    #[test]
    fn a_walk_that_was_overtaken_or_forgotten_changes_nothing() {
        let presence = Presence::new(true);
        presence.note(&key(1));
        let overtaken = presence.begin_walk();
        let walk = presence.begin_walk();
        presence.note(&key(2));
        presence.end_walk(&overtaken);
        assert!(!presence.rules_out(&key(1)) && !presence.rules_out(&key(2)));
        presence.forget();
        presence.end_walk(&walk);
        assert!(!presence.is_known());
    }

    #[test]
    fn it_stays_good_from_nothing_to_many_and_is_flat_after_the_next_walk() {
        const MANY: usize = 400_000;
        let presence = Presence::new(true);
        (0..MANY).for_each(|number| presence.note(&key(number)));
        let bits = |keys: &KeyFilter| keys.there().map(|link| link.filter.num_bits()).sum::<usize>();
        let known = || Arc::clone(presence.filters().known.as_ref().unwrap());
        assert!((0..MANY).all(|number| !presence.rules_out(&key(number))));
        assert!(mistaken(|key| presence.rules_out(key)) < 200, "2 %");
        assert!(bits(&known()) <= 24 * MANY);
        // A few are not counted, for they are taken for others.
        assert!((MANY * 98 / 100..=MANY).contains(&known().len()));

        let walk = presence.begin_walk();
        (0..MANY).for_each(|number| walk.note(&key(number)));
        presence.end_walk(&walk);
        assert!((0..MANY).all(|number| !presence.rules_out(&key(number))));
        assert!(mistaken(|key| presence.rules_out(key)) < 60, "0.6 %");
        assert_eq!(known().there().count(), 1);
        assert!(bits(&known()) <= 14 * MANY);
    }

    #[test]
    fn what_is_written_again_takes_no_room() {
        let keys = KeyFilter::new(0);
        for _ in 0..3 {
            (0..LEAST_ROOM).for_each(|number| keys.note(&key(number)));
        }
        assert_eq!(keys.there().count(), 1);
        assert!(keys.len() <= LEAST_ROOM);
    }

    #[test]
    fn threads_that_note_at_once_lose_nothing() {
        const EACH: usize = 40_000;
        let keys = KeyFilter::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let keys = &keys;
                scope.spawn(move || (0..EACH).for_each(|number| keys.note(&key(thread * EACH + number))));
            }
        });
        assert!((0..4 * EACH).all(|number| keys.may_hold(&key(number))));
        assert!(mistaken(|key| !keys.may_hold(key)) < 200);
    }
}
