//! Which server holds which partition: told by the configuration, by Sentinels, or by the servers of a Cluster.
//!
//! Asks all who may know at once, so that one who hangs holds nobody up, and believes the newest view or the most common
//! answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use redis::{Value, from_redis_value_ref, pipe};

use crate::id::Partition;
use crate::store::redis::dial::Dialler;
use crate::store::redis::fault::Trouble;
use crate::store::redis::link::{Errand, Lane, Link};
use crate::store::redis::record::Names;
use crate::store::redis::settings::{Address, Config, Mode};

/// How long one who may know may take.
const PATIENCE: Duration = Duration::from_millis(700);

/// Most servers of a Cluster that are asked at once.
const MOST_ASKED: usize = 12;

/// Who knows.
pub(crate) enum Topology {
    Single(Vec<Address>),
    Sentinel { dialler: Dialler, sentinels: Vec<(Address, Lane)>, master: String },
    Cluster { seeds: Vec<Address>, names: Names },
}

/// Where partitions lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Map {
    /// The servers that hold some, each once.
    pub(crate) masters: Vec<Address>,
    /// For each partition the number of its server among them.
    places: Vec<usize>,
    /// Others that may know more.
    pub(crate) others: Vec<Address>,
}

// === impl Map ===

impl Map {
    fn one(address: Address) -> Self {
        Self { masters: vec![address], places: vec![0; 256], others: Vec::new() }
    }

    /// The server of a partition.
    pub(crate) fn place(&self, partition: Partition) -> Option<&Address> {
        self.masters.get(*self.places.get(usize::from(partition.index()))?)
    }

    /// A partition of each server.
    pub(crate) fn one_of_each(&self) -> Vec<(Address, Partition)> {
        let first = |(number, address): (usize, &Address)| {
            let partition = Partition::all().find(|partition| self.places[usize::from(partition.index())] == number)?;
            Some((address.clone(), partition))
        };
        self.masters.iter().enumerate().filter_map(first).collect()
    }
}

// === impl Topology ===

impl Topology {
    /// As a configuration says.
    pub(crate) fn of(config: &Config, to_sentinels: Dialler, names: &Names) -> Self {
        let places = config.places();
        match config.mode {
            Mode::Single => Self::Single(places),
            Mode::Sentinel => Self::Sentinel {
                dialler: to_sentinels,
                sentinels: places.into_iter().map(|address| (address, Lane::default())).collect(),
                master: config.sentinel.master.clone().unwrap_or_default(),
            },
            Mode::Cluster => Self::Cluster { seeds: places, names: names.clone() },
        }
    }

    /// Those to ask of a Cluster before anything is known.
    pub(crate) fn seeds(&self) -> &[Address] {
        match self {
            Self::Single(_) | Self::Sentinel { .. } => &[],
            Self::Cluster { seeds, .. } => seeds,
        }
    }

    /// Whether it can change while we look.
    pub(crate) fn is_fixed(&self) -> bool {
        matches!(self, Self::Single(_))
    }

    /// How it is now. `known` are servers that may be asked, the seeds among them.
    pub(crate) async fn look(&self, dialler: &Dialler, known: &[Arc<Link>]) -> Result<Map, Trouble> {
        match self {
            Self::Single(addresses) => match addresses.as_slice() {
                [address] => Ok(Map::one(address.clone())),
                _ => Err(Trouble::lost("store.redis.addresses must hold one address")),
            },
            Self::Sentinel { dialler, sentinels, master } => {
                ask_sentinels(dialler, sentinels, master).await.map(Map::one)
            }
            Self::Cluster { names, .. } => ask_cluster(dialler, known, names).await,
        }
    }
}

// === Sentinel ===

async fn ask_sentinels(dialler: &Dialler, sentinels: &[(Address, Lane)], master: &str) -> Result<Address, Trouble> {
    let asked = sentinels.iter().map(|(address, lane)| async move {
        let asked = tokio::time::timeout(PATIENCE, ask_sentinel(dialler, address, lane, master)).await;
        asked.unwrap_or_else(|_| Err(Trouble::lost("no answer"))).map_err(|trouble| format!("{address}: {trouble}"))
    });
    let mut votes: BTreeMap<Address, usize> = BTreeMap::new();
    let mut troubles = Vec::new();
    for answer in join_all(asked).await {
        match answer {
            Ok(address) => *votes.entry(address).or_default() += 1,
            Err(trouble) => troubles.push(trouble),
        }
    }
    let most = votes.into_iter().max_by_key(|(_, votes)| *votes);
    most.map(|(address, _)| address)
        .ok_or_else(|| Trouble::lost(format!("no Sentinel knows the master {master:?}: {}", troubles.join("; "))))
}

async fn ask_sentinel(dialler: &Dialler, address: &Address, lane: &Lane, master: &str) -> Result<Address, Trouble> {
    let connection = lane.connection(dialler, address).await?;
    let mut call = pipe();
    call.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master);
    let answer = connection.send(&call).await.inspect_err(|_| lane.give_up(&connection))?;
    let answer = answer.into_iter().next().unwrap_or_default();
    Trouble::check(&answer)?;
    let (host, port): (String, u16) =
        from_redis_value_ref(&answer).map_err(|_| Trouble::lost("does not know this master"))?;
    Ok(Address { host, port })
}

// === Cluster ===

/// One server's view of its Cluster.
struct View {
    is_whole: bool,
    epoch: u64,
    map: Map,
}

async fn ask_cluster(dialler: &Dialler, known: &[Arc<Link>], names: &Names) -> Result<Map, Trouble> {
    let asked = known.iter().take(MOST_ASKED).map(|link| async move {
        let asked = tokio::time::timeout(PATIENCE, ask_server(dialler, link, names)).await;
        asked.unwrap_or_else(|_| Err(Trouble::lost("no answer"))).map_err(|trouble| (link.address.clone(), trouble))
    });
    let mut views = Vec::new();
    let mut troubles = Vec::new();
    for answer in join_all(asked).await {
        match answer {
            Ok(view) => views.push(view),
            Err((address, trouble)) => troubles.push(format!("{address}: {trouble}")),
        }
    }
    // Who is cut off from the others believes what was.
    let newest = views.into_iter().max_by_key(|view| (view.is_whole, view.epoch));
    newest
        .map(|view| view.map)
        .ok_or_else(|| Trouble::lost(format!("no server tells how the Cluster is laid out: {}", troubles.join("; "))))
}

async fn ask_server(dialler: &Dialler, link: &Link, names: &Names) -> Result<View, Trouble> {
    let lane = link.lane(Errand::Upkeep);
    let connection = lane.connection(dialler, &link.address).await?;
    let mut call = pipe();
    call.cmd("CLUSTER").arg("INFO");
    call.cmd("CLUSTER").arg("SLOTS");
    let answers = connection.send(&call).await.inspect_err(|_| lane.give_up(&connection))?;
    let [info, slots] = answers.as_slice() else { return Err(Trouble::lost("answers something else")) };
    Trouble::check(info)?;
    Trouble::check(slots)?;
    let info: String = from_redis_value_ref(info).map_err(Trouble::lost)?;
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let map = read_slots(slots, &link.address, names)?;
    Ok(View {
        is_whole: field("cluster_state") == Some("ok"),
        epoch: field("cluster_current_epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default(),
        map,
    })
}

/// `CLUSTER SLOTS`: first and last slot of each range, then its servers, the one that takes writes first.
fn read_slots(answer: &Value, asked: &Address, names: &Names) -> Result<Map, Trouble> {
    let strange = || Trouble::lost("tells the layout of the Cluster in a way that is not known here");
    let Value::Array(ranges) = answer else { return Err(strange()) };
    let mut masters: Vec<Address> = Vec::new();
    let mut others = Vec::new();
    let mut owners: Vec<(u16, u16, usize)> = Vec::new();
    for range in ranges {
        let Value::Array(range) = range else { return Err(strange()) };
        let [Value::Int(first), Value::Int(last), master, replicas @ ..] = range.as_slice() else {
            return Err(strange());
        };
        let (Ok(first), Ok(last)) = (u16::try_from(*first), u16::try_from(*last)) else { return Err(strange()) };
        let master = read_node(master, asked).ok_or_else(strange)?;
        others.extend(replicas.iter().filter_map(|replica| read_node(replica, asked)));
        let number = masters.iter().position(|known| *known == master).unwrap_or_else(|| {
            masters.push(master);
            masters.len() - 1
        });
        owners.push((first, last, number));
    }
    let place = |partition: Partition| {
        let slot = names.slot(partition);
        let owner = owners.iter().find(|(first, last, _)| (*first..=*last).contains(&slot));
        owner.map(|(.., number)| *number).ok_or_else(|| Trouble::Displaced(format!("slot {slot} has no server").into()))
    };
    let places = Partition::all().map(place).collect::<Result<_, _>>()?;
    others.sort();
    others.dedup();
    Ok(Map { masters, places, others })
}

/// `[host, port, …]`; a server that does not know its own name leaves it out.
fn read_node(node: &Value, asked: &Address) -> Option<Address> {
    let Value::Array(node) = node else { return None };
    let [host, Value::Int(port), ..] = node.as_slice() else { return None };
    let host = match host {
        Value::BulkString(host) if host.as_slice() != b"?" => String::from_utf8(host.clone()).ok()?,
        _ => String::new(),
    };
    let host = if host.is_empty() { asked.host.clone() } else { host };
    Some(Address { host, port: u16::try_from(*port).ok()? })
}
