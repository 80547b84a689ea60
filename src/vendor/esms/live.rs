//! Which of the started codes the vendor still knows.
//!
//! It keeps one live code for each account, app-id and phone number, and names none of them: a later start displaces
//! the one before, and a check says only "right" or "wrong". So a check for the displaced one could be answered about
//! the other, and a code sent for one purpose would prove another.
//!
//! Kept in memory, for the newest starts only, so it forgets at a restart; codes live nine minutes at most.

use std::collections::HashMap;
use std::sync::Arc;

/// Starts that are surely remembered; up to twice as many are.
const REMEMBERED: usize = 32 * 1024;

/// Where the vendor keeps one code.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) app_id: u32,
    /// Digits of the phone number.
    pub(crate) phone: String,
}

/// The newest start of each place.
#[derive(Default)]
pub(crate) struct LiveCodes {
    young: HashMap<Place, Arc<str>>,
    old: HashMap<Place, Arc<str>>,
}

// === impl LiveCodes ===

impl LiveCodes {
    /// From here on the place belongs to this start. Returns the one that it belonged to.
    pub(crate) fn claim(&mut self, place: Place, reference: Arc<str>) -> Option<Arc<str>> {
        let before = self.holder(&place).cloned();
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(place, reference);
        before
    }

    /// Undoes a claim whose start surely did not happen, unless another came since.
    pub(crate) fn give_back(&mut self, place: Place, reference: &str, before: Option<Arc<str>>) {
        if self.holder(&place).is_none_or(|holder| **holder != *reference) {
            return;
        }
        self.old.remove(&place);
        match before {
            Some(before) => drop(self.young.insert(place, before)),
            None => drop(self.young.remove(&place)),
        }
    }

    /// Whether the vendor can only answer about another start than this.
    pub(crate) fn is_displaced(&self, place: &Place, reference: &str) -> bool {
        self.holder(place).is_some_and(|holder| **holder != *reference)
    }

    fn holder(&self, place: &Place) -> Option<&Arc<str>> {
        self.young.get(place).or_else(|| self.old.get(place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(phone: usize) -> Place {
        Place { app_id: 1, phone: phone.to_string() }
    }

    #[test]
    fn a_place_belongs_to_the_last_start_that_may_have_happened() {
        let mut live = LiveCodes::default();
        assert!(!live.is_displaced(&place(1), "a"), "who was never seen is not displaced");
        assert_eq!(live.claim(place(1), "a".into()), None);
        let before = live.claim(place(1), "b".into());
        assert!(live.is_displaced(&place(1), "a"));
        assert!(!live.is_displaced(&place(1), "b"));
        assert!(!live.is_displaced(&place(2), "a"));
        assert!(!live.is_displaced(&Place { app_id: 2, ..place(1) }, "a"));

        live.give_back(place(1), "b", before.clone());
        assert!(!live.is_displaced(&place(1), "a"));
        live.claim(place(1), "c".into());
        live.give_back(place(1), "b", before);
        assert!(live.is_displaced(&place(1), "a"), "a later claim stays");
    }

    #[test]
    fn memory_is_bounded_and_the_newest_stay() {
        let mut live = LiveCodes::default();
        for phone in 0..4 * REMEMBERED {
            live.claim(place(phone), "a".into());
            assert!(live.young.len() + live.old.len() <= 2 * REMEMBERED);
        }
        assert!(live.is_displaced(&place(3 * REMEMBERED), "b"));
        assert!(!live.is_displaced(&place(0), "b"));
        let before = live.claim(place(3 * REMEMBERED), "b".into());
        live.give_back(place(3 * REMEMBERED), "b", before);
        assert!(!live.is_displaced(&place(3 * REMEMBERED), "a"));
    }
}
