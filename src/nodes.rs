//! Which processes ("nodes") work on one store, and who of them does what only one does at a time.
//!
//! Each node keeps a sign of life in the store, which ends by itself. From the signs each works out alone, and about alike,
//! which partitions it looks after: a hint that spreads work, and nothing that correctness hangs on. A duty is more: a
//! record names the node that has it, and nobody else takes it before that node's sign is gone. A node that could not renew
//! its sign in time, because it was stopped or could not reach the store, knows so by its own clock before the others do:
//! it does nothing of its duties then, and comes back under another name, as a node that has none.
//!
//! Clocks may differ by a few seconds, [`LIFE`] less [`TRUSTED`], between nodes, and from the store's. A process that has
//! its store for itself has all duties at no cost. What duties there are is not known here.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use minicbor::{Decode, Encode};
use siphasher::sip::SipHasher13;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Kind, Reason, Result};
use crate::id::Partition;
use crate::random::Random;
use crate::store::keys::Keys;
use crate::store::{Batch, Commit, Key, Store, record};

/// How often a node renews its sign of life, and looks for those of the others.
pub const RENEWAL: Duration = Duration::from_secs(4);

/// How long a node trusts its own sign. Longer than that after it was renewed it has no duties.
pub const TRUSTED: Duration = Duration::from_secs(12);

/// After this long without renewal a node is gone, and its duties are free.
pub const LIFE: Duration = Duration::from_secs(20);

/// A duty that nobody took for so long, anybody may take. Before that it is for one node that all agree on, so that duties
/// are spread.
const UNWANTED: Duration = Duration::from_secs(8);

/// How long a duty is remembered that nobody has any more.
const KEEP: Duration = Duration::from_secs(24 * 3600);

/// This node among those of its store. Cheap to clone.
#[derive(Clone, Default)]
pub struct Nodes {
    /// `None` of a store that is this node's alone.
    shared: Option<Arc<State>>,
    looked: Arc<watch::Sender<()>>,
}

/// A node for as long as it lives without a break.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct NodeName(#[cbor(with = "minicbor::bytes")] [u8; 8]);

struct State {
    store: Arc<dyn Store>,
    keys: Keys,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    known: RwLock<Known>,
}

/// What was seen at the last look.
struct Known {
    me: NodeName,
    /// When the sign of life was last renewed; `None` before the first time.
    renewed_at: Option<Timestamp>,
    /// Those that live, this one included.
    live: BTreeSet<NodeName>,
    /// Who has which duty.
    holders: HashMap<Key, NodeName>,
    /// Duties that nobody has, as was seen first then.
    free: HashMap<Key, Timestamp>,
    /// Our own duties, and since when they are noted.
    duties: HashMap<String, Timestamp>,
}

/// Which node has a duty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
struct Duty {
    #[n(0)]
    holder: NodeName,
}

// === impl Nodes ===

impl Nodes {
    /// A node of a store that others use too, once it has [joined](Nodes::keep_up). Of a store that none do, the only one.
    pub fn new(store: Arc<dyn Store>, keys: Keys, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Self {
        if !store.is_shared() {
            return Self::default();
        }
        let me = NodeName::new(&*random);
        let known = Known {
            me,
            renewed_at: None,
            live: BTreeSet::new(),
            holders: HashMap::new(),
            free: HashMap::new(),
            duties: HashMap::new(),
        };
        let state = State { store, keys, clock, random, known: RwLock::new(known) };
        Self { shared: Some(Arc::new(state)), looked: Arc::default() }
    }

    /// Whether others may work on the store too.
    pub fn is_shared(&self) -> bool {
        self.shared.is_some()
    }

    /// How many live, as far as this one knows; at least 1.
    pub fn count(&self) -> usize {
        self.shared.as_ref().map_or(1, |state| state.known().live.len().max(1))
    }

    /// Joins, and lives until it is dropped.
    pub async fn keep_up(self) {
        let Some(state) = &self.shared else { return };
        loop {
            if let Err(error) = state.look_around().await {
                warn!(?error, "the other nodes could not be looked for; duties are put down unless that succeeds soon");
            }
            self.looked.send_replace(());
            state.clock.sleep_until(state.clock.now() + RENEWAL).await;
        }
    }

    /// Takes the sign of life away, so that the others need not wait for its end.
    pub async fn leave(&self) -> Result<()> {
        let Some(state) = &self.shared else { return Ok(()) };
        let me = {
            let mut known = state.known_mut();
            known.renewed_at = None;
            known.duties.clear();
            known.me
        };
        let key = state.keys.node(&me.0);
        state.store.commit(Batch::new(key.partition()).delete(key)).await.map(drop)
    }

    /// Told after each look around: there may be other duties to take.
    pub fn looks(&self) -> watch::Receiver<()> {
        self.looked.subscribe()
    }

    /// Whether this node looks after a partition. At times two do, or none.
    pub fn looks_after(&self, partition: Partition) -> bool {
        let Some(state) = &self.shared else { return true };
        let known = state.known();
        known.is_present(state.clock.now()) && known.is_next_to(&partition.index())
    }

    /// Whether a duty is ours now. To be asked right before what only one may do.
    pub fn has(&self, duty: &str) -> bool {
        let Some(state) = &self.shared else { return true };
        let known = state.known();
        known.is_present(state.clock.now()) && known.duties.contains_key(duty)
    }

    /// Takes a duty that nobody has. Whether it is ours now.
    ///
    /// Errors: those of a store that cannot be read or written.
    pub async fn take(&self, duty: &str) -> Result<bool> {
        let Some(state) = &self.shared else { return Ok(true) };
        let key = state.keys.duty(duty);
        let now = state.clock.now();
        let me = {
            let mut known = state.known_mut();
            if !known.is_present(now) {
                return Ok(false);
            }
            if known.duties.get(duty).is_some_and(|noted_at| now < *noted_at + KEEP / 2) {
                return Ok(true);
            }
            if !known.may_take(&key, duty, now) {
                return Ok(false);
            }
            known.me
        };
        let read = state.store.get(&key).await?;
        if let Some(read) = &read {
            let Duty { holder } = record::decode(&read.value)?;
            if holder != me && state.store.get(&state.keys.node(&holder.0)).await?.is_some() {
                return Ok(false);
            }
        }
        let batch = Batch::new(key.partition()).require(&key, read.as_ref());
        let batch = batch.put(key.clone(), record::encode(&Duty { holder: me })?, Some(now + KEEP));
        let is_ours = matches!(state.store.commit(batch).await?, Commit::Committed(_));
        let mut known = state.known_mut();
        // It may have lost its name meanwhile.
        let is_ours = is_ours && known.me == me;
        if is_ours {
            known.free.remove(&key);
            known.duties.insert(duty.to_owned(), now);
        }
        Ok(is_ours)
    }
}

// === impl State ===

impl State {
    async fn look_around(&self) -> Result<()> {
        let now = self.clock.now();
        let me = self.name(now);
        let key = self.keys.node(&me.0);
        let read = self.store.get(&key).await?;
        // One that comes too late is none: others may have what was ours, so it must not look as if we had it still.
        let is_gone = read.is_none() && self.known().renewed_at.is_some();
        let batch = Batch::new(key.partition()).require(&key, read.as_ref()).put(key, Vec::new(), Some(now + LIFE));
        if is_gone || self.store.commit(batch).await? == Commit::Conflict {
            return Err(Error::new(Kind::Conflict, Reason::Contention, "our sign of life has ended"));
        }
        let mut live = BTreeSet::from([me]);
        for (key, _) in self.store.all(&self.keys.nodes()).await? {
            live.extend(NodeName::parse(&self.keys.parse_node(&key)?));
        }
        let mut holders = HashMap::new();
        for (key, row) in self.store.all(&self.keys.duties()).await? {
            holders.insert(key, record::decode::<Duty>(&row.value)?.holder);
        }
        let mut known = self.known_mut();
        if known.renewed_at.is_none() {
            info!(node = %me, nodes = live.len(), "joined the nodes of this store");
            show(me, 1.0);
        }
        for node in live.difference(&known.live).filter(|node| **node != me) {
            info!(%node, "another node works on this store");
        }
        for node in known.live.difference(&live).filter(|node| **node != me) {
            info!(%node, "a node works on this store no more");
        }
        metrics::gauge!("verigate_nodes").set(f64::from(u32::try_from(live.len()).unwrap_or(u32::MAX)));
        (known.renewed_at, known.live, known.holders) = (Some(now), live, holders);
        Ok(())
    }

    /// Our name: another one when the sign of life under the one before was not renewed in time.
    fn name(&self, now: Timestamp) -> NodeName {
        let mut known = self.known_mut();
        if known.renewed_at.is_some() && !known.is_present(now) {
            let before = known.me;
            (known.me, known.renewed_at) = (NodeName::new(&*self.random), None);
            known.live.remove(&before);
            show(before, 0.0);
            known.free.clear();
            known.duties.clear();
            warn!(node = %known.me, %before, "was away for so long that the other nodes may have taken over; has another name now");
        }
        known.me
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        // Nothing panics while it is held.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows whether this process goes by a name.
fn show(name: NodeName, value: f64) {
    metrics::gauge!("verigate_node_info", "node" => name.to_string()).set(value);
}

// === impl Known ===

impl Known {
    /// Whether the others surely see it live.
    fn is_present(&self, now: Timestamp) -> bool {
        self.renewed_at.is_some_and(|renewed_at| now < renewed_at + TRUSTED)
    }

    /// Whether something is nearer to this node than to any other: when one comes or goes, only what was or will be near to
    /// that one changes hands.
    fn is_next_to(&self, what: &impl Hash) -> bool {
        self.live.iter().max_by_key(|node| node.nearness(what)) == Some(&self.me)
    }

    /// Whether nobody has a duty, and it is next to us or nobody else seems to want it.
    fn may_take(&mut self, key: &Key, duty: &str, now: Timestamp) -> bool {
        let holder = self.holders.get(key).filter(|holder| self.live.contains(holder));
        if holder.is_some_and(|holder| *holder != self.me) {
            self.free.remove(key);
            return false;
        }
        let may_take = holder.is_some() || self.is_next_to(&duty);
        let free_since = *self.free.entry(key.clone()).or_insert(now);
        may_take || now >= free_since + UNWANTED
    }
}

// === impl NodeName ===

impl NodeName {
    fn new(random: &dyn Random) -> Self {
        let mut name = [0; 8];
        random.fill(&mut name);
        Self(name)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    fn nearness(&self, what: &impl Hash) -> u64 {
        let mut hasher = SipHasher13::new();
        (self.0, what).hash(&mut hasher);
        hasher.finish()
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
