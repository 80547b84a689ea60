//! The servers of the store: sends calls to the one that holds their partition, follows where it sends us, and looks anew
//! where things lie when that has changed.
//!
//! What may have been done is never sent again here: only reads are, and what a server says it has not done.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use redis::{Cmd, Pipeline, Value, from_redis_value_ref, pipe};
use tokio::sync::Notify;

use crate::error::Result;
use crate::id::Partition;
use crate::store::redis::dial::Dialler;
use crate::store::redis::fault::{self, Trouble};
use crate::store::redis::link::{Errand, Link};
use crate::store::redis::pace::{pause, uptime};
use crate::store::redis::record::Names;
use crate::store::redis::settings::{Address, Config};
use crate::store::redis::topology::{Map, Topology};

/// How often one call may be sent on.
const MOST_TURNS: u32 = 8;

/// What a call may take longer than it should, to hear why.
const GRACE: Duration = Duration::from_millis(50);

/// Until a server is asked once more that is moving a key.
const NEXT_TRY: Duration = Duration::from_millis(25);

/// All servers of the store.
pub(crate) struct Servers {
    dialler: Dialler,
    topology: Topology,
    map: RwLock<Option<Arc<Map>>>,
    links: Mutex<BTreeMap<Address, Arc<Link>>>,
    commit_lanes: u32,
    /// How long a call may take in all.
    pub(crate) timeout: Duration,
    /// That something is not where it was.
    pub(crate) displaced: Notify,
}

/// A script, by its text and by the name that servers give it.
pub(crate) struct Script {
    text: &'static str,
    name: String,
}

/// What is sent to one server, as one piece.
pub(crate) struct Call<'a> {
    pub(crate) partition: Partition,
    pub(crate) errand: Errand,
    pub(crate) command: Command<'a>,
    /// What follows right behind, on the same connection.
    pub(crate) then: Option<Cmd>,
}

/// What a server is asked to do.
pub(crate) enum Command<'a> {
    Plain(Cmd),
    Script { script: &'a Script, keys: Vec<Vec<u8>>, arguments: Vec<Vec<u8>> },
}

/// What is known of the way while a call is sent round.
#[derive(Default)]
struct Detour {
    asking: bool,
    whole_script: bool,
}

// === impl Servers ===

impl Servers {
    /// Errors: `Invalid` for files of TLS that cannot be used.
    pub(crate) fn new(config: &Config, names: &Names) -> Result<Self> {
        let credentials = (config.user.as_deref(), config.password.as_ref());
        // A part of the whole, so that who waits for a connection hears why there is none.
        let patience = config.timeout / 2;
        let dialler = Dialler::new(&config.tls, credentials, config.database, patience)?;
        let of_sentinel = (config.sentinel.user.as_deref(), config.sentinel.password.as_ref());
        let to_sentinels = Dialler::new(&config.tls, of_sentinel, 0, patience)?;
        let topology = Topology::of(config, to_sentinels, names);
        Ok(Self {
            dialler,
            topology,
            map: RwLock::default(),
            links: Mutex::default(),
            commit_lanes: config.connections,
            timeout: config.timeout,
            displaced: Notify::new(),
        })
    }

    /// Where things lie, as far as is known.
    pub(crate) fn map(&self) -> Option<Arc<Map>> {
        self.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The connections to a server.
    pub(crate) fn link(&self, address: &Address) -> Arc<Link> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry(address.clone());
        Arc::clone(link.or_insert_with(|| Arc::new(Link::new(address.clone(), self.commit_lanes))))
    }

    /// Looks anew where things lie. Gives the map when it has changed.
    ///
    /// Error: nobody knows, so that all stays as it was.
    pub(crate) async fn look(&self) -> Result<Option<Arc<Map>>, Trouble> {
        let before = self.map();
        if before.is_some() && self.topology.is_fixed() {
            return Ok(None);
        }
        let known: Vec<_> = {
            let of_map = before.iter().flat_map(|map| map.masters.iter().chain(&map.others));
            let mut known: Vec<_> = of_map.chain(self.topology.seeds()).collect();
            known.sort();
            known.dedup();
            known.into_iter().map(|address| self.link(address)).collect()
        };
        let map = self.topology.look(&self.dialler, &known).await?;
        if let Topology::Sentinel { .. } = &self.topology {
            self.check_role(&map).await?;
        }
        if before.is_some_and(|before| *before == map) {
            return Ok(None);
        }
        let map = Arc::new(map);
        *self.map.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&map));
        let needed = |address: &Address| {
            map.masters.contains(address) || map.others.contains(address) || self.topology.seeds().contains(address)
        };
        self.links.lock().unwrap_or_else(PoisonError::into_inner).retain(|address, _| needed(address));
        Ok(Some(map))
    }

    /// Sentinels may name one that does not know yet that it is the master, or that it no longer is.
    async fn check_role(&self, map: &Map) -> Result<(), Trouble> {
        for address in &map.masters {
            let answer = self.ask(address, redis::cmd("ROLE")).await?;
            let Value::Array(role) = answer else { return Err(Trouble::lost("has no role")) };
            let role: String = role.first().and_then(|role| from_redis_value_ref(role).ok()).unwrap_or_default();
            if role != "master" {
                return Err(Trouble::Displaced(format!("{address} is {role}, not master").into()));
            }
        }
        Ok(())
    }

    /// Asks one server something beside the work.
    pub(crate) async fn ask(&self, address: &Address, command: Cmd) -> Result<Value, Trouble> {
        let link = self.link(address);
        let mut calls = pipe();
        calls.add_command(command);
        let deadline = uptime() + self.timeout;
        let asked = tokio::time::timeout(self.timeout, self.send(&link, Errand::Upkeep, &calls, deadline)).await;
        let answers = asked.unwrap_or_else(|_| Err(Trouble::lost("no connection")))?;
        let answer = answers.into_iter().next().unwrap_or_default();
        Trouble::check(&answer)?;
        Ok(answer)
    }

    /// Sends a call to the server of its partition, and gives the answers of the command and of what follows it.
    ///
    /// Error: `Unavailable`; a commit is then done or not.
    pub(crate) async fn call(&self, call: &Call<'_>) -> Result<(Value, Option<Value>)> {
        self.try_call(call).await.map_err(|(trouble, at)| match at {
            Some(at) => fault::unavailable(format!("{at}: {trouble}")),
            None => fault::unavailable(trouble.to_string()),
        })
    }

    /// The same; an error is told with the server that was asked last.
    pub(crate) async fn try_call(&self, call: &Call<'_>) -> Result<(Value, Option<Value>), (Trouble, Option<Address>)> {
        let Some(place) = self.map().and_then(|map| map.place(call.partition).cloned()) else {
            self.displaced.notify_one();
            return Err((Trouble::lost("it is not known which server to ask"), None));
        };
        let mut at = place;
        let deadline = uptime() + self.timeout;
        // Waiting for a connection has no end of its own.
        let sent = tokio::time::timeout(self.timeout + GRACE, self.route(call, &mut at, deadline)).await;
        let ended = sent.unwrap_or_else(|_| Err(Trouble::lost(format!("no connection within {:?}", self.timeout))));
        ended.map_err(|trouble| (trouble, Some(at)))
    }

    /// `at`: whom to ask first; whom we asked last.
    async fn route(
        &self,
        call: &Call<'_>,
        at: &mut Address,
        deadline: Duration,
    ) -> Result<(Value, Option<Value>), Trouble> {
        let mut detour = Detour::default();
        let mut again = call.errand == Errand::Read;
        for _ in 0..MOST_TURNS {
            let link = self.link(at);
            if let Some(trouble) = link.objection(call.errand) {
                return Err(trouble);
            }
            let trouble = match self.send(&link, call.errand, &call.pipeline(&detour), deadline).await {
                Ok(mut answers) => {
                    let then = call.then.as_ref().and_then(|_| answers.pop());
                    let answer = answers.pop().unwrap_or_default();
                    let Err(trouble) = Trouble::check(&answer) else { return Ok((answer, then)) };
                    trouble
                }
                Err(trouble) => trouble,
            };
            detour.asking = false;
            match trouble {
                Trouble::Moved(to) => {
                    self.displaced.notify_one();
                    *at = to;
                }
                Trouble::Ask(to) => (detour.asking, *at) = (true, to),
                Trouble::NoScript if !detour.whole_script => detour.whole_script = true,
                Trouble::TryAgain => pause(NEXT_TRY).await,
                Trouble::Lost(_) if again => again = false,
                trouble => {
                    if matches!(trouble, Trouble::Displaced(_) | Trouble::Lost(_)) {
                        self.displaced.notify_one();
                    }
                    return Err(trouble);
                }
            }
        }
        Err(Trouble::lost("the servers send us round in circles"))
    }

    async fn send(
        &self,
        link: &Link,
        errand: Errand,
        calls: &Pipeline,
        deadline: Duration,
    ) -> Result<Vec<Value>, Trouble> {
        let lane = link.lane(errand);
        let connection = lane.connection(&self.dialler, &link.address).await?;
        let left = deadline.saturating_sub(uptime());
        let sent = tokio::time::timeout(left, connection.send(calls)).await;
        let answers = sent.unwrap_or_else(|_| Err(Trouble::lost(format!("no answer within {:?}", self.timeout))));
        // One that hangs may do so for long, and the next call would wait behind this one.
        answers.inspect_err(|_| lane.give_up(&connection))
    }
}

// === impl Script ===

impl Script {
    pub(crate) fn new(text: &'static str) -> Self {
        Self { text, name: redis::Script::new(text).get_hash().to_owned() }
    }
}

// === impl Call ===

impl Call<'_> {
    fn pipeline(&self, detour: &Detour) -> Pipeline {
        let mut calls = pipe();
        if detour.asking {
            calls.cmd("ASKING");
        }
        match &self.command {
            Command::Plain(command) => calls.add_command(command.clone()),
            Command::Script { script, keys, arguments } => {
                let (verb, which) =
                    if detour.whole_script { ("EVAL", script.text) } else { ("EVALSHA", script.name.as_str()) };
                calls.cmd(verb).arg(which).arg(keys.len()).arg(keys).arg(arguments)
            }
        };
        if let Some(then) = &self.then {
            calls.add_command(then.clone());
        }
        calls
    }
}
