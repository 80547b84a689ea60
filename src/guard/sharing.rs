//! What several nodes that share a store count, as if one did: each tells the others each second what it added, and joins
//! what they tell.
//!
//! A turn of a node is written to the store in one commit, under its number, and kept for some minutes. Pages are written
//! now and then, each by one of the nodes that live, with how far it had heard of each node then; so whoever comes new, or
//! has missed some turns, takes up the pages and joins what was told since. A node that dies takes with it what it has
//! not told: its last second.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use minicbor::{Decode, Encode};
use tracing::debug;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::guard::following::{Following, Other, Which};
use crate::guard::news::{Bundle, Told};
use crate::guard::service::Guard;
use crate::guard::table::{Change, Heard, PAGES, Telling};
use crate::guard::upkeep::{CONVERSIONS, KEEP};
use crate::store::{Batch, Commit, Condition, Key, Prefix, Record, record};

/// How long it is kept what was told: some rounds, in which all pages are written that hold it.
const KEEP_TOLD: Duration = Duration::from_secs(300);

/// How often a node shows that it lives, and how long it is believed.
const HEARTBEAT: Duration = Duration::from_secs(5);
const BELIEVED_FOR: Duration = Duration::from_secs(20);

/// Bytes that a node tells in one turn, and a little. What is more waits for the next.
const MOST_BYTES: usize = 1024 * 1024;

/// Parts read at once: some megabytes.
const ROWS: usize = 100;

/// How far a node has told, as it is stored.
#[derive(Debug, Clone, Copy, Encode, Decode)]
struct Head {
    #[n(0)]
    node: u64,
    #[n(1)]
    turn: u64,
    /// It tells no more.
    #[n(2)]
    has_left: bool,
}

/// The count of all nodes that ever were, as it is stored.
#[derive(Debug, Default, Encode, Decode)]
struct Nodes {
    #[n(0)]
    count: u64,
}

/// Some turns of a node are no longer kept.
struct Missed;

// === impl Guard ===

impl Guard {
    /// Becomes one of the nodes, and takes up what all have counted.
    pub(crate) async fn enter(&self) -> Result<()> {
        let following = &mut *self.following.lock().await;
        following.node = self.count_node().await?;
        self.catch_up(following).await
    }

    /// Hears the other nodes, tells them what was counted here, and writes some pages.
    pub(crate) async fn exchange(&self) -> Result<()> {
        let following = &mut *self.following.lock().await;
        self.hear_all(following).await?;
        self.tell(following, Which::Some).await
    }

    /// Does so a last time, and is no longer one of the nodes.
    pub(crate) async fn leave(&self) -> Result<()> {
        let following = &mut *self.following.lock().await;
        self.hear_all(following).await?;
        self.tell(following, Which::Ours).await?;
        let now = self.clock.now();
        let batch = self.show(following, true, now)?;
        self.store.commit(batch).await.map(drop)
    }

    async fn count_node(&self) -> Result<u64> {
        let key = self.keys.guard_nodes();
        loop {
            let read = self.store.get(&key).await?;
            let Nodes { count } = read.as_ref().map(decode).transpose()?.unwrap_or_default();
            let count = count + 1;
            let value = record::encode(&Nodes { count })?;
            let batch = Batch::new(key.partition()).require(&key, read.as_ref()).put(key.clone(), value, None);
            if let Commit::Committed(_) = self.store.commit(batch).await? {
                return Ok(count);
            }
        }
    }

    /// Takes up the pages as they are stored, and all that is told and not in them.
    async fn catch_up(&self, following: &mut Following) -> Result<()> {
        following.is_behind = true;
        let now = self.clock.now();
        // First, so that nothing that is told meanwhile is thought to be in.
        let heads = self.heads().await?;
        // What nobody has written stays as it is here.
        let ours = following.heard(following.turn);
        let mut heard = HashMap::new();
        for (kind, table) in self.kept() {
            let mut pages = HashMap::new();
            let prefix = self.keys.guard_pages(kind);
            self.scan_all(&prefix, None, |page| {
                let (number, heard) = table.restore(&page.value, page.version)?;
                pages.insert(number, heard);
                Ok(())
            })
            .await?;
            heard.extend(pages.into_iter().map(|(number, heard)| ((kind, number), heard)));
        }
        let is_new = |told: &Told, kind, page| {
            let heard = heard.get(&(kind, page)).unwrap_or(&ours);
            !heard.iter().any(|to| to.node == told.node && to.turn >= told.turn)
        };
        let round = following.round;
        following.others = heads.iter().map(|head| (head.node, Other::at(head.turn, round))).collect();
        self.scan_all(&self.keys.all_guard_told(), None, |part| {
            let told: Told = decode(part)?;
            self.join(&told, now, |kind, page| is_new(&told, kind, page))?;
            let other = following.others.entry(told.node).or_insert(Other::at(0, round));
            other.turn = other.turn.max(told.turn);
            Ok(())
        })
        .await?;
        // It may have been written though nobody said so.
        let written = following.others.remove(&following.node).map_or(0, |ours| ours.turn);
        following.untold.retain(|told| told.turn > written);
        following.untold.iter().try_for_each(|told| self.join(told, now, |kind, page| is_new(told, kind, page)))?;
        following.since = now;
        following.is_behind = false;
        Ok(())
    }

    /// Joins what the others have told since.
    async fn hear_all(&self, following: &mut Following) -> Result<()> {
        if following.is_behind {
            return self.catch_up(following).await;
        }
        let now = self.clock.now();
        let heads = self.heads().await?;
        following.others.values_mut().for_each(|other| other.lives = false);
        for head in heads.into_iter().filter(|head| head.node != following.node) {
            let other = following.others.entry(head.node).or_insert(Other::at(0, following.round));
            (other.lives, other.seen_in) = (!head.has_left, following.round);
            if other.turn < head.turn && self.hear(head, other, now).await?.is_err() {
                debug!(node = head.node, "missed some of what another node has counted");
                return self.catch_up(following).await;
            }
        }
        following.forget();
        Ok(())
    }

    async fn hear(&self, head: Head, other: &mut Other, now: Timestamp) -> Result<Result<(), Missed>> {
        let after = self.keys.guard_told(head.node, other.turn, u16::MAX);
        let mut turns: BTreeMap<u64, Vec<Told>> = BTreeMap::new();
        self.scan_all(&self.keys.guard_told_by(head.node), Some(after), |part| {
            let told: Told = decode(part)?;
            turns.entry(told.turn).or_default().push(told);
            Ok(())
        })
        .await?;
        for (turn, parts) in turns.into_iter().take_while(|(turn, _)| *turn <= head.turn) {
            let is_whole = parts.first().is_some_and(|first| usize::from(first.parts) == parts.len());
            if turn != other.turn + 1 || !is_whole {
                return Ok(Err(Missed));
            }
            parts.iter().try_for_each(|told| self.join(told, now, |_, _| true))?;
            other.turn = turn;
        }
        Ok(if other.turn >= head.turn { Ok(()) } else { Err(Missed) })
    }

    /// Joins a part of a turn, on the pages that are wanted.
    fn join(&self, told: &Told, now: Timestamp, wanted: impl Fn(u8, u16) -> bool) -> Result<()> {
        for bundle in &told.bundles {
            let table = self.shared().into_iter().find(|(kind, _)| *kind == bundle.kind);
            // Of a kind that a later version counts.
            let Some((kind, table)) = table else { continue };
            let names = table.join(bundle, told.since, now, &|page| wanted(kind, page))?;
            if kind == CONVERSIONS {
                names.into_iter().for_each(|name| self.explain(name, now));
            }
        }
        Ok(())
    }

    async fn tell(&self, following: &mut Following, which: Which) -> Result<()> {
        let now = self.clock.now();
        if !following.untold.is_empty() {
            self.write_turn(following, now).await?;
        }
        // A page that is written now holds what is about to be told.
        let (heard, mut bundles, mut changes) = (following.heard(following.turn + 1), Vec::new(), Vec::new());
        let due = following.due(which);
        for (kind, table) in self.kept() {
            for number in due.iter().copied() {
                let telling = Telling { kind, heard: &heard, bundles: &mut bundles };
                let change = table.change(number, Some(telling), now)?;
                changes.extend(change.map(|change| (self.keys.guard_page(kind, number), change)));
            }
        }
        self.collect_news(following.round, &mut bundles)?;
        following.round += 1;
        if !bundles.is_empty() || !changes.is_empty() {
            following.turn += 1;
            following.untold = Told::pack(following.node, following.turn, following.since, bundles);
            following.since = now;
            self.write_turn(following, now).await?;
        } else if now.since(following.shown_at) >= HEARTBEAT {
            self.write_turn(following, now).await?;
        }
        for (key, change) in changes {
            self.write_page(key, change, &heard, now).await?;
        }
        Ok(())
    }

    /// Takes out what there is to tell, as far as it goes into one turn: each time from another page on.
    fn collect_news(&self, round: u64, bundles: &mut Vec<Bundle>) -> Result<()> {
        let first = u16::try_from(round * 389 % u64::from(PAGES)).unwrap_or_default();
        for number in (first..PAGES).chain(0..first) {
            if bundles.iter().map(|bundle| bundle.bytes.len()).sum::<usize>() >= MOST_BYTES {
                break;
            }
            self.shared().into_iter().try_for_each(|(kind, table)| table.tell(number, kind, bundles))?;
        }
        Ok(())
    }

    /// Writes the turn that is not written yet, if there is one, and that we live. Doing it twice does no harm.
    async fn write_turn(&self, following: &mut Following, now: Timestamp) -> Result<()> {
        let mut batch = self.show(following, false, now)?;
        for (part, told) in (0..).zip(&following.untold) {
            let key = self.keys.guard_told(told.node, told.turn, part);
            batch = batch.put(key, record::encode(told)?, Some(now + KEEP_TOLD));
        }
        self.store.commit(batch).await?;
        following.untold.clear();
        following.shown_at = now;
        Ok(())
    }

    /// Shows how far we have told.
    fn show(&self, following: &Following, has_left: bool, now: Timestamp) -> Result<Batch> {
        let key = self.keys.guard_head(following.node);
        let value = record::encode(&Head { node: following.node, turn: following.turn, has_left })?;
        Ok(Batch::new(key.partition()).put(key, value, Some(now + BELIEVED_FOR)))
    }

    async fn write_page(&self, key: Key, change: Change<'_>, ours: &[Heard], now: Timestamp) -> Result<()> {
        let mut was = change.version();
        loop {
            let batch = Batch::new(key.partition()).require_that(&key, was.map_or(Condition::Absent, Condition::At));
            let batch = match change.bytes() {
                [] => batch.delete(key.clone()),
                bytes => batch.put(key.clone(), bytes.to_vec(), Some(now + KEEP)),
            };
            if let Commit::Committed(version) = self.store.commit(batch).await? {
                let is_there = !change.bytes().is_empty();
                change.written(is_there.then_some(version));
                return Ok(());
            }
            // Another node wrote it, as long as it was taken for the one to do so.
            let found = self.store.get(&key).await?;
            was = found.as_ref().map(|found| found.version);
            let theirs = found.map(|found| change.heard_in(&found.value)).transpose()?.unwrap_or_default();
            let knew = |their: &Heard| ours.iter().any(|our| our.node == their.node && our.turn >= their.turn);
            if !theirs.iter().all(knew) {
                change.outrun(was);
                return Ok(());
            }
        }
    }

    async fn heads(&self) -> Result<Vec<Head>> {
        let mut heads = Vec::new();
        self.scan_all(&self.keys.guard_heads(), None, |head| {
            heads.push(decode(head)?);
            Ok(())
        })
        .await?;
        Ok(heads)
    }

    /// Hands on what a scan finds, a few records at a time.
    pub(crate) async fn scan_all(
        &self,
        prefix: &Prefix,
        mut after: Option<Key>,
        mut take: impl FnMut(&Record) -> Result<()> + Send,
    ) -> Result<()> {
        loop {
            let rows = self.store.scan(prefix, after.as_ref(), ROWS).await?;
            rows.iter().try_for_each(|(_, row)| take(row))?;
            match rows.into_iter().last() {
                Some((last, _)) => after = Some(last),
                None => return Ok(()),
            }
        }
    }
}

fn decode<T: for<'b> Decode<'b, ()>>(read: &Record) -> Result<T> {
    record::decode(&read.value)
}
