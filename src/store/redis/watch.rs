//! The watch: asks each server that takes writes whether it still does, looks where things lie when that may have changed,
//! and reads the servers' clocks.
//!
//! What it finds keeps calls from waiting for a server that is away, and lets them through once it is back.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::future::join_all;
use tracing::{error, info, warn};

use crate::error::Result;
use crate::id::Partition;
use crate::store::redis::clock::{Reading, ServerClock};
use crate::store::redis::commit::Writer;
use crate::store::redis::fault::{Trouble, unavailable};
use crate::store::redis::inspect::{ask_time, inspect};
use crate::store::redis::link::State;
use crate::store::redis::pace::{pause, uptime};
use crate::store::redis::servers::Servers;
use crate::store::redis::settings::{Address, Config};
use crate::store::redis::topology::Map;

/// Between two rounds when all is well, and while something is not.
const CALM: Duration = Duration::from_secs(1);
const ALERT: Duration = Duration::from_millis(200);

/// At least between two rounds, however many calls fail.
const BREATH: Duration = Duration::from_millis(50);

/// Between two looks at the servers' clocks.
const CLOCK_INTERVAL: Duration = Duration::from_secs(10);

/// Looks after the servers.
pub(crate) struct Watch {
    pub(crate) config: Config,
    pub(crate) servers: Arc<Servers>,
    pub(crate) writer: Arc<Writer>,
    pub(crate) clock: ServerClock,
    pub(crate) verdict: Arc<Verdict>,
}

/// Whether anything can be written: for who is asked.
#[derive(Default)]
pub(crate) struct Verdict(RwLock<Option<String>>);

// === impl Verdict ===

impl Verdict {
    pub(crate) fn get(&self) -> Result<()> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(cause) => Err(unavailable(cause.clone())),
        }
    }

    fn set(&self, cause: Option<String>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = cause;
    }
}

// === impl Watch ===

impl Watch {
    /// Watches for as long as it is let.
    pub(crate) async fn run(self) {
        let (mut interval, mut read_at) = (CALM, uptime());
        loop {
            let is_alert = tokio::select! {
                () = pause(interval) => interval == ALERT,
                () = self.servers.displaced.notified() => true,
            };
            let is_well = self.round(is_alert).await;
            interval = if is_well { CALM } else { ALERT };
            if uptime().saturating_sub(read_at) >= CLOCK_INTERVAL {
                read_at = uptime();
                if let Some(reading) = read_clocks(&self.servers).await {
                    self.clock.correct(reading);
                }
            }
            pause(BREATH).await;
        }
    }

    /// Tells whether all is well.
    async fn round(&self, is_alert: bool) -> bool {
        let looked = self.servers.look().await;
        match &looked {
            Ok(Some(map)) => self.meet(map).await,
            Ok(None) => {}
            Err(trouble) if is_alert => warn!(%trouble, "nobody tells where the store lies"),
            Err(_) => {}
        }
        let Some(map) = self.servers.map() else { return false };
        let probes = map.one_of_each().into_iter().map(|(address, partition)| self.probe(address, partition));
        let troubles: Vec<_> = join_all(probes).await.into_iter().flatten().collect();
        let all_troubled = troubles.len() == map.masters.len();
        self.verdict.set(all_troubled.then(|| troubles.join("; ")));
        troubles.is_empty() && looked.is_ok()
    }

    /// Something is not where it was: servers that are new to their part may be set up otherwise.
    async fn meet(&self, map: &Map) {
        let masters: Vec<_> = map.masters.iter().map(ToString::to_string).collect();
        info!(masters = masters.join(", "), "the store lies elsewhere now");
        for address in &map.masters {
            match inspect(&self.servers, address, &self.config).await {
                Ok(found) => {
                    found.faults.iter().for_each(|fault| error!("{fault}"));
                    found.warnings.iter().for_each(|warning| warn!("{warning}"));
                }
                Err(trouble) => warn!(%address, %trouble, "a server of the store could not be looked at"),
            }
        }
    }

    /// What is wrong with a server.
    async fn probe(&self, address: Address, partition: Partition) -> Option<String> {
        let link = self.servers.link(&address);
        let outcome = self.writer.probe(partition).await;
        let state = match &outcome {
            Ok(()) => State::default(),
            Err(trouble @ Trouble::Lost(_)) => State { away: Some(trouble.clone()), closed: None },
            Err(trouble) => State { away: None, closed: Some(trouble.clone()) },
        };
        if state.away.is_some() {
            link.hang_up();
        }
        if outcome.is_ok() && !link.is_well() {
            link.forgive().await;
        }
        let before = link.note(state);
        match (outcome, before == State::default()) {
            (Ok(()), true) => None,
            (Ok(()), false) => {
                info!(%address, "a server of the store is back");
                None
            }
            (Err(trouble), was_well) => {
                if was_well {
                    error!(%address, %trouble, "a server of the store takes no commits");
                }
                Some(format!("{address}: {trouble}"))
            }
        }
    }
}

/// The time of the servers; `None` when none tells it.
pub(crate) async fn read_clocks(servers: &Servers) -> Option<Reading> {
    let map = servers.map()?;
    let readings = map.masters.iter().map(|address| async move {
        // The first answer may come over a connection that is opened for it.
        ask_time(servers, address).await.ok()?;
        let asked = uptime();
        let time = ask_time(servers, address).await.ok()?;
        Some(Reading::new(asked, time, uptime()))
    });
    Reading::median(join_all(readings).await.into_iter().flatten().collect())
}
