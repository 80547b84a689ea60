//! The store on Redis or Valkey: one server, one with Sentinels, or a Cluster. For several processes at once.
//!
//! How a commit is done: one Lua script on the server of its partition judges every condition and applies every write
//! (`commit.lua`). All keys of a partition share a hash tag, so a partition lies in one slot of a Cluster. With
//! durability `strict` a wait for replicas follows on the same connection, and what they do not have in time is not
//! acknowledged. A sorted set for each partition holds the keys that scans find.
//!
//! What is ours and what the client library's: `redis` speaks the protocol and carries many calls on one connection.
//! Which server to ask, when to ask again, and when not, is decided here (`servers`), for a commit that may have been
//! applied must not be sent a second time: its own change would be its conflict.
//!
//! What a reader sees: the newest state of the server that it asks. A server that was cut off from the others may, until
//! it notices, show what was; whoever decides by what it read commits under a precondition, and a server that is cut off
//! from its replicas acknowledges nothing that is strict.
//!
//! A call ends within the timeout of the settings. A server that does not answer is not asked again until the watch has
//! seen it answer (`watch`), so that nobody waits for nothing.

use std::sync::Arc;

use async_trait::async_trait;
use redis::{cmd, from_redis_value};
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::random::Random;
use crate::store::redis::clock::ServerClock;
use crate::store::redis::commit::Writer;
use crate::store::redis::fault::{cannot_open, unusable};
use crate::store::redis::inspect::{Inspection, inspect};
use crate::store::redis::link::Errand;
use crate::store::redis::record::Names;
use crate::store::redis::scan::{Scanner, strange};
use crate::store::redis::servers::{Call, Command, Script, Servers};
use crate::store::redis::settings::{Config, Timekeeper};
use crate::store::redis::sweep::Sweeper;
use crate::store::redis::watch::{Verdict, Watch, read_clocks};
use crate::store::{Batch, Commit, Key, MAX_SCAN_ROWS, Prefix, Record, Store};

mod clock;
mod commit;
mod dial;
mod fault;
mod inspect;
mod link;
mod pace;
mod record;
mod scan;
mod servers;
pub mod settings;
mod sweep;
mod topology;
mod watch;

/// Keeps records on servers that other processes use as well.
pub struct RedisStore {
    clock: Arc<dyn Clock>,
    names: Names,
    servers: Arc<Servers>,
    writer: Arc<Writer>,
    tidy: Arc<Script>,
    verdict: Arc<Verdict>,
    background: Vec<AbortHandle>,
    warnings: Vec<String>,
    first: u8,
}

// === impl RedisStore ===

impl RedisStore {
    /// Finds the servers and looks whether they can be trusted with a store. Must be called within a Tokio runtime, which
    /// then runs the watch and the sweeper. `machine`: this machine's clock, which counts where the settings say so.
    ///
    /// Errors: `Invalid` for settings that cannot be used; `Unavailable`, with a message for the operator, when a server
    /// cannot be reached or must not be used as it is set up.
    pub async fn open(config: &Config, machine: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self> {
        if let Some(wrong) = config.violations().into_iter().next() {
            return Err(unusable(&wrong.field, wrong.description));
        }
        let names = Names::new(&config.prefix);
        let servers = Arc::new(Servers::new(config, &names)?);
        servers.look().await.map_err(cannot_open)?;
        let Inspection { faults, warnings } = inspect_all(&servers, config).await?;
        if !faults.is_empty() {
            return Err(cannot_open(faults.join("; ")));
        }
        let reading = read_clocks(&servers).await.ok_or_else(|| cannot_open("no server tells its time"))?;
        let server_clock = ServerClock::new(reading);
        let clock: Arc<dyn Clock> = match config.clock {
            Timekeeper::Server => Arc::new(server_clock.clone()),
            Timekeeper::Machine => machine,
        };
        let writer = Arc::new(Writer::new(config, Arc::clone(&servers), names.clone(), Arc::clone(&random)));
        let mut first = [0];
        random.fill(&mut first);
        let mut store = Self {
            clock,
            names,
            servers,
            writer,
            tidy: Arc::new(Script::new(include_str!("redis/tidy.lua"))),
            verdict: Arc::default(),
            background: Vec::new(),
            warnings,
            first: first[0],
        };
        let watch = Watch {
            config: config.clone(),
            servers: Arc::clone(&store.servers),
            writer: Arc::clone(&store.writer),
            clock: server_clock,
            verdict: Arc::clone(&store.verdict),
        };
        store.background =
            vec![tokio::spawn(watch.run()).abort_handle(), tokio::spawn(store.sweeper().run()).abort_handle()];
        Ok(store)
    }

    /// The clock that records end by.
    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// What may be so, but should be known, of the servers as they were on opening.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The servers that take writes, as addresses.
    pub fn masters(&self) -> Vec<String> {
        self.servers.map().iter().flat_map(|map| &map.masters).map(ToString::to_string).collect()
    }

    /// Takes every entry without a record out of the indexes at once; tells how many. The sweeper does it little by
    /// little.
    ///
    /// Error: `Unavailable`.
    pub async fn sweep(&self) -> Result<usize> {
        let sweeper = self.sweeper();
        let mut dead = 0;
        for partition in crate::id::Partition::all() {
            dead += sweeper.walk(partition, std::time::Duration::ZERO).await?;
        }
        Ok(dead)
    }

    fn sweeper(&self) -> Sweeper {
        Sweeper {
            servers: Arc::clone(&self.servers),
            names: self.names.clone(),
            tidy: Arc::clone(&self.tidy),
            clock: Arc::clone(&self.clock),
            first: self.first,
        }
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        let mut command = cmd("GET");
        command.arg(self.names.record(key.partition(), key.bytes()));
        let command = Command::Plain(command);
        let call = Call { partition: key.partition(), errand: Errand::Read, command, then: None };
        let stored: Option<Vec<u8>> = from_redis_value(self.servers.call(&call).await?.0).map_err(strange)?;
        stored.map_or(Ok(None), |stored| record::read(stored, self.clock.now()))
    }

    async fn scan(&self, prefix: &Prefix, after: Option<&Key>, limit: usize) -> Result<Vec<(Key, Record)>> {
        let now = self.clock.now();
        let scanner = Scanner { servers: &self.servers, names: &self.names, tidy: &self.tidy, now };
        scanner.scan(prefix, after, limit.min(MAX_SCAN_ROWS)).await
    }

    async fn commit(&self, batch: Batch) -> Result<Commit> {
        self.writer.commit(&batch, self.clock.now()).await
    }

    fn ready(&self) -> Result<()> {
        self.verdict.get()
    }

    fn is_shared(&self) -> bool {
        true
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        self.background.iter().for_each(AbortHandle::abort);
    }
}

async fn inspect_all(servers: &Servers, config: &Config) -> Result<Inspection, Error> {
    let mut all = Inspection::default();
    let map = servers.map().ok_or_else(|| cannot_open("it is not known which server to ask"))?;
    for address in &map.masters {
        let found = inspect(servers, address, config).await;
        let found = found.map_err(|trouble| cannot_open(format!("{address}: {trouble}")))?;
        all.faults.extend(found.faults);
        all.warnings.extend(found.warnings);
    }
    Ok(all)
}
