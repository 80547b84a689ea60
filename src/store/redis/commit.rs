//! Commits: one script for each, and behind it, where that is asked for, the wait for replicas on the same connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use redis::{Cmd, Value, cmd, from_redis_value};

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Reason, Result};
use crate::id::Partition;
use crate::random::Random;
use crate::store::redis::fault::{Trouble, unavailable};
use crate::store::redis::link::Errand;
use crate::store::redis::record::{self, Names};
use crate::store::redis::scan::strange;
use crate::store::redis::servers::{Call, Command, Script, Servers};
use crate::store::redis::settings::{Config, Durability};
use crate::store::space::is_scanned;
use crate::store::{Batch, Commit, Condition, MAX_VALUE_BYTES, SEAL_BYTES, Version, Write};

/// How long the servers keep a record beyond its end, so that nodes whose clocks differ a little agree on when that is.
const MARGIN: Duration = Duration::from_secs(60);

/// A record that ends later than this has no end for the servers: their count of milliseconds would not hold it.
const LONGEST_LIFETIME: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Writes to the servers.
pub(crate) struct Writer {
    servers: Arc<Servers>,
    names: Names,
    script: Script,
    random: Arc<dyn Random>,
    wait: Option<Wait>,
}

/// What a commit waits for before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wait {
    replicas: u32,
    /// Whether they, and the server itself, must have it on disk.
    fsync: bool,
    timeout: Duration,
}

/// The keys and arguments of a script, as they gather.
struct Parcel<'a> {
    names: &'a Names,
    partition: Partition,
    numbers: HashMap<&'a [u8], usize>,
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

// === impl Writer ===

impl Writer {
    pub(crate) fn new(config: &Config, servers: Arc<Servers>, names: Names, random: Arc<dyn Random>) -> Self {
        let script = Script::new(include_str!("commit.lua"));
        Self { servers, names, script, random, wait: Wait::of(config) }
    }

    pub(crate) async fn commit(&self, batch: &Batch, now: Timestamp) -> Result<Commit> {
        check(batch)?;
        let (answer, then) = self.servers.call(&self.call(batch, now, Errand::Commit)).await?;
        let version: Vec<u8> = from_redis_value(answer).map_err(strange)?;
        let Some(version) = version.first_chunk() else { return Ok(Commit::Conflict) };
        self.judge(then).map_err(|trouble| unavailable(trouble.to_string()))?;
        Ok(Commit::Committed(Version(u64::from_be_bytes(*version))))
    }

    /// Whether the server of a partition takes commits: by one that changes nothing.
    pub(crate) async fn probe(&self, partition: Partition) -> Result<(), Trouble> {
        let call = self.call(&Batch::new(partition), Timestamp::default(), Errand::Upkeep);
        let (_, then) = self.servers.try_call(&call).await.map_err(|(trouble, _)| trouble)?;
        self.judge(then)
    }

    fn call(&self, batch: &Batch, now: Timestamp, errand: Errand) -> Call<'_> {
        let mut salt = [0];
        self.random.fill(&mut salt);
        let parcel = Parcel::pack(&self.names, batch, now, salt);
        let (keys, arguments) = (parcel.keys, parcel.arguments);
        let command = Command::Script { script: &self.script, keys, arguments };
        Call { partition: batch.partition(), errand, command, then: self.wait.map(Wait::command) }
    }

    fn judge(&self, waited: Option<Value>) -> Result<(), Trouble> {
        let (Some(wait), Some(waited)) = (self.wait, waited) else { return Ok(()) };
        Trouble::check(&waited)?;
        wait.judge(waited)
    }
}

// === impl Wait ===

impl Wait {
    fn of(config: &Config) -> Option<Self> {
        let replicas = config.awaited();
        let wait = Self { replicas, fsync: config.replica_fsync, timeout: config.replica_timeout };
        // A server that syncs each write answers nothing before, so alone it needs no waiting.
        (config.durability == Durability::Strict && replicas > 0).then_some(wait)
    }

    fn command(self) -> Cmd {
        let mut command = if self.fsync { cmd("WAITAOF") } else { cmd("WAIT") };
        if self.fsync {
            command.arg(1);
        }
        command.arg(self.replicas).arg(u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX));
        command
    }

    fn judge(self, answer: Value) -> Result<(), Trouble> {
        let strange = |_| Trouble::lost("answers a wait with something else");
        let (on_disk, replicas) = if self.fsync {
            from_redis_value(answer).map_err(strange)?
        } else {
            (1, from_redis_value::<u32>(answer).map_err(strange)?)
        };
        if on_disk >= 1 && replicas >= self.replicas {
            return Ok(());
        }
        let (wanted, within) = (self.replicas, self.timeout);
        Err(Trouble::Refused(format!("{replicas} of {wanted} replicas had the commit within {within:?}").into()))
    }
}

// === impl Parcel ===

impl<'a> Parcel<'a> {
    fn pack(names: &'a Names, batch: &'a Batch, now: Timestamp, salt: [u8; 1]) -> Self {
        let partition = batch.partition();
        let keys = vec![names.version(partition).into_bytes(), names.index(partition).into_bytes()];
        let mut parcel = Self { names, partition, numbers: HashMap::new(), keys, arguments: Vec::new() };
        parcel.add_number(now.as_millis());
        parcel.arguments.push(salt.to_vec());
        parcel.add_number(batch.conditions().len());
        for (key, condition) in batch.conditions() {
            parcel.add_key(key.bytes());
            parcel.arguments.push(match condition {
                Condition::Absent => Vec::new(),
                Condition::At(version) => version.0.to_be_bytes().to_vec(),
            });
        }
        for (key, write) in batch.writes() {
            parcel.add_key(key.bytes());
            parcel.arguments.push(if is_scanned(key) { key.bytes().to_vec() } else { Vec::new() });
            parcel.add_write(write, now);
        }
        parcel
    }

    fn add_number(&mut self, number: impl ToString) {
        self.arguments.push(number.to_string().into_bytes());
    }

    /// The number of a key, which it gets with its first mention.
    fn add_key(&mut self, key: &'a [u8]) {
        let next = self.keys.len() + 1;
        let number = *self.numbers.entry(key).or_insert(next);
        if number == next {
            self.keys.push(self.names.record(self.partition, key));
        }
        self.add_number(number);
    }

    fn add_write(&mut self, write: &Write, now: Timestamp) {
        match write {
            Write::Put { value, expires_at } if expires_at.is_none_or(|expires_at| expires_at > now) => {
                let lifetime = expires_at.map(|expires_at| expires_at.since(now));
                let lifetime = lifetime.filter(|lifetime| *lifetime <= LONGEST_LIFETIME);
                self.add_number(lifetime.map_or(0, |lifetime| (lifetime + MARGIN).as_millis()));
                self.arguments.push(record::tail(value, *expires_at));
            }
            // What is put after its end is gone at once.
            Write::Put { .. } | Write::Delete => self.arguments.extend([Vec::new(), Vec::new()]),
        }
    }
}

/// What cannot be stored at all is told before it is sent.
fn check(batch: &Batch) -> Result<()> {
    let too_large = |write: &&Write| match write {
        Write::Put { value, .. } => value.len() > MAX_VALUE_BYTES + SEAL_BYTES,
        Write::Delete => false,
    };
    match batch.writes().iter().map(|(_, write)| write).find(too_large) {
        Some(Write::Put { value, .. }) => {
            let message = format!("a record of {} bytes is larger than the {MAX_VALUE_BYTES} that fit", value.len());
            Err(Error::new(Kind::Invalid, Reason::InvalidField, message))
        }
        _ => Ok(()),
    }
}
