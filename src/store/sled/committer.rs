//! The one thread that writes: takes what has queued, judges each batch against the table and what the group has already
//! changed, makes the whole group durable with one write to the journal and one fdatasync, shows it to readers, and only
//! then answers.
//!
//! When the journal's file is full, what it holds settles into sled in a thread beside, and the other file takes over. If
//! that one is full before the first has settled, callers wait: memory is bounded.
//!
//! A disk without room stops this thread until there is some: what could not be written was not answered, and what did not
//! settle settles again. Any other error of a write or a sync is the last thing that it does. After a failed sync nobody
//! can say which pages the kernel has dropped, so going on would answer for writes that are not there.

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use metrics::Histogram;
use sled::IVec;
use tokio::sync::oneshot;

use crate::clock::{Clock, Timestamp};
use crate::error::Result;
use crate::store::sled::answers::{Answers, Caller, Homes};
use crate::store::sled::journal::Journal;
use crate::store::sled::queue::{Job, Queue};
use crate::store::sled::record::{self, Encoded, Header};
use crate::store::sled::settler::Settler;
use crate::store::sled::table::{Durable, Entry, Table};
use crate::store::sled::{fault, files};
use crate::store::{Batch, Commit, Condition, KeyBytes, Version, Write};

/// Owns all writing.
pub(crate) struct Committer {
    pub(crate) journal: Journal,
    pub(crate) settler: Settler,
    pub(crate) table: Arc<Table>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) homes: Arc<Homes>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tally: Arc<Tally>,
    /// The folder of the store.
    path: PathBuf,
    meters: Meters,
    /// The thread that settles what the journal's other file holds.
    settling: Option<Settling>,
    /// Commits of this turn of the journal.
    commits: u32,
    /// Where records are encoded.
    buffer: Vec<u8>,
}

/// A layer that settles.
struct Settling {
    thread: JoinHandle<()>,
    /// Those who want the journal cleared after that; `None` once it has settled.
    waiting: Waiting,
}

type Waiting = Arc<Mutex<Option<Vec<oneshot::Sender<()>>>>>;

/// What the committer has done since it started.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) groups: AtomicU64,
    pub(crate) commits: AtomicU64,
}

/// What is told to whoever watches us.
struct Meters {
    seconds: Histogram,
    group_size: Histogram,
}

/// What a group has decided and not yet written.
#[derive(Default)]
struct Group {
    touched: BTreeMap<KeyBytes, Touched>,
    answers: Vec<Answer>,
    /// Those who want the journal cleared of all this.
    scrubs: Vec<oneshot::Sender<()>>,
}

/// What a group knows of a key.
struct Touched {
    /// What will lie under it; `None` for nothing.
    header: Option<Header>,
    entry: Entry,
    changed: bool,
}

/// A caller and what it will hear.
enum Answer {
    Commit(Caller, Result<Commit>),
    Forget(oneshot::Sender<usize>, usize),
}

/// Has the queue refuse everything if the thread panics.
struct FailOnPanic(Arc<Queue>);

/// Groups smaller than this come from few callers, who may all wait for it: the next one is not kept waiting for more.
const CROWD: usize = 4;

// === impl Committer ===

impl Committer {
    pub(crate) fn new(
        journal: Journal,
        settler: Settler,
        (table, queue, homes): (Arc<Table>, Arc<Queue>, Arc<Homes>),
        path: PathBuf,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            journal,
            settler,
            table,
            queue,
            homes,
            clock,
            tally: Arc::default(),
            path,
            meters: Meters::new(),
            settling: None,
            commits: 0,
            buffer: Vec::new(),
        }
    }

    /// Works until the queue is closed and empty, or something fails.
    pub(crate) fn run(mut self) {
        let _fail_on_panic = FailOnPanic(Arc::clone(&self.queue));
        self.work();
        while self.wait_for_room() {
            self.work();
        }
        self.wait_until_settled();
    }

    /// Works until there is nothing to take.
    fn work(&mut self) {
        let mut before = 0;
        // While all threads that bring commits are busy, the disk has time, and they have less to do for a larger group.
        while let Some(jobs) = self.queue.take(|| before >= CROWD && self.homes.are_busy()) {
            before = jobs.len();
            let (now, began) = (self.clock.now(), self.clock.nanos());
            let mut group = Group::default();
            // All at one turn at the table, which may be one of many who want it.
            let table = Arc::clone(&self.table);
            let judged = table.read(|durable| {
                jobs.into_iter().for_each(|job| self.judge(job, &mut group, durable, now));
                Ok(())
            });
            if let Err(error) = judged.and_then(|()| self.make_durable(&mut group)) {
                // Before the answers are dropped, so that whoever waits for one finds the cause.
                self.queue.stop(&error);
                break;
            }
            self.tally.groups.fetch_add(1, Ordering::Relaxed);
            self.tally.commits.fetch_add(group.answers.len() as u64, Ordering::Relaxed);
            self.meters.seconds.record(Duration::from_nanos(self.clock.nanos().saturating_sub(began)).as_secs_f64());
            self.meters.group_size.record(group.answers.len() as f64);
            send(group.answers);
            if let Err(error) = self.scrub(group.scrubs) {
                self.queue.stop(&error);
                break;
            }
        }
    }

    /// Where the disk was full, waits until the store can take writes again; returns whether it can.
    fn wait_for_room(&mut self) -> bool {
        let mut longest = Duration::ZERO;
        while self.queue.wait_while_held(longest) {
            longest = fault::ROOM_INTERVAL;
            match self.mend() {
                Ok(()) => {
                    self.queue.resume();
                    return true;
                }
                Err(error) => self.queue.stop(&error),
            }
        }
        false
    }

    /// Brings the store to where it was before the disk was full: at once as far as readers need it, with the room that was
    /// kept for that, and once there is room altogether.
    fn mend(&mut self) -> Result<()> {
        self.wait_until_settled();
        // A reader may have been the one who met the full disk.
        if !self.settler.is_well()? && files::use_room(&self.path) {
            self.settler.open_again()?;
        }
        files::find_room(&self.path).map_err(fault::unwritten)?;
        if !self.settler.is_well()? {
            self.settler.open_again()?;
        }
        self.table.settling()?.map_or(Ok(()), |layer| self.settler.settle(&layer))
    }

    fn judge(&mut self, job: Job, group: &mut Group, durable: &Durable, now: Timestamp) {
        let answer = match job {
            Job::Commit { batch, caller } => {
                let outcome = self.judge_batch(&batch, group, durable, now);
                Answer::Commit(caller, outcome)
            }
            Job::Forget { records, answer } => {
                let mut is_forgotten = |(key, version): &(KeyBytes, Version)| forget(key, *version, group, durable);
                let forgotten = records.iter().filter(|record| is_forgotten(record));
                Answer::Forget(answer, forgotten.count())
            }
            Job::Scrub { answer } => return group.scrubs.push(answer),
        };
        group.answers.push(answer);
    }

    fn judge_batch(&mut self, batch: &Batch, group: &mut Group, durable: &Durable, now: Timestamp) -> Result<Commit> {
        for (key, condition) in batch.conditions() {
            let found = group.look(key.bytes(), durable)?.header.filter(|header| header.is_live(now));
            let holds = match condition {
                Condition::Absent => found.is_none(),
                Condition::At(version) => found.is_some_and(|header| header.version == *version),
            };
            if !holds {
                return Ok(Commit::Conflict);
            }
        }
        let version = self.next_version();
        // All that can fail comes before the first change, so that a batch never gets into its group in part.
        let mut entries = Vec::with_capacity(batch.writes().len());
        for (key, write) in batch.writes() {
            group.look(key.bytes(), durable)?;
            entries.push(match write {
                Write::Delete => None,
                Write::Put { value, expires_at } => {
                    let header = Header::new(version, *expires_at, key.partition());
                    Some(record::encode(key.bytes(), header, value, &mut self.buffer)?)
                }
            });
        }
        for ((key, _), new) in batch.writes().iter().zip(entries) {
            group.change(key.bytes(), new);
        }
        Ok(Commit::Committed(version))
    }

    /// The turns of the journal are never repeated, whatever a crash undoes, and so neither are versions.
    fn next_version(&mut self) -> Version {
        self.commits += 1;
        Version(self.journal.turn() << 32 | u64::from(self.commits))
    }

    fn make_durable(&mut self, group: &mut Group) -> Result<()> {
        group.touched.retain(|_, touched| touched.changed);
        if group.touched.is_empty() {
            return Ok(());
        }
        let changes = group.touched.iter().map(|(key, touched)| (&**key, touched.entry.stored.as_deref()));
        if !self.journal.prepare(changes).map_err(fault::broken)? {
            self.turn(Vec::new())?;
            // What they were found on top of is now a layer below.
            group.touched.values_mut().for_each(|touched| touched.entry.covers = true);
        }
        self.journal.append().map_err(fault::unwritten)?;
        self.settler.pace.note(self.journal.filled());
        let touched = std::mem::take(&mut group.touched);
        self.table.apply(touched.into_iter().map(|(key, touched)| (key, touched.entry)))
    }

    /// Goes on in the journal's other file early, and has this one cleared once it has settled. Whoever asks while
    /// something settles waits for the end of that, so that no commit has to.
    fn scrub(&mut self, scrubs: Vec<oneshot::Sender<()>>) -> Result<()> {
        if scrubs.is_empty() {
            return Ok(());
        }
        if let Some(settling) = &self.settling
            && let Some(waiting) = lock(&settling.waiting).as_mut()
        {
            waiting.extend(scrubs);
            self.settler.pace.hurry();
            return Ok(());
        }
        self.turn(scrubs)
    }

    /// Goes on in the journal's other file, and has what this one holds settle meanwhile; then clears it, if anybody asks
    /// for that.
    fn turn(&mut self, scrubs: Vec<oneshot::Sender<()>>) -> Result<()> {
        self.wait_until_settled();
        if self.table.settling()?.is_some() {
            // The thread that should have settled it has told the queue why it did not.
            return Err(self.queue.why_unanswered());
        }
        self.journal.begin().map_err(fault::unwritten)?;
        let layer = self.table.freeze()?;
        self.settler.pace.begin();
        if !scrubs.is_empty() {
            self.settler.pace.hurry();
        }
        self.commits = 0;
        let (settler, queue) = (self.settler.clone(), Arc::clone(&self.queue));
        let spent = self.journal.other().map_err(fault::broken)?;
        let waiting = Waiting::new(Mutex::new(Some(Vec::new())));
        let asked = Arc::clone(&waiting);
        let settle = move || {
            let _fail_on_panic = FailOnPanic(Arc::clone(&queue));
            let settled = settler.settle(&layer);
            let cleared = settled.and_then(|()| match scrubs.is_empty() {
                true => Ok(()),
                false => spent.clear().map_err(fault::unwritten),
            });
            if let Err(error) = cleared {
                return queue.stop(&error);
            }
            for caller in scrubs {
                // One who has gone away is no fault.
                _ = caller.send(());
            }
            let waiting = lock(&asked).take();
            for answer in waiting.into_iter().flatten() {
                // One who is refused sees that nobody answers, and asks again.
                drop(queue.push(Job::Scrub { answer }));
            }
        };
        let thread = std::thread::Builder::new().name("store-settler".to_owned()).spawn(settle);
        self.settling = Some(Settling { thread: thread.map_err(fault::broken)?, waiting });
        Ok(())
    }

    fn wait_until_settled(&mut self) {
        if let Some(settling) = self.settling.take() {
            self.settler.pace.hurry();
            // A panic of it has already been reported to the queue.
            drop(settling.thread.join());
        }
    }
}

/// Deletes a record if it is still the one that was meant. One that cannot be read is left for the next walk.
fn forget(key: &[u8], version: Version, group: &mut Group, durable: &Durable) -> bool {
    let Ok(Touched { header: Some(header), .. }) = group.look(key, durable) else { return false };
    if header.version != version {
        return false;
    }
    group.change(key, None);
    true
}

fn send(answers: Vec<Answer>) {
    let mut outcomes = Answers::default();
    for answer in answers {
        match answer {
            Answer::Commit(caller, outcome) => outcomes.add(caller, outcome),
            // A caller who has gone away is no fault.
            Answer::Forget(caller, forgotten) => drop(caller.send(forgotten)),
        }
    }
    outcomes.send();
}

fn lock(waiting: &Waiting) -> MutexGuard<'_, Option<Vec<oneshot::Sender<()>>>> {
    // Nothing panics while it is held.
    waiting.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Meters ===

impl Meters {
    fn new() -> Self {
        let seconds = metrics::histogram!("verigate_commit_seconds");
        Self { seconds, group_size: metrics::histogram!("verigate_commit_group_size") }
    }
}

// === impl Group ===

impl Group {
    /// What is known of a key, looked up if need be.
    fn look(&mut self, key: &[u8], durable: &Durable) -> Result<&mut Touched> {
        Ok(match self.touched.entry(KeyBytes::from(key)) {
            btree_map::Entry::Occupied(touched) => touched.into_mut(),
            btree_map::Entry::Vacant(place) => {
                let entry = durable.find(key)?;
                let header = entry.stored.as_deref().map(record::decode).transpose()?.map(|(header, _)| header);
                place.insert(Touched { header, entry, changed: false })
            }
        })
    }

    /// Changes a key that was looked at.
    fn change(&mut self, key: &[u8], new: Option<Encoded>) {
        let old = self.touched.get(key).and_then(|touched| touched.header);
        for part_key in old.iter().flat_map(|old| old.part_keys(key)) {
            self.set(part_key, None, None);
        }
        match new {
            Some(encoded) => {
                let header = Some(encoded.header);
                encoded.entries(key).for_each(|(entry_key, stored)| self.set(entry_key, header, Some(stored)));
            }
            None => self.set(KeyBytes::from(key), None, None),
        }
    }

    fn set(&mut self, key: KeyBytes, header: Option<Header>, stored: Option<IVec>) {
        // Nobody looks at a part of a record by itself, and something may lie there.
        let unseen = || Touched { header: None, entry: Entry { stored: None, covers: true }, changed: false };
        let touched = self.touched.entry(key).or_insert_with(unseen);
        (touched.header, touched.entry.stored, touched.changed) = (header, stored, true);
    }
}

// === impl FailOnPanic ===

impl Drop for FailOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("the committer panicked");
        }
    }
}
