//! Giving rows to vendors that keep a contact list of their own.
//!
//! The commit of a row leaves a mark beside it for each vendor that is to have it; a worker for each vendor hands over
//! what is marked and takes the mark away, unless the row has changed meanwhile. So a row reaches a vendor that was away,
//! or a process that was, and of several changes the last one; it may reach a vendor twice, as any call may whose answer
//! is lost. A row that a vendor refuses is not given to it again until it changes; one that it never answers clearly is
//! given up after [`MAX_TRIES`].

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::iter;
use tokio::sync::watch;
use tracing::{error, warn};

use crate::contacts::cell::Value;
use crate::contacts::column::Kind;
use crate::contacts::row::{Row, RowView};
use crate::contacts::table::{LISTS, TABLE, Table};
use crate::error::Result;
use crate::messaging::holder::Ground;
use crate::nodes::Nodes;
use crate::store::{Batch, Key, Record, record};
use crate::vendor::{ContactRow, Failure, Rejection};

/// How often a row is given to a vendor that gives no clear answer.
pub const MAX_TRIES: u32 = 10;

/// Marks looked at in one round.
const SLICE: usize = 64;

/// Rows on their way to one vendor at a time.
const AT_ONCE: usize = 8;

/// The pause after a round in which a vendor took nothing. Doubles while that goes on.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// How often marks are looked for though nobody told of one: another node may have left it.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
const LOOK_AGAIN_AT_OTHERS: Duration = Duration::from_secs(5);

/// A vendor's contact list.
#[async_trait]
pub trait Book: Send + Sync {
    /// The vendor's configured name.
    fn vendor(&self) -> &str;

    /// Whether it has a place for a column of this name.
    fn takes(&self, column: &str) -> bool;

    /// Whether its rows lie in lists by name.
    fn keeps_lists(&self) -> bool;

    /// Adds or replaces one row. `Throttled` when there is no room for the call now.
    async fn push(&self, row: &ContactRow) -> Result<(), Failure>;
}

/// Who is to be given rows, and whether there is something to give.
#[derive(Debug)]
pub struct Queue {
    vendors: Vec<String>,
    changed: watch::Sender<()>,
}

/// Gives rows to one vendor.
pub struct Pusher {
    ground: Ground,
    book: Arc<dyn Book>,
    changed: watch::Receiver<()>,
    /// Who else could do it.
    nodes: Nodes,
    /// How often rows were given without a clear answer.
    tries: HashMap<Key, u32>,
}

/// How a round went.
enum Round {
    /// Nothing is marked.
    Idle,
    /// The vendor takes what it is given.
    Went,
    /// The vendor takes nothing now; how long it wants to be left alone, if it says so.
    Away(Option<Duration>),
}

// === impl Queue ===

impl Queue {
    pub fn new(vendors: Vec<String>) -> Self {
        Self { vendors, changed: watch::Sender::new(()) }
    }

    pub(crate) fn vendors(&self) -> impl Iterator<Item = &str> {
        self.vendors.iter().map(String::as_str)
    }

    /// Tells the workers that a mark was committed.
    pub(crate) fn wake(&self) {
        self.changed.send_replace(());
    }
}

// === impl Pusher ===

impl Pusher {
    pub fn new(ground: Ground, queue: &Queue, book: Arc<dyn Book>) -> Self {
        let (changed, nodes) = (queue.changed.subscribe(), Nodes::default());
        Self { ground, book, changed, nodes, tries: HashMap::new() }
    }

    /// Leaves it to another node while that has the duty. Without it, this one is the only one.
    pub fn among(self, nodes: Nodes) -> Self {
        Self { nodes, ..self }
    }

    /// Runs without end.
    pub async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let (duty, mut looks) = (format!("contacts {}", self.book.vendor()), self.nodes.looks());
        loop {
            if !self.nodes.take(&duty).await.unwrap_or(false) {
                drop(looks.changed().await);
                continue;
            }
            let clock = Arc::clone(&self.ground.clock);
            let after = match self.round().await {
                Ok(Round::Went) => {
                    pause = FIRST_PAUSE;
                    continue;
                }
                Ok(Round::Idle) => {
                    pause = FIRST_PAUSE;
                    let again = if self.nodes.is_shared() { LOOK_AGAIN_AT_OTHERS } else { LOOK_AGAIN };
                    tokio::select! {
                        Ok(()) = self.changed.changed() => {}
                        () = clock.sleep_until(clock.now() + again) => {}
                    }
                    continue;
                }
                Ok(Round::Away(after)) => after.unwrap_or_default(),
                Err(error) => {
                    error!(?error, vendor = self.book.vendor(), "contacts could not be given to a vendor");
                    Duration::ZERO
                }
            };
            clock.sleep_until(clock.now() + after.max(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn round(&mut self) -> Result<Round> {
        // What is marked from now on wakes us again.
        self.changed.mark_unchanged();
        let marks = self.ground.keys.contact_pushes(self.book.vendor());
        let marks = self.ground.store.scan(&marks, None, SLICE).await?;
        if marks.is_empty() {
            self.tries.clear();
            return Ok(Round::Idle);
        }
        let (this, away) = (&*self, AtomicBool::new(false));
        let give = async |mark: (Key, Record)| (this.give(&mark, &away).await, mark);
        let given: Vec<_> = iter(marks).map(give).buffer_unordered(AT_ONCE).collect().await;
        let (mut went, mut throttled) = (false, None::<Option<Duration>>);
        for (outcome, mark) in given {
            match outcome {
                Ok(outcome) if is_settled(&outcome) => {
                    went = true;
                    self.tries.remove(&mark.0);
                }
                Ok(Err(Failure::Throttled { after })) => throttled = throttled.max(Some(after)),
                Ok(Err(Failure::Unknown)) if self.is_tried_enough(&mark.0) => self.take_away(&mark).await?,
                Ok(_) => {}
                Err(error) => error!(?error, vendor = self.book.vendor(), "a contact could not be given to a vendor"),
            }
        }
        Ok(match throttled {
            Some(after) => Round::Away(after),
            None if went && !away.into_inner() => Round::Went,
            None => Round::Away(None),
        })
    }

    /// Gives the marked row to the vendor, and takes the mark away when that is settled. When the vendor is `away`, nothing
    /// more is given to it in this round.
    async fn give(&self, mark: &(Key, Record), away: &AtomicBool) -> Result<Result<(), Failure>> {
        if away.load(Ordering::Relaxed) {
            return Ok(Err(Failure::Unavailable));
        }
        let outcome = self.hand_over(&mark.0).await?;
        match &outcome {
            settled if is_settled(settled) => self.take_away(mark).await?,
            // That may be about this row alone.
            Ok(()) | Err(Failure::Unknown) => {}
            Err(_) => away.store(true, Ordering::Relaxed),
        }
        Ok(outcome)
    }

    /// Calls the vendor once for each list that the row is to be in.
    async fn hand_over(&self, mark: &Key) -> Result<Result<(), Failure>> {
        let (tenant, id) = self.ground.keys.parse_contact_push(mark)?;
        let row = self.ground.store.get(&self.ground.keys.contact_row(tenant, id)).await?;
        let table = self.ground.store.get(&self.ground.keys.contact_table(tenant)).await?;
        // A row that was deleted is not given to anyone.
        let (Some(row), Some(table)) = (row, table) else { return Ok(Ok(())) };
        let table: Table = record::decode(&table.value)?;
        let row = record::decode::<Row>(&row.value)?.view(&table);
        let mut outcome = Ok(());
        for row in self.rows_for(&table, &row) {
            match self.book.push(&row).await {
                // Where one list refuses it, another may take it.
                pushed if is_settled(&pushed) => outcome = outcome.and(pushed),
                unsettled => {
                    outcome = unsettled;
                    break;
                }
            }
        }
        self.tell(&outcome);
        Ok(outcome)
    }

    /// What the vendor has a place for; nothing when it has none.
    fn rows_for(&self, table: &Table, row: &RowView) -> Vec<ContactRow> {
        let mut cells = BTreeMap::new();
        let mut lists = Vec::new();
        for (id, value) in &row.columns {
            let Some(column) = table.with_id(*id) else { continue };
            let names_lists = column.name == LISTS && column.kind == Kind::MultiSelect && self.book.keeps_lists();
            match value {
                Value::List(names) if names_lists => lists.clone_from(names),
                _ if self.book.takes(&column.name) => drop(cells.insert(column.name.clone(), to_text(value))),
                _ => {}
            }
        }
        if cells.is_empty() {
            return Vec::new();
        }
        if lists.is_empty() {
            lists.push(TABLE.to_owned());
        }
        lists.into_iter().map(|list| ContactRow { list, cells: cells.clone() }).collect()
    }

    fn tell(&self, outcome: &Result<(), Failure>) {
        let result = match outcome {
            Ok(()) => "accepted",
            Err(Failure::Rejected(_)) => "rejected",
            Err(Failure::Throttled { .. }) => "throttled",
            Err(Failure::Unavailable) => "unavailable",
            Err(Failure::Unknown) => "unknown",
        };
        let labels = [("vendor", self.book.vendor().to_owned()), ("outcome", result.to_owned())];
        metrics::counter!("verigate_contact_pushes_total", &labels).increment(1);
        if let Err(failure @ (Failure::Rejected(_) | Failure::Unknown)) = outcome {
            warn!(vendor = self.book.vendor(), ?failure, "a vendor did not take a contact");
        }
    }

    fn is_tried_enough(&mut self, mark: &Key) -> bool {
        let tries = self.tries.entry(mark.clone()).or_default();
        *tries += 1;
        let enough = *tries >= MAX_TRIES;
        if enough {
            self.tries.remove(mark);
        }
        enough
    }

    /// Takes a mark away, unless it was left again meanwhile.
    async fn take_away(&self, (mark, read): &(Key, Record)) -> Result<()> {
        let batch = Batch::new(mark.partition()).require(mark, Some(read)).delete(mark.clone());
        self.ground.store.commit(batch).await.map(drop)
    }
}

/// Whether giving the row again, as it is, is no use. A vendor that refuses our account may take it once that is mended.
fn is_settled(outcome: &Result<(), Failure>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(Failure::Rejected(rejection)) => match rejection {
            Rejection::InvalidRecipient | Rejection::InvalidContent | Rejection::Blocked => true,
            Rejection::Unauthorized | Rejection::InsufficientCredit | Rejection::Occupied => false,
        },
        Err(Failure::Throttled { .. } | Failure::Unavailable | Failure::Unknown) => false,
    }
}

fn to_text(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::List(options) => options.join(", "),
    }
}
