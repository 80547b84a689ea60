//! Whose code it is that a vendor keeps where it keeps only one.
//!
//! Some vendors name no code: they keep one for each recipient, the next start ends it, and a check is about whichever is
//! there. So a code that was sent for one purpose, or for one tenant, would prove another. Here stands who started last at
//! each such place, durable before the vendor is asked: only that one's checks are asked there, and only once no other
//! code can be there in its stead.
//!
//! Within a tenant the newest start takes the place, as it does at the vendor. Tenants take none from each other. Nobody
//! takes a place while a start may be under way there, for the vendor could do the two in the other order.

use std::time::Duration;

use minicbor::{Decode, Encode};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::Id;
use crate::messaging::holder::{Ground, MAX_ROUNDS, contention, count_conflict};
use crate::store::keys::{SendRef, TenantTag};
use crate::store::{Batch, Commit, Condition, Key, Version, record};
use crate::vendor::{Accepted, Failure};

/// All such places.
pub struct CodePlaces {
    ground: Ground,
}

/// A verification that wants a place, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    pub tenant: TenantTag,
    pub id: Id,
    /// How long the start may take.
    pub lease: Duration,
    /// When its code ends at the vendor, at the latest.
    pub ends_at: Timestamp,
}

/// A place that was taken for a start.
#[derive(Debug)]
pub struct Taken {
    key: Key,
    version: Version,
    place: Place,
    before: Option<Place>,
}

/// Why a place was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A start may be under way there, until then.
    UnderWay(Timestamp),
    /// It is another tenant's.
    Occupied,
}

/// How a verification stands to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Whatever code is there is its own.
    Ours,
    /// Another verification started there later.
    Displaced,
    /// It started last, but the code of another one may be there all the same.
    Doubtful,
}

/// What is known of a place. Gone once no code can be there.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
struct Place {
    #[n(0)]
    tenant: TenantTag,
    /// The verification that started there last.
    #[n(1)]
    id: Id,
    /// Until when that start may be under way.
    #[n(2)]
    under_way_until: Timestamp,
    #[n(3)]
    ends_at: Timestamp,
    /// Until when a code of another verification may be there, for nobody knows whether the last start came about.
    #[n(4)]
    others_until: Timestamp,
    /// Its verification has ended, so other tenants may have it.
    #[n(5)]
    is_free: bool,
}

// === impl CodePlaces ===

impl CodePlaces {
    pub fn new(ground: Ground) -> Self {
        Self { ground }
    }

    /// Takes a place for a start that is about to be made. Durable when this returns.
    pub async fn take(&self, name: &str, claim: Claim) -> Result<Result<Taken, Refusal>> {
        let key = self.ground.keys.code_place(name);
        for _ in 0..MAX_ROUNDS {
            let (condition, before) = match self.read(&key).await? {
                Some((version, place)) => (Condition::At(version), Some(place)),
                None => (Condition::Absent, None),
            };
            let place = match Place::after(before.as_ref(), claim, self.ground.clock.now()) {
                Ok(place) => place,
                Err(refusal) => return Ok(Err(refusal)),
            };
            if let Some(version) = self.put(&key, condition, &place).await? {
                return Ok(Ok(Taken { key, version, place, before }));
            }
            count_conflict("code_place");
        }
        Err(contention())
    }

    /// Notes what came of the start that a place was taken for. Of one that surely did not come about the place is as it
    /// was before. Whoever took the place since knows better.
    pub async fn settle(&self, taken: Taken, outcome: &Result<Accepted, Failure>) -> Result<()> {
        let Taken { key, version, place, before } = taken;
        let unchanged = Condition::At(version);
        match (outcome, before) {
            (Err(Failure::Unknown), _) => {}
            (Ok(_), _) if place.others_until <= self.ground.clock.now() => {}
            (Ok(_), _) => {
                let place = Place { others_until: Timestamp::default(), ..place };
                self.put(&key, unchanged, &place).await?;
            }
            (Err(_), Some(before)) => drop(self.put(&key, unchanged, &before).await?),
            (Err(_), None) => {
                let batch = Batch::new(key.partition()).require_that(&key, unchanged).delete(key);
                self.ground.store.commit(batch).await?;
            }
        }
        Ok(())
    }

    pub async fn standing(&self, name: &str, id: Id) -> Result<Standing> {
        let place = self.read(&self.ground.keys.code_place(name)).await?;
        Ok(Place::standing(place.map(|(_, place)| place).as_ref(), id, self.ground.clock.now()))
    }

    /// Lets other tenants have the place of a verification that has ended.
    pub async fn free(&self, name: &str, id: Id) -> Result<()> {
        let key = self.ground.keys.code_place(name);
        for _ in 0..MAX_ROUNDS {
            let Some((version, place)) = self.read(&key).await? else { return Ok(()) };
            if place.id != id || place.is_free {
                return Ok(());
            }
            if self.put(&key, Condition::At(version), &Place { is_free: true, ..place }).await?.is_some() {
                return Ok(());
            }
        }
        Err(contention())
    }

    async fn read(&self, key: &Key) -> Result<Option<(Version, Place)>> {
        let Some(read) = self.ground.store.get(key).await? else { return Ok(None) };
        Ok(Some((read.version, record::decode(&read.value)?)))
    }

    /// `None` when the condition did not hold.
    async fn put(&self, key: &Key, condition: Condition, place: &Place) -> Result<Option<Version>> {
        let expires_at = place.ends_at.max(place.others_until).max(place.under_way_until);
        let batch = Batch::new(key.partition()).require_that(key, condition);
        let batch = batch.put(key.clone(), record::encode(place)?, Some(expires_at));
        match self.ground.store.commit(batch).await? {
            Commit::Committed(version) => Ok(Some(version)),
            Commit::Conflict => Ok(None),
        }
    }
}

// === impl Claim ===

impl Claim {
    /// `ends_at`: of the verification's code, for us.
    pub fn new(send: &SendRef, lease: Duration, ends_at: Timestamp) -> Self {
        Self { tenant: send.tenant, id: send.id, lease, ends_at }
    }
}

// === impl Place ===

impl Place {
    /// The place once a claim has it.
    fn after(before: Option<&Self>, claim: Claim, now: Timestamp) -> Result<Self, Refusal> {
        let others_until = match before {
            None => Timestamp::default(),
            Some(before) if before.id == claim.id => before.others_until,
            Some(before) if now < before.under_way_until => return Err(Refusal::UnderWay(before.under_way_until)),
            Some(before) if before.tenant != claim.tenant && !before.is_free && now < before.ends_at => {
                return Err(Refusal::Occupied);
            }
            Some(before) => before.ends_at.max(before.others_until),
        };
        Ok(Self {
            tenant: claim.tenant,
            id: claim.id,
            under_way_until: now + claim.lease,
            ends_at: claim
                .ends_at
                .max(before.filter(|before| before.id == claim.id).map_or(now, |before| before.ends_at)),
            others_until,
            is_free: false,
        })
    }

    fn standing(place: Option<&Self>, id: Id, now: Timestamp) -> Standing {
        match place {
            Some(place) if place.id != id => Standing::Displaced,
            Some(place) if now < place.others_until => Standing::Doubtful,
            Some(_) => Standing::Ours,
            // It would stand here for as long as its code could be checked.
            None => Standing::Doubtful,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Partition;
    use crate::random::OsRandom;

    const LEASE: Duration = Duration::from_secs(15);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis((1_000 + seconds) * 1_000)
    }

    fn tenant(number: u8) -> TenantTag {
        minicbor::decode(&minicbor::to_vec(minicbor::bytes::ByteArray::from([number; 8])).unwrap()).unwrap()
    }

    /// Of a code that ends at second 300.
    fn claim(number: u8) -> Claim {
        let id = Id::new(at(0), Partition::new(0), &OsRandom);
        Claim { tenant: tenant(number), id, lease: LEASE, ends_at: at(300) }
    }

    fn standing(place: &Place, claim: Claim, seconds: u64) -> Standing {
        Place::standing(Some(place), claim.id, at(seconds))
    }

    #[test]
    fn the_newest_start_of_a_tenant_has_the_place_but_not_while_another_is_under_way() {
        let (login, payment) = (claim(1), claim(1));
        let first = Place::after(None, login, at(0)).unwrap();
        assert_eq!((standing(&first, login, 0), standing(&first, payment, 0)), (Standing::Ours, Standing::Displaced));
        assert_eq!(Place::after(Some(&first), payment, at(14)), Err(Refusal::UnderWay(at(15))));
        let second = Place::after(Some(&first), payment, at(15)).unwrap();
        assert_eq!(standing(&second, login, 15), Standing::Displaced);
        // As long as it is not sure that the start came about, the first one's code may be there.
        assert_eq!(
            (standing(&second, payment, 299), standing(&second, payment, 300)),
            (Standing::Doubtful, Standing::Ours)
        );
        let sure = Place { others_until: Timestamp::default(), ..second };
        assert_eq!(standing(&sure, payment, 15), Standing::Ours);
    }

    #[test]
    fn a_verification_that_starts_again_keeps_its_place_and_its_doubts() {
        let (login, payment) = (claim(1), claim(1));
        let first = Place::after(None, login, at(0)).unwrap();
        let again = Place::after(Some(&first), Claim { ends_at: at(200), ..login }, at(1)).unwrap();
        assert_eq!(
            (standing(&again, login, 1), again.ends_at, again.under_way_until),
            (Standing::Ours, at(300), at(16))
        );
        let second = Place::after(Some(&again), payment, at(20)).unwrap();
        let again = Place::after(Some(&second), payment, at(40)).unwrap();
        assert_eq!(standing(&again, payment, 60), Standing::Doubtful);
        // A third one inherits what may be left of both.
        let third = Place::after(Some(&again), Claim { ends_at: at(900), ..claim(1) }, at(100)).unwrap();
        assert_eq!(third.others_until, at(300));
        assert_eq!(Place::after(Some(&third), claim(1), at(200)).unwrap().others_until, at(900));
    }

    #[test]
    fn tenants_take_no_place_from_each_other() {
        let first = Place::after(None, claim(1), at(0)).unwrap();
        assert_eq!(Place::after(Some(&first), claim(2), at(299)), Err(Refusal::Occupied));
        assert!(Place::after(Some(&first), claim(2), at(300)).is_ok());
        let free = Place { is_free: true, ..first };
        assert_eq!(Place::after(Some(&free), claim(2), at(14)), Err(Refusal::UnderWay(at(15))));
        // What the other tenant left there is still there.
        let second = Place::after(Some(&free), claim(2), at(20)).unwrap();
        assert_eq!((second.is_free, second.others_until), (false, at(300)));
    }

    #[test]
    fn nobody_is_asked_about_a_place_of_which_nothing_is_known() {
        assert_eq!(Place::standing(None, claim(1).id, at(0)), Standing::Doubtful);
    }
}
