//! Money spent, by account and day. Never more than was allowed, also across a crash, and still no commit for each send.
//!
//! A part of what is left is taken out of the account in one commit, and spent from memory. What a process had taken out
//! and not spent when it died counts as spent: at most a hundredth of the day's money. A clean stop gives it back. When
//! the store does not answer, nothing is spent.

use std::collections::HashMap;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use tokio::sync::Mutex;

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::guard::price::{Micros, day_of};
use crate::store::keys::Keys;
use crate::store::{Batch, Commit, Store, record};

/// What is taken out at a time, of what a day has.
const PARTS: u64 = 100;

/// How often a lost race for an account is run again.
const MAX_ROUNDS: u32 = 256;

/// How long an account is kept after its day: for who looks back.
const KEEP: std::time::Duration = std::time::Duration::from_secs(32 * 24 * 3600);

/// How long it is believed that others who share the store have given nothing back.
const BELIEVED_FOR: std::time::Duration = std::time::Duration::from_secs(10);

/// Keeps accounts.
pub struct Ledger {
    store: Arc<dyn Store>,
    keys: Keys,
    /// What was taken out, by account. Each is locked by itself while the store is asked.
    purses: std::sync::Mutex<HashMap<u64, Arc<Mutex<Purse>>>>,
}

/// An account as it is stored: one for each day.
#[derive(Debug, Default, Encode, Decode)]
struct Account {
    #[n(0)]
    taken: Micros,
}

/// What we took out of an account on a day and have not spent.
#[derive(Debug, Default)]
struct Purse {
    day: u64,
    left: Micros,
    /// What was taken out of the account when it was last looked at, and when that was.
    taken: Micros,
    looked_at: Timestamp,
}

// === impl Ledger ===

impl Ledger {
    pub fn new(store: Arc<dyn Store>, keys: Keys) -> Self {
        Self { store, keys, purses: std::sync::Mutex::default() }
    }

    /// Spends from today's money of an account; `false` when there is not enough.
    ///
    /// Errors: `Unavailable` when the store does not answer: nothing is spent then.
    pub async fn spend(&self, account: u64, cost: Micros, limit: Micros, now: Timestamp) -> Result<bool> {
        let purse = self.purse(account);
        let mut purse = purse.lock().await;
        let day = day_of(now);
        if purse.day != day {
            *purse = Purse { day, ..Purse::default() };
        }
        if purse.left < cost && !self.take_out(&mut purse, account, cost, limit, now).await? {
            return Ok(false);
        }
        purse.left -= cost;
        Ok(true)
    }

    /// Takes back what was spent a moment ago.
    pub async fn refund(&self, account: u64, cost: Micros, now: Timestamp) {
        let purse = self.purse(account);
        let mut purse = purse.lock().await;
        if purse.day == day_of(now) {
            purse.left += cost;
        }
    }

    /// Gives back what was not spent. To be called when no more will be.
    pub async fn close(&self, now: Timestamp) -> Result<()> {
        let purses: Vec<_> = std::mem::take(&mut *self.lock()).into_iter().collect();
        for (account, purse) in purses {
            let mut purse = purse.lock().await;
            if purse.day == day_of(now) && purse.left > 0 {
                let left = std::mem::take(&mut purse.left);
                self.change(account, now, |taken| taken.checked_sub(left)).await?;
            }
        }
        Ok(())
    }

    /// Refills a purse so that it holds at least `cost`, if the account has that much.
    async fn take_out(
        &self,
        purse: &mut Purse,
        account: u64,
        cost: Micros,
        limit: Micros,
        now: Timestamp,
    ) -> Result<bool> {
        let missing = cost - purse.left;
        // Once it is known that there is nothing, the store need not be asked for every send again.
        let is_fresh = !self.store.is_shared() || now.since(purse.looked_at) < BELIEVED_FOR;
        if purse.taken.saturating_add(missing) > limit && is_fresh {
            return Ok(false);
        }
        purse.looked_at = now;
        let mut got = 0;
        let taken = self
            .change(account, now, |taken| {
                let rest = limit.saturating_sub(taken);
                purse.taken = taken;
                got = missing.max(limit / PARTS).min(rest);
                (got >= missing).then_some(taken + got)
            })
            .await?;
        match taken {
            Some(taken) => {
                (purse.taken, purse.left) = (taken, purse.left + got);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Changes what is taken out of an account today; `None` when `change` does not want to.
    async fn change(
        &self,
        account: u64,
        now: Timestamp,
        mut change: impl FnMut(Micros) -> Option<Micros>,
    ) -> Result<Option<Micros>> {
        let key = self.keys.budget(account, day_of(now));
        for _ in 0..MAX_ROUNDS {
            let read = self.store.get(&key).await?;
            let Account { taken } =
                read.as_ref().map(|read| record::decode(&read.value)).transpose()?.unwrap_or_default();
            let Some(taken) = change(taken) else { return Ok(None) };
            let value = record::encode(&Account { taken })?;
            let batch =
                Batch::new(key.partition()).require(&key, read.as_ref()).put(key.clone(), value, Some(now + KEEP));
            if let Commit::Committed(_) = self.store.commit(batch).await? {
                return Ok(Some(taken));
            }
        }
        Err(Error::new(
            Kind::Conflict,
            Reason::Contention,
            "others kept spending from the same budget; repeat the call",
        ))
    }

    fn purse(&self, account: u64) -> Arc<Mutex<Purse>> {
        Arc::clone(self.lock().entry(account).or_default())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Arc<Mutex<Purse>>>> {
        // Nothing panics while it is held.
        self.purses.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
