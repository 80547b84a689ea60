//! What the guard knows, from one process to the next, and to the others that share its store.

use std::time::Duration;

use crate::error::Result;
use crate::guard::following::TURN;
use crate::guard::service::Guard;
use crate::guard::table::{PAGES, Pages};
use crate::store::{Batch, Record};

/// How long a page is kept that nobody writes any more.
pub(crate) const KEEP: Duration = Duration::from_secs(31 * 24 * 3600);

/// How often it is written down what limits have counted.
const LIMITS_INTERVAL: Duration = Duration::from_secs(30);
/// And, each so many times, whom it knows.
const ACQUAINTANCES_EVERY: u64 = 20;

/// The kinds of pages, as keys name them.
const BUCKETS: u8 = b'b';
pub(crate) const CONVERSIONS: u8 = b'c';
const PEOPLE: u8 = b'p';
const STANDINGS: u8 = b's';
/// Told to the others, but not kept.
const SEQUENCES: u8 = b'q';

// === impl Guard ===

impl Guard {
    /// Takes up what an earlier process has written, and what others count. To be called before anything is asked.
    pub async fn load(&self) -> Result<()> {
        if self.store.is_shared() {
            return self.enter().await;
        }
        for (kind, table) in self.kept() {
            self.load_table(kind, table).await?;
        }
        Ok(())
    }

    /// How often [`Guard::keep`] is to be called.
    pub fn interval(&self) -> Duration {
        if self.store.is_shared() { TURN } else { LIMITS_INTERVAL }
    }

    /// Writes what has changed, or tells the others and hears them where the store is shared. `turn`: how often it was
    /// called before.
    pub async fn keep(&self, turn: u64) -> Result<()> {
        if self.store.is_shared() {
            return self.exchange().await;
        }
        self.save().await?;
        // Much more, of which losing the last minutes costs little.
        if (turn + 1).is_multiple_of(ACQUAINTANCES_EVERY) { self.save_acquaintances().await } else { Ok(()) }
    }

    /// Writes all, and gives back money that was not spent: for when no more is asked.
    pub async fn close(&self) -> Result<()> {
        let closed = self.ledger.close(self.clock.now()).await;
        if self.store.is_shared() {
            return self.leave().await.and(closed);
        }
        self.save().await?;
        self.save_acquaintances().await.and(closed)
    }

    /// What is written down.
    pub(crate) fn kept(&self) -> [(u8, &dyn Pages); 4] {
        let [buckets, conversions, people, standings, _] = self.shared();
        [buckets, conversions, people, standings]
    }

    /// What others are told of.
    pub(crate) fn shared(&self) -> [(u8, &dyn Pages); 5] {
        [
            (BUCKETS, &self.buckets),
            (CONVERSIONS, &self.conversions),
            (PEOPLE, &self.people),
            (STANDINGS, &self.standings),
            (SEQUENCES, &self.sequences),
        ]
    }

    async fn save(&self) -> Result<()> {
        self.save_table(BUCKETS, &self.buckets).await?;
        self.save_table(CONVERSIONS, &self.conversions).await
    }

    async fn save_acquaintances(&self) -> Result<()> {
        self.save_table(PEOPLE, &self.people).await?;
        self.save_table(STANDINGS, &self.standings).await
    }

    async fn load_table(&self, kind: u8, table: &dyn Pages) -> Result<()> {
        let restore = |page: &Record| table.restore(&page.value, page.version).map(drop);
        self.scan_all(&self.keys.guard_pages(kind), None, restore).await
    }

    async fn save_table(&self, kind: u8, table: &dyn Pages) -> Result<()> {
        for number in 0..PAGES {
            let Some(change) = table.change(number, None, self.clock.now())? else { continue };
            let key = self.keys.guard_page(kind, number);
            let batch = Batch::new(key.partition());
            let batch = match change.bytes() {
                [] => batch.delete(key),
                bytes => batch.put(key, bytes.to_vec(), Some(self.clock.now() + KEEP)),
            };
            self.store.commit(batch).await?;
            change.written(None);
        }
        Ok(())
    }
}
