//! The sweeper: walks the indexes in small slices and takes out entries whose records the server has forgotten.
//!
//! Nothing depends on it for being right, because a record that is gone is passed over at once; it only gives space back.
//! No index says where entries are dead, so it walks all of them: without a pause through a stretch where many are, slower
//! where none is. Each node of a store walks by itself, and begins somewhere else.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::error::Result;
use crate::id::Partition;
use crate::store::Prefix;
use crate::store::redis::pace::pause;
use crate::store::redis::record::Names;
use crate::store::redis::scan::{Range, Scanner};
use crate::store::redis::servers::{Script, Servers};

/// Entries of one slice: about 0.1 ms of a server.
const SLICE: usize = 200;

/// After a slice where little was dead: about 10 million entries an hour.
const PAUSE: Duration = Duration::from_millis(70);

/// After a walk round all partitions, and after a failure.
const REST: Duration = Duration::from_secs(30);

pub(crate) struct Sweeper {
    pub(crate) servers: Arc<Servers>,
    pub(crate) names: Names,
    pub(crate) tidy: Arc<Script>,
    pub(crate) clock: Arc<dyn Clock>,
    /// Where to begin.
    pub(crate) first: u8,
}

// === impl Sweeper ===

impl Sweeper {
    /// Walks round and round.
    pub(crate) async fn run(self) {
        loop {
            pause(REST).await;
            for offset in 0..=u8::MAX {
                let partition = Partition::new(self.first.wrapping_add(offset));
                // Whoever needs the store says that it is away.
                if self.walk(partition, PAUSE).await.is_err() {
                    break;
                }
            }
        }
    }

    /// All of one partition; tells how many entries were dead.
    pub(crate) async fn walk(&self, partition: Partition, between: Duration) -> Result<usize> {
        let everything = Prefix::new([], Some(partition));
        let (mut after, mut dead) = (None, 0);
        while let Some(range) = Range::new(&everything, after.as_deref()) {
            let now = self.clock.now();
            let scanner = Scanner { servers: &self.servers, names: &self.names, tidy: &self.tidy, now };
            let keys = scanner.keys(partition, &range, SLICE).await?;
            let Some(last) = keys.last() else { break };
            let is_last = keys.len() < SLICE;
            after = Some(last.bytes().to_vec());
            let members = keys.iter().map(|key| key.bytes().to_vec()).collect();
            let gone = scanner.tidy(partition, members).await?;
            dead += gone;
            if is_last {
                break;
            }
            if gone < SLICE / 8 {
                pause(between).await;
            }
        }
        Ok(dead)
    }
}
