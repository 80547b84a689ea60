//! What the guard knows, from one process to the next.

use std::time::Duration;

use crate::error::Result;
use crate::guard::service::Guard;
use crate::guard::table::{PAGES, State, Table};
use crate::store::{Batch, MAX_SCAN_ROWS};

/// How long a page is kept that nobody writes any more.
const KEEP: Duration = Duration::from_secs(31 * 24 * 3600);

/// The kinds of pages, as keys name them.
const BUCKETS: u8 = b'b';
const CONVERSIONS: u8 = b'c';
const PEOPLE: u8 = b'p';
const STANDINGS: u8 = b's';

// === impl Guard ===

impl Guard {
    /// Takes up what an earlier process has written. To be called before anything is asked.
    pub async fn load(&self) -> Result<()> {
        self.load_table(BUCKETS, &self.buckets).await?;
        self.load_table(CONVERSIONS, &self.conversions).await?;
        self.load_table(PEOPLE, &self.people).await?;
        self.load_table(STANDINGS, &self.standings).await
    }

    /// Writes what has changed.
    pub async fn save(&self) -> Result<()> {
        self.save_table(BUCKETS, &self.buckets).await?;
        self.save_table(CONVERSIONS, &self.conversions).await
    }

    /// Writes whom it knows: much more, of which losing the last minutes costs little.
    pub async fn save_acquaintances(&self) -> Result<()> {
        self.save_table(PEOPLE, &self.people).await?;
        self.save_table(STANDINGS, &self.standings).await
    }

    /// Writes all, and gives back money that was not spent: for when no more is asked.
    pub async fn close(&self) -> Result<()> {
        let closed = self.ledger.close(self.clock.now()).await;
        self.save().await?;
        self.save_acquaintances().await.and(closed)
    }

    async fn load_table<S: State>(&self, kind: u8, table: &Table<S>) -> Result<()> {
        let (prefix, mut after) = (self.keys.guard_pages(kind), None);
        loop {
            let pages = self.store.scan(&prefix, after.as_ref(), MAX_SCAN_ROWS).await?;
            for (_, page) in &pages {
                table.restore(&page.value)?;
            }
            match pages.into_iter().last() {
                Some((last, _)) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    async fn save_table<S: State>(&self, kind: u8, table: &Table<S>) -> Result<()> {
        for number in 0..PAGES {
            let Some(change) = table.change(number, self.clock.now())? else { continue };
            let key = self.keys.guard_page(kind, number);
            let batch = Batch::new(key.partition());
            let batch = match change.bytes() {
                [] => batch.delete(key),
                bytes => batch.put(key, bytes.to_vec(), Some(self.clock.now() + KEEP)),
            };
            self.store.commit(batch).await?;
            change.written();
        }
        Ok(())
    }
}
