//! The store as its port describes it, in a `BTreeMap`: what every real store is compared with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use verigate::clock::{Clock, Timestamp};
use verigate::error::{Error, Kind, Reason, Result};
use verigate::store::{
    Batch, Commit, Condition, Key, MAX_SCAN_ROWS, MAX_VALUE_BYTES, Order, Prefix, Record, SEAL_BYTES, Store, Version,
    Write,
};

pub(crate) struct ModelStore {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<Vec<u8>, (Key, Record, Option<Timestamp>)>,
    last_version: u64,
}

impl ModelStore {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, state: Mutex::default() }
    }
}

impl State {
    fn live(&self, key: &[u8], now: Timestamp) -> Option<&Record> {
        let (_, record, expires_at) = self.records.get(key)?;
        expires_at.is_none_or(|at| now < at).then_some(record)
    }
}

#[async_trait]
impl Store for ModelStore {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        Ok(self.state.lock().unwrap().live(key.bytes(), self.clock.now()).cloned())
    }

    async fn scan(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        let now = self.clock.now();
        let state = self.state.lock().unwrap();
        let rows: &mut dyn Iterator<Item = _> = match prefix.order {
            Order::Ascending => &mut state.records.iter(),
            Order::Descending => &mut state.records.iter().rev(),
        };
        let is_past = |bytes: &[u8], after: &Key| match prefix.order {
            Order::Ascending => bytes > after.bytes(),
            Order::Descending => bytes < after.bytes(),
        };
        let rows = rows
            .filter(|(bytes, _)| bytes.starts_with(&prefix.bytes) && after.is_none_or(|after| is_past(bytes, after)));
        let live = rows.filter_map(|(bytes, (key, ..))| Some((key.clone(), state.live(bytes, now)?.clone())));
        Ok(live.take(limit.min(MAX_SCAN_ROWS)).collect())
    }

    async fn commit(&self, batch: Batch) -> Result<Commit> {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap();
        for (key, condition) in batch.conditions() {
            let found = state.live(key.bytes(), now).map(|record| record.version);
            let holds = match condition {
                Condition::Absent => found.is_none(),
                Condition::At(version) => found == Some(*version),
            };
            if !holds {
                return Ok(Commit::Conflict);
            }
        }
        let too_large =
            |write: &Write| matches!(write, Write::Put { value, .. } if value.len() > MAX_VALUE_BYTES + SEAL_BYTES);
        if batch.writes().iter().any(|(_, write)| too_large(write)) {
            return Err(Error::new(Kind::Invalid, Reason::InvalidField, "too large"));
        }
        state.last_version += 1;
        let version = Version(state.last_version);
        for (key, write) in batch.writes() {
            match write.clone() {
                Write::Delete => drop(state.records.remove(key.bytes())),
                Write::Put { value, expires_at } => {
                    let record = Record { value, version };
                    state.records.insert(key.bytes().to_vec(), (key.clone(), record, expires_at));
                }
            }
        }
        Ok(Commit::Committed(version))
    }

    fn ready(&self) -> Result<()> {
        Ok(())
    }

    fn is_shared(&self) -> bool {
        false
    }
}
