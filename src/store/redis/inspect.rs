//! What a server must be to be trusted with a store: it throws nothing away, and keeps what it has acknowledged.
//!
//! Everything is told at once, each with the command that mends it.

use std::collections::HashMap;

use redis::{Value, cmd, from_redis_value};

use crate::store::redis::fault::Trouble;
use crate::store::redis::servers::Servers;
use crate::store::redis::settings::{Address, Config, Durability};

/// The oldest that is tried out.
const LEAST_VERSION: (u32, u32) = (7, 0);

/// The oldest that can tell when a replica has a write on disk.
const WAITAOF_VERSION: (u32, u32) = (7, 2);

/// What was found on one server.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Inspection {
    /// Why it must not be used.
    pub faults: Vec<String>,
    /// What may be so, but should be known.
    pub warnings: Vec<String>,
}

/// What a server tells of itself.
#[derive(Default)]
struct Facts {
    info: HashMap<String, String>,
    /// Settings; `None` where it does not tell them to us.
    config: Option<HashMap<String, String>>,
}

/// Looks at a server that takes writes. Changes nothing.
///
/// Error: it does not answer.
pub(crate) async fn inspect(servers: &Servers, address: &Address, config: &Config) -> Result<Inspection, Trouble> {
    let info: String = from_redis_value(servers.ask(address, cmd("INFO")).await?).map_err(Trouble::lost)?;
    let fields = info.lines().filter_map(|line| line.split_once(':'));
    let info = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
    let mut settings = Some(HashMap::new());
    for name in ["appendfsync", "save"] {
        let mut command = cmd("CONFIG");
        command.arg("GET").arg(name);
        match servers.ask(address, command).await {
            Ok(answer) => {
                let answer: HashMap<String, String> = from_redis_value(answer).unwrap_or_default();
                settings.iter_mut().for_each(|settings| settings.extend(answer.clone()));
            }
            Err(Trouble::Refused(_)) => settings = None,
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(judge(&Facts { info, config: settings }, address, config))
}

/// The server's clock in microseconds since the epoch.
pub(crate) async fn ask_time(servers: &Servers, address: &Address) -> Result<u64, Trouble> {
    let answer: Value = servers.ask(address, cmd("TIME")).await?;
    let (seconds, micros): (u64, u64) = from_redis_value(answer).map_err(Trouble::lost)?;
    Ok(seconds.saturating_mul(1_000_000).saturating_add(micros))
}

fn judge(facts: &Facts, address: &Address, config: &Config) -> Inspection {
    let mut found = Inspection::default();
    let field = |name: &str| facts.info.get(name).map(String::as_str).unwrap_or_default();
    let command = |setting: &str| {
        format!("run: redis-cli -h {} -p {} CONFIG SET {setting}, and CONFIG REWRITE", address.host, address.port)
    };
    let version = field("redis_version");
    let least = if config.replica_fsync { WAITAOF_VERSION } else { LEAST_VERSION };
    if parse_version(version).is_none_or(|version| version < least) {
        let (major, minor) = least;
        found.faults.push(format!("{address}: is version {version:?}, but {major}.{minor} or later is needed"));
    }
    if field("role") != "master" {
        found.faults.push(format!("{address}: is a replica, which takes no writes; give the address of its master"));
    }
    let policy = field("maxmemory_policy");
    if policy != "noeviction" {
        let what = format!("{address}: its maxmemory-policy is {policy:?}, so it may throw records away;");
        found.faults.push(format!("{what} {}", command("maxmemory-policy noeviction")));
    }
    let (has_log, told) = (field("aof_enabled") == "1", facts.config.as_ref());
    let setting = |name: &str| told.and_then(|told| told.get(name)).map(String::as_str);
    match config.durability {
        Durability::Strict if !has_log => {
            let what = format!("{address}: its appendonly is \"no\", so a crash loses what it acknowledged;");
            let way_out = format!("{}; or set store.redis.durability = \"standard\"", command("appendonly yes"));
            found.faults.push(format!("{what} {way_out}"));
        }
        Durability::Strict => match setting("appendfsync") {
            Some("always") => {}
            Some(other) => {
                let what = format!("{address}: its appendfsync is {other:?}, so a power cut loses what it acknowledged;");
                let way_out = format!("{}; or set store.redis.durability = \"standard\"", command("appendfsync always"));
                found.faults.push(format!("{what} {way_out}"));
            }
            None => found.warnings.push(format!(
                "{address}: we may not call CONFIG GET there, so it is not known whether its appendfsync is \"always\", \
                 as durability \"strict\" needs"
            )),
        },
        Durability::Standard if !has_log && setting("save").is_none_or(str::is_empty) => found.warnings.push(format!(
            "{address}: it keeps nothing on disk, so its restart loses everything; {}",
            command("appendonly yes")
        )),
        Durability::Standard => {}
    }
    let replicas: u32 = field("connected_slaves").parse().unwrap_or_default();
    if replicas < config.awaited() {
        let wanted = config.awaited();
        found.warnings.push(format!("{address}: it has {replicas} of the {wanted} replicas that commits wait for"));
    }
    found
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
